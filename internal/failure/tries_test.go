package failure

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
)

// asked is what a collector with its default settings offers, and could offer.
func asked() *Asked {
	offered := clienthello.Offer{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ServerName: "api.example",
		Suites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, Groups: []uint16{29, 23}, Schemes: []uint16{0x0804},
	}
	possible := offered
	possible.MinVersion = tls.VersionTLS10
	possible.Suites = append(slices.Clone(offered.Suites), tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA)
	possible.Groups = append(slices.Clone(offered.Groups), 25)
	return &Asked{Offered: offered, Possible: possible}
}

// rules say how a server chooses. It prefers what is first, whatever the client prefers.
type rules struct {
	versions, suites, groups []uint16
	scheme                   uint16 // 0 if it is not seen
	needs                    uint16 // the scheme that a client must offer; 0 if any
	key                      string // the kind of its key, which crypto/tls does not support; may be empty
	curve                    uint16 // of its key, P-256, P-384 or P-521; 0 if it has another key
	retries                  bool   // sends a HelloRetryRequest before it looks at the schemes
	without13                bool   // refuses clients that offer TLS 1.3
	name                     string // the only one that it refuses
	alerts                   string // of each connection in turn, if it refuses anything; separated by spaces
	pool                     string // of each connection in turn, whether it reaches a server (+) or one that refuses anything (-)
}

func (r *rules) answer(o clienthello.Offer) (*Choice, error) {
	refusal := &AlertError{Number: 40, Err: errors.New("handshake failure")}
	choose := func(mine, theirs []uint16) uint16 {
		for _, v := range mine {
			if slices.Contains(theirs, v) {
				return v
			}
		}
		return 0
	}
	a := &Choice{Scheme: r.scheme, Key: r.key, Retry: r.retries, Group: choose(r.groups, o.Groups)}
	for _, v := range r.versions {
		if v <= o.MaxVersion && v >= o.MinVersion {
			a.Version = v
			break
		}
	}
	a.Suite = choose(slices.DeleteFunc(slices.Clone(r.suites), func(id uint16) bool {
		needsGroup := id>>8 == 0x13 || strings.Contains(clienthello.SuiteName(id), "_ECDHE_")
		return (id>>8 == 0x13) != (a.Version == tls.VersionTLS13) || needsGroup && r.groups != nil && a.Group == 0
	}), o.Suites)
	if name := clienthello.SuiteName(a.Suite); strings.Contains(name, "_RSA_WITH_") && !strings.Contains(name, "_ECDHE_") { // it has no group
		a.Group = 0
	}
	if r.curve != 0 {
		a.Key, a.SupportedKey = map[uint16]string{23: "EC P-256", 24: "EC P-384", 25: "EC P-521"}[r.curve], true
		if a.Version < tls.VersionTLS13 && !slices.Contains(o.Groups, r.curve) {
			return nil, refusal
		}
	}
	if a.Version == 0 || a.Suite == 0 || r.needs != 0 && !slices.Contains(o.Schemes, r.needs) ||
		r.without13 && o.MaxVersion == tls.VersionTLS13 || r.name != "" && o.ServerName == r.name {
		return nil, refusal
	}
	return a, nil
}

// alert returns that of the nth connection.
func (r *rules) alert(t *testing.T, n int) *AlertError {
	all := strings.Fields(r.alerts)
	number, err := strconv.ParseUint(all[n%len(all)], 10, 8)
	require.NoError(t, err)
	return &AlertError{Number: uint8(number), Err: errors.New("refused")}
}

// explained asks the server as a probe does, and returns the failure with what that showed.
func explained(t *testing.T, typ Type, highest uint16, r *rules) (*Failure, []Try) {
	t.Helper()
	a := asked()
	a.Offered.MaxVersion = cmp.Or(highest, tls.VersionTLS13)
	a.Offered.MinVersion = min(a.Offered.MinVersion, a.Offered.MaxVersion)
	var tries []Try
	for {
		next := NextTry(typ, a, tries)
		if next == nil {
			break
		}
		bad, good := false, false
		if r.pool != "" {
			good = r.pool[(len(tries)+1)%len(r.pool)] == '+' // the failed handshake was the first
			bad = !good
		}
		if next.Same && good {
			next.Choice = &Choice{}
		} else if next.Same || bad {
			next.Err = &AlertError{Number: 40, Err: errors.New("handshake failure")}
		} else {
			next.Choice, next.Err = r.answer(next.Offer(a))
		}
		if r.alerts != "" {
			next.Err = r.alert(t, len(tries)+1)
		}
		tries = append(tries, *next)
		require.LessOrEqual(t, len(tries), 4)
	}
	f := &Failure{Type: typ, Reasons: []Type{typ}}
	if r.alerts != "" {
		f.HasAlert, f.Alert = true, r.alert(t, 0).Number
	}
	f.Refine(a, tries, "api.example:4317", "api.example")
	assert.Equal(t, []Type{f.Type}, f.Reasons)
	return f, tries
}

func TestTriesFindTheCause(t *testing.T) {
	const (
		ccm, dhe, rsa, gcm13, gcm = 0x1304, 0x009e, 0x002f, 0x1301, 0xc02f
		x448, p521, x25519        = 30, 25, 29
	)
	both := []uint16{tls.VersionTLS13, tls.VersionTLS12}
	for name, c := range map[string]struct {
		failed     Type
		server     rules
		typ        Type
		cause, fix string
		highest    uint16 // that was offered; TLS 1.3 if it is 0
	}{
		"a suite that it prefers is not the cause": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{ccm, gcm13}, groups: []uint16{x448}},
			CipherMismatch, "it chose TLS_AES_128_CCM_SHA256 and the group x448.", "Enable TLS_AES_128_GCM_SHA256 on the server. Enable the group X25519 or P-256 on the server. The collector does not support TLS_AES_128_CCM_SHA256 or x448, other clients may.", 0,
		},
		"a suite that it prefers to one that could be set": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{dhe, rsa}},
			CipherMismatch, "refuses the offered cipher suites. When every suite that the collector has was offered, it chose TLS_RSA_WITH_AES_128_CBC_SHA.", "set tls cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], include_insecure_cipher_suites: true.", 0,
		},
		"a suite that it prefers, and a group that could be set": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{rsa, gcm}, groups: []uint16{p521}},
			GroupMismatch, "refuses the offered key exchange groups. When every group was offered, it chose the group secp521r1.", "set tls curve_preferences: [P521].", 0,
		},
		"a suite that could be set and that it prefers, and a group": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, gcm}, groups: []uint16{p521}},
			GroupMismatch, "it chose the group secp521r1.", "set tls curve_preferences: [P521].", 0,
		},
		"a group in TLS 1.3, and RSA key exchange in TLS 1.2": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13, rsa}, groups: []uint16{x448}},
			GroupMismatch, "it chose the group x448. When less was offered, it chose TLS_RSA_WITH_AES_128_CBC_SHA in TLS 1.2.", `min_version: "1.2" and max_version: "1.2", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]`, 0,
		},
		"a suite in TLS 1.2, and TLS 1.3, which was not offered": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13, dhe}},
			CipherMismatch, "it chose TLS_DHE_RSA_WITH_AES_128_GCM_SHA256. When TLS 1.3 was offered, it chose TLS_AES_128_GCM_SHA256 in TLS 1.3.",
			`set tls min_version: "1.3" and max_version: "1.3".`, tls.VersionTLS12,
		},
		"signature that is not seen": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, needs: 0x0808},
			SignatureMismatch, "supports none of the offered signature algorithms. When every algorithm was offered, it chose one that cannot be seen, as it is encrypted.",
			"Use a certificate with an ECDSA P-256, RSA or Ed25519 key on the server. The collector does not support the algorithm that it chose, other clients may.", 0,
		},
		"ML-DSA": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, scheme: 0x0905, needs: 0x0905, key: "ML-DSA-65"},
			SignatureMismatch, "supports none of the offered signature algorithms. When every algorithm was offered, it chose the signature algorithm mldsa65 with a key of the kind ML-DSA-65.",
			"Use a certificate with an ECDSA P-256, RSA or Ed25519 key on the server. The collector does not support mldsa65 with such a key, other clients may.", 0,
		},
		"brainpool in TLS 1.3": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{31}},
			GroupMismatch, "When every group was offered, it chose the group brainpoolP256r1tls13.", "Enable the group X25519 or P-256 on the server. The collector does not support brainpoolP256r1tls13, other clients may.", 0,
		},
		"brainpool in TLS 1.3, for the key too": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{33}, scheme: 0x081c, needs: 0x081c, key: "EC brainpoolP512r1"},
			GroupMismatch, "supports no combination of the offered key exchange groups and signature algorithms. When every group and algorithm was offered, it chose the group brainpoolP512r1tls13 and the signature algorithm ecdsa_brainpoolP512r1tls13_sha512 with a key of the kind EC brainpoolP512r1.",
			"Enable the group X25519 or P-256 on the server. Use a certificate with an ECDSA P-256, RSA or Ed25519 key on the server. The collector does not support brainpoolP512r1tls13 or ecdsa_brainpoolP512r1tls13_sha512 with such a key, other clients may.", 0,
		},
		"brainpool in TLS 1.3, for the key": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, scheme: 0x081a, needs: 0x081a, key: "EC brainpoolP256r1"},
			SignatureMismatch, "it chose the signature algorithm ecdsa_brainpoolP256r1tls13_sha256 with a key of the kind EC brainpoolP256r1.", "The collector does not support ecdsa_brainpoolP256r1tls13_sha256 with such a key, other clients may.", 0,
		},
		"a HelloRetryRequest": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, retries: true},
			HandshakeFailure, "answered a ClientHello of another kind with a HelloRetryRequest. What it would do next is not known.", "", 0,
		},
		"a HelloRetryRequest, and a signature": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, retries: true, needs: 0x0808},
			HandshakeFailure, "answered a ClientHello of another kind with a HelloRetryRequest. What it would do next is not known.", "", 0,
		},
		"a HelloRetryRequest, and a group": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{p521}, retries: true},
			GroupMismatch, "it chose the group secp521r1.", "To probe it as it is, set tls curve_preferences: [P521].", 0,
		},
		"a HelloRetryRequest, and a name": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x448}, retries: true, name: "api.example"},
			UnrecognizedName, "refuses the name api.example.", "server_name_override", 0,
		},
		"TLS 1.0 with DHE only": {
			ProtocolMismatch,
			rules{versions: []uint16{tls.VersionTLS10}, suites: []uint16{dhe}},
			ProtocolMismatch, "speaks only TLS 1.0. In TLS 1.0 it chose TLS_DHE_RSA_WITH_AES_128_GCM_SHA256.", "Enable TLS 1.2 or 1.3 on the server. Enable an ECDHE suite with AES-GCM or ChaCha20 on the server, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256. The collector does not support TLS_DHE_RSA_WITH_AES_128_GCM_SHA256, other clients may.", 0,
		},
		"TLS 1.0 with a group": {
			ProtocolMismatch,
			rules{versions: []uint16{tls.VersionTLS10}, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}, groups: []uint16{x448}},
			ProtocolMismatch, "In TLS 1.0 it chose TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA.", "Enable TLS 1.2 or 1.3 on the server. Enable the group X25519 or P-256 on the server. The collector does not support x448, other clients may.", 0,
		},
		"a newer version with a group": {
			ProtocolMismatch,
			rules{versions: []uint16{tls.VersionTLS13}, suites: []uint16{gcm13}, groups: []uint16{x448}},
			ProtocolMismatch, "In TLS 1.3 it chose TLS_AES_128_GCM_SHA256.", `Enable the group X25519 or P-256 on the server. Set tls max_version: "1.3". The collector does not support x448, other clients may.`, tls.VersionTLS12,
		},
		"a suite that could be set, and a group": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}, groups: []uint16{x448}},
			CipherMismatch, "the group x448.", "Enable the group X25519 or P-256 on the server. The collector does not support x448, other clients may.", 0,
		},
		"newer versions than were offered, of which one was not tried": {
			ProtocolMismatch,
			rules{versions: both, suites: []uint16{gcm13, gcm}, groups: []uint16{x25519}},
			ProtocolMismatch, "refuses the offered TLS versions. In TLS 1.3 it chose TLS_AES_128_GCM_SHA256.", `set tls min_version: "1.3" and max_version: "1.3".`, tls.VersionTLS11,
		},
		"a suite in TLS 1.3, and one that was offered in TLS 1.2": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{ccm, gcm}, groups: []uint16{x25519}},
			CipherMismatch, "supports none of the offered cipher suites in TLS 1.3. When every suite was offered, it chose TLS_AES_128_CCM_SHA256. When less was offered, it chose TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 in TLS 1.2.",
			`Enable TLS_AES_128_GCM_SHA256 on the server. To probe it as it is, set tls min_version: "1.2" and max_version: "1.2".`, 0,
		},
		"a newer version, with a suite that it does not prefer": {
			ProtocolMismatch,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{dhe, gcm}, groups: []uint16{x25519}},
			ProtocolMismatch, "In TLS 1.2 it chose TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256.", `set tls min_version: "1.2" and max_version: "1.2".`, tls.VersionTLS11,
		},
		"a group, then two suites of which it prefers the one that cannot be set": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{gcm, dhe, rsa}, groups: []uint16{x448}},
			GroupMismatch, "it chose the group x448.", "set tls cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], include_insecure_cipher_suites: true.", 0,
		},
		"DSA": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{0x00a2}, scheme: 0x0402, key: "DSA"},
			CipherMismatch, "it chose TLS_DHE_DSS_WITH_AES_128_GCM_SHA256 and the signature algorithm dsa_sha256 with a key of the kind DSA.",
			"Use an RSA certificate for signatures, and enable an ECDHE suite with AES-GCM or ChaCha20 on the server, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256. The collector does not support TLS_DHE_DSS_WITH_AES_128_GCM_SHA256 or dsa_sha256 with such a key, other clients may.", 0,
		},
		"TLS 1.0, of which a suite could be set": {
			ProtocolMismatch,
			rules{versions: []uint16{tls.VersionTLS10}, suites: []uint16{dhe, rsa}},
			ProtocolMismatch, "speaks only TLS 1.0. In TLS 1.0 it chose TLS_RSA_WITH_AES_128_CBC_SHA.", `min_version: "1.0" and max_version: "1.0", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]`, 0,
		},
		"no TLS 1.3, and an old version": {
			ConnectionClosed,
			rules{versions: []uint16{tls.VersionTLS11}, suites: []uint16{rsa}, without13: true},
			ProtocolMismatch, "refuses clients that offer TLS 1.3. Of the older versions, it chose TLS 1.1 with TLS_RSA_WITH_AES_128_CBC_SHA.", `min_version: "1.1" and max_version: "1.1"`, 0,
		},
		"no TLS 1.3, and a suite": {
			ConnectionClosed,
			rules{versions: both, suites: []uint16{rsa}, without13: true},
			CipherMismatch, "it chose TLS_RSA_WITH_AES_128_CBC_SHA.", `min_version: "1.2" and max_version: "1.2", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]`, 0,
		},
		"a name, and a suite": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{ccm}, name: "api.example"},
			UnrecognizedName, "refuses the name api.example. A client that sends no name is not refused.", "server_name_override", 0,
		},
		"a name, said so": {
			ServerInternalError,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, name: "api.example"},
			UnrecognizedName, "refuses the name api.example.", "server_name_override", 0,
		},
		"nothing that can be seen": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}},
			HandshakeFailure, "A ClientHello of another kind is not refused: the server chose TLS 1.3 and TLS_AES_128_GCM_SHA256, x25519.", "Look for a rule on the server, or on a middlebox in front of it, that refuses clients by their ClientHello, or for one bad server behind a load balancer.", 0,
		},
		"a load balancer with two bad servers of three": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, scheme: 0x0804, pool: "--+"},
			HandshakeFailure, "Of two equal ClientHellos, it refused one and not the other, so this failure comes and goes.", "Look for one bad server behind a load balancer", 0,
		},
		"a load balancer with three bad servers of four": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13, gcm}, groups: []uint16{x25519}, pool: "---+"},
			HandshakeFailure, "Of two equal ClientHellos, it refused one and not the other, so this failure comes and goes.", "Look for one bad server behind a load balancer", 0,
		},
		"a load balancer with four bad servers of five": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, pool: "----+"},
			UnrecognizedName, "refused each client that sent the name api.example, and not the one that sent none.", "If it serves this name, look for one bad server behind a load balancer.", 0,
		},
		"a load balancer with bad servers, of which two were not met": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, pool: "--+++"},
			HandshakeFailure, "The same handshake failed when it was tried again, and succeeded after that, so this failure comes and goes.", "Look for one bad server behind a load balancer", 0,
		},
		"a load balancer with bad servers, which prefers another suite": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{dhe, gcm}, pool: "--+"},
			HandshakeFailure, "so this failure comes and goes.", "Look for one bad server behind a load balancer", 0,
		},
		"an internal error of some servers": {
			ServerInternalError,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, pool: "--+"},
			ServerInternalError, "so this failure comes and goes.", "Look for one bad server behind a load balancer", 0,
		},
		"no TLS 1.3, whatever the server": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm}, groups: []uint16{x25519}, without13: true},
			ProtocolMismatch, "refuses clients that also offer TLS 1.3.", "Update the server", 0,
		},
		"a signature that it has, and refuses": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, scheme: 0x0804, needs: 0x0201},
			HandshakeFailure, "A ClientHello of another kind is not refused", "Look for a rule on the server", 0,
		},
		"the curve of its key": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{gcm}, groups: []uint16{x25519}, curve: 25},
			GroupMismatch, "supports none of the offered key exchange groups. When every group was offered, it chose the group x25519 with a key on the curve secp521r1.",
			"Use a certificate with an RSA key on the server, with a suite such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256. To probe it as it is, set tls curve_preferences: [X25519, P521].", 0,
		},
		"the curve of its key, and a group": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{gcm}, groups: []uint16{x448}, curve: 25},
			GroupMismatch, "it chose the group x448 with a key on the curve secp521r1.",
			"Use a certificate with an RSA key on the server, with a suite such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256. Enable the group X25519 or P-256 on the server. The collector does not support x448, other clients may.", 0,
		},
		"the curve of its key is no group in TLS 1.3": {
			HandshakeFailure,
			rules{versions: both, suites: []uint16{gcm13}, groups: []uint16{x25519}, curve: 25},
			HandshakeFailure, "A ClientHello of another kind is not refused", "Look for a rule on the server", 0,
		},
		"an identity": {
			HandshakeFailure,
			rules{alerts: "40 40 115 115 40"},
			CipherMismatch, "With alert 115, unknown_psk_identity it refuses clients because of their pre-shared key or their name and password (SRP).",
			"Configure an RSA certificate on the server, and enable an ECDHE suite", 0,
		},
		"two alerts in turn": {
			HandshakeFailure,
			rules{alerts: "40 80"},
			HandshakeFailure, "The same handshake was first refused with alert 40 and then with alert 80, as by different servers.", "Look for bad servers behind a load balancer.", 0,
		},
		"everything, with several alerts": {
			HandshakeFailure,
			rules{alerts: "40 40 80 80 40"},
			HandshakeFailure, "alert 80, internal_error", "", 0,
		},
		"a suite, and an algorithm that no setting has": {
			HandshakeFailure,
			rules{versions: []uint16{tls.VersionTLS12}, suites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, needs: 0x0202},
			CipherMismatch, "supports no combination of the offered cipher suites and signature algorithms.",
			"Enable the signature algorithms rsa_pss_rsae_sha256 and rsa_pkcs1_sha256 on the server. The collector does not support the signature algorithms that the server allows, other clients may.", 0,
		},
		"everything, of a server that has only TLS 1.3": {
			HandshakeFailure,
			rules{alerts: "40 40 40 70 40"},
			HandshakeFailure, "so it most likely has no certificate", "Configure a certificate and its key", 0,
		},
		"everything, because of the version": {
			ProtocolMismatch,
			rules{alerts: "70"},
			ProtocolMismatch, "refuses the offered TLS versions.", "Check which TLS versions are enabled on the server, and that it has a certificate and cipher suites for them.", 0,
		},
		"everything": {
			HandshakeFailure, rules{}, HandshakeFailure, "so it most likely has no certificate, or none that its cipher suites and signature algorithms allow.", "Configure a certificate and its key for api.example on the server, with cipher suites and signature algorithms for that kind of key.", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, tries := explained(t, c.failed, c.highest, &c.server)
			t.Log(tries)
			assert.Equal(t, c.typ, f.Type, f.Cause)
			assert.Contains(t, f.Cause, c.cause)
			assert.Contains(t, f.Fix, c.fix)
			assert.NotRegexp(t, "set tls[ ,]*\\.", f.Fix, "no settings")
			assert.NotContains(t, f.Fix, "The collector does not support , ")
			if c.server.alerts != "" {
				assert.Equal(t, strings.Contains(c.cause, "no certificate"), strings.Contains(f.Cause, "no certificate"))
				assert.NotContains(t, f.Fix, "Enable TLS 1.2")
			}
			if c.server.retries {
				assert.NotContains(t, f.Cause, "not refused")
			}
			for i, try := range tries {
				assert.False(t, slices.ContainsFunc(tries[:i], try.like), "tried twice: %s", try)
				assert.Less(t, len(try.String()), 200)
			}
		})
	}
}

// Nothing is tried that would show no more.
func TestNextTry(t *testing.T) {
	a := asked()
	for _, typ := range []Type{NotTLS, HandshakeTimeout, ALPNMismatch, MissingClientCert, Type(certs.Expired)} {
		assert.Nil(t, NextTry(typ, a, nil))
	}
	worked := []Try{{Same: true, Choice: &Choice{}}}
	assert.Nil(t, NextTry(HandshakeFailure, a, worked), "it comes and goes")
	failed := []Try{{Same: true, Err: io.EOF}}
	assert.True(t, NextTry(ServerInternalError, a, failed).WithoutSNI)
	a.Offered.ServerName = ""
	assert.False(t, NextTry(ServerInternalError, a, failed).WithoutSNI, "no name was sent")
}

func TestTryInWords(t *testing.T) {
	alert := &AlertError{Number: 40, Err: io.EOF}
	for want, try := range map[string]Try{
		"the same again: closed":                                                                       {Same: true, Err: io.EOF},
		"TLS 1.2 to 1.3 without SNI: alert 40, handshake_failure":                                      {MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, WithoutSNI: true, Err: alert},
		"SSL 3.0 to TLS 1.2 with everything: failed":                                                   {MinVersion: clienthello.SSL30, MaxVersion: tls.VersionTLS12, suites: allKnown, groups: allKnown, schemes: allKnown, Err: errors.New("x")},
		"SSL 3.0 to TLS 1.3 with everything but the same suites and the collector's groups: no answer": {MinVersion: clienthello.SSL30, MaxVersion: tls.VersionTLS13, groups: allPossible, schemes: allKnown, Err: errTimeout{}},
		"TLS 1.0 to 1.2 with all that the collector supports: chose TLS 1.2 and TLS_DHE_RSA_WITH_AES_128_GCM_SHA256, x448, ed448": {
			MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, suites: allPossible, groups: allPossible, schemes: allPossible,
			Choice: &Choice{Version: tls.VersionTLS12, Suite: 0x9e, Group: 30, Scheme: 0x0808},
		},
	} {
		assert.Equal(t, want, try.String())
	}
}

type errTimeout struct{}

func (errTimeout) Error() string   { return "timeout" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }

// What is kept of an answer is bounded, whatever the server sends.
func TestChoiceIsBounded(t *testing.T) {
	garbage := []byte(strings.Repeat("\xff", 100_000))
	c := NewChoice(&clienthello.Answer{Version: tls.VersionTLS12, Suite: 5, Certificates: [][]byte{garbage, garbage, garbage, garbage, garbage}})
	assert.Equal(t, 5, c.Certificates)
	assert.Equal(t, 2, c.Unnamed)
	assert.Len(t, c.Unreadable, 3)
	assert.Empty(t, c.Leaf+c.Key)
	for _, u := range c.Unreadable {
		assert.LessOrEqual(t, len(u.Subject)+len(u.Why), 2*maxName)
	}
	f := &Failure{Type: Type(certs.Malformed), Reasons: []Type{Type(certs.Malformed)}}
	f.Refine(asked(), []Try{{Same: true, Err: io.EOF}, {Choice: c}}, "a:1", "a")
	assert.Contains(t, f.Cause, "a:1 sent certificates that cannot be read: certificate 1 of 5 (the server's own): it does not have the structure of a certificate; ")
	assert.Contains(t, f.Cause, "certificate 3 of 5 (an issuer's): it does not have the structure of a certificate; 2 more.")
	assert.LessOrEqual(t, len(f.Cause)+len(f.Fix), 2*maxSentences)
	assert.Equal(t, "Reissue the server's certificate. Replace certificates 2, 3 in the file that the server sends by ones that are reissued, or remove them if the chain is complete without them. Do the same with the others.", f.Fix)

	c = NewChoice(&clienthello.Answer{Version: tls.VersionTLS12, Suite: 5, Certificates: slices.Repeat([][]byte{nil}, clienthello.MaxCertificates)})
	f.Refine(asked(), []Try{{Same: true, Err: io.EOF}, {Choice: c}}, "a:1", "a")
	assert.Contains(t, f.Cause, "certificate 1 of at least 1000 (the server's own)")
	f.Message, f.Cause = "tls: handshake message of length 300000 bytes exceeds maximum of 262144 bytes", "Too large."
	f.Refine(asked(), []Try{{Same: true, Err: io.EOF}, {Choice: c}}, "a:1", "a")
	assert.Equal(t, "Too large. It has at least 1000 certificates.", f.Cause)
}

// A server with a certificate of the type that is demanded is not told to get another.
func TestCurveOfADemandedKey(t *testing.T) {
	a := asked()
	a.CertificateType, a.Offered.Groups, a.Offered.MaxVersion = "ecdsa", []uint16{29}, tls.VersionTLS12
	worked, narrowed := a.everything(tls.VersionTLS13), a.everything(tls.VersionTLS13)
	worked.Choice = &Choice{Version: tls.VersionTLS12, Suite: a.Offered.Suites[1], Group: 29, Key: "EC P-256", SupportedKey: true}
	narrowed.groups, narrowed.Err = onlyOffered, io.EOF
	for typ, fix := range map[string]string{
		"ecdsa": "To probe it as it is, set tls curve_preferences: [X25519, P256].",
		"":      "Use a certificate with an RSA key on the server, with a suite such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256. To probe it as it is, set tls curve_preferences: [X25519, P256].",
	} {
		a.CertificateType, worked.certificateType, narrowed.certificateType = typ, typ, typ
		f := &Failure{Type: CipherMismatch, Reasons: []Type{CipherMismatch}}
		f.Refine(a, []Try{{Same: true, Err: io.EOF}, *worked, *narrowed}, "a:1", "a")
		assert.Equal(t, GroupMismatch, f.Type)
		assert.Equal(t, fix, f.Fix)
	}
}

// The fix for a key that crypto/x509 cannot read says which key to use.
func TestReissueWithKey(t *testing.T) {
	const parameters, brainpool = "the curve of its key has parameters instead of a name", "its key is on a curve that Go does not have (brainpoolP256r1)"
	c := &Choice{Certificates: 4, Unreadable: []certs.Unreadable{
		{Key: "EC with parameters of its own", Why: parameters},
		{Index: 1, Key: "EC brainpoolP256r1", Why: brainpool},
		{Index: 2, Key: "EC brainpoolP256r1", Why: brainpool},
	}}
	f := &Failure{Type: Type(certs.Malformed), Reasons: []Type{Type(certs.Malformed)}}
	f.Refine(asked(), []Try{{Same: true, Err: io.EOF}, {Choice: c}}, "a:1", "a")
	assert.Equal(t, "Reissue the server's certificate with a P-256 key that names its curve (parameters in place of the name are not supported). "+
		"Replace certificates 2, 3 in the file that the server sends by ones that are reissued with a P-256 key (brainpoolP256r1 is not supported), or remove them if the chain is complete without them.", f.Fix)
	c.Unreadable[2].Key, c.Unreadable[2].Why = "", "other bytes follow it"
	f.Refine(asked(), []Try{{Same: true, Err: io.EOF}, {Choice: c}}, "a:1", "a")
	assert.Contains(t, f.Fix, "Replace certificate 2 in the file that the server sends by one that is reissued with a P-256 key (brainpoolP256r1 is not supported), or remove it if the chain is complete without it. "+
		"Replace certificate 3 in the file that the server sends by one that is reissued, or remove it")
}

// A server that ignores the signature schemes of the client does not show that it has a certificate of a type.
func TestCertificateOfAnotherType(t *testing.T) {
	a := asked()
	a.CertificateType, a.Offered.MaxVersion = "rsa", tls.VersionTLS12
	for key, typ := range map[string]Type{"RSA": ProtocolMismatch, "": ProtocolMismatch, "EC P-256": CipherMismatch, "Ed25519": CipherMismatch} {
		chose := a.everything(tls.VersionTLS13)
		chose.Choice = &Choice{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, Key: key, SupportedKey: true}
		f := &Failure{Type: CipherMismatch, Reasons: []Type{CipherMismatch}, Cause: "It refuses."}
		f.Refine(a, []Try{{Same: true, Err: io.EOF}, *chose}, "a:1", "a")
		assert.Equal(t, typ, f.Type, key)
		if typ == CipherMismatch {
			assert.Equal(t, "It refuses. A client that accepts any certificate is not refused: the server chose TLS 1.3 and TLS_AES_128_GCM_SHA256, and has a key of the kind "+key+".", f.Cause)
		}
	}
	alert := func(number uint8) error { return &AlertError{Number: number, Err: io.EOF} }
	anything := (&Asked{}).everything(tls.VersionTLS13)
	anything.Err = alert(40)
	f := &Failure{Type: ProtocolMismatch, Reasons: []Type{ProtocolMismatch}, Cause: "It refuses.", HasAlert: true, Alert: 70}
	f.Refine(a, []Try{{Same: true, Err: alert(70)}, *anything}, "a:1", "a")
	assert.Equal(t, HandshakeFailure, f.Type, "any certificate is refused too, so the type of the certificate is not why")
	assert.Contains(t, f.Fix, "Configure a certificate and its key for a on the server")

	a.CertificateType = "ecdsa"
	assert.True(t, a.demanded(&Choice{Key: "Ed25519"}))
	assert.False(t, a.demanded(&Choice{Key: "RSA"}))
}

// One server chose what was offered, and another one something else.
func TestServersThatChooseDifferently(t *testing.T) {
	a := asked()
	everything := a.everything(tls.VersionTLS13)
	everything.Choice = &Choice{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, Group: 29}
	narrowed := *everything
	narrowed.schemes, narrowed.Choice = onlyOffered, &Choice{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, Group: 24}
	f := &Failure{Type: HandshakeFailure, Reasons: []Type{HandshakeFailure}, Cause: "a:1 refused the handshake.", Fix: "Check." + setExplain}
	f.Refine(a, []Try{{Same: true, Err: io.EOF}, *everything, narrowed}, "a:1", "a")
	assert.Equal(t, HandshakeFailure, f.Type)
	assert.Equal(t, "a:1 refused the handshake. Its answers are like those of different servers.", f.Cause)
	assert.Equal(t, "Look for one bad server behind a load balancer.", f.Fix)
}

func TestKeyExchangeWithoutSignature(t *testing.T) {
	what, _, fix := asked().signature(&Choice{Version: tls.VersionTLS12, Suite: tls.TLS_RSA_WITH_AES_128_GCM_SHA256, Key: "RSA", SupportedKey: true})
	assert.Equal(t, "a key exchange without a signature", what)
	assert.Contains(t, fix, "rsa_pss_rsae_sha256")
	what, _, _ = asked().signature(&Choice{Version: tls.VersionTLS13, Key: "RSA", SupportedKey: true})
	assert.Equal(t, "one that cannot be seen, as it is encrypted", what)
}

// A fix fits what the collector can be served.
func TestFixesFitWhatWasAskedFor(t *testing.T) {
	old := &Asked{Offered: clienthello.Offer{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}
	dhe := &Choice{Version: tls.VersionTLS11, Suite: 0x0033}
	assert.Equal(t, "Enable TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA on the server.", old.suiteFix(dhe))
	assert.Contains(t, asked().suiteFix(dhe), "AES-GCM")
	for certificateType, want := range map[string]string{
		"": "with an ECDSA P-256, RSA or Ed25519 key", "rsa": "with an RSA key", "ecdsa": "with an ECDSA P-256 key",
	} {
		_, _, fix := (&Asked{CertificateType: certificateType}).signature(&Choice{Scheme: 0x0808, Key: "Ed448"})
		assert.Contains(t, fix, want+" on the server.")
		_, _, fix = (&Asked{CertificateType: certificateType}).signature(&Choice{Scheme: 0x0809, Key: "RSA-PSS"})
		assert.Equal(t, certificateType == "", strings.Contains(fix, "ECDSA"), fix)
	}
}
