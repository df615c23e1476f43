package tlscheckreceiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// Batches are sent and files are checked often, so that tests do not wait for them.
func init() { flushAfter, checkFilesEvery = 20*time.Millisecond, 20*time.Millisecond }

// patience is much longer than anything takes, even on a busy machine.
const patience = time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, condition func() bool, what ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what...)
}

// inBubble runs f in a bubble of testing/synctest, in which sleeping takes no time. The bubble's clock stands still while a
// probe waits for a server, so no probe times out, however busy the machine is. That needs servers that were started outside:
// one that waits for connections in the bubble would stop its clock. So would a target with a file_path, which is watched.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	now := time.Now().Round(0) // without its monotonic part, which differs in the bubble
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(now)) // the clock starts in 2000, when no certificate of the farm is valid yet
		f(t)
	})
}

// inOneBatch makes receivers send all that they find in one batch when they stop. The test must not be parallel, as others
// read flushAfter.
func inOneBatch(t *testing.T) {
	t.Helper()
	before := flushAfter
	flushAfter = time.Hour
	t.Cleanup(func() { flushAfter = before })
}

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

// caFile returns the path of a file with the farm's root.
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

// pipeline is a receiver and what it sent.
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

// batch waits until the first batch of metrics was sent.
func (p *pipeline) batch(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return len(p.metrics.AllMetrics()) > 0 })
}

// points returns the data points of a metric in all batches as text: attributes and value.
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

func TestEachProbeSendsAllSeriesWithCumulativeCounters(t *testing.T) {
	t.Parallel()
	good, bad := root.Issue("good"), root.Issue("bad", tlsfarm.Names("other.example"))
	var turn atomic.Int64
	s := tlsfarm.Serve(func(conn net.Conn) {
		cert := good
		if turn.Add(1)%2 == 0 {
			cert = bad
		}
		tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
	})
	t.Cleanup(s.Close)
	inBubble(t, func(t *testing.T) {
		p, stop := start(t, fmt.Sprintf(`
collection_interval: 1m
initial_delay: 0s
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, caFile(t), s.Endpoint()))
		time.Sleep(150 * time.Second) // three probes
		stop()
		assert.Equal(t, []string{"1", "0", "1"}, p.points("tls.probe.success"))
		assert.Equal(t, []string{
			"result=success tls.protocol.version=1.3 1",
			"result=success tls.protocol.version=1.3 1", "result=failure error.type=hostname_mismatch 1",
			"result=success tls.protocol.version=1.3 2", "result=failure error.type=hostname_mismatch 1",
		}, p.points("tls.handshake.total"))
		assert.Equal(t, []string{"error.type=hostname_mismatch 1", "error.type=hostname_mismatch 1"}, p.points("tls.validation.errors"))
		assert.Equal(t, slices.Repeat([]string{"tls.probe.phase=verify error.type=hostname_mismatch 1"}, 2), p.points("tls.probe.failures"))
	})
}

func TestHistogramExemplarPointsToTheHandshakeSpan(t *testing.T) {
	t.Parallel()
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, caFile(t), farm(t, healthy()).Endpoint()))
	p.batch(t)
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
			var turn atomic.Int64
			cert := root.Issue("same")
			s := tlsfarm.Serve(func(conn net.Conn) {
				if turn.Add(1) != 2 {
					tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
				}
			})
			t.Cleanup(s.Close)
			inBubble(t, func(t *testing.T) {
				p, stop := start(t, fmt.Sprintf(`
collection_interval: 1m
initial_delay: 0s
spans: {when: %s}
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, when, caFile(t), s.Endpoint()))
				time.Sleep(210 * time.Second) // four probes
				stop()
				assert.Len(t, p.points("tls.probe.success"), 4)
				var got []string
				for _, s := range p.spans() {
					if s.Name() == "tls.connect" {
						got = append(got, map[ptrace.StatusCode]string{ptrace.StatusCodeUnset: "ok", ptrace.StatusCodeError: "error"}[s.Status().Code()])
					}
				}
				assert.Equal(t, want, got)
			})
		})
	}
}

func TestNoExemplarWithoutASpan(t *testing.T) {
	t.Parallel()
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
spans: {when: on_failure}
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, caFile(t), farm(t, healthy()).Endpoint()))
	p.batch(t)
	stop()
	assert.Empty(t, p.spans())
	assert.Zero(t, histogram(t, p).Exemplars().Len())
}

func TestAllTelemetryOfATargetHasItsAttributes(t *testing.T) {
	t.Parallel()
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
tls: {ca_file: %q}
attributes: {env: prod, team: all}
targets:
  - endpoint: %q
    attributes: {team: edge}
`, caFile(t), farm(t, healthy()).Endpoint()))
	p.batch(t)
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

func TestBatchHasEachMetricOnceForAllTargets(t *testing.T) {
	inOneBatch(t)
	s1, s2 := farm(t, healthy()), farm(t, healthy())
	inBubble(t, func(t *testing.T) {
		p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
tls: {ca_file: %q}
targets: [{endpoint: %q}, {endpoint: %q}]
`, caFile(t), s1.Endpoint(), s2.Endpoint()))
		time.Sleep(30 * time.Second) // one probe each
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
	})
}

func TestHangingAndRefusingTargetsDoNotDelayOthers(t *testing.T) {
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
  - {endpoint: %q, timeout: 1h, collection_interval: 1h}
  - {endpoint: %q}
`, caFile(t), farm(t, healthy()).Endpoint(), silent.Endpoint(), tlsfarm.Refused()))
	eventually(t, func() bool {
		success := strings.Join(p.points("tls.probe.success"), "")
		return strings.Count(success, "1") >= 3 && strings.Count(success, "0") >= 2
	})
	stop() // does not wait for the silent one, which has an hour
	for _, pt := range p.points("tls.probe.failures") {
		assert.Contains(t, pt, "connection_refused", "a cancelled probe is not a failure")
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
	eventually(t, func() bool {
		m, err := p.tel.GetMetric("otelcol_tls_check_probes_skipped")
		return err == nil && m.Data != nil
	})
	for _, name := range []string{
		"otelcol_tls_check_probes_in_flight", "otelcol_tls_check_probe_lateness",
		"otelcol_receiver_accepted_metric_points", "otelcol_receiver_accepted_spans",
	} {
		eventually(t, func() bool { _, err := p.tel.GetMetric(name); return err == nil }, name)
	}
}

func TestRefusedTelemetryIsLoggedOnceAndCounted(t *testing.T) {
	t.Parallel()
	endpoint := tlsfarm.Refused()
	inBubble(t, func(t *testing.T) {
		cfg, err := configure(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 1m, targets: [{endpoint: %q}]}", endpoint))
		require.NoError(t, err)
		factory := NewFactory()
		tel := componenttest.NewTelemetry()
		set := receivertest.NewNopSettings(factory.Type())
		set.TelemetrySettings = tel.NewTelemetrySettings()
		core, log := observer.New(zap.InfoLevel)
		set.Logger = zap.New(core)
		var refused atomic.Int64
		next, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error {
			refused.Add(1)
			return errors.New("full")
		})
		require.NoError(t, err)
		r, err := factory.CreateMetrics(t.Context(), set, cfg, next)
		require.NoError(t, err)
		require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
		time.Sleep(90 * time.Second) // two probes
		require.NoError(t, r.Shutdown(context.Background()))
		assert.Equal(t, int64(2), refused.Load())
		assert.Equal(t, 1, log.FilterMessageSnippet("refuses the telemetry").Len())
		m, err := tel.GetMetric("otelcol_receiver_refused_metric_points")
		require.NoError(t, err)
		assert.NotNil(t, m.Data)
		require.NoError(t, tel.Shutdown(context.Background()))
	})
}

// A consumer that blocks may lose the last batch, but the collector must still stop.
func TestShutdownDoesNotWaitForAConsumerThatBlocks(t *testing.T) {
	t.Parallel()
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
	host := &statusHost{}
	require.NoError(t, r.Start(t.Context(), host))
	<-blocked
	assert.Equal(t, []string{"StatusRecoverableError 1 failing: " + tlsfarm.Refused() + " (connection_refused)"}, host.seen(), "before the consumer blocks")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.NoError(t, r.Shutdown(ctx))
}

func TestReceiversAreIndependent(t *testing.T) {
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
		eventually(t, func() bool { return len(sinks[i].AllMetrics()) > 0 })
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

// Whatever is valid can be started: nothing is allocated for probes that do not run.
func TestHugeMaxConcurrentProbesTakesNoMemory(t *testing.T) {
	t.Parallel()
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, max_concurrent_probes: 100000000000, targets: [{endpoint: %q}]}", tlsfarm.Refused()))
	p.batch(t)
	stop()
	assert.Equal(t, []string{"0"}, p.points("tls.probe.success"))
}

func TestTargetsThatCannotBeToldApartAreLogged(t *testing.T) {
	t.Parallel()
	s := farm(t, healthy())
	p, stop := start(t, fmt.Sprintf(`
targets: [{endpoint: %q}, {endpoint: %q, alpn: [h2]}, {endpoint: %q, attributes: {n: "3"}}]
`, s.Endpoint(), s.Endpoint(), s.Endpoint()))
	stop()
	assert.Equal(t, 1, p.log.FilterMessageSnippet("cannot be told apart").Len())
}

var _ receiver.Metrics = (*tlsCheck)(nil)
