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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const secret = "Geheim!" // the password of the keystores here, which no error may tell

var (
	fileRoot = tlsfarm.NewAuthority("root")
	fileCA   = fileRoot.Intermediate("CA")
	fileLeaf = fileCA.Issue("leaf")
	oddCert  = odd(fileLeaf)

	leafPEM = pemOf("CERTIFICATE", fileLeaf.Leaf.Raw)
	caPEM   = pemOf("CERTIFICATE", fileCA.Certificate.Raw)
	keyPEM  = pemOf("PRIVATE KEY", keyOf(fileLeaf))
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyOf(c tls.Certificate) []byte { return must(x509.MarshalPKCS8PrivateKey(c.PrivateKey)) }

// odd makes a certificate that crypto/x509 does not parse, as its serial number is negative.
func odd(c tls.Certificate) []byte {
	raw := bytes.Clone(c.Leaf.Raw)
	serial := append([]byte{byte(asn1.INTEGER), byte(len(c.Leaf.SerialNumber.Bytes()))}, c.Leaf.SerialNumber.Bytes()...)
	at := bytes.Index(raw, serial)
	if at < 0 { // its first bit is set, so that a zero stands before it
		at = bytes.Index(raw, serial[2:]) - 3
	}
	raw[at+2] = 0x80
	return raw
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// found writes what was found as the common names, and the number of what was bad behind them.
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

// assertBounded asserts what must be true of every answer.
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

// allocated returns how many bytes of memory were asked for.
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
		FormatPKCS12: pfx(t, "", fileLeaf.Leaf),
		FormatJKS:    jks(t, "", fileLeaf.Leaf),
	}
	for is, data := range contents {
		for _, asked := range append(Formats(), "", "zip") {
			t.Run(fmt.Sprintf("%s as %s", is, asked), func(t *testing.T) {
				interchangeable := asked == "jks" && is == FormatPKCS12 || asked == "pkcs12" && is == FormatJKS
				if asked == "auto" || asked == "" || asked == string(is) || interchangeable {
					assert.Equal(t, is, requireFound(t, "leaf", data, Format(asked), "").Format)
					return
				}
				_, err := ParseFile(data, Format(asked), "")
				requireFault(t, FileMalformed, err)
				assert.ErrorContains(t, err, fmt.Sprintf("is to be %s, but looks like %s", asked, is))
			})
		}
	}
}

func TestPEM(t *testing.T) {
	lines := func(b []byte) []string { return strings.SplitAfter(string(b), "\n") }
	noEnd := []byte(strings.Join(lines(leafPEM)[:3], ""))
	noBase64 := bytes.Replace(leafPEM, []byte("\nMII"), []byte("\nM*I"), 1)
	other := bytes.Replace(leafPEM, []byte("END CERTIFICATE"), []byte("END X509 CRL"), 1)
	tests := map[string]struct {
		data []byte
		want string
	}{
		"one":                       {leafPEM, "leaf"},
		"bundle":                    {join(leafPEM, caPEM, fileRoot.PEM()), "leaf CA root"},
		"order is kept":             {join(fileRoot.PEM(), caPEM, leafPEM), "root CA leaf"},
		"duplicates are kept":       {join(leafPEM, caPEM, leafPEM), "leaf CA leaf"},
		"key first":                 {join(keyPEM, leafPEM), "leaf"},
		"key last":                  {join(leafPEM, keyPEM), "leaf"},
		"key in the middle":         {join(leafPEM, keyPEM, caPEM), "leaf CA"},
		"a key that is none":        {join(leafPEM, pemOf("RSA PRIVATE KEY", []byte("x")), []byte("-----BEGIN EC PRIVATE KEY-----\n*\n"), caPEM), "leaf CA"},
		"CRLF":                      {bytes.ReplaceAll(join(leafPEM, keyPEM, caPEM), []byte("\n"), []byte("\r\n")), "leaf CA"},
		"byte order mark":           {join([]byte("\ufeff"), leafPEM), "leaf"},
		"text around":               {join([]byte("Certificate:\n  Data: 0\n"), leafPEM, []byte("text ----- between\n"), caPEM, []byte("behind")), "leaf CA"},
		"text that begins like DER": {join([]byte("00 of 01\n"), leafPEM), "leaf"},
		"bag attributes":            {join([]byte("Bag Attributes\n    localKeyID: 54 69 6D 65\nsubject=CN = leaf\n"), leafPEM), "leaf"},
		"no newline at the end":     {bytes.TrimSpace(leafPEM), "leaf"},
		"no newline between":        {join(bytes.TrimSpace(leafPEM), caPEM), "leaf CA"},
		"X509 CERTIFICATE":          {join(pemOf("X509 CERTIFICATE", fileLeaf.Leaf.Raw), caPEM), "leaf CA"},
		"TRUSTED CERTIFICATE":       {join(pemOf("TRUSTED CERTIFICATE", join(fileLeaf.Leaf.Raw, der(asn1.SEQUENCE))), caPEM), "leaf CA"},
		"PKCS7":                     {join(pemOf("PKCS7", pkcs7(fileLeaf.Leaf.Raw, fileCA.Certificate.Raw)), fileRoot.PEM()), "leaf CA root"},
		"CMS":                       {pemOf("CMS", pkcs7(fileLeaf.Leaf.Raw)), "leaf"},
		"others":                    {join(pemOf("EC PARAMETERS", []byte{5, 0}), pemOf("X509 CRL", nil), leafPEM), "leaf"},

		"bad base64":             {join(leafPEM, noBase64, caPEM), "leaf CA 1 bad"},
		"bad DER":                {join(leafPEM, pemOf("CERTIFICATE", []byte("\x30\x03abc")), caPEM), "leaf CA 1 bad"},
		"data behind":            {join(leafPEM, pemOf("CERTIFICATE", join(fileLeaf.Leaf.Raw, []byte{5, 0})), caPEM), "leaf CA 1 bad"},
		"odd":                    {join(leafPEM, pemOf("CERTIFICATE", oddCert), caPEM), "leaf CA 1 bad"},
		"no END":                 {join(leafPEM, noEnd, caPEM), "leaf CA 1 bad"},
		"no END first":           {join(noEnd, leafPEM, caPEM), "leaf CA 1 bad"},
		"no END last":            {join(leafPEM, noEnd), "leaf 1 bad"},
		"another END":            {join(leafPEM, other, caPEM), "leaf CA 1 bad"},
		"BEGIN lacks a dash":     {join(leafPEM, bytes.Replace(leafPEM, []byte("TE-----"), []byte("TE----"), 1), caPEM), "leaf CA 1 bad"},
		"BEGIN alone":            {join(leafPEM, []byte("-----BEGIN CERTIFICATE-----")), "leaf 1 bad"},
		"bad TRUSTED":            {join(pemOf("TRUSTED CERTIFICATE", []byte("\x30\x82")), leafPEM, pemOf("TRUSTED CERTIFICATE", oddCert)), "leaf 2 bad"},
		"bad PKCS7":              {join(pemOf("PKCS7", fileLeaf.Leaf.Raw), leafPEM, pemOf("PKCS7", pkcs7(oddCert, fileCA.Certificate.Raw))), "leaf CA 2 bad"},
		"indented, as in a YAML": {join(leafPEM, []byte("  "+strings.ReplaceAll(string(leafPEM), "\n", "\n  "))), "leaf 1 bad"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, format := range []Format{FormatAuto, FormatPEM} {
				assert.Equal(t, FormatPEM, requireFound(t, tt.want, tt.data, format, "").Format)
			}
		})
	}
	assert.True(t, requireFound(t, "leaf", leafPEM, "", "").Certificates[0].Equal(fileLeaf.Leaf))

	b := requireFound(t, "leaf CA 2 bad", join([]byte("text\n"), leafPEM, noEnd, caPEM, pemOf("CERTIFICATE", oddCert)), "", "")
	in := func(part string) int {
		return 2 + bytes.Count(join(leafPEM, noEnd, caPEM)[:], []byte("\n")) - strings.Count(part, "\n")
	}
	assert.EqualError(t, b.Bad[0], fmt.Sprintf("PEM block in line %d: malformed", in(string(join(noEnd, caPEM)))))
	assert.EqualError(t, b.Bad[1], fmt.Sprintf("PEM block in line %d: x509: negative serial number", in("")))
}

func TestDER(t *testing.T) {
	leaf, ca, key := fileLeaf.Leaf.Raw, fileCA.Certificate.Raw, keyOf(fileLeaf)
	tests := map[string]struct {
		data []byte
		want string
	}{
		"one":                 {leaf, "leaf"},
		"concatenated":        {join(leaf, ca, fileRoot.Certificate.Raw, leaf), "leaf CA root leaf"},
		"key first":           {join(key, leaf), "leaf"},
		"key last":            {join(leaf, key), "leaf"},
		"odd":                 {join(leaf, oddCert, ca), "leaf CA 1 bad"},
		"odd first":           {join(oddCert, ca), "CA 1 bad"},
		"cut off":             {join(leaf, ca[:len(ca)-1]), "leaf 1 bad"},
		"text behind":         {join(leaf, []byte("\n")), "leaf 1 bad"},
		"something else":      {join(leaf, der(asn1.SEQUENCE), ca), "leaf CA 1 bad"},
		"PEM behind":          {join(leaf, leafPEM), "leaf 1 bad"},
		"PKCS#7":              {pkcs7(leaf, ca), "leaf CA"},
		"PKCS#7 with odd one": {pkcs7(leaf, oddCert, ca), "leaf CA 1 bad"},
		"PKCS#7 with another": {pkcs7(leaf, der(asn1.Tag(3).ContextSpecific().Constructed()), ca), "leaf CA 1 bad"},
		"PKCS#7, cut off":     {pkcs7(leaf, ca[:len(ca)-1]), "leaf 1 bad"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, format := range []Format{FormatAuto, FormatDER} {
				assert.Equal(t, FormatDER, requireFound(t, tt.want, tt.data, format, "").Format)
			}
		})
	}
	b := requireFound(t, "leaf CA 2 bad", join(leaf, oddCert, oddCert, ca), "", "")
	assert.EqualError(t, b.Bad[1], "certificate 3: x509: negative serial number")
}

// pkcs7 makes the SignedData of a bundle, with a CRL behind the certificates.
func pkcs7(certificates ...[]byte) []byte {
	oid := func(s string) []byte { return der(asn1.OBJECT_IDENTIFIER, []byte(s)) }
	return der(asn1.SEQUENCE, oid(oidSignedData), der(context0, der(asn1.SEQUENCE,
		der(asn1.INTEGER, []byte{1}), der(asn1.SET), der(asn1.SEQUENCE, oid(oidData)), der(context0, certificates...),
		der(asn1.Tag(1).ContextSpecific().Constructed(), der(asn1.SEQUENCE)), der(asn1.SET))))
}

func TestFilesWithoutCertificates(t *testing.T) {
	sec1 := must(x509.MarshalECPrivateKey(fileLeaf.PrivateKey.(*ecdsa.PrivateKey)))
	request := must(x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, fileLeaf.PrivateKey))
	encrypted := der(asn1.SEQUENCE, der(asn1.SEQUENCE, der(asn1.OBJECT_IDENTIFIER, []byte(oidSHA1))), der(asn1.OCTET_STRING))
	public := must(x509.MarshalPKIXPublicKey(fileLeaf.Leaf.PublicKey))
	indefinite := append([]byte{0x30, 0x80}, append(slices.Clone(fileLeaf.Leaf.Raw[4:]), 0, 0)...)
	noKey := der(asn1.SEQUENCE, der(asn1.INTEGER, []byte{2}), der(asn1.INTEGER, []byte{3}))
	tests := map[string]struct {
		data   []byte
		want   Fault
		detail string
	}{
		"nothing":     {nil, FileEmpty, "the file is empty"},
		"white space": {[]byte(" \r\n\t\n"), FileEmpty, "the file is empty"},

		"key in PEM":             {keyPEM, FileKeyOnly, "the file holds private keys and no certificate"},
		"keys and parameters":    {join(pemOf("EC PARAMETERS", nil), pemOf("EC PRIVATE KEY", sec1), keyPEM), FileKeyOnly, ""},
		"encrypted key in PEM":   {pemOf("ENCRYPTED PRIVATE KEY", nil), FileKeyOnly, ""},
		"PKCS#8":                 {keyOf(fileLeaf), FileKeyOnly, ""},
		"PKCS#8 of Ed25519":      {must(x509.MarshalPKCS8PrivateKey(edKey())), FileKeyOnly, ""},
		"PKCS#8, encrypted":      {encrypted, FileKeyOnly, ""},
		"PKCS#1":                 {der(asn1.SEQUENCE, der(asn1.INTEGER, []byte{0}), der(asn1.INTEGER, []byte{3})), FileKeyOnly, ""},
		"SEC 1":                  {sec1, FileKeyOnly, ""},
		"key and bad block":      {join(keyPEM, pemOf("CERTIFICATE", oddCert)), FileMalformed, "negative serial number"},
		"bad block":              {pemOf("CERTIFICATE", []byte("abc")), FileMalformed, "PEM block in line 1: x509: malformed"},
		"request in PEM":         {pemOf("CERTIFICATE REQUEST", request), FileMalformed, `it holds "CERTIFICATE REQUEST"`},
		"request":                {request, FileMalformed, "certificate 1: x509: "},
		"public key":             {public, FileMalformed, "certificate 1: x509: "},
		"neither key":            {noKey, FileMalformed, "begins like DER"},
		"cut off":                {fileLeaf.Leaf.Raw[:100], FileMalformed, "begins like DER"},
		"BER":                    {indefinite, FileMalformed, "begins like DER"},
		"text":                   {[]byte("Hello, world!"), FileMalformed, "neither PEM, DER, PKCS#12 nor JKS"},
		"a hostile type of PEM":  {[]byte("-----BEGIN \x1b[2J" + strings.Repeat("\xff", 1000) + "-----"), FileMalformed, "PEM block in line 1: malformed"},
		"PKCS#7 of no kind":      {bytes.Replace(pkcs7(fileLeaf.Leaf.Raw), []byte(oidSignedData), []byte(oidEncryptedData), 1), FileMalformed, "PKCS#7: malformed"},
		"PKCS#7 without any":     {pkcs7(), FileEmpty, "the file is empty: no entry is in it"},
		"PKCS#7 in PEM, no base": {[]byte("-----BEGIN PKCS7-----\n*\n-----END PKCS7-----\n"), FileMalformed, "PEM block in line 1: malformed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFile(tt.data, "", secret)
			assert.Contains(t, requireFault(t, tt.want, err).Error(), tt.detail)
		})
	}
}

func TestBadOnesAreBounded(t *testing.T) {
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

// Else a bundle that is kept would keep the key's bytes with it.
func TestCertificatesDoNotShareTheFilesMemory(t *testing.T) {
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
	refused := func(t *testing.T, want Fault, path string) *FileError {
		t.Helper()
		_, err := ReadFile(path, "", "")
		e := requireFault(t, want, err)
		assert.NotContains(t, e.Error(), dir, "the caller knows the path")
		return e
	}
	largest := join(leafPEM, bytes.Repeat([]byte("\n"), MaxFile-len(leafPEM)))

	t.Run("whatever it is called", func(t *testing.T) {
		b, err := ReadFile(write("leaf.jks", leafPEM), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
		assert.Equal(t, FormatPEM, b.Format)
	})
	t.Run("format and password are passed on", func(t *testing.T) {
		p := write("leaf.p12", pfx(t, secret, fileLeaf.Leaf))
		_, err := ReadFile(p, FormatDER, secret)
		requireFault(t, FileMalformed, err)
		_, err = ReadFile(p, FormatPKCS12, secret+"x")
		requireFault(t, FileWrongPassword, err)
		b, err := ReadFile(p, FormatPKCS12, secret)
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
	})
	t.Run("missing", func(t *testing.T) { refused(t, FileNotFound, path("missing")) })
	t.Run("empty", func(t *testing.T) { refused(t, FileEmpty, write("empty", nil)) })
	t.Run("directory", func(t *testing.T) {
		assert.ErrorContains(t, refused(t, FileUnreadable, dir), "it is a directory")
	})
	t.Run("below a file", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("there it is a missing one")
		}
		refused(t, FileUnreadable, filepath.Join(write("file", leafPEM), "leaf.pem"))
	})
	t.Run("behind symbolic links", func(t *testing.T) {
		b, err := ReadFile(link(link(write("1.pem", leafPEM), "2.pem"), "3.pem"), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
	})
	t.Run("dangling link", func(t *testing.T) { refused(t, FileNotFound, link("nowhere", "dangling")) })
	t.Run("link to itself", func(t *testing.T) { refused(t, FileUnreadable, link("itself", "itself")) })
	t.Run("unreadable", func(t *testing.T) {
		p := write("unreadable", leafPEM)
		require.NoError(t, os.Chmod(p, 0))
		if _, err := os.ReadFile(p); err == nil {
			t.Skip("this user may read everything")
		}
		assert.ErrorIs(t, refused(t, FileUnreadable, p), fs.ErrPermission)
	})
	t.Run("FIFO", func(t *testing.T) {
		if err := exec.Command("mkfifo", path("fifo")).Run(); err != nil {
			t.Skip("no mkfifo:", err)
		}
		assert.ErrorContains(t, refused(t, FileUnreadable, path("fifo")), "it is not a regular file")
	})
	t.Run("device", func(t *testing.T) {
		if _, err := os.Stat("/dev/zero"); err != nil {
			t.Skip("no devices:", err)
		}
		assert.ErrorContains(t, refused(t, FileUnreadable, "/dev/zero"), "it is not a regular file")
	})
	t.Run("largest", func(t *testing.T) {
		b, err := ReadFile(write("largest", largest), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf", found(b))
	})
	t.Run("too large", func(t *testing.T) {
		assert.ErrorContains(t, refused(t, FileTooLarge, write("large", append(largest, '\n'))), "more than 16 MiB")
	})
	t.Run("far too large", func(t *testing.T) { // it has no blocks, and would take as much memory as it says
		if runtime.GOOS == "windows" {
			t.Skip("there it would have blocks")
		}
		p := write("sparse", nil)
		require.NoError(t, os.Truncate(p, 1<<30))
		assert.Less(t, allocated(func() { refused(t, FileTooLarge, p) }), 8*uint64(MaxFile))
	})
	t.Run("while it grows", func(t *testing.T) {
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
			case <-time.After(time.Millisecond):
			}
		}
		refused(t, FileTooLarge, p)
	})
}

func TestFileErrorUnwraps(t *testing.T) {
	cause := errors.New("cause\n")
	assert.ErrorIs(t, &FileError{FileUnreadable, cause}, cause)
	assert.EqualError(t, &FileError{FileUnreadable, cause}, "the file cannot be read: cause�")
	assert.EqualError(t, &FileError{Fault: FileNotFound}, "there is no such file")
}

func FuzzParseFile(f *testing.F) {
	for _, data := range [][]byte{
		leafPEM, keyPEM, join(leafPEM, caPEM), fileLeaf.Leaf.Raw, keyOf(fileLeaf), join(fileLeaf.Leaf.Raw, oddCert),
		pkcs7(fileLeaf.Leaf.Raw, oddCert), pemOf("PKCS7", pkcs7(fileLeaf.Leaf.Raw)),
		pfx(f, secret, fileLeaf.Leaf), pfx(f, "", fileLeaf.Leaf), keyPFX(f, secret), plainPFX(f),
		der(asn1.SEQUENCE, certBag(fileLeaf.Leaf.Raw), certBag(oddCert), shroudedBag(1)),
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
			pfxOf(tagged(oidData, octetString(data)), encryptedPart(pbes2(data, password, 1))), // as what is in a keystore
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

// Whatever stands between two blocks, both are read.
func FuzzBetweenBlocksOfPEM(f *testing.F) {
	for _, between := range [][]byte{nil, keyPEM, caPEM[:40], []byte("-----BEGIN "), []byte("-----END CERTIFICATE-----"), oddCert} {
		f.Add(between)
	}
	f.Fuzz(func(t *testing.T, between []byte) {
		b, err := ParseFile(join(leafPEM, between, []byte("\n"), caPEM), "", "")
		assertBounded(t, b, err)
		require.NoError(t, err)
		assert.True(t, b.Certificates[0].Equal(fileLeaf.Leaf))
		assert.True(t, b.Certificates[len(b.Certificates)-1].Equal(fileCA.Certificate))
		begins := bytes.Count(between, []byte("-----BEGIN "))
		assert.LessOrEqual(t, len(b.Certificates)+b.BadCount, 2+begins)
	})
}

// A key whose newlines were lost, as in an environment variable, is a key still, and nothing of it is told.
func TestKeyInOneLineIsNotTold(t *testing.T) {
	_, key := tlsfarm.PEM(tlsfarm.NewAuthority("Root").Issue("leaf"))
	lines := strings.Split(strings.TrimSpace(string(key)), "\n")
	for _, newline := range []string{" ", "\r", "", "\\n"} {
		text := strings.Join(lines, newline)
		_, err := ParseFile([]byte(text), FormatAuto, "")
		var file *FileError
		require.ErrorAs(t, err, &file)
		assert.Equal(t, FileKeyOnly, file.Fault, "%q", newline)
		for _, line := range lines[1 : len(lines)-1] {
			assert.NotContains(t, err.Error(), line[:8])
		}
	}
	for _, header := range []string{"-----BEGIN PRIVATE KEY MHcCAQEEIL-----", "-----BEGIN private key-----", "-----BEGIN ", "-----BEGIN -----", "-----BEGIN " + strings.Repeat("A", 100) + "-----"} {
		_, err := ParseFile([]byte(header+"\nMHcCAQEEIL\n"), FormatAuto, "")
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "MHcC")
	}
}
