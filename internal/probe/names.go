package probe

import (
	"cmp"
	"context"
	"encoding/binary"
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

// lifetime is how long what one look-up finds lasts. net.Resolver does not tell, so the connections that it makes for it
// note the answers. Where it makes none nothing is known: the name is in the hosts file, or net asks the system, as it
// does on Windows and macOS, and elsewhere in some cases in programs that were built with cgo. The distribution is not.
type lifetime struct {
	mu   sync.Mutex
	open map[dnsmessage.Question]bool // what was asked and not answered
	ends time.Time                    // when the first record does; zero where none was seen
}

// end returns when what was found ends, zero where that is not known. It lasts for the moment only where something could
// not be found out, such as the IPv6 addresses when the query for them failed.
func (l *lifetime) end() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) > 0 {
		return time.Time{}
	}
	return l.ends
}

// noting returns a resolver that does what r does, and notes.
func (l *lifetime) noting(r *net.Resolver) *net.Resolver {
	if r == nil {
		r = &net.Resolver{}
	}
	dial := r.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	noted := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// net would wait on for an answer that nobody wants any more, by default for 5 s.
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		p, ok := conn.(net.PacketConn)
		c := &notingConn{Conn: conn, life: l, packets: ok}
		if !ok {
			return c, nil
		}
		return struct { // by these methods net knows that each message is a packet
			*notingConn
			packets
		}{c, p}, nil
	}
	return &net.Resolver{PreferGo: r.PreferGo, StrictErrors: r.StrictErrors, Dial: noted}
}

type packets interface {
	ReadFrom([]byte) (int, net.Addr, error)
	WriteTo([]byte, net.Addr) (int, error)
}

// notingConn is a connection for one query. net writes that in one piece.
type notingConn struct {
	net.Conn
	life    *lifetime
	packets bool
	id      uint16
	asked   dnsmessage.Question
	stream  []byte // what came, unless in packets
}

func (c *notingConn) Write(p []byte) (int, error) {
	message := p
	if !c.packets {
		message = p[2:] // RFC 1035, section 4.2.2: the length comes first
	}
	var query dnsmessage.Parser
	header, _ := query.Start(message)
	c.id = header.ID
	c.asked, _ = query.Question()
	c.life.mu.Lock()
	c.life.open[c.asked] = true
	c.life.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *notingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	message := p[:n]
	if !c.packets {
		c.stream = append(c.stream, message...)
		if len(c.stream) < 2 || len(c.stream)-2 < int(binary.BigEndian.Uint16(c.stream)) {
			return n, err
		}
		message = c.stream[2:]
	}
	c.note(message)
	return n, err
}

// note notes a response, if it is one to the query, as net sees it, and settles it: not one that could not answer, nor
// one that was cut off and comes again over TCP.
func (c *notingConn) note(response []byte) {
	var m dnsmessage.Message
	if m.Unpack(response) != nil || !m.Response || m.ID != c.id || len(m.Questions) != 1 || m.Truncated ||
		m.RCode != dnsmessage.RCodeSuccess && m.RCode != dnsmessage.RCodeNameError {
		return
	}
	q := m.Questions[0]
	if q.Type != c.asked.Type || q.Class != c.asked.Class || !strings.EqualFold(q.Name.String(), c.asked.Name.String()) {
		return
	}
	now := time.Now()
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	delete(c.life.open, c.asked)
	// The pseudo-record of EDNS is not among the answers. A TTL with the highest bit set is a long one (RFC 8767, section 4).
	for _, r := range m.Answers {
		ends := now.Add(min(time.Duration(r.Header.TTL)*time.Second, maxKept))
		if c.life.ends.IsZero() || ends.Before(c.life.ends) {
			c.life.ends = ends
		}
	}
}
