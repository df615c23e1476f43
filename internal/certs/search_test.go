package certs

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// edge is a certificate that one CA issued to another, or to the leaf, which is called EE.
type edge struct{ issuer, subject string }

// The graphs are those of BetterTLS (github.com/Netflix/bettertls, test-suites/pathbuilding). Two arrows in one are two
// certificates.
var (
	twoRoots    = []edge{{"ICA", "EE"}, {"Root1", "ICA"}, {"Root2", "ICA"}}
	figureSeven = []edge{{"B", "EE"}, {"C", "B"}, {"A", "B"}, {"C", "A"}, {"A", "C"}, {"TA", "C"}, {"TA", "A"}} // RFC 4158, section 2.3
	bridge      = []edge{                                                                                       // RFC 4158, section 2.4
		{"F", "H"},
		{"F", "G"},
		{"G", "F"},
		{"H", "I"},
		{"I", "H"},
		{"G", "I"},
		{"TA W", "F"},
		{"TA W", "G"},
		{"J", "K"},
		{"N", "EE"},
		{"L", "N"},
		{"L", "M"},
		{"TA X", "J"},
		{"TA X", "L"},
		{"B", "E"},
		{"B", "D"},
		{"A", "B"},
		{"C", "B"},
		{"A", "C"},
		{"C", "A"},
		{"TA Y", "A"},
		{"TA Y", "C"},
		{"R", "S"},
		{"O", "R"},
		{"O", "Q"},
		{"P", "S"},
		{"TA Z", "O"},
		{"TA Z", "P"},
		{"TA W", "Bridge"},
		{"Bridge", "TA W"},
		{"TA X", "Bridge"},
		{"Bridge", "TA X"},
		{"TA Y", "Bridge"},
		{"Bridge", "TA Y"},
		{"TA Z", "Bridge"},
		{"Bridge", "TA Z"},
	}
)

// One certificate that every path to the trusted root needs is invalid, and other paths lead to unknown roots. The reason
// is what is wrong with that certificate: cases 36 to 47 and 69 to 80 of BetterTLS, among them 41, 47 and 80.
func TestInvalidPathToATrustedRootIsNearerThanAnUnknownRoot(t *testing.T) {
	faults := map[Fault]tlsfarm.Edit{
		Expired: expired, NameConstraintViolation: permits("bad.example"), WrongKeyUsage: usages(x509.ExtKeyUsageEmailProtection),
		NotCA: notCA, WeakSignature: signedWith(x509.ECDSAWithSHA1), UnhandledCriticalExtension: unknownExt, PathLengthExceeded: pathLen(0),
	}
	for name, tt := range map[string]struct {
		graph   []edge
		trusted string
		invalid []edge
		only    bool // every path has an invalid certificate
	}{
		"first of two roots":    {twoRoots, "Root1", []edge{{"Root1", "ICA"}}, true},
		"second of two roots":   {twoRoots, "Root2", []edge{{"Root2", "ICA"}}, true},
		"the other root":        {twoRoots, "Root2", []edge{{"Root1", "ICA"}}, false},
		"one way round":         {figureSeven, "TA", []edge{{"TA", "C"}, {"A", "B"}}, false},
		"the other way round":   {figureSeven, "TA", []edge{{"TA", "A"}, {"C", "B"}}, false},
		"beside the bridge":     {bridge, "TA Z", []edge{{"TA X", "Bridge"}}, false},
		"from the bridge":       {bridge, "TA Z", []edge{{"Bridge", "TA X"}}, true},
		"to the bridge":         {bridge, "TA Z", []edge{{"TA Z", "Bridge"}}, true},
		"on both ways to a CA":  {figureSeven, "TA", []edge{{"A", "B"}, {"C", "B"}}, true},
		"on the only way to it": {figureSeven, "TA", []edge{{"TA", "A"}, {"TA", "C"}}, true},
	} {
		for fault, how := range faults {
			if fault == PathLengthExceeded && len(tt.graph) != len(bridge) {
				continue // nothing would exceed it
			}
			t.Run(fmt.Sprintf("%s %s", name, fault), func(t *testing.T) {
				cas := map[string]*tlsfarm.Authority{}
				keys := map[string]tlsfarm.Edit{}
				for _, e := range tt.graph {
					if cas[e.issuer] == nil {
						keys[e.issuer] = tlsfarm.Key(ecKey())
						cas[e.issuer] = tlsfarm.NewAuthority(e.issuer, keys[e.issuer])
					}
				}
				var leaf, above []*x509.Certificate
				for _, e := range tt.graph {
					edits := []tlsfarm.Edit{keys[e.subject]}
					if keys[e.subject] == nil {
						edits = nil
					}
					for _, invalid := range tt.invalid {
						if invalid == e {
							edits = append(edits, how)
						}
					}
					if e.subject == "EE" {
						leaf = certs(cas[e.issuer].Issue("EE").Leaf)
					} else {
						above = append(above, cas[e.issuer].Intermediate(e.subject, edits...).Certificate)
					}
				}
				trusted := certs(cas[tt.trusted])
				roots, hidden := newRoots(trusted), RootsIn(newPool(trusted))
				for _, presented := range [][]*x509.Certificate{certs(leaf, above), certs(leaf, backwards(above))} {
					v := Verify(presented, roots, "localhost", time.Now())
					if !tt.only {
						assert.Empty(t, summary(v.Reasons))
						continue
					}
					assert.True(t, v.Rooted)
					if assert.Len(t, v.Reasons, 1, summary(v.Reasons)) {
						assert.Equal(t, fault, v.Primary().Fault)
					}
					// Of the system's roots, less is known.
					v = Verify(presented, hidden, "localhost", time.Now())
					assert.Equal(t, fault, v.Primary().Fault, summary(v.Reasons))
				}
			})
		}
	}
}

func backwards(cs []*x509.Certificate) (all []*x509.Certificate) {
	for _, c := range cs {
		all = append([]*x509.Certificate{c}, all...)
	}
	return all
}

// Of two ways to trusted roots, the one with one fault is better than the one with two, in whatever order they are sent.
func TestPathWithFewerFaultsIsPreferred(t *testing.T) {
	key := tlsfarm.Key(ecKey())
	one, two := tlsfarm.NewAuthority("One"), tlsfarm.NewAuthority("Two")
	for name, tt := range map[string]struct {
		better, worse *tlsfarm.Authority
		want          string
	}{
		"weak signature, or expired and not a CA":  {one.Intermediate("CA", key, signedWith(x509.ECDSAWithSHA1)), two.Intermediate("CA", key, expired, notCA), "weak_signature@1"},
		"name constraint, or expired and for mail": {one.Intermediate("CA", key, permits("x.example")), two.Intermediate("CA", key, expired, usages(x509.ExtKeyUsageEmailProtection)), "name_constraint_violation@0"},
		"expired, or an unknown root":              {one.Intermediate("CA", key, expired, notCA, clientOnly), tlsfarm.NewAuthority("Unknown").Intermediate("CA", key), "not_a_ca@1 cert_expired@1 wrong_key_usage@1"},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := tt.better.Issue("leaf").Leaf
			for _, order := range [][]*x509.Certificate{certs(tt.better, tt.worse), certs(tt.worse, tt.better)} {
				v := scene{presented: certs(leaf, order), roots: certs(one, two)}.verify(t)
				assert.Equal(t, tt.want, summary(v.Reasons))
				assertChain(t, certs(leaf, tt.better, one), v.Chain)
			}
		})
	}
}

// What the server leaves out is found by itself, and each fix leads to the next: from an incomplete chain to a valid one.
func TestMissingIssuersAreNamedOneByOne(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	upper := root.Intermediate("Upper")
	middle := upper.Intermediate("Middle", caIssuers)
	lower := middle.Intermediate("Lower", caIssuers)
	leaf := lower.Issue("leaf", caIssuers).Leaf
	sent := certs(leaf)
	for i, next := range []*tlsfarm.Authority{lower, middle, upper} {
		v := scene{presented: sent, roots: certs(root)}.verify(t)
		assert.Equal(t, fmt.Sprintf("incomplete_chain@%d", i), summary(v.Reasons))
		assert.Equal(t, next.Certificate.RawSubject, v.Primary().Cert.RawIssuer)
		assert.NotEmpty(t, v.Primary().Cert.IssuingCertificateURL)
		sent = append(sent, next.Certificate)
	}
	assert.True(t, scene{presented: sent, roots: certs(root)}.verify(t).Valid())
}

func TestNamesRoot(t *testing.T) {
	for name, want := range map[string]bool{
		"Corp Root CA": true, "ROOT": true, "Corp Root-CA 2": true, "Corp CA": false, "Rooted CA": false, "Beetroot CA": false, "": false,
	} {
		ca := tlsfarm.NewAuthority(name)
		assert.Equal(t, want, namesRoot(ca.Issue("leaf").Leaf), name)
	}
}

func TestCAFirst(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	inter := root.Intermediate("Intermediate")
	leaf, other := inter.Issue("leaf").Leaf, inter.Issue("other", tlsfarm.Names("other.example")).Leaf
	for name, tt := range map[string]struct {
		presented []*x509.Certificate
		index     int
	}{
		"intermediate first":       {certs(inter, leaf), 1},
		"another leaf before":      {certs(inter, other, leaf), 2},
		"leaf of another name":     {certs(inter, root, other), 2},
		"root first":               {certs(root, inter, leaf), 2},
		"no leaf":                  {certs(inter, root), 0},
		"a leaf of another name":   {certs(other, inter, leaf), 0},
		"unknown root comes first": {certs(tlsfarm.NewAuthority("Other"), inter, leaf), 2},
	} {
		t.Run(name, func(t *testing.T) {
			v := scene{presented: tt.presented, roots: certs(root)}.verify(t)
			var order *WrongOrder
			if tt.index == 0 {
				assert.NotErrorAs(t, v.Primary().Err, &order)
				return
			}
			assert.Equal(t, NameMismatch, v.Primary().Fault)
			if assert.ErrorAs(t, v.Primary().Err, &order) {
				assert.Equal(t, tt.index, order.Index)
				assert.Same(t, tt.presented[tt.index], order.Leaf)
			}
		})
	}
}

func TestBudgetIsOne(t *testing.T) {
	b := budget(10)
	assert.True(t, b.spend(10))
	assert.False(t, b.spend(1))
	assert.Greater(t, checkCost(tlsfarm.NewAuthority("Large", tlsfarm.Key(largeKey(8192))).Certificate), 64)
	assert.Greater(t, int(maxWork)/100, checkCost(tlsfarm.NewAuthority("Root").Certificate))
}

// A CA of the issuer's name that cannot have made the signature is not the issuer, even where the signature cannot be
// checked with its key.
func TestNamesakesThatCannotBeTheIssuer(t *testing.T) {
	key, edCAKey := ecKey(), edKey()
	inter := tlsfarm.NewAuthority("Root").Intermediate("CA", tlsfarm.Key(key))
	leaf := inter.Issue("leaf").Leaf
	ed448 := resign(tlsfarm.NewAuthority("CA", tlsfarm.Key(edCAKey)).Certificate, edCAKey, 0, idEd25519, idEd448)
	v := scene{presented: certs(leaf, ed448)}.verify(t)
	assert.Equal(t, "untrusted_ca@0", summary(v.Reasons))
	assert.True(t, v.Primary().SentNamesake)
	assert.False(t, v.Primary().TrustedNamesake)

	var tiny *tlsfarm.Authority
	withTinyKeys(func() { tiny = tlsfarm.NewAuthority("CA", tlsfarm.Key(tlsfarm.RSAKey(768))) })
	withoutKeyID := parse(remake(leaf, key, crypto.SHA256, func(f *fields) { f.drop(2, 5, 29, 35) }))
	v = scene{presented: certs(withoutKeyID), roots: certs(tiny)}.verify(t)
	assert.Equal(t, "bad_signature@0", summary(v.Reasons), "an RSA key makes no ECDSA signature")

	// Keys of another kind cost no work, however many there are.
	large := tlsfarm.Key(largeKey(8192))
	var many []*x509.Certificate
	for range 99 {
		many = append(many, tlsfarm.NewAuthority("CA", large).Certificate)
	}
	v = scene{presented: certs(leaf, many)}.verify(t)
	assert.Equal(t, "untrusted_ca@0", summary(v.Reasons))

	// Where keys of the right kind cost too much, that is said.
	rsaLeaf := tlsfarm.NewAuthority("CA", tlsfarm.Key(tlsfarm.RSAKey(2048))).Issue("leaf").Leaf
	v = scene{presented: certs(rsaLeaf, many)}.verify(t)
	assert.Equal(t, "malformed_certificate@0", summary(v.Reasons))
	assert.ErrorIs(t, v.Primary().Err, ErrTooMuchWork)
}

// The issuer's name is that of a trusted root, so it is a root with a new key, and not an intermediate that was not sent.
func TestNamesakeOfARootIsNoMissingIntermediate(t *testing.T) {
	leaf := tlsfarm.NewAuthority("Root").Issue("leaf", caIssuers)
	v := scene{presented: certs(leaf), roots: certs(tlsfarm.NewAuthority("Root"))}.verify(t)
	assert.Equal(t, "untrusted_ca@0", summary(v.Reasons))
	assert.True(t, v.Primary().TrustedNamesake)

	// It is the same if the server sends its root, and if the trusted ones do not reveal themselves.
	renewed := tlsfarm.NewAuthority("Root")
	for _, roots := range []*Roots{newRoots(certs(tlsfarm.NewAuthority("Root"))), RootsIn(newPool(certs(tlsfarm.NewAuthority("Root"))))} {
		v = Verify(certs(renewed.Issue("leaf"), renewed), roots, "localhost", time.Now())
		assert.Equal(t, "untrusted_ca@1", summary(v.Reasons))
		assert.True(t, v.Primary().TrustedNamesake)
	}
	v = Verify(certs(renewed.Issue("leaf"), renewed), newRoots(certs(tlsfarm.NewAuthority("Other"))), "localhost", time.Now())
	assert.False(t, v.Primary().TrustedNamesake)
}
