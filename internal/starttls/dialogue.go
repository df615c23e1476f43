package starttls

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// What a preamble may take at most. The longest honest ones are capability lists and login banners of a few KiB.
const (
	maxLine  = 8 << 10 // what RFC 7162, section 4, sets for IMAP; others are shorter
	maxLines = 500
	maxBytes = 64 << 10
	maxSaid  = 512
)

var (
	errLongLine  = fmt.Errorf("a line of more than %d bytes", maxLine)
	errManyLines = fmt.Errorf("more than %d lines", maxLines)
	errManyBytes = fmt.Errorf("more than %d bytes", maxBytes)
	errEarly     = errors.New("the server went on before it was asked")
)

// dialogue is a preamble under way.
type dialogue struct {
	conn     net.Conn
	in       *bufio.Reader // over the dialogue's own Read
	left     int           // bytes that may still be read from conn
	lines    int           // that were read
	expected string        // what the server is to say next
	first    []byte        // what it said first of all, up to maxSaid
	said     []byte        // what it said since we last spoke, up to maxSaid
	broke    error         // of conn's last Read
}

func newDialogue(conn net.Conn) *dialogue {
	d := &dialogue{conn: conn, left: maxBytes}
	d.in = bufio.NewReaderSize(d, maxLine)
	return d
}

// Read fills the buffer of d.in, from which all else reads.
func (d *dialogue) Read(p []byte) (n int, err error) {
	if d.left == 0 {
		return 0, errManyBytes
	}
	n, d.broke = d.conn.Read(p[:min(len(p), d.left)])
	d.left -= n
	d.first = append(d.first, p[:min(n, maxSaid-len(d.first))]...)
	if room := maxSaid - len(d.said); room > 0 {
		d.said = append(d.said, p[:min(n, room)]...)
	}
	return n, d.broke
}

// say speaks to the server and notes what is expected of it next.
func (d *dialogue) say(words, expected string) error {
	ahead, _ := d.in.Peek(min(d.in.Buffered(), maxSaid))
	d.said, d.expected = append([]byte(nil), ahead...), expected
	if _, d.broke = io.WriteString(d.conn, words); d.broke != nil {
		return d.broken(d.broke)
	}
	return nil
}

// ask is say where the server may speak only when spoken to. An answer that came before its question is no answer.
func (d *dialogue) ask(words, expected string) error {
	if d.in.Buffered() > 0 {
		return d.fail(ProtocolError, errEarly)
	}
	return d.say(words, expected)
}

// line reads a line and returns it without its end.
func (d *dialogue) line() (string, error) {
	if d.lines++; d.lines > maxLines {
		return "", d.fail(ProtocolError, errManyLines)
	}
	line, err := d.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = errLongLine
	}
	if err != nil {
		return "", d.broken(err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// take reads n bytes. The server may have named that number.
func (d *dialogue) take(n int) ([]byte, error) {
	if n < 0 || n > d.in.Buffered()+d.left {
		return nil, d.fail(ProtocolError, errManyBytes)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.in, b); err != nil {
		return nil, d.broken(err)
	}
	return b, nil
}

// fail is the end of the dialogue. It never returns nil.
func (d *dialogue) fail(kind Kind, err error) *Error {
	return &Error{Kind: kind, Expected: d.expected, First: string(d.first), Said: string(d.said[:min(len(d.said), maxSaid)]), Err: err}
}

// broken is fail for an error met in reading: the connection's, or what is wrong with that which was read.
func (d *dialogue) broken(err error) *Error {
	var netErr net.Error
	switch {
	case d.broke == nil:
		return d.fail(ProtocolError, err)
	case errors.As(d.broke, &netErr) && netErr.Timeout():
		return d.fail(Timeout, d.broke)
	}
	return d.fail(ConnectionClosed, d.broke)
}

// begins tells whether a line's first words are these, in any case.
func begins(line, words string) bool {
	n := len(words)
	return len(line) >= n && strings.EqualFold(line[:n], words) && (len(line) == n || line[n] == ' ')
}
