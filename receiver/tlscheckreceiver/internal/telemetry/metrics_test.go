package telemetry

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

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
	on := func(_ *desk, cfg *Config, _ *Consumers) { cfg.Metrics.TlscheckTimeLeft.Enabled = true }
	invalid := at(now, leaf)
	invalid.Failure = &failure.Failure{Step: failure.Verify, Type: "untrusted_ca"}
	all := []probe.Outcome{at(now, leaf), invalid, failed(now, failure.ConnectionRefused), file(now, "/etc/ssl/a.pem", leaf, twin, old), file(now, "/etc/ssl/b.pem")}

	points := func(edits ...func(*desk, *Config, *Consumers)) (found []map[string]any) {
		d := newDesk(t, nil, append(edits, withMetrics)...)
		d.after(all...)
		for i, rm := range d.metrics.AllMetrics()[0].ResourceMetrics().All() {
			assert.Equal(t, metadata.ScopeName, rm.ScopeMetrics().At(0).Scope().Name())
			tgt, own := rm.Resource().Attributes().Get("tlscheck.target")
			assert.Equal(t, i > 0, own)
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				assert.Equal(t, i > 0, m.Name() == "tlscheck.time_left", m.Name())
				if m.Name() == "tlscheck.time_left" {
					for _, p := range m.Gauge().DataPoints().All() {
						point := with(p.Attributes().AsRaw(), map[string]any{"target": tgt.Str(), "value": p.IntValue()})
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
		point("/etc/ssl/a.pem", twin), point("/etc/ssl/a.pem", old), // the twin's and the leaf's attributes are the same
	}, points(on))
	assert.Negative(t, left(old))

	withSAN := points(on, func(_ *desk, cfg *Config, _ *Consumers) {
		cfg.Metrics.TlscheckTimeLeft.EnabledAttributes = []metadata.TlscheckTimeLeftMetricAttributeKey{metadata.TlscheckTimeLeftMetricAttributeKeyTlscheckX509San}
	})
	assert.Equal(t, map[string]any{
		"target": "mail.example.com:465", "value": left(leaf), "team": "post", "tlscheck.x509.san": []any{"a.example", "b.example"},
	}, withSAN[0])

	// An override is for these resources alone.
	name := "one"
	for _, p := range points(on, func(_ *desk, cfg *Config, _ *Consumers) { cfg.ResourceAttributes.TlscheckTarget.OverrideValue = &name }) {
		assert.Equal(t, "one", p["target"])
	}

	d := newDesk(t, nil, on, withMetrics, func(_ *desk, cfg *Config, _ *Consumers) { cfg.ResourceAttributes.TlscheckTarget.Enabled = false })
	d.after(all[0])
	assert.Equal(t, map[string]any{"service.name": "tls_check"}, d.metrics.AllMetrics()[0].ResourceMetrics().At(1).Resource().Attributes().AsRaw())
}

func TestTimeLeftIsRoundedDownAndItsAttributesAreFit(t *testing.T) {
	c := issue(tlsfarm.Validity(-day, 10*day))
	hostile := strings.Repeat("\x1b\xff", 3000)
	c.Subject.CommonName, c.Issuer.CommonName = hostile, hostile
	for i := range 150 {
		c.DNSNames = append(c.DNSNames, fmt.Sprint(i, hostile))
	}
	d := newDesk(t, nil, withMetrics, func(_ *desk, cfg *Config, _ *Consumers) {
		cfg.Metrics.TlscheckTimeLeft.Enabled = true
		cfg.Metrics.TlscheckTimeLeft.EnabledAttributes = append(cfg.Metrics.TlscheckTimeLeft.EnabledAttributes, metadata.TlscheckTimeLeftMetricAttributeKeyTlscheckX509San)
	})
	d.after(file(c.NotAfter.Add(time.Millisecond), hostile, c))
	rm := d.metrics.AllMetrics()[0].ResourceMetrics().At(1)
	p := rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
	assert.Equal(t, int64(-1), p.IntValue())
	assertFit(t, event{attributes: p.Attributes().AsRaw()})
	assertFit(t, event{attributes: rm.Resource().Attributes().AsRaw()})
	sans, _ := p.Attributes().Get("tlscheck.x509.san")
	assert.Equal(t, 100, sans.Slice().Len())
}

// The generated builder compares each new point with all that it holds.
func TestManyCertificatesInAFile(t *testing.T) {
	var bundle []*x509.Certificate
	for range 250 {
		bundle = append(bundle, ca.Certificate)
	}
	d := newDesk(t, nil, withMetrics)
	d.after(file(time.Now(), "/etc/ssl/ca.pem", bundle...))
	counts := make(map[string]int)
	for _, m := range d.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
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
