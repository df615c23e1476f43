package probe

import (
	"cmp"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/netip"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// shakeHands makes the handshake, and waits for what a TLS 1.3 server says of the client certificate.
func (a *attempting) shakeHands() {
	h := &Handshake{Facts: handshake.Facts{
		MinVersion: cmp.Or(a.tls.MinVersion, tls.VersionTLS12), MaxVersion: cmp.Or(a.tls.MaxVersion, tls.VersionTLS13),
	}}
	a.Handshake = h
	name := a.Target.ServerName()
	if _, err := netip.ParseAddr(name); err != nil {
		h.ServerName = name
	}
	cfg := a.clientConfig(name)

	h.Start = time.Now()
	err := a.conn.Handshake(cfg)
	step := failure.Handshake
	h.End = time.Now()
	if err == nil {
		h.State, h.Established = a.conn.State(), true
		if err = a.lateRefusal(); err != nil {
			step, h.End = failure.ClientAuth, time.Now()
		}
	}
	var finding *failure.Failure
	switch {
	case err == nil:
	case errors.As(err, &finding): // the verdict, which crypto/tls returns as it was
		h.Failure, a.Failure = finding, finding
	default:
		h.Failure = a.fail(step, err)
	}
}

// clientConfig returns what the handshake offers, with callbacks that note what the server sends and judge it.
func (a *attempting) clientConfig(name string) *tls.Config {
	cfg := a.tls.Clone()
	cfg.ServerName = name
	// crypto/tls hides the chain when its own verification fails. Ours keeps it, and its error still reaches the
	// server as an alert.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		a.Handshake.State = state
		a.judge(name, time.Now())
		if a.Handshake.Verdict.Valid() {
			return nil
		}
		a.Handshake.Finding = a.explain(failure.Verify, nil)
		if a.tls.InsecureSkipVerify {
			return nil
		}
		return a.Handshake.Finding
	}
	cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		a.Handshake.ClientCertRequested = true
		a.Handshake.AcceptableCAs = distinguishedNames(info.AcceptableCAs)
		if a.own == nil {
			return &tls.Certificate{}, nil
		}
		return a.own, nil
	}
	return cfg
}

// judge finds the verdict on the server's certificate, on its staple, and what the target's files have to do with it.
func (a *attempting) judge(name string, now time.Time) {
	t, h := a.Target, a.Handshake
	presented, intermediates := h.State.PeerCertificates, &a.prober.intermediates
	h.Verdict, h.FromCache = a.history.verdict.Verify(presented, a.tls.RootCAs, name, now)
	switch {
	case !h.Verdict.Trusted:
		intermediates.FindMissing(h.Verdict, a.tls.RootCAs, now)
	case !h.FromCache:
		intermediates.Add(h.Verdict.Chain)
	}
	h.Staple = a.history.verdict.AddStaple(h.Verdict, h.State.OCSPResponse, presented, now)
	h.Warnings = failure.Types(h.Verdict.Warnings)
	if t.ExpiryWarning.Near(h.Leaf(), now) {
		h.Warnings = append(h.Warnings, failure.NearExpiry)
	}
	if h.OnDisk = a.history.compare(t, h.Leaf(), now); h.mismatch() {
		h.Warnings = append(h.Warnings, failure.FileMismatch)
	}
}

// lateRefusal waits for the server's word on our certificate. In TLS 1.3 the client is done before the server has
// judged it (RFC 8446, section 4.4.2.4), so the refusal comes with the first read. It costs nothing where the server
// asked for no certificate.
func (a *attempting) lateRefusal() error {
	h := a.Handshake
	if !h.ClientCertRequested || h.State.Version < tls.VersionTLS13 {
		return nil
	}
	// The server needs one round trip and the time to verify. The handshake took at least as long.
	return a.conn.AwaitRefusal(250*time.Millisecond + 2*h.End.Sub(h.Start))
}

// distinguishedNames decodes the names in a certificate request. What is not a name is left out: it is only a hint.
func distinguishedNames(raw [][]byte) []string {
	const most = 100
	var names []string
	for _, der := range raw[:min(len(raw), most)] {
		var rdn pkix.RDNSequence
		if rest, err := asn1.Unmarshal(der, &rdn); err == nil && len(rest) == 0 {
			names = append(names, text.Clean(rdn.String(), 256))
		}
	}
	return names
}
