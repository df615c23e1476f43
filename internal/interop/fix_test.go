//go:build interop

package interop

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
)

// assertFixed follows the fix: it probes the server with the settings in it, and another server that was changed as it says.
func assertFixed(t *testing.T, test test, s *server, o *probe.EndpointOutcome) {
	t.Helper()
	if _, settings, found := strings.Cut(o.Failure.Fix, "To probe it as it is, set tls "); found {
		with := test
		with.settings = advised(t, strings.TrimSuffix(settings, "."))
		assert.Nil(t, with.probe(t, s).Failure, "the settings in the fix do not help")
	}
	if test.fixed != "" {
		assert.Nil(t, test.probe(t, start(t, test.fixed)).Failure, "the fix of the server does not help")
	}
}

// advised returns a function that makes the settings as a user would, in the tls block.
func advised(t *testing.T, settings string) func(*tls.Config) *tls.Config {
	t.Helper()
	yaml, err := confmap.NewRetrievedFromYAML([]byte("{" + strings.ReplaceAll(settings, " and max_version", ", max_version") + "}"))
	require.NoError(t, err, settings)
	conf, err := yaml.AsConf()
	require.NoError(t, err, settings)
	var block clienttls.Config
	require.NoError(t, conf.Unmarshal(&block))
	loaded := clienttls.NewBlocks(time.Hour, zap.NewNop()).Get("", &block)
	require.Empty(t, loaded.Errs())
	with := loaded.With(clienttls.Offer{})
	return func(c *tls.Config) *tls.Config {
		if conf.IsSet("min_version") {
			c.MinVersion, c.MaxVersion = with.MinVersion, with.MaxVersion
		}
		if conf.IsSet("cipher_suites") {
			c.CipherSuites = with.CipherSuites
		}
		if conf.IsSet("curve_preferences") {
			c.CurvePreferences = with.CurvePreferences
		}
		return c
	}
}
