package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// trustedPath returns the best path from the leaf to a trusted root, or nil if there is none. It ignores everything
// that can be checked for a certificate on its own. Only crypto/x509 can check name constraints and policies, so these
// are ignored only if they rule out every path. In that case, they are returned as the reason.
func trustedPath(presented []*x509.Certificate, roots *x509.CertPool, now time.Time) (path []*x509.Certificate, reasons []Reason) {
	anchors := trustAnchors(presented, roots, now)
	path, err := relaxedPath(presented, anchors, now, true)
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return path, nil
	}
	fault := NameConstraintViolation
	if invalid.Reason == x509.NoValidChains {
		fault = Malformed // a certificate policy, for which there is no fault
	}
	path, _ = relaxedPath(presented, anchors, now, false)
	return path, []Reason{{Fault: fault, Cert: presented[0], Err: err}}
}

// relaxedPath returns the best path from the leaf to an anchor with relaxed certificates.
func relaxedPath(presented, anchors []*x509.Certificate, now time.Time, constraints bool) ([]*x509.Certificate, error) {
	original := make(map[*x509.Certificate]*x509.Certificate, len(presented)+len(anchors))
	relaxed := func(certs []*x509.Certificate) []*x509.Certificate {
		copies := make([]*x509.Certificate, len(certs))
		for i, c := range certs {
			copies[i] = relax(c, constraints)
			original[copies[i]] = c
		}
		return copies
	}
	certs := relaxed(presented)
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: newPool(relaxed(anchors)), Intermediates: newPool(certs[1:]), CurrentTime: now, KeyUsages: anyUsage,
	})
	if err != nil {
		return nil, err
	}
	for _, chain := range chains {
		for i, c := range chain {
			chain[i] = original[c]
		}
	}
	return bestChain(chains, now), nil
}

// trustAnchors returns the trusted roots that are, or signed, one of the presented certificates. A pool does not reveal
// its certificates, but crypto/x509 returns the root of a chain, even of one that fails because the root's dates are wrong.
func trustAnchors(presented []*x509.Certificate, roots *x509.CertPool, now time.Time) []*x509.Certificate {
	var found []*x509.Certificate
	for _, c := range presented {
		r := relax(c, false)
		chains, err := r.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: anyUsage})
		for _, chain := range chains {
			root := chain[len(chain)-1]
			if root == r {
				root = c
			}
			found = append(found, root)
		}
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			found = append(found, invalid.Cert)
		}
	}
	return found
}

var anyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}

// relax returns a copy of c in which crypto/x509 checks only names, key and signature and, if constraints is true, the
// name constraints and policies.
func relax(c *x509.Certificate, constraints bool) *x509.Certificate {
	r := *c
	r.NotBefore, r.NotAfter = time.Time{}, time.Unix(1<<40, 0)
	r.UnhandledCriticalExtensions = nil
	r.BasicConstraintsValid, r.IsCA, r.MaxPathLen, r.KeyUsage = true, true, -1, 0
	if !constraints {
		r.DNSNames, r.IPAddresses, r.URIs, r.EmailAddresses = nil, nil, nil, nil // without names, nothing is constrained
		r.RequireExplicitPolicy, r.RequireExplicitPolicyZero, r.PolicyMappings = 0, false, nil
	}
	return &r
}

// presentedPath returns the path from the leaf upwards through the presented certificates, whatever their order.
func presentedPath(presented []*x509.Certificate) []*x509.Certificate {
	// A hostile server could send hundreds of certificates with the same name. The limit is that of crypto/x509.
	checks := 100
	path := presented[:1:1]
	for {
		// A certificate may be self-issued and yet not a root: a CA can certify its new key with its old one.
		top := path[len(path)-1]
		if selfIssued(top) && checkSignature(top, top) == nil {
			break
		}
		next := issuerOf(top, presented, &checks)
		if next == nil || slices.Contains(path, next) {
			break
		}
		path = append(path, next)
	}
	return path
}

// issuerOf returns the candidate that signed c; if none did, one that has the issuer's name; else nil. It checks at most
// *checks signatures, and subtracts those it checked.
func issuerOf(c *x509.Certificate, candidates []*x509.Certificate, checks *int) *x509.Certificate {
	var namesake *x509.Certificate
	for _, p := range candidates {
		if !bytes.Equal(p.RawSubject, c.RawIssuer) {
			continue
		}
		if *checks--; *checks < 0 {
			return nil
		}
		if checkSignature(c, p) == nil {
			return p
		}
		if namesake == nil {
			namesake = p
		}
	}
	return namesake
}

// bestChain returns the chain with the fewest faults and, among those, the one that expires last. So it prefers a valid
// chain to one with an expired cross-signed root.
func bestChain(chains [][]*x509.Certificate, now time.Time) []*x509.Certificate {
	rank := func(chain []*x509.Certificate) (faults int, firstExpiry time.Time) {
		firstExpiry = chain[0].NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(firstExpiry) {
				firstExpiry = c.NotAfter
			}
		}
		return len(issuerReasons(chain)) + len(dateReasons(chain, now)) + len(usageReasons(chain)), firstExpiry
	}
	return slices.MinFunc(chains, func(a, b []*x509.Certificate) int {
		faultsA, expiryA := rank(a)
		faultsB, expiryB := rank(b)
		if faultsA != faultsB {
			return faultsA - faultsB
		}
		return expiryB.Compare(expiryA)
	})
}

func newPool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
