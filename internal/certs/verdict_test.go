package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
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

// scene is the input of Verify.
type scene struct {
	presented []*x509.Certificate
	roots     []*x509.Certificate
	name      string // empty means localhost
}

func (s scene) verify(t testing.TB) *Verdict {
	t.Helper()
	if s.name == "" {
		s.name = "localhost"
	}
	v := Verify(s.presented, newRoots(s.roots), s.name, time.Now())
	assertSound(t, v, s.roots)
	return v
}

// assertSound asserts what is true of every verdict.
func assertSound(t testing.TB, v *Verdict, roots []*x509.Certificate) {
	t.Helper()
	require.NotEmpty(t, v.Chain)
	last := v.Chain[len(v.Chain)-1]
	assert.True(t, !v.Trusted || slices.ContainsFunc(roots, last.Equal), "the chain ends in %s, which is not a trusted root", last.Subject)
	assert.True(t, v.Trusted || !v.Valid(), "the verdict is valid, but the chain not trusted")
	for _, r := range slices.Concat(v.Reasons, v.Warnings) {
		require.Less(t, r.Depth, len(v.Chain))
		assert.True(t, v.Chain[r.Depth] == r.Cert, "%s at depth %d has the certificate of %s", r.Fault, r.Depth, r.Cert.Subject)
	}
	inOrder := v.Reasons
	if len(inOrder) > 0 && errors.As(inOrder[0].Err, new(*WrongOrder)) {
		inOrder = inOrder[1:]
	}
	assert.True(t, slices.IsSortedFunc(inOrder, func(a, b Reason) int { return urgency[a.Fault] - urgency[b.Fault] }), "the reasons are in the wrong order: %s", summary(v.Reasons))
}

// urgency is the order of reasons: trust, dates, name, others. Malformed can mean any of them.
var urgency = map[Fault]int{Expired: 1, NotYetValid: 1, NameMismatch: 2, NameConstraintViolation: 3, WrongKeyUsage: 3, UnhandledCriticalExtension: 3}

// summary returns the reasons as fault@depth.
func summary(reasons []Reason) string {
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

func TestValidChain(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	other := tlsfarm.NewAuthority("Other root")
	upper := root.Intermediate("Upper")
	lower := upper.Intermediate("Lower")
	byRoot, byLower := root.Issue("leaf"), lower.Issue("leaf")
	self := tlsfarm.SelfSigned("self")
	oldKey := ecKey()
	old := tlsfarm.NewAuthority("Old root", tlsfarm.Key(oldKey))
	old1 := version1(old.Certificate, oldKey)

	wild := root.Issue("leaf", tlsfarm.Names("*.example"))
	usable := root.Intermediate("Intermediate", usages(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageOCSPSigning)).
		Issue("leaf", usages(x509.ExtKeyUsageAny))
	lookalike := root.Issue("leaf", edit(func(c *x509.Certificate) { c.SubjectKeyId = root.Certificate.SubjectKeyId }))

	tests := map[string]struct {
		scene
		chain []*x509.Certificate
	}{
		"issued by the root":                         {scene{presented: certs(byRoot), roots: certs(root)}, certs(byRoot, root)},
		"issued by an intermediate":                  {scene{presented: certs(byLower), roots: certs(root)}, certs(byLower, root)},
		"root presented too":                         {scene{presented: certs(byLower, root), roots: certs(root)}, certs(byLower, root)},
		"among other roots":                          {scene{presented: certs(byLower), roots: certs(other, root)}, certs(byLower, root)},
		"wrong order":                                {scene{presented: certs(byLower.Leaf, root, upper, lower), roots: certs(root)}, certs(byLower, root)},
		"superfluous certificates":                   {scene{presented: certs(byLower.Leaf, other, byRoot, lower, self, upper), roots: certs(root)}, certs(byLower, root)},
		"everything twice":                           {scene{presented: certs(byLower, byLower), roots: certs(root)}, certs(byLower, root)},
		"trusted intermediate":                       {scene{presented: certs(byLower), roots: certs(upper)}, certs(byLower.Leaf, lower, upper)},
		"trusted leaf":                               {scene{presented: certs(self), roots: certs(self)}, certs(self)},
		"address":                                    {scene{presented: certs(byLower), roots: certs(root), name: "127.0.0.1"}, certs(byLower, root)},
		"IPv6 address":                               {scene{presented: certs(byLower), roots: certs(root), name: "0:0:0:0:0:0:0:1"}, certs(byLower, root)},
		"wildcard, name with a final dot":            {scene{presented: certs(wild), roots: certs(root), name: "A.example."}, certs(wild, root)},
		"extended key usages that allow a server":    {scene{presented: certs(usable), roots: certs(root)}, certs(usable, root)},
		"leaf with the key identifier of its issuer": {scene{presented: certs(lookalike), roots: certs(root)}, certs(lookalike, root)},
		"root of version 1":                          {scene{presented: certs(old.Issue("leaf")), roots: certs(old1)}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := tt.verify(t)
			assert.True(t, v.Valid(), summary(v.Reasons))
			assert.True(t, v.Trusted)
			assert.Empty(t, v.Warnings)
			if tt.chain == nil {
				tt.chain = certs(tt.presented, tt.roots)
			}
			assertChain(t, tt.chain, v.Chain)
		})
	}
}

func TestVerifyWithoutName(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	assert.True(t, Verify(certs(root.Issue("leaf")), newRoots(certs(root)), "", time.Now()).Valid())
	assert.Equal(t, "cert_expired@0", summary(Verify(certs(root.Issue("leaf", expired)), newRoots(certs(root)), "", time.Now()).Reasons))
}

func TestFaultOfATrustedChain(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	under := func(edits ...tlsfarm.Edit) tls.Certificate { // a leaf of an edited intermediate
		return root.Intermediate("Intermediate", edits...).Issue("leaf")
	}
	underRoot := func(edits ...tlsfarm.Edit) scene { // a leaf of an intermediate of an edited root
		r := tlsfarm.NewAuthority("Root", edits...)
		return scene{presented: certs(r.Intermediate("Intermediate").Issue("leaf")), roots: certs(r)}
	}
	presentingRoot := func(s scene) scene {
		s.presented = certs(s.presented, s.roots)
		return s
	}
	oldKey, interKey := ecKey(), ecKey()
	signer := tlsfarm.NewAuthority("Signer", tlsfarm.Key(oldKey))
	inter := signer.Intermediate("Intermediate", tlsfarm.Key(interKey))
	expiredSelf := tlsfarm.SelfSigned("self", expired)

	tests := map[string]struct {
		scene
		want string
	}{
		"leaf expired":                   {scene{presented: certs(root.Issue("leaf", expired))}, "cert_expired@0"},
		"trusted leaf expired":           {scene{presented: certs(expiredSelf), roots: certs(expiredSelf)}, "cert_expired@0"},
		"intermediate expired":           {scene{presented: certs(under(expired))}, "cert_expired@1"},
		"root expired":                   {underRoot(expired), "cert_expired@2"},
		"root expired, presented":        {presentingRoot(underRoot(expired)), "cert_expired@2"},
		"leaf not yet valid":             {scene{presented: certs(root.Issue("leaf", notYetValid))}, "cert_not_yet_valid@0"},
		"intermediate not yet valid":     {scene{presented: certs(under(notYetValid))}, "cert_not_yet_valid@1"},
		"root not yet valid":             {underRoot(notYetValid), "cert_not_yet_valid@2"},
		"another DNS name":               {scene{presented: certs(root.Issue("leaf")), name: "other.example"}, "hostname_mismatch@0"},
		"another address":                {scene{presented: certs(root.Issue("leaf")), name: "192.0.2.1"}, "hostname_mismatch@0"},
		"only the common name":           {scene{presented: certs(root.Issue("a.example", tlsfarm.Names())), name: "a.example"}, "hostname_mismatch@0"},
		"two labels for a wildcard":      {scene{presented: certs(root.Issue("leaf", tlsfarm.Names("*.example"))), name: "a.b.example"}, "hostname_mismatch@0"},
		"the domain of a wildcard":       {scene{presented: certs(root.Issue("leaf", tlsfarm.Names("*.a.example"))), name: "a.example"}, "hostname_mismatch@0"},
		"an address as a DNS name":       {scene{presented: certs(root.Issue("leaf", tlsfarm.Names("192.0.2.1"))), name: "192.0.2.1"}, "hostname_mismatch@0"},
		"intermediate that is not a CA":  {scene{presented: certs(under(notCA))}, "not_a_ca@1"},
		"intermediate that may not sign": {scene{presented: certs(under(edit(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })))}, "not_a_ca@1"},
		"intermediate of version 1": {scene{
			presented: certs(inter.Issue("leaf").Leaf, version1(inter.Certificate, oldKey)), roots: certs(signer),
		}, "not_a_ca@1"},
		"root that is not a CA, presented": {presentingRoot(underRoot(notCA)), "not_a_ca@2"},
		"path length of an intermediate":   {scene{presented: certs(root.Intermediate("Upper", pathLen(0)).Intermediate("Lower").Issue("leaf"))}, "path_length_exceeded@2"},
		"path length of the root":          {underRoot(pathLen(0)), "path_length_exceeded@2"},
		"leaf expired, its CA without a key usage": {scene{
			presented: certs(root.Intermediate("Intermediate", edit(func(c *x509.Certificate) { c.KeyUsage = 0 })).Issue("leaf", expired)),
		}, "cert_expired@0"},
		"leaf expired under a root of version 1": {scene{
			presented: certs(signer.Issue("leaf", expired)), roots: certs(version1(signer.Certificate, oldKey)),
		}, "cert_expired@0"},
		"leaf for clients":                                  {scene{presented: certs(root.Issue("leaf", clientOnly))}, "wrong_key_usage@0"},
		"intermediate for clients":                          {scene{presented: certs(under(clientOnly))}, "wrong_key_usage@1"},
		"root for clients":                                  {underRoot(clientOnly), "wrong_key_usage@2"},
		"leaf with an unknown usage":                        {scene{presented: certs(root.Issue("leaf", usages(), edit(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} })))}, "wrong_key_usage@0"},
		"leaf for clients, CA for any":                      {scene{presented: certs(root.Intermediate("Intermediate", usages(x509.ExtKeyUsageAny)).Issue("leaf", clientOnly))}, "wrong_key_usage@0"},
		"name that an intermediate does not permit":         {scene{presented: certs(under(permits("example")))}, "name_constraint_violation@0"},
		"name that the root does not permit":                {underRoot(permits("example")), "name_constraint_violation@0"},
		"unknown critical extension":                        {scene{presented: certs(root.Issue("leaf", unknownExt))}, "unhandled_critical_extension@0"},
		"unknown critical extension of an intermediate":     {scene{presented: certs(under(unknownExt))}, "unhandled_critical_extension@1"},
		"unknown critical extension of the root, presented": {presentingRoot(underRoot(unknownExt)), "unhandled_critical_extension@2"},
		"policy that the leaf lacks":                        {scene{presented: certs(under(explicitPolicy))}, "malformed_certificate@0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.roots == nil {
				tt.roots = certs(root)
			}
			v := tt.verify(t)
			assert.Equal(t, tt.want, summary(v.Reasons))
			assert.True(t, v.Trusted)
			want := tt.presented
			if !want[len(want)-1].Equal(tt.roots[0]) {
				want = certs(want, tt.roots)
			}
			assertChain(t, want, v.Chain)
		})
	}
}

func TestFaultOfAnUntrustedChain(t *testing.T) {
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(tlsfarm.RSAKey(2048)))
	stranger := tlsfarm.NewAuthority("Stranger")
	inter := root.Intermediate("Intermediate")
	strange := stranger.Intermediate("Strange intermediate")
	self, edSelf := tlsfarm.SelfSigned("self"), tlsfarm.SelfSigned("self", tlsfarm.Key(edKey()))
	rsaSelf := tlsfarm.SelfSigned("self", tlsfarm.Key(tlsfarm.RSAKey(2048))).Leaf
	renewed := tlsfarm.NewAuthority("Intermediate") // of the same name as inter, with another key
	byInter := inter.Issue("leaf")
	sha1, sha1RSA := signedWith(x509.ECDSAWithSHA1), signedWith(x509.SHA1WithRSA)
	md5Leaf := resign(root.Issue("leaf").Leaf, tlsfarm.RSAKey(2048), crypto.MD5, sha256WithRSA, md5WithRSA)
	edCAKey := edKey()
	edCA := root.Intermediate("Intermediate", tlsfarm.Key(edCAKey))
	ed448Leaf := resign(edCA.Issue("leaf").Leaf, edCAKey, 0, idEd25519, idEd448)
	ed448CA := resign(edCA.Certificate, tlsfarm.RSAKey(2048), crypto.SHA256, idEd25519, idEd448)

	tests := map[string]struct {
		scene
		want  string
		chain int // length of the chain if it consists of the first presented certificates; else 0
	}{
		"lone self-signed leaf":                        {scene{presented: certs(self)}, "self_signed@0", 1},
		"self-signed leaf before other certificates":   {scene{presented: certs(self, inter, root)}, "self_signed@0", 1},
		"self-signed leaf that is a CA":                {scene{presented: certs(tlsfarm.SelfSigned("self", edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })))}, "self_signed@0", 1},
		"self-signed, key identifier of a CA":          {scene{presented: certs(tlsfarm.SelfSigned("self", edit(func(c *x509.Certificate) { c.AuthorityKeyId = root.Certificate.SubjectKeyId })))}, "self_signed@0", 1},
		"self-signed with SHA-1":                       {scene{presented: certs(tlsfarm.SelfSigned("self", sha1))}, "self_signed@0", 1},
		"self-signed with MD5":                         {scene{presented: certs(resign(rsaSelf, tlsfarm.RSAKey(2048), crypto.MD5, sha256WithRSA, md5WithRSA))}, "self_signed@0", 1},
		"self-signed with Ed448":                       {scene{presented: certs(resign(edSelf.Leaf, edSelf.PrivateKey.(crypto.Signer), 0, idEd25519, idEd448))}, "self_signed@0", 1},
		"self-issued, signed by another key":           {scene{presented: certs(withBadSignature(self.Leaf))}, "untrusted_ca@0", 1},
		"unknown root presented":                       {scene{presented: certs(strange.Issue("leaf"), stranger)}, "untrusted_ca@2", 3},
		"unknown root not presented":                   {scene{presented: certs(strange.Issue("leaf"))}, "untrusted_ca@1", 2},
		"unknown root, leaf alone":                     {scene{presented: certs(stranger.Issue("leaf"))}, "untrusted_ca@0", 1},
		"unknown root, superfluous certificates":       {scene{presented: certs(strange.Issue("leaf"), root, inter)}, "untrusted_ca@1", 2},
		"unknown root, leaf names CA Issuers":          {scene{presented: certs(strange.Issue("leaf", caIssuers), stranger)}, "untrusted_ca@2", 3},
		"intermediate not sent":                        {scene{presented: certs(inter.Issue("leaf", caIssuers).Leaf)}, "incomplete_chain@0", 1},
		"another intermediate sent":                    {scene{presented: certs(inter.Issue("leaf", caIssuers).Leaf, strange)}, "incomplete_chain@0", 1},
		"upper intermediate not sent":                  {scene{presented: certs(inter.Intermediate("Lower").Issue("leaf", caIssuers))[:2]}, "untrusted_ca@1", 2},
		"leaf's signature bad":                         {scene{presented: certs(withBadSignature(byInter.Leaf), inter)}, "bad_signature@0", 2},
		"leaf signed with the CA's old key":            {scene{presented: certs(byInter.Leaf, renewed), roots: certs(root, renewed)}, "untrusted_ca@0", 1},
		"intermediate's signature bad":                 {scene{presented: certs(byInter.Leaf, withBadSignature(inter.Certificate), root)}, "bad_signature@1", 3},
		"leaf signed with SHA-1":                       {scene{presented: certs(inter.Issue("leaf", sha1))}, "weak_signature@0", 2},
		"leaf signed with SHA-1, alone":                {scene{presented: certs(root.Issue("leaf", sha1RSA))}, "weak_signature@0", 1},
		"leaf signed with SHA-1, two possible issuers": {scene{presented: certs(inter.Issue("leaf", sha1).Leaf, renewed, inter)}, "weak_signature@0", 0},
		"leaf signed with SHA-1 under two CAs":         {scene{presented: certs(inter.Intermediate("Lower").Issue("leaf", sha1))}, "weak_signature@0", 3},
		"leaf signed with MD5":                         {scene{presented: certs(md5Leaf)}, "weak_signature@0", 1},
		"intermediate signed with SHA-1":               {scene{presented: certs(root.Intermediate("Intermediate", sha1RSA).Issue("leaf"))}, "weak_signature@1", 2},
		"leaf signed with Ed448":                       {scene{presented: certs(ed448Leaf, edCA)}, "malformed_certificate@0", 2},
		"leaf signed with Ed448, alone":                {scene{presented: certs(ed448Leaf)}, "malformed_certificate@0", 1},
		"intermediate with an Ed448 key":               {scene{presented: certs(ed448Leaf, ed448CA)}, "malformed_certificate@0", 2},
		"weak signature under an unknown root":         {scene{presented: certs(strange.Issue("leaf", sha1), stranger)}, "untrusted_ca@2 weak_signature@0", 3},
		"bad signature under an unknown root":          {scene{presented: certs(withBadSignature(strange.Issue("leaf").Leaf), strange)}, "bad_signature@0 untrusted_ca@1", 2},
		"not a CA under an unknown root":               {scene{presented: certs(stranger.Intermediate("Intermediate", notCA).Issue("leaf"))}, "untrusted_ca@1 not_a_ca@1", 2},
		"leaf for clients under an unknown root":       {scene{presented: certs(stranger.Issue("leaf", clientOnly))}, "untrusted_ca@0 wrong_key_usage@0", 1},
		"two CAs that signed each other":               {scene{presented: mutual()}, "untrusted_ca@2", 3},
		"unknown root in the wrong order":              {scene{presented: certs(strange.Issue("leaf").Leaf, stranger, root, strange)}, "untrusted_ca@2", 0},
		"name of a trusted root, another key":          {scene{presented: certs(tlsfarm.NewAuthority("Root").Issue("leaf"))}, "untrusted_ca@0", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.roots == nil {
				tt.roots = certs(root)
			}
			v := tt.verify(t)
			assert.Equal(t, tt.want, summary(v.Reasons))
			assert.False(t, v.Trusted)
			if want := tt.presented[:tt.chain]; tt.chain > 0 {
				if v.Rooted && !slices.ContainsFunc(want, root.Certificate.Equal) {
					want = certs(want, root)
				}
				assertChain(t, want, v.Chain)
			}
			for _, r := range v.Reasons {
				if r.Fault == UntrustedCA {
					assert.ErrorAs(t, r.Err, new(x509.UnknownAuthorityError))
				} else if r.Fault == Malformed {
					assert.ErrorIs(t, r.Err, x509.ErrUnsupportedAlgorithm)
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
		want  bool
		fault Fault
	}{
		"CA with a new key":           {scene{presented: certs(other.Issue("leaf")), roots: certs(root)}, true, UntrustedCA},
		"under intermediates":         {scene{presented: certs(other.Intermediate("Intermediate").Issue("leaf")), roots: certs(root)}, true, UntrustedCA},
		"altered signature":           {scene{presented: certs(withBadSignature(root.Issue("leaf").Leaf)), roots: certs(root)}, false, BadSignature},
		"another name":                {scene{presented: certs(tlsfarm.NewAuthority("Other").Issue("leaf")), roots: certs(root)}, false, UntrustedCA},
		"not a CA, but the right key": {scene{presented: certs(noCA.Issue("leaf")), roots: certs(noCA)}, false, NotCA},
	} {
		t.Run(name, func(t *testing.T) {
			v := tt.verify(t)
			assert.Equal(t, tt.fault, v.Primary().Fault)
			assert.Equal(t, tt.want, v.Primary().TrustedNamesake)

			// Of the system's roots, less is known.
			hidden := Verify(tt.presented, RootsIn(newPool(tt.roots)), "localhost", time.Now()).Primary()
			assert.Equal(t, UntrustedCA, hidden.Fault)
			assert.Equal(t, tt.fault == UntrustedCA && tt.want || tt.fault == BadSignature, hidden.TrustedNamesake)
		})
	}
}

// mutual returns a leaf and two CAs that signed each other.
func mutual() []*x509.Certificate {
	keyA, keyB := tlsfarm.Key(ecKey()), tlsfarm.Key(ecKey())
	a := tlsfarm.NewAuthority("B", keyB).Intermediate("A", keyA)
	return certs(a.Issue("leaf").Leaf, a, tlsfarm.NewAuthority("A", keyA).Intermediate("B", keyB))
}

func TestSeveralReasons(t *testing.T) {
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
		"another name, which the CA does not permit": {
			scene{presented: certs(root.Intermediate("Intermediate", permits("example.org")).Issue("leaf", expired, elsewhere))},
			"cert_expired@0 hostname_mismatch@0 name_constraint_violation@0",
		},
		"never valid as a whole": {
			scene{presented: certs(
				root.Intermediate("Upper", tlsfarm.Validity(-year, -9*day)).Intermediate("Lower", notYetValid).
					Issue("leaf", tlsfarm.Validity(-8*day, -7*day)),
			)},
			"cert_expired@0 cert_not_yet_valid@1 cert_expired@2",
		},
		"all faults of a CA": {
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
			assert.Equal(t, tt.want, summary(v.Reasons))
			assert.Equal(t, v.Reasons[0], v.Primary())
		})
	}
}

// The expired root must be found even if it was never valid at the first or last moment of its leaf.
func TestExpiredRootIsFound(t *testing.T) {
	for name, window := range map[string]tlsfarm.Edit{
		"expired during the leaf's validity":   tlsfarm.Validity(-20*day, -10*day),
		"expired before the leaf's validity":   tlsfarm.Validity(-year, -200*day),
		"valid only after the leaf's validity": tlsfarm.Validity(200*day, year),
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

func TestChainThatExpiresLastIsBest(t *testing.T) {
	key := tlsfarm.Key(ecKey())
	root := tlsfarm.NewAuthority("Root")
	soon := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, 10*day))
	late := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, year))
	later := root.Intermediate("Intermediate", key, tlsfarm.Validity(-day, 2*year))
	leaf := soon.Issue("leaf").Leaf // valid for 90 days, so that late and later are equally good
	for _, order := range [][]*x509.Certificate{certs(soon, late), certs(late, soon)} {
		v := scene{presented: certs(leaf, order), roots: certs(root)}.verify(t)
		assert.True(t, v.Valid())
		assertChain(t, certs(leaf, late, root), v.Chain)

		// The same is true if none is valid.
		v = scene{presented: certs(leaf, order), roots: certs(root), name: "other.example"}.verify(t)
		assert.Equal(t, "hostname_mismatch@0", summary(v.Reasons))
		assertChain(t, certs(leaf, late, root), v.Chain)
	}
	v := scene{presented: certs(leaf, later, soon), roots: certs(root)}.verify(t)
	assertChain(t, certs(leaf, later, root), v.Chain)
}

// The certificate with the fault expires later, so without the fault it would be the better one.
func TestChainWithFewestFaultsIsBest(t *testing.T) {
	for name, fault := range map[string]tlsfarm.Edit{
		"not yet valid":      tlsfarm.Validity(day, year),
		"no CA":              notCA,
		"for clients":        clientOnly,
		"unknown extension":  unknownExt,
		"name constraints":   permits("example"),
		"certificate policy": explicitPolicy,
	} {
		t.Run(name, func(t *testing.T) {
			key := tlsfarm.Key(ecKey())
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
			assert.Equal(t, "hostname_mismatch@0", summary(v.Reasons))
			assertChain(t, certs(leaf, good, root), v.Chain)
		})
	}
}

func TestValidityIsInclusive(t *testing.T) {
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
		assert.Equal(t, tt.want, summary(Verify(certs(leaf), newRoots(certs(root)), "other.example", tt.now).Reasons))
	}
}

// crypto/x509 stops after checking 100 signatures, and so rejects a chain without faults.
func TestUnexplainedErrorIsMalformed(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	roots := certs(root)
	for range 100 {
		roots = append(roots, tlsfarm.NewAuthority("Intermediate").Certificate)
	}
	v := scene{presented: certs(root.Intermediate("Intermediate").Issue("leaf")), roots: roots}.verify(t)
	assert.Equal(t, "malformed_certificate@0", summary(v.Reasons))
	assert.ErrorContains(t, v.Primary().Err, "limit reached")
}

// In September 2021 DST Root CA X3 expired, which had cross-signed ISRG Root X1.
func TestExpiredCrossSigningRoot(t *testing.T) {
	key := tlsfarm.Key(ecKey())
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
			assert.Equal(t, "hostname_mismatch@0", summary(v.Reasons), "the expired root must not be a reason next to others")
			assertChain(t, certs(leaf, r3, isrg), v.Chain)

			s.roots = certs(dst)
			assert.Contains(t, summary(s.verify(t).Reasons), "cert_expired@3", "it is a reason if no other path exists")
		})
	}
}

func TestPathThatObeysConstraintsIsPreferred(t *testing.T) {
	key := tlsfarm.Key(ecKey())
	root := tlsfarm.NewAuthority("Root")
	narrow := root.Intermediate("Intermediate", key, permits("example"))
	old := root.Intermediate("Intermediate", key, expired)
	leaf := narrow.Issue("leaf").Leaf
	v := scene{presented: certs(leaf, narrow, old), roots: certs(root)}.verify(t)
	assert.Equal(t, "cert_expired@1", summary(v.Reasons))
	assertChain(t, certs(leaf, old, root), v.Chain)
}

func TestWeakRSAKeyIsAWarning(t *testing.T) {
	weak := tlsfarm.Key(tlsfarm.RSAKey(1024))
	root, weakRoot := tlsfarm.NewAuthority("Root"), tlsfarm.NewAuthority("Root", weak)
	tests := map[string]struct {
		scene
		want string
	}{
		"leaf":             {scene{presented: certs(root.Issue("leaf", weak)), roots: certs(root)}, "weak_key@0"},
		"intermediate":     {scene{presented: certs(root.Intermediate("I", weak).Issue("leaf")), roots: certs(root)}, "weak_key@1"},
		"root":             {scene{presented: certs(weakRoot.Issue("leaf")), roots: certs(weakRoot)}, "weak_key@1"},
		"RSA of 2048 bits": {scene{presented: certs(root.Issue("leaf", tlsfarm.Key(tlsfarm.RSAKey(2048)))), roots: certs(root)}, ""},
		"P-256":            {scene{presented: certs(root.Issue("leaf")), roots: certs(root)}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := tt.verify(t)
			assert.True(t, v.Valid(), summary(v.Reasons))
			assert.Equal(t, tt.want, summary(v.Warnings))
		})
	}
	t.Run("with a reason", func(t *testing.T) {
		v := scene{presented: certs(tlsfarm.SelfSigned("self", weak))}.verify(t)
		assert.Equal(t, "self_signed@0", summary(v.Reasons))
		assert.Equal(t, "weak_key@0", summary(v.Warnings))
	})
}

// Go checks no signature with an RSA key under 1024 bits. It rejects such a key of a leaf only in the handshake.
func TestRSAKeyUnder1024Bits(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	var leaf, tiny []*x509.Certificate
	var lone *x509.Certificate
	t.Run("make", func(t *testing.T) {
		t.Setenv("GODEBUG", "rsa1024min=0")
		key := tlsfarm.Key(tlsfarm.RSAKey(768))
		leaf, tiny = certs(root.Issue("leaf", key)), certs(root.Intermediate("Tiny", key).Issue("leaf"))
		lone = tlsfarm.SelfSigned("self", key).Leaf
	})
	v := scene{presented: leaf, roots: certs(root)}.verify(t)
	assert.Equal(t, "weak_key@0", summary(v.Reasons))
	assert.Empty(t, v.Warnings)

	v = scene{presented: tiny, roots: certs(root)}.verify(t)
	assert.Equal(t, "weak_key@1", summary(v.Reasons))
	assert.ErrorContains(t, v.Primary().Err, "768-bit keys are insecure")
	assert.Empty(t, v.Warnings, "the key is a reason already")

	v = scene{presented: tiny[:1], roots: tiny[1:]}.verify(t)
	assert.Equal(t, "weak_key@1", summary(v.Reasons))
	assert.True(t, v.Rooted)
	assert.False(t, v.Trusted)

	v = scene{presented: certs(lone), roots: certs(root)}.verify(t)
	assert.Equal(t, "self_signed@0 weak_key@0", summary(v.Reasons))
}

// A process reads the system's roots only once, so repeated runs of the test must use the same root.
var systemRoot = sync.OnceValue(func() *tlsfarm.Authority { return tlsfarm.NewAuthority("System root") })

func TestNilRootsAreTheSystems(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SSL_CERT_FILE is not read on this system")
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(file, systemRoot().PEM(), 0o600))
	t.Setenv("SSL_CERT_FILE", file)
	good, strange := systemRoot().Issue("leaf", expired), tlsfarm.NewAuthority("Stranger").Issue("leaf")
	assert.Equal(t, "cert_expired@0", summary(Verify(certs(good), nil, "localhost", time.Now()).Reasons))
	assert.Equal(t, "untrusted_ca@0", summary(Verify(certs(strange), nil, "localhost", time.Now()).Reasons))
}

func TestVerifyDoesNotChangeItsArguments(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	given := certs(root.Intermediate("I", expired, notCA, clientOnly, unknownExt, permits("example")).Issue("leaf", expired))
	before := make([]x509.Certificate, len(given))
	for i, c := range given {
		before[i] = *c
	}
	order := slices.Clone(given)
	require.NotEmpty(t, scene{presented: given, roots: certs(root)}.verify(t).Reasons)
	for i, c := range given {
		assert.True(t, c == order[i] && assert.ObjectsAreEqual(before[i], *c), "certificate %d changed", i)
	}
}

// A server can send hundreds of certificates with the same name.
func TestHostileChains(t *testing.T) {
	t.Parallel()
	keys := make([]tlsfarm.Edit, 300)
	for i := range keys {
		keys[i] = tlsfarm.Key(edKey())
	}
	namesake := func(i int) *tlsfarm.Authority {
		return tlsfarm.NewAuthority([]string{"A", "B"}[i%2], keys[i%len(keys)])
	}

	var many []*x509.Certificate // with the same name but different keys, none of which signed the leaf
	for i := range keys {
		many = append(many, namesake(2*i).Certificate)
	}
	// Each certificate is signed by the next one, which is tried last.
	long := certs(namesake(0).Issue("leaf").Leaf)
	for i := len(keys) - 2; i >= 0; i-- {
		long = append(long, namesake(i+1).Intermediate([]string{"A", "B"}[i%2], keys[i]).Certificate)
	}
	// Few keys, so few signatures are checked, but each layer multiplies the number of paths.
	layers := certs()
	above := tlsfarm.NewAuthority("Unknown")
	for layer := range 10 {
		key := tlsfarm.Key(edKey())
		var same *tlsfarm.Authority
		for i := range 8 {
			same = above.Intermediate(fmt.Sprint("Layer ", layer), key, tlsfarm.Names(fmt.Sprint(i)), func(c *x509.Certificate) {
				c.IssuingCertificateURL = []string{"http://pki.example/"}
			})
			layers = append(layers, same.Certificate)
		}
		above = same
	}
	layers = append(certs(above.Issue("leaf").Leaf), layers...)
	root := tlsfarm.NewAuthority("B") // with a name in the chain, so that it is tried too
	for name, tt := range map[string]struct {
		presented []*x509.Certificate
		want      Fault
	}{
		"many namesakes": {certs(tlsfarm.NewAuthority("A", tlsfarm.Key(edKey())).Issue("leaf"), many), UntrustedCA},
		"long":           {long, Malformed},
		"many paths":     {layers, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			v := scene{presented: tt.presented, roots: certs(root)}.verify(t)
			assert.Less(t, len(v.Chain), 12, "the search must stop")
			assert.Equal(t, tt.want, v.Primary().Fault)
			if tt.want == Malformed {
				assert.ErrorIs(t, v.Primary().Err, ErrTooMuchWork)
			}
		})
	}
}

func TestUnusualLeaves(t *testing.T) {
	caKey := ecKey()
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(caKey))
	ed, rs := root.Issue("leaf", tlsfarm.Key(edKey())).Leaf, root.Issue("leaf", tlsfarm.Key(tlsfarm.RSAKey(2048))).Leaf
	leaves := map[string]struct {
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
	for name, tt := range leaves {
		t.Run(name, func(t *testing.T) {
			v := scene{presented: certs(tt.leaf), roots: certs(root)}.verify(t)
			assert.Equal(t, tt.want, summary(v.Reasons))
			v = scene{presented: certs(tt.leaf, tt.leaf)}.verify(t)
			assert.Equal(t, strings.TrimSpace("untrusted_ca@0 "+tt.want), summary(v.Reasons))

			if strings.Contains(name, "key") {
				assert.Zero(t, KeySize(tt.leaf))
			}
			assert.Zero(t, SCTs(tt.leaf))
			assert.NotPanics(t, func() { SubjectName(tt.leaf); IssuerName(tt.leaf); Names(tt.leaf) })
		})
	}
	require.Nil(t, leaves["Ed448 key"].leaf.PublicKey)
	require.Nil(t, leaves["RSA-PSS key"].leaf.PublicKey)

	t.Run("RSA-PSS signature", func(t *testing.T) {
		pss := tlsfarm.NewAuthority("Root", tlsfarm.Key(tlsfarm.RSAKey(2048)), signedWith(x509.SHA256WithRSAPSS))
		leaf := pss.Issue("leaf", signedWith(x509.SHA384WithRSAPSS))
		assert.True(t, scene{presented: certs(leaf), roots: certs(pss)}.verify(t).Valid())
	})
}

func FuzzCertificate(f *testing.F) {
	caKey := ecKey()
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(caKey))
	f.Add(root.Issue("leaf").Leaf.Raw)
	f.Add(tlsfarm.SelfSigned("self", tlsfarm.Key(tlsfarm.RSAKey(1024)), expired).Leaf.Raw)
	f.Add(resign(root.Issue("leaf", tlsfarm.Key(edKey())).Leaf, caKey, crypto.SHA256, idEd25519, idEd448).Raw)
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

// If no reason is found, the error of crypto/x509 still has the right fault, and that of the certificate that has it.
func TestUnexplained(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	inter := root.Intermediate("Intermediate")
	chain := certs(inter.Issue("leaf"), root)
	now := time.Now()
	invalid := func(depth int, r x509.InvalidReason) error {
		return x509.CertificateInvalidError{Cert: chain[depth], Reason: r, Detail: "something"}
	}
	for _, tt := range []struct {
		err  error
		now  time.Time
		want string
	}{
		{invalid(1, x509.NotAuthorizedToSign), now, "not_a_ca@1"},
		{invalid(1, x509.Expired), now, "cert_expired@1"},
		{invalid(0, x509.Expired), chain[0].NotBefore.Add(-time.Hour), "cert_not_yet_valid@0"},
		{invalid(0, x509.CANotAuthorizedForThisName), now, "name_constraint_violation@0"},
		{invalid(2, x509.TooManyIntermediates), now, "path_length_exceeded@2"},
		{invalid(0, x509.IncompatibleUsage), now, "wrong_key_usage@0"},
		{invalid(0, x509.NoValidChains), now, "malformed_certificate@0"},
		{x509.CertificateInvalidError{Cert: tlsfarm.NewAuthority("Other").Certificate, Reason: x509.Expired}, now, "cert_expired@0"},
		{x509.UnhandledCriticalExtension{}, now, "unhandled_critical_extension@0"},
		{x509.UnknownAuthorityError{Cert: chain[2]}, now, "untrusted_ca@0"},
		{errors.New("x509: signature check attempts limit reached while verifying certificate chain"), now, "malformed_certificate@0"},
	} {
		v := &Verdict{Chain: chain}
		r := v.unexplained(tt.err, tt.now)
		assert.Equal(t, tt.want, summary([]Reason{r}))
		assert.Equal(t, &Unexplained{tt.err}, r.Err)
		assert.Same(t, chain[r.Depth], r.Cert)
	}
}
