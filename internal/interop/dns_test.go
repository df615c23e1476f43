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

// dnsmasq gives records a TTL of 0 by default. The names end in a dot so that search domains in resolv.conf are not tried.
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

	options := []string{
		"dnsmasq --local=/test/ --host-record=a.farm.test,127.0.0.1,60 --host-record=b.farm.test,127.0.0.2,60",
		"--host-record=dual.farm.test,127.0.0.1,::1,60 --host-record=brief.farm.test,127.0.0.1",
		"--cname=alias.farm.test,a.farm.test,60 --cname=brief-alias.farm.test,a.farm.test",
		"--txt-record=text.farm.test,text --txt-record=_text._tcp.farm.test,text",
		fmt.Sprintf("--srv-host=_imaps._tcp.farm.test,alias.farm.test,%d,20", one),
		fmt.Sprintf("--srv-host=_imaps._tcp.farm.test,b.farm.test,%d,10", two),
		fmt.Sprintf("--srv-host=_half._tcp.farm.test,missing.farm.test,%d,10", one),
		fmt.Sprintf("--srv-host=_half._tcp.farm.test,b.farm.test,%d,20", two),
		fmt.Sprintf("--srv-host=_lost._tcp.farm.test,missing.farm.test,%d", one),
		"--srv-host=_off._tcp.farm.test", // target ".": the service is not available (RFC 2782)
	}
	for i := range 100 { // more than fit into a UDP packet
		options = append(options, fmt.Sprintf("--host-record=many.farm.test,127.0.0.%d,60", 1+i))
	}
	dns := start(t, strings.Join(options, " "))
	dnsAddr := dns.endpoint(t, 0)
	var streams atomic.Int64
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		if strings.HasPrefix(network, "tcp") {
			streams.Add(1)
		}
		return (&net.Dialer{}).DialContext(ctx, network, dnsAddr)
	}
	p := &probe.Prober{Resolver: &net.Resolver{PreferGo: true, Dial: dial}}
	// probeName returns a summary of the outcomes. Port 0 means that the name is a service.
	probeName := func(t *testing.T, name string, port uint16) string {
		endpoint, err := target.ParseEndpoint(fmt.Sprintf("%s:%d", name, port))
		if port == 0 {
			endpoint, err = target.ParseService(name)
		}
		require.NoError(t, err)
		var outcomes []string
		for _, o := range p.ProbeAddresses(t.Context(), &target.Target{
			ID: name, Endpoint: endpoint, ResolveAll: true, Timeout: 5 * time.Second, ExpiryWarning: target.WarnBefore(day),
			TLS: &tls.Config{RootCAs: root.Pool()},
		}) {
			if f := o.Common().Failure; f != nil {
				outcomes = append(outcomes, string(f.Type))
			} else if whole, ok := o.(*probe.EndpointOutcome); ok {
				outcomes = append(outcomes, fmt.Sprintf("%d certificates", whole.Pool.Certificates()))
			} else {
				outcomes = append(outcomes, o.Common().Place.Peer.String()+" "+probe.Leaf(o).Subject.CommonName)
			}
		}
		return strings.Join(outcomes, ", ")
	}
	// queries returns how often dnsmasq was asked for a record.
	queries := func(kind, name string) int {
		return strings.Count(dns.readLog(), fmt.Sprintf("query[%s] %s from ", kind, name))
	}

	for name, want := range map[string]string{
		"_imaps._tcp.farm.test.": fmt.Sprintf("2 certificates, 127.0.0.1:%d one, 127.0.0.2:%d two", one, two),
		"_half._tcp.farm.test.":  fmt.Sprintf("1 certificates, 127.0.0.2:%d two", two),
		"_lost._tcp.farm.test.":  "dns_not_found", "_off._tcp.farm.test.": "dns_not_found",
		"_missing._tcp.farm.test.": "dns_not_found", "missing.farm.test.": "dns_not_found",
		"_text._tcp.farm.test.": "dns_not_found", "text.farm.test.": "dns_not_found", // which have records of other types
		"_imaps._tcp.example.": "dns_error", "a.example.": "dns_error", // dnsmasq refuses to resolve these
	} {
		port := one
		if name[0] == '_' {
			port = 0
		}
		assert.Equal(t, want, probeName(t, name, port), name)
	}
	t.Run("both families", func(t *testing.T) {
		six := fmt.Sprintf("[::1]:%d", one)
		l, err := net.Listen("tcp", six)
		if err != nil {
			t.Skip(err)
		}
		_ = l.Close()
		serve(t, six, "six")
		assert.Equal(t, fmt.Sprintf("2 certificates, 127.0.0.1:%d one, %s six", one, six), probeName(t, "dual.farm.test.", one))
	})
	t.Run("TTLs", func(t *testing.T) {
		for name, want := range map[string]int{"dual": 1, "alias": 1, "brief": 3, "brief-alias": 3, "missing": 3} {
			p, name = &probe.Prober{Resolver: p.Resolver}, name+".farm.test" // with an empty cache
			a, aaaa := queries("A", name), queries("AAAA", name)
			for range 3 {
				probeName(t, name+".", closed)
			}
			assert.Equal(t, []int{want, want}, []int{queries("A", name) - a, queries("AAAA", name) - aaaa}, name)
		}
	})
	t.Run("truncated, then over TCP", func(t *testing.T) {
		for range 2 {
			assert.Equal(t, 32, strings.Count(probeName(t, "many.farm.test.", closed), "connection_refused"))
		}
		assert.EqualValues(t, 1, streams.Load())
		assert.Equal(t, 2, queries("A", "many.farm.test"))
	})
}
