package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/resolve"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// zone holds the records of a name server. They can be changed while it runs.
type zone struct {
	mu        sync.Mutex
	addresses map[string][]string                 // by name
	services  map[string][]dnsmessage.SRVResource // by name
}

// resolver starts the name server and returns a resolver that uses it.
func (z *zone) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	resolver, stop := tlsfarm.NameServer(func(_ string, query dnsmessage.Message) [][]byte {
		z.mu.Lock()
		defer z.mu.Unlock()
		q := query.Questions[0]
		if q.Type == dnsmessage.TypeSRV {
			var records []dnsmessage.Resource
			for _, s := range z.services[q.Name.String()] {
				records = append(records, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}, Body: &s})
			}
			return tlsfarm.Response(query, dnsmessage.RCodeSuccess, records...)
		}
		names, known := z.addresses[q.Name.String()]
		if !known {
			return tlsfarm.Response(query, dnsmessage.RCodeNameError)
		}
		var addrs []netip.Addr
		for _, a := range names {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return tlsfarm.Response(query, dnsmessage.RCodeSuccess, tlsfarm.AddressRecords(query, 0, addrs...)...)
	})
	t.Cleanup(stop)
	return resolver
}

// set replaces the addresses of a name. Without addresses, the name does not exist.
func (z *zone) set(name string, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.addresses, name)
	if len(addresses) > 0 {
		z.addresses[name] = addresses
	}
}

// serveAt starts a TLS server on a loopback address and returns its port. If port is 0, a free port is chosen.
func serveAt(t *testing.T, address string, port uint16, c tls.Certificate) uint16 {
	t.Helper()
	s := tlsfarm.ServeOn(fmt.Sprintf("%s:%d", address, port), func(conn net.Conn) {
		tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{c}})
	})
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Endpoint()).Port()
}

// describe describes each outcome in a few words.
func describe(outcomes []Outcome) string {
	var all []string
	for _, o := range outcomes {
		line := o.Common().Name()
		if _, gone := o.(*Gone); gone {
			line += " gone"
		} else if f := o.Common().Failure; f != nil {
			line += " " + string(f.Type)
		} else if leaf := Leaf(o); leaf != nil {
			line += " " + leaf.Subject.CommonName
		}
		all = append(all, line)
	}
	return strings.Join(all, ", ")
}

// addressOutcomes returns the outcomes of single addresses.
func addressOutcomes(outcomes []Outcome) (all []*AddressOutcome) {
	for _, o := range outcomes {
		if a, ok := o.(*AddressOutcome); ok {
			all = append(all, a)
		}
	}
	return all
}

func TestEachAddressIsProbed(t *testing.T) {
	one, two := root.Issue("one", tlsfarm.Names("pool.example")), root.Issue("two", tlsfarm.Names("pool.example"))
	port := serveAt(t, "127.0.0.2", 0, one)
	serveAt(t, "127.0.0.3", port, two)
	serveAt(t, "127.0.0.4", port, one)
	z := &zone{addresses: map[string][]string{"pool.example.": {"127.0.0.4", "127.0.0.3", "127.0.0.2", "127.0.0.5", "127.0.0.2"}}}
	p := &Prober{Resolver: z.resolver(t)}
	tt := newTarget(t, fmt.Sprintf("pool.example.:%d", port))
	tt.ResolveAll = true
	e := tt.Endpoint.String()
	name := func(address string) string { return fmt.Sprintf("%s (%s:%d)", e, address, port) }

	outcomes := p.ProbeAddresses(t.Context(), tt)
	assert.Equal(t, fmt.Sprintf("%s, %s one, %s two, %s one, %s connection_refused", e, name("127.0.0.2"), name("127.0.0.3"), name("127.0.0.4"), name("127.0.0.5")), describe(outcomes))
	endpoint := outcomes[0].(*EndpointOutcome)
	require.NotNil(t, endpoint.Pool)
	assert.Len(t, endpoint.Pool.Peers, 4)
	assert.Equal(t, 2, endpoint.Pool.Certificates())
	require.Len(t, endpoint.Lookups, 1)
	assert.Equal(t, "pool.example.", endpoint.Lookups[0].Name)
	assert.Len(t, endpoint.Lookups[0].Addrs, 5)
	assert.Nil(t, endpoint.Handshake)
	assert.False(t, endpoint.End.Before(endpoint.Start))
	probed := addressOutcomes(outcomes)
	require.Len(t, probed, 4)
	for _, o := range probed {
		assert.Empty(t, o.Lookups, "the endpoint's look-up is shared by all addresses")
		assert.Equal(t, port, o.Port())
		require.Len(t, o.Dials, 1)
		assert.Equal(t, o.Place.Peer, o.Dials[0].Addr)
	}
	assert.False(t, probed[0].Handshake.FromCache)
	assert.Contains(t, probed[3].Failure.Cause, "127.0.0.5")

	// Each address has its own history, which is dropped when the address is gone.
	z.set("pool.example.", "127.0.0.2", "127.0.0.3")
	outcomes = p.ProbeAddresses(t.Context(), tt)
	assert.ElementsMatch(t, strings.Split(fmt.Sprintf("%s, %s one, %s two, %s gone, %s gone", e, name("127.0.0.2"), name("127.0.0.3"), name("127.0.0.4"), name("127.0.0.5")), ", "), strings.Split(describe(outcomes), ", "))
	probed = addressOutcomes(outcomes)
	assert.True(t, probed[0].Handshake.FromCache && probed[1].Handshake.FromCache)

	// If the look-up fails, the endpoint has the failure, and no address counts as gone.
	z.set("pool.example.")
	outcomes = p.ProbeAddresses(t.Context(), tt)
	assert.Equal(t, e+" dns_not_found", describe(outcomes))
	assert.Nil(t, outcomes[0].(*EndpointOutcome).Pool)
	z.set("pool.example.", "127.0.0.2", "127.0.0.3")
	outcomes = p.ProbeAddresses(t.Context(), tt)
	require.Len(t, outcomes, 3)
	assert.True(t, addressOutcomes(outcomes)[0].Handshake.FromCache)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Empty(t, p.ProbeAddresses(ctx, tt))
}

func TestEachAddressOfAnEndpointThatIsAnAddress(t *testing.T) {
	tt := serve(t, healthy())
	outcomes := (&Prober{}).ProbeAddresses(t.Context(), tt)
	assert.Equal(t, fmt.Sprintf("%[1]s, %[1]s (%[1]s) healthy", tt.Endpoint), describe(outcomes))
	assert.Empty(t, outcomes[0].(*EndpointOutcome).Lookups)
}

func TestFilesAreComparedWithEachAddress(t *testing.T) {
	disk, stale := root.Issue("disk", tlsfarm.Names("pool.example")), root.Issue("stale", tlsfarm.Names("pool.example"))
	port := serveAt(t, "127.0.0.2", 0, disk)
	serveAt(t, "127.0.0.3", port, stale)
	z := &zone{addresses: map[string][]string{"pool.example.": {"127.0.0.2", "127.0.0.3"}}}
	p := &Prober{Resolver: z.resolver(t)}
	tt := newTarget(t, fmt.Sprintf("pool.example.:%d", port))
	tt.Files.Pattern = filepath.Join(t.TempDir(), "site.pem")
	write(t, tt.Files.Pattern, chain(disk))
	for range 2 {
		require.Len(t, files(p, tt), 1)
		probed := addressOutcomes(p.ProbeAddresses(t.Context(), tt))
		assert.Empty(t, probed[0].Handshake.Warnings)
		assert.True(t, probed[0].Handshake.OnDisk[0].Served)
		assert.Equal(t, []failure.Type{failure.FileMismatch}, probed[1].Handshake.Warnings)
		assert.False(t, probed[1].Handshake.OnDisk[0].Since.IsZero())
	}
}

func TestEachServerOfAServiceIsProbed(t *testing.T) {
	ours := root.Issue("ours", tlsfarm.Names("example.com"))
	port := serveAt(t, "127.0.0.2", 0, ours)
	other := serveAt(t, "127.0.0.3", 0, root.Issue("other", tlsfarm.Names("mx.example.com")))
	z := &zone{
		addresses: map[string][]string{"one.example.": {"127.0.0.2"}, "two.example.": {"127.0.0.3"}},
		services: map[string][]dnsmessage.SRVResource{"_imaps._tcp.example.com.": {
			{Port: port, Target: dnsmessage.MustNewName("one.example.")},
			{Port: other, Target: dnsmessage.MustNewName("two.example.")},
			{Port: port, Target: dnsmessage.MustNewName("missing.example.")},
		}},
	}
	e, err := target.ParseService("_imaps._tcp.example.com")
	require.NoError(t, err)
	tt := newTarget(t, "localhost:1")
	tt.Endpoint = e
	p := &Prober{Resolver: z.resolver(t)}
	outcomes := p.ProbeAddresses(t.Context(), tt)
	assert.Equal(t, fmt.Sprintf("%[1]s, %[1]s (127.0.0.2:%[2]d) ours, %[1]s (127.0.0.3:%[3]d) hostname_mismatch", e, port, other), describe(outcomes))
	assert.Equal(t, "example.com", tt.ServerName())

	// Each look-up is a separate step.
	endpoint := outcomes[0].(*EndpointOutcome)
	require.Len(t, endpoint.Lookups, 4)
	service := endpoint.Lookups[0]
	assert.Equal(t, "_imaps._tcp.example.com", service.Name)
	assert.ElementsMatch(t, []string{fmt.Sprintf("one.example:%d", port), fmt.Sprintf("two.example:%d", other), fmt.Sprintf("missing.example:%d", port)}, service.Servers)
	found := map[string]string{}
	for _, l := range endpoint.Lookups[1:] {
		found[l.Name] = fmt.Sprint(l.Addrs, l.Failure != nil)
		assert.False(t, l.Start.Before(service.End))
		assert.False(t, l.End.Before(l.Start))
	}
	assert.Equal(t, map[string]string{"one.example.": "[127.0.0.2] false", "two.example.": "[127.0.0.3] false", "missing.example.": "[] true"}, found)

	for cause, servers := range map[string][]dnsmessage.SRVResource{
		"DNS has no servers for the service _imaps._tcp.example.com.":                                        nil,
		"lookup _imaps._tcp.example.com: its record says that there is no such service":                      {{Target: dnsmessage.MustNewName(".")}},
		"DNS has no address for missing.example., which is a server of the service _imaps._tcp.example.com.": {{Port: port, Target: dnsmessage.MustNewName("missing.example.")}},
	} {
		z.mu.Lock()
		z.services = map[string][]dnsmessage.SRVResource{}
		if servers != nil {
			z.services["_imaps._tcp.example.com."] = servers
		}
		z.mu.Unlock()
		outcomes := p.ProbeAddresses(t.Context(), tt)
		assert.Equal(t, fmt.Sprintf("%s dns_not_found", e), describe(outcomes))
		assert.Contains(t, outcomes[0].Common().Failure.Cause+outcomes[0].Common().Failure.Message, cause)
	}
}

// Each of the two servers has the maximum number of addresses, half of them IPv4 and half IPv6.
func TestAddressesOfAServiceAreOfBothFamilies(t *testing.T) {
	z := &zone{addresses: map[string][]string{}, services: map[string][]dnsmessage.SRVResource{}}
	for i, name := range []string{"one.example.", "two.example."} {
		for n := range resolve.MaxAddresses / 2 {
			z.addresses[name] = append(z.addresses[name], fmt.Sprintf("192.0.2.%d", 100*i+n), fmt.Sprintf("2001:db8::%d:%d", i, n))
		}
		z.services["_imaps._tcp.example.com."] = append(z.services["_imaps._tcp.example.com."],
			dnsmessage.SRVResource{Port: 993, Target: dnsmessage.MustNewName(name)})
	}
	e, err := target.ParseService("_imaps._tcp.example.com")
	require.NoError(t, err)
	r := &run{prober: &Prober{Resolver: z.resolver(t)}, About: &About{Target: &target.Target{Endpoint: e}}, Attempt: &Attempt{}}
	addrs, ok := r.allAddresses(t.Context())
	require.True(t, ok)
	require.Len(t, addrs, resolve.MaxAddresses)
	assert.True(t, addrs[resolve.MaxAddresses/2-1].Addr().Is4())
	assert.True(t, addrs[resolve.MaxAddresses/2].Addr().Is6())
}
