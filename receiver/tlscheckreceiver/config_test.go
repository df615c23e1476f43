package tlscheckreceiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// keyPair writes a certificate and its key to files.
func keyPair(t *testing.T, c tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	chain, key := tlsfarm.PEM(c)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, chain, 0o600))
	require.NoError(t, os.WriteFile(keyFile, key, 0o600))
	return certFile, keyFile
}

func build(t *testing.T, yaml string) []*target.Target {
	t.Helper()
	cfg, err := configure(t, yaml)
	require.NoError(t, err)
	targets, err := cfg.build(targetconfig.NewBuilder(0, zap.NewNop()))
	require.NoError(t, err)
	return targets
}

func TestDefaults(t *testing.T) {
	tt := build(t, `targets: [{endpoint: "example.com:443"}]`)[0]
	assert.Equal(t, "example.com:443", tt.Endpoint.String())
	assert.Equal(t, time.Minute, tt.Interval)
	assert.Equal(t, time.Second, tt.InitialDelay)
	assert.Equal(t, 10*time.Second, tt.Timeout)
	assert.Equal(t, target.WarnBefore(720*time.Hour), tt.ExpiryWarning)
	assert.Equal(t, target.SpansAlways, tt.Spans)
	assert.Nil(t, tt.TLS.RootCAs, "the system's roots")
	assert.Nil(t, tt.TLS.CurvePreferences, "Go's default, which includes post-quantum key exchange")
	assert.Nil(t, tt.TLS.CipherSuites)
	assert.Equal(t, uint16(tls.VersionTLS12), tt.TLS.MinVersion)
}

func TestEveryKeyWorksAtTheTopAndOnATarget(t *testing.T) {
	ca, other := caFile(t), caFile(t)
	targets := build(t, fmt.Sprintf(`
collection_interval: 20s
initial_delay: 2s
timeout: 4s
expiry_warning: 100h
spans: {when: on_failure}
explain: {when: never}
alpn: [h2]
attributes: {env: prod, team: all}
tls:
  ca_file: %q
  min_version: "1.3"
  server_name_override: default.example
  curve_preferences: [P256, P384]
targets:
  - endpoint: a.example:443
  - endpoint: b.example:443
    collection_interval: 30s
    initial_delay: 3s
    timeout: 5s
    expiry_warning: 200h
    spans: {when: on_change}
    explain: {when: on_change}
    alpn: [http/1.1, imap]
    attributes: {team: edge}
    tls:
      ca_file: %q
      server_name_override: b.other.example
      curve_preferences: [X25519]
  - endpoint: c.example:443
    tls: {min_version: "1.2"}
  - endpoint: d.example:443
    tls: {ca_pem: %q}
`, ca, other, root.PEM()))
	a, b, c, d := targets[0], targets[1], targets[2], targets[3]
	assert.Equal(t, []any{20 * time.Second, 2 * time.Second, 4 * time.Second, target.WarnBefore(100 * time.Hour), target.SpansOnFailure, target.ExplainNever},
		[]any{a.Interval, a.InitialDelay, a.Timeout, a.ExpiryWarning, a.Spans, a.Explain})
	assert.Equal(t, []any{30 * time.Second, 3 * time.Second, 5 * time.Second, target.WarnBefore(200 * time.Hour), target.SpansOnChange, target.ExplainOnChange},
		[]any{b.Interval, b.InitialDelay, b.Timeout, b.ExpiryWarning, b.Spans, b.Explain})
	assert.Equal(t, map[string]string{"env": "prod", "team": "all"}, a.Attributes)
	assert.Equal(t, map[string]string{"env": "prod", "team": "edge"}, b.Attributes)
	assert.Equal(t, []string{"h2"}, a.TLS.NextProtos)
	assert.Equal(t, []string{"http/1.1", "imap"}, b.TLS.NextProtos)

	assert.Equal(t, "default.example", a.TLS.ServerName)
	assert.Equal(t, "b.other.example", b.TLS.ServerName)
	assert.Equal(t, uint16(tls.VersionTLS13), b.TLS.MinVersion, "from the default block")
	assert.Equal(t, []tls.CurveID{tls.CurveP256, tls.CurveP384}, a.TLS.CurvePreferences)
	assert.Equal(t, []tls.CurveID{tls.X25519}, b.TLS.CurvePreferences)

	assert.Equal(t, uint16(tls.VersionTLS12), c.TLS.MinVersion)
	assert.Equal(t, "default.example", c.TLS.ServerName, "from the default block")
	assert.NotNil(t, c.TLS.RootCAs, "from the default block")
	assert.NotNil(t, d.TLS.RootCAs, "ca_pem replaces the default ca_file")
}

func TestAutoPicksTheProtocolByPort(t *testing.T) {
	targets := build(t, `
starttls: auto
targets:
  - {endpoint: "a.example:25"}
  - {endpoint: "a.example:5432"}
  - {endpoint: "a.example:443"}
  - {endpoint: "a.example:2525", starttls: smtp}
  - {endpoint: "a.example:143", starttls: ""}
`)
	for i, want := range []string{"smtp", "postgres", "", "smtp", ""} {
		assert.Equal(t, want, targets[i].StartTLS, targets[i].Endpoint)
	}
}

func TestTargetsWithTheSameTLSShareIt(t *testing.T) {
	targets := build(t, `
targets:
  - {endpoint: "a.example:443"}
  - {endpoint: "b.example:443"}
  - {endpoint: "c.example:443", alpn: [h2]}
  - {endpoint: "d.example:443", alpn: [h2]}
  - {endpoint: "e.example:443", tls: {min_version: "1.3"}}
`)
	assert.Same(t, targets[0].TLS, targets[1].TLS)
	assert.Same(t, targets[2].TLS, targets[3].TLS)
	assert.NotSame(t, targets[0].TLS, targets[2].TLS)
	assert.NotSame(t, targets[0].TLS, targets[4].TLS)
}

func TestInvalidConfigurationIsRejectedWithKeyValueAndFix(t *testing.T) {
	cert, key := keyPair(t, root.Issue("a"))
	_, otherKey := keyPair(t, root.Issue("b"))
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	require.NoError(t, os.WriteFile(garbage, []byte("not PEM"), 0o600))
	good := `targets: [{endpoint: "a.example:443"}]`

	for yaml, want := range map[string][]string{
		`{}`:                             {"targets:", "there are none", "endpoint: example.com:443"},
		`targets: []`:                    {"targets:", "there are none"},
		`targets: [{}]`:                  {"targets::0::endpoint:", `""`, "example.com:443"},
		`targets: [{endpoint: a}]`:       {"targets::0::endpoint:", `"a"`, "no port"},
		`targets: [{endpoint: "a:"}]`:    {"targets::0::endpoint:", `"a:"`, "no port"},
		`targets: [{endpoint: "a:0"}]`:   {"targets::0::endpoint:", `"a:0"`, "from 1 to 65535"},
		`targets: [{endpoint: "a b:1"}]`: {"targets::0::endpoint:", `"a b:1"`, "space"},
		`targets: [{endpoint: "x:1"}, {endpoint: "a:70000"}]`:           {"targets::1::endpoint:", `"a:70000"`, "from 1 to 65535"},
		`targets: [{endpoint: "https://a:443"}]`:                        {"targets::0::endpoint:", `"https://a:443"`, "scheme"},
		`targets: [{endpoint: "a:1"}, {endpoint: "A:1"}]`:               {"targets::1::endpoint:", `"A:1"`, "targets::0", "remove one"},
		`targets: [{endpoint: "a:1", timeout: 10s}, {endpoint: "a:1"}]`: {"targets::1::endpoint:", "same settings"},
		good + "\ncollection_interval: 0s":                              {"collection_interval: 0s", "1ms or more"},
		good + "\ncollection_interval: -1s":                             {"collection_interval: -1s", "1ms or more"},
		good + "\ntimeout: 0s":                                          {"timeout: 0s", "1ms or more"},
		good + "\ntimeout: 61s":                                         {"timeout: 1m1s", "longer than collection_interval, 1m0s"},
		`targets: [{endpoint: "a:1", timeout: 61s}]`:                    {"targets::0::timeout: 1m1s", "1m0s"},
		good + "\ninitial_delay: -1s":                                   {"initial_delay: -1s", "0s or more"},
		good + "\nmax_concurrent_probes: 0":                             {"max_concurrent_probes: 0", "1 or more"},
		good + "\nexpiry_warning: -1h":                                  {"expiry_warning", `"-1h" is neither a duration of 0s or more, such as 720h, nor a percentage`},
		good + "\nspans: {when: never}":                                 {`spans::when: "never"`, "on_change"},
		good + "\nstarttls: smpt":                                       {`starttls: "smpt"`, "auto or one of ftp, imap"},
		good + "\nattributes: {error.type: mine}":                       {`attributes: "error.type"`, "use another one"},
		good + "\nattributes: {\"\": x}":                                {`attributes: ""`},
		good + "\ntls: {min_version: 1.2}":                              {"min_version: 1.2 is a number in YAML", `"1.2"`},
		good + "\ntls: {server_name_override: \"a b\"}":                 {`tls::server_name_override: "a b"`, "example.com"},
		`targets: [{endpoint: "b.example:25", starttls: auto}, {endpoint: "b.example.:25", starttls: smtp}]`: {"targets::1::endpoint:", "same settings"},
		`targets: [{endpoint: "bücher.example:1"}, {endpoint: "xn--bcher-kva.example:1"}]`:                   {"targets::1::endpoint:", "same settings"},
		`targets: [{endpoint: "[::1]:1"}, {endpoint: "[0:0::1]:1"}]`:                                         {"targets::1::endpoint:", "same settings"},
		good + "\nexplain: {when: always}":                                                                   {`explain::when: "always"`, "never"},
		good + "\nalpn: [\"\"]":                                                                              {`alpn: ""`, "1 to 255"},
		good + "\ntarget: []":                                                                                {"target: is not known", "targets"},
		good + "\ncollection_interval: 60":                                                                   {"collection_interval: 60ns", "with its unit"},
		good + "\nmetrics: {tls.probe.sucess: {enabled: true}}":                                              {"metrics::tls.probe.sucess: is not known", "tls.probe.success"},
		good + "\nmetrics: {tls.probe.success: {enable: true}}":                                              {"metrics::tls.probe.success::enable: is not known", "enabled"},
		`targets: [{endpoint: "a:1", timeouts: 1s}]`:                                                         {"targets::0::timeouts: is not known", "timeout"},
		good + "\ntls: {ca_fil: x}":                                                                          {"tls::ca_fil: is not known", "ca_file"},
		good + "\ntls: {insecure: true}":                                                                     {"tls::insecure: true", "insecure_skip_verify"},
		good + "\ntls: {min_version: \"1.3\", max_version: \"1.2\"}":                                         {`tls::min_version: "1.3"`, `max_version, "1.2"`, "raise max_version"},
		good + "\ntls: {max_version: \"1.1\"}":                                                               {`tls::min_version: "1.2"`, `"1.1"`},
		good + "\ntls: {min_version: \"1.4\"}":                                                               {`tls::min_version: "1.4"`, "1.0, 1.1, 1.2, 1.3"},
		good + "\ntls: {max_version: \"2\"}":                                                                 {`tls::max_version: "2"`, "1.0, 1.1, 1.2, 1.3"},
		good + "\ntls: {cipher_suites: [TLS_NULL]}":                                                          {`tls::cipher_suites: "TLS_NULL"`, "TLS_ECDHE_RSA"},
		good + "\ntls: {cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}":                                          {"tls::cipher_suites:", "include_insecure_cipher_suites: true"},
		good + "\ntls: {curve_preferences: [P224]}":                                                          {`tls::curve_preferences: "P224"`, "P256, P384, P521, X25519, X25519MLKEM768"},
		good + "\ntls: {ca_file: /no/such/ca.pem}":                                                           {`tls::ca_file: "/no/such/ca.pem"`, "no such file"},
		good + fmt.Sprintf("\ntls: {ca_file: %q}", garbage):                                                  {"tls::ca_file:", garbage, "PEM blocks"},
		good + "\ntls: {ca_pem: '-----BEGIN CERTIFICATE-----'}":                                              {"tls::ca_pem: has no certificate that can be used", "PEM block 1 at line 1 cannot be read"},
		good + "\ntls: {ca_pem: nonsense}":                                                                   {"tls::ca_pem:", "PEM blocks"},
		good + fmt.Sprintf("\ntls: {ca_file: %q, ca_pem: x}", cert):                                          {"tls::ca_file:", "one of the two"},
		good + fmt.Sprintf("\ntls: {cert_file: %q}", cert):                                                   {"tls::key_file:", "missing"},
		good + fmt.Sprintf("\ntls: {key_file: %q}", key):                                                     {"tls::cert_file:", "missing"},
		good + fmt.Sprintf("\ntls: {cert_file: %q, key_file: /no/such.key}", cert):                           {`tls::key_file: "/no/such.key"`, "no such file"},
		good + fmt.Sprintf("\ntls: {cert_file: %q, key_file: %q}", garbage, key):                             {"tls::cert_file:", garbage},
		good + fmt.Sprintf("\ntls: {cert_file: %q, key_file: %q}", cert, garbage):                            {"tls::key_file:", garbage},
		good + fmt.Sprintf("\ntls: {cert_file: %q, key_file: %q}", cert, otherKey):                           {"tls::key_file:", otherKey, "does not belong to the certificate"},
		fmt.Sprintf(`targets: [{endpoint: "a:1", tls: {cert_file: %q, key_file: %q}}]`, cert, otherKey):      {"targets::0::tls::key_file:", otherKey},
		good + "\ntls: {reload_interval: -1s}":                                                               {"tls::reload_interval: -1s", "0s or more"},
		`targets: [{file_path: "/etc/ssl/[a"}]`:                                                              {`targets::0::file_path: "/etc/ssl/[a" is not a valid pattern`, `close each "[" and "{"`},
		`targets: [{file_path: "/etc/ssl/{a,b"}]`:                                                            {`targets::0::file_path: "/etc/ssl/{a,b"`},
		`targets: [{file_path: "/etc/\0ssl"}]`:                                                               {`targets::0::file_path: "/etc/\x00ssl"`, "zero byte"},
		`targets: [{endpoint: "a:1", file_path: "["}]`:                                                       {`targets::0::file_path: "["`},
		`targets: [{endpoint: a, file_path: /x}]`:                                                            {`targets::0::endpoint: "a"`, "no port"},
		`targets: [{file_path: /x}, {file_path: /x}]`:                                                        {`targets::1::file_path: "/x" is a duplicate of targets::0`, "remove one"},
		`targets: [{endpoint: "a:1", key_path: /x.key}]`:                                                     {`targets::0::key_path: "/x.key" is the key of no certificate`, "set file_path"},
		`targets: [{file_path: "/x/*.pem", key_path: /x.key}]`:                                               {`targets::0::key_path: "/x.key" cannot be combined with a pattern in file_path`, "write a target for each certificate"},
		`targets: [{file_path: /x, key_path: "/x\0key"}]`:                                                    {`targets::0::key_path: "/x\x00key" contains a zero byte`, "remove it"},
		`targets: [{file_path: /x, key_path: /x.key, file_format: pkcs12}]`:                                  {`targets::0::key_path: "/x.key" cannot be combined with file_format: pkcs12`, "remove one of the two"},
		`{file_format: jks, targets: [{file_path: /x, key_path: /x.key}]}`:                                   {`targets::0::key_path: "/x.key" cannot be combined with file_format: jks`, "remove one of the two"},
		`targets: [{file_path: /x, key_path: "-----BEGIN PRIVATE KEY-----\nhunter2"}]`:                       {"targets::0::key_path: has a key instead of a path", "write the key to a file"},
		good + "\nkey_path: /x":                                                                              {"key_path: is not known"},
		good + "\nfile_path: /x":                                                                             {"file_path: is not known"},
		good + "\nfile_format: pfx":                                                                          {`file_format: "pfx" is not known`, "auto, pem, der, pkcs12, jks"},
		`targets: [{file_path: /x, file_format: PEM}]`:                                                       {`targets::0::file_format: "PEM" is not known`},
		good + "\ndialer: {timeout: -1s}":                                                                    {"dialer::timeout: -1s", "0s or more"},
		`targets: [{endpoint: "a:1", dialer: {timeout: -1s}}]`:                                               {"targets::0::dialer::timeout: -1s"},
		good + "\ndialer: {timeouts: 1s}":                                                                    {"dialer::timeouts: is not known; use one of timeout"},
		`targets: [{endpoint: "a:1", certificate_types: [dsa]}]`:                                             {`targets::0::certificate_types: "dsa" is not known`, "ecdsa, rsa or both"},
		`targets: [{endpoint: "a:1", certificate_types: [rsa, ecdsa, rsa]}]`:                                 {`targets::0::certificate_types: "rsa" is listed twice`, "remove one"},
		`targets: [{endpoint: "a:1", certificate_types: [rsa], tls: {min_version: "1.3"}}]`:                  {`targets::0::certificate_types: "rsa"`, "only in TLS 1.2", `min_version is "1.3"`, "lower it"},
		`targets: [{endpoint: "a:1", certificate_types: [rsa, ecdsa], tls: {cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}}]`: {
			`targets::0::certificate_types: "ecdsa" needs a cipher suite for this type`, "cipher_suites has none", "TLS_ECDHE_ECDSA_WITH_",
		},
		`targets: [{endpoint: "a:1", certificate_types: [rsa], tls: {cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256], include_insecure_cipher_suites: true}}]`: {
			`targets::0::certificate_types: "rsa" needs a cipher suite for this type`, "TLS_ECDHE_RSA_WITH_",
		},
		`target_files: [""]`:                          {`target_files::0: "" is not a path`, "targets.d/*.yaml"},
		`target_files: [/x, "/etc/[a"]`:               {`target_files::1: "/etc/[a" is not a valid pattern`},
		`target_files: []`:                            {"targets:", "there are none", "or set target_files"},
		good + "\nshard: {index: 4, count: 4}":        {"shard: index 4 of count 4 is invalid", "from 0 to count-1"},
		good + "\nshard: {index: -1, count: 4}":       {"shard: index -1 of count 4"},
		good + "\nshard: {index: 1}":                  {"shard: index 1 of count 0", "count is the number of collectors"},
		good + "\nshard: {count: -1}":                 {"shard: index 0 of count -1"},
		good + "\nshard: {of: 4}":                     {"shard::of: is not known; use one of count, index"},
		`targets: [{endpoint: "a:1", shard: {}}]`:     {"targets::0::shard: is not known"},
		good + "\nstorage: file storage":              {"storage"},
		`targets: [{endpoint: "a:1", storage: file}]`: {"targets::0::storage: is not known"},
	} {
		t.Run(yaml, func(t *testing.T) {
			_, err := configure(t, yaml)
			require.Error(t, err)
			for _, w := range want {
				assert.ErrorContains(t, err, w)
			}
		})
	}
}

func TestEmptyConfigurationIsRejectedForItsLackOfTargets(t *testing.T) {
	cfg := createDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(nil).Unmarshal(cfg))
	assert.ErrorContains(t, confmap.Validate(cfg), "targets: there are none")
}

func TestConfigurationCanBePrintedAndReadAgain(t *testing.T) {
	cert, key := keyPair(t, root.Issue("a"))
	cfg, err := configure(t, fmt.Sprintf(`
expiry_warning: 33%%
tls: {min_version: "1.3", key_pem: "secret, not to be printed", cert_file: %q}
targets:
  - {endpoint: "a.example:443", tls: {key_file: %q}}
  - {endpoint: "b.example:443", expiry_warning: 48h, tls: {key_file: %q, server_name_override: c.example}}
`, cert, key, key))
	require.NoError(t, err)
	conf := confmap.New()
	require.NoError(t, conf.Marshal(cfg))
	printed := conf.ToStringMap()
	assert.NotContains(t, fmt.Sprint(printed), "not to be printed")
	again := createDefaultConfig().(*Config)
	require.NoError(t, confmap.NewFromStringMap(printed).Unmarshal(again))
	assert.Equal(t, cfg.ExpiryWarning, again.ExpiryWarning)
	for i := range cfg.Targets {
		assert.Equal(t, cfg.Targets[i].TLS, again.Targets[i].TLS)
		assert.Equal(t, cfg.Targets[i].ExpiryWarning, again.Targets[i].ExpiryWarning)
	}
}

func TestTimeoutIsComparedWithTheTargetsOwnInterval(t *testing.T) {
	_, err := configure(t, `{timeout: 2m, targets: [{endpoint: "a.example:443", collection_interval: 5m}]}`)
	assert.NoError(t, err)
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	_, err := configure(t, `
timeout: 0s
targets: [{endpoint: a}, {endpoint: "b:0"}]
tls: {min_version: "9"}
`)
	require.Error(t, err)
	assert.Equal(t, `timeout: 0s is too short; use 1ms or more, with its unit, such as 10s
targets::0::endpoint: "a" has no port; write host:port, such as "example.com:443" or "[::1]:443"
tls::min_version: "9" is not known; use one of 1.0, 1.1, 1.2, 1.3
targets::1::endpoint: "b:0" has port "0", which is not a number from 1 to 65535`, err.Error())
}

func TestValidConfigurationIsAccepted(t *testing.T) {
	cert, key := keyPair(t, root.Issue("a"))
	for _, yaml := range []string{
		`targets: [{endpoint: "[::1]:443"}]`,
		`targets: [{endpoint: "[fe80::1%eth0]:443"}]`,
		`targets: [{endpoint: "münchen.example:443"}]`,
		`targets: [{endpoint: "a:1"}, {endpoint: "a:1", alpn: [h2]}]`,
		`{targets: [{endpoint: "a:1"}], initial_delay: 0s, timeout: 1m}`,
		`{targets: [{endpoint: "a:1"}], metrics: {tls.handshake.duration: {enabled: false}, tls.certificate.info: {enabled: true}}}`,
		`{targets: [{endpoint: "a:1"}], resource_attributes: {service.name: {enabled: false}}}`,
		`{targets: [{endpoint: "a:1"}], tls: {cipher_suites: [TLS_RSA_WITH_RC4_128_SHA], include_insecure_cipher_suites: true}}`,
		fmt.Sprintf(`{targets: [{endpoint: "a:1"}], tls: {cert_file: %q, key_file: %q, reload_interval: 1m}}`, cert, key),
		`targets: [{file_path: /etc/ssl/cert.pem}, {file_path: "/etc/ssl/**/*.{pem,crt}", file_format: der, password: secret}]`,
		`targets: [{file_path: /etc/ssl/cert.pem, key_path: /etc/ssl/key.pem}, {endpoint: "a:1", file_path: both.pem, key_path: both.pem, file_format: pem}]`,
		`targets: [{endpoint: "a:1", file_path: relative/cert.pem}, {endpoint: "a:1"}, {file_path: relative/cert.pem}]`,
		`{targets: [{endpoint: "a:1"}], file_format: auto, dialer: {timeout: 0s}}`,
		`{targets: [{endpoint: "a:1"}], dialer: {timeout: 5m}}`,
		`{targets: [{endpoint: "a:1"}], certificate_types: [rsa], tls: {max_version: "1.2"}}`,
		`target_files: [/etc/tlscheck/*.yaml, targets.json]`,
		`{target_files: [/x], shard: {index: 3, count: 4}}`,
		`{target_files: [/x], shard: {index: 0, count: 0}, storage: file_storage/tls}`,
		// The default block may have only half of a key pair: a pair is checked only on a target, which can complete it.
		fmt.Sprintf(`{tls: {cert_file: %q}, targets: [{endpoint: "a:1", tls: {key_file: %q}}]}`, cert, key),
	} {
		_, err := configure(t, yaml)
		assert.NoError(t, err, yaml)
	}
}

func TestInvalidDefaultCertificateTypesAreReportedOnce(t *testing.T) {
	_, err := configure(t, `{certificate_types: [dsa], targets: [{endpoint: "a:1"}, {endpoint: "b:1"}, {endpoint: "c:1", tls: {min_version: "1.3"}}]}`)
	require.Error(t, err)
	assert.Equal(t, `certificate_types: "dsa" is not known; use ecdsa, rsa or both`, err.Error())
}

func TestFileKeysWorkAtTheTopAndOnATarget(t *testing.T) {
	targets := build(t, `
file_format: pkcs12
password: top
dialer: {timeout: 2s}
targets:
  - {file_path: /etc/a.p12}
  - {file_path: /etc/b.pem, file_format: pem, password: own, key_path: /etc/b.key}
  - {endpoint: "c:1", dialer: {timeout: 3s}}
`)
	assert.Equal(t, target.Files{Pattern: "/etc/a.p12", Format: "pkcs12", Password: "top"}, targets[0].Files)
	assert.Equal(t, target.Files{Pattern: "/etc/b.pem", Format: "pem", Password: "own", Key: "/etc/b.key"}, targets[1].Files)
	assert.Equal(t, 2*time.Second, targets[0].ConnectTimeout)
	assert.Equal(t, 3*time.Second, targets[2].ConnectTimeout)
	assert.Empty(t, targets[2].Files.Pattern)
}

func TestIDsAreUniqueAndTheSameAfterEachStart(t *testing.T) {
	const yaml = `
targets:
  - {endpoint: "a:1"}
  - {endpoint: "a:1", alpn: [h2]}
  - {endpoint: "a:1", file_path: /x}
  - {endpoint: "a:1", starttls: smtp}
  - {endpoint: "a:1", tls: {server_name_override: b}}
  - {endpoint: "a:1", attributes: {a: "1 b:2"}}
  - {endpoint: "a:1", attributes: {a: "1", b: "2"}}
  - {endpoint: "a:1", certificate_types: [rsa, ecdsa]}
  - {file_path: /x}
  - {file_path: "/x y"}
`
	ids := map[string]bool{}
	targets := build(t, yaml)
	for i, again := range build(t, yaml) {
		assert.Equal(t, targets[i].ID, again.ID)
		ids[again.ID] = true
	}
	assert.Len(t, ids, 11)
}

func TestPasswordIsNeverPrinted(t *testing.T) {
	cfg, err := configure(t, `
password: hunter2
targets: [{file_path: /x, key_path: /x.key}, {file_path: /y, password: hunter22}]
`)
	require.NoError(t, err)
	conf := confmap.New()
	require.NoError(t, conf.Marshal(cfg))
	assert.Contains(t, fmt.Sprint(conf.ToStringMap()), "key_path:/x.key")
	assert.NotContains(t, fmt.Sprint(conf.ToStringMap()), "hunter2")
	assert.Contains(t, fmt.Sprint(conf.ToStringMap()), "password:[REDACTED]")
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", cfg, cfg, *cfg), "hunter2")
	targets, err := cfg.build(targetconfig.NewBuilder(0, zap.NewNop()))
	require.NoError(t, err)
	for _, tt := range targets {
		assert.NotContains(t, tt.ID, "hunter2")
		assert.NotContains(t, fmt.Sprint(tt), "hunter2")
	}
	for _, yaml := range []string{
		`{password: [hunter2], targets: [{file_path: /x}]}`,
		`{targets: [{file_path: /x, password: {hunter2: x}}]}`,
		`{targets: [{file_path: /x, password: hunter2, file_format: x}]}`,
		`{targets: [{file_path: /x, password: hunter2}, {file_path: /x, password: hunter2}]}`,
		`{targets: [{file_path: /x, key_path: "-----BEGIN PRIVATE KEY-----\nhunter2"}]}`,
	} {
		_, err := configure(t, yaml)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter2", yaml)
	}
}

// withExtensions is a host with extensions.
type withExtensions struct {
	component.Host
	extensions map[component.ID]component.Component
}

func (h withExtensions) GetExtensions() map[component.ID]component.Component { return h.extensions }

// brokenStorage is a storage extension whose storage cannot be opened.
type brokenStorage struct {
	component.StartFunc
	component.ShutdownFunc
}

func (brokenStorage) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	return nil, errors.New("disk is full")
}

func TestStartFailsWithoutTheConfiguredStorage(t *testing.T) {
	id := component.MustNewIDWithName("file_storage", "tls")
	const none = `storage: "file_storage/tls" is not a configured storage extension; add one, such as file_storage, under extensions and under service::extensions`
	for name, c := range map[string]struct {
		extensions map[component.ID]component.Component
		want       string
	}{
		"no extensions": {nil, none},
		"another name":  {map[component.ID]component.Component{component.MustNewID("file_storage"): brokenStorage{}}, none},
		"not storage":   {map[component.ID]component.Component{id: struct{ component.Component }{}}, none},
		"cannot open":   {map[component.ID]component.Component{id: brokenStorage{}}, `storage: "file_storage/tls" cannot be opened: disk is full`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := configure(t, "{storage: file_storage/tls, targets: [{endpoint: \"a:1\"}]}")
			require.NoError(t, err)
			factory := NewFactory()
			r, err := factory.CreateLogs(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, consumertest.NewNop())
			require.NoError(t, err)
			assert.EqualError(t, r.Start(t.Context(), withExtensions{componenttest.NewNopHost(), c.extensions}), c.want)
			assert.NoError(t, r.Shutdown(t.Context()))
		})
	}
}

func TestTLSBlocksThatLookAlikeAreNotTheSame(t *testing.T) {
	_, err := configure(t, `{targets: [{endpoint: "a:1", tls: {curve_preferences: [P256, P384]}}, {endpoint: "b:1", tls: {curve_preferences: [P256 P384]}}]}`)
	assert.ErrorContains(t, err, `targets::1::tls::curve_preferences: "P256 P384" is not known`)
}
