package tlscheckreceiver

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
)

// builtInGo builds the targets of a configuration that was made in Go.
func builtInGo(t *testing.T, cfg *Config) []*target.Target {
	t.Helper()
	require.NoError(t, cfg.Validate())
	targets, err := cfg.complete().build(targetconfig.NewBuilder(time.Second, zap.NewNop()))
	require.NoError(t, err)
	return targets
}

// same asserts that targets are alike, but for their TLS settings, of which the pointers differ.
func same(t *testing.T, want, got []*target.Target) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		w, g := *want[i], *got[i]
		assert.Equal(t, w.TLS.MinVersion, g.TLS.MinVersion)
		assert.Equal(t, w.TLS.ServerName, g.TLS.ServerName)
		assert.Equal(t, w.TLS.NextProtos, g.TLS.NextProtos)
		w.TLS, g.TLS = nil, nil
		assert.Equal(t, w, g)
	}
}

func TestConfigInGoIsWhatYAMLSays(t *testing.T) {
	override := configtls.NewDefaultClientConfig()
	override.ServerName = "b.example"
	for yaml, cfg := range map[string]*Config{
		`targets: [{endpoint: "a:1"}]`: {Targets: []TargetConfig{{Endpoint: "a:1"}}},
		`{collection_interval: 5s, targets: [{endpoint: "a:1"}, {endpoint: "b:1", collection_interval: 60s}, {endpoint: "c:1", timeout: 3s}]}`: {
			Settings: Settings{CollectionInterval: 5 * time.Second},
			Targets: []TargetConfig{
				{Endpoint: "a:1"},
				{Endpoint: "b:1", Settings: Settings{CollectionInterval: time.Minute}},
				{Endpoint: "c:1", Settings: Settings{Timeout: 3 * time.Second}},
			},
		},
		`{attributes: {env: prod, team: all}, targets: [{endpoint: "a:1", attributes: {team: one}}, {endpoint: "b:1", tls: {server_name_override: b.example}, alpn: [h2]}]}`: {
			Settings: Settings{Attributes: map[string]string{"env": "prod", "team": "all"}},
			Targets: []TargetConfig{
				{Endpoint: "a:1", Settings: Settings{Attributes: map[string]string{"team": "one"}}},
				{Endpoint: "b:1", Settings: Settings{TLS: NewClientTLS(override), ALPN: []string{"h2"}}},
			},
		},
		`{expiry_warning: 33%, starttls: auto, spans: {when: on_failure}, targets: [{endpoint: "a:25"}, {endpoint: "b:1", expiry_warning: 240h, spans: {when: always}, explain: {when: never}}]}`: {
			Settings: Settings{ExpiryWarning: WarnAtShare(0.33), StartTLS: "auto", Spans: SpansConfig{When: "on_failure"}},
			Targets: []TargetConfig{
				{Endpoint: "a:25"},
				{Endpoint: "b:1", Settings: Settings{ExpiryWarning: WarnBefore(240 * time.Hour), Spans: SpansConfig{When: "always"}, Explain: ExplainConfig{When: "never"}}},
			},
		},
	} {
		t.Run(yaml, func(t *testing.T) { same(t, build(t, yaml), builtInGo(t, cfg)) })
	}
}

// A configuration from CreateDefaultConfig has all defaults in it already.
func TestConfigInGoFromTheDefaultOne(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.CollectionInterval = 5 * time.Second
	cfg.Targets = []TargetConfig{{Endpoint: "a:1"}}
	targets := builtInGo(t, cfg)
	same(t, build(t, `{collection_interval: 5s, targets: [{endpoint: "a:1"}]}`), targets)
	assert.Equal(t, 5*time.Second, targets[0].Timeout, "the default is capped by a shorter interval")
}

// In a configuration from CreateDefaultConfig, zero values are not replaced.
func TestConfigInGoKeepsWhatWasSetToZero(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.InitialDelay, cfg.ExpiryWarning = 0, WarnBefore(0)
	cfg.Metrics.TLSProbeSuccess.Enabled = false
	cfg.Events.TLSEndpointFailing.Enabled = false
	cfg.Targets = []TargetConfig{{Endpoint: "a:1"}}
	same(t, build(t, `{initial_delay: 0s, expiry_warning: 0s, targets: [{endpoint: "a:1"}]}`), builtInGo(t, cfg))
	assert.Equal(t, cfg.Config, cfg.complete().Config)

	cfg.MaxConcurrentProbes = 0
	assert.ErrorContains(t, cfg.Validate(), "max_concurrent_probes: 0 is too few")
}

func TestTimeoutInGoIsNotShortenedWhereItWasSet(t *testing.T) {
	cfg := &Config{Settings: Settings{Timeout: 10 * time.Second, CollectionInterval: 5 * time.Second}, Targets: []TargetConfig{{Endpoint: "a:1"}}}
	assert.ErrorContains(t, cfg.Validate(), "timeout: 10s is longer than collection_interval, 5s")
}

func TestZeroConfigInGoSendsWhatIsOnByDefault(t *testing.T) {
	full, defaults := (&Config{}).complete(), createDefaultConfig().(*Config)
	assert.Equal(t, defaults.Config, full.Config)
	assert.Equal(t, defaults.MaxConcurrentProbes, full.MaxConcurrentProbes)

	cfg := &Config{}
	cfg.Metrics.TLSCertificateInfo.Enabled = true
	full, defaults = cfg.complete(), createDefaultConfig().(*Config)
	defaults.Metrics.TLSCertificateInfo.Enabled = true
	assert.Equal(t, defaults.Config, full.Config, "the one that is switched on has all its attributes")
}

func TestConfigInGoIsRefusedAsYAMLIs(t *testing.T) {
	for want, cfg := range map[string]*Config{
		"targets: there are none":                                          {},
		`targets::0::endpoint: "a" has no port`:                            {Targets: []TargetConfig{{Endpoint: "a"}}},
		"max_concurrent_probes: -1 is too few":                             {MaxConcurrentProbes: -1, Targets: []TargetConfig{{Endpoint: "a:1"}}},
		`targets::1::endpoint: "a:1" is a duplicate of targets::0`:         {Targets: []TargetConfig{{Endpoint: "a:1"}, {Endpoint: "a:1"}}},
		"targets::0::timeout: 1m0s is longer than collection_interval, 1s": {Targets: []TargetConfig{{Endpoint: "a:1", Settings: Settings{Timeout: time.Minute, CollectionInterval: time.Second}}}},
	} {
		assert.ErrorContains(t, cfg.Validate(), want)
	}
	both := configtls.NewDefaultClientConfig()
	both.CAFile, both.CAPem = "a", "b"
	cfg := &Config{Targets: []TargetConfig{{Endpoint: "a:1", Settings: Settings{TLS: NewClientTLS(both)}}, {Endpoint: "b:1"}}}
	assert.ErrorContains(t, cfg.Validate(), `targets::0::tls::ca_file: "a" cannot be combined with ca_pem`)
	assert.NotContains(t, cfg.Validate().Error(), "targets::1", "whose block is another")
}

func TestValidateChangesNothing(t *testing.T) {
	decoded, err := configure(t, `
starttls: auto
targets:
  - {endpoint: "a:25"}
  - {endpoint: "b:143", attributes: {team: edge}}
  - {endpoint: "c:1", certificate_types: [ecdsa, rsa], collection_interval: 5s}
`)
	require.NoError(t, err)
	for name, cfg := range map[string]*Config{
		"decoded": decoded,
		"in Go":   {Settings: Settings{StartTLS: "auto", CollectionInterval: time.Second}, Targets: []TargetConfig{{Endpoint: "a:25"}}},
	} {
		before, targets := *cfg, append([]TargetConfig(nil), cfg.Targets...)
		printed := confmap.New()
		require.NoError(t, printed.Marshal(cfg))
		require.NoError(t, cfg.Validate(), name)
		after := *cfg
		before.Targets, after.Targets = nil, nil
		assert.True(t, reflect.DeepEqual(before, after), name)
		assert.True(t, reflect.DeepEqual(targets, cfg.Targets), name)
		again := confmap.New()
		require.NoError(t, again.Marshal(cfg))
		assert.Equal(t, printed.ToStringMap(), again.ToStringMap(), name)
		assert.Contains(t, fmt.Sprint(again.ToStringMap()), "starttls:auto", name)
	}
}
