package tlsfarm

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Server is a server on loopback. The caller must close it.
type Server struct {
	listener net.Listener
	serving  sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool // open ones
}

// Serve starts a server on 127.0.0.1 that calls handle for each connection, in its own goroutine, and then closes it.
func Serve(handle func(net.Conn)) *Server {
	return ServeOn("127.0.0.1:0", handle)
}

// ServeOn is like Serve, on a given address such as [::1]:0.
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

// Endpoint returns the server's address and port, as in the receiver's configuration.
func (s *Server) Endpoint() string { return s.listener.Addr().String() }

// Port returns the server's port.
func (s *Server) Port() uint16 { return netip.MustParseAddrPort(s.Endpoint()).Port() }

// Close closes the listener and all connections, and waits until all handlers have returned.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// TLS starts a server that completes handshakes and then waits until the client closes the connection. Like an HTTP server,
// it sends nothing unless asked.
func TLS(config *tls.Config) *Server {
	return Serve(func(conn net.Conn) { Handshake(conn, config) })
}

// Handshake handles one connection like a server that TLS starts.
func Handshake(conn net.Conn, config *tls.Config) {
	server := tls.Server(conn, config)
	if server.Handshake() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, server)
}

// Silent starts a server that accepts connections and never sends anything.
func Silent() *Server {
	return Serve(func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
}

// Resetting starts a server that resets each connection after the client has sent something.
func Resetting() *Server {
	return Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.(*net.TCPConn).SetLinger(0) // closing then sends RST
	})
}

// Closing starts a server that closes each connection without a reset after the client has sent something.
func Closing() *Server {
	return Serve(func(conn net.Conn) {
		_, _ = io.ReadAtLeast(conn, make([]byte, 4096), 64)
		drain(conn)
	})
}

// Plaintext starts a server that sends a greeting in plain text and then waits until the client closes the connection.
func Plaintext(greeting string) *Server {
	return Serve(func(conn net.Conn) {
		_, _ = io.WriteString(conn, greeting)
		_, _ = io.Copy(io.Discard, conn)
	})
}

// Answering starts a server that sends these bytes after the client has sent something, and then closes the connection.
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

// drain closes the sending side of the connection and reads until the client closes the other, so that everything sent
// arrives: closing a connection with unread input resets it.
func drain(conn net.Conn) {
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, conn)
}
