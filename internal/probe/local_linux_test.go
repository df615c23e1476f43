package probe

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/resolve"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const limitedVariable = "TLSCHECK_TEST_LIMITED"

// TestTooManyOpenFiles makes its probe in a child process that may open only a few files.
func TestTooManyOpenFiles(t *testing.T) {
	if endpoint := os.Getenv(limitedVariable); endpoint != "" {
		probeOnce(t, newTarget(t, endpoint)) // opens what stays open after a probe
		var open []*os.File
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			open = append(open, f)
		}
		o := probeOnce(t, newTarget(t, endpoint))
		if o.Failure != nil {
			assert.Contains(t, o.Failure.Fix, "max_concurrent_probes")
		}
		for _, f := range open {
			_ = f.Close()
		}
		require.NotNil(t, o.Failure)
		assert.Equal(t, failure.TooManyOpenFiles, o.Failure.Type, o.Failure.Message)
		assert.Equal(t, failure.Local, o.Failure.Step)
		return
	}
	s := tlsfarm.Closing()
	t.Cleanup(s.Close)
	limited := exec.Command("sh", "-c", `ulimit -n 64 && exec "$0" -test.run '^TestTooManyOpenFiles$'`, os.Args[0])
	limited.Env = append(os.Environ(), limitedVariable+"="+s.Endpoint())
	out, err := limited.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// inNewNetwork runs f on a thread in a new network namespace, which has a loopback interface and no routes. It skips the
// test if the process lacks the necessary privileges.
func inNewNetwork(t *testing.T, f func()) {
	t.Helper()
	var skipped error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so that the thread and its network end with the goroutine
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			skipped = err
			return
		}
		var request struct {
			name  [16]byte
			flags uint16
			_     [22]byte
		}
		copy(request.name[:], "lo")
		request.flags = syscall.IFF_UP
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
		if !assert.NoError(t, err) {
			return
		}
		defer syscall.Close(fd)
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)))
		if assert.Zero(t, errno) {
			f()
		}
	}()
	<-done
	if skipped != nil {
		t.Skipf("a new network namespace needs root: %v", skipped)
	}
}

func TestNoFreePorts(t *testing.T) {
	inNewNetwork(t, func() {
		// This changes only the thread's own network namespace.
		if !assert.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40001"), 0)) {
			return
		}
		s := tlsfarm.ServeOn("127.0.0.1:443", func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
		defer s.Close()
		for range 2 {
			conn, err := net.Dial("tcp", s.Endpoint())
			if !assert.NoError(t, err) {
				return
			}
			defer conn.Close()
		}
		o := probeOnce(t, newTarget(t, s.Endpoint()))
		if assert.NotNil(t, o.Failure) {
			assert.Equal(t, failure.NoFreePorts, o.Failure.Type, o.Failure.Message)
			assert.Equal(t, failure.Local, o.Failure.Step)
			assert.Equal(t, "local", o.Failure.Category)
		}
	})
}

// The owner of a DNS name could make the prober connect to thousands of hosts.
func TestNumberOfAddressesIsBounded(t *testing.T) {
	var addrs []netip.Addr
	for i := range 40 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}))
	}
	resolver, stop := tlsfarm.Resolver(map[string][]netip.Addr{"many.example.": addrs})
	t.Cleanup(stop)
	refused := netip.MustParseAddrPort(tlsfarm.Refused())
	o := (&Prober{Resolver: resolver}).ProbeEndpoint(t.Context(), newTarget(t, fmt.Sprintf("many.example:%d", refused.Port())))
	require.NotNil(t, o.Failure)
	assert.Len(t, o.Dials, resolve.MaxAddresses)
	assert.Len(t, o.Lookups[0].Addrs, resolve.MaxAddresses)
}

// If IPv6 is disabled, connecting fails with the same errno as if all ports are in use.
func TestDisabledIPv6(t *testing.T) {
	inNewNetwork(t, func() {
		if !assert.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)) {
			return
		}
		o := probeOnce(t, newTarget(t, "[::1]:443"))
		if assert.NotNil(t, o.Failure) {
			assert.Equal(t, failure.NetworkUnreachable, o.Failure.Type, o.Failure.Message)
			assert.Contains(t, o.Failure.Message, "no address that could reach it")
		}
	})
}

func TestNetworkUnreachable(t *testing.T) {
	inNewNetwork(t, func() {
		for _, endpoint := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} { // RFC 5737, RFC 3849
			e, err := target.ParseEndpoint(endpoint)
			assert.NoError(t, err)
			o := (&Prober{}).ProbeEndpoint(t.Context(), &target.Target{Endpoint: e, Timeout: time.Second, TLS: &tls.Config{}})
			if assert.NotNil(t, o.Failure) {
				assert.Equal(t, failure.NetworkUnreachable, o.Failure.Type, o.Failure.Message)
				assert.Equal(t, failure.Connect, o.Failure.Step)
			}
		}
	})
	// A link-local address cannot be reached without its zone (RFC 4007, section 6).
	o := probeOnce(t, newTarget(t, "[fe80::1]:443"))
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.NetworkUnreachable, o.Failure.Type, o.Failure.Message)
}

func TestNextAddressIsTriedAfterABlackhole(t *testing.T) {
	hole, stop := tlsfarm.Blackhole()
	t.Cleanup(stop)
	addr := netip.MustParseAddrPort(hole)
	s := tlsfarm.ServeOn(fmt.Sprintf("127.0.0.2:%d", addr.Port()), func(conn net.Conn) { tlsfarm.Handshake(conn, healthy()) })
	t.Cleanup(s.Close)
	resolver, stopDNS := tlsfarm.Resolver(map[string][]netip.Addr{
		"two.example.": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
		"one.example.": {netip.MustParseAddr("127.0.0.1")},
	})
	t.Cleanup(stopDNS)
	p := &Prober{Resolver: resolver}
	two := newTarget(t, fmt.Sprintf("two.example:%d", addr.Port()))
	two.TLS.ServerName, two.Timeout = "localhost", time.Second
	o := p.ProbeEndpoint(t.Context(), two)
	require.Nil(t, o.Failure)
	require.Len(t, o.Dials, 2)
	assert.Equal(t, failure.ConnectionTimeout, o.Dials[0].Failure.Type)

	one := newTarget(t, fmt.Sprintf("one.example:%d", addr.Port()))
	one.Timeout = 300 * time.Millisecond
	o = p.ProbeEndpoint(t.Context(), one)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.ConnectionTimeout, o.Failure.Type)
	assert.Equal(t, failure.Connect, o.Failure.Step)
	assert.Contains(t, o.Failure.Cause, one.Endpoint.String()+" did not answer")
	assert.Contains(t, o.Failure.Fix, "firewall")
}

func TestConnectTimeout(t *testing.T) {
	hole, stop := tlsfarm.Blackhole()
	t.Cleanup(stop)
	tt := newTarget(t, hole)
	tt.Timeout, tt.ConnectTimeout = 10*time.Second, 10*time.Millisecond
	f := probeOnce(t, tt).Failure
	require.NotNil(t, f)
	assert.Equal(t, failure.ConnectionTimeout, f.Type)
	assert.Contains(t, f.Cause, "within 10ms")
}
