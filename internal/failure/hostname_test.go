package failure

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// mismatch explains that a certificate is not valid for name.
func mismatch(c *x509.Certificate, name string) *Failure {
	return Explain(Evidence{ServerName: name, Verdict: &certs.Verdict{
		Chain: []*x509.Certificate{c}, Reasons: []certs.Reason{{Fault: certs.NameMismatch, Cert: c}},
	}})
}

// advised returns the value for server_name_override that a fix contains, or an empty string.
func advised(fix string) string {
	m := regexp.MustCompile(`set tls server_name_override to (?:a name that \S+ covers, such as )?(\S+)\.$`).FindStringSubmatch(fix)
	if m == nil {
		return ""
	}
	return m[1]
}

func parseURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func TestNameMismatch(t *testing.T) {
	for name, c := range map[string]struct {
		cert   x509.Certificate
		wanted string // api.example if empty
		cause  string // after the first sentence's "The certificate is not valid for WANTED"
		fix    string
	}{
		"one name": {
			cert:  x509.Certificate{DNSNames: []string{"old.example"}},
			cause: ", only for old.example.",
			fix:   "Reissue it with api.example among its names, or set tls server_name_override to old.example.",
		},
		"wildcard": {
			cert:  x509.Certificate{DNSNames: []string{"*.old.example"}},
			cause: ", only for *.old.example.",
			fix:   "Reissue it with api.example among its names, or set tls server_name_override to a name that *.old.example covers, such as api.old.example.",
		},
		"wildcard of the domain above": {
			cert: x509.Certificate{DNSNames: []string{"*.example.com"}}, wanted: "a.b.example.com",
			cause: ", only for *.example.com. The wildcard in *.example.com stands for exactly one label.",
			fix:   "Reissue it with a.b.example.com among its names, or set tls server_name_override to a name that *.example.com covers, such as a.example.com.",
		},
		"wildcard of the domain itself": {
			cert: x509.Certificate{DNSNames: []string{"*.example.com"}}, wanted: "example.com",
			cause: ", only for *.example.com. The wildcard in *.example.com stands for exactly one label.",
			fix:   "Reissue it with example.com among its names, or set tls server_name_override to a name that *.example.com covers, such as www.example.com.",
		},
		"wildcard for an address": {
			cert: x509.Certificate{DNSNames: []string{"*.example.com"}}, wanted: "10.0.0.1",
			cause: ", only for *.example.com.",
			fix:   "Reissue it with an IP entry for 10.0.0.1 among its names, or set tls server_name_override to a name that *.example.com covers, such as www.example.com.",
		},
		"wildcard within a label": {
			cert: x509.Certificate{DNSNames: []string{"ap*.example", "x.example"}},
			cause: ", only for ap*.example, x.example. The closest of these is x.example." +
				" The wildcard in ap*.example does not count, as it is not the whole first label.",
			fix: "Reissue it with api.example among its names, or set tls server_name_override to x.example.",
		},
		"wildcard alone": {
			cert:  x509.Certificate{DNSNames: []string{"*"}},
			cause: ". It has only *. The wildcard * is not followed by a domain, so it stands for no name with a dot.",
			fix:   "Reissue it with api.example among its names.",
		},
		"final dot": {
			cert:  x509.Certificate{DNSNames: []string{"api.example."}},
			cause: ". It has only api.example.. The final dot of api.example. makes it another name.",
			fix:   "Reissue it with api.example among its names.",
		},
		"URL": {
			cert:  x509.Certificate{DNSNames: []string{"https://api.example"}},
			cause: `. It has only https://api.example. "https://api.example" is not the name of a host.`,
			fix:   "Reissue it with api.example among its names.",
		},
		"workload": {
			cert:  x509.Certificate{URIs: []*url.URL{parseURL("spiffe://mesh.example/ns/a/sa/b")}},
			cause: ". It has only spiffe://mesh.example/ns/a/sa/b. That is the identity of a workload (SPIFFE), not the name of a host: clients that check the name refuse the certificate.",
			fix:   "Reissue it with api.example among its names.",
		},
		"person": {
			cert:  x509.Certificate{EmailAddresses: []string{"a@b.example"}},
			cause: ". It has only a@b.example. That is not the name of a host: clients that check the name refuse the certificate.",
			fix:   "Reissue it with api.example among its names.",
		},
		"address as a DNS name": {
			cert: x509.Certificate{DNSNames: []string{"10.0.0.1"}}, wanted: "10.0.0.1",
			cause: ". It has only 10.0.0.1. It has this address as a DNS name, which clients do not accept for an address.",
			fix:   "Reissue it with an IP entry for 10.0.0.1 among its names.",
		},
		"IPv6 address as a DNS name": {
			cert: x509.Certificate{DNSNames: []string{"api.example", "FD00:0::1"}}, wanted: "fd00::1",
			cause: ", only for api.example. It has this address as a DNS name, which clients do not accept for an address.",
			fix:   "Reissue it with an IP entry for fd00::1 among its names, or set tls server_name_override to api.example.",
		},
		"another address as a DNS name": {
			cert:  x509.Certificate{DNSNames: []string{"10.0.0.1"}},
			cause: ". It has only 10.0.0.1. 10.0.0.1 is an address, but it is a DNS name in the certificate, which clients do not accept for an address.",
			fix:   "Reissue it with api.example among its names.",
		},
		"address": {
			cert:  x509.Certificate{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1), net.IPv4(10, 0, 0, 2)}},
			cause: ", only for 10.0.0.1, 10.0.0.2.",
			fix:   "Reissue it with api.example among its names, or set tls server_name_override to 10.0.0.1.",
		},
		"another address, and a name": {
			cert:   x509.Certificate{DNSNames: []string{"*.example", "b.example"}, IPAddresses: []net.IP{net.IPv6loopback}},
			wanted: "10.0.0.1",
			cause:  ", only for *.example, b.example, ::1.",
			fix:    "Reissue it with an IP entry for 10.0.0.1 among its names, or set tls server_name_override to b.example.",
		},
		"names of other kinds": {
			cert:  x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}}}},
			cause: ". None of its subject alternative names is a DNS name or an address.",
			fix:   "Reissue it with api.example in its subject alternative names.",
		},
		"no names, for an address": {
			wanted: "::1",
			cause:  ". It has no subject alternative names, and its common name does not count.",
			fix:    "Reissue it with an IP entry for ::1 in its subject alternative names.",
		},
		"no names": {
			cause: ". It has no subject alternative names, and its common name does not count.",
			fix:   "Reissue it with api.example in its subject alternative names.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.wanted == "" {
				c.wanted = "api.example"
			}
			f := mismatch(&c.cert, c.wanted)
			assert.Equal(t, "The certificate is not valid for "+c.wanted+c.cause, f.Cause)
			assert.Equal(t, c.fix, f.Fix)
		})
	}
}

func TestWildcardOfALongDomain(t *testing.T) {
	const maxHost = 253
	long := strings.Repeat("c.", 125) + "c"
	require.Len(t, "a."+long, maxHost)
	for _, wanted := range []string{"other.example", strings.Repeat("b", 63) + ".example", long} {
		f := mismatch(&x509.Certificate{DNSNames: []string{"*." + long}}, wanted)
		assert.NotContains(t, f.Cause, "is not the name of a host")
		assert.Equal(t, "a."+long, advised(f.Fix), wanted)
	}
	f := mismatch(&x509.Certificate{DNSNames: []string{"*.cc" + long[1:]}}, "other.example") // no host has such a name
	assert.Contains(t, f.Cause, "is not the name of a host")
	assert.Empty(t, advised(f.Fix))
}

func TestClosestOfManyNames(t *testing.T) {
	names := make([]string, 0, 20_000) // in a certificate, as many as crypto/tls accepts
	for i := range cap(names) - 1 {
		names = append(names, fmt.Sprintf("host-%d.x", i))
	}
	names = append(names, "ape.Example")
	f := mismatch(&x509.Certificate{DNSNames: names}, "api.example")
	assert.Contains(t, f.Cause, "and 19995 more. The closest of these is ape.Example.")
	assert.Equal(t, "ape.Example", advised(f.Fix))

	// These names take all steps.
	for i := range names {
		names[i] = fmt.Sprintf("%05d.%s", i, strings.Repeat("c.", 100)+"c")
	}
	wanted := strings.Repeat("b.", 100) + "api.example"
	names = append(names[:1000], wanted[:50]+"x"+wanted[51:])
	f = mismatch(&x509.Certificate{DNSNames: names}, wanted)
	assert.Equal(t, names[1000], advised(f.Fix))
}

func TestDifferencesTakeBoundedSteps(t *testing.T) {
	a, b := "a"+strings.Repeat("bc", 100)+"d", "d"+strings.Repeat("cb", 100)+"a" // the most expensive to compare
	steps := 100_000
	assert.Equal(t, distance(a, b), differences(a, b, math.MaxInt, &steps))
	for range 100 {
		assert.GreaterOrEqual(t, differences(a, b, math.MaxInt, &steps), distance(a, b))
	}
	assert.Equal(t, 100_000-2*202*202, steps)

	steps = 1
	assert.Equal(t, 1, differences("ape.example", "api.example", math.MaxInt, &steps), "one place")
	assert.Zero(t, steps)
	assert.Equal(t, 3, differences("ape.example", "apixy.example", math.MaxInt, &steps), "no steps are left")
}

// Whatever names a certificate has, the receiver accepts what the fix advises, and the certificate is valid for it.
func TestAdvisedNameIsValid(t *testing.T) {
	pieces := []string{
		"api", "example", "com", "*", ".", ".", ".", "..", "-", "_", "_srv", "xn--mnchen-3ya", "münchen", "例え", "API", "10", "0", "1", ":", "::1",
		"[", "]", "/", "https://", "@", " ", "\x00", "\n", "\u200b", "\xff", "%eth0", "ß", "ſ", "K", "…", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a.", 60),
	}
	random := rand.New(rand.NewPCG(1, 2))
	name := func() string {
		var b strings.Builder
		for range 1 + random.IntN(7) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		return b.String()
	}
	wanted := []string{"api.example", "a.b.example.com", "example", "10.0.0.1", "::1", "-.example", "_x.example", strings.Repeat("a.", 126) + "a", strings.Repeat("a", 63) + ".example"}
	count := 0
	for range 20_000 {
		c := &x509.Certificate{}
		for range random.IntN(4) {
			c.DNSNames = append(c.DNSNames, name())
		}
		if random.IntN(4) == 0 {
			ip := make(net.IP, []int{0, 3, 4, 8, 16}[random.IntN(5)])
			c.IPAddresses = append(c.IPAddresses, ip)
		}
		if random.IntN(4) == 0 {
			c.EmailAddresses = append(c.EmailAddresses, name())
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: name()})
		}
		w := wanted[random.IntN(len(wanted))]
		if c.VerifyHostname(w) == nil {
			continue
		}
		f := mismatch(c, w)
		override := advised(f.Fix)
		if override == "" {
			require.NotContains(t, f.Fix, "server_name_override", "%q", c.DNSNames)
			continue
		}
		count++
		config := clienttls.New(configtls.ClientConfig{ServerName: override})
		block := clienttls.NewBlocks(0, zap.NewNop()).Get("", &config)
		require.Empty(t, block.Errs(), "%q", c.DNSNames)
		tt := target.Target{TLS: block.With(clienttls.Offer{}).Config}
		require.NoError(t, c.VerifyHostname(tt.ServerName()), "%q", c.DNSNames)
	}
	assert.Greater(t, count, 1000)
}
