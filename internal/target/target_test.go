package target

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseEndpoint(t *testing.T) {
	everyLetter := "abcdefghijklmnopqrstuvwxyz.ABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789-_"
	longest := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "a" // 253 characters
	tests := []struct {
		in, host string
		port     uint16
		addr     string // either this
		dnsName  string // or this
	}{
		{in: "example.com:443", host: "example.com", port: 443, dnsName: "example.com"},
		{in: "Example.COM:1", host: "Example.COM", port: 1, dnsName: "Example.COM"},
		{in: "localhost:65535", host: "localhost", port: 65535, dnsName: "localhost"},
		{in: "example.com.:443", host: "example.com.", port: 443, dnsName: "example.com."},
		{in: "my_service.pod-1:443", host: "my_service.pod-1", port: 443, dnsName: "my_service.pod-1"},
		{in: "3com.0:443", host: "3com.0", port: 443, dnsName: "3com.0"},
		{in: everyLetter + ":443", host: everyLetter, port: 443, dnsName: everyLetter},
		{in: longest + ":443", host: longest, port: 443, dnsName: longest},
		{in: longest + ".:443", host: longest + ".", port: 443, dnsName: longest + "."},
		{in: "münchen.example:443", host: "münchen.example", port: 443, dnsName: "xn--mnchen-3ya.example"},
		{in: "münchen.example.:443", host: "münchen.example.", port: 443, dnsName: "xn--mnchen-3ya.example."},
		{in: "例え.jp:443", host: "例え.jp", port: 443, dnsName: "xn--r8jz45g.jp"},
		{in: "例え。jp:443", host: "例え。jp", port: 443, dnsName: "xn--r8jz45g.jp"},
		{in: "xn--mnchen-3ya.example:443", host: "xn--mnchen-3ya.example", port: 443, dnsName: "xn--mnchen-3ya.example"},
		{in: "192.0.2.1:443", host: "192.0.2.1", port: 443, addr: "192.0.2.1"},
		{in: "[::1]:443", host: "::1", port: 443, addr: "::1"},
		{in: "[2001:DB8:0::1]:8443", host: "2001:DB8:0::1", port: 8443, addr: "2001:db8::1"},
		{in: "[fe80::1%eth0]:443", host: "fe80::1%eth0", port: 443, addr: "fe80::1%eth0"},
		{in: "[::ffff:192.0.2.1]:443", host: "::ffff:192.0.2.1", port: 443, addr: "::ffff:192.0.2.1"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			want := Endpoint{Host: tt.host, Port: tt.port, DNSName: tt.dnsName}
			if tt.addr != "" {
				want.Addr = netip.MustParseAddr(tt.addr)
			}
			got, err := ParseEndpoint(tt.in)
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, tt.in, got.String())
		})
	}
}

func TestParseEndpointErrors(t *testing.T) {
	const example = `write host:port, such as "example.com:443" or "[::1]:443"`
	const ports = "not a number from 1 to 65535"
	const hostChars = "only letters, digits, hyphens, underscores and dots are allowed"
	const labelLength = "a label has 1 to 63"
	tests := []struct{ in, problem, fix string }{
		{"", "is empty", example},
		{"example.com", "has no port", example},
		{"example.com:", "has no port", example},
		{"[::1]", "has no port", example},
		{"[::1]:", "has no port", example},
		{":", "has no port", example},
		{"https://example.com:443", "has a scheme", example},
		{"https://example.com/a b", "has a scheme", example},
		{"example.com:0", `has port "0"`, ports},
		{"example.com:65536", `has port "65536"`, ports},
		{"example.com:70000", `has port "70000"`, ports},
		{"example.com:99999999999999999999", `has port "99999999999999999999"`, ports},
		{"example.com:abc", `has port "abc"`, ports},
		{"example.com:-1", `has port "-1"`, ports},
		{"example.com:+443", `has port "+443"`, ports},
		{"example.com:４４３", `has port "４４３"`, ports},
		{" example.com:443", "contains a space", example},
		{"example.com:443\n", "contains a space", example},
		{"example.com :443", "contains a space", example},
		{"example.com:443\u00a0", "contains a space", example},
		{"example\u3000.com:443", "contains a space", example},
		{"example\u200b.com:443", "contains a space", example},
		{"\ufeffexample.com:443", "contains a space", example},
		{"example.com\x00:443", "control character", example},
		{"[fe80::1%\u0085]:443", "control character", example},
		{"example.com:443/health", "has a path", example},
		{"::1", "IPv6 address without brackets", example},
		{"::1:443", "IPv6 address without brackets", example},
		{"fe80::1%eth0:443", "IPv6 address without brackets", example},
		{"[::1:443", "IPv6 address without brackets", example},
		{"example.com:443:443", "too many colons", example},
		{":443", "has no host", example},
		{"[]:443", `has "" in brackets`, example},
		{"[example.com]:443", `has "example.com" in brackets`, example},
		{"[192.0.2.1]:443", `has "192.0.2.1" in brackets`, example},
		{"[::1]x:443", "too many colons", example},
		{"[example]x:443", `it contains '['`, hostChars},
		{"user@example.com:443", `it contains '@'`, hostChars},
		{"*.example.com:443", `it contains '*'`, hostChars},
		{"℀.example:443", "disallowed rune U+2100", "not a valid DNS name"},
		{"example..com:443", `the label "" is 0 characters long`, labelLength},
		{".example.com:443", `the label "" is 0 characters long`, labelLength},
		{"münchen..example:443", `the label "" is 0 characters long`, labelLength},
		{".:443", `the label "" is 0 characters long`, labelLength},
		{strings.Repeat("a", 64) + ".com:443", "64 characters long", labelLength},
		{strings.Repeat("ü", 60) + ".com:443", "characters long", labelLength},
		{strings.Repeat("a.", 127) + "a:443", "it is 255 characters long", "a name has at most 253"},
		{strings.Repeat("a.", 126) + "aa:443", "it is 254 characters long", "a name has at most 253"},
		{"256.0.0.1:443", "only digits and dots", "not an IPv4 address"},
		{"10.1:443", "only digits and dots", "not an IPv4 address"},
		{"010.0.0.1:443", "only digits and dots", "not an IPv4 address"},
		{"１２７.0.0.1:443", "only digits and dots", "not an IPv4 address"},
		{"ex\xffample.com:443", "not valid UTF-8", example},
		{"[fe80::1%\xff]:443", "not valid UTF-8", example},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			e, err := ParseEndpoint(tt.in)
			require.ErrorContains(t, err, tt.problem)
			assert.ErrorContains(t, err, tt.fix)
			assert.Zero(t, e)
		})
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{
		"example.com:443", "192.0.2.1:1", "[::1]:443", "[fe80::1%a]b]:443", "[::ffff:1.2.3.4]:0443", "münchen.example.:443",
		"例え。jp:443", "１.２.３.４:5", "", ":", "[]:1", "[:1", "]:1", "a]:1", "::", "a\xff:1", "xn--:1", "\u0627a.\u0627:1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			assert.Zero(t, e)
			assert.True(t, utf8.ValidString(err.Error()), "%q", err)
			return
		}
		again, err := ParseEndpoint(e.String())
		require.NoError(t, err)
		assert.Equal(t, e, again)

		assert.NotZero(t, e.Port)
		assert.NotEqual(t, e.Addr.IsValid(), e.DNSName != "", "either an address or a name: %#v", e)
		if e.DNSName != "" {
			assert.Regexp(t, `^[\w-]{1,63}(\.[\w-]{1,63})*\.?$`, e.DNSName)
			assert.LessOrEqual(t, len(strings.TrimSuffix(e.DNSName, ".")), 253)
		}
	})
}

func TestServerName(t *testing.T) {
	tests := []struct{ endpoint, override, want string }{
		{"example.com:443", "", "example.com"},
		{"example.com.:443", "", "example.com"},
		{"münchen.example:443", "", "xn--mnchen-3ya.example"},
		{"192.0.2.1:443", "", "192.0.2.1"},
		{"[2001:DB8::1]:443", "", "2001:db8::1"},
		{"[fe80::1%eth0]:443", "", "fe80::1"},
		{"192.0.2.1:443", "other.example", "other.example"},
		{"example.com:443", "other.example.", "other.example"},
		{"example.com:443", "münchen.example.", "xn--mnchen-3ya.example"},
		{"example.com:443", "192.0.2.1", "192.0.2.1"},
		{"192.0.2.1:443", "fe80::1%eth0", "fe80::1"},
		{"192.0.2.1:443", "[::1]", "::1"},
		{"192.0.2.1:443", "no name", "no name"},
	}
	for _, tt := range tests {
		t.Run(tt.endpoint+" "+tt.override, func(t *testing.T) {
			e, err := ParseEndpoint(tt.endpoint)
			require.NoError(t, err)
			assert.Equal(t, tt.want, (&Target{Endpoint: e, TLS: &tls.Config{ServerName: tt.override}}).ServerName())
		})
	}
}

func TestParseService(t *testing.T) {
	e, err := ParseService("_imaps._tcp.münchen.example")
	require.NoError(t, err)
	assert.Equal(t, Endpoint{Host: "_imaps._tcp.münchen.example", DNSName: "_imaps._tcp.xn--mnchen-3ya.example"}, e)
	assert.Equal(t, "_imaps._tcp.münchen.example", e.String())
	assert.Equal(t, "xn--mnchen-3ya.example", e.Domain())
	tt := &Target{Endpoint: e, TLS: &tls.Config{}}
	assert.Equal(t, "xn--mnchen-3ya.example", tt.ServerName())
	assert.True(t, tt.HasEndpoint())
	tt.TLS.ServerName = "override.example"
	assert.Equal(t, "override.example", tt.ServerName())
	for _, bad := range []string{"", "example.com", "imaps._tcp.example.com", "_imaps.tcp.example.com", "_imaps._tcp", "_imaps._tcp.example.com:993", "_imaps._tcp..com"} {
		_, err := ParseService(bad)
		assert.Error(t, err, "%q", bad)
	}
}
