package tlscheckreceiver

import (
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

// health tells the collector's log and its component status which targets fail, when that changes and not at every
// interval. Its outcomes come from one goroutine, that of the recorder.
type health struct {
	log     *zap.Logger
	failing map[*target.Target]failure.Type

	mu    sync.Mutex // guards what follows
	hosts []component.Host
	last  *componentstatus.Event // nil before the first outcome
}

func newHealth(log *zap.Logger) *health {
	return &health{log: log, failing: make(map[*target.Target]failure.Type)}
}

// join adds a host to be told; there is one for each signal that the receiver is used for.
func (h *health) join(host component.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts = append(h.hosts, host)
	if h.last != nil {
		componentstatus.ReportStatus(host, h.last)
	}
}

func (h *health) observe(o *probe.Outcome) {
	t, f := o.Target, o.Failure
	was, failed := h.failing[t]
	switch {
	case f != nil && !failed:
		h.log.Warn("TLS endpoint begins to fail: "+f.Cause, zap.Stringer("endpoint", t.Endpoint),
			zap.String("error.type", string(f.Type)), zap.String("step", string(f.Step)), zap.String("fix", f.Fix))
	case f == nil && failed:
		h.log.Info("TLS endpoint has recovered.", zap.Stringer("endpoint", t.Endpoint), zap.String("was", string(was)))
	}
	changed := failed
	if f == nil {
		delete(h.failing, t)
	} else {
		h.failing[t] = f.Type
		changed = was != f.Type // which it is where there was none
	}
	if changed || h.last == nil {
		h.report()
	}
}

func (h *health) report() {
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

// summary names the failing targets, the first few of them.
func (h *health) summary() error {
	const most = 10
	names := make([]string, 0, len(h.failing))
	for t, typ := range h.failing {
		names = append(names, fmt.Sprintf("%s (%s)", t.Endpoint, typ))
	}
	slices.Sort(names)
	text := fmt.Sprintf("%d failing: ", len(names))
	if len(names) > most {
		return errors.New(text + strings.Join(names[:most], ", ") + ", …")
	}
	return errors.New(text + strings.Join(names, ", "))
}
