// Package telemetry turns outcomes into metrics, spans and events. docs/telemetry.md describes them.
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

// Recorder keeps the cumulative state of each place, and collects telemetry until it is flushed. It must not be used by
// two goroutines at the same time.
type Recorder struct {
	next    Consumers
	obs     *receiverhelper.ObsReport
	log     *zap.Logger
	refused bool // whether the last batch that was sent was refused: only the first of several is logged

	metricsBuilder     *metadata.MetricsBuilder
	logsBuilder        *metadata.LogsBuilder
	resource           pcommon.Resource
	resourceAttributes metadata.ResourceAttributesConfig
	durations          bool // whether tls.handshake.duration is enabled
	info               bool // whether tls.certificate.info is enabled: its attributes are expensive to make
	timeLeft           bool // whether tlscheck.time_left is enabled
	start              pcommon.Timestamp
	version            string

	places      map[target.Place]*placeState
	clientCerts *eventState // of the client certificates that the receiver presents; nil until needed
	store       eventStore

	batch batch
}

// Consumers are the next components in the pipelines. A consumer is nil if no pipeline of its kind uses the receiver.
type Consumers struct {
	Metrics consumer.Metrics
	Traces  consumer.Traces
	Logs    consumer.Logs
}

// placeState is what is kept about a place from one outcome to the next.
type placeState struct {
	identity                         []metadata.MetricAttributeOption // the attributes that name the place
	handshakes, failures, validation counters
	durations                        []histogram
	last                             result
	probed                           bool // whether there is a last result

	events     *eventState // nil without a consumer of logs
	mismatched bool        // whether the served certificate was in none of the target's files when last compared
}

// result is what is compared between two probes of a place to see whether something changed.
type result struct {
	failure failure.Type // empty if the probe succeeded
	leaf    [32]byte     // the fingerprint; zero if there is no certificate
}

// batch is the telemetry since the last flush.
type batch struct {
	metrics     pmetric.Metrics
	metricSlice pmetric.MetricSlice       // part of metrics
	byName      map[string]pmetric.Metric // the elements of metricSlice
	traces      ptrace.Traces
	spans       ptrace.SpanSlice // part of traces
	logs        plog.Logs
	records     plog.LogRecordSlice // part of logs
}

// New returns a Recorder for one receiver. It keeps the state of events across restarts with client, which may be nil and
// which the caller closes after the last flush.
func New(set receiver.Settings, cfg Config, next Consumers, client storage.Client) (*Recorder, error) {
	obs, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: "tls", LongLivedCtx: true, ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	if next.Logs == nil {
		client = nil // only events need it
	}
	start := pcommon.NewTimestampFromTime(time.Now())
	common := cfg.ResourceAttributes
	common.TlscheckTarget.Enabled = false // only tlscheck.time_left has it, even if its value is overridden
	resource := metadata.NewResourceBuilder(common)
	resource.SetServiceName(metadata.Type.String())
	r := &Recorder{
		next: next, obs: obs, log: set.Logger,
		metricsBuilder: metadata.NewMetricsBuilder(metadata.MetricsBuilderConfig{
			Metrics: cfg.Metrics.MetricsConfig, ResourceAttributes: cfg.ResourceAttributes,
		}, set, metadata.WithStartTime(start)),
		logsBuilder: metadata.NewLogsBuilder(metadata.LogsBuilderConfig{
			Events: cfg.Events, ResourceAttributes: cfg.ResourceAttributes,
		}, set),
		resource:           resource.Emit(),
		resourceAttributes: cfg.ResourceAttributes,
		durations:          cfg.Metrics.HandshakeDuration.Enabled,
		info:               cfg.Metrics.TLSCertificateInfo.Enabled,
		timeLeft:           cfg.Metrics.TlscheckTimeLeft.Enabled,
		start:              start,
		version:            set.BuildInfo.Version,
		places:             make(map[target.Place]*placeState),
		store:              eventStore{client: client, log: set.Logger, pending: make(map[string][]byte)},
	}
	r.reset()
	return r, nil
}

// Observe adds the telemetry of an outcome to the batch. ctx limits how long it may read from the storage.
func (r *Recorder) Observe(ctx context.Context, o probe.Outcome) {
	a := o.Common()
	if _, gone := o.(*probe.Gone); gone {
		delete(r.places, a.Place)
		r.store.delete(storageKey(a.Place))
		return
	}
	s := r.places[a.Place]
	if s == nil {
		s = &placeState{identity: identityOf(a)}
		r.places[a.Place] = s
	}
	now := resultOf(o)
	changed := !s.probed || now != s.last
	s.last, s.probed = now, true

	complete := false
	defer func() {
		if !complete { // in a panic: what the builders hold must not go out with the next outcome
			r.metricsBuilder.Emit()
			r.logsBuilder.Emit()
		}
	}()
	var ids spanIDs
	if attempt := probe.AttemptOf(o); attempt != nil && r.next.Traces != nil && wantsSpans(a, changed) {
		ids = r.recordSpans(a, attempt)
	}
	if r.next.Metrics != nil {
		r.recordMetrics(o, s, ids)
	}
	if r.next.Logs != nil {
		r.recordEvents(ctx, o, s, ids)
	}
	complete = true
}

// identityOf returns the metric attributes that name the place of an outcome.
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

// putIdentity adds the attributes that name an endpoint or an address, for telemetry without generated code.
func putIdentity(to pcommon.Map, a *probe.About) {
	to.PutStr("server.address", a.Target.Endpoint.Host)
	if port := a.Port(); port != 0 { // the servers of a service may have different ports
		to.PutInt("server.port", int64(port))
	}
	if peer := a.Place.Peer; peer.IsValid() {
		to.PutStr("network.peer.address", peer.Addr().String())
	}
}

// with returns the attributes that name the place, followed by options.
func (s *placeState) with(options ...metadata.MetricAttributeOption) []metadata.MetricAttributeOption {
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

// wantsSpans reports whether the target is configured to record spans for this probe.
func wantsSpans(a *probe.About, changed bool) bool {
	switch a.Target.Spans {
	case target.SpansOnFailure:
		return a.Failure != nil
	case target.SpansOnChange:
		return changed
	}
	return true
}

// Flush sends the batch to the consumers and writes the state of events to the storage. Telemetry that a consumer refuses is
// lost, and counted by ObsReport.
func (r *Recorder) Flush(ctx context.Context) {
	var errs []error
	if n := r.batch.metrics.DataPointCount(); n > 0 {
		ctx := r.obs.StartMetricsOp(ctx)
		err := r.next.Metrics.ConsumeMetrics(ctx, r.batch.metrics)
		r.obs.EndMetricsOp(ctx, metadata.Type.String(), n, err)
		errs = append(errs, err)
	}
	if n := r.batch.traces.SpanCount(); n > 0 {
		ctx := r.obs.StartTracesOp(ctx)
		err := r.next.Traces.ConsumeTraces(ctx, r.batch.traces)
		r.obs.EndTracesOp(ctx, metadata.Type.String(), n, err)
		errs = append(errs, err)
	}
	if n := r.batch.logs.LogRecordCount(); n > 0 {
		ctx := r.obs.StartLogsOp(ctx)
		err := r.next.Logs.ConsumeLogs(ctx, r.batch.logs)
		r.obs.EndLogsOp(ctx, metadata.Type.String(), n, err)
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err != nil && !r.refused {
		r.log.Error("The next component in the pipeline refuses the telemetry. What it refuses is lost, and counted in "+
			"otelcol_receiver_refused_metric_points, _spans and _log_records.", zap.Error(err))
	}
	if len(errs) > 0 {
		r.refused = err != nil
	}
	r.store.flush(ctx)
	r.reset()
}

// reset starts an empty batch.
func (r *Recorder) reset() {
	b := batch{metrics: pmetric.NewMetrics(), byName: make(map[string]pmetric.Metric), traces: ptrace.NewTraces(), logs: plog.NewLogs()}

	rm := b.metrics.ResourceMetrics().AppendEmpty()
	r.resource.CopyTo(rm.Resource())
	sm := rm.ScopeMetrics().AppendEmpty()
	r.setScope(sm.Scope())
	b.metricSlice = sm.Metrics()

	rs := b.traces.ResourceSpans().AppendEmpty()
	r.resource.CopyTo(rs.Resource())
	ss := rs.ScopeSpans().AppendEmpty()
	r.setScope(ss.Scope())
	b.spans = ss.Spans()

	rl := b.logs.ResourceLogs().AppendEmpty()
	r.resource.CopyTo(rl.Resource())
	sl := rl.ScopeLogs().AppendEmpty()
	r.setScope(sl.Scope())
	b.records = sl.LogRecords()

	r.batch = b
}

func (r *Recorder) setScope(s pcommon.InstrumentationScope) {
	s.SetName(metadata.ScopeName)
	s.SetVersion(r.version)
}

// spanIDs are the IDs that exemplars and events refer to. All are zero if the probe left no spans.
type spanIDs struct {
	trace     pcommon.TraceID
	root      pcommon.SpanID
	handshake pcommon.SpanID // zero if the probe did not get to the handshake
}

func newTraceID() (id pcommon.TraceID) {
	put64(id[:8], rand.Uint64())
	put64(id[8:], rand.Uint64())
	return id
}

func newSpanID() (id pcommon.SpanID) {
	put64(id[:], rand.Uint64()|1) // an ID of all zeros is invalid
	return id
}

func put64(b []byte, v uint64) {
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
}
