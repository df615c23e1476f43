package record

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/trace"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// maxBody bounds an event's text in bytes. It has room for a cause and a fix of full length.
const maxBody = 4 * maxText

// clientsKey is the key of the memory of the receiver's own certificates.
const clientsKey = "client_certificates"

// news is one outcome beside what is remembered of its place.
type news struct {
	*Recorder
	o     *probe.Outcome
	s     *state
	m     *memory
	ctx   context.Context // of the span that the events point to
	ts    pcommon.Timestamp
	name  string
	where []metadata.EventAttributeOption
}

// recordEvents records what happened since the place's last probe.
func (r *Recorder) recordEvents(ctx context.Context, o *probe.Outcome, s *state, ids spanIDs) {
	key := placeKey(o.Target, placeOf(o))
	if s.memory == nil {
		s.memory = r.store.load(ctx, key)
	}
	if o.ClientCert != nil && r.clients == nil {
		r.clients = r.store.load(ctx, clientsKey)
	}
	n := &news{
		Recorder: r, o: o, s: s, m: s.memory, ctx: ids.context(), ts: pcommon.NewTimestampFromTime(o.End),
		name: text.Clean(o.Name(), maxText),
	}
	if o.File != nil {
		n.where = []metadata.EventAttributeOption{metadata.WithCertificatePathEventAttribute(n.name)}
	} else {
		n.where = []metadata.EventAttributeOption{metadata.WithServerAddressEventAttribute(o.Target.Endpoint.Host)}
		if port := o.Port(); port != 0 {
			n.where = append(n.where, metadata.WithServerPortEventAttribute(int64(port)))
		}
		if o.Peer.IsValid() {
			n.where = append(n.where, metadata.WithNetworkPeerAddressEventAttribute(o.Peer.Addr().String()))
		}
	}

	n.change()
	n.expiry()
	n.health()
	n.mismatch()
	n.pool()
	r.store.keep(key, n.m, maxTold)
	if o.ClientCert != nil {
		n.ownExpiry()
		r.store.keep(clientsKey, r.clients, maxToldClients)
	}
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

// say completes the event that was just recorded, unless it is switched off, and adds it to the batch.
func (n *news) say(severity plog.SeverityNumber, attributes func(pcommon.Map), format string, args ...any) {
	for _, rl := range n.events.Emit(metadata.WithLogsResource(n.resource)).ResourceLogs().All() {
		records := rl.ScopeLogs().At(0).LogRecords()
		for _, e := range records.All() {
			e.SetObservedTimestamp(n.ts)
			e.SetSeverityNumber(severity)
			e.SetSeverityText(strings.ToUpper(severity.String()))
			e.Body().SetStr(text.Clean(fmt.Sprintf(format, args...), maxBody))
			attributes(e.Attributes())
		}
		records.MoveAndAppendTo(n.batch.records)
	}
}

// own adds the target's own attributes.
func (n *news) own(a pcommon.Map) { putAttributes(a, n.o.Target.Attributes) }

// health tells that the place begins to fail, fails otherwise, or is in good health again.
func (n *news) health() {
	f, was := n.o.Failure, n.m.Failing
	switch {
	case f != nil && (was == nil || was.Type != string(f.Type)):
		n.m.Failing = &failing{Since: n.o.End, Type: string(f.Type)}
		if was != nil {
			n.m.Failing.Since = was.Since
		}
		n.events.RecordTLSEndpointFailingEvent(n.ctx, n.ts, phases[string(f.Step)],
			append(n.where, metadata.WithErrorTypeEventAttribute(string(f.Type)))...)
		n.say(plog.SeverityNumberError, func(a pcommon.Map) {
			putFailure(a, f, warnings(n.o))
			n.own(a)
		}, "%s fails at %s: %s %s", n.name, f.Step, f.Cause, f.Fix)
	case f == nil && was != nil:
		n.m.Failing = nil
		typ := text.Clean(was.Type, maxName) // it may come from the storage
		n.events.RecordTLSEndpointRecoveredEvent(n.ctx, n.ts, rfc3339(was.Since), append(n.where, metadata.WithErrorTypeEventAttribute(typ))...)
		n.say(plog.SeverityNumberInfo, n.own, "%s is in good health again. It failed since %s, for %s, last with %s.",
			n.name, text.Moment(was.Since), text.Duration(n.o.End.Sub(was.Since)), typ)
	default:
		return
	}
	n.m.changed = true
}

// change tells that another certificate is served, or stands first in the file, than at the probes before.
func (n *news) change() {
	c := n.o.Leaf()
	if c == nil {
		return
	}
	window := 1
	if n.o.File == nil {
		window = maxRecent
	}
	known := n.m.see(n.s.last.leaf, window)
	was := n.m.Leaf
	if was != nil && was.SHA256 == hexadecimal(n.s.last.leaf) {
		return
	}
	is := describe(c)
	n.m.Leaf = is
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
	if n.o.File != nil {
		verb = "has"
	}
	n.events.RecordTLSCertificateChangedEvent(n.ctx, n.ts, changes, is.Subject, is.issuer, rfc3339(is.NotAfter), is.serial, is.SHA256,
		rfc3339(was.NotAfter), text.Clean(was.SHA256, maxName), n.where...)
	n.say(severity, n.own, "%s %s %s: that of %s, issued by %s, valid until %s. The former one was valid until %s; %s.%s",
		n.name, verb, verdict, quoted(is.Subject), quoted(is.issuer), text.Moment(is.NotAfter), text.Moment(was.NotAfter),
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

// expiry tells of the endpoint's leaf, or of the certificates of the file, what is to be told of their expiry.
func (n *news) expiry() {
	judged := []*x509.Certificate{n.o.Leaf()}
	verb := "serves"
	if n.o.File != nil {
		judged, verb = n.o.File.Judged(), "has"
	}
	for _, c := range judged {
		switch expiryOf(c, n.o) {
		case expired:
			if is := n.first(n.m, "expired", c); is != nil {
				n.events.RecordTLSCertificateExpiredEvent(n.ctx, n.ts, is.Subject, is.issuer, rfc3339(is.NotAfter), is.serial, is.SHA256, n.where...)
				n.say(plog.SeverityNumberError, n.own,
					"%s %s a certificate that expired on %s, %s ago: that of %s, issued by %s. Renew it, and reload what uses it.",
					n.name, verb, text.Moment(is.NotAfter), text.Duration(n.o.End.Sub(is.NotAfter)), quoted(is.Subject), quoted(is.issuer))
			}
		case expiringSoon:
			if is := n.first(n.m, "expiring_soon", c); is != nil {
				n.events.RecordTLSCertificateExpiringSoonEvent(n.ctx, n.ts, is.Subject, is.issuer, rfc3339(is.NotAfter), is.serial, is.SHA256, n.where...)
				n.say(plog.SeverityNumberWarn, n.own,
					"%s %s a certificate that expires on %s, in %s: that of %s, issued by %s. Renew it, and reload what uses it.",
					n.name, verb, text.Moment(is.NotAfter), text.Duration(is.NotAfter.Sub(n.o.End)), quoted(is.Subject), quoted(is.issuer))
			}
		}
	}
}

// ownExpiry does the same for the receiver's own certificate, which is one certificate whatever the number of targets
// that it is for: hence without the attributes of the target.
func (n *news) ownExpiry() {
	c := n.o.ClientCert
	none := func(pcommon.Map) {}
	switch expiryOf(c, n.o) {
	case expired:
		if is := n.first(n.clients, "expired", c); is != nil {
			n.events.RecordTLSClientCertificateExpiredEvent(n.ctx, n.ts, is.Subject, is.issuer, rfc3339(is.NotAfter), is.serial, is.SHA256)
			n.say(plog.SeverityNumberError, none,
				"The client certificate of %s, issued by %s, which the collector presents to servers, expired on %s, %s ago. Renew the one in tls cert_file: servers that ask for it refuse the collector.",
				quoted(is.Subject), quoted(is.issuer), text.Moment(is.NotAfter), text.Duration(n.o.End.Sub(is.NotAfter)))
		}
	case expiringSoon:
		if is := n.first(n.clients, "expiring_soon", c); is != nil {
			n.events.RecordTLSClientCertificateExpiringSoonEvent(n.ctx, n.ts, is.Subject, is.issuer, rfc3339(is.NotAfter), is.serial, is.SHA256)
			n.say(plog.SeverityNumberWarn, none,
				"The client certificate of %s, issued by %s, which the collector presents to servers, expires on %s, in %s. Renew the one in tls cert_file.",
				quoted(is.Subject), quoted(is.issuer), text.Moment(is.NotAfter), text.Duration(is.NotAfter.Sub(n.o.End)))
		}
	}
}

// first describes a certificate of which this was not told before; it returns nil where it was.
func (n *news) first(m *memory, what string, c *x509.Certificate) *leaf {
	sum := fingerprint(c)
	if m.told(what, string(sum[:])) {
		return nil
	}
	return describe(c)
}

// mismatch tells that the server does not serve what is in its file. One probe may come between the writing of the file
// and the server's reload; two in a row do not.
func (n *news) mismatch() {
	h := n.o.Handshake
	if h == nil || len(h.OnDisk) == 0 {
		return
	}
	f, differs := mismatched(h)
	again := n.s.differs
	n.s.differs = differs
	if !differs || !again || n.m.told("file_mismatch", f.Path, string(n.s.last.leaf[:])) {
		return
	}
	is := describe(h.Leaf())
	n.events.RecordTLSCertificateFileMismatchEvent(n.ctx, n.ts, rfc3339(f.Since), is.Subject, is.issuer, rfc3339(is.NotAfter), is.serial, is.SHA256,
		append(n.where, metadata.WithCertificatePathEventAttribute(text.Clean(f.Path, maxText)))...)
	n.say(plog.SeverityNumberWarn, n.own, "%s", mismatchText(n.o, f))
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
func mismatchText(o *probe.Outcome, f probe.OnDisk) string {
	c := o.Handshake.Leaf()
	has := ""
	if f.Leaf != nil {
		has = fmt.Sprintf(", which has that of %s, valid until %s", quoted(certs.SubjectName(f.Leaf)), text.Moment(f.Leaf.NotAfter))
	}
	return fmt.Sprintf("%s serves the certificate of %s, valid until %s. Since %s it is not the one in %s%s. %s",
		o.Name(), quoted(certs.SubjectName(c)), text.Moment(c.NotAfter), text.Moment(f.Since), text.Clean(f.Path, maxText), has, failure.MismatchFix)
}

// pool tells that the addresses of an endpoint serve different certificates, once for each set of these.
func (n *news) pool() {
	if n.o.Pool == nil {
		return
	}
	var leaves []*x509.Certificate
	at := make(map[string][]string) // the addresses by the fingerprints
	var peers []any
	for _, p := range n.o.Pool.Peers {
		if p.Leaf == nil {
			continue
		}
		peers = append(peers, p.Addr.String()+" "+serial(p.Leaf))
		id := hexadecimal(fingerprint(p.Leaf))
		if at[id] == nil {
			leaves = append(leaves, p.Leaf)
		}
		at[id] = append(at[id], p.Addr.String())
	}
	ids := slices.Sorted(maps.Keys(at))
	if len(ids) < 2 || n.m.told("certificates_differ", strings.Join(ids, " ")) {
		return
	}
	var parts []string
	for _, c := range leaves {
		parts = append(parts, fmt.Sprintf("%s that of %s, valid until %s, serial %s",
			strings.Join(at[hexadecimal(fingerprint(c))], " and "), quoted(certs.SubjectName(c)), text.Moment(c.NotAfter), serial(c)))
	}
	n.events.RecordTLSEndpointCertificatesDifferEvent(n.ctx, n.ts, peers, n.where...)
	n.say(plog.SeverityNumberWarn, n.own,
		"The addresses of %s serve %d different certificates. If that is not meant, put the newest one on all of them and reload them. Served are by %s.",
		n.name, len(ids), strings.Join(parts, "; by "))
}

type expiryState int

const (
	lasting expiryState = iota
	expiringSoon
	expired
)

// expiryOf tells how it stands with a certificate, nil included, at the end of a probe.
func expiryOf(c *x509.Certificate, o *probe.Outcome) expiryState {
	switch {
	case c == nil:
		return lasting
	case o.End.After(c.NotAfter):
		return expired
	case o.Target.ExpiryWarning.Near(c, o.End):
		return expiringSoon
	}
	return lasting
}

// warnings are those of an outcome.
func warnings(o *probe.Outcome) []failure.Type {
	switch {
	case o.File != nil:
		return o.File.Warnings
	case o.Handshake != nil:
		return o.Handshake.Warnings
	}
	return nil
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func quoted(s string) string { return text.Quote(s, maxName) }
