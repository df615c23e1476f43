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

func TestKnownIntermediateProvesAnIncompleteChain(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	first := root.Intermediate("First")
	second := first.Intermediate("Second")
	present := func(a *tlsfarm.Authority, n int) []*x509.Certificate {
		var chain []*x509.Certificate
		for _, der := range a.Issue("leaf").Certificate[:n] {
			c, err := x509.ParseCertificate(der)
			require.NoError(t, err)
			chain = append(chain, c)
		}
		return chain
	}
	now := time.Now()
	judge := func(k *Known, presented []*x509.Certificate) *Verdict {
		v := Verify(presented, root.Pool(), "localhost", now)
		if v.Trusted {
			k.Add(v.Chain)
		} else {
			k.Complete(v, root.Pool(), now)
		}
		return v
	}

	var k Known
	v := judge(&k, present(first, 1))
	assert.Equal(t, UntrustedCA, v.Primary().Fault, "nobody has sent the intermediate yet, and it is not said where to get it")
	assert.Nil(t, v.Missing)

	require.True(t, judge(&k, present(second, 3)).Valid())
	for name, c := range map[string]struct {
		presented []*x509.Certificate
		missing   *tlsfarm.Authority
	}{
		"the leaf's issuer":         {present(first, 1), first},
		"two":                       {present(second, 1), second},
		"the intermediate's issuer": {present(second, 2), first},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(&k, c.presented)
			require.Len(t, v.Reasons, 1)
			assert.Equal(t, IncompleteChain, v.Primary().Fault)
			require.NotNil(t, v.Missing)
			assert.True(t, v.Missing.Equal(c.missing.Certificate))
		})
	}

	stranger := tlsfarm.NewAuthority("Elsewhere").Intermediate("First") // a namesake of first, of another root
	v = judge(&k, present(stranger, 1))
	assert.Equal(t, UntrustedCA, v.Primary().Fault)
	assert.Nil(t, v.Missing)
}

func TestKnownIsBounded(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	leaf := root.Issue("leaf").Leaf
	var k Known
	for i := range maxKnownNamesakes + 3 {
		k.Add([]*x509.Certificate{leaf, root.Intermediate("Same").Certificate, root.Certificate})
		assert.LessOrEqual(t, len(k.issuers(root.Intermediate("Same").Certificate.RawSubject)), maxKnownNamesakes, i)
	}
	for i := range maxKnown + 10 {
		c := *leaf
		c.Raw, c.RawSubject = []byte(fmt.Sprint(i)), []byte(fmt.Sprint(i))
		k.Add([]*x509.Certificate{leaf, &c, root.Certificate})
	}
	assert.Len(t, k.bySubject, maxKnown)
	assert.Nil(t, k.issuers(root.Certificate.RawSubject), "roots are not kept")
}
