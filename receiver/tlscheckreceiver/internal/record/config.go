package record

import "github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"

// Config is the generated configuration of metrics and resource attributes and, beside it, that of the one metric which
// mdatagen cannot make: it knows no histograms.
type Config struct {
	Metrics            MetricsConfig                     `mapstructure:"metrics"`
	ResourceAttributes metadata.ResourceAttributesConfig `mapstructure:"resource_attributes"`
}

// MetricsConfig turns metrics on and off.
type MetricsConfig struct {
	metadata.MetricsConfig `mapstructure:",squash"`

	HandshakeDuration DurationConfig `mapstructure:"tls.handshake.duration"`
}

// DurationConfig is the configuration of tls.handshake.duration.
type DurationConfig struct {
	Enabled bool `mapstructure:"enabled"`
}

// DefaultConfig has everything on that metadata.yaml has on.
func DefaultConfig() Config {
	return Config{
		Metrics:            MetricsConfig{metadata.DefaultMetricsConfig(), DurationConfig{Enabled: true}},
		ResourceAttributes: metadata.DefaultResourceAttributesConfig(),
	}
}
