package starttls

import (
	"slices"
	"strconv"
)

// The protocols in which the server speaks first and answers each command with a three-digit code.

// self is who we say we are. An address literal is valid where a name is asked for (RFC 5321, section 4.1.3), is looked
// up by nobody and tells nothing about this host; "localhost" is refused by servers that want a full name.
const self = "[127.0.0.1]"

// noSuchCommand are the codes for commands, and parameters of commands, that a server doesn't know (RFC 5321, section
// 4.2.2; RFC 959, section 4.2.1).
var noSuchCommand = []int{500, 501, 502, 504}

func smtp(d *dialogue, _ string) error { return d.mail("EHLO") }
func lmtp(d *dialogue, _ string) error { return d.mail("LHLO") } // RFC 2033, section 4.1

// mail is RFC 3207, section 4.
func (d *dialogue) mail(hello string) error {
	if err := d.greeting(220); err != nil {
		return err
	}
	r, err := d.command(hello+" "+self, 250)
	if err == nil && hello == "EHLO" && slices.Contains(noSuchCommand, r.code) {
		refusal := d.refused(r, Rejected)
		r, err = d.command("HELO "+self, 250) // RFC 5321, section 3.2
		err = unlessClosed(err, refusal)
	}
	if err != nil {
		return err
	}
	switch {
	case r.code == 250:
	case slices.Contains(noSuchCommand, r.code): // no hello is known here: another protocol
		return d.fail(ProtocolError, nil)
	default:
		return d.refused(r, Rejected)
	}
	// The first line names the server, keywords come after it (RFC 5321, section 4.1.1.1).
	offered := slices.ContainsFunc(r.lines[1:], func(line string) bool { return begins(line, "STARTTLS") })
	if r, err = d.command("STARTTLS", 220); err != nil || r.code == 220 {
		return err
	}
	if offered {
		return d.refused(r, Rejected)
	}
	return d.refused(r, Unsupported)
}

// nntp is RFC 4642, section 2.2.
func nntp(d *dialogue, _ string) error {
	if err := d.greeting(200, 201); err != nil {
		return err
	}
	r, err := d.command("STARTTLS", 382)
	if err != nil || r.code == 382 {
		return err
	}
	switch r.code {
	case 500, 501, 503: // RFC 3977, section 3.2.1: not known, or not in this server
		return d.refused(r, Unsupported)
	}
	return d.refused(r, Rejected)
}

// ftp is RFC 4217, section 4.
func ftp(d *dialogue, _ string) error {
	if err := d.greeting(220); err != nil {
		return err
	}
	var unsupported error
	for _, mechanism := range []string{"TLS", "SSL"} { // SSL is what servers older than RFC 4217 know it by
		r, err := d.command("AUTH "+mechanism, 234)
		if err != nil {
			return unlessClosed(err, unsupported)
		}
		switch {
		case r.code == 234, r.code == 334: // RFC 2228, section 3, has 334 where more data is needed; some say it for TLS
			return nil
		case r.code == 530, slices.Contains(noSuchCommand, r.code): // where AUTH is known, no login comes before it
			unsupported = d.refused(r, Unsupported)
		default:
			return d.refused(r, Rejected)
		}
	}
	return unsupported
}

type reply struct {
	code  int
	lines []string // without the code
}

// reply reads a reply of one or more lines. It ends with the code that it began with, then a space or nothing. What
// stands between may be anything (RFC 959, section 4.2), so that one rule fits FTP and SMTP.
func (d *dialogue) reply() (reply, error) {
	var r reply
	for {
		line, err := d.line()
		if err != nil {
			return r, err
		}
		code, more, text := parseReply(line)
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

// parseReply takes a line of a reply apart. The code is 0 if it has none.
func parseReply(line string) (code int, more bool, text string) {
	if len(line) < 3 {
		return 0, false, line
	}
	code, err := strconv.Atoi(line[:3])
	switch {
	case err != nil:
		return 0, false, line
	case len(line) == 3: // RFC 5321, section 4.2: to be understood as well
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
	return d.reply()
}

// greeting reads the server's first words.
func (d *dialogue) greeting(codes ...int) error {
	d.expected = "a greeting with code " + strconv.Itoa(codes[0])
	for {
		r, err := d.reply()
		switch {
		case err != nil:
			return err
		case slices.Contains(codes, r.code):
			return nil
		case r.code != 120: // "ready in nnn minutes" comes before 220 (RFC 959, section 5.4)
			return d.refused(r, Rejected)
		}
	}
}

// refused is the error for a reply that is not the expected one. 4yz and 5yz say no, others make no sense.
func (d *dialogue) refused(r reply, kind Kind) error {
	if r.code < 400 || r.code > 599 {
		kind = ProtocolError
	}
	return d.fail(kind, nil)
}

// unlessClosed is err, or the refusal that came before it if err is but the end of the connection: servers that refuse
// one way may not wait for another to be tried.
func unlessClosed(err, refusal error) error {
	if e, ok := err.(*Error); ok && e.Kind == ConnectionClosed && refusal != nil {
		return refusal
	}
	return err
}
