package probe

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Outcome is all that one probe found of an endpoint or of one certificate file, and the one thing that goes from probing
// to recording. It is not changed once it has been returned.
type Outcome struct {
	Target *target.Target
	Start  time.Time
	End    time.Time

	// Peer is the one address that was probed, where each of the endpoint's is; else it is not valid.
	Peer netip.AddrPort
	// Pool is what all addresses have to show together; nil but on one outcome of each round.
	Pool *Pool

	// File is what was found of a certificate file; nil where the outcome is the endpoint's. Beside it only Failure is set.
	File *File
	// Gone tells that there is nothing more to come: of this file, which a pattern matched at the probe before, or, where File
	// is nil, of this Peer; or, where there is neither, of the whole target, which was taken out of the configuration. Nothing
	// else is set then but File's Path.
	Gone bool

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

// Name returns the endpoint, with the one address of it that was probed, or the path of the file.
func (o *Outcome) Name() string {
	switch {
	case o.File != nil:
		return o.File.Path
	case o.Peer.IsValid():
		return fmt.Sprintf("%s (%s)", o.Target.Endpoint, o.Peer)
	}
	return o.Target.Endpoint.String()
}

// Port is the one that was probed: the endpoint's or, of a service, that of its server.
func (o *Outcome) Port() uint16 {
	if o.Peer.IsValid() {
		return o.Peer.Port()
	}
	return o.Target.Endpoint.Port
}

// Pool is the addresses of an endpoint, in order, and what each of them serves.
type Pool struct {
	Peers []PoolPeer
}

// PoolPeer is one address of a pool.
type PoolPeer struct {
	Addr netip.AddrPort
	Leaf *x509.Certificate // nil where it sent none
}

// Certificates returns how many different leaves are served.
func (p *Pool) Certificates() int {
	var leaves []*x509.Certificate
	for _, peer := range p.Peers {
		if peer.Leaf != nil && !slices.ContainsFunc(leaves, peer.Leaf.Equal) {
			leaves = append(leaves, peer.Leaf)
		}
	}
	return len(leaves)
}

// Leaf is the certificate that the server presented for itself, or the first one of the file; nil where there is none.
func (o *Outcome) Leaf() *x509.Certificate {
	if o.File == nil {
		return o.Handshake.Leaf()
	}
	if len(o.File.Certificates) == 0 {
		return nil
	}
	return o.File.Certificates[0]
}

// File is a certificate file of a target.
type File struct {
	Path         string
	Certificates []*x509.Certificate // in the file's order
	Bad          int                 // how many blocks of it could not be read
	FirstBad     string              // which is the first of them, and why, clean; empty where there is none
	Warnings     []failure.Type      // near_expiry, malformed_certificate
}

// Judged are the certificates whose expiry matters: the leaves; where the file begins with a CA certificate, and so is a
// bundle of them, all.
func (f *File) Judged() []*x509.Certificate {
	if len(f.Certificates) == 0 || f.Certificates[0].IsCA {
		return f.Certificates
	}
	return slices.DeleteFunc(slices.Clone(f.Certificates), func(c *x509.Certificate) bool { return c.IsCA })
}

// OnDisk is a certificate file beside what the endpoint serves.
type OnDisk struct {
	Path   string
	Served bool              // whether the file has the leaf that is served
	Leaf   *x509.Certificate // the first one of the file that could be served; nil where Served, and that is a CA's
	Since  time.Time         // when they began to differ, as far as can be told; zero where Served
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

	// OnDisk are the target's files that could be read; nil where the server sent no certificate.
	OnDisk []OnDisk

	// Warnings are what clients accept today all the same: near_expiry, weak_key, invalid_staple, missing_staple,
	// file_mismatch.
	Warnings []failure.Type

	ClientCertRequested bool
	AcceptableCAs       []string // distinguished names of the CAs that the server accepts client certificates from
}

// mismatch tells that what is served is in none of the files.
func (h *Handshake) mismatch() bool {
	return len(h.OnDisk) > 0 && !slices.ContainsFunc(h.OnDisk, func(f OnDisk) bool { return f.Served })
}

// Leaf is the certificate that the server presented for itself; nil where it sent none.
func (h *Handshake) Leaf() *x509.Certificate {
	if h == nil || len(h.State.PeerCertificates) == 0 {
		return nil
	}
	return h.State.PeerCertificates[0]
}
