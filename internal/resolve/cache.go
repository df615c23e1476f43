// Package resolve looks up names in DNS and caches the answers for as long as their TTL allows. Concurrent lookups of the
// same name share one query.
package resolve

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxEntries    = 100_000     // in the cache
	maxTTL        = time.Hour   // longer ones are cut, as the owner of any zone can choose them
	sweepInterval = time.Minute // between two removals of expired entries
)

// Cache looks up names and caches the answers. The zero value is ready to use. Its methods may be called from any
// goroutine.
//
// Answers from different resolvers are not distinguished: use one Cache for each resolver. A nil resolver is the
// default one. Only answers that come over its connections have a known TTL. Those from the hosts file, or from the C
// library, are not cached.
type Cache struct {
	mu      sync.Mutex
	entries map[key]entry
	lookups map[key]*lookup // in progress
	swept   time.Time
}

// key identifies what is looked up: the addresses of a host, or the servers of a service.
type key struct {
	name string // in lower case
	srv  bool
}

// entry is an answer: either addrs or servers is set. At most MaxAddresses each. They are shared, and never changed.
type entry struct {
	addrs   []netip.Addr
	servers []*net.SRV
	expires time.Time // zero if the answer must not be cached
}

// lookup is a lookup in progress.
type lookup struct {
	waiting int                // goroutines that wait for it; guarded by Cache.mu
	cancel  context.CancelFunc // called when nobody waits for it any longer
	done    chan struct{}      // closed once entry and err are set
	entry   entry
	err     error
}

// Addresses returns the addresses of a host, at most MaxAddresses. The caller must not change the slice. If ctx ends
// first, the error is that of ctx, or a *net.DNSError that is a timeout if ctx exceeded its deadline.
func (c *Cache) Addresses(ctx context.Context, r *net.Resolver, name string) ([]netip.Addr, error) {
	e, err := c.get(ctx, r, key{name: name})
	return e.addrs, err
}

// Servers is like Addresses, but returns the servers of a service, sorted by priority. The name is the full one, such
// as _imaps._tcp.example.com.
func (c *Cache) Servers(ctx context.Context, r *net.Resolver, name string) ([]*net.SRV, error) {
	e, err := c.get(ctx, r, key{name: name, srv: true})
	return e.servers, err
}

// get returns the entry for k from the cache, or looks it up.
//
// It waits no longer than ctx allows. The lookup itself has a context of its own, as several callers may wait for it,
// and the first one may have less time than the others. It is canceled when the last of them gives up.
func (c *Cache) get(ctx context.Context, r *net.Resolver, k key) (entry, error) {
	k.name = strings.ToLower(k.name) // RFC 4343
	c.mu.Lock()
	if e := c.entries[k]; time.Now().Before(e.expires) {
		c.mu.Unlock()
		return e, nil
	}
	l := c.lookups[k]
	if l == nil || l.waiting == 0 { // a lookup that nobody waits for is canceled
		l = c.start(r, k)
	}
	l.waiting++
	c.mu.Unlock()

	select {
	case <-l.done:
		return l.entry, l.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		l.cancel()
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return entry{}, ctx.Err()
	}
	return entry{}, &net.DNSError{Err: os.ErrDeadlineExceeded.Error(), Name: k.name, IsTimeout: true} // as package net does
}

// start starts a lookup. The caller holds mu.
func (c *Cache) start(r *net.Resolver, k key) *lookup {
	if c.lookups == nil {
		c.lookups, c.entries = make(map[key]*lookup), make(map[key]entry)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &lookup{cancel: cancel, done: make(chan struct{})}
	c.lookups[k] = l
	go c.run(ctx, r, k, l)
	return l
}

// run performs l and stores its answer.
func (c *Cache) run(ctx context.Context, r *net.Resolver, k key, l *lookup) {
	defer l.cancel()
	var ttl ttlRecorder
	resolver := ttl.resolver(r)
	if k.srv {
		l.entry.servers, l.err = lookupServers(ctx, resolver, k.name)
	} else {
		l.entry.addrs, l.err = lookupAddresses(ctx, resolver, k.name)
	}
	l.entry.expires = ttl.expires()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lookups[k] == l { // otherwise it was canceled, and another lookup has taken its place
		delete(c.lookups, k)
	}
	if l.err == nil {
		c.store(k, l.entry)
	}
	close(l.done)
}

func lookupAddresses(ctx context.Context, r *net.Resolver, name string) ([]netip.Addr, error) {
	addrs, err := r.LookupNetIP(ctx, "ip", name)
	for i, a := range addrs {
		addrs[i] = a.Unmap() // net returns IPv4 addresses from the hosts file as IPv6 ones
	}
	return limitUnsorted(addrs), err
}

func lookupServers(ctx context.Context, r *net.Resolver, name string) ([]*net.SRV, error) {
	_, servers, err := r.LookupSRV(ctx, "", "", name)
	compare := func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	}
	slices.SortFunc(servers, compare) // net shuffles servers of the same priority
	servers = slices.CompactFunc(servers, func(a, b *net.SRV) bool { return compare(a, b) == 0 })
	return slices.Clone(servers[:min(len(servers), MaxAddresses)]), err // the clone frees the memory of the others
}

// store caches an entry that has not expired, if there is room. The caller holds mu.
func (c *Cache) store(k key, e entry) {
	now := time.Now()
	if now.Sub(c.swept) >= sweepInterval {
		maps.DeleteFunc(c.entries, func(_ key, e entry) bool { return !now.Before(e.expires) })
		c.swept = now
	}
	delete(c.entries, k)
	if now.Before(e.expires) && len(c.entries) < maxEntries {
		c.entries[k] = e
	}
}
