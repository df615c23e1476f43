package resolve

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// repack is the response with something changed.
func repack(t *testing.T, response [][]byte, change func(*dnsmessage.Message)) []byte {
	var m dnsmessage.Message
	assert.NoError(t, m.Unpack(response[0]))
	change(&m)
	packed, err := m.Pack()
	assert.NoError(t, err)
	return packed
}

// lastsFor asserts that the answer is kept, for so long since it came.
func lastsFor(t *testing.T, s *nameServer, want time.Duration) {
	t.Helper()
	var n Cache
	before := time.Now()
	_, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
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
	var n Cache
	asked := s.queries.Load()
	for range 3 {
		_, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
		assert.Equal(t, wantErr, err != nil, err)
		assert.Empty(t, n.kept)
		assert.Empty(t, n.underWay)
		assert.Greater(t, s.queries.Load(), asked)
		asked = s.queries.Load()
	}
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

	var n Cache
	found, err := n.Addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	assert.Len(t, found, MaxAddresses)
	assert.Equal(t, MaxAddresses, cap(n.kept[question{name: "a.example."}].addrs), "nor is memory kept for more")

	reversed := slices.Clone(addrs)
	slices.Reverse(reversed)
	other := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if network == "tcp" {
			return addresses(300, reversed...)(network, query)
		}
		return [][]byte{repack(t, addresses(10)(network, query), func(m *dnsmessage.Message) { m.Truncated = true })}
	})
	var anew Cache
	again, err := anew.Addresses(t.Context(), other.Resolver, "a.example.")
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
	var n Cache
	for _, r := range []*net.Resolver{nil, {}, {PreferGo: true}} {
		addrs, err := n.Addresses(t.Context(), r, "localhost")
		require.NoError(t, err)
		for _, a := range addrs {
			assert.True(t, a.IsLoopback() && !a.Is4In6(), a)
		}
		assert.Empty(t, n.kept)
	}
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
