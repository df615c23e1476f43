package tlsfarm

import (
	"net"

	"golang.org/x/crypto/cryptobyte"
)

// ServerHello starts a server that answers only with this ServerHello, which may be one that crypto/tls never sends. The
// version is that in the message; TLS 1.3 is selected in the extension supported_versions (RFC 8446, section 4.2.1).
func ServerHello(version, suite uint16, extensions map[uint16][]byte) *Server {
	return Serve(func(conn net.Conn) {
		hello := make([]byte, 4096)
		if n, _ := conn.Read(hello); n < 44 {
			return
		}
		var session []byte
		if extensions[43] != nil {
			session = hello[44 : 44+hello[43]] // after both headers, version and random; TLS 1.3 echoes it
		}
		var b cryptobyte.Builder
		b.AddUint8(22) // handshake
		b.AddUint16(0x0303)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint8(2) // ServerHello
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint16(version)
				b.AddBytes(make([]byte, 32)) // random
				b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(session) })
				b.AddUint16(suite)
				b.AddUint8(0) // compression
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
					for id, body := range extensions {
						b.AddUint16(id)
						b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(body) })
					}
				})
			})
		})
		_, _ = conn.Write(b.BytesOrPanic())
		drain(conn)
	})
}
