package tlsfarm

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Blackhole returns an endpoint that does not answer, as if a firewall dropped all packets: its queue of connections is full
// and nothing accepts them, so the kernel ignores further attempts.
func Blackhole() (endpoint string, stop func()) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	must(err)
	endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port)).String()
	var filling []net.Conn
	for {
		conn, err := net.DialTimeout("tcp", endpoint, 200*time.Millisecond)
		if err != nil {
			break // full
		}
		filling = append(filling, conn)
	}
	return endpoint, func() {
		for _, c := range filling {
			_ = c.Close()
		}
		_ = syscall.Close(fd)
	}
}
