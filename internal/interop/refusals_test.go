//go:build interop

package interop

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
)

// row is a handshake that fails with a real server, what the probe must say about it, and how the fix is followed.
type row struct {
	name   string
	server string // a script in servers/ and its options
	port   int    // index of the server's port
	config string // keys of the target in YAML; $PKI is the directory of the PKI

	step  failure.Step
	typ   failure.Type
	texts []string // in the cause or the fix
	log   string   // expected in the server's log

	// The fix is followed in each of these ways that is not empty. After each, the probe must succeed.
	set       string // keys of the target in YAML, all that the fix names
	serve     string // a server that was changed as the fix says
	servePort int    // index of that server's port

	cannot string // why the fix cannot be followed
}

// unexplained are the rows that may end at handshake_failure or other, with the reason.
var unexplained = map[string]string{
	"no certificate":                                     noCertificate,
	"no certificate, TLS 1.2":                            noCertificate,
	"no certificate, of which a type is demanded":        noCertificate,
	"GnuTLS, no signature algorithm for its certificate": noCertificate,
}

const noCertificate = "such a server answers anything with the same alert, so the cause can only say what is likely"

// TestRefusals probes servers that refuse the handshake, and follows the fix. GnuTLS has no alert for a version that it does
// not have: it answers with its own.
func TestRefusals(t *testing.T) {
	rows := refusals()
	checkTable(t, rows)
	uses := map[string]int{}
	for _, r := range rows {
		uses[r.server]++
		uses[r.serve]++
	}
	shared := map[string]func() *server{}
	for command, n := range uses {
		if n > 1 {
			shared[command] = sync.OnceValue(func() *server { return start(t, command) })
		}
	}
	server := func(t *testing.T, command string) *server {
		if s := shared[command]; s != nil {
			return s()
		}
		return start(t, command)
	}

	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s := server(t, r.server)
			endpoint := s.endpoint(t, r.port)
			before := len(s.readLog())
			f := probeAs(t, endpoint, r.config)
			require.NotNil(t, f)
			assert.Equal(t, r.step, f.Step)
			assert.Equal(t, r.typ, f.Type)
			assert.Equal(t, r.typ, f.Reasons[0])
			if f.HasAlert {
				assert.NotEmpty(t, f.SSLReason)
			}
			if r.step == failure.Verify && r.typ != failure.Type(certs.Malformed) {
				assert.NotZero(t, f.VerifyCode)
			}
			for _, text := range r.texts {
				assert.Contains(t, f.Cause+" "+f.Fix, text)
			}
			if r.typ != failure.ConnectionClosed && unexplained[r.name] == "" {
				assert.NotContains(t, f.Fix, "server's log")
			}
			if r.log != "" {
				assert.Eventually(t, func() bool {
					return strings.Contains(s.readLog()[before:], r.log)
				}, 5*time.Second, 10*time.Millisecond, r.log)
			}

			assertAdvises(t, f.Fix, r.set)
			if r.set != "" {
				assert.Nil(t, probeAs(t, endpoint, r.config, r.set), "after setting %s", r.set)
			}
			if r.serve != "" {
				assert.Nil(t, probeAs(t, server(t, r.serve).endpoint(t, r.servePort), r.config), "after starting %s", r.serve)
			}
		})
	}
}

// checkTable checks that the table has what it promises.
func checkTable(t *testing.T, rows []row) {
	t.Helper()
	assert.GreaterOrEqual(t, len(rows), 60)
	scripts, names, refusals := map[string]bool{}, map[string]bool{}, map[string]string{}
	for _, r := range rows {
		script, _, _ := strings.Cut(r.server, " ")
		scripts[script] = true
		assert.NotContains(t, names, r.name, "two rows have this name")
		names[r.name] = true
		refusal := fmt.Sprintln(r.server, r.port, r.config)
		assert.NotContains(t, refusals, refusal, "%s is the same as %s", r.name, refusals[refusal])
		refusals[refusal] = r.name

		assert.NotEmpty(t, r.texts, r.name)
		assert.NotEqual(t, r.cannot == "", r.set == "" && r.serve == "", "%s: the fix is either followed or it cannot be", r.name)
		vague := r.typ == failure.HandshakeFailure || r.typ == failure.Other
		assert.Equal(t, vague, unexplained[r.name] != "", "%s: %s", r.name, r.typ)
	}
	for name := range unexplained {
		assert.Contains(t, names, name)
	}
	assert.GreaterOrEqual(t, len(scripts), 15, "servers")
	t.Logf("%d refusals of %d servers", len(rows), len(scripts))
}

// probeAs probes the endpoint with these keys, each in YAML, and returns the failure. The later ones replace the earlier ones.
func probeAs(t *testing.T, endpoint string, keys ...string) *failure.Failure {
	t.Helper()
	conf := parse(t, "{endpoint: '"+endpoint+"', timeout: 5s, expiry_warning: 24h, tls: {ca_file: $PKI/root.pem, server_name_override: localhost}}")
	for _, k := range keys {
		require.NoError(t, conf.Merge(parse(t, k)))
	}
	require.NoError(t, targetconfig.UnknownKeys(conf.ToStringMap(), reflect.TypeFor[targetconfig.Entry](), ""))
	var entry targetconfig.Entry
	defaults := &targetconfig.Defaults{Settings: targetconfig.DefaultSettings()}
	require.NoError(t, entry.Unmarshal(conf))
	require.NoError(t, entry.Decode(defaults))
	complete := entry.Complete(defaults)
	targets, errs := targetconfig.NewBuilder(0, zap.NewNop()).Build(&complete)
	require.Empty(t, errs)
	require.Len(t, targets, 1)
	o := (&probe.Prober{}).ProbeEndpoint(t.Context(), targets[0])
	require.NotNil(t, o)
	if f := o.Failure; f != nil {
		t.Logf("%s %s %s\n%s\n%s", f.Step, f.Type, f.Message, f.Cause, f.Fix)
		if o.Explanation != nil {
			t.Log(o.Explanation.Tries)
		}
	}
	return o.Failure
}

func parse(t *testing.T, keys string) *confmap.Conf {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(strings.ReplaceAll(keys, "$PKI", pki)))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return conf
}

// setting matches the settings that a fix gives with their values.
var setting = regexp.MustCompile(`(min_version|max_version|cipher_suites|include_insecure_cipher_suites|curve_preferences|starttls): ("[0-9.]+"|\[[^]]+]|[a-z-]+)`)

// assertAdvises asserts that the fix gives exactly the settings in keys. Of some keys the value is the user's choice. The fix
// only names these.
func assertAdvises(t *testing.T, fix, keys string) {
	t.Helper()
	assert.ElementsMatch(t, setting.FindAllString(keys, -1), setting.FindAllString(fix, -1))
	for _, path := range parse(t, keys).AllKeys() {
		key := path[strings.LastIndex(path, ":")+1:]
		if key != "cert_file" && key != "key_file" { // a fix may also say which certificate to get for them
			assert.Contains(t, fix, key)
		}
	}
}

func refusals() []row {
	var rows []row
	for _, part := range [][]row{
		suiteRefusals(), groupRefusals(), signatureRefusals(), versionRefusals(), certificateRefusals(), nameRefusals(),
		clientCertificateRefusals(), plaintextRefusals(), starttlsRefusals(),
	} {
		rows = append(rows, part...)
	}
	return rows
}

// suiteRefusals are those of servers that have no cipher suite in common with the collector.
func suiteRefusals() []row {
	var rows []row
	// add adds a server that supports only suites with this name, and a server that supports others as well.
	add := func(server, fixed, suite string) {
		r := row{
			name: strings.Fields(server)[0] + " with " + suite, server: server, serve: fixed,
			step: failure.Handshake, typ: failure.CipherMismatch, texts: []string{suite},
		}
		if slices.ContainsFunc(slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()), func(s *tls.CipherSuite) bool { return s.Name == suite }) {
			r.set = "tls: {cipher_suites: [" + suite + "], include_insecure_cipher_suites: true}"
		} else {
			r.texts = append(r.texts, "The collector does not support "+suite)
		}
		rows = append(rows, r)
	}

	const openSSL, ecdsa, dsa = "s_server -tls1_2", " -cert ecdsa.pem -key ecdsa.key", " -cert dsa.pem -key dsa.key"
	for _, s := range []struct{ cipher, suite, certificate string }{
		{"AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256", ""},
		{"AES256-SHA", "TLS_RSA_WITH_AES_256_CBC_SHA", ""},
		{"AES256-SHA256", "TLS_RSA_WITH_AES_256_CBC_SHA256", ""},
		{"ECDHE-RSA-AES128-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", ""},
		{"ECDHE-RSA-AES256-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", ""},
		{"ECDHE-ECDSA-AES256-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", ecdsa},
		{"ECDHE-ECDSA-AES128-CCM", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", ecdsa},
		{"ECDHE-ECDSA-AES128-CCM8", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", ecdsa},
		{"AES128-CCM", "TLS_RSA_WITH_AES_128_CCM", ""},
		{"AES256-CCM8", "TLS_RSA_WITH_AES_256_CCM_8", ""},
		{"DHE-RSA-AES128-GCM-SHA256", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", ""},
		{"DHE-RSA-CHACHA20-POLY1305", "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", ""},
		{"DHE-DSS-AES128-GCM-SHA256", "TLS_DHE_DSS_WITH_AES_128_GCM_SHA256", dsa},
		{"ECDHE-ARIA128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_ARIA_128_GCM_SHA256", ""},
		{"ARIA256-GCM-SHA384", "TLS_RSA_WITH_ARIA_256_GCM_SHA384", ""},
		{"ECDHE-RSA-CAMELLIA128-SHA256", "TLS_ECDHE_RSA_WITH_CAMELLIA_128_CBC_SHA256", ""},
		{"CAMELLIA256-SHA", "TLS_RSA_WITH_CAMELLIA_256_CBC_SHA", ""},
		{"ECDHE-RSA-NULL-SHA", "TLS_ECDHE_RSA_WITH_NULL_SHA", ""},
		{"NULL-SHA256", "TLS_RSA_WITH_NULL_SHA256", ""},
	} {
		add(openSSL+s.certificate+" -cipher "+s.cipher+":@SECLEVEL=0", openSSL+" -cipher ECDHE+AESGCM:"+s.cipher+":@SECLEVEL=0", s.suite)
	}
	for _, suite := range []string{"TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"} {
		add("s_server -tls1_3 -ciphersuites "+suite, "s_server -tls1_3 -ciphersuites "+suite+":TLS_AES_128_GCM_SHA256", suite)
	}
	for _, s := range []struct{ number, suite string }{
		{"0001", "TLS_RSA_WITH_NULL_MD5"},
		{"0004", "TLS_RSA_WITH_RC4_128_MD5"},
		{"0005", "TLS_RSA_WITH_RC4_128_SHA"},
		{"0009", "TLS_RSA_WITH_DES_CBC_SHA"},
		{"000A", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"},
		{"0016", "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA"},
		{"0096", "TLS_RSA_WITH_SEED_CBC_SHA"},
		{"0033", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"},
		{"C011", "TLS_ECDHE_RSA_WITH_RC4_128_SHA"},
	} {
		add("selfserv -V tls1.0:tls1.2 -c :"+s.number, "selfserv -V tls1.0:tls1.2 -c :"+s.number+":C02F", s.suite)
	}
	const gnutls = "gnutls-serv rsa --disable-client-cert --priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:-CIPHER-ALL:"
	for _, s := range []struct{ exchange, cipher, suite string }{
		{"ECDHE-RSA", "3DES-CBC", "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"},
		{"RSA", "AES-256-GCM", "TLS_RSA_WITH_AES_256_GCM_SHA384"},
		{"ECDHE-RSA", "ARCFOUR-128", "TLS_ECDHE_RSA_WITH_RC4_128_SHA"},
		{"RSA", "NULL", "TLS_RSA_WITH_NULL_SHA"},
		{"ECDHE-RSA", "CAMELLIA-128-GCM", "TLS_ECDHE_RSA_WITH_CAMELLIA_128_GCM_SHA256"},
		{"DHE-RSA", "AES-128-GCM", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"},
	} {
		only := gnutls + "+" + s.exchange + ":+" + s.cipher
		add(only, only+":+ECDHE-RSA:+AES-128-GCM", s.suite)
	}
	const tls13 = "gnutls-serv rsa --disable-client-cert --priority NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-CCM"
	add(tls13, tls13+":+AES-128-GCM", "TLS_AES_128_CCM_SHA256")
	for _, s := range []struct{ cipher, suite string }{
		{"3DES", "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"},
		{"CAMELLIA", "TLS_ECDHE_RSA_WITH_CAMELLIA_256_GCM_SHA384"},
	} {
		add("lighttpd CipherString="+s.cipher, "lighttpd", s.suite)
	}

	rows = append(rows,
		row{
			name: "another suite than the collector's", server: openSSL + " -cipher ECDHE-RSA-AES128-GCM-SHA256", step: failure.Handshake, typ: failure.CipherMismatch,
			config: `tls: {max_version: "1.2", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}`, texts: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
			set: "tls: {cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}", serve: openSSL,
		},
		row{
			name: "CCM in TLS 1.3, and another suite in TLS 1.2", server: "s_server -ciphersuites TLS_AES_128_CCM_SHA256", serve: "s_server -ciphersuites TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256",
			step: failure.Handshake, typ: failure.CipherMismatch, texts: []string{"supports none of the offered cipher suites in TLS 1.3."},
			set: `tls: {min_version: "1.2", max_version: "1.2"}`,
		},
		row{
			name: "suites for another key", server: openSSL, step: failure.Handshake, typ: failure.CipherMismatch,
			config: `tls: {max_version: "1.2", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}`, texts: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
			set: "tls: {cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}",
		},
	)

	// Without a certificate there are other ways to authenticate, or none.
	const nocert, psk = openSSL + " -nocert -cipher ", openSSL + " -nocert -psk 0123456789abcdef -cipher "
	for _, r := range []row{
		{name: "anonymous ECDHE only", server: nocert + "AECDH:@SECLEVEL=0", serve: openSSL, texts: []string{"TLS_ECDH_anon_", "certificate"}},
		{name: "anonymous DHE only", server: nocert + "ADH-AES128-SHA256:@SECLEVEL=0", serve: openSSL, texts: []string{"TLS_DH_anon_WITH_AES_128_CBC_SHA256", "certificate"}},
		{name: "GnuTLS, anonymous only", server: gnutls + "+ANON-ECDH:+AES-128-CBC", serve: gnutls + "+ANON-ECDH:+ECDHE-RSA:+AES-128-GCM", texts: []string{"TLS_ECDH_anon_WITH_AES_128_CBC_SHA"}},
		{name: "pre-shared key only", server: psk + "PSK-AES128-GCM-SHA256", serve: openSSL, texts: []string{"pre-shared key"}},
		{name: "pre-shared key with ECDHE only", server: psk + "ECDHE-PSK-CHACHA20-POLY1305", serve: openSSL, texts: []string{"pre-shared key"}},
		{name: "pre-shared key with DHE only", server: psk + "DHE-PSK-AES128-CCM8", serve: openSSL, texts: []string{"pre-shared key"}},
		{name: "stunnel, pre-shared key only", server: "stunnel", port: 2, serve: "stunnel", texts: []string{"pre-shared key"}},
	} {
		r.step, r.typ = failure.Handshake, failure.CipherMismatch
		rows = append(rows, r)
	}
	return rows
}

// groupRefusals are those of servers that have no key exchange group in common with the collector.
func groupRefusals() []row {
	var rows []row
	const ecdhe = " -cipher ECDHE"
	const gnutls = "gnutls-serv rsa --disable-client-cert --priority NORMAL:-KX-ALL:+ECDHE-RSA:+DHE-RSA:-GROUP-ALL:"
	for _, r := range []row{
		{name: "X448 only", server: "s_server -tls1_3 -groups X448", serve: "s_server -tls1_3 -groups X448:X25519", texts: []string{"x448"}},
		{name: "X448 only, TLS 1.2", server: "s_server -tls1_2 -groups X448" + ecdhe, serve: "s_server -tls1_2 -groups X448:P-256" + ecdhe, texts: []string{"x448"}},
		{name: "ffdhe2048 only", server: "s_server -tls1_3 -groups ffdhe2048", serve: "s_server -tls1_3 -groups ffdhe2048:P-256", texts: []string{"ffdhe2048"}},
		{name: "ffdhe8192 only", server: "s_server -tls1_3 -groups ffdhe8192", serve: "s_server -tls1_3 -groups ffdhe8192:P-256", texts: []string{"ffdhe8192"}},
		{name: "brainpool only, TLS 1.2", server: "s_server -tls1_2 -groups brainpoolP256r1" + ecdhe, serve: "s_server -tls1_2 -groups brainpoolP256r1:X25519" + ecdhe, texts: []string{"brainpoolP256r1"}},
		{name: "secp256k1 only, TLS 1.2", server: "s_server -tls1_2 -groups secp256k1" + ecdhe, serve: "s_server -tls1_2 -groups secp256k1:X25519" + ecdhe, texts: []string{"secp256k1"}},
		{name: "P-224 only, TLS 1.2", server: "s_server -tls1_2 -groups P-224" + ecdhe + ":@SECLEVEL=0", serve: "s_server -tls1_2 -groups P-224:X25519" + ecdhe, texts: []string{"secp224r1"}},
		{name: "sect571r1 only, TLS 1.2", server: "s_server -tls1_2 -groups sect571r1" + ecdhe, serve: "s_server -tls1_2 -groups sect571r1:X25519" + ecdhe, texts: []string{"sect571r1"}},
		{
			name: "P-521 only", server: "s_server -tls1_3 -groups P-521", config: "tls: {curve_preferences: [X25519]}",
			serve: "s_server -tls1_3 -groups P-521:X25519", set: "tls: {curve_preferences: [P521]}", texts: []string{"P521"},
		},
		{
			name: "P-384 only, TLS 1.2", server: "s_server -tls1_2 -groups P-384" + ecdhe, config: "tls: {curve_preferences: [P256, X25519]}",
			serve: "s_server -tls1_2 -groups P-384:P-256" + ecdhe, set: "tls: {curve_preferences: [P384]}", texts: []string{"P384"},
		},
		{
			name: "no post-quantum group", server: "s_server -tls1_3 -groups X25519:P-256", config: "tls: {curve_preferences: [X25519MLKEM768]}",
			set: "tls: {curve_preferences: [X25519]}", texts: []string{"Enable the group X25519MLKEM768 on the server."},
		},
		{
			name: "no post-quantum group, TLS 1.2", server: "s_server -tls1_2 -groups X25519:P-256" + ecdhe, config: "tls: {curve_preferences: [X25519MLKEM768]}",
			set: "tls: {curve_preferences: [X25519]}", texts: []string{"Enable TLS 1.3 with the group X25519MLKEM768 on the server."},
		},
		{name: "GnuTLS, ffdhe3072 only", server: gnutls + "+GROUP-FFDHE3072:-VERS-ALL:+VERS-TLS1.3", serve: gnutls + "+GROUP-FFDHE3072:+GROUP-X25519:-VERS-ALL:+VERS-TLS1.3", texts: []string{"ffdhe3072"}},
		{name: "GnuTLS, X448 only", server: gnutls + "+GROUP-X448", serve: gnutls + "+GROUP-X448:+GROUP-X25519", texts: []string{"x448"}},
		{
			name: "GnuTLS, P-521 only", server: gnutls + "+GROUP-SECP521R1", config: "tls: {curve_preferences: [X25519, P256]}",
			set: "tls: {curve_preferences: [P521]}", texts: []string{"P521"},
		},
		{
			name: "curve of the certificate, TLS 1.2", server: "s_server -tls1_2 -cert ecdsa.pem -key ecdsa.key", config: "tls: {curve_preferences: [X25519]}",
			set: "tls: {curve_preferences: [X25519, P256]}", serve: "s_server -tls1_2", texts: []string{"with a key on the curve secp256r1", "RSA key"},
		},
		{name: "Mbed TLS, brainpool only", server: "lighttpd Curves=brainpoolP256r1", serve: "lighttpd", texts: []string{"brainpoolP256r1"}},
		{
			name: "Mbed TLS, P-521 only", server: "lighttpd Curves=secp521r1", config: "tls: {curve_preferences: [X25519]}",
			set: "tls: {curve_preferences: [P521]}", serve: "lighttpd", texts: []string{"P521"},
		},
		{name: "NSS, ffdhe2048 only", server: "selfserv -V tls1.3:tls1.3 -I FF2048", serve: "selfserv -V tls1.3:tls1.3 -I FF2048,P256", texts: []string{"ffdhe2048"}},
		{
			name: "NSS, P-384 only", server: "selfserv -V tls1.3:tls1.3 -I P384", config: "tls: {curve_preferences: [X25519]}",
			set: "tls: {curve_preferences: [P384]}", texts: []string{"P384"},
		},
	} {
		r.step, r.typ = failure.Handshake, failure.GroupMismatch
		rows = append(rows, r)
	}
	return append(rows,
		row{
			name: "X448 only, or RSA key exchange", server: "s_server -tls1_2 -groups X448", serve: "s_server -tls1_2 -groups X448:X25519",
			step: failure.Handshake, typ: failure.GroupMismatch, texts: []string{"the group x448", "Enable the group X25519 or P-256 on the server."},
			set: "tls: {cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true}",
		},
		row{
			name: "X448 only, or DHE, or RSA key exchange", server: "s_server -tls1_2 -groups X448 -serverpref -cipher ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:AES128-GCM-SHA256",
			serve: "s_server -tls1_2 -groups X448:X25519", step: failure.Handshake, typ: failure.GroupMismatch, texts: []string{"the group x448"},
			set: "tls: {cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true}",
		},
		row{
			name: "X448 only, or RSA key exchange in TLS 1.2", server: "s_server -groups X448", serve: "s_server -groups X448:P-256",
			step: failure.Handshake, typ: failure.GroupMismatch,
			texts: []string{"When every group was offered, it chose the group x448. When less was offered, it chose TLS_RSA_WITH_AES_128_GCM_SHA256 in TLS 1.2."},
			set:   `tls: {min_version: "1.2", max_version: "1.2", cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true}`,
		},
		row{
			name: "NSS, ffdhe2048 only, or RSA key exchange in TLS 1.2", server: "selfserv -V tls1.2:tls1.3 -I FF2048", serve: "selfserv -V tls1.2:tls1.3",
			step: failure.Handshake, typ: failure.GroupMismatch,
			texts: []string{"When every group was offered, it chose the group ffdhe2048. When less was offered, it chose TLS_RSA_WITH_AES_128_GCM_SHA256 in TLS 1.2."},
			set:   `tls: {min_version: "1.2", max_version: "1.2", cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true}`,
		},
		row{
			name: "brainpool only, in TLS 1.2 of a server that has TLS 1.3", server: "s_server -cipher kECDHE -groups brainpoolP256r1",
			serve: "s_server -cipher kECDHE -groups brainpoolP256r1:X25519", step: failure.Handshake, typ: failure.GroupMismatch,
			texts: []string{"it chose the group brainpoolP256r1", "The collector does not support brainpoolP256r1"},
		},
		row{
			name: "brainpool and CBC with SHA-384 only", server: "s_server -tls1_2 -groups brainpoolP384r1 -cipher ECDHE-RSA-AES256-SHA384",
			serve: "s_server -tls1_2 -groups brainpoolP384r1:P-256 -cipher ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-GCM-SHA256",
			step:  failure.Handshake, typ: failure.CipherMismatch,
			texts: []string{"Enable an ECDHE suite", "Enable the group X25519 or P-256 on the server.", "brainpoolP384r1", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"},
		},
	)
}

// signatureRefusals are those of servers whose key cannot make a signature that the collector accepts.
func signatureRefusals() []row {
	const gnutls = "gnutls-serv rsa --disable-client-cert --priority NORMAL:-KX-ALL:+ECDHE-RSA:-VERS-ALL:+VERS-TLS1.2:-SIGN-ALL:"
	var rows []row
	for _, r := range []row{
		{name: "Ed448 certificate", server: "s_server -cert ed448.pem -key ed448.key", serve: "s_server -cert ed25519.pem -key ed25519.key", texts: []string{"Ed448"}},
		{name: "Ed448 certificate, TLS 1.2", server: "s_server -tls1_2 -cert ed448.pem -key ed448.key", serve: "s_server -tls1_2 -cert ecdsa.pem -key ecdsa.key", texts: []string{"Ed448"}},
		{name: "GnuTLS, Ed448 certificate", server: "gnutls-serv ed448 --disable-client-cert", serve: "gnutls-serv ecdsa --disable-client-cert", texts: []string{"Ed448"}},
		{
			name: "RSA key exchange, and SHA-1 only", server: "s_server -tls1_2 -sigalgs RSA+SHA1 -cipher AES128-GCM-SHA256:@SECLEVEL=0",
			serve: "s_server -tls1_2 -sigalgs RSA-PSS+SHA256:RSA+SHA256 -cipher ECDHE-RSA-AES128-GCM-SHA256", typ: failure.CipherMismatch,
			texts: []string{"no combination of the offered cipher suites and signature algorithms", "TLS_RSA_WITH_AES_128_GCM_SHA256", "rsa_pss_rsae_sha256"},
		},
		{name: "RSA-PSS certificate", server: "s_server -cert rsa-pss.pem -key rsa-pss.key", serve: "s_server", texts: []string{"RSA-PSS"}},
		{name: "brainpool certificate", server: "s_server -cert brainpool-leaf.pem -key brainpool-leaf.key", serve: "s_server -cert ecdsa.pem -key ecdsa.key", texts: []string{"brainpool"}},
		{name: "secp256k1 certificate", server: "s_server -cert secp256k1.pem -key secp256k1.key", serve: "s_server -cert ecdsa.pem -key ecdsa.key", texts: []string{"secp256k1"}},
		{name: "P-224 certificate", server: "s_server -cert p224.pem -key p224.key -cipher DEFAULT:@SECLEVEL=0", serve: "s_server -cert ecdsa.pem -key ecdsa.key", texts: []string{"EC P-224"}},
		{name: "SHA-1 only", server: "s_server -tls1_2 -sigalgs RSA+SHA1 -cipher ECDHE:@SECLEVEL=0", serve: "s_server -tls1_2 -sigalgs RSA+SHA1:RSA+SHA256 -cipher ECDHE:@SECLEVEL=0", texts: []string{"rsa_pkcs1_sha1"}},
		{name: "SHA-224 only", server: "s_server -tls1_2 -sigalgs RSA+SHA224 -cipher ECDHE:@SECLEVEL=0", serve: "s_server -tls1_2 -sigalgs RSA+SHA224:RSA+SHA256 -cipher ECDHE", texts: []string{"rsa_pkcs1_sha224"}},
		{name: "GnuTLS, SHA-1 only", server: gnutls + "+SIGN-RSA-SHA1:%VERIFY_ALLOW_SIGN_WITH_SHA1", serve: gnutls + "+SIGN-RSA-SHA256", texts: []string{"rsa_pkcs1_sha1"}},
		{name: "NSS, SHA-1 only", server: "selfserv -V tls1.2:tls1.2 -c :C02F -J rsa_pkcs1_sha1", serve: "selfserv -V tls1.2:tls1.2 -c :C02F -J rsa_pkcs1_sha256", texts: []string{"rsa_pkcs1_sha1"}},
	} {
		r.step, r.typ = failure.Handshake, cmp.Or(r.typ, failure.SignatureMismatch)
		rows = append(rows, r)
	}
	return rows
}

// versionRefusals are those of servers that have no version in common with the collector.
func versionRefusals() []row {
	const weak = " -cipher ALL:@SECLEVEL=0"
	const gnutls = "gnutls-serv rsa --disable-client-cert --priority NORMAL:-VERS-ALL:"
	only := func(version string) string {
		return fmt.Sprintf("tls: {min_version: %q, max_version: %q}", version, version)
	}
	const cbc = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
	var rows []row
	for _, r := range []row{
		{name: "TLS 1.1 only", server: "s_server -tls1_1" + weak, serve: "s_server -tls1_2", texts: []string{"speaks only TLS 1.1", cbc}, set: only("1.1")},
		{name: "TLS 1.0 only", server: "s_server -tls1" + weak, serve: "s_server", texts: []string{"speaks only TLS 1.0", cbc}, set: only("1.0")},
		{name: "TLS 1.0 and DHE only", server: "s_server -tls1 -cipher DHE-RSA-AES128-SHA:@SECLEVEL=0", serve: "s_server", texts: []string{"TLS 1.0", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"}},
		{
			name: "TLS 1.0 and RSA key exchange only", server: "s_server -tls1 -cipher AES128-SHA:@SECLEVEL=0", serve: "s_server",
			texts: []string{"speaks only TLS 1.0"},
			set:   `tls: {min_version: "1.0", max_version: "1.0", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], include_insecure_cipher_suites: true}`,
		},
		{
			name: "TLS 1.3 only", server: "s_server -tls1_3", config: `tls: {max_version: "1.2"}`, texts: []string{"speaks only TLS 1.3"},
			set: only("1.3"),
		},
		{
			name: "TLS 1.2 only", server: "s_server -tls1_2", config: `tls: {min_version: "1.3"}`, texts: []string{"speaks only TLS 1.2"},
			set: `tls: {min_version: "1.2", max_version: "1.2", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}`, serve: "s_server",
		},
		{
			name: "haproxy, TLS 1.3 only", server: "haproxy", port: 3, config: `tls: {max_version: "1.2"}`, texts: []string{"speaks only TLS 1.3"},
			set: only("1.3"), serve: "haproxy",
		},
		{name: "GnuTLS, TLS 1.0 only", server: gnutls + "+VERS-TLS1.0", serve: gnutls + "+VERS-TLS1.0:+VERS-TLS1.2", texts: []string{"speaks only TLS 1.0"}, set: only("1.0")},
		{name: "GnuTLS, TLS 1.0 and 1.1", server: gnutls + "+VERS-TLS1.1:+VERS-TLS1.0", serve: gnutls + "+VERS-TLS1.1:+VERS-TLS1.2", texts: []string{"speaks only TLS 1.1 and TLS 1.0"}, set: only("1.1")},
		{
			name: "Mbed TLS, TLS 1.2 only", server: "lighttpd", config: `tls: {min_version: "1.3"}`, texts: []string{"speaks only TLS 1.2"},
			set: `tls: {min_version: "1.2", max_version: "1.2", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}`,
		},
		{name: "NSS, TLS 1.0 only", server: "selfserv -V tls1.0:tls1.0", serve: "selfserv -V tls1.2:tls1.3", texts: []string{"speaks only TLS 1.0"}, set: only("1.0")},
		{
			name: "NSS, TLS 1.0 and RC4 only", server: "selfserv -V tls1.0:tls1.0 -c :0005", serve: "selfserv -V tls1.2:tls1.3", texts: []string{"speaks only TLS 1.0"},
			set: `tls: {min_version: "1.0", max_version: "1.0", cipher_suites: [TLS_RSA_WITH_RC4_128_SHA], include_insecure_cipher_suites: true}`,
		},
		{
			name: "NSS, TLS 1.2 and 3DES only", server: "selfserv -V tls1.0:tls1.2 -c :000A", config: `tls: {min_version: "1.3"}`, serve: "selfserv -V tls1.2:tls1.3",
			texts: []string{"refuses the offered TLS versions. In TLS 1.2 it chose TLS_RSA_WITH_3DES_EDE_CBC_SHA."},
			set:   `tls: {min_version: "1.2", max_version: "1.2", cipher_suites: [TLS_RSA_WITH_3DES_EDE_CBC_SHA], include_insecure_cipher_suites: true}`,
		},
		{
			name: "TLS 1.2 and 1.3 only", server: "s_server", config: `tls: {min_version: "1.0", max_version: "1.1"}`,
			texts: []string{"refuses the offered TLS versions. In TLS 1.3 it chose"}, set: only("1.3"),
		},
		{
			name: "TLS 1.2, where DHE is preferred", server: "s_server -tls1_2 -serverpref -cipher DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
			config: `tls: {min_version: "1.0", max_version: "1.1"}`, texts: []string{"In TLS 1.2 it chose TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256."},
			set: `tls: {min_version: "1.2", max_version: "1.2", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}`,
		},
		{
			name: "TLS 1.0 and X448 only", server: "s_server -tls1 -groups X448 -cipher ECDHE:@SECLEVEL=0", serve: "s_server -groups X448:X25519",
			texts: []string{"Enable TLS 1.2 or 1.3 on the server. Enable the group X25519 or P-256 on the server. The collector does not support x448, other clients may."},
		},
		{
			name: "TLS 1.2 and X448 only", server: "s_server -tls1_2 -groups X448 -cipher ECDHE", config: `tls: {min_version: "1.3"}`, serve: "s_server -groups X448:X25519",
			texts: []string{"Enable TLS 1.3 on the server. Enable the group X25519 or P-256 on the server. The collector does not support x448, other clients may."},
		},
		{
			name: "TLS 1.2 and Ed448 only", server: "s_server -tls1_2 -cert ed448.pem -key ed448.key", config: `tls: {min_version: "1.3"}`, serve: "s_server -cert ed25519.pem -key ed25519.key",
			texts: []string{"Enable TLS 1.3 on the server. Use a certificate with an ECDSA P-256, RSA or Ed25519 key on the server. The collector does not support ed448 with such a key, other clients may."},
		},
		{name: "NSS, SSL 3 only", server: "selfserv -V ssl3:ssl3", serve: "selfserv -V tls1.2:tls1.3", texts: []string{"speaks only SSL 3.0.", "The collector does not support SSL 3.0, other clients may."}},
	} {
		r.step, r.typ = failure.Handshake, failure.ProtocolMismatch
		rows = append(rows, r)
	}
	return rows
}

// certificateRefusals are of servers that have no certificate, or one that crypto/tls does not accept.
func certificateRefusals() []row {
	const weak = " -cipher DEFAULT:@SECLEVEL=0"
	const gnutls = "gnutls-serv rsa --disable-client-cert --priority NORMAL"
	weakKey, malformed := failure.Type(certs.WeakKey), failure.Type(certs.Malformed)
	return []row{
		{
			name: "no certificate", server: "s_server -nocert", serve: "s_server", step: failure.Handshake, typ: failure.HandshakeFailure,
			texts: []string{"so it most likely has no certificate", "Configure a certificate and its key"},
		},
		{
			name: "no certificate, TLS 1.2", server: "s_server -nocert -tls1_2", serve: "s_server -tls1_2", step: failure.Handshake, typ: failure.HandshakeFailure,
			texts: []string{"so it most likely has no certificate", "Configure a certificate and its key"},
		},
		{
			name: "no ECDSA certificate", server: "s_server", config: "certificate_types: [ecdsa]", serve: "s_server -cert ecdsa.pem -key ecdsa.key",
			set: "certificate_types: []", step: failure.Handshake, typ: failure.CipherMismatch, texts: []string{"refuses clients that accept only an ECDSA certificate", "remove ecdsa"},
		},
		{
			name: "GnuTLS, no ECDSA certificate", server: "gnutls-serv rsa --disable-client-cert", config: "certificate_types: [ecdsa]", serve: "gnutls-serv ecdsa --disable-client-cert",
			set: "certificate_types: []", step: failure.Handshake, typ: failure.CipherMismatch, texts: []string{"refuses clients that accept only an ECDSA certificate", "remove ecdsa"},
		},
		{
			name: "a kind of certificate, TLS 1.3 only", server: "s_server -tls1_3", config: "certificate_types: [rsa]", serve: "s_server",
			set: "certificate_types: []", step: failure.Handshake, typ: failure.ProtocolMismatch, texts: []string{"uses its RSA certificate only in TLS 1.3", "Enable TLS 1.2 on the server"},
		},
		{
			name: "no certificate, of which a type is demanded", server: "s_server -nocert", config: "certificate_types: [rsa]", serve: "s_server",
			step: failure.Handshake, typ: failure.HandshakeFailure, texts: []string{"so it most likely has no certificate", "Configure a certificate and its key"},
		},
		{
			name: "GnuTLS, no signature algorithm for its certificate", server: gnutls + ":-RSA:-SIGN-ALL:+SIGN-ECDSA-SHA256", serve: gnutls + ":-RSA",
			step: failure.Handshake, typ: failure.HandshakeFailure, texts: []string{"or none that its cipher suites and signature algorithms allow", "and signature algorithms for that kind of key"},
		},
		{
			name: "GnuTLS, RSA key exchange, and no signature algorithm for its certificate", server: gnutls + ":-SIGN-ALL:+SIGN-ECDSA-SHA256",
			serve: gnutls + ":-SIGN-ALL:+SIGN-ECDSA-SHA256:+SIGN-RSA-PSS-RSAE-SHA256", step: failure.Handshake, typ: failure.CipherMismatch,
			texts: []string{"If it has one, enable the signature algorithm rsa_pss_rsae_sha256."},
			set:   `tls: {min_version: "1.2", max_version: "1.2", cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true}`,
		},
		{
			name: "a kind of certificate, DHE only", server: "s_server -cipher DHE-RSA-AES128-GCM-SHA256", config: "certificate_types: [rsa]",
			serve: "s_server -cipher DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", step: failure.Handshake, typ: failure.CipherMismatch,
			texts: []string{"When every suite for an RSA certificate was offered, it chose TLS_DHE_RSA_WITH_AES_128_GCM_SHA256.", "the collector does not support TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"},
		},
		{
			name: "a kind of certificate, RSA key exchange only", server: "s_server -cipher AES128-GCM-SHA256", config: "certificate_types: [rsa]",
			serve: "s_server -cipher AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", step: failure.Handshake, typ: failure.CipherMismatch,
			texts: []string{"With certificate_types, the collector does not support TLS_RSA_WITH_AES_128_GCM_SHA256"},
		},
		{
			name: "a kind of certificate, CBC with SHA-256 only", server: "s_server -cipher ECDHE-RSA-AES128-SHA256", config: "certificate_types: [rsa]",
			serve: "s_server -cipher ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-GCM-SHA256", step: failure.Handshake, typ: failure.CipherMismatch,
			texts: []string{"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"},
			set:   "tls: {cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256], include_insecure_cipher_suites: true}",
		},
		{
			name: "a kind of certificate, X448 only", server: "s_server -cipher ECDHE -groups X448", config: "certificate_types: [rsa]",
			serve: "s_server -cipher ECDHE -groups X448:X25519", step: failure.Handshake, typ: failure.GroupMismatch,
			texts: []string{"it chose the group x448", "Enable the group X25519 or P-256 on the server."},
		},
		{
			name: "a kind of certificate, TLS 1.0 only", server: "s_server -tls1 -cipher ALL:@SECLEVEL=0", config: "certificate_types: [rsa]", serve: "s_server",
			step: failure.Handshake, typ: failure.ProtocolMismatch,
			texts: []string{"speaks only TLS 1.0 with clients that accept only an RSA certificate.", "Enable TLS 1.2 on the server."},
			set:   `tls: {min_version: "1.0", max_version: "1.0"}`,
		},
		{
			name: "a kind of certificate, unknown name", server: "haproxy", port: 1, config: "{certificate_types: [rsa], tls: {server_name_override: zzz.test}}",
			set: "tls: {server_name_override: b.test}", step: failure.Handshake, typ: failure.UnrecognizedName, texts: []string{"server_name_override"},
		},
		{
			name: "RSA key of 512 bits", server: "s_server -tls1_2 -cert rsa-512.pem -key rsa-512.key" + weak, serve: "s_server -tls1_2",
			step: failure.Verify, typ: weakKey, texts: []string{"512 bits", "at least 2048 bits"},
		},
		{
			name: "RSA key of 768 bits", server: "s_server -cert rsa-768.pem -key rsa-768.key" + weak, serve: "s_server -cert ecdsa.pem -key ecdsa.key",
			step: failure.Verify, typ: weakKey, texts: []string{"768 bits", "ECDSA"},
		},
		{
			name: "RSA key of 1000 bits", server: "s_server -cert rsa-1000.pem -key rsa-1000.key" + weak, serve: "s_server",
			step: failure.Verify, typ: weakKey, texts: []string{"1000 bits"},
		},
		{
			name: "RSA key of 512 bits, without verification", server: "s_server -tls1_2 -cert rsa-512.pem -key rsa-512.key" + weak,
			config: "tls: {insecure_skip_verify: true}", serve: "s_server -tls1_2", step: failure.Verify, typ: weakKey,
			texts: []string{"an RSA key of 512 bits, with which crypto/tls makes no handshake, whatever insecure_skip_verify says"},
		},
		{
			name: "RSA key exchange with 512 bits, without verification", server: "s_server -tls1_2 -cert rsa-512.pem -key rsa-512.key" + weak,
			config: "tls: {insecure_skip_verify: true, cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], include_insecure_cipher_suites: true}",
			serve:  "s_server -tls1_2 -cipher kRSA", step: failure.Verify, typ: weakKey, texts: []string{"an RSA key of 512 bits, with which crypto/tls makes no handshake"},
		},
		{
			name: "RSA key exchange with 768 bits", server: "s_server -tls1_2 -cert rsa-768.pem -key rsa-768.key -cipher AES128-GCM-SHA256:@SECLEVEL=0",
			config: "tls: {cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true}", serve: "s_server -tls1_2 -cipher kRSA",
			step: failure.Verify, typ: weakKey, texts: []string{"768 bits"},
		},
		{
			name: "signed with SHA-1", server: "s_server -cert sha1.pem -key sha1.key" + weak, serve: "s_server",
			step: failure.Verify, typ: failure.Type(certs.WeakSignature), texts: []string{"SHA1-RSA", "SHA-256"},
		},
		{
			name: "negative serial number", server: "s_server -cert negative-serial.pem -key negative-serial.key", serve: "s_server",
			step: failure.Verify, typ: malformed, texts: []string{"certificate 1 of 2", "its serial number is negative"},
		},
		{
			name: "unreadable intermediate", server: "s_server -cert_chain brainpool-leaf.pem", serve: "s_server",
			step: failure.Verify, typ: malformed, texts: []string{"certificate 2 of 3", "brainpoolP256r1"},
		},
		{
			name: "GnuTLS, signed with Ed448", server: "gnutls-serv ed448-signed --disable-client-cert", serve: "gnutls-serv rsa --disable-client-cert",
			step: failure.Verify, typ: malformed, texts: []string{"Ed448"},
		},
		{
			name: "chain of more than 256 KiB", server: "s_server -cert_chain long-chain.pem", serve: "s_server",
			step: failure.Verify, typ: malformed, texts: []string{"too large"},
		},
		{
			name: "no intermediate", server: "s_server -servername b.test -cert2 b.test.pem -key2 b.test.key -servername_fatal",
			config: "tls: {server_name_override: b.test}", serve: "nginx", step: failure.Verify, typ: failure.Type(certs.IncompleteChain),
			texts: []string{`the intermediate certificate "Interop Intermediate"`, "http://b.test/ca.crt"},
		},
	}
}

// nameRefusals are those of servers that do not serve the name, or none of the ALPN protocols.
func nameRefusals() []row {
	const openSSL = "s_server -servername b.test -cert2 b.test.pem -key2 b.test.key -servername_fatal"
	name := func(name string) string { return "tls: {server_name_override: " + name + "}" }
	var rows []row
	for _, r := range []row{
		// s_server sends no intermediate with its second certificate.
		{name: "OpenSSL, unknown name", server: openSSL, config: "tls: {ca_file: $PKI/intermediate.pem, server_name_override: zzz.test}", set: name("b.test")},
		{name: "NSS, unknown name", server: "selfserv -V tls1.2:tls1.3 -a localhost", config: name("zzz.test"), set: name("localhost")},
		{name: "GnuTLS, unknown name", server: "gnutls-serv rsa --disable-client-cert --sni-hostname localhost --sni-hostname-fatal", config: name("zzz.test"), set: name("localhost")},
		{name: "haproxy, unknown name", server: "haproxy", port: 1, config: name("zzz.test"), set: name("b.test")},
		{name: "nginx, unknown name", server: "nginx", port: 1, config: name("zzz.test"), set: name("b.test")},
		{name: "haproxy, an address", server: "haproxy", port: 1, config: name("127.0.0.1"), set: name("localhost")},
		{name: "nginx, an address", server: "nginx", port: 1, config: name("127.0.0.1"), set: name("b.test")},
	} {
		r.step, r.typ, r.texts = failure.Handshake, failure.UnrecognizedName, []string{"server_name_override"}
		rows = append(rows, r)
	}
	for _, r := range []row{
		{name: "OpenSSL, ALPN", server: "s_server -alpn h2,http/1.1"},
		{name: "OpenSSL, ALPN, TLS 1.2", server: "s_server -tls1_2 -alpn h2"},
		{name: "GnuTLS, ALPN", server: "gnutls-serv rsa --disable-client-cert --alpn h2 --alpn-fatal"},
		{name: "NSS, ALPN", server: "selfserv -V tls1.2:tls1.3 -Q", set: "alpn: [http/1.1]"},
		{name: "nginx, ALPN", server: "nginx"},
	} {
		if r.set == "" {
			r.set = "alpn: [h2]"
		}
		r.config, r.step, r.typ, r.texts = "alpn: [imap]", failure.Handshake, failure.ALPNMismatch, []string{`"imap"`, "alert 120, no_application_protocol"}
		rows = append(rows, r)
	}
	return rows
}

// clientCertificateRefusals are those of servers that do not accept the client certificate.
func clientCertificateRefusals() []row {
	const openSSL, clients = "s_server -Verify 3 -verify_return_error -CAfile clients.pem", "CN=Clients,O=Farm"
	const gnutls = "gnutls-serv rsa --require-client-cert --verify-client-cert --x509cafile clients.pem"
	const nss = "selfserv -V tls1.2:tls1.3 -r -r"
	with := func(client string) string {
		return "tls: {cert_file: $PKI/" + client + ".pem, key_file: $PKI/" + client + ".key}"
	}
	const tls12 = `tls: {max_version: "1.2"}`
	var rows []row
	for _, r := range []row{
		{name: "OpenSSL, no client certificate", server: openSSL, typ: failure.MissingClientCert, texts: []string{clients}},
		{name: "OpenSSL, no client certificate, TLS 1.2", server: openSSL, config: tls12, typ: failure.MissingClientCert, texts: []string{clients}},
		{name: "GnuTLS, no client certificate, TLS 1.2", server: gnutls, config: tls12, typ: failure.MissingClientCert, texts: []string{clients}},
		{name: "NSS, no client certificate, TLS 1.2", server: nss, config: tls12, typ: failure.MissingClientCert, texts: []string{clients}},
		{name: "haproxy, no client certificate", server: "haproxy", port: 2, typ: failure.MissingClientCert, texts: []string{clients}},
		{name: "stunnel, no client certificate", server: "stunnel", port: 1, typ: failure.MissingClientCert, texts: []string{clients}},
		{name: "redis, no client certificate", server: "redis yes", typ: failure.MissingClientCert, texts: []string{"does not say which CAs"}},
		{name: "mosquitto, no client certificate", server: "mosquitto", port: 1, typ: failure.MissingClientCert, texts: []string{"does not say which CAs"}},
		{name: "Erlang, no client certificate", server: "rabbitmq verify_peer", typ: failure.MissingClientCert, texts: []string{clients}},
		{
			name: "Erlang, no client certificate, TLS 1.2", server: "rabbitmq verify_peer", config: tls12, typ: failure.MissingClientCert, texts: []string{clients},
		},
		// Debian builds slapd with GnuTLS. Such a slapd sends no alert.
		{
			name: "slapd, no client certificate", server: "slapd demand", config: "starttls: ldap", typ: failure.ConnectionClosed,
			texts: []string{"asked for a client certificate, got none, and closed"}, log: "TLS: can't accept: Certificate is required",
		},
		{
			name: "slapd, no client certificate, TLS 1.2", server: "slapd demand", config: `{starttls: ldap, tls: {max_version: "1.2"}}`, typ: failure.ConnectionClosed,
			texts: []string{"asked for a client certificate, got none, and closed"}, log: "TLS: can't accept: No certificate was found",
		},
		{name: "OpenSSL, client certificate of another CA", server: openSSL, config: with("stranger"), typ: failure.UnknownCA, texts: []string{clients, "stranger"}},
		{name: "GnuTLS, client certificate of another CA", server: gnutls, config: with("stranger"), typ: failure.UnknownCA, texts: []string{clients, "stranger"}},
		{name: "NSS, client certificate of another CA", server: nss, config: with("stranger"), typ: failure.UnknownCA, texts: []string{clients, "stranger"}},
		{
			name: "OpenSSL, client certificate of another CA, which the server then trusts", server: openSSL, config: with("foreign"),
			serve: "s_server -Verify 3 -verify_return_error -CAfile foreign-cas.pem",
			typ:   failure.UnknownCA, texts: []string{`or add "Foreign Issuer", and the CAs above it up to their root, to the client CAs of the server`},
		},
		{name: "GnuTLS, revoked client certificate", server: gnutls + " --x509crlfile crl.pem", config: with("revoked"), typ: failure.AccessDenied, texts: []string{"list of revoked certificates (CRL)"}},
		{name: "OpenSSL, client certificate without its intermediate", server: openSSL, config: with("lone"), typ: failure.UnknownCA, texts: []string{"Client Issuer", "intermediate"}, set: with("completed")},
		{name: "GnuTLS, client certificate without its intermediate", server: gnutls, config: with("lone"), typ: failure.UnknownCA, texts: []string{"Client Issuer", "intermediate"}, set: with("completed")},
		{name: "OpenSSL, expired client certificate", server: openSSL, config: with("expired"), typ: failure.ClientCertExpired, texts: []string{"Renew"}},
		{name: "GnuTLS, expired client certificate", server: gnutls, config: with("expired"), typ: failure.ClientCertExpired, texts: []string{"Renew"}},
		{name: "mosquitto, expired client certificate", server: "mosquitto", port: 1, config: with("expired"), typ: failure.ClientCertExpired, texts: []string{"Renew"}},
		{name: "OpenSSL, client certificate that is not yet valid", server: openSSL, config: with("early"), typ: failure.ClientCertNotYetValid, texts: []string{"It is not valid before"}},
		{name: "GnuTLS, client certificate that is not yet valid", server: gnutls, config: with("early"), typ: failure.ClientCertNotYetValid, texts: []string{"It is not valid before"}},
		{name: "NSS, client certificate that is not yet valid", server: nss, config: with("early"), typ: failure.ClientCertNotYetValid, texts: []string{"It is not valid before"}},
		{name: "OpenSSL, client certificate for servers", server: openSSL, config: with("server-only"), typ: failure.UnsupportedCertificate, texts: []string{"clientAuth"}},
		{name: "NSS, client certificate for servers", server: nss, config: with("server-only"), typ: failure.UnsupportedCertificate, texts: []string{"clientAuth"}},
		{name: "NSS, client certificate with Ed25519", server: nss, config: with("client-ed25519"), typ: failure.UnsupportedCertificate, texts: []string{"Ed25519"}},
		{name: "OpenSSL, client certificate with a short key", server: openSSL, config: with("weak"), typ: failure.UnsupportedCertificate, texts: []string{"It has an RSA key of 1024 bits"}},
		{name: "OpenSSL, client certificate from an expired CA", server: openSSL, config: with("old-ca"), typ: failure.ClientCertExpired, texts: []string{`The CA certificate "Old Issuer" in cert_file expired on`}},
		{name: "GnuTLS, client certificate from an expired CA", server: gnutls, config: with("old-ca"), typ: failure.ClientCertExpired, texts: []string{`The CA certificate "Old Issuer" in cert_file expired on`}},
		{
			name: "OpenSSL, client certificate with ECDSA where only Ed25519 is accepted", server: openSSL + " -client_sigalgs ed25519", config: with("client"), set: with("client-ed25519"),
			typ: failure.UnsupportedCertificate, texts: []string{"its key (ECDSA, 256 bits)", "whose signatures the server accepts: Ed25519."},
		},
		{
			name: "OpenSSL, client certificate with a key that is too short for SHA-512", server: openSSL + " -client_sigalgs RSA-PSS+SHA512 -cipher ALL:@SECLEVEL=0", config: with("weak"), set: with("client-rsa"),
			typ: failure.UnsupportedCertificate, texts: []string{"its key (RSA, 1024 bits)", "whose signatures the server accepts: RSA of at least 2048 bits."},
		},
		{name: "OpenSSL, client key of 768 bits", server: openSSL, config: with("client-rsa-768"), typ: failure.UnsupportedCertificate, texts: []string{"The collector cannot sign with RSA keys"}},
		{name: "OpenSSL, client key of 768 bits, TLS 1.2", server: openSSL + " -tls1_2", config: with("client-rsa-768"), typ: failure.UnsupportedCertificate, texts: []string{"The collector cannot sign with RSA keys"}},
		{name: "OpenSSL, client key on P-224", server: openSSL, config: with("client-p224"), typ: failure.UnsupportedCertificate, texts: []string{"could not sign it", "on the curve P-224"}},
		{name: "OpenSSL, client key on P-224, TLS 1.2", server: openSSL + " -tls1_2", config: with("client-p224"), typ: failure.UnsupportedCertificate, texts: []string{"It has an ECDSA key on the curve P-224", "illegal_parameter"}},
		{name: "OpenSSL, client certificate with an unknown critical extension", server: openSSL, config: with("client-critical"), typ: failure.BadCertificate, texts: []string{"It has the critical extension 1.2.3.4"}},
		{name: "OpenSSL, client certificate for any usage", server: openSSL, config: with("any-usage"), typ: failure.UnsupportedCertificate, texts: []string{"It has the extended key usage anyExtendedKeyUsage, but not clientAuth."}},
		{name: "OpenSSL, client certificate from a CA for any usage", server: openSSL, config: with("under-any-usage"), typ: failure.UnsupportedCertificate, texts: []string{`The CA certificate "Any" in cert_file has the extended key usage anyExtendedKeyUsage`}},
		{name: "OpenSSL, client certificate from an intermediate that is no CA", server: openSSL, config: with("under-no-ca"), typ: failure.BadCertificate, texts: []string{`The certificate "Not A CA" in cert_file is used as an issuer`}},
		{name: "OpenSSL, client certificate below too many intermediates", server: openSSL, config: with("too-deep"), set: with("not-too-deep"), typ: failure.BadCertificate, texts: []string{`The CA certificate "Short" in cert_file allows fewer intermediates`}},
		{name: "OpenSSL, client certificate with a name that is not permitted", server: openSSL, config: with("outside"), set: with("inside"), typ: failure.BadCertificate, texts: []string{`It has the DNS name "out.example"`, "permits only in.example"}},
		{name: "OpenSSL, client certificate with another intermediate of the same name", server: openSSL, config: with("mixed"), set: with("twins"), typ: failure.BadCertificate, texts: []string{`It was not signed with the key of the CA certificate "Client Issuer" in cert_file`, "decrypt_error"}},
		{
			name: "OpenSSL, client certificate of a CA with the name of the one that it trusts", server: openSSL, config: with("by-namesake"), serve: "s_server -Verify 3 -verify_return_error -CAfile namesake.pem",
			typ: failure.BadCertificate, texts: []string{`trusts "Clients" with another key than the one that signed the certificate`, "decrypt_error"},
		},
		{
			name: "OpenSSL without a list of CAs, client certificate without its intermediate", server: "s_server -Verify 3 -verify_return_error -verifyCAfile clients.pem", config: with("lone"), set: with("completed"),
			typ: failure.UnknownCA, texts: []string{`unless the server lacks the certificate of "Client Issuer"`, `If "Client Issuer" is an intermediate, add its certificate to the end of cert_file`},
		},
		{
			name: "OpenSSL, client certificate where the server has no CRL", server: openSSL + " -crl_check", config: with("client"), serve: openSSL + " -CRL crl.pem -crl_check",
			typ: failure.UnknownCA, texts: []string{"if it checks CRLs, that it has one of each CA"},
		},
		{
			name: "OpenSSL, revoked client certificate", server: openSSL + " -CRL crl.pem -crl_check", config: with("revoked"), typ: failure.ClientCertRevoked,
			texts: []string{"Issue a new certificate and a new key"},
		},
	} {
		r.step = failure.ClientAuth
		if r.set == "" && r.serve == "" {
			r.set = with("client")
		}
		rows = append(rows, r)
	}
	return rows
}

// plaintextRefusals are those of servers that do not speak TLS from the first byte.
func plaintextRefusals() []row {
	rows := []row{
		{name: "HTTP", server: "nginx", port: 3, serve: "nginx", typ: failure.NotTLS, texts: []string{"speaks HTTP without TLS", "Correct the port"}},
		{
			name: "PROXY protocol", server: "haproxy", port: 4, serve: "haproxy", typ: failure.ConnectionClosed,
			texts: []string{"closed the connection", "PROXY protocol"},
		},
		{
			name: "PostgreSQL, starttls missing", server: "postgresql on", typ: failure.ConnectionClosed, texts: []string{"does not speak TLS"},
			cannot: "the server closes the connection without a word, so the fix lists the usual reasons",
		},
	}
	for _, r := range []row{
		{name: "Postfix", server: "postfix", set: "starttls: smtp", texts: []string{`It sent "220 mx.test ESMTP Postfix`}},
		{name: "Exim", server: "exim4", set: "starttls: smtp", texts: []string{`It sent "220 mx.test ESMTP Exim`}},
		{name: "imap", server: "dovecot yes", set: "starttls: imap", texts: []string{`It sent "* OK`}},
		{name: "pop3", server: "dovecot yes", port: 1, set: "starttls: pop3", texts: []string{`It sent "+OK Dovecot (Debian) ready.`}},
		{name: "sieve", server: "dovecot yes", port: 3, set: "starttls: sieve", texts: []string{"ManageSieve"}},
		{name: "ProFTPD", server: "proftpd", set: "starttls: ftp", texts: []string{`It sent "220 ProFTPD Server`}},
		{name: "vsftpd", server: "vsftpd YES", set: "starttls: ftp", texts: []string{`It sent "220 (vsFTPd`}},
		{name: "MariaDB", server: "mariadb ssl", set: "starttls: mysql", texts: []string{"MySQL"}},
		{name: "Prosody", server: "prosody", set: "starttls: xmpp", texts: []string{"XMPP"}},
		{name: "INN", server: "nnrpd", set: "starttls: nntp", texts: []string{`It sent "200 news.test InterNetNews`}},
	} {
		r.name += ", starttls missing"
		r.typ = failure.NotTLS
		rows = append(rows, r)
	}
	for i := range rows {
		rows[i].step = failure.Handshake
	}
	return rows
}

// starttlsRefusals are those of servers that do not start TLS.
func starttlsRefusals() []row {
	const bye = "Aborted login by logging out"
	var rows []row
	for _, r := range []row{
		{
			name: "Postfix", server: "postfix", port: 2, config: "starttls: smtp", serve: "postfix", texts: []string{`"502 5.5.1 Error: command not implemented"`},
			log: "ehlo=1 starttls=0/1 quit=1 commands=2/3",
		},
		{name: "Exim", server: "exim4", port: 1, config: "starttls: smtp", serve: "exim4", texts: []string{`"503 STARTTLS command used when not advertised"`}},
		{name: "imap", server: "dovecot no", config: "starttls: imap", serve: "dovecot yes", texts: []string{`"a1 BAD TLS support isn't enabled."`}, log: "imap-login: Info: Disconnected: " + bye},
		{name: "pop3", server: "dovecot no", port: 1, config: "starttls: pop3", serve: "dovecot yes", servePort: 1, texts: []string{`"-ERR TLS support isn't enabled."`}, log: "pop3-login: Info: Disconnected: " + bye},
		{name: "lmtp", server: "dovecot no", port: 2, config: "starttls: lmtp", serve: "dovecot yes", servePort: 2, texts: []string{`"502 5.5.1 TLS support is not enabled."`}, log: "Logged out (state=READY)"},
		{name: "sieve", server: "dovecot no", port: 3, config: "starttls: sieve", serve: "dovecot yes", servePort: 3, texts: []string{"TLS support isn't enabled."}, log: "managesieve-login: Info: Disconnected: " + bye},
		{name: "ProFTPD", server: "proftpd", port: 1, config: "starttls: ftp", serve: "proftpd", texts: []string{`"500 AUTH not understood"`}},
		{name: "vsftpd", server: "vsftpd NO", config: "starttls: ftp", serve: "vsftpd YES", texts: []string{`"530 Please login with USER and PASS."`}},
		{name: "slapd", server: "slapd off", config: "starttls: ldap", serve: "slapd never", texts: []string{`"result code 2 protocolError: unsupported extended operation"`}, log: "UNBIND"},
		{name: "PostgreSQL", server: "postgresql off", config: "starttls: postgres", serve: "postgresql on", texts: []string{`Expected S in reply to an SSLRequest, got "N"`}},
		{name: "MariaDB", server: "mariadb skip-ssl", config: "starttls: mysql", serve: "mariadb ssl", texts: []string{`"version 5.5.5-10.11`, "SSL capability off"}},
	} {
		r.name += " without TLS"
		r.typ, r.texts = failure.StartTLSUnsupported, append(r.texts, "Enable TLS for")
		rows = append(rows, r)
	}
	rows = append(rows,
		row{
			name: "Prosody, unknown host", server: "prosody", config: "{starttls: xmpp, tls: {server_name_override: zzz.test}}", set: "tls: {server_name_override: localhost}",
			typ: failure.StartTLSRejected, texts: []string{"stream error: host-unknown"},
		},
		row{
			name: "Prosody for servers, unknown host", server: "prosody", port: 1, config: "{starttls: xmpp-server, tls: {server_name_override: zzz.test}}", set: "tls: {server_name_override: localhost}",
			typ: failure.StartTLSRejected, texts: []string{"stream error: host-unknown"},
		},
		row{
			name: "ngIRCd, which does not answer STARTTLS", server: "ngircd", config: "{starttls: irc, timeout: 1s}", typ: failure.StartTLSTimeout,
			texts: []string{"Expected numeric 670"}, cannot: "the server does not say that it does not know STARTTLS",
		},
		row{
			name: "Postfix, starttls: imap", server: "postfix", config: "starttls: imap", set: "starttls: smtp", typ: failure.StartTLSProtocolError,
			texts: []string{`"220 mx.test ESMTP Postfix`},
		},
		row{
			name: "Dovecot, starttls: smtp", server: "dovecot yes", config: "starttls: smtp", set: "starttls: imap", typ: failure.StartTLSProtocolError,
			texts: []string{`"* OK`},
		},
		row{
			name: "GnuTLS, starttls: ldap", server: "gnutls-serv rsa --disable-client-cert", config: "starttls: ldap", set: `starttls: ""`, typ: failure.StartTLSProtocolError,
			texts: []string{"got a TLS record", "Remove starttls"},
		},
		row{
			name: "haproxy, starttls: postgres", server: "haproxy", config: "starttls: postgres", set: `starttls: ""`, typ: failure.ConnectionClosed,
			texts: []string{"got nothing", "If the port speaks TLS from the first byte, remove starttls."},
		},
		row{
			name: "starttls with TLS from the first byte", server: "postfix", port: 3, config: "{starttls: smtp, timeout: 1s}", set: `starttls: ""`, typ: failure.StartTLSTimeout,
			texts: []string{"remove starttls"},
		},
	)
	for i := range rows {
		rows[i].step = failure.StartTLS
	}
	return rows
}
