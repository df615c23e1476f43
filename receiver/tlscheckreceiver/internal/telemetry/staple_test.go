package telemetry

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// TestStaple checks the telemetry of stapled OCSP responses.
func TestStaple(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	cert, demanding := root.Issue("x"), root.Issue("x", tlsfarm.MustStaple)
	for name, c := range map[string]struct {
		cert       tls.Certificate
		staple     []byte
		status     string
		nextUpdate time.Duration // from now; 0 if absent
		problem    string
		message    string
		reasons    []any
	}{
		"none":          {cert: cert},
		"good":          {cert: cert, staple: root.Staple(cert), status: "good", nextUpdate: 7 * day},
		"no nextUpdate": {cert: cert, staple: root.Staple(cert, tlsfarm.StapleDates(-time.Hour, 0)), status: "good"},
		"revoked":       {cert: cert, staple: root.Staple(cert, tlsfarm.RevokedFor(0)), status: "revoked", nextUpdate: 7 * day, reasons: []any{"cert_revoked"}},
		"stale":         {cert: cert, staple: root.Staple(cert, tlsfarm.StapleDates(-2*day, -day)), nextUpdate: -day, problem: "stale", message: "cannot be trusted: it expired on", reasons: []any{"invalid_staple"}},
		"other CA's":    {cert: cert, staple: tlsfarm.NewAuthority("Root").StapleBy(tlsfarm.SelfSigned("x"), cert), problem: "wrong_certificate", message: "about other certificates", reasons: []any{"invalid_staple"}},
		"must-staple":   {cert: demanding, problem: "missing", message: "must-staple", reasons: []any{"missing_staple"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.cert.OCSPStaple = c.staple
			server := serve(t, &tls.Config{Certificates: []tls.Certificate{c.cert}})
			endpoint, err := target.ParseEndpoint(server.Endpoint())
			require.NoError(t, err)
			o := (&probe.Prober{}).ProbeEndpoint(t.Context(), &target.Target{
				Endpoint: endpoint, Timeout: 5 * time.Second, TLS: &tls.Config{RootCAs: root.Pool()},
			})

			r := newTestRecorder(t, nil, withMetrics, withTraces, func(_ *testRecorder, cfg *Config, _ *Consumers) {
				assert.True(t, cfg.Metrics.TLSOcspStatus.Enabled)
				assert.False(t, cfg.Metrics.TLSOcspNextUpdate.Enabled)
				cfg.Metrics.TLSOcspNextUpdate.Enabled = true
			})
			r.record(o)

			points := make(map[string]map[string]any)
			values := make(map[string]float64)
			var counted []any
			for _, m := range r.sentMetrics().All() {
				switch m.Name() {
				case "tls.ocsp.status", "tls.ocsp.next_update":
					require.Equal(t, 1, m.Gauge().DataPoints().Len())
					p := m.Gauge().DataPoints().At(0)
					points[m.Name()] = p.Attributes().AsRaw()
					values[m.Name()] = p.DoubleValue() + float64(p.IntValue()) // one of them is 0
				case "tls.validation.errors":
					for _, p := range m.Sum().DataPoints().All() {
						typ, _ := p.Attributes().Get("error.type")
						counted = append(counted, typ.Str())
					}
				}
			}
			identity := map[string]any{"server.address": endpoint.Host, "server.port": int64(endpoint.Port)}
			if c.status == "" {
				assert.NotContains(t, points, "tls.ocsp.status")
			} else {
				assert.Equal(t, 1.0, values["tls.ocsp.status"])
				assert.Equal(t, map[string]any{
					"tls.ocsp.status": c.status, "server.address": identity["server.address"], "server.port": identity["server.port"],
				}, points["tls.ocsp.status"])
			}
			spans := r.sentSpans()
			span := spans.At(spans.Len() - 1).Attributes().AsRaw()
			if c.nextUpdate == 0 {
				assert.NotContains(t, points, "tls.ocsp.next_update")
				assert.NotContains(t, span, "tls.ocsp.next_update")
			} else {
				want := time.Now().Add(c.nextUpdate)
				assert.Equal(t, identity, points["tls.ocsp.next_update"])
				assert.InDelta(t, want.Unix(), values["tls.ocsp.next_update"], 120)
				got, err := time.Parse(time.RFC3339, span["tls.ocsp.next_update"].(string))
				require.NoError(t, err)
				assert.WithinDuration(t, want, got, 2*time.Minute)
			}
			assert.Equal(t, c.reasons, counted)
			assert.Equal(t, c.reasons, asList(span["tls.error.reasons"]))
			for key, want := range map[string]string{"tls.ocsp.status": c.status, "tls.ocsp.problem": c.problem} {
				if want == "" {
					assert.NotContains(t, span, key)
				} else {
					assert.Equal(t, want, span[key])
				}
			}
			if c.message == "" {
				assert.NotContains(t, span, "tls.ocsp.message")
			} else {
				assert.Contains(t, span["tls.ocsp.message"], c.message)
			}
		})
	}
}

// asList returns nil for an absent attribute.
func asList(v any) []any {
	l, _ := v.([]any)
	return l
}
