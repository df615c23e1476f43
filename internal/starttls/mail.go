package starttls

import (
	"slices"
	"strconv"
	"strings"
)

// imap is RFC 9051, section 6.2.1. The server may put untagged lines in at any time.
func imap(d *dialogue, _ string) error {
	d.expected = `an IMAP greeting, "* OK"`
	line, err := d.line()
	switch {
	case err != nil:
		return err
	case begins(line, "* OK"):
	case begins(line, "* PREAUTH"): // it takes us for logged in, and STARTTLS comes before the login (section 7.1.4)
		return d.fail(Unsupported, nil)
	case begins(line, "* BYE"):
		return d.fail(Rejected, nil)
	default:
		return d.fail(ProtocolError, nil)
	}
	offered := imapOffers(line)
	for d.in.Buffered() > 0 { // it may go on, but not answer before it is asked
		if line, err = d.line(); err != nil {
			return err
		}
		if !strings.HasPrefix(line, "* ") {
			return d.fail(ProtocolError, errEarly)
		}
		offered = offered || imapOffers(line)
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
		case begins(line, "a1 OK"):
			return nil
		case strings.HasPrefix(line, "* ") && !begins(line, "* BYE"):
			offered = offered || imapOffers(line)
			continue
		}
		d.said = []byte(line)
		switch {
		case begins(line, "a1 NO"), begins(line, "* BYE"), offered && begins(line, "a1 BAD"):
			return d.fail(Rejected, nil)
		case begins(line, "a1 BAD"): // an unknown command
			return d.fail(Unsupported, nil)
		}
		return d.fail(ProtocolError, nil)
	}
}

// imapOffers tells whether a line lists STARTTLS among the capabilities.
func imapOffers(line string) bool {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" []", r) })
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, "STARTTLS") })
}

// pop3 is RFC 2595, section 4.
func pop3(d *dialogue, _ string) error {
	d.expected = `a POP3 greeting, "+OK"`
	if err := d.pop3Status(); err != nil {
		return err
	}
	if err := d.ask("STLS\r\n", `"+OK" in reply to STLS`); err != nil {
		return err
	}
	err := d.pop3Status()
	// "-ERR" stands for any reason, that the command is not known among them. The capabilities tell.
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
	case begins(line, "+OK"):
		return nil
	case begins(line, "-ERR"):
		return d.fail(Rejected, nil)
	}
	return d.fail(ProtocolError, nil)
}

// pop3Lists tells whether a capability is listed (RFC 2449, section 5). Servers that refuse CAPA list none.
func (d *dialogue) pop3Lists(capability string) (listed bool, err error) {
	if err := d.ask("CAPA\r\n", "the capabilities"); err != nil {
		return false, err
	}
	line, err := d.line()
	if err != nil || !begins(line, "+OK") {
		return false, err
	}
	for err == nil && line != "." {
		line, err = d.line()
		listed = listed || begins(line, capability)
	}
	return listed, err
}

// sieve is ManageSieve: RFC 5804, section 2.2. The greeting is a list of capabilities.
func sieve(d *dialogue, _ string) error {
	d.expected = "ManageSieve capabilities and OK"
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

// sieveResponse reads up to OK, NO or BYE and tells whether the capability STARTTLS stood before it.
func (d *dialogue) sieveResponse() (word string, offered bool, err error) {
	for {
		line, err := d.sieveLine()
		if err != nil {
			return "", false, err
		}
		for _, word := range []string{"OK", "NO", "BYE"} {
			if begins(line, word) {
				return word, offered, nil
			}
		}
		if !strings.HasPrefix(line, `"`) {
			return "", false, d.fail(ProtocolError, nil)
		}
		offered = offered || begins(line, `"STARTTLS"`)
	}
}

// sieveLine reads a line together with the literals in it, {5} or {5+} and five bytes after the line's end, and returns
// it with quotes around them (RFC 5804, section 4).
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
