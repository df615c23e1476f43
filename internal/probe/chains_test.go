package probe

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// sent is what a server sends and what the collector has in ca_file.
type sent struct {
	cert   tls.Certificate
	caFile []*tlsfarm.Authority
}

// probe probes a server that sends s.
func (s sent) probe(t *testing.T) *failure.Failure {
	t.Helper()
	server := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{s.cert}})
	t.Cleanup(server.Close)
	tt := newTarget(t, fmt.Sprintf("localhost:%d", server.Port()))
	var file bytes.Buffer
	for _, ca := range s.caFile {
		file.Write(ca.PEM())
	}
	var err error
	tt.Roots, err = certs.ParseRoots(file.Bytes(), nil)
	require.NoError(t, err)
	tt.TLS.RootCAs = tt.Roots.Pool()
	return probeOnce(t, tt).Failure
}

// Each chain is invalid. Its explanation is followed literally: then it is valid, or the next fault is named, whose fix is
// the next step.
func TestFixesOfChainsAreFollowed(t *testing.T) {
	edit := func(f func(*x509.Certificate)) tlsfarm.Edit { return f }
	urls := func(u ...string) tlsfarm.Edit {
		return func(c *x509.Certificate) { c.IssuingCertificateURL = u }
	}
	newKey := func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		return k
	}
	// chain returns a leaf with these certificates behind it.
	chain := func(leaf tls.Certificate, above ...*tlsfarm.Authority) tls.Certificate {
		leaf.Certificate = leaf.Certificate[:1:1]
		for _, ca := range above {
			leaf.Certificate = append(leaf.Certificate, ca.Certificate.Raw)
		}
		return leaf
	}
	other := tlsfarm.NewAuthority("Other")
	trust := func(ca ...*tlsfarm.Authority) []*tlsfarm.Authority { return append(ca, other) }

	// The server left out the upper of two intermediates, or both.
	upper := root.Intermediate("Upper", urls("http://pki.example/root.crt"))
	lower := upper.Intermediate("Lower", urls("ldap:///cn=upper", "http://pki.example/upper.crt"))
	leaf := lower.Issue("x", urls("http://pki.example/lower.crt"))

	// A company's issuing CA, into which its root wrote where the root can be downloaded.
	company := tlsfarm.NewAuthority("Example Authority")
	issuing := company.Intermediate("Example Issuing", urls("http://pki.example/authority.crt"))

	// The CA has a certificate for each of two keys.
	key := tlsfarm.Key(newKey())
	twin, stray := root.Intermediate("Twin", key), root.Intermediate("Twin")
	byTwin := twin.Issue("x")

	// Roots in ca_file that cannot be used, and the same reissued.
	rootKey := tlsfarm.Key(newKey())
	good := tlsfarm.NewAuthority("Own", rootKey)
	noCA := tlsfarm.NewAuthority("Own", rootKey, edit(func(c *x509.Certificate) { c.IsCA = false }))
	unknown := tlsfarm.NewAuthority("Own", rootKey, edit(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 3}, Critical: true, Value: []byte{5, 0}}}
	}))
	byOwn := good.Intermediate("Between").Issue("x")

	limited := root.Intermediate("Limited", edit(func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"inside.example", "localhost"}, true
	}))
	forbidding := root.Intermediate("Forbidding", edit(func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"outside.example"} }))
	named := limited.Intermediate("Named", tlsfarm.Names("outside.example"))

	backwards := chain(leaf, lower, upper)
	backwards.Certificate = [][]byte{upper.Certificate.Raw, lower.Certificate.Raw, leaf.Certificate[0]}
	nameless := tlsfarm.NewAuthority("", edit(func(c *x509.Certificate) { c.Subject = pkix.Name{} }))
	namelessID := "the CA with key id " + certs.KeyID(nameless.Certificate.SubjectKeyId)

	withPolicy := root.Intermediate("Policy", edit(func(c *x509.Certificate) { // RFC 5280, section 4.2.1.11
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Critical: true, Value: []byte("\x30\x03\x80\x01\x00")}}
	}))

	type step struct {
		sent
		typ   failure.Type // empty: the probe succeeds
		code  int
		cause string
		fix   string
	}
	for name, steps := range map[string][]step{
		"both intermediates missing": {
			{
				sent{chain(leaf), trust(root)},
				"incomplete_chain", 21,
				`The server did not send the certificate of the issuer "Lower".`,
				`Add the intermediate certificate "Lower" to the file that the server sends (the "full chain"). It can be downloaded from http://pki.example/lower.crt, according to the server's certificate. If it turns out to be a root (its subject is its issuer), set tls ca_file to it instead.`,
			},
			{
				sent{chain(leaf, lower), trust(root)},
				"incomplete_chain", 20,
				`The server did not send the certificate of "Upper", the issuer of "Lower" (depth 1).`,
				`Add the intermediate certificate "Upper" to the file that the server sends (the "full chain"). It can be downloaded from http://pki.example/upper.crt, according to the certificate "Lower".`,
			},
			{sent: sent{chain(leaf, lower, upper), trust(root)}},
		},
		"the missing one is a root": {
			{
				sent{issuing.Issue("x"), trust()},
				"incomplete_chain", 20,
				`The server did not send the certificate of "Example Authority", the issuer of "Example Issuing" (depth 1).`,
				"http://pki.example/authority.crt, according to the certificate \"Example Issuing\". If it turns out to be a root (its subject is its issuer), set tls ca_file to it instead.",
			},
			{sent: sent{issuing.Issue("x"), trust(company)}},
		},
		"the leaf twice": {
			{
				sent{func() tls.Certificate {
					c := byTwin
					c.Certificate = [][]byte{c.Certificate[0], c.Certificate[0]}
					return c
				}(), trust(root)},
				"untrusted_ca", 20,
				`The server sent only its own certificate, 2 times, and its issuer "Twin" is not a trusted root.`,
				`If it is an intermediate, add its certificate to the file that the server sends.`,
			},
			{sent: sent{chain(byTwin, twin), trust(root)}},
		},
		"an unrelated CA": {
			{
				sent{chain(byTwin, lower), trust(root)},
				"untrusted_ca", 20,
				`None of the 2 certificates that the server sent is that of "Twin", which is not a trusted root.`,
				`If it is an intermediate, add its certificate to the file that the server sends.`,
			},
			{sent: sent{chain(byTwin, twin), trust(root)}},
		},
		"the certificate of the CA's other key": {
			{
				sent{chain(byTwin, stray), trust(root)},
				"untrusted_ca", 20,
				`The server's certificate was issued by "Twin". The server sent a certificate with this name, but it has another key.`,
				`Replace that certificate in the file that the server sends by the one of "Twin", whose subject key identifier is ` + certs.KeyID(twin.Certificate.SubjectKeyId) + ".",
			},
			{sent: sent{chain(byTwin, twin), trust(root)}},
		},
		"the wrong order": {
			{
				sent{backwards, trust(root)},
				"hostname_mismatch", 62,
				`Certificate 1 of those that the server sends is a CA certificate, "Upper". It must be the server's own, which is probably certificate 3, "x".`,
				"Put the server's own certificate first in the file that the server sends, and then the intermediates",
			},
			{sent: sent{chain(leaf, lower, upper), trust(root)}},
		},
		"a root that is not a CA": {
			{
				sent{byOwn, trust(noCA)},
				"not_a_ca", 79,
				`The CA certificate "Own" (depth 2) is used as an issuer but is not allowed to sign certificates.`,
				"Use a CA certificate with basicConstraints CA:TRUE and the key usage keyCertSign. It is in ca_file: reissue it with the same name and the same key, and replace it there.",
			},
			{sent: sent{byOwn, trust(good)}},
		},
		"a root with an unknown critical extension": {
			{
				sent{byOwn, trust(unknown)},
				"unhandled_critical_extension", 34,
				`The CA certificate "Own" (depth 2) has the critical extension qcStatements (1.3.6.1.5.5.7.1.3), which the collector does not know.`,
				"Reissue it without marking that extension as critical. It is in ca_file: reissue it with the same name and the same key, and replace it there.",
			},
			{sent: sent{byOwn, trust(good)}},
		},
		"a name that is not permitted": {
			{
				sent{limited.Issue("x", tlsfarm.Names("localhost", "a.example")), trust(root)},
				"name_constraint_violation", 47,
				`The certificate has the DNS name "a.example", which the CA certificate "Limited" (depth 1) does not allow: it permits only inside.example, localhost.`,
				"Reissue the certificate without this name, or from a CA without this constraint.",
			},
			{sent: sent{limited.Issue("x", tlsfarm.Names("localhost")), trust(root)}},
		},
		"a name that is excluded": {
			{
				sent{forbidding.Issue("x", tlsfarm.Names("localhost", "a.outside.example")), trust(root)},
				"name_constraint_violation", 48,
				`The certificate has the DNS name "a.outside.example", which the CA certificate "Forbidding" (depth 1) does not allow: it excludes outside.example.`,
				"Reissue the certificate without this name, or from a CA without this constraint.",
			},
			{sent: sent{forbidding.Issue("x", tlsfarm.Names("localhost")), trust(root)}},
		},
		"a name of an intermediate": {
			{
				sent{chain(named.Issue("x"), named, limited), trust(root)},
				"name_constraint_violation", 47,
				`The CA certificate "Named" (depth 1) has the DNS name "outside.example", which the CA certificate "Limited" (depth 2) does not allow: it permits only inside.example, localhost.`,
				"Reissue the certificate without this name, or from a CA without this constraint.",
			},
			{sent: sent{limited.Intermediate("Named").Issue("x", tlsfarm.Names("localhost")), trust(root)}},
		},
		"a policy that is missing": {
			{
				sent{withPolicy.Issue("x"), trust(root)},
				"malformed_certificate", 0,
				"The certificate was refused, as a CA in its chain requires certificate policies that the chain does not have",
				"Reissue the certificate with a policy that all CAs of its chain have, or the CA without the extension policyConstraints.",
			},
			{sent: sent{root.Intermediate("Policy").Issue("x"), trust(root)}},
		},
		"an issuer without a name": {
			{
				sent{nameless.Issue("x"), trust()},
				"untrusted_ca", 20,
				"The server sent only its own certificate, and its issuer, " + namelessID + ", is not a trusted root.",
				"If " + namelessID + " is a root, set tls ca_file to its certificate.",
			},
			{sent: sent{nameless.Issue("x"), trust(nameless)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i, s := range steps {
				f := s.probe(t)
				if s.typ == "" {
					assert.Nil(t, f, "step %d", i)
					continue
				}
				require.NotNil(t, f, "step %d", i)
				assert.Equal(t, s.typ, f.Type)
				assert.Equal(t, s.code, f.VerifyCode)
				assert.Contains(t, f.Cause, s.cause)
				assert.Contains(t, f.Fix, s.fix)
			}
		})
	}
}
