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

// Servers that begin in plain text. If the log of a server shows how the dialogue ended, the test checks it.

func TestPostfix(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "postfix", starttls: "smtp", log: "ehlo=1 starttls=1 quit=1 commands=3"},
		{name: "TLS 1.2", server: "postfix", starttls: "smtp", max: tls.VersionTLS12},
		{name: "STARTTLS required", server: "postfix", port: 1, starttls: "smtp"},
		{name: "TLS from the first byte", server: "postfix", port: 3},
		{
			name: "not offered", server: "postfix", port: 2, starttls: "smtp",
			step: failure.StartTLS, typ: failure.StartTLSUnsupported,
			texts: []string{`"502 5.5.1 Error: command not implemented"`},
			log:   "ehlo=1 starttls=0/1 quit=1 commands=2/3",
		},
		{
			name: "starttls missing", server: "postfix",
			step: failure.Handshake, typ: failure.NotTLS,
			texts: []string{`It sent "220 mx.test ESMTP Postfix`, "Set starttls: smtp"},
		},
	})
}

func TestExim(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "exim4", starttls: "smtp"},
		{name: "TLS 1.2", server: "exim4", starttls: "smtp", max: tls.VersionTLS12},
		{name: "TLS from the first byte", server: "exim4", port: 2},
		{
			name: "not offered", server: "exim4", port: 1, starttls: "smtp",
			step: failure.StartTLS, typ: failure.StartTLSUnsupported,
			texts: []string{`"503 STARTTLS command used when not advertised"`},
		},
		{
			name: "starttls missing", server: "exim4",
			step: failure.Handshake, typ: failure.NotTLS,
			texts: []string{`It sent "220 mx.test ESMTP Exim`, "Set starttls: smtp"},
		},
	})
}

func TestDovecot(t *testing.T) {
	const bye = "Aborted login by logging out"
	refusal := func(port int, protocol, reply, log string) test {
		return test{
			name: protocol + " without TLS", server: "dovecot no", port: port, starttls: protocol,
			step: failure.StartTLS, typ: failure.StartTLSUnsupported, texts: []string{reply}, log: log,
		}
	}
	missing := func(port int, protocol, banner string) test {
		return test{
			name: protocol + ", starttls missing", server: "dovecot yes", port: port,
			step: failure.Handshake, typ: failure.NotTLS, texts: []string{banner, "Set starttls: " + protocol},
		}
	}
	run(t, []test{
		{name: "imap", server: "dovecot yes", starttls: "imap", log: "imap-login: Info: Disconnected: " + bye},
		{name: "pop3", server: "dovecot yes", port: 1, starttls: "pop3", log: "pop3-login: Info: Disconnected: " + bye},
		{name: "lmtp", server: "dovecot yes", port: 2, starttls: "lmtp"},
		{name: "sieve", server: "dovecot yes", port: 3, starttls: "sieve"},
		{name: "TLS 1.2", server: "dovecot yes", starttls: "imap", max: tls.VersionTLS12},
		{name: "TLS from the first byte", server: "dovecot yes", port: 4},
		refusal(0, "imap", `"a1 BAD TLS support isn't enabled."`, "imap-login: Info: Disconnected: "+bye),
		refusal(1, "pop3", `"-ERR TLS support isn't enabled."`, "pop3-login: Info: Disconnected: "+bye),
		refusal(2, "lmtp", `"502 5.5.1 TLS support is not enabled."`, "Logged out (state=READY)"),
		refusal(3, "sieve", `TLS support isn't enabled.`, "managesieve-login: Info: Disconnected: "+bye),
		missing(0, "imap", `It sent "* OK`),
		missing(1, "pop3", `It sent "+OK Dovecot (Debian) ready.`),
	})
}

func TestProFTPD(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "proftpd", starttls: "ftp"},
		{name: "TLS 1.2", server: "proftpd", starttls: "ftp", max: tls.VersionTLS12},
		{
			name: "without TLS", server: "proftpd", port: 1, starttls: "ftp",
			step: failure.StartTLS, typ: failure.StartTLSUnsupported,
			texts: []string{`"500 AUTH not understood"`},
		},
		{
			name: "starttls missing", server: "proftpd",
			step: failure.Handshake, typ: failure.NotTLS,
			texts: []string{`It sent "220 ProFTPD Server`, "Set starttls: ftp"},
		},
	})
}

func TestVsftpd(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "vsftpd YES", starttls: "ftp", requestsCert: true},
		{name: "TLS 1.2", server: "vsftpd YES", starttls: "ftp", requestsCert: true, max: tls.VersionTLS12},
		{
			name: "without TLS", server: "vsftpd NO", starttls: "ftp",
			step: failure.StartTLS, typ: failure.StartTLSUnsupported,
			texts: []string{`"530 Please login with USER and PASS."`},
		},
		{
			name: "starttls missing", server: "vsftpd YES",
			step: failure.Handshake, typ: failure.NotTLS,
			texts: []string{`It sent "220 (vsFTPd`, "Set starttls: ftp"},
		},
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
		// Debian builds slapd with GnuTLS. Such a slapd sends no alert.
		{
			name: "without a client certificate, TLS 1.2", server: "slapd demand", starttls: "ldap", max: tls.VersionTLS12,
			step: failure.ClientAuth, typ: failure.ConnectionClosed,
			texts: []string{"asked for a client certificate, got none, and closed the connection without giving a reason"},
			log:   "TLS: can't accept: No certificate was found",
		},
		{
			name: "without a client certificate, TLS 1.3", server: "slapd demand", starttls: "ldap",
			step: failure.ClientAuth, typ: failure.ConnectionClosed,
			texts: []string{"asked for a client certificate, got none, and closed the connection without giving a reason"},
			log:   "TLS: can't accept: Certificate is required",
		},
		{
			name: "without TLS", server: "slapd off", starttls: "ldap",
			step: failure.StartTLS, typ: failure.StartTLSUnsupported,
			texts: []string{`"result code 2 protocolError: unsupported extended operation"`},
			log:   "UNBIND",
		},
	})
}

func TestPostgreSQL(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "postgresql on", starttls: "postgres"},
		{name: "TLS 1.2", server: "postgresql on", starttls: "postgres", max: tls.VersionTLS12},
		{
			name: "without TLS", server: "postgresql off", starttls: "postgres",
			step: failure.StartTLS, typ: failure.StartTLSUnsupported,
			texts: []string{`Expected S in reply to an SSLRequest, got "N"`},
		},
		{
			name: "starttls missing", server: "postgresql on",
			step: failure.Handshake, typ: failure.ConnectionClosed,
			texts: []string{"closed the connection"},
		},
	})
}

func TestMariaDB(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "mariadb ssl", starttls: "mysql", requestsCert: true},
		{name: "TLS 1.2", server: "mariadb ssl", starttls: "mysql", requestsCert: true, max: tls.VersionTLS12},
		{
			name: "without TLS", server: "mariadb skip-ssl", starttls: "mysql",
			step: failure.StartTLS, typ: failure.StartTLSUnsupported,
			texts: []string{`"version 5.5.5-10.11`, "SSL capability off"},
		},
		{
			name: "starttls missing", server: "mariadb ssl",
			step: failure.Handshake, typ: failure.NotTLS,
			texts: []string{"MySQL", "Set starttls: mysql"},
		},
	})
}

func TestProsody(t *testing.T) {
	run(t, []test{
		{name: "clients", server: "prosody", starttls: "xmpp"},
		{name: "servers", server: "prosody", port: 1, starttls: "xmpp-server", requestsCert: true},
		{name: "TLS 1.2", server: "prosody", starttls: "xmpp", max: tls.VersionTLS12},
		{name: "TLS from the first byte", server: "prosody", port: 2, alpn: "xmpp-client"},
		{
			name: "unknown host", server: "prosody", starttls: "xmpp", sni: "zzz.test",
			step: failure.StartTLS, typ: failure.StartTLSRejected,
			texts: []string{"stream error: host-unknown"},
		},
		{
			name: "unknown host, servers", server: "prosody", port: 1, starttls: "xmpp-server", sni: "zzz.test",
			step: failure.StartTLS, typ: failure.StartTLSRejected,
			texts: []string{"stream error: host-unknown"},
		},
		{
			name: "starttls missing", server: "prosody",
			step: failure.Handshake, typ: failure.NotTLS,
			texts: []string{"Set starttls: xmpp"},
		},
	})
}

func TestNnrpd(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "nnrpd", starttls: "nntp"},
		{name: "TLS 1.2", server: "nnrpd", starttls: "nntp", max: tls.VersionTLS12},
		{
			name: "starttls missing", server: "nnrpd",
			step: failure.Handshake, typ: failure.NotTLS,
			texts: []string{`It sent "200 news.test InterNetNews`, "Set starttls: nntp"},
		},
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
		{
			name: "no reply to STARTTLS", server: "ngircd", starttls: "irc",
			step: failure.StartTLS, typ: failure.StartTLSTimeout,
			texts: []string{"did not start TLS within 5s. Expected numeric 670"},
		},
	})
}

func TestRabbitMQ(t *testing.T) {
	run(t, []test{
		{name: "TLS 1.3", server: "rabbitmq"},
		{name: "TLS 1.2", server: "rabbitmq", max: tls.VersionTLS12},
	})
}
