// Package probe makes one probe of one target: it looks up the name, connects, starts TLS, makes the handshake and verifies
// the certificate. It also reads the target's certificate files. It returns Outcomes, whatever the server does. Each attempt
// to reach a server ends within the target's timeout.
package probe

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/resolve"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Prober makes probes. Its zero value is ready to use. Several goroutines may use it at the same time, but not for the same
// target.
type Prober struct {
	// Resolver looks up names. Nil means the system's resolver.
	Resolver *net.Resolver

	histories     sync.Map // *target.Target to *history
	clientChains  sync.Map // weak.Pointer[tls.Certificate] to *certs.ClientChain
	intermediates certs.Intermediates
	names         resolve.Cache
}

// history is what is kept about a target between probes. The probes of one target never overlap.
type history struct {
	verdict certs.VerdictCache
	// explanations are those of the failures since the target's last success.
	explanations map[failureKey]*Explanation
	files        map[string]*fileHistory // by path
	addresses    map[netip.AddrPort]*history
}

// Probe probes t once: its files, and its endpoint or each of the endpoint's addresses. If ctx is cancelled, it returns only
// the outcomes of what was complete by then. again is the time after which t should be probed again, even if its interval is
// longer; 0 means that the interval is enough.
func (p *Prober) Probe(ctx context.Context, t *target.Target) (outcomes []Outcome, again time.Duration) {
	outcomes, again = p.ReadFiles(ctx, t)
	switch {
	case !t.HasEndpoint():
	case t.ResolveAll:
		outcomes = append(outcomes, p.ProbeAddresses(ctx, t)...)
	default:
		if o := p.ProbeEndpoint(ctx, t); o != nil {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes, again
}

// ProbeEndpoint probes the first address of t's endpoint that accepts a connection. It returns nil if ctx is cancelled
// before the probe is complete.
func (p *Prober) ProbeEndpoint(ctx context.Context, t *target.Target) *EndpointOutcome {
	o := &EndpointOutcome{About: About{Target: t, Place: t.Place()}}
	if !p.attempt(ctx, &o.About, &o.Attempt, p.history(t)) {
		return nil
	}
	return o
}

// history returns the history of t. It creates one if necessary.
func (p *Prober) history(t *target.Target) *history {
	h, ok := p.histories.Load(t)
	if !ok {
		h, _ = p.histories.LoadOrStore(t, &history{})
	}
	return h.(*history)
}

// Forget drops the history of a target that is no longer probed.
func (p *Prober) Forget(t *target.Target) { p.histories.Delete(t) }
