package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// What a staple, or a missing one, can show about a leaf.
const (
	Revoked       Fault = "cert_revoked"
	InvalidStaple Fault = "invalid_staple" // a warning: the staple is not valid
	MissingStaple Fault = "missing_staple" // a warning: the leaf requires a staple, and none was sent
)

// Staple is the result of checking the OCSP response that a server sent with its certificate (RFC 6960; RFC 6066, section
// 8), or failed to send although the certificate requires one (RFC 7633). Either Status or Problem is set. A Staple is an
// error unless its status is good; its text is clean.
type Staple struct {
	Status  StapleStatus
	Problem StapleProblem // why the staple is not valid

	// These are set if the CA signed the response, whatever else is wrong with it.
	ThisUpdate time.Time
	NextUpdate time.Time // zero if the response has none
	RevokedAt  time.Time // zero if the certificate is not revoked
	Reason     string    // of the revocation, as in RFC 5280; empty if the response has none

	detail      string    // of the problem, or of a status that is not good
	from, until time.Time // when Status holds, both inclusive
}

func (s *Staple) Error() string { return s.detail }

// StapleStatus is what the CA says about a certificate.
type StapleStatus string

const (
	StatusGood    StapleStatus = "good"
	StatusRevoked StapleStatus = "revoked"
	StatusUnknown StapleStatus = "unknown"
)

// StapleProblem is why a staple is not valid.
type StapleProblem string

const (
	StapleMissing          StapleProblem = "missing"                // the certificate requires one
	StapleTooLarge         StapleProblem = "too_large"              // not read
	StapleMalformed        StapleProblem = "malformed"              // not an OCSP response
	StapleUnsupported      StapleProblem = "unsupported"            // an unknown critical extension, or a signature algorithm that is unknown or weak
	StapleResponderError   StapleProblem = "responder_error"        // the OCSP responder returned an error
	StapleUnverifiable     StapleProblem = "unverifiable"           // the issuer's certificate is unknown, so the signature cannot be checked
	StapleWrongCertificate StapleProblem = "wrong_certificate"      // about other certificates
	StapleForged           StapleProblem = "forged"                 // signed neither by the issuer nor by a key that it certified
	StapleNotAuthorized    StapleProblem = "unauthorized_responder" // signed by a key that the issuer certified, but not for this purpose or this time
	StapleStale            StapleProblem = "stale"                  // expired
	StapleNotYetValid      StapleProblem = "not_yet_valid"
)

const (
	maxStaple = 32 << 10 // bytes. TLS has room for twice as many, and real responses have one to five KiB.
	clockSkew = 5 * time.Minute
	// maxUndated is how long a response without nextUpdate is valid. Such a response means that newer information is
	// always available (RFC 6960, section 4.2.2.1), so a response that was stapled cannot be valid for long. Firefox
	// uses the same limit.
	maxUndated = 24 * time.Hour
)

// AddStaple checks the OCSP response that came with the presented chain, whose verdict is v. It adds to v the reason
// Revoked, or a warning. It returns nil if response is empty and the leaf requires none.
func (v *Verdict) AddStaple(response []byte, presented []*x509.Certificate, now time.Time) *Staple {
	leaf := v.Chain[0]
	s := &Staple{}
	var err *stapleError
	switch {
	case len(response) > 0:
		err = s.check(response, leaf, v.leafIssuer(presented), now)
	case mustStaple(leaf):
		err = rejected(StapleMissing, "no OCSP response was stapled")
	default:
		return nil
	}
	if err != nil {
		s.Problem, s.detail = err.problem, text.Clean(err.detail, 256)
	}
	switch {
	case s.Status == StatusRevoked:
		v.addRevoked(s)
	case s.Problem == StapleMissing:
		v.Warnings = append(v.Warnings, Reason{Fault: MissingStaple, Cert: leaf, Err: s})
	case s.Problem != "" && s.Problem != StapleUnverifiable: // that is a fault of the chain
		v.Warnings = append(v.Warnings, Reason{Fault: InvalidStaple, Cert: leaf, Err: s})
	}
	return s
}

// addRevoked inserts the reason Revoked before the faults of a certificate that the same fix, a new one, also removes.
func (v *Verdict) addRevoked(s *Staple) {
	at := slices.IndexFunc(v.Reasons, func(r Reason) bool {
		return r.Fault == WrongKeyUsage || r.Fault == NameConstraintViolation || r.Fault == UnhandledCriticalExtension
	})
	if at < 0 {
		at = len(v.Reasons)
	}
	v.Reasons = slices.Insert(v.Reasons, at, Reason{Fault: Revoked, Cert: v.Chain[0], Err: s})
}

// leafIssuer returns the certificate whose key signed the leaf, or nil if it is unknown.
func (v *Verdict) leafIssuer(presented []*x509.Certificate) *x509.Certificate {
	if v.Trusted && len(v.Chain) > 1 {
		return v.Chain[1]
	}
	leaf, candidates := v.Chain[0], slices.Concat(v.Chain, presented)
	if v.Missing != nil {
		candidates = append(candidates, v.Missing)
	}
	checks := 0
	for _, c := range candidates {
		if !bytes.Equal(c.RawSubject, leaf.RawIssuer) {
			continue
		}
		if checkSignature(leaf, c) == nil {
			return c
		}
		if checks++; checks == 10 {
			break
		}
	}
	return nil
}

// stapleError is why a staple is not valid. Its detail is not clean.
type stapleError struct {
	problem StapleProblem
	detail  string
}

func rejected(p StapleProblem, format string, args ...any) *stapleError {
	return &stapleError{p, fmt.Sprintf(format, args...)}
}

// check checks a response about leaf and fills in s, except for Problem. The issuer is nil if it is unknown.
func (s *Staple) check(der []byte, leaf, issuer *x509.Certificate, now time.Time) *stapleError {
	if len(der) > maxStaple {
		return rejected(StapleTooLarge, "it has %d bytes; at most %d are read", len(der), maxStaple)
	}
	r, err := parseResponse(der)
	if err != nil {
		return err
	}
	if issuer == nil {
		return rejected(StapleUnverifiable, "its signature cannot be checked without the certificate of the issuer")
	}
	e := r.entryFor(leaf, issuer)
	if e == nil {
		return r.wrongCertificate()
	}
	signer, err := r.signer(issuer, now)
	if err != nil {
		return err
	}
	s.ThisUpdate, s.NextUpdate = e.ThisUpdate, e.NextUpdate
	if err := r.checkExtensions(e); err != nil {
		return err
	}
	status, ok := e.status()
	s.RevokedAt, s.Reason = status.revokedAt, status.reason
	if !ok || r.Data.Version != 0 || !e.NextUpdate.IsZero() && e.NextUpdate.Before(e.ThisUpdate) {
		return rejected(StapleMalformed, "it is signed correctly, but its version, status or dates are invalid")
	}
	from, until := r.validity(e)
	switch {
	case from.After(now.Add(clockSkew)):
		return rejected(StapleNotYetValid, "it is not valid before %s; its status is %q", text.Moment(from), status.name)
	case now.After(until):
		return rejected(StapleStale, "it expired on %s; its status was %q", text.Moment(until), status.name)
	}
	s.Status = status.name
	s.from, s.until = from.Add(-clockSkew), until
	if signer != issuer && signer.NotBefore.After(s.from) {
		s.from = signer.NotBefore
	}
	if signer != issuer && signer.NotAfter.Before(s.until) {
		s.until = signer.NotAfter
	}
	switch s.Status {
	case StatusRevoked:
		s.detail = "revoked on " + text.Moment(s.RevokedAt)
	case StatusUnknown:
		s.detail = "the CA does not know the certificate"
	}
	return nil
}
