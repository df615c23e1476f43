package probe

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// The fix for a name mismatch works: with the server_name_override that it advises, and with the entry that it asks for.
func TestFixOfANameMismatch(t *testing.T) {
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprintf("host-%d.example", i)
	}
	alternatives := func(dnsNames []string, rest ...any) tlsfarm.Edit {
		return func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = dnsNames, nil
			for _, r := range rest {
				switch r := r.(type) {
				case net.IP:
					c.IPAddresses = append(c.IPAddresses, r)
				case *url.URL:
					c.URIs = append(c.URIs, r)
				case string:
					c.EmailAddresses = append(c.EmailAddresses, r)
				}
			}
		}
	}
	workload := &url.URL{Scheme: "spiffe", Host: "mesh.example", Path: "/ns/a"}
	for name, c := range map[string]struct {
		names    tlsfarm.Edit
		host     string // localhost if empty
		override string // that is advised; empty if there is none
	}{
		"another name":               {names: alternatives([]string{"other.example"}), override: "other.example"},
		"wildcard":                   {names: alternatives([]string{"*.other.example"}), override: "localhost.other.example"},
		"wildcard, for an address":   {names: alternatives([]string{"*.other.example"}), host: "127.0.0.1", override: "www.other.example"},
		"workload and a name":        {names: alternatives([]string{"other.example"}, workload, "a@b.example"), override: "other.example"},
		"workload":                   {names: alternatives(nil, workload)},
		"person":                     {names: alternatives(nil, "a@b.example")},
		"address only":               {names: alternatives(nil, net.IPv4(192, 0, 2, 1), net.IPv6loopback), override: "192.0.2.1"},
		"upper case and underscores": {names: alternatives([]string{"Other_Host.EXAMPLE"}), override: "Other_Host.EXAMPLE"},
		"IDN":                        {names: alternatives([]string{"xn--mnchen-3ya.example"}), override: "xn--mnchen-3ya.example"},
		"address as a DNS name":      {names: alternatives([]string{"127.0.0.1"}), host: "127.0.0.1"},
		"address as one DNS name":    {names: alternatives([]string{"127.0.0.1", "other.example"}), host: "127.0.0.1", override: "other.example"},
		"final dot":                  {names: alternatives([]string{"localhost."})},
		"URL":                        {names: alternatives([]string{"https://localhost", "localhost:443"})},
		"the closest is the last":    {names: alternatives(append(many, "localhoss")), override: "localhoss"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.host == "" {
				c.host = "localhost"
			}
			certificate := root.Issue("x", c.names)
			s := tlsfarm.TLS(&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }})
			t.Cleanup(s.Close)
			tt := newTarget(t, fmt.Sprintf("%s:%d", c.host, s.Port()))
			f := probeOnce(t, tt).Failure
			require.NotNil(t, f)
			require.Equal(t, failure.Type("hostname_mismatch"), f.Type)

			m := regexp.MustCompile(`^Reissue it with (an IP entry for )?(\S+) among its names(?:, or set tls server_name_override to (?:.* such as )?(\S+))?\.$`).FindStringSubmatch(f.Fix)
			require.NotNil(t, m, f.Fix)
			assert.Equal(t, c.override, m[3])
			if m[3] != "" {
				config := clienttls.New(configtls.ClientConfig{ServerName: m[3], Config: configtls.Config{CAPem: configopaque.String(root.PEM())}})
				block := clienttls.NewBlocks(0, zap.NewNop()).Get("", &config)
				require.Empty(t, block.Errs())
				overridden := *tt
				client := block.With(clienttls.Offer{})
				overridden.TLS, overridden.Roots = client.Config, client.Roots
				assert.Nil(t, probeOnce(t, &overridden).Failure)
			}

			certificate = root.Issue("x", alternatives([]string{m[2]}))
			if m[1] != "" {
				certificate = root.Issue("x", alternatives(nil, net.ParseIP(m[2])))
			}
			assert.Nil(t, probeOnce(t, tt).Failure)
		})
	}
}
