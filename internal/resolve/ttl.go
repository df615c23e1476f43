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

// ttlRecorder records the TTLs of the answers to one lookup, which may take several queries. net.Resolver does not return
// them, so the recorder reads the responses on the resolver's connections. There are none if the name is in the hosts
// file, or if net asks the system's resolver: always on Windows and macOS, and elsewhere sometimes, in programs built
// with cgo. The distribution is built without.
type ttlRecorder struct {
	mu       sync.Mutex
	pending  map[dnsmessage.Question]bool // questions without an answer so far
	earliest time.Time                    // when the first of the records expires; zero if there were none
}

// expires returns when the answer expires. It is zero if that is not known, and if a query failed: half an answer, such
// as one without the IPv6 addresses, must not be cached.
func (t *ttlRecorder) expires() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) > 0 {
		return time.Time{}
	}
	return t.earliest
}

// resolver returns a resolver with the settings of r, on whose connections t records TTLs. r may be nil.
func (t *ttlRecorder) resolver(r *net.Resolver) *net.Resolver {
	if r == nil {
		r = &net.Resolver{}
	}
	dial := r.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &net.Resolver{
		PreferGo: r.PreferGo, StrictErrors: r.StrictErrors,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// After ctx ends, net would go on waiting for an answer, by default for 5 s.
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			return t.wrap(conn), nil
		},
	}
}

// wrap returns a connection that records what is read from conn. It is a net.PacketConn if and only if conn is: this is
// how net knows that each message is a packet.
func (t *ttlRecorder) wrap(conn net.Conn) net.Conn {
	p, ok := conn.(net.PacketConn)
	c := &recordingConn{Conn: conn, ttl: t, packets: ok}
	if !ok {
		return c
	}
	return struct {
		*recordingConn
		packetMethods
	}{c, p}
}

// packetMethods are the methods that net.PacketConn has but net.Conn does not.
type packetMethods interface {
	ReadFrom([]byte) (int, net.Addr, error)
	WriteTo([]byte, net.Addr) (int, error)
}

// recordingConn is a connection for one query, which net writes in one piece.
type recordingConn struct {
	net.Conn
	ttl      *ttlRecorder
	packets  bool // if not, a length precedes each message (RFC 1035, section 4.2.2)
	id       uint16
	question dnsmessage.Question
	stream   []byte // read so far, if not in packets
}

func (c *recordingConn) Write(p []byte) (int, error) {
	message := p
	if !c.packets {
		message = p[2:]
	}
	var query dnsmessage.Parser
	header, _ := query.Start(message)
	c.id = header.ID
	c.question, _ = query.Question()
	c.ttl.ask(c.question)
	return c.Conn.Write(p)
}

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	message := p[:n]
	if !c.packets {
		c.stream = append(c.stream, message...)
		if len(c.stream) < 2 || len(c.stream)-2 < int(binary.BigEndian.Uint16(c.stream)) {
			return n, err
		}
		message = c.stream[2:]
	}
	var response dnsmessage.Message
	if response.Unpack(message) == nil && c.answers(&response) {
		c.ttl.answer(c.question, response.Answers)
	}
	return n, err
}

// answers reports whether net accepts m as the answer to the query. Anyone could have sent it. A truncated response is
// not an answer, as net asks again over TCP.
func (c *recordingConn) answers(m *dnsmessage.Message) bool {
	if !m.Response || m.ID != c.id || len(m.Questions) != 1 || m.Truncated ||
		m.RCode != dnsmessage.RCodeSuccess && m.RCode != dnsmessage.RCodeNameError {
		return false
	}
	q := m.Questions[0]
	return q.Type == c.question.Type && q.Class == c.question.Class && strings.EqualFold(q.Name.String(), c.question.Name.String())
}

// ask records that a question was asked.
func (t *ttlRecorder) ask(q dnsmessage.Question) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending == nil {
		t.pending = make(map[dnsmessage.Question]bool)
	}
	t.pending[q] = true
}

// answer records the answer to a question.
func (t *ttlRecorder) answer(q dnsmessage.Question, records []dnsmessage.Resource) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pending, q)
	// A TTL with the highest bit set counts as a long one (RFC 8767, section 4). The pseudo-record of EDNS, in which
	// the field means something else, is not among these records.
	for _, r := range records {
		expires := now.Add(min(time.Duration(r.Header.TTL)*time.Second, maxTTL))
		if t.earliest.IsZero() || expires.Before(t.earliest) {
			t.earliest = expires
		}
	}
}
