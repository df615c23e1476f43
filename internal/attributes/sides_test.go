package attributes

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// Both sides of one handshake are described by the same code.
func TestBothSidesOfAHandshake(t *testing.T) {
	ca := tlsfarm.NewAuthority("CA")
	states := make(chan tls.ConnectionState, 1)
	server := tlsfarm.Serve(func(conn net.Conn) {
		s := tls.Server(conn, &tls.Config{
			Certificates: []tls.Certificate{ca.Issue("www")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
			NextProtos: []string{"h2"},
		})
		assert.NoError(t, s.Handshake())
		states <- s.ConnectionState()
	})
	t.Cleanup(server.Close)
	client, err := tls.Dial("tcp", server.Endpoint(), &tls.Config{
		RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{ca.Issue("app")}, NextProtos: []string{"h2"},
	})
	require.NoError(t, err)
	defer client.Close()

	now := time.Now()
	describe := func(state tls.ConnectionState, peer Peer) map[string]any {
		f := &handshake.Facts{Start: now, End: now, ServerName: state.ServerName, State: state, Established: true}
		a := pcommon.NewMap()
		PutHandshake(a, f)
		PutPeerCertificate(a, peer, f, now)
		return a.AsRaw()
	}
	byClient, byServer := describe(client.ConnectionState(), Server), describe(<-states, Client)
	for _, same := range []string{"tls.protocol.version", "tls.cipher", "tls.curve", "tls.next_protocol", "tls.server.name", "tls.established"} {
		require.Contains(t, byClient, same)
		assert.Equal(t, byClient[same], byServer[same], same)
	}
	assert.Equal(t, "CN=www", byClient["tls.server.subject"])
	assert.Equal(t, "www", byClient["tls.cert.subject.cn"])
	assert.NotContains(t, byClient, "tls.client.subject")
	assert.Equal(t, "CN=app", byServer["tls.client.subject"])
	assert.Equal(t, "CN=CA,O=Farm", byServer["tls.client.issuer"])
	assert.Equal(t, "app", byServer["tls.cert.subject.cn"])
	assert.NotEqual(t, byClient["tls.server.hash.sha256"], byServer["tls.client.hash.sha256"])
	assert.NotContains(t, byServer, "tls.server.subject")
}
