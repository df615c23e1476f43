// Package handshake holds the facts of one TLS handshake, as seen by its client or its server, and the names of TLS
// versions, cipher suites and groups in telemetry.
package handshake

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// Facts are what one side of a handshake learned.
type Facts struct {
	Start, End time.Time
	Failure    *failure.Failure // nil if the handshake succeeded

	ServerName             string // the SNI that the client sent; empty if it sent none
	MinVersion, MaxVersion uint16 // the range that the client offered

	// State is what was negotiated. If the handshake was not established, it is what was known when the peer's certificate
	// arrived, and its Version is 0 if no certificate arrived.
	State       tls.ConnectionState
	Established bool // whether the handshake was completed

	Verdict *certs.Verdict // on the peer's certificate; nil if it sent none
	// Staple is what the stapled OCSP response says. It is nil if there was no response, unless the certificate requires
	// one: then it says that the response is missing.
	Staple *certs.Staple
	// Warnings are problems with the certificate that do not make the handshake fail: near_expiry, weak_key,
	// invalid_staple, missing_staple and file_mismatch.
	Warnings []failure.Type

	ClientCertRequested bool
	AcceptableCAs       []string // distinguished names of the CAs whose client certificates the server accepts
	// ClientCertProblems are problems with the client's own certificate, if the server requested it: near_expiry, those for
	// which a server may refuse it, and weak_key and weak_signature. They are known only to the client.
	ClientCertProblems []failure.ClientCertProblem
}

// Leaf returns the peer's own certificate, or nil if the peer sent none. f may be nil.
func (f *Facts) Leaf() *x509.Certificate {
	if f == nil || len(f.State.PeerCertificates) == 0 {
		return nil
	}
	return f.State.PeerCertificates[0]
}
