package telemetry

import (
	"crypto/x509"
	"math"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// counters are the cumulative counts of one metric of one place, in the order in which their series were first seen. There are
// few, so a slice is smaller than a map. It also keeps the order.
type counters []counter

type counter struct {
	series series
	count  int64
}

// series are the attributes that distinguish the points of one metric of one place. Empty ones are absent.
type series struct {
	phase     failure.Step
	errorType failure.Type
	version   string
	success   bool
	ofClient  bool // whether it is about the receiver's own certificate
}

func (c *counters) add(s series) {
	for i := range *c {
		if (*c)[i].series == s {
			(*c)[i].count++
			return
		}
	}
	*c = append(*c, counter{s, 1})
}

var phases = metadata.MapAttributeTLSProbePhase

// recordMetrics records one outcome. Every series of counts that the place ever had is sent with each of its probes, so that
// rate() sees no gaps. Points are moved from the generated builder to the batch after each outcome, because the builder compares
// each new point with all that it holds.
func (r *Recorder) recordMetrics(o probe.Outcome, s *placeState, ids spanIDs) {
	about := o.Common()
	ts := pcommon.NewTimestampFromTime(about.End)
	r.metricsBuilder.RecordTLSProbeSuccessDataPoint(ts, boolInt(about.Failure == nil), s.identity...)
	if f := about.Failure; f != nil {
		s.failures.add(series{phase: f.Step, errorType: f.Type})
	}
	for _, t := range validationErrors(o) {
		s.validation.add(series{errorType: t})
	}
	for _, t := range clientValidationErrors(o) {
		s.validation.add(series{errorType: t, ofClient: true})
	}
	var h *probe.Handshake
	switch o := o.(type) {
	case *probe.FileOutcome:
		r.recordCertificates(about, o.Certificates, o.Depths, s)
	case *probe.EndpointOutcome:
		h = o.Handshake
		r.recordAttempt(about, &o.Attempt, ts, s)
		if p := o.Pool; p != nil {
			r.metricsBuilder.RecordTLSEndpointAddressesDataPoint(ts, int64(len(p.Peers)), s.identity...)
			r.metricsBuilder.RecordTLSEndpointCertificatesDataPoint(ts, int64(p.Certificates()), s.identity...)
		}
	case *probe.AddressOutcome:
		h = o.Handshake
		r.recordAttempt(about, &o.Attempt, ts, s)
	}
	r.recordCounters(ts, s)

	if r.emit(about) && r.durations && len(s.durations) > 0 {
		r.recordDurations(about, h, ts, s, ids)
	}
	if r.timeLeft {
		r.recordTimeLeft(o, ts)
	}
}

// recordCounters records the counts of the place.
func (r *Recorder) recordCounters(ts pcommon.Timestamp, s *placeState) {
	b := r.metricsBuilder
	for _, c := range s.failures {
		b.RecordTLSProbeFailuresDataPoint(ts, c.count, phases[string(c.series.phase)],
			s.with(metadata.WithErrorTypeMetricAttribute(string(c.series.errorType)))...)
	}
	for _, c := range s.handshakes {
		result, option := metadata.AttributeResultSuccess, metadata.WithTLSProtocolVersionMetricAttribute(c.series.version)
		if !c.series.success {
			result, option = metadata.AttributeResultFailure, metadata.WithErrorTypeMetricAttribute(string(c.series.errorType))
		}
		b.RecordTLSHandshakeTotalDataPoint(ts, c.count, result, s.with(option)...)
	}
	for _, c := range s.validation {
		options := s.with(metadata.WithErrorTypeMetricAttribute(string(c.series.errorType)))
		if c.series.ofClient {
			options = append(options, metadata.WithTLSPeerMetricAttribute("client"))
		}
		b.RecordTLSValidationErrorsDataPoint(ts, c.count, options...)
	}
}

// recordAttempt records the steps of a probe.
func (r *Recorder) recordAttempt(about *probe.About, attempt *probe.Attempt, ts pcommon.Timestamp, s *placeState) {
	for _, p := range phaseDurations(attempt) {
		r.metricsBuilder.RecordTLSProbeDurationDataPoint(ts, p.took.Seconds(), phases[string(p.phase)], s.identity...)
	}
	if h := attempt.Handshake; h != nil {
		s.handshakes.add(handshakeSeries(about, h))
		s.observe(handshakeSeries(about, h), h.End.Sub(h.Start))
		r.recordHandshake(about, h, ts, s)
	}
	if c := attempt.ClientCert; c != nil {
		r.metricsBuilder.RecordTLSClientCertificateDaysUntilExpiryDataPoint(ts, attributes.Days(about.End, c.NotAfter),
			text.Clean(certs.SubjectName(c), attributes.MaxName), text.Clean(certs.IssuerName(c), attributes.MaxName), s.identity...)
	}
}

// emit moves the points from the builder to the batch. It reports false if the configured resource filters dropped them.
func (r *Recorder) emit(about *probe.About) (passed bool) {
	for _, rm := range r.metricsBuilder.Emit(metadata.WithResource(r.resource)).ResourceMetrics().All() {
		passed = true
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			r.merge(m, about)
		}
	}
	return passed
}

// recordTimeLeft records tlscheck.time_left, whose points are in a resource that names their target.
func (r *Recorder) recordTimeLeft(o probe.Outcome, ts pcommon.Timestamp) {
	about := o.Common()
	chain := []*x509.Certificate{probe.Leaf(o)}
	if f, ok := o.(*probe.FileOutcome); ok {
		chain = f.Certificates
	}
	for _, c := range chain {
		if c == nil {
			return
		}
		names := certs.Names(c)
		sans := make([]any, 0, min(len(names), attributes.MaxSANs))
		for _, n := range names[:cap(sans)] {
			sans = append(sans, text.Clean(n, attributes.MaxName))
		}
		r.metricsBuilder.RecordTlscheckTimeLeftDataPoint(ts, int64(math.Floor(text.Seconds(about.End, c.NotAfter))),
			text.Clean(certs.IssuerDN(c), attributes.MaxName), text.Clean(c.Subject.CommonName, attributes.MaxName), sans)
	}
	resource := metadata.NewResourceBuilder(r.resourceAttributes)
	resource.SetServiceName(metadata.Type.String())
	resource.SetTlscheckTarget(text.Clean(about.Name(), attributes.MaxText))
	for _, rm := range r.metricsBuilder.Emit(metadata.WithResource(resource.Emit())).ResourceMetrics().All() {
		addAttributes(rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints(), about.Target.Attributes)
		rm.MoveTo(r.batch.metrics.ResourceMetrics().AppendEmpty())
	}
}

// recordHandshake records what a handshake found.
func (r *Recorder) recordHandshake(about *probe.About, h *probe.Handshake, ts pcommon.Timestamp, s *placeState) {
	b := r.metricsBuilder
	if h.Verdict != nil {
		r.recordCertificates(about, h.Verdict.Chain, nil, s)
	}
	_, differs := mismatch(h)
	for _, f := range h.OnDisk {
		if !f.Served && !differs {
			continue // another file of the target has it, for example if there are an ECDSA and an RSA certificate
		}
		b.RecordTLSCertificateFileMatchDataPoint(ts, boolInt(f.Served), s.with(metadata.WithCertificatePathMetricAttribute(text.Clean(f.Path, attributes.MaxText)))...)
	}
	if staple := h.Staple; staple != nil {
		if staple.Status != "" {
			b.RecordTLSOcspStatusDataPoint(ts, 1, metadata.MapAttributeTLSOcspStatus[string(staple.Status)], s.identity...)
		}
		if !staple.NextUpdate.IsZero() { // even if stale: an alert needs the series
			b.RecordTLSOcspNextUpdateDataPoint(ts, float64(staple.NextUpdate.Unix()), s.identity...)
		}
	}
	if h.Established {
		options := s.with(metadata.WithTLSProtocolVersionMetricAttribute(handshake.VersionName(h.State.Version)))
		if c := handshake.GroupName(h.State.CurveID); c != "" {
			options = append(options, metadata.WithTLSCurveMetricAttribute(c))
		}
		if p := h.State.NegotiatedProtocol; p != "" {
			options = append(options, metadata.WithTLSNextProtocolMetricAttribute(text.Clean(p, attributes.MaxName)))
		}
		b.RecordTLSConnectionInfoDataPoint(ts, 1, handshake.SuiteName(h.State.CipherSuite), h.ClientCertRequested, options...)
	}
}

// recordCertificates records the certificates of a chain or file. If depths is nil, their depth is their index.
func (r *Recorder) recordCertificates(about *probe.About, chain []*x509.Certificate, depths []int, s *placeState) {
	b, now := r.metricsBuilder, about.End
	ts := pcommon.NewTimestampFromTime(now)
	for i, c := range chain {
		if i%100 == 99 { // a file may have thousands; see recordMetrics
			r.emit(about)
		}
		subject, issuer := text.Clean(certs.SubjectName(c), attributes.MaxName), text.Clean(certs.IssuerName(c), attributes.MaxName)
		depth := int64(i)
		if depths != nil {
			depth = int64(depths[i])
		}
		b.RecordTLSCertificateDaysUntilExpiryDataPoint(ts, attributes.Days(now, c.NotAfter), subject, issuer, depth, s.identity...)
		b.RecordTLSCertificateNotAfterDataPoint(ts, float64(c.NotAfter.Unix()), subject, issuer, depth, s.identity...)
		b.RecordTLSCertificateNotBeforeDataPoint(ts, float64(c.NotBefore.Unix()), subject, issuer, depth, s.identity...)
		if whole := text.Seconds(c.NotBefore, c.NotAfter); whole > 0 {
			b.RecordTLSCertificateLifetimeRemainingDataPoint(ts, text.Seconds(now, c.NotAfter)/whole, subject, issuer, depth, s.identity...)
		}
		if r.info {
			b.RecordTLSCertificateInfoDataPoint(ts, 1, subject, issuer, depth, attributes.Serial(c), attributes.Hex(attributes.Fingerprint(c)),
				c.PublicKeyAlgorithm.String(), int64(certs.KeySize(c)), c.SignatureAlgorithm.String(), s.identity...)
		}
	}
}

// merge adds the target's attributes to the points of m, and moves them to the metric of that name in the batch.
func (r *Recorder) merge(m pmetric.Metric, about *probe.About) {
	own := about.Target.Attributes
	into, ok := r.batch.byName[m.Name()]
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		addAttributes(m.Gauge().DataPoints(), own)
		if ok {
			m.Gauge().DataPoints().MoveAndAppendTo(into.Gauge().DataPoints())
		}
	case pmetric.MetricTypeSum:
		addAttributes(m.Sum().DataPoints(), own)
		if ok {
			m.Sum().DataPoints().MoveAndAppendTo(into.Sum().DataPoints())
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			putAttributes(p.Attributes(), own)
		}
		if ok {
			m.Histogram().DataPoints().MoveAndAppendTo(into.Histogram().DataPoints())
		}
	}
	if !ok {
		into = r.batch.metricSlice.AppendEmpty()
		m.MoveTo(into)
		r.batch.byName[into.Name()] = into
	}
}

func addAttributes(points pmetric.NumberDataPointSlice, own map[string]string) {
	for _, p := range points.All() {
		putAttributes(p.Attributes(), own)
	}
}

// putAttributes adds the attributes that are configured for a target. The configuration rejects names that the receiver uses.
func putAttributes(to pcommon.Map, own map[string]string) {
	for k, v := range own {
		to.PutStr(k, v)
	}
}

// handshakeSeries returns the series in which a handshake is counted and timed.
func handshakeSeries(about *probe.About, h *probe.Handshake) series {
	if about.Failure != nil {
		return series{errorType: about.Failure.Type}
	}
	return series{success: true, version: handshake.VersionName(h.State.Version)}
}

// clientValidationErrors returns why the server refused the receiver's own certificate, or that it misses one, and what the
// receiver itself finds wrong with it. If the server denies access, or closes the connection without a reason, there may be
// nothing wrong with the certificate.
func clientValidationErrors(o probe.Outcome) (types []failure.Type) {
	attempt := probe.AttemptOf(o)
	if attempt == nil || attempt.Handshake == nil {
		return nil
	}
	h := attempt.Handshake
	if f := h.Failure; f != nil && f.Step == failure.ClientAuth && f.Type != failure.AccessDenied && f.Type != failure.ConnectionClosed {
		types = slices.Clone(f.Reasons)
	}
	for _, t := range failure.ClientCertWarnings(h.ClientCertProblems) {
		if !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

// validationErrors returns everything that is wrong with the server's certificate or a file, and the warnings.
func validationErrors(o probe.Outcome) []failure.Type {
	if f, ok := o.(*probe.FileOutcome); ok {
		var types []failure.Type
		if f.Failure != nil {
			types = append(types, f.Failure.Reasons...)
			if f.Failure.Step != failure.Verify {
				types = types[1:] // the failure itself; dates may also be wrong
			}
		}
		return append(types, f.Warnings...)
	}
	attempt := probe.AttemptOf(o)
	if attempt == nil || attempt.Handshake == nil {
		return nil
	}
	var types []failure.Type
	h := attempt.Handshake
	if h.Verdict != nil {
		types = failure.Types(h.Verdict.Reasons)
	} else if h.Failure != nil && h.Failure.Step == failure.Verify {
		types = h.Failure.Reasons // the certificate could not be parsed
	}
	return append(types, h.Warnings...)
}

type phaseDuration struct {
	phase failure.Step
	took  time.Duration
}

// phaseDurations returns the durations of the phases that the probe reached. A phase with several steps lasts from the start of
// the first to the end of the last.
func phaseDurations(a *probe.Attempt) []phaseDuration {
	ds := make([]phaseDuration, 0, 4)
	if n := len(a.Lookups); n > 0 {
		ds = append(ds, phaseDuration{failure.DNS, a.Lookups[n-1].End.Sub(a.Lookups[0].Start)})
	}
	if n := len(a.Dials); n > 0 {
		ds = append(ds, phaseDuration{failure.Connect, a.Dials[n-1].End.Sub(a.Dials[0].Start)})
	}
	if s := a.StartTLS; s != nil {
		ds = append(ds, phaseDuration{failure.StartTLS, s.End.Sub(s.Start)})
	}
	if h := a.Handshake; h != nil {
		ds = append(ds, phaseDuration{failure.Handshake, h.End.Sub(h.Start)})
	}
	return ds
}

// bounds are the bucket bounds of tls.handshake.duration, in seconds.
var bounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// histogram is one series of tls.handshake.duration. It is small because ten thousand targets may each have one.
type histogram struct {
	success  bool
	version  string // empty if not success
	count    uint64
	sum      float64
	min, max float64
	buckets  [15]uint32 // one more than bounds
}

// matches reports whether handshakes in s are counted in h.
func (h *histogram) matches(s series) bool { return h.success == s.success && h.version == s.version }

// observe adds the duration of a handshake to the histogram that matches its series.
func (s *placeState) observe(of series, took time.Duration) {
	i := slices.IndexFunc(s.durations, func(h histogram) bool { return h.matches(of) })
	if i < 0 {
		i = len(s.durations)
		s.durations = append(s.durations, histogram{success: of.success, version: of.version})
	}
	h, v := &s.durations[i], took.Seconds()
	bucket, _ := slices.BinarySearch(bounds, v)
	h.buckets[bucket]++
	if h.count == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.count++
	h.sum += v
}

// recordDurations adds the histograms of a place to the batch. The one of the handshake, if there was one now, has an exemplar
// that refers to its span, if that was recorded.
func (r *Recorder) recordDurations(about *probe.About, hs *probe.Handshake, ts pcommon.Timestamp, s *placeState, ids spanIDs) {
	m := pmetric.NewMetric()
	m.SetName("tls.handshake.duration")
	m.SetDescription("How long handshakes took.")
	m.SetUnit("s")
	hist := m.SetEmptyHistogram()
	hist.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for i := range s.durations {
		h := &s.durations[i]
		p := hist.DataPoints().AppendEmpty()
		p.SetStartTimestamp(r.start)
		p.SetTimestamp(ts)
		p.SetCount(h.count)
		p.SetSum(h.sum)
		p.SetMin(h.min)
		p.SetMax(h.max)
		p.ExplicitBounds().FromRaw(bounds)
		counts := p.BucketCounts()
		counts.EnsureCapacity(len(h.buckets))
		for _, n := range h.buckets {
			counts.Append(uint64(n))
		}
		a := p.Attributes()
		a.EnsureCapacity(5 + len(about.Target.Attributes)) // putIdentity adds up to 3
		putIdentity(a, about)
		if h.success {
			a.PutStr("result", "success")
			a.PutStr("tls.protocol.version", h.version)
		} else {
			a.PutStr("result", "failure")
		}
		if hs != nil && h.matches(handshakeSeries(about, hs)) && !ids.trace.IsEmpty() {
			e := p.Exemplars().AppendEmpty()
			e.SetTimestamp(ts)
			e.SetDoubleValue(hs.End.Sub(hs.Start).Seconds())
			e.SetTraceID(ids.trace)
			e.SetSpanID(ids.handshake)
		}
	}
	r.merge(m, about)
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
