package tlscheckreceiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var root = tlsfarm.NewAuthority("Farm Root")

func farm(t *testing.T, config *tls.Config) *tlsfarm.Server {
	t.Helper()
	s := tlsfarm.TLS(config)
	t.Cleanup(s.Close)
	return s
}

func healthy() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{root.Issue("healthy")}}
}

// caFile holds the farm's root.
func caFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, root.PEM(), 0o600))
	return path
}

// configure reads YAML as the collector would.
func configure(t testing.TB, yaml string) (*Config, error) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	cfg := createDefaultConfig()
	if err := conf.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg.(*Config), confmap.Validate(cfg)
}

// pipeline is one receiver with what it sent.
type pipeline struct {
	metrics consumertest.MetricsSink
	traces  consumertest.TracesSink
	log     *observer.ObservedLogs
	tel     *componenttest.Telemetry
}

// start runs a receiver in a metrics and a traces pipeline until the test ends, or stop is called.
func start(t *testing.T, yaml string) (p *pipeline, stop func()) {
	t.Helper()
	cfg, err := configure(t, yaml)
	require.NoError(t, err)
	p = &pipeline{tel: componenttest.NewTelemetry()}
	factory := NewFactory()
	set := receivertest.NewNopSettings(factory.Type())
	set.TelemetrySettings = p.tel.NewTelemetrySettings()
	core, log := observer.New(zap.InfoLevel)
	set.Logger, p.log = zap.New(core), log
	m, err := factory.CreateMetrics(t.Context(), set, cfg, &p.metrics)
	require.NoError(t, err)
	tr, err := factory.CreateTraces(t.Context(), set, cfg, &p.traces)
	require.NoError(t, err)
	require.Same(t, m, tr, "one instance serves both signals")
	require.NoError(t, m.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, tr.Start(t.Context(), componenttest.NewNopHost()))
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			assert.NoError(t, m.Shutdown(context.Background()))
			assert.NoError(t, tr.Shutdown(context.Background()))
			assert.NoError(t, p.tel.Shutdown(context.Background()))
		}
	}
	t.Cleanup(stop)
	return p, stop
}

// batches waits until n batches of metrics have come.
func (p *pipeline) batches(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(p.metrics.AllMetrics()) >= n }, 10*time.Second, 5*time.Millisecond)
}

// points are the data points of a metric over all batches, as text: attributes and value.
func (p *pipeline) points(name string) []string {
	var out []string
	for _, md := range p.metrics.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != name {
				continue
			}
			var dps pmetric.NumberDataPointSlice
			switch m.Type() {
			case pmetric.MetricTypeGauge:
				dps = m.Gauge().DataPoints()
			case pmetric.MetricTypeSum:
				dps = m.Sum().DataPoints()
			default:
				continue
			}
			for _, dp := range dps.All() {
				var b strings.Builder
				for k, v := range dp.Attributes().All() {
					if !strings.HasPrefix(k, "server.") {
						fmt.Fprintf(&b, "%s=%s ", k, v.AsString())
					}
				}
				if dp.ValueType() == pmetric.NumberDataPointValueTypeInt {
					fmt.Fprint(&b, dp.IntValue())
				} else {
					fmt.Fprintf(&b, "%.2f", dp.DoubleValue())
				}
				out = append(out, b.String())
			}
		}
	}
	return out
}

func (p *pipeline) spans() []ptrace.Span {
	var out []ptrace.Span
	for _, td := range p.traces.AllTraces() {
		for _, s := range td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			out = append(out, s)
		}
	}
	return out
}

func TestCountersAreCumulativeAndAllSeriesAreSentAtEachProbe(t *testing.T) {
	t.Parallel()
	good, bad := root.Issue("good"), root.Issue("bad", tlsfarm.Names("other.example"))
	turn := 0
	s := tlsfarm.Serve(func(conn net.Conn) {
		turn++ // probes of one target never overlap
		cert := good
		if turn%2 == 0 {
			cert = bad
		}
		tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
	})
	t.Cleanup(s.Close)
	p, stop := start(t, fmt.Sprintf(`
collection_interval: 1s
timeout: 1s
initial_delay: 0s
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, caFile(t), s.Endpoint()))
	p.batches(t, 3)
	stop()
	assert.Equal(t, []string{"1", "0", "1"}, p.points("tls.probe.success")[:3])
	assert.Equal(t, []string{
		"result=success tls.protocol.version=1.3 1",
		"result=success tls.protocol.version=1.3 1", "result=failure error.type=hostname_mismatch 1",
		"result=success tls.protocol.version=1.3 2", "result=failure error.type=hostname_mismatch 1",
	}, p.points("tls.handshake.total")[:5])
	assert.Equal(t, []string{"error.type=hostname_mismatch 1", "error.type=hostname_mismatch 1"}, p.points("tls.validation.errors")[:2])
	assert.Equal(t, []string{"tls.probe.phase=verify error.type=hostname_mismatch 1"}, p.points("tls.probe.failures")[:1])
}

func TestHistogramPointsAtTheHandshakesSpan(t *testing.T) {
	t.Parallel()
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, caFile(t), farm(t, healthy()).Endpoint()))
	p.batches(t, 1)
	stop()
	var handshake ptrace.Span
	for _, s := range p.spans() {
		if s.Name() == "tls.handshake" {
			handshake = s
		}
	}
	h := histogram(t, p)
	require.Equal(t, 1, h.Exemplars().Len())
	e := h.Exemplars().At(0)
	assert.Equal(t, handshake.TraceID(), e.TraceID())
	assert.Equal(t, handshake.SpanID(), e.SpanID())
	took := handshake.EndTimestamp().AsTime().Sub(handshake.StartTimestamp().AsTime()).Seconds()
	assert.InDelta(t, took, e.DoubleValue(), 1e-6)
	assert.InDelta(t, took, h.Sum(), 1e-6)
	assert.Equal(t, uint64(1), h.Count())
	var total uint64
	for _, n := range h.BucketCounts().All() {
		total += n
	}
	assert.Equal(t, uint64(1), total)
	assert.Equal(t, []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}, h.ExplicitBounds().AsRaw())
}

func histogram(t *testing.T, p *pipeline) pmetric.HistogramDataPoint {
	t.Helper()
	for _, m := range p.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Name() == "tls.handshake.duration" {
			return m.Histogram().DataPoints().At(0)
		}
	}
	t.Fatal("no tls.handshake.duration")
	return pmetric.HistogramDataPoint{}
}

func TestSpansWhen(t *testing.T) {
	for when, want := range map[string][]string{
		"always":     {"ok", "error", "ok", "ok"},
		"on_failure": {"error"},
		"on_change":  {"ok", "error", "ok"},
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			turn, cert := 0, root.Issue("same")
			s := tlsfarm.Serve(func(conn net.Conn) {
				if turn++; turn != 2 {
					tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
				}
			})
			t.Cleanup(s.Close)
			p, stop := start(t, fmt.Sprintf(`
collection_interval: 1s
timeout: 1s
initial_delay: 0s
spans: {when: %s}
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, when, caFile(t), s.Endpoint()))
			require.Eventually(t, func() bool { return len(p.points("tls.probe.success")) >= 4 }, 10*time.Second, 10*time.Millisecond)
			stop()
			var got []string
			for _, s := range p.spans() {
				if s.Name() == "tls.connect" {
					got = append(got, map[ptrace.StatusCode]string{ptrace.StatusCodeUnset: "ok", ptrace.StatusCodeError: "error"}[s.Status().Code()])
				}
			}
			assert.Equal(t, want, got[:min(len(got), len(want))])
		})
	}
}

func TestNoExemplarWithoutItsSpan(t *testing.T) {
	t.Parallel()
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
spans: {when: on_failure}
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, caFile(t), farm(t, healthy()).Endpoint()))
	p.batches(t, 1)
	stop()
	assert.Empty(t, p.spans())
	assert.Zero(t, histogram(t, p).Exemplars().Len())
}

func TestTargetsOwnAttributesAreOnAllItsTelemetry(t *testing.T) {
	t.Parallel()
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
tls: {ca_file: %q}
attributes: {env: prod, team: all}
targets:
  - endpoint: %q
    attributes: {team: edge}
`, caFile(t), farm(t, healthy()).Endpoint()))
	p.batches(t, 1)
	stop()
	check := func(what string, a pcommon.Map) {
		for k, want := range map[string]string{"env": "prod", "team": "edge", "server.address": "127.0.0.1"} {
			v, ok := a.Get(k)
			if assert.True(t, ok, "%s has no %s", what, k) {
				assert.Equal(t, want, v.Str(), what)
			}
		}
	}
	n := 0
	for _, m := range p.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		switch m.Type() {
		case pmetric.MetricTypeGauge:
			for _, dp := range m.Gauge().DataPoints().All() {
				check(m.Name(), dp.Attributes())
				n++
			}
		case pmetric.MetricTypeSum:
			for _, dp := range m.Sum().DataPoints().All() {
				check(m.Name(), dp.Attributes())
				n++
			}
		case pmetric.MetricTypeHistogram:
			for _, dp := range m.Histogram().DataPoints().All() {
				check(m.Name(), dp.Attributes())
				n++
			}
		}
	}
	assert.Greater(t, n, 10)
	for _, s := range p.spans() {
		check(s.Name(), s.Attributes())
	}
}

func TestSeveralTargetsShareOneMetricOfABatch(t *testing.T) {
	t.Parallel()
	s1, s2 := farm(t, healthy()), farm(t, healthy())
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
tls: {ca_file: %q}
targets: [{endpoint: %q}, {endpoint: %q}]
`, caFile(t), s1.Endpoint(), s2.Endpoint()))
	p.batches(t, 1)
	stop()
	require.Len(t, p.metrics.AllMetrics(), 1)
	names := map[string]int{}
	for _, m := range p.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		names[m.Name()]++
	}
	for name, n := range names {
		assert.Equal(t, 1, n, name)
	}
	assert.Equal(t, []string{"1", "1"}, p.points("tls.probe.success"))
}

func TestHangingAndBrokenTargetsCostTheOthersNothing(t *testing.T) {
	t.Parallel()
	silent := tlsfarm.Silent()
	t.Cleanup(silent.Close)
	p, stop := start(t, fmt.Sprintf(`
collection_interval: 1s
timeout: 1s
initial_delay: 0s
tls: {ca_file: %q}
targets:
  - {endpoint: %q}
  - {endpoint: %q, timeout: 30s, collection_interval: 30s}
  - {endpoint: %q}
`, caFile(t), farm(t, healthy()).Endpoint(), silent.Endpoint(), tlsfarm.Refused()))
	p.batches(t, 3)
	begin := time.Now()
	stop()
	assert.Less(t, time.Since(begin), 10*time.Second, "shutdown does not wait for the silent one, which has 30 s")
	success := strings.Join(p.points("tls.probe.success"), "")
	assert.GreaterOrEqual(t, strings.Count(success, "1"), 3)
	assert.GreaterOrEqual(t, strings.Count(success, "0"), 2)
	for _, pt := range p.points("tls.probe.failures") {
		assert.Contains(t, pt, "connection_refused", "what was called off is no failure")
	}
}

func TestOwnTelemetry(t *testing.T) {
	t.Parallel()
	silent := tlsfarm.Silent()
	t.Cleanup(silent.Close)
	p, _ := start(t, fmt.Sprintf(`
collection_interval: 100ms
timeout: 100ms
initial_delay: 0s
max_concurrent_probes: 1
targets: [{endpoint: %q}, {endpoint: %q, attributes: {n: "2"}}]
`, silent.Endpoint(), silent.Endpoint()))
	require.Eventually(t, func() bool {
		m, err := p.tel.GetMetric("otelcol_tls_check_probes_skipped")
		return err == nil && m.Data != nil
	}, 10*time.Second, 10*time.Millisecond)
	for _, name := range []string{
		"otelcol_tls_check_probes_in_flight", "otelcol_tls_check_probe_lateness",
		"otelcol_receiver_accepted_metric_points", "otelcol_receiver_accepted_spans",
	} {
		assert.Eventually(t, func() bool { _, err := p.tel.GetMetric(name); return err == nil }, 10*time.Second, 10*time.Millisecond, name)
	}
}

func TestRefusedTelemetryIsToldOnceAndCounted(t *testing.T) {
	t.Parallel()
	cfg, err := configure(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 1s, timeout: 1s, targets: [{endpoint: %q}]}", tlsfarm.Refused()))
	require.NoError(t, err)
	factory := NewFactory()
	tel := componenttest.NewTelemetry()
	set := receivertest.NewNopSettings(factory.Type())
	set.TelemetrySettings = tel.NewTelemetrySettings()
	core, log := observer.New(zap.InfoLevel)
	set.Logger = zap.New(core)
	refused := make(chan struct{}, 10)
	next, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error {
		refused <- struct{}{}
		return errors.New("full")
	})
	require.NoError(t, err)
	r, err := factory.CreateMetrics(t.Context(), set, cfg, next)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	<-refused
	<-refused
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Equal(t, 1, log.FilterMessageSnippet("refuses the telemetry").Len())
	m, err := tel.GetMetric("otelcol_receiver_refused_metric_points")
	require.NoError(t, err)
	assert.NotNil(t, m.Data)
	require.NoError(t, tel.Shutdown(context.Background()))
}

// A consumer that blocks may hold the last batch back, not the shutdown.
func TestBlockedConsumerDoesNotKeepTheCollectorFromStopping(t *testing.T) {
	cfg, err := configure(t, fmt.Sprintf("{initial_delay: 0s, targets: [{endpoint: %q}]}", tlsfarm.Refused()))
	require.NoError(t, err)
	blocked := make(chan struct{})
	next, err := consumer.NewMetrics(func(ctx context.Context, _ pmetric.Metrics) error {
		close(blocked)
		<-ctx.Done()
		return ctx.Err()
	})
	require.NoError(t, err)
	factory := NewFactory()
	r, err := factory.CreateMetrics(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, next)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	<-blocked
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.NoError(t, r.Shutdown(ctx))
}

func TestEachReceiverIsItsOwn(t *testing.T) {
	t.Parallel()
	factory := NewFactory()
	s := farm(t, healthy())
	var sinks [2]consumertest.MetricsSink
	var receivers [2]component.Component
	for i, name := range []string{"a", "b"} {
		cfg, err := configure(t, fmt.Sprintf("{initial_delay: 0s, tls: {ca_file: %q}, attributes: {n: %q}, targets: [{endpoint: %q}]}", caFile(t), name, s.Endpoint()))
		require.NoError(t, err)
		set := receivertest.NewNopSettings(factory.Type())
		set.ID = component.NewIDWithName(factory.Type(), name)
		receivers[i], err = factory.CreateMetrics(t.Context(), set, cfg, &sinks[i])
		require.NoError(t, err)
		require.NoError(t, receivers[i].Start(t.Context(), componenttest.NewNopHost()))
	}
	for i := range sinks {
		require.Eventually(t, func() bool { return len(sinks[i].AllMetrics()) > 0 }, 10*time.Second, 5*time.Millisecond)
		require.NoError(t, receivers[i].Shutdown(context.Background()))
	}
	assert.NotSame(t, receivers[0], receivers[1])
}

func TestFormerTypeIsAnAlias(t *testing.T) {
	factory := NewFactory()
	cfg, err := configure(t, `targets: [{endpoint: "localhost:443"}]`)
	require.NoError(t, err)
	set := receivertest.NewNopSettings(component.MustNewType("tlscheck"))
	_, err = factory.CreateMetrics(t.Context(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	_, err = factory.CreateTraces(t.Context(), receivertest.NewNopSettings(component.MustNewType("icmpcheck")), cfg, consumertest.NewNop())
	require.Error(t, err)
}

// What validate accepts can be started.
func TestMoreConcurrencyThanThereIsMemoryForIsNoHarm(t *testing.T) {
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, max_concurrent_probes: 100000000000, targets: [{endpoint: %q}]}", tlsfarm.Refused()))
	p.batches(t, 1)
	stop()
	assert.Equal(t, []string{"0"}, p.points("tls.probe.success"))
}

func TestTwinsAreWarnedOf(t *testing.T) {
	s := farm(t, healthy())
	p, stop := start(t, fmt.Sprintf(`
targets: [{endpoint: %q}, {endpoint: %q, alpn: [h2]}, {endpoint: %q, attributes: {n: "3"}}]
`, s.Endpoint(), s.Endpoint(), s.Endpoint()))
	stop()
	assert.Equal(t, 1, p.log.FilterMessageSnippet("cannot be told apart").Len())
}

var _ receiver.Metrics = (*tlsCheck)(nil)
