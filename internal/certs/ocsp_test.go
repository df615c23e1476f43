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
	"os/exec"
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

func presented(c tls.Certificate) (chain []*x509.Certificate) {
	for _, der := range c.Certificate {
		chain = append(chain, must(x509.ParseCertificate(der)))
	}
	return chain
}

// judge returns what becomes of a certificate with a staple, and of the staple.
func judge(c tls.Certificate, staple []byte) (*Verdict, *Staple) {
	v := Verify(presented(c), stapleRoot.Pool(), "localhost", time.Now())
	return v, v.AddStaple(staple, presented(c), time.Now())
}

func faults(reasons []Reason) (all []Fault) {
	for _, r := range reasons {
		all = append(all, r.Fault)
	}
	return all
}

// reseal changes a response that x/crypto/ocsp made, in ways that it does not know, and signs it again.
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

	stranger := tlsfarm.NewAuthority("Staple CA") // of the same name
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
		"unknown":                   {sign(set(func(r *ocsp.Response) { r.Status = ocsp.Unknown })), StatusUnknown, "", "does not know it"},
		"names hashed with SHA-256": {sign(set(func(r *ocsp.Response) { r.IssuerHash = crypto.SHA256 })), StatusGood, "", ""},
		"names hashed with SHA-384": {sign(set(func(r *ocsp.Response) { r.IssuerHash = crypto.SHA384 })), StatusGood, "", ""},
		"names hashed with SHA-512": {sign(set(func(r *ocsp.Response) { r.IssuerHash = crypto.SHA512 })), StatusGood, "", ""},
		"an extension of no weight": {sign(set(func(r *ocsp.Response) {
			r.ExtraExtensions = []pkix.Extension{{Id: unknownExtension.Id, Value: []byte{5, 0}}}
		})), StatusGood, "", ""},
		"a critical extension":       {sign(set(func(r *ocsp.Response) { r.ExtraExtensions = []pkix.Extension{unknownExtension} })), "", StapleUnsupported, "critical extension 1.2.3.4"},
		"one of the whole":           {edited(func(r *basicResponse) { r.Data.Extensions = []pkix.Extension{unknownExtension} }), "", StapleUnsupported, "critical extension 1.2.3.4"},
		"an extension of the whole":  {edited(func(r *basicResponse) { r.Data.Extensions = []pkix.Extension{{Id: unknownExtension.Id}} }), StatusGood, "", ""},
		"another version":            {edited(func(r *basicResponse) { r.Data.Version = 1 }), "", StapleMalformed, "no sense"},
		"no status":                  {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 2, Tag: 3} }), "", StapleMalformed, "no sense"},
		"a status of another class":  {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 1} }), "", StapleMalformed, "no sense"},
		"good with a date":           {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 2, Bytes: []byte{0}} }), "", StapleMalformed, "no sense"},
		"revoked without a date":     {entry(func(e *ocspEntry) { e.Status = asn1.RawValue{Class: 2, Tag: 1, IsCompound: true} }), "", StapleMalformed, "no sense"},
		"an end before its begin":    {sign(tlsfarm.StapleDates(-time.Hour, -2*time.Hour)), "", StapleMalformed, "no sense"},
		"names hashed with no hash":  {entry(func(e *ocspEntry) { e.ID.Hash.Algorithm = asn1.ObjectIdentifier{1, 2, 3} }), "", StapleOther, ""},
		"another issuer's name":      {entry(func(e *ocspEntry) { e.ID.IssuerName[0] ^= 1 }), "", StapleOther, ""},
		"another issuer's key":       {entry(func(e *ocspEntry) { e.ID.IssuerKey[0] ^= 1 }), "", StapleOther, ""},
		"another serial number":      {stapleCA.Staple(other), "", StapleOther, fmt.Sprintf("%X", other.Leaf.SerialNumber)},
		"an endless serial number":   {entry(func(e *ocspEntry) { e.ID.Serial = new(big.Int).Lsh(big.NewInt(1), 100_000) }), "", StapleOther, "10000"},
		"no entries":                 {edited(func(r *basicResponse) { r.Data.Entries = nil }), "", StapleOther, ""},
		"another CA with its serial": {stranger.Staple(stapled), "", StapleOther, ""},

		"stale":                     {sign(tlsfarm.StapleDates(-2*day, -time.Second)), "", StapleStale, `said "good"`},
		"stale and revoked":         {sign(tlsfarm.StapleDates(-2*day, -day), tlsfarm.RevokedFor(0)), "", StapleStale, `said "revoked"`},
		"not stale yet":             {sign(tlsfarm.StapleDates(-2*day, time.Minute)), StatusGood, "", ""},
		"from the future":           {sign(tlsfarm.StapleDates(6*time.Minute, day)), "", StapleNotYetValid, "from the future"},
		"from a clock that is fast": {sign(tlsfarm.StapleDates(4*time.Minute, day)), StatusGood, "", ""},
		"signed in the future": {edited(func(r *basicResponse) {
			r.Data.ProducedAt = time.Now().Add(6 * time.Minute).UTC().Truncate(time.Second)
		}), "", StapleNotYetValid, "from the future"},
		"no end, fresh": {sign(tlsfarm.StapleDates(-23*time.Hour, 0)), StatusGood, "", ""},
		"no end, old":   {sign(tlsfarm.StapleDates(-25*time.Hour, 0)), "", StapleStale, "it was good until"},

		"several, ours last": {edited(func(r *basicResponse) {
			r.Data.Entries = append([]ocspEntry{entryOf(stapleCA.Staple(other, tlsfarm.RevokedFor(0)))}, r.Data.Entries...)
		}), StatusGood, "", ""},
		"several, ours first": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(stapleCA.Staple(other, tlsfarm.RevokedFor(0))))
		}), StatusGood, "", ""},
		"several, ours not there": {reseal(stapleCA.Staple(other), stapleKey, func(r *basicResponse) { r.Data.Entries = append(r.Data.Entries, r.Data.Entries[0]) }), "", StapleOther, ""},
		"another CA's of our serial first": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(revoked))
			r.Data.Entries[0].ID.IssuerKey = make([]byte, 20)
		}), StatusRevoked, "", ""},
		"an older one of ours first": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(revoked))
			r.Data.Entries[0].ThisUpdate = r.Data.Entries[0].ThisUpdate.Add(-time.Minute)
		}), StatusRevoked, "", ""},
		"an older one of ours last": {edited(func(r *basicResponse) {
			r.Data.Entries = append(r.Data.Entries, entryOf(revoked))
			r.Data.Entries[1].ThisUpdate = r.Data.Entries[1].ThisUpdate.Add(-time.Minute)
		}), StatusGood, "", ""},

		"forged with a key of the CA's name":    {reseal(good, stranger.Issue("x").PrivateKey.(crypto.Signer), func(*basicResponse) {}), "", StapleForged, "not by the certificate's issuer"},
		"forged in another's name":              {reseal(stapleCA.StapleBy(other, stapled), other.PrivateKey.(crypto.Signer), func(r *basicResponse) { r.Certificates = nil }), "", StapleForged, ""},
		"altered":                               {flip(revoked), "", StapleForged, ""},
		"by another CA's responder":             {by(stranger.Issue("OCSP", tlsfarm.Responder)), "", StapleForged, ""},
		"by a responder that signed itself":     {by(tlsfarm.SelfSigned("OCSP", tlsfarm.Responder)), "", StapleForged, ""},
		"by the responder of a CA with its key": {by(tlsfarm.NewAuthority("Twin", tlsfarm.Key(stapleKey)).Issue("OCSP", tlsfarm.Responder)), "", StapleForged, ""},
		"altered, by a responder":               {flip(by(responder)), "", StapleForged, ""},
		"by the CA above":                       {stapleCA.StapleBy(stapleRoot.Issue("OCSP", tlsfarm.Responder), stapled), "", StapleForged, ""},
		"no signature":                          {resent(good, func(r *basicResponse) { r.Signature = asn1.BitString{} }), "", StapleForged, ""},

		"by a responder":                   {by(responder), StatusGood, "", ""},
		"by one that is no responder":      {by(other), "", StapleNotAuthorized, `"other" that signed it may not sign OCSP responses`},
		"by the certificate itself":        {by(stapled), "", StapleNotAuthorized, "may not sign"},
		"by one for any usage":             {by(stapleCA.Issue("OCSP", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })), "", StapleNotAuthorized, "may not sign"},
		"by an expired responder":          {by(stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Validity(-2*day, -day))), "", StapleNotAuthorized, `"OCSP" that signed it has expired`},
		"by a responder to come":           {by(stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Validity(day, 2*day))), "", StapleNotAuthorized, "not valid yet"},
		"by one with a critical extension": {by(reissued), "", StapleNotAuthorized, "not acceptable"},
		"by one certified with SHA-1":      {by(stapleCA.Issue("OCSP", tlsfarm.Responder, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })), "", StapleNotAuthorized, "not acceptable"},

		"by the CA, its certificate in it": {embedding(stapleKey, stapleCA.Certificate), StatusGood, "", ""},
		"the CA's certificate first": {reseal(embedding(key, responder.Leaf), key, func(r *basicResponse) {
			r.Certificates = append([]asn1.RawValue{{FullBytes: stapleCA.Certificate.Raw}}, r.Certificates...)
		}), StatusGood, "", ""},
		"two of the responder, the first wrong": {embedding(key, reissued.Leaf, responder.Leaf), StatusGood, "", ""},
		"the responder's behind many": {resent(by(responder), func(r *basicResponse) {
			for range 4 {
				r.Certificates = append([]asn1.RawValue{{FullBytes: reissued.Leaf.Raw}}, r.Certificates...)
			}
		}), "", StapleNotAuthorized, "not acceptable"},
		"the responder's behind some": {resent(by(responder), func(r *basicResponse) {
			for range 3 {
				r.Certificates = append([]asn1.RawValue{{FullBytes: reissued.Leaf.Raw}}, r.Certificates...)
			}
		}), StatusGood, "", ""},
		"a certificate that is none":     {edited(func(r *basicResponse) { r.Certificates = []asn1.RawValue{{FullBytes: []byte{0x30, 0}}} }), StatusGood, "", ""},
		"the responder named by its key": {edited(func(r *basicResponse) { r.Data.Responder = byKey(stapleCA.Certificate) }), StatusGood, "", ""},
		"named by another key":           {edited(func(r *basicResponse) { r.Data.Responder = byKey(responder.Leaf) }), "", StapleForged, ""},
		"named by nothing":               {edited(func(r *basicResponse) { r.Data.Responder = asn1.RawValue{Class: 2, Tag: 3, IsCompound: true} }), "", StapleForged, ""},
		"named by something else": {edited(func(r *basicResponse) {
			r.Data.Responder = asn1.RawValue{Class: 1, Tag: 1, IsCompound: true, Bytes: stapleCA.Certificate.RawSubject}
		}), "", StapleForged, ""},
		"signed with SHA-1":             {sign(set(func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA1 })), "", StapleUnsupported, "ECDSA-SHA1, which is no longer accepted"},
		"signed with what is not known": {edited(func(r *basicResponse) { r.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 3} }), "", StapleUnsupported, "1.2.3, is not known"},
		"signed with an endless OID": {edited(func(r *basicResponse) {
			for range 5000 {
				r.Algorithm.Algorithm = append(r.Algorithm.Algorithm, 1, 2)
			}
		}), "", StapleUnsupported, ".1.2.1.2"},
		"signed with SHA-384": {sign(set(func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA384 })), StatusGood, "", ""},
		"signed with SHA-512": {sign(set(func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA512 })), StatusGood, "", ""},

		"garbage":             {[]byte("garbage"), "", StapleMalformed, "asn1"},
		"one byte":            {[]byte{0}, "", StapleMalformed, "asn1"},
		"cut":                 {good[:len(good)-1], "", StapleMalformed, "asn1"},
		"bytes behind it":     {append(sign(), 0), "", StapleMalformed, "trailing data"},
		"bytes behind inside": {wrapped(oidBasicResponse, append(content(good), 0)), "", StapleMalformed, "trailing data"},
		"garbage inside":      {wrapped(oidBasicResponse, []byte("garbage")), "", StapleMalformed, "asn1"},
		"another type":        {wrapped(asn1.ObjectIdentifier{1, 2, 3}, content(good)), "", StapleMalformed, "no known type"},
		"success and no more": {[]byte{0x30, 3, 10, 1, 0}, "", StapleMalformed, "no known type"},
		"try later":           {ocsp.TryLaterErrorResponse, "", StapleRefusal, "try later"},
		"unauthorized":        {ocsp.UnauthorizedErrorResponse, "", StapleRefusal, "unauthorized"},
		"no status of theirs": {[]byte{0x30, 3, 10, 1, 99}, "", StapleRefusal, "99"},
		"too large":           {make([]byte, 32<<10+1), "", StapleTooLarge, "32769 bytes"},
		"just not too large":  {make([]byte, 32<<10), "", StapleMalformed, "asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			v, s := judge(stapled, c.staple)
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
				assert.True(t, v.Valid(), "a staple that is not to be believed is no reason to refuse the certificate")
				assert.Equal(t, []Reason{{Fault: InvalidStaple, Cert: v.Chain[0], Err: s}}, v.Warnings)
			default:
				assert.True(t, v.Valid())
				assert.Empty(t, v.Warnings)
			}
		})
	}
}

// flip alters a digit of nextUpdate, which the signature covers.
func flip(staple []byte) []byte {
	return resent(staple, func(r *basicResponse) {
		r.Data.Raw = append([]byte(nil), r.Data.Raw...)
		r.Data.Raw[len(r.Data.Raw)-2] ^= 1
	})
}

// resent changes a response and leaves its signature.
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

// A responder's key could be so large that one look at a signature takes half a second.
func TestStapleWithAHugeKeyTakesLittleTime(t *testing.T) {
	huge := stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Key(fakeRSA{stapleKey, 120_000}))
	staple := reseal(stapleCA.StapleBy(tls.Certificate{Leaf: huge.Leaf, PrivateKey: stapleKey}, stapled), stapleKey, func(*basicResponse) {})
	staple = resent(staple, func(r *basicResponse) {
		r.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
		r.Signature = asn1.BitString{Bytes: make([]byte, 120_000/8), BitLength: 120_000}
		r.Certificates = []asn1.RawValue{{FullBytes: huge.Leaf.Raw}}
	})
	require.Less(t, len(staple), maxStaple)
	fastest := time.Hour
	for range 3 {
		begin := time.Now()
		_, s := judge(stapled, staple)
		fastest = min(fastest, time.Since(begin))
		assert.Equal(t, StapleForged, s.Problem, s.detail)
	}
	assert.Less(t, fastest, 100*time.Millisecond)
}

// fakeRSA has a public key of so many bits, which costs nothing to make and fits no signature.
type fakeRSA struct {
	crypto.Signer
	bits uint
}

func (f fakeRSA) Public() crypto.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), f.bits-1)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 1<<31 - 1}
}

func TestStapleDates(t *testing.T) {
	begin, end := time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(7*day).Truncate(time.Second)
	_, s := judge(stapled, stapleCA.Staple(stapled, tlsfarm.StapleDates(-time.Hour, 7*day)))
	assert.WithinDuration(t, begin, s.ThisUpdate, time.Minute)
	assert.WithinDuration(t, end, s.NextUpdate, time.Minute)
	assert.Zero(t, s.RevokedAt)
	assert.Empty(t, s.Reason)

	_, s = judge(stapled, stapleCA.Staple(stapled, tlsfarm.StapleDates(-time.Hour, 0)))
	assert.False(t, s.ThisUpdate.IsZero())
	assert.True(t, s.NextUpdate.IsZero())

	_, s = judge(stapled, stapleCA.Staple(stapled, tlsfarm.StapleDates(-2*day, -day)))
	assert.False(t, s.NextUpdate.IsZero(), "the CA stands for the dates of a stale one")

	_, s = judge(stapled, flip(stapleCA.Staple(stapled)))
	assert.Equal(t, StapleForged, s.Problem)
	assert.True(t, s.ThisUpdate.IsZero() && s.NextUpdate.IsZero(), "and for nothing of a forged one")
}

func TestRevocationReasons(t *testing.T) {
	for reason, want := range map[int]string{
		ocsp.Unspecified: "", ocsp.KeyCompromise: "keyCompromise", ocsp.CACompromise: "cACompromise",
		ocsp.AffiliationChanged: "affiliationChanged", ocsp.Superseded: "superseded",
		ocsp.CessationOfOperation: "cessationOfOperation", ocsp.CertificateHold: "certificateHold",
		ocsp.RemoveFromCRL: "removeFromCRL", ocsp.PrivilegeWithdrawn: "privilegeWithdrawn", ocsp.AACompromise: "aACompromise",
		7: "", 99: "",
	} {
		_, s := judge(stapled, stapleCA.Staple(stapled, tlsfarm.RevokedFor(reason)))
		assert.Equal(t, StatusRevoked, s.Status)
		assert.Equal(t, want, s.Reason)
	}
}

// Keys other than those that x/crypto/ocsp signs with.
func TestStapleSignatures(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
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
		"RSA":                      {rsaKey, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}}, ""},
		"Ed25519":                  {edKey, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, ""},
		"RSA-PSS":                  {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(sha256OID, 32)}, ""},
		"RSA-PSS, a larger salt":   {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(sha256OID, 222)}, StapleUnsupported},
		"RSA-PSS, another hash":    {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(hashes[2].oid, 48)}, StapleForged},
		"RSA-PSS with SHA-1":       {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: pss(hashes[0].oid, 20)}, StapleUnsupported},
		"RSA-PSS without anything": {rsaKey, pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS}, StapleUnsupported},
		"another key's algorithm":  {rsaKey, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, StapleForged},
	} {
		t.Run(name, func(t *testing.T) {
			ca := stapleRoot.Intermediate("Other Key", tlsfarm.Key(c.key))
			leaf := ca.Issue("x")
			made := stapleCA.Staple(leaf)
			_, s := judge(leaf, reseal(made, c.key, func(r *basicResponse) {
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
		v, s := judge(stapled, none)
		assert.Nil(t, s)
		assert.True(t, v.Valid())
		assert.Empty(t, v.Warnings)
	}
}

func TestMustStaple(t *testing.T) {
	demanding := stapleCA.Issue("demanding", tlsfarm.MustStaple)
	v, s := judge(demanding, nil)
	require.NotNil(t, s)
	assert.Equal(t, StapleMissing, s.Problem)
	assert.Empty(t, s.Status)
	assert.True(t, v.Valid(), "Go's clients accept it")
	assert.Equal(t, []Reason{{Fault: MissingStaple, Cert: v.Chain[0], Err: s}}, v.Warnings)

	v, s = judge(demanding, stapleCA.Staple(demanding))
	assert.Equal(t, StatusGood, s.Status)
	assert.Empty(t, v.Warnings)
	v, _ = judge(demanding, stapleCA.Staple(demanding, tlsfarm.StapleDates(-2*day, -day)))
	assert.Equal(t, []Fault{InvalidStaple}, faults(v.Warnings))

	for name, value := range map[string][]byte{
		"status_request_v2 alone": {0x30, 3, 2, 1, 17}, "empty": {0x30, 0}, "no list": {2, 1, 5},
		"garbage": {0xff}, "cut": {0x30, 3, 2, 1}, "bytes behind": {0x30, 3, 2, 1, 5, 0}, "endless number": append([]byte{0x30, 12, 2, 10}, make([]byte, 10)...),
	} {
		_, s := judge(stapleCA.Issue("x", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: oidTLSFeature, Value: value}}
		}), nil)
		assert.Nil(t, s, name)
	}
	_, s = judge(stapleCA.Issue("x", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidTLSFeature, Value: []byte{0x30, 6, 2, 1, 17, 2, 1, 5}}}
	}), nil)
	assert.NotNil(t, s, "both")
}

// Where a revocation stands among all else that can be wrong, and that it is found then too.
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
		"no use":               {stapleCA, []tlsfarm.Edit{forClients, critical}, []Fault{Revoked, WrongKeyUsage, UnhandledCriticalExtension}},
		"a critical extension": {stapleCA, []tlsfarm.Edit{critical}, []Fault{Revoked, UnhandledCriticalExtension}},
		"not its name":         {constrained, nil, []Fault{Revoked, NameConstraintViolation}},
		"all": {
			stranger,
			[]tlsfarm.Edit{past, tlsfarm.Names("other.example"), forClients},
			[]Fault{UntrustedCA, Expired, NameMismatch, Revoked, WrongKeyUsage},
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := c.ca.Issue("x", c.edits...)
			v, s := judge(leaf, c.ca.Staple(leaf, tlsfarm.RevokedFor(0)))
			assert.Equal(t, StatusRevoked, s.Status, s.detail)
			assert.Equal(t, c.want, faults(v.Reasons))
		})
	}
}

func TestIssuerThatTheStapleIsCheckedWith(t *testing.T) {
	good := stapleCA.Staple(stapled)
	chain := presented(stapled)
	namesake := tlsfarm.NewAuthority("Staple CA").Certificate
	hasLeaf := x509.NewCertPool()
	hasLeaf.AddCert(chain[0])
	self := tlsfarm.SelfSigned("Self", tlsfarm.Key(stapleKey))
	known := &Known{}
	known.Add(Verify(chain, stapleRoot.Pool(), "localhost", time.Now()).Chain)

	for name, c := range map[string]struct {
		presented []*x509.Certificate
		roots     *x509.CertPool
		staple    []byte
		want      StapleProblem
	}{
		"of the verified chain":          {chain, stapleRoot.Pool(), good, ""},
		"which is the root itself":       {chain[:1], stapleCA.Pool(), good, ""},
		"presented, of no trusted root":  {chain, x509.NewCertPool(), good, ""},
		"not presented":                  {chain[:1], x509.NewCertPool(), good, StapleUnverifiable},
		"presented, the leaf is trusted": {chain, hasLeaf, good, ""},
		"a namesake with another key":    {[]*x509.Certificate{chain[0], namesake}, x509.NewCertPool(), good, StapleUnverifiable},
		"behind its namesake":            {[]*x509.Certificate{chain[0], namesake, chain[1]}, x509.NewCertPool(), good, ""},
		"that another server sends":      {chain[:1], stapleRoot.Pool(), good, ""},
		"the certificate itself":         {presented(self), x509.NewCertPool(), stapleOfSelf(self), ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := Verify(c.presented, c.roots, "localhost", time.Now())
			if !v.Trusted {
				known.Complete(v, c.roots, time.Now())
			}
			s := v.AddStaple(c.staple, c.presented, time.Now())
			assert.Equal(t, c.want, s.Problem, s.detail)
			assert.Equal(t, c.want == "", s.Status == StatusGood)
			assert.Empty(t, v.Warnings, "it is not the staple's fault")
		})
	}
}

func stapleOfSelf(c tls.Certificate) []byte {
	return must(ocsp.CreateResponse(c.Leaf, c.Leaf, ocsp.Response{
		SerialNumber: c.Leaf.SerialNumber, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(day),
	}, c.PrivateKey.(crypto.Signer)))
}

func TestStaplesOfOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	run := func(t *testing.T, args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), openssl, args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
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
	run(t, "ocsp", "-issuer", ca, "-cert", leaf, "-no_nonce", "-reqout", request)
	withNonce := filepath.Join(dir, "request-nonce")
	run(t, "ocsp", "-issuer", ca, "-cert", leaf, "-nonce", "-reqout", withNonce)

	for name, c := range map[string]struct {
		index       string
		signer, key string
		options     []string
		status      StapleStatus
		problem     StapleProblem
	}{
		"good":                 {"V\t491231235959Z\t\t" + serial, responder, responderKey, nil, StatusGood, ""},
		"revoked":              {"R\t491231235959Z\t250102030405Z,keyCompromise\t" + serial, responder, responderKey, nil, StatusRevoked, ""},
		"unknown":              {"V\t491231235959Z\t\t01", responder, responderKey, nil, StatusUnknown, ""},
		"by the CA":            {"V\t491231235959Z\t\t" + serial, ca, caKey, nil, StatusGood, ""},
		"no certificate in it": {"V\t491231235959Z\t\t" + serial, ca, caKey, []string{"-resp_no_certs"}, StatusGood, ""},
		"named by its key":     {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-resp_key_id"}, StatusGood, ""},
		"with SHA-512":         {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-rmd", "sha512"}, StatusGood, ""},
		"with SHA-1":           {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-rmd", "sha1"}, "", StapleUnsupported},
		"with the CA's also":   {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-rother", ca}, StatusGood, ""},
		"by one that may not":  {"V\t491231235959Z\t\t" + serial, other, otherKey, nil, "", StapleNotAuthorized},
		"nobody's certificate": {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-resp_no_certs"}, "", StapleForged},
		"with a nonce":         {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-reqin", withNonce}, StatusGood, ""},
		"for seven days":       {"V\t491231235959Z\t\t" + serial, responder, responderKey, []string{"-ndays", "7"}, StatusGood, ""},
	} {
		t.Run(name, func(t *testing.T) {
			index := write("index", []byte(c.index+"\tunknown\t/CN=stapled\n"))
			write("index.attr", []byte("unique_subject = no\n"))
			out := filepath.Join(dir, "response")
			args := []string{
				"ocsp", "-index", index, "-CA", ca, "-rsigner", c.signer, "-rkey", c.key, "-reqin", request,
				"-respout", out, "-ignore_err",
			}
			run(t, append(args, c.options...)...)
			staple, err := os.ReadFile(out)
			require.NoError(t, err)
			_, s := judge(stapled, staple)
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
	v := Verify(presented(stapled), stapleRoot.Pool(), "localhost", time.Now())
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

// FuzzStaple looks for a panic, and for a response that is believed though it is not one of those that the CA made. What
// a signature covers is fuzzed under a signature that is right, as nothing else gets that far.
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
	leaf := presented(stapled)
	judge := func(t *testing.T, staple []byte) *Staple {
		v := &Verdict{Chain: leaf, Trusted: true}
		s := v.AddStaple(staple, leaf, time.Now())
		assert.NotEqual(t, s.Status == "", s.Problem == "", "one of the two")
		assert.Equal(t, s.Status != StatusRevoked, v.Valid())
		assert.Equal(t, s.Problem == "", len(v.Warnings) == 0)
		return s
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 {
			return
		}
		if s := judge(t, input); s.Status != "" {
			theirs, err := ocsp.ParseResponseForCert(input, leaf[0], leaf[1])
			require.NoError(t, err)
			want := map[int]StapleStatus{ocsp.Good: StatusGood, ocsp.Revoked: StatusRevoked, ocsp.Unknown: StatusUnknown}
			assert.Equal(t, want[theirs.Status], s.Status)
		}

		hash := sha256.Sum256(input)
		signature := must(stapleKey.Sign(rand.Reader, hash[:], crypto.SHA256))
		judge(t, wrapped(oidBasicResponse, must(asn1.Marshal(basicResponse{
			Data:      ocspData{Raw: input},
			Algorithm: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
			Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
		}))))
	})
}
