package certs

import (
	"crypto/aes"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// pbes2Part encrypts a part with PBES2. The parameters may be wrong.
func pbes2Part(plain []byte, kdf string, iterations byte, prf []byte, newHash func() hash.Hash, cipherID string, size int, iv []byte) []byte {
	block := must(aes.NewCipher(must(pbkdf2.Key(newHash, secret, []byte("salt"), max(1, int(iterations)), size))))
	scheme := algorithm(oidPBES2, derElement(asn1.SEQUENCE,
		algorithm(kdf, derElement(asn1.SEQUENCE, octetString([]byte("salt")), []byte{2, 1, iterations}, prf)),
		algorithm(cipherID, octetString(iv))))
	return encryptedPart(scheme, encrypt(block, append(iv, make([]byte, 16)...)[:16], plain))
}

func TestPBES2(t *testing.T) {
	plain := derElement(asn1.SEQUENCE, certBag(fileLeaf.Leaf.Raw))
	iv := []byte("0123456789abcdef")
	read := func(part []byte) (*Bundle, error) { return ParseFile(pfxOf(part), "", secret) }
	for id, newHash := range map[string]func() hash.Hash{
		oidHMACSHA1: sha1.New, oidHMACSHA256: sha256.New, oidHMACSHA384: sha512.New384, oidHMACSHA512: sha512.New, "": sha1.New,
	} {
		for cipherID, size := range map[string]int{oidAES128: 16, oidAES192: 24, oidAES256: 32} {
			var prf []byte // none is SHA-1
			if id != "" {
				prf = algorithm(id, []byte{5, 0})
			}
			for _, length := range [][]byte{nil, {2, 1, byte(size)}} {
				b, err := read(pbes2Part(plain, oidPBKDF2, 3, append(length, prf...), newHash, cipherID, size, iv))
				require.NoError(t, err)
				assert.Equal(t, "leaf", found(b))
			}
		}
	}
	const scrypt = "\x2b\x06\x01\x04\x01\xda\x47\x04\x0b"
	good := func(iterations byte, iv []byte) []byte {
		return pbes2Part(plain, oidPBKDF2, iterations, nil, sha1.New, oidAES128, 16, iv)
	}
	scheme, _ := pbes2(nil, secret, 1)
	for want, parts := range map[string][][]byte{
		"malformed": {
			good(0, iv), good(0xff, iv), good(3, iv[:8]), good(3, nil),
			encryptedPart(scheme, nil), encryptedPart(scheme, make([]byte, 15)),
			encryptedPart(algorithm(oidPBES2), iv), encryptedPart(algorithm(oidPBES2, derElement(asn1.SEQUENCE)), iv),
			encryptedPart(algorithm(oidSHA13DES), iv), encryptedPart(algorithm(oidSHA1RC240, derElement(asn1.SEQUENCE, octetString(iv), []byte{2, 1, 0})), iv),
			encryptedPart(algorithm("\x80"), iv), contentInfo(oidEncryptedData, derElement(asn1.SEQUENCE)),
		},
		"encrypted with the algorithm 1.3.6.1.4.1.11591.4.11, which is not supported": {pbes2Part(plain, scrypt, 3, nil, sha1.New, oidAES128, 16, iv)},
		"encrypted with the algorithm 1.3.14.3.2.26, which is not supported": {
			pbes2Part(plain, oidPBKDF2, 3, algorithm(oidSHA1), sha1.New, oidAES128, 16, iv), pbes2Part(plain, oidPBKDF2, 3, nil, sha1.New, oidSHA1, 16, iv),
			encryptedPart(algorithm(oidSHA1), iv),
		},
	} {
		for i, part := range parts {
			_, err := read(part)
			e := requireFault(t, FileMalformed, err)
			assert.EqualError(t, e.Err, "part 1: "+want, i)
		}
	}
	_, err := ParseFile(pfxOf(pbes2Part([]byte("abc"), oidPBKDF2, 3, nil, sha1.New, oidAES128, 16, iv)), "", "another")
	requireFault(t, FileWrongPassword, err)
}
