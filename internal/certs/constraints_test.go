package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestConstraintViolation(t *testing.T) {
	_, network, err := net.ParseCIDR("192.0.2.0/24")
	require.NoError(t, err)
	root := tlsfarm.NewAuthority("Root")
	a := tlsfarm.Names("a.example")
	for name, tt := range map[string]struct {
		ca   tlsfarm.Edit
		leaf []tlsfarm.Edit
		want ConstraintViolation
	}{
		"DNS name not permitted":       {permits("b.example"), []tlsfarm.Edit{a}, ConstraintViolation{Kind: "DNS name", Name: "a.example", Constraints: []string{"b.example"}}},
		"DNS name excluded":            {func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"c.example", "example"} }, []tlsfarm.Edit{a}, ConstraintViolation{Kind: "DNS name", Name: "a.example", Excluded: true, Constraints: []string{"example"}}},
		"wildcard excluded":            {func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"b.a.example"} }, []tlsfarm.Edit{tlsfarm.Names("a.example", "*.a.example")}, ConstraintViolation{Kind: "DNS name", Name: "*.a.example", Excluded: true, Constraints: []string{"b.a.example"}}},
		"second name":                  {permits("a.example"), []tlsfarm.Edit{tlsfarm.Names("a.example", "b.example")}, ConstraintViolation{Kind: "DNS name", Name: "b.example", Constraints: []string{"a.example"}}},
		"address not permitted":        {func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{network} }, []tlsfarm.Edit{addresses("198.51.100.1")}, ConstraintViolation{Kind: "IP address", Name: "198.51.100.1", Constraints: []string{"192.0.2.0/24"}}},
		"IPv6 where IPv4 is permitted": {func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{network} }, []tlsfarm.Edit{addresses("2001:db8::1")}, ConstraintViolation{Kind: "IP address", Name: "2001:db8::1", Constraints: []string{"192.0.2.0/24"}}},
		"URI excluded": {
			func(c *x509.Certificate) { c.ExcludedURIDomains = []string{".example"} },
			[]tlsfarm.Edit{a, func(c *x509.Certificate) { c.URIs = []*url.URL{uri("https://www.a.example:8443/x")} }},
			ConstraintViolation{Kind: "URI", Name: "https://www.a.example:8443/x", Excluded: true, Constraints: []string{".example"}},
		},
		"e-mail address not permitted": {
			func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"b@a.example", "b.example"} },
			[]tlsfarm.Edit{a, func(c *x509.Certificate) { c.EmailAddresses = []string{"b@A.example", "a@a.example"} }},
			ConstraintViolation{Kind: "e-mail address", Name: "a@a.example", Constraints: []string{"b@a.example", "b.example"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inter := root.Intermediate("Intermediate", tt.ca)
			s := scene{presented: certs(inter.Issue("leaf", append(tt.leaf, expired)...)), roots: certs(root), name: "a.example"}
			v := s.verify(t)
			i := slices.IndexFunc(v.Reasons, func(r Reason) bool { return r.Fault == NameConstraintViolation })
			require.GreaterOrEqual(t, i, 0, summary(v.Reasons))
			var got *ConstraintViolation
			require.ErrorAs(t, v.Reasons[i].Err, &got)
			tt.want.CA, tt.want.Depth, tt.want.allowed = v.Chain[1], 1, got.allowed
			assert.Equal(t, tt.want, *got)
		})
	}
}

// All names are listed that any CA does not allow, each once.
func TestAllViolatingNames(t *testing.T) {
	_, network, err := net.ParseCIDR("192.0.2.0/24")
	require.NoError(t, err)
	root := tlsfarm.NewAuthority("Root")
	upper := root.Intermediate("Upper", func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"x.a.example", "b.example"} })
	lower := upper.Intermediate("Lower", permits("a.example"), func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{network} })
	for name, tt := range map[string]struct {
		names  []string
		ips    []net.IP
		first  string
		others []string
		host   string
		needs  bool
	}{
		"one":                     {[]string{"a.example", "b.example"}, nil, "b.example", nil, "a.example", false},
		"one of the upper CA":     {[]string{"a.example", "x.a.example"}, nil, "x.a.example", nil, "a.example", false},
		"all":                     {[]string{"b.example", "a.example", "c.example", "x.a.example"}, []net.IP{{198, 51, 100, 1}}, "b.example", []string{"c.example", "x.a.example", "198.51.100.1"}, "a.example", false},
		"the one asked for":       {[]string{"b.example", "a.example"}, nil, "b.example", nil, "B.example", true},
		"the second is asked for": {[]string{"c.example", "b.example", "a.example"}, nil, "c.example", []string{"b.example"}, "b.example", true},
		"the address asked for":   {nil, []net.IP{{192, 0, 2, 1}, {198, 51, 100, 1}}, "198.51.100.1", nil, "198.51.100.1", true},
		"another address":         {nil, []net.IP{{192, 0, 2, 1}, {198, 51, 100, 1}}, "198.51.100.1", nil, "192.0.2.1", false},
		"a wildcard":              {[]string{"*.c.example"}, nil, "*.c.example", nil, "d.c.example", true},
		"a wildcard and its name": {[]string{"*.c.example", "*.a.example", "d.a.example"}, nil, "*.c.example", []string{"*.a.example"}, "d.a.example", false},
		"another name":            {[]string{"b.example"}, nil, "b.example", nil, "c.example", false},
		"no name":                 {[]string{"b.example"}, nil, "b.example", nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := lower.Issue("leaf", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = tt.names, tt.ips })
			v := scene{presented: certs(leaf, upper), roots: certs(root), name: tt.host}.verify(t)
			i := slices.IndexFunc(v.Reasons, func(r Reason) bool { return r.Fault == NameConstraintViolation })
			require.GreaterOrEqual(t, i, 0, summary(v.Reasons))
			var got *ConstraintViolation
			require.ErrorAs(t, v.Reasons[i].Err, &got)
			assert.Equal(t, tt.first, got.Name)
			assert.Equal(t, tt.others, got.Others)
			assert.Equal(t, tt.needs, got.Needs(tt.host, leaf.Leaf))
		})
	}
}

// There are so many names and constraints that it is too much work to compare them, but crypto/x509 does it faster.
func TestTooManyConstraints(t *testing.T) {
	const n = 1800
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("p%d.example", i))
	}
	root := tlsfarm.NewAuthority("Root")
	inter := root.Intermediate("Intermediate", func(c *x509.Certificate) { c.PermittedDNSDomains = names })
	leaf := inter.Issue("leaf", tlsfarm.Names(append(slices.Clone(names), "bad.example")...))
	v := scene{presented: certs(leaf), roots: certs(root), name: "p0.example"}.verify(t)
	assert.Equal(t, "name_constraint_violation@0", summary(v.Reasons))
	var u *Unexplained
	require.ErrorAs(t, v.Primary().Err, &u)
	assert.ErrorContains(t, u, `DNS name "bad.example" is not permitted by any constraint`)
}

// Random names and constraints: crypto/x509 finds a violation where we do, and nowhere else.
func TestConstraintsAgreeWithX509(t *testing.T) {
	t.Parallel()
	seed, rounds := rand.Uint64(), 6000
	if testing.Short() {
		seed, rounds = 1, 1500
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(from []string) (some []string) {
		for range r.IntN(3) {
			some = append(some, from[r.IntN(len(from))])
		}
		return some
	}
	domains := []string{"", "a", "b.a", ".a", ".b.a", "B.a", "cb.a", "c.b.a", ".c.b.a", "a.a"}
	names := []string{"a", "b.a", "*.a", "*.b.a", "c.b.a", "C.B.A", "d.c.b.a", "cb.a", "x.a.a"}
	mails := []string{"x@a", "x@B.a", "X@b.a", "y@c.b.a", "x@cb.a"}
	var networks []*net.IPNet
	for _, s := range []string{"10.0.0.0/8", "10.1.0.0/16", "::/0", "2001:db8::/32"} {
		_, n, err := net.ParseCIDR(s)
		require.NoError(t, err)
		networks = append(networks, n)
	}
	pickNetworks := func() (some []*net.IPNet) {
		for range r.IntN(2) {
			some = append(some, networks[r.IntN(len(networks))])
		}
		return some
	}
	// crypto/x509 looks for the extensions, and then at the fields, which are replaced.
	root := tlsfarm.NewAuthority("Root", permits("a"))
	inter := root.Intermediate("Intermediate", permits("a"), tlsfarm.Names("b.a"))
	chain := certs(inter.Issue("leaf"), root)
	violations := 0
	for range rounds {
		leaf, middle, top := *chain[0], *chain[1], *chain[2]
		path := []*x509.Certificate{&leaf, &middle, &top}
		for _, ca := range path[1:] {
			ca.PermittedDNSDomains = nil
			if r.IntN(2) == 0 {
				ca.PermittedDNSDomains, ca.PermittedURIDomains = pick(domains), pick(domains)
				ca.PermittedEmailAddresses, ca.PermittedIPRanges = append(pick(domains), pick(mails)...), pickNetworks()
			} else {
				ca.ExcludedDNSDomains, ca.ExcludedURIDomains = pick(domains), pick(domains)
				ca.ExcludedEmailAddresses, ca.ExcludedIPRanges = append(pick(domains), pick(mails)...), pickNetworks()
			}
		}
		leaf.DNSNames, leaf.EmailAddresses, leaf.IPAddresses, leaf.URIs = pick(names), pick(mails), nil, nil
		if r.IntN(3) == 0 {
			leaf.IPAddresses = []net.IP{net.IPv4(10, byte(r.IntN(2)), 0, 1).To4(), net.ParseIP("2001:db8::1")}[:1+r.IntN(2)]
		}
		if r.IntN(3) == 0 {
			leaf.URIs = []*url.URL{uri("https://" + strings.TrimPrefix(names[r.IntN(len(names))], "*.") + ":8443/")}
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: newPool(path[2:]), Intermediates: newPool(path[1:2]), KeyUsages: anyUsage, CurrentTime: time.Now()})
		var invalid x509.CertificateInvalidError
		if err != nil {
			require.True(t, errors.As(err, &invalid) && invalid.Reason == x509.CANotAuthorizedForThisName, "%v", err)
			violations++
		}
		left := maxWork
		s := &search{budget: &left}
		found := s.nameReasons(path)
		require.Equal(t, err != nil, len(found) > 0, "x509 returned %v, we found %v", err, describe(found))
	}
	assert.Greater(t, violations, rounds/10)
	assert.Less(t, violations, rounds*9/10)
}

func describe(reasons []Reason) (all []string) {
	for _, r := range reasons {
		all = append(all, r.Err.Error())
	}
	return all
}
