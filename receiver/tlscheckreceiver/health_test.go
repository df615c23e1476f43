package tlscheckreceiver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// statusHost records the statuses that are reported to it.
type statusHost struct {
	component.Host
	mu     sync.Mutex
	events []string
}

func (h *statusHost) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := e.Status().String()
	if e.Err() != nil {
		text += " " + e.Err().Error()
	}
	h.events = append(h.events, text)
}

func (h *statusHost) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.events...)
}

func TestLogAndStatusReportOnlyChanges(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	cert := root.Issue("x")
	s := tlsfarm.Serve(func(conn net.Conn) {
		if !broken.Load() {
			tlsfarm.Handshake(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
	})
	t.Cleanup(s.Close)
	inBubble(t, func(t *testing.T) {
		cfg, err := configure(t, fmt.Sprintf(`
collection_interval: 1m
initial_delay: 0s
explain: {when: never}
tls: {ca_file: %q}
targets: [{endpoint: %q}]
`, caFile(t), s.Endpoint()))
		require.NoError(t, err)
		factory := NewFactory()
		set := receivertest.NewNopSettings(factory.Type())
		core, log := observer.New(zap.InfoLevel)
		set.Logger = zap.New(core)
		var sink consumertest.MetricsSink
		m, err := factory.CreateMetrics(t.Context(), set, cfg, &sink)
		require.NoError(t, err)
		tr, err := factory.CreateTraces(t.Context(), set, cfg, consumertest.NewNop())
		require.NoError(t, err)
		forMetrics, forTraces := &statusHost{}, &statusHost{}
		require.NoError(t, m.Start(t.Context(), forMetrics))
		require.NoError(t, tr.Start(t.Context(), forTraces))

		time.Sleep(90 * time.Second) // two probes, of which the second changes nothing
		broken.Store(true)
		time.Sleep(2 * time.Minute)
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		require.NoError(t, m.Shutdown(context.Background()))
		require.NoError(t, tr.Shutdown(context.Background()))
		assert.Len(t, sink.AllMetrics(), 6)

		want := []string{
			"StatusOK",
			"StatusRecoverableError 1 failing: " + s.Endpoint() + " (connection_closed)",
			"StatusOK",
		}
		assert.Equal(t, want, forMetrics.seen())
		assert.Equal(t, want, forTraces.seen())

		require.Equal(t, 2, log.Len(), "%v", log.All())
		failing, recovered := log.All()[0], log.All()[1]
		assert.Equal(t, zap.WarnLevel, failing.Level)
		assert.Contains(t, failing.Message, "closed the connection during the handshake")
		assert.Equal(t, s.Endpoint(), failing.ContextMap()["endpoint"])
		assert.Equal(t, "connection_closed", failing.ContextMap()["error.type"])
		assert.Contains(t, failing.ContextMap()["fix"], "server's log")
		assert.Equal(t, zap.InfoLevel, recovered.Level)
		assert.Equal(t, "connection_closed", recovered.ContextMap()["was"])
	})
}
