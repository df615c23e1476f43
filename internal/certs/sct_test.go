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

// sctList is the list of RFC 6962, section 3.3, with timestamps of these sizes.
func sctList(sizes ...int) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, size := range sizes {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, size)) })
		}
	})
	return b.BytesOrPanic()
}

// withSCTs returns a certificate that has this extension.
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
		"one":                      {octets(sctList(119)), 1},
		"three":                    {octets(three), 3},
		"an empty list":            {octets(sctList()), 0},
		"cut in the last one":      {octets(three[:len(three)-1]), 2},
		"cut in a length":          {octets(three[:2+2+119+1]), 1},
		"cut in the whole length":  {octets(three[:1]), 0},
		"no bytes":                 {octets(nil), 0},
		"bytes after the list":     {octets(append(sctList(119), sctList(1)...)), 1},
		"an empty one in it":       {octets(sctList(119, 0, 119)), 1},
		"nothing but zeros":        {octets(make([]byte, 60_000)), 0},
		"a length beyond the data": {octets([]byte{0xff, 0xff, 0xff, 0xff, 1}), 0},
		"no octet string":          {three, 0},
		"garbage":                  {[]byte("\x04\x82"), 0},
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
		assert.LessOrEqual(t, 3*n, len(value), "each takes three bytes at least")
	})
}
