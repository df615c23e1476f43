package probe

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
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

	// The CA has a new root with the same name.
	oldRoot, newRoot := tlsfarm.NewAuthority("Renewed"), tlsfarm.NewAuthority("Renewed")
	byNewRoot := newRoot.Issue("x")

	// A root that Go cannot read has the same name as the issuer.
	pemFile, err := os.ReadFile("../certs/testdata/brainpool.pem")
	require.NoError(t, err)
	first, rest := pem.Decode(pemFile)
	second, _ := pem.Decode(rest)
	byBrainpool, err := x509.ParseCertificate(first.Bytes)
	require.NoError(t, err)
	brainpool := &tlsfarm.Authority{Certificate: &x509.Certificate{Raw: second.Bytes}}
	namesake := tlsfarm.NewAuthority("x", edit(func(c *x509.Certificate) { c.RawSubject = byBrainpool.RawIssuer }))

	insideKey := tlsfarm.Key(newKey())
	inside := root.Intermediate("Inside", insideKey, edit(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"inside.example"} }))
	insideToo := root.Intermediate("Inside", insideKey, edit(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"inside.example", "localhost"} }))
	byInside := inside.Issue("x")

	// More constraints and names than can be compared.
	var domains []string
	for i := range 1800 {
		domains = append(domains, fmt.Sprintf("p%d.example", i))
	}
	domains = append(domains, "localhost")
	much := root.Intermediate("Much", edit(func(c *x509.Certificate) { c.PermittedDNSDomains = domains }))

	clientOnly := edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	forServers := edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	interKey := tlsfarm.Key(newKey())
	forClients, forBoth := root.Intermediate("Issuing", interKey, clientOnly), root.Intermediate("Issuing", interKey)
	byForClients := forClients.Issue("x")
	rootForClients, rootForServers := tlsfarm.NewAuthority("Own", rootKey, clientOnly), tlsfarm.NewAuthority("Own", rootKey, forServers)
	expired := tlsfarm.NewAuthority("Own", rootKey, tlsfarm.Validity(-90*day, -2*day))
	expiredInter := root.Intermediate("Issuing", interKey, tlsfarm.Validity(-90*day, -2*day))
	future := tlsfarm.NewAuthority("Own", rootKey, tlsfarm.Validity(2*day, 9*day))

	criticals := func(oids ...asn1.ObjectIdentifier) tlsfarm.Edit {
		return func(c *x509.Certificate) {
			for _, oid := range oids {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Critical: true, Value: []byte{5, 0}})
			}
		}
	}

	// A device has made its certificate itself, as if it were a CA, and sends a certificate of another device behind it.
	deviceKey := newKey()
	device := func(name string) *tlsfarm.Authority {
		return tlsfarm.NewAuthority("device", tlsfarm.Key(deviceKey), tlsfarm.Names(name))
	}
	home, reissued := device("home.example"), device("localhost")
	served := func(ca *tlsfarm.Authority, behind tls.Certificate) tls.Certificate {
		return tls.Certificate{Certificate: [][]byte{ca.Certificate.Raw, behind.Certificate[0]}, PrivateKey: deviceKey}
	}

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
				`Certificate 1 of those that the server sends is a CA certificate, "Upper", and it is not valid for localhost. It must be the server's own, which is perhaps certificate 3, "x".`,
				"If the server's private key is that of certificate 3, put the server's own certificate first in the file that the server sends, and then the intermediates",
			},
			{sent: sent{chain(leaf, lower, upper), trust(root)}},
		},
		"a CA certificate that is the server's own": {
			{
				sent{served(home, leaf), trust(home)},
				"hostname_mismatch", 62,
				`Certificate 1 of those that the server sends is a CA certificate, "device", and it is not valid for localhost. It must be the server's own, which is perhaps certificate 2, "x".`,
				"If it is that of certificate 1: Reissue it with localhost among its names, or set tls server_name_override to home.example.",
			},
			{sent: sent{served(reissued, leaf), trust(reissued)}},
		},
		"a renewed root that is sent": {
			{
				sent{chain(byNewRoot, newRoot), trust(oldRoot)},
				"untrusted_ca", 19,
				`The chain leads to "Renewed", which the server sends. A CA with this name is trusted, but it has another key.`,
				`set tls ca_file to the current certificate of "Renewed", whose subject key identifier is ` + certs.KeyID(newRoot.Certificate.SubjectKeyId) + ".",
			},
			{sent: sent{chain(byNewRoot, newRoot), trust(newRoot)}},
		},
		"an unreadable root of the issuer's name": {
			{
				sent{namesake.Issue("x"), trust(brainpool)},
				"untrusted_ca", 20,
				`The chain leads to "Brainpool Root". A CA with this name is trusted, but its key did not make the signature.`,
				`set tls ca_file to the current certificate of "Brainpool Root", whose subject key identifier is ` + certs.KeyID(namesake.Certificate.SubjectKeyId) + ".",
			},
			{sent: sent{namesake.Issue("x"), trust(brainpool, namesake)}},
		},
		"an intermediate for clients": {
			{
				sent{byForClients, trust(root)},
				"wrong_key_usage", 26,
				`The CA certificate "Issuing" (depth 1) is for clientAuth only, not for a TLS server.`,
				"Reissue that CA certificate with the same name and the same key, and with the extended key usage serverAuth or with none, and replace it in the file that the server sends.",
			},
			{sent: sent{chain(byForClients, forBoth), trust(root)}},
		},
		"a root for clients": {
			{
				sent{byOwn, trust(rootForClients)},
				"wrong_key_usage", 26,
				`The CA certificate "Own" (depth 2) is for clientAuth only, not for a TLS server.`,
				"Reissue that CA certificate with the extended key usage serverAuth, or with none. It is in ca_file: reissue it with the same name and the same key, and replace it there.",
			},
			{sent: sent{byOwn, trust(rootForServers)}},
		},
		"an expired root": {
			{
				sent{byOwn, trust(expired)},
				"cert_expired", 10,
				`The CA certificate "Own" (depth 2) expired on`,
				"Replace it in ca_file with the CA's current certificate.",
			},
			{sent: sent{byOwn, trust(good)}},
		},
		"an expired intermediate": {
			{
				sent{chain(byForClients, expiredInter), trust(root)},
				"cert_expired", 10,
				`The CA certificate "Issuing" (depth 1) expired on`,
				"Replace it in the chain that the server sends with the CA's current certificate.",
			},
			{sent: sent{chain(byForClients, forBoth), trust(root)}},
		},
		"a root that is not yet valid": {
			{
				sent{byOwn, trust(future)},
				"cert_not_yet_valid", 9,
				`The CA certificate "Own" (depth 2) is not valid until`,
				"Put the CA's previous certificate back into ca_file until then, or have this one reissued.",
			},
			{sent: sent{byOwn, trust(good)}},
		},
		"two unknown critical extensions": {
			{
				sent{root.Issue("x", criticals(asn1.ObjectIdentifier{1, 2, 3}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 3})), trust(root)},
				"unhandled_critical_extension", 34,
				"The certificate has critical extensions that the collector does not know or cannot check: 1.2.3, qcStatements (1.3.6.1.5.5.7.1.3).",
				"Reissue it without marking those extensions as critical.",
			},
			{sent: sent{root.Issue("x"), trust(root)}},
		},
		"a precertificate with another critical extension": {
			{
				sent{root.Issue("x", criticals(asn1.ObjectIdentifier{1, 2, 3}, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3})), trust(root)},
				"unhandled_critical_extension", 34,
				"The certificate is a precertificate, which no client accepts",
				"Install the certificate that the CA issued after the precertificate.",
			},
			{sent: sent{root.Issue("x"), trust(root)}},
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
		"several names that are not permitted": {
			{
				sent{limited.Issue("x", tlsfarm.Names("localhost", "a.example", "b.example", "c.example")), trust(root)},
				"name_constraint_violation", 47,
				`The certificate has the DNS name "a.example", which the CA certificate "Limited" (depth 1) does not allow: it permits only inside.example, localhost. The CAs above it do not allow these names either: b.example, c.example.`,
				"Reissue the certificate without these names, or from a CA that may issue for them.",
			},
			{sent: sent{limited.Issue("x", tlsfarm.Names("localhost")), trust(root)}},
			{sent: sent{root.Issue("x", tlsfarm.Names("localhost", "a.example", "b.example", "c.example")), trust(root)}},
		},
		"the name asked for is not permitted": {
			{
				sent{byInside, trust(root)},
				"name_constraint_violation", 47,
				`The certificate has the DNS name "localhost", which the CA certificate "Inside" (depth 1) does not allow: it permits only inside.example.`,
				"Use a certificate from a CA that may issue for this name, or reissue the CA certificate with name constraints that allow it. Without this name, the certificate would not be valid for localhost.",
			},
			{sent: sent{root.Issue("x"), trust(root)}},
			{sent: sent{chain(byInside, insideToo), trust(root)}},
		},
		"many constraints": {
			{
				sent{root.Intermediate("Many", edit(func(c *x509.Certificate) { c.PermittedDNSDomains = domains[len(domains)-20:] })).Issue("x", tlsfarm.Names("localhost", "bad.example")), trust(root)},
				"name_constraint_violation", 47,
				"it permits only p1781.example, p1782.example, p1783.example, p1784.example, p1785.example and 15 more.",
				"Reissue the certificate without this name, or from a CA without this constraint.",
			},
			{sent: sent{root.Issue("x", tlsfarm.Names("localhost", "bad.example")), trust(root)}},
		},
		"very many constraints and names": {
			{
				sent{much.Issue("x", tlsfarm.Names(append(slices.Clone(domains), "bad.example")...)), trust(root)},
				"name_constraint_violation", 47,
				`DNS name "bad.example" is not permitted by any constraint. Its chain is too large to find out more.`,
				"Reissue the certificate with fewer names, all of which the name constraints of its CAs permit, or from another CA.",
			},
			{sent: sent{much.Issue("x", tlsfarm.Names("localhost")), trust(root)}},
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
