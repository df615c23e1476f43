package certs

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The first bytes of the keystore formats that only Java has. They differ in how keys are encrypted.
const (
	magicJKS   = "\xfe\xed\xfe\xed"
	magicJCEKS = "\xce\xce\xce\xce"
)

// jksCertificate is a trusted certificate, or one in the chain of a key.
type jksCertificate struct {
	alias  string
	hasKey bool // whether the entry has a private key
	depth  int
	der    []byte
}

// readJKS reads a JKS or JCEKS keystore. Its certificates are not encrypted: the password is only for the digest at the
// end, which is not checked if the password is empty, as in Java. The Go library for this format always checks the digest,
// and allocates as much memory as the file demands.
func (r *reader) readJKS(data []byte, password string) {
	content, digest := data[:max(0, len(data)-sha1.Size)], data[max(0, len(data)-sha1.Size):]
	found, complete := r.jksCertificates(content)
	if password != "" && !bytes.Equal(jksDigest(content, password), digest) {
		r.isLocked = complete
		r.addBad(errMalformed, "JKS")
		return
	}
	slices.SortStableFunc(found, func(a, b jksCertificate) int { return cmp.Compare(a.alias, b.alias) })
	for _, c := range found {
		r.ownsKey = c.hasKey && c.depth == 0
		r.add(c.der, "entry %q, certificate %d", c.alias, c.depth+1)
	}
	r.ownsKey = false
	if !complete {
		r.addBad(errors.New("truncated, malformed or of an unknown type; the entries after it are not read"), "an entry")
	}
}

func jksDigest(content []byte, password string) []byte {
	h := sha1.New()
	h.Write(utf16BE(password))
	h.Write([]byte("Mighty Aphrodite")) // part of the format
	h.Write(content)
	return h.Sum(nil)
}

// jksCertificates returns the certificates in the entries of s, and reports whether it could read all entries.
func (r *reader) jksCertificates(s cryptobyte.String) (found []jksCertificate, complete bool) {
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
		default: // such as a secret key in JCEKS, a serialized Java object whose length is not given
			return found, false
		}
		name := string(alias) // one copy for the whole chain, as a hostile alias is long
		for depth := range chain {
			var kind cryptobyte.String
			c := jksCertificate{alias: name, hasKey: tag == privateKey, depth: int(depth)}
			if version == 2 && !s.ReadUint16LengthPrefixed(&kind) || !readBlob(&s, &c.der) {
				return found, false
			}
			if len(found) == maxCertificates {
				r.addBad(errTooMany, "entry %q, certificate %d", c.alias, c.depth+1)
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
