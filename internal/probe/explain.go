package probe

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const (
	// maxExplaining limits an explanation, within the probe's own deadline, and maxTry each of its at most four connections.
	maxExplaining = 5 * time.Second
	maxTry        = 2 * time.Second
)

// Explanation is the search for what would work with a server that refuses the handshake.
type Explanation struct {
	Step
	Tries []failure.Try
}

// symptom is a failure as it was met, before it was explained.
type symptom struct {
	typ   failure.Type
	alert uint8
}

// explainFailure adds what would work to a failed attempt. It tries when the target begins to fail or fails
// differently. The probes after that use what it found then, so that the failure keeps its type.
func (a *attempting) explainFailure(ctx context.Context) {
	f := a.Failure
	if f == nil {
		a.history.explained = nil
		return
	}
	met := symptom{f.Type, f.Alert}
	e := a.history.explained[met]
	if e == nil && a.canBeExplained() {
		if e = a.explanation(ctx); e != nil {
			a.Explanation = e
			if a.history.explained == nil {
				a.history.explained = make(map[symptom]*Explanation)
			}
			a.history.explained[met] = e
		}
	}
	if e != nil {
		f.Refine(e.Tries, a.Target.Endpoint.String(), a.Target.ServerName())
	}
}

// canBeExplained reports whether further handshakes could show why this one failed. A server that sent its certificate has
// accepted version, suite and name. One that is asked for its other certificate accepts all else.
func (a *attempting) canBeExplained() bool {
	return a.Target.Explain == target.ExplainOnChange && a.Handshake != nil && a.Handshake.Leaf() == nil &&
		a.Target.CertificateType == ""
}

// explanation makes up to four handshakes, the first the same as the one that failed, the others each different in one
// respect. None of them verifies anything: the question is only how far the server goes along. It returns nil where
// nothing is worth a try, or no time is left for one.
func (a *attempting) explanation(ctx context.Context) *Explanation {
	ctx, cancel := context.WithTimeout(ctx, maxExplaining)
	defer cancel()
	deadline, _ := ctx.Deadline()
	e := &Explanation{Step: Step{Start: time.Now()}}
	h := a.Handshake
	for _, t := range failure.Tries(a.Failure.Type, h.MinVersion, h.MaxVersion, h.ServerName != "") {
		// The connection's own deadline can be noticed a moment before that of the context.
		if ctx.Err() != nil || time.Now().After(deadline) {
			break
		}
		t.Err = a.try(ctx, &t)
		e.Tries = append(e.Tries, t)
		// Of single versions all that work are of interest, otherwise the first thing that does.
		if t.Err == nil && (t.Same || a.Failure.Type != failure.ProtocolMismatch || t.MinVersion != t.MaxVersion) {
			break
		}
	}
	e.End = time.Now()
	if len(e.Tries) == 0 {
		return nil
	}
	return e
}

// try makes the handshake that t describes, at the address of the one that failed, and notes in t what was negotiated.
func (a *attempting) try(ctx context.Context, t *failure.Try) error {
	ctx, cancel := context.WithTimeout(ctx, maxTry)
	defer cancel()
	conn, err := a.transport.Connect(ctx, a.Dials[len(a.Dials)-1].Addr, maxTry)
	if err != nil {
		return err
	}
	defer conn.Close()
	name := a.Target.ServerName()
	if a.Target.StartTLS != "" {
		if err := conn.StartTLS(a.Target.StartTLS, name); err != nil {
			return err
		}
	}
	cfg := a.tls.Clone()
	cfg.InsecureSkipVerify = true
	cfg.MinVersion, cfg.MaxVersion = t.MinVersion, t.MaxVersion
	cfg.ServerName = name
	if t.WithoutSNI {
		cfg.ServerName = ""
	}
	if t.EverySuite {
		cfg.CipherSuites, cfg.CurvePreferences = everySuite(), nil
	}
	if err := conn.Handshake(cfg); err != nil {
		return err
	}
	state := conn.State()
	t.Version, t.Suite = state.Version, state.CipherSuite
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
