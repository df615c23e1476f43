package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// This file reads OCSP responses (RFC 6960). The parser of golang.org/x/crypto/ocsp does not return the hashes, signers
// and extensions that are needed to check a staple.

// maxResponders is how many certificates of a response are tried, as each costs a check of its signature. A response
// needs at most one.
const maxResponders = 4

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
			IssuerName, IssuerKey []byte // hashes
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

// hashes are those by which a response may identify the issuer. SHA-1 is not a weakness here, as nothing relies on it.
var hashes = []struct {
	oid  asn1.ObjectIdentifier
	hash crypto.Hash
}{
	{asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, crypto.SHA1},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512},
}

// signatureAlgorithms are by OID, except for RSA-PSS: its hash is in the parameters.
var signatureAlgorithms = map[string]x509.SignatureAlgorithm{
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

var pssAlgorithms = map[crypto.Hash]x509.SignatureAlgorithm{
	crypto.SHA256: x509.SHA256WithRSAPSS, crypto.SHA384: x509.SHA384WithRSAPSS, crypto.SHA512: x509.SHA512WithRSAPSS,
}

// revocationReasons are those of RFC 5280, section 5.3.1, without "unspecified", which means the same as no reason.
var revocationReasons = map[asn1.Enumerated]string{
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

// unmarshal is asn1.Unmarshal, but rejects trailing data.
func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = asn1.SyntaxError{Msg: "trailing data"}
	}
	return err
}

// parseResponse returns the basic response in der, whose signature has not been checked.
func parseResponse(der []byte) (*basicResponse, *stapleError) {
	var envelope ocspResponse
	if err := unmarshal(der, &envelope); err != nil {
		return nil, rejected(StapleMalformed, "it cannot be decoded: %v", err)
	}
	if status := ocsp.ResponseStatus(envelope.Status); status != ocsp.Success {
		return nil, rejected(StapleResponderError, "it is an error of the OCSP responder: %v", status)
	}
	if !envelope.Response.Type.Equal(oidBasicResponse) {
		return nil, rejected(StapleMalformed, "it is not a basic OCSP response")
	}
	r := &basicResponse{}
	if err := unmarshal(envelope.Response.Content, r); err != nil {
		return nil, rejected(StapleMalformed, "it cannot be decoded: %v", err)
	}
	return r, nil
}

// entryFor returns the latest entry about the leaf, or nil if there is none.
func (r *basicResponse) entryFor(leaf, issuer *x509.Certificate) (latest *ocspEntry) {
	for _, h := range hashes {
		name, key := digest(h.hash, leaf.RawIssuer), digest(h.hash, publicKey(issuer))
		for i := range r.Data.Entries {
			e := &r.Data.Entries[i]
			if e.ID.Hash.Algorithm.Equal(h.oid) && e.ID.Serial.Cmp(leaf.SerialNumber) == 0 &&
				bytes.Equal(e.ID.IssuerName, name) && bytes.Equal(e.ID.IssuerKey, key) &&
				(latest == nil || e.ThisUpdate.After(latest.ThisUpdate)) {
				latest = e
			}
		}
	}
	return latest
}

func (r *basicResponse) wrongCertificate() *stapleError {
	if len(r.Data.Entries) == 0 {
		return rejected(StapleWrongCertificate, "it is not about any certificate")
	}
	return rejected(StapleWrongCertificate, "it is about other certificates, the first with serial number %X", r.Data.Entries[0].ID.Serial)
}

// signer returns the certificate whose key signed the response: the issuer's, or that of a responder to which the issuer
// delegated signing (RFC 6960, section 4.2.2.2).
func (r *basicResponse) signer(issuer *x509.Certificate, now time.Time) (*x509.Certificate, *stapleError) {
	algorithm := r.algorithm()
	if algorithm == x509.UnknownSignatureAlgorithm {
		return nil, rejected(StapleUnsupported, "its signature algorithm %v is unknown", r.Algorithm.Algorithm)
	}
	if isWeak(algorithm) {
		return nil, rejected(StapleUnsupported, "it is signed with %v, which is no longer accepted", algorithm)
	}
	signedBy := func(c *x509.Certificate) bool {
		return c.CheckSignature(algorithm, r.Data.Raw, r.Signature.RightAlign()) == nil
	}
	if r.namesSigner(issuer) && signedBy(issuer) {
		return issuer, nil
	}
	err := rejected(StapleForged, "it is signed neither by the certificate's issuer nor by a key that the issuer certified")
	for _, raw := range r.Certificates[:min(len(r.Certificates), maxResponders)] {
		c, parseErr := x509.ParseCertificate(raw.FullBytes)
		// The limit for RSA keys is that of crypto/tls: checking a signature with a huge key takes long.
		if parseErr != nil || !r.namesSigner(c) || !bytes.Equal(c.RawIssuer, issuer.RawSubject) || rsaBits(c) > 8192 ||
			checkSignature(c, issuer) != nil || !signedBy(c) {
			continue
		}
		if err = checkResponder(c, now); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// checkResponder checks whether the issuer, who signed c, allows its key to sign OCSP responses.
func checkResponder(c *x509.Certificate, now time.Time) *stapleError {
	var fault string
	switch {
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		fault = "may not sign OCSP responses"
	case now.After(c.NotAfter):
		fault = "has expired"
	case now.Before(c.NotBefore):
		fault = "is not valid yet"
	case len(c.UnhandledCriticalExtensions) > 0:
		fault = "has an unknown critical extension"
	case isWeak(c.SignatureAlgorithm):
		fault = "has a weak signature"
	default:
		return nil
	}
	return rejected(StapleNotAuthorized, "the certificate %s, whose key signed it, %s", text.Quote(SubjectName(c), 128), fault)
}

// namesSigner reports whether the response names c as the certificate of its signer.
func (r *basicResponse) namesSigner(c *x509.Certificate) bool {
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

// algorithm returns the algorithm of the signature, or 0 if crypto/x509 does not support it.
func (r *basicResponse) algorithm() x509.SignatureAlgorithm {
	if !r.Algorithm.Algorithm.Equal(oidRSAPSS) {
		return signatureAlgorithms[r.Algorithm.Algorithm.String()]
	}
	var params struct { // RFC 4055, section 3.1
		Hash pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		MGF  pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		Salt int                      `asn1:"explicit,tag:2"`
	}
	if unmarshal(r.Algorithm.Parameters.FullBytes, &params) == nil {
		for _, h := range hashes {
			if params.Hash.Algorithm.Equal(h.oid) && params.Salt == h.hash.Size() { // crypto/x509 accepts no other salt
				return pssAlgorithms[h.hash]
			}
		}
	}
	return x509.UnknownSignatureAlgorithm
}

// checkExtensions rejects critical extensions of the response and of its entry e, as none is known here.
func (r *basicResponse) checkExtensions(e *ocspEntry) *stapleError {
	for _, extensions := range [][]pkix.Extension{r.Data.Extensions, e.Extensions} {
		for _, x := range extensions {
			if x.Critical {
				return rejected(StapleUnsupported, "its critical extension %v is unknown", x.Id)
			}
		}
	}
	return nil
}

// validity returns the first and the last moment at which the entry e is valid.
func (r *basicResponse) validity(e *ocspEntry) (from, until time.Time) {
	from, until = e.ThisUpdate, e.NextUpdate
	if r.Data.ProducedAt.After(from) {
		from = r.Data.ProducedAt
	}
	if until.IsZero() {
		until = e.ThisUpdate.Add(maxUndated)
	}
	return from, until
}

type ocspStatus struct {
	name      StapleStatus
	revokedAt time.Time
	reason    string
}

// status reads the entry's status, a CHOICE that encoding/asn1 does not support. It reports whether the status is valid.
func (e *ocspEntry) status() (s ocspStatus, ok bool) {
	if e.Status.Class != asn1.ClassContextSpecific {
		return s, false
	}
	switch e.Status.Tag {
	case 0:
		return ocspStatus{name: StatusGood}, len(e.Status.Bytes) == 0
	case 1:
		var revoked struct {
			At     time.Time       `asn1:"generalized"`
			Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
		}
		if _, err := asn1.UnmarshalWithParams(e.Status.FullBytes, &revoked, "tag:1"); err != nil {
			return s, false
		}
		return ocspStatus{StatusRevoked, revoked.At, revocationReasons[revoked.Reason]}, true
	case 2:
		return ocspStatus{name: StatusUnknown}, len(e.Status.Bytes) == 0
	}
	return s, false
}

func digest(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// publicKey returns the bits of a certificate's public key, without its algorithm.
func publicKey(c *x509.Certificate) []byte {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	_, _ = asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info) // crypto/x509 has parsed it before
	return info.Key.RightAlign()
}

// mustStaple reports whether the certificate requires a staple: its TLS feature extension contains status_request (RFC
// 7633).
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
