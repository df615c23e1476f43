package probe

import (
	"context"
	"crypto/tls"
	"slices"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const (
	// maxExplaining is the time limit of an explanation, and maxTry that of each of its connections, of which there are up
	// to four. The probe's own deadline applies as well.
	maxExplaining = 5 * time.Second
	maxTry        = 2 * time.Second
)

// Explanation is the search for a handshake that succeeds with a server that has refused one.
type Explanation struct {
	Timed
	Tries []failure.Try
}

// failureKey identifies a failure that has been explained. An explanation may change a failure's type, so the key has the
// type from before that.
type failureKey struct {
	typ   failure.Type
	alert uint8
}

// explainFailure adds to a failed attempt what would work with the server. It makes further handshakes only when the target
// begins to fail, or fails differently. The next probes reuse the explanation, so that the failure keeps its type.
func (r *run) explainFailure(ctx context.Context) {
	f := r.Failure
	if f == nil {
		r.history.explanations = nil
		return
	}
	key := failureKey{f.Type, f.Alert}
	e := r.history.explanations[key]
	if e == nil && r.shouldExplain() {
		if e = r.tryVariants(ctx); e != nil {
			r.Explanation = e
			if r.history.explanations == nil {
				r.history.explanations = make(map[failureKey]*Explanation)
			}
			r.history.explanations[key] = e
		}
	}
	if e != nil {
		f.Refine(e.Tries, r.Target.Endpoint.String(), r.Target.ServerName())
	}
}

// shouldExplain reports whether further handshakes could show why this one failed. A server that has sent its certificate
// has accepted the version, the cipher suites and the name. If a certificate type was requested, the server most likely has
// no certificate of that type.
func (r *run) shouldExplain() bool {
	return r.Target.Explain == target.ExplainOnChange && r.Handshake != nil && r.Handshake.Leaf() == nil &&
		r.Target.CertificateType == ""
}

// tryVariants makes up to four handshakes. The first is the same as the one that failed. Each of the others differs from it
// in one respect. They verify no certificates, as only the server's choice matters. tryVariants returns nil if the failure
// leaves nothing to try, or if no time is left.
func (r *run) tryVariants(ctx context.Context) *Explanation {
	ctx, cancel := context.WithTimeout(ctx, maxExplaining)
	defer cancel()
	deadline, _ := ctx.Deadline()
	e := &Explanation{Timed: Timed{Start: time.Now()}}
	h := r.Handshake
	for _, t := range failure.Tries(r.Failure.Type, h.MinVersion, h.MaxVersion, h.ServerName != "") {
		// The deadline of a connection may take effect just before the context reports the same deadline.
		if ctx.Err() != nil || time.Now().After(deadline) {
			break
		}
		t.Err = r.try(ctx, &t)
		e.Tries = append(e.Tries, t)
		// Each single version is tried, to list all that the server supports. Otherwise the first success ends the search.
		if t.Err == nil && (t.Same || r.Failure.Type != failure.ProtocolMismatch || t.MinVersion != t.MaxVersion) {
			break
		}
	}
	e.End = time.Now()
	if len(e.Tries) == 0 {
		return nil
	}
	return e
}

// try makes the handshake that t describes, with the address of the failed handshake, and sets in t what was negotiated.
func (r *run) try(ctx context.Context, t *failure.Try) error {
	ctx, cancel := context.WithTimeout(ctx, maxTry)
	defer cancel()
	conn, err := r.transport.Connect(ctx, r.Dials[len(r.Dials)-1].Addr, maxTry)
	if err != nil {
		return err
	}
	defer conn.Close()
	name := r.Target.ServerName()
	if r.Target.StartTLS != "" {
		if err := conn.StartTLS(r.Target.StartTLS, name); err != nil {
			return err
		}
	}
	cfg := r.tls.Clone()
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

// everySuite returns the cipher suites that crypto/tls knows.
func everySuite() []uint16 {
	var ids []uint16
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		ids = append(ids, s.ID)
	}
	return ids
}
