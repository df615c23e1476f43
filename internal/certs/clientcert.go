package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const maxClientPath = 10 // certificates

// ClientChain is the certificate that a client presents to a server, with the others that it sends. It never changes, so any
// number of goroutines may use it.
type ClientChain struct {
	path       []*x509.Certificate // from the client's own certificate upwards, as far as the others have it
	judged     []*x509.Certificate // of path: without a root, as a server uses its own copy of that
	unreadable bool                // whether one of the others cannot be read
	lasting    []Reason            // at any time and for any server, except for what is weak
}

// NewClientChain returns the chain of a client certificate, and judges what is the same in each probe. others are the DER
// forms of the certificates that the client sends with it.
func NewClientChain(leaf *x509.Certificate, others [][]byte) *ClientChain {
	c := &ClientChain{}
	chain := []*x509.Certificate{leaf}
	for _, der := range others {
		if other, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, other)
		} else {
			c.unreadable = true
		}
	}
	left := maxWork
	c.path = clientPath(chain, &left)
	top := len(c.path) - 1
	c.judged = c.path
	if top > 0 && selfIssued(c.path[top]) {
		c.judged = c.path[:top]
	}
	c.lasting = clientLinkReasons(c.judged, &left)
	c.lasting = append(c.lasting, issuerReasons(c.judged)...)
	c.lasting = append(c.lasting, clientUsageReasons(c.judged)...)
	c.lasting = append(c.lasting, criticalReasons(c.judged)...)
	c.lasting = append(c.lasting, clientNameReasons(c.judged, &left)...)
	if k, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok && k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
		c.lasting = append(c.lasting, Reason{Fault: Malformed, Cert: leaf})
	}
	return c
}

// Top returns the topmost certificate that the client sends, which may be its own. It is nil if a certificate of the chain
// cannot be read, as that may be above.
func (c *ClientChain) Top() *x509.Certificate {
	if c.unreadable {
		return nil
	}
	return c.path[len(c.path)-1]
}

// Reasons returns why a server may refuse the client, as far as the client itself can know. accepted are the DER names of
// the CAs from which the server accepts certificates; it is empty if the server names none. The reasons are in the order in
// which to fix them: dates, the path and its usages, the issuer, then weak keys and signatures. Their Depth is 0 for the
// client's own certificate. The fault Malformed means an ECDSA key on a curve that TLS 1.3 does not have.
func (c *ClientChain) Reasons(accepted [][]byte, now time.Time) []Reason {
	reasons := append(dateReasons(c.judged, now), c.lasting...)
	if top := c.Top(); top != nil && !issuedByOneOf(c.path, accepted) {
		reasons = append(reasons, Reason{Fault: UntrustedCA, Depth: len(c.path) - 1, Cert: top})
	}
	for depth, cert := range c.judged {
		if bits := rsaBits(cert); bits > 0 && bits < 2048 {
			reasons = append(reasons, Reason{Fault: WeakKey, Depth: depth, Cert: cert})
		}
		if isWeak(cert.SignatureAlgorithm) && !selfIssued(cert) {
			reasons = append(reasons, Reason{Fault: WeakSignature, Depth: depth, Cert: cert})
		}
	}
	return reasons
}

// clientPath returns the path from the client's own certificate upwards, as far as chain has it. Of several certificates with
// the name of an issuer, it takes one whose key made the signature.
func clientPath(chain []*x509.Certificate, left *budget) []*x509.Certificate {
	path := chain[:1:1]
	for len(path) < maxClientPath && !selfIssued(path[len(path)-1]) {
		c := path[len(path)-1]
		var issuer *x509.Certificate
		for _, ca := range chain {
			if !bytes.Equal(c.RawIssuer, ca.RawSubject) || otherKey(c, ca) || slices.Contains(path, ca) {
				continue
			}
			if !wronglySigned(c, ca, left) {
				issuer = ca
				break
			}
			if issuer == nil {
				issuer = ca
			}
		}
		if issuer == nil {
			break
		}
		path = append(path, issuer)
	}
	return path
}

// wronglySigned reports whether the signature on c shows that another key than issuer's made it. It is false for what
// crypto/x509 cannot check.
func wronglySigned(c, issuer *x509.Certificate, left *budget) bool {
	if bits := rsaBits(issuer); issuer.PublicKey == nil || bits > 0 && bits < minRSA || !left.spend(checkCost(issuer)) {
		return false
	}
	err := checkSignature(c, issuer)
	insecure := x509.InsecureAlgorithmError(0)
	return err != nil && !errors.Is(err, x509.ErrUnsupportedAlgorithm) && !errors.As(err, &insecure)
}

// clientLinkReasons returns the certificates that were not signed with the key of the next one in the path.
func clientLinkReasons(path []*x509.Certificate, left *budget) (reasons []Reason) {
	for depth, issuer := range path[1:] {
		if c := path[depth]; wronglySigned(c, issuer, left) {
			reasons = append(reasons, Reason{Fault: BadSignature, Depth: depth, Cert: c})
		}
	}
	return reasons
}

// clientNameReasons returns the certificates with names for which a CA above them may not issue certificates.
func clientNameReasons(path []*x509.Certificate, left *budget) []Reason {
	s := &search{budget: left}
	var top *node
	for depth, c := range path {
		top = &node{cert: c, below: top, depth: depth}
	}
	// Few servers check policies.
	return slices.DeleteFunc(s.constraintReasons(top), func(r Reason) bool { return r.Fault != NameConstraintViolation })
}

// clientUsageReasons returns the certificates that may not be used for a TLS client. As for servers, the extended key
// usages of a CA certificate limit the certificates below it. anyExtendedKeyUsage is enough for crypto/tls, but not for
// OpenSSL.
func clientUsageReasons(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		// The client signs in the handshake.
		cannotSign := c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0
		limited := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
		if limited && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || depth == 0 && cannotSign {
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

// foldName returns a string that is the same for two DER names that differ only in case, white space and string types that
// encode ASCII alike, as UTF8String and PrintableString do. If der is not a name, it returns der as it is.
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
