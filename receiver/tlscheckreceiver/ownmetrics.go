package tlscheckreceiver

import (
	"context"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// ownMetrics records the work of the receiver itself, for the collector's own telemetry. It is an engine.Observer.
type ownMetrics struct {
	*metadata.TelemetryBuilder
}

func (m ownMetrics) probeBegins(late time.Duration) {
	m.TLSCheckProbeLateness.Record(context.Background(), late.Seconds())
	m.TLSCheckProbesInFlight.Add(context.Background(), 1)
}

func (m ownMetrics) probeEnds() { m.TLSCheckProbesInFlight.Add(context.Background(), -1) }

func (m ownMetrics) probeSkipped() { m.TLSCheckProbesSkipped.Add(context.Background(), 1) }

func (m ownMetrics) targetFileErrors(difference int64) {
	m.TLSCheckTargetFilesErrors.Add(context.Background(), difference)
}

// Observe counts the hits and misses of the verdict cache.
func (m ownMetrics) Observe(ctx context.Context, o probe.Outcome) {
	a := probe.AttemptOf(o)
	switch {
	case a == nil, a.Handshake == nil, a.Handshake.Verdict == nil:
	case a.Handshake.FromCache:
		m.TLSCheckVerdictCacheHits.Add(ctx, 1)
	default:
		m.TLSCheckVerdictCacheMisses.Add(ctx, 1)
	}
}

// Flush does nothing. The collector collects these metrics itself.
func (ownMetrics) Flush(context.Context) {}
