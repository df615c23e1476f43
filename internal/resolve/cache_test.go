package resolve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var v4, v4b, v6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")

const (
	ok       = dnsmessage.RCodeSuccess
	nxdomain = dnsmessage.RCodeNameError
	servfail = dnsmessage.RCodeServerFailure
	hung     = time.Minute // how long a test waits before it fails; nothing takes nearly as long
)

// nameServer is a name server that counts the queries.
type nameServer struct {
	*net.Resolver
	started time.Time
	queries atomic.Int64
}

// assertQueries asserts the number of queries. If the machine is so slow that net may have repeated some, it asserts only
// the minimum.
func (s *nameServer) assertQueries(t *testing.T, want int64) {
	t.Helper()
	const timeout = time.Second // the shortest that resolv.conf can set
	if got := s.queries.Load(); time.Since(s.started) < timeout || got < want {
		assert.Equal(t, want, got)
	}
}

type respond = func(network string, query dnsmessage.Message) [][]byte

func serveNames(t testing.TB, respond respond) *nameServer {
	s := &nameServer{started: time.Now()}
	resolver, stop := tlsfarm.NameServer(func(network string, query dnsmessage.Message) [][]byte {
		s.queries.Add(1)
		return respond(network, query)
	})
	t.Cleanup(stop)
	s.Resolver = resolver
	return s
}

// addresses answers with addrs.
func addresses(ttl uint32, addrs ...netip.Addr) respond {
	return func(_ string, query dnsmessage.Message) [][]byte {
		return tlsfarm.Response(query, ok, tlsfarm.AddressRecords(query, ttl, addrs...)...)
	}
}

// held holds back the answers until release is called.
func held(t testing.TB, respond respond) (_ respond, release func()) {
	gate := make(chan struct{})
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	return func(network string, query dnsmessage.Message) [][]byte {
		<-gate
		return respond(network, query)
	}, release
}

func only(query dnsmessage.Message) dnsmessage.Question { return query.Questions[0] }

func (c *Cache) waitingFor(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lookups[key{name: name}]; l != nil {
		return l.waiting
	}
	return 0
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, hung, time.Millisecond)
}

func TestAnswerIsCached(t *testing.T) {
	s := serveNames(t, addresses(3600, v4, v6))
	var cache Cache
	for _, name := range []string{"a.example.", "a.example.", "A.Example."} {
		addrs, err := cache.Addresses(t.Context(), s.Resolver, name)
		require.NoError(t, err)
		assert.ElementsMatch(t, []netip.Addr{v4, v6}, addrs)
	}
	s.assertQueries(t, 2) // for A and AAAA
	_, err := cache.Addresses(t.Context(), s.Resolver, "b.example.")
	require.NoError(t, err)
	s.assertQueries(t, 4)
	assert.Empty(t, cache.lookups)
}

func TestExpiredAnswerIsLookedUpAgain(t *testing.T) {
	var current atomic.Pointer[netip.Addr]
	current.Store(&v4)
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		return addresses(300, *current.Load())(network, query)
	})
	var cache Cache
	assertFound := func(want netip.Addr) {
		t.Helper()
		addrs, err := cache.Addresses(t.Context(), s.Resolver, "a.example.")
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{want}, addrs)
	}
	assertFound(v4)
	current.Store(&v4b)
	assertFound(v4)
	k := key{name: "a.example."}
	e := cache.entries[k]
	e.expires = time.Now()
	cache.entries[k] = e
	assertFound(v4b)
	assert.True(t, time.Now().Before(cache.entries[k].expires), "the new answer is cached")
}

// Some servers say that a name does not exist if it has no address of the family asked for.
func TestNameErrorForOneFamilyIsAnAnswer(t *testing.T) {
	assertCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if only(query).Type == dnsmessage.TypeAAAA {
			return tlsfarm.Response(query, nxdomain)
		}
		return addresses(300, v4)(network, query)
	}), 300*time.Second)
}

// A server may change the case of a name (RFC 4343, section 4.1).
func TestAnswerInOtherCase(t *testing.T) {
	assertCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		return [][]byte{repack(t, addresses(300, v4, v6)(network, query), func(m *dnsmessage.Message) {
			m.Questions[0].Name = dnsmessage.MustNewName("A.EXAMPLE.")
		})}
	}), 300*time.Second)
}

func TestFailureIsNotCached(t *testing.T) {
	for want, rcode := range map[failure.Type]dnsmessage.RCode{failure.DNSNotFound: nxdomain, failure.DNSError: servfail} {
		var exists atomic.Bool
		s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			if exists.Load() {
				return addresses(300, v4)(network, query)
			}
			return tlsfarm.Response(query, rcode)
		})
		assertNotCached(t, s, true)
		var cache Cache
		_, err := cache.Addresses(t.Context(), s.Resolver, "a.example.")
		assert.Equal(t, want, typeOf(err), err)
		exists.Store(true)
		addrs, err := cache.Addresses(t.Context(), s.Resolver, "a.example.")
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
}

func typeOf(err error) failure.Type {
	return failure.Explain(failure.Evidence{Step: failure.DNS, Err: err, Endpoint: "a.example.:443"}).Type
}

// lookups starts n concurrent lookups of a name.
func (s *nameServer) lookups(t *testing.T, c *Cache, n int) (results <-chan error) {
	all := make(chan error, n)
	for range n {
		go func() {
			addrs, err := c.Addresses(t.Context(), s.Resolver, "a.example.")
			if err == nil && !assert.ElementsMatch(t, []netip.Addr{v4, v6}, addrs) {
				err = errors.New("other addresses")
			}
			all <- err
		}()
	}
	return all
}

func TestConcurrentLookupsShareOne(t *testing.T) {
	respond, release := held(t, addresses(0, v4, v6))
	s := serveNames(t, respond)
	var cache Cache
	results := s.lookups(t, &cache, 50)
	eventually(t, func() bool { return cache.waitingFor("a.example.") == 50 })
	release()
	for range 50 {
		assert.NoError(t, <-results)
	}
	s.assertQueries(t, 2)
	assert.Empty(t, cache.lookups)

	// The same applies if the answer may arrive before some of the lookups start.
	s = serveNames(t, addresses(300, v4, v6))
	results = s.lookups(t, &cache, 50)
	for range 50 {
		assert.NoError(t, <-results)
	}
	s.assertQueries(t, 2)
}

func TestConcurrentLookupsShareFailure(t *testing.T) {
	for want, rcode := range map[failure.Type]dnsmessage.RCode{failure.DNSNotFound: nxdomain, failure.DNSError: servfail} {
		respond, release := held(t, func(_ string, query dnsmessage.Message) [][]byte { return tlsfarm.Response(query, rcode) })
		s := serveNames(t, respond)
		var cache Cache
		results := s.lookups(t, &cache, 10)
		eventually(t, func() bool { return cache.waitingFor("a.example.") == 10 })
		release()
		for range 10 {
			assert.Equal(t, want, typeOf(<-results))
		}
	}
	for want, err := range map[failure.Type]error{failure.DNSTimeout: os.ErrDeadlineExceeded, failure.DNSError: errors.New("no way")} {
		gate := make(chan struct{})
		s := &nameServer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			<-gate
			return nil, &net.OpError{Op: "dial", Err: err}
		}}}
		var cache Cache
		results := s.lookups(t, &cache, 10)
		eventually(t, func() bool { return cache.waitingFor("a.example.") == 10 })
		close(gate)
		for range 10 {
			assert.Equal(t, want, typeOf(<-results))
		}
	}
}

// contextWithErr is a context that, once canceled, returns err.
type contextWithErr struct {
	context.Context
	err error
}

func (c contextWithErr) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return c.err
}

func TestLookupOutlivesItsFirstCaller(t *testing.T) {
	for _, ctxErr := range []error{context.Canceled, context.DeadlineExceeded} {
		t.Run(ctxErr.Error(), func(t *testing.T) {
			respond, release := held(t, addresses(300, v4, v6))
			s := serveNames(t, respond)
			var cache Cache
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error)
			go func() {
				_, err := cache.Addresses(contextWithErr{ctx, ctxErr}, s.Resolver, "a.example.")
				first <- err
			}()
			eventually(t, func() bool { return cache.waitingFor("a.example.") == 1 })
			others := s.lookups(t, &cache, 2)
			eventually(t, func() bool { return cache.waitingFor("a.example.") == 3 })
			cancel()
			if err := <-first; errors.Is(ctxErr, context.Canceled) {
				assert.ErrorIs(t, err, ctxErr)
			} else {
				assert.Equal(t, failure.DNSTimeout, typeOf(err))
			}
			eventually(t, func() bool { return cache.waitingFor("a.example.") == 2 })
			release()
			for range 2 {
				assert.NoError(t, <-others)
			}
			s.assertQueries(t, 2)
			assert.Contains(t, cache.entries, key{name: "a.example."})
		})
	}
}

func TestDeadlinesAreIndependent(t *testing.T) {
	respond, release := held(t, addresses(300, v4, v6))
	s := serveNames(t, respond)
	var cache Cache
	patient := s.lookups(t, &cache, 1)
	eventually(t, func() bool { return cache.waitingFor("a.example.") == 1 })

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := cache.Addresses(ctx, s.Resolver, "a.example.")
	assert.Equal(t, failure.DNSTimeout, typeOf(err))
	assert.EqualError(t, err, "lookup a.example.: i/o timeout", "the text of package net")
	var timeout net.Error
	assert.True(t, errors.As(err, &timeout) && timeout.Timeout())

	release()
	assert.NoError(t, <-patient)
	s.assertQueries(t, 2)
}

// silentConn is a connection on which Read blocks until it is closed, whatever its deadline.
type silentConn struct {
	net.Conn
	ctx    context.Context // that it was dialed with
	closed chan struct{}
	once   sync.Once
}

func (c *silentConn) Write(p []byte) (int, error)            { return len(p), nil }
func (c *silentConn) SetDeadline(time.Time) error            { return nil }
func (c *silentConn) Close() error                           { c.once.Do(func() { close(c.closed) }); return nil }
func (c *silentConn) Read([]byte) (int, error)               { <-c.closed; return 0, net.ErrClosed }
func (c *silentConn) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }

// Otherwise goroutines would remain after shutdown, until net gives up.
func TestLookupIsCanceledIfNobodyWaits(t *testing.T) {
	conns := make(chan *silentConn, 100)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c := &silentConn{ctx: ctx, closed: make(chan struct{})}
		conns <- c
		return c, nil
	}}
	var cache Cache
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	for range 2 {
		go func() {
			_, err := cache.Addresses(ctx, r, "a.example.")
			results <- err
		}()
	}
	eventually(t, func() bool { return cache.waitingFor("a.example.") == 2 })
	both := []*silentConn{<-conns, <-conns}
	cancel()
	<-results
	<-results
	for _, c := range both {
		deadline, _ := c.ctx.Deadline()            // net's own
		slow := time.Until(deadline) < time.Second // then net may have given up by itself
		<-c.closed
		assert.True(t, slow || errors.Is(c.ctx.Err(), context.Canceled))
	}
	eventually(t, func() bool {
		cache.mu.Lock()
		defer cache.mu.Unlock()
		return len(cache.lookups) == 0
	})
}

func TestAddressesAreLimited(t *testing.T) {
	list := func(pattern string, n int) (addrs []netip.Addr) {
		for i := range n {
			addrs = append(addrs, netip.MustParseAddr(fmt.Sprintf(pattern, 10+i)))
		}
		return addrs
	}
	for name, c := range map[string]struct{ v4, v6, want4, want6 int }{
		"few of both":  {20, 12, 20, 12},
		"many of both": {100, 100, 16, 16},
		"few IPv4":     {3, 100, 3, 29},
		"few IPv6":     {100, 3, 29, 3},
		"no IPv4":      {0, 33, 0, 32},
		"no IPv6":      {33, 0, 32, 0},
	} {
		all := slices.Concat(list("192.0.2.%d", c.v4), list("2001:db8::%d", c.v6))
		want := slices.Concat(list("192.0.2.%d", c.want4), list("2001:db8::%d", c.want6))
		for range 10 {
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			got := limitUnsorted(all)
			assert.True(t, slices.IsSortedFunc(got, func(a, b netip.Addr) int { return slices.Index(all, a) - slices.Index(all, b) }), "the order has changed")
			assert.ElementsMatch(t, want, got, name)
		}
	}
	assert.Equal(t, []netip.Addr{v4}, limitUnsorted(slices.Repeat([]netip.Addr{v4}, 40)))
}

// A service and a host of the same name are cached separately.
func TestServersAreCached(t *testing.T) {
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		q := query.Questions[0]
		if q.Type != dnsmessage.TypeSRV {
			return addresses(300, v4)(network, query)
		}
		servers := make([]dnsmessage.Resource, 2*MaxAddresses+10)
		for i := range servers {
			servers[i] = dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 300},
				Body:   &dnsmessage.SRVResource{Port: uint16(i / 2), Weight: uint16(i % 2), Target: dnsmessage.MustNewName("b.example.")},
			}
		}
		if network == "udp" {
			return [][]byte{repack(t, tlsfarm.Response(query, dnsmessage.RCodeSuccess), func(m *dnsmessage.Message) { m.Truncated = true })}
		}
		return tlsfarm.Response(query, dnsmessage.RCodeSuccess, servers...)
	})
	var cache Cache
	for range 3 {
		found, err := cache.Servers(t.Context(), s.Resolver, "_a.example.")
		require.NoError(t, err)
		assert.Len(t, found, MaxAddresses)
		assert.Equal(t, "b.example.", found[0].Target)
		assert.EqualValues(t, MaxAddresses-1, found[MaxAddresses-1].Port, "the first ones in a fixed order")
		addrs, err := cache.Addresses(t.Context(), s.Resolver, "_a.example.")
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
	s.assertQueries(t, 4) // for the servers over UDP and TCP, and for both families of addresses
}

// Callers that come after a lookup was canceled start another one.
func TestCanceledLookupIsReplaced(t *testing.T) {
	s := serveNames(t, addresses(300, v4, v6))
	k := key{name: "a.example."}
	canceled := &lookup{cancel: func() {}, done: make(chan struct{})}
	cache := Cache{entries: map[key]entry{}, lookups: map[key]*lookup{k: canceled}}
	addrs, err := cache.Addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	assert.Len(t, addrs, 2)

	// When the canceled lookup returns, the other one stays.
	other := &lookup{waiting: 1}
	cache.lookups[k] = other
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cache.run(ctx, s.Resolver, k, canceled)
	assert.ErrorIs(t, canceled.err, context.Canceled)
	assert.Same(t, other, cache.lookups[k])
}

func TestLookupReleasesItsContext(t *testing.T) {
	s := serveNames(t, addresses(300, v4))
	released := false
	k := key{name: "a.example."}
	l := &lookup{cancel: func() { released = true }, done: make(chan struct{})}
	cache := Cache{entries: map[key]entry{}, lookups: map[key]*lookup{k: l}}
	cache.run(t.Context(), s.Resolver, k, l)
	assert.True(t, released)
}

func TestEntriesAreLimited(t *testing.T) {
	s := serveNames(t, addresses(300, v4))
	cache := Cache{entries: make(map[key]entry), lookups: make(map[key]*lookup), swept: time.Now()}
	lookup := func(name string) {
		t.Helper()
		addrs, err := cache.Addresses(t.Context(), s.Resolver, name)
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
	for i := range maxEntries - 1 {
		cache.entries[key{name: fmt.Sprint(i)}] = entry{expires: time.Now().Add(time.Hour)}
	}
	lookup("last.example.")
	assert.Contains(t, cache.entries, key{name: "last.example."})
	lookup("over.example.")
	assert.Len(t, cache.entries, maxEntries)
	assert.NotContains(t, cache.entries, key{name: "over.example."})

	// An expired entry can be replaced, even if the cache is full.
	cache.entries[key{name: "last.example."}] = entry{expires: time.Now()}
	lookup("last.example.")
	assert.True(t, time.Now().Before(cache.entries[key{name: "last.example."}].expires))
}

func TestExpiredEntriesAreRemoved(t *testing.T) {
	s := serveNames(t, addresses(300, v4))
	cache := Cache{entries: make(map[key]entry), lookups: make(map[key]*lookup), swept: time.Now()}
	cache.entries[key{name: "expired.example."}] = entry{expires: time.Now()}
	cache.entries[key{name: "valid.example."}] = entry{expires: time.Now().Add(time.Hour)}
	lookup := func(name string) {
		t.Helper()
		_, err := cache.Addresses(t.Context(), s.Resolver, name)
		require.NoError(t, err)
	}
	swept := cache.swept
	lookup("a.example.")
	if time.Since(swept) < sweepInterval {
		assert.Len(t, cache.entries, 3, "removed too early: it costs too much to do each time")
	}
	cache.swept = time.Now().Add(-sweepInterval)
	lookup("b.example.")
	assert.Len(t, cache.entries, 3)
	assert.NotContains(t, cache.entries, key{name: "expired.example."})
	assert.Less(t, time.Since(cache.swept), sweepInterval)
}

// Many goroutines look up names, and some of them give up.
func TestManyLookups(t *testing.T) {
	of := func(name string) netip.Addr {
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(len(name))})
	}
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		name := only(query).Name.String()
		if strings.HasPrefix(name, "n") {
			return tlsfarm.Response(query, nxdomain)
		}
		return addresses(uint32(len(name)%2), of(name))(network, query)
	})
	var cache Cache
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				name := strings.Repeat(string("an"[rand.IntN(2)]), 1+rand.IntN(4)) + ".example."
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					go cancel()
				}
				addrs, err := cache.Addresses(ctx, s.Resolver, name)
				switch {
				case ctx.Err() != nil && err != nil:
				case name[0] == 'n':
					assert.Equal(t, failure.DNSNotFound, typeOf(err))
				default:
					assert.NoError(t, err)
					assert.Equal(t, []netip.Addr{of(name)}, addrs)
				}
				cancel()
			}
		})
	}
	all.Wait()
	eventually(t, func() bool {
		cache.mu.Lock()
		defer cache.mu.Unlock()
		return len(cache.lookups) == 0
	})
}

// BenchmarkLookup compares a lookup of a cached name, a lookup of one that is not, and package net alone.
func BenchmarkLookup(b *testing.B) {
	lookups := func(b *testing.B, ttl uint32) {
		s := serveNames(b, addresses(ttl, v4, v6))
		var cache Cache
		for b.Loop() {
			if _, err := cache.Addresses(b.Context(), s.Resolver, "a.example."); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("cached", func(b *testing.B) { lookups(b, 3600) })
	b.Run("not cached", func(b *testing.B) { lookups(b, 0) })
	b.Run("net", func(b *testing.B) {
		s := serveNames(b, addresses(0, v4, v6))
		for b.Loop() {
			if _, err := s.LookupNetIP(b.Context(), "ip", "a.example."); err != nil {
				b.Fatal(err)
			}
		}
	})
}
