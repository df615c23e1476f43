package tlscheckreceiver_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver"
)

// A program that embeds the receiver makes its configuration in Go. What it leaves out has the default.
func Example() {
	ca := tlsfarm.NewAuthority("Example CA")
	server := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue("www")}})
	defer server.Close()

	settings := configtls.NewDefaultClientConfig()
	settings.CAPem = configopaque.String(ca.PEM())
	cfg := &tlscheckreceiver.Config{
		Settings: tlscheckreceiver.Settings{
			InitialDelay:  time.Millisecond,
			ExpiryWarning: tlscheckreceiver.WarnAtShare(0.33),
			TLS:           tlscheckreceiver.NewClientTLS(settings),
			Attributes:    map[string]string{"team": "web"},
		},
		Targets: []tlscheckreceiver.TargetConfig{
			{Endpoint: server.Endpoint()},
			{
				Endpoint: server.Endpoint(),
				Settings: tlscheckreceiver.Settings{ALPN: []string{"h2"}, Attributes: map[string]string{"team": "payments"}},
			},
		},
	}
	if err := cfg.Validate(); err != nil {
		fmt.Println(err)
		return
	}

	results := make(chan string, 100)
	next, err := consumer.NewMetrics(func(_ context.Context, metrics pmetric.Metrics) error {
		for _, m := range metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != "tls.probe.success" {
				continue
			}
			for _, point := range m.Gauge().DataPoints().All() {
				team, _ := point.Attributes().Get("team")
				results <- fmt.Sprintf("%s: %d", team.AsString(), point.IntValue())
			}
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	factory := tlscheckreceiver.NewFactory()
	set := receiver.Settings{
		ID:                component.NewID(factory.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
	}
	r, err := factory.CreateMetrics(context.Background(), set, cfg, next)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := r.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-results)
	fmt.Println(<-results)
	if err := r.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Unordered output:
	// web: 1
	// payments: 1
}
