package tlscheckreceiver

import (
	"context"
	"sync"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/schedule"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/watch"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// work is the probing of the targets, which may be replaced by others while it goes on.
type work struct {
	shard     target.Shard
	plan      *schedule.Schedule
	watch     *watch.Watcher
	prober    *probe.Prober
	telemetry *metadata.TelemetryBuilder
	outcomes  chan *probe.Outcome

	mu   sync.RWMutex
	live map[*target.Target]bool
}

// set has all of these targets probed that are in the shard, and no others. One goroutine calls it at a time.
func (w *work) set(all []*target.Target) {
	live, ours, ids := make(map[*target.Target]bool), make([]*target.Target, 0, len(all)), make(map[string]bool)
	for _, t := range all {
		if w.shard.Has(t.ID) {
			live[t], ids[t.ID] = true, true
			ours = append(ours, t)
		}
	}
	w.mu.Lock()
	before := w.live
	w.live = live
	w.mu.Unlock()
	w.plan.Set(ours)
	w.watch.Set(ours)
	for t := range before {
		if live[t] {
			continue
		}
		w.prober.Forget(t)
		if !ids[t.ID] { // else it has other settings now, and its telemetry goes on
			now := time.Now()
			w.outcomes <- &probe.Outcome{Target: t, Start: now, End: now, Gone: true}
		}
	}
}

// send hands an outcome to the recorder, unless its target was taken out meanwhile: then nothing of it may follow the
// outcome that says so.
func (w *work) send(o *probe.Outcome) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.live[o.Target] {
		w.outcomes <- o
	}
	return w.live[o.Target]
}

// probe probes a target once.
func (w *work) probe(ctx context.Context, t *target.Target, late time.Duration) {
	w.telemetry.TLSCheckProbeLateness.Record(ctx, late.Seconds())
	w.telemetry.TLSCheckProbesInFlight.Add(ctx, 1)
	defer w.telemetry.TLSCheckProbesInFlight.Add(ctx, -1)
	outcomes := w.prober.Files(ctx, t)
	switch {
	case !t.HasEndpoint():
	case t.ResolveAll:
		outcomes = append(outcomes, w.prober.ProbeAll(ctx, t)...)
	default:
		if o := w.prober.Probe(ctx, t); o != nil {
			outcomes = append(outcomes, o)
		}
	}
	for _, o := range outcomes {
		if h := o.Handshake; h != nil && h.Remembered {
			w.telemetry.TLSCheckVerdictCacheHits.Add(ctx, 1)
		} else if h != nil && h.Verdict != nil {
			w.telemetry.TLSCheckVerdictCacheMisses.Add(ctx, 1)
		}
		if !w.send(o) {
			w.prober.Forget(t)
		}
	}
}
