package starttls

import "strings"

// irc speaks the IRCv3 extension tls. The server may send notices at any time, even before it has seen the request. An
// early go-ahead can therefore not be detected.
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
		if len(words) > 0 && strings.HasPrefix(words[0], ":") { // the sender
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		kind := Rejected
		switch strings.ToUpper(words[0]) {
		case "670": // RPL_STARTTLS
			return nil
		case "PING": // some servers wait for the answer
			if err := d.say("PONG "+strings.Join(words[1:], " ")+"\r\n", d.expected); err != nil {
				return err
			}
			continue
		case "691", "ERROR": // ERR_STARTTLS; ERROR precedes a close
		case "421", "451": // ERR_UNKNOWNCOMMAND; ERR_NOTREGISTERED, as the server expects NICK and USER first
			kind = Unsupported
		default:
			continue
		}
		d.said = []byte(line)
		return d.fail(kind, nil)
	}
}
