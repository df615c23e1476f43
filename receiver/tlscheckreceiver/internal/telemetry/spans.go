package telemetry

import (
	"crypto/x509"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// recordSpans records one probe's tree and returns the ids for exemplars and events to point to.
func (r *Recorder) recordSpans(about *probe.About, attempt *probe.Attempt) spanIDs {
	t := &tree{batch: r.batch.spans, about: about, trace: newTraceID(), root: newSpanID()}
	t.add("tls.connect", t.root, pcommon.SpanID{}, probe.Step{Start: about.Start, End: about.End, Failure: about.Failure}, 0)
	t.batch.At(t.batch.Len() - 1).SetKind(ptrace.SpanKindClient)
	for _, l := range attempt.Lookups {
		t.addLookup(l)
	}
	for _, d := range attempt.Dials {
		t.addDial(d)
	}
	if step := attempt.StartTLS; step != nil {
		t.add("starttls", newSpanID(), t.root, *step, 1).PutStr("network.protocol.name", about.Target.StartTLS)
	}
	ids := spanIDs{trace: t.trace, root: t.root}
	if attempt.Handshake == nil {
		return ids
	}
	ids.handshake = newSpanID()
	t.addHandshake(ids.handshake, attempt)
	if e := attempt.Explanation; e != nil {
		tries := t.add("explain", newSpanID(), t.root, e.Step, 1).PutEmptySlice("tls.explain.tries")
		for _, t := range e.Tries {
			tries.AppendEmpty().SetStr(t.String())
		}
	}
	return ids
}

// tree is the spans of one probe.
type tree struct {
	batch ptrace.SpanSlice
	about *probe.About
	trace pcommon.TraceID
	root  pcommon.SpanID
}

// add adds a span, with room for as many attributes of its own, and returns its attributes.
func (t *tree) add(name string, id, parent pcommon.SpanID, s probe.Step, room int) pcommon.Map {
	span := t.batch.AppendEmpty()
	span.SetName(name)
	span.SetTraceID(t.trace)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetKind(ptrace.SpanKindInternal)
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(s.Start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(s.End))
	a := span.Attributes()
	const identity = 4                                                 // and error.type
	a.EnsureCapacity(identity + room + len(t.about.Target.Attributes)) // at once, and not by doubling
	putIdentity(a, t.about)
	if f := s.Failure; f != nil {
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Status().SetMessage(text.Clean(f.Cause+" "+f.Fix, attributes.MaxText))
		a.PutStr("error.type", string(f.Type))
	}
	putAttributes(a, t.about.Target.Attributes)
	return a
}

func (t *tree) addLookup(l probe.Lookup) {
	a := t.add("dns.lookup", newSpanID(), t.root, l.Step, 2)
	a.PutStr("dns.question.name", text.Clean(l.Name, attributes.MaxText))
	if len(l.Addrs)+len(l.Servers) == 0 {
		return
	}
	answers := a.PutEmptySlice("dns.answers")
	for _, addr := range l.Addrs {
		answers.AppendEmpty().SetStr(addr.String())
	}
	for _, server := range l.Servers {
		answers.AppendEmpty().SetStr(text.Clean(server, attributes.MaxText))
	}
}

func (t *tree) addDial(d probe.Dial) {
	a := t.add(d.Transport+".connect", newSpanID(), t.root, d.Step, 4)
	a.PutStr("network.peer.address", d.Addr.Addr().String())
	a.PutInt("network.peer.port", int64(d.Addr.Port()))
	a.PutStr("network.transport", d.Transport)
	if d.Addr.Addr().Is4() {
		a.PutStr("network.type", "ipv4")
	} else {
		a.PutStr("network.type", "ipv6")
	}
}

func (t *tree) addHandshake(id pcommon.SpanID, attempt *probe.Attempt) {
	h, now := attempt.Handshake, t.about.End
	a := t.add("tls.handshake", id, t.root, probe.Step{Start: h.Start, End: h.End, Failure: h.Failure}, 52)
	attributes.PutHandshake(a, &h.Facts)
	attributes.PutServerCertificate(a, &h.Facts, now)
	putFileMatch(a, t.about, h)
	attributes.PutStaple(a, &h.Facts)
	attributes.PutClientCertificate(a, attempt.ClientCert, &h.Facts, now)
	finding := h.Failure
	if finding == nil {
		finding = h.Finding // where verification is skipped, of a probe that succeeded
	}
	attributes.PutFailure(a, finding, h.Warnings)
	putExpiry(t.batch.At(t.batch.Len()-1), t.about, attempt)
}

// putFileMatch says whether what is served is in one of the target's files.
func putFileMatch(a pcommon.Map, about *probe.About, h *probe.Handshake) {
	if len(h.OnDisk) == 0 {
		return
	}
	f, differs := mismatched(h)
	a.PutBool("tls.certificate.file_match", !differs)
	if differs {
		a.PutStr("tls.certificate.file_match.since", attributes.RFC3339(f.Since))
		attributes.PutText(a, "tls.certificate.file_match.message", mismatchText(about, h, f))
	}
}

// putExpiry adds an event for each certificate that should be renewed: the server's, while it is valid, and our own.
func putExpiry(span ptrace.Span, about *probe.About, attempt *probe.Attempt) {
	add := func(name string, c *x509.Certificate) {
		e := span.Events().AppendEmpty()
		e.SetName(name)
		e.SetTimestamp(span.EndTimestamp())
		e.Attributes().PutInt("days_remaining", attributes.WholeDays(c.NotAfter.Sub(about.End)))
	}
	for _, w := range attempt.Handshake.Warnings {
		if w == failure.NearExpiry {
			add("tls.cert.expiring_soon", attempt.Handshake.Leaf())
		}
	}
	switch expiryOf(attempt.ClientCert, about) {
	case expiringSoon:
		add("tls.client_cert.expiring_soon", attempt.ClientCert)
	case expired:
		add("tls.client_cert.expired", attempt.ClientCert)
	}
}
