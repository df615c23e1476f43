package tlscheckreceiver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// replace replaces a file by renaming, so that it is never seen half-written.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".tmp", []byte(text))
	require.NoError(t, os.Rename(path+".tmp", path))
}

// mistakes waits until the receiver counts this many mistakes in its target files.
func (p *pipeline) mistakes(t *testing.T, want int64) {
	t.Helper()
	eventually(t, func() bool {
		m, err := p.tel.GetMetric("otelcol_tls_check_target_files_errors")
		if err != nil {
			return false
		}
		points := m.Data.(metricdata.Sum[int64]).DataPoints
		return len(points) == 1 && points[0].Value == want
	})
}

// counts returns the points of a counter for the target with this attribute n, in the order in which they were sent.
func (p *pipeline) counts(metric, n string) (counts []string) {
	for _, point := range p.points(metric) {
		if words := strings.Fields(point); slices.Contains(words, "n="+n) {
			counts = append(counts, words[len(words)-1])
		}
	}
	return counts
}

// probed waits until the target with this attribute n was probed so often.
func (p *pipeline) probed(t *testing.T, n string, times int) {
	t.Helper()
	eventually(t, func() bool { return len(p.times("n", n)) >= times }, n)
}

// times returns when the place with this attribute was probed.
func (p *pipeline) times(key, value string) (times []time.Time) {
	for _, md := range p.metrics.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != "tls.probe.success" {
				continue
			}
			for _, point := range m.Gauge().DataPoints().All() {
				if v, _ := point.Attributes().Get(key); v.AsString() == value {
					times = append(times, point.Timestamp().AsTime())
				}
			}
		}
	}
	return times
}

func TestTargetFilesAreReadAtStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t.yaml")
	replace(t, path, "[a:1, b:1, bad]")
	p, stop := start(t, fmt.Sprintf("{initial_delay: 1h, targets: [{endpoint: 'a:1'}], target_files: [%q]}", path))
	warnings := p.log.FilterMessageSnippet("A target file is invalid").All()
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0].Message, `entry 0: endpoint: "a:1" is already a target, with the same attributes`)
	assert.Contains(t, warnings[0].Message, `entry 2: endpoint: "bad" has no port`)
	p.mistakes(t, 2)
	stop()
}

func TestTargetFilesTakeEffectWhileTargetsAreProbed(t *testing.T) {
	t.Parallel()
	s := farm(t, healthy())
	entry := func(n string) string { return fmt.Sprintf("- {endpoint: %q, attributes: {n: %s}}\n", s.Endpoint(), n) }
	path := filepath.Join(t.TempDir(), "t.yaml")
	replace(t, path, "[]")
	inBubble(t, func(t *testing.T) {
		p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 10s, tls: {ca_file: %q}, target_files: [%q]}", caFile(t), path))
		p.mistakes(t, 0)

		replace(t, path, entry("one")+entry("two"))
		p.probed(t, "one", 2)
		p.probed(t, "two", 2)

		replace(t, path, "nonsense: [")
		p.mistakes(t, 1)
		replace(t, path, entry("one")+"- bad\n"+"- worse\n")
		p.mistakes(t, 2)
		replace(t, path, entry("two")+entry("three"))
		p.mistakes(t, 0)
		p.probed(t, "three", 2)
		replace(t, path, entry("one")+entry("two")+entry("four"))
		p.probed(t, "four", 2)
		stop()

		// Target one was removed before three was first probed. It is back, as a new target, after three was last probed.
		begin := slices.MinFunc(p.times("n", "three"), time.Time.Compare)
		end := slices.MaxFunc(p.times("n", "three"), time.Time.Compare)
		first := 0
		for _, at := range p.times("n", "one") {
			if at.Before(begin) {
				first++
			}
			assert.True(t, at.Before(begin) || at.After(end), "%s is within %s and %s", at, begin, end)
		}
		counts := p.counts("tls.handshake.total", "one")
		require.Greater(t, len(counts), first)
		assert.Equal(t, "1", counts[first])
		assert.Equal(t, 2, p.log.FilterMessageSnippet("A target file is invalid").Len())
		assert.Equal(t, 1, p.log.FilterMessageSnippet("A target file is valid again").Len())
	})
}

func TestChangedTargetKeepsItsCounters(t *testing.T) {
	t.Parallel()
	s := farm(t, healthy())
	path := filepath.Join(t.TempDir(), "t.yaml")
	entry := func(timeout string) string {
		return fmt.Sprintf("[{endpoint: %q, timeout: %s, attributes: {n: one}}, {endpoint: %q, attributes: {n: %q}}]", s.Endpoint(), timeout, s.Endpoint(), timeout)
	}
	replace(t, path, entry("9s"))
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 1h, tls: {ca_file: %q}, target_files: [%q]}", caFile(t), path))
	p.probed(t, "one", 1)
	replace(t, path, entry("8s"))
	p.probed(t, "8s", 1)
	p.probed(t, "one", 2)
	stop()
	assert.Equal(t, []string{"1", "2"}, p.counts("tls.handshake.total", "one"))
}

func TestRemovedTargetNoLongerCountsInTheStatus(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t.yaml")
	refused := tlsfarm.Refused()
	replace(t, path, fmt.Sprintf("[%q]", refused))
	cfg, err := configure(t, fmt.Sprintf("{initial_delay: 0s, target_files: [%q]}", path))
	require.NoError(t, err)
	factory := NewFactory()
	r, err := factory.CreateMetrics(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, consumertest.NewNop())
	require.NoError(t, err)
	host := &statusHost{Host: componenttest.NewNopHost()}
	require.NoError(t, r.Start(t.Context(), host))
	failing := fmt.Sprintf("StatusRecoverableError 1 failing: %s (connection_refused)", refused)
	for i, list := range []string{"[]", fmt.Sprintf("[%q]", refused)} {
		eventually(t, func() bool { return len(host.seen()) > i })
		replace(t, path, list)
	}
	eventually(t, func() bool { return len(host.seen()) > 2 })
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Equal(t, []string{failing, "StatusOK", failing}, host.seen()[:3])
}

func TestEachTargetIsProbedByOneShard(t *testing.T) {
	t.Parallel()
	const configured, inFiles = 15, 15
	s := farm(t, healthy())
	entries := func(from, n int) string {
		var b strings.Builder
		for i := from; i < from+n; i++ {
			fmt.Fprintf(&b, "- {endpoint: %q, attributes: {n: \"%d\"}}\n", s.Endpoint(), i)
		}
		return b.String()
	}
	path := filepath.Join(t.TempDir(), "t.yaml")
	replace(t, path, entries(configured, inFiles))
	inBubble(t, func(t *testing.T) {
		var shards []*pipeline
		var stops []func()
		for index := range 2 {
			p, stop := start(t, fmt.Sprintf("initial_delay: 0s\nshard: {index: %d, count: 2}\ntls: {ca_file: %q}\ntarget_files: [%q]\ntargets:\n%s",
				index, caFile(t), path, entries(0, configured)))
			shards, stops = append(shards, p), append(stops, stop)
		}
		time.Sleep(30 * time.Second) // half an interval
		probed := map[string]int{}
		for i, stop := range stops {
			stop()
			points := shards[i].points("tls.probe.success")
			assert.NotEmpty(t, points, "happens by chance once in 500 million times")
			for _, point := range points {
				probed[point]++
			}
		}
		assert.Len(t, probed, configured+inFiles)
		for point, n := range probed {
			assert.Equal(t, 1, n, point)
		}
	})
}
