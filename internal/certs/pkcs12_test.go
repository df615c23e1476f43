package certs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var encoders = map[string]*pkcs12.Encoder{
	"RC2": pkcs12.LegacyRC2, "3DES": pkcs12.LegacyDES, "AES": pkcs12.Modern2023, "AES and PBMAC1": pkcs12.Modern2026,
}

// trustStore returns a PKCS#12 file of certificates, as Java writes trust stores.
func trustStore(t testing.TB, password string, cs ...*x509.Certificate) []byte {
	data, err := pkcs12.Modern2023.EncodeTrustStore(cs, password)
	require.NoError(t, err)
	return data
}

// keyStore returns a PKCS#12 file of a key and its chain.
func keyStore(t testing.TB, password string) []byte {
	data, err := pkcs12.Modern2023.Encode(fileLeaf.PrivateKey, fileLeaf.Leaf, certs(fileCA), password)
	require.NoError(t, err)
	return data
}

// plainKeyStore is keyStore without encryption.
func plainKeyStore(t testing.TB) []byte {
	data, err := pkcs12.Passwordless.Encode(fileLeaf.PrivateKey, fileLeaf.Leaf, certs(fileCA), "")
	require.NoError(t, err)
	return data
}

// fileWithKey returns a PKCS#12 file of a dummy private key and a part, with a MAC by the encoded password.
func fileWithKey(part, password []byte) []byte {
	contentInfo := func(kind string, content []byte) []byte {
		return derElement(asn1.SEQUENCE, derElement(asn1.OBJECT_IDENTIFIER, []byte(kind)), derElement(context0, content))
	}
	data := func(content []byte) []byte { return contentInfo(oidData, derElement(asn1.OCTET_STRING, content)) }
	key := append([]byte("\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"), make([]byte, 32)...) // Ed25519
	parts := derElement(asn1.SEQUENCE, data(derElement(asn1.SEQUENCE, contentInfo(oidKeyBag, key))), part)

	mac := hmac.New(sha1.New, macKey(password))
	mac.Write(parts)
	algorithm := derElement(asn1.SEQUENCE, derElement(asn1.OBJECT_IDENTIFIER, []byte(oidSHA1)))
	return derElement(asn1.SEQUENCE, derElement(asn1.INTEGER, []byte{3}), data(parts), derElement(asn1.SEQUENCE,
		derElement(asn1.SEQUENCE, algorithm, derElement(asn1.OCTET_STRING, mac.Sum(nil))), derElement(asn1.OCTET_STRING)))
}

// macKey derives a key from the encoded password with one iteration of SHA-1 and no salt (RFC 7292, appendix B.2).
func macKey(password []byte) []byte {
	blocks := bytes.Repeat([]byte{3}, sha1.BlockSize)
	for i := 0; i < len(password) || len(password) > 0 && i%sha1.BlockSize != 0; i++ { // repeats it to fill whole blocks
		blocks = append(blocks, password[i%len(password)])
	}
	key := sha1.Sum(blocks)
	return key[:]
}

const oidSHA1 = "\x2b\x0e\x03\x02\x1a"

// contentInfo and the functions below it make files that the library cannot make.
func contentInfo(kind string, content ...[]byte) []byte {
	return derElement(asn1.SEQUENCE, derElement(asn1.OBJECT_IDENTIFIER, []byte(kind)), derElement(context0, content...))
}

func octetString(b ...[]byte) []byte { return derElement(asn1.OCTET_STRING, b...) }

func certBag(raw []byte) []byte {
	return contentInfo(oidCertBag, contentInfo("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01", octetString(raw)))
}

func plainPart(bags ...[]byte) []byte {
	return contentInfo(oidData, octetString(derElement(asn1.SEQUENCE, bags...)))
}

// pfxOf returns a file without a MAC.
func pfxOf(parts ...[]byte) []byte {
	return derElement(asn1.SEQUENCE, derElement(asn1.INTEGER, []byte{3}), contentInfo(oidData, octetString(derElement(asn1.SEQUENCE, parts...))))
}

func algorithm(oid string, params ...[]byte) []byte {
	return derElement(asn1.SEQUENCE, derElement(asn1.OBJECT_IDENTIFIER, []byte(oid)), bytes.Join(params, nil))
}

// pbes2 encrypts with AES-256 and a key that PBKDF2 with HMAC-SHA-256 derives in one iteration, but claims more of them.
func pbes2(plain []byte, password string, claimed int64) (scheme, encrypted []byte) {
	iv := make([]byte, aes.BlockSize)
	count := big.NewInt(claimed).Bytes()
	if count[0] > 0x7f {
		count = append([]byte{0}, count...)
	}
	block := must(aes.NewCipher(must(pbkdf2.Key(sha256.New, password, []byte("12345678"), 1, 32))))
	scheme = algorithm("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", derElement(asn1.SEQUENCE,
		algorithm("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c", derElement(asn1.SEQUENCE, octetString([]byte("12345678")), derElement(asn1.INTEGER, count),
			algorithm("\x2a\x86\x48\x86\xf7\x0d\x02\x09"))),
		algorithm("\x60\x86\x48\x01\x65\x03\x04\x01\x2a", octetString(iv))))
	return scheme, encrypt(block, iv, plain)
}

func encrypt(block cipher.Block, iv, plain []byte) []byte {
	padding := block.BlockSize() - len(plain)%block.BlockSize()
	encrypted := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(encrypted, encrypted)
	return encrypted
}

func encryptedPart(scheme, encrypted []byte) []byte {
	return contentInfo(oidEncryptedData, derElement(asn1.SEQUENCE, derElement(asn1.INTEGER, []byte{0}), derElement(asn1.SEQUENCE,
		derElement(asn1.OBJECT_IDENTIFIER, []byte(oidData)), scheme, derElement(asn1.Tag(0).ContextSpecific(), encrypted))))
}

func shroudedBag(claimed int64) []byte {
	scheme, encrypted := pbes2(keyOf(fileLeaf), secret, claimed)
	return contentInfo(oidShroudedBag, derElement(asn1.SEQUENCE, scheme, octetString(encrypted)))
}

func TestPKCS12(t *testing.T) {
	leaf, ca, root := fileLeaf.Leaf, fileCA.Certificate, fileRoot.Certificate
	for name, e := range encoders {
		t.Run(name, func(t *testing.T) {
			for _, password := range []string{secret, "", "pässwörd"} {
				data := must(e.Encode(fileLeaf.PrivateKey, leaf, certs(ca, root), password))
				assert.Equal(t, FormatPKCS12, requireFound(t, "leaf CA root", data, "", password).Format)
				requireFound(t, "leaf", must(e.Encode(fileLeaf.PrivateKey, leaf, nil, password)), "", password)
				requireFound(t, "root leaf CA leaf", must(e.EncodeTrustStore(certs(root, leaf, ca, leaf), password)), "", password)

				for _, wrong := range []string{"wrong", ""} {
					if wrong != password {
						_, err := ParseFile(data, "", wrong)
						e := requireFault(t, FileWrongPassword, err)
						assert.Equal(t, wrong == "", strings.Contains(e.Error(), "no password is configured"))
					}
				}
			}
		})
	}
}

func TestLeafFirst(t *testing.T) {
	other, self := fileRoot.Issue("other"), tlsfarm.SelfSigned("self").Leaf
	namesake := tlsfarm.NewAuthority("root").Certificate
	encode := func(cs ...*x509.Certificate) []byte {
		return must(pkcs12.Modern.Encode(fileLeaf.PrivateKey, cs[0], cs[1:], secret))
	}
	for want, data := range map[string][]byte{
		"leaf CA root":       encode(certs(fileRoot, fileCA, fileLeaf.Leaf)...),
		"leaf CA":            encode(certs(fileCA, fileLeaf.Leaf)...),
		"leaf CA root other": encode(certs(fileRoot, fileCA, fileLeaf.Leaf, other)...),
		"other root leaf CA": encode(certs(other, fileRoot, fileCA, fileLeaf.Leaf)...),
		"leaf CA leaf CA":    encode(certs(fileCA, fileLeaf.Leaf, fileCA, fileLeaf.Leaf)...),
		"root":               encode(certs(fileRoot)...),
		"root root":          encode(certs(fileRoot, fileRoot)...),
		"self leaf CA":       encode(certs(self, fileCA, fileLeaf.Leaf)...),
		"other root root":    encode(certs(fileRoot, other, namesake)...),
	} {
		requireFound(t, want, data, "", secret)
	}

	a, b := *fileCA.Certificate, *fileCA.Certificate // each issued the other
	a.RawSubject, a.RawIssuer, b.RawSubject, b.RawIssuer = []byte("a"), []byte("b"), []byte("b"), []byte("a")
	assert.Equal(t, []*x509.Certificate{&a, &b}, leafFirst([]*x509.Certificate{&a, &b}))
	assert.Empty(t, leafFirst(nil))
}

func TestPKCS12Parts(t *testing.T) {
	leaf, ca, root := certBag(fileLeaf.Leaf.Raw), certBag(fileCA.Certificate.Raw), certBag(fileRoot.Certificate.Raw)
	encrypted := func(bags ...[]byte) []byte {
		return encryptedPart(pbes2(derElement(asn1.SEQUENCE, bags...), secret, 1))
	}
	locked := encryptedPart(pbes2([]byte("abc"), "another", 1)) // constant, because random bytes might decrypt to valid padding
	crlBag := contentInfo("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x04", derElement(asn1.SEQUENCE))
	enveloped := contentInfo("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03", derElement(asn1.SEQUENCE))
	const endless = 1<<31 - 1 // iterations, which must not be done
	tests := map[string]struct {
		data     []byte
		password string
		want     string // or a Fault
	}{
		"plain":                        {pfxOf(plainPart(leaf, ca)), "", "leaf CA"},
		"plain, with a password":       {pfxOf(plainPart(leaf, ca)), secret, "leaf CA"},
		"encrypted":                    {pfxOf(encrypted(leaf, ca)), secret, "leaf CA"},
		"more than two":                {pfxOf(plainPart(leaf), encrypted(ca), plainPart(shroudedBag(1)), encrypted(root)), secret, "leaf CA root"},
		"several keys":                 {pfxOf(plainPart(leaf, shroudedBag(1), contentInfo(oidKeyBag, keyOf(fileLeaf)), shroudedBag(1))), secret, "leaf"},
		"two passwords":                {pfxOf(encrypted(leaf), locked), secret, "leaf 1 bad"},
		"plain and locked":             {pfxOf(plainPart(leaf), locked), "", "leaf 1 bad"},
		"bad certificate":              {pfxOf(plainPart(certBag(badCert), leaf)), "", "leaf 1 bad"},
		"malformed bag":                {pfxOf(plainPart(leaf, derElement(asn1.SEQUENCE)), plainPart(ca)), "", "leaf CA 1 bad"},
		"malformed bag of a cert":      {pfxOf(plainPart(leaf, contentInfo(oidCertBag), ca)), "", "leaf CA 1 bad"},
		"malformed bags":               {pfxOf(contentInfo(oidData, octetString([]byte("abc"))), plainPart(ca)), "", "CA 1 bad"},
		"malformed part":               {pfxOf(derElement(asn1.SEQUENCE), plainPart(ca)), "", "CA 1 bad"},
		"wrong kind of data":           {pfxOf(contentInfo(oidSignedData, octetString(derElement(asn1.SEQUENCE, leaf))), plainPart(ca)), "", "CA 1 bad"},
		"malformed data":               {pfxOf(contentInfo(oidData), plainPart(ca)), "", "CA 1 bad"},
		"other bags":                   {pfxOf(plainPart(crlBag, leaf)), "", "leaf"},
		"nested bags":                  {pfxOf(plainPart(contentInfo(oidNestedBags, derElement(asn1.SEQUENCE, ca)), leaf)), "", "leaf 1 bad"},
		"for a public key":             {pfxOf(enveloped, plainPart(leaf)), "", "leaf 1 bad"},
		"endless key, plain":           {pfxOf(plainPart(leaf, shroudedBag(endless))), secret, "leaf"},
		"endless key, encrypted":       {pfxOf(encrypted(shroudedBag(endless), leaf), plainPart(ca)), secret, "leaf CA"},
		"endless key, encrypted, last": {pfxOf(encrypted(leaf, shroudedBag(endless)), plainPart(ca)), secret, "leaf CA"},
		"bad certificate, encrypted":   {pfxOf(encrypted(leaf, certBag(badCert), root), plainPart(ca)), secret, "leaf root CA 1 bad"},
		"keys only":                    {pfxOf(plainPart(shroudedBag(1))), secret, string(FileKeyOnly)},
		"keys only, plain":             {pfxOf(plainPart(contentInfo(oidKeyBag, keyOf(fileLeaf)))), secret, string(FileKeyOnly)},
		"MAC of another password":      {fileWithKey(encryptedPart(pbes2(derElement(asn1.SEQUENCE, leaf), "", 1)), append(utf16BE(secret), 0, 0)), "", string(FileWrongPassword)},
		"plain, MAC, no password":      {fileWithKey(plainPart(leaf), append(utf16BE(secret), 0, 0)), "", "leaf"},
		"plain, MAC, wrong password":   {fileWithKey(plainPart(leaf), append(utf16BE(secret), 0, 0)), "wrong", string(FileWrongPassword)},
		"no parts":                     {pfxOf(), secret, string(FileEmpty)},
		"no bags":                      {pfxOf(plainPart()), secret, string(FileEmpty)},
		"wrong password, no MAC":       {pfxOf(locked), secret, string(FileWrongPassword)},
		"no password":                  {pfxOf(locked), "", string(FileWrongPassword)},
		"only a bad certificate":       {pfxOf(plainPart(certBag(badCert))), "", string(FileMalformed)},
		"malformed":                    {pfxOf([]byte("abc")), "", string(FileMalformed)},
		"malformed inside":             {derElement(asn1.SEQUENCE, derElement(asn1.INTEGER, []byte{3}), derElement(asn1.SEQUENCE)), "", string(FileMalformed)},
		"signed by a public key":       {bytes.Replace(pfxOf(plainPart(leaf)), []byte(oidData), []byte(oidSignedData), 1), "", string(FileMalformed)},
		"unknown encryption":           {pfxOf(encryptedPart(algorithm(oidSHA1), []byte("abc"))), secret, string(FileMalformed)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(tt.want, "file_") {
				_, err := ParseFile(tt.data, FormatPKCS12, tt.password)
				requireFault(t, Fault(tt.want), err)
				return
			}
			requireFound(t, tt.want, tt.data, FormatPKCS12, tt.password)
		})
	}
}

// A file can demand up to 2^63 iterations.
func TestPKCS12IterationsAreBounded(t *testing.T) {
	const claimed = "\x02\x03\x01\x00\x00" // 65,536
	hostile := map[string][]byte{
		"sum of parts": pfxOf(encryptedPart(pbes2(nil, secret, 1_500_000)), encryptedPart(pbes2(nil, secret, 1_500_000))),
		"reduced by a negative number": pfxOf(encryptedPart(pbes2(nil, secret, 4_000_000)),
			encryptedPart(algorithm(oidSHA1, derElement(asn1.INTEGER, []byte{0x80, 0, 0, 0, 0, 0, 0, 0})), nil)),
		"unreadable": pfxOf(derElement(asn1.SEQUENCE, []byte("abc"))),
		"32 bits":    pfxOf(encryptedPart(pbes2(nil, secret, 1<<31-1))),
		"63 bits":    pfxOf(encryptedPart(pbes2(nil, secret, 1<<63-1))),
		"negative": pfxOf(encryptedPart(algorithm(oidSHA1, derElement(asn1.SEQUENCE, octetString(), derElement(asn1.INTEGER, []byte{0x80, 0, 0, 0}))),
			nil)),
	}
	deep := derElement(asn1.INTEGER, []byte{1})
	for range 100 {
		deep = derElement(asn1.SEQUENCE, deep)
	}
	hostile["deep"] = pfxOf(deep)
	for name, e := range encoders {
		data := must(e.WithIterations(65536).EncodeTrustStore(certs(fileLeaf.Leaf), secret))
		requireFound(t, "leaf", data, "", secret)
		pieces := bytes.Split(data, []byte(claimed))
		require.Len(t, pieces, 3, "the part's and the MAC's")
		hostile[name+", part"] = join(pieces[0], []byte("\x02\x03\x7f\xff\xff"), pieces[1], []byte(claimed), pieces[2])
		hostile[name+", MAC"] = join(pieces[0], []byte(claimed), pieces[1], []byte("\x02\x03\x7f\xff\xff"), pieces[2])
	}
	for name, data := range hostile {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFile(data, "", secret)
			assert.ErrorContains(t, requireFault(t, FileMalformed, err), "iterations")
		})
	}
}

func TestPKCS12IsBounded(t *testing.T) {
	var parts [][]byte
	for range maxParts {
		parts = append(parts, plainPart(certBag(fileLeaf.Leaf.Raw)))
	}
	b, err := ParseFile(pfxOf(parts...), "", "")
	require.NoError(t, err)
	assert.Len(t, b.Certificates, maxParts)
	_, err = ParseFile(pfxOf(append(parts, parts[0])...), "", "")
	assert.ErrorContains(t, requireFault(t, FileMalformed, err), "more than 100 parts")

	fill := func(n int) []byte {
		return pfxOf(plainPart(certBag(fileLeaf.Leaf.Raw), contentInfo("\x2a", make([]byte, n))))
	}
	n := maxPKCS12 - len(fill(maxPKCS12/2)) + maxPKCS12/2
	requireFound(t, "leaf", fill(n), "", "")
	_, err = ParseFile(fill(n+1), "", "")
	assert.ErrorContains(t, requireFault(t, FileTooLarge, err), "more than 2 MiB of PKCS#12")
}

// Some programs encode the empty password as no bytes, others as a terminator. With 3DES these are different keys.
func TestPKCS12EmptyPasswordWithoutTerminator(t *testing.T) {
	// RFC 7292, appendix B.2, for SHA-1, one iteration, no password and a salt of one block.
	derive := func(id byte, size int) (key []byte) {
		salt := bytes.Repeat([]byte("12345678"), 8)
		for len(key) < size {
			a := sha1.Sum(append(bytes.Repeat([]byte{id}, 64), salt...))
			key = append(key, a[:]...)
			b := new(big.Int).SetBytes(bytes.Repeat(a[:], 4)[:64])
			sum := b.Add(b, new(big.Int).SetBytes(salt)).Add(b, big.NewInt(1)).FillBytes(make([]byte, 65))
			salt = sum[1:]
		}
		return key[:size]
	}
	encrypted := encrypt(must(des.NewTripleDESCipher(derive(1, 24))), derive(2, 8), derElement(asn1.SEQUENCE, certBag(fileLeaf.Leaf.Raw)))
	scheme := algorithm("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03", derElement(asn1.SEQUENCE, octetString([]byte("12345678")), derElement(asn1.INTEGER, []byte{1})))
	requireFound(t, "leaf", pfxOf(encryptedPart(scheme, encrypted)), "", "")
}
