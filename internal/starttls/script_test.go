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

// script is a dialogue. A step that starts with "S:" is what the server says, one with "C:" what the client must say.
type script []string

// serverTurns returns what the server says before, between and after the client's turns.
func (s script) serverTurns() [][]byte {
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

// play plays the server's part on conn, in writes of at most chunk bytes with a pause after each. It returns an error if
// the client says something else.
func (s script) play(conn net.Conn, chunk int, pause time.Duration) error {
	for _, step := range s {
		words := []byte(step[2:])
		if step[0] == 'C' {
			got := make([]byte, len(words))
			if n, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, words) {
				return fmt.Errorf("the client said %q, expected %q (%v)", got[:n], words, err)
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
	whole = 1 << 20       // a chunk size that splits nothing
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

// failed returns the Error of a Start that must fail.
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

// scriptConn is a connection to a server that says turns[0], and another turn after each Write. Read returns at most
// chunk bytes, and the error end when none are left.
type scriptConn struct {
	net.Conn
	turns [][]byte
	chunk int
	end   error

	writes   int   // how many succeed, if writeErr is set
	writeErr error // of all further writes

	read, ended int
	wrote       bytes.Buffer
}

func (c *scriptConn) Read(p []byte) (int, error) {
	if len(c.turns) == 0 || len(c.turns[0]) == 0 {
		if c.ended++; c.ended > 10 {
			panic("reads again and again after the end")
		}
		return 0, c.end
	}
	n := copy(p[:min(len(p), c.chunk)], c.turns[0])
	c.turns[0] = c.turns[0][n:]
	c.read += n
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	if c.writes--; c.writeErr != nil && c.writes < 0 {
		return 0, c.writeErr
	}
	// What has not been read yet comes before the next turn.
	if len(c.turns) > 1 {
		c.turns = append([][]byte{append(append([]byte{}, c.turns[0]...), c.turns[1]...)}, c.turns[2:]...)
	}
	return c.wrote.Write(p)
}

func newScriptConn(s script, end error) *scriptConn {
	return &scriptConn{turns: s.serverTurns(), chunk: whole, end: end}
}

var errDeadline = fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
