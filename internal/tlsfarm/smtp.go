package tlsfarm

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
)

// SMTP starts a mail server that offers STARTTLS and answers that command with reply. If reply has code 220, a handshake
// follows, and what the client sends after that goes to heard, which may be nil.
func SMTP(reply string, config *tls.Config, heard chan<- string) *Server {
	return Serve(func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch {
			case strings.HasPrefix(line, "EHLO"):
				_, _ = io.WriteString(conn, "250-mail.example\r\n250 STARTTLS\r\n")
			case strings.HasPrefix(line, "STARTTLS"):
				_, _ = io.WriteString(conn, reply)
				if !strings.HasPrefix(reply, "220 ") {
					continue
				}
				server := tls.Server(conn, config)
				if server.Handshake() != nil {
					return
				}
				words, _ := io.ReadAll(server)
				if heard != nil {
					heard <- string(words)
				}
				return
			}
		}
	})
}
