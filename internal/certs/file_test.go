package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const secret = "Geheim!" // the password of the keystores; no error may quote it

var (
	fileRoot = tlsfarm.NewAuthority("root")
	fileCA   = fileRoot.Intermediate("CA")
	fileLeaf = fileCA.Issue("leaf")
	badCert  = unparsable(fileLeaf)

	leafPEM = pemOf("CERTIFICATE", fileLeaf.Leaf.Raw)
	caPEM   = pemOf("CERTIFICATE", fileCA.Certificate.Raw)
	keyPEM  = pemOf("PRIVATE KEY", keyOf(fileLeaf))
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyOf(c tls.Certificate) []byte { return must(x509.MarshalPKCS8PrivateKey(c.PrivateKey)) }

// unparsable returns the certificate with a negative serial number, which crypto/x509 does not parse.
func unparsable(c tls.Certificate) []byte {
	raw := bytes.Clone(c.Leaf.Raw)
	serial := append([]byte{byte(asn1.INTEGER), byte(len(c.Leaf.SerialNumber.Bytes()))}, c.Leaf.SerialNumber.Bytes()...)
	at := bytes.Index(raw, serial)
	if at < 0 { // its first bit is set, so a zero byte precedes it
		at = bytes.Index(raw, serial[2:]) - 3
	}
	raw[at+2] = 0x80
	return raw
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// found returns the common names of the certificates in b and, if any parts are bad, their number.
func found(b *Bundle) string {
	var words []string
	for _, c := range b.Certificates {
		words = append(words, c.Subject.CommonName)
	}
	if b.BadCount > 0 {
		words = append(words, fmt.Sprintf("%d bad", b.BadCount))
	}
	return strings.Join(words, " ")
}

func requireFound(t *testing.T, want string, data []byte, format Format, password string) *Bundle {
	t.Helper()
	b, err := ParseFile(data, format, password)
	require.NoError(t, err)
	assertBounded(t, b, err)
	require.Equal(t, want, found(b), b.Bad)
	return b
}

func requireFault(t *testing.T, want Fault, err error) *FileError {
	t.Helper()
	var e *FileError
	require.ErrorAs(t, err, &e)
	require.Equal(t, want, e.Fault, e.Error())
	assertBounded(t, nil, err)
	return e
}

// assertBounded asserts what is true of every result of ParseFile.
func assertBounded(t testing.TB, b *Bundle, err error) {
	t.Helper()
	clean := func(s string) {
		assert.Equal(t, text.Clean(s, 256), s)
		assert.NotContains(t, s, secret)
	}
	if err != nil {
		require.Nil(t, b)
		var e *FileError
		require.ErrorAs(t, err, &e)
		assert.Contains(t, string(e.Fault), "file_")
		clean(e.Error())
		return
	}
	require.NotEmpty(t, b.Certificates)
	assert.LessOrEqual(t, len(b.Certificates), maxCertificates)
	assert.Len(t, b.Bad, min(b.BadCount, maxBad))
	for _, err := range b.Bad {
		clean(err.Error())
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestFormats(t *testing.T) {
	assert.Equal(t, []string{"auto", "pem", "der", "pkcs12", "jks"}, Formats())
	contents := map[Format][]byte{
		FormatPEM:    leafPEM,
		FormatDER:    fileLeaf.Leaf.Raw,
		FormatPKCS12: trustStore(t, "", fileLeaf.Leaf),
		FormatJKS:    jks(t, "", fileLeaf.Leaf),
	}
	for actual, data := range contents {
		for _, expected := range append(Formats(), "", "zip") {
			t.Run(fmt.Sprintf("%s as %s", actual, expected), func(t *testing.T) {
				bothKeystores := expected == "jks" && actual == FormatPKCS12 || expected == "pkcs12" && actual == FormatJKS
				if expected == "auto" || expected == "" || expected == string(actual) || bothKeystores {
					assert.Equal(t, actual, requireFound(t, "leaf", data, Format(expected), "").Format)
					return
				}
				_, err := ParseFile(data, Format(expected), "")
				requireFault(t, FileMalformed, err)
				assert.ErrorContains(t, err, fmt.Sprintf("expected %s, but its format is %s", expected, actual))
			})
		}
	}
}

func TestFilesWithoutCertificates(t *testing.T) {
	sec1 := must(x509.MarshalECPrivateKey(fileLeaf.PrivateKey.(*ecdsa.PrivateKey)))
	request := must(x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, fileLeaf.PrivateKey))
	encrypted := derElement(asn1.SEQUENCE, derElement(asn1.SEQUENCE, derElement(asn1.OBJECT_IDENTIFIER, []byte(oidSHA1))), derElement(asn1.OCTET_STRING))
	public := must(x509.MarshalPKIXPublicKey(fileLeaf.Leaf.PublicKey))
	indefinite := append([]byte{0x30, 0x80}, append(slices.Clone(fileLeaf.Leaf.Raw[4:]), 0, 0)...)
	noKey := derElement(asn1.SEQUENCE, derElement(asn1.INTEGER, []byte{2}), derElement(asn1.INTEGER, []byte{3}))
	tests := map[string]struct {
		data   []byte
		want   Fault
		detail string
	}{
		"nothing":     {nil, FileEmpty, "the file is empty"},
		"white space": {[]byte(" \r\n\t\n"), FileEmpty, "the file is empty"},

		"key in PEM":                  {keyPEM, FileKeyOnly, "the file contains private keys but no certificate"},
		"keys and parameters":         {join(pemOf("EC PARAMETERS", nil), pemOf("EC PRIVATE KEY", sec1), keyPEM), FileKeyOnly, ""},
		"encrypted key in PEM":        {pemOf("ENCRYPTED PRIVATE KEY", nil), FileKeyOnly, ""},
		"PKCS#8":                      {keyOf(fileLeaf), FileKeyOnly, ""},
		"PKCS#8 of Ed25519":           {must(x509.MarshalPKCS8PrivateKey(edKey())), FileKeyOnly, ""},
		"PKCS#8, encrypted":           {encrypted, FileKeyOnly, ""},
		"PKCS#1":                      {derElement(asn1.SEQUENCE, derElement(asn1.INTEGER, []byte{0}), derElement(asn1.INTEGER, []byte{3})), FileKeyOnly, ""},
		"SEC 1":                       {sec1, FileKeyOnly, ""},
		"key and bad block":           {join(keyPEM, pemOf("CERTIFICATE", badCert)), FileMalformed, "its serial number is negative"},
		"bad block":                   {pemOf("CERTIFICATE", []byte("abc")), FileMalformed, "PEM block at line 1: x509: malformed"},
		"request in PEM":              {pemOf("CERTIFICATE REQUEST", request), FileMalformed, `it contains a PEM block of type "CERTIFICATE REQUEST"`},
		"request":                     {request, FileMalformed, "certificate 1: x509: "},
		"public key":                  {public, FileMalformed, "certificate 1: x509: "},
		"not a key either":            {noKey, FileMalformed, "starts like DER"},
		"truncated":                   {fileLeaf.Leaf.Raw[:100], FileMalformed, "starts like DER"},
		"BER":                         {indefinite, FileMalformed, "it is encoded in BER, not in DER"},
		"text":                        {[]byte("Hello, world!"), FileMalformed, "not PEM, DER, PKCS#12 or JKS"},
		"hostile PEM type":            {[]byte("-----BEGIN \x1b[2J" + strings.Repeat("\xff", 1000) + "-----"), FileMalformed, "PEM block at line 1: malformed"},
		"PKCS#7 of another kind":      {bytes.Replace(pkcs7(fileLeaf.Leaf.Raw), []byte(oidSignedData), []byte(oidEncryptedData), 1), FileMalformed, "PKCS#7: malformed"},
		"PKCS#7 without certificates": {pkcs7(), FileEmpty, "the file is empty: it has no entries"},
		"PKCS#7 in bad base64":        {[]byte("-----BEGIN PKCS7-----\n*\n-----END PKCS7-----\n"), FileMalformed, "PEM block at line 1: malformed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFile(tt.data, "", secret)
			assert.Contains(t, requireFault(t, tt.want, err).Error(), tt.detail)
		})
	}
}

func TestBadIsBounded(t *testing.T) {
	b := requireFound(t, "leaf CA 250 bad", join(leafPEM, bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), 250), caPEM), "", "")
	assert.Len(t, b.Bad, maxBad)
}

func TestCertificatesAreBounded(t *testing.T) {
	var many []*x509.Certificate
	for range maxCertificates + 3 {
		many = append(many, fileLeaf.Leaf)
	}
	for name, data := range map[string][]byte{
		"PEM": bytes.Repeat(leafPEM, maxCertificates+3),
		"DER": bytes.Repeat(fileLeaf.Leaf.Raw, maxCertificates+3),
		"JKS": jks(t, "", many...),
	} {
		t.Run(name, func(t *testing.T) {
			require.Less(t, len(data), MaxFile)
			b, err := ParseFile(data, "", "")
			require.NoError(t, err)
			assertBounded(t, b, err)
			assert.Len(t, b.Certificates, maxCertificates)
			assert.Equal(t, 3, b.BadCount)
			assert.ErrorContains(t, b.Bad[2], "more than 10000 certificates")
		})
	}
}

// Otherwise a bundle would keep the bytes of the key in memory.
func TestCertificatesAreCopied(t *testing.T) {
	data := join(fileLeaf.Leaf.Raw, keyOf(fileLeaf))
	b := requireFound(t, "leaf", data, "", "")
	clear(data)
	assert.Equal(t, fileLeaf.Leaf.Raw, b.Certificates[0].Raw)
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, data []byte) string {
		require.NoError(t, os.WriteFile(path(name), data, 0o600))
		return path(name)
	}
	link := func(to, name string) string {
		if err := os.Symlink(to, path(name)); err != nil {
			t.Skip("no symbolic links:", err)
		}
		return path(name)
	}
	fault := func(t *testing.T, want Fault, path string) *FileError {
		t.Helper()
		_, err := ReadFile(path, "", "")
		e := requireFault(t, want, err)
		assert.NotContains(t, e.Error(), dir)
		return e
	}
	largest := join(leafPEM, bytes.Repeat([]byte("\n"), MaxFile-len(leafPEM)))

	t.Run("under any name", func(t *testing.T) {
		b, err := ReadFile(write("leaf.jks", leafPEM), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
		assert.Equal(t, FormatPEM, b.Format)
	})
	t.Run("format and password are passed on", func(t *testing.T) {
		p := write("leaf.p12", trustStore(t, secret, fileLeaf.Leaf))
		_, err := ReadFile(p, FormatDER, secret)
		requireFault(t, FileMalformed, err)
		_, err = ReadFile(p, FormatPKCS12, secret+"x")
		requireFault(t, FileWrongPassword, err)
		b, err := ReadFile(p, FormatPKCS12, secret)
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
	})
	t.Run("missing", func(t *testing.T) { fault(t, FileNotFound, path("missing")) })
	t.Run("empty", func(t *testing.T) { fault(t, FileEmpty, write("empty", nil)) })
	t.Run("directory", func(t *testing.T) {
		assert.ErrorContains(t, fault(t, FileUnreadable, dir), "it is a directory")
	})
	t.Run("below a file", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("Windows reports a missing file")
		}
		fault(t, FileUnreadable, filepath.Join(write("file", leafPEM), "leaf.pem"))
	})
	t.Run("through symbolic links", func(t *testing.T) {
		b, err := ReadFile(link(link(write("1.pem", leafPEM), "2.pem"), "3.pem"), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
	})
	t.Run("dangling link", func(t *testing.T) { fault(t, FileNotFound, link("nowhere", "dangling")) })
	t.Run("link to itself", func(t *testing.T) { fault(t, FileUnreadable, link("itself", "itself")) })
	t.Run("unreadable", func(t *testing.T) {
		p := write("unreadable", leafPEM)
		require.NoError(t, os.Chmod(p, 0))
		if _, err := os.ReadFile(p); err == nil {
			t.Skip("this user can read every file")
		}
		assert.ErrorIs(t, fault(t, FileUnreadable, p), fs.ErrPermission)
	})
	t.Run("FIFO", func(t *testing.T) {
		if err := exec.Command("mkfifo", path("fifo")).Run(); err != nil {
			t.Skip("no mkfifo:", err)
		}
		assert.ErrorContains(t, fault(t, FileUnreadable, path("fifo")), "it is not a regular file")
	})
	t.Run("device", func(t *testing.T) {
		if _, err := os.Stat("/dev/zero"); err != nil {
			t.Skip("no devices:", err)
		}
		assert.ErrorContains(t, fault(t, FileUnreadable, "/dev/zero"), "it is not a regular file")
	})
	t.Run("largest", func(t *testing.T) {
		b, err := ReadFile(write("largest", largest), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
	})
	t.Run("too large", func(t *testing.T) {
		assert.ErrorContains(t, fault(t, FileTooLarge, write("large", append(largest, '\n'))), "more than 16 MiB")
	})
	t.Run("far too large", func(t *testing.T) { // a sparse file, of which not everything may be read
		if runtime.GOOS == "windows" {
			t.Skip("files are not sparse by default")
		}
		p := write("sparse", nil)
		require.NoError(t, os.Truncate(p, 1<<30))
		assert.Less(t, allocated(func() { fault(t, FileTooLarge, p) }), 8*uint64(MaxFile))
	})
	t.Run("growing", func(t *testing.T) {
		p := write("growing", leafPEM)
		f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer f.Close()
			for range 200 {
				_, _ = f.Write(bytes.Repeat([]byte{'\n'}, 1<<17))
			}
		}()
		for running := true; running; {
			b, err := ReadFile(p, "", "")
			assertBounded(t, b, err)
			select {
			case <-done:
				running = false
			default:
			}
		}
		fault(t, FileTooLarge, p)
	})
}

func TestFileErrorUnwraps(t *testing.T) {
	cause := errors.New("cause\n")
	assert.ErrorIs(t, &FileError{Fault: FileUnreadable, Err: cause}, cause)
	assert.EqualError(t, &FileError{Fault: FileUnreadable, Err: cause}, "the file cannot be read: cause�")
	assert.EqualError(t, &FileError{Fault: FileNotFound}, "the file does not exist")
}

func FuzzParseFile(f *testing.F) {
	for _, data := range [][]byte{
		leafPEM, keyPEM, join(leafPEM, caPEM), fileLeaf.Leaf.Raw, keyOf(fileLeaf), join(fileLeaf.Leaf.Raw, badCert),
		pkcs7(fileLeaf.Leaf.Raw, badCert), pemOf("PKCS7", pkcs7(fileLeaf.Leaf.Raw)),
		trustStore(f, secret, fileLeaf.Leaf), trustStore(f, "", fileLeaf.Leaf), keyStore(f, secret), plainKeyStore(f),
		derElement(asn1.SEQUENCE, certBag(fileLeaf.Leaf.Raw), certBag(badCert), shroudedBag(1)),
		jks(f, secret, fileLeaf.Leaf), jks(f, "", fileLeaf.Leaf, fileCA.Certificate), keyJKS(f, secret),
	} {
		for i := range Formats() {
			f.Add(data, uint8(i), secret)
			f.Add(data, uint8(i), "")
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, format uint8, password string) {
		for _, file := range [][]byte{
			data,
			pfxOf(contentInfo(oidData, octetString(data)), encryptedPart(pbes2(data, password, 1))), // as the content of a keystore
		} {
			b, err := ParseFile(file, Format(Formats()[int(format)%len(Formats())]), password)
			assertBounded(t, b, err)
			if err != nil {
				assert.NotContains(t, err.Error(), "panicked")
				continue
			}
			assert.LessOrEqual(t, len(b.Certificates)+b.BadCount, len(file))
		}
	})
}
