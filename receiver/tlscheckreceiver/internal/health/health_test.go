package health

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// statusHost is a host that keeps the events reported to it.
type statusHost struct {
	component.Host
	events []*componentstatus.Event
}

func (h *statusHost) Report(e *componentstatus.Event) { h.events = append(h.events, e) }

// statuses returns the reported statuses with their errors, and forgets them.
func (h *statusHost) statuses() (statuses []string) {
	for _, e := range h.events {
		statuses = append(statuses, strings.TrimSuffix(fmt.Sprintf("%s %v", e.Status(), e.Err()), " <nil>"))
	}
	h.events = nil
	return statuses
}

// newHealth returns a Health that has a host, and what it logs.
func newHealth() (*Health, *statusHost, *observer.ObservedLogs) {
	core, log := observer.New(zap.DebugLevel)
	h, host := New(zap.New(core)), &statusHost{}
	h.Join(host)
	return h, host, log
}

// observe shows h outcomes and flushes.
func observe(t *testing.T, h *Health, outcomes ...probe.Outcome) {
	for _, o := range outcomes {
		h.Observe(t.Context(), o)
	}
	h.Flush(t.Context())
}

// about returns what is common to all outcomes of an endpoint.
func about(host string) probe.About {
	t := &target.Target{ID: host, Endpoint: target.Endpoint{Host: host, Port: 443}}
	return probe.About{Target: t, Place: t.Place(), End: time.Now()}
}

func success(host string) *probe.EndpointOutcome { return &probe.EndpointOutcome{About: about(host)} }

func failed(host string, typ failure.Type) *probe.EndpointOutcome {
	o := success(host)
	o.Failure = &failure.Failure{Step: failure.Connect, Type: typ, Cause: "Cause.", Fix: "Fix."}
	return o
}

func gone(o probe.Outcome) *probe.Gone {
	a := *o.Common()
	a.Failure = nil
	return &probe.Gone{About: a}
}

// file returns the outcome of a file with unreadable blocks.
func file(path string, bad int, firstBad string) *probe.FileOutcome {
	o := &probe.FileOutcome{About: about("a.example"), Bad: bad, FirstBad: firstBad}
	o.Place.Path = path
	return o
}

// logged returns the entries as text, and removes them.
func logged(log *observer.ObservedLogs) (lines []string) {
	for _, e := range log.TakeAll() {
		lines = append(lines, fmt.Sprint(e.Level, ": ", e.Message, " ", e.ContextMap())) // fmt sorts the keys
	}
	return lines
}

func TestEndpoint(t *testing.T) {
	h, host, log := newHealth()
	observe(t, h, success("a.example"))
	assert.Empty(t, logged(log))
	assert.Equal(t, []string{"StatusOK"}, host.statuses())

	observe(t, h, failed("a.example", failure.ConnectionRefused))
	assert.Equal(t, []string{
		"warn: TLS endpoint begins to fail: Cause. map[endpoint:a.example:443 error.type:connection_refused fix:Fix. step:connect]",
	}, logged(log))
	assert.Equal(t, []string{"StatusRecoverableError 1 failing: a.example:443 (connection_refused)"}, host.statuses())

	observe(t, h, failed("a.example", failure.ConnectionRefused), failed("a.example", failure.ConnectionRefused))
	assert.Empty(t, logged(log), "the same failure")
	assert.Empty(t, host.statuses())

	observe(t, h, failed("a.example", failure.NotTLS))
	assert.Empty(t, logged(log), "a failure of another type")
	assert.Equal(t, []string{"StatusRecoverableError 1 failing: a.example:443 (not_tls)"}, host.statuses())

	observe(t, h, success("a.example"))
	assert.Equal(t, []string{"info: TLS endpoint has recovered. map[endpoint:a.example:443 was:not_tls]"}, logged(log))
	assert.Equal(t, []string{"StatusOK"}, host.statuses())

	observe(t, h, success("a.example"))
	assert.Empty(t, logged(log))
	assert.Empty(t, host.statuses())
}

func TestFile(t *testing.T) {
	h, host, log := newHealth()
	missing := file("/a.pem", 0, "")
	missing.Failure = &failure.Failure{Step: failure.File, Type: "file_not_found", Cause: "There is no file.", Fix: "Fix."}
	observe(t, h, missing, success("a.example"))
	assert.Equal(t, []string{
		"warn: Certificate file begins to fail: There is no file. map[endpoint:/a.pem error.type:file_not_found fix:Fix. step:file]",
	}, logged(log), "a file is not its target's endpoint")
	assert.Equal(t, []string{"StatusRecoverableError 1 failing: /a.pem (file_not_found)"}, host.statuses())
	observe(t, h, file("/a.pem", 0, ""))
	assert.Equal(t, []string{"info: Certificate file has recovered. map[endpoint:/a.pem was:file_not_found]"}, logged(log))
	assert.Equal(t, []string{"StatusOK"}, host.statuses())
}

func TestGone(t *testing.T) {
	h, host, log := newHealth()
	a, b := failed("a.example", failure.ConnectionRefused), failed("b.example", failure.ConnectionRefused)
	observe(t, h, a, b, success("c.example"))
	assert.Len(t, logged(log), 2)
	host.statuses()

	observe(t, h, gone(success("c.example")))
	assert.Empty(t, host.statuses(), "it did not fail")
	observe(t, h, gone(a))
	assert.Equal(t, []string{"StatusRecoverableError 1 failing: b.example:443 (connection_refused)"}, host.statuses())
	observe(t, h, gone(b))
	assert.Equal(t, []string{"StatusOK"}, host.statuses())
	assert.Empty(t, logged(log))

	observe(t, h, a)
	assert.Len(t, logged(log), 1, "it begins to fail again")
}

func TestUnreadableBlocks(t *testing.T) {
	h, host, log := newHealth()
	warning := func(path string, parts int, block string) []string {
		return []string{fmt.Sprintf("warn: Parts of a certificate file cannot be read. The first one: %s map[file:%s parts:%d]", block, path, parts)}
	}
	observe(t, h, file("/a.pem", 2, "block 3"))
	assert.Equal(t, warning("/a.pem", 2, "block 3"), logged(log))
	observe(t, h, file("/a.pem", 2, "block 3"))
	assert.Empty(t, logged(log), "the same block")
	observe(t, h, file("/b.pem", 2, "block 3"))
	assert.Equal(t, warning("/b.pem", 2, "block 3"), logged(log), "another file")
	observe(t, h, file("/a.pem", 1, "block 4"))
	assert.Equal(t, warning("/a.pem", 1, "block 4"), logged(log), "another block")
	observe(t, h, file("/a.pem", 0, ""))
	assert.Empty(t, logged(log), "recovered")
	observe(t, h, file("/a.pem", 1, "block 4"))
	assert.Equal(t, warning("/a.pem", 1, "block 4"), logged(log), "after it had recovered")
	observe(t, h, gone(file("/a.pem", 0, "")))
	assert.Empty(t, logged(log), "gone")
	observe(t, h, file("/a.pem", 1, "block 4"))
	assert.Equal(t, warning("/a.pem", 1, "block 4"), logged(log), "after it was gone")
	assert.Equal(t, []string{"StatusOK"}, host.statuses(), "such a file does not fail")
}

func TestStatusIsReportedAtFlush(t *testing.T) {
	h, host, _ := newHealth()
	h.Flush(t.Context())
	assert.Empty(t, host.statuses(), "before the first outcome")
	h.Observe(t.Context(), failed("a.example", failure.ConnectionRefused))
	assert.Empty(t, host.statuses())
	h.Flush(t.Context())
	assert.Len(t, host.statuses(), 1)
	h.Flush(t.Context())
	assert.Empty(t, host.statuses())
}

// The outcome of a place that is gone is an outcome, too.
func TestStatusWithoutPlaces(t *testing.T) {
	h, host, _ := newHealth()
	observe(t, h, gone(success("a.example")))
	assert.Equal(t, []string{"StatusOK"}, host.statuses())
}

func TestHosts(t *testing.T) {
	h, first, _ := newHealth()
	early := &statusHost{}
	h.Join(early)
	assert.Empty(t, early.statuses(), "nothing is known yet")
	observe(t, h, failed("a.example", failure.ConnectionRefused))
	want := []string{"StatusRecoverableError 1 failing: a.example:443 (connection_refused)"}
	assert.Equal(t, want, first.statuses())
	assert.Equal(t, want, early.statuses())

	h.Observe(t.Context(), success("a.example"))
	late := &statusHost{}
	h.Join(late)
	assert.Equal(t, want, late.statuses(), "the status at the last flush")
	h.Flush(t.Context())
	for _, host := range []*statusHost{first, early, late} {
		assert.Equal(t, []string{"StatusOK"}, host.statuses())
	}
}

func TestSummary(t *testing.T) {
	for n, want := range map[int]string{
		3: "3 failing: 00:443 (not_tls), 01:443 (not_tls), 02:443 (not_tls)",
		10: "10 failing: 00:443 (not_tls), 01:443 (not_tls), 02:443 (not_tls), 03:443 (not_tls), 04:443 (not_tls), " +
			"05:443 (not_tls), 06:443 (not_tls), 07:443 (not_tls), 08:443 (not_tls), 09:443 (not_tls)",
		11: "11 failing: 00:443 (not_tls), 01:443 (not_tls), 02:443 (not_tls), 03:443 (not_tls), 04:443 (not_tls), " +
			"05:443 (not_tls), 06:443 (not_tls), 07:443 (not_tls), 08:443 (not_tls), 09:443 (not_tls), …",
	} {
		h, host, _ := newHealth()
		for i := n - 1; i >= 0; i-- {
			h.Observe(t.Context(), failed(fmt.Sprintf("%02d", i), failure.NotTLS))
		}
		h.Flush(t.Context())
		require.Len(t, host.events, 1)
		assert.Equal(t, componentstatus.StatusRecoverableError, host.events[0].Status())
		assert.EqualError(t, host.events[0].Err(), want)
	}
}

// An outage of a whole network is one change of the status.
func TestManyPlacesFailBetweenTwoFlushes(t *testing.T) {
	h, host, log := newHealth()
	for i := range 10_000 {
		h.Observe(t.Context(), failed(fmt.Sprintf("%04d.example", i), failure.NetworkUnreachable))
	}
	h.Flush(t.Context())
	statuses := host.statuses()
	require.Len(t, statuses, 1)
	assert.True(t, strings.HasPrefix(statuses[0], "StatusRecoverableError 10000 failing: 0000.example:443 (network_unreachable), 0001.example:443"), statuses[0])
	assert.Less(t, len(statuses[0]), 1000)
	assert.Len(t, logged(log), 10_000, "one line for each place")
}

func TestNothingIsReportedAfterClose(t *testing.T) {
	h, host, _ := newHealth()
	observe(t, h, success("a"))
	assert.Equal(t, []string{"StatusOK"}, host.statuses())
	h.Close()
	observe(t, h, failed("a", failure.ConnectionRefused))
	assert.Empty(t, host.statuses())
}
