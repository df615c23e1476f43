package starttls

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// The limits of a preamble. The longest that real servers need are for capability lists and login banners of a few KiB.
const (
	maxLine  = 8 << 10 // the limit of RFC 7162, section 4, for IMAP; other protocols have lower ones
	maxLines = 500
	maxBytes = 64 << 10
	maxSaid  = 512 // of First and Said in an Error
)

var (
	errLongLine  = fmt.Errorf("a line is longer than %d bytes", maxLine)
	errManyLines = fmt.Errorf("more than %d lines", maxLines)
	errManyBytes = fmt.Errorf("more than %d bytes", maxBytes)
	errEarly     = errors.New("the server answered before it was asked")
)

// dialogue is the state of a preamble.
type dialogue struct {
	conn     net.Conn
	in       *bufio.Reader // reads from the dialogue itself
	left     int           // how many bytes may still be read from conn
	lines    int           // read so far
	expected string        // what the server should say next
	first    []byte        // the first bytes that it said, up to maxSaid
	said     []byte        // the first bytes since we last spoke, up to maxSaid
	connErr  error         // of the last read or write
}

func newDialogue(conn net.Conn) *dialogue {
	d := &dialogue{conn: conn, left: maxBytes}
	d.in = bufio.NewReaderSize(d, maxLine)
	return d
}

// Read fills the buffer of d.in. Everything else reads from d.in.
func (d *dialogue) Read(p []byte) (n int, err error) {
	if d.left == 0 {
		return 0, errManyBytes
	}
	n, d.connErr = d.conn.Read(p[:min(len(p), d.left)])
	d.left -= n
	d.first = append(d.first, p[:min(n, maxSaid-len(d.first))]...)
	if room := maxSaid - len(d.said); room > 0 {
		d.said = append(d.said, p[:min(n, room)]...)
	}
	return n, d.connErr
}

// say sends words, and records what the server should say next.
func (d *dialogue) say(words, expected string) error {
	ahead, _ := d.in.Peek(min(d.in.Buffered(), maxSaid))
	d.said, d.expected = append([]byte(nil), ahead...), expected
	if _, d.connErr = io.WriteString(d.conn, words); d.connErr != nil {
		return d.readError(d.connErr)
	}
	return nil
}

// ask is like say, for protocols in which the server never speaks first. It fails if the server has already sent
// something.
func (d *dialogue) ask(words, expected string) error {
	if d.in.Buffered() > 0 {
		return d.fail(ProtocolError, errEarly)
	}
	return d.say(words, expected)
}

// line reads a line and returns it without the line break.
func (d *dialogue) line() (string, error) {
	if d.lines++; d.lines > maxLines {
		return "", d.fail(ProtocolError, errManyLines)
	}
	line, err := d.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = errLongLine
	}
	if err != nil {
		return "", d.readError(err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// take reads n bytes. n may come from the server.
func (d *dialogue) take(n int) ([]byte, error) {
	if n < 0 || n > d.in.Buffered()+d.left {
		return nil, d.fail(ProtocolError, errManyBytes)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.in, b); err != nil {
		return nil, d.readError(err)
	}
	return b, nil
}

// fail returns an Error with what was expected and said. It never returns nil.
func (d *dialogue) fail(kind Kind, err error) *Error {
	return &Error{Kind: kind, Expected: d.expected, First: string(d.first), Said: string(d.said[:min(len(d.said), maxSaid)]), Err: err}
}

// readError returns an Error for err, which occurred while reading. Its kind depends on whether the connection failed
// or what was read is invalid.
func (d *dialogue) readError(err error) *Error {
	var netErr net.Error
	switch {
	case d.connErr == nil:
		return d.fail(ProtocolError, err)
	case errors.As(d.connErr, &netErr) && netErr.Timeout():
		return d.fail(Timeout, d.connErr)
	}
	return d.fail(ConnectionClosed, d.connErr)
}

// startsWith reports whether the line starts with these words, in any case.
func startsWith(line, words string) bool {
	n := len(words)
	return len(line) >= n && strings.EqualFold(line[:n], words) && (len(line) == n || line[n] == ' ')
}
