//go:build interop

package interop

import (
	"crypto/tls"
	"testing"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// refusal is how a server refuses a client certificate. The zero value means that it accepts it.
type refusal struct {
	typ   failure.Type
	alert uint8
}

// Servers refuse a client certificate during the handshake in TLS 1.2 and after it in TLS 1.3. Stacks send different alerts for the
// same reason.
func TestClientCertificates(t *testing.T) {
	const namesCAs, namesNone = "The server accepts certificates from CN=Clients,O=Farm.", "The server does not say which CAs it accepts."
	openSSL := map[string]refusal{
		"client": {}, "client-ed25519": {}, "stranger": {failure.UnknownCA, 48}, "lone": {failure.UnknownCA, 48},
		"expired": {failure.ClientCertExpired, 45}, "server-only": {failure.UnsupportedCertificate, 43},
	}
	untrusted := refusal{failure.AccessDenied, 49} // GnuTLS gives no other reason
	for name, c := range map[string]struct {
		server string
		port   int
		cas    string             // what the failure says about the CAs that the server accepts
		none   [2]byte            // the alerts for a missing certificate in TLS 1.2 and 1.3
		certs  map[string]refusal // by the name of the client certificate
	}{
		"OpenSSL": {"s_server -Verify 3 -verify_return_error -CAfile clients.pem", 0, namesCAs, [2]byte{40, 116}, openSSL},
		"OpenSSL with a list of revoked certificates": {
			"s_server -Verify 3 -verify_return_error -CAfile clients.pem -CRL crl.pem -crl_check", 0, namesCAs,
			[2]byte{40, 116},
			map[string]refusal{"client": {}, "revoked": {failure.ClientCertRevoked, 44}},
		},
		"NSS": {"selfserv -V tls1.2:tls1.3 -r -r", 0, namesCAs, [2]byte{42, 116}, map[string]refusal{
			"client": {}, "stranger": {failure.UnknownCA, 48}, "lone": {failure.UnknownCA, 48},
			"expired": {failure.ClientCertExpired, 45}, "server-only": {failure.CertificateUnknown, 46},
			// NSS does not offer Ed25519, so crypto/tls does not send this certificate.
			"client-ed25519": {failure.UnsupportedCertificate, 0},
		}},
		"GnuTLS": {"gnutls-serv rsa --require-client-cert --verify-client-cert --x509cafile clients.pem", 0, namesCAs, [2]byte{50, 116}, map[string]refusal{
			"client": {}, "client-ed25519": {}, "stranger": untrusted, "lone": untrusted, "expired": untrusted,
			"server-only": {}, // it does not check the extended key usage
		}},
		"haproxy":   {"haproxy", 2, namesCAs, [2]byte{40, 116}, openSSL},
		"stunnel":   {"stunnel", 1, namesCAs, [2]byte{40, 116}, openSSL},
		"redis":     {"redis yes", 0, namesNone, [2]byte{40, 116}, openSSL},
		"mosquitto": {"mosquitto", 1, namesNone, [2]byte{40, 116}, openSSL},
	} {
		t.Run(name, func(t *testing.T) {
			var tests []test
			for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				tests = append(tests, test{
					name: tls.VersionName(version) + " none", server: c.server, port: c.port, max: version,
					step: failure.ClientAuth, typ: failure.MissingClientCert, alert: c.none[i],
					texts: []string{"requires a client certificate, but none was sent. " + c.cas, "Set tls cert_file and key_file"},
				})
				for client, refusal := range c.certs {
					tests = append(tests, test{
						name: tls.VersionName(version) + " " + client, server: c.server, port: c.port, max: version, client: client,
						step: failure.ClientAuth, typ: refusal.typ, alert: refusal.alert,
						texts: []string{`refused the client certificate of "` + client + `", issued by`, c.cas},
					})
				}
			}
			run(t, tests)
		})
	}
}
