package record

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// maxName bounds a name from a certificate where it becomes an attribute of a metric.
const maxName = 256

// counters are the cumulative counts of one metric for one target, in the order in which their attributes were first
// seen. There are few: a slice is smaller than a map and keeps its order.
type counters []counter

type counter struct {
	series series
	count  int64
}

// series are the attributes that tell the points of one target and metric apart. Empty ones are absent.
type series struct {
	phase     failure.Step
	errorType failure.Type
	version   string
	success   bool
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

// recordMetrics records one outcome. All series of a target that were ever seen are sent with each of its probes, so
// that rate() sees no gaps. The points go through the generated builder one outcome at a time, because it compares each
// new point with all that it holds.
func (r *Recorder) recordMetrics(o *probe.Outcome, s *state, ids spanIDs) {
	b, ts := r.builder, pcommon.NewTimestampFromTime(o.End)
	host, port := o.Target.Endpoint.Host, int64(o.Target.Endpoint.Port)
	h := o.Handshake

	b.RecordTLSProbeSuccessDataPoint(ts, boolInt(o.Failure == nil), host, port)
	for _, p := range durations(o) {
		b.RecordTLSProbeDurationDataPoint(ts, p.took.Seconds(), host, port, phases[string(p.phase)])
	}
	if f := o.Failure; f != nil {
		s.failures.add(series{phase: f.Step, errorType: f.Type})
	}
	for _, c := range s.failures {
		b.RecordTLSProbeFailuresDataPoint(ts, c.count, host, port, phases[string(c.series.phase)],
			metadata.WithErrorTypeMetricAttribute(string(c.series.errorType)))
	}

	if h != nil {
		result := handshakeSeries(o)
		s.handshakes.add(result)
		for _, t := range validationErrors(h) {
			s.validation.add(series{errorType: t})
		}
		s.observe(result, h.End.Sub(h.Start), ts, ids)
		r.recordCertificates(o, ts)
		if s := h.Staple; s != nil {
			if s.Status != "" {
				b.RecordTLSOcspStatusDataPoint(ts, 1, host, port, metadata.MapAttributeTLSOcspStatus[string(s.Status)])
			}
			if !s.NextUpdate.IsZero() { // a stale staple too has one: a series that ended with it could raise no alarm
				b.RecordTLSOcspNextUpdateDataPoint(ts, float64(s.NextUpdate.Unix()), host, port)
			}
		}
		if h.Established {
			options := []metadata.MetricAttributeOption{
				metadata.WithTLSProtocolVersionMetricAttribute(version(h.State.Version)),
			}
			if c := curve(h.State.CurveID); c != "" {
				options = append(options, metadata.WithTLSCurveMetricAttribute(c))
			}
			if p := h.State.NegotiatedProtocol; p != "" {
				options = append(options, metadata.WithTLSNextProtocolMetricAttribute(certs.Clean(p, maxName)))
			}
			b.RecordTLSConnectionInfoDataPoint(ts, 1, host, port, cipher(h.State.CipherSuite), h.ClientCertRequested, options...)
		}
	}
	for _, c := range s.handshakes {
		options := make([]metadata.MetricAttributeOption, 0, 1)
		result := metadata.AttributeResultSuccess
		if c.series.success {
			options = append(options, metadata.WithTLSProtocolVersionMetricAttribute(c.series.version))
		} else {
			result = metadata.AttributeResultFailure
			options = append(options, metadata.WithErrorTypeMetricAttribute(string(c.series.errorType)))
		}
		b.RecordTLSHandshakeTotalDataPoint(ts, c.count, host, port, result, options...)
	}
	for _, c := range s.validation {
		b.RecordTLSValidationErrorsDataPoint(ts, c.count, host, port, metadata.WithErrorTypeMetricAttribute(string(c.series.errorType)))
	}
	if c := o.ClientCert; c != nil {
		b.RecordTLSClientCertificateDaysUntilExpiryDataPoint(ts, days(c.NotAfter.Sub(o.End)), host, port,
			certs.Clean(certs.SubjectName(c), maxName), certs.Clean(certs.IssuerName(c), maxName))
	}

	emitted := b.Emit(metadata.WithResource(r.resource))
	for _, rm := range emitted.ResourceMetrics().All() {
		metrics := rm.ScopeMetrics().At(0).Metrics()
		if r.durations {
			s.appendDurations(metrics, r.start, ts, o)
		}
		for _, m := range metrics.All() {
			r.merge(m, o.Target.Attributes)
		}
	}
}

// recordCertificates records the certificates of the path to a trusted root, the best one, even where something else is
// wrong with it; where none leads to one, as much of the path as was presented.
func (r *Recorder) recordCertificates(o *probe.Outcome, ts pcommon.Timestamp) {
	if o.Handshake.Verdict == nil {
		return
	}
	b := r.builder
	host, port := o.Target.Endpoint.Host, int64(o.Target.Endpoint.Port)
	for i, c := range o.Handshake.Verdict.Chain {
		subject, issuer := certs.Clean(certs.SubjectName(c), maxName), certs.Clean(certs.IssuerName(c), maxName)
		depth, left := int64(i), c.NotAfter.Sub(o.End)
		b.RecordTLSCertificateDaysUntilExpiryDataPoint(ts, days(left), host, port, subject, issuer, depth)
		b.RecordTLSCertificateNotAfterDataPoint(ts, float64(c.NotAfter.Unix()), host, port, subject, issuer, depth)
		b.RecordTLSCertificateNotBeforeDataPoint(ts, float64(c.NotBefore.Unix()), host, port, subject, issuer, depth)
		if whole := c.NotAfter.Sub(c.NotBefore); whole > 0 {
			b.RecordTLSCertificateLifetimeRemainingDataPoint(ts, left.Seconds()/whole.Seconds(), host, port, subject, issuer, depth)
		}
		if r.info {
			b.RecordTLSCertificateInfoDataPoint(ts, 1, host, port, subject, issuer, depth, serial(c), fmt.Sprintf("%X", fingerprint(c)),
				c.PublicKeyAlgorithm.String(), int64(certs.KeySize(c)), c.SignatureAlgorithm.String())
		}
	}
}

// merge moves the points of m to the metric of its name in the batch.
func (r *Recorder) merge(m pmetric.Metric, attributes map[string]string) {
	into, ok := r.batch.byName[m.Name()]
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		addAttributes(m.Gauge().DataPoints(), attributes)
		if ok {
			m.Gauge().DataPoints().MoveAndAppendTo(into.Gauge().DataPoints())
		}
	case pmetric.MetricTypeSum:
		addAttributes(m.Sum().DataPoints(), attributes)
		if ok {
			m.Sum().DataPoints().MoveAndAppendTo(into.Sum().DataPoints())
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			putAttributes(p.Attributes(), attributes)
		}
		if ok {
			m.Histogram().DataPoints().MoveAndAppendTo(into.Histogram().DataPoints())
		}
	}
	if !ok {
		into = r.batch.points.AppendEmpty()
		m.MoveTo(into)
		r.batch.byName[into.Name()] = into
	}
}

func addAttributes(points pmetric.NumberDataPointSlice, attributes map[string]string) {
	for _, p := range points.All() {
		putAttributes(p.Attributes(), attributes)
	}
}

// putAttributes adds a target's own attributes, which the configuration keeps from having names of the receiver's.
func putAttributes(to pcommon.Map, attributes map[string]string) {
	for k, v := range attributes {
		to.PutStr(k, v)
	}
}

// handshakeSeries returns the attributes under which a handshake is counted and timed.
func handshakeSeries(o *probe.Outcome) series {
	if o.Failure != nil {
		return series{errorType: o.Failure.Type}
	}
	return series{success: true, version: version(o.Handshake.State.Version)}
}

// validationErrors are all reasons for which a certificate is not valid, and the warnings: ours for the server's
// certificate, and the server's for our own.
func validationErrors(h *probe.Handshake) []failure.Type {
	var types []failure.Type
	if h.Verdict != nil {
		types = failure.Types(h.Verdict.Reasons)
	} else if h.Failure != nil && h.Failure.Step == failure.Verify {
		types = h.Failure.Reasons // it could not even be read
	}
	if f := h.Failure; f != nil && f.Step == failure.ClientAuth {
		switch f.Type {
		case failure.UnknownCA, failure.BadCertificate, failure.ClientCertExpired, failure.ClientCertRevoked,
			failure.UnsupportedCertificate, failure.CertificateUnknown:
			types = append(types, f.Type)
		}
	}
	return append(types, h.Warnings...)
}

type duration struct {
	phase failure.Step
	took  time.Duration
}

// durations returns how long each phase took that the probe reached.
func durations(o *probe.Outcome) []duration {
	ds := make([]duration, 0, 4)
	if l := o.Lookup; l != nil {
		ds = append(ds, duration{failure.DNS, l.End.Sub(l.Start)})
	}
	if n := len(o.Dials); n > 0 {
		ds = append(ds, duration{failure.Connect, o.Dials[n-1].End.Sub(o.Dials[0].Start)})
	}
	if s := o.StartTLS; s != nil {
		ds = append(ds, duration{failure.StartTLS, s.End.Sub(s.Start)})
	}
	if h := o.Handshake; h != nil {
		ds = append(ds, duration{failure.Handshake, h.End.Sub(h.Start)})
	}
	return ds
}

// bounds are those of tls.handshake.duration, in seconds.
var bounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// histogram is one series of tls.handshake.duration.
type histogram struct {
	series   series
	count    uint64
	sum      float64
	min, max float64
	buckets  [15]uint64 // one more than bounds
	// The latest observation, with the ids of its span if it left one.
	latest   float64
	latestAt pcommon.Timestamp
	ids      spanIDs
}

func (s *state) observe(as series, took time.Duration, ts pcommon.Timestamp, ids spanIDs) {
	as.errorType = "" // the histogram is not split by it
	i := slices.IndexFunc(s.durations, func(h *histogram) bool { return h.series == as })
	if i < 0 {
		i = len(s.durations)
		s.durations = append(s.durations, &histogram{series: as})
	}
	h, v := s.durations[i], took.Seconds()
	bucket, _ := slices.BinarySearch(bounds, v)
	h.buckets[bucket]++
	if h.count == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.count++
	h.sum += v
	h.latest, h.latestAt, h.ids = v, ts, ids
}

func (s *state) appendDurations(metrics pmetric.MetricSlice, start, ts pcommon.Timestamp, o *probe.Outcome) {
	if len(s.durations) == 0 {
		return
	}
	m := metrics.AppendEmpty()
	m.SetName("tls.handshake.duration")
	m.SetDescription("How long handshakes took.")
	m.SetUnit("s")
	hist := m.SetEmptyHistogram()
	hist.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for _, h := range s.durations {
		p := hist.DataPoints().AppendEmpty()
		p.SetStartTimestamp(start)
		p.SetTimestamp(ts)
		p.SetCount(h.count)
		p.SetSum(h.sum)
		p.SetMin(h.min)
		p.SetMax(h.max)
		p.ExplicitBounds().FromRaw(bounds)
		p.BucketCounts().FromRaw(h.buckets[:])
		a := p.Attributes()
		a.PutStr("server.address", o.Target.Endpoint.Host)
		a.PutInt("server.port", int64(o.Target.Endpoint.Port))
		if h.series.success {
			a.PutStr("result", "success")
			a.PutStr("tls.protocol.version", h.series.version)
		} else {
			a.PutStr("result", "failure")
		}
		if h.latestAt == ts && !h.ids.trace.IsEmpty() {
			e := p.Exemplars().AppendEmpty()
			e.SetTimestamp(ts)
			e.SetDoubleValue(h.latest)
			e.SetTraceID(h.ids.trace)
			e.SetSpanID(h.ids.span)
		}
	}
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func days(d time.Duration) float64 { return d.Hours() / 24 }

// serial is the serial number as OpenSSL prints it: whole bytes.
func serial(c *x509.Certificate) string {
	s := c.SerialNumber.Text(16)
	sign := ""
	if digits, negative := strings.CutPrefix(s, "-"); negative {
		s, sign = digits, "-"
	}
	if len(s)%2 == 1 {
		s = "0" + s
	}
	return certs.Clean(sign+strings.ToUpper(s), 64)
}

func fingerprint(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }
