package probe

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// A server may answer the ClientHello with any alert.
func TestEveryAlertBeforeTheServerHello(t *testing.T) {
	want := map[uint8]failure.Type{
		0:  failure.ConnectionClosed, // close_notify
		40: failure.HandshakeFailure, 41: failure.MissingClientCert, 42: failure.BadCertificate,
		43: failure.UnsupportedCertificate, 44: failure.ClientCertRevoked, 45: failure.ClientCertExpired,
		46: failure.CertificateUnknown, 48: failure.UnknownCA, 49: failure.AccessDenied,
		60: failure.CipherMismatch, 70: failure.ProtocolMismatch, 71: failure.CipherMismatch,
		80: failure.ServerInternalError, 86: failure.ProtocolMismatch, 90: failure.HandshakeFailure,
		100: failure.HandshakeFailure, 109: failure.HandshakeFailure, 111: failure.HandshakeFailure,
		112: failure.UnrecognizedName, 113: failure.HandshakeFailure, 114: failure.HandshakeFailure,
		115: failure.HandshakeFailure, 116: failure.MissingClientCert, 120: failure.ALPNMismatch,
		121: failure.HandshakeFailure,
	}
	for n := range 122 {
		alert := uint8(n)
		s := tlsfarm.Alert(alert)
		o := probeOnce(t, newTarget(t, s.Endpoint()))
		s.Close()
		require.NotNil(t, o.Failure, "alert %d", n)
		expected, ok := want[alert]
		if !ok {
			expected = failure.MalformedHandshake
		}
		assert.Equal(t, expected, o.Failure.Type, "alert %d: %s", n, o.Failure.Message)
		assert.NotEqual(t, failure.Other, o.Failure.Type)
		assert.Equal(t, n != 0, o.Failure.HasAlert, "alert %d", n)
		assert.Equal(t, alert, o.Failure.Alert)
		assert.Equal(t, "ssl_error", o.Failure.Category)
		if n != 0 {
			assert.Contains(t, o.Failure.Cause, fmt.Sprintf("alert %d", n))
		}
		assert.NotEmpty(t, o.Failure.Fix)
		assert.Contains(t, o.Failure.Cause, o.Target.Endpoint.String())
	}
}

// FuzzServerAnswer checks that a probe ends with a failure that has a type, whatever bytes the server sends first.
func FuzzServerAnswer(f *testing.F) {
	var answer []byte
	var mu sync.Mutex
	s := tlsfarm.Serve(func(conn net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write(answer)
		_ = conn.(*net.TCPConn).SetLinger(0) // otherwise the free ports are used up within seconds
	})
	f.Cleanup(s.Close)
	e, err := target.ParseEndpoint(s.Endpoint())
	require.NoError(f, err)
	tt := &target.Target{Endpoint: e, Timeout: 2 * time.Second, Explain: target.ExplainNever, TLS: &tls.Config{RootCAs: root.Pool()}}

	f.Add([]byte{})
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40})
	f.Add([]byte("220 mail.example ESMTP\r\n"))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add(helloFrom(f, tls.VersionTLS12))
	f.Add(helloFrom(f, tls.VersionTLS13))
	f.Fuzz(func(t *testing.T, bytes []byte) {
		mu.Lock()
		answer = bytes
		mu.Unlock()
		o := (&Prober{}).ProbeEndpoint(t.Context(), tt)
		require.NotNil(t, o)
		require.NotNil(t, o.Failure)
		assert.NotEmpty(t, o.Failure.Type)
		assert.NotEqual(t, failure.Other, o.Failure.Type, "%s", o.Failure.Message)
		assert.NotContains(t, o.Failure.Message, "panic")
		assert.Equal(t, o.Failure.Type, o.Failure.Reasons[0])
		assert.NotEmpty(t, o.Failure.Cause)
		assert.NotEmpty(t, o.Failure.Fix)
	})
}

// helloFrom returns the first bytes that a real server sends, as a seed for the fuzzer.
func helloFrom(f *testing.F, version uint16) []byte {
	client, server := net.Pipe()
	go func() {
		cert := root.Issue("x")
		_ = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version}).Handshake()
	}()
	captured := &capture{Conn: client}
	_ = tls.Client(captured, &tls.Config{InsecureSkipVerify: true}).Handshake()
	_ = client.Close()
	_ = server.Close()
	require.NotEmpty(f, captured.read)
	return captured.read
}

// capture keeps everything that is read.
type capture struct {
	net.Conn
	read []byte
}

func (c *capture) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read = append(c.read, p[:n]...)
	return n, err
}
