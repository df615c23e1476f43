package certs

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const maxClientPath = 10 // certificates

// ClientReasons judges the certificate that a client presents to a server, as far as the client itself can know. chain is
// the client's own certificate, then the others that it sends with it. accepted are the DER names of the CAs from which
// the server accepts certificates; it is empty if the server names none. The reasons are in the order in which to fix
// them: dates, usages, the issuer, then weak keys and signatures. Their Depth is 0 for the client's own certificate.
// ClientReasons panics if chain is empty.
func ClientReasons(chain []*x509.Certificate, accepted [][]byte, now time.Time) []Reason {
	path := clientPath(chain)
	top := len(path) - 1
	judged := path
	if top > 0 && selfIssued(path[top]) {
		judged = path[:top] // a server uses its own copy of a root
	}
	reasons := dateReasons(judged, now)
	reasons = append(reasons, clientUsageReasons(judged)...)
	if !issuedByOneOf(path, accepted) {
		reasons = append(reasons, Reason{Fault: UntrustedCA, Depth: top, Cert: path[top]})
	}
	for depth, c := range judged {
		if bits := rsaBits(c); bits > 0 && bits < 2048 {
			reasons = append(reasons, Reason{Fault: WeakKey, Depth: depth, Cert: c})
		}
		if isWeak(c.SignatureAlgorithm) && !selfIssued(c) {
			reasons = append(reasons, Reason{Fault: WeakSignature, Depth: depth, Cert: c})
		}
	}
	return reasons
}

// clientPath returns the path from the client's own certificate upwards, as far as chain has it. It goes by names and key
// identifiers and checks no signatures, because it is needed in each probe.
func clientPath(chain []*x509.Certificate) []*x509.Certificate {
	path := chain[:1:1]
	for len(path) < maxClientPath && !selfIssued(path[len(path)-1]) {
		c := path[len(path)-1]
		issuer := slices.IndexFunc(chain, func(ca *x509.Certificate) bool {
			sameKey := len(c.AuthorityKeyId) == 0 || len(ca.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId)
			return bytes.Equal(c.RawIssuer, ca.RawSubject) && sameKey && !slices.Contains(path, ca)
		})
		if issuer < 0 {
			break
		}
		path = append(path, chain[issuer])
	}
	return path
}

// clientUsageReasons returns the certificates that may not be used for a TLS client. As for servers, the extended key
// usages of a CA certificate limit the certificates below it.
func clientUsageReasons(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		// The client signs in the handshake.
		cannotSign := c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0
		if !AllowsClientAuth(c) || depth == 0 && cannotSign {
			reasons = append(reasons, Reason{Fault: WrongKeyUsage, Depth: depth, Cert: c})
		}
	}
	return reasons
}

// AllowsClientAuth reports whether the extended key usages of a certificate, if it has any, allow a TLS client.
func AllowsClientAuth(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// issuedByOneOf reports whether one of the CAs with these DER names issued a certificate of the path. It is true if there
// are no names.
func issuedByOneOf(path []*x509.Certificate, names [][]byte) bool {
	if len(names) == 0 {
		return true
	}
	for _, c := range path {
		if slices.ContainsFunc(names, func(name []byte) bool { return bytes.Equal(name, c.RawIssuer) }) {
			return true
		}
	}
	// Names are the same regardless of case, white space and string type (RFC 5280, section 7.1). OpenSSL compares them in
	// this way.
	var issuers []string
	for _, c := range path {
		issuers = append(issuers, foldName(c.RawIssuer))
	}
	return slices.ContainsFunc(names, func(name []byte) bool { return slices.Contains(issuers, foldName(name)) })
}

// foldName returns a string that is the same for two DER names that differ only in case, white space and string types. If
// der is not a name, it returns der as it is.
func foldName(der []byte) string {
	var b strings.Builder
	var name, rdn, attribute cryptobyte.String
	input := cryptobyte.String(der)
	if !input.ReadASN1(&name, asn1.SEQUENCE) || !input.Empty() {
		return string(der)
	}
	for !name.Empty() {
		if !name.ReadASN1(&rdn, asn1.SET) {
			return string(der)
		}
		for !rdn.Empty() {
			var typ, value cryptobyte.String
			var tag asn1.Tag
			if !rdn.ReadASN1(&attribute, asn1.SEQUENCE) || !attribute.ReadASN1(&typ, asn1.OBJECT_IDENTIFIER) || !attribute.ReadAnyASN1(&value, &tag) {
				return string(der)
			}
			b.Write(typ)
			b.WriteByte('=')
			b.WriteString(strings.Join(strings.Fields(strings.ToLower(string(value))), " "))
			b.WriteByte(0)
		}
		b.WriteByte(1)
	}
	return b.String()
}
