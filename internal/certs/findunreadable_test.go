package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// servedWithCurve returns a certificate that says that its P-256 key is on another curve, whose OID has the same length.
func servedWithCurve(t *testing.T, oid string) []byte {
	t.Helper()
	other, err := hex.DecodeString(oid)
	require.NoError(t, err)
	der := bytes.Clone(tlsfarm.NewAuthority("Root").Issue("curved").Certificate[0])
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	require.Equal(t, len(p256), len(other))
	return bytes.Replace(der, p256, other, 1)
}

func TestFindUnreadable(t *testing.T) {
	good := tlsfarm.NewAuthority("Root").Issue("good").Certificate[0]
	curved := servedWithCurve(t, "06082a8648ce3d030120") // secp256r1's arc, but a number that is not assigned
	nameless := append(bytes.Clone(good), 0)             // trailing data
	assert.Empty(t, FindUnreadable([][]byte{good}))
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	large, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "large"}}, &x509.Certificate{},
		&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537}, signer)
	require.NoError(t, err)
	assert.Equal(t, []Unreadable{{Subject: "large", Key: "RSA", Why: "its RSA key has 8193 bits, more than 8192"}}, FindUnreadable([][]byte{large}))
	assert.Equal(t, []Unreadable{
		{Index: 1, Subject: "curved", Key: "EC 1.2.840.10045.3.1.32", Why: "its key is on a curve that Go does not have (1.2.840.10045.3.1.32)"},
		{Index: 2, Why: "it does not have the structure of a certificate"},
		{Index: 3, Subject: "good", Key: "EC P-256", Why: "other bytes follow it"},
	}, FindUnreadable([][]byte{good, curved, {1, 2, 3}, nameless}))
}

func TestKindOfAServedKey(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	for want, der := range map[string][]byte{
		"EC P-256": root.Issue("x").Certificate[0],
		"RSA":      root.Issue("x", tlsfarm.Key(tlsfarm.RSAKey(2048))).Certificate[0],
	} {
		name, supported := KeyKind(der)
		assert.Equal(t, want, name)
		assert.True(t, supported)
	}
	for _, s := range Corpus() {
		switch s.Name {
		case "Ed448 key", "RSA-PSS key", "secp256k1 key":
			name, supported := KeyKind(s.Chain[0])
			assert.Equal(t, map[string]string{"Ed448 key": "Ed448", "RSA-PSS key": "RSA-PSS", "secp256k1 key": "EC secp256k1"}[s.Name], name)
			assert.False(t, supported, s.Name)
		}
	}
	name, supported := KeyKind([]byte("garbage"))
	assert.Empty(t, name)
	assert.False(t, supported)
}

func TestLooseName(t *testing.T) {
	der := tlsfarm.NewAuthority("Root").Issue("loose-name").Certificate[0]
	assert.Equal(t, "loose-name", LooseName(der))
	assert.Equal(t, "loose-na\xff\xfe", LooseName(bytes.ReplaceAll(der, []byte("loose-name"), []byte("loose-na\xff\xfe"))))
	assert.Empty(t, LooseName([]byte(strings.Repeat("0", 100))))
}

func FuzzFindUnreadable(f *testing.F) {
	f.Add(tlsfarm.NewAuthority("Root").Issue("x").Certificate[0])
	f.Fuzz(func(_ *testing.T, der []byte) {
		FindUnreadable([][]byte{der})
		KeyKind(der)
		LooseName(der)
	})
}
