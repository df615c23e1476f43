package telemetry

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// TestStaple looks at all that is said of a staple, and that nothing is said of one that is not there or not believed.
func TestStaple(t *testing.T) {
	const day = 24 * time.Hour
	root := tlsfarm.NewAuthority("Root")
	cert, demanding := root.Issue("x"), root.Issue("x", tlsfarm.MustStaple)
	for name, c := range map[string]struct {
		cert       tls.Certificate
		staple     []byte
		status     string
		nextUpdate time.Duration // from now; 0 where it is to be absent
		problem    string
		message    string
		reasons    []any
	}{
		"none":        {cert: cert},
		"good":        {cert: cert, staple: root.Staple(cert), status: "good", nextUpdate: 7 * day},
		"no end":      {cert: cert, staple: root.Staple(cert, tlsfarm.StapleDates(-time.Hour, 0)), status: "good"},
		"revoked":     {cert: cert, staple: root.Staple(cert, tlsfarm.RevokedFor(0)), status: "revoked", nextUpdate: 7 * day, reasons: []any{"cert_revoked"}},
		"stale":       {cert: cert, staple: root.Staple(cert, tlsfarm.StapleDates(-2*day, -day)), nextUpdate: -day, problem: "stale", message: "cannot be trusted: it expired on", reasons: []any{"invalid_staple"}},
		"other CA's":  {cert: cert, staple: tlsfarm.NewAuthority("Root").StapleBy(tlsfarm.SelfSigned("x"), cert), problem: "wrong_certificate", message: "about other certificates", reasons: []any{"invalid_staple"}},
		"must-staple": {cert: demanding, problem: "missing", message: "must-staple", reasons: []any{"missing_staple"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.cert.OCSPStaple = c.staple
			server := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{c.cert}})
			t.Cleanup(server.Close)
			endpoint, err := target.ParseEndpoint(server.Endpoint())
			require.NoError(t, err)
			o := (&probe.Prober{}).ProbeEndpoint(t.Context(), &target.Target{
				Endpoint: endpoint, Timeout: 5 * time.Second, TLS: &tls.Config{RootCAs: root.Pool()},
			})

			cfg := DefaultConfig()
			assert.True(t, cfg.Metrics.TLSOcspStatus.Enabled)
			assert.False(t, cfg.Metrics.TLSOcspNextUpdate.Enabled)
			cfg.Metrics.TLSOcspNextUpdate.Enabled = true
			var metrics consumertest.MetricsSink
			var traces consumertest.TracesSink
			r, err := New(receivertest.NewNopSettings(metadata.Type), cfg, Consumers{Metrics: &metrics, Traces: &traces}, nil)
			require.NoError(t, err)
			r.Observe(t.Context(), o)
			r.Flush(t.Context())

			points := make(map[string]map[string]any)
			values := make(map[string]float64)
			var counted []any
			for _, m := range metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
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
			where := map[string]any{"server.address": endpoint.Host, "server.port": int64(endpoint.Port)}
			if c.status == "" {
				assert.NotContains(t, points, "tls.ocsp.status")
			} else {
				assert.Equal(t, 1.0, values["tls.ocsp.status"])
				assert.Equal(t, map[string]any{
					"tls.ocsp.status": c.status, "server.address": where["server.address"], "server.port": where["server.port"],
				}, points["tls.ocsp.status"])
			}
			spans := traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans()
			span := spans.At(spans.Len() - 1).Attributes().AsRaw()
			if c.nextUpdate == 0 {
				assert.NotContains(t, points, "tls.ocsp.next_update")
				assert.NotContains(t, span, "tls.ocsp.next_update")
			} else {
				want := time.Now().Add(c.nextUpdate)
				assert.Equal(t, where, points["tls.ocsp.next_update"])
				assert.InDelta(t, want.Unix(), values["tls.ocsp.next_update"], 120)
				got, err := time.Parse(time.RFC3339, span["tls.ocsp.next_update"].(string))
				require.NoError(t, err)
				assert.WithinDuration(t, want, got, 2*time.Minute)
			}
			assert.Equal(t, c.reasons, counted)
			assert.Equal(t, c.reasons, list(span["tls.error.reasons"]))
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

func list(v any) []any {
	l, _ := v.([]any)
	return l
}
