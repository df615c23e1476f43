// Package certs verifies chains of X.509 certificates and finds every reason why one is invalid. It also checks stapled
// OCSP responses, and reads certificates from files. It does not use the network.
package certs

import (
	"crypto/x509"
	"slices"
	"time"
)

// Fault is one thing that is wrong with a chain, a staple or a file. Its values are those of the attribute error.type.
type Fault string

// What can be wrong with a chain.
const (
	Expired                    Fault = "cert_expired"
	NotYetValid                Fault = "cert_not_yet_valid"
	NameMismatch               Fault = "hostname_mismatch"
	SelfSigned                 Fault = "self_signed"      // a leaf signed with its own key
	UntrustedCA                Fault = "untrusted_ca"     // the chain leads to a root that is not trusted
	IncompleteChain            Fault = "incomplete_chain" // an issuer's certificate was not sent
	BadSignature               Fault = "bad_signature"
	WeakSignature              Fault = "weak_signature" // SHA-1 or MD5, which crypto/x509 rejects
	NotCA                      Fault = "not_a_ca"
	PathLengthExceeded         Fault = "path_length_exceeded"
	WrongKeyUsage              Fault = "wrong_key_usage"
	NameConstraintViolation    Fault = "name_constraint_violation"
	UnhandledCriticalExtension Fault = "unhandled_critical_extension"
	Malformed                  Fault = "malformed_certificate"
	WeakKey                    Fault = "weak_key" // a warning, as clients accept it; a reason for an RSA key under 1024 bits
)

// Reason is a fault and the certificate that has it.
type Reason struct {
	Fault Fault
	Depth int               // index of Cert in Verdict.Chain; 0 is the leaf
	Cert  *x509.Certificate // never nil
	Err   error             // the error of crypto/x509, or the *Staple of a fault that a staple shows; may be nil
	// Namesake reports whether a trusted root has the name of the issuer, but another key than the one that signed.
	Namesake bool
}

// Verdict is the result of verifying a chain.
type Verdict struct {
	// Chain goes from the leaf towards a root. Of several chains to a trusted root, it is the one with the fewest faults
	// and, among those, the one that expires last. If none leads to a trusted root, it is the path among the presented
	// certificates.
	Chain []*x509.Certificate
	// Trusted reports whether Chain ends in a trusted root. It may still be invalid for other reasons.
	Trusted bool
	// Reasons are all faults that make the chain invalid, in the order in which to fix them: trust, dates, name, others.
	Reasons []Reason
	// Warnings are faults that clients accept.
	Warnings []Reason
	// Missing is the certificate that the server should have sent, if Intermediates.FindMissing found it; else nil.
	Missing *x509.Certificate
}

// Valid reports whether a client would accept the chain.
func (v *Verdict) Valid() bool { return len(v.Reasons) == 0 }

// Primary returns the reason to fix first. It panics if the verdict is valid.
func (v *Verdict) Primary() Reason { return v.Reasons[0] }

// Verify judges the presented chain, leaf first, as a client that connects to name would at the time now. If name is
// empty, the names of the leaf do not matter. A nil roots means the system's roots. Verify panics if presented is empty.
func Verify(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) *Verdict {
	leaf := presented[0]
	chains, err := leaf.Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots, Intermediates: newPool(presented[1:]), CurrentTime: now,
	})
	v := &Verdict{}
	if err == nil {
		v.Chain, v.Trusted = bestChain(chains, now), true
	} else {
		v.explain(presented, roots, name, now)
		if v.Valid() {
			// A chain that crypto/x509 rejects must not become valid because explain found no reason.
			v.Reasons = []Reason{{Fault: Malformed, Cert: leaf, Err: err}}
		}
	}
	v.warnOfWeakKeys()
	return v
}

// explain finds all reasons, whereas x509.Certificate.Verify returns only the first one that it finds. It checks each
// aspect on its own: first it looks for a path to a trusted root, ignoring all other faults, and then at issuers,
// dates, name and usages.
func (v *Verdict) explain(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) {
	leaf := presented[0]
	path, constraintReasons := trustedPath(presented, roots, now)
	if path != nil {
		v.Chain, v.Trusted = path, true
	} else {
		v.Chain = presentedPath(presented)
		v.Reasons = trustReasons(v.Chain, presented, roots, now)
	}
	v.Reasons = append(v.Reasons, issuerReasons(v.Chain)...)
	v.Reasons = append(v.Reasons, dateReasons(v.Chain, now)...)
	if name != "" {
		if err := leaf.VerifyHostname(name); err != nil {
			v.Reasons = append(v.Reasons, Reason{Fault: NameMismatch, Cert: leaf, Err: err})
		}
	}
	v.Reasons = append(v.Reasons, usageReasons(v.Chain)...)
	v.Reasons = append(v.Reasons, constraintReasons...)
}

// warnOfWeakKeys adds a warning for each weak key that is not a reason already.
func (v *Verdict) warnOfWeakKeys() {
	for depth, c := range v.Chain {
		isReason := slices.ContainsFunc(v.Reasons, func(r Reason) bool { return r.Fault == WeakKey && r.Depth == depth })
		switch bits := rsaBits(c); {
		case bits == 0 || bits >= 2048 || isReason:
		case bits < 1024 && depth == 0: // crypto/tls makes no handshake with such a key
			v.Reasons = append(v.Reasons, Reason{Fault: WeakKey, Cert: c})
		default:
			v.Warnings = append(v.Warnings, Reason{Fault: WeakKey, Depth: depth, Cert: c})
		}
	}
}
