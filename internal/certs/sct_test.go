package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// sctList returns a list with timestamps of these sizes (RFC 6962, section 3.3).
func sctList(sizes ...int) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, size := range sizes {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, size)) })
		}
	})
	return b.BytesOrPanic()
}

// withSCTs returns a certificate with this value of the extension.
func withSCTs(value []byte) *x509.Certificate {
	return tlsfarm.SelfSigned("c", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: octets(sctList(1, 2, 3, 4, 5))},
			{Id: oidSCTList, Value: value},
		}
	}).Leaf
}

func octets(b []byte) []byte {
	der, err := asn1.Marshal(b)
	if err != nil {
		panic(err)
	}
	return der
}

func TestSCTs(t *testing.T) {
	three := sctList(119, 1, 120)
	tests := map[string]struct {
		value []byte
		want  int
	}{
		"one":                           {octets(sctList(119)), 1},
		"three":                         {octets(three), 3},
		"empty list":                    {octets(sctList()), 0},
		"truncated in the last":         {octets(three[:len(three)-1]), 2},
		"truncated in a length":         {octets(three[:2+2+119+1]), 1},
		"truncated in the first length": {octets(three[:1]), 0},
		"no bytes":                      {octets(nil), 0},
		"trailing bytes":                {octets(append(sctList(119), sctList(1)...)), 1},
		"empty timestamp":               {octets(sctList(119, 0, 119)), 1},
		"only zeros":                    {octets(make([]byte, 60_000)), 0},
		"length beyond the data":        {octets([]byte{0xff, 0xff, 0xff, 0xff, 1}), 0},
		"not an OCTET STRING":           {three, 0},
		"garbage":                       {[]byte("\x04\x82"), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, SCTs(withSCTs(tt.value))) })
	}
	require.Zero(t, SCTs(tlsfarm.SelfSigned("c").Leaf), "no such extension")
}

func FuzzSCTs(f *testing.F) {
	f.Add(octets(sctList(119, 1, 120)))
	f.Add(octets(sctList(119)[:50]))
	f.Add([]byte("\x04\x03\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		n := SCTs(&x509.Certificate{Extensions: []pkix.Extension{{Id: oidSCTList, Value: value}}})
		assert.GreaterOrEqual(t, n, 0)
		assert.LessOrEqual(t, 3*n, len(value), "each takes at least three bytes")
	})
}
