package failure

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

func notTLS(_ *Failure, e *Evidence) (cause, fix string) {
	name, protocol := service(e.FirstBytes, e.Port)
	line, _, _ := strings.Cut(string(e.FirstBytes), "\n")
	sent := text.Clean(strings.TrimSpace(line), 64)
	if name == "" {
		return fmt.Sprintf("%s does not speak TLS from the first byte. It sent %q.", e.Endpoint, sent),
			otherProtocol(e) + "Correct the port, or enable TLS on it."
	}
	cause = fmt.Sprintf("%s speaks %s without TLS. It sent %q.", e.Endpoint, name, sent)
	if protocol == "" {
		return cause, "Correct the port, or enable TLS on it."
	}
	return cause, fmt.Sprintf("Set starttls: %s on this target, or use the port where the service speaks TLS from the first byte.", protocol)
}

func handshakeTimeout(_ *Failure, e *Evidence) (cause, fix string) {
	if e.StartTLS != "" {
		return fmt.Sprintf("%s agreed to start TLS but did not complete the handshake within %s.", e.Endpoint, e.Timeout),
			"Check the server's log, and check that the server is not overloaded or stuck."
	}
	return fmt.Sprintf("%s accepted the connection but did not complete the handshake within %s.%s", e.Endpoint, e.Timeout, missingSTARTTLS(e)),
		"Check that the port speaks TLS from the first byte, and that the server is not overloaded or stuck."
}

func connectionClosed(f *Failure, e *Evidence) (cause, fix string) {
	switch f.Step {
	case StartTLS:
		return closedBeforeTLS(e)
	case ClientAuth:
		return closedOverClientCert(e)
	}
	return fmt.Sprintf("%s closed the connection during the handshake without giving a reason.%s", e.Endpoint, missingSTARTTLS(e)),
		"Check the server's log. Usual reasons: a load balancer without a backend, a name that the server does not serve, a port that does not speak TLS, or one that expects the PROXY protocol."
}

func protocolMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	if e.CertificateType != "" {
		return noSuchCertificate(e)
	}
	return fmt.Sprintf("%s and the collector have no TLS version in common. The collector offered %s.", e.Endpoint, versions(e.MinVersion, e.MaxVersion)),
		"Enable TLS 1.2 or 1.3 on the server, or widen tls min_version and max_version."
}

func cipherMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	if e.CertificateType != "" {
		return noSuchCertificate(e)
	}
	return fmt.Sprintf("%s and the collector have no cipher suite in common.", e.Endpoint),
		"Enable an ECDHE suite with AES-GCM or ChaCha20 on the server. If tls cipher_suites is set, remove it."
}

func groupMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s and the collector have no key exchange group in common.", e.Endpoint),
		"Enable the group X25519 or P-256 on the server. If tls curve_preferences is set, remove it."
}

func signatureMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s signs the handshake in a way that the collector does not support.", e.Endpoint),
		"Use a certificate with an ECDSA P-256, RSA or Ed25519 key on the server, and let it sign with SHA-256 or better."
}

func handshakeFailure(_ *Failure, e *Evidence) (cause, fix string) {
	if e.sentClientCert() {
		return explainClientCert(e, fmt.Sprintf("%s refused the handshake after it had received the client certificate of %s.",
			e.Endpoint, quoted(certs.SubjectName(e.ClientCert))), checkServersRule)
	}
	if e.Verdict != nil {
		return fmt.Sprintf("%s refused the handshake after it had sent its certificate.", e.Endpoint),
			"Check the server's log. The TLS version, the cipher suite and the name are not the reason, as the server had accepted them."
	}
	return fmt.Sprintf("%s refused the handshake.", e.Endpoint),
		fmt.Sprintf("Check the server's log: it may have no certificate for %s, or a rule that refuses this client.", e.ServerName) + setExplain
}

// setExplain ends the fix of a failure that has not been explained. Refine removes it.
const setExplain = " If explain.when is never, set it to on_change: the probe then asks the server what it would accept."

// noSuchCertificate explains the failure of a server that was asked for one kind of certificate and refused.
func noSuchCertificate(e *Evidence) (cause, fix string) {
	kind := strings.ToUpper(e.CertificateType)
	return fmt.Sprintf("%s refuses clients that accept only an %s certificate.", e.Endpoint, kind),
		fmt.Sprintf("Configure an %s certificate for %s on the server, and enable TLS 1.2 with ECDHE suites for it: only in TLS 1.2 can the collector ask for one type of certificate. Or remove %s from certificate_types.", kind, e.ServerName, e.CertificateType)
}

func alpnMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	if len(e.ALPN) == 0 {
		return fmt.Sprintf("%s refuses clients that offer no ALPN protocol.", e.Endpoint),
			"Set alpn to a protocol that the server speaks, such as [h2] or [http/1.1]."
	}
	return fmt.Sprintf("%s speaks none of the offered ALPN protocols (%q).", e.Endpoint, e.ALPN),
		"Enable one of them on the server, or correct alpn."
}

func unrecognizedName(_ *Failure, e *Evidence) (cause, fix string) {
	if _, err := netip.ParseAddr(e.ServerName); err == nil {
		return fmt.Sprintf("%s has no certificate for clients that send no name (SNI). Clients send none for an address.", e.Endpoint),
			"Set tls server_name_override to a name that the server serves."
	}
	return fmt.Sprintf("%s has no certificate for the name %s.", e.Endpoint, e.ServerName), serveName(e.ServerName)
}

// serveName returns the fix for a server that does not serve a name.
func serveName(name string) string {
	return fmt.Sprintf("Configure the server for %s, or set tls server_name_override to a name that it serves.", name)
}

func serverInternalError(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s reported an internal error.", e.Endpoint),
		fmt.Sprintf("Check the server's log. Some servers also report this when they have no certificate for the name %s.", e.ServerName)
}

func malformedHandshake(f *Failure, e *Evidence) (cause, fix string) {
	if length, limit, ok := tooLong(f.Message); ok {
		return fmt.Sprintf("%s sent a handshake message of %d bytes. The collector reads at most %d.", e.Endpoint, length, limit),
			"Look for a broken TLS stack on the server, or for a middlebox that alters the traffic."
	}
	cause = fmt.Sprintf("%s sent an invalid handshake: %s.", e.Endpoint, f.Message)
	if f.HasAlert {
		cause = fmt.Sprintf("%s could not read what the collector sent in the handshake.", e.Endpoint)
	}
	return cause, "Look for a middlebox that alters the traffic, or for a very old or broken TLS stack on the server."
}

func versionName(v uint16) string {
	switch v {
	case 0:
		return "TLS 1.2"
	case clienthello.SSL30:
		return "SSL 3.0"
	}
	return tls.VersionName(v)
}

// versions returns the text for a range of TLS versions.
func versions(lowest, highest uint16) string {
	if lowest == highest {
		return versionName(lowest)
	}
	if lowest < tls.VersionTLS10 {
		return versionName(lowest) + " to " + versionName(highest)
	}
	return versionName(lowest) + " to " + strings.TrimPrefix(versionName(highest), "TLS ")
}
