package starttls

import (
	"slices"
	"strconv"
)

// In these protocols the server speaks first, and answers each command with a three-digit code.

// self is the name by which the client introduces itself. An address literal is as valid as a name (RFC 5321, section
// 4.1.3). No server looks it up, and it reveals nothing about this host. Some servers refuse "localhost", as it has no
// domain.
const self = "[127.0.0.1]"

// noSuchCommand lists the codes for unknown commands, and for unknown parameters of commands (RFC 5321, section 4.2.2;
// RFC 959, section 4.2.1).
var noSuchCommand = []int{500, 501, 502, 504}

func smtp(d *dialogue, _ string) error { return d.mail("EHLO") }
func lmtp(d *dialogue, _ string) error { return d.mail("LHLO") } // RFC 2033, section 4.1

// mail follows RFC 3207, section 4.
func (d *dialogue) mail(hello string) error {
	if err := d.greeting(220); err != nil {
		return err
	}
	offered, err := d.hello(hello)
	if err != nil {
		return err
	}
	r, err := d.command("STARTTLS", 220)
	switch {
	case err != nil || r.code == 220:
		return err
	case offered:
		return d.unexpected(r, Rejected)
	}
	return d.unexpected(r, Unsupported)
}

// hello introduces the client and reports whether the server offers STARTTLS.
func (d *dialogue) hello(command string) (offered bool, err error) {
	r, err := d.command(command+" "+self, 250)
	if err == nil && command == "EHLO" && slices.Contains(noSuchCommand, r.code) {
		refusal := d.unexpected(r, Rejected)
		r, err = d.command("HELO "+self, 250) // RFC 5321, section 3.2
		err = unlessClosed(err, refusal)
	}
	switch {
	case err != nil:
		return false, err
	case r.code == 250:
		// The first line has the server's name, the others have keywords (RFC 5321, section 4.1.1.1).
		return slices.ContainsFunc(r.lines[1:], func(line string) bool { return startsWith(line, "STARTTLS") }), nil
	case slices.Contains(noSuchCommand, r.code): // the server speaks another protocol
		return false, d.fail(ProtocolError, nil)
	}
	return false, d.unexpected(r, Rejected)
}

// nntp follows RFC 4642, section 2.2.
func nntp(d *dialogue, _ string) error {
	if err := d.greeting(200, 201); err != nil {
		return err
	}
	r, err := d.command("STARTTLS", 382)
	if err != nil || r.code == 382 {
		return err
	}
	switch r.code {
	case 500, 501, 503: // RFC 3977, section 3.2.1: the command is unknown, or not enabled
		return d.unexpected(r, Unsupported)
	}
	return d.unexpected(r, Rejected)
}

// ftp follows RFC 4217, section 4.
func ftp(d *dialogue, _ string) error {
	if err := d.greeting(220); err != nil {
		return err
	}
	var unsupported error
	for _, mechanism := range []string{"TLS", "SSL"} { // servers older than RFC 4217 call it SSL
		r, err := d.command("AUTH "+mechanism, 234)
		if err != nil {
			return unlessClosed(err, unsupported)
		}
		switch {
		case r.code == 234, r.code == 334: // 334 asks for more data (RFC 2228, section 3), but some servers send it for TLS
			return nil
		case r.code == 530, slices.Contains(noSuchCommand, r.code): // a server that knows AUTH requires no login before it
			unsupported = d.unexpected(r, Unsupported)
		default:
			return d.unexpected(r, Rejected)
		}
	}
	return unsupported
}

type reply struct {
	code  int
	lines []string // without the code
}

// readReply reads a reply of one or more lines. The last line starts with the code of the first, followed by a space or
// nothing. The lines in between may be anything, as in FTP (RFC 959, section 4.2). SMTP is stricter.
func (d *dialogue) readReply() (reply, error) {
	var r reply
	for {
		line, err := d.line()
		if err != nil {
			return r, err
		}
		code, more, text := parseReplyLine(line)
		if r.lines == nil {
			if code == 0 {
				return r, d.fail(ProtocolError, nil)
			}
			r.code = code
		}
		r.lines = append(r.lines, text)
		if code == r.code && !more {
			return r, nil
		}
	}
}

// parseReplyLine parses a line of a reply. The code is 0 if the line has none. more reports whether a hyphen follows the
// code.
func parseReplyLine(line string) (code int, more bool, text string) {
	if len(line) < 3 {
		return 0, false, line
	}
	code, err := strconv.Atoi(line[:3])
	switch {
	case err != nil:
		return 0, false, line
	case len(line) == 3: // RFC 5321, section 4.2: clients should accept this
		return code, false, ""
	case line[3] == ' ' || line[3] == '-':
		return code, line[3] == '-', line[4:]
	}
	return 0, false, line
}

// command sends a command and reads the reply.
func (d *dialogue) command(words string, expected int) (reply, error) {
	if err := d.ask(words+"\r\n", strconv.Itoa(expected)+" in reply to "+words); err != nil {
		return reply{}, err
	}
	return d.readReply()
}

// greeting reads the server's greeting, which must have one of the codes.
func (d *dialogue) greeting(codes ...int) error {
	d.expected = "a greeting with code " + strconv.Itoa(codes[0])
	for {
		r, err := d.readReply()
		switch {
		case err != nil:
			return err
		case slices.Contains(codes, r.code):
			return nil
		case r.code != 120: // "service ready in nnn minutes", which precedes 220 (RFC 959, section 5.4)
			return d.unexpected(r, Rejected)
		}
	}
}

// unexpected returns the error for a reply with an unexpected code. If the code is not a refusal, from 400 to 599, the
// kind becomes ProtocolError.
func (d *dialogue) unexpected(r reply, kind Kind) error {
	if r.code < 400 || r.code > 599 {
		kind = ProtocolError
	}
	return d.fail(kind, nil)
}

// unlessClosed returns the earlier refusal if err is a closed connection, and err otherwise. A server may close the
// connection after a refusal, without waiting for a second attempt.
func unlessClosed(err, refusal error) error {
	if e, ok := err.(*Error); ok && e.Kind == ConnectionClosed && refusal != nil {
		return refusal
	}
	return err
}
