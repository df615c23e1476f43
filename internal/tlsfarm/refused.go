package tlsfarm

import (
	"net"
	"sync"
)

// Refused returns an endpoint on which nothing listens, the same one at each call. Nothing else can take its port while
// this process runs.
var Refused = sync.OnceValue(func() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	// The local end of a connection reserves its port. Where that was bound by itself, the system does not choose it for
	// other outgoing connections either, one of which could otherwise connect to itself.
	loopback := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	reserving[0], err = (&net.Dialer{LocalAddr: &loopback}).Dial("tcp", l.Addr().String())
	must(err)
	reserving[1], err = l.Accept()
	must(err)
	must(l.Close())
	return reserving[0].LocalAddr().String()
})

var reserving [2]net.Conn // both ends of the connection that reserves the port of Refused
