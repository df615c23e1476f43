package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	_ "crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"slices"
	"sync"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// certs returns the certificates in its arguments: certificates, slices of them, authorities, and whole chains.
func certs(cs ...any) []*x509.Certificate {
	var all []*x509.Certificate
	for _, c := range cs {
		switch c := c.(type) {
		case *x509.Certificate:
			all = append(all, c)
		case []*x509.Certificate:
			all = append(all, c...)
		case *tlsfarm.Authority:
			all = append(all, c.Certificate)
		case tls.Certificate:
			for _, der := range c.Certificate {
				all = append(all, parse(der))
			}
		}
	}
	return all
}

// newRoots returns the roots in a file with these certificates, and with DER that is none.
func newRoots(cs []*x509.Certificate, others ...[]byte) *Roots {
	for _, c := range cs {
		others = append(others, c.Raw)
	}
	var file []byte
	for _, der := range others {
		file = append(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if roots, err := ParseRoots(file, nil); err == nil {
		return roots
	}
	return &Roots{pool: x509.NewCertPool(), complete: true}
}

func parse(der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

func edit(f func(*x509.Certificate)) tlsfarm.Edit { return f }

var (
	expired     = tlsfarm.Validity(-2*day, -day)
	notYetValid = tlsfarm.Validity(day, 2*day)
	clientOnly  = usages(x509.ExtKeyUsageClientAuth)
	notCA       = edit(func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false })
	caIssuers   = edit(func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"http://ca.example/ca.crt"} })
	unknownExt  = edit(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: asn1.NullBytes}}
	})
)

func usages(u ...x509.ExtKeyUsage) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

func pathLen(n int) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, true }
}

func permits(domain string) tlsfarm.Edit {
	return func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{domain}, true
	}
}

func signedWith(a x509.SignatureAlgorithm) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.SignatureAlgorithm = a }
}

func ecKey() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func edKey() crypto.Signer {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

// manyPrimes is an RSA key of many small primes, which is fast to make and to sign with. Code that checks a signature
// sees only the modulus.
type manyPrimes struct {
	public rsa.PublicKey
	primes []*big.Int
}

// primes256 are the largest primes under 2^256.
var primes256 = sync.OnceValue(func() (primes []*big.Int) {
	for p := new(big.Int).Lsh(big.NewInt(1), 256); len(primes) < 34; p = new(big.Int).Sub(p, big.NewInt(1)) {
		if p.ProbablyPrime(0) {
			primes = append(primes, p)
		}
	}
	return primes
})

// largeKey returns a key whose size is a multiple of 256 bits.
func largeKey(bits int) crypto.Signer {
	k := manyPrimes{rsa.PublicKey{N: big.NewInt(1), E: 65537}, primes256()[:bits/256]}
	for _, p := range k.primes {
		k.public.N.Mul(k.public.N, p)
	}
	return k
}

func (k manyPrimes) Public() crypto.PublicKey { return &k.public }

// Sign signs a SHA-256 digest with PKCS #1 v1.5 (RFC 8017, section 9.2), and combines the results for the primes.
func (k manyPrimes) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	const info = "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
	padding := bytes.Repeat([]byte{0xff}, k.public.Size()-3-len(info)-len(digest))
	message := new(big.Int).SetBytes(slices.Concat([]byte{0, 1}, padding, []byte{0}, []byte(info), digest))
	signature, product := new(big.Int), big.NewInt(1) // the signature modulo the product of the primes so far
	for _, p := range k.primes {
		exponent := new(big.Int).ModInverse(big.NewInt(int64(k.public.E)), new(big.Int).Sub(p, big.NewInt(1)))
		next := new(big.Int).Exp(message, exponent, p)
		next.Sub(next, signature).Mul(next, new(big.Int).ModInverse(product, p)).Mod(next, p)
		signature.Add(signature, next.Mul(next, product))
		product.Mul(product, p)
	}
	return signature.FillBytes(make([]byte, k.public.Size())), nil
}

// The contents of DER object identifiers in certificates that crypto/x509 cannot create.
const (
	sha256WithRSA = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	md5WithRSA    = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"
	rsaEncryption = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	rsassaPSS     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	idEd25519     = "\x06\x03\x2b\x65\x70"
	idEd448       = "\x06\x03\x2b\x65\x71"
	idX25519      = "\x06\x03\x2b\x65\x6e"
)

type rawCertificate struct {
	TBS, Algorithm asn1.RawValue
	Signature      asn1.BitString
}

// resign replaces old by replacement, which has the same length, and signs the certificate again.
func resign(c *x509.Certificate, key crypto.Signer, hash crypto.Hash, old, replacement string) *x509.Certificate {
	var raw rawCertificate
	if _, err := asn1.Unmarshal(c.Raw, &raw); err != nil {
		panic(err)
	}
	for _, part := range []*asn1.RawValue{&raw.TBS, &raw.Algorithm} {
		part.FullBytes = bytes.ReplaceAll(part.FullBytes, []byte(old), []byte(replacement))
	}
	return raw.sign(key, hash)
}

func (raw rawCertificate) sign(key crypto.Signer, hash crypto.Hash) *x509.Certificate {
	digest := raw.TBS.FullBytes
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		panic(err)
	}
	raw.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err := asn1.Marshal(raw)
	if err != nil {
		panic(err)
	}
	return parse(der)
}

// version1 returns the certificate in version 1, which has no extensions.
func version1(c *x509.Certificate, key crypto.Signer) *x509.Certificate {
	var raw rawCertificate
	if _, err := asn1.Unmarshal(c.Raw, &raw); err != nil {
		panic(err)
	}
	var tbs struct {
		Version                                         int `asn1:"explicit,tag:0"`
		Serial                                          *big.Int
		Algorithm, Issuer, Validity, Subject, PublicKey asn1.RawValue
	}
	if _, err := asn1.Unmarshal(raw.TBS.FullBytes, &tbs); err != nil {
		panic(err)
	}
	der, err := asn1.Marshal(struct {
		Serial                                          *big.Int
		Algorithm, Issuer, Validity, Subject, PublicKey asn1.RawValue
	}{tbs.Serial, tbs.Algorithm, tbs.Issuer, tbs.Validity, tbs.Subject, tbs.PublicKey})
	if err != nil {
		panic(err)
	}
	raw.TBS = asn1.RawValue{FullBytes: der}
	return raw.sign(key, crypto.SHA256)
}

// withBadSignature returns c with one bit of its signature flipped.
func withBadSignature(c *x509.Certificate) *x509.Certificate {
	der := slices.Clone(c.Raw)
	der[len(der)-1] ^= 1
	return parse(der)
}

// explicitPolicy requires a certificate policy in all certificates below (RFC 5280, section 4.2.1.11).
var explicitPolicy = edit(func(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Critical: true, Value: []byte("\x30\x03\x80\x01\x00")}}
})
