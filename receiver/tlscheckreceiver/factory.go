// Package tlscheckreceiver is a receiver for the OpenTelemetry Collector. At an interval it makes TLS handshakes with
// endpoints and reads certificate files. It reports its findings as metrics, traces and events.
package tlscheckreceiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/xreceiver"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/health"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/telemetry"
)

// NewFactory returns the factory of the receiver tls_check. The receiver's former type, tlscheck, is a deprecated alias.
func NewFactory() receiver.Factory {
	instances := &shared{byConfig: make(map[*Config]*tlsCheck)}
	return xreceiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		xreceiver.WithMetrics(instances.createMetrics, metadata.MetricsStability),
		xreceiver.WithTraces(instances.createTraces, metadata.TracesStability),
		xreceiver.WithLogs(instances.createLogs, metadata.LogsStability),
		xreceiver.WithDeprecatedTypeAlias(metadata.DeprecatedType),
	)
}

func createDefaultConfig() component.Config {
	settings := targetconfig.DefaultSettings()
	settings.TLS = clienttls.New(configtls.NewDefaultClientConfig())
	return &Config{MaxConcurrentProbes: 256, Settings: settings, Config: telemetry.DefaultConfig(), hasDefaults: true}
}

// shared holds one instance per configuration, so that all signals of one receiver come from the same probes. The collector
// passes the same *Config for each signal.
type shared struct {
	mu       sync.Mutex
	byConfig map[*Config]*tlsCheck
}

func (s *shared) instance(set receiver.Settings, cfg component.Config) *tlsCheck {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := cfg.(*Config)
	r := s.byConfig[c]
	if r == nil {
		r = &tlsCheck{set: set, cfg: c, health: health.New(set.Logger)}
		r.forget = func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.byConfig, c)
		}
		s.byConfig[c] = r
	}
	return r
}

func (s *shared) createMetrics(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Metrics) (receiver.Metrics, error) {
	r := s.instance(set, cfg)
	r.next.Metrics = next
	return r, nil
}

func (s *shared) createTraces(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Traces) (receiver.Traces, error) {
	r := s.instance(set, cfg)
	r.next.Traces = next
	return r, nil
}

func (s *shared) createLogs(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Logs) (receiver.Logs, error) {
	r := s.instance(set, cfg)
	r.next.Logs = next
	return r, nil
}
