//go:build interop

package interop

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
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

// What a server sends is explained, and then corrected as the explanation says.
func TestChains(t *testing.T) {
	const byLower = "s_server -cert by-lower.pem -key by-lower.key -cert_chain "
	const byTwin = "s_server -cert by-twin.pem -key by-twin.key -cert_chain "
	const limited = " -cert_chain constrained-chain.pem"
	const byNoCA = "s_server -cert by-no-ca.pem -key by-no-ca.key"
	const byNegative = "s_server -cert by-negative.pem -key by-negative.key -cert_chain twin-chain.pem"
	run(t, []test{
		{
			name: "upper intermediate missing", server: byLower + "lower-chain.pem",
			step: failure.Verify, typ: failure.Type(certs.IncompleteChain), code: 20,
			texts: []string{`The server did not send the certificate of "Upper", the issuer of "Lower" (depth 1).`, `Add the intermediate certificate "Upper"`, "http://pki.test/upper.crt"},
		},
		{name: "upper intermediate added", server: byLower + "lower-upper-chain.pem"},
		{
			name: "lower intermediate missing", server: byLower + "twin-chain.pem",
			step: failure.Verify, typ: failure.Type(certs.IncompleteChain), code: 21,
			texts: []string{`The server did not send the certificate of the issuer "Lower".`, "http://pki.test/lower.crt, according to the server's certificate"},
		},
		{
			name: "certificate of the CA's other key", server: byTwin + "stray-chain.pem",
			step: failure.Verify, typ: failure.Type(certs.UntrustedCA), code: 20,
			texts: []string{`The server sent a certificate with this name, but it has another key.`, `Replace that certificate in the file that the server sends by the one of "Twin", whose subject key identifier is`},
		},
		{name: "certificate of the right key", server: byTwin + "twin-chain.pem"},
		{
			name: "excluded name", server: "s_server -cert limited.pem -key limited.key" + limited,
			step: failure.Verify, typ: failure.Type(certs.NameConstraintViolation), code: 48,
			texts: []string{`has the DNS name "www.excluded.test", which the CA certificate "Constrained" (depth 1) does not allow: it excludes excluded.test.`},
		},
		{name: "without the excluded name", server: "s_server -cert limited-fixed.pem -key limited-fixed.key" + limited},
		{
			name: "root that is not a CA", server: byNoCA, ca: "no-ca.pem",
			step: failure.Verify, typ: failure.Type(certs.NotCA), code: 79,
			texts: []string{`The CA certificate "No CA" (depth 1) is used as an issuer`, "It is in ca_file: reissue it with the same name and the same key"},
		},
		{name: "root reissued as a CA", server: byNoCA, ca: "no-ca-fixed.pem"},
		{
			name: "root with a negative serial number", server: byNegative, ca: "negative.pem",
			step: failure.Verify, typ: failure.Type(certs.Malformed),
			texts: []string{`The certificate was issued by "negative". The CA's certificate is in ca_file, but this collector cannot read it: its serial number is negative.`, "Reissue the CA's certificate with the same name and the same key"},
		},
		{name: "root reissued with a positive one", server: byNegative, ca: "negative-fixed.pem"},
		{
			name: "root with a brainpool key", server: "s_server -cert by-brainpool.pem -key by-brainpool.key", ca: "brainpool.pem",
			step: failure.Verify, typ: failure.Type(certs.Malformed),
			texts: []string{"its key is on a curve that Go does not have (brainpoolP256r1). Its key is of the kind EC brainpoolP256r1.", "Move to a CA whose key is RSA, ECDSA on P-256"},
		},
		{
			name: "root with an Ed448 key", server: "gnutls-serv ed448-signed --disable-client-cert", ca: "ed448-ca.pem",
			step: failure.Verify, typ: failure.Type(certs.Malformed),
			texts: []string{`The CA's certificate is in ca_file, but this collector cannot check its signatures, as its key is of the kind Ed448`, "Move to a CA whose key is RSA, ECDSA on P-256"},
		},
		{
			name: "root with a small RSA key", server: "s_server -cert by-small.pem -key by-small.key", ca: "small.pem",
			step: failure.Verify, typ: failure.Type(certs.WeakKey), code: 67,
			texts: []string{`The CA certificate "small" (depth 1) has a key of 768 bits`, "Then reissue the certificates below it. It is in ca_file: replace it there."},
		},
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
