// Package engine probes targets and shows what it finds to observers. It owns the schedule, the watch over files, the
// prober, and the one goroutine in which observers are called. What they do with an outcome is their affair.
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
	// flushSize is after how many outcomes observers are told to flush. An outcome takes 3 KiB in OTLP, with long names more
	// than ten, and most receivers of OTLP refuse messages of more than 4 MiB.
	flushSize = 200

	// gather is how long outcomes wait for others, so that not each of them wakes the loop.
	gather = 20 * time.Millisecond

	queueSize = 256
)

// Observer is shown what was found. The engine calls its observers in order and from one goroutine, so one that blocks
// stops the others, and soon the probes. Each keeps its own state.
type Observer interface {
	// Observe takes in an outcome, which it must not change. ctx ends when the engine is to stop without further delay.
	Observe(ctx context.Context, o probe.Outcome)
	// Flush passes on what was gathered from the outcomes since the last flush.
	Flush(ctx context.Context)
}

// Config is what an engine needs. All fields but Shard must be set.
type Config struct {
	MaxConcurrent int // probes at the same time
	Shard         target.Shard
	Observers     []Observer

	// These are told how the probing itself goes, from any number of goroutines: a probe begins, so long after its time; it
	// ends; or it is skipped, because the target's last one is still running.
	Begin func(late time.Duration)
	End   func()
	Skip  func()

	// FlushAfter is how old the first outcome since the last flush becomes before observers are told to flush.
	FlushAfter time.Duration

	Log *zap.Logger
}

// Engine probes a set of targets that can be replaced while it runs.
type Engine struct {
	cfg      Config
	prober   probe.Prober
	schedule schedule.Schedule
	watcher  *watch.Watcher

	outcomes chan probe.Outcome
	sets     chan []*target.Target // that replace those before
	ended    chan struct{}         // closed when Run returns

	// What follows belongs to the goroutine of Run.
	live     map[*target.Target]bool
	places   map[string]map[target.Place]bool // by the targets' IDs: files and addresses that outcomes were about
	observed int                              // since the last flush
	flushing *time.Timer
}

// New returns an engine for these targets.
func New(cfg Config, targets []*target.Target) *Engine {
	e := &Engine{
		cfg:      cfg,
		outcomes: make(chan probe.Outcome, queueSize),
		sets:     make(chan []*target.Target),
		ended:    make(chan struct{}),
		places:   make(map[string]map[target.Place]bool),
	}
	e.schedule = schedule.Schedule{
		MaxConcurrent: cfg.MaxConcurrent,
		Probe:         e.probe,
		Skip:          func(*target.Target) { cfg.Skip() },
	}
	e.watcher = watch.New(e.schedule.Now, func(dir string, err error) {
		cfg.Log.Warn("Some directories of certificate files cannot be watched; files there are read at each interval only.",
			zap.String("directory", dir), zap.Error(err))
	})
	targets = e.ours(targets)
	e.live = setOf(targets)
	e.schedule.Set(targets)
	e.watcher.Set(targets)
	return e
}

// ours returns the targets that are in the shard.
func (e *Engine) ours(targets []*target.Target) (ours []*target.Target) {
	for _, t := range targets {
		if e.cfg.Shard.Has(t.ID) {
			ours = append(ours, t)
		}
	}
	return ours
}

func setOf(targets []*target.Target) map[*target.Target]bool {
	set := make(map[*target.Target]bool, len(targets))
	for _, t := range targets {
		set[t] = true
	}
	return set
}

// Set replaces the targets. Those that are in both sets are probed on as if nothing had happened. One goroutine may call it
// at a time, while Run runs or after.
func (e *Engine) Set(targets []*target.Target) {
	targets = e.ours(targets)
	// The loop comes first, so that it knows each target before an outcome of it comes.
	select {
	case e.sets <- targets:
	case <-e.ended:
		return
	}
	e.schedule.Set(targets)
	e.watcher.Set(targets)
}

// Run probes until probing ends, and returns when the observers have seen the outcomes of all complete probes and have been
// flushed. Observers are called with observing, which should end some time after probing. Run may be called once.
func (e *Engine) Run(probing, observing context.Context) {
	var working sync.WaitGroup
	working.Go(func() { e.schedule.Run(probing) })
	working.Go(func() { e.watcher.Run(probing) })
	done := make(chan struct{})
	go func() {
		working.Wait()
		close(done)
	}()
	e.loop(observing, done)
	close(e.ended)
}

// loop shows outcomes to the observers until done is closed and there are no more of them.
func (e *Engine) loop(ctx context.Context, done <-chan struct{}) {
	e.flushing = time.NewTimer(e.cfg.FlushAfter)
	e.flushing.Stop()
	defer e.flushing.Stop()
	for {
		select {
		case o := <-e.outcomes:
			e.take(ctx, o)
			if len(e.outcomes) == 0 {
				time.Sleep(gather)
			}
		case targets := <-e.sets:
			e.replace(ctx, targets)
		case <-e.flushing.C:
			e.flush(ctx)
		case <-done:
			for len(e.outcomes) > 0 {
				e.take(ctx, <-e.outcomes)
			}
			e.flush(ctx)
			return
		}
	}
}

// probe makes one probe. It blocks while the observers are too slow for what is found.
func (e *Engine) probe(ctx context.Context, t *target.Target, late time.Duration) {
	e.cfg.Begin(late)
	defer e.cfg.End()
	outcomes, again := e.prober.Probe(ctx, t)
	if again > 0 {
		time.AfterFunc(again, func() { e.schedule.Now(t) }) // which does nothing where t is gone or all has ended
	}
	for _, o := range outcomes {
		e.outcomes <- o
	}
}

// take shows an outcome to the observers, unless its target was removed while it was probed: nothing may follow the outcome
// that says so.
func (e *Engine) take(ctx context.Context, o probe.Outcome) {
	t, at := o.Common().Target, o.Common().Place
	if !e.live[t] {
		e.prober.Forget(t)
		return
	}
	if _, gone := o.(*probe.Gone); gone {
		delete(e.places[t.ID], at)
	} else if at != t.Place() {
		if e.places[t.ID] == nil {
			e.places[t.ID] = make(map[target.Place]bool)
		}
		e.places[t.ID][at] = true
	}
	e.observe(ctx, o)
}

// replace makes targets those that are live. Of each that is gone the observers learn so, for each place of it. One that only
// has other settings now is another target with the same ID, so its places stay.
func (e *Engine) replace(ctx context.Context, targets []*target.Target) {
	before := e.live
	e.live = setOf(targets)
	ids := make(map[string]bool, len(targets))
	for _, t := range targets {
		ids[t.ID] = true
	}
	for t := range before {
		if e.live[t] {
			continue
		}
		e.prober.Forget(t)
		if ids[t.ID] {
			continue
		}
		now := time.Now()
		for at := range e.places[t.ID] {
			e.observe(ctx, &probe.Gone{About: probe.About{Target: t, Place: at, Start: now, End: now}})
		}
		delete(e.places, t.ID)
		e.observe(ctx, &probe.Gone{About: probe.About{Target: t, Place: t.Place(), Start: now, End: now}})
	}
}

func (e *Engine) observe(ctx context.Context, o probe.Outcome) {
	for _, observer := range e.cfg.Observers {
		e.show(ctx, observer, o)
	}
	switch e.observed++; e.observed {
	case 1:
		e.flushing.Reset(e.cfg.FlushAfter)
	case flushSize:
		e.flush(ctx)
	}
}

// show shows an outcome to one observer. A certificate that makes it panic costs it only that outcome.
func (e *Engine) show(ctx context.Context, observer Observer, o probe.Outcome) {
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
	e.flushing.Stop()
	e.observed = 0
}
