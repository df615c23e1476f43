package telemetry

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

func TestTimeLeft(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	leaf := issue(tlsfarm.Validity(-day, 10*day), tlsfarm.Names("a.example", "b.example"))
	twin := issue(tlsfarm.Validity(-day, 5*day))
	old := tlsfarm.NewAuthority("Old", tlsfarm.Validity(-2*day, -day)).Certificate
	enabled := func(_ *testRecorder, cfg *Config, _ *Consumers) { cfg.Metrics.TlscheckTimeLeft.Enabled = true }
	invalid := handshakeAt(now, leaf)
	invalid.Failure = &failure.Failure{Step: failure.Verify, Type: "untrusted_ca"}
	all := []probe.Outcome{handshakeAt(now, leaf), invalid, failureAt(now, failure.ConnectionRefused), fileAt(now, "/etc/ssl/a.pem", leaf, twin, old), fileAt(now, "/etc/ssl/b.pem")}

	points := func(options ...option) (found []map[string]any) {
		r := newTestRecorder(t, nil, append(options, withMetrics)...)
		r.record(all...)
		for i, rm := range r.metrics.AllMetrics()[0].ResourceMetrics().All() {
			assert.Equal(t, metadata.ScopeName, rm.ScopeMetrics().At(0).Scope().Name())
			tgt, ok := rm.Resource().Attributes().Get("tlscheck.target")
			assert.Equal(t, i > 0, ok)
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				assert.Equal(t, i > 0, m.Name() == "tlscheck.time_left", m.Name())
				if m.Name() == "tlscheck.time_left" {
					for _, p := range m.Gauge().DataPoints().All() {
						point := union(p.Attributes().AsRaw(), map[string]any{"target": tgt.Str(), "value": p.IntValue()})
						assert.Equal(t, "tls_check", rm.Resource().Attributes().AsRaw()["service.name"])
						found = append(found, point)
					}
				}
			}
		}
		return found
	}
	assert.Empty(t, points(), "off by default")
	left := func(c *x509.Certificate) int64 { return int64(c.NotAfter.Sub(now) / time.Second) }
	point := func(tgt string, c *x509.Certificate) map[string]any {
		return map[string]any{
			"target": tgt, "value": left(c), "tlscheck.x509.issuer": c.Issuer.String(), "tlscheck.x509.cn": c.Subject.CommonName, "team": "post",
		}
	}
	assert.Equal(t, []map[string]any{
		point("mail.example.com:465", leaf), point("mail.example.com:465", leaf),
		point("/etc/ssl/a.pem", twin), point("/etc/ssl/a.pem", old), // leaf has the same attributes and expires later
	}, points(enabled))
	assert.Negative(t, left(old))

	withSAN := points(enabled, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		cfg.Metrics.TlscheckTimeLeft.EnabledAttributes = []metadata.TlscheckTimeLeftMetricAttributeKey{metadata.TlscheckTimeLeftMetricAttributeKeyTlscheckX509San}
	})
	assert.Equal(t, map[string]any{
		"target": "mail.example.com:465", "value": left(leaf), "team": "post", "tlscheck.x509.san": []any{"a.example", "b.example"},
	}, withSAN[0])

	// An override applies to these resources only.
	name := "one"
	for _, p := range points(enabled, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		cfg.ResourceAttributes.TlscheckTarget.OverrideValue = &name
	}) {
		assert.Equal(t, "one", p["target"])
	}

	r := newTestRecorder(t, nil, enabled, withMetrics, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		cfg.ResourceAttributes.TlscheckTarget.Enabled = false
	})
	r.record(all[0])
	assert.Equal(t, map[string]any{"service.name": "tls_check"}, r.metrics.AllMetrics()[0].ResourceMetrics().At(1).Resource().Attributes().AsRaw())
}

func TestTimeLeftOfHostileCertificate(t *testing.T) {
	c := issue(tlsfarm.Validity(-day, 10*day))
	hostile := strings.Repeat("\x1b\xff", 3000)
	c.Subject.CommonName, c.Issuer.CommonName = hostile, hostile
	for i := range 150 {
		c.DNSNames = append(c.DNSNames, fmt.Sprint(i, hostile))
	}
	r := newTestRecorder(t, nil, withMetrics, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		cfg.Metrics.TlscheckTimeLeft.Enabled = true
		cfg.Metrics.TlscheckTimeLeft.EnabledAttributes = append(cfg.Metrics.TlscheckTimeLeft.EnabledAttributes, metadata.TlscheckTimeLeftMetricAttributeKeyTlscheckX509San)
	})
	r.record(fileAt(c.NotAfter.Add(time.Millisecond), hostile, c))
	rm := r.metrics.AllMetrics()[0].ResourceMetrics().At(1)
	p := rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
	assert.Equal(t, int64(-1), p.IntValue(), "rounded down")
	assertClean(t, event{attributes: p.Attributes().AsRaw()})
	assertClean(t, event{attributes: rm.Resource().Attributes().AsRaw()})
	sans, _ := p.Attributes().Get("tlscheck.x509.san")
	assert.Equal(t, 100, sans.Slice().Len())
}

// The builder is emptied several times for one outcome.
// A certificate without a well-defined expiry is valid until the end of the year 9999 (RFC 5280, section 4.1.2.5).
func TestCertificateUntil9999(t *testing.T) {
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	c := issue(func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = begin, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	})
	r := newTestRecorder(t, nil, withMetrics, withTraces, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		cfg.Metrics.TlscheckTimeLeft.Enabled = true
	})
	o := handshakeAt(now, c)
	o.ClientCert = c
	r.record(o)
	const days, whole = 2912118, 2921939
	want := map[string]float64{
		"tls.certificate.days_until_expiry": days, "tls.client_certificate.days_until_expiry": days,
		"tls.certificate.lifetime.remaining": float64(days) / whole, "tlscheck.time_left": days * 24 * 60 * 60,
	}
	for _, rm := range r.metrics.AllMetrics()[0].ResourceMetrics().All() {
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			if value, ok := want[m.Name()]; ok {
				p := m.Gauge().DataPoints().At(0)
				assert.InEpsilon(t, value, p.DoubleValue()+float64(p.IntValue()), 1e-12, m.Name())
				delete(want, m.Name())
			}
		}
	}
	assert.Empty(t, want)
	for _, s := range r.sentSpans().All() {
		for _, key := range []string{"tls.cert.days_until_expiry", "tls.client_cert.days_until_expiry"} {
			if v, ok := s.Attributes().Get(key); ok {
				assert.Equal(t, int64(days), v.Int(), key)
			}
		}
	}
}

func TestManyCertificatesInFile(t *testing.T) {
	var bundle []*x509.Certificate
	for range 250 {
		bundle = append(bundle, ca.Certificate)
	}
	r := newTestRecorder(t, nil, withMetrics)
	r.record(fileAt(time.Now(), "/etc/ssl/ca.pem", bundle...))
	counts := make(map[string]int)
	for _, m := range r.sentMetrics().All() {
		counts[m.Name()] = m.Gauge().DataPoints().Len()
		for i, p := range m.Gauge().DataPoints().All() {
			a := p.Attributes().AsRaw()
			assert.Equal(t, "/etc/ssl/ca.pem", a["certificate.path"])
			assert.Equal(t, "post", a["team"])
			if counts[m.Name()] > 1 {
				assert.Equal(t, int64(i), a["certificate.depth"])
			}
		}
	}
	assert.Equal(t, map[string]int{
		"tls.probe.success": 1, "tls.certificate.days_until_expiry": 250, "tls.certificate.not_after": 250, "tls.certificate.lifetime.remaining": 250,
	}, counts)
}

func TestHistogramAddsUp(t *testing.T) {
	c := minimalCertificate()
	r := newTestRecorder(t, nil, withMetrics, withTraces)
	r.record(handshakeOutcome(example, 30*time.Millisecond, c), handshakeOutcome(example, 3*time.Millisecond, c), handshakeOutcome(example, 20*time.Second, c))
	var last pmetric.HistogramDataPoint
	for _, m := range r.sentMetrics().All() {
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
	assert.InDelta(t, 20, last.Exemplars().At(0).DoubleValue(), 1e-9, "of the latest handshake")
}

// Alert rules use unknown_ca in tls.validation.errors for servers that refuse the client certificate.
func TestRefusedClientCertificateIsValidationError(t *testing.T) {
	for typ, counted := range map[failure.Type]bool{
		failure.UnknownCA: true, failure.BadCertificate: true, failure.ClientCertExpired: true, failure.ClientCertRevoked: true,
		failure.UnsupportedCertificate: true, failure.CertificateUnknown: true, failure.ClientCertNotYetValid: true,
		failure.MissingClientCert: true,
		failure.AccessDenied:      false, failure.ConnectionClosed: false, // nothing is wrong with the certificate
	} {
		o := handshakeOutcome(example, time.Millisecond, minimalCertificate())
		o.Failure = &failure.Failure{Step: failure.ClientAuth, Type: typ, Reasons: []failure.Type{typ}}
		o.Handshake.Failure = o.Failure
		if counted {
			assert.Equal(t, []failure.Type{typ}, clientValidationErrors(o))
		} else {
			assert.Empty(t, clientValidationErrors(o), typ)
		}
		assert.Empty(t, validationErrors(o), "nothing is wrong with the server's certificate")
	}
}

// A CA that changed its key may have a certificate that its old key signed. Then a chain has two certificates with the same
// subject and issuer.
func TestCertificatesWithSameSubjectAndIssuer(t *testing.T) {
	oldCA := tlsfarm.NewAuthority("CA", tlsfarm.Validity(-time.Hour, 100*24*time.Hour))
	newCA := oldCA.Cross(tlsfarm.NewAuthority("CA"))
	leaf := newCA.Issue("leaf")
	var chain []*x509.Certificate
	for _, der := range append(leaf.Certificate, oldCA.Certificate.Raw) {
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		chain = append(chain, c)
	}
	o := handshakeOutcome(example, time.Millisecond, chain[0])
	o.Handshake.Verdict = certs.Verify(chain, certs.RootsIn(oldCA.Pool()), "localhost", time.Now())
	require.True(t, o.Handshake.Verdict.Valid())
	r := newTestRecorder(t, nil, withMetrics, withTraces)
	r.record(o)
	var depths []int64
	for _, m := range r.sentMetrics().All() {
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
