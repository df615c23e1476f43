package clienttls

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// TestKeyPairErrors checks what is said about a certificate and a key that cannot be used together, and follows the fix
// where it can be done with the same two.
func TestKeyPairErrors(t *testing.T) {
	if _, err := exec.LookPath("openssl"); testing.Short() || err != nil {
		t.Skip("runs openssl")
	}
	ca := tlsfarm.NewAuthority("Client CA")
	cert, key := tlsfarm.PEM(ca.Issue("client"))
	_, otherKey := tlsfarm.PEM(ca.Issue("other"))
	keyBlock, _ := pem.Decode(key)

	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		c := exec.Command("openssl", args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return data
	}
	made := func(name string, args ...string) (cert, key []byte) {
		openssl(append([]string{"genpkey", "-out", name + ".key", "-algorithm"}, args...)...)
		openssl("req", "-x509", "-new", "-key", name+".key", "-subj", "/CN="+name, "-out", name+".pem")
		return read(name + ".pem"), read(name + ".key")
	}
	pssCert, pssKey := made("pss", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048")
	curveCert, curveKey := made("secp256k1", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1")
	ed448Cert, ed448Key := made("ed448", "ed448")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plain.key"), key, 0o600))
	openssl("pkcs8", "-topk8", "-in", "plain.key", "-out", "encrypted.key", "-passout", "pass:x")
	encrypted := read("encrypted.key")

	for name, c := range map[string]struct {
		cert, key []byte
		want      string // CERT and KEY are the names of the two
		fixed     func(cert, key []byte) (newCert, newKey []byte)
	}{
		"encrypted": {cert, encrypted, "KEY cannot be used: it is encrypted; use a decrypted copy that only the collector's user can read: openssl pkey -in KEY -out COPY", func(c, _ []byte) ([]byte, []byte) {
			openssl("pkey", "-in", "encrypted.key", "-out", "copy.key", "-passin", "pass:x")
			return c, read("copy.key")
		}},
		"swapped":                  {key, cert, "CERT has the key, and the certificate is where the key must be; swap the two", func(c, k []byte) ([]byte, []byte) { return k, c }},
		"the certificate as a key": {cert, cert, `KEY cannot be used: it has no private key, but a PEM block of type "CERTIFICATE"; it must have the private key, in PEM`, nil},
		"the key as a certificate": {key, key, "CERT has a private key, but no certificate; it must have PEM blocks of type CERTIFICATE", nil},
		"empty key":                {cert, []byte("\n"), "KEY cannot be used: it is empty; write the key there again", nil},
		"empty certificate":        {[]byte("\n"), key, "CERT has no certificate; it must have PEM blocks of type CERTIFICATE", nil},
		"half of the key":          {cert, key[:100], "KEY cannot be used: its PEM block at line 1 is malformed; write the key there again", nil},
		"text":                     {cert, []byte("hunter2"), "KEY cannot be used: it is neither PEM nor DER; it must have the private key, in PEM", nil},
		"DER": {cert, keyBlock.Bytes, "KEY cannot be used: it is not in PEM; convert it: openssl pkey -inform DER -in KEY -out COPY", func(c, k []byte) ([]byte, []byte) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "der.key"), k, 0o600))
			openssl("pkey", "-inform", "DER", "-in", "der.key", "-out", "copy.key")
			return c, read("copy.key")
		}},
		"another key":                {cert, otherKey, "KEY does not belong to the certificate in cert_file or cert_pem; use the key for which the certificate was issued (both have an ECDSA key on the curve P-256, but not the same one)", func(c, _ []byte) ([]byte, []byte) { return c, key }},
		"CA first":                   {slices.Concat(ca.PEM(), cert), key, "KEY does not belong to the first certificate in cert_file or cert_pem, but to another one there; write that one first", func(_, k []byte) ([]byte, []byte) { return slices.Concat(cert, ca.PEM()), k }},
		"RSA-PSS":                    {pssCert, pssKey, "CERT has a certificate for a key of the kind RSA-PSS, which crypto/tls does not support; get one for an RSA, ECDSA or Ed25519 key", nil},
		"RSA-PSS for ECDSA":          {cert, pssKey, "KEY does not belong to the certificate in cert_file or cert_pem; use the key for which the certificate was issued (the certificate is for an ECDSA key on the curve P-256, and this is an RSA-PSS key of 2048 bits)", nil},
		"curve":                      {curveCert, curveKey, "KEY cannot be used: it is on a curve that Go does not have (secp256k1); use an RSA, ECDSA or Ed25519 key, and a certificate for it", nil},
		"certificate on a curve":     {curveCert, key, `CERT has a certificate this collector cannot read, "secp256k1": its key is on a curve that Go does not have (secp256k1); get one without this`, nil},
		"Ed448":                      {ed448Cert, ed448Key, "KEY cannot be used: it is a key of the kind Ed448; use an RSA, ECDSA or Ed25519 key, and a certificate for it", nil},
		"malformed certificate":      {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "CERT has a malformed certificate; write the file again", nil},
		"malformed certificate, DER": {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), keyBlock.Bytes, "KEY cannot be used: it is not in PEM; convert it: openssl pkey -inform DER -in KEY -out COPY", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			errs := func(cert, key []byte) (texts []string) {
				c := configtls.Config{CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem")}
				require.NoError(t, os.WriteFile(c.CertFile, cert, 0o600))
				require.NoError(t, os.WriteFile(c.KeyFile, key, 0o600))
				block := New(configtls.ClientConfig{Config: c})
				for _, err := range NewBlocks(time.Second, zap.NewNop()).Get("", &block).Errs() {
					texts = append(texts, strings.NewReplacer(`cert_file: "`+c.CertFile+`"`, "CERT", `key_file: "`+c.KeyFile+`"`, "KEY").Replace(err.Error()))
				}
				return texts
			}
			assert.Equal(t, []string{c.want}, errs(c.cert, c.key))
			for line := range bytes.Lines(c.key) {
				if line := strings.TrimSpace(string(line)); line != "" && !strings.HasPrefix(line, "-----") {
					assert.NotContains(t, errs(c.cert, c.key)[0], line)
				}
			}
			if c.fixed != nil {
				assert.Empty(t, errs(c.fixed(c.cert, c.key)))
			}
		})
	}
}

// TestPastedKeyIsNotQuoted checks keys where a path is expected.
func TestPastedKeyIsNotQuoted(t *testing.T) {
	cert, key := tlsfarm.PEM(tlsfarm.NewAuthority("Client CA").Issue("client"))
	c, k := configtls.ClientConfig{}, string(key)
	for name, config := range map[string]configtls.Config{
		"key_file: has PEM text instead of a path; write the text to a file, and its path here, or use key_pem":   {CertPem: "x", KeyFile: k},
		"cert_file: has PEM text instead of a path; write the text to a file, and its path here, or use cert_pem": {CertFile: k, KeyPem: "x"},
		"ca_file: has PEM text instead of a path; write the text to a file, and its path here, or use ca_pem":     {CAFile: k},
		"key_file: cannot be combined with key_pem; use one of the two":                                           {CertPem: "x", KeyFile: k, KeyPem: "x"},
		"cert_file: cannot be combined with cert_pem; use one of the two":                                         {CertPem: "x", CertFile: k, KeyPem: "x"},
		"ca_file: cannot be combined with ca_pem; use one of the two":                                             {CAPem: "x", CAFile: k},
	} {
		c.Config = config
		block := New(c)
		errs := NewBlocks(time.Second, zap.NewNop()).Get("", &block).Errs()
		require.Len(t, errs, 1)
		assert.EqualError(t, errs[0], name)
	}
	c.Config = configtls.Config{CertPem: configopaque.String(cert), KeyPem: configopaque.String(key)} // as the fix says
	block := New(c)
	assert.Empty(t, NewBlocks(time.Second, zap.NewNop()).Get("", &block).Errs())
}
