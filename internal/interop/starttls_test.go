//go:build interop

package interop

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
)

// Servers that begin in plain text and start TLS. TestRefusals has those that do not. If the log of a server shows how the
// dialogue ended, the test checks it.

func TestPostfix(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "postfix", starttls: "smtp", log: "ehlo=1 starttls=1 quit=1 commands=3"},
		{name: "TLS 1.2", server: "postfix", starttls: "smtp", max: tls.VersionTLS12},
		{name: "STARTTLS required", server: "postfix", port: 1, starttls: "smtp"},
		{name: "TLS from the first byte", server: "postfix", port: 3},
	})
}

func TestExim(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "exim4", starttls: "smtp"},
		{name: "TLS 1.2", server: "exim4", starttls: "smtp", max: tls.VersionTLS12},
		{name: "TLS from the first byte", server: "exim4", port: 2},
	})
}

func TestDovecot(t *testing.T) {
	const bye = "Aborted login by logging out"
	run(t, []test{
		{name: "imap", server: "dovecot yes", starttls: "imap", log: "imap-login: Info: Disconnected: " + bye},
		{name: "pop3", server: "dovecot yes", port: 1, starttls: "pop3", log: "pop3-login: Info: Disconnected: " + bye},
		{name: "lmtp", server: "dovecot yes", port: 2, starttls: "lmtp"},
		{name: "sieve", server: "dovecot yes", port: 3, starttls: "sieve"},
		{name: "TLS 1.2", server: "dovecot yes", starttls: "imap", max: tls.VersionTLS12},
		{name: "TLS from the first byte", server: "dovecot yes", port: 4},
	})
}

func TestProFTPD(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "proftpd", starttls: "ftp"},
		{name: "TLS 1.2", server: "proftpd", starttls: "ftp", max: tls.VersionTLS12},
	})
}

func TestVsftpd(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "vsftpd YES", starttls: "ftp", requestsCert: true},
		{name: "TLS 1.2", server: "vsftpd YES", starttls: "ftp", requestsCert: true, max: tls.VersionTLS12},
	})
}

// A server that only closes the connection gives no reason. What is wrong with the client certificate is said nevertheless.
func TestSlapdRefusesAClientCertificate(t *testing.T) {
	s := start(t, "slapd demand")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for client, problem := range clientProblems {
			o := (&test{starttls: "ldap", client: client, max: version}).probe(t, s)
			assert.Equal(t, []failure.Type{problem.warning}, failure.ClientCertWarnings(o.Handshake.ClientCertProblems))
			// slapd judges the certificate after the handshake. A TLS 1.2 probe is over then. It accepts some of them.
			if version == tls.VersionTLS12 || slices.Contains([]string{"near", "weak", "server-only"}, client) {
				assert.Nil(t, o.Failure, client)
				continue
			}
			require.NotNil(t, o.Failure, client)
			assert.Equal(t, failure.ConnectionClosed, o.Failure.Type)
			assert.Equal(t, []failure.Type{failure.ConnectionClosed, problem.warning}, o.Failure.Reasons)
			for _, text := range problem.texts {
				assert.Contains(t, o.Failure.Cause+" "+o.Failure.Fix, text)
			}
		}
		assert.Nil(t, (&test{starttls: "ldap", client: "completed", max: version}).probe(t, s).Failure)
	}
}

func TestSlapd(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "slapd never", starttls: "ldap", log: "UNBIND"},
		{name: "TLS 1.2", server: "slapd never", starttls: "ldap", max: tls.VersionTLS12},
		{name: "client certificate", server: "slapd demand", starttls: "ldap", client: "client"},
	})
}

func TestPostgreSQL(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "postgresql on", starttls: "postgres"},
		{name: "TLS 1.2", server: "postgresql on", starttls: "postgres", max: tls.VersionTLS12},
	})
}

func TestMariaDB(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "mariadb ssl", starttls: "mysql", requestsCert: true},
		{name: "TLS 1.2", server: "mariadb ssl", starttls: "mysql", requestsCert: true, max: tls.VersionTLS12},
	})
}

func TestProsody(t *testing.T) {
	run(t, []test{
		{name: "clients", server: "prosody", starttls: "xmpp"},
		{name: "servers", server: "prosody", port: 1, starttls: "xmpp-server", requestsCert: true},
		{name: "TLS 1.2", server: "prosody", starttls: "xmpp", max: tls.VersionTLS12},
		{name: "TLS from the first byte", server: "prosody", port: 2, alpn: "xmpp-client"},
	})
}

func TestNnrpd(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "nnrpd", starttls: "nntp"},
		{name: "TLS 1.2", server: "nnrpd", starttls: "nntp", max: tls.VersionTLS12},
	})
}

func TestInspIRCd(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "inspircd", requestsCert: true, starttls: "irc"},
		{name: "TLS 1.2", server: "inspircd", requestsCert: true, starttls: "irc", max: tls.VersionTLS12},
		{name: "TLS from the first byte", server: "inspircd", requestsCert: true, port: 1},
	})
}

func TestNgIRCd(t *testing.T) {
	run(t, []test{
		{name: "TLS from the first byte", server: "ngircd", port: 1, requestsCert: true},
	})
}

func TestRabbitMQ(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "rabbitmq verify_none"},
		{name: "TLS 1.2", server: "rabbitmq verify_none", max: tls.VersionTLS12},
	})
}
