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

// A cached verdict must be valid only if a fresh one is. Random chains are verified again and again, at times around the
// dates of their certificates, sometimes with another chain, other roots or another name.
func TestVerdictCacheAgreesWithVerify(t *testing.T) {
	t.Parallel()
	seed, scenes := rand.Uint64(), 1500
	if testing.Short() {
		seed, scenes = 1, 100
	}
	t.Logf("seed %d", seed)
	var f *forest
	hits, valid := 0, 0
	for i := range scenes {
		if i%300 == 0 {
			f = newForest(rand.New(rand.NewPCG(seed, uint64(i))))
		}
		s, other := f.scene(), f.scene()
		if f.oneIn(2) {
			other.presented = slices.Clone(s.presented)
			other.presented = other.presented[:1+f.IntN(len(other.presented))]
		}
		roots, otherRoots := newRoots(s.roots), newRoots(other.roots)
		var cache VerdictCache
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
			v, cached := cache.Verify(presented, trusted, name, now)
			if cached {
				hits++
			}
			if cached || f.oneIn(4) { // sometimes a fresh one too, as it takes long
				require.Equal(t, Verify(presented, trusted, name, now).Valid(), v.Valid(), "cached: %t", cached)
			}
			if v.Valid() {
				valid++
				assertSound(t, v, slices.Concat(s.roots, other.roots))
			}
		}
	}
	assert.Greater(t, hits, scenes/8)
	assert.Greater(t, valid-hits, scenes/8)
}

// clock returns a random time, often at, just before or just after the first or last moment of a certificate.
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

func TestChangingAVerdictLeavesTheCache(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	presented := []*x509.Certificate{root.Issue("x").Leaf}
	roots := newRoots(certs(root))
	var cache VerdictCache
	for i := range 3 {
		v, cached := cache.Verify(presented, roots, "localhost", time.Now())
		require.Equal(t, i > 0, cached)
		require.True(t, v.Valid())
		v.Reasons = append(v.Reasons, Reason{Fault: "cert_revoked"})
		v.Chain[0] = nil
	}
}

// A cached staple must be good only if a fresh one is, by its own dates and by those of its signer's certificate.
func TestCachedStapleAgreesWithAFreshOne(t *testing.T) {
	t.Parallel()
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
	chains := [][]*x509.Certificate{certs(stapled), certs(stapleCA.Issue("other")), certs(stapled)[:1]}
	roots, noRoots := newRoots(certs(stapleRoot)), newRoots(nil)
	edges := []time.Duration{-25 * time.Minute, -20 * time.Minute, -10 * time.Minute, 0, 10 * time.Minute, 20 * time.Minute, maxUndated - 20*time.Minute}
	random := rand.New(rand.NewPCG(1, 2))
	rounds, hits, good := 60, 0, 0
	if testing.Short() {
		rounds = 20
	}
	for range rounds {
		var cache VerdictCache
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
			v, _ := cache.Verify(chain, trusted, "localhost", now)
			before := cache.staple
			s := cache.AddStaple(v, staple, chain, now)
			fresh := Verify(chain, trusted, "localhost", now)
			want := fresh.AddStaple(staple, chain, now)
			if before != nil && cache.staple == before {
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
	assert.Greater(t, hits, rounds)
	assert.Greater(t, good, hits)
}

func TestStapleIsCached(t *testing.T) {
	now, roots := time.Now(), newRoots(certs(stapleRoot))
	good := stapleCA.Staple(stapled, tlsfarm.StapleDates(-20*time.Minute, day))
	responder := stapleCA.Issue("OCSP", tlsfarm.Responder, tlsfarm.Validity(-10*time.Minute, 10*time.Minute))
	delegated := stapleCA.StapleBy(responder, stapled, tlsfarm.StapleDates(-20*time.Minute, day))
	for name, c := range map[string]struct {
		first, second []byte
		later         time.Duration
		cached        bool
		problem       StapleProblem
	}{
		"unchanged":             {good, good, time.Hour, true, ""},
		"expired":               {good, good, 2 * day, false, StapleStale},
		"within the clock skew": {good, good, -clockSkew + time.Minute, true, ""},
		"not yet valid":         {good, good, -clockSkew - 2*time.Minute, false, StapleNotYetValid},
		"another staple":        {good, stapleCA.Staple(stapleCA.Issue("other")), 0, false, StapleWrongCertificate},
		"missing":               {good, nil, 0, false, ""},
		"same responder":        {delegated, delegated, 9 * time.Minute, true, ""},
		"responder expired":     {delegated, delegated, 11 * time.Minute, false, StapleNotAuthorized},
		"responder not valid":   {delegated, delegated, -11 * time.Minute, false, StapleNotAuthorized},
	} {
		t.Run(name, func(t *testing.T) {
			var cache VerdictCache
			add := func(response []byte, now time.Time) *Staple {
				v, _ := cache.Verify(certs(stapled), roots, "localhost", now)
				return cache.AddStaple(v, response, certs(stapled), now)
			}
			require.Equal(t, StatusGood, add(c.first, now).Status)
			before := cache.staple
			s := add(c.second, now.Add(c.later))
			assert.Equal(t, c.cached, cache.staple != nil && cache.staple == before)
			if len(c.second) > 0 {
				assert.Equal(t, c.problem, s.Problem)
			}
		})
	}
}

func BenchmarkVerdictCache(b *testing.B) {
	root := tlsfarm.NewAuthority("Root")
	between := root.Intermediate("Between")
	presented := []*x509.Certificate{between.Issue("x").Leaf, between.Certificate}
	roots := newRoots(certs(root))
	now := time.Now()
	b.Run("fresh", func(b *testing.B) {
		for b.Loop() {
			Verify(presented, roots, "localhost", now)
		}
	})
	b.Run("cached", func(b *testing.B) {
		var cache VerdictCache
		for b.Loop() {
			cache.Verify(presented, roots, "localhost", now)
		}
	})
	staple := stapleCA.Staple(stapled)
	chain := []*x509.Certificate{stapled.Leaf, stapleCA.Certificate}
	roots = newRoots(certs(stapleRoot))
	b.Run("cached with staple", func(b *testing.B) {
		var cache VerdictCache
		for b.Loop() {
			v, _ := cache.Verify(chain, roots, "localhost", now)
			cache.AddStaple(v, staple, chain, now)
		}
	})
}
