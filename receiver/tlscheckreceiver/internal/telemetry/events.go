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

// maxBody bounds an event's text in bytes. It has room for a cause and a fix of full length.
const maxBody = 4 * attributes.MaxText

// ownCertsKey is where the state of the client certificates that the receiver itself presents is stored.
const ownCertsKey = "client_certificates"

// eventWriter compares one outcome with the state of its place, and writes the events that follow.
type eventWriter struct {
	*Recorder
	*probe.About
	outcome  probe.Outcome
	attempt  *probe.Attempt     // nil where the outcome is about a file
	file     *probe.FileOutcome // nil where it is not
	place    *state
	state    *eventState
	ctx      context.Context // of the span that the events point to
	ts       pcommon.Timestamp
	name     string
	identity []metadata.EventAttributeOption
}

// recordEvents records what happened since the place's last probe.
func (r *Recorder) recordEvents(ctx context.Context, o probe.Outcome, s *state, ids spanIDs) {
	w := r.eventWriter(o, s, ids)
	key := storageKey(w.Place)
	if s.events == nil {
		s.events = r.eventStore.load(ctx, key)
	}
	w.state = s.events

	w.writeChange()
	w.writeExpiry()
	w.writeHealth()
	w.writeMismatch()
	w.writePool()
	r.eventStore.keep(key, w.state, maxAnnounced)
	if w.attempt != nil && w.attempt.ClientCert != nil {
		if r.ownCerts == nil {
			r.ownCerts = r.eventStore.load(ctx, ownCertsKey)
		}
		w.writeOwnExpiry(w.attempt.ClientCert)
		r.eventStore.keep(ownCertsKey, r.ownCerts, maxAnnouncedOwn)
	}
}

func (r *Recorder) eventWriter(o probe.Outcome, s *state, ids spanIDs) *eventWriter {
	a := o.Common()
	w := &eventWriter{
		Recorder: r, About: a, outcome: o, attempt: probe.AttemptOf(o), place: s,
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

// context carries the ids of the most telling span, in the way that the generated code wants them.
func (ids spanIDs) context() context.Context {
	span := ids.handshake
	if span.IsEmpty() {
		span = ids.root
	}
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(ids.trace), SpanID: trace.SpanID(span),
	}))
}

// write completes the event that was just recorded, unless it is switched off, and adds it to the batch.
func (w *eventWriter) write(severity plog.SeverityNumber, attributes func(pcommon.Map), format string, args ...any) {
	for _, rl := range w.events.Emit(metadata.WithLogsResource(w.resource)).ResourceLogs().All() {
		records := rl.ScopeLogs().At(0).LogRecords()
		for _, e := range records.All() {
			e.SetObservedTimestamp(w.ts)
			e.SetSeverityNumber(severity)
			e.SetSeverityText(strings.ToUpper(severity.String()))
			e.Body().SetStr(text.Clean(fmt.Sprintf(format, args...), maxBody))
			attributes(e.Attributes())
		}
		records.MoveAndAppendTo(w.batch.records)
	}
}

// ownAttributes adds the target's own attributes.
func (w *eventWriter) ownAttributes(a pcommon.Map) { putAttributes(a, w.Target.Attributes) }

// writeHealth reports that the place begins to fail, fails differently, or has recovered.
func (w *eventWriter) writeHealth() {
	f, was := w.Failure, w.state.Failing
	switch {
	case f != nil && (was == nil || was.Type != string(f.Type)):
		w.state.Failing = &failing{Since: w.End, Type: string(f.Type)}
		if was != nil {
			w.state.Failing.Since = was.Since
		}
		w.events.RecordTLSEndpointFailingEvent(w.ctx, w.ts, phases[string(f.Step)],
			append(w.identity, metadata.WithErrorTypeEventAttribute(string(f.Type)))...)
		w.write(plog.SeverityNumberError, func(a pcommon.Map) {
			attributes.PutFailure(a, f, warningsOf(w.outcome))
			w.ownAttributes(a)
		}, "%s fails at %s: %s %s", w.name, f.Step, f.Cause, f.Fix)
	case f == nil && was != nil:
		w.state.Failing = nil
		typ := text.Clean(was.Type, attributes.MaxName) // it may come from the storage
		w.events.RecordTLSEndpointRecoveredEvent(w.ctx, w.ts, attributes.RFC3339(was.Since), append(w.identity, metadata.WithErrorTypeEventAttribute(typ))...)
		w.write(plog.SeverityNumberInfo, w.ownAttributes, "%s has recovered. It had been failing since %s, for %s, most recently with %s.",
			w.name, text.Moment(was.Since), text.Duration(w.End.Sub(was.Since)), typ)
	default:
		return
	}
	w.state.changed = true
}

// writeChange reports that another certificate is served, or stands first in the file, than at the probes before.
func (w *eventWriter) writeChange() {
	c := probe.Leaf(w.outcome)
	if c == nil {
		return
	}
	window := 1
	if w.file == nil {
		window = maxRecent
	}
	known := w.state.see(w.place.last.leaf, window)
	was := w.state.Leaf
	if was != nil && was.SHA256 == attributes.Hex(w.place.last.leaf) {
		return
	}
	is := describe(c)
	w.state.Leaf = is
	if known || was == nil {
		return
	}

	var changes []any
	var differences []string
	severity, verdict := plog.SeverityNumberInfo, "a renewed certificate"
	if is.Authority != was.Authority {
		changes = append(changes, "issuer")
		differences = append(differences, fmt.Sprintf("it is issued by %s and no longer by %s", quoted(is.Issuer), quoted(was.Issuer)))
	}
	if is.NameSet != was.NameSet {
		changes = append(changes, "names")
		differences = append(differences, nameChanges(was.Names, is.Names))
	}
	advice := ""
	switch {
	case len(changes) > 0:
		severity, verdict = plog.SeverityNumberWarn, "another certificate"
		advice = " If nobody meant to change that, find out who did."
	case is.NotBefore.Before(was.NotBefore):
		changes = []any{"rollback"}
		severity, verdict = plog.SeverityNumberWarn, "an older certificate than before"
		advice = " If nobody meant to go back, look for a deployment or a backup that put the old file in its place."
	default:
		changes = []any{"renewal"}
	}
	if is.Key != was.Key {
		changes = append(changes, "key")
		differences = append(differences, "its key is another")
	} else {
		differences = append(differences, "its key is the same")
	}
	verb := "serves"
	if w.file != nil {
		verb = "has"
	}
	w.events.RecordTLSCertificateChangedEvent(w.ctx, w.ts, changes, is.Subject, is.issuer, attributes.RFC3339(is.NotAfter), is.serial, is.SHA256,
		attributes.RFC3339(was.NotAfter), text.Clean(was.SHA256, attributes.MaxName), w.identity...)
	w.write(severity, w.ownAttributes, "%s %s %s: that of %s, issued by %s, valid until %s. The former one was valid until %s; %s.%s",
		w.name, verb, verdict, quoted(is.Subject), quoted(is.issuer), text.Moment(is.NotAfter), text.Moment(was.NotAfter),
		strings.Join(differences, "; "), advice)
}

// nameChanges says which names came and which went, of those that are kept.
func nameChanges(was, is []string) string {
	var parts []string
	without := func(all, others []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
	}
	for _, c := range []struct {
		verb  string
		names []string
	}{{"it has the new names", without(is, was)}, {"it lacks the names", without(was, is)}} {
		const most = 5
		if len(c.names) == 0 {
			continue
		}
		more := ""
		if len(c.names) > most {
			more = " and others"
		}
		parts = append(parts, c.verb+" "+strings.Join(c.names[:min(most, len(c.names))], ", ")+more)
	}
	if len(parts) == 0 {
		return "it is for other names"
	}
	return strings.Join(parts, "; ")
}

// writeExpiry reports that the endpoint's leaf, or certificates of the file, have expired or will soon.
func (w *eventWriter) writeExpiry() {
	judged := []*x509.Certificate{probe.Leaf(w.outcome)}
	verb := "serves"
	if w.file != nil {
		judged, verb = w.file.Judged(), "has"
	}
	for _, c := range judged {
		switch expiryOf(c, w.About) {
		case expired:
			if is := w.first(w.state, "expired", c); is != nil {
				w.events.RecordTLSCertificateExpiredEvent(w.ctx, w.ts, is.Subject, is.issuer, attributes.RFC3339(is.NotAfter), is.serial, is.SHA256, w.identity...)
				w.write(plog.SeverityNumberError, w.ownAttributes,
					"%s %s a certificate that expired on %s, %s ago: that of %s, issued by %s. Renew it, and reload what uses it.",
					w.name, verb, text.Moment(is.NotAfter), text.Duration(w.End.Sub(is.NotAfter)), quoted(is.Subject), quoted(is.issuer))
			}
		case expiringSoon:
			if is := w.first(w.state, "expiring_soon", c); is != nil {
				w.events.RecordTLSCertificateExpiringSoonEvent(w.ctx, w.ts, is.Subject, is.issuer, attributes.RFC3339(is.NotAfter), is.serial, is.SHA256, w.identity...)
				w.write(plog.SeverityNumberWarn, w.ownAttributes,
					"%s %s a certificate that expires on %s, in %s: that of %s, issued by %s. Renew it, and reload what uses it.",
					w.name, verb, text.Moment(is.NotAfter), text.Duration(is.NotAfter.Sub(w.End)), quoted(is.Subject), quoted(is.issuer))
			}
		}
	}
}

// writeOwnExpiry does the same for the receiver's own certificate, which is one certificate whatever the number of targets
// that it is for: hence without the attributes of the target.
func (w *eventWriter) writeOwnExpiry(c *x509.Certificate) {
	none := func(pcommon.Map) {}
	switch expiryOf(c, w.About) {
	case expired:
		if is := w.first(w.ownCerts, "expired", c); is != nil {
			w.events.RecordTLSClientCertificateExpiredEvent(w.ctx, w.ts, is.Subject, is.issuer, attributes.RFC3339(is.NotAfter), is.serial, is.SHA256)
			w.write(plog.SeverityNumberError, none,
				"The client certificate of %s, issued by %s, which the collector presents to servers, expired on %s, %s ago. Renew the one in tls cert_file: servers that ask for it refuse the collector.",
				quoted(is.Subject), quoted(is.issuer), text.Moment(is.NotAfter), text.Duration(w.End.Sub(is.NotAfter)))
		}
	case expiringSoon:
		if is := w.first(w.ownCerts, "expiring_soon", c); is != nil {
			w.events.RecordTLSClientCertificateExpiringSoonEvent(w.ctx, w.ts, is.Subject, is.issuer, attributes.RFC3339(is.NotAfter), is.serial, is.SHA256)
			w.write(plog.SeverityNumberWarn, none,
				"The client certificate of %s, issued by %s, which the collector presents to servers, expires on %s, in %s. Renew the one in tls cert_file.",
				quoted(is.Subject), quoted(is.issuer), text.Moment(is.NotAfter), text.Duration(is.NotAfter.Sub(w.End)))
		}
	}
}

// first describes a certificate of which this was not told before; it returns nil where it was.
func (w *eventWriter) first(s *eventState, what string, c *x509.Certificate) *leaf {
	sum := attributes.Fingerprint(c)
	if s.announced(what, string(sum[:])) {
		return nil
	}
	return describe(c)
}

// writeMismatch reports that the server does not serve what is in its file. One probe may come between the writing of the file
// and the server's reload; two in a row do not.
func (w *eventWriter) writeMismatch() {
	if w.attempt == nil || w.attempt.Handshake == nil || len(w.attempt.Handshake.OnDisk) == 0 {
		return
	}
	h := w.attempt.Handshake
	f, differs := mismatched(h)
	again := w.place.differs
	w.place.differs = differs
	if !differs || !again || w.state.announced("file_mismatch", f.Path, string(w.place.last.leaf[:])) {
		return
	}
	is := describe(h.Leaf())
	w.events.RecordTLSCertificateFileMismatchEvent(w.ctx, w.ts, attributes.RFC3339(f.Since), is.Subject, is.issuer, attributes.RFC3339(is.NotAfter), is.serial, is.SHA256,
		append(w.identity, metadata.WithCertificatePathEventAttribute(text.Clean(f.Path, attributes.MaxText)))...)
	w.write(plog.SeverityNumberWarn, w.ownAttributes, "%s", mismatchText(w.About, h, f))
}

// mismatched returns, where none of the target's files has what is served, the one of them that changed last.
func mismatched(h *probe.Handshake) (last probe.OnDisk, differs bool) {
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

// mismatchText says what is served in place of what is in the file, and what to do about it.
func mismatchText(about *probe.About, h *probe.Handshake, f probe.OnDisk) string {
	c := h.Leaf()
	has := ""
	if f.Leaf != nil {
		has = fmt.Sprintf(", which has that of %s, valid until %s", quoted(certs.SubjectName(f.Leaf)), text.Moment(f.Leaf.NotAfter))
	}
	return fmt.Sprintf("%s serves the certificate of %s, valid until %s. Since %s it is not the one in %s%s. %s",
		about.Name(), quoted(certs.SubjectName(c)), text.Moment(c.NotAfter), text.Moment(f.Since), text.Clean(f.Path, attributes.MaxText), has, failure.MismatchFix)
}

// writePool reports that the addresses of an endpoint serve different certificates, once for each set of these.
func (w *eventWriter) writePool() {
	whole, ok := w.outcome.(*probe.EndpointOutcome)
	if !ok || whole.Pool == nil {
		return
	}
	var leaves []*x509.Certificate
	at := make(map[string][]string) // the addresses by the fingerprints
	var peers []any
	for _, p := range whole.Pool.Peers {
		if p.Leaf == nil {
			continue
		}
		peers = append(peers, p.Addr.String()+" "+attributes.Serial(p.Leaf))
		id := attributes.Hex(attributes.Fingerprint(p.Leaf))
		if at[id] == nil {
			leaves = append(leaves, p.Leaf)
		}
		at[id] = append(at[id], p.Addr.String())
	}
	ids := slices.Sorted(maps.Keys(at))
	if len(ids) < 2 || w.state.announced("certificates_differ", strings.Join(ids, " ")) {
		return
	}
	var parts []string
	for _, c := range leaves {
		parts = append(parts, fmt.Sprintf("%s that of %s, valid until %s, serial %s",
			strings.Join(at[attributes.Hex(attributes.Fingerprint(c))], " and "), quoted(certs.SubjectName(c)), text.Moment(c.NotAfter), attributes.Serial(c)))
	}
	w.events.RecordTLSEndpointCertificatesDifferEvent(w.ctx, w.ts, peers, w.identity...)
	w.write(plog.SeverityNumberWarn, w.ownAttributes,
		"The addresses of %s serve %d different certificates. If that is not meant, put the newest one on all of them and reload them. Served are by %s.",
		w.name, len(ids), strings.Join(parts, "; by "))
}

type expiryState int

const (
	lasting expiryState = iota
	expiringSoon
	expired
)

// expiryOf tells how it stands with a certificate, nil included, at the end of a probe.
func expiryOf(c *x509.Certificate, about *probe.About) expiryState {
	switch {
	case c == nil:
		return lasting
	case about.End.After(c.NotAfter):
		return expired
	case about.Target.ExpiryWarning.Near(c, about.End):
		return expiringSoon
	}
	return lasting
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
