package handshake

import (
	"crypto/tls"
	"slices"
	"strings"
)

// VersionName returns the number of a TLS version, such as 1.3, or a hexadecimal number if crypto/tls does not know the
// version.
func VersionName(v uint16) string { return strings.TrimPrefix(tls.VersionName(v), "TLS ") }

// suite is a cipher suite's name and the strength of its cipher in bits.
type suite struct {
	name string
	bits int
}

// suites holds the cipher suites of crypto/tls by number. tls.CipherSuiteName builds a list of them for each call.
var suites = func() map[uint16]suite {
	all := make(map[uint16]suite)
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		all[s.ID] = suite{s.Name, cipherBits(s.Name)}
	}
	return all
}()

func cipherBits(name string) int {
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

// SuiteName returns the IANA name of a cipher suite, or its number in hexadecimal if crypto/tls does not know the suite.
func SuiteName(id uint16) string {
	if s, ok := suites[id]; ok {
		return s.name
	}
	return tls.CipherSuiteName(id)
}

// SuiteBits returns the strength of a suite's cipher in bits, as OpenSSL counts it, or 0 if crypto/tls does not know the
// suite.
func SuiteBits(id uint16) int { return suites[id].bits }

// GroupName returns a group's name in IANA's registry of TLS supported groups. It is empty for 0, which means that no
// group was used.
func GroupName(id tls.CurveID) string {
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
	return id.String() // for the hybrid groups Go uses the names of the registry
}
