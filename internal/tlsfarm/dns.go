package tlsfarm

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver returns a resolver with its own name server on loopback, which knows only these names; for a name without
// addresses, it returns a server failure. Names are absolute and in lower case, such as "a.example.". The caller must call
// stop to stop the server.
func Resolver(names map[string][]netip.Addr) (resolver *net.Resolver, stop func()) {
	return NameServer(func(_ string, query dnsmessage.Message) [][]byte {
		rcode := dnsmessage.RCodeSuccess
		addrs, known := names[query.Questions[0].Name.String()]
		switch {
		case !known:
			rcode = dnsmessage.RCodeNameError
		case len(addrs) == 0:
			rcode = dnsmessage.RCodeServerFailure
		}
		return Response(query, rcode, AddressRecords(query, 60, addrs...)...)
	})
}

// NameServer returns a resolver with its own name server on loopback, over UDP and TCP. The server sends the messages that
// respond returns for a query, which has exactly one question; network is "udp" or "tcp". Each call of respond is in its own
// goroutine, and may block. The caller must call stop, which stops the server and waits until all calls have returned.
func NameServer(respond func(network string, query dnsmessage.Message) [][]byte) (resolver *net.Resolver, stop func()) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	responses := func(network string, query []byte) [][]byte {
		var m dnsmessage.Message
		if m.Unpack(query) != nil || len(m.Questions) != 1 {
			return nil
		}
		return respond(network, m)
	}
	streams := Serve(func(conn net.Conn) {
		length := make([]byte, 2) // RFC 1035, section 4.2.2
		if _, err := io.ReadFull(conn, length); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		for _, r := range responses("tcp", query) {
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
		}
	})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			query := make([]byte, 1500)
			n, from, err := packets.ReadFrom(query)
			if err != nil {
				return // closed
			}
			serving.Go(func() {
				for _, r := range responses("udp", query[:n]) {
					_, _ = packets.WriteTo(r, from)
				}
			})
		}
	})
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		address := packets.LocalAddr().String()
		if strings.HasPrefix(network, "tcp") {
			address = streams.Endpoint()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return &net.Resolver{PreferGo: true, Dial: dial}, func() {
		_ = packets.Close()
		streams.Close()
		serving.Wait()
	}
}

// Response returns the response to a query, for NameServer to send.
func Response(query dnsmessage.Message, rcode dnsmessage.RCode, answers ...dnsmessage.Resource) [][]byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true, RecursionAvailable: true, RCode: rcode},
		Questions: query.Questions,
		Answers:   answers,
	}
	packed, err := m.Pack()
	must(err)
	return [][]byte{packed}
}

// AddressRecords returns records for those addresses that are of the type the query asks for.
func AddressRecords(query dnsmessage.Message, ttl uint32, addrs ...netip.Addr) []dnsmessage.Resource {
	var records []dnsmessage.Resource
	q := query.Questions[0]
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ttl}
	for _, a := range addrs {
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			records = append(records, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			records = append(records, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return records
}
