package clienthello

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// This file has IANA's registries of TLS parameters: names by number.

//go:embed suites.txt
var suiteLines string // a number in hexadecimal and a name on each line

var suites = func() map[uint16]string {
	all := make(map[uint16]string)
	for line := range strings.Lines(suiteLines) {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		id, err := strconv.ParseUint(number, 16, 16)
		if err != nil {
			panic(err)
		}
		all[uint16(id)] = name
	}
	return all
}()

var groups = map[uint16]string{
	1: "sect163k1", 2: "sect163r1", 3: "sect163r2", 4: "sect193r1", 5: "sect193r2", 6: "sect233k1", 7: "sect233r1",
	8: "sect239k1", 9: "sect283k1", 10: "sect283r1", 11: "sect409k1", 12: "sect409r1", 13: "sect571k1", 14: "sect571r1",
	15: "secp160k1", 16: "secp160r1", 17: "secp160r2", 18: "secp192k1", 19: "secp192r1", 20: "secp224k1", 21: "secp224r1",
	22: "secp256k1", 23: "secp256r1", 24: "secp384r1", 25: "secp521r1",
	26: "brainpoolP256r1", 27: "brainpoolP384r1", 28: "brainpoolP512r1", 29: "x25519", 30: "x448",
	31: "brainpoolP256r1tls13", 32: "brainpoolP384r1tls13", 33: "brainpoolP512r1tls13",
	34: "GC256A", 35: "GC256B", 36: "GC256C", 37: "GC256D", 38: "GC512A", 39: "GC512B", 40: "GC512C", 41: "curveSM2",
	256: "ffdhe2048", 257: "ffdhe3072", 258: "ffdhe4096", 259: "ffdhe6144", 260: "ffdhe8192",
	512: "MLKEM512", 513: "MLKEM768", 514: "MLKEM1024",
	4587: "SecP256r1MLKEM768", groupX25519MLKEM768: "X25519MLKEM768", 4589: "SecP384r1MLKEM1024", 4590: "curveSM2MLKEM768",
	25497: "X25519Kyber768Draft00",
}

var schemes = map[uint16]string{
	// Before TLS 1.3, a scheme was a hash and a kind of signature (RFC 5246, section 7.4.1.4.1).
	0x0101: "rsa_pkcs1_md5", 0x0102: "dsa_md5", 0x0103: "ecdsa_md5",
	0x0201: "rsa_pkcs1_sha1", 0x0202: "dsa_sha1", 0x0203: "ecdsa_sha1",
	0x0301: "rsa_pkcs1_sha224", 0x0302: "dsa_sha224", 0x0303: "ecdsa_sha224",
	0x0401: "rsa_pkcs1_sha256", 0x0402: "dsa_sha256", 0x0403: "ecdsa_secp256r1_sha256",
	0x0501: "rsa_pkcs1_sha384", 0x0502: "dsa_sha384", 0x0503: "ecdsa_secp384r1_sha384",
	0x0601: "rsa_pkcs1_sha512", 0x0602: "dsa_sha512", 0x0603: "ecdsa_secp521r1_sha512",
	0x0704: "eccsi_sha256", 0x0705: "iso_ibs1", 0x0706: "iso_ibs2", 0x0707: "iso_chinese_ibs", 0x0708: "sm2sig_sm3",
	0x0709: "gostr34102012_256a", 0x070a: "gostr34102012_256b", 0x070b: "gostr34102012_256c", 0x070c: "gostr34102012_256d",
	0x070d: "gostr34102012_512a", 0x070e: "gostr34102012_512b", 0x070f: "gostr34102012_512c",
	0x0804: "rsa_pss_rsae_sha256", 0x0805: "rsa_pss_rsae_sha384", 0x0806: "rsa_pss_rsae_sha512",
	0x0807: "ed25519", 0x0808: "ed448",
	0x0809: "rsa_pss_pss_sha256", 0x080a: "rsa_pss_pss_sha384", 0x080b: "rsa_pss_pss_sha512",
	0x081a: "ecdsa_brainpoolP256r1tls13_sha256", 0x081b: "ecdsa_brainpoolP384r1tls13_sha384", 0x081c: "ecdsa_brainpoolP512r1tls13_sha512",
	0x0904: "mldsa44", 0x0905: "mldsa65", 0x0906: "mldsa87",
}

// Suites returns the cipher suites that were ever registered, without those that only signal something. The better ones are
// first, so that a server that follows the client's order chooses the best that it has.
func Suites() []uint16 {
	return slices.SortedFunc(maps.Keys(suites), func(a, b uint16) int {
		return cmp.Or(cmp.Compare(rank(suites[a]), rank(suites[b])), cmp.Compare(a, b))
	})
}

func rank(suite string) int {
	for i, kind := range [][]string{
		{"anon", "PSK", "SRP", "KRB5", "ECCPWD"}, // without a certificate
		{"NULL", "EXPORT", "RC4", "RC2", "DES", "MD5"},
		{"CBC", "GOST"},
	} {
		if slices.ContainsFunc(kind, func(k string) bool { return strings.Contains(suite, k) }) {
			return 3 - i
		}
	}
	return 0
}

// Groups returns the key exchange groups that were ever registered.
func Groups() []uint16 { return slices.Sorted(maps.Keys(groups)) }

// Schemes returns the signature schemes that were ever registered.
func Schemes() []uint16 { return slices.Sorted(maps.Keys(schemes)) }

// SuiteName returns the name of a suite in IANA's registry, or its number in hexadecimal if it has none.
func SuiteName(id uint16) string { return name(suites, id) }

// GroupName returns the name of a group in IANA's registry, or its number in hexadecimal if it has none.
func GroupName(id uint16) string { return name(groups, id) }

// SchemeName returns the name of a signature scheme in IANA's registry, or its number in hexadecimal if it has none.
func SchemeName(id uint16) string { return name(schemes, id) }

func name(names map[uint16]string, id uint16) string {
	if n, ok := names[id]; ok {
		return n
	}
	return fmt.Sprintf("0x%04X", id)
}
