// Package certs verifies chains of X.509 certificates and finds every reason why one is invalid. It also checks stapled
// OCSP responses, and reads certificates from files. It does not use the network.
package certs

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
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
	// Err is the error of crypto/x509, a *ConstraintViolation, an *UnusableCA, an *UnusableRoot, a *WrongOrder, ErrNameEncoding,
	// ErrTooMuchWork, an *Unexplained, or the *Staple of a fault that a staple shows. It may be nil.
	Err error
	// TrustedNamesake reports whether a trusted root has the name of the issuer, but another key than the one that signed.
	TrustedNamesake bool
	// SentNamesake reports the same of a presented certificate.
	SentNamesake bool
}

// Verdict is the result of verifying a chain.
type Verdict struct {
	// Chain goes from the leaf towards a root. Of several, it is the one that is nearest to a valid one: one to a trusted
	// root comes first, then the one with the fewest faults and, among those, the one that expires last.
	Chain []*x509.Certificate
	// Rooted reports whether Chain ends in a trusted root. It may still be invalid, even because of its signatures.
	Rooted bool
	// RootListed reports whether that root is one of the certificates that ParseRoots read, rather than one of the system's.
	RootListed bool
	// Trusted reports whether Chain ends in a trusted root and all its signatures are right. It may still be invalid for
	// other reasons.
	Trusted bool
	// Presented are the certificates that the server sent, its own first. It is nil if the verdict is valid.
	Presented []*x509.Certificate
	// Reasons are all faults that make the chain invalid, in the order in which to fix them: trust, dates, name, others.
	Reasons []Reason
	// Warnings are faults that clients accept.
	Warnings []Reason
	// Missing is the certificate that the server should have sent, if Intermediates.FindMissing found it; else nil.
	Missing *x509.Certificate

	left budget // for FindMissing
}

// Valid reports whether a client would accept the chain.
func (v *Verdict) Valid() bool { return len(v.Reasons) == 0 }

// Primary returns the reason to fix first. It panics if the verdict is valid.
func (v *Verdict) Primary() Reason { return v.Reasons[0] }

// Verify judges the presented chain, leaf first, as a client that connects to name would at the time now. If name is
// empty, the names of the leaf do not matter. A nil roots means the system's roots. Verify panics if presented is empty.
func Verify(presented []*x509.Certificate, roots *Roots, name string, now time.Time) *Verdict {
	leaf := presented[0]
	chains, err := leaf.Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots.Pool(), Intermediates: newPool(presented[1:]), CurrentTime: now,
	})
	v := &Verdict{}
	if err == nil {
		v.Chain, v.Rooted, v.Trusted = bestChain(chains), true, true
	} else {
		v.explain(presented, roots, name, now)
		if v.Valid() {
			// A chain that crypto/x509 rejects must not become valid because explain found no reason.
			v.Reasons = []Reason{v.unexplained(err, now)}
		}
	}
	v.warnOfWeakKeys()
	return v
}

// Unexplained is the error of crypto/x509 about a chain in which no reason was found, as that would have been too much work.
type Unexplained struct{ Err error }

func (u *Unexplained) Error() string { return text.Clean(u.Err.Error(), 512) }
func (u *Unexplained) Unwrap() error { return u.Err }

// unexplained returns the reason that an error of x509.Certificate.Verify means.
func (v *Verdict) unexplained(err error, now time.Time) Reason {
	r := Reason{Fault: Malformed, Cert: v.Chain[0], Err: &Unexplained{err}}
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid):
		if i := slices.IndexFunc(v.Chain, invalid.Cert.Equal); i >= 0 {
			r.Depth, r.Cert = i, v.Chain[i]
		}
		switch invalid.Reason {
		case x509.NotAuthorizedToSign:
			r.Fault = NotCA
		case x509.Expired:
			if r.Fault = Expired; now.Before(invalid.Cert.NotBefore) {
				r.Fault = NotYetValid
			}
		case x509.CANotAuthorizedForThisName:
			r.Fault = NameConstraintViolation
		case x509.TooManyIntermediates:
			r.Fault = PathLengthExceeded
		case x509.IncompatibleUsage:
			r.Fault = WrongKeyUsage
		}
	case errors.As(err, new(x509.UnhandledCriticalExtension)):
		r.Fault = UnhandledCriticalExtension
	case errors.As(err, new(x509.UnknownAuthorityError)):
		r.Fault = UntrustedCA
	}
	return r
}

// explain finds all reasons, whereas x509.Certificate.Verify returns only the first one that it finds. It looks for the path
// that is nearest to a valid one, and then at its signatures, issuers, dates, names and usages.
func (v *Verdict) explain(presented []*x509.Certificate, roots *Roots, name string, now time.Time) {
	v.left = maxWork
	best := bestPath(presented, roots, now, &v.left)
	v.Presented, v.Chain = presented, best.path()
	v.Rooted, v.Trusted = best.rooted, best.rooted && best.verified()
	v.RootListed = best.rooted && roots.lists(best.cert)
	v.Reasons = best.signatureReasons()
	if best.end != nil {
		// A wrong signature comes first, as it may be why the path leads there. One that is only weak does not.
		at := slices.IndexFunc(v.Reasons, func(r Reason) bool { return r.Fault != BadSignature })
		if at < 0 {
			at = len(v.Reasons)
		}
		v.Reasons = slices.Insert(v.Reasons, at, *best.end)
	}
	v.Reasons = append(v.Reasons, issuerReasons(v.Chain)...)
	v.Reasons = append(v.Reasons, dateReasons(v.Chain, now)...)
	if name != "" {
		if err := presented[0].VerifyHostname(name); err != nil {
			r := Reason{Fault: NameMismatch, Cert: presented[0], Err: err}
			if order := wrongOrder(presented, name); order != nil {
				// Nothing that is wrong with the CA matters before the server sends its own certificate first.
				r.Err = order
				v.Reasons = slices.Insert(v.Reasons, 0, r)
			} else {
				v.Reasons = append(v.Reasons, r)
			}
		}
	}
	v.Reasons = append(v.Reasons, usageReasons(v.Chain)...)
	v.Reasons = append(v.Reasons, best.violated...)
}

// WrongOrder is the error of a name mismatch whose cause is that the server sends a CA certificate before its own.
type WrongOrder struct {
	Leaf  *x509.Certificate // the server's own certificate
	Index int               // in the presented certificates
}

func (w *WrongOrder) Error() string { return "the first certificate is that of a CA" }

// wrongOrder returns the server's own certificate if a CA certificate was presented before it, or nil.
func wrongOrder(presented []*x509.Certificate, name string) (order *WrongOrder) {
	if !presented[0].BasicConstraintsValid || !presented[0].IsCA {
		return nil
	}
	for i, c := range presented {
		switch {
		case c.IsCA:
		case c.VerifyHostname(name) == nil:
			return &WrongOrder{c, i}
		case order == nil:
			order = &WrongOrder{c, i}
		}
	}
	return order
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
