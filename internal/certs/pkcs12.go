package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"
)

const (
	maxPKCS12     = MaxFile / 8 // bytes; decoding takes up to 70 times as much memory
	maxIterations = 2_000_000   // sum over all key derivations of a file. Common programs write 2,000 to 1,200,000.
	maxParts      = 100         // of a file. Common programs write one to three.
)

// The contents of DER object identifiers.
const (
	oidData          = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidSignedData    = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidEncryptedData = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"
	oidKeyBag        = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01"
	oidShroudedBag   = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02"
	oidCertBag       = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03"
	oidNestedBags    = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x06"
)

// pfx is a PKCS#12 file (RFC 7292, section 4).
type pfx struct {
	der   []byte
	parts []cryptobyte.String // each a ContentInfo
	mac   cryptobyte.String   // empty if the file has none
}

// readPKCS12 reads a PKCS#12 file. The library only checks the MAC. It rejects files with several keys, without a key or with
// a bad certificate, decrypts keys, and does as many iterations as a file demands.
func (r *reader) readPKCS12(data cryptobyte.String, password string) {
	p, err := parsePFX(data)
	if err != nil {
		r.addBad(err, "PKCS#12")
		return
	}
	isWrong := p.rejects(password)
	if isWrong && password != "" {
		r.isLocked = true
		return
	}
	for i, part := range p.parts {
		if err := r.readPart(part, password, isWrong); err != nil {
			r.addBad(err, "part %d", i+1)
		}
	}
	if r.hasKey {
		r.Certificates = leafFirst(r.Certificates)
		for i := range r.Depths {
			r.Depths[i] = i
		}
	}
}

// parsePFX splits a file into its parts, and rejects one that takes too long to decrypt.
func parsePFX(data cryptobyte.String) (*pfx, error) {
	var file, mac, content, rest cryptobyte.String
	var kind string
	if !data.ReadASN1Element(&file, asn1.SEQUENCE) {
		return nil, errMalformed
	}
	if mac = file; !mac.ReadASN1(&mac, asn1.SEQUENCE) || !mac.SkipASN1(asn1.INTEGER) || !readContentInfo(&mac, &kind, &content) ||
		kind != oidData || !content.ReadASN1(&content, asn1.OCTET_STRING) || !content.ReadASN1(&rest, asn1.SEQUENCE) {
		return nil, errMalformed
	}
	p := &pfx{der: file, mac: mac}
	effort := iterations(mac, 16)
	for len(rest) > 0 {
		var part cryptobyte.String
		if !rest.ReadASN1Element(&part, asn1.SEQUENCE) {
			return nil, errMalformed
		}
		p.parts = append(p.parts, part)
		effort += iterations(part, 16)
		if len(p.parts) > maxParts {
			return nil, fmt.Errorf("more than %d parts", maxParts)
		}
	}
	if effort > maxIterations {
		return nil, fmt.Errorf("more than %d iterations of key derivation", maxIterations)
	}
	return p, nil
}

// iterations returns the sum of all INTEGERs in DER, at most about maxIterations. In a MAC and in an encrypted part, these
// are the iteration counts, and small versions and key lengths. If they cannot be read, the sum exceeds maxIterations.
func iterations(s cryptobyte.String, depth int) (sum int64) {
	for len(s) > 0 && sum <= maxIterations {
		var value cryptobyte.String
		var tag asn1.Tag
		switch {
		case depth == 0 || !s.ReadAnyASN1(&value, &tag) || tag == asn1.INTEGER && len(value) > 4:
			return maxIterations + 1
		case tag == asn1.INTEGER:
			var n int64
			for _, b := range value {
				n = n<<8 | int64(b)
			}
			sum += n
		case tag&0x20 != 0: // constructed
			sum += iterations(value, depth-1)
		}
	}
	return sum
}

// rejects reports whether the file has a MAC that was not made with the password.
func (p *pfx) rejects(password string) bool {
	if len(p.mac) == 0 {
		return false
	}
	// DecodeTrustStore checks the MAC first. Its other errors do not matter: it accepts only the trust stores of Java.
	_, err := pkcs12.DecodeTrustStore(p.der, password)
	return errors.Is(err, pkcs12.ErrIncorrectPassword)
}

// readPart reads the certificates in one part. If isWrong is true, it cannot decrypt parts.
func (r *reader) readPart(part cryptobyte.String, password string, isWrong bool) error {
	var kind string
	var content cryptobyte.String
	switch {
	case !readContentInfo(&part, &kind, &content):
		return errMalformed
	case kind == oidData && content.ReadASN1(&content, asn1.OCTET_STRING):
		r.readBags(content)
		return nil
	case kind != oidEncryptedData:
		return errors.New("not encrypted with a password")
	case isWrong:
		r.isLocked = true
		return errors.New("encrypted, and no password is configured")
	}
	return r.readEncrypted(content, password)
}

// readBags reads the certificates in SafeContents, which are not encrypted.
func (r *reader) readBags(s cryptobyte.String) {
	if !s.ReadASN1(&s, asn1.SEQUENCE) {
		r.addBad(errMalformed, "%s", r.next())
		return
	}
	for len(s) > 0 {
		var kind string
		var content cryptobyte.String
		if !readContentInfo(&s, &kind, &content) {
			r.addBad(errMalformed, "%s", r.next())
			return
		}
		switch kind {
		case oidKeyBag, oidShroudedBag:
			r.hasKey = true
		case oidNestedBags:
			r.addBad(errors.New("nested bags are not supported"), "%s", r.next())
		case oidCertBag:
			if !readContentInfo(&content, &kind, &content) || !content.ReadASN1(&content, asn1.OCTET_STRING) {
				r.addBad(errMalformed, "%s", r.next())
				continue
			}
			r.add(content, "%s", r.next())
		}
	}
}

// readEncrypted decrypts a part and reads the certificates in it. Keys in it stay encrypted with their own password.
func (r *reader) readEncrypted(part cryptobyte.String, password string) error {
	plain, err := decryptPart(part, append(utf16BE(password), 0, 0), password)
	if err != nil && password == "" {
		plain, err = decryptPart(part, nil, "") // some programs encode the empty password without its terminator
	}
	if err != nil {
		r.isLocked = r.isLocked || errors.Is(err, errPadding)
		return err
	}
	r.readBags(plain)
	clear(plain)
	return nil
}

// utf16BE returns s in big-endian UTF-16, as keystores encode passwords.
func utf16BE(s string) (b []byte) {
	for _, unit := range utf16.Encode([]rune(s)) {
		b = append(b, byte(unit>>8), byte(unit))
	}
	return b
}

// leafFirst returns certs with each certificate before its issuer. Some programs write the chain of a keystore in reverse.
func leafFirst(certs []*x509.Certificate) []*x509.Certificate {
	isIssuer, issuers := make(map[string]bool), make(map[string][]*x509.Certificate)
	for _, c := range certs {
		if !selfIssued(c) {
			isIssuer[string(c.RawIssuer)] = true
		}
	}
	for _, c := range certs {
		if isIssuer[string(c.RawSubject)] {
			issuers[string(c.RawSubject)] = append(issuers[string(c.RawSubject)], c)
		}
	}
	ordered := make([]*x509.Certificate, 0, len(certs))
	for _, c := range certs {
		if isIssuer[string(c.RawSubject)] {
			continue
		}
		ordered = append(ordered, c)
		for next := issuers[string(c.RawIssuer)]; len(next) > 0; next = issuers[string(c.RawIssuer)] {
			issuers[string(c.RawIssuer)] = next[1:]
			c = next[0]
			ordered = append(ordered, c)
		}
	}
	for _, c := range certs { // the rest, such as two that issued each other
		if rest := issuers[string(c.RawSubject)]; len(rest) > 0 && rest[0] == c {
			ordered, issuers[string(c.RawSubject)] = append(ordered, c), rest[1:]
		}
	}
	return ordered
}
