//go:build interop

package interop

import (
	"crypto/tls"
	"net/http"
	"net/smtp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// Servers that are commonly used with TLS from the first byte.

func TestNginx(t *testing.T) {
	run(t, []test{
		{name: "two certificates", server: "nginx"},
		{name: "two certificates, TLS 1.2", server: "nginx", max: tls.VersionTLS12},
		{name: "ALPN", server: "nginx", alpn: "h2"},
		{name: "SNI", server: "nginx", sni: "b.test"},
		{name: "strict SNI", server: "nginx", port: 1, sni: "b.test"},

		{
			name: "unknown name", server: "nginx", sni: "zzz.test",
			step: failure.Verify, typ: failure.Type(certs.NameMismatch), code: 62,
			texts: []string{"not valid for zzz.test, only for localhost, 127.0.0.1, ::1."},
		},
	})
}

// nginx completes the handshake with any client certificate or none, and then refuses the HTTP request.
func TestNginxRefusesHTTPRequests(t *testing.T) {
	s := start(t, "nginx")
	for name, status := range map[string]int{
		"": http.StatusBadRequest, "stranger": http.StatusBadRequest, "expired": http.StatusBadRequest, "lone": http.StatusBadRequest,
		"client": http.StatusOK, "completed": http.StatusOK,
	} {
		o := (&test{port: 2, client: name}).probe(t, s)
		assert.Nil(t, o.Failure, name)
		assert.True(t, o.Handshake.ClientCertRequested, name)
		assert.Equal(t, []string{"CN=Clients,O=Farm"}, o.Handshake.AcceptableCAs, name)
		var warnings []failure.Type
		if problem, bad := clientProblems[name]; bad {
			warnings = []failure.Type{problem.warning}
		}
		assert.Equal(t, warnings, failure.ClientCertWarnings(o.Handshake.ClientCertProblems), name)

		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: o.Target.TLS}}
		response, err := client.Get("https://" + o.Target.Endpoint.String())
		require.NoError(t, err, name)
		_ = response.Body.Close()
		assert.Equal(t, status, response.StatusCode, name)
	}
}

// Postfix too completes the handshake without the client certificate that it demands. It refuses the client in SMTP.
func TestPostfixRefusesInSMTP(t *testing.T) {
	s := start(t, "postfix")
	for name, answer := range map[string]string{"": "No client certificate presented", "stranger": "Client certificate not trusted", "client": ""} {
		o := (&test{port: 4, starttls: "smtp", client: name}).probe(t, s)
		assert.Nil(t, o.Failure, name)
		assert.True(t, o.Handshake.ClientCertRequested, name)

		client, err := smtp.Dial(o.Target.Endpoint.String())
		require.NoError(t, err)
		config := o.Target.TLS.Clone()
		config.ServerName = "localhost"
		err = client.StartTLS(config) // says EHLO again
		if answer == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, answer, name)
		}
		_ = client.Close()
	}
}

func TestHAProxy(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "haproxy"},
		{name: "TLS 1.2", server: "haproxy", max: tls.VersionTLS12},
		{name: "ALPN", server: "haproxy", alpn: "h2"},
		{name: "no ALPN protocol in common, which it accepts", server: "haproxy", alpn: "imap"},
		{name: "SNI", server: "haproxy", sni: "b.test"},
		{name: "strict SNI", server: "haproxy", port: 1, sni: "b.test"},
	})
}

func TestStunnel(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "stunnel"},
		{name: "TLS 1.2", server: "stunnel", max: tls.VersionTLS12},
		{name: "SSLRequest of PostgreSQL", server: "stunnel", port: 3, starttls: "postgres"},
	})
}

func TestRedis(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "redis no"},
		{name: "TLS 1.2", server: "redis no", max: tls.VersionTLS12},
	})
}

func TestMosquitto(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "mosquitto"},
		{name: "TLS 1.2", server: "mosquitto", max: tls.VersionTLS12},
	})
}
