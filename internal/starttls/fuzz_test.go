package starttls

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// turnEnd separates the server's turns in the fuzzers' input.
const turnEnd = "\n%%\n"

func FuzzFTP(f *testing.F)        { fuzz(f, "ftp") }
func FuzzIMAP(f *testing.F)       { fuzz(f, "imap") }
func FuzzIRC(f *testing.F)        { fuzz(f, "irc") }
func FuzzLDAP(f *testing.F)       { fuzz(f, "ldap") }
func FuzzLMTP(f *testing.F)       { fuzz(f, "lmtp") }
func FuzzMySQL(f *testing.F)      { fuzz(f, "mysql") }
func FuzzNNTP(f *testing.F)       { fuzz(f, "nntp") }
func FuzzPOP3(f *testing.F)       { fuzz(f, "pop3") }
func FuzzPostgres(f *testing.F)   { fuzz(f, "postgres") }
func FuzzRDP(f *testing.F)        { fuzz(f, "rdp") }
func FuzzSieve(f *testing.F)      { fuzz(f, "sieve") }
func FuzzSMTP(f *testing.F)       { fuzz(f, "smtp") }
func FuzzTelnet(f *testing.F)     { fuzz(f, "telnet") }
func FuzzXMPP(f *testing.F)       { fuzz(f, "xmpp") }
func FuzzXMPPServer(f *testing.F) { fuzz(f, "xmpp-server") }

// fuzz has the server say anything, in chunks of any size.
func fuzz(f *testing.F, protocol string) {
	for _, a := range acceptedScripts {
		if a.protocol == protocol {
			f.Add(bytes.Join(a.script.serverTurns(), []byte(turnEnd)), byte(0))
		}
	}
	for _, r := range refusedScripts {
		if r.protocol == protocol {
			f.Add(bytes.Join(r.script.serverTurns(), []byte(turnEnd)), byte(1))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk byte) {
		start := func(extra string) (*scriptConn, error) {
			m := &scriptConn{turns: bytes.Split(bytes.Clone(data), []byte(turnEnd)), chunk: int(chunk), end: errDeadline}
			if chunk == 0 {
				m.chunk = whole
			}
			last := &m.turns[len(m.turns)-1]
			*last = append(*last, extra...)
			return m, Start(m, protocol, name)
		}
		m, err := start("")
		if m.read > maxBytes {
			t.Fatalf("read %d bytes", m.read)
		}
		var e *Error
		switch {
		case err != nil:
			if !errors.As(err, &e) || e.Expected == "" || len(e.Said) > maxSaid || errors.Is(err, io.EOF) && e.Kind == ConnectionClosed {
				t.Fatalf("unexpected error %v", err)
			}
			if (e.Kind == Timeout) != errors.Is(err, errDeadline) {
				t.Fatalf("unexpected error %v", err)
			}
		case chunk == 0 && len(data) < maxLine/2 && len(m.turns) == 1 && len(m.turns[0]) == 0 &&
			!bytes.HasSuffix(data, []byte(turnEnd)):
			// Everything that arrived was read, and the last part of it in one piece. Another byte is an injection.
			if _, err := start("x"); !errors.Is(err, ErrInjected) {
				t.Fatalf("with another byte: %v", err)
			}
		}
	})
}
