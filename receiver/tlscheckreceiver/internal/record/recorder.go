// Package record turns Outcomes into pdata, and is the only place that does. docs/telemetry.md says what comes out.
package record

import (
	"context"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

const (
	// A batch is sent on when it is this old or has this many outcomes, whichever comes first.
	maxBatchAge  = time.Second
	maxBatchSize = 1000
)

// Recorder keeps the cumulative state of all targets. One goroutine owns it, that of Run.
type Recorder struct {
	// Observe is shown every outcome, in the goroutine of Run. It is set before Run and may be nil.
	Observe func(*probe.Outcome)

	metrics consumer.Metrics // nil where the receiver is in no metrics pipeline
	traces  consumer.Traces  // nil where it is in no traces pipeline
	obs     *receiverhelper.ObsReport
	log     *zap.Logger
	refused bool // whether the last batch was: told once, not at every batch

	builder   *metadata.MetricsBuilder
	resource  pcommon.Resource
	durations bool // whether tls.handshake.duration is on
	info      bool // whether tls.certificate.info is on, whose attributes are costly to make
	start     pcommon.Timestamp
	version   string
	state     map[*target.Target]*state

	batch batch
}

// state is what is remembered of a target from one probe to the next.
type state struct {
	handshakes, failures, validation counters
	durations                        []*histogram
	last                             ending
	probed                           bool
}

// ending is what two probes must have in common for the second not to be a change.
type ending struct {
	failure failure.Type
	leaf    [32]byte
}

// batch is what waits to be sent on.
type batch struct {
	outcomes int
	metrics  pmetric.Metrics
	byName   map[string]pmetric.Metric // those of metrics
	points   pmetric.MetricSlice       // of metrics
	traces   ptrace.Traces
	spans    ptrace.SpanSlice // of traces
}

// New returns a Recorder for one receiver. Either consumer may be nil.
func New(set receiver.Settings, cfg Config, metrics consumer.Metrics, traces consumer.Traces) (*Recorder, error) {
	obs, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: "tls", LongLivedCtx: true, ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	start := pcommon.NewTimestampFromTime(time.Now())
	resource := metadata.NewResourceBuilder(cfg.ResourceAttributes)
	resource.SetServiceName(metadata.Type.String())
	r := &Recorder{
		metrics: metrics, traces: traces, obs: obs, log: set.Logger,
		builder: metadata.NewMetricsBuilder(metadata.MetricsBuilderConfig{
			Metrics: cfg.Metrics.MetricsConfig, ResourceAttributes: cfg.ResourceAttributes,
		}, set, metadata.WithStartTime(start)),
		resource:  resource.Emit(),
		durations: cfg.Metrics.HandshakeDuration.Enabled,
		info:      cfg.Metrics.TLSCertificateInfo.Enabled,
		start:     start,
		version:   set.BuildInfo.Version,
		state:     make(map[*target.Target]*state),
	}
	r.reset()
	return r, nil
}

// Run records outcomes until the channel is closed, and sends the last batch before it returns. When ctx ends, the
// consumers are told not to block any longer.
func (r *Recorder) Run(ctx context.Context, outcomes <-chan *probe.Outcome) {
	timer := time.NewTimer(maxBatchAge)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case o, ok := <-outcomes:
			if !ok {
				r.flush(ctx)
				return
			}
			r.guarded(o)
			switch r.batch.outcomes {
			case 1:
				timer.Reset(maxBatchAge)
			case maxBatchSize:
				r.flush(ctx)
				timer.Stop()
			}
		case <-timer.C:
			r.flush(ctx)
		}
	}
}

// guarded records an outcome. What a certificate can still do to the code that describes it costs that outcome alone.
func (r *Recorder) guarded(o *probe.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("The telemetry of one probe is lost: this is a fault of the receiver, please report it.",
				zap.Stringer("endpoint", o.Target.Endpoint), zap.Any("panic", v), zap.Stack("stack"))
			r.batch.outcomes++
		}
	}()
	r.record(o)
}

func (r *Recorder) record(o *probe.Outcome) {
	s := r.state[o.Target]
	if s == nil {
		s = &state{}
		r.state[o.Target] = s
	}
	now := endingOf(o)
	changed := !s.probed || now != s.last
	s.last, s.probed = now, true

	var ids spanIDs
	if r.traces != nil && wanted(o, changed) {
		ids = r.recordSpans(o)
	}
	if r.metrics != nil {
		r.recordMetrics(o, s, ids)
	}
	if r.Observe != nil {
		r.Observe(o)
	}
	r.batch.outcomes++
}

func endingOf(o *probe.Outcome) ending {
	var e ending
	if o.Failure != nil {
		e.failure = o.Failure.Type
	}
	if leaf := o.Handshake.Leaf(); leaf != nil {
		e.leaf = fingerprint(leaf)
	}
	return e
}

// wanted tells whether a probe is to leave spans.
func wanted(o *probe.Outcome, changed bool) bool {
	switch o.Target.Spans {
	case target.SpansOnFailure:
		return o.Failure != nil
	case target.SpansOnChange:
		return changed
	}
	return true
}

// flush sends the batch on. What a consumer refuses is counted by ObsReport, and the next batch goes on without it.
func (r *Recorder) flush(ctx context.Context) {
	var err error
	if n := r.batch.metrics.DataPointCount(); n > 0 {
		ctx := r.obs.StartMetricsOp(ctx)
		err = r.metrics.ConsumeMetrics(ctx, r.batch.metrics)
		r.obs.EndMetricsOp(ctx, metadata.Type.String(), n, err)
	}
	if n := r.batch.traces.SpanCount(); n > 0 {
		ctx := r.obs.StartTracesOp(ctx)
		errTraces := r.traces.ConsumeTraces(ctx, r.batch.traces)
		r.obs.EndTracesOp(ctx, metadata.Type.String(), n, errTraces)
		if errTraces != nil {
			err = errTraces
		}
	}
	if err != nil && !r.refused {
		r.log.Error("The next component in the pipeline refuses the telemetry; it is lost until this is mended. "+
			"How much is in otelcol_receiver_refused_metric_points and _spans.", zap.Error(err))
	}
	r.refused = err != nil
	r.reset()
}

func (r *Recorder) reset() {
	b := batch{metrics: pmetric.NewMetrics(), byName: make(map[string]pmetric.Metric), traces: ptrace.NewTraces()}
	rm := b.metrics.ResourceMetrics().AppendEmpty()
	r.resource.CopyTo(rm.Resource())
	sm := rm.ScopeMetrics().AppendEmpty()
	r.scope(sm.Scope())
	b.points = sm.Metrics()
	rs := b.traces.ResourceSpans().AppendEmpty()
	r.resource.CopyTo(rs.Resource())
	ss := rs.ScopeSpans().AppendEmpty()
	r.scope(ss.Scope())
	b.spans = ss.Spans()
	r.batch = b
}

func (r *Recorder) scope(s pcommon.InstrumentationScope) {
	s.SetName(metadata.ScopeName)
	s.SetVersion(r.version)
}

// spanIDs are those of the span tls.handshake; its trace is zero where the probe left no such span.
type spanIDs struct {
	trace pcommon.TraceID
	span  pcommon.SpanID
}

func newTraceID() (id pcommon.TraceID) {
	put64(id[:8], rand.Uint64())
	put64(id[8:], rand.Uint64())
	return id
}

func newSpanID() (id pcommon.SpanID) {
	put64(id[:], rand.Uint64()|1) // the identifier of all zeros is not valid
	return id
}

func put64(b []byte, v uint64) {
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
}
