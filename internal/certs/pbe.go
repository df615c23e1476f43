package certs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// This file decrypts with passwords, as PKCS#12 does (RFC 7292, appendix B, and RFC 8018). The library for PKCS#12 does the
// same, but gives nothing of what it has decrypted if it cannot parse one of the certificates.

// The contents of DER object identifiers.
const (
	oidPBES2      = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"
	oidPBKDF2     = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c"
	oidHMACSHA1   = "\x2a\x86\x48\x86\xf7\x0d\x02\x07"
	oidHMACSHA256 = "\x2a\x86\x48\x86\xf7\x0d\x02\x09"
	oidHMACSHA384 = "\x2a\x86\x48\x86\xf7\x0d\x02\x0a"
	oidHMACSHA512 = "\x2a\x86\x48\x86\xf7\x0d\x02\x0b"
	oidAES128     = "\x60\x86\x48\x01\x65\x03\x04\x01\x02"
	oidAES192     = "\x60\x86\x48\x01\x65\x03\x04\x01\x16"
	oidAES256     = "\x60\x86\x48\x01\x65\x03\x04\x01\x2a"
	oidSHA13DES   = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03"
	oidSHA1RC2128 = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x05"
	oidSHA1RC240  = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06"
)

// errPadding is the sign of a wrong password.
var errPadding = errors.New("decryption error, incorrect padding")

// decryptPart decrypts an EncryptedData (RFC 2315, section 13). The password is given as PKCS#12 encodes it, and as it is.
// The caller must have counted the iterations.
func decryptPart(s cryptobyte.String, encoded []byte, password string) ([]byte, error) {
	var content, algorithm, scheme, encrypted cryptobyte.String
	if !s.ReadASN1(&s, der.SEQUENCE) || !s.SkipASN1(der.INTEGER) || !s.ReadASN1(&content, der.SEQUENCE) ||
		!content.SkipASN1(der.OBJECT_IDENTIFIER) || !content.ReadASN1(&algorithm, der.SEQUENCE) ||
		!algorithm.ReadASN1(&scheme, der.OBJECT_IDENTIFIER) || !content.ReadASN1(&encrypted, der.Tag(0).ContextSpecific()) {
		return nil, errMalformed
	}
	var block cipher.Block
	var iv []byte
	var err error
	switch string(scheme) {
	case oidPBES2:
		block, iv, err = pbes2Cipher(algorithm, password)
	case oidSHA13DES:
		block, iv, err = pkcs12Cipher(algorithm, encoded, 24, des.NewTripleDESCipher)
	case oidSHA1RC2128:
		block, iv, err = pkcs12Cipher(algorithm, encoded, 16, newRC2)
	case oidSHA1RC240:
		block, iv, err = pkcs12Cipher(algorithm, encoded, 5, newRC2)
	default:
		err = errNotSupported(scheme)
	}
	if err != nil {
		return nil, err
	}
	size := block.BlockSize()
	if len(encrypted) == 0 || len(encrypted)%size != 0 || len(iv) != size {
		return nil, errMalformed
	}
	plain := make([]byte, len(encrypted))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, encrypted)
	n := int(plain[len(plain)-1])
	if n == 0 || n > size || !bytes.Equal(plain[len(plain)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errPadding
	}
	return plain[:len(plain)-n], nil
}

// errNotSupported returns an error that names an algorithm.
func errNotSupported(oid []byte) error {
	var id asn1.ObjectIdentifier
	s := cryptobyte.String(derElement(der.OBJECT_IDENTIFIER, oid))
	if !s.ReadASN1ObjectIdentifier(&id) || len(oid) > 32 {
		return errMalformed
	}
	return fmt.Errorf("encrypted with the algorithm %s, which is not supported", id)
}

// pbes2Cipher reads the parameters of PBES2 (RFC 8018, appendix A.4).
func pbes2Cipher(s cryptobyte.String, password string) (block cipher.Block, iv []byte, err error) {
	var derivation, kdf, parameters, salt, prf, hashID, encryption, encryptionID, vector cryptobyte.String
	var iterations int
	if !s.ReadASN1(&s, der.SEQUENCE) || !s.ReadASN1(&derivation, der.SEQUENCE) || !s.ReadASN1(&encryption, der.SEQUENCE) ||
		!derivation.ReadASN1(&kdf, der.OBJECT_IDENTIFIER) || !derivation.ReadASN1(&parameters, der.SEQUENCE) ||
		!encryption.ReadASN1(&encryptionID, der.OBJECT_IDENTIFIER) {
		return nil, nil, errMalformed
	}
	if string(kdf) != oidPBKDF2 {
		return nil, nil, errNotSupported(kdf)
	}
	hashID = cryptobyte.String(oidHMACSHA1) // the default
	if !parameters.ReadASN1(&salt, der.OCTET_STRING) || !parameters.ReadASN1Integer(&iterations) || iterations < 1 ||
		!parameters.SkipOptionalASN1(der.INTEGER) || // the length of the key, which the cipher determines
		len(parameters) > 0 && (!parameters.ReadASN1(&prf, der.SEQUENCE) || !prf.ReadASN1(&hashID, der.OBJECT_IDENTIFIER)) {
		return nil, nil, errMalformed
	}
	newHash := map[string]func() hash.Hash{
		oidHMACSHA1: sha1.New, oidHMACSHA256: sha256.New, oidHMACSHA384: sha512.New384, oidHMACSHA512: sha512.New,
	}[string(hashID)]
	size := map[string]int{oidAES128: 16, oidAES192: 24, oidAES256: 32}[string(encryptionID)]
	switch {
	case newHash == nil:
		return nil, nil, errNotSupported(hashID)
	case size == 0:
		return nil, nil, errNotSupported(encryptionID)
	case !encryption.ReadASN1(&vector, der.OCTET_STRING):
		return nil, nil, errMalformed
	}
	key, err := pbkdf2.Key(newHash, password, salt, iterations, size)
	if err != nil {
		return nil, nil, err
	}
	block, err = aes.NewCipher(key)
	return block, vector, err
}

// pkcs12Cipher reads the parameters of the older schemes (RFC 7292, appendix C), with SHA-1 and blocks of 8 bytes.
func pkcs12Cipher(s cryptobyte.String, password []byte, size int, newCipher func([]byte) (cipher.Block, error)) (block cipher.Block, iv []byte, err error) {
	var salt cryptobyte.String
	var iterations int
	if !s.ReadASN1(&s, der.SEQUENCE) || !s.ReadASN1(&salt, der.OCTET_STRING) || !s.ReadASN1Integer(&iterations) || iterations < 1 {
		return nil, nil, errMalformed
	}
	block, err = newCipher(deriveSHA1(1, salt, password, iterations, size))
	return block, deriveSHA1(2, salt, password, iterations, 8), err
}

// deriveSHA1 derives a key, or an initialization vector, from a password (RFC 7292, appendix B.2).
func deriveSHA1(id byte, salt, password []byte, iterations, size int) (key []byte) {
	fill := func(b []byte) (filled []byte) { // repeats it to fill whole blocks
		for i := 0; i < len(b) || len(b) > 0 && i%sha1.BlockSize != 0; i++ {
			filled = append(filled, b[i%len(b)])
		}
		return filled
	}
	diversifier := bytes.Repeat([]byte{id}, sha1.BlockSize)
	input := append(fill(salt), fill(password)...)
	for len(key) < size {
		h := sha1.New()
		h.Write(diversifier)
		h.Write(input)
		sum := [sha1.Size]byte(h.Sum(nil))
		for range iterations - 1 {
			sum = sha1.Sum(sum[:])
		}
		key = append(key, sum[:]...)
		addend := bytes.Repeat(sum[:], 4)[:sha1.BlockSize]
		for at := 0; at < len(input); at += sha1.BlockSize { // adds the addend and 1 to each block
			carry := 1
			for i := sha1.BlockSize - 1; i >= 0; i-- {
				carry += int(input[at+i]) + int(addend[i])
				input[at+i] = byte(carry)
				carry >>= 8
			}
		}
	}
	return key[:size]
}

// rc2 is the cipher of RFC 2268, with which OpenSSL 1 and Java 8 encrypt certificates. It only decrypts.
type rc2 [64]uint16

// newRC2 returns a cipher whose effective key is as long as the key, at most 128 bytes.
func newRC2(key []byte) (cipher.Block, error) {
	var l [128]byte
	n := copy(l[:], key)
	for i := n; i < len(l); i++ {
		l[i] = rc2Pi[l[i-1]+l[i-n]]
	}
	l[128-n] = rc2Pi[l[128-n]]
	for i := 127 - n; i >= 0; i-- {
		l[i] = rc2Pi[l[i+1]^l[i+n]]
	}
	var c rc2
	for i := range c {
		c[i] = binary.LittleEndian.Uint16(l[2*i:])
	}
	return &c, nil
}

func (*rc2) BlockSize() int { return 8 }

func (*rc2) Encrypt(_, _ []byte) { panic("not implemented") }

func (c *rc2) Decrypt(dst, src []byte) {
	var r [4]uint16
	for i := range r {
		r[i] = binary.LittleEndian.Uint16(src[2*i:])
	}
	for round := 15; round >= 0; round-- {
		for i := 3; i >= 0; i-- {
			r[i] = bits.RotateLeft16(r[i], -[4]int{1, 2, 3, 5}[i])
			r[i] -= c[4*round+i] + r[(i+3)%4]&r[(i+2)%4] + ^r[(i+3)%4]&r[(i+1)%4]
		}
		if round == 11 || round == 5 {
			for i := 3; i >= 0; i-- {
				r[i] -= c[r[(i+3)%4]&63]
			}
		}
	}
	for i := range r {
		binary.LittleEndian.PutUint16(dst[2*i:], r[i])
	}
}

// rc2Pi is PITABLE of RFC 2268, section 2.
var rc2Pi = [256]byte{
	0xd9, 0x78, 0xf9, 0xc4, 0x19, 0xdd, 0xb5, 0xed, 0x28, 0xe9, 0xfd, 0x79, 0x4a, 0xa0, 0xd8, 0x9d,
	0xc6, 0x7e, 0x37, 0x83, 0x2b, 0x76, 0x53, 0x8e, 0x62, 0x4c, 0x64, 0x88, 0x44, 0x8b, 0xfb, 0xa2,
	0x17, 0x9a, 0x59, 0xf5, 0x87, 0xb3, 0x4f, 0x13, 0x61, 0x45, 0x6d, 0x8d, 0x09, 0x81, 0x7d, 0x32,
	0xbd, 0x8f, 0x40, 0xeb, 0x86, 0xb7, 0x7b, 0x0b, 0xf0, 0x95, 0x21, 0x22, 0x5c, 0x6b, 0x4e, 0x82,
	0x54, 0xd6, 0x65, 0x93, 0xce, 0x60, 0xb2, 0x1c, 0x73, 0x56, 0xc0, 0x14, 0xa7, 0x8c, 0xf1, 0xdc,
	0x12, 0x75, 0xca, 0x1f, 0x3b, 0xbe, 0xe4, 0xd1, 0x42, 0x3d, 0xd4, 0x30, 0xa3, 0x3c, 0xb6, 0x26,
	0x6f, 0xbf, 0x0e, 0xda, 0x46, 0x69, 0x07, 0x57, 0x27, 0xf2, 0x1d, 0x9b, 0xbc, 0x94, 0x43, 0x03,
	0xf8, 0x11, 0xc7, 0xf6, 0x90, 0xef, 0x3e, 0xe7, 0x06, 0xc3, 0xd5, 0x2f, 0xc8, 0x66, 0x1e, 0xd7,
	0x08, 0xe8, 0xea, 0xde, 0x80, 0x52, 0xee, 0xf7, 0x84, 0xaa, 0x72, 0xac, 0x35, 0x4d, 0x6a, 0x2a,
	0x96, 0x1a, 0xd2, 0x71, 0x5a, 0x15, 0x49, 0x74, 0x4b, 0x9f, 0xd0, 0x5e, 0x04, 0x18, 0xa4, 0xec,
	0xc2, 0xe0, 0x41, 0x6e, 0x0f, 0x51, 0xcb, 0xcc, 0x24, 0x91, 0xaf, 0x50, 0xa1, 0xf4, 0x70, 0x39,
	0x99, 0x7c, 0x3a, 0x85, 0x23, 0xb8, 0xb4, 0x7a, 0xfc, 0x02, 0x36, 0x5b, 0x25, 0x55, 0x97, 0x31,
	0x2d, 0x5d, 0xfa, 0x98, 0xe3, 0x8a, 0x92, 0xae, 0x05, 0xdf, 0x29, 0x10, 0x67, 0x6c, 0xba, 0xc9,
	0xd3, 0x00, 0xe6, 0xcf, 0xe1, 0x9e, 0xa8, 0x2c, 0x63, 0x16, 0x01, 0x3f, 0x58, 0xe2, 0x89, 0xa9,
	0x0d, 0x38, 0x34, 0x1b, 0xab, 0x33, 0xff, 0xb0, 0xbb, 0x48, 0x0c, 0x5f, 0xb9, 0xb1, 0xcd, 0x2e,
	0xc5, 0xf3, 0xdb, 0x47, 0xe5, 0xa5, 0x9c, 0x77, 0x0a, 0xa6, 0x20, 0x68, 0xfe, 0x7f, 0xc1, 0xad,
}
