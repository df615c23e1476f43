package telemetry

import "github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"

// Config enables and disables metrics, events and resource attributes. It is the generated configuration, with
// tls.handshake.duration added: mdatagen's metrics builder has no histograms.
type Config struct {
	Metrics            MetricsConfig                     `mapstructure:"metrics"`
	Events             metadata.EventsConfig             `mapstructure:"events"`
	ResourceAttributes metadata.ResourceAttributesConfig `mapstructure:"resource_attributes"`
}

// MetricsConfig enables and disables metrics.
type MetricsConfig struct {
	metadata.MetricsConfig `mapstructure:",squash"`

	HandshakeDuration DurationConfig `mapstructure:"tls.handshake.duration"`
}

// DurationConfig is the configuration of tls.handshake.duration.
type DurationConfig struct {
	Enabled bool `mapstructure:"enabled"`
}

// DefaultConfig returns a Config that enables what metadata.yaml enables.
func DefaultConfig() Config {
	metrics := metadata.DefaultMetricsConfig()
	// Among certificates with the same attributes, the first to expire is reported. An average would mean nothing.
	metrics.TlscheckTimeLeft.AggregationStrategy = metadata.AggregationStrategyMin
	return Config{
		Metrics:            MetricsConfig{metrics, DurationConfig{Enabled: true}},
		Events:             metadata.DefaultEventsConfig(),
		ResourceAttributes: metadata.DefaultResourceAttributesConfig(),
	}
}
