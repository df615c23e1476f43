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
	plenty   = time.Minute // until a test that hangs fails; nothing is expected to take as long
)

// nameServer is a name server for the test, which counts what it is asked.
type nameServer struct {
	*net.Resolver
	started time.Time
	queries atomic.Int64
}

// wasAsked asserts how many queries there were. On a machine that is so slow that net asked again there is no telling.
func (s *nameServer) wasAsked(t *testing.T, times int64) {
	t.Helper()
	const timeout = time.Second // the least that resolv.conf can set
	if asked := s.queries.Load(); time.Since(s.started) < timeout || asked < times {
		assert.Equal(t, times, asked)
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

// addresses answers with these.
func addresses(ttl uint32, addrs ...netip.Addr) respond {
	return func(_ string, query dnsmessage.Message) [][]byte {
		return tlsfarm.Response(query, ok, tlsfarm.AddressRecords(query, ttl, addrs...)...)
	}
}

// held holds the answers back until they are released.
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
	if l := c.underWay[question{name: name}]; l != nil {
		return l.waiting
	}
	return 0
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	require.Eventually(t, what, plenty, time.Millisecond)
}

func TestNameIsAskedForOnce(t *testing.T) {
	s := serveNames(t, addresses(3600, v4, v6))
	var n Cache
	for _, name := range []string{"a.example.", "a.example.", "A.Example."} {
		addrs, err := n.Addresses(t.Context(), s.Resolver, name)
		require.NoError(t, err)
		assert.ElementsMatch(t, []netip.Addr{v4, v6}, addrs)
	}
	s.wasAsked(t, 2) // for A and AAAA
	_, err := n.Addresses(t.Context(), s.Resolver, "b.example.")
	require.NoError(t, err)
	s.wasAsked(t, 4)
	assert.Empty(t, n.underWay)
}

func TestChangedAnswerIsSeenAfterTheTTL(t *testing.T) {
	var now atomic.Pointer[netip.Addr]
	now.Store(&v4)
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		return addresses(1, *now.Load())(network, query)
	})
	var n Cache
	before := time.Now()
	addrs, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	assert.Equal(t, []netip.Addr{v4}, addrs)
	now.Store(&v4b)
	eventually(t, func() bool {
		addrs, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
		return err == nil && addrs[0] == v4b
	})
	assert.GreaterOrEqual(t, time.Since(before), time.Second)
}

// Some servers say that the name does not exist where it has no address of one kind.
func TestNoSuchNameIsAnAnswer(t *testing.T) {
	lastsFor(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if only(query).Type == dnsmessage.TypeAAAA {
			return tlsfarm.Response(query, nxdomain)
		}
		return addresses(300, v4)(network, query)
	}), 300*time.Second)
}

// A server may say the name in letters of its own choice (RFC 4343, section 4.1).
func TestNameInOtherLetters(t *testing.T) {
	lastsFor(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		return [][]byte{repack(t, addresses(300, v4, v6)(network, query), func(m *dnsmessage.Message) {
			m.Questions[0].Name = dnsmessage.MustNewName("A.EXAMPLE.")
		})}
	}), 300*time.Second)
}

func TestFailureIsNotKept(t *testing.T) {
	for want, rcode := range map[failure.Type]dnsmessage.RCode{failure.DNSNotFound: nxdomain, failure.DNSError: servfail} {
		var exists atomic.Bool
		s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			if exists.Load() {
				return addresses(300, v4)(network, query)
			}
			return tlsfarm.Response(query, rcode)
		})
		notKept(t, s, true)
		var n Cache
		_, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
		assert.Equal(t, want, typeOf(err), err)
		exists.Store(true)
		addrs, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
}

func typeOf(err error) failure.Type {
	return failure.Explain(failure.Evidence{Step: failure.DNS, Err: err, Endpoint: "a.example.:443"}).Type
}

// lookUps looks a name up, n times at once.
func (s *nameServer) lookUps(t *testing.T, c *Cache, times int) (results <-chan error) {
	all := make(chan error, times)
	for range times {
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

func TestLookUpsAtOnceAreOne(t *testing.T) {
	respond, release := held(t, addresses(0, v4, v6))
	s := serveNames(t, respond)
	var n Cache
	results := s.lookUps(t, &n, 50)
	eventually(t, func() bool { return n.waitingFor("a.example.") == 50 })
	release()
	for range 50 {
		assert.NoError(t, <-results)
	}
	s.wasAsked(t, 2)
	assert.Empty(t, n.underWay)

	// However they fall, an answer that is kept is asked for once.
	s = serveNames(t, addresses(300, v4, v6))
	results = s.lookUps(t, &n, 50)
	for range 50 {
		assert.NoError(t, <-results)
	}
	s.wasAsked(t, 2)
}

func TestFailureIsSharedByThoseWhoWait(t *testing.T) {
	for want, rcode := range map[failure.Type]dnsmessage.RCode{failure.DNSNotFound: nxdomain, failure.DNSError: servfail} {
		respond, release := held(t, func(_ string, query dnsmessage.Message) [][]byte { return tlsfarm.Response(query, rcode) })
		s := serveNames(t, respond)
		var n Cache
		results := s.lookUps(t, &n, 10)
		eventually(t, func() bool { return n.waitingFor("a.example.") == 10 })
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
		var n Cache
		results := s.lookUps(t, &n, 10)
		eventually(t, func() bool { return n.waitingFor("a.example.") == 10 })
		close(gate)
		for range 10 {
			assert.Equal(t, want, typeOf(<-results))
		}
	}
}

// ending is a context that ends when it is cancelled, for a reason of the test's own.
type ending struct {
	context.Context
	why error
}

func (c ending) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return c.why
}

func TestLookUpOutlivesWhoBeganIt(t *testing.T) {
	for _, why := range []error{context.Canceled, context.DeadlineExceeded} {
		t.Run(why.Error(), func(t *testing.T) {
			respond, release := held(t, addresses(300, v4, v6))
			s := serveNames(t, respond)
			var n Cache
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error)
			go func() {
				_, err := n.Addresses(ending{ctx, why}, s.Resolver, "a.example.")
				first <- err
			}()
			eventually(t, func() bool { return n.waitingFor("a.example.") == 1 })
			others := s.lookUps(t, &n, 2)
			eventually(t, func() bool { return n.waitingFor("a.example.") == 3 })
			cancel()
			if err := <-first; errors.Is(why, context.Canceled) {
				assert.ErrorIs(t, err, why)
			} else {
				assert.Equal(t, failure.DNSTimeout, typeOf(err))
			}
			eventually(t, func() bool { return n.waitingFor("a.example.") == 2 })
			release()
			for range 2 {
				assert.NoError(t, <-others)
			}
			s.wasAsked(t, 2)
			assert.Contains(t, n.kept, question{name: "a.example."})
		})
	}
}

func TestEachWaitsAsLongAsItHasTime(t *testing.T) {
	respond, release := held(t, addresses(300, v4, v6))
	s := serveNames(t, respond)
	var n Cache
	patient := s.lookUps(t, &n, 1)
	eventually(t, func() bool { return n.waitingFor("a.example.") == 1 })

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := n.Addresses(ctx, s.Resolver, "a.example.")
	assert.Equal(t, failure.DNSTimeout, typeOf(err))
	assert.EqualError(t, err, "lookup a.example.: i/o timeout", "as net says it")
	var timeout net.Error
	assert.True(t, errors.As(err, &timeout) && timeout.Timeout())

	release()
	assert.NoError(t, <-patient)
	s.wasAsked(t, 2)
}

// deaf is a connection that reads nothing until it is closed, whatever its deadline.
type deaf struct {
	net.Conn
	ctx    context.Context // it was dialled with
	closed chan struct{}
	once   sync.Once
}

func (c *deaf) Write(p []byte) (int, error)            { return len(p), nil }
func (c *deaf) SetDeadline(time.Time) error            { return nil }
func (c *deaf) Close() error                           { c.once.Do(func() { close(c.closed) }); return nil }
func (c *deaf) Read([]byte) (int, error)               { <-c.closed; return 0, net.ErrClosed }
func (c *deaf) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }

// Or shutdown would leave goroutines behind, which wait for as long as net tries.
func TestLookUpThatNobodyWaitsForEnds(t *testing.T) {
	conns := make(chan *deaf, 100)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c := &deaf{ctx: ctx, closed: make(chan struct{})}
		conns <- c
		return c, nil
	}}
	var n Cache
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	for range 2 {
		go func() {
			_, err := n.Addresses(ctx, r, "a.example.")
			results <- err
		}()
	}
	eventually(t, func() bool { return n.waitingFor("a.example.") == 2 })
	both := []*deaf{<-conns, <-conns}
	cancel()
	<-results
	<-results
	for _, c := range both {
		deadline, _ := c.ctx.Deadline() // net's own
		late := time.Until(deadline) < time.Second
		<-c.closed
		assert.True(t, late || errors.Is(c.ctx.Err(), context.Canceled))
	}
	eventually(t, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.underWay) == 0
	})
}

func TestAddressesAreBounded(t *testing.T) {
	some := func(pattern string, n int) (addrs []netip.Addr) {
		for i := range n {
			addrs = append(addrs, netip.MustParseAddr(fmt.Sprintf(pattern, 10+i)))
		}
		return addrs
	}
	for name, c := range map[string]struct{ four, six, wantFour, wantSix int }{
		"few of both":       {20, 12, 20, 12},
		"many of both":      {100, 100, 16, 16},
		"few of the first":  {3, 100, 3, 29},
		"few of the second": {100, 3, 29, 3},
		"none of the first": {0, 33, 0, 32},
	} {
		all := slices.Concat(some("192.0.2.%d", c.four), some("2001:db8::%d", c.six))
		want := slices.Concat(some("192.0.2.%d", c.wantFour), some("2001:db8::%d", c.wantSix))
		for range 10 {
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			found := bounded(all)
			assert.True(t, slices.IsSortedFunc(found, func(a, b netip.Addr) int { return slices.Index(all, a) - slices.Index(all, b) }), "their order stays")
			assert.ElementsMatch(t, want, found, name)
		}
	}
	assert.Equal(t, []netip.Addr{v4}, bounded(slices.Repeat([]netip.Addr{v4}, 40)))
}

// A service is kept as a host is, and beside a host of the same name.
func TestServersAreKept(t *testing.T) {
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
	var n Cache
	for range 3 {
		found, err := n.Servers(t.Context(), s.Resolver, "_a.example.")
		require.NoError(t, err)
		assert.Len(t, found, MaxAddresses)
		assert.Equal(t, "b.example.", found[0].Target)
		assert.EqualValues(t, MaxAddresses-1, found[MaxAddresses-1].Port, "always the same ones")
		addrs, err := n.Addresses(t.Context(), s.Resolver, "_a.example.")
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
	s.wasAsked(t, 4) // over UDP and TCP for the servers, and for both families of addresses
}

// Who comes when a look-up was called off does not get its end.
func TestLookUpThatWasCalledOffIsMadeAnew(t *testing.T) {
	s := serveNames(t, addresses(300, v4, v6))
	off := &lookUp{cancel: func() {}, done: make(chan struct{})}
	n := Cache{kept: map[question]answer{}, underWay: map[question]*lookUp{{name: "a.example."}: off}}
	addrs, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	assert.Len(t, addrs, 2)

	// Nor does its end end the new one.
	anew := &lookUp{waiting: 1}
	n.underWay[question{name: "a.example."}] = anew
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.find(ctx, s.Resolver, question{name: "a.example."}, off)
	assert.ErrorIs(t, off.err, context.Canceled)
	assert.Same(t, anew, n.underWay[question{name: "a.example."}])
}

func TestLookUpReleasesItsContext(t *testing.T) {
	s := serveNames(t, addresses(300, v4))
	off := false
	l := &lookUp{cancel: func() { off = true }, done: make(chan struct{})}
	n := Cache{kept: map[question]answer{}, underWay: map[question]*lookUp{{name: "a.example."}: l}}
	n.find(t.Context(), s.Resolver, question{name: "a.example."}, l)
	assert.True(t, off)
}

func TestNamesAreBounded(t *testing.T) {
	s := serveNames(t, addresses(300, v4))
	n := Cache{kept: make(map[question]answer), underWay: make(map[question]*lookUp), swept: time.Now()}
	lookup := func(name string) {
		t.Helper()
		addrs, err := n.Addresses(t.Context(), s.Resolver, name)
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
	for i := range maxNames - 1 {
		n.kept[question{name: fmt.Sprint(i)}] = answer{ends: time.Now().Add(time.Hour)}
	}
	lookup("last.example.")
	assert.Contains(t, n.kept, question{name: "last.example."})
	lookup("over.example.")
	assert.Len(t, n.kept, maxNames)
	assert.NotContains(t, n.kept, question{name: "over.example."})

	// One whose time is over makes room for itself.
	n.kept[question{name: "last.example."}] = answer{ends: time.Now()}
	lookup("last.example.")
	assert.True(t, time.Now().Before(n.kept[question{name: "last.example."}].ends))
}

func TestNamesThatEndedAreLetGoOf(t *testing.T) {
	s := serveNames(t, addresses(300, v4))
	n := Cache{kept: make(map[question]answer), underWay: make(map[question]*lookUp), swept: time.Now()}
	n.kept[question{name: "gone.example."}] = answer{ends: time.Now()}
	n.kept[question{name: "here.example."}] = answer{ends: time.Now().Add(time.Hour)}
	lookup := func(name string) {
		t.Helper()
		_, err := n.Addresses(t.Context(), s.Resolver, name)
		require.NoError(t, err)
	}
	swept := n.swept
	lookup("a.example.")
	if time.Since(swept) < sweepNames {
		assert.Len(t, n.kept, 3, "going through all of them each time would cost too much")
	}
	n.swept = time.Now().Add(-sweepNames)
	lookup("b.example.")
	assert.Len(t, n.kept, 3)
	assert.NotContains(t, n.kept, question{name: "gone.example."})
	assert.Less(t, time.Since(n.swept), sweepNames)
}

// Any number of goroutines look names up, and some are called off.
func TestManyLookUps(t *testing.T) {
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
	var n Cache
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				name := strings.Repeat(string("an"[rand.IntN(2)]), 1+rand.IntN(4)) + ".example."
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					go cancel()
				}
				addrs, err := n.Addresses(ctx, s.Resolver, name)
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
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.underWay) == 0
	})
}

// BenchmarkLookup compares a look-up of a name that is kept with one that is asked for, and with net alone.
func BenchmarkLookup(b *testing.B) {
	lookups := func(b *testing.B, ttl uint32) {
		s := serveNames(b, addresses(ttl, v4, v6))
		var n Cache
		for b.Loop() {
			if _, err := n.Addresses(b.Context(), s.Resolver, "a.example."); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("kept", func(b *testing.B) { lookups(b, 3600) })
	b.Run("asked", func(b *testing.B) { lookups(b, 0) })
	b.Run("net", func(b *testing.B) {
		s := serveNames(b, addresses(0, v4, v6))
		for b.Loop() {
			if _, err := s.LookupNetIP(b.Context(), "ip", "a.example."); err != nil {
				b.Fatal(err)
			}
		}
	})
}
