package failure

import "bytes"

// IsPlaintext reports whether a server's first bytes can't be TLS.
func IsPlaintext(first []byte) bool { return len(first) > 0 && !looksLikeTLS(first) }

// looksLikeTLS reports whether b can be the beginning of a TLS handshake or alert record (RFC 8446, section 5.1). Fewer
// than two bytes can be anything.
func looksLikeTLS(b []byte) bool {
	return len(b) < 2 || (b[0] == 21 || b[0] == 22) && b[1] == 3
}

// service recognizes the protocol of a server by its first bytes, which are not TLS. It returns the name of the
// protocol and its value of starttls, if it has one. Both are empty if the protocol is unknown.
func service(b []byte, port uint16) (name, starttls string) {
	has := func(prefix string) bool { return bytes.HasPrefix(b, []byte(prefix)) }
	upper := bytes.ToUpper(b)
	switch {
	case has("HTTP/"), bytes.HasPrefix(upper, []byte("<HTML")), bytes.HasPrefix(upper, []byte("<!DOCTYPE HTML")):
		return "HTTP", ""
	case len(b) >= 9 && bytes.Equal(b[3:9], []byte{4, 0, 0, 0, 0, 0}) && b[0] == 0:
		return "HTTP/2 (gRPC)", "" // a SETTINGS frame of stream 0 (RFC 9113, section 6.5)
	case has("SSH-"):
		return "SSH", ""
	case has("* OK"), has("* PREAUTH"), has("* BYE"):
		return "IMAP", "imap"
	case has("+OK"), has("-ERR") && (port == 110 || port == 995):
		return "POP3", "pop3"
	case has("-ERR"), has("-NOAUTH"):
		return "Redis", ""
	case has("220"), has("421"), has("554"), has("500"):
		switch {
		case port == 21 || port == 990 || bytes.Contains(upper, []byte("FTP")) && !bytes.Contains(upper, []byte("SMTP")):
			return "FTP", "ftp"
		case bytes.Contains(upper, []byte("LMTP")) || port == 24:
			return "LMTP", "lmtp"
		}
		return "SMTP", "smtp"
	case has("200 "), has("201 "):
		return "NNTP", "nntp"
	case has("<?xml"), has("<stream"):
		if port == 5269 || bytes.Contains(b, []byte("jabber:server")) {
			return "XMPP", "xmpp-server"
		}
		return "XMPP", "xmpp"
	case has("\"IMPLEMENTATION\""), has("BYE \""):
		return "ManageSieve", "sieve"
	case has("RFB "):
		return "VNC", ""
	case len(b) > 4 && b[3] == 0 && (b[4] == 10 || b[4] == 0xff):
		// MySQL: three bytes of length, sequence number 0, protocol version 10 (or an error packet).
		return "MySQL", "mysql"
	case len(b) > 0 && b[0] == 'E' && bytes.Contains(b, []byte("SFATAL")), has("N") && len(b) == 1:
		return "PostgreSQL", "postgres"
	case len(b) > 4 && b[0] == 0x30 && bytes.Contains(b, []byte{0x02, 0x01}):
		return "LDAP", "ldap"
	case has(":") && bytes.Contains(upper, []byte("NOTICE")), has("NOTICE "), has("ERROR :"):
		return "IRC", "irc"
	case len(b) > 1 && b[0] == 0xff && b[1] >= 0xfb:
		return "Telnet", "telnet"
	case has("AMQP"):
		return "AMQP", ""
	}
	return "", ""
}
