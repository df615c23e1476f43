package probe

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// follow returns the configuration with the settings that a fix advises, as a user would write them into the tls block.
func follow(t *testing.T, fix string, c *tls.Config) *tls.Config {
	t.Helper()
	_, settings, found := strings.Cut(fix, "To probe it as it is, set tls ")
	require.True(t, found, "no settings in %q", fix)
	settings = strings.ReplaceAll(strings.TrimSuffix(settings, "."), " and max_version", ", max_version")
	yaml, err := confmap.NewRetrievedFromYAML([]byte("{" + settings + "}"))
	require.NoError(t, err, settings)
	conf, err := yaml.AsConf()
	require.NoError(t, err, settings)
	var block clienttls.Config
	require.NoError(t, conf.Unmarshal(&block))
	loaded := clienttls.NewBlocks(time.Hour, zap.NewNop()).Get("", &block)
	require.Empty(t, loaded.Errs())
	advised := loaded.With(clienttls.Offer{}).Clone()
	advised.RootCAs, advised.ServerName, advised.NextProtos = c.RootCAs, c.ServerName, c.NextProtos
	for key, keep := range map[string]func(){
		"min_version":       func() { advised.MinVersion, advised.MaxVersion = c.MinVersion, c.MaxVersion },
		"cipher_suites":     func() { advised.CipherSuites = c.CipherSuites },
		"curve_preferences": func() { advised.CurvePreferences = c.CurvePreferences },
	} {
		if !conf.IsSet(key) {
			keep()
		}
	}
	return advised
}

// If the fix has settings, the probe succeeds with them.
func TestFixOfARefusalGetsThrough(t *testing.T) {
	cert := root.Issue("refuses", tlsfarm.Key(tlsfarm.RSAKey(2048)))
	for name, c := range map[string]struct {
		server *tls.Config
		client *tls.Config // nil means no settings
		typ    failure.Type
		fix    string // the settings in it
	}{
		"RSA key exchange": {
			server: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_256_GCM_SHA384}},
			typ:    failure.CipherMismatch, fix: "set tls cipher_suites: [TLS_RSA_WITH_AES_256_GCM_SHA384], include_insecure_cipher_suites: true.",
		},
		"RC4": {
			server: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA}},
			typ:    failure.CipherMismatch, fix: "set tls cipher_suites: [TLS_ECDHE_RSA_WITH_RC4_128_SHA], include_insecure_cipher_suites: true.",
		},
		"a suite that the settings leave out": {
			server: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}},
			client: &tls.Config{CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}},
			typ:    failure.CipherMismatch, fix: "set tls cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA].",
		},
		"TLS 1.0 with RSA key exchange": {
			server: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}},
			typ:    failure.ProtocolMismatch,
			fix:    `set tls min_version: "1.0" and max_version: "1.0", cipher_suites: [TLS_RSA_WITH_3DES_EDE_CBC_SHA], include_insecure_cipher_suites: true.`,
		},
		"TLS 1.3 where only older ones are offered": {
			server: &tls.Config{MinVersion: tls.VersionTLS13},
			client: &tls.Config{MaxVersion: tls.VersionTLS12},
			typ:    failure.ProtocolMismatch, fix: `set tls min_version: "1.3" and max_version: "1.3".`,
		},
		"a group that the settings leave out": {
			server: &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}},
			client: &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}},
			typ:    failure.GroupMismatch, fix: "set tls curve_preferences: [P521].",
		},
		"the same in TLS 1.2, with RSA key exchange": {
			server: &tls.Config{
				CurvePreferences: []tls.CurveID{tls.CurveP384}, MaxVersion: tls.VersionTLS12,
				CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
			},
			client: &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}},
			typ:    failure.GroupMismatch, fix: "set tls curve_preferences: [P384].",
		},
		"a hybrid group that the settings leave out": {
			server: &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}},
			client: &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}},
			typ:    failure.GroupMismatch, fix: "set tls curve_preferences: [X25519MLKEM768].",
		},
		"a suite and a group": {
			server: &tls.Config{
				CurvePreferences: []tls.CurveID{tls.CurveP521}, MaxVersion: tls.VersionTLS12,
				CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA},
			},
			client: &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}},
			typ:    failure.CipherMismatch,
			fix:    "set tls cipher_suites: [TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA], include_insecure_cipher_suites: true, curve_preferences: [P521].",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.server.Certificates = []tls.Certificate{cert}
			tt, connections := serveCounting(t, c.server)
			if c.client == nil {
				c.client = &tls.Config{}
			}
			c.client.RootCAs = root.Pool()
			tt.TLS = c.client
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, c.typ, o.Failure.Type, o.Failure.Cause)
			assert.Contains(t, o.Failure.Fix, c.fix)
			assert.LessOrEqual(t, connections.Load(), int32(5))

			tt.TLS = follow(t, o.Failure.Fix, c.client)
			assert.Nil(t, probeOnce(t, tt).Failure)
		})
	}
}

// An SSL 3.0 server answers every ClientHello with its own version.
func TestSSL3(t *testing.T) {
	s := tlsfarm.ServerHello(0x0300, 0x000a, nil)
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.Explain = target.ExplainOnChange
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.ProtocolMismatch, o.Failure.Type)
	assert.Equal(t, fmt.Sprintf("%s speaks only SSL 3.0. In SSL 3.0 it chose TLS_RSA_WITH_3DES_EDE_CBC_SHA.", s.Endpoint()), o.Failure.Cause)
	assert.Contains(t, o.Failure.Fix, "Enable TLS 1.2 or 1.3 on the server. The collector does not support SSL 3.0")
}

// What a server sends when it is asked again does not hold the probe up, and is not believed.
func TestHostileAnswersAreNoExplanation(t *testing.T) {
	alert := []byte{21, 3, 3, 0, 2, 2, 40}
	for name, answer := range map[string]func(conn net.Conn){
		"endless": func(conn net.Conn) {
			for {
				if _, err := conn.Write(bytes.Repeat([]byte{22, 3, 3, 0, 0}, 10_000)); err != nil {
					return
				}
			}
		},
		"a message of 16 MB": func(conn net.Conn) { _, _ = conn.Write([]byte{22, 3, 3, 0, 4, 2, 255, 255, 255}) },
		"plain text":         func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n") },
		"silence":            func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
	} {
		t.Run(name, func(t *testing.T) {
			var connections atomic.Int32
			s := tlsfarm.Serve(func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 1<<14))
				if connections.Add(1) > 2 {
					answer(conn)
					return
				}
				_, _ = conn.Write(alert)
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
			})
			t.Cleanup(s.Close)
			tt := newTarget(t, s.Endpoint())
			tt.Explain, tt.Timeout = target.ExplainOnChange, 700*time.Millisecond
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, failure.HandshakeFailure, o.Failure.Type)
			assert.Contains(t, o.Failure.Cause, "Also tried, without success: the same again: alert 40, handshake_failure; SSL 3.0 to TLS 1.3 with everything: ")
			assert.LessOrEqual(t, connections.Load(), int32(5))
		})
	}
}

// spoil returns a certificate that crypto/x509 refuses: its subject, the marker, is not UTF-8.
func spoil(der []byte, marker string) []byte {
	return bytes.ReplaceAll(der, []byte(marker), append([]byte(marker[:len(marker)-2]), 0xff, 0xfe))
}

func TestUnreadableCertificates(t *testing.T) {
	p256 := []byte("\x2a\x86\x48\xce\x3d\x03\x01\x07") // the OID of the curve
	ca := root.Intermediate("unreadable-ca")
	leaf := ca.Issue("unreadable-leaf")
	for name, c := range map[string]struct {
		list       [][]byte
		cause, fix string
	}{
		"the intermediate": {
			[][]byte{leaf.Certificate[0], spoil(leaf.Certificate[1], "unreadable-ca")},
			"sent a certificate that cannot be read: certificate 2 of 2 (an issuer's, \"unreadable-\ufffd\ufffd\"): a PrintableString in its issuer or subject has a character that is not allowed there",
			"Replace certificate 2 in the file that the server sends",
		},
		"both": {
			[][]byte{spoil(leaf.Certificate[0], "unreadable-leaf"), spoil(leaf.Certificate[1], "unreadable-ca")},
			"sent certificates that cannot be read: certificate 1 of 2 (the server's own", "Reissue the server's certificate. Replace certificate 2",
		},
		"a curve that Go lacks": {
			[][]byte{bytes.Replace(leaf.Certificate[0], p256, []byte("\x2a\x86\x48\xce\x3d\x03\x01\x20"), 1), leaf.Certificate[1]},
			`certificate 1 of 2 (the server's own, "unreadable-leaf"): its key is on a curve that Go does not have (1.2.840.10045.3.1.32).`,
			"Reissue the server's certificate with a P-256 key (1.2.840.10045.3.1.32 is not supported).",
		},
		"no DER at all": {
			[][]byte{leaf.Certificate[0], []byte("garbage")}, "certificate 2 of 2 (an issuer's): it does not have the structure of a certificate.", "Replace certificate 2",
		},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" in "+tls.VersionName(version), func(t *testing.T) {
				config := &tls.Config{
					MinVersion: version, MaxVersion: version,
					Certificates: []tls.Certificate{{Certificate: c.list, PrivateKey: leaf.PrivateKey}},
				}
				tt, connections := serveCounting(t, config)
				o := probeOnce(t, tt)
				require.NotNil(t, o.Failure)
				assert.Equal(t, failure.Type(certs.Malformed), o.Failure.Type)
				assert.Equal(t, failure.Verify, o.Failure.Step)
				assert.Contains(t, o.Failure.Cause, c.cause)
				assert.Contains(t, o.Failure.Fix, c.fix)
				assert.Equal(t, int32(3), connections.Load())

				config.Certificates[0].Certificate = leaf.Certificate // reissued
				assert.Nil(t, probeOnce(t, tt).Failure)
			})
		}
	}
}

func TestCertificatesThatAreTooLarge(t *testing.T) {
	leaf := root.Issue("large")
	list := [][]byte{leaf.Certificate[0]}
	many := tlsfarm.NewAuthority("Unrelated", func(c *x509.Certificate) { c.OCSPServer = []string{strings.Repeat("x", 20_000)} })
	for range 14 {
		list = append(list, many.Certificate.Raw)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := &tls.Config{MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{{Certificate: list, PrivateKey: leaf.PrivateKey}}}
			tt, _ := serveCounting(t, config)
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, failure.Type(certs.Malformed), o.Failure.Type, o.Failure.Message)
			assert.Regexp(t, `sent its certificates in a message of 28\d{4} bytes, which is too large. The collector reads at most 262144. It has 15 certificates.`, o.Failure.Cause)
			assert.Contains(t, o.Failure.Fix, "Let the server send only its own certificate and the intermediates")

			config.Certificates[0].Certificate = list[:1]
			assert.Nil(t, probeOnce(t, tt).Failure)
		})
	}
}

func TestHelloRetryRequest(t *testing.T) {
	random := sha256.Sum256([]byte("HelloRetryRequest")) // RFC 8446, section 4.1.3
	retry := slices.Concat([]byte{22, 3, 3, 0, 60, 2, 0, 0, 56, 3, 3}, random[:],
		[]byte{0, 0x13, 1, 0, 0, 16, 0, 43, 0, 2, 3, 4, 0, 44, 0, 6, 0, 4, 'c', 'o', 'o', 'k'}) // a cookie, and any group
	var connections atomic.Int32
	s := tlsfarm.Serve(func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1<<14))
		if connections.Add(1) > 2 {
			_, _ = conn.Write(retry)
		} else {
			_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, 40})
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.Explain = target.ExplainOnChange
	o := probeOnce(t, tt)
	require.NotNil(t, o.Failure)
	assert.Equal(t, failure.HandshakeFailure, o.Failure.Type)
	assert.Contains(t, o.Failure.Cause, "answered a ClientHello of another kind with a HelloRetryRequest. What it would do next is not known.")
}

// A HelloRetryRequest is no sign that the server accepts a ClientHello.
func TestHybridGroupAndSignature(t *testing.T) {
	sha1 := root.Issue("sha1", tlsfarm.Key(tlsfarm.RSAKey(2048)))
	sha1.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA1}
	for _, group := range []tls.CurveID{tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024} {
		t.Run(group.String(), func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{sha1}, CurvePreferences: []tls.CurveID{group}}
			tt, _ := serveCounting(t, config)
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, failure.HandshakeFailure, o.Failure.Type)
			assert.NotContains(t, o.Failure.Cause, "not refused")
			assert.Contains(t, o.Failure.Cause, "so it most likely has no certificate, or none that its cipher suites and signature algorithms allow.")
			assert.Contains(t, o.Failure.Fix, "with cipher suites and signature algorithms for that kind of key")

			config.Certificates[0].SupportedSignatureAlgorithms = nil
			assert.Nil(t, probeOnce(t, tt).Failure)
		})
	}
}

// A server with a certificate of the type that the target demands is not told to get one.
func TestCertificateType(t *testing.T) {
	rsa, ecdsa := root.Issue("typed", tlsfarm.Key(tlsfarm.RSAKey(2048))), root.Issue("typed")
	for name, c := range map[string]struct {
		server     *tls.Config
		cert, more tls.Certificate
		typ        failure.Type
		cause, fix string
		tries      int
	}{
		"another certificate": {
			server: &tls.Config{}, cert: ecdsa, typ: failure.CipherMismatch, tries: 3,
			cause: "refuses clients that accept only an RSA certificate. A client that accepts any certificate is not refused: the server chose TLS 1.3 and TLS_AES_128_GCM_SHA256, X25519MLKEM768, ecdsa_secp256r1_sha256, and has a key of the kind EC P-256.",
			fix:   "Configure an RSA certificate for localhost on the server, and enable TLS 1.2 with ECDHE suites for it: only in TLS 1.2 can the collector ask for one type of certificate. Or remove rsa from certificate_types.",
		},
		"TLS 1.3 only": {
			server: &tls.Config{MinVersion: tls.VersionTLS13}, cert: rsa, typ: failure.ProtocolMismatch, tries: 3,
			cause: "uses its RSA certificate only in TLS 1.3. The collector can ask for one type of certificate only in TLS 1.2.",
			fix:   "Enable TLS 1.2 on the server, with ECDHE suites for an RSA certificate, or remove rsa from certificate_types.",
		},
		"TLS 1.3 only, with another certificate too": {
			server: &tls.Config{MinVersion: tls.VersionTLS13}, cert: ecdsa, more: rsa, typ: failure.ProtocolMismatch, tries: 3,
			cause: "uses its RSA certificate only in TLS 1.3.", fix: "Enable TLS 1.2 on the server, with ECDHE suites for an RSA certificate",
		},
		"a suite that could be set": {
			server: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA}}, cert: rsa,
			typ: failure.CipherMismatch, tries: 4,
			cause: "supports none of the offered cipher suites. When every suite for an RSA certificate was offered, it chose TLS_ECDHE_RSA_WITH_RC4_128_SHA.",
			fix:   "To probe it as it is, set tls cipher_suites: [TLS_ECDHE_RSA_WITH_RC4_128_SHA], include_insecure_cipher_suites: true.",
		},
		"a suite with which no type can be demanded": {
			server: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, cert: rsa,
			typ: failure.CipherMismatch, tries: 4,
			cause: "When every suite for an RSA certificate was offered, it chose TLS_RSA_WITH_AES_128_GCM_SHA256.",
			fix:   "With certificate_types, the collector does not support TLS_RSA_WITH_AES_128_GCM_SHA256, other clients may.",
		},
		"a rule about the ClientHello": {
			server: &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
				if len(info.CipherSuites) < 10 {
					return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, Certificates: []tls.Certificate{rsa}}, nil
				}
				return nil, nil
			}}, cert: rsa, typ: failure.HandshakeFailure, tries: 4,
			cause: "refused the handshake. A ClientHello of another kind is not refused: the server chose TLS 1.2 and TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
			fix:   "Look for a rule on the server, or on a middlebox in front of it, that refuses clients by their ClientHello, or for one bad server behind a load balancer.",
		},
		"no suite for its certificate": {
			server: &tls.Config{CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, MaxVersion: tls.VersionTLS12}, cert: rsa,
			typ: failure.HandshakeFailure, tries: 4,
			cause: "so it most likely has no certificate, or none that its cipher suites and signature algorithms allow", fix: "Configure a certificate and its key for localhost",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.server.Certificates = []tls.Certificate{c.cert}
			if c.more.Certificate != nil {
				c.server.Certificates = append(c.server.Certificates, c.more)
			}
			tt, _ := serveCounting(t, c.server)
			block := clienttls.NewBlocks(time.Hour, zap.NewNop()).Get("", &clienttls.Config{})
			tt.CertificateType, tt.TLS = "rsa", block.With(clienttls.NewOffer(nil, "rsa")).Config.Clone()
			tt.TLS.RootCAs = root.Pool()
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			assert.Equal(t, c.typ, o.Failure.Type, o.Failure.Cause)
			assert.Contains(t, o.Failure.Cause, c.cause)
			assert.Contains(t, o.Failure.Fix, c.fix)
			assert.Len(t, o.Explanation.Tries, c.tries)
			t.Log(o.Explanation.Tries)
		})
	}
}

// Behind a load balancer, what one server accepts is not what another refuses.
func TestBadServersBehindALoadBalancer(t *testing.T) {
	rsa := root.Issue("balanced", tlsfarm.Key(tlsfarm.RSAKey(2048)))
	for name, bad := range map[string]int32{"two of three": 2, "three of four": 3} {
		t.Run(name, func(t *testing.T) {
			var n, servers atomic.Int32
			servers.Store(bad + 1)
			good := &tls.Config{Certificates: []tls.Certificate{rsa}}
			useless := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, Certificates: good.Certificates}
			tt, connections := serveCounting(t, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				if n.Add(1)%servers.Load() == 0 {
					return good, nil
				}
				return useless, nil
			}})
			o := probeOnce(t, tt)
			require.NotNil(t, o.Failure)
			t.Log(o.Explanation.Tries)
			assert.Equal(t, failure.HandshakeFailure, o.Failure.Type)
			assert.Contains(t, o.Failure.Cause, "Of two equal ClientHellos, it refused one and not the other, so this failure comes and goes.")
			assert.Contains(t, o.Failure.Fix, "Look for one bad server behind a load balancer")
			assert.Equal(t, int32(5), connections.Load())

			servers.Store(1) // the good one
			assert.Nil(t, probeOnce(t, tt).Failure)
		})
	}
}
