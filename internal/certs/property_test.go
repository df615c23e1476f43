package certs

import (
	"crypto"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// forest has CAs with few names and keys that cross-signed each other, and leaves below them. Each certificate may have
// faults.
type forest struct {
	*rand.Rand
	cas    [][]*tlsfarm.Authority // by name and key; the first of each is a root
	leaves []*x509.Certificate
	issuer map[*x509.Certificate]int // index in cas
}

// forestKeys are small RSA keys, whose signatures are the fastest to check.
var forestKeys = sync.OnceValue(func() []crypto.Signer {
	keys := make([]crypto.Signer, 8)
	for i := range keys {
		keys[i] = must(rsa.GenerateKey(cryptorand.Reader, 1024))
	}
	return keys
})

func newForest(r *rand.Rand) *forest {
	f := &forest{Rand: r, cas: make([][]*tlsfarm.Authority, len(forestKeys())), issuer: map[*x509.Certificate]int{}}
	keys := make([]tlsfarm.Edit, len(f.cas))
	name := func(i int) string { return fmt.Sprintf("CA %d", i/2) } // two keys share each name
	for i := range f.cas {
		keys[i] = tlsfarm.Key(forestKeys()[i])
		root := tlsfarm.NewAuthority(name(i), keys[i], f.validity(), f.rarely(clientOnly), f.rarely(pathLen(f.IntN(2))), f.rarely(permits("example")))
		f.cas[i], f.issuer[root.Certificate] = append(f.cas[i], root), i
	}
	for range 60 {
		i, by := f.IntN(len(f.cas)), f.IntN(len(f.cas))
		if i/2 == by/2 {
			continue // the search stops at a self-issued certificate
		}
		ca := f.cas[by][0].Intermediate(name(i), keys[i], f.validity(), f.rarely(clientOnly), f.rarely(pathLen(f.IntN(2))),
			f.rarely(permits("example")), f.rarely(notCA), f.rarely(unknownExt))
		f.cas[i], f.issuer[ca.Certificate] = append(f.cas[i], ca), by
	}
	for range 150 {
		by := f.IntN(len(f.cas))
		leaf := f.cas[by][0].Issue("leaf", keys[0], f.validity(), f.rarely(clientOnly), f.rarely(unknownExt), caIssuers).Leaf
		f.leaves, f.issuer[leaf] = append(f.leaves, leaf), by
	}
	return f
}

func (f *forest) oneIn(n int) bool { return f.IntN(n) == 0 }

func (f *forest) rarely(e tlsfarm.Edit) tlsfarm.Edit {
	if f.oneIn(15) {
		return e
	}
	return func(*x509.Certificate) {}
}

// validity is usually around now, and rarely the same for two certificates.
func (f *forest) validity() tlsfarm.Edit {
	begin := -time.Duration(f.IntN(400)) * day
	if f.oneIn(15) {
		begin += 400 * day
	}
	return tlsfarm.Validity(begin, begin+time.Duration(300+f.IntN(1000))*day)
}

// scene returns a leaf with most of the CAs above it and some others, in random order, and random roots.
func (f *forest) scene() scene {
	s := scene{name: "localhost"}
	if f.oneIn(10) {
		s.name = "other.example"
	}
	leaf := f.leaves[f.IntN(len(f.leaves))]
	pick := func(i int) *x509.Certificate { return f.cas[i][f.IntN(len(f.cas[i]))].Certificate }
	var above []*x509.Certificate
	for c, left := leaf, 1+f.IntN(5); left > 0; left-- {
		c = pick(f.issuer[c])
		if !f.oneIn(12) {
			above = append(above, c)
		}
	}
	for range f.IntN(3) {
		above = append(above, pick(f.IntN(len(f.cas))))
	}
	f.Shuffle(len(above), func(i, j int) { above[i], above[j] = above[j], above[i] })
	if f.oneIn(20) {
		altered := withBadSignature(leaf)
		f.issuer[altered], leaf = f.issuer[leaf], altered
	}
	s.presented = append([]*x509.Certificate{leaf}, above...)
	for _, ca := range f.cas {
		if f.oneIn(2) {
			s.roots = append(s.roots, ca[0].Certificate)
		}
	}
	if f.oneIn(20) {
		s.roots = append(s.roots, leaf)
	}
	return s
}

// hasPath reports whether any path leads from the leaf to a root, whatever its faults.
func (f *forest) hasPath(s scene) bool {
	leaf := s.presented[0]
	if checkSignature(leaf, f.cas[f.issuer[leaf]][0].Certificate) != nil {
		return slices.Contains(s.roots, leaf)
	}
	reached := []*x509.Certificate{leaf}
	for i := 0; i < len(reached); i++ {
		c := reached[i]
		if slices.ContainsFunc(s.roots, func(root *x509.Certificate) bool {
			return root == c || root == f.cas[f.issuer[c]][0].Certificate
		}) {
			return true
		}
		for _, p := range s.presented[1:] {
			signed := slices.ContainsFunc(f.cas[f.issuer[c]], func(ca *tlsfarm.Authority) bool { return ca.Certificate == p })
			if signed && !slices.Contains(reached, p) {
				reached = append(reached, p)
			}
		}
	}
	return false
}

func TestVerdictAgreesWithX509(t *testing.T) {
	t.Parallel()
	seed, scenes := rand.Uint64(), 4000
	if testing.Short() {
		seed, scenes = 1, 400
	}
	t.Logf("seed %d", seed)
	var f *forest
	valid, faults := 0, map[Fault]int{}
	for i := range scenes {
		if i%400 == 0 {
			f = newForest(rand.New(rand.NewPCG(seed, uint64(i))))
		}
		s := f.scene()
		now := time.Now().Add(time.Duration(f.IntN(800)-200) * day)
		v := Verify(s.presented, newRoots(s.roots), s.name, now)

		leaf := s.presented[0]
		chains, err := leaf.Verify(x509.VerifyOptions{
			DNSName: s.name, Roots: newPool(s.roots), Intermediates: newPool(s.presented[1:]), CurrentTime: now,
		})
		assert.Equal(t, err == nil, v.Valid(), "x509 returned %v", err)
		assertSound(t, v, s.roots)
		assert.Equal(t, f.hasPath(s), v.Trusted)
		hidden := Verify(s.presented, RootsIn(newPool(s.roots)), s.name, now)
		assert.Equal(t, v.Valid(), hidden.Valid())
		assert.Equal(t, v.Trusted, hidden.Trusted, "the roots are not known")
		assert.True(t, v.Chain[0] == leaf)
		for depth := 1; depth < len(v.Chain); depth++ {
			broken := slices.ContainsFunc(v.Reasons, func(r Reason) bool { return r.Fault == BadSignature && r.Depth == depth-1 })
			assert.Equal(t, !broken, checkSignature(v.Chain[depth-1], v.Chain[depth]) == nil, "signature at depth %d", depth-1)
		}

		if v.Valid() {
			valid++
			for _, chain := range chains {
				assert.False(t, firstExpiry(v.Chain).Before(firstExpiry(chain)), "another chain expires later")
			}
		} else {
			var outOfDate int
			for _, c := range v.Chain {
				if now.Before(c.NotBefore) || now.After(c.NotAfter) {
					outOfDate++
				}
			}
			assert.Equal(t, outOfDate, count(v, Expired)+count(v, NotYetValid))
			assert.Equal(t, leaf.VerifyHostname(s.name) != nil, count(v, NameMismatch) == 1)
			assert.Zero(t, count(v, Malformed), "x509 returned %v, which no reason explains", err)
		}
		if v.Trusted && !v.Valid() {
			// No reason is missing and none is wrong: x509 accepts the chain only after all reasons are fixed.
			assert.NoError(t, verifyFixed(v.Chain, v.Reasons, s.name, now))
			for i := range v.Reasons {
				allButOne := slices.Delete(slices.Clone(v.Reasons), i, i+1)
				assert.Error(t, verifyFixed(v.Chain, allButOne, s.name, now), "%s is not a fault", v.Reasons[i].Fault)
			}
		}
		for _, r := range v.Reasons {
			faults[r.Fault]++
		}
		if t.Failed() {
			t.Fatalf("scene %d: presented %v, roots %v, now %v", i, subjects(s.presented), subjects(s.roots), now)
		}
	}

	// The scenes must have all these faults.
	assert.Greater(t, valid, scenes/20)
	assert.Less(t, valid, scenes/2)
	for _, fault := range []Fault{
		Expired, NotYetValid, NameMismatch, UntrustedCA, IncompleteChain, BadSignature, NotCA, PathLengthExceeded, WrongKeyUsage,
		NameConstraintViolation, UnhandledCriticalExtension,
	} {
		assert.Greater(t, faults[fault], scenes/1000, fault)
	}
	t.Logf("%d valid; %v", valid, faults)
}

// verifyFixed verifies the chain with x509 after removing these faults from it.
func verifyFixed(chain []*x509.Certificate, reasons []Reason, name string, now time.Time) error {
	fixed := make([]*x509.Certificate, len(chain))
	for i, c := range chain {
		m := *c
		fixed[i] = &m
	}
	for _, r := range reasons {
		c := fixed[r.Depth]
		switch r.Fault {
		case Expired, NotYetValid:
			c.NotBefore, c.NotAfter = now, now
		case NameMismatch:
			name = ""
		case NotCA:
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		case PathLengthExceeded:
			c.MaxPathLen = r.Depth - 1
		case WrongKeyUsage:
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		case UnhandledCriticalExtension:
			c.UnhandledCriticalExtensions = nil
		case NameConstraintViolation:
			for _, c := range fixed {
				c.PermittedDNSDomains = nil
			}
		}
	}
	_, err := fixed[0].Verify(x509.VerifyOptions{
		DNSName: name, Roots: newPool(fixed[len(fixed)-1:]), Intermediates: newPool(fixed[1:]), CurrentTime: now,
	})
	return err
}

func firstExpiry(chain []*x509.Certificate) time.Time {
	return slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
}

func count(v *Verdict, f Fault) (n int) {
	for _, r := range v.Reasons {
		if r.Fault == f {
			n++
		}
	}
	return n
}

func subjects(cs []*x509.Certificate) (names []string) {
	for _, c := range cs {
		names = append(names, c.Issuer.CommonName+"→"+c.Subject.CommonName)
	}
	return names
}

func TestForest(t *testing.T) {
	f := newForest(rand.New(rand.NewPCG(1, 1)))
	for c, by := range f.issuer {
		require.NoError(t, checkSignature(c, f.cas[by][0].Certificate))
	}
}
