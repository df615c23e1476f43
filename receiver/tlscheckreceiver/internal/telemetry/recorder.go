// Package telemetry turns outcomes into metrics, spans and events. docs/telemetry.md describes what it sends.
package telemetry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// Recorder keeps the cumulative state of all places, and gathers telemetry until it is flushed. One goroutine uses it at a
// time.
type Recorder struct {
	to      Consumers
	obs     *receiverhelper.ObsReport
	log     *zap.Logger
	refused bool // whether the last batch was: logged once, not at every batch

	builder    *metadata.MetricsBuilder
	events     *metadata.LogsBuilder
	resource   pcommon.Resource
	attributes metadata.ResourceAttributesConfig
	durations  bool // whether tls.handshake.duration is on
	info       bool // whether tls.certificate.info is on, whose attributes are costly to make
	timeLeft   bool // whether tlscheck.time_left is on
	start      pcommon.Timestamp
	version    string

	state      map[target.Place]*state
	ownCerts   *eventState // of the client certificates that the receiver itself presents; nil until needed
	eventStore eventStore

	batch batch
}

// Consumers are the next components in the pipelines; nil where the receiver is in none of the kind.
type Consumers struct {
	Metrics consumer.Metrics
	Traces  consumer.Traces
	Logs    consumer.Logs
}

// state is what is kept of a place from one outcome to the next.
type state struct {
	identity                         []metadata.MetricAttributeOption // the attributes that name the place
	handshakes, failures, validation counters
	durations                        []histogram
	last                             result
	probed                           bool

	events  *eventState // nil where there are no events
	differs bool        // whether none of the target's files had what was served, when they were last compared
}

// result is what two probes must have in common for the second not to be a change.
type result struct {
	failure failure.Type
	leaf    [32]byte
}

// batch is what waits to be sent on.
type batch struct {
	metrics pmetric.Metrics
	byName  map[string]pmetric.Metric // those of metrics
	points  pmetric.MetricSlice       // of metrics
	traces  ptrace.Traces
	spans   ptrace.SpanSlice // of traces
	logs    plog.Logs
	records plog.LogRecordSlice // of logs
}

// New returns a Recorder for one receiver. The caller closes kept, which may be nil, after the last flush.
func New(set receiver.Settings, cfg Config, to Consumers, kept storage.Client) (*Recorder, error) {
	obs, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: "tls", LongLivedCtx: true, ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	if to.Logs == nil {
		kept = nil // only events need it
	}
	start := pcommon.NewTimestampFromTime(time.Now())
	common := cfg.ResourceAttributes
	common.TlscheckTarget.Enabled = false // it is on no other telemetry than tlscheck.time_left, even where it is overridden
	resource := metadata.NewResourceBuilder(common)
	resource.SetServiceName(metadata.Type.String())
	r := &Recorder{
		to: to, obs: obs, log: set.Logger,
		builder: metadata.NewMetricsBuilder(metadata.MetricsBuilderConfig{
			Metrics: cfg.Metrics.MetricsConfig, ResourceAttributes: cfg.ResourceAttributes,
		}, set, metadata.WithStartTime(start)),
		events: metadata.NewLogsBuilder(metadata.LogsBuilderConfig{
			Events: cfg.Events, ResourceAttributes: cfg.ResourceAttributes,
		}, set),
		resource:   resource.Emit(),
		attributes: cfg.ResourceAttributes,
		durations:  cfg.Metrics.HandshakeDuration.Enabled,
		info:       cfg.Metrics.TLSCertificateInfo.Enabled,
		timeLeft:   cfg.Metrics.TlscheckTimeLeft.Enabled,
		start:      start,
		version:    set.BuildInfo.Version,
		state:      make(map[target.Place]*state),
		eventStore: eventStore{client: kept, log: set.Logger, pending: make(map[string][]byte)},
	}
	r.reset()
	return r, nil
}

// Observe records an outcome in the batch. ctx bounds reading from the storage.
func (r *Recorder) Observe(ctx context.Context, o probe.Outcome) {
	a := o.Common()
	if _, gone := o.(*probe.Gone); gone {
		delete(r.state, a.Place)
		r.eventStore.forget(storageKey(a.Place))
		return
	}
	s := r.state[a.Place]
	if s == nil {
		s = &state{identity: identityOf(a)}
		r.state[a.Place] = s
	}
	now := resultOf(o)
	changed := !s.probed || now != s.last
	s.last, s.probed = now, true

	var ids spanIDs
	if attempt := probe.AttemptOf(o); attempt != nil && r.to.Traces != nil && wantsSpans(a, changed) {
		ids = r.recordSpans(a, attempt)
	}
	if r.to.Metrics != nil {
		r.recordMetrics(o, s, ids)
	}
	if r.to.Logs != nil {
		r.recordEvents(ctx, o, s, ids)
	}
}

// identityOf returns the attributes that name the place of an outcome.
func identityOf(a *probe.About) []metadata.MetricAttributeOption {
	if a.Place.Path != "" {
		return []metadata.MetricAttributeOption{metadata.WithCertificatePathMetricAttribute(text.Clean(a.Place.Path, attributes.MaxText))}
	}
	identity := []metadata.MetricAttributeOption{metadata.WithServerAddressMetricAttribute(a.Target.Endpoint.Host)}
	if port := a.Port(); port != 0 {
		identity = append(identity, metadata.WithServerPortMetricAttribute(int64(port)))
	}
	if peer := a.Place.Peer; peer.IsValid() {
		identity = append(identity, metadata.WithNetworkPeerAddressMetricAttribute(peer.Addr().String()))
	}
	return identity
}

// putIdentity adds the attributes that name an endpoint or an address where no generated code does.
func putIdentity(to pcommon.Map, a *probe.About) {
	to.PutStr("server.address", a.Target.Endpoint.Host)
	if port := a.Port(); port != 0 { // a service has as many ports as servers
		to.PutInt("server.port", int64(port))
	}
	if peer := a.Place.Peer; peer.IsValid() {
		to.PutStr("network.peer.address", peer.Addr().String())
	}
}

// with returns the attributes that name the place and, behind them, those of a point.
func (s *state) with(options ...metadata.MetricAttributeOption) []metadata.MetricAttributeOption {
	return append(s.identity[:len(s.identity):len(s.identity)], options...)
}

func resultOf(o probe.Outcome) (r result) {
	if f := o.Common().Failure; f != nil {
		r.failure = f.Type
	}
	if leaf := probe.Leaf(o); leaf != nil {
		r.leaf = attributes.Fingerprint(leaf)
	}
	return r
}

// wantsSpans reports whether a probe is to leave spans.
func wantsSpans(a *probe.About, changed bool) bool {
	switch a.Target.Spans {
	case target.SpansOnFailure:
		return a.Failure != nil
	case target.SpansOnChange:
		return changed
	}
	return true
}

// Flush sends the batch to the consumers, and what events must remember to the storage. What a consumer refuses is lost, and
// counted by ObsReport.
func (r *Recorder) Flush(ctx context.Context) {
	var errs []error
	if n := r.batch.metrics.DataPointCount(); n > 0 {
		ctx := r.obs.StartMetricsOp(ctx)
		err := r.to.Metrics.ConsumeMetrics(ctx, r.batch.metrics)
		r.obs.EndMetricsOp(ctx, metadata.Type.String(), n, err)
		errs = append(errs, err)
	}
	if n := r.batch.traces.SpanCount(); n > 0 {
		ctx := r.obs.StartTracesOp(ctx)
		err := r.to.Traces.ConsumeTraces(ctx, r.batch.traces)
		r.obs.EndTracesOp(ctx, metadata.Type.String(), n, err)
		errs = append(errs, err)
	}
	if n := r.batch.logs.LogRecordCount(); n > 0 {
		ctx := r.obs.StartLogsOp(ctx)
		err := r.to.Logs.ConsumeLogs(ctx, r.batch.logs)
		r.obs.EndLogsOp(ctx, metadata.Type.String(), n, err)
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err != nil && !r.refused {
		r.log.Error("The next component in the pipeline refuses the telemetry; it is lost until this is fixed. "+
			"How much is in otelcol_receiver_refused_metric_points, _spans and _log_records.", zap.Error(err))
	}
	r.refused = err != nil
	r.eventStore.save(ctx)
	r.reset()
}

func (r *Recorder) reset() {
	b := batch{metrics: pmetric.NewMetrics(), byName: make(map[string]pmetric.Metric), traces: ptrace.NewTraces(), logs: plog.NewLogs()}
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
	rl := b.logs.ResourceLogs().AppendEmpty()
	r.resource.CopyTo(rl.Resource())
	sl := rl.ScopeLogs().AppendEmpty()
	r.scope(sl.Scope())
	b.records = sl.LogRecords()
	r.batch = b
}

func (r *Recorder) scope(s pcommon.InstrumentationScope) {
	s.SetName(metadata.ScopeName)
	s.SetVersion(r.version)
}

// spanIDs are those of the spans that other signals point to; all are zero where the probe left no spans.
type spanIDs struct {
	trace     pcommon.TraceID
	root      pcommon.SpanID
	handshake pcommon.SpanID // zero where the probe did not come to it
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
