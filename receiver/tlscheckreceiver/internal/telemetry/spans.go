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

// recordSpans records the spans of a probe, and returns the IDs that exemplars and events refer to.
func (r *Recorder) recordSpans(about *probe.About, attempt *probe.Attempt) spanIDs {
	t := &tree{spans: r.batch.spans, about: about, trace: newTraceID(), root: newSpanID()}
	root := t.add("tls.connect", t.root, pcommon.SpanID{}, probe.Timed{Start: about.Start, End: about.End, Failure: about.Failure}, 0)
	root.SetKind(ptrace.SpanKindClient)
	for _, l := range attempt.Lookups {
		t.addLookup(l)
	}
	for _, d := range attempt.Dials {
		t.addDial(d)
	}
	if step := attempt.StartTLS; step != nil {
		t.addChild("starttls", *step, 1).Attributes().PutStr("network.protocol.name", about.Target.StartTLS)
	}
	ids := spanIDs{trace: t.trace, root: t.root}
	if attempt.Handshake != nil {
		ids.handshake = t.addHandshake(attempt)
		if e := attempt.Explanation; e != nil {
			t.addExplanation(e)
		}
	}
	return ids
}

// tree is the spans of one probe: a root and its children.
type tree struct {
	spans ptrace.SpanSlice
	about *probe.About
	trace pcommon.TraceID
	root  pcommon.SpanID
}

// add adds a span with the attributes that all spans have. It makes room for more attributes.
func (t *tree) add(name string, id, parent pcommon.SpanID, s probe.Timed, more int) ptrace.Span {
	span := t.spans.AppendEmpty()
	span.SetName(name)
	span.SetTraceID(t.trace)
	span.SetSpanID(id)
	span.SetParentSpanID(parent)
	span.SetKind(ptrace.SpanKindInternal)
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(s.Start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(s.End))
	a := span.Attributes()
	const common = 4 // putIdentity adds up to 3; then there is error.type
	a.EnsureCapacity(common + len(t.about.Target.Attributes) + more)
	putIdentity(a, t.about)
	if f := s.Failure; f != nil {
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Status().SetMessage(text.Clean(f.Cause+" "+f.Fix, attributes.MaxText))
		a.PutStr("error.type", string(f.Type))
	}
	putAttributes(a, t.about.Target.Attributes)
	return span
}

func (t *tree) addChild(name string, s probe.Timed, more int) ptrace.Span {
	return t.add(name, newSpanID(), t.root, s, more)
}

func (t *tree) addLookup(l probe.Lookup) {
	a := t.addChild("dns.lookup", l.Timed, 2).Attributes()
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
	a := t.addChild(d.Transport+".connect", d.Timed, 4).Attributes()
	a.PutStr("network.peer.address", d.Addr.Addr().String())
	a.PutInt("network.peer.port", int64(d.Addr.Port()))
	a.PutStr("network.transport", d.Transport)
	if d.Addr.Addr().Is4() {
		a.PutStr("network.type", "ipv4")
	} else {
		a.PutStr("network.type", "ipv6")
	}
}

func (t *tree) addHandshake(attempt *probe.Attempt) pcommon.SpanID {
	h, now := attempt.Handshake, t.about.End
	const more = 52 // few handshakes have so many
	span := t.addChild("tls.handshake", probe.Timed{Start: h.Start, End: h.End, Failure: h.Failure}, more)
	a := span.Attributes()
	attributes.PutHandshake(a, &h.Facts)
	attributes.PutPeerCertificate(a, attributes.Server, &h.Facts, now)
	putFileMatch(a, t.about, h)
	attributes.PutStaple(a, &h.Facts)
	attributes.PutClientCertificate(a, attempt.ClientCert, &h.Facts, now)
	finding := h.Failure
	if finding == nil {
		finding = h.Finding // what verification would have found if it were not skipped
	}
	attributes.PutFailure(a, finding, h.Warnings)
	addExpiryEvents(span, t.about, attempt)
	return span.SpanID()
}

func (t *tree) addExplanation(e *probe.Explanation) {
	tries := t.addChild("explain", e.Timed, 1).Attributes().PutEmptySlice("tls.explain.tries")
	for _, try := range e.Tries {
		tries.AppendEmpty().SetStr(try.String())
	}
}

// putFileMatch adds whether the served certificate is in one of the target's files.
func putFileMatch(a pcommon.Map, about *probe.About, h *probe.Handshake) {
	if len(h.OnDisk) == 0 {
		return
	}
	f, differs := mismatch(h)
	a.PutBool("tls.certificate.file_match", !differs)
	if differs {
		a.PutStr("tls.certificate.file_match.since", attributes.RFC3339(f.Since))
		attributes.PutText(a, "tls.certificate.file_match.message", mismatchText(about, h, f))
	}
}

// addExpiryEvents adds a span event for each certificate that should be renewed: the server's, while it is valid, and the
// receiver's client certificate.
func addExpiryEvents(span ptrace.Span, about *probe.About, attempt *probe.Attempt) {
	add := func(name string, c *x509.Certificate) {
		e := span.Events().AppendEmpty()
		e.SetName(name)
		e.SetTimestamp(span.EndTimestamp())
		e.Attributes().PutInt("days_remaining", attributes.WholeDays(about.End, c.NotAfter))
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
