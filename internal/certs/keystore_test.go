package certs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var encoders = map[string]*pkcs12.Encoder{
	"RC2": pkcs12.LegacyRC2, "3DES": pkcs12.LegacyDES, "AES": pkcs12.Modern2023, "AES and PBMAC1": pkcs12.Modern2026,
}

// pfx is a trust store.
func pfx(t testing.TB, password string, cs ...*x509.Certificate) []byte {
	data, err := pkcs12.Modern2023.EncodeTrustStore(cs, password)
	require.NoError(t, err)
	return data
}

func keyPFX(t testing.TB, password string) []byte {
	data, err := pkcs12.Modern2023.Encode(fileLeaf.PrivateKey, fileLeaf.Leaf, certs(fileCA), password)
	require.NoError(t, err)
	return data
}

func plainPFX(t testing.TB) []byte {
	data, err := pkcs12.Passwordless.Encode(fileLeaf.PrivateKey, fileLeaf.Leaf, certs(fileCA), "")
	require.NoError(t, err)
	return data
}

// The parts of which files are made here that the library does not make.
func tagged(kind string, content ...[]byte) []byte {
	return der(asn1.SEQUENCE, der(asn1.OBJECT_IDENTIFIER, []byte(kind)), der(context0, content...))
}

func octetString(b ...[]byte) []byte { return der(asn1.OCTET_STRING, b...) }

func certBag(raw []byte) []byte {
	return tagged(oidCertBag, tagged("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01", octetString(raw)))
}

func plainPart(bags ...[]byte) []byte {
	return tagged(oidData, octetString(der(asn1.SEQUENCE, bags...)))
}

// pfxOf has no MAC.
func pfxOf(parts ...[]byte) []byte {
	return der(asn1.SEQUENCE, der(asn1.INTEGER, []byte{3}), tagged(oidData, octetString(der(asn1.SEQUENCE, parts...))))
}

func algorithm(oid string, params ...[]byte) []byte {
	return der(asn1.SEQUENCE, der(asn1.OBJECT_IDENTIFIER, []byte(oid)), bytes.Join(params, nil))
}

// pbes2 encrypts by AES-256 with a key of PBKDF2 by HMAC-SHA-256, of which it may claim to have done more iterations.
func pbes2(plain []byte, password string, claimed int64) (scheme, encrypted []byte) {
	iv := make([]byte, aes.BlockSize)
	count := big.NewInt(claimed).Bytes()
	if count[0] > 0x7f {
		count = append([]byte{0}, count...)
	}
	block := must(aes.NewCipher(must(pbkdf2.Key(sha256.New, password, []byte("12345678"), 1, 32))))
	scheme = algorithm("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", der(asn1.SEQUENCE,
		algorithm("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c", der(asn1.SEQUENCE, octetString([]byte("12345678")), der(asn1.INTEGER, count),
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
	return tagged(oidEncryptedData, der(asn1.SEQUENCE, der(asn1.INTEGER, []byte{0}), der(asn1.SEQUENCE,
		der(asn1.OBJECT_IDENTIFIER, []byte(oidData)), scheme, der(asn1.Tag(0).ContextSpecific(), encrypted))))
}

func shroudedBag(claimed int64) []byte {
	scheme, encrypted := pbes2(keyOf(fileLeaf), secret, claimed)
	return tagged(oidShroudedBag, der(asn1.SEQUENCE, scheme, octetString(encrypted)))
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
						assert.Equal(t, wrong == "", strings.Contains(e.Error(), "none is configured"))
					}
				}
			}
		})
	}
}

func TestPKCS12LeafComesFirst(t *testing.T) {
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

	a, b := *fileCA.Certificate, *fileCA.Certificate // each is the other's issuer
	a.RawSubject, a.RawIssuer, b.RawSubject, b.RawIssuer = []byte("a"), []byte("b"), []byte("b"), []byte("a")
	assert.Equal(t, []*x509.Certificate{&a, &b}, leafFirst([]*x509.Certificate{&a, &b}))
	assert.Empty(t, leafFirst(nil))
}

func TestPKCS12Parts(t *testing.T) {
	leaf, ca, root := certBag(fileLeaf.Leaf.Raw), certBag(fileCA.Certificate.Raw), certBag(fileRoot.Certificate.Raw)
	encrypted := func(bags ...[]byte) []byte { return encryptedPart(pbes2(der(asn1.SEQUENCE, bags...), secret, 1)) }
	locked := encryptedPart(pbes2([]byte("abc"), "another", 1)) // always the same: by chance the padding could be right
	crlBag := tagged("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x04", der(asn1.SEQUENCE))
	enveloped := tagged("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03", der(asn1.SEQUENCE))
	const forever = 1<<31 - 1 // iterations, which must not be made
	tests := map[string]struct {
		data     []byte
		password string
		want     string // or a Fault
	}{
		"plain":                        {pfxOf(plainPart(leaf, ca)), "", "leaf CA"},
		"plain, with a password":       {pfxOf(plainPart(leaf, ca)), secret, "leaf CA"},
		"encrypted":                    {pfxOf(encrypted(leaf, ca)), secret, "leaf CA"},
		"more than two":                {pfxOf(plainPart(leaf), encrypted(ca), plainPart(shroudedBag(1)), encrypted(root)), secret, "leaf CA root"},
		"several keys":                 {pfxOf(plainPart(leaf, shroudedBag(1), tagged(oidKeyBag, keyOf(fileLeaf)), shroudedBag(1))), secret, "leaf"},
		"of two passwords":             {pfxOf(encrypted(leaf), locked), secret, "leaf 1 bad"},
		"plain beside locked":          {pfxOf(plainPart(leaf), locked), "", "leaf 1 bad"},
		"odd":                          {pfxOf(plainPart(certBag(oddCert), leaf)), "", "leaf 1 bad"},
		"malformed bag":                {pfxOf(plainPart(leaf, der(asn1.SEQUENCE)), plainPart(ca)), "", "leaf CA 1 bad"},
		"malformed bag of a cert":      {pfxOf(plainPart(leaf, tagged(oidCertBag), ca)), "", "leaf CA 1 bad"},
		"malformed bags":               {pfxOf(tagged(oidData, octetString([]byte("abc"))), plainPart(ca)), "", "CA 1 bad"},
		"malformed part":               {pfxOf(der(asn1.SEQUENCE), plainPart(ca)), "", "CA 1 bad"},
		"data of another kind":         {pfxOf(tagged(oidSignedData, octetString(der(asn1.SEQUENCE, leaf))), plainPart(ca)), "", "CA 1 bad"},
		"malformed data":               {pfxOf(tagged(oidData), plainPart(ca)), "", "CA 1 bad"},
		"others":                       {pfxOf(plainPart(crlBag, leaf)), "", "leaf"},
		"nested":                       {pfxOf(plainPart(tagged(oidNestedBags, der(asn1.SEQUENCE, ca)), leaf)), "", "leaf 1 bad"},
		"for a public key":             {pfxOf(enveloped, plainPart(leaf)), "", "leaf 1 bad"},
		"endless key in plain":         {pfxOf(plainPart(leaf, shroudedBag(forever))), secret, "leaf"},
		"endless key in encrypted":     {pfxOf(encrypted(shroudedBag(forever), leaf), plainPart(ca)), secret, "CA 1 bad"},
		"endless key last":             {pfxOf(encrypted(leaf, shroudedBag(forever)), plainPart(ca)), secret, "CA 1 bad"},
		"odd one in encrypted":         {pfxOf(encrypted(leaf, certBag(oddCert)), plainPart(ca)), secret, "CA 1 bad"},
		"keys only":                    {pfxOf(plainPart(shroudedBag(1))), secret, string(FileKeyOnly)},
		"keys only, plain":             {pfxOf(plainPart(tagged(oidKeyBag, keyOf(fileLeaf)))), secret, string(FileKeyOnly)},
		"MAC of another password":      {behindKey(encryptedPart(pbes2(der(asn1.SEQUENCE, leaf), "", 1)), append(utf16BE(secret), 0, 0)), "", string(FileWrongPassword)},
		"nothing":                      {pfxOf(), secret, string(FileEmpty)},
		"no bags":                      {pfxOf(plainPart()), secret, string(FileEmpty)},
		"wrong password without a MAC": {pfxOf(locked), secret, string(FileWrongPassword)},
		"no password":                  {pfxOf(locked), "", string(FileWrongPassword)},
		"odd ones only":                {pfxOf(plainPart(certBag(oddCert))), "", string(FileMalformed)},
		"malformed":                    {pfxOf([]byte("abc")), "", string(FileMalformed)},
		"malformed inside":             {der(asn1.SEQUENCE, der(asn1.INTEGER, []byte{3}), der(asn1.SEQUENCE)), "", string(FileMalformed)},
		"signed by a public key":       {bytes.Replace(pfxOf(plainPart(leaf)), []byte(oidData), []byte(oidSignedData), 1), "", string(FileMalformed)},
		"not encrypted at all":         {pfxOf(encryptedPart(algorithm(oidSHA1), []byte("abc"))), secret, string(FileMalformed)},
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

// A file can ask for as many iterations as fit into 63 bits. It must not get them.
func TestPKCS12IterationsAreBounded(t *testing.T) {
	const claimed = "\x02\x03\x01\x00\x00" // 65,536
	hostile := map[string][]byte{
		"sum of parts": pfxOf(encryptedPart(pbes2(nil, secret, 1_500_000)), encryptedPart(pbes2(nil, secret, 1_500_000))),
		"made up for by a negative one": pfxOf(encryptedPart(pbes2(nil, secret, 4_000_000)),
			encryptedPart(algorithm(oidSHA1, der(asn1.INTEGER, []byte{0x80, 0, 0, 0, 0, 0, 0, 0})), nil)),
		"unreadable": pfxOf(der(asn1.SEQUENCE, []byte("abc"))),
		"32 bits":    pfxOf(encryptedPart(pbes2(nil, secret, 1<<31-1))),
		"63 bits":    pfxOf(encryptedPart(pbes2(nil, secret, 1<<63-1))),
		"negative": pfxOf(encryptedPart(algorithm(oidSHA1, der(asn1.SEQUENCE, octetString(), der(asn1.INTEGER, []byte{0x80, 0, 0, 0}))),
			nil)),
	}
	deep := der(asn1.INTEGER, []byte{1})
	for range 100 {
		deep = der(asn1.SEQUENCE, deep)
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
		return pfxOf(plainPart(certBag(fileLeaf.Leaf.Raw), tagged("\x2a", make([]byte, n))))
	}
	n := maxPKCS12 - len(fill(maxPKCS12/2)) + maxPKCS12/2
	requireFound(t, "leaf", fill(n), "", "")
	_, err = ParseFile(fill(n+1), "", "")
	assert.ErrorContains(t, requireFault(t, FileTooLarge, err), "more than 2 MiB of PKCS#12")
}

// Some programs take the empty password to have no bytes, others to be its terminator. It makes a difference to 3DES.
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
	encrypted := encrypt(must(des.NewTripleDESCipher(derive(1, 24))), derive(2, 8), der(asn1.SEQUENCE, certBag(fileLeaf.Leaf.Raw)))
	scheme := algorithm("\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03", der(asn1.SEQUENCE, octetString([]byte("12345678")), der(asn1.INTEGER, []byte{1})))
	requireFound(t, "leaf", pfxOf(encryptedPart(scheme, encrypted)), "", "")
}

// jks has trusted certificates, in the order of their aliases.
func jks(t testing.TB, password string, cs ...*x509.Certificate) []byte {
	ks := keystore.New(keystore.WithOrderedAliases())
	for i, c := range cs {
		require.NoError(t, ks.SetTrustedCertificateEntry(fmt.Sprintf("%05d", i), trusted(c.Raw)))
	}
	return stored(t, ks, password)
}

func trusted(raw []byte) keystore.TrustedCertificateEntry {
	return keystore.TrustedCertificateEntry{CreationTime: time.Now(), Certificate: keystore.Certificate{Type: "X.509", Content: raw}}
}

// keyJKS has a key, and a trusted certificate on either side of it.
func keyJKS(t testing.TB, password string) []byte {
	ks := keystore.New() // in no order
	entry := keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: keyOf(fileLeaf)}
	for _, raw := range fileLeaf.Certificate {
		entry.CertificateChain = append(entry.CertificateChain, keystore.Certificate{Type: "X.509", Content: raw})
	}
	require.NoError(t, ks.SetPrivateKeyEntry("m", entry, []byte(secret)))
	require.NoError(t, ks.SetTrustedCertificateEntry("z", trusted(fileCA.Certificate.Raw)))
	require.NoError(t, ks.SetTrustedCertificateEntry("a", trusted(fileRoot.Certificate.Raw)))
	return stored(t, ks, password)
}

func stored(t testing.TB, ks keystore.KeyStore, password string) []byte {
	var b bytes.Buffer
	require.NoError(t, ks.Store(&b, []byte(password)))
	return b.Bytes()
}

func TestJKS(t *testing.T) {
	for range 10 { // the library writes entries in any order
		data := keyJKS(t, secret)
		assert.Equal(t, FormatJKS, requireFound(t, "root leaf CA CA", data, "", secret).Format)
		requireFound(t, "root leaf CA CA", data, "", "")
	}
	data := keyJKS(t, secret)
	_, err := ParseFile(data, "", "wrong")
	requireFault(t, FileWrongPassword, err)

	changed := bytes.Clone(data)
	changed[len(changed)-1] ^= 1
	_, err = ParseFile(changed, "", secret)
	requireFault(t, FileWrongPassword, err)

	_, err = ParseFile(data[:len(data)-100], "", secret)
	requireFault(t, FileMalformed, err)
	b, err := ParseFile(data[:len(data)-100], "", "")
	require.NoError(t, err)
	assert.Equal(t, 1, b.BadCount)
	assert.NotEmpty(t, b.Certificates)

	b = requireFound(t, "leaf CA 1 bad", jks(t, secret, fileLeaf.Leaf, &x509.Certificate{Raw: oddCert}, fileCA.Certificate), "", secret)
	assert.EqualError(t, b.Bad[0], `entry "00001", certificate 1: x509: negative serial number`)

	_, err = ParseFile(jks(t, secret), "", secret)
	requireFault(t, FileEmpty, err)
	_, err = ParseFile(jks(t, ""), "", "")
	requireFault(t, FileEmpty, err)
	_, err = ParseFile(jks(t, secret), "", "wrong")
	requireFault(t, FileWrongPassword, err)

	ks := keystore.New()
	require.NoError(t, ks.SetPrivateKeyEntry("a", keystore.PrivateKeyEntry{PrivateKey: []byte("x")}, []byte(secret)))
	_, err = ParseFile(stored(t, ks, secret), "", secret)
	requireFault(t, FileKeyOnly, err)
}

// Version 1 has no certificate types. What is of no known kind has no known length either.
func TestJKSOfOtherKinds(t *testing.T) {
	entry := func(tag byte, alias string) []byte {
		return join([]byte{0, 0, 0, tag, 0, byte(len(alias))}, []byte(alias), make([]byte, 8))
	}
	blob := func(b []byte) []byte { return join([]byte{0, 0, byte(len(b) >> 8), byte(len(b))}, b) }
	file := func(magic string, version, n byte, entries ...[]byte) []byte {
		return join([]byte(magic), []byte{0, 0, 0, version, 0, 0, 0, n}, join(entries...), make([]byte, 20))
	}
	leaf, ca := fileLeaf.Leaf.Raw, fileCA.Certificate.Raw
	typed := func(b []byte) []byte { return join([]byte("\x00\x05X.509"), blob(b)) }
	requireFound(t, "leaf CA", file(magicJKS, 1, 2, entry(2, "b"), blob(ca), entry(2, "a"), blob(leaf)), "", "")
	requireFound(t, "leaf CA CA", file(magicJKS, 1, 2, entry(2, "b"), blob(ca),
		entry(1, "a"), blob([]byte("key")), []byte{0, 0, 0, 2}, blob(leaf), blob(ca)), "", "")
	requireFound(t, "leaf", file(magicJCEKS, 2, 1, entry(2, "a"), typed(leaf)), "", "")
	requireFound(t, "leaf 1 bad", file(magicJCEKS, 2, 3, entry(2, "a"), typed(leaf), entry(3, "b"), []byte("object"), entry(2, "c"), typed(ca)), "", "")
	requireFound(t, "leaf 1 bad", file(magicJKS, 2, 1, entry(2, "a"), typed(leaf), []byte("behind")), "", "")
	requireFound(t, "leaf leaf", file(magicJKS, 2, 2, entry(2, "a"), typed(leaf), entry(2, "a"), typed(leaf)), "", "")
	b := requireFound(t, "leaf 1 bad", file(magicJKS, 2, 2, entry(2, "a"), typed(leaf), entry(2, "\x1b\xff"), typed(nil)), "", "")
	assert.ErrorContains(t, b.Bad[0], `entry "\x1b\xff", certificate 1: x509: malformed`)
	b = requireFound(t, "leaf 1 bad", file(magicJKS, 1, 2, entry(2, "a"), blob(leaf), entry(2, strings.Repeat("b", 255)), blob(nil)), "", "")
	assert.Len(t, b.Bad[0].Error(), 256)
	_, err := ParseFile(file(magicJKS, 3, 1, entry(2, "a"), blob(leaf)), "", "")
	requireFault(t, FileMalformed, err)
}

func TestJKSLengthsAreNotBelieved(t *testing.T) {
	const header = magicJKS + "\x00\x00\x00\x02"
	const entry = "\x00\x01a12345678"
	digest := strings.Repeat("d", 20)
	for name, data := range map[string]string{
		"magic alone":          magicJKS,
		"10 bytes":             header + "\xff\xff",
		"entries":              header + "\xff\xff\xff\xff" + digest,
		"alias":                header + "\x00\x00\x00\x01" + "\x00\x00\x00\x02\xff\xff" + digest,
		"key":                  header + "\x00\x00\x00\x01" + "\x00\x00\x00\x01" + entry + "\xff\xff\xff\xff" + digest,
		"key of 2 GiB":         header + "\x00\x00\x00\x01" + "\x00\x00\x00\x01" + entry + "\x7f\xff\xff\xff" + digest,
		"chain":                header + "\x00\x00\x00\x01" + "\x00\x00\x00\x01" + entry + "\x00\x00\x00\x00\xff\xff\xff\xff" + digest,
		"type":                 header + "\x00\x00\x00\x01" + "\x00\x00\x00\x02" + entry + "\xff\xff" + digest,
		"certificate":          header + "\x00\x00\x00\x01" + "\x00\x00\x00\x02" + entry + "\x00\x00\xff\xff\xff\xff" + digest,
		"certificate of 2 GiB": header + "\x00\x00\x00\x01" + "\x00\x00\x00\x02" + entry + "\x00\x00\x7f\xff\xff\xff" + digest,
	} {
		t.Run(name, func(t *testing.T) {
			for _, password := range []string{"", secret} {
				assert.Less(t, allocated(func() {
					_, err := ParseFile([]byte(data), "", password)
					requireFault(t, FileMalformed, err)
				}), uint64(1<<20))
			}
		})
	}
}

// command returns what runs a program in dir, and skips the test where it is not installed.
func command(t *testing.T, program, dir string) func(args ...string) {
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(program, "is not installed")
	}
	return func(args ...string) {
		t.Helper()
		c := exec.Command(path, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", program, args, out)
	}
}

func filesDir(t *testing.T) string {
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"leaf.pem": leafPEM, "ca.pem": caPEM, "root.pem": fileRoot.PEM(), "key.pem": keyPEM,
		"chain.pem": join(leafPEM, caPEM), "all.pem": join(leafPEM, caPEM, fileRoot.PEM()),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return dir
}

func TestFilesOfOpenSSL(t *testing.T) {
	dir := filesDir(t)
	openssl := command(t, "openssl", dir)
	pass := "pass:" + secret
	withKey := []string{"pkcs12", "-export", "-in", "leaf.pem", "-inkey", "key.pem", "-certfile", "ca.pem"}
	noKeys := []string{"pkcs12", "-export", "-nokeys", "-in", "chain.pem"}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"key and chain":               {append(withKey, "-passout", pass), "leaf CA"},
		"key and chain, legacy":       {append(withKey, "-passout", pass, "-legacy"), "leaf CA"},
		"key and chain, 3DES":         {append(withKey, "-passout", pass, "-descert"), "leaf CA"},
		"key and chain, named":        {append(withKey, "-passout", pass, "-name", "näme", "-caname", "x"), "leaf CA"},
		"key and chain, SHA-512":      {append(withKey, "-passout", pass, "-macalg", "sha512"), "leaf CA"},
		"key and chain, SHA-384":      {append(withKey, "-passout", pass, "-macalg", "sha384"), "leaf CA"},
		"key and chain, no MAC":       {append(withKey, "-passout", pass, "-nomac"), "leaf CA"},
		"key and chain, plain":        {append(withKey, "-passout", pass, "-keypbe", "NONE", "-certpbe", "NONE"), "leaf CA"},
		"certificates":                {append(noKeys, "-passout", pass), "leaf CA"},
		"certificates, legacy":        {append(noKeys, "-passout", pass, "-legacy"), "leaf CA"},
		"certificates, 600,000 times": {append(noKeys, "-passout", pass, "-iter", "600000"), "leaf CA"},
	} {
		t.Run(name, func(t *testing.T) {
			openssl(append(tt.args, "-out", "out.p12")...)
			read := func(password string) (*Bundle, error) {
				b, err := ReadFile(filepath.Join(dir, "out.p12"), "", password)
				assertBounded(t, b, err)
				return b, err
			}
			b, err := read(secret)
			require.NoError(t, err)
			assert.Equal(t, tt.want, found(b))
			assert.Equal(t, FormatPKCS12, b.Format)

			if strings.Contains(name, "no MAC") || strings.Contains(name, "384") {
				return // the password is told to be wrong by the padding alone, which one time in 256 is right by chance
			}
			_, err = read("wrong")
			requireFault(t, FileWrongPassword, err)
			b, err = read("")
			if strings.Contains(name, "plain") {
				require.NoError(t, err, "a password that nothing is encrypted with")
				assert.Equal(t, tt.want, found(b))
			} else {
				requireFault(t, FileWrongPassword, err)
			}
		})
	}
	for name, tt := range map[string]struct {
		args     []string
		password string
		format   Format
		want     string
	}{
		"empty password":         {append(withKey, "-passout", "pass:"), "", FormatPKCS12, "leaf CA"},
		"empty password, legacy": {append(withKey, "-passout", "pass:", "-legacy"), "", FormatPKCS12, "leaf CA"},
		"key alone":              {[]string{"pkcs12", "-export", "-nocerts", "-inkey", "key.pem", "-passout", pass}, secret, FormatPKCS12, string(FileKeyOnly)},
		"trusted":                {[]string{"x509", "-in", "leaf.pem", "-trustout", "-addtrust", "serverAuth", "-setalias", "me"}, "", FormatPEM, "leaf"},
		"text":                   {[]string{"x509", "-in", "leaf.pem", "-text"}, "", FormatPEM, "leaf"},
		"DER":                    {[]string{"x509", "-in", "leaf.pem", "-outform", "DER"}, "", FormatDER, "leaf"},
		"PKCS7":                  {[]string{"crl2pkcs7", "-nocrl", "-certfile", "all.pem"}, "", FormatPEM, "leaf CA root"},
		"PKCS#7":                 {[]string{"crl2pkcs7", "-nocrl", "-certfile", "all.pem", "-outform", "DER"}, "", FormatDER, "leaf CA root"},
		"key, PKCS#8":            {[]string{"pkcs8", "-topk8", "-in", "key.pem", "-passout", pass, "-outform", "DER"}, "", FormatDER, string(FileKeyOnly)},
		"key, SEC 1":             {[]string{"ec", "-in", "key.pem", "-outform", "DER"}, "", FormatDER, string(FileKeyOnly)},
		"key, encrypted in PEM":  {[]string{"ec", "-in", "key.pem", "-aes128", "-passout", pass}, "", FormatPEM, string(FileKeyOnly)},
	} {
		t.Run(name, func(t *testing.T) {
			openssl(append(tt.args, "-out", "out")...)
			for _, format := range []Format{FormatAuto, tt.format} {
				b, err := ReadFile(filepath.Join(dir, "out"), format, tt.password)
				assertBounded(t, b, err)
				if strings.HasPrefix(tt.want, "file_") {
					requireFault(t, Fault(tt.want), err)
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, tt.want, found(b))
				assert.Equal(t, tt.format, b.Format)
			}
		})
	}
	t.Run("PEM of a keystore", func(t *testing.T) { // with bag attributes
		openssl(append(withKey, "-passout", pass, "-out", "out.p12")...)
		openssl("pkcs12", "-in", "out.p12", "-passin", pass, "-nodes", "-out", "out")
		b, err := ReadFile(filepath.Join(dir, "out"), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf CA", found(b))
	})
}

func TestFilesOfKeytool(t *testing.T) {
	dir := filesDir(t)
	keytool := command(t, "keytool", dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "leaf.p12"), keyPFX(t, secret), 0o600))
	for name, tt := range map[string]struct {
		format Format
		args   []string
	}{
		"PKCS12": {FormatPKCS12, nil},
		"legacy": {FormatPKCS12, []string{"-J-Dkeystore.pkcs12.legacy"}},
		"JKS":    {FormatJKS, []string{"-storetype", "jks"}},
		"JCEKS":  {FormatJKS, []string{"-storetype", "jceks"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a program of Java takes a second each time
			do := func(args ...string) {
				t.Helper()
				keytool(append(append(args, "-keystore", name+".jks", "-storepass", secret, "-noprompt"), tt.args...)...)
			}
			read := func(format Format, password string) (*Bundle, error) {
				b, err := ReadFile(filepath.Join(dir, name+".jks"), format, password)
				assertBounded(t, b, err)
				return b, err
			}
			do("-importcert", "-alias", "b", "-file", "root.pem")
			b, err := read("", secret)
			require.NoError(t, err)
			assert.Equal(t, "root", found(b))

			do("-importkeystore", "-srckeystore", "leaf.p12", "-srcstorepass", secret, "-srcalias", "1", "-destalias", "c", "-destkeypass", secret)
			want := "root leaf CA"
			if tt.format == FormatPKCS12 {
				want = "leaf CA root" // which makes it a chain
			}
			for _, format := range []Format{"", FormatJKS, FormatPKCS12} {
				b, err = read(format, secret)
				require.NoError(t, err)
				assert.Equal(t, want, found(b))
				assert.Equal(t, tt.format, b.Format)
			}
			_, err = read("", "wrong")
			requireFault(t, FileWrongPassword, err)
			b, err = read("", "")
			if tt.format == FormatJKS {
				require.NoError(t, err)
				assert.Equal(t, want, found(b))
			} else {
				requireFault(t, FileWrongPassword, err)
			}

			switch name {
			case "PKCS12":
				do("-delete", "-alias", "b")
				do("-delete", "-alias", "c")
				_, err = read("", secret)
				requireFault(t, FileEmpty, err)
			case "JCEKS":
				do("-genseckey", "-alias", "a", "-keyalg", "AES", "-keysize", "128", "-keypass", secret)
				b, err = read("", secret)
				if err != nil { // it stands first
					requireFault(t, FileMalformed, err)
				} else {
					assert.Equal(t, 1, b.BadCount)
				}
			}
		})
	}
}

func TestJKSMemoryIsBounded(t *testing.T) {
	const long = 65535
	data := join([]byte(magicJKS+"\x00\x00\x00\x01\x00\x00\x00\x01"+"\x00\x00\x00\x01\xff\xff"), make([]byte, long),
		[]byte("12345678\x00\x00\x00\x00\xff\xff\xff\xff"), make([]byte, MaxFile-2*long))
	assert.Less(t, allocated(func() {
		_, err := ParseFile(data, "", "")
		requireFault(t, FileMalformed, err)
	}), uint64(24*MaxFile)) // most of it was but for a moment
}
