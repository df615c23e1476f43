// Package probe makes one probe of one target: resolve, connect, STARTTLS, handshake, verify; and reads its certificate
// files. It returns an Outcome, whatever the server does, and within the target's timeout.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/resolve"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Prober makes probes. Its zero value is ready; any number of goroutines may use one, each for another target.
type Prober struct {
	// Resolver looks names up. Nil means that of the system.
	Resolver *net.Resolver

	// Again is told when a target's files are to be read again after a while, whatever its interval. It may be nil.
	Again func(t *target.Target, after time.Duration)

	memories sync.Map            // *target.Target to *memory
	known    certs.Intermediates // the intermediates that servers sent
	names    resolve.Cache       // the addresses of the endpoints
}

// Probe probes t once. It returns nil when ctx is cancelled before the probe is through: a probe that was called off
// says nothing about its target.
func (p *Prober) Probe(ctx context.Context, t *target.Target) *Outcome {
	return p.probe(ctx, t, p.memory(t), netip.AddrPort{})
}

// probe probes t, at the one address where that is valid.
func (p *Prober) probe(ctx context.Context, t *target.Target, m *memory, at netip.AddrPort) (out *Outcome) {
	r := &run{prober: p, memory: m, target: t, tls: t.Settings(), out: &Outcome{Target: t, Peer: at, Start: time.Now()}}
	defer func() {
		// The parsers of foreign bytes are not ours. If one of them panics it costs this probe alone.
		if v := recover(); v != nil {
			r.breakOff(fmt.Errorf("panic: %v", v))
		}
		r.out.End = time.Now()
		if out = r.out; ctx.Err() != nil {
			out = nil
		}
	}()

	probeCtx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	r.probe(probeCtx)
	r.memory.explainFailure(probeCtx, r.out, r.tls)
	return r.out
}

func (p *Prober) memory(t *target.Target) *memory {
	m, ok := p.memories.Load(t)
	if !ok {
		m, _ = p.memories.LoadOrStore(t, &memory{})
	}
	return m.(*memory)
}

// Forget lets go of what is kept of a target that is not probed any more.
func (p *Prober) Forget(t *target.Target) { p.memories.Delete(t) }

// memory is what is kept of a target from one probe to the next. The probes of one target never overlap.
type memory struct {
	verdict certs.VerdictCache
	// explained are the explanations of the failures that were met since the target last was in good health.
	explained map[met]*Explanation
	files     map[string]*onDisk // by path
	peers     map[netip.AddrPort]*memory
}

// run is a probe under way.
type run struct {
	prober *Prober
	memory *memory
	target *target.Target
	tls    *tls.Config // what is offered and trusted, as it is now
	out    *Outcome

	own   *tls.Certificate // what the server is shown if it asks; nil where none is configured
	first [256]byte        // what the server sent first
	seen  int              // how much of first is set
	ended bool             // whether the server ended the connection itself, not TLS alone with close_notify
}

func (r *run) probe(ctx context.Context) {
	if get := r.tls.GetClientCertificate; get != nil {
		own, err := get(&tls.CertificateRequestInfo{})
		if err != nil {
			r.fail(failure.Local, err)
			return
		}
		if own != nil {
			r.own, r.out.ClientCert = own, own.Leaf
		}
	}
	conn := r.open(ctx)
	if conn == nil {
		return
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline) // fails on a closed connection alone, of which the next read will tell
	// HandshakeContext would start a goroutine for each handshake; this starts one only if the probe is called off.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if r.startTLS(conn) {
		r.handshake(ctx, conn, deadline)
	}
}

// startTLS speaks the preamble, if there is one, and tells whether TLS can begin.
func (r *run) startTLS(conn net.Conn) bool {
	protocol := r.target.StartTLS
	if protocol == "" {
		return true
	}
	step := &Step{Start: time.Now()}
	r.out.StartTLS = step
	err := starttls.Start(conn, protocol, r.target.ServerName())
	step.End = time.Now()
	if err != nil {
		step.Failure = r.fail(failure.StartTLS, err)
		_, _ = conn.Write(starttls.Goodbye(protocol))
		return false
	}
	return true
}

// breakOff ends the step that is under way, and with it the probe, with err.
func (r *run) breakOff(err error) {
	f := r.fail(failure.Handshake, err)
	steps := []*Step{}
	if l := r.out.Lookup; l != nil {
		steps = append(steps, &l.Step)
	}
	if s := r.out.StartTLS; s != nil {
		steps = append(steps, s)
	}
	if h := r.out.Handshake; h != nil {
		steps = append(steps, &h.Step)
	}
	for _, s := range steps {
		if s.End.IsZero() {
			s.End, s.Failure = time.Now(), f
		}
	}
}

// fail makes err the failure of the probe and returns it explained.
func (r *run) fail(step failure.Step, err error) *failure.Failure {
	r.out.Failure = r.explain(step, err)
	return r.out.Failure
}

func (r *run) explain(step failure.Step, err error) *failure.Failure {
	t := r.target
	e := failure.Evidence{
		Step: step, Err: err, Now: r.out.Start, Timeout: t.Timeout,
		Endpoint: r.out.Name(), Port: r.out.Port(), ServerName: t.ServerName(),
		StartTLS: t.StartTLS, CertificateType: t.CertificateType, ALPN: r.tls.NextProtos, FirstBytes: r.first[:r.seen], ClientCert: r.out.ClientCert,
	}
	if limit := t.ConnectTimeout; step == failure.Connect && limit > 0 {
		e.Timeout = min(e.Timeout, limit)
	}
	if h := r.out.Handshake; h != nil {
		e.MinVersion, e.MaxVersion = h.MinVersion, h.MaxVersion
		e.Verdict, e.ClientCertRequested, e.AcceptableCAs = h.Verdict, h.ClientCertRequested, h.AcceptableCAs
	}
	return failure.Explain(e)
}

// open connects to the endpoint, and returns nil where that fails.
func (r *run) open(ctx context.Context) net.Conn {
	if at := r.out.Peer; at.IsValid() {
		return r.connect(ctx, []netip.AddrPort{at})
	}
	addrs, err := r.resolve(ctx, r.target.Endpoint.DNSName)
	if err != nil {
		return nil
	}
	ports := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		ports[i] = netip.AddrPortFrom(a, r.target.Endpoint.Port)
	}
	return r.connect(ctx, ports)
}

func (r *run) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	if name == "" {
		return []netip.Addr{r.target.Endpoint.Addr}, nil
	}
	l := &Lookup{Step: Step{Start: time.Now()}}
	r.out.Lookup = l
	addrs, err := r.prober.names.Addresses(ctx, r.prober.Resolver, name)
	l.End = time.Now()
	if err != nil {
		l.Failure = r.fail(failure.DNS, err)
		return nil, err
	}
	l.Addrs = addrs
	return addrs, nil
}

// connect tries the addresses in turn. Each gets its share of the time that is left, so that one which drops packets
// does not keep the others from being tried.
func (r *run) connect(ctx context.Context, addrs []netip.AddrPort) net.Conn {
	dialer := net.Dialer{KeepAlive: -1} // the connection does not live long enough for keep-alives
	deadline, _ := ctx.Deadline()
	for i, addr := range addrs {
		d := Dial{Step: Step{Start: time.Now()}, Addr: addr}
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		if limit := r.target.ConnectTimeout; limit > 0 {
			share = min(share, limit)
		}
		dialCtx, cancel := context.WithTimeout(ctx, share)
		conn, err := dialer.DialContext(dialCtx, "tcp", d.Addr.String())
		cancel()
		d.End = time.Now()
		if err == nil {
			r.out.Dials = append(r.out.Dials, d)
			return conn
		}
		if errors.Is(err, syscall.EADDRNOTAVAIL) && !hasAddressFor(d.Addr) {
			err = fmt.Errorf("%w: this host has no address that could reach it", syscall.ENETUNREACH)
		}
		d.Failure = r.explain(failure.Connect, err)
		r.out.Dials = append(r.out.Dials, d)
	}
	// Of several failures the first is told: what this host has no route to comes last (RFC 6724, section 6, rule 1).
	r.out.Failure = r.out.Dials[0].Failure
	return nil
}

// hasAddressFor tells whether this host has an address from which it could send to addr. Where it has none, with IPv6
// switched off for one, connecting fails as it does where all ports are used up.
func hasAddressFor(addr netip.AddrPort) bool {
	conn, err := net.Dial("udp", addr.String()) // sends nothing
	if err != nil {
		return !errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	_ = conn.Close()
	return true
}

func (r *run) handshake(ctx context.Context, conn net.Conn, deadline time.Time) {
	t := r.target
	h := &Handshake{MinVersion: r.tls.MinVersion, MaxVersion: r.tls.MaxVersion}
	if h.MinVersion == 0 {
		h.MinVersion = tls.VersionTLS12
	}
	if h.MaxVersion == 0 {
		h.MaxVersion = tls.VersionTLS13
	}
	r.out.Handshake = h

	name := t.ServerName()
	if _, err := netip.ParseAddr(name); err != nil {
		h.ServerName = name
	}
	cfg := r.tls.Clone()
	cfg.ServerName = name
	// crypto/tls hides the chain when its own verification fails. Ours keeps it, and its error still reaches the
	// server as an alert.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		h.State = state
		now := time.Now()
		h.Verdict, h.Remembered = r.memory.verdict.Verify(state.PeerCertificates, r.tls.RootCAs, name, now)
		if h.Verdict.Trusted && !h.Remembered {
			r.prober.known.Add(h.Verdict.Chain)
		} else if !h.Verdict.Trusted {
			r.prober.known.FindMissing(h.Verdict, r.tls.RootCAs, now)
		}
		h.Staple = r.memory.verdict.AddStaple(h.Verdict, state.OCSPResponse, state.PeerCertificates, now)
		h.Warnings = failure.Types(h.Verdict.Warnings)
		if t.ExpiryWarning.Near(h.Leaf(), now) {
			h.Warnings = append(h.Warnings, failure.NearExpiry)
		}
		if h.OnDisk = r.memory.compare(t, h.Leaf(), now); h.mismatch() {
			h.Warnings = append(h.Warnings, failure.FileMismatch)
		}
		if h.Verdict.Valid() {
			return nil
		}
		h.Finding = r.explain(failure.Verify, nil)
		if r.tls.InsecureSkipVerify {
			return nil
		}
		return h.Finding
	}
	cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		h.ClientCertRequested = true
		h.AcceptableCAs = distinguishedNames(info.AcceptableCAs)
		if r.own == nil {
			return &tls.Certificate{}, nil
		}
		return r.own, nil
	}

	h.Start = time.Now()
	client := tls.Client(&recorder{Conn: conn, run: r}, cfg)
	err := client.Handshake()
	step := failure.Handshake
	h.End = time.Now()
	if err == nil {
		h.State, h.Established = client.ConnectionState(), true
		if err = r.lateRefusal(ctx, client, conn, deadline); err != nil {
			step, h.End = failure.ClientAuth, time.Now()
		}
	}
	if err != nil {
		var finding *failure.Failure
		if errors.As(err, &finding) {
			h.Failure, r.out.Failure = finding, finding
			return
		}
		r.readBanner(ctx, conn, deadline)
		h.Failure = r.fail(step, err)
		return
	}
	takeLeave(client, t.StartTLS)
}

// takeLeave closes a connection politely, in the words of the protocol that TLS was started from and with close_notify.
// There is nothing to be done where that fails.
func takeLeave(client *tls.Conn, protocol string) {
	if bye := starttls.Goodbye(protocol); bye != nil {
		_, _ = client.Write(bye)
	}
	_ = client.Close()
}

// lateRefusal waits for the server's word on our certificate. In TLS 1.3 the client is done before the server has
// judged it (RFC 8446, section 4.4.2.4), so the refusal comes with the first read. It costs nothing where the server
// asked for no certificate.
func (r *run) lateRefusal(ctx context.Context, client *tls.Conn, conn net.Conn, deadline time.Time) error {
	h := r.out.Handshake
	if !h.ClientCertRequested || h.State.Version < tls.VersionTLS13 {
		return nil
	}
	// The server needs one way there and back and the time to verify. The handshake took at least as long.
	wait := time.Now().Add(250*time.Millisecond + 2*h.End.Sub(h.Start))
	if wait.After(deadline) {
		wait = deadline
	}
	if !readUntil(ctx, conn, wait) {
		return nil
	}
	_, err := client.Read(make([]byte, 1))
	var timeout net.Error
	switch {
	case err == nil, errors.As(err, &timeout) && timeout.Timeout(): // it talks, or is content and waits for us to
		return nil
	case failure.IsRefusal(err):
		return err
	case r.ended: // crypto/tls says io.EOF to that as to close_notify, but slapd for one refuses so
		return io.ErrUnexpectedEOF
	}
	return nil // an orderly end: it has nothing against us
}

// readBanner reads on for a moment when the server turned out not to speak TLS, so that what does speak can be named.
func (r *run) readBanner(ctx context.Context, conn net.Conn, deadline time.Time) {
	if !failure.IsPlaintext(r.first[:r.seen]) {
		return
	}
	wait := time.Now().Add(300 * time.Millisecond)
	if wait.After(deadline) {
		wait = deadline
	}
	if !readUntil(ctx, conn, wait) {
		return
	}
	for r.seen < len(r.first) && r.first[r.seen-1] != '\n' {
		n, err := conn.Read(r.first[r.seen:])
		r.seen += n
		if err != nil {
			return
		}
	}
}

// readUntil sets the deadline for reading, unless the probe was called off, whose deadline in the past it would undo.
func readUntil(ctx context.Context, conn net.Conn, t time.Time) bool {
	_ = conn.SetReadDeadline(t)
	return ctx.Err() == nil
}

// recorder keeps the first bytes that come over a connection, and whether it ended.
type recorder struct {
	net.Conn
	run *run
}

func (c *recorder) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	r := c.run
	if r.seen < len(r.first) {
		r.seen += copy(r.first[r.seen:], p[:n])
	}
	r.ended = r.ended || errors.Is(err, io.EOF)
	return n, err
}

// distinguishedNames decodes the names in a certificate request. What is no name is left out: it is only a hint.
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
