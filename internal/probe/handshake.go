package probe

import (
	"cmp"
	"crypto/tls"
	"errors"
	"net/netip"
	"runtime"
	"time"
	"weak"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/handshake"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// handshake makes the TLS handshake, and waits for a TLS 1.3 server to accept or refuse the client certificate.
func (r *run) handshake() {
	h := &Handshake{Facts: handshake.Facts{
		MinVersion: cmp.Or(r.tls.MinVersion, tls.VersionTLS12), MaxVersion: cmp.Or(r.tls.MaxVersion, tls.VersionTLS13),
	}}
	r.Handshake = h
	name := r.Target.ServerName()
	if _, err := netip.ParseAddr(name); err != nil {
		h.ServerName = name
	}
	cfg := r.clientConfig(name)

	h.Start = time.Now()
	err := r.conn.Handshake(cfg)
	step := failure.Handshake
	h.End = time.Now()
	if err == nil {
		h.State, h.Established = r.conn.State(), true
		if err = r.awaitRefusal(); err != nil {
			step, h.End = failure.ClientAuth, time.Now()
		}
	}
	var finding *failure.Failure
	switch {
	case err == nil:
	case errors.As(err, &finding): // from VerifyConnection, which crypto/tls returns unchanged
		h.Failure, r.Failure = finding, finding
	default:
		h.Failure = r.fail(step, err)
	}
}

// clientConfig returns the configuration of the handshake. Its callbacks record and verify what the server sends. name is the
// server's name.
func (r *run) clientConfig(name string) *tls.Config {
	cfg := r.tls.Clone()
	cfg.ServerName = name
	// If the verification by crypto/tls fails, the connection state has no chain. Verifying in VerifyConnection instead
	// keeps the chain, and an error from there is still sent to the server as an alert.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		r.Handshake.State = state
		r.verify(name, time.Now())
		if r.Handshake.Verdict.Valid() {
			return nil
		}
		r.Handshake.Finding = r.explain(failure.Verify, nil)
		if r.tls.InsecureSkipVerify {
			return nil
		}
		return r.Handshake.Finding
	}
	cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		r.Handshake.ClientCertRequested = true
		r.acceptable, r.Handshake.AcceptableCAs = len(info.AcceptableCAs), distinguishedNames(info.AcceptableCAs)
		if r.clientCert == nil {
			return &tls.Certificate{}, nil // none
		}
		r.schemes = info.SignatureSchemes
		r.judgeClientCert(info.AcceptableCAs, time.Now())
		return r.clientCert, nil
	}
	return cfg
}

// verify verifies the server's certificate and its staple, and compares the certificate with the target's files.
func (r *run) verify(name string, now time.Time) {
	t, h := r.Target, r.Handshake
	presented, intermediates := h.State.PeerCertificates, &r.prober.intermediates
	h.Verdict, h.FromCache = r.history.verdict.Verify(presented, r.tls.Roots, name, now)
	switch {
	case !h.Verdict.Trusted:
		intermediates.FindMissing(h.Verdict, r.tls.Roots, now)
	case !h.FromCache:
		intermediates.Add(h.Verdict.Chain)
	}
	h.Staple = r.history.verdict.AddStaple(h.Verdict, h.State.OCSPResponse, presented, now)
	h.Warnings = failure.Types(h.Verdict.Warnings)
	if t.ExpiryWarning.Near(h.Leaf(), now) {
		h.Warnings = append(h.Warnings, failure.NearExpiry)
	}
	if h.OnDisk = r.history.compare(t, h.Leaf(), now); h.mismatch() {
		h.Warnings = append(h.Warnings, failure.FileMismatch)
	}
}

// judgeClientCert looks for problems with our own certificate. accepted are the DER names of the CAs that the server
// accepts.
func (r *run) judgeClientCert(accepted [][]byte, now time.Time) {
	leaf := r.ClientCert
	if leaf == nil {
		return
	}
	chain := r.prober.clientChain(r.clientCert)
	r.clientTop = chain.Top()
	r.Handshake.ClientCertProblems = failure.ClientCertProblems(leaf, chain, accepted, now, r.Target.ExpiryWarning.Near(leaf, now))
}

// clientChain returns the chain of a client certificate, which is judged only once after it was loaded. The entry goes when
// nothing else uses the certificate any more.
func (p *Prober) clientChain(c *tls.Certificate) *certs.ClientChain {
	key := weak.Make(c)
	if chain, ok := p.clientChains.Load(key); ok {
		return chain.(*certs.ClientChain)
	}
	chain, loaded := p.clientChains.LoadOrStore(key, certs.NewClientChain(c.Leaf, c.Certificate[1:]))
	if !loaded {
		runtime.AddCleanup(c, func(key weak.Pointer[tls.Certificate]) { p.clientChains.Delete(key) }, key)
	}
	return chain.(*certs.ClientChain)
}

// awaitRefusal waits for the server to refuse the client certificate. In TLS 1.3 the client's handshake is complete before
// the server has verified the client certificate (RFC 8446, section 4.4.2.4), so the refusal arrives with the first read.
// awaitRefusal does not wait if the server has not requested a certificate.
func (r *run) awaitRefusal() error {
	h := r.Handshake
	if !h.ClientCertRequested || h.State.Version < tls.VersionTLS13 {
		return nil
	}
	// The refusal takes one round trip plus the time that the server needs to verify, which is about the time of the
	// handshake.
	return r.conn.AwaitRefusal(250*time.Millisecond + 2*h.End.Sub(h.Start))
}

// distinguishedNames decodes the names in a certificate request. It leaves out what is not a name, as the names are only
// hints.
func distinguishedNames(raw [][]byte) []string {
	const most = 100
	var names []string
	for _, der := range raw[:min(len(raw), most)] {
		if name := certs.DN(der); name != "" {
			names = append(names, text.Clean(name, 256))
		}
	}
	return names
}
