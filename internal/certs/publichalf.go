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
		primes = append(primes, read(&other))
		_, _ = read(&other), read(&other) // its exponent and coefficient, which crypto/x509 ignores too
		if len(other) > 0 {
			return nil
		}
	}
	if !positive || len(s) > 0 || len(others) > 0 {
		return nil
	}

	product := one
	for _, prime := range primes {
		if prime.Cmp(one) <= 0 {
			return nil
		}
		product = number().Mul(product, prime)
	}
	if product.Cmp(n) != 0 {
		return nil
	}

	// math/big leaves a copy of what it divides by in memory. So all divisions are by n, which is public.

	// divides reports whether prime divides x. The others are the product of the other primes.
	divides := func(prime, others, x *big.Int) bool {
		_, rest := number().QuoRem(number().Mul(x, others), n, number())
		return rest.Sign() == 0
	}
	// lessDivides reports whether prime-1 divides x, which is at most n times the exponent. If it does, and the quotient is k,
	// x*others = k*(prime-1)*others = k*n - k*others, so k = (x*others + k*others)/n. Each such step makes the error of
	// an estimate of k smaller by the size of prime.
	lessDivides := func(prime, others, x *big.Int) bool {
		start, rest := number().QuoRem(number().Mul(x, others), n, number())
		next := func(estimate *big.Int) *big.Int {
			sum := number().Add(number().Mul(estimate, others), rest)
			quotient, _ := number().QuoRem(sum, n, number())
			return number().Add(start, quotient)
		}
		k := start
		for range primes {
			k = next(k)
		}
		k = next(number().Add(k, one)) // without one, it could stay at k-1
		return number().Mul(k, number().Sub(prime, one)).Cmp(x) == 0
	}
	inverse := func(x, of *big.Int) *big.Int { return number().Sub(number().Mul(x, of), one) }
	e := big.NewInt(int64(exponent))
	for i, prime := range primes {
		others := one
		for j, other := range primes {
			if j != i {
				others = number().Mul(others, other)
			}
		}
		valid := lessDivides(prime, others, inverse(d, e))
		if coefficients != nil && i < 2 { // dP, dQ
			valid = valid && lessDivides(prime, others, inverse(coefficients[i], e))
		}
		if coefficients != nil && i == 0 { // qInv
			valid = valid && divides(prime, others, inverse(coefficients[2], q))
		}
		if !valid {
			return nil
		}
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
