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

// repack returns the response with a change.
func repack(t *testing.T, response [][]byte, change func(*dnsmessage.Message)) []byte {
	var m dnsmessage.Message
	assert.NoError(t, m.Unpack(response[0]))
	change(&m)
	packed, err := m.Pack()
	assert.NoError(t, err)
	return packed
}

// assertCached asserts that the answer is cached, and for how long.
func assertCached(t *testing.T, s *nameServer, want time.Duration) {
	t.Helper()
	var cache Cache
	before := time.Now()
	_, err := cache.Addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	after := time.Now()
	require.Contains(t, cache.entries, key{name: "a.example."})
	expires := cache.entries[key{name: "a.example."}].expires
	assert.False(t, expires.Before(before.Add(want)), expires.Sub(before))
	assert.False(t, expires.After(after.Add(want)), expires.Sub(after))
}

// assertNotCached asserts that each lookup of the name makes queries.
func assertNotCached(t *testing.T, s *nameServer, wantErr bool) {
	t.Helper()
	var cache Cache
	asked := s.queries.Load()
	for range 3 {
		_, err := cache.Addresses(t.Context(), s.Resolver, "a.example.")
		assert.Equal(t, wantErr, err != nil, err)
		assert.Empty(t, cache.entries)
		assert.Empty(t, cache.lookups)
		assert.Greater(t, s.queries.Load(), asked)
		asked = s.queries.Load()
	}
}

func TestSmallestTTLApplies(t *testing.T) {
	for name, tt := range map[string]struct {
		alias, a, aaaa uint32
		want           time.Duration
	}{
		"of the alias":           {100, 300, 200, 100 * time.Second},
		"of A":                   {200, 100, 300, 100 * time.Second},
		"of AAAA":                {200, 300, 100, 100 * time.Second},
		"longer than the limit":  {7200, 7200, 7200, time.Hour},
		"all bits set":           {1<<32 - 1, 1<<32 - 1, 1<<32 - 1, time.Hour},
		"highest bit set in two": {1 << 31, 1 << 31, 100, 100 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			assertCached(t, serveNames(t, func(_ string, query dnsmessage.Message) [][]byte {
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

// The TTLs of other sections do not count. In EDNS the field is not even a TTL (RFC 6891, section 6.1.3).
func TestTTLsOfOtherSectionsAreIgnored(t *testing.T) {
	assertCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
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

func TestAliasWithoutAddressIsNotCached(t *testing.T) {
	assertNotCached(t, serveNames(t, func(_ string, query dnsmessage.Message) [][]byte {
		return tlsfarm.Response(query, ok, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: only(query).Name, Class: dnsmessage.ClassINET, TTL: 300},
			Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("alias.example.")},
		})
	}), true)
}

func TestTTLOfZeroIsNotCached(t *testing.T) {
	s := serveNames(t, addresses(0, v4, v6))
	assertNotCached(t, s, false)
	s.assertQueries(t, 6)
}

func TestAnswerForOneFamilyIsNotCachedIfTheOtherFails(t *testing.T) {
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if only(query).Type == dnsmessage.TypeAAAA {
			return tlsfarm.Response(query, servfail)
		}
		return addresses(300, v4)(network, query)
	})
	assertNotCached(t, s, false)
	s.StrictErrors = true
	assertNotCached(t, s, true)
}

func TestAnswerToRepeatedQueryIsCached(t *testing.T) {
	var asked sync.Map
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if _, again := asked.LoadOrStore(only(query).Type, true); !again {
			return tlsfarm.Response(query, servfail)
		}
		return addresses(300, v4, v6)(network, query)
	})
	if _, err := s.LookupNetIP(t.Context(), "ip", "a.example."); err != nil {
		t.Skip("according to resolv.conf, net does not repeat queries")
	}
	asked.Clear()
	assertCached(t, s, 300*time.Second)
}

// oneByteConn is a connection on which Read returns one byte at a time.
type oneByteConn struct{ net.Conn }

func (c oneByteConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 1)]) }

func TestTruncatedAnswerIsRepeatedOverTCP(t *testing.T) {
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
	assertCached(t, s, 300*time.Second)
	s.assertQueries(t, 4)

	dial := s.Dial
	s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if _, tcp := c.(*net.TCPConn); tcp {
			c = oneByteConn{c}
		}
		return c, err
	}
	assertCached(t, s, 300*time.Second)

	var cache Cache
	found, err := cache.Addresses(t.Context(), s.Resolver, "a.example.")
	require.NoError(t, err)
	assert.Len(t, found, MaxAddresses)
	assert.Equal(t, MaxAddresses, cap(cache.entries[key{name: "a.example."}].addrs), "the memory of the others is not freed")

	reversed := slices.Clone(addrs)
	slices.Reverse(reversed)
	other := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if network == "tcp" {
			return addresses(300, reversed...)(network, query)
		}
		return [][]byte{repack(t, addresses(10)(network, query), func(m *dnsmessage.Message) { m.Truncated = true })}
	})
	var cache2 Cache
	found2, err := cache2.Addresses(t.Context(), other.Resolver, "a.example.")
	require.NoError(t, err)
	assert.ElementsMatch(t, found, found2, "the choice depends on the order, which many servers change each time")
}

// wrongLengthConn is a connection on which the length of a message is two bytes too large.
type wrongLengthConn struct {
	net.Conn
	read bool
}

func (c *wrongLengthConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.read && n >= 2 {
		p[1], c.read = p[1]+2, true
	}
	return n, err
}

func TestTruncatedAnswerIsNotCachedIfTCPFails(t *testing.T) {
	var tcpWorks atomic.Bool
	s := serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
		if only(query).Type == dnsmessage.TypeA {
			return addresses(300, v4)(network, query)
		}
		if network == "tcp" && !tcpWorks.Load() {
			return nil
		}
		return [][]byte{repack(t, addresses(300, v6)(network, query), func(m *dnsmessage.Message) { m.Truncated = network == "udp" })}
	})
	assertNotCached(t, s, false)

	tcpWorks.Store(true)
	assertCached(t, s, 300*time.Second)
	dial := s.Dial
	s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if _, tcp := c.(*net.TCPConn); tcp {
			c = &wrongLengthConn{Conn: c}
		}
		return c, err
	}
	assertNotCached(t, s, false)
}

// As package net does, ignore responses that do not match the query: they may be forged.
func TestForgedResponsesAreIgnored(t *testing.T) {
	other := dnsmessage.Question{Name: dnsmessage.MustNewName("b.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	for name, change := range map[string]func(*dnsmessage.Message){
		"another ID":               func(m *dnsmessage.Message) { m.ID++ },
		"not a response":           func(m *dnsmessage.Message) { m.Response = false },
		"no question":              func(m *dnsmessage.Message) { m.Questions = nil },
		"another name":             func(m *dnsmessage.Message) { m.Questions[0].Name = other.Name },
		"another type":             func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeTXT },
		"another class":            func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS },
		"another ID and no answer": func(m *dnsmessage.Message) { m.ID, m.Answers = m.ID+1, nil },
	} {
		t.Run(name, func(t *testing.T) {
			forged := func(network string, query dnsmessage.Message) []byte {
				return repack(t, addresses(1, v4b)(network, query), change)
			}
			assertCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
				return append([][]byte{forged(network, query)}, addresses(300, v4, v6)(network, query)...)
			}), 300*time.Second)
			assertNotCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
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
		assertCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			answer := addresses(300, v4, v6)(network, query)[0]
			garbage := make([]byte, 600)
			for i := range garbage {
				garbage[i] = byte(rand.Int())
			}
			garbage[2] &^= 0x80 // not a response, even if it has the query's ID by chance
			return [][]byte{{}, {0}, garbage, answer[:11], answer[:20], answer}
		}), 300*time.Second)
	})
	t.Run("in the answer", func(t *testing.T) { // net uses the records before it
		assertNotCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			response := addresses(300, v4, v6)(network, query)
			if only(query).Type == dnsmessage.TypeAAAA {
				response[0][7]++ // one record more than there are (RFC 1035, section 4.1.1)
			}
			return response
		}), false)
	})
	t.Run("two questions", func(t *testing.T) {
		assertNotCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
			response := addresses(300, v4)(network, query)
			if only(query).Type == dnsmessage.TypeAAAA {
				response[0] = repack(t, response, func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) })
			}
			return response
		}), false)
	})
	t.Run("over TCP", func(t *testing.T) {
		for _, garbage := range [][]byte{{}, {1}, make([]byte, 12), make([]byte, 65535)} {
			assertNotCached(t, serveNames(t, func(network string, query dnsmessage.Message) [][]byte {
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

// The hosts file can change at any time.
func TestNameFromTheHostsFileIsNotCached(t *testing.T) {
	var cache Cache
	for _, r := range []*net.Resolver{nil, {}, {PreferGo: true}} {
		addrs, err := cache.Addresses(t.Context(), r, "localhost")
		require.NoError(t, err)
		for _, a := range addrs {
			assert.True(t, a.IsLoopback() && !a.Is4In6(), a)
		}
		assert.Empty(t, cache.entries)
	}
}

func TestResolverSettingsAreKept(t *testing.T) {
	var ttl ttlRecorder
	for _, r := range []*net.Resolver{{}, {PreferGo: true}, {StrictErrors: true}} {
		recorded := ttl.resolver(r)
		assert.Equal(t, r.PreferGo, recorded.PreferGo)
		assert.Equal(t, r.StrictErrors, recorded.StrictErrors)
	}
	s := tlsfarm.Silent()
	t.Cleanup(s.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for network, packets := range map[string]bool{"udp": true, "tcp": false} {
		conn, err := ttl.resolver(nil).Dial(ctx, network, s.Endpoint())
		require.NoError(t, err)
		_, ok := conn.(net.PacketConn)
		assert.Equal(t, packets, ok, "net distinguishes them by the interface")
		assert.NoError(t, conn.Close())
	}
}
