package failure

import (
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"syscall"
)

// FromCryptoTLS returns err with the alert that crypto/tls reports in it, over a net.Conn, as an *AlertError, and any other
// error as it is. crypto/tls has its alerts in an unexported type there, so that errors.As does not find a
// tls.AlertError (golang.org/issue/35234): its kind is what there is to go by.
func FromCryptoTLS(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" && op.Op != "local error" {
		return err
	}
	alert := reflect.ValueOf(op.Err)
	if alert.Kind() != reflect.Uint8 {
		return err
	}
	return &AlertError{Number: uint8(alert.Uint()), Local: op.Op == "local error", Err: err}
}

// words are the beginnings of those errors of crypto/tls that have no type of their own and yet mean something other
// than a malformed handshake. TestWords fails when Go rewords one.
var words = []struct {
	text string
	step Step
	typ  Type
}{
	{"tls: server selected unsupported protocol version", Handshake, ProtocolMismatch},
	{"tls: no supported versions satisfy MinVersion and MaxVersion", Handshake, ProtocolMismatch},
	{"tls: server chose an unconfigured cipher suite", Handshake, CipherMismatch},
	{"tls: server selected unsupported group", Handshake, CipherMismatch},
	{"tls: server selected unsupported curve", Handshake, CipherMismatch},
	{"tls: server selected unadvertised ALPN protocol", Handshake, ALPNMismatch},
	{"tls: failed to parse certificate from server", Verify, "malformed_certificate"},
	{"tls: server sent certificate containing RSA key larger than", Verify, "malformed_certificate"},
	{"tls: server's certificate contains an unsupported type of public key", Verify, "malformed_certificate"},
	{"tls: peer doesn't support any of the certificate's signature algorithms", ClientAuth, UnsupportedCertificate},
}

func fromWords(err error) (Step, Type, bool) {
	text := err.Error()
	for _, w := range words {
		if strings.HasPrefix(text, w.text) {
			return w.step, w.typ, true
		}
	}
	return "", "", false
}

// saidByTLS tells that crypto/tls itself refused what the server sent.
func saidByTLS(err error) bool {
	return strings.HasPrefix(err.Error(), "tls: ") || strings.HasPrefix(err.Error(), "x509: ")
}

// disconnected tells that the connection ended before its time.
func disconnected(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, net.ErrClosed)
}

// IsRefusal tells whether an error after the handshake is the server's refusal of our certificate, rather than an
// orderly end of the connection.
func IsRefusal(err error) bool {
	_, alert := alertOf(err)
	return alert || disconnected(err) && !errors.Is(err, io.EOF)
}
