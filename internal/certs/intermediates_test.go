package certs

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestFindMissing(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	first := root.Intermediate("First")
	second := first.Intermediate("Second")
	present := func(a *tlsfarm.Authority, n int) []*x509.Certificate {
		return certs(a.Issue("leaf"))[:n]
	}
	now := time.Now()
	var cache Intermediates
	verify := func(presented []*x509.Certificate) *Verdict {
		v := Verify(presented, newRoots(certs(root)), "localhost", now)
		if v.Trusted {
			cache.Add(v.Chain)
		} else {
			cache.FindMissing(v, newRoots(certs(root)), now)
		}
		return v
	}

	v := verify(present(first, 1))
	assert.Equal(t, UntrustedCA, v.Primary().Fault, "the cache is empty, and the leaf does not say where its issuer's certificate is")
	assert.Nil(t, v.Missing)

	require.True(t, verify(present(second, 3)).Valid())
	for name, c := range map[string]struct {
		presented []*x509.Certificate
		missing   *tlsfarm.Authority
	}{
		"the leaf's issuer":         {present(first, 1), first},
		"two intermediates":         {present(second, 1), second},
		"the intermediate's issuer": {present(second, 2), first},
	} {
		t.Run(name, func(t *testing.T) {
			v := verify(c.presented)
			require.Len(t, v.Reasons, 1)
			assert.Equal(t, IncompleteChain, v.Primary().Fault)
			require.NotNil(t, v.Missing)
			assert.True(t, v.Missing.Equal(c.missing.Certificate))
		})
	}

	namesake := tlsfarm.NewAuthority("Elsewhere").Intermediate("First")
	v = verify(present(namesake, 1))
	assert.Equal(t, UntrustedCA, v.Primary().Fault)
	assert.Nil(t, v.Missing)
}

func TestIntermediatesAreBounded(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	leaf := root.Issue("leaf").Leaf
	var cache Intermediates
	for i := range maxNamesakes + 3 {
		same := root.Intermediate("Same").Certificate
		for range 2 { // the second time, it is cached already
			cache.Add([]*x509.Certificate{leaf, same, root.Certificate})
			cache.add(same) // as if another goroutine had added it since the check
			assert.Len(t, cache.withSubject(same.RawSubject), min(i+1, maxNamesakes))
		}
	}
	for i := range maxSubjects + 10 {
		c := *leaf
		c.Raw, c.RawSubject = []byte(fmt.Sprint(i)), []byte(fmt.Sprint(i))
		cache.Add([]*x509.Certificate{leaf, &c, root.Certificate})
	}
	assert.Len(t, cache.bySubject, maxSubjects)
	assert.Nil(t, cache.withSubject(root.Certificate.RawSubject), "the cache has no roots")
	assert.Nil(t, cache.withSubject(leaf.RawSubject), "the cache has no leaves")
}
