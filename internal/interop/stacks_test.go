//go:build interop

package interop

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// The test servers of other TLS stacks, which have options for unusual behavior.

func TestOpenSSL(t *testing.T) {
	const weak = " -cipher ALL:@SECLEVEL=0"
	const sni = "s_server -servername b.test -cert2 b.test.pem -key2 b.test.key -servername_fatal"
	// unsupported is a test of a server that requires something crypto/tls does not support.
	// The fix is an option that makes the server what the advice says, in addition to these.
	unsupported := func(name, options, fix string, typ failure.Type, what string) test {
		options = "s_server " + options
		return test{
			name: name, server: options, step: failure.Handshake, typ: typ, alert: 40, fixed: strings.Replace(options, " -nocert", "", 1) + fix,
			texts: []string{"alert 40, handshake_failure", " was offered, it chose " + what, "The collector does not support"},
		}
	}
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

		{
			name: "TLS 1.1 only", server: "s_server -tls1_1" + weak,
			step: failure.Handshake, typ: failure.ProtocolMismatch, alert: 70,
			texts: []string{"speaks only TLS 1.1. In TLS 1.1 it chose TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA.", `min_version: "1.1" and max_version: "1.1"`},
		},
		{
			name: "TLS 1.0 only", server: "s_server -tls1" + weak,
			step: failure.Handshake, typ: failure.ProtocolMismatch, alert: 70,
			texts: []string{"speaks only TLS 1.0. In TLS 1.0 it chose TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA.", `min_version: "1.0" and max_version: "1.0"`},
		},
		{
			name: "TLS 1.3 only", server: "s_server -tls1_3", max: tls.VersionTLS12,
			step: failure.Handshake, typ: failure.ProtocolMismatch, alert: 70,
			texts: []string{"speaks only TLS 1.3. In TLS 1.3 it chose TLS_AES_128_GCM_SHA256."},
		},
		{
			name: "RSA key exchange only", server: "s_server -tls1_2 -cipher kRSA",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"When every suite was offered, it chose TLS_RSA_WITH_AES_128_GCM_SHA256.", "cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true"},
		},
		unsupported("DHE only", "-tls1_2 -cipher kDHE", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256."),
		unsupported("CBC with SHA-384", "-tls1_2 -cipher ECDHE-RSA-AES256-SHA384", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384."),
		unsupported("CCM only", "-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", ":TLS_AES_128_GCM_SHA256", failure.CipherMismatch, "TLS_AES_128_CCM_SHA256."),
		unsupported("CCM-8 only", "-tls1_3 -ciphersuites TLS_AES_128_CCM_8_SHA256", ":TLS_AES_128_GCM_SHA256", failure.CipherMismatch, "TLS_AES_128_CCM_8_SHA256."),
		unsupported("CCM only in TLS 1.2", "-tls1_2 -cipher AESCCM", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_RSA_WITH_AES_128_CCM."),
		unsupported("Camellia only", "-tls1_2 -cipher CAMELLIA", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_RSA_WITH_CAMELLIA_128_CBC_SHA."),
		unsupported("ARIA only", "-tls1_2 -cipher ECDHE-ARIA128-GCM-SHA256", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_ECDHE_RSA_WITH_ARIA_128_GCM_SHA256."),
		unsupported("NULL only", "-tls1_2 -cipher eNULL:@SECLEVEL=0", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_RSA_WITH_NULL_"),
		unsupported("anonymous ECDHE only", "-tls1_2 -nocert -cipher AECDH:@SECLEVEL=0", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_ECDH_anon_WITH_"),
		unsupported("anonymous DHE only", "-tls1_2 -nocert -cipher ADH:@SECLEVEL=0", ":ECDHE-RSA-AES128-GCM-SHA256", failure.CipherMismatch, "TLS_DH_anon_WITH_"),
		unsupported("pre-shared key only", "-tls1_2 -nocert -psk 0123456789abcdef", "", failure.CipherMismatch, "TLS_PSK_WITH_"),
		unsupported("X448 only", "-tls1_3 -groups X448", ":X25519", failure.GroupMismatch, "the group x448."),
		unsupported("finite field groups only", "-tls1_3 -groups ffdhe2048", ":X25519", failure.GroupMismatch, "the group ffdhe2048."),
		unsupported("brainpool groups only", "-tls1_2 -cipher kECDHE -groups brainpoolP256r1", ":P-256", failure.GroupMismatch, "the group brainpoolP256r1."),
		unsupported("brainpool groups only, in TLS 1.2 of a server that has TLS 1.3", "-cipher kECDHE -groups brainpoolP256r1", ":X25519", failure.GroupMismatch, "the group brainpoolP256r1."),
		{
			name: "X448 only, and RSA key exchange", server: "s_server -groups X448",
			step: failure.Handshake, typ: failure.GroupMismatch, alert: 40,
			texts: []string{"supports none of the offered key exchange groups. When every group was offered, it chose the group x448. When less was offered, it chose TLS_RSA_WITH_AES_128_GCM_SHA256 in TLS 1.2."},
		},
		unsupported("Ed448 certificate", "-cert ed448.pem -key ed448.key", " -cert ecdsa.pem -key ecdsa.key", failure.SignatureMismatch, "the signature algorithm ed448 with a key of the kind Ed448."),
		unsupported("RSA-PSS certificate", "-cert rsa-pss.pem -key rsa-pss.key", " -cert rsa.pem -key rsa.key", failure.SignatureMismatch, "the signature algorithm rsa_pss_pss_sha256, as its key is for RSASSA-PSS only."),
		unsupported("SHA-1 only", "-tls1_2 -sigalgs RSA+SHA1 -cipher kECDHE:@SECLEVEL=0", " -sigalgs RSA-PSS+SHA256:RSA+SHA256", failure.SignatureMismatch, "the signature algorithm rsa_pkcs1_sha1."),
		{
			name: "no certificate at all", server: "s_server -nocert", fixed: "s_server",
			step: failure.Handshake, typ: failure.HandshakeFailure, alert: 40,
			texts: []string{"so it most likely has no certificate", "Configure a certificate and its key for localhost on the server"},
		},
		{
			name: "RSA key of 512 bits", server: "s_server -tls1_2 -cert rsa-512.pem -key rsa-512.key" + weak, fixed: "s_server -cert rsa.pem -key rsa.key",
			step: failure.Verify, typ: failure.Type(certs.WeakKey), code: 66,
			texts: []string{"The certificate has a key of 512 bits, which is too short to be accepted.", "Reissue it"},
		},
		{
			name: "RSA key of 512 bits, without verification", server: "s_server -tls1_2 -cert rsa-512.pem -key rsa-512.key" + weak, insecure: true,
			step: failure.Verify, typ: failure.Type(certs.WeakKey), code: 66,
			texts: []string{"The certificate has an RSA key of 512 bits, with which crypto/tls makes no handshake, whatever insecure_skip_verify says."},
		},
		{
			name: "RSA key of 512 bits, without verification, for RSA key exchange", server: "s_server -tls1_2 -cert rsa-512.pem -key rsa-512.key" + weak, insecure: true,
			settings: func(c *tls.Config) *tls.Config {
				c.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
				return c
			},
			step: failure.Verify, typ: failure.Type(certs.WeakKey), code: 66,
			texts: []string{"The certificate has an RSA key of 512 bits, with which crypto/tls makes no handshake"},
		},
		{
			name: "brainpool certificate", server: "s_server -cert brainpool.pem -key brainpool.key", fixed: "s_server -cert ecdsa.pem -key ecdsa.key",
			step: failure.Handshake, typ: failure.SignatureMismatch, alert: 40,
			texts: []string{"with a key of the kind EC brainpoolP256r1.", "Use a certificate with an ECDSA P-256, RSA or Ed25519 key on the server."},
		},
		{
			name: "signed with SHA-1", server: "s_server -cert sha1.pem -key sha1.key" + weak,
			step: failure.Verify, typ: failure.Type(certs.WeakSignature), code: 68,
			texts: []string{"SHA1-RSA", "Reissue it with SHA-256"},
		},
		{
			name: "no certificate for the name", server: sni, sni: "zzz.test",
			step: failure.Handshake, typ: failure.UnrecognizedName, alert: 112,
			texts: []string{`refuses the name zzz.test. A client that sends no name gets the certificate of "rsa".`},
		},
		{ // s_server sends no intermediate with its second certificate
			name: "certificate without intermediate", server: sni, sni: "b.test",
			step: failure.Verify, typ: failure.Type(certs.IncompleteChain), code: 21,
			texts: []string{`the intermediate certificate "Interop Intermediate"`, "http://b.test/ca.crt"},
		},
		{
			name: "ALPN mismatch", server: "s_server -alpn h2,http/1.1", alpn: "imap",
			step: failure.Handshake, typ: failure.ALPNMismatch, alert: 120,
			texts: []string{`"imap"`, "alert 120, no_application_protocol"},
		},
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
			texts: []string{`The certificate was issued by "negative". The CA's certificate is in ca_file, but this collector cannot read it: x509: negative serial number.`, "Reissue the CA's certificate with the same name and the same key"},
		},
		{name: "root reissued with a positive one", server: byNegative, ca: "negative-fixed.pem"},
		{
			name: "root with a brainpool key", server: "s_server -cert by-brainpool.pem -key by-brainpool.key", ca: "brainpool.pem",
			step: failure.Verify, typ: failure.Type(certs.Malformed),
			texts: []string{"x509: unsupported elliptic curve. Its key is of the kind EC brainpoolP256r1.", "Move to a CA whose key is RSA, ECDSA on P-256"},
		},
		{
			name: "root with an Ed448 key", server: "gnutls-serv ed448-signed --disable-client-cert", ca: "ed448-ca.pem",
			step: failure.Verify, typ: failure.Type(certs.Malformed),
			texts: []string{`The CA's certificate is in ca_file, but this collector cannot check its signatures, as its key is of the kind Ed448`, "Move to a CA whose key is RSA, ECDSA on P-256"},
		},
		{
			name: "root with a small RSA key", server: "s_server -cert by-small.pem -key by-small.key", ca: "small.pem",
			step: failure.Verify, typ: failure.Type(certs.WeakKey), code: 67,
			texts: []string{`The CA certificate "small" (depth 1) has a key of 768 bits`, "Then reissue the certificates below it. If it is the root, replace it in ca_file."},
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
	const priority = gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2:"
	const sni = gnutls + "--sni-hostname localhost --sni-hostname-fatal"
	run(t, []test{
		{name: "TLS 1.3", server: gnutls},
		{name: "TLS 1.2 with 256 bits", server: gnutls + "--priority SECURE256:-VERS-TLS1.3"},
		{name: "TLS 1.0", server: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.0", min: tls.VersionTLS10},
		{name: "ALPN", server: gnutls + "--alpn h2 --alpn-fatal", alpn: "h2"},
		{name: "SNI", server: sni},

		// GnuTLS answers with its own version instead of an alert.
		{
			name: "TLS 1.0 only", server: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.0",
			step: failure.Handshake, typ: failure.ProtocolMismatch,
			texts: []string{"speaks only TLS 1.0. In TLS 1.0 it chose TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA."},
		},
		{
			name: "TLS 1.0 and 1.1", server: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0",
			step: failure.Handshake, typ: failure.ProtocolMismatch,
			texts: []string{"speaks only TLS 1.1 and TLS 1.0. In TLS 1.1 it chose TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA."},
		},
		{
			name: "RSA key exchange only", server: priority + "-KX-ALL:+RSA",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"When every suite was offered, it chose TLS_RSA_WITH_AES_128_GCM_SHA256."},
		},
		{
			name: "3DES only", server: priority + "-CIPHER-ALL:+3DES-CBC",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"When every suite was offered, it chose TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA."},
		},
		{
			name: "DHE only", server: priority + "-KX-ALL:+DHE-RSA",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"When every suite was offered, it chose TLS_DHE_RSA_WITH_AES_128_GCM_SHA256."},
		},
		{
			name: "X448 only", server: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X448", fixed: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X448:+GROUP-X25519",
			step: failure.Handshake, typ: failure.GroupMismatch, alert: 40,
			texts: []string{"When every group was offered, it chose the group x448.", "The collector does not support x448"},
		},
		{
			name: "finite field groups only", server: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-FFDHE3072",
			step: failure.Handshake, typ: failure.GroupMismatch, alert: 40,
			texts: []string{"When every group was offered, it chose the group ffdhe3072."},
		},
		{
			name: "CCM only", server: gnutls + "--priority NORMAL:-CIPHER-ALL:+AES-128-CCM",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"it chose TLS_AES_128_CCM_SHA256."},
		},
		{
			name: "RC4 only", server: priority + "-CIPHER-ALL:+ARCFOUR-128", fixed: priority + "-CIPHER-ALL:+ARCFOUR-128:+AES-128-GCM",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"it chose TLS_ECDHE_RSA_WITH_RC4_128_SHA.", "set tls cipher_suites: [TLS_ECDHE_RSA_WITH_RC4_128_SHA], include_insecure_cipher_suites: true."},
		},
		{
			name: "NULL only", server: priority + "-CIPHER-ALL:+NULL", fixed: priority + "-CIPHER-ALL:+NULL:+AES-128-GCM",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"it chose TLS_RSA_WITH_NULL_SHA.", "The collector does not support TLS_RSA_WITH_NULL_SHA"},
		},
		{
			name: "anonymous only", server: gnutls + "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ANON-ECDH",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"has no certificate for its clients, only suites without a certificate (anonymous)", "TLS_ECDH_anon_WITH_"},
		},
		{
			name: "Ed448 certificate", server: "gnutls-serv ed448 --disable-client-cert", fixed: "gnutls-serv ed25519 --disable-client-cert",
			step: failure.Handshake, typ: failure.SignatureMismatch, alert: 40,
			texts: []string{"the signature algorithm ed448 with a key of the kind Ed448"},
		},
		{
			name: "SHA-1 only", server: priority + "-SIGN-ALL:+SIGN-RSA-SHA1:-KX-ALL:+ECDHE-RSA",
			step: failure.Handshake, typ: failure.SignatureMismatch, alert: 40,
			texts: []string{"the signature algorithm rsa_pkcs1_sha1"},
		},
		{
			name: "signed with Ed448", server: "gnutls-serv ed448-signed --disable-client-cert",
			step: failure.Verify, typ: failure.Type(certs.Malformed),
			texts: []string{"algorithm unimplemented", "does not support Ed448"},
		},
		{
			name: "no certificate for the name", server: sni, sni: "b.test",
			step: failure.Handshake, typ: failure.UnrecognizedName, alert: 112,
			texts: []string{`refuses the name b.test. A client that sends no name gets the certificate of "rsa".`},
		},
		{
			name: "ALPN mismatch", server: gnutls + "--alpn h2 --alpn-fatal", alpn: "imap",
			step: failure.Handshake, typ: failure.ALPNMismatch, alert: 120,
			texts: []string{`"imap"`, "alert 120, no_application_protocol"},
		},
	})
}

func TestNSS(t *testing.T) {
	const sni = "selfserv -V tls1.2:tls1.3 -a b.test"
	run(t, []test{
		{name: "TLS 1.3", server: "selfserv -V tls1.2:tls1.3"},
		{name: "TLS 1.2", server: "selfserv -V tls1.2:tls1.3", max: tls.VersionTLS12},
		{name: "TLS 1.0", server: "selfserv -V tls1.0:tls1.0", min: tls.VersionTLS10},
		{name: "ALPN", server: "selfserv -V tls1.2:tls1.3 -Q", alpn: "http/1.1"},

		{
			name: "finite field groups only, and RSA key exchange", server: "selfserv -V tls1.2:tls1.3 -I FF2048",
			step: failure.Handshake, typ: failure.GroupMismatch, alert: 40,
			texts: []string{"supports none of the offered key exchange groups. When every group was offered, it chose the group ffdhe2048. When less was offered, it chose TLS_RSA_WITH_AES_128_GCM_SHA256 in TLS 1.2."},
		},
		{
			name: "SSL 3.0 only", server: "selfserv -V ssl3:ssl3", fixed: "selfserv -V ssl3:tls1.2",
			step: failure.Handshake, typ: failure.ProtocolMismatch, alert: 70,
			texts: []string{"speaks only SSL 3.0.", "Enable TLS 1.2 or 1.3 on the server. The collector does not support SSL 3.0, other clients may."},
		},
		{
			name: "DHE only", server: "selfserv -V tls1.2:tls1.2 -c :0033", fixed: "selfserv -V tls1.2:tls1.2 -c :0033:C02F",
			step: failure.Handshake, typ: failure.CipherMismatch, alert: 40,
			texts: []string{"it chose TLS_DHE_RSA_WITH_AES_128_CBC_SHA.", "The collector does not support TLS_DHE_RSA_WITH_AES_128_CBC_SHA"},
		},
		{
			name: "finite field groups only", server: "selfserv -V tls1.3:tls1.3 -I FF2048", fixed: "selfserv -V tls1.3:tls1.3 -I FF2048,x25519",
			step: failure.Handshake, typ: failure.GroupMismatch, alert: 40,
			texts: []string{"When every group was offered, it chose the group ffdhe2048.", "The collector does not support ffdhe2048"},
		},
		{
			name: "TLS 1.0 only", server: "selfserv -V tls1.0:tls1.0",
			step: failure.Handshake, typ: failure.ProtocolMismatch, alert: 70,
			texts: []string{"speaks only TLS 1.0. In TLS 1.0 it chose TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA."},
		},
		{
			name: "no certificate for the name", server: sni, sni: "zzz.test",
			step: failure.Handshake, typ: failure.UnrecognizedName, alert: 112,
			texts: []string{`refuses the name zzz.test. A client that sends no name gets the certificate of "rsa".`},
		},
		{
			name: "ALPN mismatch", server: "selfserv -V tls1.2:tls1.3 -Q", alpn: "imap",
			step: failure.Handshake, typ: failure.ALPNMismatch, alert: 120,
			texts: []string{`"imap"`, "alert 120, no_application_protocol"},
		},
	})
}
