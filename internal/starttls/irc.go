package starttls

import "strings"

// irc is the IRCv3 extension tls. The server may have sent notices before our request and may go on with them, so that
// a go-ahead which came before it can't be told from one that came after.
func irc(d *dialogue, _ string) error {
	if err := d.say("STARTTLS\r\n", "numeric 670 in reply to STARTTLS"); err != nil {
		return err
	}
	for {
		line, err := d.line()
		if err != nil {
			return err
		}
		words := strings.Fields(line)
		if len(words) > 0 && strings.HasPrefix(words[0], ":") { // who says it
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		kind := Rejected
		switch strings.ToUpper(words[0]) {
		case "670": // RPL_STARTTLS
			return nil
		case "PING": // some servers want to hear it before they go on
			if err := d.say("PONG "+strings.Join(words[1:], " ")+"\r\n", d.expected); err != nil {
				return err
			}
			continue
		case "691", "ERROR": // ERR_STARTTLS, and the word with which a server closes
		case "421", "451": // an unknown command; nothing that is known before one has registered
			kind = Unsupported
		default:
			continue
		}
		d.said = []byte(line)
		return d.fail(kind, nil)
	}
}
