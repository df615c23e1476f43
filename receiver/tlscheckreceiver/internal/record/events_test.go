package record

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/filter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

const day = 24 * time.Hour

// mail is the target of most tests.
var mail = &target.Target{
	ID: "mail", Endpoint: target.Endpoint{Host: "mail.example.com", Port: 465, DNSName: "mail.example.com"},
	ExpiryWarning: target.WarnBefore(30 * day), Attributes: map[string]string{"team": "post"},
}

var mailPlace = map[string]any{"server.address": "mail.example.com", "server.port": int64(465), "team": "post"}

// desk is a recorder and what came out of it.
type desk struct {
	*Recorder
	t       *testing.T
	metrics consumertest.MetricsSink
	traces  consumertest.TracesSink
	logs    consumertest.LogsSink
	log     *observer.ObservedLogs
}

// newDesk returns a recorder of events; signals adds other consumers, edit changes the configuration.
func newDesk(t *testing.T, memory storage.Client, edits ...func(*desk, *Config, *Consumers)) *desk {
	t.Helper()
	d := &desk{t: t}
	set := receivertest.NewNopSettings(metadata.Type)
	core, log := observer.New(zap.InfoLevel)
	set.Logger, d.log = zap.New(core), log
	cfg, to := DefaultConfig(), Consumers{Logs: &d.logs}
	for _, edit := range edits {
		edit(d, &cfg, &to)
	}
	var err error
	d.Recorder, err = New(set, cfg, to, memory)
	require.NoError(t, err)
	return d
}

func withTraces(d *desk, _ *Config, to *Consumers) { to.Traces = &d.traces }

func withMetrics(d *desk, _ *Config, to *Consumers) { to.Metrics = &d.metrics }

// event is a log record in a form to compare.
type event struct {
	name, severity, body string
	attributes           map[string]any
	record               plog.LogRecord
}

// after records outcomes and returns the events that come of them.
func (d *desk) after(outcomes ...*probe.Outcome) (events []event) {
	d.t.Helper()
	d.logs.Reset()
	for _, o := range outcomes {
		d.guarded(d.t.Context(), o)
	}
	d.flush(d.t.Context())
	assert.Empty(d.t, d.log.FilterMessageSnippet("please report it").All())
	for _, l := range d.logs.AllLogs() {
		require.Equal(d.t, 1, l.ResourceLogs().Len())
		rl := l.ResourceLogs().At(0)
		assert.Equal(d.t, map[string]any{"service.name": "tls_check"}, rl.Resource().Attributes().AsRaw())
		assert.Equal(d.t, metadata.ScopeName, rl.ScopeLogs().At(0).Scope().Name())
		for _, e := range rl.ScopeLogs().At(0).LogRecords().All() {
			assert.Equal(d.t, e.Timestamp(), e.ObservedTimestamp())
			assert.Equal(d.t, strings.ToUpper(e.SeverityNumber().String()), e.SeverityText())
			events = append(events, event{e.EventName(), e.SeverityText(), e.Body().Str(), e.Attributes().AsRaw(), e})
		}
	}
	return events
}

// nothing asserts that outcomes are no news.
func (d *desk) nothing(outcomes ...*probe.Outcome) {
	d.t.Helper()
	assert.Empty(d.t, d.names(outcomes...))
}

// names returns the names of the events that come of outcomes.
func (d *desk) names(outcomes ...*probe.Outcome) (names []string) {
	d.t.Helper()
	for _, e := range d.after(outcomes...) {
		names = append(names, e.name)
	}
	return names
}

// one returns the single event that comes of an outcome.
func (d *desk) one(name string, o *probe.Outcome) event {
	d.t.Helper()
	events := d.after(o)
	require.Len(d.t, events, 1, "%v", events)
	require.Equal(d.t, name, events[0].name)
	return events[0]
}

// with returns the union of two maps.
func with(a, b map[string]any) map[string]any {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

// identity are the attributes that all events of a certificate have.
func identity(c *x509.Certificate) map[string]any {
	return map[string]any{
		"certificate.subject": c.Subject.CommonName, "certificate.issuer": c.Issuer.CommonName,
		"certificate.not_after": c.NotAfter.UTC().Format(time.RFC3339), "certificate.serial": serial(c),
		"certificate.sha256": fmt.Sprintf("%X", fingerprint(c)),
	}
}

// at is the outcome of a handshake that ended then and was shown this certificate.
func at(end time.Time, c *x509.Certificate) *probe.Outcome {
	o := handshake(mail, time.Second, c)
	o.Start, o.End = end.Add(-time.Second), end
	o.Handshake.Start, o.Handshake.End = o.Start, end
	return o
}

// failed is the outcome of a probe that got no connection.
func failed(end time.Time, typ failure.Type) *probe.Outcome {
	return &probe.Outcome{Target: mail, Start: end.Add(-time.Second), End: end, Failure: &failure.Failure{
		Step: failure.Connect, Type: typ, Reasons: []failure.Type{typ}, Category: "tcp", Message: "msg", Cause: "Cause.", Fix: "Fix.",
	}}
}

// file is the outcome of a file.
func file(end time.Time, path string, cs ...*x509.Certificate) *probe.Outcome {
	return &probe.Outcome{Target: mail, Start: end, End: end, File: &probe.File{Path: path, Certificates: cs}}
}

// probed is the outcome of a real probe of a server, as if it were mail's.
func probed(t *testing.T, server *tlsfarm.Server, cfg *tls.Config) *probe.Outcome {
	t.Helper()
	endpoint, err := target.ParseEndpoint(server.Endpoint())
	require.NoError(t, err)
	o := (&probe.Prober{}).Probe(t.Context(), &target.Target{
		Endpoint: endpoint, Timeout: 5 * time.Second, TLS: cfg, ExpiryWarning: mail.ExpiryWarning, Explain: target.ExplainNever,
	})
	o.Target = mail
	return o
}

func serve(t *testing.T, cfg *tls.Config) *tlsfarm.Server {
	t.Helper()
	s := tlsfarm.TLS(cfg)
	t.Cleanup(s.Close)
	return s
}

var ca = tlsfarm.NewAuthority("Event CA")

func issue(edits ...tlsfarm.Edit) *x509.Certificate {
	return ca.Issue("mail.example.com", edits...).Leaf
}

func TestFailingAndRecovered(t *testing.T) {
	good := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("mail")}})
	bad := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("mail", tlsfarm.Names("other.example"))}})
	cfg := &tls.Config{RootCAs: ca.Pool()}
	d := newDesk(t, nil, withTraces)

	first := probed(t, bad, cfg)
	e := d.one("tls.endpoint.failing", first) // at its very first probe
	assert.Equal(t, "ERROR", e.severity)
	assert.Equal(t, "mail.example.com:465 fails at verify: "+first.Failure.Cause+" "+first.Failure.Fix, e.body)
	assert.Contains(t, e.body, "other.example")
	assert.Equal(t, with(mailPlace, map[string]any{
		"tls.probe.phase": "verify", "error.type": "hostname_mismatch",
		"tls.error.type": "certificate_verification", "tls.error.library": "X509", "tls.error.message": first.Failure.Message,
		"tls.error.verify_code": int64(first.Failure.VerifyCode), "tls.error.verify_message": first.Failure.VerifyMessage,
		"tls.error.cause": first.Failure.Cause, "tls.error.fix": first.Failure.Fix, "tls.error.reasons": []any{"hostname_mismatch"},
	}), e.attributes)
	assert.Equal(t, first.End.UnixNano(), int64(e.record.Timestamp()))
	d.nothing(probed(t, bad, cfg), probed(t, bad, cfg))

	// Another error.type is news; the same one with another text is not.
	refused := failed(first.End.Add(time.Minute), failure.ConnectionRefused)
	e = d.one("tls.endpoint.failing", refused)
	assert.Equal(t, "mail.example.com:465 fails at connect: Cause. Fix.", e.body)
	assert.Equal(t, with(mailPlace, map[string]any{
		"tls.probe.phase": "connect", "error.type": "connection_refused", "tls.error.type": "tcp", "tls.error.message": "msg",
		"tls.error.cause": "Cause.", "tls.error.fix": "Fix.", "tls.error.reasons": []any{"connection_refused"},
	}), e.attributes)
	refused.Failure.Cause = "Other cause."
	d.nothing(refused)

	healthy := probed(t, good, cfg)
	healthy.End = first.End.Add(3 * time.Hour)
	events := d.after(healthy)
	require.Len(t, events, 2)
	assert.Equal(t, "tls.certificate.changed", events[0].name)
	e = events[1]
	assert.Equal(t, "tls.endpoint.recovered", e.name)
	assert.Equal(t, "INFO", e.severity)
	assert.Equal(t, fmt.Sprintf("mail.example.com:465 is in good health again. It failed since %s, for 3 hours, last with connection_refused.",
		moment(first.End)), e.body)
	assert.Equal(t, with(mailPlace, map[string]any{
		"error.type": "connection_refused", "tls.probe.failing_since": first.End.UTC().Format(time.RFC3339),
	}), e.attributes)
	d.nothing(healthy)

	assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(refused), "again when it is due")
}

func TestFailingHasTheWarningsAndTheAlert(t *testing.T) {
	d := newDesk(t, nil)
	o := at(time.Now(), issue())
	o.Handshake.Warnings = []failure.Type{failure.FileMismatch}
	o.Failure = &failure.Failure{Step: failure.ClientAuth, Type: failure.UnknownCA, Reasons: []failure.Type{failure.UnknownCA}, Category: "ssl_error", Alert: 48, HasAlert: true, SSLReason: "TLSV1_ALERT_UNKNOWN_CA"}
	e := d.one("tls.endpoint.failing", o)
	assert.Equal(t, []any{"unknown_ca", "file_mismatch"}, e.attributes["tls.error.reasons"])
	assert.Equal(t, int64(48), e.attributes["tls.error.alert"])
	assert.Equal(t, "SSL", e.attributes["tls.error.library"])
	assert.Equal(t, "TLSV1_ALERT_UNKNOWN_CA", e.attributes["tls.error.reason"])

	bad := file(time.Now(), "/etc/ssl/a.pem")
	bad.Failure = &failure.Failure{Step: failure.File, Type: "file_not_found", Category: "file", Cause: "There is no such file.", Fix: "Correct it."}
	bad.File.Warnings = []failure.Type{"malformed_certificate"}
	e = d.one("tls.endpoint.failing", bad)
	assert.Equal(t, "/etc/ssl/a.pem fails at file: There is no such file. Correct it.", e.body)
	assert.Equal(t, map[string]any{
		"certificate.path": "/etc/ssl/a.pem", "team": "post", "tls.probe.phase": "file", "error.type": "file_not_found",
		"tls.error.type": "file", "tls.error.cause": "There is no such file.", "tls.error.fix": "Correct it.",
		"tls.error.reasons": []any{"malformed_certificate"},
	}, e.attributes)
	e = d.one("tls.endpoint.recovered", file(time.Now(), "/etc/ssl/a.pem", issue()))
	assert.Equal(t, "/etc/ssl/a.pem", e.attributes["certificate.path"])
}

func TestEventsPointToTheSpanOfTheProbe(t *testing.T) {
	span := func(d *desk, name string) ptrace.Span {
		all := d.traces.AllTraces()
		for _, s := range all[len(all)-1].ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			if s.Name() == name {
				return s
			}
		}
		t.Fatalf("there is no span %s", name)
		return ptrace.Span{}
	}
	d := newDesk(t, nil, withTraces)
	e := d.one("tls.endpoint.failing", failed(time.Now(), failure.ConnectionRefused))
	root := span(d, "tls.connect")
	assert.Equal(t, root.TraceID(), e.record.TraceID())
	assert.Equal(t, root.SpanID(), e.record.SpanID())

	e = d.one("tls.endpoint.recovered", at(time.Now(), issue()))
	assert.Equal(t, span(d, "tls.handshake").TraceID(), e.record.TraceID())
	assert.Equal(t, span(d, "tls.handshake").SpanID(), e.record.SpanID())

	unseen := *mail
	unseen.ID = "unseen"
	unseen.Spans = target.SpansOnFailure
	o := at(time.Now(), issue(tlsfarm.Validity(-day, day)))
	o.Target = &unseen
	e = d.one("tls.certificate.expiring_soon", o)
	assert.True(t, e.record.TraceID().IsEmpty())
	assert.True(t, e.record.SpanID().IsEmpty())
	e = d.one("tls.certificate.expiring_soon", file(time.Now(), "/etc/ssl/a.pem", issue(tlsfarm.Validity(-day, day))))
	assert.True(t, e.record.TraceID().IsEmpty())

	// With metrics too: exemplars are still those of the handshake alone.
	d = newDesk(t, nil, withTraces, withMetrics)
	d.after(at(time.Now(), issue()))
	for _, m := range d.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Name() == "tls.handshake.duration" {
			assert.Equal(t, span(d, "tls.handshake").SpanID(), m.Histogram().DataPoints().At(0).Exemplars().At(0).SpanID())
		}
	}
}

func TestCertificateChanged(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	same := tlsfarm.Key(key)
	is := func(begin time.Duration, edits ...tlsfarm.Edit) *x509.Certificate {
		return issue(append([]tlsfarm.Edit{same, tlsfarm.Validity(begin, begin+90*day)}, edits...)...)
	}
	elsewhere := tlsfarm.NewAuthority("Elsewhere")
	many := make([]string, 150)
	for i := range many {
		many[i] = fmt.Sprintf("n%03d.example", i)
	}
	newKey := func(c *x509.Certificate) { c.PublicKey = nil }
	was := is(-2 * day)
	for name, c := range map[string]struct {
		was, is  *x509.Certificate
		changes  []any
		severity string
		body     []string
	}{
		"renewed": {was, is(-day), []any{"renewal"}, "INFO", []string{
			`serves a renewed certificate: that of "mail.example.com", issued by "Event CA", valid until `, "; its key is the same.",
		}},
		"renewed with a new key":    {was, is(-day, newKey), []any{"renewal", "key"}, "INFO", []string{"renewed", "; its key is another."}},
		"renewed with another case": {was, is(-day, tlsfarm.Names("LOCALHOST"), func(c *x509.Certificate) { c.IPAddresses = was.IPAddresses }), []any{"renewal"}, "INFO", nil},
		"renewed for a shorter time": {
			was, is(-day, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(5 * day) }), []any{"renewal"}, "INFO", nil,
		},
		"issued anew at the same moment": {was, is(-2 * day), []any{"renewal"}, "INFO", nil},
		"older":                          {was, is(-3 * day), []any{"rollback"}, "WARN", []string{"serves an older certificate", "If nobody meant to go back"}},
		"older, with another key":        {was, is(-3*day, newKey), []any{"rollback", "key"}, "WARN", nil},
		"another issuer": {was, elsewhere.Issue("mail.example.com", same, tlsfarm.Validity(-day, 90*day)).Leaf, []any{"issuer"}, "WARN", []string{
			"serves another certificate", `it is issued by "CN=Elsewhere,O=Farm" and no longer by "CN=Event CA,O=Farm"`, "If nobody meant to change that",
		}},
		"other names": {
			is(-2*day, tlsfarm.Names("a.example", "b.example")), is(-day, tlsfarm.Names("b.example", "c.example", "d.example")),
			[]any{"names"},
			"WARN",
			[]string{"it has the new names c.example, d.example; it lacks the names a.example; its key is the same."},
		},
		"the same names in another order": {
			is(-2*day, tlsfarm.Names("a.example", "b.example")), is(-day, tlsfarm.Names("b.example", "a.example", "b.example")),
			[]any{"renewal"},
			"INFO", nil,
		},
		"many names": {is(-2*day, tlsfarm.Names("a.example")), is(-day, tlsfarm.Names(many...)), []any{"names"}, "WARN", []string{
			"it has the new names n000.example, n001.example, n002.example, n003.example, n004.example and others;",
		}},
		"five names": {is(-2*day, tlsfarm.Names("a.example")), is(-day, tlsfarm.Names("a.example", "b", "c", "d", "e", "f")), []any{"names"}, "WARN", []string{
			"it has the new names b, c, d, e, f; its",
		}},
		"the same letters": {
			is(-2*day, tlsfarm.Names("ab", "c")), is(-day, tlsfarm.Names("a", "bc")),
			[]any{"names"},
			"WARN",
			[]string{"it has the new names a, bc; it lacks the names ab, c; its"},
		},
		"a name among very many": {
			is(-2*day, tlsfarm.Names(many...)), is(-day, tlsfarm.Names(many[:149]...)), []any{"names"}, "WARN", []string{"it is for other names;"},
		},
		"no name but the common one": {
			is(-2*day, tlsfarm.Names()), issue(same, tlsfarm.Names(), func(c *x509.Certificate) { c.Subject.CommonName = "Other" }),
			[]any{"names"},
			"WARN",
			[]string{"it has the new names other; it lacks the names mail.example.com"},
		},
		"everything": {was, elsewhere.Issue("x", tlsfarm.Names("x")).Leaf, []any{"issuer", "names", "key"}, "WARN", []string{"; its key is another."}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			d := newDesk(t, nil)
			quiet := *mail
			quiet.ExpiryWarning = target.ExpiryWarning{}
			first, second := at(now, c.was), at(now.Add(time.Minute), c.is)
			first.Target, second.Target = &quiet, &quiet
			d.nothing(first)
			e := d.one("tls.certificate.changed", second)
			assert.Equal(t, c.severity, e.severity)
			for _, part := range append(c.body, "mail.example.com:465 serves ", moment(c.is.NotAfter), "The former one was valid until "+moment(c.was.NotAfter)) {
				assert.Contains(t, e.body, part)
			}
			assert.Equal(t, with(with(mailPlace, identity(c.is)), map[string]any{
				"certificate.change":             c.changes,
				"certificate.previous.not_after": c.was.NotAfter.UTC().Format(time.RFC3339),
				"certificate.previous.sha256":    fmt.Sprintf("%X", fingerprint(c.was)),
			}), e.attributes)
			d.nothing(second)
		})
	}
}

func TestChangedFile(t *testing.T) {
	d, now := newDesk(t, nil), time.Now()
	a, b, other := issue(tlsfarm.Validity(-2*day, 80*day)), issue(tlsfarm.Validity(-day, 90*day)), issue()
	d.nothing(file(now, "/etc/ssl/a.pem", a, ca.Certificate), file(now, "/etc/ssl/b.pem", b))
	d.nothing(file(now, "/etc/ssl/a.pem", a, other), file(now, "/etc/ssl/a.pem")) // unreadable for a while
	e := d.one("tls.certificate.changed", file(now, "/etc/ssl/a.pem", b))
	assert.Contains(t, e.body, "/etc/ssl/a.pem has a renewed certificate")
	assert.Equal(t, "/etc/ssl/a.pem", e.attributes["certificate.path"])
	assert.NotContains(t, e.attributes, "server.address")
	d.nothing(file(now, "/etc/ssl/a.pem", b))
	e = d.one("tls.certificate.changed", file(now, "/etc/ssl/a.pem", a)) // there is no pool behind a file
	assert.Equal(t, []any{"rollback", "key"}, e.attributes["certificate.change"])
}

func TestPoolThatServesCertificatesInTurn(t *testing.T) {
	d, now := newDesk(t, nil), time.Now()
	a, b, c := at(now, issue()), at(now, issue()), at(now, issue())
	d.nothing(a)
	assert.Equal(t, []string{"tls.certificate.changed"}, d.names(b))
	for range 20 {
		d.nothing(a, b, b, a)
	}
	for range 20 { // an outage does not make them strangers
		d.after(failed(now, failure.ConnectionRefused))
	}
	assert.Equal(t, []string{"tls.endpoint.recovered"}, d.names(b))
	assert.Equal(t, []string{"tls.certificate.changed"}, d.names(c), "a third one")
	d.nothing(b, b, b, b, b, b, a, b, c)
	// One that comes back when it had been gone for ten probes is announced: a rollback.
	for range 10 {
		d.nothing(c)
	}
	e := d.one("tls.certificate.changed", b)
	assert.Equal(t, fmt.Sprintf("%X", fingerprint(c.Leaf())), e.attributes["certificate.previous.sha256"])
	for range 8 {
		d.nothing(b)
	}
	d.nothing(c) // it is the tenth from there
}

func TestExpiry(t *testing.T) {
	c := issue(tlsfarm.Validity(-day, 60*day))
	until := c.NotAfter
	for name, verify := range map[string]bool{"verified": true, "verification is skipped, and finds much": false} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, nil)
			look := func(end time.Time) *probe.Outcome {
				o := at(end, c)
				if !verify {
					o.Handshake.Finding = &failure.Failure{Step: failure.Verify, Type: "self_signed"}
				}
				return o
			}
			d.nothing(look(until.Add(-30*day)), look(until.Add(-30*day)))
			e := d.one("tls.certificate.expiring_soon", look(until.Add(-30*day+time.Second)))
			assert.Equal(t, "WARN", e.severity)
			assert.Equal(t, fmt.Sprintf(`mail.example.com:465 serves a certificate that expires on %s, in 29 days: `+
				`that of "mail.example.com", issued by "Event CA". Renew it, and reload what uses it.`, moment(until)), e.body)
			assert.Equal(t, with(mailPlace, identity(c)), e.attributes)
			d.nothing(look(until.Add(-29*day)), look(until))
			e = d.one("tls.certificate.expired", look(until.Add(5*time.Minute)))
			assert.Equal(t, "ERROR", e.severity)
			assert.Equal(t, fmt.Sprintf(`mail.example.com:465 serves a certificate that expired on %s, 5 minutes ago: `+
				`that of "mail.example.com", issued by "Event CA". Renew it, and reload what uses it.`, moment(until)), e.body)
			assert.Equal(t, with(mailPlace, identity(c)), e.attributes)
			d.nothing(look(until.Add(time.Hour)), look(until.Add(10*day)))

			other := *mail // another place
			other.ID = "other"
			o := look(until.Add(time.Hour))
			o.Target = &other
			assert.Equal(t, []string{"tls.certificate.expired"}, d.names(o))
		})
	}

	d := newDesk(t, nil)
	never := *mail
	never.ExpiryWarning = target.ExpiryWarning{}
	o := at(until.Add(-time.Second), c)
	o.Target = &never
	d.nothing(o)

	// A successor that is near its end too is told of for itself.
	d.after(at(until.Add(-time.Hour), c))
	assert.Equal(t, []string{"tls.certificate.changed", "tls.certificate.expiring_soon"}, d.names(at(until.Add(-time.Hour), issue(tlsfarm.Validity(-day, 60*day)))))
}

func TestExpiryInAFile(t *testing.T) {
	const path = "/etc/ssl/bundle.pem"
	now := time.Now()
	var bundle []*x509.Certificate
	for i := range 3 * maxTold {
		bundle = append(bundle, tlsfarm.NewAuthority(fmt.Sprint(i), tlsfarm.Validity(-2*day, []time.Duration{-day, day, 90 * day}[i%3])).Certificate)
	}
	d := newDesk(t, nil)
	events := d.after(file(now, path, bundle...))
	require.Len(t, events, 2*maxTold)
	for i, name := range []string{"tls.certificate.expired", "tls.certificate.expiring_soon"} {
		assert.Equal(t, name, events[i].name)
		assert.Equal(t, with(identity(bundle[i]), map[string]any{"certificate.path": path, "team": "post"}), events[i].attributes)
		assert.Contains(t, events[i].body, path+" has a certificate that expire")
	}
	d.nothing(file(now, path, bundle...), file(now, path), file(now, path, bundle...))
	fewer := slices.Clone(bundle[:maxTold])
	d.nothing(file(now, path, fewer...))
	assert.Len(t, d.state["mail"].at(place{path: path}).memory.Told, maxTold)
}

// Of a server's file only the leaf has an end that matters; see probe.File.Judged.
func TestExpiredCrossSignedRootInAFile(t *testing.T) {
	old := tlsfarm.NewAuthority("Old", tlsfarm.Validity(-2*day, -day)).Certificate
	newDesk(t, nil).nothing(file(time.Now(), "/etc/ssl/a.pem", issue(), old))
}

// What is remembered stays small, whatever a server comes up with.
func TestMemoryIsBounded(t *testing.T) {
	memory := newFakeStorage()
	d, now := newDesk(t, memory), time.Now()
	for i := range 3 * maxTold {
		c := *issue(tlsfarm.Validity(-2*day, -day))
		c.Raw = fmt.Appendf(nil, "%d", i) // a new one at each probe
		d.after(at(now, &c))
	}
	m := d.state["mail"].at(place{}).memory
	assert.Len(t, m.Told, maxTold)
	assert.Len(t, m.Recent, maxRecent)
	for _, data := range memory.data {
		assert.Less(t, len(data), 4096)
	}

	// What is asked for again and again does not make room for what is not.
	const path = "/etc/ssl/keystore.p12"
	stays := issue(tlsfarm.Validity(-2*day, -day))
	assert.Len(t, d.after(file(now, path, stays)), 1)
	for i := range 2 * maxTold {
		c := *stays
		c.Raw = fmt.Appendf(nil, "%d", i)
		assert.Len(t, d.after(file(now, path, stays, &c)), 1)
	}
	assert.Len(t, d.state["mail"].at(place{path: path}).memory.Told, maxTold)

	c := *issue()
	c.Issuer.CommonName = strings.Repeat("\xff", 500_000)
	for i := range 5000 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d%s", i, strings.Repeat("\xff", 5000)))
	}
	d.after(at(now, &c))
	assert.LessOrEqual(t, len(d.state["mail"].at(place{}).memory.Leaf.Names), maxSANs)
	for _, data := range memory.data {
		assert.Less(t, len(data), 64<<10)
	}
}

func TestFileMismatch(t *testing.T) {
	const path = "/etc/ssl/mail.pem"
	now := time.Now()
	since := now.Add(-2 * time.Hour)
	old, renewed := issue(tlsfarm.Validity(-day, 60*day)), issue(tlsfarm.Validity(-day, 90*day))
	look := func(c *x509.Certificate, files ...probe.OnDisk) *probe.Outcome {
		o := at(now, c)
		o.Handshake.OnDisk = files
		return o
	}
	same, differs := probe.OnDisk{Path: path, Served: true}, probe.OnDisk{Path: path, Since: since, Leaf: renewed}

	d := newDesk(t, nil)
	d.nothing(file(now, path, renewed))
	d.nothing(look(old, same), look(old, differs), look(old, same), look(old, differs)) // one probe between writing and reloading
	d.nothing(&probe.Outcome{Target: mail, End: now})                                   // what compares nothing is none of the two in a row
	e := d.one("tls.certificate.file_mismatch", look(old, differs))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, fmt.Sprintf(`mail.example.com:465 serves the certificate of "mail.example.com", valid until %s. Since %s it is not the one in %s, `+
		`which has that of "mail.example.com", valid until %s. Reload the server, so that it serves what is in the file. `+
		`If it reads another file, correct file_path.`, moment(old.NotAfter), moment(since), path, moment(renewed.NotAfter)), e.body)
	assert.Equal(t, with(with(mailPlace, identity(old)), map[string]any{
		"certificate.path": path, "tls.certificate.file.since": since.UTC().Format(time.RFC3339),
	}), e.attributes)
	d.nothing(look(old, differs), look(old, same), look(old, differs), look(old, differs))

	// Another leaf that is not in the file, and another file that does not have it.
	other := issue(tlsfarm.Validity(-day, 70*day))
	assert.Equal(t, []string{"tls.certificate.changed", "tls.certificate.file_mismatch"}, d.names(look(other, differs)))
	d.nothing(look(other, differs))
	late := probe.OnDisk{Path: "/etc/ssl/z.pem", Since: now}
	e = d.one("tls.certificate.file_mismatch", look(other, differs, late))
	assert.Equal(t, "/etc/ssl/z.pem", e.attributes["certificate.path"], "the one that changed last")
	assert.NotContains(t, e.body, "which has")
	early := probe.OnDisk{Path: "/etc/ssl/y.pem", Since: now.Add(-time.Minute)}
	d.nothing(look(other, late, early), look(other, late, early, differs))
	// A server with a certificate of each kind serves one of two files.
	d.nothing(look(other, differs, probe.OnDisk{Path: "/etc/ssl/b.pem", Served: true}), look(other, differs, same))
}

func TestFileMatchOnSpans(t *testing.T) {
	const path = "/etc/ssl/mail.pem"
	since := time.Now().Add(-time.Hour)
	attributes := func(files ...probe.OnDisk) map[string]any {
		d := newDesk(t, nil, withTraces)
		o := at(time.Now(), issue())
		o.Handshake.OnDisk = files
		d.after(o)
		spans := d.traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans()
		a := spans.At(1).Attributes().AsRaw()
		maps.DeleteFunc(a, func(k string, _ any) bool { return !strings.HasPrefix(k, "tls.certificate.file_match") })
		return a
	}
	assert.Empty(t, attributes())
	assert.Equal(t, map[string]any{"tls.certificate.file_match": true}, attributes(probe.OnDisk{Path: path, Served: true}))
	got := attributes(probe.OnDisk{Path: path, Since: since})
	assert.Contains(t, got["tls.certificate.file_match.message"], "is not the one in "+path+". Reload the server")
	delete(got, "tls.certificate.file_match.message")
	assert.Equal(t, map[string]any{
		"tls.certificate.file_match": false, "tls.certificate.file_match.since": since.UTC().Format(time.RFC3339),
	}, got)
}

func TestClientCertificate(t *testing.T) {
	own := ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
	until := own.NotAfter
	second := *mail
	second.ID, second.Endpoint.Host = "other", "other.example"
	look := func(tgt *target.Target, end time.Time) *probe.Outcome {
		o := failed(end, failure.ConnectionRefused)
		o.Failure, o.Target, o.ClientCert = nil, tgt, own
		return o
	}
	d := newDesk(t, nil)
	d.nothing(look(mail, until.Add(-31*day)))
	e := d.one("tls.client_certificate.expiring_soon", look(mail, until.Add(-10*day)))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, fmt.Sprintf(`The client certificate of "collector", issued by "Event CA", which the collector presents to servers, `+
		`expires on %s, in 10 days. Renew the one in tls cert_file.`, moment(until)), e.body)
	assert.Equal(t, identity(own), e.attributes, "it is not of a target")
	d.nothing(look(&second, until.Add(-9*day)), look(mail, until.Add(-8*day)))
	e = d.one("tls.client_certificate.expired", look(&second, until.Add(time.Second)))
	assert.Equal(t, "ERROR", e.severity)
	assert.Equal(t, fmt.Sprintf(`The client certificate of "collector", issued by "Event CA", which the collector presents to servers, `+
		`expired on %s, 1 seconds ago. Renew the one in tls cert_file: servers that ask for it refuse the collector.`, moment(until)), e.body)
	assert.Equal(t, identity(own), e.attributes)
	d.nothing(look(mail, until.Add(time.Hour)))

	// More of them than a place remembers.
	var all []*probe.Outcome
	for range 2 * maxTold {
		o := look(mail, until)
		o.ClientCert = ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
		all = append(all, o)
	}
	assert.Len(t, d.after(all...), 2*maxTold)
	d.nothing(all...)
}

func TestClientCertificateOnSpans(t *testing.T) {
	own := ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
	d := newDesk(t, nil, withTraces)
	for end, want := range map[time.Time]map[string]any{
		own.NotAfter.Add(-30 * day):               {},
		own.NotAfter.Add(-10*day - time.Hour):     {"tls.client_cert.expiring_soon": int64(10)},
		own.NotAfter.Add(time.Hour):               {"tls.client_cert.expired": int64(-1)},
		own.NotAfter.Add(time.Hour + time.Second): {"tls.client_cert.expired": int64(-1)}, // at each probe
	} {
		d.traces.Reset()
		o := at(end, issue(tlsfarm.Validity(-day, 365*day)))
		o.ClientCert = own
		o.Handshake.Warnings = []failure.Type{failure.FileMismatch}
		d.after(o)
		got := make(map[string]any)
		span := d.traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1)
		for _, e := range span.Events().All() {
			got[e.Name()] = e.Attributes().AsRaw()["days_remaining"]
			assert.Equal(t, span.EndTimestamp(), e.Timestamp())
		}
		assert.Equal(t, want, got)
	}
	d.traces.Reset()
	o := at(own.NotAfter.Add(-3*day-time.Hour), own)
	o.Handshake.Warnings = []failure.Type{failure.NearExpiry}
	d.after(o)
	span := d.traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1)
	require.Equal(t, 1, span.Events().Len())
	assert.Equal(t, "tls.cert.expiring_soon", span.Events().At(0).Name())
	assert.Equal(t, map[string]any{"days_remaining": int64(3)}, span.Events().At(0).Attributes().AsRaw())
}

// fakeStorage is a map, as storage.Client asks for one.
type fakeStorage struct {
	data        map[string][]byte
	gets, calls int
	fail        error
	hang        bool
}

func newFakeStorage() *fakeStorage { return &fakeStorage{data: make(map[string][]byte)} }

func (f *fakeStorage) called(ctx context.Context) error {
	f.calls++
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.fail
}

func (f *fakeStorage) Get(ctx context.Context, key string) ([]byte, error) {
	f.gets++
	return f.data[key], f.called(ctx)
}

func (f *fakeStorage) Set(context.Context, string, []byte) error { panic("all at once, please") }
func (f *fakeStorage) Delete(context.Context, string) error      { panic("all at once, please") }
func (f *fakeStorage) Close(context.Context) error               { panic("the receiver closes it") }

func (f *fakeStorage) Batch(ctx context.Context, ops ...*storage.Operation) error {
	if err := f.called(ctx); err != nil {
		return err
	}
	for _, op := range ops {
		switch op.Type {
		case storage.Set:
			f.data[op.Key] = op.Value
		case storage.Delete:
			delete(f.data, op.Key)
		default:
			panic("unexpected")
		}
	}
	return nil
}

// everything are outcomes of all that there are events of.
func everything(now time.Time) []*probe.Outcome {
	old, soon := issue(tlsfarm.Validity(-2*day, -day)), issue(tlsfarm.Validity(-day, day))
	own := ca.Issue("collector", tlsfarm.Validity(-day, day)).Leaf
	late := ca.Issue("collector", tlsfarm.Validity(-2*day, -day)).Leaf
	var all []*probe.Outcome
	for _, c := range []*x509.Certificate{old, old, soon, soon} {
		o := at(now, c)
		o.ClientCert = own
		o.Handshake.OnDisk = []probe.OnDisk{{Path: "/etc/ssl/mail.pem", Since: now}}
		all = append(all, o)
	}
	bad := failed(now, failure.ConnectionRefused)
	bad.ClientCert = late
	bad.Pool = &probe.Pool{Peers: []probe.PoolPeer{{Leaf: old}, {Leaf: soon}}}
	missing := file(now, "/etc/ssl/x.pem")
	missing.Failure = bad.Failure
	return append(all, bad, missing, file(now, "/etc/ssl/mail.pem", old))
}

func TestRestartAnnouncesNothingTwice(t *testing.T) {
	now := time.Now()
	all := everything(now)
	memory := newFakeStorage()
	d := newDesk(t, memory)
	first := d.names(all...)
	for _, name := range []string{
		"tls.endpoint.failing", "tls.certificate.changed", "tls.certificate.expiring_soon", "tls.certificate.expired",
		"tls.certificate.file_mismatch", "tls.client_certificate.expiring_soon", "tls.client_certificate.expired",
		"tls.endpoint.certificates_differ",
	} {
		assert.Contains(t, first, name)
	}
	again := all[2:]
	healthy := d.names(again...) // recovered and failing again, and nothing else
	assert.Equal(t, []string{"tls.endpoint.recovered", "tls.endpoint.failing"}, healthy)
	assert.Len(t, memory.data, 4, "endpoint, two files, client certificates")

	// Failing still: nothing. With another error: that.
	d = newDesk(t, memory)
	d.nothing(all[4], all[4], all[5], all[6])
	assert.Equal(t, 4, memory.gets-4, "each place is read once")
	e := d.one("tls.endpoint.failing", failed(now.Add(time.Hour), failure.ConnectionTimeout))
	assert.Contains(t, e.body, "connect")

	// Recovered while the collector was down.
	d = newDesk(t, memory)
	e = d.one("tls.endpoint.recovered", all[2])
	assert.Equal(t, now.UTC().Format(time.RFC3339), e.attributes["tls.probe.failing_since"], "it began before the restart")
	assert.Equal(t, "connection_timeout", e.attributes["error.type"])
	d.nothing(all[2], all[2], all[0], all[2])

	// Replaced while the collector was down.
	d = newDesk(t, memory)
	for range maxRecent { // of the pool one is left
		d.nothing(all[2])
	}
	d = newDesk(t, memory)
	renewed := issue(tlsfarm.Names("localhost", "new.example"))
	e = d.one("tls.certificate.changed", at(now, renewed))
	assert.Equal(t, []any{"names", "key"}, e.attributes["certificate.change"])
	assert.Contains(t, e.body, "it has the new names new.example")
	assert.Equal(t, fmt.Sprintf("%X", fingerprint(all[2].Leaf())), e.attributes["certificate.previous.sha256"])
	assert.Equal(t, all[2].Leaf().NotAfter.UTC().Format(time.RFC3339), e.attributes["certificate.previous.not_after"])
	newDesk(t, memory).nothing(at(now, renewed))

	e = newDesk(t, memory).one("tls.certificate.changed", file(now, "/etc/ssl/mail.pem", renewed))
	assert.Equal(t, "/etc/ssl/mail.pem", e.attributes["certificate.path"])
}

func TestRestartWithAPool(t *testing.T) {
	now := time.Now()
	a, b := at(now, issue()), at(now, issue())
	memory := newFakeStorage()
	d := newDesk(t, memory)
	d.after(a, b)
	calls := memory.calls
	for range 3 {
		d.nothing(a, b, a, a, a, a, a)
	}
	assert.Equal(t, calls, memory.calls, "what changes at each probe is not worth a write")
	var stored struct{ Recent []uint64 }
	require.NoError(t, json.Unmarshal(memory.data[placeKey(mail, place{})], &stored))
	assert.Len(t, stored.Recent, 2)
	for _, last := range []*probe.Outcome{a, b} {
		d.nothing(last)
		d = newDesk(t, memory)
		d.nothing(a, a, a, a, b)
		d = newDesk(t, memory)
		d.nothing(b, b, b, b, a)
	}
	for range 12 {
		d.nothing(a)
	}
	assert.Equal(t, []string{"tls.certificate.changed"}, newDesk(t, memory).names(b), "b had been gone")
}

func TestNothingIsWrittenWhereNothingChanged(t *testing.T) {
	memory := newFakeStorage()
	d, now := newDesk(t, memory), time.Now()
	all := everything(now)
	d.after(all...)
	d.after(all[4:]...)
	calls := memory.calls
	for range 20 {
		d.nothing(all[4:]...)
	}
	assert.Equal(t, calls, memory.calls)
	d = newDesk(t, memory)
	d.nothing(all[4:]...)
	assert.Equal(t, calls+4, memory.calls, "reads alone")
}

func TestCorruptStorage(t *testing.T) {
	c := issue()
	for name, data := range map[string]string{
		"garbage":      "\x00garbage",
		"another type": `{"leaf": 5}`,
		"too large":    `{"told": [` + strings.Repeat("1,", maxMemory) + `1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			memory := newFakeStorage()
			memory.data[placeKey(mail, place{})] = []byte(data)
			memory.data[placeKey(mail, place{path: "/a"})] = []byte(data)
			memory.data[clientsKey] = []byte(data)
			d := newDesk(t, memory)
			o := failed(time.Now(), failure.ConnectionRefused)
			o.ClientCert = issue(tlsfarm.Validity(-2*day, -day))
			assert.Equal(t, []string{"tls.endpoint.failing", "tls.client_certificate.expired"}, d.names(o, file(o.End, "/a", c)))
			require.Equal(t, 1, d.log.Len(), "told once")
			assert.Contains(t, d.log.All()[0].Message, "storage")
			newDesk(t, memory).nothing(o) // it was mended
		})
	}
	for name, data := range map[string]string{
		"empty object": `{}`, "null": `null`, "nothing": ``,
		"too many leaves": `{"recent": [1,2,3,4,5,6,7,8,9,10,11,12,13]}`,
	} {
		t.Run(name, func(t *testing.T) {
			memory := newFakeStorage()
			memory.data[placeKey(mail, place{})] = []byte(data)
			d := newDesk(t, memory)
			assert.LessOrEqual(t, len(d.store.load(t.Context(), placeKey(mail, place{})).Recent), maxRecent)
			d.nothing(at(time.Now(), c))
			assert.Zero(t, d.log.Len())
		})
	}
	// A leaf that is remembered without having been seen of late.
	seen, err := json.Marshal(&memory{Leaf: describe(c)})
	require.NoError(t, err)
	memory := newFakeStorage()
	memory.data[placeKey(mail, place{})] = seen
	newDesk(t, memory).nothing(at(time.Now(), c))

	// Valid, and yet no work of ours.
	memory = newFakeStorage()
	hostile := strings.Repeat("\x1b", 9000)
	stored, err := json.Marshal(memoryOf(hostile))
	require.NoError(t, err)
	memory.data[placeKey(mail, place{})] = stored
	for _, e := range newDesk(t, memory).after(at(time.Now(), c)) {
		assertFit(t, e)
	}
}

func memoryOf(text string) *memory {
	return &memory{Failing: &failing{Type: text}, Leaf: &leaf{SHA256: text, Subject: text, Issuer: text, Names: []string{text, text}}}
}

func TestFailingStorage(t *testing.T) {
	memory := newFakeStorage()
	memory.fail = errors.New("disk full")
	d, now := newDesk(t, memory), time.Now()
	bad := failed(now, failure.ConnectionRefused)
	assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(bad))
	d.nothing(bad)
	assert.Equal(t, []string{"tls.certificate.expired"}, d.names(file(now, "/a", issue(tlsfarm.Validity(-2*day, -day)))))
	require.Equal(t, 1, d.log.Len(), "told once")
	assert.Equal(t, "disk full", d.log.All()[0].ContextMap()["error"])
	assert.Empty(t, memory.data)

	memory.fail = nil // there is room again
	d.nothing(bad)
	assert.Empty(t, d.store.pending)
	assert.Len(t, memory.data, 2, "what could not be written is")
	newDesk(t, memory).nothing(bad)
}

func TestMemoryThatCannotBeWritten(t *testing.T) {
	memory := newFakeStorage()
	d := newDesk(t, memory)
	c := *issue()
	d.nothing(at(time.Now(), &c))
	c.NotAfter = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // of which JSON has none
	c.Raw = []byte("another")
	assert.Equal(t, []string{"tls.certificate.changed"}, d.names(at(time.Now(), &c)))
	assert.Equal(t, 1, d.log.Len())
	assert.Len(t, memory.data, 1, "the former one is better than none")
}

// A storage that hangs holds up the telemetry once, and not at each probe.
func TestHangingStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := newFakeStorage()
		memory.hang = true
		d, begin := newDesk(t, memory), time.Now()
		bad := failed(begin, failure.ConnectionRefused)
		assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(bad))
		d.nothing(bad, file(begin, "/a", issue()))
		assert.Equal(t, storageTimeout, time.Since(begin))
		assert.Equal(t, 1, memory.calls)
		assert.Equal(t, 1, d.log.Len())

		memory.hang = false
		d = newDesk(t, memory)
		d.after(bad)
		memory.hang, memory.calls = true, 0
		begin = time.Now()
		assert.Len(t, d.after(failed(begin, failure.ConnectionTimeout)), 1)
		assert.Len(t, d.after(failed(begin, failure.ConnectionRefused)), 1)
		assert.Empty(t, d.store.pending)
		assert.Equal(t, storageTimeout, time.Since(begin))
		assert.Equal(t, 1, memory.calls)
	})
}

func TestGone(t *testing.T) {
	now := time.Now()
	memory := newFakeStorage()
	d := newDesk(t, memory)
	var seen []*probe.Outcome
	d.Observe = func(o *probe.Outcome) { seen = append(seen, o) }
	second := *mail
	second.ID = "second"
	bad, other := failed(now, failure.ConnectionRefused), failed(now, failure.ConnectionRefused)
	other.Target = &second
	a, b := file(now, "/a", issue()), file(now, "/b", issue())
	d.after(bad, other, a, b)
	assert.Len(t, memory.data, 4)

	gone := &probe.Outcome{Target: mail, Gone: true, File: &probe.File{Path: "/a"}}
	d.nothing(gone)
	assert.Same(t, gone, seen[len(seen)-1], "health has to know")
	assert.Len(t, memory.data, 3)
	assert.Len(t, d.state["mail"].others, 1)
	d.nothing(bad, b, file(now, "/a", issue())) // its first certificate is the first again
	assert.Len(t, memory.data, 4)

	d.nothing(&probe.Outcome{Target: mail, Gone: true})
	assert.Len(t, memory.data, 1)
	assert.Len(t, d.state, 1)
	d.nothing(other)
	assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(bad), "it is back, and new")

	// It is forgotten too where it was not probed since the restart, or only the storage knows of it.
	d = newDesk(t, memory)
	d.nothing(&probe.Outcome{Target: mail, Gone: true}, &probe.Outcome{Target: &second, Gone: true})
	assert.Empty(t, memory.data)
	assert.Empty(t, d.state)
	// Gone and back before anything is written.
	d.after(bad)
	assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(&probe.Outcome{Target: mail, Gone: true}, bad))
	assert.Len(t, memory.data, 1)
	d.nothing(&probe.Outcome{Target: mail, Gone: true, File: &probe.File{Path: "/a"}}, bad)
	assert.Len(t, memory.data, 1)
}

// A target whose settings change keeps its ID, and with it what is remembered of it.
func TestChangedTarget(t *testing.T) {
	now := time.Now()
	changed := *mail
	changed.Timeout++
	old, other := failed(now, failure.ConnectionRefused), failed(now, failure.ConnectionRefused)
	other.Target = &changed
	memory := newFakeStorage()
	d := newDesk(t, memory)
	d.after(old)
	d.nothing(other, &probe.Outcome{Target: mail, Gone: true}, other)
	newDesk(t, memory).nothing(other)
	d.nothing(&probe.Outcome{Target: &changed, Gone: true})
	assert.Empty(t, memory.data)
}

func TestPlaceKey(t *testing.T) {
	key := func(id, path, peer string) string {
		at := place{path: path}
		if peer != "" {
			at.peer = netip.MustParseAddrPort(peer)
		}
		return placeKey(&target.Target{ID: id}, at)
	}
	const peer = "192.0.2.1:443"
	assert.Equal(t, key("a", "b", peer), key("a", "b", peer))
	all := []string{
		key("a", "b", ""), key("b", "a", ""), key("ab", "", ""), key("", "ab", ""), key("a", "\x00b", ""), key("a", `" "`, ""), key(`a" "`, "", ""),
		key("a", "", peer), key("a", peer, ""), key("a "+peer, "", ""),
	}
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(all))), len(all))
	assert.Regexp(t, "^place_[0-9a-f]{32}$", key(strings.Repeat("\xff", 5000), "\x00", ""), "as any storage can have it")
}

// Each address of an endpoint stands for itself.
func TestAddressesOfAnEndpoint(t *testing.T) {
	now := time.Now()
	a, b := netip.MustParseAddrPort("192.0.2.1:465"), netip.MustParseAddrPort("[2001:db8::1]:4650")
	one, other := issue(tlsfarm.Validity(-day, 90*day)), issue(tlsfarm.Validity(-2*day, 89*day))
	of := func(peer netip.AddrPort, o *probe.Outcome) *probe.Outcome {
		o.Peer = peer
		return o
	}
	round := func(peers ...probe.PoolPeer) *probe.Outcome {
		return &probe.Outcome{Target: mail, Start: now, End: now, Pool: &probe.Pool{Peers: peers}}
	}
	memory := newFakeStorage()
	d := newDesk(t, memory, withMetrics, withTraces)
	d.nothing(of(a, at(now, one)), of(b, at(now, other)))
	e := d.one("tls.endpoint.failing", of(b, failed(now, failure.ConnectionRefused)))
	assert.Equal(t, "mail.example.com:465 ([2001:db8::1]:4650) fails at connect: Cause. Fix.", e.body)
	assert.Equal(t, "2001:db8::1", e.attributes["network.peer.address"])
	assert.Equal(t, int64(4650), e.attributes["server.port"])
	d.nothing(of(a, at(now, one)))

	d.nothing(round(), round(probe.PoolPeer{Addr: a, Leaf: one}, probe.PoolPeer{Addr: b}), round(probe.PoolPeer{Addr: a, Leaf: one}, probe.PoolPeer{Addr: b, Leaf: one}))
	e = d.one("tls.endpoint.certificates_differ", round(probe.PoolPeer{Addr: a, Leaf: one}, probe.PoolPeer{Addr: b, Leaf: other}))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, with(mailPlace, map[string]any{
		"tls.endpoint.peers": []any{"192.0.2.1:465 " + serial(one), "[2001:db8::1]:4650 " + serial(other)},
	}), e.attributes)
	assert.Equal(t, fmt.Sprintf(`The addresses of mail.example.com:465 serve 2 different certificates. If that is not meant, put the newest one on all of them `+
		`and reload them. Served are by 192.0.2.1:465 that of "mail.example.com", valid until %s, serial %s; by [2001:db8::1]:4650 that of "mail.example.com", valid until %s, serial %s.`,
		moment(one.NotAfter), serial(one), moment(other.NotAfter), serial(other)), e.body)
	d.nothing(round(probe.PoolPeer{Addr: b, Leaf: one}, probe.PoolPeer{Addr: a, Leaf: other}))
	newDesk(t, memory).nothing(round(probe.PoolPeer{Addr: a, Leaf: one}, probe.PoolPeer{Addr: b, Leaf: other}))
	third := d.one("tls.endpoint.certificates_differ", round(probe.PoolPeer{Addr: a, Leaf: issue()}, probe.PoolPeer{Addr: b, Leaf: other}))
	assert.Contains(t, third.body, " 2 different")

	// On metrics and spans it is an attribute; of the round there is what is told of all.
	d.metrics.Reset()
	d.traces.Reset()
	d.after(of(b, at(now, one)), round(probe.PoolPeer{Addr: a, Leaf: one}, probe.PoolPeer{Addr: b, Leaf: other}))
	values := make(map[string]int64)
	for _, m := range d.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		switch m.Name() {
		case "tls.endpoint.addresses", "tls.endpoint.certificates":
			values[m.Name()] = m.Gauge().DataPoints().At(0).IntValue()
			assert.Equal(t, mailPlace, m.Gauge().DataPoints().At(0).Attributes().AsRaw())
		case "tls.handshake.duration":
			assert.Equal(t, "2001:db8::1", m.Histogram().DataPoints().At(0).Attributes().AsRaw()["network.peer.address"])
		case "tls.probe.success":
			assert.Equal(t, with(mailPlace, map[string]any{"network.peer.address": "2001:db8::1", "server.port": int64(4650)}), m.Gauge().DataPoints().At(0).Attributes().AsRaw())
		}
	}
	assert.Equal(t, map[string]int64{"tls.endpoint.addresses": 2, "tls.endpoint.certificates": 2}, values)
	for i, span := range d.traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		a := span.Attributes().AsRaw()
		assert.Equal(t, "mail.example.com", a["server.address"])
		if i < 2 {
			assert.Equal(t, "2001:db8::1", a["network.peer.address"])
			assert.Equal(t, int64(4650), a["server.port"])
		} else {
			assert.NotContains(t, a, "network.peer.address")
			assert.Equal(t, int64(465), a["server.port"])
		}
	}

	assert.Len(t, memory.data, 3)
	d.nothing(&probe.Outcome{Target: mail, Peer: a, Gone: true})
	assert.Len(t, memory.data, 2)
	assert.Len(t, d.state["mail"].others, 1)
	d.nothing(&probe.Outcome{Target: mail, Gone: true})
	assert.Empty(t, memory.data)

	// Of a service DNS tells the ports.
	service := *mail
	service.Endpoint = target.Endpoint{Host: "_imaps._tcp.example.com", DNSName: "_imaps._tcp.example.com"}
	o := failed(now, failure.DNSNotFound)
	o.Target = &service
	d.metrics.Reset()
	d.traces.Reset()
	e = d.one("tls.endpoint.failing", o)
	assert.NotContains(t, e.attributes, "server.port")
	assert.NotContains(t, d.traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().AsRaw(), "server.port")
	success := d.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(1)
	assert.Equal(t, "tls.probe.success", success.Name())
	assert.NotContains(t, success.Gauge().DataPoints().At(0).Attributes().AsRaw(), "server.port")
}

// Without logs nothing is remembered and no storage is asked.
func TestNoLogsConsumer(t *testing.T) {
	memory := newFakeStorage()
	d := newDesk(t, memory, withMetrics, withTraces, func(_ *desk, _ *Config, to *Consumers) { to.Logs = nil })
	d.nothing(everything(time.Now())...)
	d.nothing(&probe.Outcome{Target: mail, Gone: true, File: &probe.File{Path: "/etc/ssl/x.pem"}})
	assert.Zero(t, memory.calls)
	assert.Nil(t, d.state["mail"].at(place{}).memory)
	assert.Nil(t, d.clients)
	assert.NotEmpty(t, d.metrics.AllMetrics())
	assert.NotEmpty(t, d.traces.AllTraces())
}

func TestNoStorage(t *testing.T) {
	d := newDesk(t, nil)
	d.after(everything(time.Now())...)
	assert.Empty(t, d.store.pending)
}

func TestEventsThatAreSwitchedOff(t *testing.T) {
	d := newDesk(t, nil, func(_ *desk, cfg *Config, _ *Consumers) {
		cfg.Events.TLSEndpointFailing.Enabled = false
		cfg.Events.TLSCertificateExpired.Enabled = false
	})
	now := time.Now()
	d.nothing(failed(now, failure.ConnectionRefused))
	assert.Equal(t, []string{"tls.endpoint.recovered"}, d.names(at(now, issue(tlsfarm.Validity(-2*day, -day)))))
}

func TestResourceOfEvents(t *testing.T) {
	name := "tls-gateway"
	d := newDesk(t, nil, func(_ *desk, cfg *Config, _ *Consumers) { cfg.ResourceAttributes.ServiceName.OverrideValue = &name })
	d.guarded(t.Context(), failed(time.Now(), failure.ConnectionRefused))
	d.flush(t.Context())
	assert.Equal(t, map[string]any{"service.name": name}, d.logs.AllLogs()[0].ResourceLogs().At(0).Resource().Attributes().AsRaw())
}

func TestResourceFilters(t *testing.T) {
	d := newDesk(t, nil, withMetrics, func(_ *desk, cfg *Config, _ *Consumers) {
		none := []filter.Config{{Strict: "tls_check"}}
		cfg.ResourceAttributes.ServiceName.MetricsExclude, cfg.ResourceAttributes.ServiceName.EventsExclude = none, none
	})
	d.nothing(everything(time.Now())...)
	assert.Empty(t, d.metrics.AllMetrics())
}

// assertFit checks that an event can be sent to anyone.
func assertFit(t *testing.T, e event) {
	t.Helper()
	var fit func(v any)
	fit = func(v any) {
		switch v := v.(type) {
		case string:
			assert.True(t, utf8.ValidString(v), "%s: %q", e.name, v)
			assert.NotContains(t, v, "\x1b")
			assert.LessOrEqual(t, len(v), maxBody)
		case []any:
			assert.LessOrEqual(t, len(v), 100)
			for _, one := range v {
				fit(one)
			}
		}
	}
	fit(e.body)
	for _, v := range e.attributes {
		fit(v)
	}
}

func TestEventsOfHostileCertificates(t *testing.T) {
	hostile := func(c *x509.Certificate) *x509.Certificate {
		text, copied := strings.Repeat("\xff\x1b[2J", 1000), *c
		copied.Subject, copied.Issuer = pkix.Name{CommonName: text}, pkix.Name{CommonName: text, Organization: []string{text}}
		copied.RawIssuer = []byte(text)
		copied.DNSNames = nil
		for i := range 150 {
			copied.DNSNames = append(copied.DNSNames, fmt.Sprintf("%d%s", i, text))
		}
		return &copied
	}
	memory := newFakeStorage()
	d := newDesk(t, memory)
	names := make(map[string]bool)
	all := everything(time.Now())
	for i, o := range all {
		if c := o.Leaf(); c != nil && i > 0 {
			c := hostile(c)
			if o.File != nil {
				o.File.Certificates = []*x509.Certificate{c}
			} else {
				o.Handshake.State.PeerCertificates[0] = c
			}
		}
		if o.ClientCert != nil {
			o.ClientCert = hostile(o.ClientCert)
		}
		if o.Pool != nil {
			for range 16 {
				o.Pool.Peers = append(o.Pool.Peers, probe.PoolPeer{Leaf: hostile(issue())})
			}
		}
		if o.File != nil {
			o.File.Path = "/etc/\xff\x1b" + strings.Repeat("a", 5000)
		}
		if o.Handshake != nil {
			o.Handshake.OnDisk[0].Path = "/etc/\xff\x1b" + strings.Repeat("b", 5000)
		}
		for _, e := range d.after(o) {
			assertFit(t, e)
			names[e.name] = true
			if e.name == "tls.certificate.file_mismatch" {
				assert.Contains(t, e.body, "correct file_path.", "there is room for the advice")
			}
		}
	}
	for _, e := range d.after(all[0]) {
		assertFit(t, e)
		names[e.name] = true
	}
	assert.Len(t, names, 9, "all of them")

	// And the metrics of such a file.
	d = newDesk(t, nil, withMetrics)
	d.after(all...)
	for _, m := range d.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Type() == pmetric.MetricTypeGauge {
			for _, p := range m.Gauge().DataPoints().All() {
				assertFit(t, event{name: m.Name(), attributes: p.Attributes().AsRaw()})
			}
		}
	}
}

func TestRefusedEvents(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { _ = tel.Shutdown(context.Background()) })
	set := receivertest.NewNopSettings(metadata.Type)
	core, log := observer.New(zap.InfoLevel)
	set.TelemetrySettings = tel.NewTelemetrySettings()
	set.Logger = zap.New(core)
	var refusals []error
	next, err := consumer.NewLogs(func(context.Context, plog.Logs) error {
		err := refusals[0]
		refusals = refusals[1:]
		return err
	})
	require.NoError(t, err)
	memory := newFakeStorage()
	r, err := New(set, DefaultConfig(), Consumers{Logs: next, Metrics: consumertest.NewNop()}, memory)
	require.NoError(t, err)
	refusals = []error{errors.New("no room"), errors.New("no room"), errors.New("no room"), nil, errors.New("no room")}
	types := []failure.Type{failure.ConnectionRefused, failure.ConnectionTimeout, failure.ConnectionReset, failure.NotTLS, failure.Other}
	for _, typ := range types {
		r.guarded(t.Context(), failed(time.Now(), typ))
		r.flush(t.Context())
		assert.Len(t, memory.data, 1, "refused or not, it is not sent again")
	}
	messages := log.FilterMessageSnippet("refuses the telemetry").All()
	require.Len(t, messages, 2, "told once, and again when it begins again")
	assert.Contains(t, messages[0].Message, "_log_records")
	assert.Equal(t, "no room", messages[0].ContextMap()["error"])
	for name, want := range map[string]int64{"otelcol_receiver_refused_log_records": 4, "otelcol_receiver_accepted_log_records": 1} {
		m, err := tel.GetMetric(name)
		require.NoError(t, err)
		assert.Equal(t, want, sumOf(m))
	}
}

func TestEachRefusalIsTold(t *testing.T) {
	refusing := errors.New("no room")
	for name, to := range map[string]Consumers{
		"metrics": {Metrics: consumertest.NewErr(refusing), Traces: consumertest.NewNop(), Logs: consumertest.NewNop()},
		"traces":  {Metrics: consumertest.NewNop(), Traces: consumertest.NewErr(refusing), Logs: consumertest.NewNop()},
		"logs":    {Metrics: consumertest.NewNop(), Traces: consumertest.NewNop(), Logs: consumertest.NewErr(refusing)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, nil, func(_ *desk, _ *Config, into *Consumers) { *into = to })
			d.nothing(failed(time.Now(), failure.ConnectionRefused))
			require.Equal(t, 1, d.log.Len())
			assert.Equal(t, "no room", d.log.All()[0].ContextMap()["error"])
		})
	}
}

func TestTimeLeft(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	leaf := issue(tlsfarm.Validity(-day, 10*day), tlsfarm.Names("a.example", "b.example"))
	twin := issue(tlsfarm.Validity(-day, 5*day))
	old := tlsfarm.NewAuthority("Old", tlsfarm.Validity(-2*day, -day)).Certificate
	on := func(_ *desk, cfg *Config, _ *Consumers) { cfg.Metrics.TlscheckTimeLeft.Enabled = true }
	invalid := at(now, leaf)
	invalid.Failure = &failure.Failure{Step: failure.Verify, Type: "untrusted_ca"}
	all := []*probe.Outcome{at(now, leaf), invalid, failed(now, failure.ConnectionRefused), file(now, "/etc/ssl/a.pem", leaf, twin, old), file(now, "/etc/ssl/b.pem")}

	points := func(edits ...func(*desk, *Config, *Consumers)) (found []map[string]any) {
		d := newDesk(t, nil, append(edits, withMetrics)...)
		d.after(all...)
		for i, rm := range d.metrics.AllMetrics()[0].ResourceMetrics().All() {
			assert.Equal(t, metadata.ScopeName, rm.ScopeMetrics().At(0).Scope().Name())
			tgt, own := rm.Resource().Attributes().Get("tlscheck.target")
			assert.Equal(t, i > 0, own)
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				assert.Equal(t, i > 0, m.Name() == "tlscheck.time_left", m.Name())
				if m.Name() == "tlscheck.time_left" {
					for _, p := range m.Gauge().DataPoints().All() {
						point := with(p.Attributes().AsRaw(), map[string]any{"target": tgt.Str(), "value": p.IntValue()})
						assert.Equal(t, "tls_check", rm.Resource().Attributes().AsRaw()["service.name"])
						found = append(found, point)
					}
				}
			}
		}
		return found
	}
	assert.Empty(t, points(), "off by default")
	left := func(c *x509.Certificate) int64 { return int64(c.NotAfter.Sub(now) / time.Second) }
	point := func(tgt string, c *x509.Certificate) map[string]any {
		return map[string]any{
			"target": tgt, "value": left(c), "tlscheck.x509.issuer": c.Issuer.String(), "tlscheck.x509.cn": c.Subject.CommonName, "team": "post",
		}
	}
	assert.Equal(t, []map[string]any{
		point("mail.example.com:465", leaf), point("mail.example.com:465", leaf),
		point("/etc/ssl/a.pem", twin), point("/etc/ssl/a.pem", old), // the twin's and the leaf's attributes are the same
	}, points(on))
	assert.Negative(t, left(old))

	withSAN := points(on, func(_ *desk, cfg *Config, _ *Consumers) {
		cfg.Metrics.TlscheckTimeLeft.EnabledAttributes = []metadata.TlscheckTimeLeftMetricAttributeKey{metadata.TlscheckTimeLeftMetricAttributeKeyTlscheckX509San}
	})
	assert.Equal(t, map[string]any{
		"target": "mail.example.com:465", "value": left(leaf), "team": "post", "tlscheck.x509.san": []any{"a.example", "b.example"},
	}, withSAN[0])

	// An override is for these resources alone.
	name := "one"
	for _, p := range points(on, func(_ *desk, cfg *Config, _ *Consumers) { cfg.ResourceAttributes.TlscheckTarget.OverrideValue = &name }) {
		assert.Equal(t, "one", p["target"])
	}

	d := newDesk(t, nil, on, withMetrics, func(_ *desk, cfg *Config, _ *Consumers) { cfg.ResourceAttributes.TlscheckTarget.Enabled = false })
	d.after(all[0])
	assert.Equal(t, map[string]any{"service.name": "tls_check"}, d.metrics.AllMetrics()[0].ResourceMetrics().At(1).Resource().Attributes().AsRaw())
}

func TestTimeLeftIsRoundedDownAndItsAttributesAreFit(t *testing.T) {
	c := issue(tlsfarm.Validity(-day, 10*day))
	hostile := strings.Repeat("\x1b\xff", 3000)
	c.Subject.CommonName, c.Issuer.CommonName = hostile, hostile
	for i := range 150 {
		c.DNSNames = append(c.DNSNames, fmt.Sprint(i, hostile))
	}
	d := newDesk(t, nil, withMetrics, func(_ *desk, cfg *Config, _ *Consumers) {
		cfg.Metrics.TlscheckTimeLeft.Enabled = true
		cfg.Metrics.TlscheckTimeLeft.EnabledAttributes = append(cfg.Metrics.TlscheckTimeLeft.EnabledAttributes, metadata.TlscheckTimeLeftMetricAttributeKeyTlscheckX509San)
	})
	d.after(file(c.NotAfter.Add(time.Millisecond), hostile, c))
	rm := d.metrics.AllMetrics()[0].ResourceMetrics().At(1)
	p := rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
	assert.Equal(t, int64(-1), p.IntValue())
	assertFit(t, event{attributes: p.Attributes().AsRaw()})
	assertFit(t, event{attributes: rm.Resource().Attributes().AsRaw()})
	sans, _ := p.Attributes().Get("tlscheck.x509.san")
	assert.Equal(t, 100, sans.Slice().Len())
}

// The generated builder compares each new point with all that it holds.
func TestManyCertificatesInAFile(t *testing.T) {
	var bundle []*x509.Certificate
	for range 250 {
		bundle = append(bundle, ca.Certificate)
	}
	d := newDesk(t, nil, withMetrics)
	d.after(file(time.Now(), "/etc/ssl/ca.pem", bundle...))
	counts := make(map[string]int)
	for _, m := range d.metrics.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		counts[m.Name()] = m.Gauge().DataPoints().Len()
		for i, p := range m.Gauge().DataPoints().All() {
			a := p.Attributes().AsRaw()
			assert.Equal(t, "/etc/ssl/ca.pem", a["certificate.path"])
			assert.Equal(t, "post", a["team"])
			if counts[m.Name()] > 1 {
				assert.Equal(t, int64(i), a["certificate.depth"])
			}
		}
	}
	assert.Equal(t, map[string]int{
		"tls.probe.success": 1, "tls.certificate.days_until_expiry": 250, "tls.certificate.not_after": 250, "tls.certificate.lifetime.remaining": 250,
	}, counts)
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", 2*time.Minute - 1: "119 seconds", 2 * time.Minute: "2 minutes", 2*time.Hour - 1: "119 minutes", 2 * time.Hour: "2 hours",
		2*day - 1: "47 hours", 2 * day: "2 days", 400*day + time.Hour: "400 days",
	} {
		assert.Equal(t, want, span(d))
	}
}

func sumOf(m metricdata.Metrics) (total int64) {
	for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
		total += p.Value
	}
	return total
}
