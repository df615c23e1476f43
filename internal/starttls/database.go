package starttls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// mysqlSSLRequest is an SSLRequest packet: its length and sequence number, capabilities (PROTOCOL_41, SSL,
// SECURE_CONNECTION, PLUGIN_AUTH), the greatest packet, the character set and a filler. It is a HandshakeResponse that
// stops before the user's name.
const mysqlSSLRequest = "\x20\x00\x00\x01" + "\x00\x8a\x08\x00" + "\x00\x00\x00\x01" + "\x21" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// mysql serves MariaDB too. The server's greeting is its go-ahead if it has the SSL bit; the client sends an SSLRequest
// and TLS right after it (MySQL's Protocol::HandshakeV10 and Protocol::SSLRequest).
//
// A client that leaves without logging in counts as a failed handshake to the server: it blocks hosts with
// max_connect_errors of these in a row.
func mysql(d *dialogue, _ string) error {
	d.expected = "a MySQL greeting with the SSL capability"
	head, err := d.take(4)
	if err != nil {
		return err
	}
	size := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if size == 0 || head[3] != 0 {
		return d.fail(ProtocolError, errors.New("no first packet of MySQL"))
	}
	packet, err := d.take(size)
	if err != nil {
		return err
	}
	switch packet[0] {
	case 0xff: // too many connections, host blocked, host not allowed
		d.said = mysqlError(packet)
		return d.fail(Rejected, nil)
	case 9: // of MySQL 3.21; has no capabilities
		d.said = []byte("protocol version 9")
		return d.fail(Unsupported, nil)
	case 10:
	default:
		return d.fail(ProtocolError, fmt.Errorf("protocol version %d", packet[0]))
	}
	version, rest, ok := bytes.Cut(packet[1:], []byte{0})
	if !ok || len(rest) < 15 {
		return d.fail(ProtocolError, errors.New("the greeting is cut short"))
	}
	const ssl = 1 << 11
	// Behind a thread ID, half of the scramble and a filler.
	if binary.LittleEndian.Uint16(rest[4+8+1:])&ssl == 0 {
		d.said = fmt.Appendf(nil, "version %s, SSL capability off", version)
		return d.fail(Unsupported, nil)
	}
	return d.say(mysqlSSLRequest, expectTLS)
}

// mysqlError is the text of an ERR packet. Before capabilities are agreed on it should have no SQL state; some have.
func mysqlError(packet []byte) []byte {
	if len(packet) < 3 {
		return nil
	}
	code, text := binary.LittleEndian.Uint16(packet[1:]), packet[3:]
	if len(text) >= 6 && text[0] == '#' {
		text = text[6:]
	}
	return fmt.Appendf(nil, "error %d: %s", code, text)
}

// postgres is the SSLRequest of PostgreSQL's protocol (Message Flow, SSL Session Encryption), which is answered with one
// byte.
func postgres(d *dialogue, _ string) error {
	if err := d.say("\x00\x00\x00\x08\x04\xd2\x16\x2f", "S in reply to an SSLRequest"); err != nil {
		return err
	}
	answer, err := d.take(1)
	if err != nil {
		return err
	}
	switch answer[0] {
	case 'S':
		return nil
	case 'N':
		if d.in.Buffered() > 0 { // PostgreSQL's N stands alone
			return d.fail(ProtocolError, nil)
		}
		return d.fail(Unsupported, nil)
	case 'E': // an ErrorResponse: the server could not even begin
		if text := d.postgresError(); text != nil {
			d.said = text
		}
		return d.fail(Rejected, nil)
	}
	return d.fail(ProtocolError, nil)
}

// postgresError reads what follows the E of an ErrorResponse, a length and fields of a letter and a string each, and
// returns the field M, the message. It is nil if there is none.
func (d *dialogue) postgresError() []byte {
	length, err := d.take(4)
	if err != nil {
		return nil
	}
	fields, err := d.take(int(binary.BigEndian.Uint32(length)) - 4)
	if err != nil {
		return nil
	}
	for field := range bytes.SplitSeq(fields, []byte{0}) {
		if text, ok := bytes.CutPrefix(field, []byte("M")); ok {
			return text
		}
	}
	return nil
}
