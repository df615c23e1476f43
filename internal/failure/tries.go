package failure

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Try is a handshake that differs from the one that failed in one respect, and what became of it.
type Try struct {
	MinVersion, MaxVersion uint16
	Same                   bool // in no respect: it tells a failure that comes and goes
	EverySuite             bool // all that Go has, insecure ones too
	WithoutSNI             bool

	Err     error  // why it did not work; nil where it did
	Version uint16 // negotiated
	Suite   uint16 // negotiated
	Name    string // of the certificate that the server sent, clean
}

// String says in short what was tried and what came of it.
func (t Try) String() string {
	what := versions(t.MinVersion, t.MaxVersion)
	if t.Same {
		what = "the same again"
	}
	if t.EverySuite {
		what += " with every suite"
	}
	if t.WithoutSNI {
		what += " without SNI"
	}
	alert, said := alertOf(t.Err)
	switch {
	case t.Err == nil:
		return fmt.Sprintf("%s: works, %s and %s", what, versionName(t.Version), tls.CipherSuiteName(t.Suite))
	case said:
		return fmt.Sprintf("%s: alert %s", what, alertName(alert))
	case timedOut(t.Err):
		return what + ": no answer"
	case disconnected(t.Err):
		return what + ": closed"
	}
	return what + ": failed"
}

// Tries returns what to try to find out more about a failure of this type: at most four things, the first of them the
// same again. There are none where nothing else would tell more.
func Tries(t Type, minVersion, maxVersion uint16, sni bool) []Try {
	tries := []Try{{MinVersion: minVersion, MaxVersion: maxVersion, Same: true}}
	if t == ProtocolMismatch {
		if minVersion <= tls.VersionTLS12 && maxVersion > tls.VersionTLS12 {
			// Some servers and middleboxes choke on the ClientHello of TLS 1.3.
			tries = append(tries, Try{MinVersion: minVersion, MaxVersion: tls.VersionTLS12, EverySuite: true})
		}
		// Each version that was not offered, alone: all that work are the answer.
		for v := uint16(tls.VersionTLS13); v >= tls.VersionTLS10; v-- {
			if v < minVersion || v > maxVersion {
				tries = append(tries, Try{MinVersion: v, MaxVersion: v, EverySuite: true})
			}
		}
		return tries
	}

	more := []Try{{MinVersion: minVersion, MaxVersion: maxVersion, EverySuite: true}}
	if older := min(minVersion-1, tls.VersionTLS12); maxVersion > tls.VersionTLS12 {
		more = append(more, Try{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, EverySuite: true})
	} else if older >= tls.VersionTLS10 {
		more = append(more, Try{MinVersion: tls.VersionTLS10, MaxVersion: older, EverySuite: true})
	}
	var nameless []Try
	if sni {
		nameless = []Try{{MinVersion: minVersion, MaxVersion: maxVersion, WithoutSNI: true}}
	}
	switch t {
	case UnrecognizedName, ServerInternalError:
		return slices.Concat(tries, nameless, more)
	case CipherMismatch, HandshakeFailure, ConnectionClosed, MalformedHandshake:
		return slices.Concat(tries, more, nameless)
	}
	return nil
}

// Refine makes what was found by trying a part of the failure: its type where that is now known better, its cause and
// its fix. The step stays: it is where the failure was met. The tries are those of Tries, as far as they were made.
func (f *Failure) Refine(tries []Try, endpoint, serverName string) {
	defer f.nameAlert()
	f.Cause = strings.TrimSuffix(f.Cause, f.alertSentence()) // which goes last
	offered := tries[0]
	if offered.Err == nil {
		f.Cause += " The same handshake, tried again at once, went through: it fails now and then."
		f.Fix = "Look for one bad server behind a load balancer, a restart, or a limit on connections. " + f.Fix
		return
	}
	var worked []Try
	for _, t := range tries {
		if t.Err == nil {
			worked = append(worked, t)
		}
	}
	if len(worked) == 0 {
		f.Cause += fmt.Sprintf(" Tried in vain: %s.", join(tries, Try.String, "; "))
		refused := func(t Try) bool { _, alert := alertOf(t.Err); return !alert }
		if f.Type == HandshakeFailure && !slices.ContainsFunc(tries, refused) {
			f.Fix += " It may want what the collector does not have: DHE key exchange, the group X448, CCM, Camellia, anonymous or pre-shared key suites, SSL 3, an Ed448, RSA-PSS or DSA certificate."
		}
		return
	}

	best := worked[0]
	version, suite := versionName(best.Version), tls.CipherSuiteName(best.Suite)
	wasOffered := best.Version >= offered.MinVersion && best.Version <= offered.MaxVersion
	asItIs := "To probe it as it is set " + settings(best) + "."
	switch {
	case best.WithoutSNI:
		f.become(UnrecognizedName)
		f.Cause = fmt.Sprintf("%s refuses the name %s; a client that sends no name gets the certificate of %q.", endpoint, serverName, best.Name)
		f.Fix = fmt.Sprintf("Configure the server for %s, or set tls server_name_override to a name it serves.", serverName)
	case best.MaxVersion == offered.MaxVersion && best.MinVersion == offered.MinVersion:
		f.become(CipherMismatch)
		f.Cause = fmt.Sprintf("%s has none of the offered cipher suites or groups; offered every one it chose %s.", endpoint, suite)
		f.Fix = "Enable an ECDHE suite with AES-GCM or ChaCha20 on the server. " + asItIs
	case wasOffered && strings.HasPrefix(suite, "TLS_RSA_"):
		// Key exchange by RSA needs no group: what there is none of in common is a group, not a version.
		f.become(CipherMismatch)
		f.Cause = fmt.Sprintf("%s has none of the offered groups; without one, in %s, it chose %s.", endpoint, version, suite)
		f.Fix = "Enable the group X25519 or P-256 on the server. " + asItIs
	case wasOffered:
		f.become(ProtocolMismatch)
		f.Cause = fmt.Sprintf("%s cannot take a client that also offers TLS 1.3; with %s and %s it goes through.", endpoint, version, suite)
		f.Fix = "Update the server or the middlebox before it. " + asItIs
	default:
		f.become(ProtocolMismatch)
		f.Cause = fmt.Sprintf("%s speaks %s only, its last suite is %s.", endpoint,
			join(worked, func(t Try) string { return versionName(t.Version) }, " and "), suite)
		f.Fix = asItIs
		if best.Version < tls.VersionTLS12 {
			f.Fix = "Enable TLS 1.2 or 1.3 on the server. " + f.Fix
		}
	}
}

// become makes t the primary reason in the place of the one that was.
func (f *Failure) become(t Type) {
	f.Reasons[slices.Index(f.Reasons, f.Type)] = t
	f.Type = t
}

// settings are the keys with which the collector would get through as t did.
func settings(t Try) string {
	v := strings.TrimPrefix(versionName(t.Version), "TLS ")
	s := fmt.Sprintf("tls min_version: %q and max_version: %q", v, v)
	if t.Version < tls.VersionTLS13 { // in TLS 1.3 the suites are not configurable
		s += fmt.Sprintf(", cipher_suites: [%s]", tls.CipherSuiteName(t.Suite))
		if slices.ContainsFunc(tls.InsecureCipherSuites(), func(i *tls.CipherSuite) bool { return i.ID == t.Suite }) {
			s += ", include_insecure_cipher_suites: true"
		}
	}
	return s
}

func join(tries []Try, text func(Try) string, separator string) string {
	s := make([]string, len(tries))
	for i, t := range tries {
		s[i] = text(t)
	}
	return strings.Join(s, separator)
}
