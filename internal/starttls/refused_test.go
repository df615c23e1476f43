package starttls

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// What servers say before they refuse, and what clients say.
const (
	smtpHello   = "S:220 mx.test\r\n"
	ehlo        = "C:EHLO [127.0.0.1]\r\n"
	helo        = "C:HELO [127.0.0.1]\r\n"
	plainEHLO   = "S:250-mx.test\r\n250 DSN\r\n"
	offeredEHLO = "S:250-mx.test\r\n250 starttls\r\n"
	sieveOffer  = "S:\"STARTTLS\"\r\nOK\r\n"
	garbage     = "S:\xde\xad\xbe\xef\x00\x00\x00\x00 garbage\r\n\r\n"
	http        = "S:HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
)

// refusedScripts are dialogues after which TLS cannot start, although the server answers in time.
var refusedScripts = []struct {
	what     string
	protocol string
	script   script
	kind     Kind
	expected string
	said     string // a part of it
	err      string // a part of it
}{
	{"busy", "smtp", script{"S:421 4.3.2 too busy\r\n"}, Rejected, "a greeting with code 220", "421 4.3.2 too busy", ""},
	{"no service", "smtp", script{"S:554-no\r\n554 go away\r\n"}, Rejected, "a greeting with code 220", "554-no\r\n554 go away", ""},
	{"no greeting", "smtp", script{"S:250 hello\r\n"}, ProtocolError, "a greeting with code 220", "250 hello", ""},
	{"postfix, not offered, refused", "smtp", script{
		smtpHello, ehlo, plainEHLO, "C:STARTTLS\r\n", "S:502 5.5.1 Error: command not implemented\r\n",
	}, Unsupported, "220 in reply to STARTTLS", "502 5.5.1 Error: command not implemented\r\n", ""},
	{"host named STARTTLS", "smtp", script{
		smtpHello, ehlo, "S:250-STARTTLS\r\n250 DSN\r\n", "C:STARTTLS\r\n", "S:502 no\r\n",
	}, Unsupported, "220 in reply to STARTTLS", "502 no", ""},
	{"offered, refused", "smtp", script{
		smtpHello, ehlo, offeredEHLO, "C:STARTTLS\r\n", "S:454 4.7.0 TLS not available\r\n",
	}, Rejected, "220 in reply to STARTTLS", "454 4.7.0 TLS not available", ""},
	{"neither yes nor no", "smtp", script{
		smtpHello, ehlo, offeredEHLO, "C:STARTTLS\r\n", "S:250 fine\r\n",
	}, ProtocolError, "220 in reply to STARTTLS", "250 fine", ""},
	{"EHLO refused", "smtp", script{smtpHello, ehlo, "S:550 bad name\r\n"}, Rejected, "250 in reply to EHLO [127.0.0.1]", "550 bad name", ""},
	{"EHLO and HELO unknown", "smtp", script{
		smtpHello, ehlo, "S:500 what\r\n", helo, "S:500 what again\r\n",
	}, ProtocolError, "250 in reply to HELO [127.0.0.1]", "500 what again", ""},
	{"closed after EHLO", "smtp", script{smtpHello, ehlo, "S:500 what\r\n"}, Rejected, "250 in reply to EHLO [127.0.0.1]", "500 what", ""},
	{"only HELO known, refused", "smtp", script{
		smtpHello, ehlo, "S:500 what\r\n", helo, "S:250 mx.test\r\n", "C:STARTTLS\r\n", "S:500 what\r\n",
	}, Unsupported, "220 in reply to STARTTLS", "500 what", ""},
	{"answers before it is asked", "smtp", script{"S:220 mx.test\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n"}, ProtocolError, "a greeting with code 220", "220 mx.test\r\n250-x", errEarly.Error()},
	{"answers STARTTLS before it is asked", "smtp", script{smtpHello, ehlo, offeredEHLO + "220 go\r\n"}, ProtocolError, "250 in reply to EHLO [127.0.0.1]", "220 go", errEarly.Error()},
	{"code of two digits", "smtp", script{"S:22 hello\r\n"}, ProtocolError, "a greeting with code 220", "22 hello", ""},
	{"code of four digits", "smtp", script{"S:2200 hello\r\n"}, ProtocolError, "a greeting with code 220", "2200 hello", ""},
	{"negative code", "smtp", script{"S:-22 hello\r\n"}, ProtocolError, "a greeting with code 220", "-22 hello", ""},
	{"garbage", "smtp", script{garbage}, ProtocolError, "a greeting with code 220", "garbage", ""},
	{"HTTP", "smtp", script{http}, ProtocolError, "a greeting with code 220", "HTTP/1.1 400", ""},

	{"LHLO refused", "lmtp", script{smtpHello, "C:LHLO [127.0.0.1]\r\n", "S:500 no LMTP\r\n"}, ProtocolError, "250 in reply to LHLO [127.0.0.1]", "500 no LMTP", ""},
	{"not offered, refused", "lmtp", script{
		smtpHello, "C:LHLO [127.0.0.1]\r\n", plainEHLO, "C:STARTTLS\r\n", "S:502 no\r\n",
	}, Unsupported, "220 in reply to STARTTLS", "502 no", ""},
	{"garbage", "lmtp", script{garbage}, ProtocolError, "a greeting with code 220", "garbage", ""},

	{"bye", "imap", script{"S:* BYE too many\r\n"}, Rejected, `the IMAP greeting "* OK"`, "* BYE too many", ""},
	{"answers before it is asked", "imap", script{"S:* OK hi\r\na1 OK go\r\n"}, ProtocolError, `the IMAP greeting "* OK"`, "* OK hi\r\na1 OK go\r\n", errEarly.Error()},
	{"already logged in", "imap", script{"S:* PREAUTH welcome\r\n"}, Unsupported, `the IMAP greeting "* OK"`, "* PREAUTH welcome", ""},
	{"dovecot without TLS", "imap", script{
		"S:* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n", "C:a1 STARTTLS\r\n", "S:a1 BAD TLS support isn't enabled.\r\n",
	}, Unsupported, `"a1 OK" in reply to STARTTLS`, "a1 BAD TLS support isn't enabled.", ""},
	{"offered, refused", "imap", script{
		"S:* OK [capability starttls] ready\r\n", "C:a1 STARTTLS\r\n", "S:a1 BAD oh\r\n",
	}, Rejected, `"a1 OK" in reply to STARTTLS`, "a1 BAD oh", ""},
	{"offered late, refused", "imap", script{
		"S:* OK ready\r\n", "C:a1 STARTTLS\r\n", "S:* CAPABILITY X STARTTLS\r\na1 BAD oh\r\n",
	}, Rejected, `"a1 OK" in reply to STARTTLS`, "a1 BAD oh", ""},
	{"no certificate", "imap", script{"S:* OK\r\n", "C:a1 STARTTLS\r\n", "S:* OK x\r\na1 NO not now\r\n"}, Rejected, `"a1 OK" in reply to STARTTLS`, "a1 NO not now", ""},
	{"bye in reply", "imap", script{"S:* OK\r\n", "C:a1 STARTTLS\r\n", "S:* BYE timeout\r\n"}, Rejected, `"a1 OK" in reply to STARTTLS`, "* BYE timeout", ""},
	{"another tag", "imap", script{"S:* OK\r\n", "C:a1 STARTTLS\r\n", "S:a2 OK go\r\n"}, ProtocolError, `"a1 OK" in reply to STARTTLS`, "a2 OK go", ""},
	{"OKAY is not OK", "imap", script{"S:* OK\r\n", "C:a1 STARTTLS\r\n", "S:a1 OKAY\r\n"}, ProtocolError, `"a1 OK" in reply to STARTTLS`, "a1 OKAY", ""},
	{"garbage", "imap", script{garbage}, ProtocolError, `the IMAP greeting "* OK"`, "garbage", ""},

	{"locked", "pop3", script{"S:-ERR [SYS/TEMP] no\r\n"}, Rejected, `the POP3 greeting "+OK"`, "-ERR [SYS/TEMP] no", ""},
	{"listed, refused", "pop3", script{
		"S:+OK\r\n", "C:STLS\r\n", "S:-ERR no certificate\r\n", "C:CAPA\r\n", "S:+OK\r\nTOP\r\nstls\r\nUSER\r\n.\r\n",
	}, Rejected, `"+OK" in reply to STLS`, "-ERR no certificate", ""},
	{"not listed, refused", "pop3", script{
		"S:+OK\r\n", "C:STLS\r\n", "S:-ERR unknown\r\n", "C:CAPA\r\n", "S:+OK\r\nTOP\r\nSTLS-NOT\r\n.\r\n",
	}, Unsupported, `"+OK" in reply to STLS`, "-ERR unknown", ""},
	{"no CAPA either", "pop3", script{
		"S:+OK\r\n", "C:STLS\r\n", "S:-ERR unknown\r\n", "C:CAPA\r\n", "S:-ERR unknown too\r\n",
	}, Unsupported, `"+OK" in reply to STLS`, "-ERR unknown\r\n", ""},
	{"closed after the refusal", "pop3", script{"S:+OK\r\n", "C:STLS\r\n", "S:-ERR no\r\n"}, Rejected, `"+OK" in reply to STLS`, "-ERR no", ""},
	{"refuses, then answers before it is asked", "pop3", script{"S:+OK\r\n", "C:STLS\r\n", "S:-ERR no\r\n+OK\r\nX\r\n.\r\n"}, Rejected, `"+OK" in reply to STLS`, "-ERR no", ""},
	{"garbage", "pop3", script{garbage}, ProtocolError, `the POP3 greeting "+OK"`, "garbage", ""},

	{"bye", "sieve", script{"S:BYE \"busy\"\r\n"}, Rejected, "a list of ManageSieve capabilities with OK", "BYE \"busy\"", ""},
	{"offered, refused", "sieve", script{sieveOffer, "C:STARTTLS\r\n", "S:NO \"later\"\r\n"}, Rejected, "OK in reply to STARTTLS", "NO \"later\"", ""},
	{"offered as a literal, refused", "sieve", script{"S:{8}\r\nstarttls\r\nOK\r\n", "C:STARTTLS\r\n", "S:NO\r\n"}, Rejected, "OK in reply to STARTTLS", "NO", ""},
	{"not offered, refused", "sieve", script{"S:\"SASL\" \"STARTTLS\"\r\nOK\r\n", "C:STARTTLS\r\n", "S:NO {3}\r\nbad\r\n"}, Unsupported, "OK in reply to STARTTLS", "NO {3}\r\nbad", ""},
	{"bye in reply", "sieve", script{"S:OK\r\n", "C:STARTTLS\r\n", "S:BYE\r\n"}, Rejected, "OK in reply to STARTTLS", "BYE", ""},
	{"garbage", "sieve", script{garbage}, ProtocolError, "a list of ManageSieve capabilities with OK", "garbage", ""},
	{"literal too long", "sieve", script{"S:\"X\" {70000}\r\n"}, ProtocolError, "a list of ManageSieve capabilities with OK", "{70000}", errManyBytes.Error()},
	{"not a literal", "sieve", script{"S:NO {x}\r\n"}, Rejected, "a list of ManageSieve capabilities with OK", "NO {x}", ""},
	{"literal truncated", "sieve", script{"S:\"X\" {5}\r\nab"}, ConnectionClosed, "a list of ManageSieve capabilities with OK", "{5}\r\nab", "EOF"},
	{"literal of negative length", "sieve", script{"S:\"X\" {-1}\r\n"}, ProtocolError, "a list of ManageSieve capabilities with OK", "{-1}", errManyBytes.Error()},

	{"vsftpd without TLS", "ftp", script{
		"S:220 (vsFTPd 3.0.3)\r\n", "C:AUTH TLS\r\n", "S:530 Please login with USER and PASS.\r\n",
		"C:AUTH SSL\r\n", "S:530 Please login with USER and PASS.\r\n",
	}, Unsupported, "234 in reply to AUTH SSL", "530 Please login", ""},
	{"closed after AUTH TLS", "ftp", script{"S:220\r\n", "C:AUTH TLS\r\n", "S:500 what\r\n"}, Unsupported, "234 in reply to AUTH TLS", "500 what", ""},
	{"policy", "ftp", script{"S:220\r\n", "C:AUTH TLS\r\n", "S:534 no\r\n"}, Rejected, "234 in reply to AUTH TLS", "534 no", ""},
	{"closing", "ftp", script{"S:220\r\n", "C:AUTH TLS\r\n", "S:421 bye\r\n"}, Rejected, "234 in reply to AUTH TLS", "421 bye", ""},
	{"AUTH TLS unknown, AUTH SSL refused", "ftp", script{
		"S:220\r\n", "C:AUTH TLS\r\n", "S:504 no\r\n", "C:AUTH SSL\r\n", "S:431 not now\r\n",
	}, Rejected, "234 in reply to AUTH SSL", "431 not now", ""},
	{"full", "ftp", script{"S:421 too many users\r\n"}, Rejected, "a greeting with code 220", "421 too many users", ""},
	{"garbage", "ftp", script{garbage}, ProtocolError, "a greeting with code 220", "garbage", ""},

	{"full", "nntp", script{"S:400 full\r\n"}, Rejected, "a greeting with code 200", "400 full", ""},
	{"forbidden", "nntp", script{"S:502 you may not\r\n"}, Rejected, "a greeting with code 200", "502 you may not", ""},
	{"unknown", "nntp", script{"S:200\r\n", "C:STARTTLS\r\n", "S:500 what\r\n"}, Unsupported, "382 in reply to STARTTLS", "500 what", ""},
	{"TLS not available", "nntp", script{"S:200\r\n", "C:STARTTLS\r\n", "S:580 can not\r\n"}, Rejected, "382 in reply to STARTTLS", "580 can not", ""},
	{"another code", "nntp", script{"S:200\r\n", "C:STARTTLS\r\n", "S:483 strong authentication required\r\n"}, Rejected, "382 in reply to STARTTLS", "483 strong", ""},
	{"garbage", "nntp", script{garbage}, ProtocolError, "a greeting with code 200", "garbage", ""},

	{"no certificate", "irc", script{"C:STARTTLS\r\n", "S::a NOTICE * :x\r\n:a 691 * :no certificate\r\n"}, Rejected, "numeric 670 in reply to STARTTLS", ":a 691 * :no certificate", ""},
	{"unknown", "irc", script{"C:STARTTLS\r\n", "S::a 421 * STARTTLS :Unknown command\r\n"}, Unsupported, "numeric 670 in reply to STARTTLS", ":a 421", ""},
	{"not before NICK", "irc", script{"C:STARTTLS\r\n", "S:451 STARTTLS :You have not registered\r\n"}, Unsupported, "numeric 670 in reply to STARTTLS", "451 STARTTLS", ""},
	{"closing after notices", "irc", script{
		"C:STARTTLS\r\n", "S:" + strings.Repeat(":a NOTICE * :wait\r\n", 100) + "ERROR :" + strings.Repeat("no ", 1000) + "\r\n",
	}, Rejected, "numeric 670 in reply to STARTTLS", "ERROR :no no", ""},
	{"closing", "irc", script{"C:STARTTLS\r\n", "S:ERROR :Closing Link: (Throttled)\r\n"}, Rejected, "numeric 670 in reply to STARTTLS", "ERROR :Closing Link: (Throttled)", ""},

	{"slapd 2.5 without TLS", "ldap", script{
		extendedRequest, "S:0*\x02\x01\x01x%\x0a\x01\x02\x04\x00\x04\x1eunsupported extended operation",
	}, Unsupported, "an LDAP ExtendedResponse with result code 0", "result code 2 protocolError: unsupported extended operation", ""},
	{"Active Directory without a certificate", "ldap", script{
		extendedRequest, "S:0\x84\x00\x00\x00\x17\x02\x01\x01x\x84\x00\x00\x00\x0e\x0a\x01\x34\x04\x00\x04\x07LdapErr",
	}, Rejected, "an LDAP ExtendedResponse with result code 0", "result code 52 unavailable: LdapErr", ""},
	{"disconnection", "ldap", script{
		extendedRequest, "S:0\x0e\x02\x01\x00x\x09\x0a\x01\x00\x04\x00\x04\x02no",
	}, Rejected, "an LDAP ExtendedResponse with result code 0", "result code 0 : no", ""},
	{"another message ID", "ldap", script{
		extendedRequest, "S:0\x0c\x02\x01\x02x\x07\x0a\x01\x00\x04\x00\x04\x00",
	}, ProtocolError, "an LDAP ExtendedResponse with result code 0", "", "message ID 2, not 1"},
	{"message ID too large", "ldap", script{
		extendedRequest, "S:0\x10\x02\x05\x01\x00\x00\x00\x01x\x07\x0a\x01\x00\x04\x00\x04\x00",
	}, ProtocolError, "an LDAP ExtendedResponse with result code 0", "", "message ID -1, not 1"},
	{"another response", "ldap", script{
		extendedRequest, "S:0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00\x04\x00",
	}, ProtocolError, "an LDAP ExtendedResponse with result code 0", "0\x0c", "BER tag 0x61, expected 0x78"},
	{"wrong length", "ldap", script{
		extendedRequest, "S:0\x0c\x02\x01\x01x\x17\x0a\x01\x00\x04\x00\x04\x00",
	}, ProtocolError, "an LDAP ExtendedResponse with result code 0", "0\x0c", "unexpected EOF"},
	{"no length", "ldap", script{extendedRequest, "S:0\x80\x02\x01"}, ProtocolError, "an LDAP ExtendedResponse with result code 0", "0\x80", "BER length in 0 bytes"},
	{"length too large", "ldap", script{extendedRequest, "S:0\x83\x00\x20\x01"}, ProtocolError, "an LDAP ExtendedResponse with result code 0", "0\x83", "BER length 8193"},
	{"garbage", "ldap", script{extendedRequest, garbage}, ProtocolError, "an LDAP ExtendedResponse with result code 0", "garbage", "BER tag 0xde"},

	{"answers before it is asked", "xmpp", script{
		clientHeader, prosodyHeader + "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
	}, ProtocolError, "stream features with starttls", "<stream:features>", errEarly.Error()},
	{"not offered", "xmpp", script{clientHeader, prosodyHeader, "S:<stream:features/>"}, Unsupported, "stream features with starttls", "<stream:features/>", ""},
	{"offered in another namespace", "xmpp", script{
		clientHeader, prosodyHeader, "S:<stream:features><starttls/></stream:features>",
	}, Unsupported, "stream features with starttls", "<starttls/>", ""},
	{"too old", "xmpp", script{
		clientHeader, "S:<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>",
	}, Unsupported, "stream features with starttls", "<stream:stream", ""},
	{"prosody 0.12, host unknown", "xmpp", script{
		clientHeader, prosodyHeader, "S:<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>This server does not serve it</text></stream:error></stream:stream>",
	}, Rejected, "stream features with starttls", "stream error: host-unknown: This server does not serve it", ""},
	{"error, then closed", "xmpp", script{
		clientHeader, prosodyHeader, "S:<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>",
	}, Rejected, "stream features with starttls", "stream error: policy-violation", ""},
	{"refused", "xmpp", script{
		clientHeader, prosodyHeader, features, startTLS, "S:<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
	}, Rejected, "<proceed/> in reply to <starttls/>", "<failure", ""},
	{"closed", "xmpp", script{clientHeader, prosodyHeader, "S:</stream:stream>"}, Rejected, "stream features with starttls", "</stream:stream>", ""},
	{"neither yes nor no", "xmpp", script{clientHeader, prosodyHeader, features, startTLS, "S:<iq/>"}, ProtocolError, "<proceed/> in reply to <starttls/>", "<iq/>", ""},
	{"proceed in another namespace", "xmpp", script{clientHeader, prosodyHeader, features, startTLS, "S:<proceed/>"}, ProtocolError, "<proceed/> in reply to <starttls/>", "<proceed/>", ""},
	{"something else before the features", "xmpp", script{clientHeader, prosodyHeader, "S:<message/>"}, ProtocolError, "stream features with starttls", "<message/>", ""},
	{"invalid XML", "xmpp", script{clientHeader, prosodyHeader, "S:<stream:features></b>"}, ProtocolError, "stream features with starttls", "</b>", "XML syntax error"},
	{"invalid XML in proceed", "xmpp", script{clientHeader, prosodyHeader, features, startTLS, "S:<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'></x>"}, ProtocolError, "<proceed/> in reply to <starttls/>", "</x>", "XML syntax error"},
	{"HTML", "xmpp", script{clientHeader, "S:<html>"}, ProtocolError, "an XMPP stream header", "<html>", ""},
	{"HTTP", "xmpp", script{clientHeader, http}, ProtocolError, "an XMPP stream header", "HTTP/1.1 400", ""},
	{"not XML", "xmpp-server", script{serverHeader, "S:220 no stream\r\n<"}, ProtocolError, "an XMPP stream header", "220 no stream", ""},
	{"HTTP", "xmpp-server", script{serverHeader, http}, ProtocolError, "an XMPP stream header", "HTTP/1.1 400", ""},
	{"not offered", "xmpp-server", script{serverHeader, prosodyHeader, "S:<stream:features/>"}, Unsupported, "stream features with starttls", "<stream:features/>", ""},

	{"no SSL", "mysql", script{
		"S:\x18\x00\x00\x00\x0a4.1.1\x00\x07\x00\x00\x00n\\aQQ&fR\x00\x00\x00\x08\x02",
	}, Unsupported, "a MySQL greeting with the SSL capability", "version 4.1.1, SSL capability off", ""},
	{"blocked", "mysql", script{"S:\x0f\x00\x00\x00\xff\x69\x04Host blocked"}, Rejected, "a MySQL greeting with the SSL capability", "error 1129: Host blocked", ""},
	{"full", "mysql", script{"S:\x11\x00\x00\x00\xff\x10\x04#08004Too many"}, Rejected, "a MySQL greeting with the SSL capability", "error 1040: Too many", ""},
	{"error without a code", "mysql", script{"S:\x01\x00\x00\x00\xff"}, Rejected, "a MySQL greeting with the SSL capability", "", ""},
	{"version 9", "mysql", script{"S:\x02\x00\x00\x00\x093"}, Unsupported, "a MySQL greeting with the SSL capability", "protocol version 9", ""},
	{"version 11", "mysql", script{"S:\x02\x00\x00\x00\x0b3"}, ProtocolError, "a MySQL greeting with the SSL capability", "\x0b3", "protocol version 11"},
	{"truncated", "mysql", script{"S:\x07\x00\x00\x00\x0a4.1.1\x00"}, ProtocolError, "a MySQL greeting with the SSL capability", "4.1.1", "truncated"},
	{"version without an end", "mysql", script{"S:\x06\x00\x00\x00\x0a4.1.1"}, ProtocolError, "a MySQL greeting with the SSL capability", "4.1.1", "truncated"},
	{"empty", "mysql", script{"S:\x00\x00\x00\x00"}, ProtocolError, "a MySQL greeting with the SSL capability", "", "not a MySQL greeting"},
	{"not the first packet", "mysql", script{"S:\x02\x00\x00\x01\x0a4"}, ProtocolError, "a MySQL greeting with the SSL capability", "", "not a MySQL greeting"},
	{"garbage", "mysql", script{garbage}, ProtocolError, "a MySQL greeting with the SSL capability", "garbage", "not a MySQL greeting"},

	{"ssl=off", "postgres", script{pgRequest, "S:N"}, Unsupported, "S in reply to an SSLRequest", "N", ""},
	{"a greeting that begins with N", "postgres", script{pgRequest, "S:N\x00\x00\x00\x0a5.7.44-log\x00"}, ProtocolError, "S in reply to an SSLRequest", "5.7.44-log", ""},
	{"overloaded", "postgres", script{
		pgRequest, "S:E\x00\x00\x00\x2cSFATAL\x00C53300\x00Msorry, too many clients\x00\x00",
	}, Rejected, "S in reply to an SSLRequest", "sorry, too many clients", ""},
	{"error of an old version", "postgres", script{pgRequest, "S:Eno backend\n\x00"}, Rejected, "S in reply to an SSLRequest", "Eno backend", ""},
	{"empty error", "postgres", script{pgRequest, "S:E\x00\x00\x00\x00"}, Rejected, "S in reply to an SSLRequest", "E\x00", ""},
	{"error, then closed", "postgres", script{pgRequest, "S:E\x00"}, Rejected, "S in reply to an SSLRequest", "E\x00", ""},
	{"error without fields", "postgres", script{pgRequest, "S:E\x00\x00\x00\x05\x00"}, Rejected, "S in reply to an SSLRequest", "E\x00", ""},
	{"garbage", "postgres", script{pgRequest, garbage}, ProtocolError, "S in reply to an SSLRequest", "garbage", ""},

	{"refused", "telnet", script{"S:\xff\xfd\x18", "C:\xff\xfb\x2e", "S:\xff\xfe\x2e"}, Unsupported, "IAC DO START_TLS", "IAC DONT START_TLS", ""},
	{"agreed, then refused", "telnet", script{
		"S:\xff\xfd\x2e", "C:\xff\xfb\x2e\xff\xfa\x2e\x01\xff\xf0", "S:\xff\xfe\x2e",
	}, Rejected, "IAC SB START_TLS FOLLOWS IAC SE", "IAC DONT START_TLS", ""},

	{"agrees before it is asked", "telnet", script{
		"S:\xff\xfa\x2e\x01\xff\xf0", "C:\xff\xfb\x2e",
	}, ConnectionClosed, "IAC DO START_TLS", "", "EOF"},
	{"agrees to something longer", "telnet", script{
		"S:\xff\xfd\x2e", "C:\xff\xfb\x2e\xff\xfa\x2e\x01\xff\xf0", "S:\xff\xfa\x2e\x01\xff\xff\xff\xf0",
	}, ConnectionClosed, "IAC SB START_TLS FOLLOWS IAC SE", "\x2e\x01\xff", "EOF"},

	{"no negotiation", "rdp", script{connect, "S:\x03\x00\x00\x0b\x06\xd0\x00\x00\x12\x34\x00"}, Unsupported, "an X.224 connection confirm that selects TLS", "without a negotiation response", ""},
	{"RDP's own encryption selected", "rdp", script{connect, confirm + "\x02\x00\x08\x00\x00\x00\x00\x00"}, Unsupported, "an X.224 connection confirm that selects TLS", "PROTOCOL_RDP", ""},
	{"TLS not allowed", "rdp", script{connect, confirm + "\x03\x00\x08\x00\x02\x00\x00\x00"}, Unsupported, "an X.224 connection confirm that selects TLS", "negotiation failure 2 SSL_NOT_ALLOWED_BY_SERVER", ""},
	{"no certificate", "rdp", script{connect, confirm + "\x03\x00\x08\x00\x03\x00\x00\x00"}, Rejected, "an X.224 connection confirm that selects TLS", "negotiation failure 3 SSL_CERT_NOT_ON_SERVER", ""},
	{"disconnected", "rdp", script{connect, "S:\x03\x00\x00\x0b\x06\x80\x00\x00\x12\x34\x00"}, Rejected, "an X.224 connection confirm that selects TLS", "X.224 disconnect request", ""},
	{"another PDU", "rdp", script{connect, "S:\x03\x00\x00\x0b\x06\xf0\x00\x00\x12\x34\x00"}, ProtocolError, "an X.224 connection confirm that selects TLS", "\x03", "type 0xf0"},
	{"another negotiation message", "rdp", script{connect, confirm + "\x07\x00\x08\x00\x01\x00\x00\x00"}, ProtocolError, "an X.224 connection confirm that selects TLS", "\x03", "type 7"},
	{"too small", "rdp", script{connect, "S:\x03\x00\x00\x0a\x06\xd0\x00\x00\x12\x34"}, ProtocolError, "an X.224 connection confirm that selects TLS", "\x03", "not a TPKT"},
	{"garbage", "rdp", script{connect, garbage}, ProtocolError, "an X.224 connection confirm that selects TLS", "garbage", "not a TPKT"},
}

// Every protocol needs at least two scripts here: a refusal and a protocol error.
func TestEachProtocolIsRefused(t *testing.T) {
	refusal, protocolError := make(map[string]bool), make(map[string]bool)
	for _, r := range refusedScripts {
		refusal[r.protocol] = refusal[r.protocol] || r.kind == Unsupported || r.kind == Rejected
		protocolError[r.protocol] = protocolError[r.protocol] || r.kind == ProtocolError
	}
	for _, p := range Protocols() {
		assert.True(t, refusal[p], "no refusal of %s", p)
		// IRC and Telnet ignore what they do not know.
		assert.True(t, protocolError[p] || p == "irc" || p == "telnet", "no protocol error of %s", p)
	}
}

func TestRefused(t *testing.T) {
	for _, r := range refusedScripts {
		t.Run(r.protocol+"/"+r.what, func(t *testing.T) {
			t.Parallel()
			conn, wait := serve(t, 5*time.Second, func(conn net.Conn) error {
				err := r.script.play(conn, whole, 0)
				// Closing a connection with unread input sends a reset, which may overtake the server's last words.
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
				return err
			})
			e := failed(t, Start(conn, r.protocol, name))
			assert.Equal(t, r.kind, e.Kind, e)
			assert.Equal(t, r.expected, e.Expected)
			assert.Contains(t, e.Said, r.said)
			if r.err == "" {
				assert.NoError(t, e.Err)
			} else {
				assert.ErrorContains(t, e.Err, r.err)
			}
			assert.NoError(t, wait())
		})
	}
}

// Only the message of a PostgreSQL error is reported.
func TestPostgresMessage(t *testing.T) {
	m := newScriptConn(script{pgRequest, "S:E\x00\x00\x00\x16SFATAL\x00Mtoo many\x00\x00"}, io.EOF)
	assert.Equal(t, "too many", failed(t, Start(m, "postgres", name)).Said)
}

func TestNameIsEscaped(t *testing.T) {
	m := newScriptConn(nil, io.EOF)
	_ = Start(m, "xmpp", `a'/><b c="&`)
	assert.Contains(t, m.wrote.String(), ` to='a&#39;/&gt;&lt;b c=&#34;&amp;' version`)
}

func TestErrorText(t *testing.T) {
	e := &Error{Kind: Timeout, Expected: "a greeting", Err: io.EOF}
	assert.EqualError(t, e, "starttls_timeout: expected a greeting, the server said nothing: EOF")
	e = &Error{Kind: Rejected, Expected: "a greeting", Said: "421\r\n"}
	assert.EqualError(t, e, `starttls_rejected: expected a greeting, the server said "421\r\n"`)
}
