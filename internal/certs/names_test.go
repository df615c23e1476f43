package certs

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func uri(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// named returns a certificate with this subject and these kinds of subject alternative names.
func named(name pkix.Name, sans ...string) *x509.Certificate {
	return tlsfarm.SelfSigned("", func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.IPAddresses = name, nil, nil
		for _, kind := range sans {
			switch kind {
			case "dns":
				c.DNSNames = []string{"a.example", "*.b.example"}
			case "ip":
				c.IPAddresses = []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")}
			case "uri":
				c.URIs = []*url.URL{uri("spiffe://a.example/db")}
			case "mail":
				c.EmailAddresses = []string{"a@b.example"}
			}
		}
	}).Leaf
}

func TestSubjectName(t *testing.T) {
	org := pkix.Name{Organization: []string{"Org"}, Country: []string{"DE"}}
	tests := []struct {
		want string
		cert *x509.Certificate
	}{
		{"common", named(pkix.Name{CommonName: "common"}, "dns", "ip", "uri", "mail")},
		{"a.example", named(org, "dns", "ip", "uri", "mail")},
		{"192.0.2.1", named(org, "ip", "uri", "mail")},
		{"spiffe://a.example/db", named(org, "uri", "mail")},
		{"a@b.example", named(org, "mail")},
		{"O=Org,C=DE", named(org)},
		{"key id 01:AB:00", &x509.Certificate{SubjectKeyId: []byte{1, 0xab, 0}}},
		{"no name", named(pkix.Name{})},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, SubjectName(tt.cert))
	}
}

func TestIssuerName(t *testing.T) {
	assert.Equal(t, "common", IssuerName(named(pkix.Name{CommonName: "common", Country: []string{"DE"}})))
	assert.Equal(t, "O=Org,C=DE", IssuerName(named(pkix.Name{Organization: []string{"Org"}, Country: []string{"DE"}}, "dns")))
	root := tlsfarm.NewAuthority("Root")
	assert.Equal(t, "Root", IssuerName(root.Issue("leaf").Leaf))
	assert.Equal(t, "key id 01:AB", IssuerName(&x509.Certificate{AuthorityKeyId: []byte{1, 0xab}, SubjectKeyId: []byte{2}}))
	assert.Equal(t, "no name", IssuerName(&x509.Certificate{SubjectKeyId: []byte{2}}))
	assert.Equal(t, strings.Repeat("07:", 31)+"07…", KeyID(bytes.Repeat([]byte{7}, 33)))
}

func TestNames(t *testing.T) {
	assert.Equal(t, []string{"a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "spiffe://a.example/db", "a@b.example"},
		Names(named(pkix.Name{CommonName: "no name"}, "mail", "uri", "ip", "dns")))
	assert.Empty(t, Names(named(pkix.Name{CommonName: "no name"})))
}

// crypto/x509 rejects names that are not UTF-8, but accepts control characters, which a terminal interprets.
func TestControlCharactersInNames(t *testing.T) {
	hostile := tlsfarm.SelfSigned("a\x00b\x1b[2J\r\n\u0085", tlsfarm.Names("a\x00b.example\n")).Leaf
	const name = "a�b�[2J���"
	assert.Equal(t, name, text.Clean(SubjectName(hostile), 64))
	assert.Equal(t, name, text.Clean(IssuerName(hostile), 64))
	assert.Equal(t, "a�b.example�", text.Clean(Names(hostile)[0], 64))
}

func assertClean(t *testing.T, s string, limit int) {
	t.Helper()
	assert.True(t, utf8.ValidString(s), "%q", s)
	assert.False(t, strings.ContainsFunc(s, unicode.IsControl), "%q", s)
	assert.LessOrEqual(t, len(s), limit)
}

// The time for writing out a distinguished name grows with the square of its length.
func TestLongDistinguishedNamesAreNotWrittenOut(t *testing.T) {
	organization := func(n int) tlsfarm.Edit {
		return func(c *x509.Certificate) {
			c.Subject = pkix.Name{Organization: slices.Repeat([]string{"Root"}, n)}
		}
	}
	short, long := tlsfarm.NewAuthority("", organization(40)).Certificate, tlsfarm.NewAuthority("", organization(4000)).Certificate
	assert.Equal(t, short.Subject.String(), SubjectDN(short))
	assert.Equal(t, short.Issuer.String(), IssuerDN(short))
	assert.Equal(t, short.Subject.String(), DN(short.RawSubject))
	assert.True(t, namesRoot(short))

	said := fmt.Sprintf("a name of %d bytes", len(long.RawSubject))
	for _, name := range []string{SubjectDN(long), IssuerDN(long), DN(long.RawSubject), SubjectName(long), IssuerName(long)} {
		assert.Equal(t, said, name)
	}
	assert.False(t, namesRoot(long))
	assert.Empty(t, DN([]byte("no name")))
}
