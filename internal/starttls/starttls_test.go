package starttls

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	clientHeader = "C:<?xml version='1.0'?><stream:stream xmlns='jabber:client' " +
		"xmlns:stream='http://etherx.jabber.org/streams' to='server.test' version='1.0'>"
	serverHeader = "C:<?xml version='1.0'?><stream:stream xmlns='jabber:server' " +
		"xmlns:stream='http://etherx.jabber.org/streams' to='server.test' version='1.0'>"
	startTLS = "C:<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	proceed  = "S:<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

	prosodyHeader = "S:<?xml version='1.0'?><stream:stream xml:lang='en' from='server.test' xmlns='jabber:client' " +
		"id='a577f268' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	features = "S:<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"

	mariadb = "S:d\x00\x00\x00\x0a5.5.5-10.11.19-MariaDB-0+deb12u1\x00\x07\x00\x00\x00n\\aQQ&fR\x00\xfe\xff\x08\x02\x00" +
		"\xff\x81\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00GN3R#S]X#A_:\x00mysql_native_password\x00"
	sslRequest = "C:\x20\x00\x00\x01\x00\x8a\x08\x00\x00\x00\x00\x01\x21" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

	extendedRequest = "C:0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037"
	pgRequest       = "C:\x00\x00\x00\x08\x04\xd2\x16/"
	connect         = "C:\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"
	confirm         = "S:\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00"
)

// acceptedScripts are dialogues after which TLS starts. Those with a name and a version were recorded from real servers,
// and then shortened.
var acceptedScripts = []struct {
	protocol, server string
	script           script
}{
	{"smtp", "postfix 3.7", script{
		"S:220 mx.test ESMTP Postfix\r\n", "C:EHLO [127.0.0.1]\r\n",
		"S:250-mx.test\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250-DSN\r\n250 CHUNKING\r\n",
		"C:STARTTLS\r\n", "S:220 2.0.0 Ready to start TLS\r\n",
	}},
	{"smtp", "exim 4.96", script{
		"S:220 mx.test ESMTP Exim 4.96 Fri, 20 Nov 2026 07:39:56 +0000\r\n", "C:EHLO [127.0.0.1]\r\n",
		"S:250-mx.test Hello probe.test [127.0.0.1]\r\n250-STARTTLS\r\n250-SMTPUTF8\r\n250 HELP\r\n",
		"C:STARTTLS\r\n", "S:220 TLS go ahead\r\n",
	}},
	{"smtp", "multiline replies, codes without text, LF only", script{
		"S:220-mx.test\n220-we do not relay\n220\n", "C:EHLO [127.0.0.1]\r\n", "S:250-mx.test\n250 STARTTLS\n",
		"C:STARTTLS\r\n", "S:220-go\n220\n",
	}},
	{"smtp", "EHLO unknown, nothing advertised", script{
		"S:220 mx.test\r\n", "C:EHLO [127.0.0.1]\r\n", "S:502 5.5.1 not here\r\n", "C:HELO [127.0.0.1]\r\n",
		"S:250 mx.test\r\n", "C:STARTTLS\r\n", "S:220 go\r\n",
	}},
	{"lmtp", "dovecot 2.3", script{
		"S:220 vm Dovecot (Debian) ready.\r\n", "C:LHLO [127.0.0.1]\r\n",
		"S:250-vm\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
		"C:STARTTLS\r\n", "S:220 2.0.0 Begin TLS negotiation now.\r\n",
	}},
	{"imap", "dovecot 2.3", script{
		"S:* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ STARTTLS AUTH=PLAIN] Dovecot (Debian) ready.\r\n",
		"C:a1 STARTTLS\r\n", "S:a1 OK Begin TLS negotiation now.\r\n",
	}},
	{"imap", "untagged lines, lower case", script{
		"S:* ok hello\r\n", "C:a1 STARTTLS\r\n", "S:* CAPABILITY IMAP4rev1\r\n* OK still here\r\n* BAD but not yours\r\na1 ok\r\n",
	}},
	{"pop3", "dovecot 2.3", script{
		"S:+OK Dovecot (Debian) ready.\r\n", "C:STLS\r\n", "S:+OK Begin TLS negotiation now.\r\n",
	}},
	{"pop3", "no text", script{"S:+OK\r\n", "C:STLS\r\n", "S:+ok\r\n"}},
	{"sieve", "dovecot 2.3", script{
		"S:\"IMPLEMENTATION\" \"Dovecot (Debian) Pigeonhole\"\r\n\"SIEVE\" \"fileinto reject\"\r\n\"NOTIFY\" \"mailto\"\r\n" +
			"\"SASL\" \"PLAIN LOGIN\"\r\n\"STARTTLS\"\r\n\"VERSION\" \"1.0\"\r\nOK \"Dovecot (Debian) ready.\"\r\n",
		"C:STARTTLS\r\n", "S:OK \"Begin TLS negotiation now.\"\r\n",
	}},
	{"sieve", "literals, nothing advertised", script{
		"S:{14}\r\nIMPLEMENTATION {5+}\r\nNO\r\nx\r\nOK (TAG {2+}\r\nab) {5}\r\nhello\r\n",
		"C:STARTTLS\r\n", "S:ok (TAG \"x\") {9}\r\nOK go\r\nOK\r\n",
	}},
	{"ftp", "proftpd 1.3", script{
		"S:220 ProFTPD Server (t) [127.0.0.1]\r\n", "C:AUTH TLS\r\n", "S:234 AUTH TLS successful\r\n",
	}},
	{"ftp", "vsftpd 3.0", script{
		"S:220 (vsFTPd 3.0.3)\r\n", "C:AUTH TLS\r\n", "S:234 Proceed with negotiation.\r\n",
	}},
	{"ftp", "delayed, banner, AUTH SSL", script{
		"S:120 ready in 1 minute\r\n", "S:220-Welcome\r\n 220 is our code\r\n230-but this is not\r\n\r\n220-more\r\n220 ready\r\n",
		"C:AUTH TLS\r\n", "S:504 unknown\r\n", "C:AUTH SSL\r\n", "S:334 go\r\n",
	}},
	{"nntp", "inn 2.7", script{
		"S:200 news.test InterNetNews NNRP server INN 2.7.1 ready (posting ok)\r\n",
		"C:STARTTLS\r\n", "S:382 Begin TLS negotiation now\r\n",
	}},
	{"nntp", "no posting", script{"S:201 news.test\r\n", "C:STARTTLS\r\n", "S:382\r\n"}},
	{"irc", "inspircd 3.15", script{
		"C:STARTTLS\r\n", "S::irc.test 670 * :STARTTLS successful, go ahead with TLS handshake\r\n",
	}},
	{"irc", "notices and PING", script{
		"S::irc.test NOTICE Auth :*** Looking up your hostname\r\n\r\n", "C:STARTTLS\r\n",
		"S::irc.test NOTICE * :670\r\nPING :cookie 1\r\n", "C:PONG :cookie 1\r\n", "S:670 x\r\n",
	}},
	{"ldap", "slapd 2.5", script{extendedRequest, "S:0\x0c\x02\x01\x01x\x07\x0a\x01\x00\x04\x00\x04\x00"}},
	{"ldap", "lengths as from Active Directory, with responseName", script{
		extendedRequest, "S:0\x84\x00\x00\x00\x28\x02\x01\x01x\x84\x00\x00\x00\x1f\x0a\x01\x00\x04\x00\x04\x00" +
			"\x8a\x161.3.6.1.4.1.1466.20037",
	}},
	{"xmpp", "prosody 0.12", script{clientHeader, prosodyHeader, features, startTLS, proceed}},
	{"xmpp", "ejabberd 23.01, double quotes, required, end tag", script{
		clientHeader, "S:<?xml version=\"1.0\"?><stream:stream id=\"6982465460934998145\" version=\"1.0\" xml:lang=\"en\" " +
			"xmlns:stream=\"http://etherx.jabber.org/streams\" from=\"server.test\" xmlns=\"jabber:client\">",
		"S:\n<stream:features><mechanisms xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\"><mechanism>PLAIN</mechanism>" +
			"</mechanisms><starttls xmlns=\"urn:ietf:params:xml:ns:xmpp-tls\"><required/></starttls></stream:features>",
		startTLS, "S:<proceed xmlns=\"urn:ietf:params:xml:ns:xmpp-tls\"></proceed>",
	}},
	{"xmpp-server", "prosody 0.12", script{
		serverHeader, "S:<?xml version='1.0'?><stream:stream xml:lang='en' from='server.test' xmlns='jabber:server' " +
			"xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='9a57' version='1.0'>",
		"S:<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" +
			"<db:dialback xmlns:db='urn:xmpp:features:dialback'/></stream:features>", startTLS, proceed,
	}},
	{"xmpp", "another prefix for the stream namespace", script{
		clientHeader, "S:<s:stream xmlns:s='http://etherx.jabber.org/streams' version='1.0'><s:features>" +
			"<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/></s:features>", startTLS,
		"S:<t:proceed xmlns:t='urn:ietf:params:xml:ns:xmpp-tls' />",
	}},
	{"mysql", "mariadb 10.11", script{mariadb, sslRequest}},
	{"mysql", "short greeting", script{
		"S:\x18\x00\x00\x00\x0a4.1.1\x00\x07\x00\x00\x00n\\aQQ&fR\x00\x00\x08\x08\x02", sslRequest,
	}},
	{"postgres", "15", script{pgRequest, "S:S"}},
	{"telnet", "as s_client expects", script{
		"S:\xff\xfd\x2e", "C:\xff\xfb\x2e\xff\xfa\x2e\x01\xff\xf0", "S:\xff\xfa\x2e\x01\xff\xf0",
	}},
	{"telnet", "banner and other options first", script{
		"S:hi\xff\xff\xff\xf1\xff\xfd\x18\xff\xfb\x01\xff\xfa\x18\xff\xff\xff\xf0", "C:\xff\xfb\x2e",
		"S:\xff\xfd\x2e", "C:\xff\xfa\x2e\x01\xff\xf0", "S:\xff\xfd\x2e\xff\xfb\x2e\xff\xfa\x2e\x01\xff\xf0",
	}},
	{"rdp", "TLS", script{connect, confirm + "\x02\x00\x08\x00\x01\x00\x00\x00"}},
	{"rdp", "NLA", script{connect, confirm + "\x02\x1f\x08\x00\x02\x00\x00\x00"}},
}

// TestAccepted starts TLS after the preamble. The handshake proves that Start has not read too much.
func TestAccepted(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range acceptedScripts {
		seen[a.protocol] = true
		for how, chunk := range map[string]int{"whole": whole, "byte by byte": 1} {
			t.Run(a.protocol+"/"+a.server+"/"+how, func(t *testing.T) {
				t.Parallel()
				var goodbye []byte
				conn, wait := serve(t, 5*time.Second, func(conn net.Conn) error {
					if err := a.script.play(conn, chunk, 0); err != nil {
						return err
					}
					server := tls.Server(conn, serverTLS())
					var err error
					goodbye, err = io.ReadAll(server)
					return err
				})
				require.NoError(t, Start(conn, a.protocol, name))
				client := tls.Client(conn, &tls.Config{ServerName: "localhost", RootCAs: authority.Pool()})
				require.NoError(t, client.Handshake())
				_, err := client.Write(Goodbye(a.protocol))
				require.NoError(t, err)
				require.NoError(t, client.Close())
				require.NoError(t, wait())
				assert.Equal(t, string(Goodbye(a.protocol)), string(goodbye))
			})
		}
	}
	for _, protocol := range Protocols() {
		assert.True(t, seen[protocol], protocol)
	}
}

// TestTruncated ends each accepted dialogue after each byte but the last.
func TestTruncated(t *testing.T) {
	for _, a := range acceptedScripts {
		total := 0
		for _, turn := range a.script.serverTurns() {
			total += len(turn)
		}
		for n := range total {
			for _, end := range []error{io.EOF, syscall.ECONNRESET, errDeadline} {
				m := newScriptConn(a.script, end)
				left := n
				for i, turn := range m.turns {
					m.turns[i] = turn[:min(left, len(turn))]
					left -= len(m.turns[i])
				}
				e := failed(t, Start(m, a.protocol, name))
				want := ConnectionClosed
				if end == errDeadline {
					want = Timeout
				}
				if e.Err == nil && end != errDeadline { // closed after EHLO or AUTH TLS was refused
					require.Regexp(t, "^50[24]", e.Said)
					continue
				}
				require.Equal(t, want, e.Kind, "%s, %s, %d bytes: %v", a.protocol, a.server, n, e)
				require.ErrorIs(t, e, end)
			}
		}
	}
}

// TestWriteFails fails each of the client's writes in turn.
func TestWriteFails(t *testing.T) {
	for _, a := range acceptedScripts {
		for n := range len(a.script.serverTurns()) - 1 {
			for writeErr, want := range map[error]Kind{syscall.EPIPE: ConnectionClosed, errDeadline: Timeout} {
				m := newScriptConn(a.script, errors.New("unexpected"))
				m.writes, m.writeErr = n, writeErr
				e := failed(t, Start(m, a.protocol, name))
				if e.Err == nil && writeErr != errDeadline { // as in TestTruncated
					require.Regexp(t, "^50[24]", e.Said)
					continue
				}
				require.Equal(t, want, e.Kind, "%s, %s, write %d: %v", a.protocol, a.server, n, e)
				require.ErrorIs(t, e, writeErr)
			}
		}
	}
}

func TestInjection(t *testing.T) {
	for _, a := range acceptedScripts {
		for _, injected := range []string{"x", "\n", "220 again\r\n", strings.Repeat("y", 2*maxLine), "\x16\x03\x01"} {
			t.Run(a.protocol+"/"+a.server, func(t *testing.T) {
				t.Parallel()
				s := slices.Clone(a.script)
				last := len(s) - 1
				if s[last][0] == 'C' { // MySQL's go-ahead precedes the client's last words
					s = s[:last]
					last--
				}
				s[last] += injected
				conn, wait := serve(t, 5*time.Second, func(conn net.Conn) error { return s.play(conn, whole, 0) })
				e := failed(t, Start(conn, a.protocol, name))
				assert.Equal(t, ProtocolError, e.Kind, e)
				assert.ErrorIs(t, e, ErrInjected)
				assert.Equal(t, injected[:min(len(injected), maxSaid)], e.Said)
				_ = wait()
			})
		}
	}
}

// TestTimeout has servers that say nothing, and servers that are too slow.
func TestTimeout(t *testing.T) {
	const deadline = time.Second
	for i, a := range acceptedScripts {
		if i > 0 && acceptedScripts[i-1].protocol == a.protocol {
			continue
		}
		for how, s := range map[string]script{"silent": nil, "slow": a.script} {
			if a.protocol == "postgres" && s != nil {
				continue // its go-ahead is a single byte
			}
			t.Run(a.protocol+"/"+a.server+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					conn, server := net.Pipe()
					var serving sync.WaitGroup
					defer serving.Wait()
					defer conn.Close()
					serving.Go(func() {
						defer server.Close()
						_ = s.play(server, 1, deadline/5)
						_, _ = io.Copy(io.Discard, server)
					})
					begin := time.Now()
					require.NoError(t, conn.SetDeadline(begin.Add(deadline)))
					e := failed(t, Start(conn, a.protocol, name))
					assert.Equal(t, deadline, time.Since(begin))
					assert.Equal(t, Timeout, e.Kind, e)
					assert.ErrorIs(t, e, os.ErrDeadlineExceeded)
				})
			})
		}
	}
}

// endlessConn is a connection to a server that repeats the same text forever.
type endlessConn struct {
	net.Conn
	greeting, repeated string
	read               int
}

func (c *endlessConn) Read(p []byte) (n int, err error) {
	if c.read < len(c.greeting) {
		n = copy(p, c.greeting[c.read:])
	}
	for n < len(p) {
		n += copy(p[n:], c.repeated)
	}
	c.read += n
	return n, nil
}

func (c *endlessConn) Write(p []byte) (int, error) { return len(p), nil }

// TestEndless has servers that never stop. Some protocols accept some of these texts for a while.
func TestEndless(t *testing.T) {
	texts := []string{
		"A", "\r\n", "220-x\r\n", "250-STARTTLS\r\n", "120 later\r\n", "* OK x\r\n", "\"X\" \"Y\"\r\n", "{9}\r\n", "{99999999}\r\n",
		":x NOTICE y\r\n", "PING :x\r\n", "<a>", "<a b='", "<!--", prosodyHeader[2:], "\xff\xfd\x18", "\xff\xfaabc",
		"0\x84\x00\x00\x1f\xff", "0\x84\xff\xff\xff\xff", "\x03\x00\xff\xff", "\xff\xff\xff\x00", "\x00",
	}
	greetings := []string{"", "220 hello\r\n", "+OK\r\n", "OK\r\n", "* OK\r\n", "200\r\n", prosodyHeader[2:] + "<stream:features>"}
	for _, protocol := range Protocols() {
		for _, text := range texts {
			for _, greeting := range greetings {
				c := &endlessConn{greeting: greeting, repeated: strings.Repeat(text, maxLine)}
				e := failed(t, Start(c, protocol, name))
				assert.Equal(t, ProtocolError, e.Kind, "%s, %q, %q: %v", protocol, greeting, text, e)
				assert.LessOrEqual(t, c.read, maxBytes)
			}
		}
		conn, wait := serve(t, 5*time.Second, func(conn net.Conn) (err error) {
			for repeated := []byte(strings.Repeat(texts[0], maxLine)); err == nil; {
				_, err = conn.Write(repeated)
			}
			return nil
		})
		assert.Equal(t, ProtocolError, failed(t, Start(conn, protocol, name)).Kind)
		require.NoError(t, wait())
	}
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for what, c := range map[string]struct {
		greeting string
		want     error
	}{
		"longest line":      {"220 " + long[:maxLine-6] + "\r\n", io.EOF},
		"line too long":     {"220 " + long[:maxLine-5] + "\r\n", errLongLine},
		"most lines":        {strings.Repeat("220-\r\n", maxLines-2) + "220 \r\n", io.EOF},
		"one line too many": {strings.Repeat("220-\r\n", maxLines-1) + "220 \r\n", errManyLines},
		"too many bytes":    {strings.Repeat("220-"+long[:maxLine-6]+"\r\n", 8) + "220 \r\n", errManyBytes},
	} {
		m := newScriptConn(script{"S:" + c.greeting, "C:", "C:"}, io.EOF)
		e := failed(t, Start(m, "smtp", name))
		assert.ErrorIs(t, e, c.want, what)
	}
}

func TestReset(t *testing.T) {
	for _, protocol := range Protocols() {
		connected := make(chan struct{})
		conn, wait := serve(t, 5*time.Second, func(conn net.Conn) error {
			<-connected
			return conn.(*net.TCPConn).SetLinger(0) // so that Close sends a reset
		})
		close(connected)
		e := failed(t, Start(conn, protocol, name))
		assert.Equal(t, ConnectionClosed, e.Kind, e)
		assert.True(t, errors.Is(e, syscall.ECONNRESET) || errors.Is(e, syscall.EPIPE), e)
		require.NoError(t, wait())
	}
}

func TestProtocols(t *testing.T) {
	assert.Equal(t, []string{
		"ftp", "imap", "irc", "ldap", "lmtp", "mysql", "nntp", "pop3", "postgres", "rdp", "sieve", "smtp", "telnet", "xmpp",
		"xmpp-server",
	}, Protocols())
	for port, want := range map[uint16]string{
		25: "smtp", 587: "smtp", 110: "pop3", 143: "imap", 21: "ftp", 119: "nntp", 4190: "sieve", 389: "ldap", 5222: "xmpp",
		5269: "xmpp-server", 5432: "postgres", 3306: "mysql", 6667: "irc", 3389: "rdp", 24: "lmtp", 443: "", 465: "", 0: "",
	} {
		assert.Equal(t, want, ForPort(port), port)
	}
	assert.Nil(t, Goodbye("postgres"))
	assert.Nil(t, Goodbye("gopher"))
	var e *Error
	err := Start(nil, "mssql", name)
	assert.ErrorContains(t, err, `unknown starttls protocol "mssql", expected one of ftp, imap,`)
	assert.NotErrorAs(t, err, &e)
}
