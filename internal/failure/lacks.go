package failure

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
)

// This file says what a server chose that the failed handshake did not offer, and what to change on the server.

// lack is something that the server chose and the failed handshake did not offer.
type lack struct {
	typ         Type
	offered     string // what was offered instead: "cipher suites"
	every       string // what was offered next, after "every"
	chose       string // what the server chose then, in a sentence
	unsupported string // the same after "does not support"
	fix         string // empty if that of another lack is enough
}

func fixes(lacks []lack) string {
	lacks = slices.DeleteFunc(slices.Clone(lacks), func(l lack) bool { return l.fix == "" })
	return join(lacks, func(l lack) string { return l.fix }, " ")
}

// lacks returns what the failed handshake lacked. If nothing is missing in what can be seen of the server's choice, that is
// a signature algorithm.
func (a *Asked) lacks(c *Choice, missing gap) (all []lack) {
	if missing.suite {
		suite := clienthello.SuiteName(c.Suite)
		all = append(all, lack{CipherMismatch, "cipher suites", "suite" + forCertificate(a.CertificateType), suite, suite, a.suiteFix(c)})
	}
	if missing.group {
		all = append(all, a.lackOfGroup(c))
	}
	if missing.signature || missing.none() {
		l := lack{typ: SignatureMismatch, offered: "signature algorithms", every: "algorithm"}
		l.chose, l.unsupported, l.fix = a.signature(c)
		if missing.suite && strings.Contains(all[0].fix, "RSA certificate") {
			l.fix = "" // it is for the key too
		}
		all = append(all, l)
	}
	return all
}

// lackOfGroup returns the lack of a group, of the curve of the server's key, or of both.
func (a *Asked) lackOfGroup(c *Choice) lack {
	l := lack{typ: GroupMismatch, offered: "key exchange groups", every: "group"}
	names := make([]string, 0, 2)
	for _, id := range c.groups() {
		names = append(names, clienthello.GroupName(id))
	}
	group, curve := names[0], ""
	l.chose = "the group " + group
	if c.Group == 0 {
		curve = group
		l.chose = "a key on the curve " + curve
	} else if len(names) > 1 && !slices.Contains(a.Offered.Groups, c.groups()[1]) {
		curve = names[1]
		l.chose += " with a key on the curve " + curve
	}
	l.unsupported = group
	if curve != "" && a.CertificateType != "ecdsa" {
		l.fix = "Use a certificate with an RSA key on the server, with a suite such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256."
	}
	if c.Group != 0 && !slices.Contains(a.Offered.Groups, c.Group) {
		l.fix = strings.TrimSpace(l.fix + " " + a.groupFix(c))
	}
	return l
}

// groupFix says which of the offered groups to enable on a server.
func (a *Asked) groupFix(c *Choice) string {
	var names []string
	for id, name := range map[uint16]string{29: "X25519", 23: "P-256"} {
		if slices.Contains(a.Offered.Groups, id) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(a.Offered.Groups) > 0 {
		names = []string{clienthello.GroupName(a.Offered.Groups[0])}
		if c.Version < tls.VersionTLS13 && strings.Contains(names[0], "MLKEM") { // such groups are only for TLS 1.3
			return fmt.Sprintf("Enable TLS 1.3 with the group %s on the server.", names[0])
		}
	}
	slices.Sort(names)
	slices.Reverse(names) // X25519 is the better one
	return fmt.Sprintf("Enable the group %s on the server.", strings.Join(names, " or "))
}

// withoutCertificate says what a suite has in place of a certificate. It is empty for most.
func withoutCertificate(suite string) string {
	switch {
	case strings.Contains(suite, "_anon_"):
		return "without a certificate (anonymous)"
	case strings.Contains(suite, "PSK") && !strings.Contains(suite, "RSA_PSK"):
		return "with a pre-shared key"
	case strings.HasPrefix(suite, "TLS_SRP_SHA_WITH"), strings.HasPrefix(suite, "TLS_ECCPWD"):
		return "with a password"
	case strings.HasPrefix(suite, "TLS_KRB5"):
		return "with Kerberos"
	}
	return ""
}

// enableSuite says to enable a suite for this kind of key. The E at the start is left to the caller.
func (a *Asked) enableSuite(key string) string {
	if a.Offered.MaxVersion < tls.VersionTLS12 { // which has no suites with AES-GCM
		return fmt.Sprintf("nable TLS_ECDHE_%s_WITH_AES_128_CBC_SHA on the server.", key)
	}
	return fmt.Sprintf("nable an ECDHE suite with AES-GCM or ChaCha20 on the server, such as TLS_ECDHE_%s_WITH_AES_128_GCM_SHA256.", key)
}

// suiteFix says what to enable on a server that supports no suite of the collector's.
func (a *Asked) suiteFix(c *Choice) string {
	suite := clienthello.SuiteName(c.Suite)
	key := "RSA"
	if strings.Contains(suite, "_ECDSA_") {
		key = "ECDSA"
	}
	enable := a.enableSuite(key)
	switch {
	case c.Version == tls.VersionTLS13:
		return "Enable TLS_AES_128_GCM_SHA256 on the server."
	case withoutCertificate(suite) != "":
		return "Configure an RSA certificate on the server if it has none, and e" + enable
	case strings.Contains(suite, "_DSS_"), strings.Contains(suite, "GOST"), strings.Contains(suite, "_ECDH_"):
		return "Use an RSA certificate for signatures, and e" + enable
	case strings.HasPrefix(suite, "TLS_RSA_WITH_"): // the key exchange without a signature
		return "E" + enable + " If it has one, enable the signature algorithm rsa_pss_rsae_sha256."
	}
	return "E" + enable
}

// signature returns how a server signs, in words and as the name of the algorithm, and what to do if the collector cannot
// check that.
func (a *Asked) signature(c *Choice) (what, algorithm, fix string) {
	keys := map[string]string{"": "ECDSA P-256, RSA or Ed25519", "rsa": "RSA", "ecdsa": "ECDSA P-256"}[a.CertificateType]
	key, supported := c.Key, c.Key == "" || c.SupportedKey
	algorithm = clienthello.SchemeName(c.Scheme)
	what, fix = "the signature algorithm "+algorithm, fmt.Sprintf("Use a certificate with an %s key on the server.", keys)
	switch {
	case c.Scheme == 0 && supported && c.Version < tls.VersionTLS13:
		return "a key exchange without a signature", "the signature algorithms that the server allows",
			"Enable the signature algorithms rsa_pss_rsae_sha256 and rsa_pkcs1_sha256 on the server."
	case c.Scheme == 0 && supported:
		return "one that cannot be seen, as it is encrypted", "the algorithm that it chose", fix
	case c.Scheme == 0:
		return "a key of the kind " + key, key, fix
	case key == "RSA-PSS":
		fix = "On the server, use a certificate with an ordinary RSA key (rsaEncryption), which can make RSA-PSS signatures too"
		if a.CertificateType == "" {
			fix += ", or with an ECDSA P-256 key"
		}
		return what + ", as its key is for RSASSA-PSS only", algorithm, fix + "."
	case !supported:
		return what + " with a key of the kind " + key, algorithm + " with such a key", fix
	case strings.HasPrefix(algorithm, "rsa_"):
		fix = "Enable the signature algorithms rsa_pss_rsae_sha256 and rsa_pkcs1_sha256 on the server."
	case strings.HasPrefix(algorithm, "ecdsa_sha"):
		fix = "Enable the signature algorithm ecdsa_secp256r1_sha256 on the server."
	}
	return what, algorithm, fix
}

// impossible returns what the collector lacks of a server's choice, whatever its settings.
func (a *Asked) impossible(c *Choice) []lack { return a.lacks(c, missingIn(&a.Possible, c)) }

// unsupported says that no settings help.
func (a *Asked) unsupported(lacks []lack) string {
	collector := "The collector"
	if a.CertificateType != "" {
		collector = "With certificate_types, the collector"
	}
	what := join(lacks, func(l lack) string { return l.unsupported }, " or ")
	return fmt.Sprintf("%s does not support %s, other clients may.", collector, what)
}
