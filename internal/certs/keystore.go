package certs

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"
)

const (
	maxPKCS12     = MaxFile / 8 // as the library takes up to 70 times as much memory
	maxIterations = 2_000_000   // of all key derivations in a PKCS#12 file together. Programs write 2,000 to 1,200,000.
	maxParts      = 100         // of a PKCS#12 file. Programs write one to three.
)

// The contents of object identifiers.
const (
	oidData          = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidSignedData    = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidEncryptedData = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"
	oidKeyBag        = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01"
	oidShroudedBag   = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02"
	oidCertBag       = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03"
	oidNestedBags    = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x06"
	oidSHA1          = "\x2b\x0e\x03\x02\x1a"
)

var context0 = asn1.Tag(0).ContextSpecific().Constructed()

// readTagged reads what PKCS#7 and PKCS#12 are made of: a SEQUENCE of an object identifier and the content that is of
// the kind which it names. More may follow in it, such as the attributes of a bag.
func readTagged(s *cryptobyte.String, kind *string, content *cryptobyte.String) bool {
	var sequence, oid cryptobyte.String
	ok := s.ReadASN1(&sequence, asn1.SEQUENCE) && sequence.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) &&
		sequence.ReadASN1(content, context0)
	*kind = string(oid)
	return ok
}

// readPKCS12 reads a PFX (RFC 7292). The library does the cryptography and no more: it refuses files that have several
// keys, no key, or a bad certificate, decrypts keys, and makes as many iterations as a file asks for.
func (r *reader) readPKCS12(data cryptobyte.String, password string) {
	var file, content, rest cryptobyte.String
	var kind string
	ok := data.ReadASN1Element(&file, asn1.SEQUENCE)
	mac := file
	ok = ok && mac.ReadASN1(&mac, asn1.SEQUENCE) && mac.SkipASN1(asn1.INTEGER) && readTagged(&mac, &kind, &content) &&
		kind == oidData && content.ReadASN1(&content, asn1.OCTET_STRING) && content.ReadASN1(&rest, asn1.SEQUENCE)
	var parts []cryptobyte.String
	effort := iterations(mac, 16)
	for ok && len(rest) > 0 && len(parts) <= maxParts {
		var part cryptobyte.String
		ok = rest.ReadASN1Element(&part, asn1.SEQUENCE)
		parts = append(parts, part)
		effort += iterations(part, 16)
	}
	switch {
	case !ok:
		r.bad(errMalformed, "PKCS#12")
		return
	case len(parts) > maxParts:
		r.bad(fmt.Errorf("more than %d parts", maxParts), "PKCS#12")
		return
	case effort > maxIterations:
		r.bad(fmt.Errorf("more than %d iterations of key derivation", maxIterations), "PKCS#12")
		return
	}

	isWrong := false
	if len(mac) > 0 {
		// This checks the password before all else, and else fails with any file but Java's trust stores.
		_, err := pkcs12.DecodeTrustStore(file, password)
		isWrong = errors.Is(err, pkcs12.ErrIncorrectPassword)
	}
	if isWrong && password != "" {
		r.isLocked = true
		return
	}
	for i, part := range parts {
		encrypted := part
		switch {
		case !readTagged(&part, &kind, &content):
			r.bad(errMalformed, "part %d", i+1)
		case kind == oidData && content.ReadASN1(&content, asn1.OCTET_STRING):
			r.readBags(content)
		case kind != oidEncryptedData:
			r.bad(errors.New("not encrypted with a password"), "part %d", i+1)
		case isWrong:
			r.isLocked = true
			r.bad(errors.New("encrypted with a password"), "part %d", i+1)
		default:
			r.readEncrypted(encrypted, password, i+1)
		}
	}
	if r.hasKey {
		r.Certificates = leafFirst(r.Certificates)
	}
}

// iterations adds up the INTEGERs in DER. In a MAC and in encrypted parts these are the counts of iterations and, of no
// weight, versions and key lengths. What cannot be read is too many.
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

// readBags reads SafeContents that are not encrypted.
func (r *reader) readBags(s cryptobyte.String) {
	if !s.ReadASN1(&s, asn1.SEQUENCE) {
		r.bad(errMalformed, "%s", r.place())
		return
	}
	for len(s) > 0 {
		var kind string
		var content cryptobyte.String
		if !readTagged(&s, &kind, &content) {
			r.bad(errMalformed, "%s", r.place())
			return
		}
		switch kind {
		case oidKeyBag, oidShroudedBag:
			r.hasKey = true
		case oidNestedBags:
			r.bad(errors.New("nested bags are not supported"), "%s", r.place())
		case oidCertBag:
			if !readTagged(&content, &kind, &content) || !content.ReadASN1(&content, asn1.OCTET_STRING) {
				r.bad(errMalformed, "%s", r.place())
				continue
			}
			r.add(content, "%s", r.place())
		}
	}
}

// readEncrypted has the library decrypt a part. As it wants a file with exactly one key, it gets the part in a file of
// our own, behind a key of our own. At a second key, one in the part, it gives up before it decrypts it: so no private
// key of the file is ever read, and no iterations are made but those that were counted. It gives up at a bad certificate
// as well, so that one costs all of its part.
func (r *reader) readEncrypted(part []byte, password string, number int) {
	_, first, more, err := pkcs12.DecodeChain(behindKey(part, append(utf16BE(password), 0, 0)), password)
	if err != nil && password == "" {
		// To some programs the empty password has no terminator.
		if _, f, m, e := pkcs12.DecodeChain(behindKey(part, nil), ""); e == nil {
			first, more, err = f, m, nil
		}
	}
	switch {
	case err != nil:
		r.isLocked = r.isLocked || errors.Is(err, pkcs12.ErrDecryption)
		r.bad(err, "part %d", number)
	default:
		for _, c := range append([]*x509.Certificate{first}, more...) {
			r.add(c.Raw, "%s", r.place())
		}
	}
}

// behindKey makes a PKCS#12 file of a private key, which is all zeros, and the part behind it, with a MAC by the password.
func behindKey(part, password []byte) []byte {
	tagged := func(kind string, content []byte) []byte {
		return der(asn1.SEQUENCE, der(asn1.OBJECT_IDENTIFIER, []byte(kind)), der(context0, content))
	}
	data := func(content []byte) []byte { return tagged(oidData, der(asn1.OCTET_STRING, content)) }
	key := append([]byte("\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"), make([]byte, 32)...) // Ed25519
	parts := der(asn1.SEQUENCE, data(der(asn1.SEQUENCE, tagged(oidKeyBag, key))), part)

	// RFC 7292, appendix B.2, for one iteration of SHA-1 without salt. The password is repeated until it fills blocks.
	blocks := bytes.Repeat([]byte{3}, sha1.BlockSize)
	for i := 0; i < len(password) || len(password) > 0 && i%sha1.BlockSize != 0; i++ {
		blocks = append(blocks, password[i%len(password)])
	}
	macKey := sha1.Sum(blocks)
	mac := hmac.New(sha1.New, macKey[:])
	mac.Write(parts)
	algorithm := der(asn1.SEQUENCE, der(asn1.OBJECT_IDENTIFIER, []byte(oidSHA1)))
	return der(asn1.SEQUENCE, der(asn1.INTEGER, []byte{3}), data(parts),
		der(asn1.SEQUENCE, der(asn1.SEQUENCE, algorithm, der(asn1.OCTET_STRING, mac.Sum(nil))), der(asn1.OCTET_STRING)))
}

func der(tag asn1.Tag, contents ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(slices.Concat(contents...)) })
	return b.BytesOrPanic()
}

// leafFirst puts certificates before those that issued them. Some programs write a keystore's chain the other way round.
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
		for above := issuers[string(c.RawIssuer)]; len(above) > 0; above = issuers[string(c.RawIssuer)] {
			issuers[string(c.RawIssuer)] = above[1:]
			c = above[0]
			ordered = append(ordered, c)
		}
	}
	for _, c := range certs { // those left over, such as two that issued each other
		if left := issuers[string(c.RawSubject)]; len(left) > 0 && left[0] == c {
			ordered, issuers[string(c.RawSubject)] = append(ordered, c), left[1:]
		}
	}
	return ordered
}

// The first bytes of keystores in the formats that are Java's own. In JCEKS keys are encrypted in another way.
const (
	magicJKS   = "\xfe\xed\xfe\xed"
	magicJCEKS = "\xce\xce\xce\xce"
)

// jksCertificate is one of the chain of an entry, or the whole of it.
type jksCertificate struct {
	alias string
	depth int
	der   []byte
}

// readJKS reads a keystore in a format of Java's own. Certificates are not encrypted in it: the password is for the
// digest at its end, which without one is not checked, as in Java. The library for this format always checks it, and
// allocates as much memory as a file says that it needs.
func (r *reader) readJKS(data []byte, password string) {
	content, digest := data[:max(0, len(data)-sha1.Size)], data[max(0, len(data)-sha1.Size):]
	found, isSound := r.jksCertificates(content)
	if password != "" {
		h := sha1.New()
		h.Write(utf16BE(password))
		h.Write([]byte("Mighty Aphrodite"))
		h.Write(content)
		if !bytes.Equal(h.Sum(nil), digest) {
			r.isLocked = isSound
			r.bad(errMalformed, "JKS")
			return
		}
	}
	slices.SortStableFunc(found, func(a, b jksCertificate) int { return cmp.Compare(a.alias, b.alias) })
	for _, c := range found {
		r.add(c.der, "entry %q, certificate %d", c.alias, c.depth+1)
	}
	if !isSound {
		r.bad(errors.New("cut off, malformed or of an unknown kind; entries behind it are not read"), "an entry")
	}
}

// jksCertificates walks through the entries, and tells whether it got to their end.
func (r *reader) jksCertificates(s cryptobyte.String) (found []jksCertificate, isSound bool) {
	const privateKey, trustedCertificate = 1, 2
	var version, entries uint32
	if !s.Skip(len(magicJKS)) || !s.ReadUint32(&version) || version < 1 || version > 2 || !s.ReadUint32(&entries) {
		return nil, false
	}
	for range entries {
		var tag uint32
		var alias cryptobyte.String
		chain := uint32(1)
		if !s.ReadUint32(&tag) || !s.ReadUint16LengthPrefixed(&alias) || !s.Skip(8) { // the date
			return found, false
		}
		switch tag {
		case privateKey:
			var key []byte
			r.hasKey = true
			if !readBlob(&s, &key) || !s.ReadUint32(&chain) {
				return found, false
			}
		case trustedCertificate:
		default: // such as a secret key of JCEKS, which is a serialized object of Java
			return found, false
		}
		name := string(alias) // once, as it is long in hostile files
		for depth := range chain {
			var kind cryptobyte.String
			c := jksCertificate{alias: name, depth: int(depth)}
			if version == 2 && !s.ReadUint16LengthPrefixed(&kind) || !readBlob(&s, &c.der) {
				return found, false
			}
			if len(found) == maxCertificates {
				r.bad(errTooMany, "entry %q, certificate %d", c.alias, c.depth+1)
				continue
			}
			found = append(found, c)
		}
	}
	return found, len(s) == 0
}

func readBlob(s *cryptobyte.String, blob *[]byte) bool {
	var length uint32
	return s.ReadUint32(&length) && s.ReadBytes(blob, int(length))
}

func utf16BE(s string) (b []byte) {
	for _, unit := range utf16.Encode([]rune(s)) {
		b = append(b, byte(unit>>8), byte(unit))
	}
	return b
}
