package resolve

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

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
