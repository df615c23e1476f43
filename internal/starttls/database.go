package starttls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// mysqlSSLRequest is an SSLRequest packet: its length and sequence number, capabilities (PROTOCOL_41, SSL,
// SECURE_CONNECTION, PLUGIN_AUTH), the maximum packet size, the character set and a filler. It is a HandshakeResponse
// that ends before the user name.
const mysqlSSLRequest = "\x20\x00\x00\x01" + "\x00\x8a\x08\x00" + "\x00\x00\x00\x01" + "\x21" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// mysql speaks the protocol of MySQL and MariaDB (Protocol::HandshakeV10 and Protocol::SSLRequest). A greeting with the
// SSL capability is the server's go-ahead: the client sends an SSLRequest, and starts TLS immediately after it.
//
// A server counts a client that does not log in as a failed handshake. It blocks a host after max_connect_errors of them
// in a row.
func mysql(d *dialogue, _ string) error {
	d.expected = "a MySQL greeting with the SSL capability"
	header, err := d.take(4)
	if err != nil {
		return err
	}
	size := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	if size == 0 || header[3] != 0 { // the sequence number of the first packet is 0
		return d.fail(ProtocolError, errors.New("not a MySQL greeting"))
	}
	packet, err := d.take(size)
	if err != nil {
		return err
	}
	switch packet[0] {
	case 0xff: // too many connections, host blocked, host not allowed
		d.said = mysqlError(packet)
		return d.fail(Rejected, nil)
	case 9: // MySQL 3.21, which has no capabilities
		d.said = []byte("protocol version 9")
		return d.fail(Unsupported, nil)
	case 10:
		return d.mysqlStart(packet[1:])
	}
	return d.fail(ProtocolError, fmt.Errorf("protocol version %d", packet[0]))
}

// mysqlStart asks for TLS if the greeting has the SSL capability.
func (d *dialogue) mysqlStart(greeting []byte) error {
	version, rest, ok := bytes.Cut(greeting, []byte{0})
	if !ok || len(rest) < 15 {
		return d.fail(ProtocolError, errors.New("the greeting is truncated"))
	}
	const ssl = 1 << 11
	// The capabilities follow the thread ID, the first part of the scramble and a filler.
	if binary.LittleEndian.Uint16(rest[4+8+1:])&ssl == 0 {
		d.said = fmt.Appendf(nil, "version %s, SSL capability off", version)
		return d.fail(Unsupported, nil)
	}
	return d.say(mysqlSSLRequest, expectTLS)
}

// mysqlError returns the text of an ERR packet. Before capabilities are negotiated it should have no SQL state, but some
// servers send one.
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

// postgres sends the SSLRequest of PostgreSQL's protocol (Message Flow, SSL Session Encryption). The answer is one byte.
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
		if d.in.Buffered() > 0 { // text that starts with N: not PostgreSQL
			return d.fail(ProtocolError, nil)
		}
		return d.fail(Unsupported, nil)
	case 'E': // an ErrorResponse, for example because there are too many clients
		if text := d.postgresError(); text != nil {
			d.said = text
		}
		return d.fail(Rejected, nil)
	}
	return d.fail(ProtocolError, nil)
}

// postgresError reads the rest of an ErrorResponse after the E: a length, and fields of a letter and a string each. It
// returns the field M, which is the message, or nil if there is none.
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
