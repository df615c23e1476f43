package certs

import (
	"crypto"
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

// forest has CAs of few names and keys that signed each other criss-cross, each certificate with faults of its own, and
// leaves below them.
type forest struct {
	*rand.Rand
	cas    [][]*tlsfarm.Authority // by name and key; the first of each is self-signed
	leaves []*x509.Certificate
	signer map[*x509.Certificate]int // which of cas issued a certificate
}

// forestKeys are of RSA, whose signatures are the quickest to check, and small for the same reason.
var forestKeys = sync.OnceValue(func() []crypto.Signer {
	keys := make([]crypto.Signer, 8)
	for i := range keys {
		keys[i] = rsaKey(1024)
	}
	return keys
})

func newForest(r *rand.Rand) *forest {
	f := &forest{Rand: r, cas: make([][]*tlsfarm.Authority, len(forestKeys())), signer: map[*x509.Certificate]int{}}
	keys := make([]tlsfarm.Edit, len(f.cas))
	name := func(i int) string { return fmt.Sprintf("CA %d", i/2) } // two keys share each name
	for i := range f.cas {
		keys[i] = withKey(forestKeys()[i])
		root := tlsfarm.NewAuthority(name(i), keys[i], f.validity(), f.rarely(clientOnly), f.rarely(pathLen(f.IntN(2))), f.rarely(permits("example")))
		f.cas[i], f.signer[root.Certificate] = append(f.cas[i], root), i
	}
	for range 60 {
		i, by := f.IntN(len(f.cas)), f.IntN(len(f.cas))
		if i/2 == by/2 {
			continue // self-issued ones end what is presented
		}
		ca := f.cas[by][0].Intermediate(name(i), keys[i], f.validity(), f.rarely(clientOnly), f.rarely(pathLen(f.IntN(2))),
			f.rarely(permits("example")), f.rarely(notCA), f.rarely(unknownExt))
		f.cas[i], f.signer[ca.Certificate] = append(f.cas[i], ca), by
	}
	for range 150 {
		by := f.IntN(len(f.cas))
		leaf := f.cas[by][0].Issue("leaf", keys[0], f.validity(), f.rarely(clientOnly), f.rarely(unknownExt), caIssuers).Leaf
		f.leaves, f.signer[leaf] = append(f.leaves, leaf), by
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

// validity is most often around now, and not the same for any two.
func (f *forest) validity() tlsfarm.Edit {
	begin := -time.Duration(f.IntN(400)) * day
	if f.oneIn(15) {
		begin += 400 * day
	}
	return tlsfarm.Validity(begin, begin+time.Duration(300+f.IntN(1000))*day)
}

// scene is a leaf with some of the CAs above it, some beside the point, in any order, and roots that may not be those.
func (f *forest) scene() scene {
	s := scene{name: "localhost"}
	if f.oneIn(10) {
		s.name = "other.example"
	}
	leaf := f.leaves[f.IntN(len(f.leaves))]
	pick := func(i int) *x509.Certificate { return f.cas[i][f.IntN(len(f.cas[i]))].Certificate }
	var above []*x509.Certificate
	for c, left := leaf, 1+f.IntN(5); left > 0; left-- {
		c = pick(f.signer[c])
		if !f.oneIn(12) {
			above = append(above, c)
		}
	}
	for range f.IntN(3) {
		above = append(above, pick(f.IntN(len(f.cas))))
	}
	f.Shuffle(len(above), func(i, j int) { above[i], above[j] = above[j], above[i] })
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

// leads tells whether any path leads from the leaf to a root, whatever else is wrong with it.
func (f *forest) leads(s scene) bool {
	reached := []*x509.Certificate{s.presented[0]}
	for i := 0; i < len(reached); i++ {
		c := reached[i]
		if slices.ContainsFunc(s.roots, func(root *x509.Certificate) bool {
			return root == c || root == f.cas[f.signer[c]][0].Certificate
		}) {
			return true
		}
		for _, p := range s.presented[1:] {
			signed := slices.ContainsFunc(f.cas[f.signer[c]], func(ca *tlsfarm.Authority) bool { return ca.Certificate == p })
			if signed && !slices.Contains(reached, p) {
				reached = append(reached, p)
			}
		}
	}
	return false
}

func TestVerdictAgreesWithX509(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const scenes = 4000
	var f *forest
	valid, told := 0, map[Fault]int{}
	for i := range scenes {
		if i%400 == 0 {
			f = newForest(rand.New(rand.NewPCG(seed, uint64(i))))
		}
		s := f.scene()
		now := time.Now().Add(time.Duration(f.IntN(800)-200) * day)
		v := Verify(s.presented, pool(s.roots), s.name, now)

		leaf := s.presented[0]
		chains, err := leaf.Verify(x509.VerifyOptions{
			DNSName: s.name, Roots: pool(s.roots), Intermediates: pool(s.presented[1:]), CurrentTime: now,
		})
		assert.Equal(t, err == nil, v.Valid(), "x509 says %v", err)
		assertSound(t, v, s.roots)
		assert.Equal(t, f.leads(s), v.Trusted)
		assert.True(t, v.Chain[0] == leaf)
		for depth := 1; depth < len(v.Chain); depth++ {
			broken := slices.ContainsFunc(v.Reasons, func(r Reason) bool { return r.Fault == BadSignature && r.Depth == depth-1 })
			assert.Equal(t, !broken, checkSignature(v.Chain[depth-1], v.Chain[depth]) == nil, "signature at depth %d", depth-1)
		}

		if v.Valid() {
			valid++
			for _, chain := range chains {
				assert.False(t, firstExpiry(v.Chain).Before(firstExpiry(chain)), "another chain is valid for longer")
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
			assert.Zero(t, count(v, Malformed), "x509 says %v, which is not accounted for", err)
		}
		if v.Trusted && !v.Valid() {
			// The reasons are all there are, and each of them is one: x509 accepts the chain once they are mended, and
			// not before the last of them is.
			assert.NoError(t, verifyMended(v.Chain, v.Reasons, s.name, now))
			for i := range v.Reasons {
				allButOne := slices.Delete(slices.Clone(v.Reasons), i, i+1)
				assert.Error(t, verifyMended(v.Chain, allButOne, s.name, now), "%s alone is no reason", v.Reasons[i].Fault)
			}
		}
		for _, r := range v.Reasons {
			told[r.Fault]++
		}
		if t.Failed() {
			t.Fatalf("scene %d: presented %v, roots %v, now %v", i, subjects(s.presented), subjects(s.roots), now)
		}
	}

	// That the above is not about nothing.
	assert.Greater(t, valid, scenes/20)
	assert.Less(t, valid, scenes/2)
	for _, fault := range []Fault{
		Expired, NotYetValid, NameMismatch, UntrustedCA, IncompleteChain, BadSignature, NotCA, PathLengthExceeded, WrongKeyUsage,
		NameConstraintViolation, UnhandledCriticalExtension,
	} {
		assert.Greater(t, told[fault], 5, fault)
	}
	t.Logf("%d valid; %v", valid, told)
}

// verifyMended asks x509 about the chain as it would be without these reasons.
func verifyMended(chain []*x509.Certificate, reasons []Reason, name string, now time.Time) error {
	mended := make([]*x509.Certificate, len(chain))
	for i, c := range chain {
		m := *c
		mended[i] = &m
	}
	for _, r := range reasons {
		c := mended[r.Depth]
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
			for _, c := range mended {
				c.PermittedDNSDomains = nil
			}
		}
	}
	_, err := mended[0].Verify(x509.VerifyOptions{
		DNSName: name, Roots: pool(mended[len(mended)-1:]), Intermediates: pool(mended[1:]), CurrentTime: now,
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

func TestForestHoldsWhatItSays(t *testing.T) {
	f := newForest(rand.New(rand.NewPCG(1, 1)))
	for c, by := range f.signer {
		require.NoError(t, checkSignature(c, f.cas[by][0].Certificate))
	}
}
