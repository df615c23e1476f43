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
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/transport"
)

// ProbeAddresses probes each address behind the endpoint's name, all at the same time, at most resolve.MaxAddresses. It
// returns an outcome for the endpoint, with the look-ups and the Pool, one for each address, and one for each address that
// is gone. It returns none where ctx is cancelled before the probes are complete.
func (p *Prober) ProbeAddresses(ctx context.Context, t *target.Target) []Outcome {
	h, start := p.history(t), time.Now()
	whole := &EndpointOutcome{About: About{Target: t, Place: t.Place(), Start: start}}
	limited, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	a := &attempting{About: &whole.About, Attempt: &whole.Attempt, prober: p, history: h, transport: transport.TCP, tls: t.Settings()}
	addrs, ok := a.allAddresses(limited)
	whole.End = time.Now()
	outcomes := []Outcome{whole}
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
			own.takeFiles(h)
			h.addresses[addr] = own
			o := &AddressOutcome{About: About{Target: t, Place: target.Place{TargetID: t.ID, Peer: addr}}}
			probed[i] = o
			probes.Go(func() { p.attempt(ctx, &o.About, &o.Attempt, own) })
		}
		probes.Wait()
		whole.Pool = &Pool{}
		for _, o := range probed {
			whole.Pool.Peers = append(whole.Pool.Peers, PoolPeer{o.Place.Peer, o.Handshake.Leaf()})
			outcomes = append(outcomes, o)
		}
		for addr := range before {
			if h.addresses[addr] == nil {
				outcomes = append(outcomes, &Gone{About{Target: t, Place: target.Place{TargetID: t.ID, Peer: addr}, Start: whole.End, End: whole.End}})
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return outcomes
}

// allAddresses returns the addresses of the endpoint, or of the servers of a service, in order and each once. It reports
// false, with the failure set, where there are none.
func (a *attempting) allAddresses(ctx context.Context) ([]netip.AddrPort, bool) {
	e := a.Target.Endpoint
	servers := []*net.SRV{{Target: e.DNSName, Port: e.Port}}
	if e.Port == 0 {
		var err error
		if servers, err = a.lookUpServers(ctx, e.DNSName); err != nil {
			a.Failure = a.Lookups[0].Failure
			return nil, false
		}
	}
	var all []netip.AddrPort
	for _, server := range servers {
		addrs, err := a.lookUp(ctx, server.Target)
		if err != nil {
			continue // its own step says so
		}
		for _, addr := range addrs {
			all = append(all, netip.AddrPortFrom(addr, server.Port))
		}
	}
	if len(all) == 0 {
		a.Failure = a.Lookups[len(a.Lookups)-1].Failure
		return nil, false
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return resolve.LimitAddresses(slices.Compact(all), func(a netip.AddrPort) bool { return a.Addr().Is6() }), true
}

// lookUpServers returns the servers of a service (RFC 2782).
func (a *attempting) lookUpServers(ctx context.Context, name string) ([]*net.SRV, error) {
	l := Lookup{Step: Step{Start: time.Now()}, Name: name}
	servers, err := a.prober.names.Servers(ctx, a.prober.Resolver, name)
	l.End = time.Now()
	if len(servers) == 1 && servers[0].Target == "." {
		err = &net.DNSError{Err: "its record says that there is no such service", Name: name, IsNotFound: true}
	}
	if err != nil {
		l.Failure = a.explain(failure.DNS, err)
	} else {
		for _, s := range servers {
			l.Servers = append(l.Servers, net.JoinHostPort(strings.TrimSuffix(s.Target, "."), strconv.Itoa(int(s.Port))))
		}
	}
	a.Lookups = append(a.Lookups, l)
	return servers, err
}

// takeFiles makes the files that were read for the target those of the history of one of its addresses.
func (h *history) takeFiles(from *history) {
	before := h.files
	h.files = make(map[string]*onDisk, len(from.files))
	for path, d := range from.files {
		own := *d
		if was := before[path]; was != nil {
			own.served, own.differs = was.served, was.differs
		}
		h.files[path] = &own
	}
}
