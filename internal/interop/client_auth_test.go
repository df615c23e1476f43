//go:build interop

package interop

import (
	"crypto/tls"
	"testing"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// refusal is how a server refuses a client certificate. The zero value means that it accepts it.
type refusal struct {
	typ   failure.Type
	alert uint8
	texts []string // in the cause or the fix, if they depend on the server
}

// clientProblems are the problems of the client certificates of the PKI, and what a refusal says about them. Where a server
// refuses them, the certificates client and completed show that it accepts what the fix advises.
var clientProblems = map[string]struct {
	warning failure.Type
	texts   []string
}{
	"expired":     {failure.ClientCertExpired, []string{"It expired on", "Renew the certificate in cert_file."}},
	"early":       {failure.ClientCertNotYetValid, []string{"It is not valid before", "Use a certificate that is already valid"}},
	"server-only": {failure.UnsupportedCertificate, []string{"has extended key usages, but not clientAuth", "Issue a certificate with the extended key usage clientAuth"}},
	"weak":        {failure.Type(certs.WeakKey), []string{"It has an RSA key of 1024 bits", "with an ECDSA key"}},
	"old-ca":      {failure.ClientCertExpired, []string{`The CA certificate "Old Issuer" in cert_file expired on`, "Replace that CA certificate"}},
	"near":        {failure.NearExpiry, nil},
	// These depend on the list of CAs that the server sends.
	"stranger": {failure.UnknownCA, []string{`does not include "Strangers"`, `or add "Strangers", and the CAs above it up to their root, to the client CAs of the server`}},
	"lone":     {failure.UnknownCA, []string{`cert_file does not have the certificate of "Client Issuer"`, "add its certificate to the end of cert_file"}},
}

const namesCAs, namesNone = "The server accepts certificates from CN=Clients,O=Farm.", "The server does not say which CAs it accepts."

// clientTest returns the test of a client certificate against a server, which refuses it or not.
func clientTest(server string, port int, version uint16, cas, client string, r refusal) test {
	c := test{
		name: tls.VersionName(version) + " " + client, server: server, port: port, max: version, client: client,
		step: failure.ClientAuth, typ: r.typ, alert: r.alert,
		texts: append([]string{`client certificate of "` + client + `"`}, r.texts...),
	}
	if client == "completed" {
		c.texts = nil // it is the certificate of lone
	}
	problem, bad := clientProblems[client]
	if bad && (problem.warning != failure.UnknownCA || cas == namesCAs) {
		c.problems = []failure.Type{problem.warning}
		c.texts = append(c.texts, problem.texts...)
	} else if r.texts == nil {
		c.texts = append(c.texts, "It is valid by the collector's clock until", "Its subject is CN="+client+" and its names are localhost")
	}
	if r.alert != 0 {
		c.texts = append(c.texts, cas)
	}
	return c
}

// Servers refuse a client certificate during the handshake in TLS 1.2 and after it in TLS 1.3. Stacks send different alerts for the
// same reason. The failure says what the reason is.
func TestClientCertificates(t *testing.T) {
	revoked := refusal{failure.ClientCertRevoked, 44, []string{"because it is revoked", "Issue a new certificate and a new key"}}
	openSSL := map[string]refusal{
		"client": {}, "client-ed25519": {}, "completed": {}, "near": {},
		"stranger": {failure.UnknownCA, 48, nil}, "lone": {failure.UnknownCA, 48, nil},
		"expired": {failure.ClientCertExpired, 45, nil}, "early": {failure.ClientCertNotYetValid, 42, nil},
		"server-only": {failure.UnsupportedCertificate, 43, nil}, "weak": {failure.UnsupportedCertificate, 42, nil},
		"old-ca": {failure.ClientCertExpired, 45, nil},
	}
	gnuTLS := func(t failure.Type) refusal { return refusal{t, 49, nil} } // it gives no other reason
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
			map[string]refusal{"client": {}, "revoked": revoked},
		},
		// The fix of the next two is the one above.
		"OpenSSL with an old list of revoked certificates": {
			"s_server -Verify 3 -verify_return_error -CAfile clients.pem -CRL old-crl.pem -crl_check", 0, namesCAs,
			[2]byte{40, 116},
			map[string]refusal{"client": {failure.ClientCertExpired, 45, []string{"by the collector's clock", "If both are right, a CA certificate or a list of revoked certificates (CRL) on the server has expired"}}},
		},
		"OpenSSL without a list of revoked certificates": {
			"s_server -Verify 3 -verify_return_error -CAfile clients.pem -crl_check", 0, namesCAs,
			[2]byte{40, 116},
			map[string]refusal{"client": {failure.UnknownCA, 48, []string{"trust or rules are at fault", "if it checks CRLs, that it has one of each CA"}}},
		},
		// The fix says which keys the server accepts. With one of these, it does.
		"OpenSSL with Ed25519 only": {
			"s_server -Verify 3 -verify_return_error -CAfile clients.pem -client_sigalgs ed25519", 0, namesCAs,
			[2]byte{40, 116},
			map[string]refusal{
				"client-ed25519": {},
				"client":         {failure.UnsupportedCertificate, 0, []string{"was not sent", "its key (ECDSA, 256 bits)", "whose signatures the server accepts: Ed25519."}},
			},
		},
		"OpenSSL with PKCS #1 and P-384 only": {
			"s_server -Verify 3 -verify_return_error -CAfile clients.pem -client_sigalgs RSA+SHA256:ECDSA+SHA384", 0, namesCAs,
			[2]byte{40, 116},
			map[string]refusal{"client-ed25519": {failure.UnsupportedCertificate, 0, []string{"was not sent", "whose signatures the server accepts: ", "ECDSA P-384"}}},
		},
		"NSS": {"selfserv -V tls1.2:tls1.3 -r -r", 0, namesCAs, [2]byte{42, 116}, map[string]refusal{
			"client": {}, "completed": {}, "near": {}, "stranger": {failure.UnknownCA, 48, nil}, "lone": {failure.UnknownCA, 48, nil},
			"expired": {failure.ClientCertExpired, 45, nil}, "early": {failure.ClientCertNotYetValid, 45, nil}, "server-only": {failure.UnsupportedCertificate, 46, nil},
			"weak": {}, "old-ca": {failure.ClientCertExpired, 48, nil},
			// NSS does not offer Ed25519, so crypto/tls does not send this certificate.
			"client-ed25519": {failure.UnsupportedCertificate, 0, []string{"was not sent", "accepts no signature that its key (Ed25519, 256 bits) can make", "ECDSA P-256"}},
		}},
		"GnuTLS": {"gnutls-serv rsa --require-client-cert --verify-client-cert --x509cafile clients.pem", 0, namesCAs, [2]byte{50, 116}, map[string]refusal{
			"client": {}, "client-ed25519": {}, "completed": {}, "near": {},
			"stranger": gnuTLS(failure.UnknownCA), "lone": gnuTLS(failure.UnknownCA),
			"expired": gnuTLS(failure.ClientCertExpired), "early": gnuTLS(failure.ClientCertNotYetValid), "old-ca": gnuTLS(failure.ClientCertExpired),
			"weak":        {},
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
					tests = append(tests, clientTest(c.server, c.port, version, c.cas, client, refusal))
				}
			}
			run(t, tests)
		})
	}
}
