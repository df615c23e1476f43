package record

import (
	"crypto/x509"
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const (
	maxText = 1024 // bytes of a foreign text on a span
	maxSANs = 100
)

// recordSpans records one probe's tree and returns the ids for exemplars and events to point to.
func (r *Recorder) recordSpans(o *probe.Outcome) spanIDs {
	trace, root := newTraceID(), newSpanID()
	room := 8
	add := func(name string, id, parent pcommon.SpanID, s probe.Step) pcommon.Map {
		span := r.batch.spans.AppendEmpty()
		span.SetName(name)
		span.SetTraceID(trace)
		span.SetSpanID(id)
		span.SetParentSpanID(parent)
		span.SetKind(ptrace.SpanKindInternal)
		span.SetStartTimestamp(pcommon.NewTimestampFromTime(s.Start))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(s.End))
		a := span.Attributes()
		a.EnsureCapacity(room + len(o.Target.Attributes)) // at once, and not by doubling
		putPlace(a, o)
		if f := s.Failure; f != nil {
			span.Status().SetCode(ptrace.StatusCodeError)
			span.Status().SetMessage(text.Clean(f.Cause+" "+f.Fix, maxText))
			a.PutStr("error.type", string(f.Type))
		}
		putAttributes(a, o.Target.Attributes)
		return a
	}

	add("tls.connect", root, pcommon.SpanID{}, probe.Step{Start: o.Start, End: o.End, Failure: o.Failure})
	r.batch.spans.At(r.batch.spans.Len() - 1).SetKind(ptrace.SpanKindClient)
	if l := o.Lookup; l != nil {
		a := add("dns.lookup", newSpanID(), root, l.Step)
		a.PutStr("dns.question.name", o.Target.Endpoint.DNSName)
		if len(l.Addrs) > 0 {
			answers := a.PutEmptySlice("dns.answers")
			for _, addr := range l.Addrs {
				answers.AppendEmpty().SetStr(addr.String())
			}
		}
	}
	for _, d := range o.Dials {
		a := add("tcp.connect", newSpanID(), root, d.Step)
		a.PutStr("network.peer.address", d.Addr.Addr().String())
		a.PutInt("network.peer.port", int64(d.Addr.Port()))
		a.PutStr("network.transport", "tcp")
		if d.Addr.Addr().Is4() {
			a.PutStr("network.type", "ipv4")
		} else {
			a.PutStr("network.type", "ipv6")
		}
	}
	if step := o.StartTLS; step != nil {
		add("starttls", newSpanID(), root, *step).PutStr("network.protocol.name", o.Target.StartTLS)
	}
	ids := spanIDs{trace: trace, root: root}
	if o.Handshake == nil {
		return ids
	}
	ids.handshake = newSpanID()
	room = 56
	a := add("tls.handshake", ids.handshake, root, o.Handshake.Step)
	room = 8
	putHandshake(a, o)
	putCertificate(a, o)
	putFileMatch(a, o)
	putStaple(a, o)
	putOwnCertificate(a, o)
	finding := o.Handshake.Failure
	if finding == nil {
		finding = o.Handshake.Finding // where verification is skipped, of a probe that succeeded
	}
	putFailure(a, finding, o.Handshake.Warnings)
	putExpiry(r.batch.spans.At(r.batch.spans.Len()-1), o)
	if e := o.Explanation; e != nil {
		tries := add("explain", newSpanID(), root, e.Step).PutEmptySlice("tls.explain.tries")
		for _, t := range e.Tries {
			tries.AppendEmpty().SetStr(t.String())
		}
	}
	return ids
}

func putHandshake(a pcommon.Map, o *probe.Outcome) {
	h := o.Handshake
	a.PutStr("tls.client.min_version", "TLSv"+version(h.MinVersion))
	a.PutStr("tls.client.max_version", "TLSv"+version(h.MaxVersion))
	putText(a, "tls.server.name", h.ServerName)
	a.PutBool("tls.established", h.Established)
	a.PutDouble("tls.handshake_time_ms", float64(h.End.Sub(h.Start))/float64(time.Millisecond))
	s := h.State
	if s.Version == 0 {
		return
	}
	a.PutStr("tls.protocol", "TLSv"+version(s.Version))
	a.PutStr("tls.protocol.name", "tls")
	a.PutStr("tls.protocol.version", version(s.Version))
	a.PutStr("tls.cipher", suiteOf(s.CipherSuite).name)
	if bits := suiteOf(s.CipherSuite).bits; bits > 0 {
		a.PutInt("tls.cipher.bits", bits)
	}
	putText(a, "tls.curve", curve(s.CurveID))
	putText(a, "tls.next_protocol", s.NegotiatedProtocol)
	a.PutBool("tls.resumed", s.DidResume)
}

// putCertificate describes the certificate that the server presented for itself, under the names that dashboards know
// and under those of the attribute registry.
func putCertificate(a pcommon.Map, o *probe.Outcome) {
	c := o.Handshake.Leaf()
	if c == nil {
		return
	}
	putText(a, "tls.cert.subject.cn", c.Subject.CommonName)
	putText(a, "tls.cert.issuer.cn", c.Issuer.CommonName)
	if len(c.Issuer.Organization) > 0 {
		putText(a, "tls.cert.issuer.org", c.Issuer.Organization[0])
	}
	notBefore, notAfter := c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339)
	a.PutStr("tls.cert.not_before", notBefore)
	a.PutStr("tls.cert.not_after", notAfter)
	a.PutInt("tls.cert.days_until_expiry", wholeDays(c.NotAfter.Sub(o.End)))
	names := certs.Names(c)
	sans := a.PutEmptySlice("tls.cert.san")
	for _, n := range names[:min(len(names), maxSANs)] {
		sans.AppendEmpty().SetStr(text.Clean(n, maxText))
	}
	a.PutInt("tls.cert.san.count", int64(len(names)))
	a.PutStr("tls.cert.serial", serial(c))
	a.PutStr("tls.cert.key.algorithm", c.PublicKeyAlgorithm.String())
	if size := certs.KeySize(c); size > 0 {
		a.PutInt("tls.cert.key.size", int64(size))
	}
	a.PutStr("tls.cert.signature.algorithm", c.SignatureAlgorithm.String())
	putText(a, "tls.server.subject", c.Subject.String())
	putText(a, "tls.server.issuer", c.Issuer.String())
	a.PutStr("tls.server.not_before", notBefore)
	a.PutStr("tls.server.not_after", notAfter)
	a.PutStr("tls.server.hash.sha256", hexadecimal(fingerprint(c)))
	a.PutInt("tls.cert.chain.length", int64(len(o.Handshake.State.PeerCertificates)))
	a.PutInt("tls.cert.scts", int64(certs.SCTs(c)+len(o.Handshake.State.SignedCertificateTimestamps)))
}

// putStaple says what the CA has to say of the certificate, or why that is not to be believed.
func putStaple(a pcommon.Map, o *probe.Outcome) {
	s := o.Handshake.Staple
	if s == nil {
		return
	}
	putText(a, "tls.ocsp.status", string(s.Status))
	if !s.NextUpdate.IsZero() {
		a.PutStr("tls.ocsp.next_update", s.NextUpdate.UTC().Format(time.RFC3339))
	}
	putText(a, "tls.ocsp.problem", string(s.Problem))
	putText(a, "tls.ocsp.message", failure.Staple(s))
}

func putOwnCertificate(a pcommon.Map, o *probe.Outcome) {
	h := o.Handshake
	if c := o.ClientCert; c != nil {
		putText(a, "tls.client_cert.subject", certs.SubjectName(c))
		a.PutInt("tls.client_cert.days_until_expiry", wholeDays(c.NotAfter.Sub(o.End)))
	}
	// Until the handshake is through the server may still be about to ask.
	if h.Established || h.ClientCertRequested {
		a.PutBool("tls.client_certificate.requested", h.ClientCertRequested)
	}
	if len(h.AcceptableCAs) > 0 {
		cas := a.PutEmptySlice("tls.client_certificate.acceptable_cas")
		for _, ca := range h.AcceptableCAs {
			cas.AppendEmpty().SetStr(ca)
		}
	}
}

// putFailure says what is wrong, on spans and on events. The failure may be nil.
func putFailure(a pcommon.Map, f *failure.Failure, warnings []failure.Type) {
	var reasons []failure.Type
	if f != nil {
		a.PutStr("tls.error.type", f.Category)
		putText(a, "tls.error.reason", f.SSLReason)
		switch f.Category {
		case "ssl_error":
			a.PutStr("tls.error.library", "SSL")
		case "certificate_verification":
			a.PutStr("tls.error.library", "X509")
		}
		putText(a, "tls.error.message", f.Message)
		if f.VerifyCode != 0 {
			a.PutInt("tls.error.verify_code", int64(f.VerifyCode))
			a.PutStr("tls.error.verify_message", f.VerifyMessage)
		}
		if f.HasAlert {
			a.PutInt("tls.error.alert", int64(f.Alert))
		}
		putText(a, "tls.error.cause", f.Cause)
		putText(a, "tls.error.fix", f.Fix)
		reasons = f.Reasons
	}
	if len(reasons)+len(warnings) == 0 {
		return
	}
	all := a.PutEmptySlice("tls.error.reasons")
	for _, t := range append(reasons[:len(reasons):len(reasons)], warnings...) {
		all.AppendEmpty().SetStr(string(t))
	}
}

// putFileMatch says whether what is served is in one of the target's files.
func putFileMatch(a pcommon.Map, o *probe.Outcome) {
	if len(o.Handshake.OnDisk) == 0 {
		return
	}
	f, differs := mismatched(o.Handshake)
	a.PutBool("tls.certificate.file_match", !differs)
	if differs {
		a.PutStr("tls.certificate.file_match.since", rfc3339(f.Since))
		putText(a, "tls.certificate.file_match.message", mismatchText(o, f))
	}
}

// putExpiry adds an event for each certificate that is to be renewed: the server's, while it is valid, and our own.
func putExpiry(span ptrace.Span, o *probe.Outcome) {
	add := func(name string, c *x509.Certificate) {
		e := span.Events().AppendEmpty()
		e.SetName(name)
		e.SetTimestamp(span.EndTimestamp())
		e.Attributes().PutInt("days_remaining", wholeDays(c.NotAfter.Sub(o.End)))
	}
	for _, w := range o.Handshake.Warnings {
		if w == failure.NearExpiry {
			add("tls.cert.expiring_soon", o.Handshake.Leaf())
		}
	}
	switch expiryOf(o.ClientCert, o) {
	case expiringSoon:
		add("tls.client_cert.expiring_soon", o.ClientCert)
	case expired:
		add("tls.client_cert.expired", o.ClientCert)
	}
}

// putText adds foreign text, cleaned and bounded; nothing where it is empty.
func putText(a pcommon.Map, key, value string) {
	if value != "" {
		a.PutStr(key, text.Clean(value, maxText))
	}
}

// wholeDays rounds down, so that a certificate that expired an hour ago has -1 and not 0 days left.
func wholeDays(d time.Duration) int64 { return int64(math.Floor(days(d))) }
