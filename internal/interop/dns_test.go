//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// dnsmasq gives records a TTL of 0 where none is said. The names end in a dot, as resolv.conf could have others tried.
func TestRealDNS(t *testing.T) {
	root := tlsfarm.NewAuthority("DNS Root")
	serve := func(t *testing.T, address, commonName string) uint16 {
		c := root.Issue(commonName, tlsfarm.Names("farm.test", "*.farm.test"))
		s := tlsfarm.ServeOn(address, func(conn net.Conn) {
			tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{c}})
		})
		t.Cleanup(s.Close)
		return s.Port()
	}
	one, two := serve(t, "127.0.0.1:0", "one"), serve(t, "127.0.0.2:0", "two")
	closed := netip.MustParseAddrPort(tlsfarm.Refused()).Port()

	words := []string{
		"dnsmasq --local=/test/ --host-record=a.farm.test,127.0.0.1,60 --host-record=b.farm.test,127.0.0.2,60",
		"--host-record=dual.farm.test,127.0.0.1,::1,60 --host-record=brief.farm.test,127.0.0.1",
		"--cname=alias.farm.test,a.farm.test,60 --cname=brief-alias.farm.test,a.farm.test",
		"--txt-record=text.farm.test,text --txt-record=_text._tcp.farm.test,text",
		fmt.Sprintf("--srv-host=_imaps._tcp.farm.test,alias.farm.test,%d,20", one),
		fmt.Sprintf("--srv-host=_imaps._tcp.farm.test,b.farm.test,%d,10", two),
		fmt.Sprintf("--srv-host=_half._tcp.farm.test,missing.farm.test,%d,10", one),
		fmt.Sprintf("--srv-host=_half._tcp.farm.test,b.farm.test,%d,20", two),
		fmt.Sprintf("--srv-host=_lost._tcp.farm.test,missing.farm.test,%d", one),
		"--srv-host=_off._tcp.farm.test", // RFC 2782: there is no such service
	}
	for i := range 100 { // more than a packet has room for
		words = append(words, fmt.Sprintf("--host-record=many.farm.test,127.0.0.%d,60", 1+i))
	}
	dns := start(t, strings.Join(words, " "))
	at := dns.endpoint(t, 0)
	var streams atomic.Int64
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		if strings.HasPrefix(network, "tcp") {
			streams.Add(1)
		}
		return (&net.Dialer{}).DialContext(ctx, network, at)
	}
	p := &probe.Prober{Resolver: &net.Resolver{PreferGo: true, Dial: dial}}
	// probed says in short what came of it. Port 0 is for a service.
	probed := func(t *testing.T, name string, port uint16) string {
		endpoint, err := target.ParseEndpoint(fmt.Sprintf("%s:%d", name, port))
		if port == 0 {
			endpoint, err = target.ParseService(name)
		}
		require.NoError(t, err)
		var said []string
		for _, o := range p.ProbeAddresses(t.Context(), &target.Target{
			ID: name, Endpoint: endpoint, ResolveAll: true, Timeout: 5 * time.Second, ExpiryWarning: target.WarnBefore(day),
			TLS: &tls.Config{RootCAs: root.Pool()},
		}) {
			if f := o.Common().Failure; f != nil {
				said = append(said, string(f.Type))
			} else if whole, ok := o.(*probe.EndpointOutcome); ok {
				said = append(said, fmt.Sprintf("%d certificates", whole.Pool.Certificates()))
			} else {
				said = append(said, o.Common().Place.Peer.String()+" "+probe.Leaf(o).Subject.CommonName)
			}
		}
		return strings.Join(said, ", ")
	}
	asked := func(kind, name string) int {
		return strings.Count(dns.said(), fmt.Sprintf("query[%s] %s from ", kind, name))
	}

	for name, want := range map[string]string{
		"_imaps._tcp.farm.test.": fmt.Sprintf("2 certificates, 127.0.0.1:%d one, 127.0.0.2:%d two", one, two),
		"_half._tcp.farm.test.":  fmt.Sprintf("1 certificates, 127.0.0.2:%d two", two),
		"_lost._tcp.farm.test.":  "dns_not_found", "_off._tcp.farm.test.": "dns_not_found",
		"_missing._tcp.farm.test.": "dns_not_found", "missing.farm.test.": "dns_not_found",
		"_text._tcp.farm.test.": "dns_not_found", "text.farm.test.": "dns_not_found", // which exist, and have other records
		"_imaps._tcp.example.": "dns_error", "a.example.": "dns_error", // which dnsmasq refuses to look up
	} {
		port := one
		if name[0] == '_' {
			port = 0
		}
		assert.Equal(t, want, probed(t, name, port), name)
	}
	t.Run("both families", func(t *testing.T) {
		six := fmt.Sprintf("[::1]:%d", one)
		l, err := net.Listen("tcp", six)
		if err != nil {
			t.Skip(err)
		}
		_ = l.Close()
		serve(t, six, "six")
		assert.Equal(t, fmt.Sprintf("2 certificates, 127.0.0.1:%d one, %s six", one, six), probed(t, "dual.farm.test.", one))
	})
	t.Run("lifetimes", func(t *testing.T) {
		for name, want := range map[string]int{"dual": 1, "alias": 1, "brief": 3, "brief-alias": 3, "missing": 3} {
			p, name = &probe.Prober{Resolver: p.Resolver}, name+".farm.test" // one that has kept nothing
			a, aaaa := asked("A", name), asked("AAAA", name)
			for range 3 {
				probed(t, name+".", closed)
			}
			assert.Equal(t, []int{want, want}, []int{asked("A", name) - a, asked("AAAA", name) - aaaa}, name)
		}
	})
	t.Run("cut off, and again over TCP", func(t *testing.T) {
		for range 2 {
			assert.Equal(t, 32, strings.Count(probed(t, "many.farm.test.", closed), "connection_refused"))
		}
		assert.EqualValues(t, 1, streams.Load())
		assert.Equal(t, 2, asked("A", "many.farm.test"))
	})
}
