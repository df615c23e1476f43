package certs

import (
	"bytes"
	"encoding/pem"
	"iter"
	"regexp"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	beginPEM   = "-----BEGIN "
	maxTypePEM = 80 // bytes of a block's type and the dashes after it
)

var typePEM = regexp.MustCompile(`^[A-Z0-9 ]+-----`)

// readPEM reads all blocks.
func (r *reader) readPEM(data []byte) {
	for line, block := range pemBlocks(data) {
		r.readBlock(block, line)
	}
}

// pemBlocks returns the blocks, each with its line, counted from 1. It splits the text at the start of each block, because
// pem.Decode silently skips malformed blocks. So a block may also start in the line where another ends, as when files
// without a final newline were concatenated.
func pemBlocks(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		line := 1
		for begin := bytes.Index(data, []byte(beginPEM)); begin >= 0; {
			line += bytes.Count(data[:begin], []byte("\n"))
			data = data[begin:]
			block := data
			begin = bytes.Index(data[len(beginPEM):], []byte(beginPEM))
			if begin >= 0 {
				begin += len(beginPEM)
				block = data[:begin]
			}
			if !yield(line, block) {
				return
			}
		}
	}
}

// typeOf returns the type of a block, which starts with beginPEM. It is empty if the block is malformed.
func typeOf(block []byte) string {
	// Nothing may quote more than the type: if the newlines were lost, a key follows in the same line.
	kind := typePEM.Find(block[len(beginPEM):min(len(block), len(beginPEM)+maxTypePEM)])
	return strings.TrimSuffix(string(kind), "-----")
}

// readBlock reads one block, which starts with beginPEM and may be malformed.
func (r *reader) readBlock(data []byte, line int) {
	const place = "PEM block at line %d"
	kind := typeOf(data)
	if kind == "" {
		if !bytes.Contains(data[:min(len(data), len(beginPEM)+maxTypePEM)], []byte("CERT")) {
			r.noCertificates++ // servers skip it
		}
		r.addBad(errMalformed, place, line)
		return
	}
	switch kind {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PKCS7", "CMS":
	default:
		if strings.HasSuffix(kind, "PRIVATE KEY") {
			r.hasKey = true
		} else {
			r.other = kind
		}
		return
	}
	block, _ := pem.Decode(data)
	if block == nil {
		r.addBad(errMalformed, place, line)
		return
	}
	switch der := cryptobyte.String(block.Bytes); kind {
	case "PKCS7", "CMS":
		r.readPKCS7(der)
	case "TRUSTED CERTIFICATE": // OpenSSL's, with trust settings after the certificate
		if !der.ReadASN1Element(&der, asn1.SEQUENCE) {
			r.addBad(errMalformed, place, line)
			return
		}
		r.add(der, place, line)
	default:
		r.add(der, place, line)
	}
}
