package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// What a staple, or the lack of one, shows of a chain.
const (
	Revoked       Fault = "cert_revoked"
	InvalidStaple Fault = "invalid_staple" // a warning: what was stapled is not to be believed
	MissingStaple Fault = "missing_staple" // a warning: the leaf demands a staple, and none was sent
)

// Staple is the OCSP response that a server sends with its certificate (RFC 6960; RFC 6066, section 8), or the lack of
// one that the certificate demands (RFC 7633). It is an error where Status is not good.
type Staple struct {
	Status  StapleStatus  // empty where the staple is not to be believed
	Problem StapleProblem // why it is not; empty where it is

	// The times are those of a response that the CA stands for, whatever else is wrong with it, else zero.
	ThisUpdate time.Time
	NextUpdate time.Time // zero also where the response has none
	RevokedAt  time.Time // zero also where the certificate is not revoked
	Reason     string    // of the revocation, as RFC 5280 names it; empty where none was given

	detail      string
	from, until time.Time // between which, both included, a good status is what it is
}

func (s *Staple) Error() string { return s.detail }

// StapleStatus is what a CA says of a certificate.
type StapleStatus string

const (
	StatusGood    StapleStatus = "good"
	StatusRevoked StapleStatus = "revoked"
	StatusUnknown StapleStatus = "unknown"
)

// StapleProblem is why a staple is not to be believed.
type StapleProblem string

const (
	StapleMissing       StapleProblem = "missing"                // the certificate demands one
	StapleTooLarge      StapleProblem = "too_large"              // not looked at
	StapleMalformed     StapleProblem = "malformed"              // cannot be read
	StapleUnsupported   StapleProblem = "unsupported"            // a critical extension, or an algorithm that is not accepted
	StapleRefusal       StapleProblem = "responder_error"        // the responder would not say
	StapleUnverifiable  StapleProblem = "unverifiable"           // the leaf's issuer is not known, so nothing can be checked
	StapleOther         StapleProblem = "wrong_certificate"      // it is about others
	StapleForged        StapleProblem = "forged"                 // neither the issuer signed it nor one whom the issuer certified
	StapleNotAuthorized StapleProblem = "unauthorized_responder" // the issuer certified the signer, but not for this or not for now
	StapleStale         StapleProblem = "stale"                  // there should be a newer one
	StapleNotYetValid   StapleProblem = "not_yet_valid"          // from the future
)

const (
	maxStaple     = 32 << 10 // bytes, half of what TLS has room for. Real ones have one to five KiB.
	maxResponders = 4        // certificates in a response that are looked at. There is use for one.
	clockSkew     = 5 * time.Minute
	// A response without nextUpdate says that there is always a newer one (RFC 6960, section 4.2.2.1), so what is stapled
	// is old by its own account, and would hold for ever if it were believed. Firefox believes it for so long.
	maxUndated = 24 * time.Hour
)

// AddStaple judges the staple that came with the presented chain, of which v is the verdict, and adds to v what follows:
// the reason Revoked, or a warning. It returns nil where none was sent and none is demanded.
func (v *Verdict) AddStaple(staple []byte, presented []*x509.Certificate, now time.Time) *Staple {
	leaf := v.Chain[0]
	s := &Staple{}
	switch {
	case len(staple) > 0:
		s.judge(staple, leaf, v.leafIssuer(presented), now)
	case mustStaple(leaf):
		s.is(StapleMissing, "no OCSP response was stapled")
	default:
		return nil
	}
	switch {
	case s.Status == StatusRevoked:
		// It takes a new certificate to mend it, so it comes before what else is wrong with this one.
		at := slices.IndexFunc(v.Reasons, func(r Reason) bool {
			return r.Fault == WrongKeyUsage || r.Fault == NameConstraintViolation || r.Fault == UnhandledCriticalExtension
		})
		if at < 0 {
			at = len(v.Reasons)
		}
		v.Reasons = slices.Insert(v.Reasons, at, Reason{Fault: Revoked, Cert: leaf, Err: s})
	case s.Problem == StapleMissing:
		v.Warnings = append(v.Warnings, Reason{Fault: MissingStaple, Cert: leaf, Err: s})
	case s.Problem != "" && s.Problem != StapleUnverifiable: // which is the chain's fault
		v.Warnings = append(v.Warnings, Reason{Fault: InvalidStaple, Cert: leaf, Err: s})
	}
	return s
}

// leafIssuer returns the certificate whose key signed the leaf, nil where it is not known.
func (v *Verdict) leafIssuer(presented []*x509.Certificate) *x509.Certificate {
	if v.Trusted && len(v.Chain) > 1 {
		return v.Chain[1]
	}
	leaf, candidates := v.Chain[0], slices.Concat(v.Chain, presented)
	if v.Missing != nil {
		candidates = append(candidates, v.Missing)
	}
	checks := 10
	issuer := issuerOf(leaf, candidates, &checks)
	if issuer == nil || checkSignature(leaf, issuer) != nil {
		return nil
	}
	return issuer
}

func (s *Staple) is(p StapleProblem, format string, args ...any) {
	s.Problem, s.detail = p, text.Clean(fmt.Sprintf(format, args...), 256)
}

// judge believes nothing of a response but what its signature covers, and that only where the issuer stands for it.
// golang.org/x/crypto/ocsp does not do for it: it keeps most of what is checked here to itself.
func (s *Staple) judge(staple []byte, leaf, issuer *x509.Certificate, now time.Time) {
	if len(staple) > maxStaple {
		s.is(StapleTooLarge, "it has %d bytes", len(staple))
		return
	}
	var envelope ocspResponse
	if err := unmarshal(staple, &envelope); err != nil {
		s.is(StapleMalformed, "%v", err)
		return
	}
	if status := ocsp.ResponseStatus(envelope.Status); status != ocsp.Success {
		s.is(StapleRefusal, "it is an OCSP responder's answer that it cannot tell: %v", status)
		return
	}
	var r basicResponse
	if !envelope.Response.Type.Equal(oidBasicResponse) {
		s.is(StapleMalformed, "it is of no known type")
		return
	} else if err := unmarshal(envelope.Response.Content, &r); err != nil {
		s.is(StapleMalformed, "%v", err)
		return
	}
	if issuer == nil {
		s.is(StapleUnverifiable, "the certificate's issuer, which must have signed it, is not known")
		return
	}
	e := r.entryFor(leaf, issuer)
	if e == nil {
		s.is(StapleOther, "it is about other certificates")
		if len(r.Data.Entries) > 0 {
			s.is(StapleOther, "%s, such as that with the serial number %X", s.detail, r.Data.Entries[0].ID.Serial)
		}
		return
	}
	signer, problem, detail := r.signer(issuer, now)
	if problem != "" {
		s.is(problem, "%s", detail)
		return
	}

	s.ThisUpdate, s.NextUpdate = e.ThisUpdate, e.NextUpdate
	critical := func(x pkix.Extension) bool { return x.Critical }
	if i := slices.IndexFunc(r.Data.Extensions, critical); i >= 0 {
		s.is(StapleUnsupported, "it has the critical extension %v, which is not known", r.Data.Extensions[i].Id)
		return
	}
	if i := slices.IndexFunc(e.Extensions, critical); i >= 0 {
		s.is(StapleUnsupported, "it has the critical extension %v, which is not known", e.Extensions[i].Id)
		return
	}
	status, ok := s.status(e)
	if !ok || r.Data.Version != 0 || !e.NextUpdate.IsZero() && e.NextUpdate.Before(e.ThisUpdate) {
		s.is(StapleMalformed, "its signature is right, but its version, status or dates make no sense")
		return
	}
	end := e.NextUpdate
	if end.IsZero() {
		end = e.ThisUpdate.Add(maxUndated)
	}
	begin := e.ThisUpdate
	if r.Data.ProducedAt.After(begin) {
		begin = r.Data.ProducedAt
	}
	switch {
	case begin.After(now.Add(clockSkew)):
		s.is(StapleNotYetValid, "it is from the future, from %s; it says %q", text.Moment(begin), status)
	case now.After(end):
		s.is(StapleStale, "it was good until %s, and said %q then", text.Moment(end), status)
	default:
		s.Status = status
		s.from, s.until = begin.Add(-clockSkew), end
		if signer != issuer && signer.NotBefore.After(s.from) {
			s.from = signer.NotBefore
		}
		if signer != issuer && signer.NotAfter.Before(s.until) {
			s.until = signer.NotAfter
		}
		if status == StatusRevoked {
			s.detail = "revoked on " + text.Moment(s.RevokedAt)
		} else if status == StatusUnknown {
			s.detail = "the CA does not know it"
		}
	}
}

// status reads the entry's CHOICE.
func (s *Staple) status(e *ocspEntry) (status StapleStatus, ok bool) {
	if e.Status.Class != asn1.ClassContextSpecific {
		return "", false
	}
	switch e.Status.Tag {
	case 0:
		return StatusGood, len(e.Status.Bytes) == 0
	case 1:
		var revoked struct {
			At     time.Time       `asn1:"generalized"`
			Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
		}
		if _, err := asn1.UnmarshalWithParams(e.Status.FullBytes, &revoked, "tag:1"); err != nil {
			return "", false
		}
		s.RevokedAt, s.Reason = revoked.At, crlReasons[revoked.Reason]
		return StatusRevoked, true
	case 2:
		return StatusUnknown, len(e.Status.Bytes) == 0
	}
	return "", false
}

// crlReasons are those of RFC 5280, section 5.3.1, but for "unspecified", which says no more than none.
var crlReasons = map[asn1.Enumerated]string{
	ocsp.KeyCompromise:        "keyCompromise",
	ocsp.CACompromise:         "cACompromise",
	ocsp.AffiliationChanged:   "affiliationChanged",
	ocsp.Superseded:           "superseded",
	ocsp.CessationOfOperation: "cessationOfOperation",
	ocsp.CertificateHold:      "certificateHold",
	ocsp.RemoveFromCRL:        "removeFromCRL",
	ocsp.PrivilegeWithdrawn:   "privilegeWithdrawn",
	ocsp.AACompromise:         "aACompromise",
}

// The structures of RFC 6960, section 4.2.1.
type (
	ocspResponse struct {
		Status   asn1.Enumerated
		Response struct {
			Type    asn1.ObjectIdentifier
			Content []byte
		} `asn1:"explicit,tag:0,optional"`
	}
	basicResponse struct {
		Data         ocspData
		Algorithm    pkix.AlgorithmIdentifier
		Signature    asn1.BitString
		Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	ocspData struct {
		Raw        asn1.RawContent
		Version    int `asn1:"explicit,tag:0,default:0,optional"`
		Responder  asn1.RawValue
		ProducedAt time.Time `asn1:"generalized"`
		Entries    []ocspEntry
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	ocspEntry struct {
		ID struct {
			Hash                  pkix.AlgorithmIdentifier
			IssuerName, IssuerKey []byte // hashed
			Serial                *big.Int
		}
		Status     asn1.RawValue
		ThisUpdate time.Time        `asn1:"generalized"`
		NextUpdate time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
)

var (
	oidBasicResponse = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidRSAPSS        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidTLSFeature    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
)

// hashes are those with which a response may name a certificate. It is no matter of security which.
var hashes = []struct {
	oid  asn1.ObjectIdentifier
	hash crypto.Hash
}{
	{asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, crypto.SHA1},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512},
}

// signatures are by OID; RSA-PSS, whose parameters have the hash, is in algorithm.
var signatures = map[string]x509.SignatureAlgorithm{
	"1.2.840.113549.1.1.5":  x509.SHA1WithRSA,
	"1.2.840.113549.1.1.11": x509.SHA256WithRSA,
	"1.2.840.113549.1.1.12": x509.SHA384WithRSA,
	"1.2.840.113549.1.1.13": x509.SHA512WithRSA,
	"1.2.840.10045.4.1":     x509.ECDSAWithSHA1,
	"1.2.840.10045.4.3.2":   x509.ECDSAWithSHA256,
	"1.2.840.10045.4.3.3":   x509.ECDSAWithSHA384,
	"1.2.840.10045.4.3.4":   x509.ECDSAWithSHA512,
	"1.3.101.112":           x509.PureEd25519,
}

var pssSignatures = map[crypto.Hash]x509.SignatureAlgorithm{
	crypto.SHA256: x509.SHA256WithRSAPSS, crypto.SHA384: x509.SHA384WithRSAPSS, crypto.SHA512: x509.SHA512WithRSAPSS,
}

// unmarshal is asn1.Unmarshal of the whole of der.
func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = asn1.SyntaxError{Msg: "trailing data"}
	}
	return err
}

// entryFor returns the latest entry about the leaf, nil where there is none.
func (r *basicResponse) entryFor(leaf, issuer *x509.Certificate) (found *ocspEntry) {
	for _, h := range hashes {
		name, key := digest(h.hash, leaf.RawIssuer), digest(h.hash, publicKey(issuer))
		for i := range r.Data.Entries {
			e := &r.Data.Entries[i]
			if e.ID.Hash.Algorithm.Equal(h.oid) && e.ID.Serial.Cmp(leaf.SerialNumber) == 0 &&
				bytes.Equal(e.ID.IssuerName, name) && bytes.Equal(e.ID.IssuerKey, key) &&
				(found == nil || e.ThisUpdate.After(found.ThisUpdate)) {
				found = e
			}
		}
	}
	return found
}

// signer tells whether the issuer signed the response, or a responder to whom it delegated that (RFC 6960, section
// 4.2.2.2), and if not why that is not so.
func (r *basicResponse) signer(issuer *x509.Certificate, now time.Time) (signer *x509.Certificate, problem StapleProblem, detail string) {
	algorithm := r.algorithm()
	if algorithm == x509.UnknownSignatureAlgorithm {
		return nil, StapleUnsupported, fmt.Sprintf("its signature algorithm, %v, is not known", r.Algorithm.Algorithm)
	}
	if weak(algorithm) {
		return nil, StapleUnsupported, fmt.Sprintf("it is signed with %v, which is no longer accepted", algorithm)
	}
	signed := func(by *x509.Certificate) bool {
		return by.CheckSignature(algorithm, r.Data.Raw, r.Signature.RightAlign()) == nil
	}
	if r.names(issuer) && signed(issuer) {
		return issuer, "", ""
	}
	problem, detail = StapleForged, "its signature is not by the certificate's issuer, nor by anyone whom the issuer certified"
	for _, raw := range r.Certificates[:min(len(r.Certificates), maxResponders)] {
		c, err := x509.ParseCertificate(raw.FullBytes)
		// An RSA key is as large as crypto/tls accepts them, lest a huge one keep the processor busy.
		if err != nil || !r.names(c) || !bytes.Equal(c.RawIssuer, issuer.RawSubject) || rsaBits(c) > 8192 ||
			checkSignature(c, issuer) != nil || !signed(c) {
			continue
		}
		why := ""
		switch {
		case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
			why = "may not sign OCSP responses"
		case now.After(c.NotAfter):
			why = "has expired"
		case now.Before(c.NotBefore):
			why = "is not valid yet"
		case len(c.UnhandledCriticalExtensions) > 0 || weak(c.SignatureAlgorithm):
			why = "is not acceptable itself"
		default:
			return c, "", ""
		}
		problem, detail = StapleNotAuthorized, fmt.Sprintf("the certificate %q that signed it %s", text.Clean(SubjectName(c), 128), why)
	}
	return nil, problem, detail
}

// names tells whether c is the certificate that the response says it is signed with.
func (r *basicResponse) names(c *x509.Certificate) bool {
	id := r.Data.Responder
	switch {
	case id.Class != asn1.ClassContextSpecific:
		return false
	case id.Tag == 1:
		return bytes.Equal(id.Bytes, c.RawSubject)
	case id.Tag == 2:
		var hash []byte
		return unmarshal(id.Bytes, &hash) == nil && bytes.Equal(hash, digest(crypto.SHA1, publicKey(c)))
	}
	return false
}

// algorithm is what crypto/x509 calls the signature's algorithm, 0 where it has no name for it.
func (r *basicResponse) algorithm() x509.SignatureAlgorithm {
	if !r.Algorithm.Algorithm.Equal(oidRSAPSS) {
		return signatures[r.Algorithm.Algorithm.String()]
	}
	var params struct {
		Hash pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		MGF  pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		Salt int                      `asn1:"explicit,tag:2"`
	}
	if unmarshal(r.Algorithm.Parameters.FullBytes, &params) == nil {
		for _, h := range hashes {
			if params.Hash.Algorithm.Equal(h.oid) && params.Salt == h.hash.Size() { // crypto/x509 takes no other salt
				return pssSignatures[h.hash]
			}
		}
	}
	return x509.UnknownSignatureAlgorithm
}

func digest(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// publicKey returns the bits of a certificate's key, without its algorithm.
func publicKey(c *x509.Certificate) []byte {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	_, _ = asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info) // which crypto/x509 has read before
	return info.Key.RightAlign()
}

// mustStaple tells whether the certificate has the TLS feature extension with status_request in it.
func mustStaple(c *x509.Certificate) bool {
	const statusRequest = 5
	for _, x := range c.Extensions {
		if x.Id.Equal(oidTLSFeature) {
			var features []int
			return unmarshal(x.Value, &features) == nil && slices.Contains(features, statusRequest)
		}
	}
	return false
}
