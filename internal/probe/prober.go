// Package probe makes one probe of one target: resolve, connect, STARTTLS, handshake, verify; and reads its certificate
// files. It returns Outcomes, whatever the server does, and within the target's timeout.
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

// Prober makes probes. Its zero value is ready to use, by any number of goroutines, each for another target.
type Prober struct {
	// Resolver looks names up. Nil means that of the system.
	Resolver *net.Resolver

	histories     sync.Map // *target.Target to *history
	intermediates certs.Intermediates
	names         resolve.Cache
}

// history is what is kept of a target from one probe to the next. The probes of one target never overlap.
type history struct {
	verdict certs.VerdictCache
	// explained has the explanations of the failures that were met since the target last succeeded.
	explained map[symptom]*Explanation
	files     map[string]*onDisk // by path
	addresses map[netip.AddrPort]*history
}

// Probe probes t once: its files, then its endpoint or each address of that. It returns no outcomes where ctx is cancelled
// before the probe is complete, as a cancelled probe shows nothing about its target. again is after how long t should be
// probed again whatever its interval, 0 where there is no need.
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

// ProbeEndpoint probes the first address of t's endpoint that accepts a connection. It returns nil where ctx is cancelled
// before the probe is complete.
func (p *Prober) ProbeEndpoint(ctx context.Context, t *target.Target) *EndpointOutcome {
	o := &EndpointOutcome{About: About{Target: t, Place: t.Place()}}
	if !p.attempt(ctx, &o.About, &o.Attempt, p.history(t)) {
		return nil
	}
	return o
}

func (p *Prober) history(t *target.Target) *history {
	h, ok := p.histories.Load(t)
	if !ok {
		h, _ = p.histories.LoadOrStore(t, &history{})
	}
	return h.(*history)
}

// Forget drops what is kept of a target that is no longer probed.
func (p *Prober) Forget(t *target.Target) { p.histories.Delete(t) }
