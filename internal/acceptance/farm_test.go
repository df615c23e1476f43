//go:build acceptance

package acceptance

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const day = 24 * time.Hour

// farm starts the servers that the scripts probe. It returns environment variables for their endpoints and for certificate
// files. The certificates are for 127.0.0.1 and localhost unless another name is given.
func farm(t *testing.T) map[string]string {
	ca, stranger := tlsfarm.NewAuthority("Farm CA"), tlsfarm.NewAuthority("Stranger CA")
	healthy := ca.Issue("healthy.example", tlsfarm.Validity(-day, 90*day+time.Hour))

	start := func(s *tlsfarm.Server) string {
		t.Cleanup(s.Close)
		return s.Endpoint()
	}
	serve := func(cert tls.Certificate) string {
		return start(tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}))
	}
	mutual := func(version uint16) string {
		return start(tlsfarm.TLS(&tls.Config{
			Certificates: []tls.Certificate{healthy}, MinVersion: version, MaxVersion: version,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
		}))
	}
	garbledCAs := ca.Pool()
	garbledCAs.AddCert(&x509.Certificate{Raw: []byte{0}, RawSubject: garbled()})

	env := map[string]string{
		"HEALTHY":     serve(healthy),
		"ALSOHEALTHY": serve(healthy),
		"EXPIRING":    serve(ca.Issue("expiring.example", tlsfarm.Validity(-80*day, 10*day+time.Hour))),
		"EXPIRED":     serve(ca.Issue("expired.example", tlsfarm.Validity(-90*day, -3*day-time.Hour))),
		"OTHERNAME":   serve(ca.Issue("other.example", tlsfarm.Names("other.example"))),
		"STRANGER":    serve(stranger.Issue("stranger.example", tlsfarm.Validity(-90*day, -3*day-time.Hour), tlsfarm.Names("other.example"))),
		"GARBLED": start(tlsfarm.TLS(&tls.Config{
			Certificates: []tls.Certificate{ca.Issue("", func(c *x509.Certificate) { c.RawSubject = garbled() })},
			ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: garbledCAs,
		})),
		"MALFORMED": serve(malformed(ca.Issue("malformed_.example"))),
		"MUTUAL12":  mutual(tls.VersionTLS12),
		"MUTUAL13":  mutual(tls.VersionTLS13),
		"REFUSING":  tlsfarm.Refused(),
		"SILENT":    start(tlsfarm.Silent()),
		"RESETTING": start(tlsfarm.Resetting()),
		"SMTP":      start(tlsfarm.SMTP("220 go ahead\r\n", &tls.Config{Certificates: []tls.Certificate{healthy}}, nil)),
		"PLAINTEXT": start(tlsfarm.Plaintext("220 mail.example ESMTP ready\r\n")),
	}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		_ = l.Close()
		env["IPV6"] = start(tlsfarm.ServeOn("[::1]:0", func(conn net.Conn) {
			tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{healthy}})
		}))
	}
	env["BYNAME"] = strings.Replace(env["HEALTHY"], "127.0.0.1", "localhost", 1)

	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := func(variable string, cert tls.Certificate) {
		chain, key := tlsfarm.PEM(cert)
		env[variable+"_CERT"] = file(variable+".pem", chain)
		env[variable+"_KEY"] = file(variable+".key", key)
	}
	env["CA"] = file("ca.pem", ca.PEM())
	env["STRANGE_CA"] = file("stranger.pem", stranger.PEM())
	pair("CLIENT", ca.Issue("client.example", tlsfarm.Validity(-day, 20*day+time.Hour)))
	soon := ca.Issue("soon.example", tlsfarm.Validity(-80*day, 10*day+time.Hour))
	env["ONDISK"] = serve(soon)
	pair("SOON", soon)
	pair("RENEWED", ca.Issue("soon.example"))
	pair("OLD", ca.Issue("old.example", tlsfarm.Validity(-90*day, -3*day-time.Hour)))
	pair("STRANGE_CLIENT", stranger.Issue("strange-client.example"))
	return env
}

// garbled returns a name in an encoding that allows any bytes: invalid UTF-8, a NUL and a terminal escape sequence.
func garbled() []byte {
	name := asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte("garbled \xff\xfe\x00\x1b[31m")}
	der, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name}}})
	if err != nil {
		panic(err)
	}
	return der
}

// malformed makes the encoding of a certificate's common name invalid, so that clients cannot parse the certificate.
func malformed(cert tls.Certificate) tls.Certificate {
	cert.Certificate[0] = bytes.Replace(cert.Certificate[0], []byte("malformed_"), []byte("malformed\xff"), 1)
	return cert
}
