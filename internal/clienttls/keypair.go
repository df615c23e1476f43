package clienttls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// checkKeyPair checks the client certificate and its key. It replaces the files in c by their contents, so that what is used
// is what was checked, and nothing else reads the files.
func checkKeyPair(c *configtls.ClientConfig, errorf func(string, ...any)) {
	if c.CertFile != "" && c.CertPem != "" {
		errorf("cert_file:%s cannot be combined with cert_pem; use one of the two", quotedPath(c.CertFile))
		return
	}
	if c.KeyFile != "" && c.KeyPem != "" {
		errorf("key_file:%s cannot be combined with key_pem; use one of the two", quotedPath(c.KeyFile))
		return
	}
	hasCert, hasKey := c.CertFile != "" || c.CertPem != "", c.KeyFile != "" || c.KeyPem != ""
	switch {
	case !hasCert && !hasKey:
		return
	case !hasKey:
		errorf("key_file: is missing, but there is a certificate; set key_file or key_pem")
		return
	case !hasCert:
		errorf("cert_file: is missing, but there is a key; set cert_file or cert_pem")
		return
	}
	certName, certOK := loadPEM("cert_file", &c.CertFile, &c.CertPem, "cert_pem: the text", errorf)
	keyName, keyOK := loadPEM("key_file", &c.KeyFile, &c.KeyPem, "key_pem: the key", errorf)
	if !certOK || !keyOK || c.TPMConfig.Enabled { // then the key is in the TPM, and only configtls can use it
		return
	}
	_, err := tls.X509KeyPair([]byte(c.CertPem), []byte(c.KeyPem))
	if err != nil {
		explainPair([]byte(c.CertPem), []byte(c.KeyPem), certName, keyName, err, errorf)
	}
}

// explainPair reports why crypto/tls refuses a certificate and its key with err.
func explainPair(cert, key []byte, certName, keyName string, err error, errorf func(string, ...any)) {
	leaf, others, certHasKey := parseCertificates(cert)
	_, _, keyHasKey := parseCertificates(key)
	isPEM := bytes.Contains(key, []byte("-----BEGIN"))
	switch {
	case leaf == nil && certHasKey && !keyHasKey && bytes.Contains(key, []byte("-----BEGIN CERTIFICATE-----")):
		errorf("%s has the key, and the certificate is where the key must be; swap the two", certName)
		return
	case leaf == nil && certHasKey:
		errorf("%s has a private key, but no certificate; it must have PEM blocks of type CERTIFICATE", certName)
		return
	case leaf == nil:
		errorf("%s has no certificate; it must have PEM blocks of type CERTIFICATE", certName)
		return
	}
	var certificates []*x509.Certificate // empty if the first cannot be parsed
	if parsed, err := x509.ParseCertificate(leaf); err == nil {
		certificates = append([]*x509.Certificate{parsed}, others...)
	}
	if e := certs.CompareKey(key, certificates); e != nil {
		errorf("%s %s", keyName, keyProblem(e))
		return
	}
	unreadable := certs.ParseUnreadable(leaf)
	kind, _ := certs.KeyKind(leaf)
	switch {
	case !isPEM:
		errorf("%s cannot be used: it is not in PEM; convert it: openssl pkey -inform DER -in KEY -out COPY", keyName)
	case unreadable != nil:
		errorf("%s has %w; get one without this", certName, unreadable)
	case certificates == nil:
		errorf("%s has a malformed certificate; write the file again", certName)
	case certificates[0].PublicKey == nil:
		errorf("%s has a certificate for a key of the kind %s, which crypto/tls does not support; get one for an RSA, ECDSA or Ed25519 key", certName, kind)
	default:
		errorf("%s cannot be used with its certificate: %w", keyName, err)
	}
}

// keyProblem returns what is wrong with a key, and what to do about it.
func keyProblem(e *certs.KeyError) string {
	switch e.Problem {
	case certs.KeyDiffers:
		return fmt.Sprintf("does not belong to the certificate in cert_file or cert_pem; use the key for which the certificate was issued (%s)", e.Detail)
	case certs.KeyFitsAnother:
		return "does not belong to the first certificate in cert_file or cert_pem, but to another one there; write that one first"
	}
	fix := "it must have the private key, in PEM"
	switch e.Problem {
	case certs.KeyEncrypted:
		fix = "use a decrypted copy that only the collector's user can read: openssl pkey -in KEY -out COPY"
	case certs.KeyMalformed:
		fix = "write the key there again"
	case certs.KeyUnknownType:
		fix = "use an RSA, ECDSA or Ed25519 key, and a certificate for it"
	}
	return fmt.Sprintf("cannot be used: %s; %s", e.Detail, fix)
}

// parseCertificates returns the first certificate in PEM, in DER, which may be malformed, the others that can be parsed, and
// whether there is a private key.
func parseCertificates(data []byte) (first []byte, others []*x509.Certificate, hasKey bool) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			hasKey = true
		case block.Type == "CERTIFICATE" && first == nil:
			first = block.Bytes
		case block.Type == "CERTIFICATE":
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				others = append(others, c)
			}
		}
	}
	return first, others, hasKey
}

// loadPEM moves the content of a file, if there is one, to where the PEM text is. It returns how errors name the two.
func loadPEM(key string, file *string, text *configopaque.String, textName string, errorf func(string, ...any)) (name string, ok bool) {
	if *file == "" {
		return textName, true
	}
	data, ok := readFile(key, *file, errorf)
	name = fmt.Sprintf("%s: %q", key, *file)
	*text, *file = configopaque.String(data), ""
	return name, ok
}
