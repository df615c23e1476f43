package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver"
)

// The line of a server says whether it asks for a client certificate, if none is configured.
func TestResultSaysWhetherTheServerAsksForAClientCertificate(t *testing.T) {
	ca := tlsfarm.NewAuthority("CA")
	chain, key := tlsfarm.PEM(ca.Issue("client"))
	for name, c := range map[string]struct {
		auth       tls.ClientAuthType
		configured bool
		end        string
	}{
		"asks":                    {tls.RequestClientCert, false, ` days left, asks for a client certificate\n$`},
		"gets one":                {tls.RequestClientCert, true, ` days left\n$`},
		"does not ask":            {tls.NoClientCert, false, ` days left\n$`},
		"does not ask, gets none": {tls.NoClientCert, true, ` days left\n$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue("www")}, ClientAuth: c.auth})
			t.Cleanup(server.Close)
			settings := configtls.NewDefaultClientConfig()
			settings.CAPem = configopaque.String(ca.PEM())
			if c.configured {
				settings.CertPem, settings.KeyPem = configopaque.String(chain), configopaque.String(key)
			}
			cfg := &tlscheckreceiver.Config{
				Settings: tlscheckreceiver.Settings{InitialDelay: time.Millisecond, TLS: tlscheckreceiver.NewClientTLS(settings)},
				Targets:  []tlscheckreceiver.TargetConfig{{Endpoint: server.Endpoint()}},
			}
			sent := make(chan ptrace.Traces, 100)
			next, err := consumer.NewTraces(func(_ context.Context, traces ptrace.Traces) error { sent <- traces; return nil })
			require.NoError(t, err)
			factory := tlscheckreceiver.NewFactory()
			r, err := factory.CreateTraces(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, next)
			require.NoError(t, err)
			require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
			body, err := (&ptrace.JSONMarshaler{}).MarshalTraces(<-sent)
			require.NoError(t, err)
			require.NoError(t, r.Shutdown(t.Context()))

			var line bytes.Buffer
			results{&line}.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/traces", bytes.NewReader(body)))
			assert.Regexp(t, `^OK      127\.0\.0\.1:\d+ +TLSv1\.3, TLS_\w+, 89`+c.end, line.String())
		})
	}
}
