package starttls

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
)

// Encoded messages of RFC 4511: an ExtendedRequest with message ID 1 (sections 4.12 and 4.14.1), and an UnbindRequest
// with message ID 2 (section 4.3).
const (
	ldapStartTLS = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + "1.3.6.1.4.1.1466.20037"
	ldapUnbind   = "\x30\x05\x02\x01\x02\x42\x00"
)

// The BER tags in the response.
const (
	tagInteger          = 0x02
	tagOctetString      = 0x04
	tagEnumerated       = 0x0a
	tagSequence         = 0x30
	tagExtendedResponse = 0x78
)

var ldapResults = map[int]string{
	1: "operationsError", 2: "protocolError", 8: "strongerAuthRequired", 10: "referral", 50: "insufficientAccessRights",
	51: "busy", 52: "unavailable", 53: "unwillingToPerform", 80: "other",
}

// ldap follows RFC 4511, section 4.14.
func ldap(d *dialogue, _ string) error {
	if err := d.say(ldapStartTLS, "an LDAP ExtendedResponse with result code 0"); err != nil {
		return err
	}
	message, err := berElement(d.in, tagSequence)
	if err != nil {
		return d.readError(err)
	}
	in := bytes.NewReader(message)
	id, err1 := berElement(in, tagInteger)
	response, err2 := berElement(in, tagExtendedResponse)
	in = bytes.NewReader(response)
	result, err3 := berElement(in, tagEnumerated)
	_, err4 := berElement(in, tagOctetString) // matchedDN
	text, err5 := berElement(in, tagOctetString)
	if err := cmp.Or(err1, err2, err3, err4, err5); err != nil {
		return d.fail(ProtocolError, err)
	}

	code := berInteger(result)
	d.said = fmt.Appendf(nil, "result code %d %s: %s", code, ldapResults[code], text)
	switch n := berInteger(id); {
	case n == 0: // Notice of Disconnection (section 4.4.1)
		return d.fail(Rejected, nil)
	case n != 1:
		return d.fail(ProtocolError, fmt.Errorf("message ID %d, not 1", n))
	case code == 0:
		return nil
	case code == 2: // section 4.14.2: the server does not support TLS, or it is not configured
		return d.fail(Unsupported, nil)
	}
	return d.fail(Rejected, nil)
}

// berElement reads an element with the given tag and returns its content. A length may have more bytes than needed:
// Active Directory always uses four, which encoding/asn1 rejects.
func berElement(r io.Reader, tag byte) ([]byte, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if head[0] != tag {
		return nil, fmt.Errorf("BER tag %#x, expected %#x", head[0], tag)
	}
	n := uint32(head[1])
	if n >= 0x80 {
		long := make([]byte, n&0x7f)
		if len(long) < 1 || len(long) > 4 { // RFC 4511, section 5.1: definite lengths only
			return nil, fmt.Errorf("BER length in %d bytes, expected 1 to 4", len(long))
		}
		if _, err := io.ReadFull(r, long); err != nil {
			return nil, err
		}
		n = 0
		for _, b := range long {
			n = n<<8 | uint32(b)
		}
	}
	if n > maxLine {
		return nil, fmt.Errorf("BER length %d, expected at most %d", n, maxLine)
	}
	content := make([]byte, n)
	_, err := io.ReadFull(r, content)
	return content, err
}

// berInteger returns the value of a small nonnegative number, and -1 for any other.
func berInteger(content []byte) int {
	n := 0
	for _, b := range content {
		if n = n<<8 | int(b); n > 1<<20 {
			return -1
		}
	}
	return n
}
