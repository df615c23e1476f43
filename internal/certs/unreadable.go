package certs

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Unreadable is a certificate that crypto/x509 does not parse, though other programs may, or that has an RSA key too large
// for crypto/tls. It is an error. All its text is clean.
type Unreadable struct {
	Index   int    // in the list of FindUnreadable; 0 is the leaf
	Subject string // as SubjectName returns it; empty if it cannot be read
	IsCA    bool   // whether its basicConstraints say so
	Key     string // the kind of its key, such as "EC brainpoolP256r1"; empty if it cannot be read
	Why     string // what is wrong with it, such as "its serial number is negative"
}

// FindUnreadable returns the certificates in a list that a server sent with which crypto/tls makes no handshake.
func FindUnreadable(ders [][]byte) (all []Unreadable) {
	for i, der := range ders {
		u := ParseUnreadable(der)
		if u == nil {
			c, err := x509.ParseCertificate(der)
			switch bits := 0; {
			case err != nil:
				u = &Unreadable{Why: "it does not have the structure of a certificate"}
			default:
				if bits = rsaBits(c); bits <= maxRSA {
					continue
				}
				u = &Unreadable{Subject: text.Clean(SubjectName(c), maxSubject), Key: "RSA", Why: fmt.Sprintf("its RSA key has %d bits, more than %d", bits, maxRSA)}
			}
		}
		u.Index = i
		all = append(all, *u)
	}
	return all
}

// LooseName returns the subject of a certificate, even of one that crypto/x509 does not parse. It is neither cleaned nor
// bounded.
func LooseName(der []byte) string {
	c, _ := parseLoosely(der)
	return c.subject()
}

// KeyKind returns the kind of a certificate's key, such as "Ed448" or "EC brainpoolP256r1", and whether crypto/tls can check
// its signatures. crypto/x509 need not parse the certificate. The kind is empty if it cannot be read.
func KeyKind(der []byte) (kind string, supported bool) {
	c, ok := parseLoosely(der)
	if !ok {
		return "", false
	}
	kind = c.keyKind()
	return kind, slices.Contains(supportedKeys, kind) && kind != "EC P-224"
}

func (u *Unreadable) Error() string {
	if u.Subject == "" {
		return "a certificate this collector cannot read: " + u.Why
	}
	return fmt.Sprintf("a certificate this collector cannot read, %s: %s", text.Quote(u.Subject, maxSubject), u.Why)
}

const (
	maxSubject = 64  // bytes
	maxWhy     = 128 // bytes
)

// ParseUnreadable returns what can be known about a certificate that crypto/x509 does not parse. It returns nil if der does
// not have the structure of a certificate, so that no program can read it, or if crypto/x509 does parse it. der may be BER.
func ParseUnreadable(der []byte) *Unreadable {
	c, ok := parseLoosely(der)
	if !ok {
		return nil
	}
	_, err := x509.ParseCertificate(der)
	if err == nil {
		return nil
	}
	why := c.why(err)
	if c.isBER {
		why = "it is encoded in BER, not in DER"
	}
	return &Unreadable{Subject: text.Clean(c.subject(), maxSubject), IsCA: c.isCA(), Key: c.keyKind(), Why: text.Clean(why, maxWhy)}
}

// looseCertificate has the parts of a certificate, whose own syntax may be invalid.
type looseCertificate struct {
	name       []byte // content of the subject
	key        []byte // content of the SubjectPublicKeyInfo
	algorithm  []byte // content of the public key's algorithm
	extensions []looseExtension
	isBER      bool // outside of the parts
}

type looseExtension struct{ id, value []byte }

// parseLoosely reads the outer structure of a certificate (RFC 5280, section 4.1). Bytes after it are ignored, as OpenSSL
// does.
func parseLoosely(der []byte) (c looseCertificate, ok bool) {
	r := looseReader{rest: der}
	certificate := r.enter(asn1.SEQUENCE)
	tbs := certificate.enter(asn1.SEQUENCE)
	certificate.enter(asn1.SEQUENCE)
	certificate.enter(asn1.BIT_STRING)
	if tbs.next() == context0 {
		tbs.enter(context0)
	}
	tbs.enter(asn1.INTEGER)
	tbs.enter(asn1.SEQUENCE) // signature
	tbs.enter(asn1.SEQUENCE) // issuer
	tbs.enter(asn1.SEQUENCE) // validity
	c.name = tbs.enter(asn1.SEQUENCE).rest
	key := tbs.enter(asn1.SEQUENCE)
	c.key = key.rest
	c.algorithm = key.enter(asn1.SEQUENCE).rest
	key.enter(asn1.BIT_STRING)
	if r.failed || certificate.failed || tbs.failed || key.failed {
		return c, false
	}
	for tbs.next() == context1 || tbs.next() == context2 { // the unique identifiers
		tbs.enter(tbs.next())
	}
	extensions := tbs.enter(context3)
	for list := extensions.enter(asn1.SEQUENCE); len(list.rest) > 0 && !list.failed && len(c.extensions) < maxExtensions; {
		e := list.enter(asn1.SEQUENCE)
		id := e.enter(asn1.OBJECT_IDENTIFIER).rest
		if e.next() == asn1.BOOLEAN {
			e.enter(asn1.BOOLEAN)
		}
		c.extensions = append(c.extensions, looseExtension{id, e.enter(asn1.OCTET_STRING).rest})
	}
	c.isBER = r.isBER || certificate.isBER || tbs.isBER || key.isBER
	return c, true
}

const maxExtensions = 100

var (
	context1 = asn1.Tag(1).ContextSpecific()
	context2 = asn1.Tag(2).ContextSpecific()
	context3 = asn1.Tag(3).ContextSpecific().Constructed()
)

// looseReader reads elements of BER, of which DER is a part. It does not check what is in them.
type looseReader struct {
	rest   []byte
	failed bool // an element was missing, had another tag, or was truncated
	isBER  bool // an element had a length that DER does not allow
}

// next returns the tag of the next element, or 0 if there is none.
func (r *looseReader) next() asn1.Tag {
	if len(r.rest) == 0 {
		return 0
	}
	return asn1.Tag(r.rest[0])
}

// enter skips the next element and returns a reader of its content.
func (r *looseReader) enter(tag asn1.Tag) *looseReader {
	content, rest, isBER, ok := looseElement(r.rest, maxNesting)
	if !ok || r.next() != tag {
		r.failed = true
		return &looseReader{failed: true}
	}
	r.rest, r.isBER = rest, r.isBER || isBER
	return &looseReader{rest: content}
}

// maxNesting is how many elements of indefinite length may be in each other. Each level is read once more for each level
// above it, so it also bounds the effort.
const maxNesting = 8

// looseElement splits s after its first element.
func looseElement(s []byte, nesting int) (content, rest []byte, isBER, ok bool) {
	if len(s) < 2 || s[0]&0x1f == 0x1f { // no tag in a certificate takes more than one byte
		return nil, nil, false, false
	}
	header, length := 2, int(s[1])
	switch n := int(s[1]) - 0x80; {
	case n == 0: // indefinite: up to two zero bytes
		rest = s[2:]
		for nesting > 0 && len(rest) >= 2 {
			if rest[0] == 0 && rest[1] == 0 {
				return s[2 : len(s)-len(rest)], rest[2:], true, true
			}
			if _, rest, _, ok = looseElement(rest, nesting-1); !ok {
				break
			}
		}
		return nil, nil, false, false
	case n > 0:
		if n > 8 || len(s) < 2+n {
			return nil, nil, false, false
		}
		var long uint64
		for _, b := range s[2 : 2+n] {
			long = long<<8 | uint64(b)
		}
		if long > uint64(len(s)) {
			return nil, nil, false, false
		}
		header, length = 2+n, int(long)
		isBER = s[2] == 0 || long < 0x80 // longer than necessary
	}
	if len(s) < header+length {
		return nil, nil, false, false
	}
	return s[header : header+length], s[header+length:], isBER, true
}

// subject returns the name by which people know the certificate. It is not clean.
func (c *looseCertificate) subject() string {
	for sets := (&looseReader{rest: c.name}); len(sets.rest) > 0 && !sets.failed; {
		attribute := sets.enter(asn1.SET).enter(asn1.SEQUENCE)
		if id := attribute.enter(asn1.OBJECT_IDENTIFIER).rest; string(id) != oidCommonName {
			continue
		}
		tag := attribute.next()
		value := attribute.enter(tag).rest
		if tag == tagBMPString {
			var units []uint16
			for i := 0; i+1 < len(value) && i < 2*maxSubject; i += 2 {
				units = append(units, uint16(value[i])<<8|uint16(value[i+1]))
			}
			return string(utf16.Decode(units))
		}
		return string(value)
	}
	names := looseReader{rest: c.extension(oidSubjectAltName)}
	for list := names.enter(asn1.SEQUENCE); len(list.rest) > 0 && !list.failed; {
		tag := list.next()
		if name := list.enter(tag).rest; tag == context2 { // dNSName
			return string(name)
		}
	}
	return DN(c.rawSubject())
}

// rawSubject returns the subject as x509.Certificate.RawSubject has it.
func (c *looseCertificate) rawSubject() []byte { return derElement(asn1.SEQUENCE, c.name) }

// asIssuer returns a certificate that has only what is needed to find out whether it signed another: its subject, its key
// identifier and, if Go has keys of its kind, its key.
func (c *looseCertificate) asIssuer() *x509.Certificate {
	id := looseReader{rest: c.extension(oidSubjectKeyID)}
	ca := &x509.Certificate{
		RawSubject: c.rawSubject(), RawSubjectPublicKeyInfo: derElement(asn1.SEQUENCE, c.key), SubjectKeyId: id.enter(asn1.OCTET_STRING).rest,
	}
	if key, err := x509.ParsePKIXPublicKey(ca.RawSubjectPublicKeyInfo); err == nil {
		ca.PublicKey = key
	}
	return ca
}

func (c *looseCertificate) keyKind() string { return algorithmKind(c.algorithm) }

const (
	oidCommonName       = "\x55\x04\x03"
	oidSubjectAltName   = "\x55\x1d\x11"
	oidSubjectKeyID     = "\x55\x1d\x0e"
	oidBasicConstraints = "\x55\x1d\x13"
	tagBMPString        = asn1.Tag(30)
)

// isCA reports whether the basicConstraints say that the certificate is a CA's.
func (c *looseCertificate) isCA() bool {
	r := looseReader{rest: c.extension(oidBasicConstraints)}
	value := r.enter(asn1.SEQUENCE).enter(asn1.BOOLEAN).rest
	return len(value) == 1 && value[0] != 0
}

// extension returns the value of the first extension with this identifier, or nil.
func (c *looseCertificate) extension(id string) []byte {
	for _, e := range c.extensions {
		if string(e.id) == id {
			return e.value
		}
	}
	return nil
}

// why says in words what err, an error of crypto/x509, means.
func (c *looseCertificate) why(err error) string {
	said := strings.TrimPrefix(err.Error(), "x509: ")
	for _, w := range x509Words {
		if !strings.HasPrefix(said, w.text) {
			continue
		}
		switch w.text {
		case unsupportedCurve:
			return "its key is on " + unknownCurve(c.keyKind())
		case duplicateExtension:
			if id := regexp.MustCompile(`[0-9.]+`).FindString(said); id != "" {
				return fmt.Sprintf("it has the extension %s twice", cmp.Or(ExtensionName(id), id))
			}
		}
		return w.why
	}
	if strings.Contains(said, " point ") || strings.Contains(said, "uncompressed") { // of crypto/ecdsa and crypto/ecdh
		return "its public key is not an uncompressed point on its curve"
	}
	return "Go's parser says: " + said
}

// The errors of crypto/x509 to which why adds details.
const (
	unsupportedCurve   = "unsupported elliptic curve"
	duplicateExtension = "certificate contains duplicate extension"
)

// x509Words are errors of crypto/x509, which has only words for them, without their prefix. The first that fits counts.
var x509Words = []struct{ text, why string }{
	{"negative serial number", "its serial number is negative"},
	{duplicateExtension, "it has an extension twice"},
	{unsupportedCurve, ""},
	{"invalid ECDSA parameters", "the curve of its key has parameters instead of a name"},
	{"RSA key missing NULL parameters", "its RSA key lacks the parameters NULL"},
	{"RSA modulus is not a positive number", "the modulus of its RSA key is not positive"},
	{"RSA public exponent is not a positive number", "the exponent of its RSA key is not positive"},
	{"invalid RSA public exponent", "the exponent of its RSA key is too large"},
	{"invalid version", "its version is not 1, 2 or 3"},
	{"inner and outer signature algorithm identifiers don't match", "it names two different signature algorithms"},
	{"trailing data", "other bytes follow it"},
	{"invalid RDNSequence: invalid attribute value: invalid PrintableString", "a PrintableString in its issuer or subject has a character that is not allowed there, such as @ or _"},
	{"invalid RDNSequence", "its issuer or subject is malformed"},
	{"malformed UTCTime", "its dates are not as RFC 5280 requires"},
	{"malformed GeneralizedTime", "its dates are not as RFC 5280 requires"},
	{"unsupported time format", "its dates are not as RFC 5280 requires"},
	{"SAN dNSName is malformed", "a DNS name in its subjectAltName has a character that is not ASCII"},
	{"SAN rfc822Name is malformed", "an e-mail address in its subjectAltName has a character that is not ASCII"},
	{"SAN uniformResourceIdentifier is malformed", "a URI in its subjectAltName has a character that is not ASCII"},
	{"cannot parse URI", "a URI in its subjectAltName is invalid"},
	{"cannot parse IP address of length", "an IP address in its subjectAltName has neither 4 nor 16 bytes"},
	{"invalid basic constraints", "its extension basicConstraints is malformed"},
	{"authority info access incorrectly marked critical", "its extension authorityInfoAccess is critical, which RFC 5280 does not allow"},
	{"authority key identifier incorrectly marked critical", "its extension authorityKeyIdentifier is critical, which RFC 5280 does not allow"},
	{"subject key identifier incorrectly marked critical", "its extension subjectKeyIdentifier is critical, which RFC 5280 does not allow"},
	{"empty name constraints extension", "its extension nameConstraints is empty"},
	{"failed to parse", "its extension nameConstraints has an invalid name"},
	{"IP constraint contained", "its extension nameConstraints has an invalid address"},
}
