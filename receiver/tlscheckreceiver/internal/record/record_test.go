package record

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

var example = &target.Target{Endpoint: target.Endpoint{Host: "a.example", Port: 443}}

// handshake is the outcome of a handshake that took this long and was shown this certificate.
func handshake(t *target.Target, took time.Duration, c *x509.Certificate) *probe.Outcome {
	start := time.Now()
	step := probe.Step{Start: start, End: start.Add(took)}
	return &probe.Outcome{Target: t, Start: start, End: step.End, Handshake: &probe.Handshake{
		Step: step, Established: true, Verdict: &certs.Verdict{Chain: []*x509.Certificate{c}},
		State: tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, PeerCertificates: []*x509.Certificate{c}},
	}}
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

func run(t *testing.T, outcomes ...*probe.Outcome) *sinks {
	t.Helper()
	r, s := recorder(t)
	c := make(chan *probe.Outcome, len(outcomes))
	for _, o := range outcomes {
		c <- o
	}
	close(c)
	r.Run(t.Context(), c)
	return s
}

func TestHistogramAddsUp(t *testing.T) {
	c := certificate()
	s := run(t, handshake(example, 30*time.Millisecond, c), handshake(example, 3*time.Millisecond, c), handshake(example, 20*time.Second, c))
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

func TestOutcomesWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := recorder(t)
		var seen atomic.Int32
		r.Observe = func(*probe.Outcome) { seen.Add(1) }
		outcomes := make(chan *probe.Outcome, 1)
		go r.Run(context.Background(), outcomes)
		send := func(o *probe.Outcome) int {
			outcomes <- o
			synctest.Wait()
			return int(seen.Load())
		}
		c := certificate()
		assert.Equal(t, 1, send(handshake(example, time.Millisecond, c)))
		assert.Equal(t, 1, send(handshake(example, time.Millisecond, c)))
		time.Sleep(gather)
		synctest.Wait()
		assert.EqualValues(t, 2, seen.Load())
		time.Sleep(gather)
		for i := range 3 {
			assert.Equal(t, 3+i, send(&probe.Outcome{Target: example, Gone: true}), "of those there are many at once")
		}
		close(outcomes)
	})
}

func TestBatchIsSentAtOneSecondOrManyOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := recorder(t)
		outcomes := make(chan *probe.Outcome, maxBatchSize)
		done := make(chan struct{})
		go func() { r.Run(context.Background(), outcomes); close(done) }()
		c := certificate()
		for range maxBatchSize - 1 {
			outcomes <- handshake(example, time.Millisecond, c)
		}
		time.Sleep(gather)
		synctest.Wait()
		assert.Empty(t, s.metrics.AllMetrics())
		outcomes <- handshake(example, time.Millisecond, c)
		synctest.Wait()
		assert.Len(t, s.metrics.AllMetrics(), 1, "as many as it may have, and no second has passed")

		time.Sleep(gather)
		outcomes <- handshake(example, time.Millisecond, c)
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		assert.Len(t, s.metrics.AllMetrics(), 1)
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		assert.Len(t, s.metrics.AllMetrics(), 2, "a second after the first of the batch")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Len(t, s.metrics.AllMetrics(), 2, "what is empty is not sent")

		outcomes <- handshake(example, time.Millisecond, c)
		close(outcomes)
		<-done
		assert.Len(t, s.metrics.AllMetrics(), 3, "the last one")
		assert.Equal(t, 3, len(s.traces.AllTraces()))
	})
}

// Foreign strings: whatever a certificate says, telemetry is valid UTF-8, without control characters, and bounded.
func TestForeignTextIsCleanAndBounded(t *testing.T) {
	c := certificate()
	hostile := strings.Repeat("\xff\x1b[2J", 1000)
	c.Subject, c.Issuer = pkix.Name{CommonName: hostile}, pkix.Name{CommonName: hostile, Organization: []string{hostile}}
	for i := range 150 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d%s", i, hostile))
	}
	o := handshake(example, time.Millisecond, c)
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

func TestSerial(t *testing.T) {
	for n, want := range map[int64]string{0: "00", 1: "01", 255: "FF", 4096: "1000", -5: "-05"} {
		assert.Equal(t, want, serial(&x509.Certificate{SerialNumber: big.NewInt(n)}))
	}
}

func TestOutcomeThatCannotBeRecordedCostsItselfAlone(t *testing.T) {
	broken := handshake(example, time.Millisecond, nil) // which no probe yields
	s := run(t, broken, handshake(&target.Target{ID: "b", Endpoint: target.Endpoint{Host: "b.example", Port: 443}}, time.Millisecond, certificate()))
	assert.Equal(t, 1, s.log.FilterMessageSnippet("please report it").Len())
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

// Alert rules in use ask for unknown_ca in tls.validation.errors, which a server says of our own certificate.
func TestRefusalOfOurCertificateIsAValidationError(t *testing.T) {
	for typ, counted := range map[failure.Type]bool{
		failure.UnknownCA: true, failure.BadCertificate: true, failure.ClientCertExpired: true, failure.ClientCertRevoked: true,
		failure.UnsupportedCertificate: true, failure.CertificateUnknown: true,
		failure.MissingClientCert: false, failure.AccessDenied: false, // it is not the certificate that is wrong
	} {
		o := handshake(example, time.Millisecond, certificate())
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
	o := handshake(example, time.Millisecond, chain[0])
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
