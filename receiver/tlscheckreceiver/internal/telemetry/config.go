package telemetry

import "github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"

// Config is the generated configuration of metrics, events and resource attributes and, beside it, that of the one
// metric which mdatagen cannot make: it knows no histograms.
type Config struct {
	Metrics            MetricsConfig                     `mapstructure:"metrics"`
	Events             metadata.EventsConfig             `mapstructure:"events"`
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
	metrics := metadata.DefaultMetricsConfig()
	// Of certificates that their attributes do not tell apart, the first to expire counts; an average would mean nothing.
	metrics.TlscheckTimeLeft.AggregationStrategy = metadata.AggregationStrategyMin
	return Config{
		Metrics:            MetricsConfig{metrics, DurationConfig{Enabled: true}},
		Events:             metadata.DefaultEventsConfig(),
		ResourceAttributes: metadata.DefaultResourceAttributesConfig(),
	}
}
