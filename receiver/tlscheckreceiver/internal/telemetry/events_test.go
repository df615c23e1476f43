package telemetry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestFailingAndRecovered(t *testing.T) {
	good := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("mail")}})
	bad := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("mail", tlsfarm.Names("other.example"))}})
	cfg := &tls.Config{RootCAs: ca.Pool()}
	r := newTestRecorder(t, nil, withTraces)

	first := probeServer(t, bad, cfg)
	e := r.event("tls.endpoint.failing", first) // even at the first probe
	assert.Equal(t, "ERROR", e.severity)
	assert.Equal(t, "mail.example.com:465 is failing in the verify phase: "+first.Failure.Cause+" "+first.Failure.Fix, e.body)
	assert.Contains(t, e.body, "other.example")
	assert.Equal(t, union(mailAttributes, map[string]any{
		"tls.probe.phase": "verify", "error.type": "hostname_mismatch",
		"tls.error.type": "certificate_verification", "tls.error.library": "X509", "tls.error.message": first.Failure.Message,
		"tls.error.verify_code": int64(first.Failure.VerifyCode), "tls.error.verify_message": first.Failure.VerifyMessage,
		"tls.error.cause": first.Failure.Cause, "tls.error.fix": first.Failure.Fix, "tls.error.reasons": []any{"hostname_mismatch"},
	}), e.attributes)
	assert.Equal(t, first.End.UnixNano(), int64(e.record.Timestamp()))
	r.noEvents(probeServer(t, bad, cfg), probeServer(t, bad, cfg))

	// There is an event for another error.type, but not for another cause.
	refused := failureAt(first.End.Add(time.Minute), failure.ConnectionRefused)
	e = r.event("tls.endpoint.failing", refused)
	assert.Equal(t, "mail.example.com:465 is failing in the connect phase: Cause. Fix.", e.body)
	assert.Equal(t, union(mailAttributes, map[string]any{
		"tls.probe.phase": "connect", "error.type": "connection_refused", "tls.error.type": "tcp", "tls.error.message": "msg",
		"tls.error.cause": "Cause.", "tls.error.fix": "Fix.", "tls.error.reasons": []any{"connection_refused"},
	}), e.attributes)
	refused.Failure.Cause = "Other cause."
	r.noEvents(refused)

	healthy := probeServer(t, good, cfg)
	healthy.End = first.End.Add(3 * time.Hour)
	events := r.events(healthy)
	require.Len(t, events, 2)
	assert.Equal(t, "tls.certificate.changed", events[0].name)
	e = events[1]
	assert.Equal(t, "tls.endpoint.recovered", e.name)
	assert.Equal(t, "INFO", e.severity)
	assert.Equal(t, fmt.Sprintf("mail.example.com:465 has recovered. It had been failing for 3 hours, since %s, most recently with connection_refused.",
		text.Moment(first.End)), e.body)
	assert.Equal(t, union(mailAttributes, map[string]any{
		"error.type": "connection_refused", "tls.probe.failing_since": first.End.UTC().Format(time.RFC3339),
	}), e.attributes)
	r.noEvents(healthy)

	assert.Equal(t, []string{"tls.endpoint.failing"}, r.eventNames(refused), "the next failure")
}

func TestFailingEventHasWarningsAndAlert(t *testing.T) {
	r := newTestRecorder(t, nil)
	o := handshakeAt(time.Now(), issue())
	o.Handshake.Warnings = []failure.Type{failure.FileMismatch}
	o.Failure = &failure.Failure{Step: failure.ClientAuth, Type: failure.UnknownCA, Reasons: []failure.Type{failure.UnknownCA}, Category: "ssl_error", Alert: 48, HasAlert: true, SSLReason: "TLSV1_ALERT_UNKNOWN_CA"}
	e := r.event("tls.endpoint.failing", o)
	assert.Equal(t, []any{"unknown_ca", "file_mismatch"}, e.attributes["tls.error.reasons"])
	assert.Equal(t, int64(48), e.attributes["tls.error.alert"])
	assert.Equal(t, "SSL", e.attributes["tls.error.library"])
	assert.Equal(t, "TLSV1_ALERT_UNKNOWN_CA", e.attributes["tls.error.reason"])

	bad := fileAt(time.Now(), "/etc/ssl/a.pem")
	bad.Failure = &failure.Failure{Step: failure.File, Type: "file_not_found", Category: "file", Cause: "There is no such file.", Fix: "Correct it."}
	bad.Warnings = []failure.Type{"malformed_certificate"}
	e = r.event("tls.endpoint.failing", bad)
	assert.Equal(t, "/etc/ssl/a.pem is failing in the file phase: There is no such file. Correct it.", e.body)
	assert.Equal(t, map[string]any{
		"certificate.path": "/etc/ssl/a.pem", "team": "post", "tls.probe.phase": "file", "error.type": "file_not_found",
		"tls.error.type": "file", "tls.error.cause": "There is no such file.", "tls.error.fix": "Correct it.",
		"tls.error.reasons": []any{"malformed_certificate"},
	}, e.attributes)
	e = r.event("tls.endpoint.recovered", fileAt(time.Now(), "/etc/ssl/a.pem", issue()))
	assert.Equal(t, "/etc/ssl/a.pem", e.attributes["certificate.path"])
}

func TestEventsReferToSpans(t *testing.T) {
	span := func(r *testRecorder, name string) ptrace.Span {
		all := r.traces.AllTraces()
		for _, s := range all[len(all)-1].ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			if s.Name() == name {
				return s
			}
		}
		t.Fatalf("there is no span %s", name)
		return ptrace.Span{}
	}
	r := newTestRecorder(t, nil, withTraces)
	e := r.event("tls.endpoint.failing", failureAt(time.Now(), failure.ConnectionRefused))
	root := span(r, "tls.connect")
	assert.Equal(t, root.TraceID(), e.record.TraceID())
	assert.Equal(t, root.SpanID(), e.record.SpanID())

	e = r.event("tls.endpoint.recovered", handshakeAt(time.Now(), issue()))
	assert.Equal(t, span(r, "tls.handshake").TraceID(), e.record.TraceID())
	assert.Equal(t, span(r, "tls.handshake").SpanID(), e.record.SpanID())

	noSpans := *mail
	noSpans.ID = "no spans"
	noSpans.Spans = target.SpansOnFailure
	o := handshakeAt(time.Now(), issue(tlsfarm.Validity(-day, day)))
	withTarget(&noSpans, o)
	e = r.event("tls.certificate.expiring_soon", o)
	assert.True(t, e.record.TraceID().IsEmpty())
	assert.True(t, e.record.SpanID().IsEmpty())
	e = r.event("tls.certificate.expiring_soon", fileAt(time.Now(), "/etc/ssl/a.pem", issue(tlsfarm.Validity(-day, day))))
	assert.True(t, e.record.TraceID().IsEmpty())

	// Exemplars refer to the handshake span.
	r = newTestRecorder(t, nil, withTraces, withMetrics)
	r.record(handshakeAt(time.Now(), issue()))
	for _, m := range r.sentMetrics().All() {
		if m.Name() == "tls.handshake.duration" {
			assert.Equal(t, span(r, "tls.handshake").SpanID(), m.Histogram().DataPoints().At(0).Exemplars().At(0).SpanID())
		}
	}
}

func TestCertificateChanged(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	sameKey := tlsfarm.Key(key)
	from := func(begin time.Duration, edits ...tlsfarm.Edit) *x509.Certificate {
		return issue(append([]tlsfarm.Edit{sameKey, tlsfarm.Validity(begin, begin+90*day)}, edits...)...)
	}
	otherCA := tlsfarm.NewAuthority("Other CA")
	many := make([]string, 150)
	for i := range many {
		many[i] = fmt.Sprintf("n%03d.example", i)
	}
	newKey := func(c *x509.Certificate) { c.PublicKey = nil }
	old := from(-2 * day)
	for name, c := range map[string]struct {
		old, new *x509.Certificate
		kinds    []any
		severity string
		body     []string
	}{
		"renewed": {old, from(-day), []any{"renewal"}, "INFO", []string{
			`serves a renewed certificate: subject "mail.example.com", issuer "Event CA", valid until `, " The key is the same.",
		}},
		"renewed with a new key":             {old, from(-day, newKey), []any{"renewal", "key"}, "INFO", []string{"renewed", " The key changed."}},
		"renewed, with a name in upper case": {old, from(-day, tlsfarm.Names("LOCALHOST"), func(c *x509.Certificate) { c.IPAddresses = old.IPAddresses }), []any{"renewal"}, "INFO", nil},
		"renewed for a shorter time": {
			old, from(-day, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(5 * day) }), []any{"renewal"}, "INFO", nil,
		},
		"reissued in the same second": {old, from(-2 * day), []any{"renewal"}, "INFO", nil},
		"older":                       {old, from(-3 * day), []any{"rollback"}, "WARN", []string{"serves an older certificate than before: ", "If this was not intended, look for a deployment"}},
		"older, with a new key":       {old, from(-3*day, newKey), []any{"rollback", "key"}, "WARN", nil},
		"another issuer": {old, otherCA.Issue("mail.example.com", sameKey, tlsfarm.Validity(-day, 90*day)).Leaf, []any{"issuer"}, "WARN", []string{
			"serves a different certificate: ", `The issuer changed from "CN=Event CA,O=Farm" to "CN=Other CA,O=Farm".`, "The key is the same. If this was not intended, find out who changed it.",
		}},
		"other names": {
			from(-2*day, tlsfarm.Names("a.example", "b.example")), from(-day, tlsfarm.Names("b.example", "c.example", "d.example")),
			[]any{"names"},
			"WARN",
			[]string{"Names added: c.example, d.example. Names removed: a.example. The key is the same."},
		},
		"the same names in another order": {
			from(-2*day, tlsfarm.Names("a.example", "b.example")), from(-day, tlsfarm.Names("b.example", "a.example", "b.example")),
			[]any{"renewal"},
			"INFO", nil,
		},
		"many names": {from(-2*day, tlsfarm.Names("a.example")), from(-day, tlsfarm.Names(many...)), []any{"names"}, "WARN", []string{
			"Names added: n000.example, n001.example, n002.example, n003.example, n004.example and others. Names removed: a.example.",
		}},
		"five names": {from(-2*day, tlsfarm.Names("a.example")), from(-day, tlsfarm.Names("a.example", "b", "c", "d", "e", "f")), []any{"names"}, "WARN", []string{
			"Names added: b, c, d, e, f. The",
		}},
		"names whose concatenation is the same": {
			from(-2*day, tlsfarm.Names("ab", "c")), from(-day, tlsfarm.Names("a", "bc")),
			[]any{"names"},
			"WARN",
			[]string{"Names added: a, bc. Names removed: ab, c. The"},
		},
		"a name after the first hundred": {
			from(-2*day, tlsfarm.Names(many...)), from(-day, tlsfarm.Names(many[:149]...)), []any{"names"}, "WARN", []string{"The names changed."},
		},
		"common names only": {
			from(-2*day, tlsfarm.Names()), issue(sameKey, tlsfarm.Names(), func(c *x509.Certificate) { c.Subject.CommonName = "Other" }),
			[]any{"names"},
			"WARN",
			[]string{"Names added: other. Names removed: mail.example.com."},
		},
		"everything": {old, otherCA.Issue("x", tlsfarm.Names("x")).Leaf, []any{"issuer", "names", "key"}, "WARN", []string{" The key changed."}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			r := newTestRecorder(t, nil)
			noWarning := *mail
			noWarning.ExpiryWarning = target.ExpiryWarning{}
			first, second := handshakeAt(now, c.old), handshakeAt(now.Add(time.Minute), c.new)
			withTarget(&noWarning, first)
			withTarget(&noWarning, second)
			r.noEvents(first)
			e := r.event("tls.certificate.changed", second)
			assert.Equal(t, c.severity, e.severity)
			for _, part := range append(c.body, "mail.example.com:465 serves ", text.Moment(c.new.NotAfter), "The previous certificate was valid until "+text.Moment(c.old.NotAfter)) {
				assert.Contains(t, e.body, part)
			}
			assert.Equal(t, union(union(mailAttributes, certificateAttributes(c.new)), map[string]any{
				"certificate.change":             c.kinds,
				"certificate.previous.not_after": c.old.NotAfter.UTC().Format(time.RFC3339),
				"certificate.previous.sha256":    fmt.Sprintf("%X", attributes.Fingerprint(c.old)),
			}), e.attributes)
			r.noEvents(second)
		})
	}
}

func TestFileChanged(t *testing.T) {
	r, now := newTestRecorder(t, nil), time.Now()
	a, b, other := issue(tlsfarm.Validity(-2*day, 80*day)), issue(tlsfarm.Validity(-day, 90*day)), issue()
	r.noEvents(fileAt(now, "/etc/ssl/a.pem", a, ca.Certificate), fileAt(now, "/etc/ssl/b.pem", b))
	r.noEvents(fileAt(now, "/etc/ssl/a.pem", a, other), fileAt(now, "/etc/ssl/a.pem")) // temporarily unreadable
	e := r.event("tls.certificate.changed", fileAt(now, "/etc/ssl/a.pem", b))
	assert.Contains(t, e.body, "/etc/ssl/a.pem has a renewed certificate")
	assert.Equal(t, "/etc/ssl/a.pem", e.attributes["certificate.path"])
	assert.NotContains(t, e.attributes, "server.address")
	r.noEvents(fileAt(now, "/etc/ssl/a.pem", b))
	e = r.event("tls.certificate.changed", fileAt(now, "/etc/ssl/a.pem", a)) // servers may alternate, but not a file
	assert.Equal(t, []any{"rollback", "key"}, e.attributes["certificate.change"])
}

func TestServersThatAlternateCertificates(t *testing.T) {
	r, now := newTestRecorder(t, nil), time.Now()
	a, b, c := handshakeAt(now, issue()), handshakeAt(now, issue()), handshakeAt(now, issue())
	r.noEvents(a)
	assert.Equal(t, []string{"tls.certificate.changed"}, r.eventNames(b))
	for range 20 {
		r.noEvents(a, b, b, a)
	}
	for range 20 { // an outage does not change what is known
		r.record(failureAt(now, failure.ConnectionRefused))
	}
	assert.Equal(t, []string{"tls.endpoint.recovered"}, r.eventNames(b))
	assert.Equal(t, []string{"tls.certificate.changed"}, r.eventNames(c), "a third one")
	r.noEvents(b, b, b, b, b, b, a, b, c)
	// A certificate that was not served for ten probes is announced again.
	for range 10 {
		r.noEvents(c)
	}
	e := r.event("tls.certificate.changed", b)
	assert.Equal(t, fmt.Sprintf("%X", attributes.Fingerprint(probe.Leaf(c))), e.attributes["certificate.previous.sha256"])
	for range 8 {
		r.noEvents(b)
	}
	r.noEvents(c) // the tenth probe since
}

func TestExpiry(t *testing.T) {
	c := issue(tlsfarm.Validity(-day, 60*day))
	until := c.NotAfter
	for name, verify := range map[string]bool{"verified": true, "verification skipped": false} {
		t.Run(name, func(t *testing.T) {
			r := newTestRecorder(t, nil)
			probeAt := func(end time.Time) *probe.EndpointOutcome {
				o := handshakeAt(end, c)
				if !verify {
					o.Handshake.Finding = &failure.Failure{Step: failure.Verify, Type: "self_signed"}
				}
				return o
			}
			r.noEvents(probeAt(until.Add(-30*day)), probeAt(until.Add(-30*day)))
			e := r.event("tls.certificate.expiring_soon", probeAt(until.Add(-30*day+time.Second)))
			assert.Equal(t, "WARN", e.severity)
			assert.Equal(t, fmt.Sprintf(`mail.example.com:465 serves a certificate that expires on %s, in 29 days: `+
				`subject "mail.example.com", issuer "Event CA". Renew it, then reload the service that uses it.`, text.Moment(until)), e.body)
			assert.Equal(t, union(mailAttributes, certificateAttributes(c)), e.attributes)
			r.noEvents(probeAt(until.Add(-29*day)), probeAt(until))
			e = r.event("tls.certificate.expired", probeAt(until.Add(5*time.Minute)))
			assert.Equal(t, "ERROR", e.severity)
			assert.Equal(t, fmt.Sprintf(`mail.example.com:465 serves a certificate that expired on %s, 5 minutes ago: `+
				`subject "mail.example.com", issuer "Event CA". Renew it, then reload the service that uses it.`, text.Moment(until)), e.body)
			assert.Equal(t, union(mailAttributes, certificateAttributes(c)), e.attributes)
			r.noEvents(probeAt(until.Add(time.Hour)), probeAt(until.Add(10*day)))

			other := *mail
			other.ID = "other"
			o := probeAt(until.Add(time.Hour))
			withTarget(&other, o)
			assert.Equal(t, []string{"tls.certificate.expired"}, r.eventNames(o))
		})
	}

	r := newTestRecorder(t, nil)
	noWarning := *mail
	noWarning.ExpiryWarning = target.ExpiryWarning{}
	o := handshakeAt(until.Add(-time.Second), c)
	withTarget(&noWarning, o)
	r.noEvents(o)

	// A new certificate that expires soon is announced as well.
	r.record(handshakeAt(until.Add(-time.Hour), c))
	assert.Equal(t, []string{"tls.certificate.changed", "tls.certificate.expiring_soon"}, r.eventNames(handshakeAt(until.Add(-time.Hour), issue(tlsfarm.Validity(-day, 60*day)))))
}

func TestExpiryOfCertificatesInFile(t *testing.T) {
	const path = "/etc/ssl/bundle.pem"
	now := time.Now()
	var bundle []*x509.Certificate
	for i := range 3 * maxAnnounced {
		bundle = append(bundle, tlsfarm.NewAuthority(fmt.Sprint(i), tlsfarm.Validity(-2*day, []time.Duration{-day, day, 90 * day}[i%3])).Certificate)
	}
	r := newTestRecorder(t, nil)
	events := r.events(fileAt(now, path, bundle...))
	require.Len(t, events, 2*maxAnnounced)
	for i, name := range []string{"tls.certificate.expired", "tls.certificate.expiring_soon"} {
		assert.Equal(t, name, events[i].name)
		assert.Equal(t, union(certificateAttributes(bundle[i]), map[string]any{"certificate.path": path, "team": "post"}), events[i].attributes)
		assert.Contains(t, events[i].body, path+" has a certificate that expire")
	}
	r.noEvents(fileAt(now, path, bundle...), fileAt(now, path), fileAt(now, path, bundle...))
	fewer := slices.Clone(bundle[:maxAnnounced])
	r.noEvents(fileAt(now, path, fewer...))
	assert.Len(t, r.places[target.Place{TargetID: mail.ID, Path: path}].events.Announced, maxAnnounced)
}

// If a file begins with a leaf, only leaves are announced; see probe.FileOutcome.Judged.
func TestExpiredCAInServerFile(t *testing.T) {
	old := tlsfarm.NewAuthority("Old", tlsfarm.Validity(-2*day, -day)).Certificate
	newTestRecorder(t, nil).noEvents(fileAt(time.Now(), "/etc/ssl/a.pem", issue(), old))
}

func TestFileMismatch(t *testing.T) {
	const path = "/etc/ssl/mail.pem"
	now := time.Now()
	since := now.Add(-2 * time.Hour)
	old, renewed := issue(tlsfarm.Validity(-day, 60*day)), issue(tlsfarm.Validity(-day, 90*day))
	probeOf := func(c *x509.Certificate, files ...probe.OnDisk) *probe.EndpointOutcome {
		o := handshakeAt(now, c)
		o.Handshake.OnDisk = files
		return o
	}
	served, notServed := probe.OnDisk{Path: path, Served: true}, probe.OnDisk{Path: path, Since: since, Leaf: renewed}

	r := newTestRecorder(t, nil)
	r.noEvents(fileAt(now, path, renewed))
	// One probe may come between the renewal of the file and the server's reload.
	r.noEvents(probeOf(old, served), probeOf(old, notServed), probeOf(old, served), probeOf(old, notServed))
	// A probe without a handshake does not count.
	r.noEvents(&probe.EndpointOutcome{About: probe.About{Target: mail, Place: mail.Place(), End: now}})
	e := r.event("tls.certificate.file_mismatch", probeOf(old, notServed))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, fmt.Sprintf(`mail.example.com:465 does not serve the certificate in %s (subject "mail.example.com", valid until %s), `+
		`but another one (subject "mail.example.com", valid until %s). They have differed since %s. `+
		`Reload the server so that it serves the certificate in the file. If it reads another file, correct file_path.`,
		path, text.Moment(renewed.NotAfter), text.Moment(old.NotAfter), text.Moment(since)), e.body)
	assert.Equal(t, union(union(mailAttributes, certificateAttributes(old)), map[string]any{
		"certificate.path": path, "tls.certificate.file.since": since.UTC().Format(time.RFC3339),
	}), e.attributes)
	r.noEvents(probeOf(old, notServed), probeOf(old, served), probeOf(old, notServed), probeOf(old, notServed))

	// Each leaf is announced once for each file.
	other := issue(tlsfarm.Validity(-day, 70*day))
	assert.Equal(t, []string{"tls.certificate.changed", "tls.certificate.file_mismatch"}, r.eventNames(probeOf(other, notServed)))
	r.noEvents(probeOf(other, notServed))
	late := probe.OnDisk{Path: "/etc/ssl/z.pem", Since: now, Leaf: renewed}
	e = r.event("tls.certificate.file_mismatch", probeOf(other, notServed, late))
	assert.Equal(t, "/etc/ssl/z.pem", e.attributes["certificate.path"], "the one that changed last")
	early := probe.OnDisk{Path: "/etc/ssl/y.pem", Since: now.Add(-time.Minute), Leaf: renewed}
	r.noEvents(probeOf(other, late, early), probeOf(other, late, early, notServed))
	// It is enough if one file has the leaf: a server may have an ECDSA and an RSA certificate.
	r.noEvents(probeOf(other, notServed, probe.OnDisk{Path: "/etc/ssl/b.pem", Served: true}), probeOf(other, notServed, served))
}

func TestClientCertificate(t *testing.T) {
	client := ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
	until := client.NotAfter
	other := *mail
	other.ID, other.Endpoint.Host = "other", "other.example"
	probeOf := func(tgt *target.Target, end time.Time) *probe.EndpointOutcome {
		o := failureAt(end, failure.ConnectionRefused)
		o.Failure, o.ClientCert = nil, client
		return withTarget(tgt, o)
	}
	r := newTestRecorder(t, nil)
	r.noEvents(probeOf(mail, until.Add(-31*day)))
	e := r.event("tls.client_certificate.expiring_soon", probeOf(mail, until.Add(-10*day)))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, fmt.Sprintf(`The client certificate that the collector presents to servers expires on %s, in 10 days: `+
		`subject "collector", issuer "Event CA". Renew the certificate in tls cert_file.`, text.Moment(until)), e.body)
	assert.Equal(t, certificateAttributes(client), e.attributes, "no attributes of a target")
	r.noEvents(probeOf(&other, until.Add(-9*day)), probeOf(mail, until.Add(-8*day)))
	e = r.event("tls.client_certificate.expired", probeOf(&other, until.Add(2*time.Hour)))
	assert.Equal(t, "ERROR", e.severity)
	assert.Equal(t, fmt.Sprintf(`The client certificate that the collector presents to servers expired on %s, 2 hours ago: `+
		`subject "collector", issuer "Event CA". Renew the certificate in tls cert_file. Servers that require it refuse the collector.`, text.Moment(until)), e.body)
	assert.Equal(t, certificateAttributes(client), e.attributes)
	r.noEvents(probeOf(mail, until.Add(3*time.Hour)))

	// More client certificates are remembered than announcements about one place.
	var all []probe.Outcome
	for range 2 * maxAnnounced {
		o := probeOf(mail, until)
		o.ClientCert = ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
		all = append(all, o)
	}
	assert.Len(t, r.events(all...), 2*maxAnnounced)
	r.noEvents(all...)
}

var (
	peerA = netip.MustParseAddrPort("192.0.2.1:465")
	peerB = netip.MustParseAddrPort("[2001:db8::1]:4650")
)

// ofPeer returns an outcome for one address of the endpoint.
func ofPeer(peer netip.AddrPort, o *probe.EndpointOutcome) *probe.AddressOutcome {
	o.Place.Peer = peer
	return &probe.AddressOutcome{About: o.About, Attempt: o.Attempt}
}

// poolOutcome is the outcome of an endpoint after each of its addresses was probed.
func poolOutcome(end time.Time, peers ...probe.PoolPeer) *probe.EndpointOutcome {
	return &probe.EndpointOutcome{
		About: probe.About{Target: mail, Place: mail.Place(), Start: end, End: end},
		Pool:  &probe.Pool{Peers: peers},
	}
}

func TestEventsOfAddresses(t *testing.T) {
	now := time.Now()
	a, b := issue(tlsfarm.Validity(-day, 90*day)), issue(tlsfarm.Validity(-2*day, 89*day))
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	r.noEvents(ofPeer(peerA, handshakeAt(now, a)), ofPeer(peerB, handshakeAt(now, b)), poolOutcome(now))
	e := r.event("tls.endpoint.failing", ofPeer(peerB, failureAt(now, failure.ConnectionRefused)))
	assert.Equal(t, "mail.example.com:465 ([2001:db8::1]:4650) is failing in the connect phase: Cause. Fix.", e.body)
	assert.Equal(t, "2001:db8::1", e.attributes["network.peer.address"])
	assert.Equal(t, int64(4650), e.attributes["server.port"])
	r.noEvents(ofPeer(peerA, handshakeAt(now, a)), poolOutcome(now, probe.PoolPeer{Addr: peerA, Leaf: a}))
	r.event("tls.endpoint.certificates_differ", poolOutcome(now, probe.PoolPeer{Addr: peerA, Leaf: a}, probe.PoolPeer{Addr: peerB, Leaf: b}))

	assert.Len(t, fake.data, 3)
	for left, peer := range []netip.AddrPort{peerB, peerA} {
		r.noEvents(&probe.Gone{About: probe.About{Target: mail, Place: target.Place{TargetID: mail.ID, Peer: peer}}})
		assert.Len(t, fake.data, 2-left)
		assert.Len(t, r.places, 2-left)
	}
	r.noEvents(gone(mail, ""))
	assert.Empty(t, fake.data)
	assert.Empty(t, r.places)
}

func TestCertificatesDiffer(t *testing.T) {
	now := time.Now()
	a, b := issue(tlsfarm.Validity(-day, 90*day)), issue(tlsfarm.Validity(-2*day, 89*day))
	peerC := netip.MustParseAddrPort("192.0.2.3:465")
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	r.noEvents(
		poolOutcome(now),
		poolOutcome(now, probe.PoolPeer{Addr: peerA, Leaf: a}, probe.PoolPeer{Addr: peerB}),
		poolOutcome(now, probe.PoolPeer{Addr: peerA, Leaf: a}, probe.PoolPeer{Addr: peerB, Leaf: a}),
	)
	e := r.event("tls.endpoint.certificates_differ", poolOutcome(now,
		probe.PoolPeer{Addr: peerA, Leaf: a}, probe.PoolPeer{Addr: peerB, Leaf: b}, probe.PoolPeer{Addr: peerC, Leaf: a}))
	assert.Equal(t, "WARN", e.severity)
	assert.Equal(t, union(mailAttributes, map[string]any{
		"tls.endpoint.peers": []any{
			"192.0.2.1:465 " + attributes.Serial(a), "[2001:db8::1]:4650 " + attributes.Serial(b), "192.0.2.3:465 " + attributes.Serial(a),
		},
	}), e.attributes)
	assert.Equal(t, fmt.Sprintf(`The addresses of mail.example.com:465 serve 2 different certificates. If this was not intended, install the newest one on all servers and reload them. `+
		`192.0.2.1:465, 192.0.2.3:465: subject "mail.example.com", valid until %s, serial %s; [2001:db8::1]:4650: subject "mail.example.com", valid until %s, serial %s.`,
		text.Moment(a.NotAfter), attributes.Serial(a), text.Moment(b.NotAfter), attributes.Serial(b)), e.body)

	// The set of certificates matters, not which address serves which.
	r.noEvents(poolOutcome(now, probe.PoolPeer{Addr: peerB, Leaf: a}, probe.PoolPeer{Addr: peerA, Leaf: b}))
	newTestRecorder(t, fake).noEvents(poolOutcome(now, probe.PoolPeer{Addr: peerA, Leaf: a}, probe.PoolPeer{Addr: peerB, Leaf: b}))
	e = r.event("tls.endpoint.certificates_differ", poolOutcome(now, probe.PoolPeer{Addr: peerA, Leaf: issue()}, probe.PoolPeer{Addr: peerB, Leaf: b}))
	assert.Contains(t, e.body, " 2 different")
}

// Without a consumer of logs the storage is not used.
func TestNoLogsConsumer(t *testing.T) {
	fake := newFakeStorage()
	r := newTestRecorder(t, fake, withMetrics, withTraces, func(_ *testRecorder, _ *Config, to *Consumers) { to.Logs = nil })
	r.noEvents(allKindsOfEvents(time.Now())...)
	r.noEvents(gone(mail, "/etc/ssl/x.pem"))
	assert.Zero(t, fake.calls)
	assert.Nil(t, r.places[mail.Place()].events)
	assert.Nil(t, r.clientCerts)
	assert.NotEmpty(t, r.metrics.AllMetrics())
	assert.NotEmpty(t, r.traces.AllTraces())
}

func TestDisabledEvents(t *testing.T) {
	r := newTestRecorder(t, nil, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		cfg.Events.TLSEndpointFailing.Enabled = false
		cfg.Events.TLSCertificateExpired.Enabled = false
	})
	now := time.Now()
	r.noEvents(failureAt(now, failure.ConnectionRefused))
	assert.Equal(t, []string{"tls.endpoint.recovered"}, r.eventNames(handshakeAt(now, issue(tlsfarm.Validity(-2*day, -day)))))
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
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	names := make(map[string]bool)
	all := allKindsOfEvents(time.Now())
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
		for _, e := range r.events(o) {
			assertClean(t, e)
			names[e.name] = true
			if e.name == "tls.certificate.file_mismatch" {
				assert.Contains(t, e.body, "correct file_path.", "the advice must not be cut off")
			}
		}
	}
	for _, e := range r.events(all[0]) {
		assertClean(t, e)
		names[e.name] = true
	}
	assert.Len(t, names, 9, "every kind of event")

	r = newTestRecorder(t, nil, withMetrics)
	r.record(all...)
	for _, m := range r.sentMetrics().All() {
		if m.Type() == pmetric.MetricTypeGauge {
			for _, p := range m.Gauge().DataPoints().All() {
				assertClean(t, event{name: m.Name(), attributes: p.Attributes().AsRaw()})
			}
		}
	}
}
