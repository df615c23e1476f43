package telemetry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

const day = 24 * time.Hour

// testRecorder is a Recorder and what it sent and logged.
type testRecorder struct {
	*Recorder
	t       *testing.T
	metrics consumertest.MetricsSink
	traces  consumertest.TracesSink
	logs    consumertest.LogsSink
	log     *observer.ObservedLogs
}

// option changes a testRecorder before its Recorder is made.
type option func(*testRecorder, *Config, *Consumers)

func withTraces(r *testRecorder, _ *Config, to *Consumers) { to.Traces = &r.traces }

func withMetrics(r *testRecorder, _ *Config, to *Consumers) { to.Metrics = &r.metrics }

// newTestRecorder returns a recorder of events. The storage may be nil.
func newTestRecorder(t *testing.T, client storage.Client, options ...option) *testRecorder {
	t.Helper()
	r := &testRecorder{t: t}
	set := receivertest.NewNopSettings(metadata.Type)
	core, log := observer.New(zap.InfoLevel)
	set.Logger, r.log = zap.New(core), log
	cfg, to := DefaultConfig(), Consumers{Logs: &r.logs}
	for _, o := range options {
		o(r, &cfg, &to)
	}
	var err error
	r.Recorder, err = New(set, cfg, to, client)
	require.NoError(t, err)
	return r
}

// record observes outcomes and flushes.
func (r *testRecorder) record(outcomes ...probe.Outcome) {
	for _, o := range outcomes {
		r.Observe(r.t.Context(), o)
	}
	r.Flush(r.t.Context())
}

// event is a log record in a form that can be compared.
type event struct {
	name, severity, body string
	attributes           map[string]any
	record               plog.LogRecord
}

// events records outcomes and returns the resulting events.
func (r *testRecorder) events(outcomes ...probe.Outcome) (events []event) {
	r.t.Helper()
	r.logs.Reset()
	r.record(outcomes...)
	for _, l := range r.logs.AllLogs() {
		require.Equal(r.t, 1, l.ResourceLogs().Len())
		rl := l.ResourceLogs().At(0)
		assert.Equal(r.t, map[string]any{"service.name": "tls_check"}, rl.Resource().Attributes().AsRaw())
		assert.Equal(r.t, metadata.ScopeName, rl.ScopeLogs().At(0).Scope().Name())
		for _, e := range rl.ScopeLogs().At(0).LogRecords().All() {
			assert.Equal(r.t, e.Timestamp(), e.ObservedTimestamp())
			assert.Equal(r.t, strings.ToUpper(e.SeverityNumber().String()), e.SeverityText())
			events = append(events, event{e.EventName(), e.SeverityText(), e.Body().Str(), e.Attributes().AsRaw(), e})
		}
	}
	return events
}

// eventNames is events, but returns only their names.
func (r *testRecorder) eventNames(outcomes ...probe.Outcome) (names []string) {
	r.t.Helper()
	for _, e := range r.events(outcomes...) {
		names = append(names, e.name)
	}
	return names
}

// noEvents asserts that no events result from outcomes.
func (r *testRecorder) noEvents(outcomes ...probe.Outcome) {
	r.t.Helper()
	assert.Empty(r.t, r.eventNames(outcomes...))
}

// event returns the only event that results from an outcome.
func (r *testRecorder) event(name string, o probe.Outcome) event {
	r.t.Helper()
	events := r.events(o)
	require.Len(r.t, events, 1, "%v", events)
	require.Equal(r.t, name, events[0].name)
	return events[0]
}

// sentMetrics returns the metrics of the first batch, without tlscheck.time_left.
func (r *testRecorder) sentMetrics() pmetric.MetricSlice {
	return r.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
}

// sentSpans returns the spans of the first batch.
func (r *testRecorder) sentSpans() ptrace.SpanSlice {
	return r.traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans()
}

// assertClean asserts that the texts of an event are valid UTF-8, without escape sequences, and of limited length.
func assertClean(t *testing.T, e event) {
	t.Helper()
	var check func(v any)
	check = func(v any) {
		switch v := v.(type) {
		case string:
			assert.True(t, utf8.ValidString(v), "%s: %q", e.name, v)
			assert.NotContains(t, v, "\x1b")
			assert.LessOrEqual(t, len(v), maxBody)
		case []any:
			assert.LessOrEqual(t, len(v), 100)
			for _, element := range v {
				check(element)
			}
		}
	}
	check(e.body)
	for _, v := range e.attributes {
		check(v)
	}
}

// mail is the target of most tests.
var mail = &target.Target{
	ID: "mail", Endpoint: target.Endpoint{Host: "mail.example.com", Port: 465, DNSName: "mail.example.com"},
	ExpiryWarning: target.WarnBefore(30 * day), Attributes: map[string]string{"team": "post"},
}

// mailAttributes are on all telemetry of mail's endpoint.
var mailAttributes = map[string]any{"server.address": "mail.example.com", "server.port": int64(465), "team": "post"}

// certificateAttributes returns the attributes of all events about a certificate.
func certificateAttributes(c *x509.Certificate) map[string]any {
	return map[string]any{
		"certificate.subject": c.Subject.CommonName, "certificate.issuer": c.Issuer.CommonName,
		"certificate.not_after": c.NotAfter.UTC().Format(time.RFC3339), "certificate.serial": attributes.Serial(c),
		"certificate.sha256": fmt.Sprintf("%X", attributes.Fingerprint(c)),
	}
}

// union returns the union of two maps.
func union(a, b map[string]any) map[string]any {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

var ca = tlsfarm.NewAuthority("Event CA")

func issue(edits ...tlsfarm.Edit) *x509.Certificate {
	return ca.Issue("mail.example.com", edits...).Leaf
}

func serve(t *testing.T, cfg *tls.Config) *tlsfarm.Server {
	t.Helper()
	s := tlsfarm.TLS(cfg)
	t.Cleanup(s.Close)
	return s
}

// probeServer probes a server, and returns the outcome as if it were of mail.
func probeServer(t *testing.T, server *tlsfarm.Server, cfg *tls.Config) *probe.EndpointOutcome {
	t.Helper()
	endpoint, err := target.ParseEndpoint(server.Endpoint())
	require.NoError(t, err)
	o := (&probe.Prober{}).ProbeEndpoint(t.Context(), &target.Target{
		Endpoint: endpoint, Timeout: 5 * time.Second, TLS: cfg, ExpiryWarning: mail.ExpiryWarning, Explain: target.ExplainNever,
	})
	return withTarget(mail, o)
}

// withTarget changes the target of an outcome.
func withTarget(t *target.Target, o *probe.EndpointOutcome) *probe.EndpointOutcome {
	o.Target, o.Place = t, t.Place()
	return o
}

// example is a target without attributes of its own.
var example = &target.Target{Endpoint: target.Endpoint{Host: "a.example", Port: 443}}

func minimalCertificate() *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(0xabc0123), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

// handshakeOutcome is the outcome of a successful handshake that begins now.
func handshakeOutcome(t *target.Target, took time.Duration, c *x509.Certificate) *probe.EndpointOutcome {
	start := time.Now()
	end := start.Add(took)
	o := &probe.EndpointOutcome{About: probe.About{Target: t, Place: t.Place(), Start: start, End: end}}
	o.Handshake = &probe.Handshake{Facts: handshake.Facts{
		Start: start, End: end, Established: true, Verdict: &certs.Verdict{Chain: []*x509.Certificate{c}},
		State: tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, PeerCertificates: []*x509.Certificate{c}},
	}}
	return o
}

// handshakeAt is the outcome of a successful handshake of mail.
func handshakeAt(end time.Time, c *x509.Certificate) *probe.EndpointOutcome {
	o := handshakeOutcome(mail, time.Second, c)
	o.Start, o.End = end.Add(-time.Second), end
	o.Handshake.Start, o.Handshake.End = o.Start, end
	return o
}

// failureAt is the outcome of a probe of mail that could not connect.
func failureAt(end time.Time, typ failure.Type) *probe.EndpointOutcome {
	return &probe.EndpointOutcome{About: probe.About{Target: mail, Place: mail.Place(), Start: end.Add(-time.Second), End: end, Failure: &failure.Failure{
		Step: failure.Connect, Type: typ, Reasons: []failure.Type{typ}, Category: "tcp", Message: "msg", Cause: "Cause.", Fix: "Fix.",
	}}}
}

// fileAt is the outcome of a file of mail.
func fileAt(end time.Time, path string, cs ...*x509.Certificate) *probe.FileOutcome {
	o := &probe.FileOutcome{
		About:        probe.About{Target: mail, Place: target.Place{TargetID: mail.ID, Path: path}, Start: end, End: end},
		Certificates: cs,
	}
	for i := range cs {
		o.Depths = append(o.Depths, i)
	}
	return o
}

// gone is the last outcome of a target's file, or of its endpoint if path is empty.
func gone(t *target.Target, path string) *probe.Gone {
	return &probe.Gone{About: probe.About{Target: t, Place: target.Place{TargetID: t.ID, Path: path}}}
}

// allKindsOfEvents returns outcomes that cause every kind of event except tls.endpoint.recovered.
func allKindsOfEvents(now time.Time) []probe.Outcome {
	expired, expiring := issue(tlsfarm.Validity(-2*day, -day)), issue(tlsfarm.Validity(-day, day))
	expiredClient := ca.Issue("collector", tlsfarm.Validity(-2*day, -day)).Leaf
	expiringClient := ca.Issue("collector", tlsfarm.Validity(-day, day)).Leaf
	var all []probe.Outcome
	for _, c := range []*x509.Certificate{expired, expired, expiring, expiring} {
		o := handshakeAt(now, c)
		o.ClientCert = expiringClient
		o.Handshake.OnDisk = []probe.OnDisk{{Path: "/etc/ssl/mail.pem", Since: now, Leaf: issue()}}
		all = append(all, o)
	}
	bad := failureAt(now, failure.ConnectionRefused)
	bad.ClientCert = expiredClient
	bad.Pool = &probe.Pool{Peers: []probe.PoolPeer{{Leaf: expired}, {Leaf: expiring}}}
	missing := fileAt(now, "/etc/ssl/x.pem")
	missing.Failure = bad.Failure
	return append(all, bad, missing, fileAt(now, "/etc/ssl/mail.pem", expired))
}
