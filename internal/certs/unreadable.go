package certs

import (
	"crypto/x509"
	stdasn1 "encoding/asn1"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Unreadable is a certificate that crypto/x509 cannot parse, or that has an RSA key too large for crypto/tls.
type Unreadable struct {
	Index   int    // in the list that the server sent; 0 is the leaf
	Subject string // its common name, as far as it can be read; neither cleaned nor bounded
	Key     string // the kind of its key; see KeyName
	Err     string // what is wrong, mostly in the words of crypto/x509
}

// FindUnreadable returns the certificates in a list that are unreadable.
func FindUnreadable(ders [][]byte) (all []Unreadable) {
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err == nil && rsaBits(c) > maxRSABits {
			err = fmt.Errorf("its RSA key has %d bits, more than %d", rsaBits(c), maxRSABits)
		}
		if err == nil {
			continue
		}
		u := Unreadable{Index: i, Err: strings.TrimPrefix(err.Error(), "x509: ")}
		subject, key, _ := looseParts(der)
		u.Subject, u.Key = looseName(subject), keyName(key)
		all = append(all, u)
	}
	return all
}

// maxRSABits is the limit of crypto/tls.
const maxRSABits = 8192

// KeyName returns the kind of a certificate's key, such as "Ed448" or "ECDSA on the curve brainpoolP256r1", and whether
// crypto/tls can check its signatures. It needs no more than the outline of a certificate. The name is empty if there is
// no outline.
func KeyName(der []byte) (name string, supported bool) {
	_, key, ok := looseParts(der)
	if !ok {
		return "", false
	}
	switch name = keyName(key); name {
	case "RSA", "Ed25519", ecdsaOn + "P-256", ecdsaOn + "P-384", ecdsaOn + "P-521":
		return name, true
	}
	return name, false
}

// LooseName returns the subject of a certificate, even of one that crypto/x509 cannot parse. It is neither cleaned nor
// bounded.
func LooseName(der []byte) string {
	if c, err := x509.ParseCertificate(der); err == nil {
		return SubjectName(c)
	}
	subject, _, _ := looseParts(der)
	return looseName(subject)
}

// looseParts returns the subject and the key of a certificate (RFC 5280, section 4.1), without looking into either.
func looseParts(der cryptobyte.String) (subject, key cryptobyte.String, ok bool) {
	var certificate, tbs cryptobyte.String
	ok = der.ReadASN1(&certificate, asn1.SEQUENCE) && certificate.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(context0) && // version
		tbs.SkipASN1(asn1.INTEGER) && // serial number
		tbs.SkipASN1(asn1.SEQUENCE) && // signature algorithm
		tbs.SkipASN1(asn1.SEQUENCE) && // issuer
		tbs.SkipASN1(asn1.SEQUENCE) && // validity
		tbs.ReadASN1Element(&subject, asn1.SEQUENCE) && tbs.ReadASN1(&key, asn1.SEQUENCE)
	return subject, key, ok
}

// looseName returns the common name of a subject or, without one, the first of its other attributes. The value may be of any
// type of string, and need not be valid.
func looseName(subject cryptobyte.String) (name string) {
	var rdns cryptobyte.String
	if !subject.ReadASN1(&rdns, asn1.SEQUENCE) {
		return ""
	}
	for !rdns.Empty() {
		var set, attribute, oid, value cryptobyte.String
		var tag asn1.Tag
		if !rdns.ReadASN1(&set, asn1.SET) || !set.ReadASN1(&attribute, asn1.SEQUENCE) ||
			!attribute.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !attribute.ReadAnyASN1(&value, &tag) {
			return name
		}
		const commonName = "\x55\x04\x03" // 2.5.4.3
		if string(oid) == commonName {
			return string(value)
		}
		if name == "" {
			name = string(value)
		}
	}
	return name
}

const ecdsaOn = "ECDSA on the curve "

// keyName returns the kind of a SubjectPublicKeyInfo.
func keyName(key cryptobyte.String) string {
	var algorithm cryptobyte.String
	var oid, curve stdasn1.ObjectIdentifier
	if !key.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) {
		return ""
	}
	if oid.String() == "1.2.840.10045.2.1" { // id-ecPublicKey
		if !algorithm.PeekASN1Tag(asn1.OBJECT_IDENTIFIER) || !algorithm.ReadASN1ObjectIdentifier(&curve) {
			return "ECDSA on a curve without a name"
		}
		return ecdsaOn + nameOf(curve, curveNames)
	}
	return nameOf(oid, keyNames)
}

func nameOf(oid stdasn1.ObjectIdentifier, names map[string]string) string {
	if n := names[oid.String()]; n != "" {
		return n
	}
	return fmt.Sprintf("%.64s", oid) // it is foreign
}

var keyNames = map[string]string{
	"1.2.840.113549.1.1.1": "RSA", "1.2.840.113549.1.1.10": "RSASSA-PSS", "1.2.840.10040.4.1": "DSA",
	"1.3.101.110": "X25519", "1.3.101.111": "X448", "1.3.101.112": "Ed25519", "1.3.101.113": "Ed448",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44", "2.16.840.1.101.3.4.3.18": "ML-DSA-65", "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
	"1.2.643.7.1.1.1.1": "GOST R 34.10-2012", "1.2.643.7.1.1.1.2": "GOST R 34.10-2012", "1.2.643.2.2.19": "GOST R 34.10-2001",
}

var curveNames = map[string]string{
	"1.2.840.10045.3.1.1": "secp192r1", "1.3.132.0.33": "secp224r1", "1.2.840.10045.3.1.7": "P-256", "1.3.132.0.34": "P-384",
	"1.3.132.0.35": "P-521", "1.3.132.0.10": "secp256k1", "1.2.156.10197.1.301": "SM2",
	"1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1", "1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1", "1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
}
