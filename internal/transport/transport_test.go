package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	root    = tlsfarm.NewAuthority("Farm Root")
	healthy = root.Issue("healthy")
)

// serve starts a server for the test and returns its address.
func serve(t *testing.T, s *tlsfarm.Server) netip.AddrPort {
	t.Helper()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Endpoint())
}

// dial connects to addr. The returned function cancels the connection's context.
func dial(t *testing.T, addr netip.AddrPort) (Conn, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	conn, err := TCP.Connect(ctx, addr, time.Minute)
	require.NoError(t, err)
	return conn, cancel
}

// dialTLS connects to addr and makes a successful handshake.
func dialTLS(t *testing.T, addr netip.AddrPort) (Conn, context.CancelFunc) {
	t.Helper()
	conn, cancel := dial(t, addr)
	require.NoError(t, conn.Handshake(clientConfig()))
	return conn, cancel
}

func clientConfig() *tls.Config {
	return &tls.Config{RootCAs: root.Pool(), ServerName: "localhost"}
}

// within fails the test if f does not return. The limit is far above what f takes.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it blocks")
	}
}

func TestConnectEndsWithItsLimitOrItsContext(t *testing.T) {
	addr := serve(t, tlsfarm.Silent())
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_, err := TCP.Connect(ctx, addr, 0)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout())

	past, cancelPast := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancelPast()
	_, err = TCP.Connect(past, addr, time.Minute)
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout())

	conn, err := TCP.Connect(ctx, addr, time.Minute)
	require.NoError(t, err)
	conn.Close() // without a handshake

	cancel()
	_, err = TCP.Connect(ctx, addr, time.Minute)
	assert.ErrorContains(t, err, "operation was canceled")
}

func TestHandshakeEndsWhenItsContextIsCancelled(t *testing.T) {
	received := make(chan struct{})
	addr := serve(t, tlsfarm.Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		close(received)
		_, _ = io.Copy(io.Discard, conn)
	}))
	conn, cancel := dial(t, addr)
	defer conn.Close()
	go func() {
		<-received
		cancel()
	}()
	within(t, func() { assert.ErrorIs(t, conn.Handshake(clientConfig()), os.ErrDeadlineExceeded) })
}

// Setting a read deadline must not undo the one that the end of the context has set.
func TestNothingIsReadAfterItsContextIsCancelled(t *testing.T) {
	conn, cancel := dialTLS(t, serve(t, tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{healthy}})))
	defer conn.Close()
	cancel()
	within(t, func() {
		_, err := conn.(*tcpConn).client.Read(make([]byte, 1)) // returns when the deadline is set
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.NoError(t, conn.AwaitRefusal(time.Hour))
	})
}

func TestHandshakeReturnsAlerts(t *testing.T) {
	conn, _ := dial(t, serve(t, tlsfarm.Alert(40)))
	defer conn.Close()
	var alert *failure.AlertError
	require.ErrorAs(t, conn.Handshake(clientConfig()), &alert)
	assert.Equal(t, uint8(40), alert.Number)
	assert.False(t, alert.Local)
}

func TestAsk(t *testing.T) {
	offer := clienthello.Offer{
		MinVersion: clienthello.SSL30, MaxVersion: clienthello.TLS13,
		Suites: clienthello.Suites(), Groups: clienthello.Groups(), Schemes: clienthello.Schemes(),
	}
	conn, _ := dial(t, serve(t, tlsfarm.SMTP("220 go ahead\r\n", &tls.Config{Certificates: []tls.Certificate{healthy}}, nil)))
	defer conn.Close()
	require.NoError(t, conn.StartTLS("smtp", "mail.example"))
	answer, err := conn.Ask(offer)
	require.NoError(t, err)
	assert.Equal(t, healthy.Leaf.Raw, answer.Certificates[0])

	refused, _ := dial(t, serve(t, tlsfarm.Alert(40)))
	defer refused.Close()
	_, err = refused.Ask(offer)
	var alert *failure.AlertError
	require.ErrorAs(t, err, &alert)
	assert.Equal(t, uint8(40), alert.Number)
	assert.False(t, alert.Local)

	silent, cancel := dial(t, serve(t, tlsfarm.Silent()))
	defer silent.Close()
	cancel()
	within(t, func() {
		_, err := silent.Ask(offer)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

func TestHandshakeReturnsTheErrorOfVerifyConnection(t *testing.T) {
	conn, _ := dial(t, serve(t, tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{healthy}})))
	defer conn.Close()
	config := clientConfig()
	verdict := &failure.Failure{Type: failure.Other}
	config.VerifyConnection = func(tls.ConnectionState) error { return verdict }
	assert.Same(t, verdict, conn.Handshake(config))
}

func TestState(t *testing.T) {
	conn, _ := dialTLS(t, serve(t, tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{healthy}})))
	defer conn.Close()
	state := conn.State()
	assert.True(t, state.HandshakeComplete)
	assert.Equal(t, uint16(tls.VersionTLS13), state.Version)
	assert.Equal(t, healthy.Leaf.Raw, state.PeerCertificates[0].Raw)
}

func TestStartTLSSaysGoodbyeWhenItIsRefused(t *testing.T) {
	last := make(chan string, 1)
	addr := serve(t, tlsfarm.Serve(func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for _, reply := range []string{"220 mail.example ESMTP\r\n", "250-mail.example\r\n250 STARTTLS\r\n", "454 TLS not available\r\n"} {
			_, _ = io.WriteString(conn, reply)
			line, _ := in.ReadString('\n')
			if strings.HasPrefix(reply, "454") {
				last <- line
			}
		}
	}))
	conn, _ := dial(t, addr)
	var refusal *starttls.Error
	require.ErrorAs(t, conn.StartTLS("smtp", "mail.example"), &refusal)
	assert.Equal(t, starttls.Rejected, refusal.Kind)
	conn.Close()
	assert.Equal(t, "QUIT\r\n", <-last)
}

func TestCloseSaysGoodbyeAfterStartTLS(t *testing.T) {
	heard := make(chan string, 1)
	conn, _ := dial(t, serve(t, tlsfarm.SMTP("220 go ahead\r\n", &tls.Config{Certificates: []tls.Certificate{healthy}}, heard)))
	require.NoError(t, conn.StartTLS("smtp", "mail.example"))
	require.NoError(t, conn.Handshake(clientConfig()))
	conn.Close()
	assert.Equal(t, "QUIT\r\n", <-heard)
}

// requesting is the configuration of a TLS 1.3 server that requests a client certificate.
func requesting(auth tls.ClientAuthType) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{healthy}, MinVersion: tls.VersionTLS13, ClientAuth: auth}
}

func TestAwaitRefusal(t *testing.T) {
	after := func(f func(conn net.Conn, server *tls.Conn)) *tlsfarm.Server {
		return tlsfarm.Serve(func(conn net.Conn) {
			server := tls.Server(conn, requesting(tls.RequestClientCert))
			if server.Handshake() == nil {
				f(conn, server)
			}
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	for name, c := range map[string]struct {
		server *tlsfarm.Server
		limit  time.Duration
		check  func(t *testing.T, err error)
	}{
		"alert": {tlsfarm.TLS(requesting(tls.RequireAnyClientCert)), time.Minute, func(t *testing.T, err error) {
			var alert *failure.AlertError
			require.ErrorAs(t, err, &alert)
			assert.Equal(t, uint8(116), alert.Number)
		}},
		"closed without close_notify": {after(func(conn net.Conn, _ *tls.Conn) {
			_ = conn.(*net.TCPConn).CloseWrite()
		}), time.Minute, func(t *testing.T, err error) { assert.Equal(t, io.ErrUnexpectedEOF, err) }},
		"reset": {after(func(conn net.Conn, _ *tls.Conn) {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}), time.Minute, func(t *testing.T, err error) { assert.True(t, failure.IsRefusal(err), "%v", err) }},
		"closed with close_notify": {after(func(_ net.Conn, server *tls.Conn) {
			_ = server.CloseWrite()
		}), time.Minute, func(t *testing.T, err error) { assert.NoError(t, err) }},
		"data": {after(func(_ net.Conn, server *tls.Conn) {
			_, _ = io.WriteString(server, "hello")
		}), time.Minute, func(t *testing.T, err error) { assert.NoError(t, err) }},
		"silent": {after(func(net.Conn, *tls.Conn) {}), time.Millisecond, func(t *testing.T, err error) { assert.NoError(t, err) }},
	} {
		t.Run(name, func(t *testing.T) {
			conn, _ := dialTLS(t, serve(t, c.server))
			defer conn.Close()
			var err error
			within(t, func() { err = conn.AwaitRefusal(c.limit) })
			c.check(t, err)
		})
	}
}

func TestFirstBytesWaitsForTheRestOfABanner(t *testing.T) {
	handshakeFailed, sent := make(chan struct{}), make(chan struct{})
	addr := serve(t, tlsfarm.Serve(func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail")
		<-handshakeFailed
		_, _ = io.WriteString(conn, ".example ESMTP\r\n")
		close(sent)
		_, _ = io.Copy(io.Discard, conn)
	}))
	conn, _ := dial(t, addr)
	defer conn.Close()
	assert.Empty(t, conn.FirstBytes())
	require.Error(t, conn.Handshake(clientConfig()))
	close(handshakeFailed)
	<-sent
	assert.Equal(t, "220 mail.example ESMTP\r\n", string(conn.FirstBytes()))
}

func TestFirstBytesAreBounded(t *testing.T) {
	conn, _ := dial(t, serve(t, tlsfarm.Plaintext(strings.Repeat("x", 1<<20))))
	defer conn.Close()
	require.Error(t, conn.Handshake(clientConfig()))
	assert.Equal(t, bytes.Repeat([]byte("x"), 256), conn.FirstBytes())
}

func TestFirstBytesOfTLS(t *testing.T) {
	conn, _ := dial(t, serve(t, tlsfarm.Alert(40)))
	defer conn.Close()
	require.Error(t, conn.Handshake(clientConfig()))
	assert.Equal(t, []byte{21, 3, 3, 0, 2, 2, 40}, conn.FirstBytes())
}

// capture keeps everything that a server reads from its client.
type capture struct {
	net.Conn
	read bytes.Buffer
}

func (c *capture) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Write(p[:n])
	return n, err
}

// records returns the content types of the TLS records that were read (RFC 8446, section 5.1).
func (c *capture) records() (types []byte) {
	for b := c.read.Bytes(); len(b) >= 5; b = b[5+int(b[3])<<8+int(b[4]):] {
		types = append(types, b[0])
	}
	return types
}

func TestCloseSendsCloseNotifyUnlessTheServerRefused(t *testing.T) {
	// In TLS 1.3 all these records but the first two look like application data: Certificate, Finished, and close_notify.
	refused := []byte{22, 20, 23, 23}
	for name, c := range map[string]struct {
		auth   tls.ClientAuthType
		finish func(net.Conn)
		want   []byte
	}{
		"accepted": {tls.RequestClientCert, func(net.Conn) {}, append(refused, 23)},
		"alert":    {tls.RequireAnyClientCert, func(net.Conn) {}, refused},
		"closed":   {tls.RequestClientCert, func(conn net.Conn) { _ = conn.(*net.TCPConn).CloseWrite() }, refused},
	} {
		t.Run(name, func(t *testing.T) {
			records := make(chan []byte, 1)
			addr := serve(t, tlsfarm.Serve(func(conn net.Conn) {
				captured := &capture{Conn: conn}
				_ = tls.Server(captured, requesting(c.auth)).Handshake()
				c.finish(conn)
				_, _ = io.Copy(io.Discard, captured)
				records <- captured.records()
			}))
			conn, _ := dialTLS(t, addr)
			limit := time.Minute
			if name == "accepted" {
				limit = time.Millisecond
			}
			assert.Equal(t, name != "accepted", conn.AwaitRefusal(limit) != nil)
			conn.Close()
			assert.Equal(t, c.want, <-records)
		})
	}
}
