package telemetry

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// maxBody is how many bytes an event's body may have. A cause and a fix of full length fit.
const maxBody = 4 * attributes.MaxText

// clientCertsKey is the storage key for the state of the client certificates that the receiver presents.
const clientCertsKey = "client_certificates"

// eventWriter compares one outcome with the state of its place, and writes the events that result.
type eventWriter struct {
	*Recorder
	about    *probe.About
	outcome  probe.Outcome
	attempt  *probe.Attempt     // nil if the outcome is about a file
	file     *probe.FileOutcome // nil if the outcome is not about a file
	place    *placeState
	state    *eventState
	ctx      context.Context // with the span that the events refer to
	ts       pcommon.Timestamp
	name     string // of the place, cleaned
	identity []metadata.EventAttributeOption
}

// recordEvents records what changed since the place's last probe.
func (r *Recorder) recordEvents(ctx context.Context, o probe.Outcome, s *placeState, ids spanIDs) {
	if s.events == nil {
		s.events = r.store.load(ctx, storageKey(o.Common().Place))
	}
	w := r.newEventWriter(o, s, ids)
	w.writeChange()
	w.writeExpiry()
	w.writeFailure()
	w.writeMismatch()
	w.writeCertificatesDiffer()
	r.store.put(s.events, maxAnnounced)
	if w.attempt != nil && w.attempt.ClientCert != nil {
		if r.clientCerts == nil {
			r.clientCerts = r.store.load(ctx, clientCertsKey)
		}
		w.writeClientCertExpiry(w.attempt.ClientCert)
		r.store.put(r.clientCerts, maxAnnouncedClient)
	}
}

func (r *Recorder) newEventWriter(o probe.Outcome, s *placeState, ids spanIDs) *eventWriter {
	a := o.Common()
	w := &eventWriter{
		Recorder: r, about: a, outcome: o, attempt: probe.AttemptOf(o), place: s, state: s.events,
		ctx: ids.context(), ts: pcommon.NewTimestampFromTime(a.End), name: text.Clean(a.Name(), attributes.MaxText),
	}
	w.file, _ = o.(*probe.FileOutcome)
	if w.file != nil {
		w.identity = []metadata.EventAttributeOption{metadata.WithCertificatePathEventAttribute(w.name)}
		return w
	}
	w.identity = []metadata.EventAttributeOption{metadata.WithServerAddressEventAttribute(a.Target.Endpoint.Host)}
	if port := a.Port(); port != 0 {
		w.identity = append(w.identity, metadata.WithServerPortEventAttribute(int64(port)))
	}
	if peer := a.Place.Peer; peer.IsValid() {
		w.identity = append(w.identity, metadata.WithNetworkPeerAddressEventAttribute(peer.Addr().String()))
	}
	return w
}

// context returns a context with the handshake span, or with the root span if there was no handshake.
func (ids spanIDs) context() context.Context {
	span := ids.handshake
	if span.IsEmpty() {
		span = ids.root
	}
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(ids.trace), SpanID: trace.SpanID(span),
	}))
}

// write completes the event that logsBuilder just recorded, and adds it to the batch. It does nothing if the event is disabled.
func (w *eventWriter) write(severity plog.SeverityNumber, put func(pcommon.Map), format string, args ...any) {
	for _, rl := range w.logsBuilder.Emit(metadata.WithLogsResource(w.resource)).ResourceLogs().All() {
		records := rl.ScopeLogs().At(0).LogRecords()
		for _, e := range records.All() {
			e.SetObservedTimestamp(w.ts)
			e.SetSeverityNumber(severity)
			e.SetSeverityText(strings.ToUpper(severity.String()))
			e.Body().SetStr(text.Clean(fmt.Sprintf(format, args...), maxBody))
			put(e.Attributes())
		}
		records.MoveAndAppendTo(w.batch.records)
	}
}

func (w *eventWriter) putTargetAttributes(a pcommon.Map) { putAttributes(a, w.about.Target.Attributes) }

// verb returns what the place does with its certificate.
func (w *eventWriter) verb() string {
	if w.file != nil {
		return "has"
	}
	return "serves"
}

// writeFailure reports that the place began to fail, fails with another type, or recovered.
func (w *eventWriter) writeFailure() {
	f, last := w.about.Failure, w.state.Failing
	switch {
	case f != nil && (last == nil || last.Type != string(f.Type)):
		w.state.Failing = &failing{Since: w.about.End, Type: string(f.Type)}
		if last != nil {
			w.state.Failing.Since = last.Since
		}
		w.logsBuilder.RecordTLSEndpointFailingEvent(w.ctx, w.ts, phases[string(f.Step)],
			append(w.identity, metadata.WithErrorTypeEventAttribute(string(f.Type)))...)
		w.write(plog.SeverityNumberError, func(a pcommon.Map) {
			attributes.PutFailure(a, f, warningsOf(w.outcome))
			w.putTargetAttributes(a)
		}, "%s is failing in the %s phase: %s %s", w.name, f.Step, f.Cause, f.Fix)
	case f == nil && last != nil:
		w.state.Failing = nil
		typ := text.Clean(last.Type, attributes.MaxName) // it may come from the storage
		w.logsBuilder.RecordTLSEndpointRecoveredEvent(w.ctx, w.ts, attributes.RFC3339(last.Since),
			append(w.identity, metadata.WithErrorTypeEventAttribute(typ))...)
		w.write(plog.SeverityNumberInfo, w.putTargetAttributes, "%s has recovered. It had been failing for %s, since %s, most recently with %s.",
			w.name, text.Duration(w.about.End.Sub(last.Since)), text.Moment(last.Since), typ)
	default:
		return
	}
	w.state.changed = true
}

// writeChange reports that the leaf, or the first certificate of the file, is not the one that recent probes saw.
func (w *eventWriter) writeChange() {
	c := probe.Leaf(w.outcome)
	if c == nil {
		return
	}
	window := 1
	if w.file == nil {
		window = maxRecent
	}
	known := w.state.addRecent(w.place.last.leaf, window)
	last := w.state.Leaf
	if last != nil && last.SHA256 == attributes.Hex(w.place.last.leaf) {
		return
	}
	now := describe(c)
	w.state.Leaf = now
	if known || last == nil {
		return
	}
	change := compareCertificates(last, now)
	w.logsBuilder.RecordTLSCertificateChangedEvent(w.ctx, w.ts, change.kinds, now.Subject, now.issuer, attributes.RFC3339(now.NotAfter), now.serial, now.SHA256,
		attributes.RFC3339(last.NotAfter), text.Clean(last.SHA256, attributes.MaxName), w.identity...)
	w.write(change.severity, w.putTargetAttributes, "%s %s %s: subject %s, issuer %s, valid until %s. The previous certificate was valid until %s. %s",
		w.name, w.verb(), change.verdict, quoted(now.Subject), quoted(now.issuer), text.Moment(now.NotAfter), text.Moment(last.NotAfter),
		strings.Join(change.sentences, " "))
}

// change is how two certificates differ.
type change struct {
	kinds     []any // the value of certificate.change
	severity  plog.SeverityNumber
	verdict   string   // what the new certificate is
	sentences []string // the differences and what to do
}

func compareCertificates(last, now *description) change {
	var c change
	if now.IssuerDigest != last.IssuerDigest {
		c.kinds = append(c.kinds, "issuer")
		c.sentences = append(c.sentences, fmt.Sprintf("The issuer changed from %s to %s.", quoted(last.IssuerDN), quoted(now.IssuerDN)))
	}
	if now.NamesDigest != last.NamesDigest {
		c.kinds = append(c.kinds, "names")
		c.sentences = append(c.sentences, compareNames(last.Names, now.Names)...)
	}
	advice := ""
	switch {
	case len(c.kinds) > 0:
		c.severity, c.verdict = plog.SeverityNumberWarn, "a different certificate"
		advice = "If this was not intended, find out who changed it."
	case now.NotBefore.Before(last.NotBefore):
		c.kinds = []any{"rollback"}
		c.severity, c.verdict = plog.SeverityNumberWarn, "an older certificate than before"
		advice = "If this was not intended, look for a deployment or a backup that restored the old file."
	default:
		c.kinds = []any{"renewal"}
		c.severity, c.verdict = plog.SeverityNumberInfo, "a renewed certificate"
	}
	if now.KeyDigest != last.KeyDigest {
		c.kinds = append(c.kinds, "key")
		c.sentences = append(c.sentences, "The key changed.")
	} else {
		c.sentences = append(c.sentences, "The key is the same.")
	}
	if advice != "" {
		c.sentences = append(c.sentences, advice)
	}
	return c
}

// compareNames says which names were added and which were removed. Only the first attributes.MaxSANs of each are known.
func compareNames(last, now []string) (sentences []string) {
	list := func(verb string, names, others []string) {
		const most = 5
		names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return slices.Contains(others, s) })
		if len(names) == 0 {
			return
		}
		more := ""
		if len(names) > most {
			more = " and others"
		}
		sentences = append(sentences, verb+strings.Join(names[:min(most, len(names))], ", ")+more+".")
	}
	list("Names added: ", now, last)
	list("Names removed: ", last, now)
	if len(sentences) == 0 {
		return []string{"The names changed."}
	}
	return sentences
}

// writeExpiry reports that the endpoint's leaf, or certificates of the file, have expired or will soon.
func (w *eventWriter) writeExpiry() {
	judged := []*x509.Certificate{probe.Leaf(w.outcome)}
	if w.file != nil {
		judged = w.file.Judged()
	}
	for _, c := range judged {
		switch expiryOf(c, w.about) {
		case expired:
			if d := announceCertificate(w.state, "expired", c); d != nil {
				w.logsBuilder.RecordTLSCertificateExpiredEvent(w.ctx, w.ts, d.Subject, d.issuer, attributes.RFC3339(d.NotAfter), d.serial, d.SHA256, w.identity...)
				w.write(plog.SeverityNumberError, w.putTargetAttributes,
					"%s %s a certificate that expired on %s, %s ago: subject %s, issuer %s. Renew it, then reload the service that uses it.",
					w.name, w.verb(), text.Moment(d.NotAfter), text.Between(d.NotAfter, w.about.End), quoted(d.Subject), quoted(d.issuer))
			}
		case expiringSoon:
			if d := announceCertificate(w.state, "expiring_soon", c); d != nil {
				w.logsBuilder.RecordTLSCertificateExpiringSoonEvent(w.ctx, w.ts, d.Subject, d.issuer, attributes.RFC3339(d.NotAfter), d.serial, d.SHA256, w.identity...)
				w.write(plog.SeverityNumberWarn, w.putTargetAttributes,
					"%s %s a certificate that expires on %s, in %s: subject %s, issuer %s. Renew it, then reload the service that uses it.",
					w.name, w.verb(), text.Moment(d.NotAfter), text.Between(w.about.End, d.NotAfter), quoted(d.Subject), quoted(d.issuer))
			}
		}
	}
}

// writeClientCertExpiry reports that a client certificate of the receiver has expired or will soon. Any number of targets may
// share it, so the events do not have the target's attributes.
func (w *eventWriter) writeClientCertExpiry(c *x509.Certificate) {
	none := func(pcommon.Map) {}
	switch expiryOf(c, w.about) {
	case expired:
		if d := announceCertificate(w.clientCerts, "expired", c); d != nil {
			w.logsBuilder.RecordTLSClientCertificateExpiredEvent(w.ctx, w.ts, d.Subject, d.issuer, attributes.RFC3339(d.NotAfter), d.serial, d.SHA256)
			w.write(plog.SeverityNumberError, none,
				"The client certificate that the collector presents to servers expired on %s, %s ago: subject %s, issuer %s. Renew the certificate in tls cert_file. Servers that require it refuse the collector.",
				text.Moment(d.NotAfter), text.Between(d.NotAfter, w.about.End), quoted(d.Subject), quoted(d.issuer))
		}
	case expiringSoon:
		if d := announceCertificate(w.clientCerts, "expiring_soon", c); d != nil {
			w.logsBuilder.RecordTLSClientCertificateExpiringSoonEvent(w.ctx, w.ts, d.Subject, d.issuer, attributes.RFC3339(d.NotAfter), d.serial, d.SHA256)
			w.write(plog.SeverityNumberWarn, none,
				"The client certificate that the collector presents to servers expires on %s, in %s: subject %s, issuer %s. Renew the certificate in tls cert_file.",
				text.Moment(d.NotAfter), text.Between(w.about.End, d.NotAfter), quoted(d.Subject), quoted(d.issuer))
		}
	}
}

// announceCertificate returns the description of a certificate if the event is announced for the first time, and nil if not.
func announceCertificate(s *eventState, event string, c *x509.Certificate) *description {
	sum := attributes.Fingerprint(c)
	if !s.announce(event, string(sum[:])) {
		return nil
	}
	return describe(c)
}

// writeMismatch reports that the server does not serve the certificate in its file, if two probes in a row found this. One probe
// may come between the renewal of the file and the server's reload.
func (w *eventWriter) writeMismatch() {
	if w.attempt == nil || w.attempt.Handshake == nil || len(w.attempt.Handshake.OnDisk) == 0 {
		return
	}
	h := w.attempt.Handshake
	f, differs := mismatch(h)
	again := w.place.mismatched
	w.place.mismatched = differs
	if !differs || !again || !w.state.announce("file_mismatch", f.Path, string(w.place.last.leaf[:])) {
		return
	}
	d := describe(h.Leaf())
	w.logsBuilder.RecordTLSCertificateFileMismatchEvent(w.ctx, w.ts, attributes.RFC3339(f.Since), d.Subject, d.issuer, attributes.RFC3339(d.NotAfter), d.serial, d.SHA256,
		append(w.identity, metadata.WithCertificatePathEventAttribute(text.Clean(f.Path, attributes.MaxText)))...)
	w.write(plog.SeverityNumberWarn, w.putTargetAttributes, "%s", mismatchText(w.about, h, f))
}

// mismatch reports whether the served certificate is in none of the target's files. If so, it returns the file that changed
// last.
func mismatch(h *probe.Handshake) (last probe.OnDisk, differs bool) {
	for _, f := range h.OnDisk {
		if f.Served {
			return probe.OnDisk{}, false
		}
		if last.Path == "" || f.Since.After(last.Since) {
			last = f
		}
	}
	return last, last.Path != ""
}

// mismatchText says what is in the file, what is served instead, and what to do.
func mismatchText(about *probe.About, h *probe.Handshake, f probe.OnDisk) string {
	summary := func(c *x509.Certificate) string {
		return fmt.Sprintf("subject %s, valid until %s", quoted(certs.SubjectName(c)), text.Moment(c.NotAfter))
	}
	return fmt.Sprintf("%s does not serve the certificate in %s (%s), but another one (%s). They have differed since %s. %s",
		about.Name(), text.Clean(f.Path, attributes.MaxText), summary(f.Leaf), summary(h.Leaf()), text.Moment(f.Since), failure.MismatchFix)
}

// writeCertificatesDiffer reports that the addresses of an endpoint serve different certificates, once for each set of these.
func (w *eventWriter) writeCertificatesDiffer() {
	o, ok := w.outcome.(*probe.EndpointOutcome)
	if !ok || o.Pool == nil {
		return
	}
	type served struct {
		leaf  *x509.Certificate
		addrs []string
	}
	byFingerprint := make(map[string]*served)
	var inOrder []*served
	var peers []any
	for _, p := range o.Pool.Peers {
		if p.Leaf == nil {
			continue
		}
		peers = append(peers, p.Addr.String()+" "+attributes.Serial(p.Leaf))
		id := attributes.Hex(attributes.Fingerprint(p.Leaf))
		if byFingerprint[id] == nil {
			byFingerprint[id] = &served{leaf: p.Leaf}
			inOrder = append(inOrder, byFingerprint[id])
		}
		byFingerprint[id].addrs = append(byFingerprint[id].addrs, p.Addr.String())
	}
	ids := slices.Sorted(maps.Keys(byFingerprint))
	if len(ids) < 2 || !w.state.announce("certificates_differ", strings.Join(ids, " ")) {
		return
	}
	var parts []string
	for _, s := range inOrder {
		parts = append(parts, fmt.Sprintf("%s: subject %s, valid until %s, serial %s",
			strings.Join(s.addrs, ", "), quoted(certs.SubjectName(s.leaf)), text.Moment(s.leaf.NotAfter), attributes.Serial(s.leaf)))
	}
	w.logsBuilder.RecordTLSEndpointCertificatesDifferEvent(w.ctx, w.ts, peers, w.identity...)
	w.write(plog.SeverityNumberWarn, w.putTargetAttributes,
		"The addresses of %s serve %d different certificates. If this was not intended, install the newest one on all servers and reload them. %s.",
		w.name, len(ids), strings.Join(parts, "; "))
}

type expiry int

const (
	notExpiring expiry = iota
	expiringSoon
	expired
)

// expiryOf returns whether a certificate had expired, or was about to, at the end of a probe. The certificate may be nil.
func expiryOf(c *x509.Certificate, about *probe.About) expiry {
	switch {
	case c == nil:
		return notExpiring
	case about.End.After(c.NotAfter):
		return expired
	case about.Target.ExpiryWarning.Near(c, about.End):
		return expiringSoon
	}
	return notExpiring
}

// warningsOf returns the warnings of an outcome.
func warningsOf(o probe.Outcome) []failure.Type {
	if f, ok := o.(*probe.FileOutcome); ok {
		return f.Warnings
	}
	if a := probe.AttemptOf(o); a != nil && a.Handshake != nil {
		return a.Handshake.Warnings
	}
	return nil
}

func quoted(s string) string { return text.Quote(s, attributes.MaxName) }
