// Package starttls speaks the plaintext preambles after which a server begins TLS: a small function for each protocol
// over a bounded dialogue. They never send a credential, not even a user's name.
//
// The request itself is the question. Some servers advertise nothing and accept, so TLS is asked for either way; what
// was advertised decides only whether a refusal is called unsupported or rejected. (In XMPP and MySQL a client may ask
// only for what is offered.)
//
// Two things are not here. MSSQL (TDS) wraps the TLS handshake in packets of its own, so nothing that ends before the
// handshake can start it. PostgreSQL 17 takes TLS from the first byte from clients that offer the ALPN protocol
// postgresql: that needs no preamble, only the ALPN.
package starttls

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// Kind is what went wrong; its values are those of the attribute error.type.
type Kind string

const (
	// Unsupported: the server doesn't know TLS here, or was not set up for it.
	Unsupported Kind = "starttls_unsupported"
	// Rejected: the server says no, to TLS or to us.
	Rejected Kind = "starttls_rejected"
	// Timeout: the go-ahead didn't come before the connection's deadline.
	Timeout Kind = "starttls_timeout"
	// ProtocolError: what the server said makes no sense, has no end, or goes on after the go-ahead.
	ProtocolError Kind = "starttls_protocol_error"
	// ConnectionClosed: the connection ended before the go-ahead; Err tells EOF from reset.
	ConnectionClosed Kind = "connection_closed"
)

// ErrInjected is in the chain of a ProtocolError when bytes were waiting behind the go-ahead. TLS servers never speak
// first, so somebody put them there for a client that would take them for the encrypted reply (CVE-2011-0411).
var ErrInjected = errors.New("plain text follows the go-ahead, where only TLS may")

// Error is why TLS can't begin.
type Error struct {
	Kind     Kind
	Expected string // what the server should have said, a noun phrase
	First    string // what the server said first of all, raw, at most 512 bytes
	Said     string // what it said to our last words, raw, at most 512 bytes; of a binary refusal, what it means
	Err      error  // of the connection, or of a ProtocolError what was wrong, where Said doesn't show it; or nil
}

func (e *Error) Error() string {
	said := "nothing"
	if e.Said != "" {
		said = fmt.Sprintf("%q", e.Said)
	}
	text := fmt.Sprintf("%s: expected %s, the server said %s", e.Kind, e.Expected, said)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

type protocol struct {
	start   func(d *dialogue, name string) error
	goodbye string
	ports   []uint16 // that auto takes it for
}

var protocols = map[string]protocol{
	"ftp":         {ftp, "QUIT\r\n", []uint16{21}},
	"imap":        {imap, "a2 LOGOUT\r\n", []uint16{143}},
	"irc":         {irc, "QUIT\r\n", []uint16{6667}},
	"ldap":        {ldap, ldapUnbind, []uint16{389}},
	"lmtp":        {lmtp, "QUIT\r\n", []uint16{24}},
	"mysql":       {mysql, "", []uint16{3306}}, // COM_QUIT before the login is an error to it
	"nntp":        {nntp, "QUIT\r\n", []uint16{119}},
	"pop3":        {pop3, "QUIT\r\n", []uint16{110}},
	"postgres":    {postgres, "", []uint16{5432}}, // Terminate before the startup message is an error to it
	"rdp":         {rdp, "", []uint16{3389}},
	"sieve":       {sieve, "LOGOUT\r\n", []uint16{4190}},
	"smtp":        {smtp, "QUIT\r\n", []uint16{25, 587}},
	"telnet":      {telnet, "", nil},
	"xmpp":        {xmpp("jabber:client"), "", []uint16{5222}}, // a stream that was not opened anew can't be closed
	"xmpp-server": {xmpp("jabber:server"), "", []uint16{5269}},
}

// Protocols are the names that Start knows, sorted.
func Protocols() []string { return slices.Sorted(maps.Keys(protocols)) }

// ForPort is the protocol that is spoken before TLS on a well-known port, or "".
func ForPort(port uint16) string {
	for name, p := range protocols {
		if slices.Contains(p.ports, port) {
			return name
		}
	}
	return ""
}

// Goodbye is what a client says before it closes: over TLS after the handshake, or in plain text after a refusal. It is
// nil where the protocol has no such word or can't be told this early.
func Goodbye(protocol string) []byte {
	if p := protocols[protocol]; p.goodbye != "" {
		return []byte(p.goodbye)
	}
	return nil
}

const expectTLS = "nothing more before TLS"

// Start speaks a protocol's preamble on conn, whose deadline bounds it. The server is addressed by name where the
// protocol has a place for that. Start returns nil exactly when the server gave its go-ahead and said nothing more that
// has arrived: not a byte after the go-ahead is consumed then, and the TLS handshake can begin. Everything else is an
// *Error, an unknown protocol aside.
func Start(conn net.Conn, protocol, name string) error {
	p, ok := protocols[protocol]
	if !ok {
		return fmt.Errorf("unknown starttls protocol %q, expected one of %s", protocol, strings.Join(Protocols(), ", "))
	}
	d := newDialogue(conn)
	if err := p.start(d, name); err != nil {
		return err
	}
	if injected, _ := d.in.Peek(min(d.in.Buffered(), maxSaid)); len(injected) > 0 {
		d.said, d.expected = injected, expectTLS
		return d.fail(ProtocolError, ErrInjected)
	}
	return nil
}
