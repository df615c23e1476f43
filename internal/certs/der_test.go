package certs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/crypto/cryptobyte/asn1"
)

func TestDER(t *testing.T) {
	leaf, ca, key := fileLeaf.Leaf.Raw, fileCA.Certificate.Raw, keyOf(fileLeaf)
	tests := map[string]struct {
		data []byte
		want string
	}{
		"one":                           {leaf, "leaf"},
		"concatenated":                  {join(leaf, ca, fileRoot.Certificate.Raw, leaf), "leaf CA root leaf"},
		"key first":                     {join(key, leaf), "leaf"},
		"key last":                      {join(leaf, key), "leaf"},
		"bad certificate":               {join(leaf, badCert, ca), "leaf CA 1 bad"},
		"bad certificate first":         {join(badCert, ca), "CA 1 bad"},
		"truncated":                     {join(leaf, ca[:len(ca)-1]), "leaf 1 bad"},
		"text after it":                 {join(leaf, []byte("\n")), "leaf 1 bad"},
		"something else":                {join(leaf, derElement(asn1.SEQUENCE), ca), "leaf CA 1 bad"},
		"PEM after it":                  {join(leaf, leafPEM), "leaf 1 bad"},
		"PKCS#7":                        {pkcs7(leaf, ca), "leaf CA"},
		"PKCS#7 with a bad certificate": {pkcs7(leaf, badCert, ca), "leaf CA 1 bad"},
		"PKCS#7 with something else":    {pkcs7(leaf, derElement(asn1.Tag(3).ContextSpecific().Constructed()), ca), "leaf CA 1 bad"},
		"PKCS#7, truncated":             {pkcs7(leaf, ca[:len(ca)-1]), "leaf 1 bad"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, format := range []Format{FormatAuto, FormatDER} {
				assert.Equal(t, FormatDER, requireFound(t, tt.want, tt.data, format, "").Format)
			}
		})
	}
	b := requireFound(t, "leaf CA 2 bad", join(leaf, badCert, badCert, ca), "", "")
	assert.EqualError(t, b.Bad[1], "certificate 3: a certificate this collector cannot read, \"leaf\": its serial number is negative")
}

// pkcs7 returns SignedData with a bundle and, after it, a CRL.
func pkcs7(certificates ...[]byte) []byte {
	oid := func(s string) []byte { return derElement(asn1.OBJECT_IDENTIFIER, []byte(s)) }
	return derElement(asn1.SEQUENCE, oid(oidSignedData), derElement(context0, derElement(asn1.SEQUENCE,
		derElement(asn1.INTEGER, []byte{1}), derElement(asn1.SET), derElement(asn1.SEQUENCE, oid(oidData)), derElement(context0, certificates...),
		derElement(asn1.Tag(1).ContextSpecific().Constructed(), derElement(asn1.SEQUENCE)), derElement(asn1.SET))))
}
