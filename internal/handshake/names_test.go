package handshake

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNames(t *testing.T) {
	assert.Equal(t, "1.3", VersionName(tls.VersionTLS13))
	assert.Equal(t, "0x0305", VersionName(0x0305))
	assert.Equal(t, "TLS_AES_128_GCM_SHA256", SuiteName(tls.TLS_AES_128_GCM_SHA256))
	assert.Equal(t, "0xFFFF", SuiteName(0xffff))
	for id, want := range map[tls.CurveID]string{
		0: "", tls.CurveP256: "secp256r1", tls.CurveP384: "secp384r1", tls.CurveP521: "secp521r1", tls.X25519: "x25519",
		tls.X25519MLKEM768: "X25519MLKEM768", tls.SecP256r1MLKEM768: "SecP256r1MLKEM768", tls.SecP384r1MLKEM1024: "SecP384r1MLKEM1024",
	} {
		assert.Equal(t, want, GroupName(id))
	}
}

func TestEverySuiteHasBits(t *testing.T) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		assert.Contains(t, []int{112, 128, 256}, SuiteBits(s.ID), s.Name)
	}
	assert.Equal(t, 256, SuiteBits(tls.TLS_CHACHA20_POLY1305_SHA256))
	assert.Equal(t, 112, SuiteBits(tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA))
	assert.Zero(t, SuiteBits(0xffff))
}
