//go:build scale && linux

package scale

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// workerVariable makes this binary a worker: a separate process, whose CPU time is not counted with that of the collector or the
// test. It serves RPCs on standard input and output, and exits when its input is closed.
const workerVariable = "TLSCHECK_SCALE_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) == "" {
		os.Exit(m.Run())
	}
	must(rpc.Register(&Farm{}))
	must(rpc.Register(&Dialer{}))
	rpc.ServeConn(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
}

func startWorker(t *testing.T) *rpc.Client {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(err)
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	client := rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{out, in})
	t.Cleanup(func() {
		_ = client.Close()
		_ = cmd.Wait()
	})
	return client
}

// call calls a method of a worker. It panics if that fails, because nothing can be measured then.
func call[T any](w *rpc.Client, method string, args any) T {
	var reply T
	must(w.Call(method, args, &reply))
	return reply
}

// Farm is the servers. They share one port and listen on different addresses of 127.0.0.0/8, because many systems do not allow
// one process ten thousand sockets. Each has a certificate for its address.
type Farm struct {
	certs []tls.Certificate
	mu    sync.Mutex
	seen  Seen
}

// Seen is what the farm saw.
type Seen struct {
	Accepted []Accepted
	Took     []time.Duration // from accepting a connection to the end of its handshake
	Failed   int             // handshakes
	Open     int             // connections that are open now
}

// Accepted is a connection that was accepted.
type Accepted struct {
	Server int
	At     time.Time
}

// Started is what clients need to know about the farm.
type Started struct {
	Port uint16
	CA   []byte
}

// address returns the address of a server. Black holes, which accept connections and never send anything, have negative numbers.
func address(server int) netip.Addr {
	if server < 0 {
		return netip.AddrFrom4([4]byte{127, 2, byte(-server >> 8), byte(-server)})
	}
	return netip.AddrFrom4([4]byte{127, 1, byte(server >> 8), byte(server)})
}

// serverAt is the inverse of address.
func serverAt(addr netip.Addr) int {
	a := addr.Unmap().As4()
	n := int(a[2])<<8 | int(a[3])
	if a[1] == 2 {
		return -n
	}
	return n
}

// Start starts the servers.
func (f *Farm) Start(servers int, reply *Started) error {
	root := tlsfarm.NewAuthority("Scale Root")
	intermediate := root.Intermediate("Scale Intermediate")
	for i := range servers {
		f.certs = append(f.certs, intermediate.Issue(fmt.Sprintf("server-%d", i), func(c *x509.Certificate) {
			c.IPAddresses = []net.IP{address(i).AsSlice()}
		}))
	}
	config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &f.certs[serverOf(hello.Conn)], nil
	}}
	// No address means all of 127.0.0.0/8, so this one means all interfaces, and the socket is bound to the loopback interface.
	listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		errControl := c.Control(func(fd uintptr) { err = syscall.BindToDevice(int(fd), "lo") })
		if err == nil {
			err = errControl
		}
		return err
	}}
	l, err := listen.Listen(context.Background(), "tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			at := time.Now()
			go f.serve(conn, at, config)
		}
	}()
	*reply = Started{netip.MustParseAddrPort(l.Addr().String()).Port(), root.PEM()}
	return nil
}

func serverOf(conn net.Conn) int { return serverAt(conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr()) }

func (f *Farm) serve(conn net.Conn, at time.Time, config *tls.Config) {
	defer conn.Close()
	server := serverOf(conn)
	f.update(func(s *Seen) {
		s.Accepted = append(s.Accepted, Accepted{server, at})
		s.Open++
	})
	defer f.update(func(s *Seen) { s.Open-- })
	if server >= 0 {
		secure := tls.Server(conn, config)
		if secure.Handshake() != nil {
			f.update(func(s *Seen) { s.Failed++ })
			return
		}
		took := time.Since(at)
		f.update(func(s *Seen) { s.Took = append(s.Took, took) })
		conn = secure
	}
	_, _ = io.Copy(io.Discard, conn)
}

func (f *Farm) update(change func(*Seen)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.seen)
}

// Take returns what the farm saw since the last call.
func (f *Farm) Take(_ struct{}, reply *Seen) error {
	f.update(func(s *Seen) { *reply, *s = *s, Seen{Open: s.Open} })
	return nil
}

// Dialer is the bare dialer that the collector is compared to.
type Dialer struct{}

// Dials is what to connect to.
type Dials struct {
	Started
	Servers int
}

// Run connects to each server in turn, verifies its certificate, and returns the CPU time that this took.
func (*Dialer) Run(d Dials, reply *time.Duration) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.CA)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots}}
	before := ownCPU()
	for i := range d.Servers {
		conn, err := dialer.Dial("tcp", netip.AddrPortFrom(address(i), d.Port).String())
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
	*reply = ownCPU() - before
	return nil
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
