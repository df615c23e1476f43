package failure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// FromCryptoTLS returns err as an *AlertError if it is an alert that crypto/tls sent or received over a net.Conn, and
// unchanged otherwise. crypto/tls keeps such an alert in an unexported type, so errors.As does not find a
// tls.AlertError (golang.org/issue/35234). The alert can only be recognized by the kind of that type.
func FromCryptoTLS(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" && op.Op != "local error" {
		return err
	}
	number := reflect.ValueOf(op.Err)
	if number.Kind() != reflect.Uint8 {
		return err
	}
	return &AlertError{Number: uint8(number.Uint()), Local: op.Op == "local error", Err: err}
}

// metPlaintext reports whether crypto/tls found that the server's first record is not TLS.
func metPlaintext(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header) && header.Conn != nil
}

// refusedByCryptoTLS reports whether crypto/tls, or crypto/x509 for it, could not accept what the server sent.
func refusedByCryptoTLS(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header) || strings.HasPrefix(err.Error(), "tls: ") || strings.HasPrefix(err.Error(), "x509: ")
}

// meaning is what an error of crypto/tls means.
type meaning struct {
	text      string // its prefix
	typ       Type
	sslReason string // OpenSSL's for the same answer of a server; empty if it is that of the type
}

// words are the crypto/tls errors that have no type of their own, but mean something other than a malformed handshake.
// TestWords fails if Go rewords one.
var words = []meaning{
	{"tls: server selected unsupported protocol version", ProtocolMismatch, ""},
	{"tls: no supported versions satisfy MinVersion and MaxVersion", ProtocolMismatch, ""},
	{"tls: server chose an unconfigured cipher suite", CipherMismatch, "WRONG_CIPHER_RETURNED"},
	{"tls: server selected unsupported group", GroupMismatch, "BAD_KEY_SHARE"},
	{"tls: server selected unsupported curve", GroupMismatch, "WRONG_CURVE"},
	{"tls: server selected unoffered curve", GroupMismatch, "WRONG_CURVE"},
	{"tls: certificate used with invalid signature algorithm", SignatureMismatch, "WRONG_SIGNATURE_TYPE"},
	{"tls: server selected unadvertised ALPN protocol", ALPNMismatch, ""},
	{"tls: failed to parse certificate from server", Type(certs.Malformed), ""},
	{"tls: server sent certificate containing RSA key larger than", Type(certs.Malformed), ""},
	{"tls: server's certificate contains an unsupported type of public key", SignatureMismatch, ""},
	{"tls: peer doesn't support any of the certificate's signature algorithms", UnsupportedCertificate, ""},
}

// findWords returns the meaning of an error of crypto/tls, if its words are known. err may be nil.
func findWords(err error) (m meaning, ok bool) {
	if err == nil {
		return m, false
	}
	text := err.Error()
	for _, w := range words {
		if strings.HasPrefix(text, w.text) {
			return w, true
		}
	}
	return m, false
}

func typeFromWords(err error) (t Type, ok bool) {
	m, ok := findWords(err)
	return m.typ, ok
}

// ownKeyRefused reports whether crypto/tls did not sign the handshake with our own key. The reasons are that its kind of key
// has no signatures in this version of TLS, that crypto/rsa considers it too short, or an error of what holds the key.
func ownKeyRefused(e *Evidence) bool {
	if !e.sentClientCert() || insecureKey(e) {
		return false
	}
	text := e.Err.Error()
	return strings.HasPrefix(text, "tls: failed to sign handshake: ") || strings.HasPrefix(text, "tls: unsupported certificate curve (") ||
		strings.HasPrefix(text, "tls: certificate RSA key size too small for supported signature algorithms") ||
		strings.HasPrefix(text, "crypto/rsa: ") && strings.Contains(text, "-bit keys are insecure")
}

// tooLong returns the length and the limit in the error of crypto/tls about a handshake message that is too long.
func tooLong(message string) (length, limit int, ok bool) {
	n, _ := fmt.Sscanf(message, "tls: handshake message of length %d bytes exceeds maximum of %d bytes", &length, &limit)
	return length, limit, n == 2
}

// certificateLimit is the limit of crypto/tls for the message with the server's certificates. All others have a lower one.
const certificateLimit = 262144

// insecureKey reports whether crypto/rsa refused the server's key because it is too short. It could also refuse our own.
func insecureKey(e *Evidence) bool {
	if e.Verdict == nil || !strings.Contains(e.Err.Error(), "-bit keys are insecure") {
		return false
	}
	leaf := e.Verdict.Chain[0]
	return leaf.PublicKeyAlgorithm == x509.RSA && certs.KeySize(leaf) < 1024
}
