package certs

import (
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// A verdict from memory must never be good where a fresh one would not be: random chains, each asked about again and
// again at clocks around the moments at which a certificate begins or ends to be valid, with changes in between of what
// is presented, trusted or asked for.
func TestRememberedVerdictAgreesWithAFreshOne(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var f *forest
	hits, valid := 0, 0
	for i := range 1500 {
		if i%300 == 0 {
			f = newForest(rand.New(rand.NewPCG(seed, uint64(i))))
		}
		s, other := f.scene(), f.scene()
		if f.oneIn(2) {
			other.presented = slices.Clone(s.presented)
			other.presented = other.presented[:1+f.IntN(len(other.presented))]
		}
		roots, otherRoots := pool(s.roots), pool(other.roots)
		var r Remembered
		for range 12 {
			presented, trusted, name := s.presented, roots, s.name
			switch {
			case f.oneIn(8):
				presented = other.presented
			case f.oneIn(8):
				trusted = otherRoots
			case f.oneIn(8):
				name = "other.example"
			}
			now := f.clock(s)
			v, remembered := r.Verify(presented, trusted, name, now)
			fresh := Verify(presented, trusted, name, now)
			require.Equal(t, fresh.Valid(), v.Valid(), "remembered: %t", remembered)
			if remembered {
				hits++
			}
			if v.Valid() {
				valid++
				assertSound(t, v, both(s.roots, other.roots))
			}
		}
	}
	assert.Greater(t, hits, 200, "the memory must be put to the test")
	assert.Greater(t, valid-hits, 200)
}

func both(a, b []*x509.Certificate) []*x509.Certificate { return append(slices.Clone(a), b...) }

// clock returns a moment at, just before or just after the begin or end of a certificate, or any other.
func (f *forest) clock(s scene) time.Time {
	all := append(slices.Clone(s.presented), s.roots...)
	c := all[f.IntN(len(all))]
	switch f.IntN(4) {
	case 0:
		return c.NotBefore.Add(time.Duration(f.IntN(3)-1) * time.Nanosecond)
	case 1:
		return c.NotAfter.Add(time.Duration(f.IntN(3)-1) * time.Nanosecond)
	}
	return time.Now().Add(time.Duration(f.IntN(100)) * day)
}

func TestRememberedIsTheCallersToChange(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	presented := []*x509.Certificate{root.Issue("x").Leaf}
	roots := root.Pool()
	var r Remembered
	for i := range 3 {
		v, remembered := r.Verify(presented, roots, "localhost", time.Now())
		require.Equal(t, i > 0, remembered)
		require.True(t, v.Valid())
		v.Reasons = append(v.Reasons, Reason{Fault: "cert_revoked"})
		v.Chain[0] = nil
	}
}

// A staple from memory must never be good where a fresh one would not be, with its own dates and with those of the
// certificate that signed it.
func TestRememberedStapleAgreesWithAFreshOne(t *testing.T) {
	start := time.Now()
	late := stapleCA.Issue("late", tlsfarm.Responder, tlsfarm.Validity(-10*time.Minute, day))
	early := stapleCA.Issue("early", tlsfarm.Responder, tlsfarm.Validity(-day, 10*time.Minute))
	staples := [][]byte{
		stapleCA.Staple(stapled, tlsfarm.StapleDates(-20*time.Minute, 20*time.Minute)),
		stapleCA.Staple(stapled, tlsfarm.StapleDates(-20*time.Minute, 0)),
		stapleCA.StapleBy(late, stapled, tlsfarm.StapleDates(-20*time.Minute, 20*time.Minute)),
		stapleCA.StapleBy(early, stapled, tlsfarm.StapleDates(-20*time.Minute, 20*time.Minute)),
		stapleCA.Staple(stapled, tlsfarm.RevokedFor(ocsp.KeyCompromise)),
		stapleCA.Staple(stapleCA.Issue("other")),
		nil,
	}
	chains := [][]*x509.Certificate{presented(stapled), presented(stapleCA.Issue("other")), presented(stapled)[:1]}
	roots, noRoots := stapleRoot.Pool(), x509.NewCertPool()
	edges := []time.Duration{-25 * time.Minute, -20 * time.Minute, -10 * time.Minute, 0, 10 * time.Minute, 20 * time.Minute, maxUndated - 20*time.Minute}
	random := rand.New(rand.NewPCG(1, 2))
	hits, good := 0, 0
	for range 60 {
		var r Remembered
		chain, staple, trusted := chains[0], staples[random.IntN(4)], roots
		for range 20 {
			switch random.IntN(16) {
			case 0:
				chain = chains[random.IntN(len(chains))]
			case 1:
				staple = staples[random.IntN(len(staples))]
			case 2:
				trusted = noRoots
			default:
				chain, trusted = chains[0], roots
			}
			now := start.Add(edges[random.IntN(len(edges))] + time.Duration(random.IntN(5)-2)*time.Second)
			v, _ := r.Verify(chain, trusted, "localhost", now)
			before := r.staple
			s := r.AddStaple(v, staple, chain, now)
			fresh := Verify(chain, trusted, "localhost", now)
			want := fresh.AddStaple(staple, chain, now)
			if before != nil && r.staple == before {
				hits++
			}
			require.Equal(t, fresh.Valid(), v.Valid())
			require.Equal(t, want == nil, s == nil)
			if want != nil {
				require.Equal(t, want.Status, s.Status)
				require.Equal(t, want.Problem, s.Problem)
				require.Equal(t, want.NextUpdate, s.NextUpdate)
				if s.Status == StatusGood {
					good++
				}
			}
		}
	}
	assert.Greater(t, hits, 50, "the memory must be put to the test")
	assert.Greater(t, good, hits)
}

func BenchmarkRemembered(b *testing.B) {
	root := tlsfarm.NewAuthority("Root")
	between := root.Intermediate("Between")
	presented := []*x509.Certificate{between.Issue("x").Leaf, between.Certificate}
	roots := root.Pool()
	now := time.Now()
	b.Run("fresh", func(b *testing.B) {
		for b.Loop() {
			Verify(presented, roots, "localhost", now)
		}
	})
	b.Run("remembered", func(b *testing.B) {
		var r Remembered
		for b.Loop() {
			r.Verify(presented, roots, "localhost", now)
		}
	})
	staple := stapleCA.Staple(stapled)
	chain := []*x509.Certificate{stapled.Leaf, stapleCA.Certificate}
	roots = stapleRoot.Pool()
	b.Run("staple remembered", func(b *testing.B) {
		var r Remembered
		for b.Loop() {
			v, _ := r.Verify(chain, roots, "localhost", now)
			r.AddStaple(v, staple, chain, now)
		}
	})
}
