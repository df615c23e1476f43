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

// Outcome is the result of a probe for one place. It is an *EndpointOutcome, an *AddressOutcome, a *FileOutcome or a *Gone.
// It must not be changed.
type Outcome interface {
	// Common returns the part that every outcome has.
	Common() *About
	// isOutcome is on these four types only.
	isOutcome()
}

func (*EndpointOutcome) isOutcome() {}
func (*AddressOutcome) isOutcome()  {}
func (*FileOutcome) isOutcome()     {}
func (*Gone) isOutcome()            {}

// About is the part that every outcome has: its place, its times, and its failure.
type About struct {
	Target  *target.Target
	Place   target.Place
	Start   time.Time
	End     time.Time
	Failure *failure.Failure // nil if nothing is wrong
}

// Common implements Outcome.
func (a *About) Common() *About { return a }

// Name returns the endpoint, the endpoint and the address, or the path of the file, depending on the place.
func (a *About) Name() string {
	switch {
	case a.Place.Path != "":
		return a.Place.Path
	case a.Place.Peer.IsValid():
		return fmt.Sprintf("%s (%s)", a.Target.Endpoint, a.Place.Peer)
	}
	return a.Target.Endpoint.String()
}

// Port returns the port of the address or of the endpoint. It is 0 if there is none.
func (a *About) Port() uint16 {
	if a.Place.Peer.IsValid() {
		return a.Place.Peer.Port()
	}
	return a.Target.Endpoint.Port
}

// EndpointOutcome is about an endpoint. It has the attempt with the first of its addresses that accepts a connection. If
// each address is probed, the attempt has only the look-ups, and the Pool has the addresses.
type EndpointOutcome struct {
	About
	Attempt
	Pool *Pool // nil unless each address is probed, or if the look-up failed
}

// AddressOutcome is about one address of an endpoint whose addresses are all probed.
type AddressOutcome struct {
	About
	Attempt
}

// FileOutcome is about a certificate file, or about a pattern that has failed or recovered.
type FileOutcome struct {
	About
	Certificates []*x509.Certificate // in the order of the file
	Depths       []int               // of Certificates: how many precede each, including those that could not be parsed
	BadLeaf      bool                // whether the certificate that a server would present could not be parsed
	Bad          int                 // number of certificates that could not be parsed
	FirstBad     string              // the first of them and its error, cleaned; empty if there are none
	Warnings     []failure.Type      // near_expiry, malformed_certificate
}

// Gone says that there will be no more outcomes for a place: an address or a file is gone, or a target was removed.
type Gone struct{ About }

// Attempt is what happened in an attempt, step by step.
type Attempt struct {
	Lookups   []Lookup   // for the endpoint's name, or for a service and its servers; none if the endpoint is an address
	Dials     []Dial     // one for each address that was tried, in order
	StartTLS  *Timed     // nil if STARTTLS is not used or was not reached
	Handshake *Handshake // nil if it was not reached

	// ClientCert is the client certificate that is configured for the target; nil if there is none.
	ClientCert *x509.Certificate
	// Explanation holds the further handshakes that were made to explain the failure; nil if there were none.
	Explanation *Explanation
}

// AttemptOf returns the attempt of an outcome, or nil if the outcome is a *FileOutcome or a *Gone.
func AttemptOf(o Outcome) *Attempt {
	switch o := o.(type) {
	case *EndpointOutcome:
		return &o.Attempt
	case *AddressOutcome:
		return &o.Attempt
	}
	return nil
}

// Leaf returns the server's own certificate or, for a *FileOutcome, the file's first certificate. It returns nil if there is
// none, or if it could not be parsed.
func Leaf(o Outcome) *x509.Certificate {
	if a := AttemptOf(o); a != nil {
		return a.Handshake.Leaf()
	}
	if f, ok := o.(*FileOutcome); ok && len(f.Certificates) > 0 && f.Depths[0] == 0 {
		return f.Certificates[0]
	}
	return nil
}

// Pool holds the addresses of an endpoint.
type Pool struct {
	Peers []PoolPeer // sorted by address
}

// PoolPeer is one address of a pool.
type PoolPeer struct {
	Addr netip.AddrPort
	Leaf *x509.Certificate // what it serves; nil if it sent no certificate
}

// Certificates returns the number of different leaves that the addresses serve.
func (p *Pool) Certificates() int {
	var leaves []*x509.Certificate
	for _, peer := range p.Peers {
		if peer.Leaf != nil && !slices.ContainsFunc(leaves, peer.Leaf.Equal) {
			leaves = append(leaves, peer.Leaf)
		}
	}
	return len(leaves)
}

// Judged returns the certificates whose expiry matters. If the file begins with a CA certificate, it is a bundle of CAs, and
// all of them matter. Otherwise the leaves do.
func (f *FileOutcome) Judged() []*x509.Certificate {
	if len(f.Certificates) == 0 || f.Certificates[0].IsCA && !f.BadLeaf {
		return f.Certificates
	}
	return slices.DeleteFunc(slices.Clone(f.Certificates), func(c *x509.Certificate) bool { return c.IsCA })
}

// OnDisk is a certificate file compared with what the endpoint serves.
type OnDisk struct {
	Path   string
	Served bool              // whether the file has the served leaf
	Leaf   *x509.Certificate // the file's first certificate that could be served; nil if Served
	Since  time.Time         // since when the file and the endpoint have differed, as far as known; zero if Served
}

// Timed is one step of an attempt.
type Timed struct {
	Start   time.Time
	End     time.Time
	Failure *failure.Failure // nil if the step succeeded
}

// Lookup is one DNS look-up, of the addresses of a name or of the servers of a service.
type Lookup struct {
	Timed
	Name    string       // the name that was looked up
	Addrs   []netip.Addr // none if the look-up failed or was for servers
	Servers []string     // host:port of each server; none if the look-up failed or was for addresses
}

// Dial is an attempt to connect to one address.
type Dial struct {
	Timed
	Transport string // the value of network.transport
	Addr      netip.AddrPort
}

// Handshake is the TLS handshake of a probe.
type Handshake struct {
	handshake.Facts

	FromCache bool // whether the verdict came from the cache
	// Finding explains what is wrong with the server's certificate; nil if nothing is. It is also the Failure, unless
	// insecure_skip_verify is set.
	Finding *failure.Failure
	// OnDisk compares the target's files with the served certificate. It is nil if the server sent none.
	OnDisk []OnDisk
}

// mismatch reports whether there are files to compare with, and none of them has the served leaf.
func (h *Handshake) mismatch() bool {
	return len(h.OnDisk) > 0 && !slices.ContainsFunc(h.OnDisk, func(f OnDisk) bool { return f.Served })
}

// Leaf returns the server's own certificate, or nil if the server sent none. h may be nil.
func (h *Handshake) Leaf() *x509.Certificate {
	if h == nil {
		return nil
	}
	return h.Facts.Leaf()
}
