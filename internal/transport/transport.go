// Package transport connects to a server and makes one TLS handshake with it. It is the only part of a probe that deals
// with the network below TLS. TCP is in tcp.go; another transport would be another file beside it.
package transport

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
)

// Transport is a way to reach a server.
type Transport struct {
	// Name is the value of the attribute network.transport.
	Name string
	// Connect connects to one address within limit. ctx bounds the whole life of the connection and must have a deadline.
	// The caller closes the connection.
	Connect func(ctx context.Context, addr netip.AddrPort, limit time.Duration) (Conn, error)
}

// Conn is a connection to one address, for one handshake. Only one goroutine may use it at a time.
type Conn interface {
	// StartTLS requests TLS in the given plaintext protocol, one of starttls.Protocols. Some protocols need the server's
	// name. The error is a *starttls.Error, unless the protocol is none of these.
	StartTLS(protocol, serverName string) error

	// Handshake makes the TLS handshake as a client. It does not change cfg. An alert is returned as a *failure.AlertError,
	// any other error of crypto/tls as it is.
	Handshake(cfg *tls.Config) error

	// Ask sends a ClientHello of our own instead of a handshake, and returns what the server chooses. An alert is returned as
	// a *failure.AlertError. Nothing else can be done with the connection afterwards.
	Ask(offer clienthello.Offer) (*clienthello.Answer, error)

	// State returns what the handshake negotiated. It may be called after Handshake, and is complete if that returned nil.
	State() tls.ConnectionState

	// AwaitRefusal waits up to limit for the server to refuse the client certificate. It may be called after a successful
	// Handshake. It returns nil if the server does not refuse.
	AwaitRefusal(limit time.Duration) error

	// FirstBytes returns the first bytes that the server sent after StartTLS, at most 256. If they are not TLS, it waits
	// up to 300 ms for the rest of the line.
	FirstBytes() []byte

	// Close closes the connection. If the handshake succeeded and the server has not closed or refused the connection
	// since, it first says goodbye in the STARTTLS protocol and sends close_notify.
	Close()
}
