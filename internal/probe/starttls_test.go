package probe

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// smtpServer starts a mail server that answers STARTTLS with reply.
func smtpServer(t *testing.T, reply string, heard chan<- string) *target.Target {
	t.Helper()
	s := tlsfarm.SMTP(reply, &tls.Config{Certificates: []tls.Certificate{root.Issue("mail")}, NextProtos: []string{"smtp"}}, heard)
	t.Cleanup(s.Close)
	tt := newTarget(t, fmt.Sprintf("localhost:%d", s.Port()))
	tt.StartTLS = "smtp"
	return tt
}

func TestSTARTTLS(t *testing.T) {
	heard := make(chan string, 1)
	tt := smtpServer(t, "220 go ahead\r\n", heard)
	tt.TLS.NextProtos = []string{"smtp"}
	o := probeOnce(t, tt)
	require.Nil(t, o.Failure)
	assert.Equal(t, "smtp", o.Handshake.State.NegotiatedProtocol, "with ALPN as well")
	assert.Equal(t, "mail", o.Handshake.Leaf().Subject.CommonName)
	require.NotNil(t, o.StartTLS)
	assert.False(t, o.StartTLS.Start.Before(o.Dials[len(o.Dials)-1].End))
	assert.False(t, o.Handshake.Start.Before(o.StartTLS.End))
	assert.Equal(t, "QUIT\r\n", <-heard, "it says goodbye before it closes the connection")
}

func TestSTARTTLSThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		target *target.Target
		typ    failure.Type
		cause  string
		fix    string
	}{
		"timeout": {
			smtpServer(t, "220-", nil), failure.StartTLSTimeout, "did not start TLS within 500ms", "greeting",
		},
		"rejected": {
			smtpServer(t, "454 TLS not available\r\n", nil), failure.StartTLSRejected,
			`speaks smtp but refused to start TLS. Expected 220 in reply to STARTTLS, got "454 TLS not available".`, "server's log",
		},
		"injection": {
			smtpServer(t, "220 go ahead\r\n250 injected\r\n", nil), failure.StartTLSProtocolError, "plain text follows the go-ahead", "attack",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.target.Timeout = 500 * time.Millisecond
			o := probeOnce(t, c.target)
			require.NotNil(t, o.Failure)
			assert.Equal(t, c.typ, o.Failure.Type, o.Failure.Message)
			assert.Equal(t, failure.StartTLS, o.Failure.Step)
			assert.Equal(t, "starttls", o.Failure.Category)
			assert.Same(t, o.Failure, o.StartTLS.Failure)
			assert.Nil(t, o.Handshake)
			assert.Contains(t, o.Failure.Cause, c.cause)
			assert.Contains(t, o.Failure.Fix, c.fix)
		})
	}

	// No STARTTLS at all.
	s := tlsfarm.Serve(func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "EHLO") {
				_, _ = io.WriteString(conn, "250 mail.example\r\n")
			} else {
				_, _ = io.WriteString(conn, "502 not implemented\r\n")
			}
		}
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.StartTLS = "smtp"
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.StartTLSUnsupported, o.Failure.Type)
	assert.Contains(t, o.Failure.Cause, `does not offer TLS. Expected 220 in reply to STARTTLS, got "502 not implemented".`)

	// A server that expects TLS from the first byte: each side waits for the other.
	tt = serve(t, healthy())
	tt.StartTLS, tt.Timeout = "smtp", 300*time.Millisecond
	o = probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.StartTLSTimeout, o.Failure.Type)
	assert.Contains(t, o.Failure.Cause, ", got nothing.")
}

func TestExplanationUsesSTARTTLS(t *testing.T) {
	s := tlsfarm.SMTP("220 go ahead\r\n", &tls.Config{
		Certificates: []tls.Certificate{root.Issue("mail")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
	}, nil)
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.StartTLS, tt.Explain = "smtp", target.ExplainOnChange
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Contains(t, o.Failure.Cause, "speaks only TLS 1.0")
}

func TestWrongSTARTTLSProtocol(t *testing.T) {
	tt := smtpServer(t, "220 go ahead\r\n", nil)
	tt.StartTLS = "imap"
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.StartTLSProtocolError, o.Failure.Type)
	assert.Contains(t, o.Failure.Cause, `does not speak imap correctly. Expected the IMAP greeting "* OK", got "220 mail.example ESMTP"`)
	assert.Contains(t, o.Failure.Fix, "Set starttls: smtp on this target.")
}

// Injected bytes that arrive after the STARTTLS dialogue are found by the handshake.
func TestLateInjection(t *testing.T) {
	s := tlsfarm.Serve(func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
		in := bufio.NewReader(conn)
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(conn, "250 STARTTLS\r\n")
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(conn, "220 go ahead\r\n")
		_, _ = in.Peek(1) // the ClientHello
		_, _ = io.WriteString(conn, "250 injected\r\n")
		_, _ = io.Copy(io.Discard, in)
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.StartTLS = "smtp"
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.StartTLSProtocolError, o.Failure.Type)
	assert.Equal(t, failure.StartTLS, o.Failure.Step)
	assert.Contains(t, o.Failure.Cause, `Expected TLS, got "250 injected".`)
}
