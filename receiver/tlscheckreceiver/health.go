package tlscheckreceiver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
)

// health tells the collector's log and its component status which endpoints and files fail, when that changes and not at every
// interval. Its outcomes come from one goroutine, that of the recorder.
type health struct {
	log     *zap.Logger
	failing map[subject]failure.Type
	flawed  map[subject]string // which block of a file cannot be read

	mu    sync.Mutex // guards what follows
	hosts []component.Host
	last  *componentstatus.Event // nil before the first outcome
}

// subject is what fails: a target's endpoint or one of its files.
type subject struct {
	id   string // of the target
	name string
}

func newHealth(log *zap.Logger) *health {
	return &health{log: log, failing: make(map[subject]failure.Type), flawed: make(map[subject]string)}
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
	f := o.Failure
	at := subject{o.Target.ID, o.Name()}
	was, failed := h.failing[at]
	if o.Gone {
		gone := func(s subject) bool { return s == at || s.id == at.id && o.File == nil && !o.Peer.IsValid() }
		maps.DeleteFunc(h.failing, func(s subject, _ failure.Type) bool { return gone(s) })
		maps.DeleteFunc(h.flawed, func(s subject, _ string) bool { return gone(s) })
		h.report()
		return
	}
	if o.File != nil && o.File.FirstBad != h.flawed[at] {
		h.flawed[at] = o.File.FirstBad
		if o.File.FirstBad == "" {
			delete(h.flawed, at)
		} else {
			h.log.Warn("Parts of a certificate file cannot be read; the others are watched. The first: "+o.File.FirstBad,
				zap.String("file", o.Name()), zap.Int("parts", o.File.Bad))
		}
	}
	switch {
	case f != nil && !failed:
		h.log.Warn(what(o)+" begins to fail: "+f.Cause, zap.String("endpoint", o.Name()),
			zap.String("error.type", string(f.Type)), zap.String("step", string(f.Step)), zap.String("fix", f.Fix))
	case f == nil && failed:
		h.log.Info(what(o)+" has recovered.", zap.String("endpoint", o.Name()), zap.String("was", string(was)))
	}
	changed := failed
	if f == nil {
		delete(h.failing, at)
	} else {
		h.failing[at] = f.Type
		changed = was != f.Type // which it is where there was none
	}
	if changed || h.last == nil {
		h.report()
	}
}

func what(o *probe.Outcome) string {
	if o.File != nil {
		return "Certificate file"
	}
	return "TLS endpoint"
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
	for s, typ := range h.failing {
		names = append(names, fmt.Sprintf("%s (%s)", s.name, typ))
	}
	slices.Sort(names)
	text := fmt.Sprintf("%d failing: ", len(names))
	if len(names) > most {
		return errors.New(text + strings.Join(names[:most], ", ") + ", …")
	}
	return errors.New(text + strings.Join(names, ", "))
}
