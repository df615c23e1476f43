// Package record turns Outcomes into pdata, and is the only place that does. docs/telemetry.md says what comes out.
package record

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
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

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

const (
	// A batch is sent on when it is this old or has this many outcomes, whichever comes first. An outcome takes 3 KiB in
	// OTLP, with long names more than ten; most receivers of OTLP refuse what is above 4 MiB.
	maxBatchAge  = time.Second
	maxBatchSize = 200

	// gather is how long outcomes wait for others, so that not each of them has to wake the recorder up.
	gather = 20 * time.Millisecond
)

// Recorder keeps the cumulative state of all targets. One goroutine owns it, that of Run.
type Recorder struct {
	// Observe is shown every outcome, in the goroutine of Run. It is set before Run and may be nil.
	Observe func(*probe.Outcome)

	to      Consumers
	obs     *receiverhelper.ObsReport
	log     *zap.Logger
	refused bool // whether the last batch was: told once, not at every batch

	builder    *metadata.MetricsBuilder
	events     *metadata.LogsBuilder
	resource   pcommon.Resource
	attributes metadata.ResourceAttributesConfig
	durations  bool // whether tls.handshake.duration is on
	info       bool // whether tls.certificate.info is on, whose attributes are costly to make
	timeLeft   bool // whether tlscheck.time_left is on
	start      pcommon.Timestamp
	version    string

	state   map[string]*places // by the targets' IDs, which stay when their settings change
	clients *memory            // of the certificates that the receiver itself presents; nil until there is need
	store   store

	batch batch
}

// Consumers are the next components in the pipelines; nil where the receiver is in none of the kind.
type Consumers struct {
	Metrics consumer.Metrics
	Traces  consumer.Traces
	Logs    consumer.Logs
}

// places are those of a target. Most targets have only their endpoint.
type places struct {
	target   *target.Target // the one whose outcome came last
	endpoint *state         // nil where there is none
	others   map[place]*state
}

func (p *places) at(where place) *state {
	if where == (place{}) {
		return p.endpoint
	}
	return p.others[where]
}

func (p *places) set(where place, s *state) {
	switch {
	case where == (place{}):
		p.endpoint = s
	case s == nil:
		delete(p.others, where)
	case p.others == nil:
		p.others = map[place]*state{where: s}
	default:
		p.others[where] = s
	}
}

// place is what telemetry of a target is about: its endpoint, where both are zero, one of its files, or one address of the
// endpoint.
type place struct {
	path string
	peer netip.AddrPort
}

// state is what is remembered of a place from one probe to the next.
type state struct {
	where                            []metadata.MetricAttributeOption // the place
	handshakes, failures, validation counters
	durations                        []histogram
	last                             ending
	probed                           bool

	memory  *memory // nil where there are no events
	differs bool    // whether none of the target's files had what was served, when they were last compared
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
	logs     plog.Logs
	records  plog.LogRecordSlice // of logs
}

// New returns a Recorder for one receiver. The memory, nil where there is none, is for the caller to close once Run has
// returned.
func New(set receiver.Settings, cfg Config, to Consumers, memory storage.Client) (*Recorder, error) {
	obs, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: "tls", LongLivedCtx: true, ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	if to.Logs == nil {
		memory = nil // only events have need of it
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
		state:      make(map[string]*places),
		store:      store{client: memory, log: set.Logger, pending: make(map[string][]byte)},
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
			r.guarded(ctx, o)
			switch r.batch.outcomes {
			case 1:
				timer.Reset(maxBatchAge)
			case maxBatchSize:
				r.flush(ctx)
				timer.Stop()
			}
			if len(outcomes) == 0 && !o.Gone { // thousands go at once
				time.Sleep(gather)
			}
		case <-timer.C:
			r.flush(ctx)
		}
	}
}

// guarded records an outcome. What a certificate can still do to the code that describes it costs that outcome alone.
func (r *Recorder) guarded(ctx context.Context, o *probe.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("The telemetry of one probe is lost: this is a fault of the receiver, please report it.",
				zap.String("target", o.Name()), zap.Any("panic", v), zap.Stack("stack"))
			r.batch.outcomes++
		}
	}()
	r.record(ctx, o)
}

func (r *Recorder) record(ctx context.Context, o *probe.Outcome) {
	if o.Gone {
		r.forget(o)
		r.observe(o)
		return
	}
	s := r.stateOf(o)
	now := endingOf(o)
	changed := !s.probed || now != s.last
	s.last, s.probed = now, true

	var ids spanIDs
	if r.to.Traces != nil && o.File == nil && wanted(o, changed) {
		ids = r.recordSpans(o)
	}
	if r.to.Metrics != nil {
		r.recordMetrics(o, s, ids)
	}
	if r.to.Logs != nil {
		r.recordEvents(ctx, o, s, ids)
	}
	r.observe(o)
}

func (r *Recorder) stateOf(o *probe.Outcome) *state {
	p := r.state[o.Target.ID]
	if p == nil {
		p = &places{}
		r.state[o.Target.ID] = p
	}
	p.target = o.Target
	s := p.at(placeOf(o))
	if s == nil {
		s = newState(o)
		p.set(placeOf(o), s)
	}
	return s
}

// forget drops all that is remembered of a file, of an address, or of a whole target; not of one that was only changed, whose ID
// another one has now.
func (r *Recorder) forget(o *probe.Outcome) {
	gone := []place{placeOf(o)}
	p := r.state[o.Target.ID]
	if p == nil {
		p = &places{target: o.Target}
	}
	if gone[0] == (place{}) {
		if p.target != o.Target {
			return
		}
		gone = slices.AppendSeq(gone, maps.Keys(p.others))
	}
	for _, at := range gone {
		p.set(at, nil)
		r.store.forget(placeKey(o.Target, at))
	}
	if p.endpoint == nil && len(p.others) == 0 {
		delete(r.state, o.Target.ID)
	}
}

func placeOf(o *probe.Outcome) place {
	if o.File != nil {
		return place{path: o.File.Path}
	}
	return place{peer: o.Peer}
}

func (r *Recorder) observe(o *probe.Outcome) {
	if r.Observe != nil {
		r.Observe(o)
	}
	r.batch.outcomes++
}

func newState(o *probe.Outcome) *state {
	if o.File != nil {
		return &state{where: []metadata.MetricAttributeOption{metadata.WithCertificatePathMetricAttribute(text.Clean(o.File.Path, maxText))}}
	}
	where := []metadata.MetricAttributeOption{metadata.WithServerAddressMetricAttribute(o.Target.Endpoint.Host)}
	if port := o.Port(); port != 0 {
		where = append(where, metadata.WithServerPortMetricAttribute(int64(port)))
	}
	if o.Peer.IsValid() {
		where = append(where, metadata.WithNetworkPeerAddressMetricAttribute(o.Peer.Addr().String()))
	}
	return &state{where: where}
}

// putPlace adds the attributes of an endpoint where no generated code does.
func putPlace(a pcommon.Map, o *probe.Outcome) {
	a.PutStr("server.address", o.Target.Endpoint.Host)
	if port := o.Port(); port != 0 { // a service has as many ports as servers
		a.PutInt("server.port", int64(port))
	}
	if o.Peer.IsValid() {
		a.PutStr("network.peer.address", o.Peer.Addr().String())
	}
}

// with returns the attributes of the place and, behind them, those of a point.
func (s *state) with(options ...metadata.MetricAttributeOption) []metadata.MetricAttributeOption {
	return append(s.where[:len(s.where):len(s.where)], options...)
}

func endingOf(o *probe.Outcome) ending {
	var e ending
	if o.Failure != nil {
		e.failure = o.Failure.Type
	}
	if leaf := o.Leaf(); leaf != nil {
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
		r.log.Error("The next component in the pipeline refuses the telemetry; it is lost until this is mended. "+
			"How much is in otelcol_receiver_refused_metric_points, _spans and _log_records.", zap.Error(err))
	}
	r.refused = err != nil
	r.store.save(ctx)
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
