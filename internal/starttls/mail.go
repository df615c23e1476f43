package starttls

import (
	"slices"
	"strconv"
	"strings"
)

// imap follows RFC 9051, section 6.2.1. The server may send untagged lines at any time.
func imap(d *dialogue, _ string) error {
	offered, err := d.imapGreeting()
	if err != nil {
		return err
	}
	if err := d.say("a1 STARTTLS\r\n", `"a1 OK" in reply to STARTTLS`); err != nil {
		return err
	}
	for {
		line, err := d.line()
		if err != nil {
			return err
		}
		switch {
		case startsWith(line, "a1 OK"):
			return nil
		case strings.HasPrefix(line, "* ") && !startsWith(line, "* BYE"):
			offered = offered || imapOffers(line)
			continue
		}
		d.said = []byte(line)
		switch {
		case startsWith(line, "a1 NO"), startsWith(line, "* BYE"), offered && startsWith(line, "a1 BAD"):
			return d.fail(Rejected, nil)
		case startsWith(line, "a1 BAD"): // an unknown command
			return d.fail(Unsupported, nil)
		}
		return d.fail(ProtocolError, nil)
	}
}

// imapGreeting reads the greeting and the untagged lines that came with it. It reports whether they offer STARTTLS.
func (d *dialogue) imapGreeting() (offered bool, err error) {
	d.expected = `the IMAP greeting "* OK"`
	line, err := d.line()
	switch {
	case err != nil:
		return false, err
	case startsWith(line, "* OK"):
	case startsWith(line, "* PREAUTH"): // already logged in, which rules out STARTTLS (section 7.1.4)
		return false, d.fail(Unsupported, nil)
	case startsWith(line, "* BYE"):
		return false, d.fail(Rejected, nil)
	default:
		return false, d.fail(ProtocolError, nil)
	}
	offered = imapOffers(line)
	for d.in.Buffered() > 0 {
		if line, err = d.line(); err != nil {
			return false, err
		}
		if !strings.HasPrefix(line, "* ") { // an answer to a command that was not sent yet
			return false, d.fail(ProtocolError, errEarly)
		}
		offered = offered || imapOffers(line)
	}
	return offered, nil
}

// imapOffers reports whether a line lists the capability STARTTLS.
func imapOffers(line string) bool {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" []", r) })
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, "STARTTLS") })
}

// pop3 follows RFC 2595, section 4.
func pop3(d *dialogue, _ string) error {
	d.expected = `the POP3 greeting "+OK"`
	if err := d.pop3Status(); err != nil {
		return err
	}
	if err := d.ask("STLS\r\n", `"+OK" in reply to STLS`); err != nil {
		return err
	}
	err := d.pop3Status()
	// "-ERR" may also mean that the command is unknown. The capabilities show which it is.
	if refusal, ok := err.(*Error); ok && refusal.Kind == Rejected {
		if listed, err := d.pop3Lists("STLS"); err == nil && !listed {
			refusal.Kind = Unsupported
		}
	}
	return err
}

// pop3Status reads a status indicator (RFC 1939, section 3).
func (d *dialogue) pop3Status() error {
	line, err := d.line()
	switch {
	case err != nil:
		return err
	case startsWith(line, "+OK"):
		return nil
	case startsWith(line, "-ERR"):
		return d.fail(Rejected, nil)
	}
	return d.fail(ProtocolError, nil)
}

// pop3Lists reports whether the server lists a capability (RFC 2449, section 5). A server that refuses CAPA lists none.
func (d *dialogue) pop3Lists(capability string) (listed bool, err error) {
	if err := d.ask("CAPA\r\n", "the capabilities"); err != nil {
		return false, err
	}
	line, err := d.line()
	if err != nil || !startsWith(line, "+OK") {
		return false, err
	}
	for err == nil && line != "." {
		line, err = d.line()
		listed = listed || startsWith(line, capability)
	}
	return listed, err
}

// sieve follows RFC 5804, section 2.2 (ManageSieve). The greeting is a list of capabilities.
func sieve(d *dialogue, _ string) error {
	d.expected = "a list of ManageSieve capabilities with OK"
	word, offered, err := d.sieveResponse()
	switch {
	case err != nil:
		return err
	case word != "OK":
		return d.fail(Rejected, nil)
	}
	if err := d.ask("STARTTLS\r\n", "OK in reply to STARTTLS"); err != nil {
		return err
	}
	word, _, err = d.sieveResponse()
	switch {
	case err != nil || word == "OK":
		return err
	case word == "NO" && !offered:
		return d.fail(Unsupported, nil)
	}
	return d.fail(Rejected, nil)
}

// sieveResponse reads lines up to OK, NO or BYE. It returns this word and whether the capability STARTTLS came before it.
func (d *dialogue) sieveResponse() (word string, offered bool, err error) {
	for {
		line, err := d.sieveLine()
		if err != nil {
			return "", false, err
		}
		for _, word := range []string{"OK", "NO", "BYE"} {
			if startsWith(line, word) {
				return word, offered, nil
			}
		}
		if !strings.HasPrefix(line, `"`) {
			return "", false, d.fail(ProtocolError, nil)
		}
		offered = offered || startsWith(line, `"STARTTLS"`)
	}
}

// sieveLine reads a line with its literals and returns it with quoted strings in their place. A literal is {5} or {5+} at
// the end of the line, then five bytes, which the rest of the line follows (RFC 5804, section 4).
func (d *dialogue) sieveLine() (string, error) {
	line, err := d.line()
	for err == nil {
		start := strings.LastIndexByte(line, '{')
		if start < 0 || !strings.HasSuffix(line, "}") {
			break
		}
		n, notNumber := strconv.Atoi(strings.TrimSuffix(line[start+1:len(line)-1], "+"))
		if notNumber != nil {
			break
		}
		var literal []byte
		if literal, err = d.take(n); err != nil {
			break
		}
		var rest string
		rest, err = d.line()
		line = line[:start] + `"` + string(literal) + `"` + rest
	}
	return line, err
}
