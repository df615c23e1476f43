package probe

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

const (
	maxNames   = 100_000     // that are kept
	maxKept    = time.Hour   // whatever the answer says, which is its zone's owner's to say
	sweepNames = time.Minute // between two times at which what has ended is let go of
)

// names looks names up, each once for all who ask at the same time, and keeps the answers as long as they last. Its zero
// value is ready and any number of goroutines may use one.
type names struct {
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

// answer is one or the other, at most maxAddresses, which nobody may change.
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
func (n *names) addresses(ctx context.Context, r *net.Resolver, name string) ([]netip.Addr, error) {
	a, err := n.lookup(ctx, r, question{name: name})
	return a.addrs, err
}

// servers returns those of a service.
func (n *names) servers(ctx context.Context, r *net.Resolver, name string) ([]*net.SRV, error) {
	a, err := n.lookup(ctx, r, question{name: name, service: true})
	return a.servers, err
}

// lookup answers q. It waits no longer than ctx lasts. The look-up itself goes on while one of those who wait for it has
// time left, and no longer than net tries: the first who asked may be called off, or have less time than the others.
func (n *names) lookup(ctx context.Context, r *net.Resolver, q question) (answer, error) {
	q.name = strings.ToLower(q.name) // RFC 4343
	n.mu.Lock()
	if a := n.kept[q]; time.Now().Before(a.ends) {
		n.mu.Unlock()
		return a, nil
	}
	l := n.underWay[q]
	if l == nil || l.waiting == 0 {
		if n.underWay == nil {
			n.underWay, n.kept = make(map[question]*lookUp), make(map[question]answer)
		}
		ctx, cancel := context.WithCancel(context.Background())
		l = &lookUp{cancel: cancel, done: make(chan struct{})}
		n.underWay[q] = l
		go n.find(ctx, r, q, l)
	}
	l.waiting++
	n.mu.Unlock()

	select {
	case <-l.done:
		return l.answer, l.err
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		l.cancel()
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return answer{}, ctx.Err()
	}
	return answer{}, &net.DNSError{Err: os.ErrDeadlineExceeded.Error(), Name: q.name, IsTimeout: true} // as net says it
}

// find finds the answer for those who wait for l.
func (n *names) find(ctx context.Context, r *net.Resolver, q question, l *lookUp) {
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
		a.servers = slices.Clone(a.servers[:min(len(a.servers), maxAddresses)])
	} else {
		a.addrs, err = life.noting(r).LookupNetIP(ctx, "ip", q.name)
		for i, addr := range a.addrs {
			a.addrs[i] = addr.Unmap() // net gives out IPv4 addresses from the hosts file as IPv6 ones
		}
		a.addrs = bounded(a.addrs)
	}
	a.ends = life.end()
	l.answer, l.err = a, err
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.underWay[q] == l { // else it was called off, and is looked up anew
		delete(n.underWay, q)
	}
	if err == nil {
		n.keep(q, a)
	}
	close(l.done)
}

// bounded leaves no more than maxAddresses, the same ones whatever order a server gives them in.
func bounded(addrs []netip.Addr) []netip.Addr {
	if len(addrs) <= maxAddresses {
		return addrs
	}
	all := lowest(slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)), netip.Addr.Is6)
	kept := make([]netip.Addr, 0, maxAddresses) // and no memory for the others
	for _, a := range addrs {
		if slices.Contains(all, a) && !slices.Contains(kept, a) {
			kept = append(kept, a)
		}
	}
	return kept
}

// lowest leaves the first maxAddresses of each family, half of them IPv6 where there are enough of both. They are sorted,
// with IPv4 first.
func lowest[A any](sorted []A, is6 func(A) bool) []A {
	six := slices.IndexFunc(sorted, is6)
	if len(sorted) <= maxAddresses || six < 0 {
		return sorted[:min(len(sorted), maxAddresses)]
	}
	four := min(six, max(maxAddresses/2, maxAddresses-(len(sorted)-six)))
	return slices.Delete(sorted, four, six)[:maxAddresses]
}

// keep keeps an answer if it lasts and there is room.
func (n *names) keep(q question, a answer) {
	now := time.Now()
	if now.Sub(n.swept) >= sweepNames {
		maps.DeleteFunc(n.kept, func(_ question, a answer) bool { return !now.Before(a.ends) })
		n.swept = now
	}
	delete(n.kept, q)
	if now.Before(a.ends) && len(n.kept) < maxNames {
		n.kept[q] = a
	}
}
