package telemetry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
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

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
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
func (d *desk) after(outcomes ...probe.Outcome) (events []event) {
	d.t.Helper()
	d.logs.Reset()
	for _, o := range outcomes {
		d.Observe(d.t.Context(), o)
	}
	d.Flush(d.t.Context())
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
func (d *desk) nothing(outcomes ...probe.Outcome) {
	d.t.Helper()
	assert.Empty(d.t, d.names(outcomes...))
}

// names returns the names of the events that come of outcomes.
func (d *desk) names(outcomes ...probe.Outcome) (names []string) {
	d.t.Helper()
	for _, e := range d.after(outcomes...) {
		names = append(names, e.name)
	}
	return names
}

// one returns the single event that comes of an outcome.
func (d *desk) one(name string, o probe.Outcome) event {
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
		"certificate.not_after": c.NotAfter.UTC().Format(time.RFC3339), "certificate.serial": attributes.Serial(c),
		"certificate.sha256": fmt.Sprintf("%X", attributes.Fingerprint(c)),
	}
}

// at is the outcome of a handshake that ended then and was shown this certificate.
func at(end time.Time, c *x509.Certificate) *probe.EndpointOutcome {
	o := handshaked(mail, time.Second, c)
	o.Start, o.End = end.Add(-time.Second), end
	o.Handshake.Start, o.Handshake.End = o.Start, end
	return o
}

// failed is the outcome of a probe that got no connection.
func failed(end time.Time, typ failure.Type) *probe.EndpointOutcome {
	return &probe.EndpointOutcome{About: probe.About{Target: mail, Place: mail.Place(), Start: end.Add(-time.Second), End: end, Failure: &failure.Failure{
		Step: failure.Connect, Type: typ, Reasons: []failure.Type{typ}, Category: "tcp", Message: "msg", Cause: "Cause.", Fix: "Fix.",
	}}}
}

// of makes an outcome one of another target.
func of(t *target.Target, o *probe.EndpointOutcome) *probe.EndpointOutcome {
	o.Target, o.Place = t, t.Place()
	return o
}

// gone is the end of a target's endpoint or, if a path is given, of its file.
func gone(t *target.Target, path string) *probe.Gone {
	return &probe.Gone{About: probe.About{Target: t, Place: target.Place{TargetID: t.ID, Path: path}}}
}

// file is the outcome of a file.
func file(end time.Time, path string, cs ...*x509.Certificate) *probe.FileOutcome {
	at := target.Place{TargetID: mail.ID, Path: path}
	return &probe.FileOutcome{About: probe.About{Target: mail, Place: at, Start: end, End: end}, Certificates: cs}
}

// probed is the outcome of a real probe of a server, as if it were mail's.
func probed(t *testing.T, server *tlsfarm.Server, cfg *tls.Config) *probe.EndpointOutcome {
	t.Helper()
	endpoint, err := target.ParseEndpoint(server.Endpoint())
	require.NoError(t, err)
	o := (&probe.Prober{}).ProbeEndpoint(t.Context(), &target.Target{
		Endpoint: endpoint, Timeout: 5 * time.Second, TLS: cfg, ExpiryWarning: mail.ExpiryWarning, Explain: target.ExplainNever,
	})
	of(mail, o)
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
	assert.Equal(t, fmt.Sprintf("mail.example.com:465 has recovered. It had been failing since %s, for 3 hours, most recently with connection_refused.",
		text.Moment(first.End)), e.body)
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
	bad.Warnings = []failure.Type{"malformed_certificate"}
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
	of(&unseen, o)
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
			of(&quiet, first)
			of(&quiet, second)
			d.nothing(first)
			e := d.one("tls.certificate.changed", second)
			assert.Equal(t, c.severity, e.severity)
			for _, part := range append(c.body, "mail.example.com:465 serves ", text.Moment(c.is.NotAfter), "The former one was valid until "+text.Moment(c.was.NotAfter)) {
				assert.Contains(t, e.body, part)
			}
			assert.Equal(t, with(with(mailPlace, identity(c.is)), map[string]any{
				"certificate.change":             c.changes,
				"certificate.previous.not_after": c.was.NotAfter.UTC().Format(time.RFC3339),
				"certificate.previous.sha256":    fmt.Sprintf("%X", attributes.Fingerprint(c.was)),
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
	assert.Equal(t, fmt.Sprintf("%X", attributes.Fingerprint(probe.Leaf(c))), e.attributes["certificate.previous.sha256"])
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
			look := func(end time.Time) *probe.EndpointOutcome {
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
				`that of "mail.example.com", issued by "Event CA". Renew it, and reload what uses it.`, text.Moment(until)), e.body)
			assert.Equal(t, with(mailPlace, identity(c)), e.attributes)
			d.nothing(look(until.Add(-29*day)), look(until))
			e = d.one("tls.certificate.expired", look(until.Add(5*time.Minute)))
			assert.Equal(t, "ERROR", e.severity)
			assert.Equal(t, fmt.Sprintf(`mail.example.com:465 serves a certificate that expired on %s, 5 minutes ago: `+
				`that of "mail.example.com", issued by "Event CA". Renew it, and reload what uses it.`, text.Moment(until)), e.body)
			assert.Equal(t, with(mailPlace, identity(c)), e.attributes)
			d.nothing(look(until.Add(time.Hour)), look(until.Add(10*day)))

			other := *mail // another place
			other.ID = "other"
			o := look(until.Add(time.Hour))
			of(&other, o)
			assert.Equal(t, []string{"tls.certificate.expired"}, d.names(o))
		})
	}

	d := newDesk(t, nil)
	never := *mail
	never.ExpiryWarning = target.ExpiryWarning{}
	o := at(until.Add(-time.Second), c)
	of(&never, o)
	d.nothing(o)

	// A successor that is near its end too is told of for itself.
	d.after(at(until.Add(-time.Hour), c))
	assert.Equal(t, []string{"tls.certificate.changed", "tls.certificate.expiring_soon"}, d.names(at(until.Add(-time.Hour), issue(tlsfarm.Validity(-day, 60*day)))))
}

func TestExpiryInAFile(t *testing.T) {
	const path = "/etc/ssl/bundle.pem"
	now := time.Now()
	var bundle []*x509.Certificate
	for i := range 3 * maxAnnounced {
		bundle = append(bundle, tlsfarm.NewAuthority(fmt.Sprint(i), tlsfarm.Validity(-2*day, []time.Duration{-day, day, 90 * day}[i%3])).Certificate)
	}
	d := newDesk(t, nil)
	events := d.after(file(now, path, bundle...))
	require.Len(t, events, 2*maxAnnounced)
	for i, name := range []string{"tls.certificate.expired", "tls.certificate.expiring_soon"} {
		assert.Equal(t, name, events[i].name)
		assert.Equal(t, with(identity(bundle[i]), map[string]any{"certificate.path": path, "team": "post"}), events[i].attributes)
		assert.Contains(t, events[i].body, path+" has a certificate that expire")
	}
	d.nothing(file(now, path, bundle...), file(now, path), file(now, path, bundle...))
	fewer := slices.Clone(bundle[:maxAnnounced])
	d.nothing(file(now, path, fewer...))
	assert.Len(t, d.state[target.Place{TargetID: mail.ID, Path: path}].events.Announced, maxAnnounced)
}

// Of a server's file only the leaf has an end that matters; see probe.FileOutcome.Judged.
func TestExpiredCrossSignedRootInAFile(t *testing.T) {
	old := tlsfarm.NewAuthority("Old", tlsfarm.Validity(-2*day, -day)).Certificate
	newDesk(t, nil).nothing(file(time.Now(), "/etc/ssl/a.pem", issue(), old))
}

func TestFileMismatch(t *testing.T) {
	const path = "/etc/ssl/mail.pem"
	now := time.Now()
	since := now.Add(-2 * time.Hour)
	old, renewed := issue(tlsfarm.Validity(-day, 60*day)), issue(tlsfarm.Validity(-day, 90*day))
	look := func(c *x509.Certificate, files ...probe.OnDisk) *probe.EndpointOutcome {
		o := at(now, c)
		o.Handshake.OnDisk = files
		return o
	}
	same, differs := probe.OnDisk{Path: path, Served: true}, probe.OnDisk{Path: path, Since: since, Leaf: renewed}

	d := newDesk(t, nil)
	d.nothing(file(now, path, renewed))
	d.nothing(look(old, same), look(old, differs), look(old, same), look(old, differs))                // one probe between writing and reloading
	d.nothing(&probe.EndpointOutcome{About: probe.About{Target: mail, Place: mail.Place(), End: now}}) // what compares nothing is none of the two in a row
	e := d.one("tls.certificate.file_mismatch", look(old, differs))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, fmt.Sprintf(`mail.example.com:465 serves the certificate of "mail.example.com", valid until %s. Since %s it is not the one in %s, `+
		`which has that of "mail.example.com", valid until %s. Reload the server so that it serves the certificate in the file. `+
		`If it reads another file, correct file_path.`, text.Moment(old.NotAfter), text.Moment(since), path, text.Moment(renewed.NotAfter)), e.body)
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

func TestClientCertificate(t *testing.T) {
	own := ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
	until := own.NotAfter
	second := *mail
	second.ID, second.Endpoint.Host = "other", "other.example"
	look := func(tgt *target.Target, end time.Time) *probe.EndpointOutcome {
		o := failed(end, failure.ConnectionRefused)
		o.Failure, o.ClientCert = nil, own
		return of(tgt, o)
	}
	d := newDesk(t, nil)
	d.nothing(look(mail, until.Add(-31*day)))
	e := d.one("tls.client_certificate.expiring_soon", look(mail, until.Add(-10*day)))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, fmt.Sprintf(`The client certificate of "collector", issued by "Event CA", which the collector presents to servers, `+
		`expires on %s, in 10 days. Renew the one in tls cert_file.`, text.Moment(until)), e.body)
	assert.Equal(t, identity(own), e.attributes, "it is not of a target")
	d.nothing(look(&second, until.Add(-9*day)), look(mail, until.Add(-8*day)))
	e = d.one("tls.client_certificate.expired", look(&second, until.Add(time.Second)))
	assert.Equal(t, "ERROR", e.severity)
	assert.Equal(t, fmt.Sprintf(`The client certificate of "collector", issued by "Event CA", which the collector presents to servers, `+
		`expired on %s, 1 second ago. Renew the one in tls cert_file: servers that ask for it refuse the collector.`, text.Moment(until)), e.body)
	assert.Equal(t, identity(own), e.attributes)
	d.nothing(look(mail, until.Add(time.Hour)))

	// More of them than a place remembers.
	var all []probe.Outcome
	for range 2 * maxAnnounced {
		o := look(mail, until)
		o.ClientCert = ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
		all = append(all, o)
	}
	assert.Len(t, d.after(all...), 2*maxAnnounced)
	d.nothing(all...)
}

// Each address of an endpoint stands for itself.
func TestAddressesOfAnEndpoint(t *testing.T) {
	now := time.Now()
	a, b := netip.MustParseAddrPort("192.0.2.1:465"), netip.MustParseAddrPort("[2001:db8::1]:4650")
	one, other := issue(tlsfarm.Validity(-day, 90*day)), issue(tlsfarm.Validity(-2*day, 89*day))
	of := func(peer netip.AddrPort, o *probe.EndpointOutcome) *probe.AddressOutcome {
		o.Place.Peer = peer
		return &probe.AddressOutcome{About: o.About, Attempt: o.Attempt}
	}
	round := func(peers ...probe.PoolPeer) *probe.EndpointOutcome {
		return &probe.EndpointOutcome{About: probe.About{Target: mail, Place: mail.Place(), Start: now, End: now}, Pool: &probe.Pool{Peers: peers}}
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
		"tls.endpoint.peers": []any{"192.0.2.1:465 " + attributes.Serial(one), "[2001:db8::1]:4650 " + attributes.Serial(other)},
	}), e.attributes)
	assert.Equal(t, fmt.Sprintf(`The addresses of mail.example.com:465 serve 2 different certificates. If that is not meant, put the newest one on all of them `+
		`and reload them. Served are by 192.0.2.1:465 that of "mail.example.com", valid until %s, serial %s; by [2001:db8::1]:4650 that of "mail.example.com", valid until %s, serial %s.`,
		text.Moment(one.NotAfter), attributes.Serial(one), text.Moment(other.NotAfter), attributes.Serial(other)), e.body)
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
	for left, peer := range []netip.AddrPort{b, a} {
		d.nothing(&probe.Gone{About: probe.About{Target: mail, Place: target.Place{TargetID: mail.ID, Peer: peer}}})
		assert.Len(t, memory.data, 2-left)
		assert.Len(t, d.state, 2-left)
	}
	d.nothing(gone(mail, ""))
	assert.Empty(t, memory.data)
	assert.Empty(t, d.state)

	// Of a service DNS tells the ports.
	service := *mail
	service.Endpoint = target.Endpoint{Host: "_imaps._tcp.example.com", DNSName: "_imaps._tcp.example.com"}
	o := failed(now, failure.DNSNotFound)
	o.Target, o.Place = &service, service.Place()
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
	d.nothing(gone(mail, "/etc/ssl/x.pem"))
	assert.Zero(t, memory.calls)
	assert.Nil(t, d.state[mail.Place()].events)
	assert.Nil(t, d.ownCerts)
	assert.NotEmpty(t, d.metrics.AllMetrics())
	assert.NotEmpty(t, d.traces.AllTraces())
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
	d.Observe(t.Context(), failed(time.Now(), failure.ConnectionRefused))
	d.Flush(t.Context())
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
		if c := probe.Leaf(o); c != nil && i > 0 {
			c := hostile(c)
			switch o := o.(type) {
			case *probe.FileOutcome:
				o.Certificates = []*x509.Certificate{c}
			case *probe.EndpointOutcome:
				o.Handshake.State.PeerCertificates[0] = c
			}
		}
		switch o := o.(type) {
		case *probe.FileOutcome:
			o.Place.Path = "/etc/\xff\x1b" + strings.Repeat("a", 5000)
		case *probe.EndpointOutcome:
			o.ClientCert = hostile(o.ClientCert)
			if o.Pool != nil {
				for range 16 {
					o.Pool.Peers = append(o.Pool.Peers, probe.PoolPeer{Leaf: hostile(issue())})
				}
			}
			if o.Handshake != nil {
				o.Handshake.OnDisk[0].Path = "/etc/\xff\x1b" + strings.Repeat("b", 5000)
			}
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
		r.Observe(t.Context(), failed(time.Now(), typ))
		r.Flush(t.Context())
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

func sumOf(m metricdata.Metrics) (total int64) {
	for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
		total += p.Value
	}
	return total
}
