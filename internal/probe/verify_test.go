package probe

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// For every fault of a server's certificate, the failure has a type, OpenSSL's number and message, and the evidence in its
// cause and fix. The verdicts themselves are tested in internal/certs.
func TestEveryFaultOfAServerCertificate(t *testing.T) {
	const day = 24 * time.Hour
	edit := func(f func(*x509.Certificate)) tlsfarm.Edit { return f }
	stranger := tlsfarm.NewAuthority("Stranger Root")
	constrained := root.Intermediate("Constrained", edit(func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"inside.example"}
	}))
	short := root.Intermediate("Short", edit(func(c *x509.Certificate) { c.MaxPathLenZero = true }))
	old := root.Intermediate("Old Intermediate", tlsfarm.Validity(-30*day, -3*day-time.Hour))
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	withRoot := stranger.Intermediate("Between").Issue("x")
	withRoot.Certificate = append(withRoot.Certificate, stranger.Certificate.Raw)
	alone := root.Intermediate("Forgotten").Issue("x", edit(func(c *x509.Certificate) {
		c.IssuingCertificateURL = []string{"http://ca.example/forgotten.crt"}
	}))
	alone.Certificate = alone.Certificate[:1]
	signer := root.Intermediate("Signer")
	broken := signer.Issue("x")
	broken.Certificate[0] = append([]byte(nil), broken.Certificate[0]...)
	broken.Certificate[0][len(broken.Certificate[0])-1] ^= 1
	notCA := root.Intermediate("No CA", edit(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }))

	for name, c := range map[string]struct {
		cert    tls.Certificate
		host    string // localhost if empty
		code    int
		message string
		reasons []failure.Type
		cause   string
		fix     string
	}{
		"expired": {
			cert: root.Issue("x", tlsfarm.Validity(-30*day, -3*day-time.Hour)),
			code: 10, message: "certificate has expired", reasons: []failure.Type{"cert_expired"},
			cause: "The certificate expired on " + time.Now().Add(-3*day-time.Hour).UTC().Format(time.DateOnly),
			fix:   "Renew it and reload the server.",
		},
		"expired intermediate": {
			cert: old.Issue("x"), code: 10, message: "certificate has expired", reasons: []failure.Type{"cert_expired"},
			cause: `The CA certificate "Old Intermediate" (depth 1) expired on`, fix: "Replace it in the chain",
		},
		"not yet valid": {
			cert: root.Issue("x", tlsfarm.Validity(3*day+time.Hour, 30*day)),
			code: 9, message: "certificate is not yet valid", reasons: []failure.Type{"cert_not_yet_valid"},
			cause: "in 3 days", fix: "reissued",
		},
		"not yet valid for some hours": {
			cert: root.Issue("x", tlsfarm.Validity(5*time.Hour+time.Minute, 30*day)),
			code: 9, message: "certificate is not yet valid", reasons: []failure.Type{"cert_not_yet_valid"},
			cause: "in 5 hours", fix: "a wrong clock is likely",
		},
		"other name": {
			cert: root.Issue("x", tlsfarm.Names("old.example.com", "localhoss", "other.example")),
			code: 62, message: "hostname mismatch", reasons: []failure.Type{"hostname_mismatch"},
			cause: "The certificate is not valid for localhost, only for old.example.com, localhoss, other.example. The closest of these is localhoss.",
			fix:   "Reissue it with localhost among its names, or set tls server_name_override to localhoss.",
		},
		"other address": {
			cert: root.Issue("x", tlsfarm.Names("localhost")), host: "127.0.0.1",
			code: 64, message: "IP address mismatch", reasons: []failure.Type{"hostname_mismatch"},
			cause: "The certificate is not valid for 127.0.0.1, only for localhost.", fix: "Reissue it with an IP entry for 127.0.0.1 among its names, or set tls server_name_override to localhost.",
		},
		"no names": {
			cert: root.Issue("localhost", tlsfarm.Names()),
			code: 62, message: "hostname mismatch", reasons: []failure.Type{"hostname_mismatch"},
			cause: "has no subject alternative names", fix: "in its subject alternative names",
		},
		"self-signed": {
			cert: tlsfarm.SelfSigned("Myself"), code: 18, message: "self-signed certificate", reasons: []failure.Type{"self_signed"},
			cause: `The certificate of "Myself" is self-signed and not trusted.`, fix: "ca_file",
		},
		"root presented": {
			cert: withRoot, code: 19, message: "self-signed certificate in certificate chain", reasons: []failure.Type{"untrusted_ca"},
			cause: `The chain leads to "Stranger Root", which is not a trusted root.`, fix: `the root certificate of "Stranger Root"`,
		},
		"root not presented": {
			cert: stranger.Intermediate("Between").Issue("x"),
			code: 20, message: "unable to get local issuer certificate", reasons: []failure.Type{"untrusted_ca"},
			cause: `The chain leads to "Stranger Root"`, fix: "ca_file",
		},
		"intermediate forgotten": {
			cert: alone, code: 21, message: "unable to verify the first certificate", reasons: []failure.Type{"incomplete_chain"},
			cause: `The server did not send the certificate of the issuer "Forgotten".`,
			fix:   `Add the intermediate certificate "Forgotten" to the file that the server sends (the "full chain"). It can be downloaded from http://ca.example/forgotten.crt`,
		},
		"bad signature": {
			cert: broken, code: 7, message: "certificate signature failure", reasons: []failure.Type{"bad_signature"},
			cause: `was not signed with the key of the CA that it names as its issuer, "Signer"`, fix: "two certificates with the same name",
		},
		"trusted CA with a new key": {
			cert: tlsfarm.NewAuthority("Farm Root").Issue("x"),
			code: 20, message: "unable to get local issuer certificate", reasons: []failure.Type{"untrusted_ca"},
			cause: `A CA with this name is trusted, but its key did not make the signature.`, fix: `the current certificate of "Farm Root"`,
		},
		"SHA-1": {
			cert: root.Issue("x", edit(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })),
			code: 68, message: "CA signature digest algorithm too weak", reasons: []failure.Type{"weak_signature"},
			cause: "signed with ECDSA-SHA1", fix: "SHA-256",
		},
		"not a CA": {
			cert: notCA.Issue("x"), code: 79, message: "invalid CA certificate", reasons: []failure.Type{"not_a_ca"},
			cause: `"No CA" (depth 1)`, fix: "keyCertSign",
		},
		"path too long": {
			cert: short.Intermediate("Below").Issue("x"),
			code: 25, message: "path length constraint exceeded", reasons: []failure.Type{"path_length_exceeded"},
			cause: `"Short" (depth 2)`, fix: "pathlen",
		},
		"for clients only": {
			cert: root.Issue("x", edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })),
			code: 26, message: "unsuitable certificate purpose", reasons: []failure.Type{"wrong_key_usage"},
			cause: "The certificate is for clientAuth only, not for a TLS server.", fix: "serverAuth",
		},
		"name outside the constraints": {
			cert: constrained.Issue("x", tlsfarm.Names("localhost")),
			code: 47, message: "permitted subtree violation", reasons: []failure.Type{"name_constraint_violation"},
			cause: `The certificate has the DNS name "localhost", which the CA certificate "Constrained" (depth 1) does not allow: it permits only inside.example.`,
			fix:   "Use a certificate from a CA that may issue for this name, or reissue the CA certificate with name constraints that allow it. Without this name, the certificate would not be valid for localhost.",
		},
		"unknown critical extension": {
			cert: root.Issue("x", edit(func(c *x509.Certificate) {
				c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
			})),
			code: 34, message: "unhandled critical extension", reasons: []failure.Type{"unhandled_critical_extension"},
			cause: "1.2.3.4", fix: "without marking that extension as critical",
		},
		"several faults": {
			cert: stranger.Issue("x", tlsfarm.Names("other.example"), tlsfarm.Validity(-30*day, -3*day)),
			code: 20, message: "unable to get local issuer certificate",
			reasons: []failure.Type{"untrusted_ca", "cert_expired", "hostname_mismatch"},
			cause:   "Also: cert_expired, hostname_mismatch.", fix: "ca_file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{c.cert}})
			t.Cleanup(s.Close)
			host := c.host
			if host == "" {
				host = "localhost"
			}
			o := probeOnce(t, newTarget(t, fmt.Sprintf("%s:%d", host, s.Port())))
			f := o.Failure
			require.NotNil(t, f)
			assert.Equal(t, failure.Verify, f.Step)
			assert.Equal(t, c.reasons, f.Reasons)
			assert.Equal(t, c.reasons[0], f.Type)
			assert.Equal(t, "certificate_verification", f.Category)
			assert.Equal(t, c.code, f.VerifyCode)
			assert.Equal(t, c.message, f.VerifyMessage)
			assert.Contains(t, f.Cause, c.cause)
			assert.Contains(t, f.Fix, c.fix)
			assert.NotNil(t, o.Handshake.Leaf())
		})
	}

	t.Run("weak key", func(t *testing.T) {
		o := probeOnce(t, serve(t, &tls.Config{Certificates: []tls.Certificate{root.Issue("x", tlsfarm.Key(small))}}))
		assert.Nil(t, o.Failure, "clients still accept it")
		assert.Equal(t, []failure.Type{"weak_key"}, o.Handshake.Warnings)
	})
}

func TestMissingIntermediateThatAnotherServerSends(t *testing.T) {
	intermediate := root.Intermediate("Shared Intermediate")
	whole, alone := intermediate.Issue("whole"), intermediate.Issue("alone")
	alone.Certificate = alone.Certificate[:1]
	complete := serve(t, &tls.Config{Certificates: []tls.Certificate{whole}})
	incomplete := serve(t, &tls.Config{Certificates: []tls.Certificate{alone}})
	var p Prober
	f := p.ProbeEndpoint(t.Context(), incomplete).Failure
	require.NotNil(t, f)
	assert.Equal(t, failure.Type("untrusted_ca"), f.Type)

	require.Nil(t, p.ProbeEndpoint(t.Context(), complete).Failure)
	f = p.ProbeEndpoint(t.Context(), incomplete).Failure
	require.NotNil(t, f)
	assert.Equal(t, failure.Type("incomplete_chain"), f.Type)
	assert.Equal(t, 21, f.VerifyCode)
	assert.Contains(t, f.Cause, "Another server sends one that completes the chain.")
	assert.Contains(t, f.Fix, `Add the intermediate certificate "Shared Intermediate"`)
}
