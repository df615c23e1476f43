package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
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
	if name := SubjectDN(c); name != "" {
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
	if name := IssuerDN(c); name != "" {
		return name
	}
	return unnamed(c.AuthorityKeyId)
}

// maxDN is the length in bytes of the longest distinguished name that is written out. The time that pkix needs for it grows
// with the square of the length. A name of 64 KiB takes a second.
const maxDN = 4096

// SubjectDN returns the whole distinguished name of a certificate's subject. If it takes more than 4 KiB, it returns only
// how long it is. The result is not cleaned.
func SubjectDN(c *x509.Certificate) string { return distinguishedName(c.RawSubject, c.Subject.String) }

// IssuerDN is like SubjectDN, for the issuer.
func IssuerDN(c *x509.Certificate) string { return distinguishedName(c.RawIssuer, c.Issuer.String) }

// DN is like SubjectDN, for a name in DER. It is empty if der is not a name.
func DN(der []byte) string {
	return distinguishedName(der, func() string {
		var sequence pkix.RDNSequence
		if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 {
			return ""
		}
		return sequence.String()
	})
}

func distinguishedName(der []byte, write func() string) string {
	if len(der) > maxDN {
		return fmt.Sprintf("a name of %d bytes", len(der))
	}
	return write()
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

// ExtensionName returns the name of an extension of a certificate (RFC 5280, section 4.2), or "" if it is not a common one.
// id is its object identifier in digits and dots.
func ExtensionName(id string) string { return extensionNames[id] }

var extensionNames = map[string]string{
	"2.5.29.9": "subjectDirectoryAttributes", "2.5.29.14": "subjectKeyIdentifier", "2.5.29.15": "keyUsage", "2.5.29.16": "privateKeyUsagePeriod",
	"2.5.29.17": "subjectAltName", "2.5.29.18": "issuerAltName", "2.5.29.19": "basicConstraints", "2.5.29.30": "nameConstraints",
	"2.5.29.31": "cRLDistributionPoints", "2.5.29.32": "certificatePolicies", "2.5.29.33": "policyMappings", "2.5.29.35": "authorityKeyIdentifier",
	"2.5.29.36": "policyConstraints", "2.5.29.37": "extKeyUsage", "2.5.29.46": "freshestCRL", "2.5.29.54": "inhibitAnyPolicy",
	"1.3.6.1.5.5.7.1.1": "authorityInfoAccess", "1.3.6.1.5.5.7.1.3": "qcStatements", "1.3.6.1.5.5.7.1.7": "ipAddrBlocks",
	"1.3.6.1.5.5.7.1.8": "autonomousSysIds", "1.3.6.1.5.5.7.1.11": "subjectInfoAccess", "1.3.6.1.5.5.7.1.14": "proxyCertInfo",
	"1.3.6.1.5.5.7.1.24": "tlsfeature", "1.3.6.1.5.5.7.48.1.5": "ocspNoCheck", "1.3.6.1.4.1.11129.2.4.3": "CT poison",
	"2.16.840.1.113730.1.1": "netscapeCertType",
}
