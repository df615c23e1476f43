package certs

import (
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The kinds of DER elements that contain certificates or keys.
const (
	kindCertificate = "certificate" // or a CRL or certificate request, which start the same way
	kindPKCS7       = "PKCS#7"
	kindPKCS12      = "PKCS#12"
	kindKey         = "private key"
)

// kindOf returns the kind of a DER element, or "" if it is none of the above. It looks only at how the element starts.
func kindOf(element cryptobyte.String) string {
	var version int
	switch s := element; {
	case !s.ReadASN1(&s, asn1.SEQUENCE):
	case s.PeekASN1Tag(asn1.INTEGER) && s.ReadASN1Integer(&version):
		switch {
		case version == 3:
			return kindPKCS12
		case version == 0 || version == 1: // PKCS#8, PKCS#1, SEC 1
			return kindKey
		}
	case s.PeekASN1Tag(asn1.OBJECT_IDENTIFIER):
		return kindPKCS7
	case s.SkipASN1(asn1.SEQUENCE):
		if s.PeekASN1Tag(asn1.OCTET_STRING) { // encrypted PKCS#8
			return kindKey
		}
		return kindCertificate
	}
	return ""
}

// readDER reads concatenated elements.
func (r *reader) readDER(data cryptobyte.String) {
	for len(data) > 0 {
		var element cryptobyte.String
		if !data.ReadASN1Element(&element, asn1.SEQUENCE) {
			if u := ParseUnreadable(data); u != nil { // in BER
				r.addBad(u, "%s", r.next())
				return
			}
			r.addBad(errors.New("not DER, or truncated"), "the last %d bytes", len(data))
			return
		}
		switch kindOf(element) {
		case kindKey:
			r.hasKey = true
		case kindPKCS7:
			r.readPKCS7(element)
		default:
			r.add(element, "%s", r.next())
		}
	}
}

// readPKCS7 reads the certificates in SignedData (RFC 2315, section 9.1), the form of a bundle, which has no signature.
func (r *reader) readPKCS7(der cryptobyte.String) {
	var kind string
	var s, certificates cryptobyte.String
	if !readContentInfo(&der, &kind, &s) || kind != oidSignedData || !s.ReadASN1(&s, asn1.SEQUENCE) ||
		!s.SkipASN1(asn1.INTEGER) || !s.SkipASN1(asn1.SET) || !s.SkipASN1(asn1.SEQUENCE) ||
		!s.ReadOptionalASN1(&certificates, nil, context0) {
		r.addBad(errMalformed, "PKCS#7")
		return
	}
	for len(certificates) > 0 {
		var element cryptobyte.String
		var tag asn1.Tag
		if !certificates.ReadAnyASN1Element(&element, &tag) {
			r.addBad(errMalformed, "PKCS#7")
			return
		}
		r.add(element, "%s", r.next())
	}
}

var context0 = asn1.Tag(0).ContextSpecific().Constructed()

// readContentInfo reads a ContentInfo of PKCS#7 or a SafeBag of PKCS#12: a SEQUENCE of an object identifier and content of
// the kind that it identifies. What follows in the SEQUENCE, such as the attributes of a bag, is ignored.
func readContentInfo(s *cryptobyte.String, kind *string, content *cryptobyte.String) bool {
	var sequence, oid cryptobyte.String
	ok := s.ReadASN1(&sequence, asn1.SEQUENCE) && sequence.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) &&
		sequence.ReadASN1(content, context0)
	*kind = string(oid)
	return ok
}

// derElement returns a DER element with the concatenated contents.
func derElement(tag asn1.Tag, contents ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(slices.Concat(contents...)) })
	return b.BytesOrPanic()
}
