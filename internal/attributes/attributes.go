// Package attributes adds the facts of handshakes, certificates and failures to telemetry, under the names that
// docs/telemetry.md lists. It cleans and bounds all text that comes from outside.
package attributes

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const (
	MaxText = 1024 // bytes of one text from outside, on a span or an event
	MaxName = 256  // bytes of one name from a certificate, on a metric or an event
	MaxSANs = 100  // names of one certificate
)

// PutText adds a text from outside, cleaned and bounded. It adds nothing if the text is empty.
func PutText(a pcommon.Map, key, value string) {
	if value != "" {
		a.PutStr(key, text.Clean(value, MaxText))
	}
}

// PutHandshake adds what the client offered and what was negotiated.
func PutHandshake(a pcommon.Map, h *handshake.Facts) {
	a.PutStr("tls.client.min_version", "TLSv"+handshake.VersionName(h.MinVersion))
	a.PutStr("tls.client.max_version", "TLSv"+handshake.VersionName(h.MaxVersion))
	PutText(a, "tls.server.name", h.ServerName)
	a.PutBool("tls.established", h.Established)
	a.PutDouble("tls.handshake_time_ms", float64(h.End.Sub(h.Start))/float64(time.Millisecond))
	s := h.State
	if s.Version == 0 {
		return
	}
	version := handshake.VersionName(s.Version)
	a.PutStr("tls.protocol", "TLSv"+version)
	a.PutStr("tls.protocol.name", "tls")
	a.PutStr("tls.protocol.version", version)
	a.PutStr("tls.cipher", handshake.SuiteName(s.CipherSuite))
	if bits := handshake.SuiteBits(s.CipherSuite); bits > 0 {
		a.PutInt("tls.cipher.bits", int64(bits))
	}
	PutText(a, "tls.curve", handshake.GroupName(s.CurveID))
	PutText(a, "tls.next_protocol", s.NegotiatedProtocol)
	a.PutBool("tls.resumed", s.DidResume)
}

// Peer has the attribute names of one side's certificate in OpenTelemetry's attribute registry.
type Peer struct{ subject, issuer, notBefore, notAfter, sha256 string }

// The sides of a handshake.
var (
	Server = Peer{"tls.server.subject", "tls.server.issuer", "tls.server.not_before", "tls.server.not_after", "tls.server.hash.sha256"}
	Client = Peer{"tls.client.subject", "tls.client.issuer", "tls.client.not_before", "tls.client.not_after", "tls.client.hash.sha256"}
)

// PutPeerCertificate adds the certificate that the peer sent as its own, if it sent one, under this project's attribute names
// and under those of the registry. The peer is Server in the facts of a client, and Client in those of a server.
func PutPeerCertificate(a pcommon.Map, peer Peer, h *handshake.Facts, now time.Time) {
	c := h.Leaf()
	if c == nil {
		return
	}
	PutText(a, "tls.cert.subject.cn", c.Subject.CommonName)
	PutText(a, "tls.cert.issuer.cn", c.Issuer.CommonName)
	if len(c.Issuer.Organization) > 0 {
		PutText(a, "tls.cert.issuer.org", c.Issuer.Organization[0])
	}
	notBefore, notAfter := RFC3339(c.NotBefore), RFC3339(c.NotAfter)
	a.PutStr("tls.cert.not_before", notBefore)
	a.PutStr("tls.cert.not_after", notAfter)
	a.PutInt("tls.cert.days_until_expiry", WholeDays(now, c.NotAfter))
	names := certs.Names(c)
	sans := a.PutEmptySlice("tls.cert.san")
	for _, n := range names[:min(len(names), MaxSANs)] {
		sans.AppendEmpty().SetStr(text.Clean(n, MaxText))
	}
	a.PutInt("tls.cert.san.count", int64(len(names)))
	a.PutStr("tls.cert.serial", Serial(c))
	a.PutStr("tls.cert.key.algorithm", c.PublicKeyAlgorithm.String())
	if size := certs.KeySize(c); size > 0 {
		a.PutInt("tls.cert.key.size", int64(size))
	}
	a.PutStr("tls.cert.signature.algorithm", c.SignatureAlgorithm.String())
	PutText(a, peer.subject, certs.SubjectDN(c))
	PutText(a, peer.issuer, certs.IssuerDN(c))
	a.PutStr(peer.notBefore, notBefore)
	a.PutStr(peer.notAfter, notAfter)
	a.PutStr(peer.sha256, Hex(Fingerprint(c)))
	a.PutInt("tls.cert.chain.length", int64(len(h.State.PeerCertificates)))
	a.PutInt("tls.cert.scts", int64(certs.SCTs(c)+len(h.State.SignedCertificateTimestamps)))
}

// PutStaple adds what the stapled OCSP response says about the certificate, or why it cannot be used.
func PutStaple(a pcommon.Map, h *handshake.Facts) {
	s := h.Staple
	if s == nil {
		return
	}
	PutText(a, "tls.ocsp.status", string(s.Status))
	if !s.NextUpdate.IsZero() {
		a.PutStr("tls.ocsp.next_update", RFC3339(s.NextUpdate))
	}
	PutText(a, "tls.ocsp.problem", string(s.Problem))
	PutText(a, "tls.ocsp.message", failure.Staple(s))
}

// PutClientCertificate adds the client certificate, which may be nil, and what the server requested.
func PutClientCertificate(a pcommon.Map, c *x509.Certificate, h *handshake.Facts, now time.Time) {
	if c != nil {
		PutText(a, "tls.client_cert.subject", certs.SubjectName(c))
		a.PutInt("tls.client_cert.days_until_expiry", WholeDays(now, c.NotAfter))
	}
	if len(h.ClientCertProblems) > 0 {
		warnings := a.PutEmptySlice("tls.client_cert.warnings")
		for _, t := range failure.ClientCertWarnings(h.ClientCertProblems) {
			warnings.AppendEmpty().SetStr(string(t))
		}
		problems := a.PutEmptySlice("tls.client_cert.problems")
		for _, p := range h.ClientCertProblems {
			problems.AppendEmpty().SetStr(text.Clean(p.String(), MaxText))
		}
	}
	// If the handshake was not completed, the server might still have requested one.
	if h.Established || h.ClientCertRequested {
		a.PutBool("tls.client_certificate.requested", h.ClientCertRequested)
	}
	if len(h.AcceptableCAs) > 0 {
		cas := a.PutEmptySlice("tls.client_certificate.acceptable_cas")
		for _, ca := range h.AcceptableCAs {
			cas.AppendEmpty().SetStr(ca)
		}
	}
}

// PutFailure adds the failure, which may be nil, and lists its reasons together with the warnings.
func PutFailure(a pcommon.Map, f *failure.Failure, warnings []failure.Type) {
	var reasons []failure.Type
	if f != nil {
		a.PutStr("tls.error.type", f.Category)
		PutText(a, "tls.error.reason", f.SSLReason)
		switch f.Category {
		case "ssl_error":
			a.PutStr("tls.error.library", "SSL")
		case "certificate_verification":
			a.PutStr("tls.error.library", "X509")
		}
		PutText(a, "tls.error.message", f.Message)
		if f.VerifyCode != 0 {
			a.PutInt("tls.error.verify_code", int64(f.VerifyCode))
			a.PutStr("tls.error.verify_message", f.VerifyMessage)
		}
		if f.HasAlert {
			a.PutInt("tls.error.alert", int64(f.Alert))
		}
		PutText(a, "tls.error.cause", f.Cause)
		PutText(a, "tls.error.fix", f.Fix)
		reasons = f.Reasons
	}
	if len(reasons)+len(warnings) == 0 {
		return
	}
	all := a.PutEmptySlice("tls.error.reasons")
	for _, t := range append(reasons[:len(reasons):len(reasons)], warnings...) {
		all.AppendEmpty().SetStr(string(t))
	}
}

// Serial returns a certificate's serial number as OpenSSL prints it: whole bytes in upper-case hexadecimal.
func Serial(c *x509.Certificate) string {
	s := c.SerialNumber.Text(16)
	sign := ""
	if digits, negative := strings.CutPrefix(s, "-"); negative {
		s, sign = digits, "-"
	}
	if len(s)%2 == 1 {
		s = "0" + s
	}
	return text.Clean(sign+strings.ToUpper(s), 64)
}

// Fingerprint returns the SHA-256 of the whole certificate.
func Fingerprint(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }

// Hex returns a fingerprint in upper-case hexadecimal, as attributes use it.
func Hex(sum [32]byte) string { return fmt.Sprintf("%X", sum) }

// RFC3339 returns a time in UTC, as attributes use it.
func RFC3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Days returns the time from one moment to another in days.
func Days(from, to time.Time) float64 { return text.Seconds(from, to) / (24 * 60 * 60) }

// WholeDays is like Days, rounded down: a certificate that expired an hour ago has -1 days left, not 0.
func WholeDays(from, to time.Time) int64 { return int64(math.Floor(Days(from, to))) }
