// Package health reports failing endpoints and files in the collector's log and as the component's status. It reports changes
// only, not every probe.
package health

import (
	"context"
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

// Health is an observer of outcomes. Observe and Flush must be called from one goroutine. Join may be called from any.
type Health struct {
	log        *zap.Logger
	failing    map[target.Place]failing
	unreadable map[target.Place]string // the first block that cannot be read, of files with such blocks
	observed   bool                    // whether there has been an outcome
	changed    bool                    // whether the next flush reports the status

	mu    sync.Mutex             // guards what follows
	hosts []component.Host       // none after Close
	last  *componentstatus.Event // the status that was reported last; nil before the first flush
}

// failing is why a place fails.
type failing struct {
	typ  failure.Type
	text string // for the status
}

// New returns a Health without hosts.
func New(log *zap.Logger) *Health {
	return &Health{log: log, failing: make(map[target.Place]failing), unreadable: make(map[target.Place]string)}
}

// Join adds a host. The status is reported to all hosts: the collector has one for each signal that the receiver is used for.
// The last status is reported to a host that joins late.
func (h *Health) Join(host component.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts = append(h.hosts, host)
	if h.last != nil {
		componentstatus.ReportStatus(host, h.last)
	}
}

// Close ends the reports: while a component stops, the collector expects no status from it.
func (h *Health) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts = nil
}

// Observe logs what has changed.
func (h *Health) Observe(_ context.Context, o probe.Outcome) {
	if !h.observed {
		h.observed, h.changed = true, true
	}
	a := o.Common()
	switch o := o.(type) {
	case *probe.Gone:
		delete(h.unreadable, a.Place)
		h.remove(a.Place)
	case *probe.FileOutcome:
		h.logUnreadable(o)
		h.update("Certificate file", a)
	default:
		h.update("TLS endpoint", a)
	}
}

// logUnreadable logs that parts of a file cannot be read, if these are not the same as before.
func (h *Health) logUnreadable(o *probe.FileOutcome) {
	switch o.FirstBad {
	case h.unreadable[o.Place]:
	case "":
		delete(h.unreadable, o.Place)
	default:
		h.unreadable[o.Place] = o.FirstBad
		h.log.Warn("Parts of a certificate file cannot be read. The first one: "+o.FirstBad,
			zap.String("file", o.Name()), zap.Int("parts", o.Bad))
	}
}

// update logs that a place began to fail or recovered. A failure of another type changes only the status.
func (h *Health) update(kind string, a *probe.About) {
	last, failed := h.failing[a.Place]
	f := a.Failure
	if f == nil {
		if failed {
			h.log.Info(kind+" has recovered.", zap.String("endpoint", a.Name()), zap.String("was", string(last.typ)))
			h.remove(a.Place)
		}
		return
	}
	if !failed {
		h.log.Warn(kind+" begins to fail: "+f.Cause, zap.String("endpoint", a.Name()),
			zap.String("error.type", string(f.Type)), zap.String("step", string(f.Step)), zap.String("fix", f.Fix))
	}
	if !failed || last.typ != f.Type {
		h.failing[a.Place] = failing{f.Type, fmt.Sprintf("%s (%s)", a.Name(), f.Type)}
		h.changed = true
	}
}

// remove forgets the failure of a place, if it has one.
func (h *Health) remove(place target.Place) {
	if _, failed := h.failing[place]; failed {
		delete(h.failing, place)
		h.changed = true
	}
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

// summary returns an error that names the first few failing places in alphabetical order.
func (h *Health) summary() error {
	const most = 10
	first := make([]string, 0, most+1) // sorted
	for _, f := range h.failing {
		i, _ := slices.BinarySearch(first, f.text)
		first = slices.Insert(first, i, f.text)
		first = first[:min(len(first), most)]
	}
	more := ""
	if len(h.failing) > most {
		more = ", …"
	}
	return fmt.Errorf("%d failing: %s%s", len(h.failing), strings.Join(first, ", "), more)
}
