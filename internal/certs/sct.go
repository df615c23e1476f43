package certs

import (
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
)

var oidSCTList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// SCTs counts the signed certificate timestamps inside a certificate (RFC 6962, section 3.3). A list that cannot be
// read to its end counts as far as it can.
func SCTs(c *x509.Certificate) int {
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(oidSCTList) {
			continue
		}
		var raw []byte
		if _, err := asn1.Unmarshal(ext.Value, &raw); err != nil {
			return 0
		}
		list := cryptobyte.String(raw)
		var length uint16
		if !list.ReadUint16(&length) {
			return 0
		}
		list = list[:min(len(list), int(length))]
		n := 0
		var sct cryptobyte.String
		for list.ReadUint16LengthPrefixed(&sct) && len(sct) > 0 {
			n++
		}
		return n
	}
	return 0
}
