package tlsfarm

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Server listens on a port of its own on 127.0.0.1.
type Server struct {
	listener net.Listener
	serving  sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool // those that are open
}

// Serve starts a server that hands every connection to handle and closes it afterwards.
func Serve(handle func(net.Conn)) *Server {
	return ServeOn("127.0.0.1:0", handle)
}

// ServeOn is Serve on a given address, such as [::1]:0.
func ServeOn(address string, handle func(net.Conn)) *Server {
	l, err := net.Listen("tcp", address)
	must(err)
	s := &Server{listener: l, conns: make(map[net.Conn]bool)}
	s.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			s.serving.Go(func() {
				handle(conn)
				_ = conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			})
		}
	})
	return s
}

// Endpoint is the server's address and port, as one writes it in the receiver's configuration.
func (s *Server) Endpoint() string { return s.listener.Addr().String() }

// Port is the server's port.
func (s *Server) Port() uint16 { return netip.MustParseAddrPort(s.Endpoint()).Port() }

// Close closes the port and all connections, and returns when their handlers have.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// TLS starts a server that completes handshakes and then waits for the client to go. It sends nothing of its own accord
// after the handshake, as HTTP servers do.
func TLS(config *tls.Config) *Server {
	return Serve(func(conn net.Conn) { Handshake(conn, config) })
}

// Handshake is the server's side of one connection to a server that TLS starts.
func Handshake(conn net.Conn, config *tls.Config) {
	server := tls.Server(conn, config)
	if server.Handshake() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, server)
}

// Silent starts a server that accepts connections and never says anything.
func Silent() *Server {
	return Serve(func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
}

// Resetting starts a server that resets each connection once the client has spoken.
func Resetting() *Server {
	return Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.(*net.TCPConn).SetLinger(0) // closing then sends RST
	})
}

// Closing starts a server that closes each connection in an orderly way once the client has spoken.
func Closing() *Server {
	return Serve(func(conn net.Conn) {
		_, _ = io.ReadAtLeast(conn, make([]byte, 4096), 64)
		drain(conn)
	})
}

// Plaintext starts a server that greets in plain text and then waits.
func Plaintext(greeting string) *Server {
	return Serve(func(conn net.Conn) {
		_, _ = io.WriteString(conn, greeting)
		_, _ = io.Copy(io.Discard, conn)
	})
}

// Answering starts a server that answers what the client says first with these bytes, and then closes.
func Answering(answer []byte) *Server {
	return Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write(answer)
		drain(conn)
	})
}

// Alert starts a server that answers the ClientHello with a fatal alert.
func Alert(number uint8) *Server {
	return Answering([]byte{21, 3, 3, 0, 2, 2, number})
}

// drain closes the connection's sending side and waits briefly for the client to go, so that what was sent arrives: a
// close with unread input is a reset.
func drain(conn net.Conn) {
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, conn)
}
