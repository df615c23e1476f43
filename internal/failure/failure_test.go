package failure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
)

func TestErrno(t *testing.T) {
	dial := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	for errno, want := range map[syscall.Errno]struct {
		step Step
		typ  Type
	}{
		syscall.EMFILE:        {Local, TooManyOpenFiles},
		syscall.ENFILE:        {Local, TooManyOpenFiles},
		syscall.EADDRNOTAVAIL: {Local, NoFreePorts},
		syscall.EACCES:        {Local, LocalError},
		syscall.EPERM:         {Local, LocalError},
		syscall.ECONNREFUSED:  {Connect, ConnectionRefused},
		syscall.ECONNRESET:    {Connect, ConnectionReset},
		syscall.ETIMEDOUT:     {Connect, ConnectionTimeout},
		syscall.ENETUNREACH:   {Connect, NetworkUnreachable},
		syscall.EHOSTUNREACH:  {Connect, NetworkUnreachable},
	} {
		f := Explain(Evidence{Step: Connect, Err: dial(errno), Endpoint: "a.example:443", Transport: "sctp", Timeout: time.Second})
		assert.Equal(t, want.step, f.Step, errno)
		assert.Equal(t, want.typ, f.Type, errno)
		assert.Equal(t, []Type{want.typ}, f.Reasons)
		if want.step == Local {
			assert.Equal(t, "local", f.Category)
			assert.Contains(t, f.Fix, "The target may be healthy", "it is never the target's fault")
		} else {
			assert.Equal(t, "sctp", f.Category, "the transport's name")
			assert.Contains(t, f.Cause, "a.example:443")
		}
	}
}

func TestErrorsOfEachStep(t *testing.T) {
	for name, c := range map[string]struct {
		e    Evidence
		step Step
		typ  Type
	}{
		"resolver's timeout":    {Evidence{Step: DNS, Err: &net.DNSError{IsTimeout: true}}, DNS, DNSTimeout},
		"our deadline in DNS":   {Evidence{Step: DNS, Err: context.DeadlineExceeded}, DNS, DNSTimeout},
		"no such name":          {Evidence{Step: DNS, Err: &net.DNSError{IsNotFound: true}}, DNS, DNSNotFound},
		"broken resolver":       {Evidence{Step: DNS, Err: &net.DNSError{Err: "server misbehaving"}}, DNS, DNSError},
		"deadline in handshake": {Evidence{Step: Handshake, Err: os.ErrDeadlineExceeded}, Handshake, HandshakeTimeout},
		"end in handshake":      {Evidence{Step: Handshake, Err: io.EOF}, Handshake, ConnectionClosed},
		"cut in handshake":      {Evidence{Step: Handshake, Err: io.ErrUnexpectedEOF}, Handshake, ConnectionClosed},
		"reset in handshake":    {Evidence{Step: Handshake, Err: syscall.ECONNRESET}, Handshake, ConnectionClosed},
		"reset after ours":      {Evidence{Step: ClientAuth, Err: syscall.ECONNRESET}, ClientAuth, ConnectionClosed},
		"file not permitted":    {Evidence{Step: File, Err: &certs.FileError{Fault: certs.FileUnreadable, Err: syscall.EACCES}}, File, Type(certs.FileUnreadable)},
		"no file descriptors":   {Evidence{Step: File, Err: &certs.FileError{Fault: certs.FileUnreadable, Err: syscall.EMFILE}}, Local, TooManyOpenFiles},
		"our own certificate":   {Evidence{Step: Local, Err: os.ErrNotExist}, Local, LocalError},
		"said by crypto/tls":    {Evidence{Step: Handshake, Err: errors.New("tls: invalid signature by the server certificate")}, Handshake, MalformedHandshake},
		"banner instead of TLS": {Evidence{Step: Handshake, Err: io.ErrUnexpectedEOF, FirstBytes: []byte("SSH-2.0-x\r\n")}, Handshake, NotTLS},
		"new":                   {Evidence{Step: Handshake, Err: errors.New("novelty")}, Handshake, Other},
	} {
		t.Run(name, func(t *testing.T) {
			c.e.Endpoint = "a.example:443"
			f := Explain(c.e)
			assert.Equal(t, c.step, f.Step)
			assert.Equal(t, c.typ, f.Type)
			assert.NotEmpty(t, f.Cause)
			assert.NotEmpty(t, f.Fix)
			assert.NotEmpty(t, f.Message)
		})
	}
}

func TestServicesAreKnownByTheirFirstBytes(t *testing.T) {
	for first, c := range map[string]struct {
		port     uint16
		name     string
		starttls string
	}{
		"220 mail.example ESMTP Postfix\r\n":                           {2525, "SMTP", "smtp"},
		"554 mail.example no service\r\n":                              {25, "SMTP", "smtp"},
		"220 mail.example LMTP ready\r\n":                              {2424, "LMTP", "lmtp"},
		"220 (vsFTPd 3.0.3)\r\n":                                       {2121, "FTP", "ftp"},
		"220 ProFTPD Server ready.\r\n":                                {21, "FTP", "ftp"},
		"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n":               {1143, "IMAP", "imap"},
		"+OK Dovecot ready.\r\n":                                       {1110, "POP3", "pop3"},
		"SSH-2.0-OpenSSH_9.2p1\r\n":                                    {22, "SSH", ""},
		"HTTP/1.1 400 Bad Request\r\n":                                 {80, "HTTP", ""},
		"<html><body>400</body></html>":                                {80, "HTTP", ""},
		"J\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB":                       {3306, "MySQL", "mysql"},
		"\x15\x00\x00\x00\xff\x10\x04Too many":                         {3306, "MySQL", "mysql"},
		"E\x00\x00\x00\x8cSFATAL\x00VFATAL\x00":                        {5432, "PostgreSQL", "postgres"},
		"200 news.example InterNetNews ready\r\n":                      {1119, "NNTP", "nntp"},
		"<?xml version='1.0'?><stream:stream":                          {5222, "XMPP", "xmpp"},
		"\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"\r\n":                {4190, "ManageSieve", "sieve"},
		":irc.example NOTICE * :*** Looking up\r\n":                    {6667, "IRC", "irc"},
		"-ERR wrong number of arguments\r\n":                           {6379, "Redis", ""},
		"-ERR unknown command\r\n":                                     {110, "POP3", "pop3"},
		"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00": {4317, "HTTP/2 (gRPC)", ""},
		"AMQP\x00\x00\x09\x01":                                         {5672, "AMQP", ""},
		"\xff\xfd\x18\xff\xfd\x20":                                     {23, "Telnet", "telnet"},
	} {
		e := Evidence{Step: Handshake, Err: io.EOF, Endpoint: "a.example:1", Port: c.port, FirstBytes: []byte(first)}
		f := Explain(e)
		assert.Equal(t, NotTLS, f.Type, "%q", first)
		assert.Equal(t, "WRONG_VERSION_NUMBER", f.SSLReason)
		assert.Contains(t, f.Cause, "speaks "+c.name+" without TLS", "%q", first)
		if c.starttls != "" {
			assert.Contains(t, f.Fix, "starttls: "+c.starttls+" ", "%q", first)
		} else {
			assert.NotContains(t, f.Fix, "starttls", "%q", first)
		}
	}
	f := Explain(Evidence{Step: Handshake, Err: io.EOF, Endpoint: "a:1", FirstBytes: []byte("\x00\x01gibberish")})
	assert.Contains(t, f.Cause, "It sent \"\ufffd\ufffdgibberish\"", "what it sent, cleaned")
}

func TestSilenceOnAWellKnownPortHintsAtSTARTTLS(t *testing.T) {
	for _, err := range []error{io.EOF, os.ErrDeadlineExceeded} {
		f := Explain(Evidence{Step: Handshake, Err: err, Endpoint: "db.example:5432", Port: 5432})
		assert.Contains(t, f.Cause, "needs starttls: postgres")
		f = Explain(Evidence{Step: Handshake, Err: err, Endpoint: "db.example:443", Port: 443})
		assert.NotContains(t, f.Cause, "starttls")
	}
}

func TestForeignTextIsCleanAndBounded(t *testing.T) {
	said := strings.Repeat("\xff\x1b[31m", 10_000)
	f := Explain(Evidence{Step: Handshake, Err: errors.New(said), Endpoint: "a:1", FirstBytes: []byte(said[:256]), AcceptableCAs: []string{said}})
	for _, text := range []string{f.Message, f.Cause, f.Fix} {
		assert.Less(t, len(text), 1500)
		assert.NotContains(t, text, "\x1b")
		assert.Equal(t, text, strings.ToValidUTF8(text, "?"))
	}
}

// The text of an error may contain any number of foreign bytes.
func TestCauseIsCleanAndBoundedWhateverAnErrorSays(t *testing.T) {
	c := &x509.Certificate{}
	f := Explain(Evidence{Endpoint: "a:1", Verdict: &certs.Verdict{Chain: []*x509.Certificate{c}, Reasons: []certs.Reason{
		{Fault: certs.Malformed, Cert: c, Err: errors.New(strings.Repeat("\xff\x1b", 10_000))},
	}}})
	for _, text := range []string{f.Message, f.Cause, f.Fix} {
		assert.LessOrEqual(t, len(text), 1024)
		assert.NotContains(t, text, "\x1b")
		assert.Equal(t, text, strings.ToValidUTF8(text, "?"))
	}
}

// A certificate with long names may have many problems. What the server said is not lost.
func TestAlertOfALongCause(t *testing.T) {
	long := strings.Repeat("x", 1000)
	e := exampleOf(UnknownCA)
	e.ClientCert.Subject.CommonName, e.ClientCert.Issuer.CommonName = long, long
	judgeExample(&e, UnknownCA)
	e.AcceptableCAs = []string{long, long, long}
	e.Err = &AlertError{Number: 48, Err: io.EOF}
	f := Explain(e)
	assert.Equal(t, UnknownCA, f.Type)
	assert.LessOrEqual(t, len(f.Cause), 1024)
	assert.True(t, strings.HasSuffix(f.Cause, "… The server sent alert 48, unknown_ca."), f.Cause)
}

func TestEveryReasonIsNamed(t *testing.T) {
	c := &x509.Certificate{DNSNames: []string{"other.example"}}
	f := Explain(Evidence{ServerName: "a.example", Verdict: &certs.Verdict{Chain: []*x509.Certificate{c}, Reasons: []certs.Reason{
		{Fault: certs.NameMismatch, Cert: c}, {Fault: certs.WrongKeyUsage, Cert: c}, {Fault: certs.WrongKeyUsage, Depth: 1, Cert: c}, {Fault: certs.Revoked, Cert: c},
	}}})
	assert.Equal(t, []Type{"hostname_mismatch", "wrong_key_usage", "cert_revoked"}, f.Reasons)
	assert.Equal(t, "The certificate is not valid for a.example, only for other.example. Also: wrong_key_usage, cert_revoked.", f.Cause)
}

func TestRefusal(t *testing.T) {
	assert.True(t, IsRefusal(syscall.ECONNRESET))
	assert.False(t, IsRefusal(io.EOF), "an orderly end")
	assert.False(t, IsRefusal(errors.New("anything")))
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"a.example", "b.example", 1}, {"flaw", "lawn", 2}} {
		assert.Equal(t, c.want, distance(c.a, c.b), fmt.Sprint(c))
	}
}

func TestSilenceOnAWellKnownPortNamesItsProtocol(t *testing.T) {
	silence := &starttls.Error{Kind: starttls.Timeout, Expected: "a greeting"}
	f := Explain(Evidence{Step: StartTLS, Err: silence, Endpoint: "db.example:5432", Port: 5432, StartTLS: "mysql"})
	assert.Equal(t, StartTLSTimeout, f.Type)
	assert.Contains(t, f.Fix, "Set starttls: postgres on this target.")
	f = Explain(Evidence{Step: StartTLS, Err: silence, Endpoint: "db.example:3306", Port: 3306, StartTLS: "mysql"})
	assert.NotContains(t, f.Fix, "Set starttls")
}

func TestSTARTTLSWithTLSFromTheFirstByte(t *testing.T) {
	for name, c := range map[string]struct {
		refusal starttls.Error
		fix     string
	}{
		"an alert":                 {starttls.Error{Kind: starttls.ProtocolError, First: "\x15\x03\x03\x00\x02\x02\n"}, "Remove starttls, as the server speaks TLS from the first byte."},
		"an alert, then the end":   {starttls.Error{Kind: starttls.ConnectionClosed, First: "\x15\x03\x01\x00\x02\x02\n"}, "Remove starttls, as the server speaks TLS from the first byte."},
		"nothing, and the end":     {starttls.Error{Kind: starttls.ConnectionClosed}, "If the port speaks TLS from the first byte, remove starttls."},
		"nothing":                  {starttls.Error{Kind: starttls.Timeout}, "If the port speaks TLS from the first byte, remove starttls."},
		"a greeting, and no reply": {starttls.Error{Kind: starttls.Timeout, First: "220 mx.test ESMTP\r\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := Explain(Evidence{Step: StartTLS, Err: &c.refusal, Endpoint: "a.example:1", Port: 1, StartTLS: "smtp"})
			if c.fix == "" {
				assert.NotContains(t, f.Fix, "emove starttls")
			} else {
				assert.Contains(t, f.Fix, c.fix)
			}
		})
	}
}

func TestWrongSTARTTLSIsRecognizedByTheGreeting(t *testing.T) {
	for name, c := range map[string]struct {
		refusal  starttls.Error
		protocol string
		port     uint16
		fix      string // the starttls value; empty if there is none
	}{
		"mail server taken for FTP":       {starttls.Error{Kind: starttls.Rejected, First: "220 mx.test ESMTP Postfix\r\n", Said: "503 5.5.1 not enabled"}, "ftp", 2525, "smtp"},
		"FTP server taken for mail":       {starttls.Error{Kind: starttls.Rejected, First: "220 (vsFTPd 3.0.3)\r\n", Said: "530 Please login"}, "smtp", 21, "ftp"},
		"hung up":                         {starttls.Error{Kind: starttls.ConnectionClosed, First: "* OK IMAP4rev1 ready\r\n"}, "smtp", 1143, "imap"},
		"slow FTP on another port":        {starttls.Error{Kind: starttls.Timeout, First: "220-welcome\r\n", Said: "220-welcome\r\n"}, "ftp", 2121, ""},
		"slow XMPP between servers":       {starttls.Error{Kind: starttls.Timeout, First: "<?xml version='1.0'?>"}, "xmpp-server", 15269, ""},
		"an attacker's words are no hint": {starttls.Error{Kind: starttls.ProtocolError, First: "220 mx.test ESMTP\r\n", Said: "200 x", Err: starttls.ErrInjected}, "smtp", 25, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := Explain(Evidence{Step: StartTLS, Err: &c.refusal, Endpoint: "a.example:1", Port: c.port, StartTLS: c.protocol})
			if c.fix == "" {
				assert.NotContains(t, f.Fix, "Set starttls")
			} else {
				assert.Contains(t, f.Fix, "Set starttls: "+c.fix+" on this target.")
			}
		})
	}
	f := Explain(Evidence{Step: Handshake, Err: io.EOF, Endpoint: "a.example:6667", Port: 6667, FirstBytes: []byte(":irc.test 020 * :Please wait\r\n")})
	assert.Equal(t, NotTLS, f.Type)
	assert.Contains(t, f.Fix, "Set starttls: irc on this target.", "the port decides if the words do not")
	f = Explain(Evidence{Step: Handshake, Err: io.EOF, Endpoint: "a.example:1", Port: 1, FirstBytes: []byte("<?xml version='1.0'?><stream:stream xmlns='jabber:server'")})
	assert.Contains(t, f.Fix, "starttls: xmpp-server ")
}

func TestServerWithoutTheKindOfCertificate(t *testing.T) {
	refused := &AlertError{Number: 40, Err: io.EOF}
	f := Explain(Evidence{Step: Handshake, Err: refused, Endpoint: "a.example:1", CertificateType: "ecdsa"})
	assert.Equal(t, CipherMismatch, f.Type)
	assert.Contains(t, f.Cause, "refuses clients that accept only an ECDSA certificate.")
	f = Explain(Evidence{Step: Handshake, Err: refused, Endpoint: "a.example:1", CertificateType: "ecdsa", ClientCertRequested: true})
	assert.Equal(t, MissingClientCert, f.Type, "the server has sent its certificate by then")
}
