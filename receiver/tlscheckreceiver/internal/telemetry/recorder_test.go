package telemetry

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

var example = &target.Target{Endpoint: target.Endpoint{Host: "a.example", Port: 443}}

// handshaked is the outcome of a handshake that took this long and was shown this certificate.
func handshaked(t *target.Target, took time.Duration, c *x509.Certificate) *probe.EndpointOutcome {
	start := time.Now()
	end := start.Add(took)
	o := &probe.EndpointOutcome{About: probe.About{Target: t, Place: t.Place(), Start: start, End: end}}
	o.Handshake = &probe.Handshake{Facts: handshake.Facts{
		Start: start, End: end, Established: true, Verdict: &certs.Verdict{Chain: []*x509.Certificate{c}},
		State: tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, PeerCertificates: []*x509.Certificate{c}},
	}}
	return o
}

func certificate() *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(0xabc0123), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

type sinks struct {
	metrics consumertest.MetricsSink
	traces  consumertest.TracesSink
	log     *observer.ObservedLogs
}

// recorder returns a recorder and where it sends to.
func recorder(t *testing.T) (*Recorder, *sinks) {
	t.Helper()
	s := &sinks{}
	set := receivertest.NewNopSettings(metadata.Type)
	core, log := observer.New(zap.InfoLevel)
	set.Logger, s.log = zap.New(core), log
	r, err := New(set, DefaultConfig(), Consumers{Metrics: &s.metrics, Traces: &s.traces}, nil)
	require.NoError(t, err)
	return r, s
}

func run(t *testing.T, outcomes ...probe.Outcome) *sinks {
	t.Helper()
	r, s := recorder(t)
	for _, o := range outcomes {
		r.Observe(t.Context(), o)
	}
	r.Flush(t.Context())
	return s
}

func TestHistogramAddsUp(t *testing.T) {
	c := certificate()
	s := run(t, handshaked(example, 30*time.Millisecond, c), handshaked(example, 3*time.Millisecond, c), handshaked(example, 20*time.Second, c))
	var last pmetric.HistogramDataPoint
	for _, m := range s.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Name() == "tls.handshake.duration" {
			require.Equal(t, 3, m.Histogram().DataPoints().Len())
			last = m.Histogram().DataPoints().At(2)
		}
	}
	assert.Equal(t, uint64(3), last.Count())
	assert.InDelta(t, 20.033, last.Sum(), 1e-9)
	assert.InDelta(t, 0.003, last.Min(), 1e-9)
	assert.InDelta(t, 20, last.Max(), 1e-9)
	assert.Equal(t, []uint64{1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, last.BucketCounts().AsRaw())
	require.Equal(t, 1, last.Exemplars().Len())
	assert.InDelta(t, 20, last.Exemplars().At(0).DoubleValue(), 1e-9, "the latest")
}

// Foreign strings: whatever a certificate says, telemetry is valid UTF-8, without control characters, and bounded.
func TestForeignTextIsCleanAndBounded(t *testing.T) {
	c := certificate()
	hostile := strings.Repeat("\xff\x1b[2J", 1000)
	c.Subject, c.Issuer = pkix.Name{CommonName: hostile}, pkix.Name{CommonName: hostile, Organization: []string{hostile}}
	for i := range 150 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d%s", i, hostile))
	}
	o := handshaked(example, time.Millisecond, c)
	o.ClientCert = c
	o.Handshake.State.NegotiatedProtocol = hostile
	s := run(t, o)

	texts := 0
	check := func(where string, a pcommon.Map, bound int) {
		var text func(v pcommon.Value)
		text = func(v pcommon.Value) {
			switch v.Type() {
			case pcommon.ValueTypeSlice:
				for _, e := range v.Slice().All() {
					text(e)
				}
			case pcommon.ValueTypeStr:
				texts++
				assert.True(t, utf8.ValidString(v.Str()), where)
				assert.NotContains(t, v.Str(), "\x1b", where)
				assert.LessOrEqual(t, len(v.Str()), bound, where)
			}
		}
		for _, v := range a.All() {
			text(v)
		}
	}
	for _, m := range s.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Type() == pmetric.MetricTypeGauge {
			for _, p := range m.Gauge().DataPoints().All() {
				check(m.Name(), p.Attributes(), 256)
			}
		}
	}
	for _, span := range s.traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		check(span.Name(), span.Attributes(), 1024)
		if span.Name() == "tls.handshake" {
			sans, _ := span.Attributes().Get("tls.cert.san")
			assert.Equal(t, 100, sans.Slice().Len())
			n, _ := span.Attributes().Get("tls.cert.san.count")
			assert.Equal(t, int64(150), n.Int())
			serial, _ := span.Attributes().Get("tls.cert.serial")
			assert.Equal(t, "0ABC0123", serial.Str(), "whole bytes, as OpenSSL prints it")
		}
	}
	assert.Greater(t, texts, 120)
}

// Alert rules in use ask for unknown_ca in tls.validation.errors, which a server says of our own certificate.
func TestRefusalOfOurCertificateIsAValidationError(t *testing.T) {
	for typ, counted := range map[failure.Type]bool{
		failure.UnknownCA: true, failure.BadCertificate: true, failure.ClientCertExpired: true, failure.ClientCertRevoked: true,
		failure.UnsupportedCertificate: true, failure.CertificateUnknown: true,
		failure.MissingClientCert: false, failure.AccessDenied: false, // it is not the certificate that is wrong
	} {
		o := handshaked(example, time.Millisecond, certificate())
		o.Failure = &failure.Failure{Step: failure.ClientAuth, Type: typ, Reasons: []failure.Type{typ}}
		o.Handshake.Failure = o.Failure
		if counted {
			assert.Equal(t, []failure.Type{typ}, validationErrors(o))
		} else {
			assert.Empty(t, validationErrors(o), typ)
		}
	}
}

// A CA that changed its key has a certificate of its own name by its former key: two of one subject and issuer in a chain.
func TestTwoCertificatesOfOneSubjectStayTwoSeries(t *testing.T) {
	former := tlsfarm.NewAuthority("CA", tlsfarm.Validity(-time.Hour, 100*24*time.Hour))
	present := former.Cross(tlsfarm.NewAuthority("CA"))
	leaf := present.Issue("leaf")
	var chain []*x509.Certificate
	for _, der := range append(leaf.Certificate, former.Certificate.Raw) {
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		chain = append(chain, c)
	}
	o := handshaked(example, time.Millisecond, chain[0])
	o.Handshake.Verdict = certs.Verify(chain, former.Pool(), "localhost", time.Now())
	require.True(t, o.Handshake.Verdict.Valid())
	s := run(t, o)
	var depths []int64
	for _, m := range s.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Name() != "tls.certificate.days_until_expiry" {
			continue
		}
		for _, p := range m.Gauge().DataPoints().All() {
			subject, _ := p.Attributes().Get("certificate.subject")
			issuer, _ := p.Attributes().Get("certificate.issuer")
			depth, _ := p.Attributes().Get("certificate.depth")
			if subject.Str() == "CA" && issuer.Str() == "CA" {
				depths = append(depths, depth.Int())
			}
		}
	}
	assert.Equal(t, []int64{1, 2}, depths)
}

func TestOutcomeThatCannotBeRecordedCostsItselfAlone(t *testing.T) {
	r, s := recorder(t)
	broken := handshaked(example, time.Millisecond, nil) // which no probe yields
	assert.Panics(t, func() { r.Observe(t.Context(), broken) })
	b := &target.Target{ID: "b", Endpoint: target.Endpoint{Host: "b.example", Port: 443}}
	r.Observe(t.Context(), handshaked(b, time.Millisecond, certificate()))
	r.Flush(t.Context())
	found := false
	for _, m := range s.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Name() == "tls.probe.success" {
			for _, p := range m.Gauge().DataPoints().All() {
				host, _ := p.Attributes().Get("server.address")
				found = found || host.Str() == "b.example"
			}
		}
	}
	assert.True(t, found)
}
