// Package certs holds facts about X.509 certificates: what a chain is worth, and every reason for which it is worth
// nothing. It knows no network.
package certs

import (
	"bytes"
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
	WeakKey                    Fault = "weak_key" // a warning, as clients still accept it; a reason for a CA's RSA key under 1024 bits
)

// Reason is a Fault and where it is.
type Reason struct {
	Fault Fault
	Depth int               // of Cert in Verdict.Chain; 0 is the leaf
	Cert  *x509.Certificate // the certificate at fault
	// Err is what crypto/x509 said, where it was asked. It may be nil.
	Err error
	// Namesake tells that a trusted root has the issuer's name, but its key did not make the signature.
	Namesake bool
}

// Verdict is what became of a chain.
type Verdict struct {
	// Chain goes from the leaf towards its root. It is the best chain that leads to a trusted root, that is the one
	// whose first expiry is latest; where none does, it is as much of one as was presented.
	Chain []*x509.Certificate
	// Trusted tells that Chain ends in a trusted root. All else may still be wrong.
	Trusted bool
	// Reasons are all that is wrong, what to mend first before the rest: trust, time, name, others. Valid is when it
	// is empty.
	Reasons []Reason
	// Warnings are what clients accept today all the same.
	Warnings []Reason
	// Missing is the certificate that the server forgot to send, where Known.Complete found it; else nil.
	Missing *x509.Certificate
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
	v := &Verdict{}
	if err == nil {
		v.Chain, v.Trusted = bestChain(chains, now), true
	} else {
		v.explain(presented, roots, name, now)
		if v.Valid() {
			// A refusal that explain does not account for must not be lost.
			v.Reasons = []Reason{{Fault: Malformed, Cert: leaf, Err: err}}
		}
	}
	for depth, c := range v.Chain {
		refused := slices.ContainsFunc(v.Reasons, func(r Reason) bool { return r.Fault == WeakKey && r.Depth == depth })
		if bits := rsaBits(c); bits > 0 && bits < 2048 && !refused {
			v.Warnings = append(v.Warnings, Reason{Fault: WeakKey, Depth: depth, Cert: c})
		}
	}
	return v
}

// explain finds all reasons, of which x509.Verify would tell only the first. It takes the parts apart: first whether
// any path leads to a root once all else is set aside, then CAs, dates, name and usage each for itself.
func (v *Verdict) explain(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) {
	leaf := presented[0]
	path, refusals := trustedPath(presented, roots, now)
	if path != nil {
		v.Chain, v.Trusted = path, true
	} else {
		v.Chain = presentedPath(presented)
		v.Reasons = untrusted(v.Chain, presented, roots, now)
	}
	v.Reasons = append(v.Reasons, unauthorized(v.Chain)...)
	v.Reasons = append(v.Reasons, outOfDate(v.Chain, now)...)
	if name != "" {
		if err := leaf.VerifyHostname(name); err != nil {
			v.Reasons = append(v.Reasons, Reason{Fault: NameMismatch, Cert: leaf, Err: err})
		}
	}
	v.Reasons = append(v.Reasons, unfit(v.Chain)...)
	v.Reasons = append(v.Reasons, refusals...)
}

// trustedPath returns the best path from the leaf to a trusted root once all that can be judged for itself is set
// aside, nil when there is none. Name constraints and policies can be judged by x509.Verify alone, so they are set
// aside only where they rule out every path; the refusals then tell of them.
func trustedPath(presented []*x509.Certificate, roots *x509.CertPool, now time.Time) (path []*x509.Certificate, refusals []Reason) {
	anchors := trustAnchors(presented, roots, now)
	path, err := relaxedPath(presented, anchors, now, true)
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return path, nil
	}
	fault := NameConstraintViolation
	if invalid.Reason == x509.NoValidChains {
		fault = Malformed // certificate policies: no Fault is about them
	}
	path, _ = relaxedPath(presented, anchors, now, false)
	return path, []Reason{{Fault: fault, Cert: presented[0], Err: err}}
}

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
		Roots: pool(relaxed(anchors)), Intermediates: pool(certs[1:]), CurrentTime: now, KeyUsages: anyUsage,
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

// trustAnchors returns the trusted roots that signed, or are, one of the presented certificates. A pool does not give out
// what is in it, but x509.Verify names the root of a chain, and of one that fails only because of the root's dates too.
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

// relax returns a copy of c that x509.Verify has nothing against: of c, only names, key and signature are left, and the
// constraints on and by its names if they are to be kept.
func relax(c *x509.Certificate, constraints bool) *x509.Certificate {
	r := *c
	r.NotBefore, r.NotAfter = time.Time{}, time.Unix(1<<40, 0)
	r.UnhandledCriticalExtensions = nil
	r.BasicConstraintsValid, r.IsCA, r.MaxPathLen, r.KeyUsage = true, true, -1, 0
	if !constraints {
		r.DNSNames, r.IPAddresses, r.URIs, r.EmailAddresses = nil, nil, nil, nil // no names, nothing to constrain
		r.RequireExplicitPolicy, r.RequireExplicitPolicyZero, r.PolicyMappings = 0, false, nil
	}
	return &r
}

// presentedPath follows issuers among the presented certificates, whatever their order, from the leaf upwards.
func presentedPath(presented []*x509.Certificate) []*x509.Certificate {
	// As many signatures as crypto/x509 would check. A hostile server could send hundreds of certificates of one name.
	checks := 100
	path := presented[:1:1]
	for {
		// A CA that changed its key may have a certificate of its own name by its former key, which is no root.
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

// issuerOf returns the presented certificate that signed c; where none did, one that bears the issuer's name; else nil.
func issuerOf(c *x509.Certificate, presented []*x509.Certificate, checks *int) *x509.Certificate {
	var namesake *x509.Certificate
	for _, p := range presented {
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

// untrusted says why path leads to no trusted root: each signature along it that does not count, and that what is above
// them, where anything is, leads to none either.
func untrusted(path, presented []*x509.Certificate, roots *x509.CertPool, now time.Time) []Reason {
	var reasons []Reason
	top := len(path) - 1
	rest := 0 // where the part begins that signatures hold together
	for depth, c := range path {
		if depth == top && selfIssued(c) {
			break // a root's own signature is not asked for
		}
		var issuer *x509.Certificate
		if depth < top {
			issuer = path[depth+1]
		}
		fault, err := signatureFault(c, issuer)
		if fault == "" {
			continue
		}
		r := Reason{Fault: fault, Depth: depth, Cert: c, Err: err}
		if fault == WeakKey {
			r.Depth, r.Cert = depth+1, issuer
		}
		reasons = append(reasons, r)
		rest = depth + 1
	}

	if rest > top {
		return reasons // whether the one that signed the topmost certificate is trusted cannot be told
	}
	if rest > 0 {
		if above, _ := trustedPath(append(path[rest:rest+1:rest+1], presented...), roots, now); above != nil {
			return reasons
		}
	}
	_, err := relax(path[top], false).Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: anyUsage})
	r := Reason{Fault: UntrustedCA, Depth: top, Cert: path[top], Err: err, Namesake: triedRoot(err)}
	if leaf := path[0]; top == 0 && selfIssued(leaf) {
		if fault, _ := signatureFault(leaf, leaf); fault != BadSignature {
			r.Fault = SelfSigned
		}
	} else if top == 0 && len(leaf.IssuingCertificateURL) > 0 {
		r.Fault = IncompleteChain
	}
	return append(reasons, r)
}

// triedRoot tells that there is a trusted root of the issuer's name, whose key did not make the signature. Whether the
// signature was altered or the CA has a new key can't be told: a pool does not give out what is in it, and
// x509.UnknownAuthorityError hides its hint, so its words are all there is. They also tell of a root that may sign
// nothing, being no CA or having too small a key, in which case nobody has looked at the signature.
func triedRoot(err error) bool {
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &unknown) && strings.Contains(err.Error(), "possibly because of") &&
		!strings.Contains(err.Error(), x509.ConstraintViolationError{}.Error()) && !strings.Contains(err.Error(), "keys are insecure")
}

// signatureFault says why crypto/x509 does not take the signature on c for that of issuer, which is nil where it was not
// presented.
func signatureFault(c, issuer *x509.Certificate) (Fault, error) {
	switch {
	case weak(c.SignatureAlgorithm):
		return WeakSignature, x509.InsecureAlgorithmError(c.SignatureAlgorithm)
	case c.SignatureAlgorithm == x509.UnknownSignatureAlgorithm:
		return Malformed, x509.ErrUnsupportedAlgorithm
	case issuer == nil:
		return "", nil
	}
	err := checkSignature(c, issuer)
	switch bits := rsaBits(issuer); {
	case err == nil:
		return "", nil
	case bits > 0 && bits < 1024: // crypto/rsa does not even look at the signature
		return WeakKey, err
	case errors.Is(err, x509.ErrUnsupportedAlgorithm):
		return Malformed, err
	}
	return BadSignature, err
}

// bestChain returns the chain with the least wrong with it at now, and among those the one whose first expiry is latest.
// Of an expired cross-signed root beside a good one it thus sees the good one.
func bestChain(chains [][]*x509.Certificate, now time.Time) []*x509.Certificate {
	rank := func(chain []*x509.Certificate) (faults int, firstExpiry time.Time) {
		firstExpiry = chain[0].NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(firstExpiry) {
				firstExpiry = c.NotAfter
			}
		}
		return len(unauthorized(chain)) + len(outOfDate(chain, now)) + len(unfit(chain)), firstExpiry
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

// unauthorized tells of the certificates above the leaf that may not sign what is below them.
func unauthorized(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		if depth == 0 {
			continue
		}
		// A root may be older than basic constraints are, which came with version 3.
		isCA := c.BasicConstraintsValid && c.IsCA || !c.BasicConstraintsValid && c.Version < 3 && depth == len(path)-1
		if !isCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			reasons = append(reasons, Reason{Fault: NotCA, Depth: depth, Cert: c})
		}
		if c.BasicConstraintsValid && c.MaxPathLen >= 0 && depth-1 > c.MaxPathLen {
			reasons = append(reasons, Reason{Fault: PathLengthExceeded, Depth: depth, Cert: c})
		}
	}
	return reasons
}

func outOfDate(path []*x509.Certificate, now time.Time) (reasons []Reason) {
	for depth, c := range path {
		switch {
		case now.After(c.NotAfter):
			reasons = append(reasons, Reason{Fault: Expired, Depth: depth, Cert: c})
		case now.Before(c.NotBefore):
			reasons = append(reasons, Reason{Fault: NotYetValid, Depth: depth, Cert: c})
		}
	}
	return reasons
}

// unfit tells of the certificates whose extensions do not allow a TLS server, or ask for what crypto/x509 does not know.
// Extended key usages hold for all that is below: every certificate that has any, the root too, must have the server's.
func unfit(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		limited := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
		if limited && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
			reasons = append(reasons, Reason{Fault: WrongKeyUsage, Depth: depth, Cert: c})
		}
	}
	for depth, c := range path {
		if len(c.UnhandledCriticalExtensions) > 0 {
			reasons = append(reasons, Reason{Fault: UnhandledCriticalExtension, Depth: depth, Cert: c})
		}
	}
	return reasons
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// checkSignature tells whether issuer's key signed c, whether it may or not. That it lets SHA-1 pass is of use: the true
// issuer is found among its namesakes.
func checkSignature(c, issuer *x509.Certificate) error {
	return issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
}

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

// rsaBits returns the size of an RSA key, 0 for any other.
func rsaBits(c *x509.Certificate) int {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok {
		return k.N.BitLen()
	}
	return 0
}
