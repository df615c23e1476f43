// Package handshake holds the facts of one TLS handshake, as its client or its server saw it, and the names by which
// telemetry calls versions, cipher suites and groups.
package handshake

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// Facts are what one side of a handshake learned from it.
type Facts struct {
	Start, End time.Time
	Failure    *failure.Failure // nil where the handshake succeeded

	ServerName             string // that the client sent as SNI; empty where it sent none
	MinVersion, MaxVersion uint16 // that the client offered

	// State is what was negotiated. Until Established it is what was known when the peer's certificate came; its Version is 0
	// where that never did.
	State       tls.ConnectionState
	Established bool

	Verdict *certs.Verdict // on the peer's certificate; nil where it sent none
	// Staple is what the OCSP response says that came with the certificate, or that one is missing which the certificate
	// demands; else nil.
	Staple *certs.Staple
	// Warnings are what is wrong with the certificate although the other side accepts it today: near_expiry, weak_key,
	// invalid_staple, missing_staple, file_mismatch.
	Warnings []failure.Type

	ClientCertRequested bool
	AcceptableCAs       []string // distinguished names of the CAs that the server accepts client certificates from
}

// Leaf returns the certificate that the peer presented for itself, nil where it sent none. The facts may be nil.
func (f *Facts) Leaf() *x509.Certificate {
	if f == nil || len(f.State.PeerCertificates) == 0 {
		return nil
	}
	return f.State.PeerCertificates[0]
}
