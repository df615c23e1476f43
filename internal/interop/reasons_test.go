//go:build interop

package interop

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// TestReasons has servers choose what was not offered, and checks that the reason is the one that s_client prints.
func TestReasons(t *testing.T) {
	const gcm, p256, x25519 = 0xc02f, 23, 29
	for name, c := range map[string]struct {
		server *tlsfarm.Server
		typ    failure.Type
	}{
		"suite": {tlsfarm.ServerHello(0x0303, 0x009e, nil), failure.CipherMismatch},
		"suite in TLS 1.3": {
			tlsfarm.ServerHello(0x0303, 0x1304, map[uint16][]byte{43: {3, 4}, 51: append([]byte{0, p256, 0, 65}, point(t)...)}), failure.CipherMismatch,
		},
		"group":            {signed(t, gcm, x25519, 0x0804), failure.GroupMismatch},
		"group in TLS 1.3": {tlsfarm.ServerHello(0x0303, 0x1301, map[uint16][]byte{43: {3, 4}, 51: append([]byte{0, x25519, 0, 32}, make([]byte, 32)...)}), failure.GroupMismatch},
		"SHA-1":            {signed(t, gcm, p256, 0x0201), failure.SignatureMismatch},
		"Ed448":            {signed(t, gcm, p256, 0x0808), failure.SignatureMismatch},
		"ML-DSA":           {signed(t, gcm, p256, 0x0905), failure.SignatureMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(c.server.Close)
			f := probeAs(t, c.server.Endpoint(), "{explain: {when: never}, tls: {curve_preferences: [P256]}}")
			require.NotNil(t, f)
			assert.Equal(t, c.typ, f.Type)
			out, _ := openssl("s_client", "-connect", c.server.Endpoint(), "-groups", "P-256", "-cipher", "ECDHE+AESGCM").CombinedOutput()
			reason := regexp.MustCompile(`:error:[0-9A-F]+:SSL routines:[^:]*:([^:]+):`).FindSubmatch(out)
			require.NotNil(t, reason, "%s", out)
			assert.Equal(t, strings.ReplaceAll(strings.ToUpper(string(reason[1])), " ", "_"), f.SSLReason)
		})
	}
}

// point returns a public key on P-256.
func point(t *testing.T) []byte {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key.PublicKey().Bytes()
}

// signed starts a TLS 1.2 server that sends its certificate, and a key on P-256 that it says is of this group and signed in
// this way.
func signed(t *testing.T, suite, group, scheme uint16) *tlsfarm.Server {
	var b cryptobyte.Builder
	message := func(typ uint8, body func(b *cryptobyte.Builder)) {
		b.AddUint8(22) // handshake
		b.AddUint16(0x0303)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint8(typ)
			b.AddUint24LengthPrefixed(body)
		})
	}
	message(2, func(b *cryptobyte.Builder) { // ServerHello
		b.AddUint16(0x0303)
		b.AddBytes(make([]byte, 32)) // random
		b.AddUint8(0)                // no session
		b.AddUint16(suite)
		b.AddUint8(0)                                 // no compression
		b.AddBytes([]byte{0, 5, 0xff, 0x01, 0, 1, 0}) // renegotiation_info, without which OpenSSL refuses
	})
	chain, err := os.ReadFile(filepath.Join(pki, "rsa.pem"))
	require.NoError(t, err)
	message(11, func(b *cryptobyte.Builder) { // Certificate
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
				b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(block.Bytes) })
			}
		})
	})
	message(12, func(b *cryptobyte.Builder) { // ServerKeyExchange
		b.AddUint8(3) // a named group
		b.AddUint16(group)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(point(t)) })
		b.AddUint16(scheme)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, 256)) })
	})
	message(14, func(*cryptobyte.Builder) {}) // ServerHelloDone
	flight := b.BytesOrPanic()
	return tlsfarm.Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1<<14))
		_, _ = conn.Write(flight)
		_, _ = conn.Read(make([]byte, 1<<14)) // the alert
	})
}
