package record

import (
	"crypto/tls"
	"slices"
	"strings"
)

// version returns a TLS version as the attribute tls.protocol.version has it: 1.3.
func version(v uint16) string {
	return strings.TrimPrefix(tls.VersionName(v), "TLS ")
}

// suite is a cipher suite's IANA name and the strength of its cipher in bits as OpenSSL counts it, 0 where the name does
// not tell.
type suite struct {
	name string
	bits int64
}

// suites are those of crypto/tls, which would make a list of all for each question.
var suites = func() map[uint16]suite {
	all := make(map[uint16]suite)
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		all[s.ID] = suite{s.Name, bitsOf(s.Name)}
	}
	return all
}()

func bitsOf(name string) int64 {
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

func suiteOf(id uint16) suite {
	if s, ok := suites[id]; ok {
		return s
	}
	return suite{name: tls.CipherSuiteName(id)}
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
