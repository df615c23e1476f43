// Package health reports which endpoints and files fail to the collector's log and as the component's status: when that
// changes, and not at every interval.
package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Health observes outcomes, in one goroutine. Hosts may join from any.
type Health struct {
	log      *zap.Logger
	failing  map[target.Place]failing
	flawed   map[target.Place]string // which block of a file cannot be read
	observed bool                    // whether there was an outcome
	changed  bool                    // whether the status is other than the one reported last

	mu    sync.Mutex // guards what follows
	hosts []component.Host
	last  *componentstatus.Event // nil before the first flush
}

// failing is a place that fails, as the status names it.
type failing struct {
	name string
	typ  failure.Type
}

// New returns a Health without hosts.
func New(log *zap.Logger) *Health {
	return &Health{log: log, failing: make(map[target.Place]failing), flawed: make(map[target.Place]string)}
}

// Join adds a host to report the status to. There is one for each signal that the receiver is used for.
func (h *Health) Join(host component.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts = append(h.hosts, host)
	if h.last != nil {
		componentstatus.ReportStatus(host, h.last)
	}
}

// Observe logs what changed.
func (h *Health) Observe(_ context.Context, o probe.Outcome) {
	if !h.observed {
		h.observed, h.changed = true, true
	}
	a := o.Common()
	before, failed := h.failing[a.Place]
	switch o := o.(type) {
	case *probe.Gone:
		delete(h.failing, a.Place)
		delete(h.flawed, a.Place)
		h.changed = h.changed || failed
	case *probe.FileOutcome:
		h.logFlaw(o)
		h.compare("Certificate file", a, before, failed)
	default:
		h.compare("TLS endpoint", a, before, failed)
	}
}

// logFlaw logs that parts of a file cannot be read.
func (h *Health) logFlaw(o *probe.FileOutcome) {
	switch {
	case o.FirstBad == h.flawed[o.Place]:
	case o.FirstBad == "":
		delete(h.flawed, o.Place)
	default:
		h.flawed[o.Place] = o.FirstBad
		h.log.Warn("Parts of a certificate file cannot be read; the others are watched. The first: "+o.FirstBad,
			zap.String("file", o.Name()), zap.Int("parts", o.Bad))
	}
}

// compare logs that a place begins to fail or has recovered.
func (h *Health) compare(kind string, a *probe.About, before failing, failed bool) {
	f := a.Failure
	switch {
	case f != nil && !failed:
		h.log.Warn(kind+" begins to fail: "+f.Cause, zap.String("endpoint", a.Name()),
			zap.String("error.type", string(f.Type)), zap.String("step", string(f.Step)), zap.String("fix", f.Fix))
	case f == nil && failed:
		h.log.Info(kind+" has recovered.", zap.String("endpoint", a.Name()), zap.String("was", string(before.typ)))
	}
	if f == nil {
		delete(h.failing, a.Place)
		h.changed = h.changed || failed
		return
	}
	h.failing[a.Place] = failing{a.Name(), f.Type}
	h.changed = h.changed || before.typ != f.Type
}

// Flush reports the status if it has changed since it was last reported.
func (h *Health) Flush(context.Context) {
	if !h.changed {
		return
	}
	h.changed = false
	event := componentstatus.NewEvent(componentstatus.StatusOK)
	if len(h.failing) > 0 {
		event = componentstatus.NewRecoverableErrorEvent(h.summary())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = event
	for _, host := range h.hosts {
		componentstatus.ReportStatus(host, event)
	}
}

// summary names the places that fail, the first few of them.
func (h *Health) summary() error {
	const most = 10
	names := make([]string, 0, len(h.failing))
	for _, f := range h.failing {
		names = append(names, fmt.Sprintf("%s (%s)", f.name, f.typ))
	}
	slices.Sort(names)
	text := fmt.Sprintf("%d failing: ", len(names))
	if len(names) > most {
		return errors.New(text + strings.Join(names[:most], ", ") + ", …")
	}
	return errors.New(text + strings.Join(names, ", "))
}
