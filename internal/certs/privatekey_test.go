package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// keyFile writes a key file and returns its path.
func keyFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.key")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// certificateFor returns a certificate for a key.
func certificateFor(t *testing.T, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, fileLeaf.Leaf, fileLeaf.Leaf, public, fileLeaf.PrivateKey)
	require.NoError(t, err)
	return must(x509.ParseCertificate(der))
}

// assertKeyProblem asserts the fault and its detail.
func assertKeyProblem(t *testing.T, err error, fault Fault, problem KeyProblem, detail string) {
	t.Helper()
	var file *FileError
	require.ErrorAs(t, err, &file)
	assert.Equal(t, fault, file.Fault)
	var key *KeyError
	require.ErrorAs(t, err, &key)
	assert.Equal(t, problem, key.Problem)
	assert.Equal(t, detail, key.Detail)
	assert.Equal(t, text.Clean(file.Error(), 256), file.Error())
}

func TestCheckKey(t *testing.T) {
	rsaKey, other := must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 2048))
	p256, p384 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p521, p224 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	x := must(ecdh.X25519().GenerateKey(rand.Reader))
	pkcs8 := func(key any) []byte { return must(x509.MarshalPKCS8PrivateKey(key)) }
	sec1 := func(key *ecdsa.PrivateKey) []byte { return must(x509.MarshalECPrivateKey(key)) }
	pkcs1 := x509.MarshalPKCS1PrivateKey(rsaKey)
	encrypted := must(x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", pkcs1, []byte(secret), x509.PEMCipherAES256)) //nolint:staticcheck // files like this exist
	parameters := pemOf("EC PARAMETERS", oidElement(oidP256))
	const rsaName, p256Name = "an RSA key of 2048 bits", "an ECDSA key on the curve P-256"

	for name, c := range map[string]struct {
		file    []byte
		public  crypto.PublicKey
		problem KeyProblem // empty if the key fits
		detail  string
	}{
		"RSA, PKCS#1":              {pemOf("RSA PRIVATE KEY", pkcs1), rsaKey.Public(), "", ""},
		"RSA, PKCS#8":              {pemOf("PRIVATE KEY", pkcs8(rsaKey)), rsaKey.Public(), "", ""},
		"RSA, PKCS#1 in DER":       {pkcs1, rsaKey.Public(), "", ""},
		"RSA, PKCS#8 in DER":       {pkcs8(rsaKey), rsaKey.Public(), "", ""},
		"PKCS#8 called PKCS#1":     {pemOf("RSA PRIVATE KEY", pkcs8(rsaKey)), rsaKey.Public(), "", ""},
		"P-256, SEC 1":             {pemOf("EC PRIVATE KEY", sec1(p256)), p256.Public(), "", ""},
		"P-256 after parameters":   {join(parameters, pemOf("EC PRIVATE KEY", sec1(p256))), p256.Public(), "", ""},
		"P-256, SEC 1 in DER":      {sec1(p256), p256.Public(), "", ""},
		"P-384, PKCS#8":            {pemOf("PRIVATE KEY", pkcs8(p384)), p384.Public(), "", ""},
		"P-521, SEC 1":             {pemOf("EC PRIVATE KEY", sec1(p521)), p521.Public(), "", ""},
		"P-224, PKCS#8 in DER":     {pkcs8(p224), p224.Public(), "", ""},
		"Ed25519":                  {pemOf("PRIVATE KEY", pkcs8(edKey)), edKey.Public(), "", ""},
		"Windows line ends":        {bytes.ReplaceAll(pemOf("PRIVATE KEY", pkcs8(rsaKey)), []byte("\n"), []byte("\r\n")), rsaKey.Public(), "", ""},
		"key after certificate":    {join(leafPEM, caPEM, keyPEM), fileLeaf.Leaf.PublicKey, "", ""},
		"key before certificate":   {join(keyPEM, leafPEM), fileLeaf.Leaf.PublicKey, "", ""},
		"text around it":           {join([]byte("Bag Attributes\n"), keyPEM, []byte("that was it")), fileLeaf.Leaf.PublicKey, "", ""},
		"another RSA key":          {pemOf("RSA PRIVATE KEY", pkcs1), other.Public(), KeyDiffers, "both have " + rsaName + ", but not the same one"},
		"the first of two":         {join(pemOf("RSA PRIVATE KEY", pkcs1), pemOf("PRIVATE KEY", pkcs8(other))), other.Public(), KeyDiffers, "both have " + rsaName + ", but not the same one"},
		"RSA for ECDSA":            {pemOf("RSA PRIVATE KEY", pkcs1), p256.Public(), KeyDiffers, "the certificate is for " + p256Name + ", and this is " + rsaName},
		"ECDSA for RSA":            {sec1(p256), rsaKey.Public(), KeyDiffers, "the certificate is for " + rsaName + ", and this is " + p256Name},
		"P-384 for P-256":          {sec1(p384), p256.Public(), KeyDiffers, "the certificate is for " + p256Name + ", and this is an ECDSA key on the curve P-384"},
		"Ed25519 for RSA":          {pkcs8(edKey), rsaKey.Public(), KeyDiffers, "the certificate is for " + rsaName + ", and this is an Ed25519 key"},
		"X25519":                   {pkcs8(x), edKey.Public(), KeyDiffers, "the certificate is for an Ed25519 key, and this is an X25519 key"},
		"RSA, legacy encryption":   {pem.EncodeToMemory(encrypted), rsaKey.Public(), KeyEncrypted, "it is encrypted"},
		"empty":                    {nil, rsaKey.Public(), KeyMalformed, "it is empty"},
		"blank":                    {[]byte(" \n\n"), rsaKey.Public(), KeyMalformed, "it is empty"},
		"text":                     {[]byte("hello"), rsaKey.Public(), KeyNotKey, "it is neither PEM nor DER"},
		"certificate":              {leafPEM, rsaKey.Public(), KeyNotKey, `it has no private key, but a PEM block of type "CERTIFICATE"`},
		"certificate in DER":       {fileLeaf.Leaf.Raw, rsaKey.Public(), KeyNotKey, "it has no private key"},
		"public key":               {pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(rsaKey.Public()))), rsaKey.Public(), KeyNotKey, `it has no private key, but a PEM block of type "PUBLIC KEY"`},
		"parameters":               {parameters, p256.Public(), KeyNotKey, `it has no private key, but a PEM block of type "EC PARAMETERS"`},
		"Java keystore":            {jks(t, secret, fileLeaf.Leaf), rsaKey.Public(), KeyNotKey, "it is a Java keystore"},
		"PKCS#12":                  {trustStore(t, secret, fileLeaf.Leaf), rsaKey.Public(), KeyNotKey, "it is a PKCS#12 keystore"},
		"OpenSSH":                  {pemOf("OPENSSH PRIVATE KEY", []byte("openssh-key-v1")), rsaKey.Public(), KeyNotKey, "it is a key of OpenSSH"},
		"half of it":               {pemOf("RSA PRIVATE KEY", pkcs1)[:900], rsaKey.Public(), KeyMalformed, "its PEM block at line 1 is malformed"},
		"half of it in DER":        {pkcs1[:900], rsaKey.Public(), KeyNotKey, "it is neither PEM nor DER"},
		"cut key in a whole block": {pemOf("RSA PRIVATE KEY", pkcs1[:900]), rsaKey.Public(), KeyMalformed, "its PEM block at line 1 is malformed"},
		"newlines lost":            {bytes.ReplaceAll(pemOf("PRIVATE KEY", pkcs8(rsaKey)), []byte("\n"), nil), rsaKey.Public(), KeyMalformed, "its PEM block at line 1 is malformed"},
		"no curve":                 {sec1NoCurve(sec1(p256)), p256.Public(), KeyMalformed, "it is malformed"},
		"changed RSA key":          {pemOf("RSA PRIVATE KEY", changed(pkcs1, len(pkcs1)-20)), rsaKey.Public(), KeyMalformed, "its PEM block at line 1 is malformed"},
		"too large":                {make([]byte, maxKeyFile+1), rsaKey.Public(), KeyNotKey, "it has more than 1 MiB"},
		"too large a key":          {derElement(asn1.SEQUENCE, []byte{2, 1, 0}, derElement(asn1.INTEGER, bytes.Repeat([]byte{1}, maxKey))), rsaKey.Public(), KeyUnknownType, "it has more than 16 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			path := keyFile(t, c.file)
			err := CheckKey(path, []*x509.Certificate{certificateFor(t, c.public), fileCA.Certificate})
			if c.problem == "" {
				require.NoError(t, err)
				return
			}
			fault := FileKeyUnreadable
			if c.problem == KeyDiffers {
				fault = FileKeyMismatch
			}
			assertKeyProblem(t, err, fault, c.problem, c.detail)
			var key *KeyError
			require.ErrorAs(t, err, &key)
			assert.Equal(t, path, key.Path)
		})
	}
}

// sec1NoCurve removes the curve from a key on P-256.
func sec1NoCurve(sec1 []byte) []byte {
	const private = 2 + 32 // the octet string
	return derElement(asn1.SEQUENCE, []byte{2, 1, 1}, sec1[5:5+private])
}

// changed returns data with one bit changed.
func changed(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 1
	return data
}

func TestKeyOfAnotherCertificate(t *testing.T) {
	path := keyFile(t, keyPEM)
	err := CheckKey(path, []*x509.Certificate{fileCA.Certificate, fileLeaf.Leaf})
	assertKeyProblem(t, err, FileKeyMismatch, KeyFitsAnother, "it fits another certificate of the file")
	var key *KeyError
	require.ErrorAs(t, err, &key)
	assert.Equal(t, "leaf", key.Subject)
}

// TestKeysByOpenSSL checks keys that OpenSSL writes, and that we agree with it about which fit.
func TestKeysByOpenSSL(t *testing.T) {
	dir := t.TempDir()
	openssl := command(t, "openssl", dir)
	const curve = "it is on a curve that Go does not have "
	types := map[string]struct {
		args   []string
		detail string // empty if Go can read the key
	}{
		"rsa":       {[]string{"genrsa", "2048"}, ""},
		"rsa512":    {[]string{"genrsa", "512"}, ""},
		"pss":       {[]string{"genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"}, ""},
		"p256":      {[]string{"ecparam", "-name", "prime256v1", "-genkey"}, ""},
		"p521":      {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"}, ""},
		"ed25519":   {[]string{"genpkey", "-algorithm", "ed25519"}, ""},
		"ed448":     {[]string{"genpkey", "-algorithm", "ed448"}, "it is a key of the kind Ed448"},
		"brainpool": {[]string{"ecparam", "-name", "brainpoolP384r1", "-genkey"}, curve + "(brainpoolP384r1)"},
		"secp256k1": {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"}, curve + "(secp256k1)"},
		"explicit":  {[]string{"ecparam", "-name", "prime256v1", "-genkey", "-param_enc", "explicit"}, "its curve has parameters instead of a name"},
		"dsa":       {[]string{"dsaparam", "-genkey", "-noout", "1024"}, "it is a key of the kind DSA"},
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	certificates := make(map[string]*x509.Certificate) // those that Go can read
	for name, k := range types {
		openssl(append(append([]string{k.args[0]}, "-out", name), k.args[1:]...)...)
		request := []string{"req", "-x509", "-new", "-key", name, "-subj", "/CN=" + name, "-out", name + ".pem"}
		if name == "rsa512" { // which is too small for SHA-512 with some paddings, but not for SHA-256
			request = append(request, "-sha256")
		}
		openssl(request...)
		block, _ := pem.Decode(must(os.ReadFile(path(name + ".pem"))))
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certificates[name] = c
		}
	}
	for name, k := range types {
		t.Run(name, func(t *testing.T) {
			openssl := command(t, "openssl", dir)
			for _, form := range [][]string{
				nil, // as it was generated
				{"pkcs8", "-topk8", "-nocrypt"},
				{"pkey", "-outform", "DER"},
				{"pkcs8", "-topk8", "-nocrypt", "-outform", "DER"},
			} {
				file := name
				if form != nil {
					file = "converted"
					openssl(append(form, "-in", name, "-out", file)...)
				}
				for other, c := range certificates {
					err := CheckKey(path(file), []*x509.Certificate{c})
					switch {
					case k.detail != "":
						assertKeyProblem(t, err, FileKeyUnreadable, KeyUnknownType, k.detail)
					case name == other:
						assert.NoError(t, err, form)
					default:
						requireFault(t, FileKeyMismatch, err)
					}
				}
			}
			if k.detail != "" {
				return
			}
			encryptions := [][]string{
				{"pkcs8", "-topk8", "-passout", "pass:" + secret, "-outform", "DER"},
				{"pkcs8", "-topk8", "-passout", "pass:" + secret},
			}
			if name != "pss" && name != "ed25519" { // which have no traditional form
				encryptions = append(encryptions, []string{"pkey", "-traditional", "-aes128", "-passout", "pass:" + secret})
			}
			for _, encrypt := range encryptions {
				openssl(append(encrypt, "-in", name, "-out", "encrypted")...)
				assertKeyProblem(t, CheckKey(path("encrypted"), []*x509.Certificate{certificates[name]}), FileKeyUnreadable, KeyEncrypted, "it is encrypted")
			}
			// As the fix says.
			openssl("pkey", "-in", "encrypted", "-out", "decrypted", "-passin", "pass:"+secret)
			assert.NoError(t, CheckKey(path("decrypted"), []*x509.Certificate{certificates[name]}))
		})
	}
	// A key that is only for RSASSA-PSS is another one than the same key for all uses, for servers too.
	require.Equal(t, "RSA-PSS", strings.Fields(keyOfCertificate(certificates["pss"]).name)[1])
	block, _ := pem.Decode(must(os.ReadFile(path("pss"))))
	inner := must(parsePSS(block.Bytes))
	plain := keyFile(t, pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(inner)))
	assertKeyProblem(t, CheckKey(plain, []*x509.Certificate{certificates["pss"]}), FileKeyMismatch, KeyDiffers,
		"the certificate is for an RSA-PSS key of 2048 bits, and this is an RSA key of 2048 bits")
}

func parsePSS(pkcs8 []byte) (*rsa.PrivateKey, error) {
	at := bytes.Index(pkcs8, []byte{4, 0x82})
	return x509.ParsePKCS1PrivateKey(pkcs8[at+4:])
}

// TestNoErrorQuotesAKey cuts and damages a key at many places.
func TestNoErrorQuotesAKey(t *testing.T) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	der := x509.MarshalPKCS1PrivateKey(key)
	whole := pemOf("RSA PRIVATE KEY", der)
	leaf := []*x509.Certificate{fileLeaf.Leaf}
	for at := 0; at < len(whole); at += 7 {
		for _, data := range [][]byte{whole[:at], bytes.ReplaceAll(whole[:at], []byte("\n"), nil), join(whole[:at], []byte("é-----"), whole[at:])} {
			data = bytes.Clone(data)
			path := keyFile(t, data)
			err := CheckKey(path, leaf)
			require.Error(t, err)
			for i := len("-----BEGIN RSA PRIVATE KEY-----"); i+6 <= len(data); i++ {
				if part := data[i : i+6]; bytes.ContainsAny(part, "abcdefghijklmnopqrstuvwxyz") && !bytes.Contains(part, []byte("-")) && !bytes.Contains(part, []byte("\n")) {
					require.NotContains(t, err.Error(), string(part))
				}
			}
			require.NotContains(t, err.Error(), hex.EncodeToString(der[20:24]))
		}
	}
}

func TestKeyFileIsCleared(t *testing.T) {
	for _, data := range [][]byte{keyPEM, keyOf(fileLeaf), keyPEM[:100], join(leafPEM, keyPEM), []byte("hello")} {
		data = bytes.Clone(data)
		_, _ = parseKeyFile(data)
		assert.Equal(t, make([]byte, len(data)), data)
	}
}

// TestKeysAreCheap checks the largest key that is read.
func TestKeysAreCheap(t *testing.T) {
	n := bytes.Repeat([]byte{0x7f}, maxKey/5)
	half := n[:len(n)/2]
	integer := func(b []byte) []byte { return derElement(asn1.INTEGER, b) }
	hostile := derElement(asn1.SEQUENCE, []byte{2, 1, 0}, integer(n), integer([]byte{1, 0, 1}), integer(n), integer(half), integer(half), integer(half), integer(half), integer(half))
	assert.Less(t, allocated(func() { _, _ = parseKey(hostile) }), uint64(16<<20))
}

func FuzzKeyFile(f *testing.F) {
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	f.Add(keyPEM)
	f.Add(keyOf(fileLeaf))
	f.Add(must(x509.MarshalECPrivateKey(p256)))
	f.Add(join(leafPEM, keyPEM))
	f.Add(pemOf("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}))
	f.Add(x509.MarshalPKCS1PrivateKey(must(rsa.GenerateKey(rand.Reader, 1024))))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = bytes.Clone(data)
		key, problem := parseKeyFile(data)
		if bytes.Trim(data, "\x00") != nil {
			t.Error("not cleared")
		}
		if (key == nil) == (problem == nil) {
			t.Fatal("neither a key nor a problem, or both")
		}
		if problem != nil && (problem.Detail == "" || text.Clean(problem.Detail, 256) != problem.Detail) {
			t.Errorf("not clean: %q", problem.Detail)
		}
		if key != nil && key.name == "" {
			t.Error("a key without a name")
		}
	})
}
