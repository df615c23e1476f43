// Package certs holds facts about X.509 certificates: what a chain is worth, and every reason for which it is worth
// nothing. It knows no network.
package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"
)

// Fault names one thing that is wrong with a chain. The names are those of the attribute error.type.
type Fault string

const (
	Expired                    Fault = "cert_expired"
	NotYetValid                Fault = "cert_not_yet_valid"
	NameMismatch               Fault = "hostname_mismatch"
	SelfSigned                 Fault = "self_signed"      // a lone leaf, signed by its own key
	UntrustedCA                Fault = "untrusted_ca"     // the chain leads to a root that is not trusted
	IncompleteChain            Fault = "incomplete_chain" // the leaf's issuer was not sent
	BadSignature               Fault = "bad_signature"
	WeakSignature              Fault = "weak_signature" // SHA-1, MD5: crypto/x509 refuses them
	NotCA                      Fault = "not_a_ca"
	PathLengthExceeded         Fault = "path_length_exceeded"
	WrongKeyUsage              Fault = "wrong_key_usage"
	NameConstraintViolation    Fault = "name_constraint_violation"
	UnhandledCriticalExtension Fault = "unhandled_critical_extension"
	Malformed                  Fault = "malformed_certificate"
	WeakKey                    Fault = "weak_key" // a warning: clients still accept it
)

// Reason is a Fault and where it is.
type Reason struct {
	Fault Fault
	Depth int               // of Cert in Verdict.Chain; 0 is the leaf
	Cert  *x509.Certificate // the certificate at fault
	// Err is what crypto/x509 said, where it was asked. It may be nil.
	Err error
}

// Verdict is what became of a chain.
type Verdict struct {
	// Chain goes from the leaf towards its root. It is the best chain that leads to a trusted root, that is the one
	// whose first expiry is latest; where none does, it is what was presented.
	Chain []*x509.Certificate
	// Trusted tells that Chain ends in a trusted root. Dates and names may still be wrong.
	Trusted bool
	// Reasons are all that is wrong, what to mend first before the rest: trust, time, name, others. Valid is when it
	// is empty.
	Reasons []Reason
	// Warnings are what clients accept today all the same.
	Warnings []Reason
}

// Valid tells whether a client would accept the certificate.
func (v *Verdict) Valid() bool { return len(v.Reasons) == 0 }

// Primary is the reason to mend first. It panics on a valid verdict.
func (v *Verdict) Primary() Reason { return v.Reasons[0] }

// Verify judges the presented chain, leaf first, as a client that expects name would at the time now. A nil roots means
// those of the system. It panics when presented is empty.
func Verify(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) *Verdict {
	leaf := presented[0]
	chains, err := leaf.Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots, Intermediates: pool(presented[1:]), CurrentTime: now,
	})
	v := &Verdict{Chain: presented}
	if err == nil {
		v.Chain, v.Trusted = bestChain(chains, now), true
	} else {
		v.explain(presented, roots, name, now)
	}
	for depth, c := range v.Chain {
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
			v.Warnings = append(v.Warnings, Reason{Fault: WeakKey, Depth: depth, Cert: c})
		}
	}
	return v
}

// explain finds all reasons, of which x509.Verify would tell only the first. It takes the parts apart: first whether
// any path leads to a root once dates and extensions are set aside, then dates, name and usage each for itself.
func (v *Verdict) explain(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) {
	leaf := presented[0]
	path, err := trustedPath(presented, roots, now)
	if path != nil {
		v.Chain, v.Trusted = path, true
	} else {
		path = presentedPath(presented)
		v.Reasons = append(v.Reasons, untrusted(presented, path, err))
	}

	for depth, c := range path {
		switch {
		case now.After(c.NotAfter):
			v.Reasons = append(v.Reasons, Reason{Fault: Expired, Depth: depth, Cert: c})
		case now.Before(c.NotBefore):
			v.Reasons = append(v.Reasons, Reason{Fault: NotYetValid, Depth: depth, Cert: c})
		}
	}

	if err := leaf.VerifyHostname(name); err != nil {
		v.Reasons = append(v.Reasons, Reason{Fault: NameMismatch, Cert: leaf, Err: err})
	}

	if !hasFault(v.Reasons, WrongKeyUsage) && !servesTLS(path) {
		v.Reasons = append(v.Reasons, Reason{Fault: WrongKeyUsage, Cert: leaf})
	}
	for depth, c := range path {
		if len(c.UnhandledCriticalExtensions) > 0 {
			v.Reasons = append(v.Reasons, Reason{Fault: UnhandledCriticalExtension, Depth: depth, Cert: c})
		}
	}
	// A refusal that none of the parts accounts for must not be lost: it stands as what crypto/x509 called it.
	if len(v.Reasons) == 0 {
		_, err := leaf.Verify(x509.VerifyOptions{
			DNSName: name, Roots: roots, Intermediates: pool(presented[1:]), CurrentTime: now,
		})
		v.Reasons = append(v.Reasons, Reason{Fault: Malformed, Cert: leaf, Err: err})
	}
}

// trustedPath returns a path from the leaf to a trusted root with dates and unknown extensions set aside, the one that
// has the fewest certificates out of date, or the error that crypto/x509 has when there is none.
func trustedPath(presented []*x509.Certificate, roots *x509.CertPool, now time.Time) ([]*x509.Certificate, error) {
	relaxed := make([]*x509.Certificate, len(presented))
	original := make(map[*x509.Certificate]*x509.Certificate, len(presented))
	// The roots keep their dates, as a pool does not give them out. An expired root was valid when it signed, which
	// was at the latest when one of the presented certificates began.
	times := []time.Time{now}
	for i, c := range presented {
		r := *c
		r.NotBefore, r.NotAfter = time.Time{}, time.Unix(1<<40, 0)
		r.UnhandledCriticalExtensions = nil
		relaxed[i], original[&r] = &r, c
		times = append(times, c.NotBefore, c.NotAfter)
	}

	var firstErr error
	for _, t := range times {
		chains, err := relaxed[0].Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: pool(relaxed[1:]), CurrentTime: t,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			for _, chain := range chains {
				for i, c := range chain {
					if o := original[c]; o != nil {
						chain[i] = o
					}
				}
			}
			return bestChain(chains, now), nil
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return nil, firstErr
}

// presentedPath follows issuers among the presented certificates, whatever their order, from the leaf upwards.
func presentedPath(presented []*x509.Certificate) []*x509.Certificate {
	path := presented[:1:1]
	for !selfIssued(path[len(path)-1]) {
		next := issuerOf(path[len(path)-1], presented)
		if next == nil || slices.Contains(path, next) {
			break
		}
		path = append(path, next)
	}
	return path
}

// issuerOf returns the presented certificate that signed c; where none did, one that bears the issuer's name; else nil.
func issuerOf(c *x509.Certificate, presented []*x509.Certificate) *x509.Certificate {
	var namesake *x509.Certificate
	for _, p := range presented {
		if p == c || !bytes.Equal(p.RawSubject, c.RawIssuer) {
			continue
		}
		if c.CheckSignatureFrom(p) == nil {
			return p
		}
		if namesake == nil {
			namesake = p
		}
	}
	return namesake
}

// untrusted says why no path leads from the leaf to a root. err is what x509.Verify said of it.
func untrusted(presented, path []*x509.Certificate, err error) Reason {
	leaf := path[0]
	at := func(f Fault, depth int) Reason { return Reason{Fault: f, Depth: depth, Cert: path[depth], Err: err} }

	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		depth := max(0, slices.IndexFunc(path, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, invalid.Cert.Raw) }))
		switch invalid.Reason {
		case x509.NotAuthorizedToSign:
			return at(NotCA, depth)
		case x509.TooManyIntermediates:
			return at(PathLengthExceeded, depth)
		case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage:
			return at(WrongKeyUsage, depth)
		case x509.CANotAuthorizedForThisName, x509.NameConstraintsWithoutSANs, x509.UnconstrainedName, x509.TooManyConstraints:
			return at(NameConstraintViolation, depth)
		}
	}

	for depth, c := range path {
		if weak(c.SignatureAlgorithm) && !selfIssued(c) {
			return at(WeakSignature, depth)
		}
		if depth+1 == len(path) {
			break
		}
		var violation x509.ConstraintViolationError
		switch e := c.CheckSignatureFrom(path[depth+1]); {
		case errors.As(e, &violation):
			return at(NotCA, depth+1)
		case e != nil:
			return at(BadSignature, depth)
		}
	}

	top := len(path) - 1
	switch {
	case selfIssued(leaf) && path[0].CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil:
		return at(SelfSigned, 0)
	case selfIssued(path[top]):
		return at(UntrustedCA, top)
	case top == 0 && len(leaf.IssuingCertificateURL) > 0:
		return at(IncompleteChain, 0)
	}
	return at(UntrustedCA, top)
}

// bestChain returns the chain with the fewest certificates out of date at now, and among those the one whose first
// expiry is latest. Of an expired cross-signed root beside a good one it thus sees the good one.
func bestChain(chains [][]*x509.Certificate, now time.Time) []*x509.Certificate {
	rank := func(chain []*x509.Certificate) (outOfDate int, firstExpiry time.Time) {
		firstExpiry = chain[0].NotAfter
		for _, c := range chain {
			if now.Before(c.NotBefore) || now.After(c.NotAfter) {
				outOfDate++
			}
			if c.NotAfter.Before(firstExpiry) {
				firstExpiry = c.NotAfter
			}
		}
		return outOfDate, firstExpiry
	}
	return slices.MinFunc(chains, func(a, b []*x509.Certificate) int {
		outA, expiryA := rank(a)
		outB, expiryB := rank(b)
		if outA != outB {
			return outA - outB
		}
		return expiryB.Compare(expiryA)
	})
}

// servesTLS tells whether the extended key usages along the path allow a TLS server, in the sense of nested usages that
// crypto/x509 and the web apply: none means any.
func servesTLS(path []*x509.Certificate) bool {
	for i, c := range path {
		if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
			continue
		}
		// A root's usages are not asked for: it is trusted by being in the pool.
		if i > 0 && i == len(path)-1 {
			continue
		}
		if !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return false
		}
	}
	return true
}

func hasFault(reasons []Reason, f Fault) bool {
	return slices.ContainsFunc(reasons, func(r Reason) bool { return r.Fault == f })
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// weak tells of signatures that crypto/x509 refuses. DSA it cannot check at all.
func weak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		return true
	}
	return false
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// KeySize returns the size of the certificate's public key in bits, 0 where the algorithm is unknown.
func KeySize(c *x509.Certificate) int {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return 256
	}
	return 0
}

// SubjectName returns the name by which people know a certificate: the common name; where there is none, the first
// name of the SAN; else the whole distinguished name. It is somebody else's bytes: not clean, not bounded.
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
	return c.Subject.String()
}

// IssuerName is SubjectName for the issuer, of which a certificate has the distinguished name alone.
func IssuerName(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	return c.Issuer.String()
}

// Names returns all names of the certificate's SAN, as text: DNS names, addresses, URIs, e-mail addresses.
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

// Clean makes foreign text fit for telemetry: valid UTF-8, no control characters, at most max bytes.
func Clean(s string, max int) string {
	if len(s) > 4*max {
		s = s[:4*max]
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '\ufffd'
		}
		return r
	}, s) // also turns each byte that is no UTF-8 into U+FFFD
	if len(s) <= max {
		return s
	}
	cut := max - len("…")
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
