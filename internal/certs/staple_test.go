package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var (
	stapleKey  = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	stapleRoot = tlsfarm.NewAuthority("Staple Root")
	stapleCA   = stapleRoot.Intermediate("Staple CA", tlsfarm.Key(stapleKey))
	stapled    = stapleCA.Issue("stapled")
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// checkStaple returns the verdict on a certificate with a staple, and the result for the staple.
func checkStaple(c tls.Certificate, staple []byte) (*Verdict, *Staple) {
	v := Verify(certs(c), newRoots(certs(stapleRoot)), "localhost", time.Now())
	return v, v.AddStaple(staple, certs(c), time.Now())
}

func faults(reasons []Reason) (all []Fault) {
	for _, r := range reasons {
		all = append(all, r.Fault)
	}
	return all
}

// reseal edits a response in ways that x/crypto/ocsp cannot, and signs it again.
func reseal(staple []byte, key crypto.Signer, edit func(*basicResponse)) []byte {
	var envelope ocspResponse
	var r basicResponse
	mustBe(unmarshal(staple, &envelope))
	mustBe(unmarshal(envelope.Response.Content, &r))
	edit(&r)
	r.Data.Raw = nil
	tbs := must(asn1.Marshal(r.Data))
	if _, ok := key.(ed25519.PrivateKey); ok {
		r.Signature.Bytes = must(key.Sign(nil, tbs, crypto.Hash(0)))
	} else {
		hash := sha256.Sum256(tbs)
		var opts crypto.SignerOpts = crypto.SHA256
		if r.Algorithm.Algorithm.Equal(oidRSAPSS) {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		}
		r.Signature.Bytes = must(key.Sign(rand.Reader, hash[:], opts))
	}
	r.Signature.BitLength = 8 * len(r.Signature.Bytes)
	envelope.Response.Content = must(asn1.Marshal(r))
	return must(asn1.Marshal(envelope))
}

func mustBe(err error) { must(0, err) }

var unknownExtension = pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}

func TestStaple(t *testing.T) {
	sign := func(edits ...tlsfarm.StapleEdit) []byte { return stapleCA.Staple(stapled, edits...) }
	set := func(edit func(*ocsp.Response)) tlsfarm.StapleEdit { return edit }
	edited := func(edit func(*basicResponse)) []byte { return reseal(sign(), stapleKey, edit) }
	entry := func(edit func(*ocspEntry)) []byte {
		return edited(func(r *basicResponse) { edit(&r.Data.Entries[0]) })
	}
	by := func(signer tls.Certificate) []byte { return stapleCA.StapleBy(signer, stapled) }
	embedding := func(signer crypto.Signer, embedded ...*x509.Certificate) []byte {
		return reseal(by(tls.Certificate{Leaf: embedded[0], PrivateKey: signer}), signer, func(r *basicResponse) {
			r.Certificates = nil
			for _, c := range embedded {
				r.Certificates = append(r.Certificates, asn1.RawValue{FullBytes: c.Raw})
			}
		})
	}

	stranger := tlsfarm.NewAuthority("Staple CA") // with the same name
	other := stapleCA.Issue("other")
	responder := stapleCA.Issue("OCSP", tlsfarm.Responder)
	key := responder.PrivateKey.(crypto.Signer)
	reissued := stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Key(key), func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{unknownExtension}
	})
	good, revoked := sign(), sign(tlsfarm.RevokedFor(ocsp.KeyCompromise))
	entryOf := func(staple []byte) (e ocspEntry) {
		reseal(staple, stapleKey, func(r *basicResponse) { e = r.Data.Entries[0] })
		return e
	}

	for name, c := range map[string]struct {
		staple  []byte
		status  StapleStatus
		problem StapleProblem
		detail  string
	}{
		"good":                      {good, StatusGood, "", ""},
		"revoked":                   {revoked, StatusRevoked, "", "revoked on " + time.Now().Add(-time.Hour).UTC().Format("2006-01-02")},
		"unknown":                   {sign(set(func(r *ocsp.Response) { r.Status = ocsp.Unknown })), StatusUnknown, "", "does not know the certificate"},
		"names hashed with SHA-256": {sign(set(func(r *ocsp.Response) { r.IssuerHash = crypto.SHA256 })), StatusGood, "", ""},
		"names hashed with SHA-384": {sign(set(func(r *ocsp.Response) { r.IssuerHash = crypto.SHA384 })), StatusGood, "", ""},
		"names hashed with SHA-512": {sign(set(func(r *ocsp.Response) { r.IssuerHash = crypto.SHA512 })), StatusGood, "", ""},
		"an extension": {sign(set(func(r *ocsp.Response) {
			r.ExtraExtensions = []pkix.Extension{{Id: unknownExtension.Id, Value: []byte{5, 0}}}
		})), StatusGood, "", ""},
		"a critical extension":                   {sign(set(func(r *ocsp.Response) { r.ExtraExtensions = []pkix.Extension{unknownExtension} })), "", StapleUnsupported, "critical extension 1.2.3.4"},
		"a critical extension of the response":   {edited(func(r *basicResponse) { r.Data.Extensions = []pkix.Extension{unknownExtension} }), "", StapleUnsupported, "critical extension 1.2.3.4"},
		"an extension of the response":           {edited(func(r *basicResponse) { r.Data.Extensions = []pkix.Extension{{Id: unknownExtension.Id}} }), StatusGood, "", ""},
		"another version":                        {edited(func(r *basicResponse) { r.Data.Version = 1 }), "", StapleMalformed, "are invalid"},
		"no status":                              {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 2, Tag: 3} }), "", StapleMalformed, "are invalid"},
		"a status of another class":              {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 1} }), "", StapleMalformed, "are invalid"},
		"good with a date":                       {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 2, Bytes: []byte{0}} }), "", StapleMalformed, "are invalid"},
		"revoked without a date":                 {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 2, Tag: 1, IsCompound: true} }), "", StapleMalformed, "are invalid"},
		"nextUpdate before thisUpdate":           {sign(tlsfarm.StapleDates(-time.Hour, -2*time.Hour)), "", StapleMalformed, "are invalid"},
		"names hashed with an unknown hash":      {entry(func(e *ocspEntry) { e.ID.Hash.Algorithm = asn1.ObjectIdentifier{1, 2, 3} }), "", StapleWrongCertificate, ""},
		"another issuer's name":                  {entry(func(e *ocspEntry) { e.ID.IssuerName[0] ^= 1 }), "", StapleWrongCertificate, ""},
		"another issuer's key":                   {entry(func(e *ocspEntry) { e.ID.IssuerKey[0] ^= 1 }), "", StapleWrongCertificate, ""},
		"another serial number":                  {stapleCA.Staple(other), "", StapleWrongCertificate, fmt.Sprintf("%X", other.Leaf.SerialNumber)},
		"a huge serial number":                   {entry(func(e *ocspEntry) { e.ID.Serial = new(big.Int).Lsh(big.NewInt(1), 100_000) }), "", StapleWrongCertificate, "10000"},
		"no entries":                             {edited(func(r *basicResponse) { r.Data.Entries = nil }), "", StapleWrongCertificate, ""},
		"another CA's of the same serial number": {stranger.Staple(stapled), "", StapleWrongCertificate, ""},

		"stale":             {sign(tlsfarm.StapleDates(-2*day, -time.Second)), "", StapleStale, `its status was "good"`},
		"stale and revoked": {sign(tlsfarm.StapleDates(-2*day, -day), tlsfarm.RevokedFor(0)), "", StapleStale, `its status was "revoked"`},
		"not yet stale":     {sign(tlsfarm.StapleDates(-2*day, time.Minute)), StatusGood, "", ""},
		"from the future":   {sign(tlsfarm.StapleDates(6*time.Minute, day)), "", StapleNotYetValid, "is not valid before"},
		"from a fast clock": {sign(tlsfarm.StapleDates(4*time.Minute, day)), StatusGood, "", ""},
		"signed in the future": {edited(func(r *basicResponse) {
			r.Data.ProducedAt = time.Now().Add(6 * time.Minute).UTC().Truncate(time.Second)
		}), "", StapleNotYetValid, "is not valid before"},
		"no nextUpdate, new": {sign(tlsfarm.StapleDates(-23*time.Hour, 0)), StatusGood, "", ""},
		"no nextUpdate, old": {sign(tlsfarm.StapleDates(-25*time.Hour, 0)), "", StapleStale, "it expired on"},

		"two entries, ours last": {edited(func(r *basicResponse) {
			r.Data.Entries = append([]ocspEntry{entryOf(stapleCA.Staple(other, tlsfarm.RevokedFor(0)))}, r.Data.Entries...)
		}), StatusGood, "", ""},
		"two entries, ours first": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(stapleCA.Staple(other, tlsfarm.RevokedFor(0))))
		}), StatusGood, "", ""},
		"two entries, neither ours": {reseal(stapleCA.Staple(other), stapleKey, func(r *basicResponse) { r.Data.Entries = append(r.Data.Entries, r.Data.Entries[0]) }), "", StapleWrongCertificate, ""},
		"another CA's entry of our serial number first": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(revoked))
			r.Data.Entries[0].ID.IssuerKey = make([]byte, 20)
		}), StatusRevoked, "", ""},
		"our older entry first": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(revoked))
			r.Data.Entries[0].ThisUpdate = r.Data.Entries[0].ThisUpdate.Add(-time.Minute)
		}), StatusRevoked, "", ""},
		"our older entry last": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(revoked))
			r.Data.Entries[1].ThisUpdate = r.Data.Entries[1].ThisUpdate.Add(-time.Minute)
		}), StatusGood, "", ""},

		"forged, with a CA of the same name":         {reseal(good, stranger.Issue("x").PrivateKey.(crypto.Signer), func(*basicResponse) {}), "", StapleForged, "neither by the certificate's issuer"},
		"forged, in the name of another leaf":        {reseal(stapleCA.StapleBy(other, stapled), other.PrivateKey.(crypto.Signer), func(r *basicResponse) { r.Certificates = nil }), "", StapleForged, ""},
		"altered":                                    {flip(revoked), "", StapleForged, ""},
		"by another CA's responder":                  {by(stranger.Issue("OCSP", tlsfarm.Responder)), "", StapleForged, ""},
		"by a responder that signed itself":          {by(tlsfarm.SelfSigned("OCSP", tlsfarm.Responder)), "", StapleForged, ""},
		"by the responder of a CA with the same key": {by(tlsfarm.NewAuthority("Twin", tlsfarm.Key(stapleKey)).Issue("OCSP", tlsfarm.Responder)), "", StapleForged, ""},
		"altered, by a responder":                    {flip(by(responder)), "", StapleForged, ""},
		"by the CA above":                            {stapleCA.StapleBy(stapleRoot.Issue("OCSP", tlsfarm.Responder), stapled), "", StapleForged, ""},
		"no signature":                               {resent(good, func(r *basicResponse) { r.Signature = asn1.BitString{} }), "", StapleForged, ""},

		"by a responder":                           {by(responder), StatusGood, "", ""},
		"by a leaf that is not a responder":        {by(other), "", StapleNotAuthorized, `"other", whose key signed it, may not sign OCSP responses`},
		"by the certificate itself":                {by(stapled), "", StapleNotAuthorized, "may not sign"},
		"by a leaf for any usage":                  {by(stapleCA.Issue("OCSP", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })), "", StapleNotAuthorized, "may not sign"},
		"by an expired responder":                  {by(stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Validity(-2*day, -day))), "", StapleNotAuthorized, `"OCSP", whose key signed it, has expired`},
		"by a responder that is not valid yet":     {by(stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Validity(day, 2*day))), "", StapleNotAuthorized, "not valid yet"},
		"by a responder with an unknown extension": {by(reissued), "", StapleNotAuthorized, "critical extension"},
		"by a responder with a SHA-1 signature":    {by(stapleCA.Issue("OCSP", tlsfarm.Responder, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })), "", StapleNotAuthorized, "weak signature"},

		"by the CA, with its certificate": {embedding(stapleKey, stapleCA.Certificate), StatusGood, "", ""},
		"the CA's certificate first": {reseal(embedding(key, responder.Leaf), key, func(r *basicResponse) {
			r.Certificates = append([]asn1.RawValue{{FullBytes: stapleCA.Certificate.Raw}}, r.Certificates...)
		}), StatusGood, "", ""},
		"two of the responder's certificates, the first wrong": {embedding(key, reissued.Leaf, responder.Leaf), StatusGood, "", ""},
		"the responder's certificate after four others": {resent(by(responder), func(r *basicResponse) {
			for range 4 {
				r.Certificates = append([]asn1.RawValue{{FullBytes: reissued.Leaf.Raw}}, r.Certificates...)
			}
		}), "", StapleNotAuthorized, "critical extension"},
		"the responder's certificate after three others": {resent(by(responder), func(r *basicResponse) {
			for range 3 {
				r.Certificates = append([]asn1.RawValue{{FullBytes: reissued.Leaf.Raw}}, r.Certificates...)
			}
		}), StatusGood, "", ""},
		"a malformed certificate":     {edited(func(r *basicResponse) { r.Certificates = []asn1.RawValue{{FullBytes: []byte{0x30, 0}}} }), StatusGood, "", ""},
		"signer named by its key":     {edited(func(r *basicResponse) { r.Data.Responder = byKey(stapleCA.Certificate) }), StatusGood, "", ""},
		"signer named by another key": {edited(func(r *basicResponse) { r.Data.Responder = byKey(responder.Leaf) }), "", StapleForged, ""},
		"signer not named":            {edited(func(r *basicResponse) { r.Data.Responder = asn1.RawValue{Class: 2, Tag: 3, IsCompound: true} }), "", StapleForged, ""},
		"signer named in an unknown way": {edited(func(r *basicResponse) {
			r.Data.Responder = asn1.RawValue{Class: 1, Tag: 1, IsCompound: true, Bytes: stapleCA.Certificate.RawSubject}
		}), "", StapleForged, ""},
		"signed with SHA-1":                {sign(set(func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA1 })), "", StapleUnsupported, "ECDSA-SHA1, which is no longer accepted"},
		"signed with an unknown algorithm": {edited(func(r *basicResponse) { r.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 3} }), "", StapleUnsupported, "1.2.3 is unknown"},
		"signed with an algorithm of a huge OID": {edited(func(r *basicResponse) {
			for range 5000 {
				r.Algorithm.Algorithm = append(r.Algorithm.Algorithm, 1, 2)
			}
		}), "", StapleUnsupported, ".1.2.1.2"},
		"signed with SHA-384": {sign(set(func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA384 })), StatusGood, "", ""},
		"signed with SHA-512": {sign(set(func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA512 })), StatusGood, "", ""},

		"garbage":                    {[]byte("garbage"), "", StapleMalformed, "asn1"},
		"one byte":                   {[]byte{0}, "", StapleMalformed, "asn1"},
		"truncated":                  {good[:len(good)-1], "", StapleMalformed, "asn1"},
		"trailing bytes":             {append(sign(), 0), "", StapleMalformed, "trailing data"},
		"trailing bytes inside":      {wrapped(oidBasicResponse, append(content(good), 0)), "", StapleMalformed, "trailing data"},
		"garbage inside":             {wrapped(oidBasicResponse, []byte("garbage")), "", StapleMalformed, "asn1"},
		"another type":               {wrapped(asn1.ObjectIdentifier{1, 2, 3}, content(good)), "", StapleMalformed, "not a basic OCSP response"},
		"success without a response": {[]byte{0x30, 3, 10, 1, 0}, "", StapleMalformed, "not a basic OCSP response"},
		"try later":                  {ocsp.TryLaterErrorResponse, "", StapleResponderError, "try later"},
		"unauthorized":               {ocsp.UnauthorizedErrorResponse, "", StapleResponderError, "unauthorized"},
		"unknown error":              {[]byte{0x30, 3, 10, 1, 99}, "", StapleResponderError, "99"},
		"too large":                  {make([]byte, 32<<10+1), "", StapleTooLarge, "32769 bytes"},
		"just not too large":         {make([]byte, 32<<10), "", StapleMalformed, "asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			v, s := checkStaple(stapled, c.staple)
			require.NotNil(t, s)
			assert.Equal(t, c.status, s.Status, s.detail)
			assert.Equal(t, c.problem, s.Problem, s.detail)
			assert.Contains(t, s.Error(), c.detail)
			assert.LessOrEqual(t, len(s.Error()), 256)
			switch {
			case c.status == StatusRevoked:
				assert.Equal(t, []Reason{{Fault: Revoked, Cert: v.Chain[0], Err: s}}, v.Reasons)
				assert.WithinDuration(t, time.Now().Add(-time.Hour), s.RevokedAt, time.Minute)
				assert.Equal(t, "keyCompromise", s.Reason)
				assert.Empty(t, v.Warnings)
			case c.problem != "":
				assert.True(t, v.Valid(), "an invalid staple is only a warning")
				assert.Equal(t, []Reason{{Fault: InvalidStaple, Cert: v.Chain[0], Err: s}}, v.Warnings)
			default:
				assert.True(t, v.Valid())
				assert.Empty(t, v.Warnings)
			}
		})
	}
}

// flip changes a digit of nextUpdate, which is signed.
func flip(staple []byte) []byte {
	return resent(staple, func(r *basicResponse) {
		r.Data.Raw = append([]byte(nil), r.Data.Raw...)
		r.Data.Raw[len(r.Data.Raw)-2] ^= 1
	})
}

// resent edits a response but keeps its signature.
func resent(staple []byte, edit func(*basicResponse)) []byte {
	var r basicResponse
	mustBe(unmarshal(content(staple), &r))
	edit(&r)
	return wrapped(oidBasicResponse, must(asn1.Marshal(r)))
}

func content(staple []byte) []byte {
	var envelope ocspResponse
	mustBe(unmarshal(staple, &envelope))
	return envelope.Response.Content
}

func wrapped(oid asn1.ObjectIdentifier, content []byte) []byte {
	var envelope ocspResponse
	envelope.Response.Type, envelope.Response.Content = oid, content
	return must(asn1.Marshal(envelope))
}

func byKey(c *x509.Certificate) asn1.RawValue {
	hash := must(asn1.Marshal(digest(crypto.SHA1, publicKey(c))))
	return asn1.RawValue{Class: 2, Tag: 2, IsCompound: true, Bytes: hash}
}

// The signature of a huge key takes long to check.
func TestHugeKeyOfAResponder(t *testing.T) {
	t.Parallel()
	for bits, want := range map[int]StapleProblem{8192: "", 8704: StapleForged} {
		key := largeKey(bits)
		responder := stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Key(key))
		staple := stapleCA.StapleBy(tls.Certificate{Leaf: responder.Leaf, PrivateKey: key}, stapled)
		require.Less(t, len(staple), maxStaple)
		_, s := checkStaple(stapled, staple)
		assert.Equal(t, want, s.Problem, "%d bits: %s", bits, s.detail)
	}
}

func TestStapleDates(t *testing.T) {
	begin, end := time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(7*day).Truncate(time.Second)
	_, s := checkStaple(stapled, stapleCA.Staple(stapled, tlsfarm.StapleDates(-time.Hour, 7*day)))
	assert.WithinDuration(t, begin, s.ThisUpdate, time.Minute)
	assert.WithinDuration(t, end, s.NextUpdate, time.Minute)
	assert.Zero(t, s.RevokedAt)
	assert.Empty(t, s.Reason)

	_, s = checkStaple(stapled, stapleCA.Staple(stapled, tlsfarm.StapleDates(-time.Hour, 0)))
	assert.False(t, s.ThisUpdate.IsZero())
	assert.True(t, s.NextUpdate.IsZero())

	_, s = checkStaple(stapled, stapleCA.Staple(stapled, tlsfarm.StapleDates(-2*day, -day)))
	assert.False(t, s.NextUpdate.IsZero(), "the CA signed these dates")

	_, s = checkStaple(stapled, flip(stapleCA.Staple(stapled)))
	assert.Equal(t, StapleForged, s.Problem)
	assert.True(t, s.ThisUpdate.IsZero() && s.NextUpdate.IsZero(), "the CA did not sign these dates")
}

func TestRevocationReasons(t *testing.T) {
	for reason, want := range map[int]string{
		ocsp.Unspecified: "", ocsp.KeyCompromise: "keyCompromise", ocsp.CACompromise: "cACompromise",
		ocsp.AffiliationChanged: "affiliationChanged", ocsp.Superseded: "superseded",
		ocsp.CessationOfOperation: "cessationOfOperation", ocsp.CertificateHold: "certificateHold",
		ocsp.RemoveFromCRL: "removeFromCRL", ocsp.PrivilegeWithdrawn: "privilegeWithdrawn", ocsp.AACompromise: "aACompromise",
		7: "", 99: "",
	} {
		_, s := checkStaple(stapled, stapleCA.Staple(stapled, tlsfarm.RevokedFor(reason)))
		assert.Equal(t, StatusRevoked, s.Status)
		assert.Equal(t, want, s.Reason)
	}
}

// These are signatures that x/crypto/ocsp cannot make.
func TestStapleSignatures(t *testing.T) {
	rsaKey, edKey := tlsfarm.RSAKey(2048), edKey()
	pss := func(hash asn1.ObjectIdentifier, salt int) asn1.RawValue {
		type params struct {
			Hash pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
			MGF  pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
			Salt int                      `asn1:"explicit,tag:2"`
		}
		h := pkix.AlgorithmIdentifier{Algorithm: hash}
		mgf := pkix.AlgorithmIdentifier{
			Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8},
			Parameters: asn1.RawValue{FullBytes: must(asn1.Marshal(h))},
		}
		return asn1.RawValue{FullBytes: must(asn1.Marshal(params{h, mgf, salt}))}
	}
	sha256OID := hashes[1].oid
	for name, c := range map[string]struct {
		key       crypto.Signer
		algorithm pkix.AlgorithmIdentifier
		want      StapleProblem
	}{
		"RSA":                           {rsaKey, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}}, ""},
		"Ed25519":                       {edKey, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, ""},
		"RSA-PSS":                       {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(sha256OID, 32)}, ""},
		"RSA-PSS, a larger salt":        {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(sha256OID, 222)}, StapleUnsupported},
		"RSA-PSS, another hash":         {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(hashes[2].oid, 48)}, StapleForged},
		"RSA-PSS with SHA-1":            {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(hashes[0].oid, 20)}, StapleUnsupported},
		"RSA-PSS without parameters":    {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS}, StapleUnsupported},
		"algorithm of another key type": {rsaKey, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, StapleForged},
	} {
		t.Run(name, func(t *testing.T) {
			ca := stapleRoot.Intermediate("Other Key", tlsfarm.Key(c.key))
			leaf := ca.Issue("x")
			made := stapleCA.Staple(leaf)
			_, s := checkStaple(leaf, reseal(made, c.key, func(r *basicResponse) {
				r.Algorithm = c.algorithm
				r.Data.Responder = asn1.RawValue{Class: 2, Tag: 1, IsCompound: true, Bytes: ca.Certificate.RawSubject}
				id := &r.Data.Entries[0].ID
				id.IssuerName, id.IssuerKey = digest(crypto.SHA1, ca.Certificate.RawSubject), digest(crypto.SHA1, publicKey(ca.Certificate))
			}))
			assert.Equal(t, c.want, s.Problem, s.detail)
			assert.Equal(t, c.want == "", s.Status == StatusGood)
		})
	}
}

func TestNoStaple(t *testing.T) {
	for _, none := range [][]byte{nil, {}} {
		v, s := checkStaple(stapled, none)
		assert.Nil(t, s)
		assert.True(t, v.Valid())
		assert.Empty(t, v.Warnings)
	}
}

func TestMustStaple(t *testing.T) {
	requiring := stapleCA.Issue("requiring", tlsfarm.MustStaple)
	v, s := checkStaple(requiring, nil)
	require.NotNil(t, s)
	assert.Equal(t, StapleMissing, s.Problem)
	assert.Empty(t, s.Status)
	assert.True(t, v.Valid(), "Go's clients accept it")
	assert.Equal(t, []Reason{{Fault: MissingStaple, Cert: v.Chain[0], Err: s}}, v.Warnings)

	v, s = checkStaple(requiring, stapleCA.Staple(requiring))
	assert.Equal(t, StatusGood, s.Status)
	assert.Empty(t, v.Warnings)
	v, _ = checkStaple(requiring, stapleCA.Staple(requiring, tlsfarm.StapleDates(-2*day, -day)))
	assert.Equal(t, []Fault{InvalidStaple}, faults(v.Warnings))

	for name, value := range map[string][]byte{
		"only status_request_v2": {0x30, 3, 2, 1, 17}, "empty": {0x30, 0}, "not a list": {2, 1, 5},
		"garbage": {0xff}, "truncated": {0x30, 3, 2, 1}, "trailing bytes": {0x30, 3, 2, 1, 5, 0}, "huge number": append([]byte{0x30, 12, 2, 10}, make([]byte, 10)...),
	} {
		_, s := checkStaple(stapleCA.Issue("x", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: oidTLSFeature, Value: value}}
		}), nil)
		assert.Nil(t, s, name)
	}
	_, s = checkStaple(stapleCA.Issue("x", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidTLSFeature, Value: []byte{0x30, 6, 2, 1, 17, 2, 1, 5}}}
	}), nil)
	assert.NotNil(t, s, "both")
}

// A revocation is found next to other faults, and has its place among them.
func TestRevokedAmongOtherReasons(t *testing.T) {
	stranger := tlsfarm.NewAuthority("Stranger").Intermediate("Strange CA")
	forClients := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	critical := func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknownExtension} }
	constrained := stapleRoot.Intermediate("Constrained", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"inside.example"} })
	past := tlsfarm.Validity(-2*day, -day)
	for name, c := range map[string]struct {
		ca    *tlsfarm.Authority
		edits []tlsfarm.Edit
		want  []Fault
	}{
		"alone":                {stapleCA, nil, []Fault{Revoked}},
		"expired":              {stapleCA, []tlsfarm.Edit{past}, []Fault{Expired, Revoked}},
		"wrong usage":          {stapleCA, []tlsfarm.Edit{forClients, critical}, []Fault{Revoked, WrongKeyUsage, UnhandledCriticalExtension}},
		"a critical extension": {stapleCA, []tlsfarm.Edit{critical}, []Fault{Revoked, UnhandledCriticalExtension}},
		"name constraints":     {constrained, nil, []Fault{Revoked, NameConstraintViolation}},
		"all": {
			stranger,
			[]tlsfarm.Edit{past, tlsfarm.Names("other.example"), forClients},
			[]Fault{UntrustedCA, Expired, NameMismatch, Revoked, WrongKeyUsage},
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := c.ca.Issue("x", c.edits...)
			v, s := checkStaple(leaf, c.ca.Staple(leaf, tlsfarm.RevokedFor(0)))
			assert.Equal(t, StatusRevoked, s.Status, s.detail)
			assert.Equal(t, c.want, faults(v.Reasons))
		})
	}
}

func TestIssuerOfTheStapledLeaf(t *testing.T) {
	good := stapleCA.Staple(stapled)
	chain := certs(stapled)
	namesake := tlsfarm.NewAuthority("Staple CA").Certificate
	hasLeaf := x509.NewCertPool()
	hasLeaf.AddCert(chain[0])
	self := tlsfarm.SelfSigned("Self", tlsfarm.Key(stapleKey))
	var cache Intermediates
	cache.Add(Verify(chain, newRoots(certs(stapleRoot)), "localhost", time.Now()).Chain)

	for name, c := range map[string]struct {
		presented []*x509.Certificate
		roots     *x509.CertPool
		staple    []byte
		want      StapleProblem
	}{
		"in the verified chain":           {chain, stapleRoot.Pool(), good, ""},
		"the root":                        {chain[:1], stapleCA.Pool(), good, ""},
		"presented, with an unknown root": {chain, x509.NewCertPool(), good, ""},
		"not presented":                   {chain[:1], x509.NewCertPool(), good, StapleUnverifiable},
		"presented, and the leaf trusted": {chain, hasLeaf, good, ""},
		"a namesake with another key":     {[]*x509.Certificate{chain[0], namesake}, x509.NewCertPool(), good, StapleUnverifiable},
		"presented after its namesake":    {[]*x509.Certificate{chain[0], namesake, chain[1]}, x509.NewCertPool(), good, ""},
		"sent by another server":          {chain[:1], stapleRoot.Pool(), good, ""},
		"the certificate itself":          {certs(self), x509.NewCertPool(), stapleOfSelf(self), ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := Verify(c.presented, RootsIn(c.roots), "localhost", time.Now())
			if !v.Trusted {
				cache.FindMissing(v, RootsIn(c.roots), time.Now())
			}
			s := v.AddStaple(c.staple, c.presented, time.Now())
			assert.Equal(t, c.want, s.Problem, s.detail)
			assert.Equal(t, c.want == "", s.Status == StatusGood)
			assert.Empty(t, v.Warnings, "that is a fault of the chain")
		})
	}
}

func stapleOfSelf(c tls.Certificate) []byte {
	return must(ocsp.CreateResponse(c.Leaf, c.Leaf, ocsp.Response{
		SerialNumber: c.Leaf.SerialNumber, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(day),
	}, c.PrivateKey.(crypto.Signer)))
}

func TestStaplesOfOpenSSL(t *testing.T) {
	dir := t.TempDir()
	openssl := command(t, "openssl", dir)
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	pemOf := func(name string, c tls.Certificate) (cert, key string) {
		chain, k := tlsfarm.PEM(tls.Certificate{Certificate: c.Certificate[:1], PrivateKey: c.PrivateKey})
		return write(name+".pem", chain), write(name+".key", k)
	}
	ca, caKey := pemOf("ca", tls.Certificate{Certificate: [][]byte{stapleCA.Certificate.Raw}, PrivateKey: stapleKey})
	leaf, _ := pemOf("leaf", stapled)
	responder, responderKey := pemOf("responder", stapleCA.Issue("OCSP", tlsfarm.Responder))
	other, otherKey := pemOf("other", stapleCA.Issue("other"))
	serial := fmt.Sprintf("%X", stapled.Leaf.SerialNumber)
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	request := filepath.Join(dir, "request")
	openssl("ocsp", "-issuer", ca, "-cert", leaf, "-no_nonce", "-reqout", request)
	withNonce := filepath.Join(dir, "request-nonce")
	openssl("ocsp", "-issuer", ca, "-cert", leaf, "-nonce", "-reqout", withNonce)

	for name, c := range map[string]struct {
		index       string
		signer, key string
		options     []string
		status      StapleStatus
		problem     StapleProblem
	}{
		"good":                                {"V\t491231235959Z\t\t" + serial, responder, responderKey, nil, StatusGood, ""},
		"revoked":                             {"R\t491231235959Z\t250102030405Z,keyCompromise\t" + serial, responder, responderKey, nil, StatusRevoked, ""},
		"unknown":                             {"V\t491231235959Z\t\t01", responder, responderKey, nil, StatusUnknown, ""},
		"by the CA":                           {"V\t491231235959Z\t\t" + serial, ca, caKey, nil, StatusGood, ""},
		"by the CA, without its certificate":  {"V\t491231235959Z\t\t" + serial, ca, caKey, []string{"-resp_no_certs"}, StatusGood, ""},
		"signer named by its key":             {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-resp_key_id"}, StatusGood, ""},
		"with SHA-512":                        {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-rmd", "sha512"}, StatusGood, ""},
		"with SHA-1":                          {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-rmd", "sha1"}, "", StapleUnsupported},
		"with the CA's certificate too":       {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-rother", ca}, StatusGood, ""},
		"by a leaf that is not a responder":   {"V\t491231235959Z\t\t" + serial, other, otherKey, nil, "", StapleNotAuthorized},
		"without the responder's certificate": {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-resp_no_certs"}, "", StapleForged},
		"with a nonce":                        {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-reqin", withNonce}, StatusGood, ""},
		"for seven days":                      {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-ndays", "7"}, StatusGood, ""},
	} {
		t.Run(name, func(t *testing.T) {
			index := write("index", []byte(c.index+"\tunknown\t/CN=stapled\n"))
			write("index.attr", []byte("unique_subject = no\n"))
			out := filepath.Join(dir, "response")
			args := []string{
				"ocsp", "-index", index, "-CA", ca, "-rsigner", c.signer, "-rkey", c.key, "-reqin", request,
				"-respout", out, "-ignore_err",
			}
			openssl(append(args, c.options...)...)
			staple, err := os.ReadFile(out)
			require.NoError(t, err)
			_, s := checkStaple(stapled, staple)
			assert.Equal(t, c.status, s.Status, s.detail)
			assert.Equal(t, c.problem, s.Problem, s.detail)
			if c.status == StatusRevoked {
				assert.Equal(t, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), s.RevokedAt)
				assert.Equal(t, "keyCompromise", s.Reason)
			}
		})
	}
}

func BenchmarkStaple(b *testing.B) {
	v := Verify(certs(stapled), newRoots(certs(stapleRoot)), "localhost", time.Now())
	for name, staple := range map[string][]byte{
		"by the CA":      stapleCA.Staple(stapled),
		"by a responder": stapleCA.StapleBy(stapleCA.Issue("OCSP", tlsfarm.Responder), stapled),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				v.AddStaple(staple, v.Chain, time.Now())
			}
		})
	}
}

// FuzzStaple looks for panics, and for valid responses that the CA did not make. It also signs the input correctly, as
// otherwise little of the code would run.
func FuzzStaple(f *testing.F) {
	responder := stapleCA.Issue("OCSP", tlsfarm.Responder)
	for _, edit := range []tlsfarm.StapleEdit{
		func(*ocsp.Response) {},
		func(r *ocsp.Response) { r.Status = ocsp.Unknown },
		func(r *ocsp.Response) { r.ExtraExtensions = []pkix.Extension{unknownExtension} },
		tlsfarm.RevokedFor(ocsp.Superseded),
		tlsfarm.StapleDates(-2*day, -day),
	} {
		staple := stapleCA.Staple(stapled, edit)
		f.Add(staple)
		f.Add(stapleCA.StapleBy(responder, stapled, edit))
		var r basicResponse
		mustBe(unmarshal(content(staple), &r))
		f.Add([]byte(r.Data.Raw))
	}
	f.Add(ocsp.TryLaterErrorResponse)
	leaf := certs(stapled)
	check := func(t *testing.T, staple []byte) *Staple {
		v := &Verdict{Chain: leaf, Trusted: true}
		s := v.AddStaple(staple, leaf, time.Now())
		assert.NotEqual(t, s.Status == "", s.Problem == "", "either status or problem is set")
		assert.Equal(t, s.Status != StatusRevoked, v.Valid())
		assert.Equal(t, s.Problem == "", len(v.Warnings) == 0)
		return s
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 {
			return
		}
		if s := check(t, input); s.Status != "" {
			theirs, err := ocsp.ParseResponseForCert(input, leaf[0], leaf[1])
			require.NoError(t, err)
			want := map[int]StapleStatus{ocsp.Good: StatusGood, ocsp.Revoked: StatusRevoked, ocsp.Unknown: StatusUnknown}
			assert.Equal(t, want[theirs.Status], s.Status)
		}

		hash := sha256.Sum256(input)
		signature := must(stapleKey.Sign(rand.Reader, hash[:], crypto.SHA256))
		check(t, wrapped(oidBasicResponse, must(asn1.Marshal(basicResponse{
			Data:      ocspData{Raw: input},
			Algorithm: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
			Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
		}))))
	})
}
