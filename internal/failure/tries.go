package failure

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Try is a handshake that differs in one respect from the one that failed, and its result.
type Try struct {
	MinVersion, MaxVersion uint16 // offered
	Same                   bool   // no difference at all: the failure may come and go
	EverySuite             bool   // offers every cipher suite that Go has, even insecure ones
	WithoutSNI             bool   // sends no server name

	Err     error  // nil if it worked
	Version uint16 // negotiated
	Suite   uint16 // negotiated
	Name    string // of the certificate that the server sent, clean
}

// String returns a short description of what was tried, and the result.
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
	number, alerted := alertOf(t.Err)
	switch {
	case t.Err == nil:
		return fmt.Sprintf("%s: works, %s and %s", what, versionName(t.Version), tls.CipherSuiteName(t.Suite))
	case alerted:
		return fmt.Sprintf("%s: alert %s", what, alertName(number))
	case timedOut(t.Err):
		return what + ": no answer"
	case disconnected(t.Err):
		return what + ": closed"
	}
	return what + ": failed"
}

// Tries returns the handshakes to try to find out more about a failure of this type: at most four, of which the first
// is the same again. It returns nil if no handshake would show more about this type. The versions are those that were
// offered. sni is whether a server name was sent.
func Tries(t Type, minVersion, maxVersion uint16, sni bool) []Try {
	tries := []Try{{MinVersion: minVersion, MaxVersion: maxVersion, Same: true}}
	if t == ProtocolMismatch {
		if minVersion <= tls.VersionTLS12 && maxVersion > tls.VersionTLS12 {
			// Some servers and middleboxes choke on the ClientHello of TLS 1.3.
			tries = append(tries, Try{MinVersion: minVersion, MaxVersion: tls.VersionTLS12, EverySuite: true})
		}
		// Try each version that was not offered on its own, to find all that work.
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

// Refine updates the cause and the fix of the failure with the results of the tries, and the type if they show a more
// specific one. The step stays the one in which the failure happened. The tries are the first ones that Tries returned,
// at least one.
func (f *Failure) Refine(tries []Try, endpoint, serverName string) {
	f.Cause = strings.TrimSuffix(f.Cause, f.alertSentence()) // it is added again at the end
	var worked []Try
	for _, t := range tries {
		if t.Err == nil {
			worked = append(worked, t)
		}
	}
	switch {
	case tries[0].Err == nil: // the same handshake
		f.Cause += " The same handshake succeeded when it was tried again immediately, so this failure comes and goes."
		f.Fix = "Look for one bad server behind a load balancer, a restart, or a limit on connections. " + f.Fix
	case len(worked) == 0:
		f.nothingWorked(tries)
	default:
		f.become(tries[0], worked, endpoint, serverName)
	}
	f.Cause += f.alertSentence()
}

func (f *Failure) nothingWorked(tries []Try) {
	f.Cause += fmt.Sprintf(" Also tried, without success: %s.", join(tries, Try.String, "; "))
	noAlert := func(t Try) bool { _, alert := alertOf(t.Err); return !alert }
	if f.Type == HandshakeFailure && !slices.ContainsFunc(tries, noAlert) {
		f.Fix += " The server may require something that the collector does not support: DHE key exchange, the group X448, CCM, Camellia, anonymous or pre-shared key suites, SSL 3, or an Ed448, RSA-PSS or DSA certificate."
	}
}

// become sets the type, the cause and the fix by how the first handshake that worked differs from the one that failed.
func (f *Failure) become(offered Try, worked []Try, endpoint, serverName string) {
	best := worked[0]
	version, suite := versionName(best.Version), tls.CipherSuiteName(best.Suite)
	wasOffered := best.Version >= offered.MinVersion && best.Version <= offered.MaxVersion
	asItIs := "To probe it as it is, set " + settings(best) + "."
	t := ProtocolMismatch
	switch {
	case best.WithoutSNI:
		t = UnrecognizedName
		f.Cause = fmt.Sprintf("%s refuses the name %s. A client that sends no name gets the certificate of %q.", endpoint, serverName, best.Name)
		f.Fix = serveName(serverName)
	case best.MaxVersion == offered.MaxVersion && best.MinVersion == offered.MinVersion:
		t = CipherMismatch
		f.Cause = fmt.Sprintf("%s supports none of the offered cipher suites, or none of the offered key exchange groups. When every suite was offered, it chose %s.", endpoint, suite)
		f.Fix = "Enable an ECDHE suite with AES-GCM or ChaCha20 on the server. " + asItIs
	case wasOffered && strings.HasPrefix(suite, "TLS_RSA_"):
		// Key exchange by RSA needs no group: the problem is the groups, not the version.
		t = CipherMismatch
		f.Cause = fmt.Sprintf("%s supports none of the offered key exchange groups. Without one, in %s, it chose %s.", endpoint, version, suite)
		f.Fix = "Enable the group X25519 or P-256 on the server. " + asItIs
	case wasOffered:
		f.Cause = fmt.Sprintf("%s refuses clients that also offer TLS 1.3. With %s and %s the handshake succeeds.", endpoint, version, suite)
		f.Fix = "Update the server, or the middlebox in front of it. " + asItIs
	default:
		f.Cause = fmt.Sprintf("%s speaks only %s. In %s it chose %s.", endpoint,
			join(worked, func(t Try) string { return versionName(t.Version) }, " and "), version, suite)
		f.Fix = asItIs
		if best.Version < tls.VersionTLS12 {
			f.Fix = "Enable TLS 1.2 or 1.3 on the server. " + f.Fix
		}
	}
	f.Reasons[slices.Index(f.Reasons, f.Type)] = t
	f.Type = t
}

// settings returns the settings with which the collector's handshake would succeed as t did.
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
