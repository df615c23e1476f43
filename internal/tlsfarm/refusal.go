package tlsfarm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
)

// Refusing starts a server of one TLS version, 1.2 or 1.3, that asks for a client certificate. Whether it gets one or not,
// it sends this alert, or none if alert is 0, and closes the connection. As crypto/tls chooses its alerts itself, this one
// bypasses it: in TLS 1.2 it is plain text, as the server does not encrypt yet, and in TLS 1.3 it is encrypted with the
// server's first application key.
func Refusing(certificate tls.Certificate, acceptable *x509.CertPool, version uint16, alert uint8) *Server {
	return Serve(func(conn net.Conn) {
		var secrets bytes.Buffer
		config := &tls.Config{
			Certificates: []tls.Certificate{certificate}, MinVersion: version, MaxVersion: version,
			ClientAuth: tls.RequestClientCert, ClientCAs: acceptable, SessionTicketsDisabled: true,
			KeyLogWriter: &secrets,
		}
		// It is called after the client's certificate, or an empty message instead, has arrived.
		config.VerifyConnection = func(tls.ConnectionState) error {
			record := []byte{21, 3, 3, 0, 2, 2, alert}
			if version == tls.VersionTLS13 {
				record = sealAlert(secrets.String(), alert)
			}
			if alert != 0 {
				_, _ = conn.Write(record)
			}
			drain(conn)
			return errors.New("refused")
		}
		_ = tls.Server(conn, config).Handshake()
	})
}

// sealAlert returns an alert as the first record that a TLS 1.3 server sends with its application key (RFC 8446, section
// 5.2). The cipher suite must be TLS_AES_128_GCM_SHA256, which crypto/tls selects if client and server have AES hardware.
func sealAlert(keyLog string, alert uint8) []byte {
	var random, secretHex string
	line := keyLog[bytes.Index([]byte(keyLog), []byte("SERVER_TRAFFIC_SECRET_0")):]
	_, err := fmt.Sscanf(line, "SERVER_TRAFFIC_SECRET_0 %s %s", &random, &secretHex)
	must(err)
	secret, err := hex.DecodeString(secretHex)
	must(err)
	if len(secret) != sha256.Size {
		panic("tlsfarm: the cipher suite does not use SHA-256")
	}
	block, err := aes.NewCipher(expandLabel(secret, "key", 16))
	must(err)
	aead, err := cipher.NewGCM(block)
	must(err)
	inner := []byte{2, alert, 21} // level, description, content type
	header := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+aead.Overhead()))
	// The sequence number is 0, so the nonce is the IV.
	return append(header, aead.Seal(nil, expandLabel(secret, "iv", 12), inner, header)...)
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
func expandLabel(secret []byte, label string, length int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(length), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), length)
	must(err)
	return out
}
