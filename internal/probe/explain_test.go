package probe

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// serveCounting starts a TLS server that counts its connections. The target's endpoint has the name localhost.
func serveCounting(t *testing.T, config *tls.Config) (*target.Target, *atomic.Int32) {
	t.Helper()
	var n atomic.Int32
	s := tlsfarm.Serve(func(conn net.Conn) {
		n.Add(1)
		tlsfarm.Handshake(conn, config)
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, fmt.Sprintf("localhost:%d", s.Port()))
	tt.Explain = target.ExplainOnChange
	return tt, &n
}

func TestExplanationFindsWhatWouldWork(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	cert := root.Issue("explained", tlsfarm.Key(key))
	only := func(config *tls.Config) *tls.Config {
		config.Certificates = []tls.Certificate{cert}
		return config
	}
	rsaSuite := []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}

	for name, c := range map[string]struct {
		server *tls.Config
		client *tls.Config
		typ    failure.Type
		cause  string // with %s for the endpoint
		fix    string
	}{
		"TLS 1.0 only": {
			server: only(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: rsaSuite}),
			typ:    failure.ProtocolMismatch,
			cause:  "%s speaks only TLS 1.0. In TLS 1.0 it chose TLS_RSA_WITH_AES_128_CBC_SHA.",
			fix:    `Enable TLS 1.2 or 1.3 on the server. To probe it as it is, set tls min_version: "1.0" and max_version: "1.0", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], include_insecure_cipher_suites: true.`,
		},
		"TLS 1.0 and 1.1": {
			server: only(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}),
			typ:    failure.ProtocolMismatch,
			cause:  "%s speaks only TLS 1.1 and TLS 1.0. In TLS 1.1 it chose TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA.",
			fix:    `min_version: "1.1"`,
		},
		"TLS 1.2 where 1.3 is demanded": {
			server: only(&tls.Config{MaxVersion: tls.VersionTLS12}),
			client: &tls.Config{MinVersion: tls.VersionTLS13},
			typ:    failure.ProtocolMismatch,
			cause:  "%s speaks only TLS 1.2. In TLS 1.2 it chose TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256.",
			fix:    `min_version: "1.2"`,
		},
		"one suite that is not offered": {
			server: only(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: rsaSuite}),
			typ:    failure.CipherMismatch,
			cause:  "%s supports none of the offered cipher suites. When every suite was offered, it chose TLS_RSA_WITH_AES_128_CBC_SHA.",
			fix:    `cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], include_insecure_cipher_suites: true.`,
		},
		"one group that is not offered": {
			server: only(&tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}),
			client: &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}},
			typ:    failure.GroupMismatch,
			cause:  "%s supports none of the offered key exchange groups. When every group was offered, it chose the group secp521r1.",
			fix:    `To probe it as it is, set tls curve_preferences: [P521].`,
		},
		"no certificate for the name": {
			server: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if hello.ServerName == "" {
					return &cert, nil
				}
				return nil, nil // crypto/tls sends unrecognized_name
			}},
			typ:   failure.UnrecognizedName,
			cause: `%s refuses the name localhost. A client that sends no name gets the certificate of "explained".`,
			fix:   "Configure the server for localhost, or set tls server_name_override to a name that it serves.",
		},
		"no certificate for the name, with an internal error": {
			server: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if hello.ServerName == "" {
					return &cert, nil
				}
				return nil, fmt.Errorf("no such host") // crypto/tls sends internal_error
			}},
			typ:   failure.UnrecognizedName,
			cause: `%s refuses the name localhost.`,
			fix:   "Configure the server for localhost",
		},
		"a client that does not offer TLS 1.3": {
			server: &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
					return &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, nil // alert 70
				}
				return &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12}, nil
			}},
			typ:   failure.ProtocolMismatch,
			cause: "%s refuses clients that also offer TLS 1.3. With TLS 1.2 and TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 the handshake succeeds.",
			fix:   `Update the server, or the middlebox in front of it. To probe it as it is, set tls min_version: "1.2" and max_version: "1.2"`,
		},
		"nothing": {
			server: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }},
			typ:    failure.UnrecognizedName,
			cause:  "Also tried, without success: the same again: alert 112, unrecognized_name; TLS 1.2 to 1.3 without SNI: alert 112, unrecognized_name; SSL 3.0 to TLS 1.3 with everything: alert 112",
			fix:    "set tls server_name_override",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt, connections := serveCounting(t, c.server)
			if c.client != nil {
				tt.TLS = c.client
			}
			var p Prober
			first := p.ProbeEndpoint(t.Context(), tt)
			require.NotNil(t, first.Failure)
			assert.Equal(t, c.typ, first.Failure.Type)
			assert.Equal(t, []failure.Type{c.typ}, first.Failure.Reasons)
			cause := c.cause
			if cause[0] == '%' {
				cause = fmt.Sprintf(cause, tt.Endpoint)
			}
			assert.Contains(t, first.Failure.Cause, cause)
			assert.Contains(t, first.Failure.Fix, c.fix)
			require.NotNil(t, first.Explanation)
			assert.LessOrEqual(t, len(first.Explanation.Tries), 4)
			assert.Equal(t, int32(1+len(first.Explanation.Tries)), connections.Load())
			assert.False(t, first.Explanation.Start.Before(first.Handshake.End))
			assert.False(t, first.End.Before(first.Explanation.End))

			// The next probe fails in the same way. It makes only one connection and has the same explanation.
			before := connections.Load()
			second := p.ProbeEndpoint(t.Context(), tt)
			assert.Equal(t, before+1, connections.Load())
			assert.Nil(t, second.Explanation)
			assert.Equal(t, first.Failure.Type, second.Failure.Type)
			assert.Equal(t, first.Failure.Cause, second.Failure.Cause)
			assert.Equal(t, first.Failure.Fix, second.Failure.Fix)
		})
	}
}

func TestExplanationIsMadeWhenTheFailureChanges(t *testing.T) {
	var alert atomic.Int32
	var connections atomic.Int32
	cert := root.Issue("x")
	s := tlsfarm.Serve(func(conn net.Conn) {
		connections.Add(1)
		if a := alert.Load(); a != 0 {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, byte(a)})
			time.Sleep(10 * time.Millisecond)
			return
		}
		tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.Explain = target.ExplainOnChange
	var p Prober
	for i, step := range []struct {
		alert   int32
		explain bool
	}{
		{0, false}, {0, false}, // succeeds
		{40, true}, {40, false}, {40, false}, // begins to fail
		{80, true}, {80, false}, // fails differently
		{40, false},             // has been explained before
		{90, true}, {90, false}, // the same type with another alert
		{0, false},  // recovers
		{80, true},  // begins to fail again
		{49, false}, // a type for which there is nothing to try
	} {
		alert.Store(step.alert)
		before := connections.Load()
		o := p.ProbeEndpoint(t.Context(), tt)
		assert.Equal(t, step.alert != 0, o.Failure != nil, "step %d", i)
		assert.Equal(t, step.explain, o.Explanation != nil, "step %d", i)
		assert.Equal(t, step.explain, connections.Load() > before+1, "step %d", i)
	}
	alert.Store(70)
	tt.Explain = target.ExplainNever
	assert.Nil(t, p.ProbeEndpoint(t.Context(), tt).Explanation)
}

func TestIntermittentFailureIsExplainedAsSuch(t *testing.T) {
	cert := root.Issue("x")
	for name, c := range map[string]struct {
		fail   func(net.Conn)
		typ    failure.Type
		client *tls.Config
	}{
		"closed": {func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) }, failure.ConnectionClosed, &tls.Config{}},
		"version, of one offered": {func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, 70})
			time.Sleep(10 * time.Millisecond)
		}, failure.ProtocolMismatch, &tls.Config{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13}},
		"alert": {func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, 80})
			time.Sleep(10 * time.Millisecond)
		}, failure.ServerInternalError, &tls.Config{}},
	} {
		t.Run(name, func(t *testing.T) {
			first := make(chan bool, 1)
			first <- true
			s := tlsfarm.Serve(func(conn net.Conn) {
				select {
				case <-first:
					c.fail(conn)
				default:
					tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
				}
			})
			t.Cleanup(s.Close)
			tt := newTarget(t, fmt.Sprintf("localhost:%d", s.Port()))
			tt.Explain, tt.TLS = target.ExplainOnChange, c.client
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, c.typ, o.Failure.Type)
			assert.Contains(t, o.Failure.Cause, "The same handshake succeeded when it was tried again immediately")
			require.Len(t, o.Explanation.Tries, 1)
			assert.Contains(t, o.Explanation.Tries[0].String(), "the same again: works, TLS 1.3")
		})
	}
}

func TestExplanationEndsWithTheProbesDeadline(t *testing.T) {
	first := make(chan bool, 1)
	first <- true
	s := tlsfarm.Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		select {
		case <-first:
			_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, 40})
			time.Sleep(10 * time.Millisecond)
		default: // silent from then on
			_, _ = conn.Read(make([]byte, 1))
		}
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.Explain, tt.Timeout = target.ExplainOnChange, 300*time.Millisecond
	o := (&Prober{}).ProbeEndpoint(t.Context(), tt)
	require.NotNil(t, o.Explanation)
	require.Len(t, o.Explanation.Tries, 1, "the time is up after the first")
	assert.Contains(t, o.Failure.Cause, "Also tried, without success: the same again: no answer.")
	assert.Equal(t, failure.HandshakeFailure, o.Failure.Type)
}
