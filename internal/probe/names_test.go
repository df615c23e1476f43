package probe

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

// repack is the response with something changed.
func repack(t *testing.T, response [][]byte, change func(*dnsmessage.Message)) []byte {
	var m dnsmessage.Message
	assert.NoError(t, m.Unpack(response[0]))
	change(&m)
	packed, err := m.Pack()
	assert.NoError(t, err)
	return packed
}

func (n *names) waitingFor(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.underWay[question{name: name}]; l != nil {
		return l.waiting
	}
	return 0
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	require.Eventually(t, what, plenty, time.Millisecond)
}

// lastsFor asserts that the answer is kept, for so long since it came.
func lastsFor(t *testing.T, s *nameServer, want time.Duration) {
	t.Helper()
	var n names
	before := time.Now()
	_, err := n.addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	after := time.Now()
	require.Contains(t, n.kept, question{name: "a.example."})
	ends := n.kept[question{name: "a.example."}].ends
	assert.False(t, ends.Before(before.Add(want)), ends.Sub(before))
	assert.False(t, ends.After(after.Add(want)), ends.Sub(after))
}

// notKept asserts that the name is asked for each time.
func notKept(t *testing.T, s *nameServer, wantErr bool) {
	t.Helper()
	var n names
	asked := s.queries.Load()
	for range 3 {
		_, err := n.addresses(t.Context(), s.Resolver, "a.example.")
		assert.Equal(t, wantErr, err != nil, err)
		assert.Empty(t, n.kept)
		assert.Empty(t, n.underWay)
		assert.Greater(t, s.queries.Load(), asked)
		asked = s.queries.Load()
	}
}

func TestNameIsAskedForOnce(t *testing.T) {
	s := serveNames(t, addresses(3600, v4, v6))
	var n names
	for _, name := range []string{"a.example.", "a.example.", "A.Example."} {
		addrs, err := n.addresses(t.Context(), s.Resolver, name)
		require.NoError(t, err)
		assert.ElementsMatch(t, []netip.Addr{v4, v6}, addrs)
	}
	s.wasAsked(t, 2) // for A and AAAA
	_, err := n.addresses(t.Context(), s.Resolver, "b.example.")
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
	var n names
	before := time.Now()
	addrs, err := n.addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	assert.Equal(t, []netip.Addr{v4}, addrs)
	now.Store(&v4b)
	eventually(t, func() bool {
		addrs, err := n.addresses(t.Context(), s.Resolver, "a.example.")
		return err == nil && addrs[0] == v4b
	})
	assert.GreaterOrEqual(t, time.Since(before), time.Second)
}

func TestSmallestTTLCounts(t *testing.T) {
	for name, tt := range map[string]struct {
		alias, a, aaaa uint32
		want           time.Duration
	}{
		"of the alias":   {100, 300, 200, 100 * time.Second},
		"of A":           {200, 100, 300, 100 * time.Second},
		"of AAAA":        {200, 300, 100, 100 * time.Second},
		"at most":        {7200, 7200, 7200, time.Hour},
		"the longest":    {1<<32 - 1, 1<<32 - 1, 1<<32 - 1, time.Hour},
		"a long and not": {1 << 31, 1 << 31, 100, 100 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			lastsFor(t, serveNames(t, func(_ string, query dnsmessage.Message) [][]byte {
				q, ttl := only(query), tt.a
				if q.Type == dnsmessage.TypeAAAA {
					ttl = tt.aaaa
				}
				target := dnsmessage.MustNewName("alias.example.")
				records := tlsfarm.AddressRecords(query, ttl, v4, v6)
				records[0].Header.Name = target
				return tlsfarm.Response(query, ok, append([]dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: tt.alias},
					Body:   &dnsmessage.CNAMEResource{CNAME: target},
				}}, records...)...)
			}), tt.want)
		})
	}
}

// What goes with the answers has a lifetime of its own, or, as EDNS, none (RFC 6891, section 6.1.3).
func TestTTLsThatAreNotOfTheAnswer(t *testing.T) {
	lastsFor(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		return [][]byte{repack(t, addresses(300, v4)(network, query), func(m *dnsmessage.Message) { // no AAAA
			name := only(query).Name
			m.Authorities = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 5},
				Body:   &dnsmessage.SOAResource{NS: name, MBox: name, MinTTL: 5},
			}}
			var edns dnsmessage.ResourceHeader
			assert.NoError(t, edns.SetEDNS0(1232, ok, false))
			m.Additionals = []dnsmessage.Resource{{Header: edns, Body: &dnsmessage.OPTResource{}}}
		})}
	}), 300*time.Second)
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

func TestAliasOfNothingIsNotKept(t *testing.T) {
	notKept(t, serveNames(t, func(_ string, query dnsmessage.Message) [][]byte {
		return tlsfarm.Response(query, ok, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: only(query).Name, Class: dnsmessage.ClassINET, TTL: 300},
			Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("alias.example.")},
		})
	}), true)
}

func TestTTLOfZeroIsNotKept(t *testing.T) {
	s := serveNames(t, addresses(0, v4, v6))
	notKept(t, s, false)
	s.wasAsked(t, 6)
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
		var n names
		_, err := n.addresses(t.Context(), s.Resolver, "a.example.")
		assert.Equal(t, want, typeOf(err), err)
		exists.Store(true)
		addrs, err := n.addresses(t.Context(), s.Resolver, "a.example.")
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
}

func typeOf(err error) failure.Type {
	return failure.Explain(failure.Evidence{Step: failure.DNS, Err: err, Endpoint: "a.example.:443"}).Type
}

// Half an answer is better than none, but not for an hour.
func TestHalfAnAnswerIsNotKept(t *testing.T) {
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if only(query).Type == dnsmessage.TypeAAAA {
			return tlsfarm.Response(query, servfail)
		}
		return addresses(300, v4)(network, query)
	})
	notKept(t, s, false)
	s.StrictErrors = true
	notKept(t, s, true)
}

func TestAnswerToTheSecondTryIsKept(t *testing.T) {
	var asked sync.Map
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if _, again := asked.LoadOrStore(only(query).Type, true); !again {
			return tlsfarm.Response(query, servfail)
		}
		return addresses(300, v4, v6)(network, query)
	})
	if _, err := s.LookupNetIP(t.Context(), "ip", "a.example."); err != nil {
		t.Skip("resolv.conf has net ask only once")
	}
	asked.Clear()
	lastsFor(t, s, 300*time.Second)
}

// oneByte is a connection that gives out bytes one by one.
type oneByte struct{ net.Conn }

func (c oneByte) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 1)]) }

func TestTruncatedAnswerComesAgainOverTCP(t *testing.T) {
	var addrs []netip.Addr
	for i := range 200 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if network == "tcp" {
			return addresses(300, addrs...)(network, query)
		}
		return [][]byte{repack(t, addresses(10, addrs[:2]...)(network, query), func(m *dnsmessage.Message) { m.Truncated = true })}
	})
	lastsFor(t, s, 300*time.Second)
	s.wasAsked(t, 4)

	dial := s.Dial
	s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if _, tcp := c.(*net.TCPConn); tcp {
			c = oneByte{c}
		}
		return c, err
	}
	lastsFor(t, s, 300*time.Second)

	var n names
	found, err := n.addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	assert.Len(t, found, maxAddresses)
	assert.Equal(t, maxAddresses, cap(n.kept[question{name: "a.example."}].addrs), "nor is memory kept for more")

	reversed := slices.Clone(addrs)
	slices.Reverse(reversed)
	other := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if network == "tcp" {
			return addresses(300, reversed...)(network, query)
		}
		return [][]byte{repack(t, addresses(10)(network, query), func(m *dnsmessage.Message) { m.Truncated = true })}
	})
	var anew names
	again, err := anew.addresses(t.Context(), other.Resolver, "a.example.")
	require.NoError(t, err)
	assert.ElementsMatch(t, found, again, "many servers give them in another order each time")
}

// longer is a connection over which the length of a message seems two bytes greater.
type longer struct {
	net.Conn
	read bool
}

func (c *longer) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.read && n >= 2 {
		p[1], c.read = p[1]+2, true
	}
	return n, err
}

func TestTruncatedAnswerThatDoesNotComeAgainIsNotKept(t *testing.T) {
	var again atomic.Bool
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if only(query).Type == dnsmessage.TypeA {
			return addresses(300, v4)(network, query)
		}
		if network == "tcp" && !again.Load() {
			return nil
		}
		return [][]byte{repack(t, addresses(300, v6)(network, query), func(m *dnsmessage.Message) { m.Truncated = network == "udp" })}
	})
	notKept(t, s, false)

	again.Store(true)
	lastsFor(t, s, 300*time.Second)
	dial := s.Dial
	s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if _, tcp := c.(*net.TCPConn); tcp {
			c = &longer{Conn: c}
		}
		return c, err
	}
	notKept(t, s, false)
}

// net takes no notice of what is no response to its query, as it may be forged.
func TestForgedResponsesSayNothing(t *testing.T) {
	other := dnsmessage.Question{Name: dnsmessage.MustNewName("b.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	for name, change := range map[string]func(*dnsmessage.Message){
		"of another query":   func(m *dnsmessage.Message) { m.ID++ },
		"a query":            func(m *dnsmessage.Message) { m.Response = false },
		"to no question":     func(m *dnsmessage.Message) { m.Questions = nil },
		"of another name":    func(m *dnsmessage.Message) { m.Questions[0].Name = other.Name },
		"of another type":    func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeTXT },
		"of another class":   func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS },
		"not cut, but wrong": func(m *dnsmessage.Message) { m.ID, m.Answers = m.ID+1, nil },
	} {
		t.Run(name, func(t *testing.T) {
			forged := func(network string, query dnsmessage.Message) []byte {
				return repack(t, addresses(1, v4b)(network, query), change)
			}
			lastsFor(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
				return append([][]byte{forged(network, query)}, addresses(300, v4, v6)(network, query)...)
			}), 300*time.Second)
			notKept(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
				if only(query).Type == dnsmessage.TypeAAAA {
					return append([][]byte{forged(network, query)}, tlsfarm.Response(query, servfail)...)
				}
				return addresses(300, v4)(network, query)
			}), false)
		})
	}
}

func TestGarbage(t *testing.T) {
	t.Run("before the answer", func(t *testing.T) {
		lastsFor(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			answer := addresses(300, v4, v6)(network, query)[0]
			garbage := make([]byte, 600)
			for i := range garbage {
				garbage[i] = byte(rand.Int())
			}
			garbage[2] &^= 0x80 // no response, should its first bytes be the query's
			return [][]byte{{}, {0}, garbage, answer[:11], answer[:20], answer}
		}), 300*time.Second)
	})
	t.Run("in it", func(t *testing.T) { // net goes by the records before
		notKept(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			response := addresses(300, v4, v6)(network, query)
			if only(query).Type == dnsmessage.TypeAAAA {
				response[0][7]++ // as if there were one more (RFC 1035, section 4.1.1)
			}
			return response
		}), false)
	})
	t.Run("two questions", func(t *testing.T) {
		notKept(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			response := addresses(300, v4)(network, query)
			if only(query).Type == dnsmessage.TypeAAAA {
				response[0] = repack(t, response, func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) })
			}
			return response
		}), false)
	})
	t.Run("over TCP", func(t *testing.T) {
		for _, garbage := range [][]byte{{}, {1}, make([]byte, 12), make([]byte, 65535)} {
			notKept(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
				switch {
				case only(query).Type == dnsmessage.TypeA:
					return addresses(300, v4)(network, query)
				case network == "tcp":
					return [][]byte{garbage}
				}
				return [][]byte{repack(t, tlsfarm.Response(query, ok), func(m *dnsmessage.Message) { m.Truncated = true })}
			}), false)
		}
	})
}

// Names from the hosts file can change at any time.
func TestNameFromTheHostsFileIsNotKept(t *testing.T) {
	var n names
	for _, r := range []*net.Resolver{nil, {}, {PreferGo: true}} {
		addrs, err := n.addresses(t.Context(), r, "localhost")
		require.NoError(t, err)
		for _, a := range addrs {
			assert.True(t, a.IsLoopback() && !a.Is4In6(), a)
		}
		assert.Empty(t, n.kept)
	}
}

// lookUps looks a name up, n times at once.
func (s *nameServer) lookUps(t *testing.T, n *names, times int) (results <-chan error) {
	all := make(chan error, times)
	for range times {
		go func() {
			addrs, err := n.addresses(t.Context(), s.Resolver, "a.example.")
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
	var n names
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
		var n names
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
		var n names
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
			var n names
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error)
			go func() {
				_, err := n.addresses(ending{ctx, why}, s.Resolver, "a.example.")
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
	var n names
	patient := s.lookUps(t, &n, 1)
	eventually(t, func() bool { return n.waitingFor("a.example.") == 1 })

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := n.addresses(ctx, s.Resolver, "a.example.")
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
	var n names
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	for range 2 {
		go func() {
			_, err := n.addresses(ctx, r, "a.example.")
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
		servers := make([]dnsmessage.Resource, 2*maxAddresses+10)
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
	var n names
	for range 3 {
		found, err := n.servers(t.Context(), s.Resolver, "_a.example.")
		require.NoError(t, err)
		assert.Len(t, found, maxAddresses)
		assert.Equal(t, "b.example.", found[0].Target)
		assert.EqualValues(t, maxAddresses-1, found[maxAddresses-1].Port, "always the same ones")
		addrs, err := n.addresses(t.Context(), s.Resolver, "_a.example.")
		require.NoError(t, err)
		assert.Equal(t, []netip.Addr{v4}, addrs)
	}
	s.wasAsked(t, 4) // over UDP and TCP for the servers, and for both families of addresses
}

// Who comes when a look-up was called off does not get its end.
func TestLookUpThatWasCalledOffIsMadeAnew(t *testing.T) {
	s := serveNames(t, addresses(300, v4, v6))
	off := &lookUp{cancel: func() {}, done: make(chan struct{})}
	n := names{kept: map[question]answer{}, underWay: map[question]*lookUp{{name: "a.example."}: off}}
	addrs, err := n.addresses(t.Context(), s.Resolver, "a.example.")
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
	n := names{kept: map[question]answer{}, underWay: map[question]*lookUp{{name: "a.example."}: l}}
	n.find(t.Context(), s.Resolver, question{name: "a.example."}, l)
	assert.True(t, off)
}

func TestNamesAreBounded(t *testing.T) {
	s := serveNames(t, addresses(300, v4))
	n := names{kept: make(map[question]answer), underWay: make(map[question]*lookUp), swept: time.Now()}
	lookup := func(name string) {
		t.Helper()
		addrs, err := n.addresses(t.Context(), s.Resolver, name)
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
	n := names{kept: make(map[question]answer), underWay: make(map[question]*lookUp), swept: time.Now()}
	n.kept[question{name: "gone.example."}] = answer{ends: time.Now()}
	n.kept[question{name: "here.example."}] = answer{ends: time.Now().Add(time.Hour)}
	lookup := func(name string) {
		t.Helper()
		_, err := n.addresses(t.Context(), s.Resolver, name)
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

func TestResolverStaysAsItIs(t *testing.T) {
	var l lifetime
	for _, r := range []*net.Resolver{{}, {PreferGo: true}, {StrictErrors: true}} {
		noting := l.noting(r)
		assert.Equal(t, r.PreferGo, noting.PreferGo)
		assert.Equal(t, r.StrictErrors, noting.StrictErrors)
	}
	s := tlsfarm.Silent()
	t.Cleanup(s.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for network, packets := range map[string]bool{"udp": true, "tcp": false} {
		conn, err := l.noting(nil).Dial(ctx, network, s.Endpoint())
		require.NoError(t, err)
		_, ok := conn.(net.PacketConn)
		assert.Equal(t, packets, ok, "net goes by that")
		assert.NoError(t, conn.Close())
	}
}

func TestTargetsOfOneHostShareItsLookUp(t *testing.T) {
	server := tlsfarm.TLS(healthy())
	t.Cleanup(server.Close)
	respond, release := held(t, addresses(300, netip.MustParseAddr("127.0.0.1")))
	s := serveNames(t, respond)
	p := &Prober{Resolver: s.Resolver}
	outcomes := make(chan *Outcome)
	for range 5 {
		target := at(t, fmt.Sprintf("a.example.:%d", server.Port()))
		target.TLS.ServerName, target.Timeout = "localhost", plenty
		go func() {
			p.Probe(t.Context(), target)
			outcomes <- p.Probe(t.Context(), target)
		}()
	}
	eventually(t, func() bool { return p.names.waitingFor("a.example.") == 5 })
	release()
	for range 5 {
		o := <-outcomes
		assert.Nil(t, o.Failure)
		assert.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, o.Lookup.Addrs)
	}
	s.wasAsked(t, 2)
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
	var n names
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				name := strings.Repeat(string("an"[rand.IntN(2)]), 1+rand.IntN(4)) + ".example."
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					go cancel()
				}
				addrs, err := n.addresses(ctx, s.Resolver, name)
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
		var n names
		for b.Loop() {
			if _, err := n.addresses(b.Context(), s.Resolver, "a.example."); err != nil {
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
