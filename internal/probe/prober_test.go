package probe

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var root = tlsfarm.NewAuthority("Farm Root")

// newTarget returns a target that trusts root.
func newTarget(t *testing.T, endpoint string) *target.Target {
	t.Helper()
	e, err := target.ParseEndpoint(endpoint)
	require.NoError(t, err)
	return &target.Target{
		Endpoint: e, Timeout: 5 * time.Second, ExpiryWarning: target.WarnBefore(30 * 24 * time.Hour),
		TLS: &tls.Config{RootCAs: root.Pool()},
	}
}

// serve starts a TLS server and returns a target for it.
func serve(t *testing.T, config *tls.Config) *target.Target {
	t.Helper()
	s := tlsfarm.TLS(config)
	t.Cleanup(s.Close)
	return newTarget(t, s.Endpoint())
}

// probeOnce probes a target with a new Prober.
func probeOnce(t *testing.T, tt *target.Target) *EndpointOutcome {
	t.Helper()
	o := (&Prober{}).ProbeEndpoint(t.Context(), tt)
	require.NotNil(t, o)
	return o
}

// healthy returns the configuration of a server without faults.
func healthy() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{root.Issue("healthy")}}
}

// keys returns a key of each type.
func keys(t *testing.T) map[string]crypto.Signer {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	e, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, d, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return map[string]crypto.Signer{"RSA": r, "ECDSA": e, "Ed25519": d}
}

func TestEveryVersionAndKey(t *testing.T) {
	for name, key := range keys(t) {
		cert := root.Issue("healthy", tlsfarm.Key(key))
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			if name == "Ed25519" && version < tls.VersionTLS12 {
				continue // Ed25519 needs TLS 1.2 (RFC 8422, section 5.10)
			}
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				tt := serve(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version})
				tt.TLS.MinVersion = tls.VersionTLS10
				o := probeOnce(t, tt)
				require.Nil(t, o.Failure)
				h := o.Handshake
				assert.True(t, h.Established)
				assert.Equal(t, version, h.State.Version)
				assert.NotZero(t, h.State.CipherSuite)
				assert.True(t, h.Verdict.Valid())
				assert.Equal(t, []*x509.Certificate{h.Leaf(), h.Verdict.Chain[1]}, h.Verdict.Chain)
				assert.Equal(t, root.Certificate.Raw, h.Verdict.Chain[1].Raw)
			})
		}
	}
}

func TestStepsAreTimedInOrder(t *testing.T) {
	s := tlsfarm.TLS(healthy())
	t.Cleanup(s.Close)
	resolver, stop := tlsfarm.Resolver(map[string][]netip.Addr{"farm.example.": {netip.MustParseAddr("127.0.0.1")}})
	t.Cleanup(stop)
	tt := newTarget(t, fmt.Sprintf("farm.example:%d", s.Port()))
	tt.TLS.ServerName = "localhost"

	before := time.Now()
	o := (&Prober{Resolver: resolver}).ProbeEndpoint(t.Context(), tt)
	require.Nil(t, o.Failure)
	require.Len(t, o.Dials, 1)
	times := []time.Time{
		before, o.Start, o.Lookups[0].Start, o.Lookups[0].End, o.Dials[0].Start, o.Dials[0].End,
		o.Handshake.Start, o.Handshake.End, o.End, time.Now(),
	}
	for i := 1; i < len(times); i++ {
		assert.False(t, times[i].Before(times[i-1]), "time %d", i)
	}
	assert.Positive(t, o.Handshake.End.Sub(o.Handshake.Start))
	assert.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, o.Lookups[0].Addrs)
	assert.Equal(t, "localhost", o.Handshake.ServerName)
}

func TestInvalidCertificate(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		cert tls.Certificate
		want certs.Fault
	}{
		"expired":     {root.Issue("x", tlsfarm.Validity(-10*day, -day)), certs.Expired},
		"other name":  {root.Issue("x", tlsfarm.Names("other.example")), certs.NameMismatch},
		"self-signed": {tlsfarm.SelfSigned("x"), certs.SelfSigned},
		"other root":  {tlsfarm.NewAuthority("Elsewhere").Intermediate("Between").Issue("x"), certs.UntrustedCA},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				tt := serve(t, &tls.Config{Certificates: []tls.Certificate{c.cert}, MaxVersion: version})
				o := probeOnce(t, tt)
				require.NotNil(t, o.Failure)
				assert.Equal(t, failure.Type(c.want), o.Failure.Type)
				assert.Equal(t, failure.Verify, o.Failure.Step)
				assert.Same(t, o.Failure, o.Handshake.Failure)
				assert.Same(t, o.Failure, o.Handshake.Finding)
				assert.False(t, o.Handshake.Established)
				assert.Equal(t, version, o.Handshake.State.Version)
				assert.Len(t, o.Handshake.State.PeerCertificates, len(c.cert.Certificate))

				skipping := *tt
				skipping.TLS = tt.TLS.Clone()
				skipping.TLS.InsecureSkipVerify = true
				o = probeOnce(t, &skipping)
				assert.Nil(t, o.Failure, "verification is skipped")
				assert.True(t, o.Handshake.Established)
				require.NotNil(t, o.Handshake.Finding, "the verdict is reported nevertheless")
				assert.Equal(t, failure.Type(c.want), o.Handshake.Finding.Type)
			})
		}
	}
}

func TestServerReceivesAnAlertIfItsCertificateIsInvalid(t *testing.T) {
	received := make(chan error, 1)
	config := &tls.Config{Certificates: []tls.Certificate{tlsfarm.SelfSigned("x")}}
	s := tlsfarm.Serve(func(conn net.Conn) { received <- tls.Server(conn, config).Handshake() })
	t.Cleanup(s.Close)
	probeOnce(t, newTarget(t, s.Endpoint()))
	assert.ErrorContains(t, <-received, "bad certificate")
}

func TestWarnings(t *testing.T) {
	soon := root.Issue("x", tlsfarm.Validity(-time.Hour, 10*24*time.Hour))
	tt := serve(t, &tls.Config{Certificates: []tls.Certificate{soon}})
	assert.Equal(t, []failure.Type{failure.NearExpiry}, probeOnce(t, tt).Handshake.Warnings)
	tt.ExpiryWarning = target.WarnBefore(9 * 24 * time.Hour)
	assert.Empty(t, probeOnce(t, tt).Handshake.Warnings)

	expired := root.Issue("x", tlsfarm.Validity(-2*time.Hour, -time.Hour))
	assert.Empty(t, probeOnce(t, serve(t, &tls.Config{Certificates: []tls.Certificate{expired}})).Handshake.Warnings, "an expired certificate is not near its expiry")
}

func TestClientCertificate(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	good, stranger := clients.Issue("prober"), tlsfarm.NewAuthority("Strangers").Issue("prober")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := healthy()
		config.MaxVersion = version
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
		for name, c := range map[string]struct {
			cert *tls.Certificate
			want failure.Type
		}{
			"good":    {&good, ""},
			"none":    {nil, failure.MissingClientCert},
			"unknown": {&stranger, failure.UnknownCA},
		} {
			t.Run(tls.VersionName(version)+" "+name, func(t *testing.T) {
				tt := serve(t, config)
				if c.cert != nil {
					tt.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
				}
				o := probeOnce(t, tt)
				assert.True(t, o.Handshake.ClientCertRequested)
				assert.Equal(t, []string{"CN=Clients,O=Farm"}, o.Handshake.AcceptableCAs)
				if c.cert != nil {
					assert.Equal(t, c.cert.Leaf, o.ClientCert)
				}
				if c.want == "" {
					assert.Nil(t, o.Failure)
					return
				}
				require.NotNil(t, o.Failure)
				assert.Equal(t, c.want, o.Failure.Type, o.Failure.Message)
				assert.Equal(t, failure.ClientAuth, o.Failure.Step)
				assert.True(t, o.Failure.HasAlert)
			})
		}
	}
}

// Some servers, such as slapd, close the connection without an alert. crypto/tls returns the same error for that as for
// close_notify.
func TestServerClosesTheConnectionToRefuseTheClientCertificate(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	clientCert := clients.Issue("prober")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := tlsfarm.Refusing(root.Issue("x"), clients.Pool(), version, 0)
		t.Cleanup(s.Close)
		tt := newTarget(t, s.Endpoint())
		for _, evidence := range []string{"got none", `got that of "prober"`} {
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure, tls.VersionName(version))
			assert.Equal(t, failure.ConnectionClosed, o.Failure.Type)
			assert.Equal(t, failure.ClientAuth, o.Failure.Step)
			assert.Contains(t, o.Failure.Cause, "asked for a client certificate, "+evidence+", and closed the connection without giving a reason")
			assert.Contains(t, o.Failure.Cause, "CN=Clients")
			tt.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &clientCert, nil }
		}
	}

	// A server that sends close_notify has not refused the missing certificate.
	config := healthy()
	config.ClientAuth = tls.RequestClientCert
	s := tlsfarm.Serve(func(conn net.Conn) {
		server := tls.Server(conn, config)
		if server.Handshake() == nil {
			_ = server.CloseWrite()
			_, _ = server.Read(make([]byte, 1))
		}
	})
	t.Cleanup(s.Close)
	assert.Nil(t, probeOnce(t, newTarget(t, s.Endpoint())).Failure)
}

// A server that requests no client certificate cannot refuse one, so the probe must not wait.
func TestNoWaitWithoutACertificateRequest(t *testing.T) {
	reads := make(chan struct{}, 1)
	s := tlsfarm.Serve(func(conn net.Conn) {
		server := tls.Server(conn, healthy())
		if server.Handshake() == nil {
			_, _ = server.Read(make([]byte, 1)) // returns when the client closes the connection
			reads <- struct{}{}
		}
	})
	t.Cleanup(s.Close)
	r := &run{Attempt: &Attempt{Handshake: &Handshake{Facts: handshake.Facts{State: tls.ConnectionState{Version: tls.VersionTLS13}}}}}
	assert.NoError(t, r.awaitRefusal(), "it would panic if it used the connection, which is nil")
	require.Nil(t, probeOnce(t, newTarget(t, s.Endpoint())).Failure)
	<-reads
}

func TestServersThatDoNotSpeakTLS(t *testing.T) {
	for name, c := range map[string]struct {
		server *tlsfarm.Server
		want   failure.Type
		step   failure.Step
	}{
		"silent":    {tlsfarm.Silent(), failure.HandshakeTimeout, failure.Handshake},
		"resetting": {tlsfarm.Resetting(), failure.ConnectionClosed, failure.Handshake},
		"closing":   {tlsfarm.Closing(), failure.ConnectionClosed, failure.Handshake},
		"plaintext": {tlsfarm.Plaintext("220 mail.example ESMTP\r\n"), failure.NotTLS, failure.Handshake},
		"http":      {tlsfarm.Answering([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), failure.NotTLS, failure.Handshake},
		"garbage":   {tlsfarm.Answering(bytes.Repeat([]byte{0xff, 0, 0xc3, 0x28}, 1000)), failure.NotTLS, failure.Handshake},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(c.server.Close)
			tt := newTarget(t, c.server.Endpoint())
			tt.Timeout = time.Second
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, c.want, o.Failure.Type, o.Failure.Message)
			assert.Equal(t, c.step, o.Failure.Step)
			assert.NotNil(t, o.Handshake)
			assert.Zero(t, o.Handshake.State.Version)
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	o := probeOnce(t, newTarget(t, tlsfarm.Refused()))
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.ConnectionRefused, o.Failure.Type)
	assert.Equal(t, failure.Connect, o.Failure.Step)
	assert.Equal(t, "tcp", o.Failure.Category)
	assert.Contains(t, o.Failure.Cause, "Nothing accepts connections on "+o.Target.Endpoint.String())
	assert.Contains(t, o.Failure.Fix, "Start the service")
	assert.Nil(t, o.Handshake)
	require.Len(t, o.Dials, 1)
	assert.Same(t, o.Failure, o.Dials[0].Failure)
}

func TestEachAddressIsTried(t *testing.T) {
	s := tlsfarm.TLS(healthy())
	t.Cleanup(s.Close)
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	resolver, stop := tlsfarm.Resolver(map[string][]netip.Addr{
		"both.example.": {v6, v4},
	})
	t.Cleanup(stop)
	p := &Prober{Resolver: resolver}

	both := newTarget(t, fmt.Sprintf("both.example:%d", s.Port()))
	both.TLS.ServerName = "localhost"
	o := p.ProbeEndpoint(t.Context(), both)
	require.Nil(t, o.Failure, "the server listens only on IPv4")
	require.Len(t, o.Dials, 2)
	assert.Equal(t, v6, o.Dials[0].Addr.Addr())
	assert.NotNil(t, o.Dials[0].Failure)
	assert.Equal(t, v4, o.Dials[1].Addr.Addr())
	assert.Nil(t, o.Dials[1].Failure)

	refused := netip.MustParseAddrPort(tlsfarm.Refused())
	o = p.ProbeEndpoint(t.Context(), newTarget(t, fmt.Sprintf("both.example:%d", refused.Port())))
	require.NotNil(t, o.Failure)
	assert.Len(t, o.Dials, 2)
	assert.Equal(t, failure.ConnectionRefused, o.Failure.Type)
}

func TestIPv6(t *testing.T) {
	s := tlsfarm.ServeOn("[::1]:0", func(conn net.Conn) { tlsfarm.Handshake(conn, healthy()) })
	t.Cleanup(s.Close)
	o := probeOnce(t, newTarget(t, s.Endpoint()))
	require.Nil(t, o.Failure)
	assert.Empty(t, o.Lookups)
	assert.Empty(t, o.Handshake.ServerName, "SNI must not be an address (RFC 6066, section 3)")
}

// Package net returns IPv4 addresses from the hosts file as IPv4-mapped IPv6 addresses.
func TestIPv4AddressesFromTheHostsFile(t *testing.T) {
	s := tlsfarm.TLS(healthy())
	t.Cleanup(s.Close)
	o := probeOnce(t, newTarget(t, fmt.Sprintf("localhost:%d", s.Port())))
	require.Nil(t, o.Failure)
	for _, a := range o.Lookups[0].Addrs {
		assert.False(t, a.Is4In6(), a)
	}
}

func TestNames(t *testing.T) {
	var sni string
	config := &tls.Config{
		Certificates: []tls.Certificate{root.Issue("x", tlsfarm.Names("xn--mnchen-3ya.example"))},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			sni = hello.ServerName
			return nil, nil
		},
	}
	s := tlsfarm.TLS(config)
	t.Cleanup(s.Close)
	resolver, stop := tlsfarm.Resolver(map[string][]netip.Addr{
		"xn--mnchen-3ya.example.": {netip.MustParseAddr("127.0.0.1")},
		"broken.example.":         {},
	})
	t.Cleanup(stop)
	p := &Prober{Resolver: resolver}

	for _, host := range []string{"münchen.example", "xn--mnchen-3ya.example", "xn--mnchen-3ya.example."} {
		o := p.ProbeEndpoint(t.Context(), newTarget(t, fmt.Sprintf("%s:%d", host, s.Port())))
		require.Nil(t, o.Failure, host)
		assert.Equal(t, "xn--mnchen-3ya.example", sni)
	}

	for host, want := range map[string]failure.Type{
		"unknown.example.": failure.DNSNotFound,
		"broken.example.":  failure.DNSError,
	} {
		o := p.ProbeEndpoint(t.Context(), newTarget(t, host+":443"))
		require.NotNil(t, o.Failure, host)
		assert.Equal(t, want, o.Failure.Type, o.Failure.Message)
		assert.Equal(t, failure.DNS, o.Failure.Step)
		assert.Contains(t, o.Failure.Cause, host)
		assert.Contains(t, o.Failure.Fix, "resolver")
		assert.Same(t, o.Failure, o.Lookups[0].Failure)
		assert.Empty(t, o.Dials)
	}

	// A name server that never answers.
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	p.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", silent.LocalAddr().String())
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() }) // package net would wait for 5 s more
		}
		return conn, err
	}}
	tt := newTarget(t, "slow.example.:443")
	tt.Timeout = 300 * time.Millisecond
	o := p.ProbeEndpoint(t.Context(), tt)
	assert.Equal(t, failure.DNSTimeout, o.Failure.Type)
	assert.Contains(t, o.Failure.Cause, "slow.example.")
}

// PostgreSQL 17 accepts TLS without STARTTLS from clients that offer its ALPN protocol.
func TestPostgreSQLWithoutSTARTTLS(t *testing.T) {
	config := healthy()
	config.NextProtos = []string{"postgresql"}
	tt := serve(t, config)
	tt.TLS.NextProtos = []string{"postgresql"}
	o := probeOnce(t, tt)
	require.Nil(t, o.Failure)
	assert.Equal(t, "postgresql", o.Handshake.State.NegotiatedProtocol)
	assert.Nil(t, o.StartTLS)
}

func TestALPN(t *testing.T) {
	config := healthy()
	config.NextProtos = []string{"h2", "http/1.1"}
	tt := serve(t, config)
	tt.TLS.NextProtos = []string{"http/1.1"}
	assert.Equal(t, "http/1.1", probeOnce(t, tt).Handshake.State.NegotiatedProtocol)

	tt.TLS.NextProtos = []string{"imap"}
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.ALPNMismatch, o.Failure.Type)
}

// crypto/tls refuses these choices with errors that have a text but no type of their own.
func TestServerChoosesWhatWasNotOffered(t *testing.T) {
	tls13 := map[uint16][]byte{43: {3, 4}, 51: append([]byte{0x12, 0x34, 0, 1}, 0)} // an unknown group
	for name, c := range map[string]struct {
		server *tlsfarm.Server
		want   failure.Type
	}{
		"version": {tlsfarm.ServerHello(0x0300, 0xc02f, nil), failure.ProtocolMismatch},
		"suite":   {tlsfarm.ServerHello(0x0303, 0x0004, nil), failure.CipherMismatch},
		"group":   {tlsfarm.ServerHello(0x0303, 0x1301, tls13), failure.GroupMismatch},
		"ALPN":    {tlsfarm.ServerHello(0x0303, 0xc02f, map[uint16][]byte{16: {0, 3, 2, 'x', 'y'}}), failure.ALPNMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(c.server.Close)
			tt := newTarget(t, c.server.Endpoint())
			tt.TLS.NextProtos = []string{"h2"}
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, c.want, o.Failure.Type, o.Failure.Message)
			assert.Equal(t, failure.Handshake, o.Failure.Step)
		})
	}
}

func TestVersionMismatch(t *testing.T) {
	config := healthy()
	config.MaxVersion = tls.VersionTLS11
	config.MinVersion = tls.VersionTLS10
	o := probeOnce(t, serve(t, config))
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.ProtocolMismatch, o.Failure.Type)
	assert.Equal(t, uint8(70), o.Failure.Alert)
	assert.Equal(t, "TLSV1_ALERT_PROTOCOL_VERSION", o.Failure.SSLReason)
	assert.Equal(t, uint16(tls.VersionTLS13), o.Handshake.MaxVersion)
}

// crypto/x509 cannot parse a certificate whose subject is not valid UTF-8.
func TestCertificateWithInvalidUTF8(t *testing.T) {
	marker := "INVALID-UTF8-HERE"
	cert := root.Issue(marker)
	for i, der := range cert.Certificate {
		cert.Certificate[i] = bytes.ReplaceAll(der, []byte(marker), []byte("INVALID\xff\xfe\xc3\x28-HERE!"[:len(marker)]))
	}
	o := probeOnce(t, serve(t, &tls.Config{Certificates: []tls.Certificate{{Certificate: cert.Certificate, PrivateKey: cert.PrivateKey}}}))
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.Type(certs.Malformed), o.Failure.Type, o.Failure.Message)
	assert.Equal(t, failure.Verify, o.Failure.Step)
}

func TestClientCertificateThatCannotBeLoaded(t *testing.T) {
	tt := serve(t, healthy())
	tt.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, os.ErrPermission }
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.LocalError, o.Failure.Type)
	assert.Equal(t, failure.Local, o.Failure.Step)
}

func TestDeadlineCoversTheWholeProbe(t *testing.T) {
	s := tlsfarm.Silent()
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.Timeout = 200 * time.Millisecond
	o := probeOnce(t, tt)
	assert.GreaterOrEqual(t, o.End.Sub(o.Start), tt.Timeout)
	assert.Contains(t, o.Failure.Cause, "200ms")
}

func TestCancelledProbeHasNoOutcome(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := tlsfarm.Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1)) // the ClientHello
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.Timeout = time.Hour
	assert.Nil(t, (&Prober{}).ProbeEndpoint(ctx, tt))
}

func TestPanicFailsTheProbe(t *testing.T) {
	tt := serve(t, healthy())
	tt.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { panic("broken parser") }
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Contains(t, o.Failure.Message, "broken parser")

	// A panic during the handshake ends that step, which gets the failure.
	config := healthy()
	config.ClientAuth = tls.RequestClientCert
	tt = serve(t, config)
	calls := 0
	tt.TLS.RootCAs = x509.NewCertPool()
	tt.TLS.RootCAs.AddCertWithConstraint(root.Certificate, func([]*x509.Certificate) error {
		calls++
		panic("broken verifier")
	})
	o = probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Positive(t, calls)
	assert.Contains(t, o.Failure.Message, "broken verifier")
	assert.Same(t, o.Failure, o.Handshake.Failure)
	assert.False(t, o.Handshake.End.Before(o.Handshake.Start))
	assert.False(t, o.End.Before(o.Handshake.End))
}

func TestSharedConfigIsNotChanged(t *testing.T) {
	tt := serve(t, healthy())
	before := fmt.Sprintf("%p %p %v %q", tt.TLS.VerifyConnection, tt.TLS.GetClientCertificate, tt.TLS.InsecureSkipVerify, tt.TLS.ServerName)
	probeOnce(t, tt)
	assert.Equal(t, before, fmt.Sprintf("%p %p %v %q", tt.TLS.VerifyConnection, tt.TLS.GetClientCertificate, tt.TLS.InsecureSkipVerify, tt.TLS.ServerName))
}

func TestLongBannerIsBounded(t *testing.T) {
	s := tlsfarm.Plaintext(strings.Repeat("x", 1<<20))
	t.Cleanup(s.Close)
	o := probeOnce(t, newTarget(t, s.Endpoint()))
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.NotTLS, o.Failure.Type)
	assert.Less(t, len(o.Failure.Cause), 500)
}

// A client certificate is refused during the handshake in TLS 1.2, and after it in TLS 1.3.
func TestEveryAlertThatRefusesTheClientCertificate(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	clientCert := clients.Issue("prober")
	type types struct{ withCert, withoutCert failure.Type }
	for alert, want := range map[uint8]types{
		40:  {failure.HandshakeFailure, failure.MissingClientCert},
		41:  {failure.MissingClientCert, failure.MissingClientCert},
		42:  {failure.BadCertificate, failure.MissingClientCert},
		43:  {failure.UnsupportedCertificate, failure.UnsupportedCertificate},
		44:  {failure.ClientCertRevoked, failure.ClientCertRevoked},
		45:  {failure.ClientCertExpired, failure.ClientCertExpired},
		46:  {failure.CertificateUnknown, failure.CertificateUnknown},
		48:  {failure.UnknownCA, failure.UnknownCA},
		49:  {failure.AccessDenied, failure.AccessDenied},
		50:  {failure.BadCertificate, failure.MissingClientCert},
		116: {failure.MissingClientCert, failure.MissingClientCert},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%d %s", alert, tls.VersionName(version)), func(t *testing.T) {
				s := tlsfarm.Refusing(root.Issue("x"), clients.Pool(), version, alert)
				t.Cleanup(s.Close)
				tt := newTarget(t, s.Endpoint())
				tt.Explain = target.ExplainOnChange
				check := func(want failure.Type) *failure.Failure {
					o := probeOnce(t, tt)
					require.NotNil(t, o.Failure)
					assert.Equal(t, want, o.Failure.Type, o.Failure.Message)
					assert.Equal(t, alert, o.Failure.Alert)
					assert.True(t, o.Failure.HasAlert)
					assert.True(t, o.Handshake.ClientCertRequested)
					assert.Equal(t, version == tls.VersionTLS13, o.Handshake.Established)
					assert.Nil(t, o.Explanation, "no other handshake would fix the client certificate")
					return o.Failure
				}
				without := check(want.withoutCert)
				assert.Contains(t, without.Cause+without.Fix, "certificate")
				assert.Contains(t, without.Cause, "CN=Clients")
				tt.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &clientCert, nil }
				with := check(want.withCert)
				if with.Step == failure.ClientAuth {
					assert.Contains(t, with.Cause, `the client certificate of "prober", issued by "Clients"`)
					assert.Contains(t, with.Cause, "The server accepts certificates from CN=Clients")
				}
			})
		}
	}
}

func TestTargetsWithTheSameHostShareTheLookUp(t *testing.T) {
	server := tlsfarm.TLS(healthy())
	t.Cleanup(server.Close)
	var queries atomic.Int64
	resolver, stop := tlsfarm.NameServer(func(_ string, query dnsmessage.Message) [][]byte {
		queries.Add(1)
		return tlsfarm.Response(query, dnsmessage.RCodeSuccess, tlsfarm.AddressRecords(query, 300, netip.MustParseAddr("127.0.0.1"))...)
	})
	t.Cleanup(stop)
	p := &Prober{Resolver: resolver}
	outcomes := make(chan *EndpointOutcome)
	for range 5 {
		target := newTarget(t, fmt.Sprintf("a.example.:%d", server.Port()))
		target.TLS.ServerName, target.Timeout = "localhost", time.Minute
		go func() {
			p.ProbeEndpoint(t.Context(), target)
			outcomes <- p.ProbeEndpoint(t.Context(), target)
		}()
	}
	for range 5 {
		o := <-outcomes
		assert.Nil(t, o.Failure)
		assert.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, o.Lookups[0].Addrs)
	}
	assert.EqualValues(t, 2, queries.Load(), "one query for IPv4 and one for IPv6 addresses")
}
