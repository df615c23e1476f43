package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/transport"
)

// attempting is an attempt under way. The embedded parts of the outcome are filled in as it goes on.
type attempting struct {
	*About
	*Attempt
	prober    *Prober
	history   *history
	transport transport.Transport

	tls  *tls.Config      // what is offered and trusted, as it is now
	own  *tls.Certificate // what the server is shown if it asks; nil where none is configured
	conn transport.Conn   // nil until connected
}

// attempt probes the endpoint that about names, or the one address of it. It reports false where ctx was cancelled before
// that was complete.
func (p *Prober) attempt(ctx context.Context, about *About, into *Attempt, h *history) (completed bool) {
	t := about.Target
	a := &attempting{About: about, Attempt: into, prober: p, history: h, transport: transport.TCP, tls: t.Settings()}
	a.Start = time.Now()
	defer func() {
		// The parsers of foreign bytes are not ours. A panic in one of them costs only this probe.
		if v := recover(); v != nil {
			a.breakOff(fmt.Errorf("panic: %v", v))
		}
		a.End = time.Now()
		completed = ctx.Err() == nil
	}()

	limited, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	a.run(limited)
	a.explainFailure(limited)
	return true
}

func (a *attempting) run(ctx context.Context) {
	if !a.loadOwnCertificate() {
		return
	}
	addrs, err := a.addresses(ctx)
	if err != nil || !a.connect(ctx, addrs) {
		return
	}
	defer a.conn.Close()
	if a.startTLS() {
		a.shakeHands()
	}
}

func (a *attempting) loadOwnCertificate() bool {
	get := a.tls.GetClientCertificate
	if get == nil {
		return true
	}
	own, err := get(&tls.CertificateRequestInfo{})
	if err != nil {
		a.fail(failure.Local, err)
		return false
	}
	if own != nil {
		a.own, a.ClientCert = own, own.Leaf
	}
	return true
}

// addresses returns the addresses to try in turn.
func (a *attempting) addresses(ctx context.Context) ([]netip.AddrPort, error) {
	if a.Place.Peer.IsValid() {
		return []netip.AddrPort{a.Place.Peer}, nil
	}
	addrs, err := a.lookUp(ctx, a.Target.Endpoint.DNSName)
	if err != nil {
		a.Failure = a.Lookups[0].Failure
		return nil, err
	}
	ports := make([]netip.AddrPort, len(addrs))
	for i, addr := range addrs {
		ports[i] = netip.AddrPortFrom(addr, a.Target.Endpoint.Port)
	}
	return ports, nil
}

// lookUp returns the addresses of a name; where that is empty, that of the endpoint.
func (a *attempting) lookUp(ctx context.Context, name string) ([]netip.Addr, error) {
	if name == "" {
		return []netip.Addr{a.Target.Endpoint.Addr}, nil
	}
	l := Lookup{Step: Step{Start: time.Now()}, Name: name}
	var err error
	l.Addrs, err = a.prober.names.Addresses(ctx, a.prober.Resolver, name)
	l.End = time.Now()
	if err != nil {
		l.Failure = a.explain(failure.DNS, err)
	}
	a.Lookups = append(a.Lookups, l)
	return l.Addrs, err
}

// connect tries the addresses in turn. Each gets its share of the time that is left, so that one which drops packets
// does not keep the others from being tried.
func (a *attempting) connect(ctx context.Context, addrs []netip.AddrPort) bool {
	deadline, _ := ctx.Deadline()
	for i, addr := range addrs {
		d := Dial{Step: Step{Start: time.Now()}, Transport: a.transport.Name, Addr: addr}
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		if limit := a.Target.ConnectTimeout; limit > 0 {
			share = min(share, limit)
		}
		conn, err := a.transport.Connect(ctx, addr, share)
		d.End = time.Now()
		if err == nil {
			a.conn = conn
		} else {
			d.Failure = a.explain(failure.Connect, err)
		}
		a.Dials = append(a.Dials, d)
		if err == nil {
			return true
		}
	}
	// Of several failures the first is reported: what this host has no route to comes last (RFC 6724, section 6, rule 1).
	a.Failure = a.Dials[0].Failure
	return false
}

// startTLS speaks the protocol that precedes TLS, if there is one, and reports whether TLS can begin.
func (a *attempting) startTLS() bool {
	if a.Target.StartTLS == "" {
		return true
	}
	step := &Step{Start: time.Now()}
	a.StartTLS = step
	err := a.conn.StartTLS(a.Target.StartTLS, a.Target.ServerName())
	step.End = time.Now()
	if err != nil {
		step.Failure = a.fail(failure.StartTLS, err)
	}
	return err == nil
}

// breakOff ends the step that is under way, and with it the probe, with err.
func (a *attempting) breakOff(err error) {
	f := a.fail(failure.Handshake, err)
	end := func(end *time.Time, failure **failure.Failure) {
		if end.IsZero() {
			*end, *failure = time.Now(), f
		}
	}
	if s := a.StartTLS; s != nil {
		end(&s.End, &s.Failure)
	}
	if h := a.Handshake; h != nil {
		end(&h.End, &h.Failure)
	}
}

// fail makes err the failure of the probe and returns it explained.
func (a *attempting) fail(step failure.Step, err error) *failure.Failure {
	a.Failure = a.explain(step, err)
	return a.Failure
}

func (a *attempting) explain(step failure.Step, err error) *failure.Failure {
	t := a.Target
	e := failure.Evidence{
		Step: step, Err: err, Now: a.Start, Timeout: t.Timeout, Transport: a.transport.Name,
		Endpoint: a.Name(), Port: a.Port(), ServerName: t.ServerName(),
		StartTLS: t.StartTLS, CertificateType: t.CertificateType, ALPN: a.tls.NextProtos, ClientCert: a.ClientCert,
	}
	if limit := t.ConnectTimeout; step == failure.Connect && limit > 0 {
		e.Timeout = min(e.Timeout, limit)
	}
	if a.conn != nil {
		e.FirstBytes = a.conn.FirstBytes()
	}
	if h := a.Handshake; h != nil {
		e.MinVersion, e.MaxVersion = h.MinVersion, h.MaxVersion
		e.Verdict, e.ClientCertRequested, e.AcceptableCAs = h.Verdict, h.ClientCertRequested, h.AcceptableCAs
	}
	return failure.Explain(e)
}
