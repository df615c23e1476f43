package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/transport"
)

// run is one attempt in progress. It fills in the embedded parts of the outcome.
type run struct {
	*About
	*Attempt
	prober    *Prober
	history   *history
	transport transport.Transport

	tls        target.Client         // the target's TLS settings, with its files as they are now
	clientCert *tls.Certificate      // for servers that request one; nil if none is configured
	schemes    []tls.SignatureScheme // that the server accepts from clients; nil until it has requested a certificate
	acceptable int                   // how many CAs the server's request names
	clientTop  *x509.Certificate     // the topmost certificate of ours that the server gets; nil if unknown
	conn       transport.Conn        // nil until connected
}

// newRun begins a run now, with what the target's settings are now.
func (p *Prober) newRun(about *About, attempt *Attempt, h *history) *run {
	about.Start = time.Now()
	return &run{
		About: about, Attempt: attempt, prober: p, history: h,
		transport: transport.TCP, tls: about.Target.Settings(),
	}
}

// attempt probes the endpoint of about's target, or if about's place is a single address, that address. It fills in about
// and attempt. It reports false if ctx was cancelled before the probe was complete.
func (p *Prober) attempt(ctx context.Context, about *About, attempt *Attempt, h *history) (completed bool) {
	t := about.Target
	r := p.newRun(about, attempt, h)
	defer func() {
		// The parsers of what servers send are not ours. If one of them panics, only this probe fails.
		if v := recover(); v != nil {
			r.abort(fmt.Errorf("panic: %v", v))
		}
		r.End = time.Now()
		completed = ctx.Err() == nil
	}()

	limited, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	r.do(limited)
	r.explainFailure(limited)
	return completed // which the deferred function sets
}

// do makes the attempt, step by step, until one step fails.
func (r *run) do(ctx context.Context) {
	if !r.loadClientCert() {
		return
	}
	addrs, err := r.addresses(ctx)
	if err != nil || !r.connect(ctx, addrs) {
		return
	}
	defer r.conn.Close()
	if r.startTLS() {
		r.handshake()
	}
}

// loadClientCert loads the client certificate, if one is configured. It reports false if that fails.
func (r *run) loadClientCert() bool {
	get := r.tls.GetClientCertificate
	if get == nil {
		return true
	}
	cert, err := get(&tls.CertificateRequestInfo{})
	if err != nil {
		r.fail(failure.Local, err)
		return false
	}
	if cert != nil {
		r.clientCert, r.ClientCert = cert, cert.Leaf
	}
	return true
}

// addresses returns the addresses to try, in order. If the look-up fails, it sets the failure.
func (r *run) addresses(ctx context.Context) ([]netip.AddrPort, error) {
	if r.Place.Peer.IsValid() {
		return []netip.AddrPort{r.Place.Peer}, nil
	}
	addrs, err := r.lookUp(ctx, r.Target.Endpoint.DNSName)
	if err != nil {
		r.Failure = r.Lookups[0].Failure
		return nil, err
	}
	withPort := make([]netip.AddrPort, len(addrs))
	for i, addr := range addrs {
		withPort[i] = netip.AddrPortFrom(addr, r.Target.Endpoint.Port)
	}
	return withPort, nil
}

// lookUp looks up the addresses of a name. If the name is empty, the endpoint is an address, which it returns.
func (r *run) lookUp(ctx context.Context, name string) ([]netip.Addr, error) {
	if name == "" {
		return []netip.Addr{r.Target.Endpoint.Addr}, nil
	}
	l := Lookup{Timed: Timed{Start: time.Now()}, Name: name}
	var err error
	l.Addrs, err = r.prober.names.Addresses(ctx, r.prober.Resolver, name)
	l.End = time.Now()
	if err != nil {
		l.Failure = r.explain(failure.DNS, err)
	}
	r.Lookups = append(r.Lookups, l)
	return l.Addrs, err
}

// connect connects to the first address that accepts a connection, and reports whether there was one. Each address gets
// its share of the time that is left, so that there is time for the next one if an address drops packets. If no address
// accepts a connection, connect sets the failure.
func (r *run) connect(ctx context.Context, addrs []netip.AddrPort) bool {
	deadline, _ := ctx.Deadline()
	for i, addr := range addrs {
		d := Dial{Timed: Timed{Start: time.Now()}, Transport: r.transport.Name, Addr: addr}
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		if limit := r.Target.ConnectTimeout; limit > 0 {
			share = min(share, limit)
		}
		conn, err := r.transport.Connect(ctx, addr, share)
		d.End = time.Now()
		if err == nil {
			r.conn = conn
		} else {
			d.Failure = r.explain(failure.Connect, err)
		}
		r.Dials = append(r.Dials, d)
		if err == nil {
			return true
		}
	}
	// The first of several failures is the one to report, as unreachable addresses are tried last (RFC 6724, section 6,
	// rule 1).
	r.Failure = r.Dials[0].Failure
	return false
}

// startTLS speaks the target's STARTTLS protocol, if it has one, and reports whether the TLS handshake can begin.
func (r *run) startTLS() bool {
	if r.Target.StartTLS == "" {
		return true
	}
	step := &Timed{Start: time.Now()}
	r.StartTLS = step
	err := r.conn.StartTLS(r.Target.StartTLS, r.Target.ServerName())
	step.End = time.Now()
	if err != nil {
		step.Failure = r.fail(failure.StartTLS, err)
	}
	return err == nil
}

// abort ends the attempt, and the step in progress, with err.
func (r *run) abort(err error) {
	f := r.fail(failure.Handshake, err)
	if s := r.StartTLS; s != nil && s.End.IsZero() {
		s.End, s.Failure = time.Now(), f
	}
	if h := r.Handshake; h != nil && h.End.IsZero() {
		h.End, h.Failure = time.Now(), f
	}
}

// fail sets the failure of the attempt to err, explained, and returns it.
func (r *run) fail(step failure.Step, err error) *failure.Failure {
	r.Failure = r.explain(step, err)
	return r.Failure
}

// explain returns the failure that err caused at this step. A nil err means that the verdict on the server's certificate is
// the failure.
func (r *run) explain(step failure.Step, err error) *failure.Failure {
	t := r.Target
	e := failure.Evidence{
		Step: step, Err: err, Now: r.Start, Timeout: t.Timeout, Transport: r.transport.Name,
		Endpoint: r.Name(), Port: r.Port(), ServerName: t.ServerName(),
		StartTLS: t.StartTLS, CertificateType: t.CertificateType, ALPN: r.tls.NextProtos, ClientCert: r.ClientCert,
	}
	if limit := t.ConnectTimeout; step == failure.Connect && limit > 0 {
		e.Timeout = min(e.Timeout, limit)
	}
	if r.conn != nil {
		e.FirstBytes = r.conn.FirstBytes()
	}
	if h := r.Handshake; h != nil {
		e.MinVersion, e.MaxVersion = h.MinVersion, h.MaxVersion
		e.Verdict, e.ClientCertRequested, e.AcceptableCAs = h.Verdict, h.ClientCertRequested, h.AcceptableCAs
		e.AcceptableCACount, e.ClientCertTop = r.acceptable, r.clientTop
		e.ClientCertProblems, e.SignatureSchemes, e.Version = h.ClientCertProblems, r.schemes, h.State.Version
	}
	return failure.Explain(e)
}
