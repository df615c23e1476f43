// Package engine probes targets and passes the outcomes to observers. It owns the schedule, the file watch, the prober,
// and the one goroutine that calls the observers.
package engine

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/schedule"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/watch"
)

const (
	// flushSize is the number of outcomes after which the observers are flushed. An outcome takes about 3 KiB in OTLP, with
	// long names more than 10 KiB, and most OTLP receivers refuse messages of more than 4 MiB.
	flushSize = 200

	// pause is how long the loop sleeps once its queue is empty, so that it is not woken for each single outcome.
	pause = 20 * time.Millisecond

	queueSize = 256
)

// Observer receives outcomes. The engine calls its observers in order and from one goroutine, so an observer that blocks
// holds up the others, and when the queue is full, the probes too.
type Observer interface {
	// Observe receives an outcome, which it must not change. When ctx ends, it must return soon.
	Observe(ctx context.Context, o probe.Outcome)
	// Flush sends what the observer has collected since the last flush. When ctx ends, it must return soon.
	Flush(ctx context.Context)
}

// Config is the configuration of an engine. All fields except Shard and Observers must be set.
type Config struct {
	MaxConcurrent int          // how many probes may run at the same time
	Shard         target.Shard // the zero value probes all targets
	Observers     []Observer

	// Begin, End and Skip may be called by several goroutines at the same time. Begin is called when a probe begins; late
	// is how long after its scheduled time that is. End is called when the probe ends. Skip is called when a probe is skipped
	// because the target's last one is still running.
	Begin func(late time.Duration)
	End   func()
	Skip  func()

	// FlushAfter is the longest time between an outcome and the flush that follows it.
	FlushAfter time.Duration

	Log *zap.Logger
}

// Engine probes a set of targets, which can be replaced while it runs. New makes one.
type Engine struct {
	cfg      Config
	prober   probe.Prober
	schedule schedule.Schedule
	watcher  *watch.Watcher

	outcomes chan probe.Outcome
	updates  chan []*target.Target // each replaces all targets
	ended    chan struct{}         // closed when Run returns

	// The fields below are used only by the goroutine that calls Run.
	live       map[*target.Target]bool
	places     map[string]map[target.Place]bool // by target ID: the files and addresses with outcomes
	observed   int                              // number of outcomes since the last flush
	flushTimer *time.Timer
}

// New returns an engine that probes those of the targets that are in the shard.
func New(cfg Config, targets []*target.Target) *Engine {
	e := &Engine{
		cfg:      cfg,
		outcomes: make(chan probe.Outcome, queueSize),
		updates:  make(chan []*target.Target),
		ended:    make(chan struct{}),
		places:   make(map[string]map[target.Place]bool),
	}
	e.schedule = schedule.Schedule{
		MaxConcurrent: cfg.MaxConcurrent,
		Probe:         e.probe,
		Skip:          func(*target.Target) { cfg.Skip() },
	}
	e.watcher = watch.New(e.schedule.Now, func(dir string, err error) {
		cfg.Log.Warn("Some directories of certificate files cannot be watched. The files there are read only once per collection interval.",
			zap.String("directory", dir), zap.Error(err))
	})
	targets = e.inShard(targets)
	e.live = setOf(targets)
	e.schedule.Set(targets)
	e.watcher.Set(targets)
	return e
}

// inShard returns the targets that are in the shard.
func (e *Engine) inShard(targets []*target.Target) (own []*target.Target) {
	for _, t := range targets {
		if e.cfg.Shard.Has(t.ID) {
			own = append(own, t)
		}
	}
	return own
}

func setOf(targets []*target.Target) map[*target.Target]bool {
	set := make(map[*target.Target]bool, len(targets))
	for _, t := range targets {
		set[t] = true
	}
	return set
}

// Set replaces the targets. It does not disturb targets that are in both sets. It blocks until Run has been called, and
// does nothing once Run has returned. Only one goroutine may call it at a time.
func (e *Engine) Set(targets []*target.Target) {
	targets = e.inShard(targets)
	// The loop must know a target before its first outcome arrives, so the schedule gets the targets last.
	select {
	case e.updates <- targets:
	case <-e.ended:
		return
	}
	e.schedule.Set(targets)
	e.watcher.Set(targets)
}

// Run probes until the context probing ends. It returns when the observers have received the outcomes of all completed
// probes and have been flushed. The observers are called with the context observing, which should end later than probing.
// Run may be called only once.
func (e *Engine) Run(probing, observing context.Context) {
	var running sync.WaitGroup
	running.Go(func() { e.schedule.Run(probing) })
	running.Go(func() { e.watcher.Run(probing) })
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	e.loop(observing, done)
	close(e.ended)
}

// loop passes outcomes to the observers until done is closed and the queue is empty.
func (e *Engine) loop(ctx context.Context, done <-chan struct{}) {
	e.flushTimer = time.NewTimer(e.cfg.FlushAfter)
	e.flushTimer.Stop() // until the first outcome
	defer e.flushTimer.Stop()
	for {
		select {
		case o := <-e.outcomes:
			e.receive(ctx, o)
			if len(e.outcomes) == 0 {
				time.Sleep(pause)
			}
		case targets := <-e.updates:
			e.replace(ctx, targets)
		case <-e.flushTimer.C:
			e.flush(ctx)
		case <-done:
			for len(e.outcomes) > 0 {
				e.receive(ctx, <-e.outcomes)
			}
			e.flush(ctx)
			return
		}
	}
}

// probe makes one probe. It blocks while the queue of outcomes is full.
func (e *Engine) probe(ctx context.Context, t *target.Target, late time.Duration) {
	e.cfg.Begin(late)
	defer e.cfg.End()
	outcomes, again := e.prober.Probe(ctx, t)
	if again > 0 {
		time.AfterFunc(again, func() { e.schedule.Now(t) }) // does nothing if t was removed or the schedule has ended
	}
	for _, o := range outcomes {
		e.outcomes <- o
	}
}

// receive passes an outcome to the observers, unless its target was removed during the probe: the Gone outcome that
// replace has sent must stay the target's last one. It keeps track of the target's files and addresses.
func (e *Engine) receive(ctx context.Context, o probe.Outcome) {
	t, place := o.Common().Target, o.Common().Place
	if !e.live[t] {
		e.prober.Forget(t)
		return
	}
	if _, gone := o.(*probe.Gone); gone {
		delete(e.places[t.ID], place)
	} else if place != t.Place() {
		if e.places[t.ID] == nil {
			e.places[t.ID] = make(map[target.Place]bool)
		}
		e.places[t.ID][place] = true
	}
	e.observe(ctx, o)
}

// replace makes targets the live ones. For each target that was removed, it passes a Gone outcome to the observers for
// each of the target's places. If only the settings of a target have changed, there is a new target with the same ID, and
// the places stay, but for single addresses that are no longer probed.
func (e *Engine) replace(ctx context.Context, targets []*target.Target) {
	before := e.live
	e.live = setOf(targets)
	byID := make(map[string]*target.Target, len(targets))
	for _, t := range targets {
		byID[t.ID] = t
	}
	for t := range before {
		if e.live[t] {
			continue
		}
		e.prober.Forget(t)
		changed := byID[t.ID]
		for place := range e.places[t.ID] {
			if changed == nil || place.Peer.IsValid() && !changed.ResolveAll {
				e.remove(ctx, t, place)
			}
		}
		if changed == nil {
			e.remove(ctx, t, t.Place())
			delete(e.places, t.ID)
		}
	}
}

// remove passes a Gone outcome to the observers.
func (e *Engine) remove(ctx context.Context, t *target.Target, place target.Place) {
	now := time.Now()
	delete(e.places[t.ID], place)
	e.observe(ctx, &probe.Gone{About: probe.About{Target: t, Place: place, Start: now, End: now}})
}

// observe passes an outcome to all observers, and flushes them when enough outcomes have come together.
func (e *Engine) observe(ctx context.Context, o probe.Outcome) {
	for _, observer := range e.cfg.Observers {
		e.observeWith(ctx, observer, o)
	}
	switch e.observed++; e.observed {
	case 1:
		e.flushTimer.Reset(e.cfg.FlushAfter)
	case flushSize:
		e.flush(ctx)
	}
}

// observeWith passes an outcome to one observer. If the observer panics, for example because of an unusual certificate, it
// loses only this outcome.
func (e *Engine) observeWith(ctx context.Context, observer Observer, o probe.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			e.cfg.Log.Error("The result of one probe could not be processed and is lost. This is a bug in the receiver; please report it.",
				zap.String("target", o.Common().Name()), zap.Any("panic", v), zap.Stack("stack"))
		}
	}()
	observer.Observe(ctx, o)
}

func (e *Engine) flush(ctx context.Context) {
	for _, observer := range e.cfg.Observers {
		observer.Flush(ctx)
	}
	e.flushTimer.Stop()
	e.observed = 0
}
