package failure

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// TestTroubleshootingQuotesChains checks what the guide quotes in addition to the example of each type.
func TestTroubleshootingQuotesChains(t *testing.T) {
	words := strings.Join(strings.Fields(strings.ReplaceAll(readGuide(t).text, "\n> ", "\n")), " ")
	ca := func(name, issuer string) *x509.Certificate {
		return &x509.Certificate{
			Raw: []byte(name), Subject: pkix.Name{CommonName: name}, RawSubject: []byte(name), Issuer: pkix.Name{CommonName: issuer}, RawIssuer: []byte(issuer),
		}
	}
	leaf, lower := ca("api.example", "Example Lower"), ca("Example Lower", "Example Upper")
	explain := func(chain []*x509.Certificate, r certs.Reason) string {
		r.Depth = len(chain) - 1
		r.Cert = chain[r.Depth]
		f := Explain(Evidence{ServerName: "api.example", Verdict: &certs.Verdict{Chain: chain, Presented: chain, Reasons: []certs.Reason{r}}})
		return f.Cause + " " + f.Fix
	}
	named := ca("api.example", "Example Lower")
	named.DNSNames = []string{"api.example"}
	needed := explain([]*x509.Certificate{named}, certs.Reason{Fault: certs.NameConstraintViolation, Err: &certs.ConstraintViolation{CA: lower, Depth: 1}})
	byRoot := []*x509.Certificate{leaf, ca("Example Intermediate", "Example Root")}
	for quotation, sentence := range map[string]string{
		`The server did not send the certificate of "Example Upper", the issuer of "Example Lower" (depth 1)`:                                               explain([]*x509.Certificate{leaf, lower}, certs.Reason{Fault: certs.IncompleteChain}),
		`If "Example Root" is a root, set tls ca_file to its certificate. If it is an intermediate, add its certificate to the file that the server sends.`: explain(byRoot, certs.Reason{Fault: certs.UntrustedCA}),
		"The server sent a certificate with this name, but it has another key":                                                                              explain(byRoot, certs.Reason{Fault: certs.UntrustedCA, SentNamesake: true}),
		"A CA with this name is trusted, but its key did not make the signature":                                                                            explain(byRoot, certs.Reason{Fault: certs.UntrustedCA, TrustedNamesake: true}),
		"A CA with this name is trusted, but it has another key":                                                                                            explain([]*x509.Certificate{leaf, ca("Root", "Root")}, certs.Reason{Fault: certs.UntrustedCA, TrustedNamesake: true}),
		"Use a certificate from a CA that may issue for this name, or reissue the CA certificate with name constraints that allow it.":                      needed,
		"Its chain is too large to find out more.":                                                                                                          explain(byRoot, certs.Reason{Fault: certs.NameConstraintViolation, Err: &certs.Unexplained{Err: errors.New("x509: something new")}}),
		"The CA's certificate is in ca_file, but this collector cannot read it":                                                                             explain(byRoot, certs.Reason{Fault: certs.Malformed, Err: &certs.UnusableRoot{Err: errors.New("x509: something new")}}),
		"Certificate 1 of those that the server sends is a CA certificate":                                                                                  explain([]*x509.Certificate{lower}, certs.Reason{Fault: certs.NameMismatch, Err: &certs.WrongOrder{Leaf: leaf, Index: 1}}),
	} {
		assert.Contains(t, words, `"`+quotation)
		assert.Contains(t, sentence, quotation)
	}
}

func TestChainThatCostsTooMuch(t *testing.T) {
	leaf := &x509.Certificate{}
	explain := func(r certs.Reason) *Failure {
		r.Cert = leaf
		return Explain(Evidence{Verdict: &certs.Verdict{Chain: []*x509.Certificate{leaf}, Reasons: []certs.Reason{r}}})
	}
	f := explain(certs.Reason{Fault: certs.Malformed, Err: certs.ErrTooMuchWork})
	assert.Equal(t, "The certificate could not be verified: "+certs.ErrTooMuchWork.Error()+".", f.Cause)
	assert.Equal(t, removeUnneeded, f.Fix)

	// Whatever the fault is, only the error of crypto/x509 is known of it.
	for _, typ := range constants(t, "../certs", "Fault") {
		fault := certs.Fault(typ)
		err := errors.New("x509: something\nnew")
		f := explain(certs.Reason{Fault: fault, Err: &certs.Unexplained{Err: err}})
		assert.Equal(t, Type(fault), f.Type)
		assert.Equal(t, "The certificate was refused: x509: something�new. Its chain is too large to find out more.", f.Cause)
		if fault == certs.NameConstraintViolation {
			assert.Equal(t, "Reissue the certificate with fewer names, all of which the name constraints of its CAs permit, or from another CA.", f.Fix)
		} else {
			assert.Equal(t, removeUnneeded, f.Fix)
		}
	}
	err := x509.CertificateInvalidError{Cert: leaf, Reason: x509.CANotAuthorizedForThisName, Detail: `DNS name "a" is excluded by constraint "a"`}
	assert.Equal(t, 48, explain(certs.Reason{Fault: certs.NameConstraintViolation, Err: &certs.Unexplained{Err: err}}).VerifyCode)
	policy := &certs.Unexplained{Err: x509.CertificateInvalidError{Cert: leaf, Reason: x509.NoValidChains}}
	assert.Contains(t, explain(certs.Reason{Fault: certs.Malformed, Err: policy}).Cause, "requires certificate policies")
}

// Where the CA certificate is that has the reason decides where to replace it.
func TestWhereACAIsReplaced(t *testing.T) {
	now := time.Now()
	ca := &x509.Certificate{
		NotBefore: now.Add(48 * time.Hour), NotAfter: now.Add(-time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 511)}, UnhandledCriticalExtensions: []asn1.ObjectIdentifier{{1, 2, 3}},
	}
	for _, fault := range []certs.Fault{certs.Expired, certs.NotYetValid, certs.WrongKeyUsage, certs.NotCA, certs.PathLengthExceeded, certs.WeakKey, certs.UnhandledCriticalExtension} {
		fix := func(rooted, listed bool) string {
			v := &certs.Verdict{Chain: []*x509.Certificate{{}, ca}, Rooted: rooted, RootListed: listed, Reasons: []certs.Reason{{Fault: fault, Depth: 1, Cert: ca}}}
			return Explain(Evidence{Verdict: v, Now: now}).Fix
		}
		assert.Contains(t, fix(true, true), "ca_file", fault)
		assert.NotContains(t, fix(true, true), "the file that the server sends", fault)
		for _, other := range []string{fix(true, false), fix(false, false)} {
			assert.NotContains(t, other, "ca_file", fault)
			assert.NotContains(t, other, "If it is the root", fault)
		}
	}
}

// A certificate without a name is called by its key identifier, and the name is not quoted as if it were one.
func TestCertificatesWithoutNames(t *testing.T) {
	chain := []*x509.Certificate{{AuthorityKeyId: []byte{1, 0xab}}, {SubjectKeyId: []byte{1, 0xab}}}
	explain := func(depth int, f certs.Fault) string {
		return Explain(Evidence{Verdict: &certs.Verdict{Chain: chain[:depth+1], Reasons: []certs.Reason{{Fault: f, Depth: depth, Cert: chain[depth]}}}}).Cause
	}
	assert.Contains(t, explain(0, certs.IncompleteChain), "The server did not send the certificate of the issuer, the CA with key id 01:AB.")
	assert.Contains(t, explain(1, certs.NotCA), "The CA certificate with key id 01:AB (depth 1) is used as an issuer")
	chain[0].AuthorityKeyId, chain[1].SubjectKeyId = nil, nil
	assert.Contains(t, explain(0, certs.IncompleteChain), "The server did not send the certificate of the issuer, a CA without a name.")
	assert.Contains(t, explain(1, certs.NotCA), "The CA certificate without a name (depth 1) is used as an issuer")
}

// What is said of hostile names and errors stays within its bounds, and is clean.
func TestExtensionNames(t *testing.T) {
	assert.Equal(t, "nameConstraints (2.5.29.30)", extensionName("2.5.29.30"))
	assert.Equal(t, "1.2.3.4", extensionName("1.2.3.4"))
	assert.LessOrEqual(t, len(extensionName(strings.Repeat("1.", 500)+"1")), 64)
}

// Sentences give the true number of days, however many there are.
func TestDatesFarAway(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	c := &x509.Certificate{NotBefore: time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)}
	for fault, want := range map[certs.Fault]string{certs.NotYetValid: "in 172801 days", certs.Expired: "155918 days ago"} {
		reason := certs.Reason{Fault: fault, Cert: c}
		f := Explain(Evidence{Now: now, Endpoint: "a:1", Verdict: &certs.Verdict{Chain: []*x509.Certificate{c}, Reasons: []certs.Reason{reason}}})
		assert.Contains(t, f.Cause, want)
		assert.Contains(t, f.Cause+f.Fix, map[certs.Fault]string{certs.NotYetValid: "or have this one reissued", certs.Expired: "Renew it"}[fault])
		problem := clientCertProblem(reason, now)
		assert.Contains(t, problem.String(), want)
	}
}
