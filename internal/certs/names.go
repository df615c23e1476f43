package certs

import (
	"crypto/x509"
	"fmt"
	"strings"
)

// SubjectName returns the name by which people know a certificate: its common name; without one, the first subject
// alternative name; without any, the whole distinguished name; and if that is empty too, "key id" and its subject key
// identifier, or "no name" if it has none. The result is neither cleaned nor bounded.
func SubjectName(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	}
	if name := c.Subject.String(); name != "" {
		return name
	}
	return unnamed(c.SubjectKeyId)
}

// IssuerName returns the common name of the certificate's issuer or, without one, its whole distinguished name. If that is
// empty, it is "key id" and the authority key identifier, or "no name" if there is none. The result is neither cleaned nor
// bounded.
func IssuerName(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	if name := c.Issuer.String(); name != "" {
		return name
	}
	return unnamed(c.AuthorityKeyId)
}

func unnamed(keyID []byte) string {
	if len(keyID) == 0 {
		return "no name"
	}
	return "key id " + KeyID(keyID)
}

// KeyID returns a key identifier in hexadecimal digits, as OpenSSL prints it. It cuts what is longer than a SHA-256 sum.
func KeyID(id []byte) string {
	const most = 32
	s := strings.ReplaceAll(fmt.Sprintf("% X", id[:min(len(id), most)]), " ", ":")
	if len(id) > most {
		s += "…"
	}
	return s
}

// Names returns all subject alternative names of a certificate: DNS names, addresses, URIs and e-mail addresses. They are
// neither cleaned nor bounded.
func Names(c *x509.Certificate) []string {
	names := make([]string, 0, len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs)+len(c.EmailAddresses))
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return append(names, c.EmailAddresses...)
}
