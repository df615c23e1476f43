package failure

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// This file says with which settings the collector would get through to a server that has refused it.

// addSettings adds to the fix the settings with which the collector gets through, or that there are none, as it does not
// support what was shown.
func (f *Failure) addSettings(asked *Asked, worked []Try, shown Try) {
	best := shown
	for _, t := range append(worked, shown) {
		if asked.able(t) {
			best = t
		}
	}
	if !asked.able(best) {
		f.Fix += " " + asked.unsupported(asked.impossible(shown.Choice))
		return
	}
	if best.Choice != shown.Choice {
		what := "less"
		if best.MaxVersion > shown.MaxVersion {
			what = versionName(best.Choice.Version)
		}
		f.Cause += fmt.Sprintf(" When %s was offered, it chose %s in %s.", what, clienthello.SuiteName(best.Choice.Suite), versionName(best.Choice.Version))
	}
	f.Fix += " " + asked.asItIs(best)
}

// able reports whether other settings would get the collector what the server chose.
func (a *Asked) able(t Try) bool {
	if t.Err != nil || !missingIn(&a.Possible, t.Choice).none() {
		return false
	}
	return t.MaxVersion < a.Offered.MaxVersion || !missingIn(&a.Offered, t.Choice).none()
}

// asItIs returns the settings with which the collector's handshake would have the result of t. If there are none, it returns
// what to change on the server.
func (a *Asked) asItIs(t Try) string {
	answer := t.Choice
	switch {
	case answer.Version == clienthello.SSL30:
		return "The collector does not support SSL 3.0, other clients may."
	case !a.able(t):
		lacks := a.impossible(answer)
		fix := fixes(lacks)
		if answer.Version > a.Offered.MaxVersion && a.CertificateType == "" {
			fix += fmt.Sprintf(" Set tls max_version: %q.", strings.TrimPrefix(versionName(answer.Version), "TLS "))
		}
		return fix + " " + a.unsupported(lacks)
	}
	var set []string
	missing := missingIn(&a.Offered, answer)
	if missing.version || t.MaxVersion < a.Offered.MaxVersion {
		v := strings.TrimPrefix(versionName(answer.Version), "TLS ")
		set = append(set, fmt.Sprintf("min_version: %q and max_version: %q", v, v))
	}
	if missing.suite && answer.Version < tls.VersionTLS13 { // in TLS 1.3 the suites are not configurable
		set = append(set, fmt.Sprintf("cipher_suites: [%s]", tls.CipherSuiteName(answer.Suite)))
		if slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == answer.Suite }) {
			set = append(set, "include_insecure_cipher_suites: true")
		}
	}
	remove := ""
	if missing.group {
		var curves []string
		for _, id := range answer.groups() {
			curves = append(curves, strings.TrimPrefix(tls.CurveID(id).String(), "Curve"))
		}
		if slices.ContainsFunc(curves, func(c string) bool { return !slices.Contains(target.Curves, c) }) {
			remove = "remove tls curve_preferences"
		} else {
			set = append(set, fmt.Sprintf("curve_preferences: [%s]", strings.Join(curves, ", ")))
		}
	}
	switch {
	case remove == "":
		return fmt.Sprintf("To probe it as it is, set tls %s.", strings.Join(set, ", "))
	case len(set) == 0:
		return fmt.Sprintf("To probe it as it is, %s.", remove)
	}
	return fmt.Sprintf("To probe it as it is, %s, and set tls %s.", remove, strings.Join(set, ", "))
}
