//go:build interop

package interop

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test servers of other TLS stacks, which have options for unusual behavior. TestRefusals has their refusals.

func TestOpenSSL(t *testing.T) {
	const weak = " -cipher ALL:@SECLEVEL=0"
	run(t, []test{
		{name: "TLS 1.3", server: "s_server -tls1_3"},
		{name: "TLS 1.2", server: "s_server -tls1_2"},
		{name: "TLS 1.1", server: "s_server -tls1_1" + weak, min: tls.VersionTLS11},
		{name: "TLS 1.0", server: "s_server -tls1" + weak, min: tls.VersionTLS10},
		{name: "fragments", server: "s_server -max_send_frag 512"},
		{name: "HelloRetryRequest for another group", server: "s_server -groups P-384"},
		{name: "ECDSA certificate", server: "s_server -cert ecdsa.pem -key ecdsa.key"},
		{name: "P-521 certificate", server: "s_server -cert p521.pem -key p521.key"},
		{name: "Ed25519 certificate", server: "s_server -cert ed25519.pem -key ed25519.key"},
		{name: "signed with RSA-PSS", server: "s_server -cert pss-signed.pem -key pss-signed.key"},
		{name: "ALPN", server: "s_server -alpn h2,http/1.1", alpn: "http/1.1"},
	})
}

func TestStaples(t *testing.T) {
	for _, name := range []string{"good.ocsp", "revoked.ocsp"} {
		test := &test{}
		o := test.probe(t, start(t, "s_server -status_file "+name))
		require.NotNil(t, o.Handshake)
		staple, err := os.ReadFile(filepath.Join(pki, name))
		require.NoError(t, err)
		assert.Equal(t, staple, o.Handshake.State.OCSPResponse)
	}
}

func TestGnuTLS(t *testing.T) {
	const gnutls = "gnutls-serv rsa --disable-client-cert "
	run(t, []test{
		{name: "TLS 1.3", server: gnutls},
		{name: "TLS 1.2 with 256 bits", server: gnutls + "--priority SECURE256:-VERS-TLS1.3"},
		{name: "TLS 1.0", server: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.0", min: tls.VersionTLS10},
		{name: "ALPN", server: gnutls + "--alpn h2 --alpn-fatal", alpn: "h2"},
		{name: "SNI", server: gnutls + "--sni-hostname localhost --sni-hostname-fatal"},
	})
}

func TestNSS(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "selfserv -V tls1.2:tls1.3"},
		{name: "TLS 1.2", server: "selfserv -V tls1.2:tls1.3", max: tls.VersionTLS12},
		{name: "TLS 1.0", server: "selfserv -V tls1.0:tls1.0", min: tls.VersionTLS10},
		{name: "ALPN", server: "selfserv -V tls1.2:tls1.3 -Q", alpn: "http/1.1"},
	})
}
