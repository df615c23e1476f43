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

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
)

// TCP is TLS over TCP, with or without STARTTLS.
var TCP = Transport{Name: "tcp", Connect: connectTCP}

// bannerWait is how long FirstBytes waits for the rest of a line.
const bannerWait = 300 * time.Millisecond

type tcpConn struct {
	ctx      context.Context // from Connect
	deadline time.Time       // of ctx
	stop     func() bool     // releases the AfterFunc on ctx

	conn     sniffConn
	client   *tls.Conn // nil before Handshake
	protocol string    // the STARTTLS protocol; empty if none was used
	open     bool      // whether the handshake succeeded and the server has not closed or refused the connection since
}

func connectTCP(ctx context.Context, addr netip.AddrPort, limit time.Duration) (Conn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1} // the connection does not live long enough for keep-alives
	conn, err := dialer.DialContext(dialCtx, "tcp", addr.String())
	if err != nil {
		if errors.Is(err, syscall.EADDRNOTAVAIL) && !hasAddressFor(addr) {
			err = fmt.Errorf("%w: this host has no address that could reach it", syscall.ENETUNREACH)
		}
		return nil, err
	}
	c := &tcpConn{ctx: ctx, conn: sniffConn{Conn: conn}}
	c.deadline, _ = ctx.Deadline()
	_ = conn.SetDeadline(c.deadline) // fails only on a closed connection, which the next read reports
	// tls.Conn.HandshakeContext would start a goroutine for each handshake. This starts one only if ctx is cancelled.
	c.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return c, nil
}

// hasAddressFor reports whether this host has an address from which it can send to addr. If it has none, for example
// because IPv6 is disabled, connecting fails with EADDRNOTAVAIL, just as it does if all local ports are in use.
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

func (c *tcpConn) Ask(offer clienthello.Offer) (*clienthello.Answer, error) {
	answer, err := clienthello.Ask(&c.conn, offer)
	var alert clienthello.Alert
	if errors.As(err, &alert) {
		err = &failure.AlertError{Number: uint8(alert), Err: err}
	}
	return answer, err
}

func (c *tcpConn) State() tls.ConnectionState { return c.client.ConnectionState() }

func (c *tcpConn) AwaitRefusal(limit time.Duration) error {
	if !c.readUntil(time.Now().Add(limit)) {
		return nil
	}
	_, err := c.client.Read(make([]byte, 1))
	err = failure.FromCryptoTLS(err)
	switch {
	case failure.IsRefusal(err):
		c.open = false
		return err
	case c.conn.eof:
		// The server closed the TCP connection without close_notify. Some servers, such as slapd, refuse a client in this
		// way. crypto/tls returns io.EOF both for this and for close_notify.
		c.open = false
		return io.ErrUnexpectedEOF
	}
	return nil // the server sent data or close_notify, or nothing in time
}

func (c *tcpConn) FirstBytes() []byte {
	s := &c.conn
	if !failure.IsPlaintext(s.first[:s.n]) || !c.readUntil(time.Now().Add(bannerWait)) {
		return s.first[:s.n]
	}
	for s.n < len(s.first) && s.first[s.n-1] != '\n' {
		n, err := s.Conn.Read(s.first[s.n:])
		s.n += n
		if err != nil {
			break
		}
	}
	return s.first[:s.n]
}

// readUntil sets the read deadline to t, but never beyond the deadline of ctx. It reports whether ctx is still active. If
// it is not, the caller must not read, as the new deadline may have replaced the one that the end of ctx has set.
func (c *tcpConn) readUntil(t time.Time) bool {
	if t.After(c.deadline) {
		t = c.deadline
	}
	_ = c.conn.SetReadDeadline(t)
	return c.ctx.Err() == nil
}

func (c *tcpConn) Close() {
	c.stop()
	if c.open { // errors do not matter here: the probe is over
		if bye := starttls.Goodbye(c.protocol); bye != nil {
			_, _ = c.client.Write(bye)
		}
		_ = c.client.Close() // sends close_notify
	}
	_ = c.conn.Close()
}

// sniffConn keeps the first bytes that were read, and records whether the server has closed the TCP connection.
type sniffConn struct {
	net.Conn
	first [256]byte
	n     int  // how many bytes of first are set
	eof   bool // whether a read returned io.EOF; close_notify alone does not cause that
}

func (c *sniffConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.n < len(c.first) {
		c.n += copy(c.first[c.n:], p[:n])
	}
	c.eof = c.eof || errors.Is(err, io.EOF)
	return n, err
}
