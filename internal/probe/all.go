package probe

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/resolve"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// ProbeAll probes each address behind the endpoint's name, all at once, at most resolve.MaxAddresses. There is an Outcome for the
// endpoint, with the look-up and the Pool, one for each address, and one for each that is no longer among them. It returns
// none when ctx is cancelled before the probes are through.
func (p *Prober) ProbeAll(ctx context.Context, t *target.Target) []*Outcome {
	m := p.memory(t)
	r := &run{prober: p, memory: m, target: t, tls: t.Settings(), out: &Outcome{Target: t, Start: time.Now()}}
	limited, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	addrs, err := r.addresses(limited)
	r.out.End = time.Now()
	outcomes := []*Outcome{r.out}
	if err == nil {
		before := m.peers
		m.peers = make(map[netip.AddrPort]*memory, len(addrs))
		outcomes = make([]*Outcome, 1+len(addrs))
		var probes sync.WaitGroup
		for i, addr := range addrs {
			own := before[addr]
			if own == nil {
				own = &memory{}
			}
			own.takeFiles(m)
			m.peers[addr] = own
			probes.Go(func() { outcomes[1+i] = p.probe(ctx, t, own, addr) })
		}
		probes.Wait()
		if ctx.Err() != nil {
			return nil
		}
		r.out.Pool = &Pool{}
		for _, o := range outcomes[1:] {
			r.out.Pool.Peers = append(r.out.Pool.Peers, PoolPeer{o.Peer, o.Leaf()})
		}
		outcomes[0] = r.out
		for addr := range before {
			if m.peers[addr] == nil {
				outcomes = append(outcomes, &Outcome{Target: t, Start: r.out.End, End: r.out.End, Peer: addr, Gone: true})
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return outcomes
}

// addresses returns the addresses of the endpoint, or of the servers of a service, in order and each once.
func (r *run) addresses(ctx context.Context) ([]netip.AddrPort, error) {
	e := r.target.Endpoint
	names := []*net.SRV{{Target: e.DNSName, Port: e.Port}}
	if e.Port == 0 {
		l := &Lookup{Step: Step{Start: time.Now()}}
		r.out.Lookup = l
		servers, err := r.prober.names.Servers(ctx, r.prober.Resolver, e.DNSName)
		l.End = time.Now()
		if len(servers) == 1 && servers[0].Target == "." { // RFC 2782
			err = &net.DNSError{Err: "its record says that there is no such service", Name: e.DNSName, IsNotFound: true}
		}
		if err != nil {
			l.Failure = r.fail(failure.DNS, err)
			return nil, err
		}
		names = servers
	}
	var all []netip.AddrPort
	var failed error
	for _, server := range names {
		addrs, err := r.resolve(ctx, server.Target)
		if err != nil {
			failed = err
			continue
		}
		for _, a := range addrs {
			all = append(all, netip.AddrPortFrom(a, server.Port))
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	all = slices.Compact(all)
	if len(all) == 0 {
		return nil, failed
	}
	r.out.Failure = nil // of one server of several that has no address
	return resolve.LimitAddresses(all, func(a netip.AddrPort) bool { return a.Addr().Is6() }), nil
}

// takeFiles makes the target's files those of a memory for one of its addresses.
func (m *memory) takeFiles(from *memory) {
	before := m.files
	m.files = make(map[string]*onDisk, len(from.files))
	for path, d := range from.files {
		own := *d
		if was := before[path]; was != nil {
			own.served, own.differs = was.served, was.differs
		}
		m.files[path] = &own
	}
}
