package record

import (
	"crypto/tls"
	"strings"
)

// version returns a TLS version as the attribute tls.protocol.version has it: 1.3.
func version(v uint16) string {
	return strings.TrimPrefix(tls.VersionName(v), "TLS ")
}

// cipher returns a suite's IANA name.
func cipher(id uint16) string { return tls.CipherSuiteName(id) }

// cipherBits returns the strength of a suite's cipher as OpenSSL counts it, 0 where its name does not tell.
func cipherBits(id uint16) int64 {
	name := cipher(id)
	switch {
	case strings.Contains(name, "AES_256"), strings.Contains(name, "CHACHA20"):
		return 256
	case strings.Contains(name, "AES_128"), strings.Contains(name, "RC4_128"):
		return 128
	case strings.Contains(name, "3DES"):
		return 112
	}
	return 0
}

// curve returns a group's name in IANA's registry of TLS supported groups. It is empty for 0: no group was used.
func curve(id tls.CurveID) string {
	switch id {
	case 0:
		return ""
	case tls.CurveP256:
		return "secp256r1"
	case tls.CurveP384:
		return "secp384r1"
	case tls.CurveP521:
		return "secp521r1"
	case tls.X25519:
		return "x25519"
	}
	return id.String() // the hybrid ones are named alike in Go
}
