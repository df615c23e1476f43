package probe

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Outcome is all that one probe found, and the one thing that goes from probing to recording. It is not changed once
// Probe has returned it.
type Outcome struct {
	Target *target.Target
	Start  time.Time
	End    time.Time

	Lookup    *Lookup    // nil where the endpoint is an address, or the probe did not come to it
	Dials     []Dial     // one for each address tried, in turn
	StartTLS  *Step      // nil where TLS is spoken from the first byte, or the probe did not come to it
	Handshake *Handshake // nil where the probe did not come to it

	// ClientCert is the certificate that is configured for this target; nil where there is none.
	ClientCert *x509.Certificate

	Failure *failure.Failure // nil when the probe succeeded

	// Explanation is what was tried to find out what would work; nil where nothing was.
	Explanation *Explanation
}

// Step is when a part of the probe began and ended, and why it failed, nil where it did not.
type Step struct {
	Start   time.Time
	End     time.Time
	Failure *failure.Failure
}

// Lookup is the resolution of the endpoint's name.
type Lookup struct {
	Step
	Addrs []netip.Addr
}

// Dial is an attempt to connect to one address.
type Dial struct {
	Step
	Addr netip.AddrPort
}

// Handshake is the TLS handshake, with what was offered, how far it came, and what is to be said of the certificate.
type Handshake struct {
	Step

	ServerName             string // sent as SNI; empty for an address
	MinVersion, MaxVersion uint16 // offered

	// State is what was negotiated. Until Established it holds what was known when the server's certificate came; its
	// Version is 0 where that never did.
	State       tls.ConnectionState
	Established bool

	// Verdict is on the server's certificate; nil where it sent none.
	Verdict *certs.Verdict
	// Remembered tells that the verdict did not have to be found anew.
	Remembered bool
	// Finding explains a verdict that is not valid. It is the failure as well, unless verification is to be skipped.
	Finding *failure.Failure

	// Staple is what the OCSP response says that came with the certificate, or that one is missing which the certificate
	// demands; else nil.
	Staple *certs.Staple

	// Warnings are what clients accept today all the same: near_expiry, weak_key, invalid_staple, missing_staple.
	Warnings []failure.Type

	ClientCertRequested bool
	AcceptableCAs       []string // distinguished names of the CAs that the server accepts client certificates from
}

// Leaf is the certificate that the server presented for itself; nil where it sent none.
func (h *Handshake) Leaf() *x509.Certificate {
	if h == nil || len(h.State.PeerCertificates) == 0 {
		return nil
	}
	return h.State.PeerCertificates[0]
}
