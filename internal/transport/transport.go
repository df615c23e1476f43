// Package transport connects to a server and makes one TLS handshake with it. It is all that probing knows of the network
// below TLS: TCP is in tcp.go, and another transport is another file beside it.
package transport

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"
)

// Transport is a way to reach a server.
type Transport struct {
	// Name is the value of the attribute network.transport.
	Name string
	// Connect connects to one address. The whole life of the connection is bounded by ctx, which must have a deadline;
	// connecting also by limit. The caller closes the connection.
	Connect func(ctx context.Context, addr netip.AddrPort, limit time.Duration) (Conn, error)
}

// Conn is a connection to one address, over which one handshake can be made. One goroutine uses it at a time.
type Conn interface {
	// StartTLS speaks the protocol in which TLS is requested in plain text. serverName is used where the protocol has a
	// place for it. The error is a *starttls.Error.
	StartTLS(protocol, serverName string) error

	// Handshake makes the handshake as a client. It does not change cfg. The error is one that package failure can
	// classify; an alert is a *failure.AlertError.
	Handshake(cfg *tls.Config) error

	// State returns what the handshake negotiated. It is complete once Handshake has returned nil.
	State() tls.ConnectionState

	// AwaitRefusal waits, for no longer than limit, for the server to refuse the client certificate after the handshake. It
	// returns nil where the server does not.
	AwaitRefusal(limit time.Duration) error

	// FirstBytes returns a bounded piece of what the server first sent in place of or as part of the handshake. Where that is
	// not TLS it waits a moment for the rest of the line.
	FirstBytes() []byte

	// Close closes the connection, in the way that the protocol asks for where the handshake succeeded.
	Close()
}
