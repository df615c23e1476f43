package probe

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const (
	// An explanation takes at most this long, within the probe's own deadline, and each of its at most four connections
	// this long.
	maxExplaining = 5 * time.Second
	maxTry        = 2 * time.Second
)

// Explanation is the search for what would work with a server that refuses the handshake.
type Explanation struct {
	Step
	Tries []failure.Try
}

// met is a failure as it was met, before it was explained.
type met struct {
	typ   failure.Type
	alert uint8
}

// explainFailure adds what would work to a failed outcome. It tries when the target begins to fail or fails
// differently, and for the probes after that goes by what it found then, so that the failure keeps its type.
func (m *memory) explainFailure(ctx context.Context, o *Outcome, offered *tls.Config) {
	t, f := o.Target, o.Failure
	if f == nil {
		m.explained = nil
		return
	}
	now := met{f.Type, f.Alert}
	e := m.explained[now]
	// A server that sent its certificate has agreed to version, suite and name: nothing else would tell more. One that is
	// asked for its other certificate agrees to all that is otherwise.
	if e == nil && t.Explain == target.ExplainOnChange && o.Handshake != nil && o.Handshake.Leaf() == nil && t.CertificateType == "" {
		if e = explain(ctx, o, offered); e != nil {
			o.Explanation = e
			if m.explained == nil {
				m.explained = make(map[met]*Explanation)
			}
			m.explained[now] = e
		}
	}
	if e != nil {
		f.Refine(e.Tries, t.Endpoint.String(), t.ServerName())
	}
}

// explain makes up to four handshakes, the first the same as the one that failed, the others each different in one
// respect. None of them verifies anything: the question is only how far the server goes along. It returns nil where
// nothing is worth a try, or no time is left for one.
func explain(ctx context.Context, o *Outcome, offered *tls.Config) *Explanation {
	ctx, cancel := context.WithTimeout(ctx, maxExplaining)
	defer cancel()
	deadline, _ := ctx.Deadline()
	e := &Explanation{Step: Step{Start: time.Now()}}
	addr := o.Dials[len(o.Dials)-1].Addr.String()
	for _, t := range failure.Tries(o.Failure.Type, o.Handshake.MinVersion, o.Handshake.MaxVersion, o.Handshake.ServerName != "") {
		// The connection's own deadline can be noticed a moment before that of the context.
		if ctx.Err() != nil || time.Now().After(deadline) {
			break
		}
		t.Err = handshakeOnce(ctx, addr, o.Target, offered, &t)
		e.Tries = append(e.Tries, t)
		// Of single versions all that work are of interest, else the first thing that does.
		if t.Err == nil && (t.Same || o.Failure.Type != failure.ProtocolMismatch || t.MinVersion != t.MaxVersion) {
			break
		}
	}
	e.End = time.Now()
	if len(e.Tries) == 0 {
		return nil
	}
	return e
}

func handshakeOnce(ctx context.Context, addr string, target *target.Target, offered *tls.Config, t *failure.Try) error {
	ctx, cancel := context.WithTimeout(ctx, maxTry)
	defer cancel()
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if target.StartTLS != "" {
		if err := starttls.Start(conn, target.StartTLS, target.ServerName()); err != nil {
			return err
		}
	}
	cfg := offered.Clone()
	cfg.InsecureSkipVerify = true
	cfg.MinVersion, cfg.MaxVersion = t.MinVersion, t.MaxVersion
	cfg.ServerName = target.ServerName()
	if t.WithoutSNI {
		cfg.ServerName = ""
	}
	if t.EverySuite {
		cfg.CipherSuites, cfg.CurvePreferences = everySuite(), nil
	}
	client := tls.Client(conn, cfg)
	if err := failure.FromCryptoTLS(client.HandshakeContext(ctx)); err != nil {
		return err
	}
	state := client.ConnectionState()
	t.Version, t.Suite = state.Version, state.CipherSuite
	takeLeave(client, target.StartTLS)
	if len(state.PeerCertificates) > 0 {
		t.Name = text.Clean(certs.SubjectName(state.PeerCertificates[0]), 128)
	}
	return nil
}

func everySuite() []uint16 {
	var ids []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, s.ID)
	}
	return ids
}
