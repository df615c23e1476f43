// Package resolve looks up names in DNS, each once for all that ask at the same time, and keeps the answers for as long as
// DNS says.
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

	"golang.org/x/net/dns/dnsmessage"
)

// MaxAddresses bounds the addresses of one name. A zone's owner could name thousands, of hosts that are not theirs.
const MaxAddresses = 32

const (
	maxNames   = 100_000     // that are kept
	maxKept    = time.Hour   // whatever the answer says, which is its zone's owner's to say
	sweepNames = time.Minute // between two times at which what has ended is let go of
)

// Cache looks names up and keeps the answers as long as they last. Its zero value is ready to use, by any number of
// goroutines.
type Cache struct {
	mu       sync.Mutex
	kept     map[question]answer
	underWay map[question]*lookUp
	swept    time.Time
}

// question is for the addresses of a host, or for the servers of a service.
type question struct {
	name    string
	service bool
}

// answer is one or the other, at most MaxAddresses, which nobody may change.
type answer struct {
	addrs   []netip.Addr
	servers []*net.SRV
	ends    time.Time
}

type lookUp struct {
	waiting int                // how many do; at 0 it is called off
	cancel  context.CancelFunc // calls it off
	done    chan struct{}      // closed when what follows is set
	answer  answer
	err     error
}

// addresses returns those of a host.
func (c *Cache) Addresses(ctx context.Context, r *net.Resolver, name string) ([]netip.Addr, error) {
	a, err := c.lookup(ctx, r, question{name: name})
	return a.addrs, err
}

// servers returns those of a service.
func (c *Cache) Servers(ctx context.Context, r *net.Resolver, name string) ([]*net.SRV, error) {
	a, err := c.lookup(ctx, r, question{name: name, service: true})
	return a.servers, err
}

// lookup answers q. It waits no longer than ctx lasts. The look-up itself goes on while one of those who wait for it has
// time left, and no longer than net tries: the first who asked may be called off, or have less time than the others.
func (c *Cache) lookup(ctx context.Context, r *net.Resolver, q question) (answer, error) {
	q.name = strings.ToLower(q.name) // RFC 4343
	c.mu.Lock()
	if a := c.kept[q]; time.Now().Before(a.ends) {
		c.mu.Unlock()
		return a, nil
	}
	l := c.underWay[q]
	if l == nil || l.waiting == 0 {
		if c.underWay == nil {
			c.underWay, c.kept = make(map[question]*lookUp), make(map[question]answer)
		}
		ctx, cancel := context.WithCancel(context.Background())
		l = &lookUp{cancel: cancel, done: make(chan struct{})}
		c.underWay[q] = l
		go c.find(ctx, r, q, l)
	}
	l.waiting++
	c.mu.Unlock()

	select {
	case <-l.done:
		return l.answer, l.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		l.cancel()
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return answer{}, ctx.Err()
	}
	return answer{}, &net.DNSError{Err: os.ErrDeadlineExceeded.Error(), Name: q.name, IsTimeout: true} // as net says it
}

// find finds the answer for those who wait for l.
func (c *Cache) find(ctx context.Context, r *net.Resolver, q question, l *lookUp) {
	defer l.cancel()
	life := lifetime{open: make(map[dnsmessage.Question]bool)}
	var a answer
	var err error
	if q.service {
		_, a.servers, err = life.noting(r).LookupSRV(ctx, "", "", q.name)
		order := func(a, b *net.SRV) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
		}
		slices.SortFunc(a.servers, order) // net has shuffled them
		a.servers = slices.CompactFunc(a.servers, func(a, b *net.SRV) bool { return order(a, b) == 0 })
		a.servers = slices.Clone(a.servers[:min(len(a.servers), MaxAddresses)])
	} else {
		a.addrs, err = life.noting(r).LookupNetIP(ctx, "ip", q.name)
		for i, addr := range a.addrs {
			a.addrs[i] = addr.Unmap() // net gives out IPv4 addresses from the hosts file as IPv6 ones
		}
		a.addrs = bounded(a.addrs)
	}
	a.ends = life.end()
	l.answer, l.err = a, err
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay[q] == l { // else it was called off, and is looked up anew
		delete(c.underWay, q)
	}
	if err == nil {
		c.keep(q, a)
	}
	close(l.done)
}

// bounded leaves no more than MaxAddresses, the same ones whatever order a server gives them in.
func bounded(addrs []netip.Addr) []netip.Addr {
	if len(addrs) <= MaxAddresses {
		return addrs
	}
	all := FirstAddresses(slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)), netip.Addr.Is6)
	kept := make([]netip.Addr, 0, MaxAddresses) // and no memory for the others
	for _, a := range addrs {
		if slices.Contains(all, a) && !slices.Contains(kept, a) {
			kept = append(kept, a)
		}
	}
	return kept
}

// lowest leaves the first MaxAddresses of each family, half of them IPv6 where there are enough of both. They are sorted,
// with IPv4 first.
func FirstAddresses[A any](sorted []A, is6 func(A) bool) []A {
	six := slices.IndexFunc(sorted, is6)
	if len(sorted) <= MaxAddresses || six < 0 {
		return sorted[:min(len(sorted), MaxAddresses)]
	}
	four := min(six, max(MaxAddresses/2, MaxAddresses-(len(sorted)-six)))
	return slices.Delete(sorted, four, six)[:MaxAddresses]
}

// keep keeps an answer if it lasts and there is room.
func (c *Cache) keep(q question, a answer) {
	now := time.Now()
	if now.Sub(c.swept) >= sweepNames {
		maps.DeleteFunc(c.kept, func(_ question, a answer) bool { return !now.Before(a.ends) })
		c.swept = now
	}
	delete(c.kept, q)
	if now.Before(a.ends) && len(c.kept) < maxNames {
		c.kept[q] = a
	}
}
