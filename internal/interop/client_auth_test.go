//go:build interop

package interop

import (
	"crypto/tls"
	"testing"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// refusal is what becomes of a client certificate; the zero value is that the server accepts it.
type refusal struct {
	typ   failure.Type
	alert uint8
}

// A server refuses a client certificate in the handshake in TLS 1.2 and after it in TLS 1.3, and each stack has its own
// view of which alert says what.
func TestClientCertificates(t *testing.T) {
	const named, unnamed = "It accepts certificates from CN=Clients,O=Farm.", "The server does not say which CAs it accepts."
	openSSL := map[string]refusal{
		"client": {}, "client-ed25519": {}, "stranger": {failure.UnknownCA, 48}, "lone": {failure.UnknownCA, 48},
		"expired": {failure.ClientCertExpired, 45}, "server-only": {failure.UnsupportedCertificate, 43},
	}
	untrusted := refusal{failure.AccessDenied, 49} // GnuTLS tells no other reason
	for name, c := range map[string]struct {
		server string
		port   int
		cas    string  // what the failure says of the CAs that the server accepts
		none   [2]byte // the alerts for a missing certificate, in TLS 1.2 and in 1.3
		owns   map[string]refusal
	}{
		"OpenSSL": {"s_server -Verify 3 -verify_return_error -CAfile clients.pem", 0, named, [2]byte{40, 116}, openSSL},
		"OpenSSL with a list of revoked certificates": {
			"s_server -Verify 3 -verify_return_error -CAfile clients.pem -CRL crl.pem -crl_check", 0, named,
			[2]byte{40, 116},
			map[string]refusal{"client": {}, "revoked": {failure.ClientCertRevoked, 44}},
		},
		"NSS": {"selfserv -V tls1.2:tls1.3 -r -r", 0, named, [2]byte{42, 116}, map[string]refusal{
			"client": {}, "stranger": {failure.UnknownCA, 48}, "lone": {failure.UnknownCA, 48},
			"expired": {failure.ClientCertExpired, 45}, "server-only": {failure.CertificateUnknown, 46},
			// It has no Ed25519 and says so beforehand, so that crypto/tls doesn't send it one.
			"client-ed25519": {failure.UnsupportedCertificate, 0},
		}},
		"GnuTLS": {"gnutls-serv rsa --require-client-cert --verify-client-cert --x509cafile clients.pem", 0, named, [2]byte{50, 116}, map[string]refusal{
			"client": {}, "client-ed25519": {}, "stranger": untrusted, "lone": untrusted, "expired": untrusted,
			"server-only": {}, // it does not look at the purpose
		}},
		"haproxy":   {"haproxy", 2, named, [2]byte{40, 116}, openSSL},
		"stunnel":   {"stunnel", 1, named, [2]byte{40, 116}, openSSL},
		"redis":     {"redis yes", 0, unnamed, [2]byte{40, 116}, openSSL},
		"mosquitto": {"mosquitto", 1, unnamed, [2]byte{40, 116}, openSSL},
	} {
		t.Run(name, func(t *testing.T) {
			var tests []test
			for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				tests = append(tests, test{
					name: tls.VersionName(version) + " none", server: c.server, port: c.port, max: version,
					step: failure.ClientAuth, typ: failure.MissingClientCert, alert: c.none[i],
					evidence: []string{"requires a client certificate, but none was sent. " + c.cas, "Set tls cert_file and key_file"},
				})
				for own, refusal := range c.owns {
					tests = append(tests, test{
						name: tls.VersionName(version) + " " + own, server: c.server, port: c.port, max: version, own: own,
						step: failure.ClientAuth, typ: refusal.typ, alert: refusal.alert,
						evidence: []string{`refused the client certificate of "` + own + `", issued by`, c.cas},
					})
				}
			}
			run(t, tests)
		})
	}
}
