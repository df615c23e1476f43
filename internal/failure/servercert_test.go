package failure

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
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
	byRoot := []*x509.Certificate{leaf, ca("Example Intermediate", "Example Root")}
	for quotation, sentence := range map[string]string{
		`The server did not send the certificate of "Example Upper", the issuer of "Example Lower" (depth 1)`:                                               explain([]*x509.Certificate{leaf, lower}, certs.Reason{Fault: certs.IncompleteChain}),
		`If "Example Root" is a root, set tls ca_file to its certificate. If it is an intermediate, add its certificate to the file that the server sends.`: explain(byRoot, certs.Reason{Fault: certs.UntrustedCA}),
		"The server sent a certificate with this name, but it has another key":                                                                              explain(byRoot, certs.Reason{Fault: certs.UntrustedCA, SentNamesake: true}),
		"The CA's certificate is in ca_file, but this collector cannot read it":                                                                             explain(byRoot, certs.Reason{Fault: certs.Malformed, Err: &certs.UnusableRoot{Err: errors.New("x509: something new")}}),
		"Certificate 1 of those that the server sends is a CA certificate":                                                                                  explain([]*x509.Certificate{lower}, certs.Reason{Fault: certs.NameMismatch, Err: &certs.WrongOrder{Leaf: leaf, Index: 1}}),
	} {
		assert.Contains(t, words, `"`+quotation)
		assert.Contains(t, sentence, quotation)
	}
}

func TestChainThatCostsTooMuch(t *testing.T) {
	leaf := &x509.Certificate{}
	for _, err := range []error{certs.ErrTooMuchWork, errors.New("x509: signature check attempts limit reached while verifying certificate chain")} {
		f := Explain(Evidence{Verdict: &certs.Verdict{Chain: []*x509.Certificate{leaf}, Reasons: []certs.Reason{{Fault: certs.Malformed, Cert: leaf, Err: err}}}})
		assert.Contains(t, f.Cause, "The certificate could not be verified: "+err.Error())
		assert.Contains(t, f.Fix, "Remove from the file that the server sends, and from ca_file, all certificates that its chain does not need.")
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
