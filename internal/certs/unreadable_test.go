package certs

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// certificateParts are the DER elements of a certificate. The signature is not valid.
type certificateParts struct {
	version, serial, algorithm, issuer, validity, subject, key []byte
	extensions                                                 [][]byte
	outerAlgorithm, after                                      []byte
}

func (p *certificateParts) der() []byte {
	tbs := [][]byte{p.version, p.serial, p.algorithm, p.issuer, p.validity, p.subject, p.key}
	if len(p.extensions) > 0 {
		tbs = append(tbs, derElement(context3, derElement(asn1.SEQUENCE, p.extensions...)))
	}
	return append(derElement(asn1.SEQUENCE, derElement(asn1.SEQUENCE, tbs...), p.outerAlgorithm, bitString([]byte{1, 2, 3})), p.after...)
}

func oidElement(contents string) []byte {
	return derElement(asn1.OBJECT_IDENTIFIER, []byte(contents))
}
func bitString(content []byte) []byte { return derElement(asn1.BIT_STRING, []byte{0}, content) }
func extensionElement(id string, critical bool, value []byte) []byte {
	var flag []byte
	if critical {
		flag = []byte{1, 1, 0xff}
	}
	return derElement(asn1.SEQUENCE, oidElement(id), flag, derElement(asn1.OCTET_STRING, value))
}

func nameElement(tag asn1.Tag, commonName string) []byte {
	return derElement(asn1.SEQUENCE, derElement(asn1.SET, derElement(asn1.SEQUENCE, oidElement(oidCommonName), derElement(tag, []byte(commonName)))))
}

func validityElement(notBefore, notAfter string) []byte {
	return derElement(asn1.SEQUENCE, derElement(asn1.UTCTime, []byte(notBefore)), derElement(asn1.UTCTime, []byte(notAfter)))
}

const (
	oidRSA         = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	oidSHA256RSA   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	oidSHA384RSA   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
	oidP256        = "\x2a\x86\x48\xce\x3d\x03\x01\x07"
	oidECPublicKey = "\x2a\x86\x48\xce\x3d\x02\x01"
	oidBrainpool   = "\x2b\x24\x03\x03\x02\x08\x01\x01"
	oidSecp256k1   = "\x2b\x81\x04\x00\x0a"
	oidAKI         = "\x55\x1d\x23"
	oidSKI         = "\x55\x1d\x0e"
	oidKeyUsage    = "\x55\x1d\x0f"
	oidConstraint  = "\x55\x1d\x1e"
	oidAIA         = "\x2b\x06\x01\x05\x05\x07\x01\x01"
)

var (
	nullElement = []byte{5, 0}
	keyUsage    = extensionElement(oidKeyUsage, true, []byte{3, 2, 7, 0x80})
)

func rsaKeyElement(parameters []byte, modulus, exponent []byte) []byte {
	return derElement(asn1.SEQUENCE, derElement(asn1.SEQUENCE, oidElement(oidRSA), parameters),
		bitString(derElement(asn1.SEQUENCE, derElement(asn1.INTEGER, modulus), derElement(asn1.INTEGER, exponent))))
}

func ecKeyElement(parameters, point []byte) []byte {
	return derElement(asn1.SEQUENCE, derElement(asn1.SEQUENCE, oidElement(oidECPublicKey), parameters), bitString(point))
}

// newParts returns the parts of a certificate that everybody can read.
func newParts() *certificateParts {
	modulus := append([]byte{0, 0xc1}, bytes.Repeat([]byte{0x35}, 255)...)
	algorithm := derElement(asn1.SEQUENCE, oidElement(oidSHA256RSA), nullElement)
	return &certificateParts{
		version: derElement(context0, []byte{2, 1, 2}), serial: []byte{2, 1, 5}, algorithm: algorithm,
		issuer: nameElement(asn1.UTF8String, "odd CA"), validity: validityElement("260101000000Z", "360101000000Z"),
		subject: nameElement(asn1.UTF8String, "odd"), key: rsaKeyElement(nullElement, modulus, []byte{1, 0, 1}),
		extensions: [][]byte{keyUsage}, outerAlgorithm: algorithm,
	}
}

// oddCertificate is a certificate that Go does not parse.
type oddCertificate struct {
	why        string
	change     func(p *certificateParts)
	notOpenSSL bool // OpenSSL does not read it either
}

func withExtension(id string, critical bool, value []byte) func(*certificateParts) {
	return func(p *certificateParts) { p.extensions = append(p.extensions, extensionElement(id, critical, value)) }
}

func withName(tag asn1.Tag, name string) func(*certificateParts) {
	return withExtension(oidSubjectAltName, false, derElement(asn1.SEQUENCE, derElement(tag, []byte(name))))
}

func withCurve(id string) func(*certificateParts) {
	return func(p *certificateParts) { p.key = ecKeyElement(oidElement(id), bytes.Repeat([]byte{4}, 65)) }
}

func oddCertificates() map[string]oddCertificate {
	ip := derElement(asn1.SEQUENCE, derElement(context0, derElement(asn1.SEQUENCE, derElement(asn1.Tag(7).ContextSpecific(), []byte{10, 0, 0}))))
	host := derElement(asn1.SEQUENCE, derElement(context0, derElement(asn1.SEQUENCE, derElement(context2, []byte("a..b")))))
	return map[string]oddCertificate{
		"negative serial": {why: "its serial number is negative", change: func(p *certificateParts) { p.serial = []byte{2, 1, 0x85} }},
		"key usage twice": {why: "it has the extension keyUsage twice", change: func(p *certificateParts) { p.extensions = append(p.extensions, keyUsage) }},
		"unknown twice": {why: "it has the extension 1.3.6.1.4.1.57264.1.1 twice", change: func(p *certificateParts) {
			e := extensionElement("\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x01", false, []byte{5, 0})
			p.extensions = append(p.extensions, e, e)
		}},
		"brainpool":     {why: "its key is on a curve that Go does not have (brainpoolP256r1)", change: withCurve(oidBrainpool + "\x07")},
		"brainpool t":   {why: "its key is on a curve that Go does not have (brainpoolP512t1)", change: withCurve(oidBrainpool + "\x0e")},
		"secp256k1":     {why: "its key is on a curve that Go does not have (secp256k1)", change: withCurve(oidSecp256k1)},
		"another curve": {why: "its key is on a curve that Go does not have (1.3.132.0.39)", change: withCurve("\x2b\x81\x04\x00\x27")},
		"explicit parameters": {why: "the curve of its key has parameters instead of a name", change: func(p *certificateParts) {
			p.key = ecKeyElement(derElement(asn1.SEQUENCE, []byte{2, 1, 1}), []byte{4, 1, 1})
		}},
		"not on the curve": {why: "its public key is not an uncompressed point on its curve", change: withCurve(oidP256)},
		"compressed": {why: "its public key is not an uncompressed point on its curve", change: func(p *certificateParts) {
			p.key = ecKeyElement(oidElement(oidP256), append([]byte{2}, bytes.Repeat([]byte{1}, 32)...))
		}},
		"no NULL":          {why: "its RSA key lacks the parameters NULL", change: func(p *certificateParts) { p.key = rsaKeyElement(nil, []byte{1, 1}, []byte{3}) }},
		"negative modulus": {why: "the modulus of its RSA key is not positive", change: func(p *certificateParts) { p.key = rsaKeyElement(nullElement, []byte{0x81, 1}, []byte{3}) }},
		"exponent 0":       {why: "the exponent of its RSA key is not positive", change: func(p *certificateParts) { p.key = rsaKeyElement(nullElement, []byte{1, 1}, []byte{0}) }},
		"large exponent": {why: "the exponent of its RSA key is too large", change: func(p *certificateParts) {
			p.key = rsaKeyElement(nullElement, []byte{1, 1}, bytes.Repeat([]byte{1}, 20))
		}},
		"version 4": {why: "its version is not 1, 2 or 3", change: func(p *certificateParts) { p.version = derElement(context0, []byte{2, 1, 3}) }},
		"two algorithms": {why: "it names two different signature algorithms", change: func(p *certificateParts) {
			p.outerAlgorithm = derElement(asn1.SEQUENCE, oidElement(oidSHA384RSA), nullElement)
		}},
		"trailing data": {why: "other bytes follow it", change: func(p *certificateParts) { p.after = []byte{1, 2, 3} }},
		"printable":     {why: "a PrintableString in its issuer or subject has a character that is not allowed there, such as @ or _", change: func(p *certificateParts) { p.issuer = nameElement(asn1.PrintableString, "odd_CA@example") }},
		"empty RDN": {why: "its issuer or subject is malformed", change: func(p *certificateParts) {
			p.issuer = derElement(asn1.SEQUENCE, derElement(asn1.SET, derElement(asn1.SEQUENCE, oidElement(oidCommonName))))
		}, notOpenSSL: true},
		"UTC time": {why: "its dates are not as RFC 5280 requires", change: func(p *certificateParts) { p.validity = validityElement("260101", "360101000000Z") }},
		"generalized time": {why: "its dates are not as RFC 5280 requires", change: func(p *certificateParts) {
			p.validity = derElement(asn1.SEQUENCE, derElement(asn1.GeneralizedTime, []byte("20260101000000.5Z")), derElement(asn1.GeneralizedTime, []byte("20360101000000Z")))
		}},
		"another time":              {why: "its dates are not as RFC 5280 requires", change: func(p *certificateParts) { p.validity = derElement(asn1.SEQUENCE, nullElement, nullElement) }, notOpenSSL: true},
		"DNS name":                  {why: "a DNS name in its subjectAltName has a character that is not ASCII", change: withName(context2, "ö.example")},
		"mail":                      {why: "an e-mail address in its subjectAltName has a character that is not ASCII", change: withName(context1, "ö@example")},
		"URI in UTF-8":              {why: "a URI in its subjectAltName has a character that is not ASCII", change: withName(asn1.Tag(6).ContextSpecific(), "http://ö")},
		"URI":                       {why: "a URI in its subjectAltName is invalid", change: withName(asn1.Tag(6).ContextSpecific(), "http://[bad")},
		"address":                   {why: "an IP address in its subjectAltName has neither 4 nor 16 bytes", change: withName(asn1.Tag(7).ContextSpecific(), "10.0.0.1")},
		"constraints":               {why: "its extension basicConstraints is malformed", change: withExtension(oidBasicConstraints, true, []byte{0x30, 3, 2, 1, 0x80})},
		"AIA":                       {why: "its extension authorityInfoAccess is critical, which RFC 5280 does not allow", change: withExtension(oidAIA, true, []byte{0x30, 0})},
		"AKI":                       {why: "its extension authorityKeyIdentifier is critical, which RFC 5280 does not allow", change: withExtension(oidAKI, true, []byte{0x30, 0})},
		"SKI":                       {why: "its extension subjectKeyIdentifier is critical, which RFC 5280 does not allow", change: withExtension(oidSKI, true, []byte{4, 1, 1})},
		"no constraint":             {why: "its extension nameConstraints is empty", change: withExtension(oidConstraint, true, []byte{0x30, 0})},
		"constrained to a bad name": {why: "its extension nameConstraints has an invalid name", change: withExtension(oidConstraint, true, host)},
		"constrained to bad bytes":  {why: "its extension nameConstraints has an invalid address", change: withExtension(oidConstraint, true, ip)},
		"key usage":                 {why: "Go's parser says: invalid key usage", change: func(p *certificateParts) { p.extensions = [][]byte{extensionElement(oidKeyUsage, true, []byte{4, 0})} }},
	}
}

func TestUnreadable(t *testing.T) {
	require.Nil(t, ParseUnreadable(newParts().der()), "a certificate that Go parses")
	_, err := x509.ParseCertificate(newParts().der())
	require.NoError(t, err)
	dir := t.TempDir()
	openssl, noOpenSSL := exec.LookPath("openssl")
	used := make(map[string]bool)
	for name, c := range oddCertificates() {
		t.Run(name, func(t *testing.T) {
			p := newParts()
			c.change(p)
			der := p.der()
			_, err := x509.ParseCertificate(der)
			require.Error(t, err)
			used[strings.TrimPrefix(err.Error(), "x509: ")] = true
			u := ParseUnreadable(der)
			require.NotNil(t, u, err)
			assert.Equal(t, &Unreadable{Subject: "odd", Key: u.Key, Why: c.why}, u, err)
			assert.Equal(t, `a certificate this collector cannot read, "odd": `+c.why, u.Error())

			// The same in a file, with the place. Today's words about formats would be false.
			_, err = ParseFile(pemOf("CERTIFICATE", der), "", "")
			require.ErrorAs(t, requireFault(t, FileMalformed, err), &u)
			assert.Equal(t, "no certificate can be read from the file: PEM block at line 1: "+u.Error(), err.Error())

			if testing.Short() || noOpenSSL != nil {
				return
			}
			path := filepath.Join(dir, "odd.pem")
			require.NoError(t, os.WriteFile(path, pemOf("CERTIFICATE", der), 0o600))
			out, err := exec.Command(openssl, "x509", "-in", path, "-noout", "-subject").CombinedOutput()
			if c.notOpenSSL {
				assert.Error(t, err, "%s", out)
				return
			}
			require.NoError(t, err, "%s", out)
			assert.Equal(t, "subject=CN = odd\n", string(out))
		})
	}
	for _, w := range x509Words {
		found := false
		for said := range used {
			found = found || strings.HasPrefix(said, w.text)
		}
		assert.True(t, found, "no certificate has the error %q: Go may have reworded it", w.text)
	}
}

func TestUnreadableFacts(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(p *certificateParts)
		subject string
		isCA    bool
	}{
		"CA":              {func(p *certificateParts) { withExtension(oidBasicConstraints, true, []byte{0x30, 3, 1, 1, 0xff})(p) }, "odd", true},
		"CA:FALSE":        {func(p *certificateParts) { withExtension(oidBasicConstraints, true, []byte{0x30, 3, 1, 1, 0})(p) }, "odd", false},
		"empty":           {func(p *certificateParts) { withExtension(oidBasicConstraints, true, []byte{0x30, 0})(p) }, "odd", false},
		"BMPString":       {func(p *certificateParts) { p.subject = nameElement(tagBMPString, "\x00a\x26\x3a") }, "a☺", false},
		"DNS name":        {func(p *certificateParts) { p.subject = derElement(asn1.SEQUENCE); withName(context2, "www.example")(p) }, "www.example", false},
		"no name":         {func(p *certificateParts) { p.subject = derElement(asn1.SEQUENCE) }, "", false},
		"control in name": {func(p *certificateParts) { p.subject = nameElement(asn1.UTF8String, "a\x1b[2Jb\xff") }, "a\ufffd[2Jb\ufffd", false},
		"identifiers": {func(p *certificateParts) {
			p.key = append(p.key, 0x81, 2, 0, 1)
			withExtension(oidBasicConstraints, true, []byte{0x30, 3, 1, 1, 0xff})(p)
		}, "odd", true},
		"version 1": {func(p *certificateParts) { p.version, p.extensions = nil, nil }, "odd", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParts()
			p.serial = []byte{2, 1, 0x85}
			c.change(p)
			u := ParseUnreadable(p.der())
			require.NotNil(t, u)
			assert.Equal(t, c.subject, u.Subject)
			assert.Equal(t, c.isCA, u.IsCA)
		})
	}
}

// TestUnreadableBER checks certificates that are not DER, which OpenSSL reads, too.
func TestUnreadableBER(t *testing.T) {
	der := newParts().der()
	content := der[4:]
	for name, ber := range map[string][]byte{
		"indefinite length": bytes.Join([][]byte{{0x30, 0x80}, content, {0, 0}}, nil),
		"long length":       bytes.Join([][]byte{{0x30, 0x83, 0}, der[2:4], content}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			u := ParseUnreadable(ber)
			require.NotNil(t, u)
			assert.Equal(t, &Unreadable{Subject: "odd", Key: u.Key, Why: "it is encoded in BER, not in DER"}, u)
			for _, file := range [][]byte{ber, pemOf("CERTIFICATE", ber)} {
				_, err := ParseFile(file, "", "")
				require.ErrorAs(t, requireFault(t, FileMalformed, err), new(*Unreadable))
			}
			openssl := command(t, "openssl", t.TempDir())
			path := filepath.Join(t.TempDir(), "ber.pem")
			require.NoError(t, os.WriteFile(path, pemOf("CERTIFICATE", ber), 0o600))
			openssl("x509", "-in", path, "-noout")
		})
	}
}

// TestNotEvenUnreadable checks what is not a certificate for anyone.
func TestNotEvenUnreadable(t *testing.T) {
	p := newParts()
	p.serial = []byte{2, 1, 0x85}
	der := p.der()
	for length := range der {
		assert.Nil(t, ParseUnreadable(der[:length]), "cut to %d bytes", length)
	}
	nested := bytes.Repeat([]byte{0x30, 0x80}, 8<<20) // would exhaust the stack
	overflow := append([]byte{0x30, 0x89, 1, 0, 0, 0, 0, 0, 0}, der[2:]...)
	for _, data := range [][]byte{nil, {0}, []byte("hello"), keyOf(fileLeaf), nested, overflow, {0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		assert.Nil(t, ParseUnreadable(data))
	}
}

func FuzzUnreadable(f *testing.F) {
	for _, c := range oddCertificates() {
		p := newParts()
		c.change(p)
		f.Add(p.der())
	}
	f.Add([]byte{0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		u := ParseUnreadable(der)
		if u == nil {
			return
		}
		if _, err := x509.ParseCertificate(der); err == nil {
			t.Error("Go parses it")
		}
		for _, s := range []string{u.Subject, u.Why} {
			if text.Clean(s, maxWhy) != s {
				t.Errorf("not clean: %q", s)
			}
		}
		if u.Why == "" {
			t.Error("no reason")
		}
	})
}

// TestUnreadableByOpenSSL checks certificates that OpenSSL makes and reads.
func TestUnreadableByOpenSSL(t *testing.T) {
	dir := t.TempDir()
	openssl := command(t, "openssl", dir)
	openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "p256")
	for name, c := range map[string]struct {
		args []string // of openssl req
		key  []string // of openssl ecparam; the default is a key that Go can read
		kind string   // of the key; the default is EC P-256
		why  string
	}{
		"brainpool": {key: []string{"-name", "brainpoolP256r1"}, kind: "EC brainpoolP256r1", why: "its key is on a curve that Go does not have (brainpoolP256r1)"},
		"secp256k1": {key: []string{"-name", "secp256k1"}, kind: "EC secp256k1", why: "its key is on a curve that Go does not have (secp256k1)"},
		"explicit":  {key: []string{"-name", "prime256v1", "-param_enc", "explicit"}, kind: "EC with parameters of its own", why: "the curve of its key has parameters instead of a name"},
		"negative":  {args: []string{"-set_serial", "-5"}, why: "its serial number is negative"},
		"URI":       {args: []string{"-addext", "subjectAltName=URI:http://[bad"}, why: "a URI in its subjectAltName is invalid"},
		"critical":  {args: []string{"-addext", "authorityInfoAccess=critical,OCSP;URI:http://ocsp.example"}, why: "its extension authorityInfoAccess is critical, which RFC 5280 does not allow"},
	} {
		t.Run(name, func(t *testing.T) {
			openssl := command(t, "openssl", dir)
			key := "p256"
			if c.key != nil {
				key = "key"
				openssl(append([]string{"ecparam", "-genkey", "-noout", "-out", key}, c.key...)...)
			}
			openssl(append([]string{"req", "-x509", "-new", "-key", key, "-subj", "/CN=site", "-out", "site.pem", "-addext", "basicConstraints=critical,CA:FALSE"}, c.args...)...)
			openssl("x509", "-in", "site.pem", "-noout", "-text")
			site := must(os.ReadFile(filepath.Join(dir, "site.pem")))
			b, err := ParseFile(join(site, caPEM), "", "")
			require.NoError(t, err)
			assert.Equal(t, []int{1}, b.Depths)
			var u *Unreadable
			require.ErrorAs(t, b.BadLeaf, &u)
			assert.Equal(t, &Unreadable{Subject: "site", Key: cmp.Or(c.kind, "EC P-256"), Why: c.why}, u)
		})
	}
}
