package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
)

// TCP is TLS over TCP, after a STARTTLS dialogue where one is needed.
var TCP = Transport{Name: "tcp", Connect: connectTCP}

// bannerWait is how long FirstBytes waits for the rest of a line.
const bannerWait = 300 * time.Millisecond

type tcpConn struct {
	ctx      context.Context // of Connect
	deadline time.Time       // of ctx
	stop     func() bool     // ends the watch over ctx

	conn     sniffConn
	client   *tls.Conn // nil before the handshake
	protocol string    // in which TLS was requested; empty where TLS is spoken from the first byte
	open     bool      // whether the handshake succeeded and the server has not closed or refused the connection since
}

func connectTCP(ctx context.Context, addr netip.AddrPort, limit time.Duration) (Conn, error) {
	connecting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1} // the connection does not live long enough for keep-alives
	conn, err := dialer.DialContext(connecting, "tcp", addr.String())
	if err != nil {
		if errors.Is(err, syscall.EADDRNOTAVAIL) && !hasAddressFor(addr) {
			err = fmt.Errorf("%w: this host has no address that could reach it", syscall.ENETUNREACH)
		}
		return nil, err
	}
	c := &tcpConn{ctx: ctx, conn: sniffConn{Conn: conn}}
	c.deadline, _ = ctx.Deadline()
	_ = conn.SetDeadline(c.deadline) // fails only on a closed connection, which the next read reports
	// HandshakeContext would start a goroutine for each handshake. This starts one only if ctx is cancelled.
	c.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return c, nil
}

// hasAddressFor reports whether this host has an address from which it could send to addr. Where it has none, for example
// with IPv6 disabled, connecting fails in the same way as where all ports are in use.
func hasAddressFor(addr netip.AddrPort) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)) // sends nothing
	if err != nil {
		return !errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	_ = conn.Close()
	return true
}

func (c *tcpConn) StartTLS(protocol, serverName string) error {
	err := starttls.Start(c.conn.Conn, protocol, serverName)
	if err != nil {
		_, _ = c.conn.Conn.Write(starttls.Goodbye(protocol))
		return err
	}
	c.protocol = protocol
	return nil
}

func (c *tcpConn) Handshake(cfg *tls.Config) error {
	c.client = tls.Client(&c.conn, cfg)
	err := failure.FromCryptoTLS(c.client.Handshake())
	c.open = err == nil
	return err
}

func (c *tcpConn) State() tls.ConnectionState { return c.client.ConnectionState() }

func (c *tcpConn) AwaitRefusal(limit time.Duration) error {
	if !c.readUntil(time.Now().Add(limit)) {
		return nil
	}
	_, err := c.client.Read(make([]byte, 1))
	err = failure.FromCryptoTLS(err)
	var timeout net.Error
	switch {
	case err == nil, errors.As(err, &timeout) && timeout.Timeout():
		return nil // it talks, or waits for the client to
	case failure.IsRefusal(err):
		c.open = false
		return err
	case c.conn.ended: // crypto/tls returns io.EOF for that and for close_notify alike, but slapd, for one, refuses so
		c.open = false
		return io.ErrUnexpectedEOF
	}
	return nil // it closed the connection in an orderly way, so it accepted the certificate
}

func (c *tcpConn) FirstBytes() []byte {
	s := &c.conn
	if !failure.IsPlaintext(s.first[:s.seen]) || !c.readUntil(time.Now().Add(bannerWait)) {
		return s.first[:s.seen]
	}
	for s.seen < len(s.first) && s.first[s.seen-1] != '\n' {
		n, err := s.Conn.Read(s.first[s.seen:])
		s.seen += n
		if err != nil {
			break
		}
	}
	return s.first[:s.seen]
}

// readUntil limits reading to t. It reports whether ctx is still in force: a later deadline would undo its end.
func (c *tcpConn) readUntil(t time.Time) bool {
	if t.After(c.deadline) {
		t = c.deadline
	}
	_ = c.conn.SetReadDeadline(t)
	return c.ctx.Err() == nil
}

func (c *tcpConn) Close() {
	c.stop()
	if c.open {
		closeGracefully(c.client, c.protocol)
	}
	_ = c.conn.Close()
}

// closeGracefully says goodbye in the protocol in which TLS was requested, and sends close_notify. Nothing can be done where
// that fails.
func closeGracefully(client *tls.Conn, protocol string) {
	if bye := starttls.Goodbye(protocol); bye != nil {
		_, _ = client.Write(bye)
	}
	_ = client.Close()
}

// sniffConn keeps the first bytes that were read, and whether the server closed the connection.
type sniffConn struct {
	net.Conn
	first [256]byte
	seen  int  // how much of first is set
	ended bool // whether it ended below TLS, which close_notify alone does not do
}

func (c *sniffConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.seen < len(c.first) {
		c.seen += copy(c.first[c.seen:], p[:n])
	}
	c.ended = c.ended || errors.Is(err, io.EOF)
	return n, err
}
