//go:build interop

// Package interop probes real servers of other TLS stacks than Go's, for what Go's own can't do and for what they do in
// their own way. `make test-interop` fetches the servers' Debian packages and runs all of it; to run one:
//
//	go test -tags interop ./internal/interop -run TestOpenSSL/RSA -v
//
// Each server is started by a script in servers/, which can be started by hand as well; lib.sh there says how. The
// certificates for that are written by
//
//	go test -tags interop ./internal/interop -run '^$' -pki "$PWD/_build/pki"
//
// A server that is not installed is skipped by the name of its package, and one that only root can start is skipped for
// others, but not where CI=true.
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
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

var keep = flag.String("pki", "", "write the certificates into this `folder` and keep them")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir := *keep
		if dir == "" {
			dir = must(os.MkdirTemp("", "interop"))
			defer os.RemoveAll(dir)
		}
		if err := writePKI(dir); err != nil {
			fmt.Fprintln(os.Stderr, "making the certificates:", err)
			return 1
		}
		adoptOrphans()
		go endAllWhenInterrupted()
		code := m.Run()
		if err := awaitOrphans(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// test is a probe of a server and what has to come of it.
type test struct {
	name   string
	server string // a script in servers/ and its options; the tests of a table share a server whose words are the same
	port   int    // which of the server's, counted from 0

	// What the client offers; the zero values are TLS from the first byte, for the name localhost, without ALPN, from
	// TLS 1.2 to 1.3, without a certificate.
	starttls string
	sni      string
	alpn     string
	min, max uint16
	own      string

	asks bool // the server does, for a client certificate that it can do without

	// The failure. Without a type the probe has to succeed, and to see what `openssl s_client` sees.
	step     failure.Step
	typ      failure.Type
	alert    uint8
	code     int
	evidence []string // is in the cause or the fix

	log string // what the server writes of it into its log
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
			before := len(s.said())
			o := test.probe(t, s)
			if test.log != "" {
				assert.Eventually(t, func() bool {
					return strings.Contains(s.said()[before:], test.log)
				}, 5*time.Second, 10*time.Millisecond, test.log)
			}
			if test.typ == "" {
				require.Nil(t, o.Failure)
				assert.Empty(t, o.Handshake.Warnings)
				assert.Equal(t, test.own != "" || test.asks, o.Handshake.ClientCertRequested)
				assertSameAsOpenSSL(t, test, o)
				return
			}
			require.NotNil(t, o.Failure)
			assertFailure(t, test, o.Failure)
		})
	}
}

func (test *test) probe(t *testing.T, s *server) *probe.Outcome {
	t.Helper()
	endpoint, err := target.ParseEndpoint(s.endpoint(t, test.port))
	require.NoError(t, err)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: test.min, MaxVersion: test.max}
	if test.sni != "" {
		config.ServerName = test.sni
	}
	if test.alpn != "" {
		config.NextProtos = []string{test.alpn}
	}
	if test.own != "" {
		cert, known := own[test.own]
		require.True(t, known, test.own)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	o := (&probe.Prober{}).Probe(t.Context(), &target.Target{
		Endpoint: endpoint, Timeout: 5 * time.Second, ExpiryWarning: target.WarnBefore(day), Explain: target.ExplainOnChange, StartTLS: test.starttls, TLS: config,
	})
	require.NotNil(t, o)
	if f := o.Failure; f != nil {
		t.Logf("%s %s %s\n%s\n%s", f.Step, f.Type, f.Message, f.Cause, f.Fix)
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
	for _, e := range want.evidence {
		assert.Contains(t, f.Cause+" "+f.Fix, e)
	}
}

// server is one that a script started.
type server struct {
	port int      // the first of its ports
	up   [10]bool // which are known to be open
	log  string   // a file
	done chan struct{}
	err  error // how the process ended, once done is closed
}

// start starts a server; words are a script's name and its options. The server stops when t ends.
func start(t *testing.T, words string) *server {
	t.Helper()
	work := must(os.MkdirTemp("", "interop"))
	t.Cleanup(func() { _ = os.RemoveAll(work) })
	require.NoError(t, os.Chmod(work, 0o755)) // some servers run as others than we do
	log, err := os.Create(filepath.Join(work, "log"))
	require.NoError(t, err)
	defer log.Close()

	s := &server{port: freePorts(t), log: log.Name(), done: make(chan struct{})}
	script, options, _ := strings.Cut(words, " ")
	args := append([]string{work, pki, strconv.Itoa(s.port)}, strings.Fields(options)...)
	cmd := exec.CommandContext(t.Context(), "servers/"+script+".sh", args...)
	cmd.Stdout, cmd.Stderr = log, log
	// The server and what it starts are a process group, which is ended as a whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	require.NoError(t, cmd.Start())
	running.Store(cmd.Process.Pid, nil)
	go func() {
		s.err = cmd.Wait()
		running.Delete(cmd.Process.Pid)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		close(s.done)
	}()
	t.Cleanup(func() { <-s.done }) // t.Context has ended by then
	return s
}

// running are the process groups of servers.
var running sync.Map

// endAllWhenInterrupted is needed because a terminal interrupts our process group, not theirs.
func endAllWhenInterrupted() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	running.Range(func(group, _ any) bool {
		_ = syscall.Kill(-group.(int), syscall.SIGTERM)
		return true
	})
	os.Exit(1)
}

// said is the server's log.
func (s *server) said() string { return string(must(os.ReadFile(s.log))) }

// endpoint returns one of the server's ports, counted from 0, when the server listens on it.
func (s *server) endpoint(t *testing.T, port int) string {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			said := s.said()
			t.Logf("the server said:\n%s", said[max(0, len(said)-2000):])
		}
	})
	endpoint := fmt.Sprintf("127.0.0.1:%d", s.port+port)
	if s.up[port] {
		return endpoint
	}
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.done:
			var exit *exec.ExitError
			if errors.As(s.err, &exit) && exit.ExitCode() == 77 && os.Getenv("CI") != "true" {
				t.Skip(strings.TrimSpace(s.said()))
			}
			require.Fail(t, "the server has ended", "%v", s.err)
		default:
		}
		if conn, err := net.Dial("tcp", endpoint); err == nil {
			_ = conn.Close()
			s.up[port] = true
			return endpoint
		}
	}
	require.Fail(t, "the server does not listen on "+endpoint)
	return ""
}

// freePorts returns the first of ten successive free ports, below those that systems give to outgoing connections.
func freePorts(t *testing.T) int {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil && l.Close() == nil
	}
	for range 100 {
		first := 20000 + 10*rand.IntN(1000)
		n := 0
		for n < 10 && free(first+n) {
			n++
		}
		if n == 10 {
			return first
		}
	}
	require.Fail(t, "no free ports")
	return 0
}
