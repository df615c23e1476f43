// Package starttls speaks the plaintext preambles after which a client and a server start TLS. Each protocol is a small
// function over a dialogue, which limits what it reads. No preamble sends a credential, not even a user name.
//
// TLS is always requested, as some servers accept it without advertising it. What the server advertises only decides
// whether a refusal is Unsupported or Rejected. XMPP and MySQL are different: there a client may only request what the
// server offers.
//
// Two protocols are missing. MSSQL (TDS) wraps the messages of the TLS handshake in its own packets, so there is no
// preamble that ends before the handshake. PostgreSQL 17 accepts TLS from the first byte if the client offers the ALPN
// protocol postgresql, which needs no preamble.
package starttls

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// Kind is a kind of failure. Its values are values of the attribute error.type.
type Kind string

const (
	// Unsupported means that the server does not know STARTTLS, or that it is not enabled.
	Unsupported Kind = "starttls_unsupported"
	// Rejected means that the server knows STARTTLS but refused it, or that it refused this client altogether.
	Rejected Kind = "starttls_rejected"
	// Timeout means that the go-ahead did not arrive before the connection's deadline.
	Timeout Kind = "starttls_timeout"
	// ProtocolError means that the server sent something invalid, sent too much, or sent more after the go-ahead.
	ProtocolError Kind = "starttls_protocol_error"
	// ConnectionClosed means that the connection ended before the go-ahead. Err is EOF or a reset.
	ConnectionClosed Kind = "connection_closed"
)

// ErrInjected is wrapped by a ProtocolError if bytes had arrived after the go-ahead. A TLS server never sends first, so
// an attacker may have inserted them, for the client to mistake for a reply over TLS (CVE-2011-0411).
var ErrInjected = errors.New("plain text follows the go-ahead, where only TLS is allowed")

// Error is the reason why TLS cannot start.
type Error struct {
	Kind     Kind
	Expected string // what the server should have said: a noun phrase
	First    string // the server's first words, raw, at most 512 bytes
	Said     string // its reply to our last words, raw, at most 512 bytes; or the meaning of a binary refusal
	Err      error  // the connection's error, or the cause of a ProtocolError that Said does not show; may be nil
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
	ports   []uint16 // where the setting starttls: auto expects it
}

var protocols = map[string]protocol{
	"ftp":         {ftp, "QUIT\r\n", []uint16{21}},
	"imap":        {imap, "a2 LOGOUT\r\n", []uint16{143}},
	"irc":         {irc, "QUIT\r\n", []uint16{6667}},
	"ldap":        {ldap, ldapUnbind, []uint16{389}},
	"lmtp":        {lmtp, "QUIT\r\n", []uint16{24}},
	"mysql":       {mysql, "", []uint16{3306}}, // COM_QUIT is an error before the login
	"nntp":        {nntp, "QUIT\r\n", []uint16{119}},
	"pop3":        {pop3, "QUIT\r\n", []uint16{110}},
	"postgres":    {postgres, "", []uint16{5432}}, // Terminate is an error before the startup message
	"rdp":         {rdp, "", []uint16{3389}},
	"sieve":       {sieve, "LOGOUT\r\n", []uint16{4190}},
	"smtp":        {smtp, "QUIT\r\n", []uint16{25, 587}},
	"telnet":      {telnet, "", nil},
	"xmpp":        {xmpp("jabber:client"), "", []uint16{5222}}, // over TLS, a stream must be opened before it can be closed
	"xmpp-server": {xmpp("jabber:server"), "", []uint16{5269}},
}

// Protocols returns the names of all protocols, sorted.
func Protocols() []string { return slices.Sorted(maps.Keys(protocols)) }

// ForPort returns the protocol that is spoken before TLS on a well-known port, or "" if there is none.
func ForPort(port uint16) string {
	for name, p := range protocols {
		if slices.Contains(p.ports, port) {
			return name
		}
	}
	return ""
}

// Goodbye returns what a client sends before it closes the connection: over TLS after the handshake, or in plain text
// after a refusal. It is nil if the protocol has no such command, or does not allow it before a login.
func Goodbye(protocol string) []byte {
	if p := protocols[protocol]; p.goodbye != "" {
		return []byte(p.goodbye)
	}
	return nil
}

const expectTLS = "the TLS handshake"

// Start speaks the preamble of a protocol on conn. Set a deadline on conn to limit how long it takes. Some protocols
// send name, the server's name, in the preamble.
//
// If Start returns nil, the server has given its go-ahead, Start has read nothing beyond it, and the TLS handshake can
// begin. Otherwise the error is an *Error, unless the protocol is unknown. Start does not close conn.
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
