package failure

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Try is a handshake that differs from the one that failed, and what became of it.
type Try struct {
	MinVersion, MaxVersion uint16
	EverySuite             bool // all that Go has, insecure ones too
	WithoutSNI             bool
	Offered                bool // its versions were among those that were refused
	Shows                  Type // what the failure is, if this works

	Err     error  // why it did not work; nil where it did
	Version uint16 // negotiated
	Suite   uint16 // negotiated
	Name    string // of the certificate that the server sent, clean
}

// String says in short what was tried and what came of it.
func (t Try) String() string {
	what := versionName(t.MinVersion)
	if t.MinVersion != t.MaxVersion {
		what += " to " + strings.TrimPrefix(versionName(t.MaxVersion), "TLS ")
	}
	if t.EverySuite {
		what += " with every suite"
	}
	if t.WithoutSNI {
		what += " without SNI"
	}
	if t.Err == nil {
		return fmt.Sprintf("%s: works, %s and %s", what, versionName(t.Version), tls.CipherSuiteName(t.Suite))
	}
	if alert, ok := alertOf(t.Err); ok {
		return fmt.Sprintf("%s: alert %s", what, alertName(alert))
	}
	return what + ": refused"
}

// Tries returns what to try to find out more about a failure of this type: at most four things, the likeliest first.
// There are none where nothing else would tell more.
func Tries(t Type, minVersion, maxVersion uint16, sni bool) []Try {
	withoutSNI := Try{MinVersion: minVersion, MaxVersion: maxVersion, WithoutSNI: true, Shows: UnrecognizedName}
	var tries []Try
	switch t {
	case ProtocolMismatch:
		// Each version that was not offered, alone: all that work are the answer.
		for v := uint16(tls.VersionTLS13); v >= tls.VersionTLS10; v-- {
			if v < minVersion || v > maxVersion {
				tries = append(tries, Try{MinVersion: v, MaxVersion: v, EverySuite: true, Shows: ProtocolMismatch})
			}
		}
		return tries
	case UnrecognizedName, ServerInternalError:
		if sni {
			tries = append(tries, withoutSNI)
		}
	case CipherMismatch, HandshakeFailure, ConnectionClosed, MalformedHandshake:
	default:
		return nil
	}
	tries = append(tries, Try{MinVersion: minVersion, MaxVersion: maxVersion, EverySuite: true, Shows: CipherMismatch})
	if minVersion <= tls.VersionTLS12 && maxVersion > tls.VersionTLS12 {
		// Some servers and middleboxes choke on the ClientHello of TLS 1.3.
		tries = append(tries, Try{MinVersion: minVersion, MaxVersion: tls.VersionTLS12, EverySuite: true, Offered: true, Shows: ProtocolMismatch})
	}
	if minVersion > tls.VersionTLS10 {
		tries = append(tries, Try{MinVersion: tls.VersionTLS10, MaxVersion: minVersion - 1, EverySuite: true, Shows: ProtocolMismatch})
	}
	if sni && !slices.Contains(tries, withoutSNI) {
		tries = append(tries, withoutSNI)
	}
	return tries
}

// Refine makes what was found by trying a part of the failure: its type where that is now known better, its cause and
// its fix. The step stays: it is where the failure was met.
func (f *Failure) Refine(tries []Try, endpoint, serverName string) {
	var worked []Try
	for _, t := range tries {
		if t.Err == nil {
			worked = append(worked, t)
		}
	}
	if len(worked) == 0 {
		if len(tries) > 0 {
			f.Cause += fmt.Sprintf(" It refused %d other handshakes too (%s).", len(tries), join(tries, Try.String, "; "))
			if f.Type == HandshakeFailure || f.Type == CipherMismatch {
				f.Fix += " It may want what the collector does not have: DHE key exchange, the group X448, CCM, Camellia, anonymous or pre-shared key suites, SSL 3, an Ed448, RSA-PSS or DSA certificate."
			}
		}
		return
	}
	best := worked[0]
	version, suite := versionName(best.Version), tls.CipherSuiteName(best.Suite)
	// Key exchange by RSA needs no group: what it wants in common is a group, not a version.
	noGroup := best.Offered && strings.HasPrefix(suite, "TLS_RSA_")
	if noGroup {
		best.Shows = CipherMismatch
	}
	f.Reasons[slices.Index(f.Reasons, f.Type)] = best.Shows
	f.Type = best.Shows
	switch best.Shows {
	case UnrecognizedName:
		f.Cause = fmt.Sprintf("%s refuses the name %s; a client that sends no name gets the certificate of %q.", endpoint, serverName, best.Name)
		f.Fix = fmt.Sprintf("Configure the server for %s, or set tls server_name_override to a name it serves.", serverName)
	case CipherMismatch:
		f.Cause = fmt.Sprintf("%s has none of the offered cipher suites or groups; offered every one it chose %s.", endpoint, suite)
		f.Fix = "Enable an ECDHE suite with AES-GCM or ChaCha20 on the server. To probe it as it is set " + settings(best) + "."
		if noGroup {
			f.Cause = fmt.Sprintf("%s has none of the offered groups; without one, in %s, it chose %s.", endpoint, version, suite)
			f.Fix = "Enable the group X25519 or P-256 on the server. To probe it as it is set " + settings(best) + "."
		}
	case ProtocolMismatch:
		f.Cause = fmt.Sprintf("%s speaks %s only, its last suite is %s.", endpoint,
			join(worked, func(t Try) string { return versionName(t.Version) }, " and "), suite)
		f.Fix = "To probe it as it is set " + settings(best) + "."
		if best.Version < tls.VersionTLS12 {
			f.Fix = "Enable TLS 1.2 or 1.3 on the server. " + f.Fix
		} else if best.Offered {
			f.Cause = fmt.Sprintf("%s cannot take a client that also offers TLS 1.3; with %s and %s it goes through.", endpoint, version, suite)
			f.Fix = "Update the server or the middlebox before it. " + f.Fix
		}
	}
	f.nameAlert()
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
