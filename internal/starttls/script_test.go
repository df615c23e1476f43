package starttls

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a dialogue: steps that begin with "S:" are what the server says, those with "C:" what it must hear first.
type script []string

// server has the server's turns: what it says between two of the client's.
func (s script) server() [][]byte {
	turns := [][]byte{nil}
	for _, step := range s {
		if step[0] == 'C' {
			turns = append(turns, nil)
			continue
		}
		last := &turns[len(turns)-1]
		*last = append(*last, step[2:]...)
	}
	return turns
}

// play is the server's side of a script on conn, in writes of at most chunk bytes. It returns what the client said if
// that is not what the script wants.
func (s script) play(conn net.Conn, chunk int, pause time.Duration) error {
	for _, step := range s {
		words := []byte(step[2:])
		if step[0] == 'C' {
			heard := make([]byte, len(words))
			if n, err := io.ReadFull(conn, heard); err != nil || !bytes.Equal(heard, words) {
				return fmt.Errorf("heard %q, expected %q (%v)", heard[:n], words, err)
			}
			continue
		}
		for len(words) > 0 {
			n, err := conn.Write(words[:min(chunk, len(words))])
			if err != nil {
				return err
			}
			words = words[n:]
			time.Sleep(pause)
		}
	}
	return nil
}

const (
	whole = 1 << 20
	name  = "server.test" // of the server in all tests
)

// serve starts a server and connects to it. wait closes the connection and returns the handler's error.
func serve(t *testing.T, deadline time.Duration, handle func(net.Conn) error) (client net.Conn, wait func() error) {
	t.Helper()
	result := make(chan error, 1)
	s := tlsfarm.Serve(func(conn net.Conn) { result <- handle(conn) })
	t.Cleanup(s.Close)
	client, err := net.Dial("tcp", s.Endpoint())
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	require.NoError(t, client.SetDeadline(time.Now().Add(deadline)))
	return client, func() error {
		client.Close()
		return <-result
	}
}

// failed is the error of a Start that must fail.
func failed(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Expected)
	require.LessOrEqual(t, len(e.Said), maxSaid)
	return e
}

var authority = tlsfarm.NewAuthority("Farm Root")

func serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{authority.Issue("starttls")}}
}

// memory is a connection whose other end says turns, one after each Write, and then ends with end. It gives out at most
// chunk bytes at a time.
type memory struct {
	net.Conn
	turns [][]byte
	chunk int
	end   error

	deafAfter int // writes; then they fail with deaf, if that is set
	deaf      error

	read, ended int
	wrote       bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error) {
	if len(m.turns) == 0 || len(m.turns[0]) == 0 {
		if m.ended++; m.ended > 10 {
			panic("reads on and on after the end")
		}
		return 0, m.end
	}
	n := copy(p[:min(len(p), m.chunk)], m.turns[0])
	m.turns[0] = m.turns[0][n:]
	m.read += n
	return n, nil
}

func (m *memory) Write(p []byte) (int, error) {
	if m.deafAfter--; m.deaf != nil && m.deafAfter < 0 {
		return 0, m.deaf
	}
	// What was not read yet stays to be read.
	if len(m.turns) > 1 {
		m.turns = append([][]byte{append(append([]byte{}, m.turns[0]...), m.turns[1]...)}, m.turns[2:]...)
	}
	return m.wrote.Write(p)
}

func remember(s script, end error) *memory {
	return &memory{turns: s.server(), chunk: whole, end: end}
}

var errDeadline = fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
