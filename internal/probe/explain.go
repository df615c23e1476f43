package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

const (
	// maxExplaining is the time limit of an explanation, and maxTry that of each of its connections, of which there are up
	// to four. The probe's own deadline applies as well.
	maxExplaining = 5 * time.Second
	maxTry        = 2 * time.Second
)

// Explanation is the search for what a server that has refused a handshake would accept.
type Explanation struct {
	Timed
	Tries []failure.Try
	asked failure.Asked
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
		f.Refine(&e.asked, e.Tries, r.Target.Endpoint.String(), r.Target.ServerName())
	}
}

// shouldExplain reports whether further handshakes could show why this one failed. A server that has sent its certificate
// has accepted the version, the cipher suites and the name.
func (r *run) shouldExplain() bool {
	return r.Target.Explain == target.ExplainOnChange && r.Handshake != nil && r.Handshake.Leaf() == nil
}

// tryVariants makes up to four connections. The first makes the same handshake as the one that failed. The others ask the
// server what it would choose from other offers. No certificate is verified, as only the server's choice matters.
// tryVariants returns nil if the failure leaves nothing to try, or if no time is left.
func (r *run) tryVariants(ctx context.Context) *Explanation {
	ctx, cancel := context.WithTimeout(ctx, maxExplaining)
	defer cancel()
	deadline, _ := ctx.Deadline()
	e := &Explanation{Timed: Timed{Start: time.Now()}, asked: r.asked()}
	// The deadline of a connection may take effect just before the context reports the same deadline.
	for ctx.Err() == nil && time.Now().Before(deadline) {
		t := failure.NextTry(r.Failure.Type, &e.asked, e.Tries)
		if t == nil {
			break
		}
		t.Choice, t.Err = r.try(ctx, t, &e.asked)
		e.Tries = append(e.Tries, *t)
	}
	e.End = time.Now()
	if len(e.Tries) == 0 {
		return nil
	}
	return e
}

// try makes the connection that t describes, to the address of the failed handshake.
func (r *run) try(ctx context.Context, t *failure.Try, asked *failure.Asked) (*failure.Choice, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTry)
	defer cancel()
	conn, err := r.transport.Connect(ctx, r.Dials[len(r.Dials)-1].Addr, maxTry)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	name := r.Target.ServerName()
	if r.Target.StartTLS != "" {
		if err := conn.StartTLS(r.Target.StartTLS, name); err != nil {
			return nil, err
		}
	}
	if !t.Same {
		answer, err := conn.Ask(t.Offer(asked))
		if err != nil {
			return nil, err
		}
		return failure.NewChoice(answer), nil
	}
	cfg := r.tls.Clone()
	cfg.InsecureSkipVerify = true
	cfg.ServerName = name
	if err := conn.Handshake(cfg); err != nil {
		return nil, err
	}
	state := conn.State()
	return &failure.Choice{Version: state.Version, Suite: state.CipherSuite, Group: uint16(state.CurveID)}, nil
}

// asked returns what the handshake offered, and what it could be made to offer by settings.
func (r *run) asked() failure.Asked {
	cfg := r.tls.Clone()
	cfg.InsecureSkipVerify = true
	cfg.ServerName = r.Target.ServerName()
	cfg.MinVersion, cfg.MaxVersion = r.Handshake.MinVersion, r.Handshake.MaxVersion
	a := failure.Asked{Offered: offerOf(cfg), CertificateType: r.Target.CertificateType}
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS13
	a.Offered.Groups = offerOf(cfg).Groups // some are only for TLS 1.3, and no setting keeps them back
	cfg.CipherSuites, cfg.CurvePreferences = everySuite(), nil
	if a.CertificateType != "" {
		cfg.MaxVersion = tls.VersionTLS12
		cfg.CipherSuites = slices.DeleteFunc(cfg.CipherSuites, func(id uint16) bool {
			return !strings.HasPrefix(tls.CipherSuiteName(id), "TLS_ECDHE_"+strings.ToUpper(a.CertificateType)+"_")
		})
	}
	a.Possible = offerOf(cfg)
	return a
}

// offerOf returns what the ClientHello offers that crypto/tls makes with this configuration. Only crypto/tls knows all of
// it, so offerOf has a client write its ClientHello and a server read it.
func offerOf(cfg *tls.Config) clienthello.Offer {
	o := clienthello.Offer{MinVersion: cfg.MinVersion, MaxVersion: cfg.MaxVersion}
	var hello bytes.Buffer
	_ = tls.Client(oneWay{Writer: &hello, Reader: new(bytes.Buffer)}, cfg).Handshake() // fails, as there is no answer
	_ = tls.Server(oneWay{Writer: io.Discard, Reader: &hello}, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		o.Suites, o.ServerName = info.CipherSuites, info.ServerName
		for _, id := range info.SupportedCurves {
			o.Groups = append(o.Groups, uint16(id))
		}
		for _, id := range info.SignatureSchemes {
			o.Schemes = append(o.Schemes, uint16(id))
		}
		return nil, errRead
	}}).Handshake()
	return o
}

var errRead = errors.New("the ClientHello was read")

// oneWay is a connection of which one direction leads nowhere.
type oneWay struct {
	net.Conn // nil, as a handshake needs only these two
	io.Reader
	io.Writer
}

func (o oneWay) Read(p []byte) (int, error)  { return o.Reader.Read(p) }
func (o oneWay) Write(p []byte) (int, error) { return o.Writer.Write(p) }

// everySuite returns the cipher suites that crypto/tls knows.
func everySuite() []uint16 {
	var ids []uint16
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		ids = append(ids, s.ID)
	}
	return ids
}
