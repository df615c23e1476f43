package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// jks returns a keystore of trusted certificates, which are in the order of their aliases.
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

// keyJKS returns a keystore with a key and, before and after it, a trusted certificate.
func keyJKS(t testing.TB, password string) []byte {
	ks := keystore.New() // in random order
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
	for range 10 { // the library writes the entries in random order
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

	b = requireFound(t, "leaf CA 1 bad", jks(t, secret, fileLeaf.Leaf, &x509.Certificate{Raw: badCert}, fileCA.Certificate), "", secret)
	assert.EqualError(t, b.Bad[0], `entry "00001", certificate 1: a certificate this collector cannot read, "leaf": its serial number is negative`)

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

// Version 1 has no certificate types. An entry of unknown type has unknown length.
func TestJKSVersionsAndTypes(t *testing.T) {
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
	requireFound(t, "leaf 1 bad", file(magicJKS, 2, 1, entry(2, "a"), typed(leaf), []byte("after")), "", "")
	requireFound(t, "leaf leaf", file(magicJKS, 2, 2, entry(2, "a"), typed(leaf), entry(2, "a"), typed(leaf)), "", "")
	b := requireFound(t, "leaf 1 bad", file(magicJKS, 2, 2, entry(2, "a"), typed(leaf), entry(2, "\x1b\xff"), typed(nil)), "", "")
	assert.ErrorContains(t, b.Bad[0], `entry "\x1b\xff", certificate 1: x509: malformed`)
	b = requireFound(t, "leaf 1 bad", file(magicJKS, 1, 2, entry(2, "a"), blob(leaf), entry(2, strings.Repeat("b", 255)), blob(nil)), "", "")
	assert.Len(t, b.Bad[0].Error(), 256)
	_, err := ParseFile(file(magicJKS, 3, 1, entry(2, "a"), blob(leaf)), "", "")
	requireFault(t, FileMalformed, err)
}

// A length in the file must not make the reader allocate memory.
func TestJKSLengthsAreChecked(t *testing.T) {
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

func TestJKSMemoryIsBounded(t *testing.T) {
	const long = 65535
	data := join([]byte(magicJKS+"\x00\x00\x00\x01\x00\x00\x00\x01"+"\x00\x00\x00\x01\xff\xff"), make([]byte, long),
		[]byte("12345678\x00\x00\x00\x00\xff\xff\xff\xff"), make([]byte, MaxFile-2*long))
	assert.Less(t, allocated(func() {
		_, err := ParseFile(data, "", "")
		requireFault(t, FileMalformed, err)
	}), uint64(24*MaxFile)) // most of it is garbage already
}
