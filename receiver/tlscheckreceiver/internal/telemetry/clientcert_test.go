package telemetry

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// validationPoints returns the points of tls.validation.errors: their values by error.type, preceded by tls.peer if there
// is one.
func (r *testRecorder) validationPoints() map[string]int64 {
	points := make(map[string]int64)
	for _, m := range r.sentMetrics().All() {
		if m.Name() != "tls.validation.errors" {
			continue
		}
		for _, p := range m.Sum().DataPoints().All() {
			text := func(key string) string { v, _ := p.Attributes().Get(key); return v.AsString() }
			key := text("error.type")
			if peer, ok := p.Attributes().Get("tls.peer"); ok {
				key = peer.AsString() + " " + key
			}
			points[key] = p.IntValue()
		}
	}
	return points
}

func texts(a pcommon.Map, key string) []any {
	v, ok := a.Get(key)
	if !ok {
		return nil
	}
	return v.Slice().AsRaw()
}

// What is wrong with the receiver's own certificate has points and attributes of its own, beside those of the server's.
func TestClientCertificateProblems(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	serverOnly := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	for name, c := range map[string]struct {
		auth     tls.ClientAuthType
		cert     tls.Certificate
		points   map[string]int64
		warnings []any
		reasons  []any
	}{
		"both near their expiry": {
			tls.RequireAndVerifyClientCert, clients.Issue("collector", tlsfarm.Validity(-day, day)),
			map[string]int64{"near_expiry": 1, "client near_expiry": 1},
			[]any{"near_expiry"},
			[]any{"near_expiry"},
		},
		"accepted": {
			tls.RequireAnyClientCert, tlsfarm.NewAuthority("Strangers").Issue("collector", serverOnly),
			map[string]int64{"near_expiry": 1, "client unsupported_certificate": 1, "client unknown_ca": 1},
			[]any{"unsupported_certificate", "unknown_ca"},
			[]any{"near_expiry"},
		},
		"refused": {
			tls.RequireAndVerifyClientCert, clients.Issue("collector", serverOnly),
			map[string]int64{"near_expiry": 1, "client unsupported_certificate": 1},
			[]any{"unsupported_certificate"},
			[]any{"unsupported_certificate", "near_expiry"},
		},
		"missing":         {tls.RequireAndVerifyClientCert, tls.Certificate{}, map[string]int64{"near_expiry": 1, "client missing_client_cert": 1}, nil, []any{"missing_client_cert", "near_expiry"}},
		"asked for":       {tls.RequestClientCert, tls.Certificate{}, map[string]int64{"near_expiry": 1}, nil, []any{"near_expiry"}},
		"never asked for": {tls.NoClientCert, clients.Issue("collector", serverOnly), map[string]int64{"near_expiry": 1}, nil, []any{"near_expiry"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, &tls.Config{
				Certificates: []tls.Certificate{ca.Issue("mail.example.com", tlsfarm.Validity(-day, day))}, ClientAuth: c.auth, ClientCAs: clients.Pool(),
			})
			config := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
			if c.cert.Leaf != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.cert, nil }
			}
			r := newTestRecorder(t, nil, withMetrics, withTraces)
			r.record(probeServer(t, server, config))

			assert.Equal(t, c.points, r.validationPoints())
			span := r.sentSpans().At(2)
			require.Equal(t, "tls.handshake", span.Name())
			assert.Equal(t, c.warnings, texts(span.Attributes(), "tls.client_cert.warnings"))
			assert.Equal(t, c.reasons, texts(span.Attributes(), "tls.error.reasons"))
			problems := texts(span.Attributes(), "tls.client_cert.problems")
			assert.Len(t, problems, len(c.warnings))
			for _, p := range problems {
				assert.Regexp(t, `^The .*\. [A-Z].*\.$`, p, "what is wrong, and what to do")
			}
		})
	}
}
