//go:build interop

// Package interop probes real servers that use other TLS stacks than Go's. It covers what Go's own servers cannot do, and what
// others do differently. `make test-interop` unpacks the servers' Debian packages into _build and runs all tests.
// To run one:
//
//	go test -tags interop ./internal/interop -run TestOpenSSL/RSA -v
//
// Each server is started by a script in servers/. To run a script by hand, see servers/lib.sh. This writes the certificates for it:
//
//	go test -tags interop ./internal/interop -run '^$' -pki "$PWD/_build/pki"
//
// The tests of a server are skipped if it is not installed, or if it needs root and the user is not root. With CI=true they fail.
package interop

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

var pkiDir = flag.String("pki", "", "write the certificates to this `directory` and keep them")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir := *pkiDir
		if dir == "" {
			dir = must(os.MkdirTemp("", "interop"))
			defer os.RemoveAll(dir)
		}
		if err := writePKI(dir); err != nil {
			fmt.Fprintln(os.Stderr, "cannot make the certificates:", err)
			return 1
		}
		adoptOrphans()
		go stopServersOnSignal()
		code := m.Run()
		if err := waitForOrphans(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// test is a probe of a server with the expected result.
type test struct {
	name   string
	server string // a script in servers/ and its options; tests with the same value share a server
	port   int    // index of the server's port

	// What the client offers. The zero values mean TLS from the first byte, the name localhost, no ALPN, TLS 1.2 to 1.3, and no
	// client certificate.
	starttls string
	sni      string
	alpn     string
	min, max uint16
	client   string // the name of a client certificate
	ca       string // the file of the PKI that is the collector's ca_file; root.pem if empty

	problems []failure.Type // that the probe itself finds with the client certificate

	requestsCert bool // whether the server requests a client certificate without requiring one

	// The expected failure. If typ is empty, the probe must succeed and see the same as `openssl s_client`.
	step  failure.Step
	typ   failure.Type
	alert uint8
	code  int
	texts []string // in the cause or the fix

	log string // expected in the server's log
}

func run(t *testing.T, tests []test) {
	servers := map[string]*server{}
	for _, test := range tests {
		if servers[test.server] == nil {
			servers[test.server] = start(t, test.server)
		}
		t.Run(test.name, func(t *testing.T) {
			s := servers[test.server]
			s.endpoint(t, test.port)
			before := len(s.readLog())
			o := test.probe(t, s)
			if test.client != "" {
				require.NotNil(t, o.Handshake)
				assert.Equal(t, test.problems, failure.ClientCertWarnings(o.Handshake.ClientCertProblems))
			}
			if test.log != "" {
				assert.Eventually(t, func() bool {
					return strings.Contains(s.readLog()[before:], test.log)
				}, 5*time.Second, 10*time.Millisecond, test.log)
			}
			if test.typ == "" {
				require.Nil(t, o.Failure)
				assert.Empty(t, o.Handshake.Warnings)
				assert.Equal(t, test.client != "" || test.requestsCert, o.Handshake.ClientCertRequested)
				assertSameAsOpenSSL(t, test, o)
				return
			}
			require.NotNil(t, o.Failure)
			assertFailure(t, test, o.Failure)
		})
	}
}

func (test *test) probe(t *testing.T, s *server) *probe.EndpointOutcome {
	t.Helper()
	endpoint, err := target.ParseEndpoint(s.endpoint(t, test.port))
	require.NoError(t, err)
	trusted := certs.RootsIn(roots)
	if test.ca != "" {
		trusted, err = certs.ParseRoots(must(os.ReadFile(filepath.Join(pki, test.ca))), nil)
		require.NoError(t, err)
	}
	config := &tls.Config{RootCAs: trusted.Pool(), ServerName: "localhost", MinVersion: test.min, MaxVersion: test.max}
	if test.sni != "" {
		config.ServerName = test.sni
	}
	if test.alpn != "" {
		config.NextProtos = []string{test.alpn}
	}
	if test.client != "" {
		cert, known := clientCerts[test.client]
		require.True(t, known, test.client)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	o := (&probe.Prober{}).ProbeEndpoint(t.Context(), &target.Target{
		Endpoint: endpoint, Timeout: 5 * time.Second, ExpiryWarning: target.WarnBefore(day), Explain: target.ExplainOnChange, StartTLS: test.starttls, TLS: config, Roots: trusted,
	})
	require.NotNil(t, o)
	if f := o.Failure; f != nil {
		t.Logf("%s %s %s\n%s\n%s", f.Step, f.Type, f.Message, f.Cause, f.Fix)
		if o.Explanation != nil {
			t.Log(o.Explanation.Tries)
		}
	}
	return o
}

func assertFailure(t *testing.T, want test, f *failure.Failure) {
	t.Helper()
	assert.Equal(t, want.typ, f.Type)
	assert.Equal(t, []failure.Type{want.typ}, f.Reasons)
	assert.Equal(t, want.step, f.Step)
	assert.Equal(t, want.alert, f.Alert)
	assert.Equal(t, want.alert != 0, f.HasAlert)
	assert.Equal(t, want.code, f.VerifyCode)
	if f.HasAlert {
		assert.NotEmpty(t, f.SSLReason)
	}
	for _, text := range want.texts {
		assert.Contains(t, f.Cause+" "+f.Fix, text)
	}
}

// server is a server that was started by a script.
type server struct {
	port int             // the first of its ports
	up   [10]atomic.Bool // which ports are known to be open
	log  string          // path of its log file
	done chan struct{}   // closed when the process has exited
	err  error           // from waiting for the process; valid once done is closed
}

// start starts a server. The command is the name of a script and its options. The server is stopped when t ends.
func start(t *testing.T, command string) *server {
	t.Helper()
	dir := must(os.MkdirTemp("", "interop"))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) // some servers run as another user
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()

	s := &server{port: freePorts(t), log: log.Name(), done: make(chan struct{})}
	script, options, _ := strings.Cut(command, " ")
	args := append([]string{dir, pki, strconv.Itoa(s.port)}, strings.Fields(options)...)
	cmd := exec.CommandContext(t.Context(), "servers/"+script+".sh", args...)
	cmd.Stdout, cmd.Stderr = log, log
	// The server and its children are a process group, which is stopped as a whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second // before it is killed
	require.NoError(t, cmd.Start())
	running.Store(cmd.Process.Pid, nil)
	go func() {
		s.err = cmd.Wait()
		running.Delete(cmd.Process.Pid)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		close(s.done)
	}()
	t.Cleanup(func() { <-s.done }) // t.Context is canceled before
	return s
}

// running has the process groups of servers as keys.
var running sync.Map

// stopServersOnSignal stops all servers on an interrupt. A terminal sends it to this process group only, not to theirs.
func stopServersOnSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	running.Range(func(group, _ any) bool {
		_ = syscall.Kill(-group.(int), syscall.SIGTERM)
		return true
	})
	os.Exit(1)
}

// readLog returns the server's log.
func (s *server) readLog() string { return string(must(os.ReadFile(s.log))) }

// endpoint waits until the server listens on one of its ports, and returns the address. The port is an index.
func (s *server) endpoint(t *testing.T, port int) string {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			log := s.readLog()
			t.Logf("log of the server:\n%s", log[max(0, len(log)-2000):])
		}
	})
	endpoint := fmt.Sprintf("127.0.0.1:%d", s.port+port)
	if s.up[port].Load() {
		return endpoint
	}
	for start := time.Now(); time.Since(start) < 2*time.Minute; time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.done:
			var exit *exec.ExitError
			if errors.As(s.err, &exit) && exit.ExitCode() == 77 && os.Getenv("CI") != "true" {
				t.Skip(strings.TrimSpace(s.readLog()))
			}
			require.Fail(t, "the server exited", "%v", s.err)
		default:
		}
		if conn, err := net.Dial("tcp", endpoint); err == nil {
			_ = conn.Close()
			s.up[port].Store(true)
			return endpoint
		}
	}
	require.Fail(t, "the server does not listen on "+endpoint)
	return ""
}

// givenPorts has what freePorts has returned, as a server that is starting does not listen yet.
var givenPorts sync.Map

// freePorts returns the first of ten consecutive free ports, below those that systems use for outgoing connections.
func freePorts(t *testing.T) int {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil && l.Close() == nil
	}
	for range 100 {
		first := 20000 + 10*rand.IntN(1000)
		if _, taken := givenPorts.LoadOrStore(first, nil); taken {
			continue
		}
		n := 0
		for n < 10 && free(first+n) {
			n++
		}
		if n == 10 {
			return first
		}
	}
	require.Fail(t, "there are no ten consecutive free ports")
	return 0
}
