package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	_ "crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// scene is what Verify is asked about.
type scene struct {
	presented []*x509.Certificate
	roots     []*x509.Certificate
	name      string // localhost where it is empty
}

func (s scene) verify(t testing.TB) *Verdict {
	t.Helper()
	if s.name == "" {
		s.name = "localhost"
	}
	v := Verify(s.presented, pool(s.roots), s.name, time.Now())
	assertSound(t, v, s.roots)
	return v
}

// assertSound asserts what must be true of every verdict.
func assertSound(t testing.TB, v *Verdict, roots []*x509.Certificate) {
	t.Helper()
	require.NotEmpty(t, v.Chain)
	last := v.Chain[len(v.Chain)-1]
	assert.True(t, !v.Trusted || slices.ContainsFunc(roots, last.Equal), "ends in %s, which is no root of the pool", last.Subject)
	assert.True(t, v.Trusted || !v.Valid(), "valid, and yet not trusted")
	for _, r := range slices.Concat(v.Reasons, v.Warnings) {
		require.Less(t, r.Depth, len(v.Chain))
		assert.True(t, v.Chain[r.Depth] == r.Cert, "%s at depth %d is not of %s", r.Fault, r.Depth, r.Cert.Subject)
	}
	assert.True(t, slices.IsSortedFunc(v.Reasons, func(a, b Reason) int { return urgency[a.Fault] - urgency[b.Fault] }), "wrong order: %s", told(v.Reasons))
}

// urgency is the order in which reasons are told: trust, time, name, others. Malformed may be about any of them.
var urgency = map[Fault]int{Expired: 1, NotYetValid: 1, NameMismatch: 2, NameConstraintViolation: 3, WrongKeyUsage: 3, UnhandledCriticalExtension: 3}

// told writes reasons as fault@depth.
func told(reasons []Reason) string {
	var words []string
	for _, r := range reasons {
		words = append(words, fmt.Sprintf("%s@%d", r.Fault, r.Depth))
	}
	return strings.Join(words, " ")
}

func assertChain(t *testing.T, want, got []*x509.Certificate) {
	t.Helper()
	names := func(chain []*x509.Certificate) (s []string) {
		for _, c := range chain {
			s = append(s, fmt.Sprintf("%s %X", c.Subject.CommonName, c.SerialNumber))
		}
		return s
	}
	assert.Equal(t, names(want), names(got))
}

func certs(cs ...any) []*x509.Certificate {
	var all []*x509.Certificate
	for _, c := range cs {
		switch c := c.(type) {
		case *x509.Certificate:
			all = append(all, c)
		case []*x509.Certificate:
			all = append(all, c...)
		case *tlsfarm.Authority:
			all = append(all, c.Certificate)
		case tls.Certificate: // with all that is presented along with it
			for _, der := range c.Certificate {
				all = append(all, parse(der))
			}
		}
	}
	return all
}

func parse(der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

func edit(f func(*x509.Certificate)) tlsfarm.Edit { return f }

var (
	expired     = tlsfarm.Validity(-2*day, -day)
	notYetValid = tlsfarm.Validity(day, 2*day)
	clientOnly  = usages(x509.ExtKeyUsageClientAuth)
	notCA       = edit(func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false })
	caIssuers   = edit(func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"http://ca.example/ca.crt"} })
	unknownExt  = edit(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: asn1.NullBytes}}
	})
)

// ownKey is a key for a certificate that signs itself, which x509.CreateCertificate makes only if its template does not
// have the private key any more.
type ownKey struct {
	crypto.Signer
	template *x509.Certificate
}

func (k ownKey) Public() crypto.PublicKey {
	k.template.PublicKey = nil
	return k.Signer.Public()
}

func withKey(key crypto.Signer) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.PublicKey = ownKey{key, c} }
}

func usages(u ...x509.ExtKeyUsage) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

func pathLen(n int) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, true }
}

func permits(domain string) tlsfarm.Edit {
	return func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{domain}, true
	}
}

func signedWith(a x509.SignatureAlgorithm) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.SignatureAlgorithm = a }
}

func ecKey() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func edKey() crypto.Signer {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

// Keys of RSA take long to make.
var (
	rsa2048 = sync.OnceValue(func() crypto.Signer { return rsaKey(2048) })
	rsa1024 = sync.OnceValue(func() crypto.Signer { return rsaKey(1024) })
)

func rsaKey(bits int) crypto.Signer {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

// The contents of object identifiers, for certificates that crypto/x509 does not make.
const (
	sha256WithRSA = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	md5WithRSA    = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"
	rsaEncryption = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	rsassaPSS     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	idEd25519     = "\x06\x03\x2b\x65\x70"
	idEd448       = "\x06\x03\x2b\x65\x71"
	idX25519      = "\x06\x03\x2b\x65\x6e"
)

type rawCertificate struct {
	TBS, Algorithm asn1.RawValue
	Signature      asn1.BitString
}

// resign puts replacement in place of old, which is as long, and signs the certificate anew.
func resign(c *x509.Certificate, key crypto.Signer, hash crypto.Hash, old, replacement string) *x509.Certificate {
	var raw rawCertificate
	if _, err := asn1.Unmarshal(c.Raw, &raw); err != nil {
		panic(err)
	}
	for _, part := range []*asn1.RawValue{&raw.TBS, &raw.Algorithm} {
		part.FullBytes = bytes.ReplaceAll(part.FullBytes, []byte(old), []byte(replacement))
	}
	return raw.sign(key, hash)
}

func (raw rawCertificate) sign(key crypto.Signer, hash crypto.Hash) *x509.Certificate {
	digest := raw.TBS.FullBytes
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		panic(err)
	}
	raw.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err := asn1.Marshal(raw)
	if err != nil {
		panic(err)
	}
	return parse(der)
}

// version1 returns the certificate as it would have been before extensions were invented.
func version1(c *x509.Certificate, key crypto.Signer) *x509.Certificate {
	var raw rawCertificate
	if _, err := asn1.Unmarshal(c.Raw, &raw); err != nil {
		panic(err)
	}
	var tbs struct {
		Version                                         int `asn1:"explicit,tag:0"`
		Serial                                          *big.Int
		Algorithm, Issuer, Validity, Subject, PublicKey asn1.RawValue
	}
	if _, err := asn1.Unmarshal(raw.TBS.FullBytes, &tbs); err != nil {
		panic(err)
	}
	der, err := asn1.Marshal(struct {
		Serial                                          *big.Int
		Algorithm, Issuer, Validity, Subject, PublicKey asn1.RawValue
	}{tbs.Serial, tbs.Algorithm, tbs.Issuer, tbs.Validity, tbs.Subject, tbs.PublicKey})
	if err != nil {
		panic(err)
	}
	raw.TBS = asn1.RawValue{FullBytes: der}
	return raw.sign(key, crypto.SHA256)
}

// withBadSignature returns c with one bit of its signature turned.
func withBadSignature(c *x509.Certificate) *x509.Certificate {
	der := slices.Clone(c.Raw)
	der[len(der)-1] ^= 1
	return parse(der)
}

func TestValidChain(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	other := tlsfarm.NewAuthority("Other root")
	upper := root.Intermediate("Upper")
	lower := upper.Intermediate("Lower")
	byRoot, byLower := root.Issue("leaf"), lower.Issue("leaf")
	self := tlsfarm.SelfSigned("self")
	oldKey := ecKey()
	old := tlsfarm.NewAuthority("Old root", withKey(oldKey))
	old1 := version1(old.Certificate, oldKey)

	wild := root.Issue("leaf", tlsfarm.Names("*.example"))
	usable := root.Intermediate("Intermediate", usages(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageOCSPSigning)).
		Issue("leaf", usages(x509.ExtKeyUsageAny))
	lookalike := root.Issue("leaf", edit(func(c *x509.Certificate) { c.SubjectKeyId = root.Certificate.SubjectKeyId }))

	tests := map[string]struct {
		scene
		chain []*x509.Certificate
	}{
		"from the root itself":              {scene{presented: certs(byRoot), roots: certs(root)}, certs(byRoot, root)},
		"over intermediates":                {scene{presented: certs(byLower), roots: certs(root)}, certs(byLower, root)},
		"the root presented too":            {scene{presented: certs(byLower, root), roots: certs(root)}, certs(byLower, root)},
		"among other roots":                 {scene{presented: certs(byLower), roots: certs(other, root)}, certs(byLower, root)},
		"in the wrong order":                {scene{presented: certs(byLower.Leaf, root, upper, lower), roots: certs(root)}, certs(byLower, root)},
		"with certificates beyond need":     {scene{presented: certs(byLower.Leaf, other, byRoot, lower, self, upper), roots: certs(root)}, certs(byLower, root)},
		"everything twice":                  {scene{presented: certs(byLower, byLower), roots: certs(root)}, certs(byLower, root)},
		"to an intermediate that is a root": {scene{presented: certs(byLower), roots: certs(upper)}, certs(byLower.Leaf, lower, upper)},
		"a leaf that is a root":             {scene{presented: certs(self), roots: certs(self)}, certs(self)},
		"an address":                        {scene{presented: certs(byLower), roots: certs(root), name: "127.0.0.1"}, certs(byLower, root)},
		"an IPv6 address":                   {scene{presented: certs(byLower), roots: certs(root), name: "0:0:0:0:0:0:0:1"}, certs(byLower, root)},
		"a wildcard, a dot at the end":      {scene{presented: certs(wild), roots: certs(root), name: "A.example."}, certs(wild, root)},
		"usages all along that fit":         {scene{presented: certs(usable), roots: certs(root)}, certs(usable, root)},
		"key identifiers as if self-signed": {scene{presented: certs(lookalike), roots: certs(root)}, certs(lookalike, root)},
		"a root of version 1":               {scene{presented: certs(old.Issue("leaf")), roots: certs(old1)}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := tt.verify(t)
			assert.True(t, v.Valid(), told(v.Reasons))
			assert.True(t, v.Trusted)
			assert.Empty(t, v.Warnings)
			if tt.chain == nil {
				tt.chain = certs(tt.presented, tt.roots)
			}
			assertChain(t, tt.chain, v.Chain)
		})
	}
}

func TestNoNameIsNotAskedFor(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	assert.True(t, Verify(certs(root.Issue("leaf")), root.Pool(), "", time.Now()).Valid())
	assert.Equal(t, "cert_expired@0", told(Verify(certs(root.Issue("leaf", expired)), root.Pool(), "", time.Now()).Reasons))
}

func TestFaultOfATrustedChain(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	under := func(edits ...tlsfarm.Edit) tls.Certificate { // a leaf of an intermediate with these edits
		return root.Intermediate("Intermediate", edits...).Issue("leaf")
	}
	underRoot := func(edits ...tlsfarm.Edit) scene { // a leaf of an intermediate of a root with these edits
		r := tlsfarm.NewAuthority("Root", edits...)
		return scene{presented: certs(r.Intermediate("Intermediate").Issue("leaf")), roots: certs(r)}
	}
	presentingRoot := func(s scene) scene {
		s.presented = certs(s.presented, s.roots)
		return s
	}
	oldKey, interKey := ecKey(), ecKey()
	signer := tlsfarm.NewAuthority("Signer", withKey(oldKey))
	inter := signer.Intermediate("Intermediate", withKey(interKey))
	expiredSelf := tlsfarm.SelfSigned("self", expired)

	tests := map[string]struct {
		scene
		want string
	}{
		"leaf expired":                      {scene{presented: certs(root.Issue("leaf", expired))}, "cert_expired@0"},
		"leaf of the pool expired":          {scene{presented: certs(expiredSelf), roots: certs(expiredSelf)}, "cert_expired@0"},
		"intermediate expired":              {scene{presented: certs(under(expired))}, "cert_expired@1"},
		"root expired":                      {underRoot(expired), "cert_expired@2"},
		"root expired, presented":           {presentingRoot(underRoot(expired)), "cert_expired@2"},
		"leaf not yet valid":                {scene{presented: certs(root.Issue("leaf", notYetValid))}, "cert_not_yet_valid@0"},
		"intermediate not yet valid":        {scene{presented: certs(under(notYetValid))}, "cert_not_yet_valid@1"},
		"root not yet valid":                {underRoot(notYetValid), "cert_not_yet_valid@2"},
		"another DNS name":                  {scene{presented: certs(root.Issue("leaf")), name: "other.example"}, "hostname_mismatch@0"},
		"another address":                   {scene{presented: certs(root.Issue("leaf")), name: "192.0.2.1"}, "hostname_mismatch@0"},
		"the common name alone":             {scene{presented: certs(root.Issue("a.example", tlsfarm.Names())), name: "a.example"}, "hostname_mismatch@0"},
		"a wildcard for one label, not two": {scene{presented: certs(root.Issue("leaf", tlsfarm.Names("*.example"))), name: "a.b.example"}, "hostname_mismatch@0"},
		"a wildcard not for its domain":     {scene{presented: certs(root.Issue("leaf", tlsfarm.Names("*.a.example"))), name: "a.example"}, "hostname_mismatch@0"},
		"an address as a DNS name":          {scene{presented: certs(root.Issue("leaf", tlsfarm.Names("192.0.2.1"))), name: "192.0.2.1"}, "hostname_mismatch@0"},
		"intermediate no CA":                {scene{presented: certs(under(notCA))}, "not_a_ca@1"},
		"intermediate may not sign":         {scene{presented: certs(under(edit(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })))}, "not_a_ca@1"},
		"intermediate of version 1": {scene{
			presented: certs(inter.Issue("leaf").Leaf, version1(inter.Certificate, oldKey)), roots: certs(signer),
		}, "not_a_ca@1"},
		"root no CA, presented":          {presentingRoot(underRoot(notCA)), "not_a_ca@2"},
		"path length of an intermediate": {scene{presented: certs(root.Intermediate("Upper", pathLen(0)).Intermediate("Lower").Issue("leaf"))}, "path_length_exceeded@2"},
		"path length of the root":        {underRoot(pathLen(0)), "path_length_exceeded@2"},
		"leaf expired, its CA without a key usage": {scene{
			presented: certs(root.Intermediate("Intermediate", edit(func(c *x509.Certificate) { c.KeyUsage = 0 })).Issue("leaf", expired)),
		}, "cert_expired@0"},
		"leaf expired under a root of version 1": {scene{
			presented: certs(signer.Issue("leaf", expired)), roots: certs(version1(signer.Certificate, oldKey)),
		}, "cert_expired@0"},
		"leaf for clients":                   {scene{presented: certs(root.Issue("leaf", clientOnly))}, "wrong_key_usage@0"},
		"intermediate for clients":           {scene{presented: certs(under(clientOnly))}, "wrong_key_usage@1"},
		"root for clients":                   {underRoot(clientOnly), "wrong_key_usage@2"},
		"leaf with an unknown usage":         {scene{presented: certs(root.Issue("leaf", usages(), edit(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} })))}, "wrong_key_usage@0"},
		"leaf for clients, CA for any":       {scene{presented: certs(root.Intermediate("Intermediate", usages(x509.ExtKeyUsageAny)).Issue("leaf", clientOnly))}, "wrong_key_usage@0"},
		"names an intermediate may not sign": {scene{presented: certs(under(permits("example")))}, "name_constraint_violation@0"},
		"names the root may not sign":        {underRoot(permits("example")), "name_constraint_violation@0"},
		"unknown critical extension":         {scene{presented: certs(root.Issue("leaf", unknownExt))}, "unhandled_critical_extension@0"},
		"… of an intermediate":               {scene{presented: certs(under(unknownExt))}, "unhandled_critical_extension@1"},
		"… of the root, presented":           {presentingRoot(underRoot(unknownExt)), "unhandled_critical_extension@2"},
		"a policy that the leaf lacks":       {scene{presented: certs(under(explicitPolicy))}, "malformed_certificate@0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.roots == nil {
				tt.roots = certs(root)
			}
			v := tt.verify(t)
			assert.Equal(t, tt.want, told(v.Reasons))
			assert.True(t, v.Trusted)
			want := tt.presented
			if !want[len(want)-1].Equal(tt.roots[0]) {
				want = certs(want, tt.roots)
			}
			assertChain(t, want, v.Chain)
		})
	}
}

// explicitPolicy demands a certificate policy of all that is below (RFC 5280, section 4.2.1.11).
var explicitPolicy = edit(func(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Critical: true, Value: []byte("\x30\x03\x80\x01\x00")}}
})

func TestFaultOfAnUntrustedChain(t *testing.T) {
	root := tlsfarm.NewAuthority("Root", withKey(rsa2048()))
	stranger := tlsfarm.NewAuthority("Stranger")
	inter := root.Intermediate("Intermediate")
	strange := stranger.Intermediate("Strange intermediate")
	self, edSelf := tlsfarm.SelfSigned("self"), tlsfarm.SelfSigned("self", withKey(edKey()))
	rsaSelf := tlsfarm.SelfSigned("self", withKey(rsa2048())).Leaf
	renewed := tlsfarm.NewAuthority("Intermediate") // of the same name as inter, with another key
	byInter := inter.Issue("leaf")
	sha1, sha1RSA := signedWith(x509.ECDSAWithSHA1), signedWith(x509.SHA1WithRSA)
	md5Leaf := resign(root.Issue("leaf").Leaf, rsa2048(), crypto.MD5, sha256WithRSA, md5WithRSA)
	edCAKey := edKey()
	edCA := root.Intermediate("Intermediate", withKey(edCAKey))
	ed448Leaf := resign(edCA.Issue("leaf").Leaf, edCAKey, 0, idEd25519, idEd448)
	ed448CA := resign(edCA.Certificate, rsa2048(), crypto.SHA256, idEd25519, idEd448)

	tests := map[string]struct {
		scene
		want  string
		chain int // how many of the presented certificates, from the first on, are in the chain
	}{
		"lone self-signed leaf":                  {scene{presented: certs(self)}, "self_signed@0", 1},
		"self-signed leaf, others along":         {scene{presented: certs(self, inter, root)}, "self_signed@0", 1},
		"self-signed leaf that is a CA":          {scene{presented: certs(tlsfarm.SelfSigned("self", edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })))}, "self_signed@0", 1},
		"self-signed, key identifier of a CA":    {scene{presented: certs(tlsfarm.SelfSigned("self", edit(func(c *x509.Certificate) { c.AuthorityKeyId = root.Certificate.SubjectKeyId })))}, "self_signed@0", 1},
		"self-signed with SHA-1":                 {scene{presented: certs(tlsfarm.SelfSigned("self", sha1))}, "self_signed@0", 1},
		"self-signed with MD5":                   {scene{presented: certs(resign(rsaSelf, rsa2048(), crypto.MD5, sha256WithRSA, md5WithRSA))}, "self_signed@0", 1},
		"self-signed with Ed448":                 {scene{presented: certs(resign(edSelf.Leaf, edSelf.PrivateKey.(crypto.Signer), 0, idEd25519, idEd448))}, "self_signed@0", 1},
		"self-issued, signed by another key":     {scene{presented: certs(withBadSignature(self.Leaf))}, "untrusted_ca@0", 1},
		"unknown root presented":                 {scene{presented: certs(strange.Issue("leaf"), stranger)}, "untrusted_ca@2", 3},
		"unknown root not presented":             {scene{presented: certs(strange.Issue("leaf"))}, "untrusted_ca@1", 2},
		"unknown root, leaf alone":               {scene{presented: certs(stranger.Issue("leaf"))}, "untrusted_ca@0", 1},
		"unknown root, beyond need":              {scene{presented: certs(strange.Issue("leaf"), root, inter)}, "untrusted_ca@1", 2},
		"unknown root, leaf names CA Issuers":    {scene{presented: certs(strange.Issue("leaf", caIssuers), stranger)}, "untrusted_ca@2", 3},
		"intermediate not sent":                  {scene{presented: certs(inter.Issue("leaf", caIssuers).Leaf)}, "incomplete_chain@0", 1},
		"another intermediate sent":              {scene{presented: certs(inter.Issue("leaf", caIssuers).Leaf, strange)}, "incomplete_chain@0", 1},
		"upper intermediate not sent":            {scene{presented: certs(inter.Intermediate("Lower").Issue("leaf", caIssuers))[:2]}, "untrusted_ca@1", 2},
		"leaf's signature bad":                   {scene{presented: certs(withBadSignature(byInter.Leaf), inter)}, "bad_signature@0", 2},
		"leaf signed by the CA's former key":     {scene{presented: certs(byInter.Leaf, renewed), roots: certs(root, renewed)}, "bad_signature@0", 2},
		"intermediate's signature bad":           {scene{presented: certs(byInter.Leaf, withBadSignature(inter.Certificate), root)}, "bad_signature@1", 3},
		"leaf signed with SHA-1":                 {scene{presented: certs(inter.Issue("leaf", sha1))}, "weak_signature@0", 2},
		"leaf signed with SHA-1, alone":          {scene{presented: certs(root.Issue("leaf", sha1RSA))}, "weak_signature@0", 1},
		"leaf signed with SHA-1 by one of two":   {scene{presented: certs(inter.Issue("leaf", sha1).Leaf, renewed, inter)}, "weak_signature@0", 0},
		"leaf signed with SHA-1 under two CAs":   {scene{presented: certs(inter.Intermediate("Lower").Issue("leaf", sha1))}, "weak_signature@0", 3},
		"leaf signed with MD5":                   {scene{presented: certs(md5Leaf)}, "weak_signature@0", 1},
		"intermediate signed with SHA-1":         {scene{presented: certs(root.Intermediate("Intermediate", sha1RSA).Issue("leaf"))}, "weak_signature@1", 2},
		"leaf signed with Ed448":                 {scene{presented: certs(ed448Leaf, edCA)}, "malformed_certificate@0", 2},
		"leaf signed with Ed448, alone":          {scene{presented: certs(ed448Leaf)}, "malformed_certificate@0", 1},
		"intermediate's key an Ed448 one":        {scene{presented: certs(edCA.Issue("leaf").Leaf, ed448CA)}, "malformed_certificate@0", 2},
		"weak signature under an unknown root":   {scene{presented: certs(strange.Issue("leaf", sha1), stranger)}, "weak_signature@0 untrusted_ca@2", 3},
		"bad signature under an unknown root":    {scene{presented: certs(withBadSignature(strange.Issue("leaf").Leaf), strange)}, "bad_signature@0 untrusted_ca@1", 2},
		"no CA under an unknown root":            {scene{presented: certs(stranger.Intermediate("Intermediate", notCA).Issue("leaf"))}, "untrusted_ca@1 not_a_ca@1", 2},
		"leaf for clients from an unknown root":  {scene{presented: certs(stranger.Issue("leaf", clientOnly))}, "untrusted_ca@0 wrong_key_usage@0", 1},
		"two CAs that signed each other":         {scene{presented: mutual()}, "untrusted_ca@2", 3},
		"unknown root in the wrong order":        {scene{presented: certs(strange.Issue("leaf").Leaf, stranger, root, strange)}, "untrusted_ca@2", 0},
		"a root of the pool's name, another key": {scene{presented: certs(tlsfarm.NewAuthority("Root").Issue("leaf"))}, "untrusted_ca@0", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.roots == nil {
				tt.roots = certs(root)
			}
			v := tt.verify(t)
			assert.Equal(t, tt.want, told(v.Reasons))
			assert.False(t, v.Trusted)
			if tt.chain > 0 {
				assertChain(t, tt.presented[:tt.chain], v.Chain)
			}
			for _, r := range v.Reasons {
				if r.Fault == UntrustedCA {
					assert.ErrorAs(t, r.Err, new(x509.UnknownAuthorityError))
				} else if r.Fault == Malformed {
					assert.ErrorIs(t, r.Err, x509.ErrUnsupportedAlgorithm, "it becomes part of a sentence")
				}
			}
		})
	}
}

func TestNamesakeOfATrustedRoot(t *testing.T) {
	root, noCA := tlsfarm.NewAuthority("Root"), tlsfarm.NewAuthority("Root", notCA)
	other := tlsfarm.NewAuthority("Root")
	for name, tt := range map[string]struct {
		scene
		want bool
	}{
		"CA with a new key":    {scene{presented: certs(other.Issue("leaf")), roots: certs(root)}, true},
		"under intermediates":  {scene{presented: certs(other.Intermediate("Intermediate").Issue("leaf")), roots: certs(root)}, true},
		"altered signature":    {scene{presented: certs(withBadSignature(root.Issue("leaf").Leaf)), roots: certs(root)}, true},
		"another name":         {scene{presented: certs(tlsfarm.NewAuthority("Other").Issue("leaf")), roots: certs(root)}, false},
		"no CA, whose key did": {scene{presented: certs(noCA.Issue("leaf")), roots: certs(noCA)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := tt.verify(t)
			assert.Equal(t, UntrustedCA, v.Primary().Fault)
			assert.Equal(t, tt.want, v.Primary().Namesake)
		})
	}
}

// mutual is a leaf and two CAs that signed each other.
func mutual() []*x509.Certificate {
	keyA, keyB := withKey(ecKey()), withKey(ecKey())
	a := tlsfarm.NewAuthority("B", keyB).Intermediate("A", keyA)
	return certs(a.Issue("leaf").Leaf, a, tlsfarm.NewAuthority("A", keyA).Intermediate("B", keyB))
}

func TestAllReasonsAtOnce(t *testing.T) {
	root, stranger := tlsfarm.NewAuthority("Root"), tlsfarm.NewAuthority("Stranger")
	inter := root.Intermediate("Intermediate")
	elsewhere := tlsfarm.Names("other.example")
	tests := map[string]struct {
		scene
		want string
	}{
		"expired, another name, unknown root": {
			scene{presented: certs(stranger.Issue("leaf", expired, elsewhere))},
			"untrusted_ca@0 cert_expired@0 hostname_mismatch@0",
		},
		"expired, another name, self-signed, for clients": {
			scene{presented: certs(tlsfarm.SelfSigned("leaf", expired, elsewhere, clientOnly))},
			"self_signed@0 cert_expired@0 hostname_mismatch@0 wrong_key_usage@0",
		},
		"expired, another name": {
			scene{presented: certs(inter.Issue("leaf", expired, elsewhere))},
			"cert_expired@0 hostname_mismatch@0",
		},
		"another name that the CA may not sign for": {
			scene{presented: certs(root.Intermediate("Intermediate", permits("example.org")).Issue("leaf", expired, elsewhere))},
			"cert_expired@0 hostname_mismatch@0 name_constraint_violation@0",
		},
		"no moment at which the whole chain is valid": {
			scene{presented: certs(
				root.Intermediate("Upper", tlsfarm.Validity(-year, -9*day)).Intermediate("Lower", notYetValid).
					Issue("leaf", tlsfarm.Validity(-8*day, -7*day)),
			)},
			"cert_expired@0 cert_not_yet_valid@1 cert_expired@2",
		},
		"everything a CA can do wrong": {
			scene{presented: certs(
				root.Intermediate("Upper", pathLen(0), clientOnly, unknownExt, expired).Intermediate("Lower", notCA).
					Issue("leaf", elsewhere),
			)},
			"not_a_ca@1 path_length_exceeded@2 cert_expired@2 hostname_mismatch@0 wrong_key_usage@2 unhandled_critical_extension@2",
		},
		"usages and extensions": {
			scene{presented: certs(root.Intermediate("Intermediate", clientOnly).Issue("leaf", clientOnly, unknownExt))},
			"wrong_key_usage@0 wrong_key_usage@1 unhandled_critical_extension@0",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.roots = certs(root)
			v := tt.verify(t)
			assert.Equal(t, tt.want, told(v.Reasons))
			assert.Equal(t, v.Reasons[0], v.Primary())
		})
	}
}

func TestExpiredRootIsFoundWheneverItWasValid(t *testing.T) {
	// The begins and ends of the certificates below it are no help in finding these.
	for name, window := range map[string]tlsfarm.Edit{
		"within the leaf's time": tlsfarm.Validity(-20*day, -10*day),
		"before the leaf's time": tlsfarm.Validity(-year, -200*day),
		"after the leaf's time":  tlsfarm.Validity(200*day, year),
	} {
		t.Run(name, func(t *testing.T) {
			root := tlsfarm.NewAuthority("Root", window)
			leaf := root.Issue("leaf", tlsfarm.Validity(-100*day, 100*day))
			v := scene{presented: certs(leaf), roots: certs(root)}.verify(t)
			assert.True(t, v.Trusted)
			assert.Len(t, v.Reasons, 1)
			assertChain(t, certs(leaf, root), v.Chain)
		})
	}
}

func TestTheChainWhoseFirstExpiryIsLatestIsTheBest(t *testing.T) {
	key := withKey(ecKey())
	root := tlsfarm.NewAuthority("Root")
	soon := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, 10*day))
	late := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, year))
	later := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, 2*year))
	leaf := soon.Issue("leaf").Leaf // for 90 days, so that late and later are equal
	for _, order := range [][]*x509.Certificate{certs(soon, late), certs(late, soon)} {
		v := scene{presented: certs(leaf, order), roots: certs(root)}.verify(t)
		assert.True(t, v.Valid())
		assertChain(t, certs(leaf, late, root), v.Chain)

		// Where none is valid all the same.
		v = scene{presented: certs(leaf, order), roots: certs(root), name: "other.example"}.verify(t)
		assert.Equal(t, "hostname_mismatch@0", told(v.Reasons))
		assertChain(t, certs(leaf, late, root), v.Chain)
	}
	v := scene{presented: certs(leaf, later, soon), roots: certs(root)}.verify(t)
	assertChain(t, certs(leaf, later, root), v.Chain)
}

// The one at fault would otherwise be the better one, as it expires later.
func TestCertificateAtFaultBesideAGoodOne(t *testing.T) {
	for name, fault := range map[string]tlsfarm.Edit{
		"not yet valid":      tlsfarm.Validity(day, year),
		"no CA":              notCA,
		"for clients":        clientOnly,
		"unknown extension":  unknownExt,
		"name constraints":   permits("example"),
		"certificate policy": explicitPolicy,
	} {
		t.Run(name, func(t *testing.T) {
			key := withKey(ecKey())
			root := tlsfarm.NewAuthority("Root")
			good := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, 10*day))
			bad := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, year), fault)
			leaf := good.Issue("leaf").Leaf
			s := scene{presented: certs(leaf, bad, good), roots: certs(root)}
			v := s.verify(t)
			assert.Empty(t, v.Reasons)
			assertChain(t, certs(leaf, good, root), v.Chain)

			s.name = "other.example"
			v = s.verify(t)
			assert.Equal(t, "hostname_mismatch@0", told(v.Reasons))
			assertChain(t, certs(leaf, good, root), v.Chain)
		})
	}
}

func TestFirstAndLastMomentAreValid(t *testing.T) {
	root := tlsfarm.NewAuthority("Root", tlsfarm.Validity(-year, year))
	leaf := root.Issue("leaf").Leaf
	for _, tt := range []struct {
		now  time.Time
		want string
	}{
		{leaf.NotBefore.Add(-1), "cert_not_yet_valid@0 hostname_mismatch@0"},
		{leaf.NotBefore, "hostname_mismatch@0"},
		{leaf.NotAfter, "hostname_mismatch@0"},
		{leaf.NotAfter.Add(1), "cert_expired@0 hostname_mismatch@0"},
	} {
		assert.Equal(t, tt.want, told(Verify(certs(leaf), root.Pool(), "other.example", tt.now).Reasons))
	}
}

// x509 gives up after 100 signatures, so that a chain in which there is nothing wrong is refused all the same.
func TestRefusalThatNothingAccountsForIsNotLost(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	roots := certs(root)
	for range 100 {
		roots = append(roots, tlsfarm.NewAuthority("Intermediate").Certificate)
	}
	v := scene{presented: certs(root.Intermediate("Intermediate").Issue("leaf")), roots: roots}.verify(t)
	assert.Equal(t, "malformed_certificate@0", told(v.Reasons))
	assert.ErrorContains(t, v.Primary().Err, "limit reached")
}

// As in September 2021, when DST Root CA X3 expired and ISRG Root X1 was cross-signed by it.
func TestExpiredCrossSignedRootBesideAGoodChain(t *testing.T) {
	key := withKey(ecKey())
	dst := tlsfarm.NewAuthority("DST Root CA X3", expired)
	cross := dst.Intermediate("ISRG Root X1", key)
	expiredCross := dst.Intermediate("ISRG Root X1", key, expired)
	isrg := tlsfarm.NewAuthority("ISRG Root X1", key)
	r3 := isrg.Intermediate("R3")

	for name, c := range map[string]*tlsfarm.Authority{"valid": cross, "expired": expiredCross} {
		t.Run(name, func(t *testing.T) {
			leaf := r3.Issue("leaf").Leaf
			s := scene{presented: certs(leaf, r3, c, dst), roots: certs(dst, isrg)}
			v := s.verify(t)
			assert.Empty(t, v.Reasons)
			assert.Empty(t, v.Warnings)
			assertChain(t, certs(leaf, r3, isrg), v.Chain)

			s.name = "other.example"
			v = s.verify(t)
			assert.Equal(t, "hostname_mismatch@0", told(v.Reasons), "nor does it beside another reason")
			assertChain(t, certs(leaf, r3, isrg), v.Chain)

			s.roots = certs(dst)
			assert.Contains(t, told(s.verify(t).Reasons), "cert_expired@3", "it does where it is the only way")
		})
	}
}

func TestAPathThatObeysConstraintsIsPreferred(t *testing.T) {
	key := withKey(ecKey())
	root := tlsfarm.NewAuthority("Root")
	narrow := root.Intermediate("Intermediate", key, permits("example"))
	old := root.Intermediate("Intermediate", key, expired)
	leaf := narrow.Issue("leaf").Leaf
	v := scene{presented: certs(leaf, narrow, old), roots: certs(root)}.verify(t)
	assert.Equal(t, "cert_expired@1", told(v.Reasons))
	assertChain(t, certs(leaf, old, root), v.Chain)
}

func TestWeakRSAKeyIsAWarning(t *testing.T) {
	weak := withKey(rsa1024())
	root, weakRoot := tlsfarm.NewAuthority("Root"), tlsfarm.NewAuthority("Root", weak)
	tests := map[string]struct {
		scene
		want string
	}{
		"leaf":                  {scene{presented: certs(root.Issue("leaf", weak)), roots: certs(root)}, "weak_key@0"},
		"intermediate":          {scene{presented: certs(root.Intermediate("I", weak).Issue("leaf")), roots: certs(root)}, "weak_key@1"},
		"root":                  {scene{presented: certs(weakRoot.Issue("leaf")), roots: certs(weakRoot)}, "weak_key@1"},
		"RSA of 2048 bits":      {scene{presented: certs(root.Issue("leaf", withKey(rsa2048()))), roots: certs(root)}, ""},
		"P-256, which is small": {scene{presented: certs(root.Issue("leaf")), roots: certs(root)}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := tt.verify(t)
			assert.True(t, v.Valid(), told(v.Reasons))
			assert.Equal(t, tt.want, told(v.Warnings))
		})
	}
	t.Run("beside reasons", func(t *testing.T) {
		v := scene{presented: certs(tlsfarm.SelfSigned("self", weak))}.verify(t)
		assert.Equal(t, "self_signed@0", told(v.Reasons))
		assert.Equal(t, "weak_key@0", told(v.Warnings))
	})
}

// Under 1024 bits Go checks no signature by the key. It does not look at the leaf's key here, but will in the handshake.
func TestRSAKeyUnder1024BitsIsRefusedAsThatOfACA(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	var leaf, tiny []*x509.Certificate
	var lone *x509.Certificate
	t.Run("make", func(t *testing.T) {
		t.Setenv("GODEBUG", "rsa1024min=0")
		key := withKey(rsaKey(768))
		leaf, tiny = certs(root.Issue("leaf", key)), certs(root.Intermediate("Tiny", key).Issue("leaf"))
		lone = tlsfarm.SelfSigned("self", key).Leaf
	})
	v := scene{presented: leaf, roots: certs(root)}.verify(t)
	assert.Empty(t, v.Reasons)
	assert.Equal(t, "weak_key@0", told(v.Warnings))

	v = scene{presented: tiny, roots: certs(root)}.verify(t)
	assert.Equal(t, "weak_key@1", told(v.Reasons))
	assert.ErrorContains(t, v.Primary().Err, "768-bit keys are insecure")
	assert.Empty(t, v.Warnings, "it would be told twice")

	v = scene{presented: tiny[:1], roots: tiny[1:]}.verify(t)
	assert.Equal(t, "untrusted_ca@0", told(v.Reasons), "a root that was not presented cannot be at fault")
	assert.False(t, v.Primary().Namesake)

	v = scene{presented: certs(lone), roots: certs(root)}.verify(t)
	assert.Equal(t, "self_signed@0", told(v.Reasons))
}

// The pool of the system is read once in a process, so it must have the same root however often this test runs.
var systemRoot = sync.OnceValue(func() *tlsfarm.Authority { return tlsfarm.NewAuthority("System root") })

func TestNilRootsAreThoseOfTheSystem(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SSL_CERT_FILE is not read on this system")
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(file, systemRoot().PEM(), 0o600))
	t.Setenv("SSL_CERT_FILE", file)
	good, strange := systemRoot().Issue("leaf", expired), tlsfarm.NewAuthority("Stranger").Issue("leaf")
	assert.Equal(t, "cert_expired@0", told(Verify(certs(good), nil, "localhost", time.Now()).Reasons))
	assert.Equal(t, "untrusted_ca@0", told(Verify(certs(strange), nil, "localhost", time.Now()).Reasons))
}

func TestVerifyLeavesWhatItWasGiven(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	given := certs(root.Intermediate("I", expired, notCA, clientOnly, unknownExt, permits("example")).Issue("leaf", expired))
	before := make([]x509.Certificate, len(given))
	for i, c := range given {
		before[i] = *c
	}
	order := slices.Clone(given)
	require.NotEmpty(t, scene{presented: given, roots: certs(root)}.verify(t).Reasons)
	for i, c := range given {
		assert.True(t, c == order[i] && assert.ObjectsAreEqual(before[i], *c), "certificate %d was changed", i)
	}
}

// A server can send 256 KiB of certificates. To judge them must not keep the prober for long.
func TestHostileChainsTakeLittleTime(t *testing.T) {
	keys := make([]tlsfarm.Edit, 750)
	for i := range keys {
		keys[i] = withKey(edKey())
	}
	namesake := func(i int) *tlsfarm.Authority {
		return tlsfarm.NewAuthority([]string{"A", "B"}[i%2], keys[i%len(keys)])
	}

	var many []*x509.Certificate // of one name and different keys, none of which signed the leaf
	for i := range keys {
		many = append(many, namesake(2*i).Certificate)
	}
	// A chain without end: each is signed by the one after it, which is tried last.
	long := certs(namesake(0).Issue("leaf").Leaf)
	for i := len(keys) - 2; i >= 0; i-- {
		long = append(long, namesake(i+1).Intermediate([]string{"A", "B"}[i%2], keys[i]).Certificate)
	}
	root := tlsfarm.NewAuthority("B") // of a name in the chain, so that it is tried too
	for name, presented := range map[string][]*x509.Certificate{
		"many of one name": certs(tlsfarm.NewAuthority("A", withKey(edKey())).Issue("leaf"), many),
		"long":             long,
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			v := scene{presented: presented, roots: certs(root)}.verify(t)
			assert.Less(t, time.Since(start), 3*time.Second)
			assert.False(t, v.Valid())
		})
	}
}

func TestOddLeafs(t *testing.T) {
	caKey := ecKey()
	root := tlsfarm.NewAuthority("Root", withKey(caKey))
	ed, rs := root.Issue("leaf", withKey(edKey())).Leaf, root.Issue("leaf", withKey(rsa2048())).Leaf
	odd := map[string]struct {
		leaf *x509.Certificate
		want string
	}{
		"Ed448 key":   {resign(ed, caKey, crypto.SHA256, idEd25519, idEd448), ""},
		"X25519 key":  {resign(ed, caKey, crypto.SHA256, idEd25519, idX25519), ""},
		"RSA-PSS key": {resign(rs, caKey, crypto.SHA256, rsaEncryption, rsassaPSS), ""},
		"version 1":   {version1(ed, caKey), "hostname_mismatch@0"},
		"empty subject": {root.Issue("", edit(func(c *x509.Certificate) {
			c.Subject, c.ExtKeyUsage, c.KeyUsage = pkix.Name{}, nil, 0
		})).Leaf, ""},
	}
	for name, tt := range odd {
		t.Run(name, func(t *testing.T) {
			v := scene{presented: certs(tt.leaf), roots: certs(root)}.verify(t)
			assert.Equal(t, tt.want, told(v.Reasons))
			v = scene{presented: certs(tt.leaf, tt.leaf)}.verify(t)
			assert.Equal(t, strings.TrimSpace("untrusted_ca@0 "+tt.want), told(v.Reasons))

			if strings.Contains(name, "key") {
				assert.Zero(t, KeySize(tt.leaf))
			}
			assert.Zero(t, SCTs(tt.leaf))
			assert.NotPanics(t, func() { SubjectName(tt.leaf); IssuerName(tt.leaf); Names(tt.leaf) })
		})
	}
	require.Nil(t, odd["Ed448 key"].leaf.PublicKey)
	require.Nil(t, odd["RSA-PSS key"].leaf.PublicKey)

	t.Run("RSA-PSS signature", func(t *testing.T) {
		pss := tlsfarm.NewAuthority("Root", withKey(rsa2048()), signedWith(x509.SHA256WithRSAPSS))
		leaf := pss.Issue("leaf", signedWith(x509.SHA384WithRSAPSS))
		assert.True(t, scene{presented: certs(leaf), roots: certs(pss)}.verify(t).Valid())
	})
}

func TestKeySize(t *testing.T) {
	for bits, key := range map[int]crypto.Signer{1024: rsa1024(), 2048: rsa2048(), 256: edKey()} {
		assert.Equal(t, bits, KeySize(tlsfarm.SelfSigned("c", withKey(key)).Leaf))
	}
	for bits, curve := range map[int]elliptic.Curve{224: elliptic.P224(), 256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		assert.Equal(t, bits, KeySize(tlsfarm.SelfSigned("c", withKey(key)).Leaf))
	}
	assert.Zero(t, KeySize(&x509.Certificate{}))
}

func FuzzCertificate(f *testing.F) {
	caKey := ecKey()
	root := tlsfarm.NewAuthority("Root", withKey(caKey))
	f.Add(root.Issue("leaf").Leaf.Raw)
	f.Add(tlsfarm.SelfSigned("self", withKey(rsa1024()), expired).Leaf.Raw)
	f.Add(resign(root.Issue("leaf", withKey(edKey())).Leaf, caKey, crypto.SHA256, idEd25519, idEd448).Raw)
	f.Add(root.Intermediate("CA", permits("example"), unknownExt, pathLen(0)).Certificate.Raw)
	f.Add(bytes.Join([][]byte{root.Intermediate("CA").Issue("leaf").Leaf.Raw, root.Certificate.Raw}, nil))
	f.Fuzz(func(t *testing.T, der []byte) {
		presented, err := x509.ParseCertificates(der)
		if err != nil || len(presented) == 0 {
			return
		}
		scene{presented: presented, roots: certs(root)}.verify(t)
		for _, c := range presented {
			SCTs(c)
			KeySize(c)
			Names(c)
			assertClean(t, text.Clean(SubjectName(c), 64), 64)
			assertClean(t, text.Clean(IssuerName(c), 64), 64)
		}
	})
}
