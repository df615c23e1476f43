package starttls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	telnetSE   = 240
	telnetSB   = 250
	telnetWILL = 251
	telnetDO   = 253
	telnetDONT = 254
	telnetIAC  = 255

	// Option 46, draft-altman-telnet-starttls-02.
	telnetStartTLS = "\x2e"
	telnetFollows  = "\x2e\x01"

	sayWill    = "\xff\xfb" + telnetStartTLS
	sayFollows = "\xff\xfa" + telnetFollows + "\xff\xf0"
)

// telnet first waits for the server to request START_TLS, as openssl s_client does. Otherwise it would confuse servers
// that check whether the first bytes are TLS. If the server sends something else, telnet offers START_TLS, which a server
// must answer with DO or DONT (RFC 854). The go-ahead is FOLLOWS from both sides.
func telnet(d *dialogue, _ string) error {
	d.expected = "IAC DO START_TLS"
	offered, agreed := false, false
	for {
		command, argument, err := d.telnetCommand()
		if err != nil {
			return err
		}
		switch {
		case command == telnetDO && argument == telnetStartTLS:
			if agreed {
				continue
			}
			words := sayFollows
			if !offered {
				words = sayWill + sayFollows
			}
			if err := d.say(words, "IAC SB START_TLS FOLLOWS IAC SE"); err != nil {
				return err
			}
			offered, agreed = true, true
		case command == telnetDONT && argument == telnetStartTLS:
			d.said = []byte("IAC DONT START_TLS")
			if agreed {
				return d.fail(Rejected, nil)
			}
			return d.fail(Unsupported, nil)
		case command == telnetSB && argument == telnetFollows && agreed:
			return nil
		case !offered:
			if err := d.say(sayWill, "IAC DO START_TLS"); err != nil {
				return err
			}
			d.said = slices.Clone(d.first) // as said only has what has not been read yet
			offered = true
		}
	}
}

// telnetCommand reads a command with its argument (RFC 854 and 855), or one byte of text. For text, command is 0.
func (d *dialogue) telnetCommand() (command byte, argument string, err error) {
	b, err := d.take(1)
	if err != nil || b[0] != telnetIAC {
		return 0, "", err
	}
	if b, err = d.take(1); err != nil {
		return 0, "", err
	}
	command = b[0]
	switch {
	case command >= telnetWILL && command <= telnetDONT:
		b, err = d.take(1)
		return command, string(b), err
	case command != telnetSB:
		return command, "", nil
	}
	var text strings.Builder
	for {
		if b, err = d.take(1); err != nil {
			return 0, "", err
		}
		if b[0] == telnetIAC { // followed by SE, or by a second IAC that escapes it
			if b, err = d.take(1); err != nil || b[0] == telnetSE {
				return command, text.String(), err
			}
		}
		text.WriteByte(b[0])
	}
}

// rdpRequest is a TPKT header, an X.224 connection request and an RDP_NEG_REQ for PROTOCOL_SSL and PROTOCOL_HYBRID
// (MS-RDPBCGR, section 2.2.1.1). HYBRID is TLS with a login (NLA) inside, which most servers require. The cookie is
// omitted, as it contains a user name.
const rdpRequest = "\x03\x00\x00\x13" + "\x0e\xe0\x00\x00\x00\x00\x00" + "\x01\x00\x08\x00\x03\x00\x00\x00"

var rdpFailures = map[uint32]string{
	1: "SSL_REQUIRED_BY_SERVER", 2: "SSL_NOT_ALLOWED_BY_SERVER", 3: "SSL_CERT_NOT_ON_SERVER", 4: "INCONSISTENT_FLAGS",
	5: "HYBRID_REQUIRED_BY_SERVER", 6: "SSL_WITH_USER_AUTH_REQUIRED_BY_SERVER",
}

// rdp follows MS-RDPBCGR, sections 2.2.1.1 and 2.2.1.2.
func rdp(d *dialogue, _ string) error {
	if err := d.say(rdpRequest, "an X.224 connection confirm that selects TLS"); err != nil {
		return err
	}
	header, err := d.take(4)
	if err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(header[2:]))
	if header[0] != 3 || size < 11 {
		return d.fail(ProtocolError, errors.New("not a TPKT packet with X.224"))
	}
	pdu, err := d.take(size - 4)
	if err != nil {
		return err
	}
	const confirm, disconnect = 0xd0, 0x80
	switch pdu[1] & 0xf0 {
	case confirm:
		return d.rdpNegotiation(pdu[7:])
	case disconnect:
		d.said = []byte("X.224 disconnect request")
		return d.fail(Rejected, nil)
	}
	return d.fail(ProtocolError, fmt.Errorf("X.224 PDU of type %#x", pdu[1]))
}

// rdpNegotiation returns nil if the server has selected TLS.
func (d *dialogue) rdpNegotiation(message []byte) error {
	if len(message) < 8 { // the server only knows RDP's own encryption (section 3.2.5.3.2)
		d.said = []byte("X.224 connection confirm without a negotiation response")
		return d.fail(Unsupported, nil)
	}
	value := binary.LittleEndian.Uint32(message[4:])
	const response, failure = 2, 3
	switch message[0] {
	case response:
		if value == 0 {
			d.said = []byte("selected protocol PROTOCOL_RDP")
			return d.fail(Unsupported, nil)
		}
		return nil
	case failure:
		d.said = fmt.Appendf(nil, "negotiation failure %d %s", value, rdpFailures[value])
		if value == 2 {
			return d.fail(Unsupported, nil)
		}
		return d.fail(Rejected, nil)
	}
	return d.fail(ProtocolError, fmt.Errorf("negotiation message of type %d", message[0]))
}
