package probe

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Outcome is what was found of one place. It is an *EndpointOutcome, an *AddressOutcome, a *FileOutcome or a *Gone, and is
// not changed once it has been returned.
type Outcome interface {
	// Common returns what every outcome has.
	Common() *About
}

// About says what an outcome is about, when it was found, and what is wrong.
type About struct {
	Target  *target.Target
	Place   target.Place
	Start   time.Time
	End     time.Time
	Failure *failure.Failure // nil where nothing is wrong
}

// Common implements Outcome.
func (a *About) Common() *About { return a }

// Name returns the endpoint, followed by the one address of it that was probed, or the path of the file.
func (a *About) Name() string {
	switch {
	case a.Place.Path != "":
		return a.Place.Path
	case a.Place.Peer.IsValid():
		return fmt.Sprintf("%s (%s)", a.Target.Endpoint, a.Place.Peer)
	}
	return a.Target.Endpoint.String()
}

// Port returns the port that was probed: the endpoint's or, of a service, that of its server. It is 0 where there is none.
func (a *About) Port() uint16 {
	if a.Place.Peer.IsValid() {
		return a.Place.Peer.Port()
	}
	return a.Target.Endpoint.Port
}

// EndpointOutcome is about an endpoint: the attempt at the first of its addresses that accepts a connection or, where each
// address is probed, the look-ups and what the addresses have in common.
type EndpointOutcome struct {
	About
	Attempt
	Pool *Pool // nil where not each address is probed, or none was found
}

// AddressOutcome is about one address of an endpoint of which each is probed.
type AddressOutcome struct {
	About
	Attempt
}

// FileOutcome is about a certificate file, or about a pattern that matches none.
type FileOutcome struct {
	About
	Certificates []*x509.Certificate // in the file's order
	Bad          int                 // how many blocks of it could not be read
	FirstBad     string              // which is the first of them, and why, clean; empty where there is none
	Warnings     []failure.Type      // near_expiry, malformed_certificate
}

// Gone says that a place is no longer watched: nothing more will be found of it.
type Gone struct{ About }

// Attempt is how far a probe came, step by step.
type Attempt struct {
	Lookups   []Lookup   // of the endpoint's name or, of a service, of its servers' names too; none of an address
	Dials     []Dial     // one for each address tried, in turn
	StartTLS  *Step      // nil where TLS is spoken from the first byte, or the probe did not come to it
	Handshake *Handshake // nil where the probe did not come to it

	// ClientCert is the certificate that is configured for this target; nil where there is none.
	ClientCert *x509.Certificate
	// Explanation is what was tried to find out what would work; nil where nothing was.
	Explanation *Explanation
}

// AttemptOf returns the attempt of an outcome, nil where there was none because it is about a file or about a place that is
// gone.
func AttemptOf(o Outcome) *Attempt {
	switch o := o.(type) {
	case *EndpointOutcome:
		return &o.Attempt
	case *AddressOutcome:
		return &o.Attempt
	}
	return nil
}

// Leaf returns the certificate that the server presented for itself, or the first one of the file; nil where there is none.
func Leaf(o Outcome) *x509.Certificate {
	if a := AttemptOf(o); a != nil {
		return a.Handshake.Leaf()
	}
	if f, ok := o.(*FileOutcome); ok && len(f.Certificates) > 0 {
		return f.Certificates[0]
	}
	return nil
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

// Judged are the certificates whose expiry matters: the leaves; where the file begins with a CA certificate, and so is a
// bundle of them, all.
func (f *FileOutcome) Judged() []*x509.Certificate {
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

// Lookup is one question to DNS: for the addresses of a name, or for the servers of a service.
type Lookup struct {
	Step
	Name    string       // that was looked up
	Addrs   []netip.Addr // none where it failed or was for servers
	Servers []string     // host:port of each server; none where it failed or was for addresses
}

// Dial is an attempt to connect to one address.
type Dial struct {
	Step
	Transport string // the value of network.transport
	Addr      netip.AddrPort
}

// Handshake is the TLS handshake of a probe.
type Handshake struct {
	handshake.Facts

	FromCache bool // whether the verdict did not have to be found anew
	// Finding explains a verdict that is not valid. It is the failure as well, unless verification is skipped.
	Finding *failure.Failure
	// OnDisk are the target's files that could be read; nil where the server sent no certificate.
	OnDisk []OnDisk
}

// mismatch reports whether what is served is in none of the files.
func (h *Handshake) mismatch() bool {
	return len(h.OnDisk) > 0 && !slices.ContainsFunc(h.OnDisk, func(f OnDisk) bool { return f.Served })
}

// Leaf returns the certificate that the server presented for itself, nil where it sent none. The handshake may be nil.
func (h *Handshake) Leaf() *x509.Certificate {
	if h == nil {
		return nil
	}
	return h.Facts.Leaf()
}
