package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// This file computes the public half of a private key from its private half, and checks the whole key. crypto/x509 would do
// the same, but it copies the private half several times to memory that cannot be cleared.

// maxPrimes is the maximum number of primes in an RSA key, as in OpenSSL.
const maxPrimes = 5

// rsaPublicHalf returns the public half of a key in PKCS#1 (RFC 8017, appendix A.1.2). It is nil if the key is malformed, or
// if its numbers do not belong together.
func rsaPublicHalf(s cryptobyte.String) *rsa.PublicKey {
	var secrets []*big.Int
	number := func() *big.Int {
		secrets = append(secrets, new(big.Int))
		return secrets[len(secrets)-1]
	}
	defer func() {
		for _, n := range secrets {
			words := n.Bits()
			clear(words[:cap(words)])
		}
	}()
	one, positive := big.NewInt(1), true
	read := func(s *cryptobyte.String) *big.Int {
		n := number()
		positive = positive && s.ReadASN1Integer(n) && n.Sign() > 0
		return n
	}

	var version, exponent int
	var others cryptobyte.String
	n := new(big.Int)
	if !s.ReadASN1(&s, der.SEQUENCE) || !s.ReadASN1Integer(&version) || version < 0 || version > 1 || !s.ReadASN1Integer(n) ||
		!s.ReadASN1Integer(&exponent) || exponent < 2 || exponent > 1<<31-1 {
		return nil
	}
	d, p, q := read(&s), read(&s), read(&s)
	primes, coefficients := []*big.Int{p, q}, []*big.Int(nil)
	if len(s) > 0 {
		coefficients = []*big.Int{read(&s), read(&s), read(&s)}
	}
	if len(s) > 0 && !s.ReadASN1(&others, der.SEQUENCE) {
		return nil
	}
	for len(others) > 0 && len(primes) < maxPrimes {
		var other cryptobyte.String
		if !others.ReadASN1(&other, der.SEQUENCE) {
			return nil
		}
		primes = append(primes, read(&other)) // crypto/x509 ignores what follows it
	}
	if !positive || len(s) > 0 || len(others) > 0 {
		return nil
	}

	// equal reports whether a and b are the same modulo m.
	equal := func(a, b, m *big.Int) bool {
		_, x := number().QuoRem(a, m, number())
		_, y := number().QuoRem(b, m, number())
		return x.Cmp(y) == 0
	}
	product, de := one, number().Mul(d, big.NewInt(int64(exponent)))
	for i, prime := range primes {
		if prime.Cmp(one) <= 0 {
			return nil
		}
		product = number().Mul(product, prime)
		less := number().Sub(prime, one)
		if !equal(de, one, less) || coefficients != nil && i < 2 && !equal(coefficients[i], d, less) {
			return nil
		}
	}
	if product.Cmp(n) != 0 || coefficients != nil && !equal(number().Mul(coefficients[2], q), one, p) {
		return nil
	}
	return &rsa.PublicKey{N: n, E: exponent}
}

// ecPublicHalf returns the public half of a private key on a curve, a number. It is nil if the number is invalid.
func ecPublicHalf(curve elliptic.Curve, private []byte) *ecdsa.PublicKey {
	size := (curve.Params().N.BitLen() + 7) / 8
	scalar := make([]byte, size)
	defer clear(scalar)
	for len(private) > size && private[0] == 0 { // some programs write more zeros than SEC 1 allows, others fewer
		private = private[1:]
	}
	if len(private) > size {
		return nil
	}
	copy(scalar[size-len(private):], private)
	if bytes.Equal(scalar, make([]byte, size)) || bytes.Compare(scalar, curve.Params().N.FillBytes(make([]byte, size))) >= 0 {
		return nil
	}
	x, y := curve.ScalarBaseMult(scalar) //nolint:staticcheck // crypto/ecdh and crypto/ecdsa keep a copy of the number
	return &ecdsa.PublicKey{Curve: curve, X: x, Y: y}
}

// ed25519PublicHalf returns the public half of a private key in PKCS#8 (RFC 8410, section 7). It is nil if that is malformed.
func ed25519PublicHalf(s cryptobyte.String) ed25519.PublicKey {
	var seed cryptobyte.String
	if !s.ReadASN1(&seed, der.OCTET_STRING) || len(s) > 0 || len(seed) != ed25519.SeedSize {
		return nil
	}
	key := ed25519.NewKeyFromSeed(seed)
	defer clear(key)
	return bytes.Clone(key[ed25519.SeedSize:])
}
