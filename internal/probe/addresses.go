package probe

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/resolve"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// ProbeAddresses probes the addresses of the endpoint's name at the same time, at most resolve.MaxAddresses of them. It
// returns an outcome for the endpoint, with the look-ups and the Pool, one for each address, and a Gone for each address
// that the name no longer has. It returns nil if ctx is cancelled before the probes are complete.
func (p *Prober) ProbeAddresses(ctx context.Context, t *target.Target) []Outcome {
	h := p.history(t)
	endpoint := &EndpointOutcome{About: About{Target: t, Place: t.Place()}}
	limited, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	r := p.newRun(&endpoint.About, &endpoint.Attempt, h)
	addrs, ok := r.allAddresses(limited)
	endpoint.End = time.Now()
	outcomes := []Outcome{endpoint}
	if ok {
		before := h.addresses
		h.addresses = make(map[netip.AddrPort]*history, len(addrs))
		probed := make([]*AddressOutcome, len(addrs))
		var probes sync.WaitGroup
		for i, addr := range addrs {
			own := before[addr]
			if own == nil {
				own = &history{}
			}
			own.copyFiles(h)
			h.addresses[addr] = own
			o := &AddressOutcome{About: About{Target: t, Place: target.Place{TargetID: t.ID, Peer: addr}}}
			probed[i] = o
			probes.Go(func() { p.attempt(ctx, &o.About, &o.Attempt, own) })
		}
		probes.Wait()
		endpoint.Pool = &Pool{}
		for _, o := range probed {
			endpoint.Pool.Peers = append(endpoint.Pool.Peers, PoolPeer{o.Place.Peer, o.Handshake.Leaf()})
			outcomes = append(outcomes, o)
		}
		for addr := range before {
			if h.addresses[addr] == nil {
				outcomes = append(outcomes, &Gone{About{Target: t, Place: target.Place{TargetID: t.ID, Peer: addr}, Start: endpoint.End, End: endpoint.End}})
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return outcomes
}

// allAddresses returns the addresses of the endpoint, or of the servers of a service, sorted and without duplicates. If
// there are none, it sets the failure and reports false.
func (r *run) allAddresses(ctx context.Context) ([]netip.AddrPort, bool) {
	e := r.Target.Endpoint
	servers := []*net.SRV{{Target: e.DNSName, Port: e.Port}}
	if e.Port == 0 {
		var err error
		if servers, err = r.lookUpServers(ctx, e.DNSName); err != nil {
			r.Failure = r.Lookups[0].Failure
			return nil, false
		}
	}
	var all []netip.AddrPort
	for _, server := range servers {
		addrs, err := r.lookUp(ctx, server.Target)
		if err != nil {
			continue // the Lookup has the failure
		}
		for _, addr := range addrs {
			all = append(all, netip.AddrPortFrom(addr, server.Port))
		}
	}
	if len(all) == 0 {
		r.Failure = r.Lookups[len(r.Lookups)-1].Failure
		return nil, false
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return resolve.LimitAddresses(slices.Compact(all), func(addr netip.AddrPort) bool { return addr.Addr().Is6() }), true
}

// lookUpServers looks up the servers of a service (RFC 2782).
func (r *run) lookUpServers(ctx context.Context, name string) ([]*net.SRV, error) {
	l := Lookup{Timed: Timed{Start: time.Now()}, Name: name}
	servers, err := r.prober.names.Servers(ctx, r.prober.Resolver, name)
	l.End = time.Now()
	if len(servers) == 1 && servers[0].Target == "." { // RFC 2782: the service is not available
		err = &net.DNSError{Err: "its record says that there is no such service", Name: name, IsNotFound: true}
	}
	if err != nil {
		l.Failure = r.explain(failure.DNS, err)
	} else {
		for _, s := range servers {
			l.Servers = append(l.Servers, net.JoinHostPort(strings.TrimSuffix(s.Target, "."), strconv.Itoa(int(s.Port))))
		}
	}
	r.Lookups = append(r.Lookups, l)
	return servers, err
}

// copyFiles copies the files from the history of a target to h, the history of one of its addresses. h keeps when this
// address served each of them.
func (h *history) copyFiles(from *history) {
	before := h.files
	h.files = make(map[string]*fileHistory, len(from.files))
	for path, file := range from.files {
		own := *file
		if old := before[path]; old != nil {
			own.served, own.differs = old.served, old.differs
		}
		h.files[path] = &own
	}
}
