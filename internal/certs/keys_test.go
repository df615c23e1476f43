package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	_ "crypto/md5"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestKeySize(t *testing.T) {
	for bits, key := range map[int]crypto.Signer{1024: tlsfarm.RSAKey(1024), 2048: tlsfarm.RSAKey(2048), 8192: largeKey(8192), 256: edKey()} {
		assert.Equal(t, bits, KeySize(tlsfarm.SelfSigned("c", tlsfarm.Key(key)).Leaf))
	}
	for bits, curve := range map[int]elliptic.Curve{224: elliptic.P224(), 256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		assert.Equal(t, bits, KeySize(tlsfarm.SelfSigned("c", tlsfarm.Key(key)).Leaf))
	}
	assert.Zero(t, KeySize(&x509.Certificate{}))
}
