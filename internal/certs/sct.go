package certs

import (
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
)

var oidSCTList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// SCTs returns the number of signed certificate timestamps in a certificate (RFC 6962, section 3.3). Of a malformed list
// it counts the timestamps before the error.
func SCTs(c *x509.Certificate) int {
	for _, ext := range c.Extensions {
		if ext.Id.Equal(oidSCTList) {
			return countSCTs(ext.Value)
		}
	}
	return 0
}

func countSCTs(extension []byte) (n int) {
	var list cryptobyte.String
	var length uint16
	if _, err := asn1.Unmarshal(extension, (*[]byte)(&list)); err != nil || !list.ReadUint16(&length) {
		return 0
	}
	list = list[:min(len(list), int(length))]
	var sct cryptobyte.String
	for list.ReadUint16LengthPrefixed(&sct) && len(sct) > 0 {
		n++
	}
	return n
}
