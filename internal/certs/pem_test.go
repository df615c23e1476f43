package certs

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

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
		"malformed keys":            {join(leafPEM, pemOf("RSA PRIVATE KEY", []byte("x")), []byte("-----BEGIN EC PRIVATE KEY-----\n*\n"), caPEM), "leaf CA"},
		"CRLF":                      {bytes.ReplaceAll(join(leafPEM, keyPEM, caPEM), []byte("\n"), []byte("\r\n")), "leaf CA"},
		"byte order mark":           {join([]byte("\ufeff"), leafPEM), "leaf"},
		"text around":               {join([]byte("Certificate:\n  Data: 0\n"), leafPEM, []byte("text ----- between\n"), caPEM, []byte("after")), "leaf CA"},
		"text that starts like DER": {join([]byte("00 of 01\n"), leafPEM), "leaf"},
		"bag attributes":            {join([]byte("Bag Attributes\n    localKeyID: 54 69 6D 65\nsubject=CN = leaf\n"), leafPEM), "leaf"},
		"no newline at the end":     {bytes.TrimSpace(leafPEM), "leaf"},
		"no newline between":        {join(bytes.TrimSpace(leafPEM), caPEM), "leaf CA"},
		"X509 CERTIFICATE":          {join(pemOf("X509 CERTIFICATE", fileLeaf.Leaf.Raw), caPEM), "leaf CA"},
		"TRUSTED CERTIFICATE":       {join(pemOf("TRUSTED CERTIFICATE", join(fileLeaf.Leaf.Raw, derElement(asn1.SEQUENCE))), caPEM), "leaf CA"},
		"PKCS7":                     {join(pemOf("PKCS7", pkcs7(fileLeaf.Leaf.Raw, fileCA.Certificate.Raw)), fileRoot.PEM()), "leaf CA root"},
		"CMS":                       {pemOf("CMS", pkcs7(fileLeaf.Leaf.Raw)), "leaf"},
		"others":                    {join(pemOf("EC PARAMETERS", []byte{5, 0}), pemOf("X509 CRL", nil), leafPEM), "leaf"},

		"bad base64":             {join(leafPEM, noBase64, caPEM), "leaf CA 1 bad"},
		"bad DER":                {join(leafPEM, pemOf("CERTIFICATE", []byte("\x30\x03abc")), caPEM), "leaf CA 1 bad"},
		"trailing data":          {join(leafPEM, pemOf("CERTIFICATE", join(fileLeaf.Leaf.Raw, []byte{5, 0})), caPEM), "leaf CA 1 bad"},
		"bad certificate":        {join(leafPEM, pemOf("CERTIFICATE", badCert), caPEM), "leaf CA 1 bad"},
		"no END":                 {join(leafPEM, noEnd, caPEM), "leaf CA 1 bad"},
		"no END, first":          {join(noEnd, leafPEM, caPEM), "leaf CA 1 bad"},
		"no END, last":           {join(leafPEM, noEnd), "leaf 1 bad"},
		"END of another type":    {join(leafPEM, other, caPEM), "leaf CA 1 bad"},
		"BEGIN without one dash": {join(leafPEM, bytes.Replace(leafPEM, []byte("TE-----"), []byte("TE----"), 1), caPEM), "leaf CA 1 bad"},
		"BEGIN alone":            {join(leafPEM, []byte("-----BEGIN CERTIFICATE-----")), "leaf 1 bad"},
		"bad TRUSTED":            {join(pemOf("TRUSTED CERTIFICATE", []byte("\x30\x82")), leafPEM, pemOf("TRUSTED CERTIFICATE", badCert)), "leaf 2 bad"},
		"bad PKCS7":              {join(pemOf("PKCS7", fileLeaf.Leaf.Raw), leafPEM, pemOf("PKCS7", pkcs7(badCert, fileCA.Certificate.Raw))), "leaf CA 2 bad"},
		"indented, as in YAML":   {join(leafPEM, []byte("  "+strings.ReplaceAll(string(leafPEM), "\n", "\n  "))), "leaf 1 bad"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, format := range []Format{FormatAuto, FormatPEM} {
				assert.Equal(t, FormatPEM, requireFound(t, tt.want, tt.data, format, "").Format)
			}
		})
	}
	assert.True(t, requireFound(t, "leaf", leafPEM, "", "").Certificates[0].Equal(fileLeaf.Leaf))

	b := requireFound(t, "leaf CA 2 bad", join([]byte("text\n"), leafPEM, noEnd, caPEM, pemOf("CERTIFICATE", badCert)), "", "")
	in := func(part string) int {
		return 2 + bytes.Count(join(leafPEM, noEnd, caPEM)[:], []byte("\n")) - strings.Count(part, "\n")
	}
	assert.EqualError(t, b.Bad[0], fmt.Sprintf("PEM block at line %d: malformed", in(string(join(noEnd, caPEM)))))
	assert.EqualError(t, b.Bad[1], fmt.Sprintf("PEM block at line %d: a certificate this collector cannot read, \"leaf\": its serial number is negative", in("")))
}

// Both blocks are read, whatever is between them.
func FuzzBetweenBlocksOfPEM(f *testing.F) {
	for _, between := range [][]byte{nil, keyPEM, caPEM[:40], []byte("-----BEGIN "), []byte("-----END CERTIFICATE-----"), badCert} {
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

// A key may lose its newlines, as in an environment variable. It is still detected, and no error quotes it.
func TestKeyInOneLineIsNotQuoted(t *testing.T) {
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
