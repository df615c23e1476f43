package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// KeySize returns the size of the certificate's public key in bits, or 0 if the algorithm is unknown.
func KeySize(c *x509.Certificate) int {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return 256
	}
	return 0
}

// rsaBits returns the size of an RSA key, or 0 if the key is of another algorithm.
func rsaBits(c *x509.Certificate) int {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok {
		return k.N.BitLen()
	}
	return 0
}

// minRSA is the size in bits of the smallest RSA key whose signatures crypto/rsa checks.
const minRSA = 1024

// unusableKey returns why crypto/x509 cannot check signatures with the key of c. It is empty if it can.
func unusableKey(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return "its RSA key is too short"
		}
		return ""
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return ""
	}
	return "its key is of the kind " + keyKind(c.RawSubjectPublicKeyInfo) + ", which the collector does not support"
}

// supportedKeys are the kinds of keys with which crypto/x509 checks signatures.
var supportedKeys = []string{"RSA", "EC P-224", "EC P-256", "EC P-384", "EC P-521", "Ed25519"}

// maxRSA is the size in bits of the largest RSA key with which crypto/tls makes a handshake.
const maxRSA = 8192

// kinds are the names of public key algorithms and of curves, also of those that Go does not have.
var kinds = map[string]string{
	"1.2.840.113549.1.1.1": "RSA", "1.2.840.113549.1.1.10": "RSA-PSS", "1.2.840.10040.4.1": "DSA", "1.2.840.10045.2.1": "EC",
	"1.2.840.113549.1.3.1": "Diffie-Hellman",
	"1.3.101.110":          "X25519", "1.3.101.111": "X448", "1.3.101.112": "Ed25519", "1.3.101.113": "Ed448",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44", "2.16.840.1.101.3.4.3.18": "ML-DSA-65", "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
	"1.2.643.7.1.1.1.1": "GOST R 34.10-2012", "1.2.643.7.1.1.1.2": "GOST R 34.10-2012", "1.2.643.2.2.19": "GOST R 34.10-2001",
	"1.2.840.10045.3.1.1": "P-192", "1.3.132.0.33": "P-224", "1.2.840.10045.3.1.7": "P-256", "1.3.132.0.34": "P-384", "1.3.132.0.35": "P-521",
	"1.3.132.0.31": "secp192k1", "1.3.132.0.32": "secp224k1", "1.3.132.0.10": "secp256k1", "1.2.156.10197.1.301": "SM2",
	brainpool + "1": "brainpoolP160r1", brainpool + "2": "brainpoolP160t1", brainpool + "3": "brainpoolP192r1", brainpool + "4": "brainpoolP192t1",
	brainpool + "5": "brainpoolP224r1", brainpool + "6": "brainpoolP224t1", brainpool + "7": "brainpoolP256r1", brainpool + "8": "brainpoolP256t1",
	brainpool + "9": "brainpoolP320r1", brainpool + "10": "brainpoolP320t1", brainpool + "11": "brainpoolP384r1", brainpool + "12": "brainpoolP384t1",
	brainpool + "13": "brainpoolP512r1", brainpool + "14": "brainpoolP512t1",
}

const brainpool = "1.3.36.3.3.2.8.1.1." // RFC 5639, section 4.1

// keyKind returns the algorithm in a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), and the curve if it has one: names if
// they are known, else object identifiers.
func keyKind(info cryptobyte.String) string {
	var algorithm cryptobyte.String
	if !info.ReadASN1(&info, cryptobyteasn1.SEQUENCE) || !info.ReadASN1(&algorithm, cryptobyteasn1.SEQUENCE) {
		return "unknown"
	}
	return algorithmKind(algorithm)
}

// algorithmKind is like keyKind, for the contents of an AlgorithmIdentifier.
func algorithmKind(algorithm cryptobyte.String) string {
	var id, curve asn1.ObjectIdentifier
	if !algorithm.ReadASN1ObjectIdentifier(&id) {
		return "unknown"
	}
	name := kindName(id)
	if name != "EC" {
		return name
	}
	if !algorithm.ReadASN1ObjectIdentifier(&curve) {
		return name + " with parameters of its own"
	}
	return name + " " + kindName(curve)
}

func kindName(id asn1.ObjectIdentifier) string {
	s := id.String()
	if name := kinds[s]; name != "" {
		return name
	}
	if len(s) > 64 {
		return "unknown"
	}
	return s
}

// unknownCurve names the curve of an EC key of this kind, which Go does not have.
func unknownCurve(kind string) string {
	const unknown = "a curve that Go does not have"
	if curve, isEC := strings.CutPrefix(kind, "EC "); isEC {
		return unknown + " (" + curve + ")"
	}
	return unknown
}
