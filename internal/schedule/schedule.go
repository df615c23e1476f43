// Package schedule decides when each target is probed. It spreads the probes evenly over the interval, keeps the time
// between two probes of a target constant to within a tick, and limits how many probes run at the same time. It knows
// nothing about TLS.
package schedule

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

const (
	// maxTick is the time between two starts of probes, unless an interval is short. At a thousand probes a second, 20
	// start together. Waking up for each one would take a third of the CPU time of a probe. With a longer tick, the
	// probes would wait for each other's CPU time, and their handshakes would seem slower than they are.
	maxTick = 20 * time.Millisecond
	// maxLag is how late the schedule may be and still catch up, after the process was stopped or starved. Catching up
	// adds no more than a tenth to the probes that start within a second. If the schedule is later than that, it moves all
	// targets instead, as a burst of all missed probes would be worse.
	maxLag = 100 * time.Millisecond
	// hangTime is the shortest duration of a probe after which its target is expected to hang again. It is longer than a
	// handshake with a distant server whose first packet was lost: TCP sends it again after a second.
	hangTime = 2 * time.Second
	// maxIdle is how many goroutines may wait for another probe instead of ending. The stack of a new goroutine is too
	// small for a handshake, and is copied several times until it is large enough.
	maxIdle = 32
)

// Schedule runs probes. Set the exported fields first, and do not change them later. The methods may be called from any
// goroutine.
type Schedule struct {
	// MaxConcurrent is how many probes may run at the same time: the number of slots.
	//
	// Targets that hang occupy a slot for their whole timeout. If they occupied all slots, all other targets would wait.
	// So the targets that hung last time wait in a queue of their own. A quarter of the slots is only for them, and a
	// quarter only for the others. In the remaining slots, the others go first. A target that hangs for the first time is
	// not in that queue yet. To keep all others on time even then, there must be more slots than targets × timeout ÷
	// interval, where targets is the number of targets that hang.
	MaxConcurrent int

	// Probe makes one probe. late is the time since the tick at which it was due. Probe is called from many goroutines,
	// but never by two of them for the same target at the same time. It should return soon after ctx ends.
	Probe func(ctx context.Context, t *target.Target, late time.Duration)
	// Skip is called instead of Probe if the previous probe of the target is still running, or waiting for a slot.
	Skip func(t *target.Target)

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	timer   *time.Timer     // fires when a target is due; nil before Run
	workers sync.WaitGroup

	epoch    time.Time                       // all other times are durations since then; zero before the first Set
	byTarget map[*target.Target]*targetState // also has removed targets whose probe is running
	upcoming dueHeap                         // does not have these removed targets
	tick     time.Duration                   // a tenth of the shortest interval, but at most maxTick

	queues      [kinds][]*targetState // targets that wait for a slot
	active      [kinds]int            // running probes
	idleWorkers int                   // goroutines that wait on handoff
	handoff     chan *targetState     // has the next target for one of them
}

// targetState is the state of a target in the schedule.
type targetState struct {
	target *target.Target
	due    time.Duration // next time; or unscheduled
	start  time.Duration // when the probe that is waiting or running should have started

	phase   phase
	kind    kind
	again   bool // probe again when the running probe ends
	removed bool
}

type phase uint8

const (
	idle phase = iota
	waiting
	running
)

// kind distinguishes the targets that hung last time from all others.
type kind uint8

const (
	quick kind = iota
	hanging
	kinds
)

// Run makes probes until ctx ends, and returns when all probes have returned. It must be called only once.
func (s *Schedule) Run(ctx context.Context) {
	s.mu.Lock()
	s.ctx, s.timer, s.handoff = ctx, time.NewTimer(0), make(chan *targetState, maxIdle)
	s.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			// No probe starts after this, as all starts check ctx while they hold the lock.
			s.mu.Lock()
			s.timer.Stop()
			s.mu.Unlock()
			s.workers.Wait()
			return
		case <-s.timer.C:
			for s.handleDue() {
			}
		}
	}
}

// handleDue probes or skips the next target if it is due, and reports whether it was. If not, it sets the timer.
func (s *Schedule) handleDue() bool {
	s.mu.Lock()
	if len(s.upcoming) == 0 {
		s.mu.Unlock()
		return false
	}
	st := s.upcoming[0]
	start := (st.due + s.tick - 1) / s.tick * s.tick
	late := s.now() - start
	if late < 0 {
		s.timer.Reset(-late)
		s.mu.Unlock()
		return false
	}
	if late > maxLag {
		for _, st := range s.upcoming { // all are moved by the same time, so this remains a heap
			st.due += late
		}
		start += late
	}
	busy := st.phase != idle
	st.due += st.target.Interval
	heap.Fix(&s.upcoming, 0)
	if !busy {
		s.enqueue(st, start)
		s.startNext()
	}
	s.mu.Unlock()
	if busy {
		s.Skip(st.target)
	}
	return true
}

// Set replaces the targets. Those that stay are not rescheduled. Removed targets are not probed again, but running
// probes continue.
func (s *Schedule) Set(targets []*target.Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch.IsZero() {
		s.epoch = time.Now()
	}
	before := s.byTarget
	s.byTarget = make(map[*target.Target]*targetState, len(targets))
	s.upcoming, s.tick = make(dueHeap, 0, len(targets)), maxTick
	for _, t := range targets {
		s.tick = min(s.tick, t.Interval/10)
		if s.byTarget[t] != nil {
			continue // is in the list twice
		}
		st := before[t]
		if st == nil {
			st = &targetState{target: t, due: unscheduled}
		} else if st.removed { // and added again
			st.removed, st.due = false, unscheduled
		}
		s.byTarget[t] = st
		s.upcoming = append(s.upcoming, st)
	}
	s.remove(before)
	s.upcoming.setDue(s.now())
	heap.Init(&s.upcoming)
	if s.timer != nil {
		s.timer.Reset(0)
	}
}

// remove removes the targets that are in before and not in byTarget. Those whose probe is running stay in byTarget, so
// that no second probe starts if they are added again. The caller holds mu.
func (s *Schedule) remove(before map[*target.Target]*targetState) {
	for t, st := range before {
		if s.byTarget[t] == nil {
			st.removed, st.again = true, false
			if st.phase == running {
				s.byTarget[t] = st
			}
		}
	}
	for k := range s.queues {
		s.queues[k] = slices.DeleteFunc(s.queues[k], func(st *targetState) bool { return st.removed })
	}
}

// Now probes t immediately, in addition to its regular probes. If a probe of t is running, Now probes it again when that
// ends. It does nothing if t is not among the targets, and before Run, as the first probe is still to come.
func (s *Schedule) Now(t *target.Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byTarget[t]
	if st == nil || st.removed || s.ctx == nil {
		return
	}
	switch st.phase {
	case idle:
		s.enqueue(st, s.now())
		s.startNext()
	case running:
		st.again = true
	}
}

func (s *Schedule) now() time.Duration { return time.Since(s.epoch) }

// enqueue makes st wait for a slot. The caller holds mu.
func (s *Schedule) enqueue(st *targetState, start time.Duration) {
	st.phase, st.start = waiting, start
	s.queues[st.kind] = append(s.queues[st.kind], st)
}

// startNext starts the next probe if there is a slot for it. The caller holds mu.
func (s *Schedule) startNext() {
	st := s.dequeue()
	if st == nil {
		return
	}
	if s.idleWorkers > 0 {
		select {
		case s.handoff <- st:
			s.idleWorkers--
			return
		default: // the idle goroutines have not yet received what is in the channel
		}
	}
	s.workers.Go(func() { s.runProbes(st) })
}

// dequeue gives a slot to the next target that waits for one, and returns it. It returns nil if no target waits, or if
// none of those that wait may start. The caller holds mu.
func (s *Schedule) dequeue() *targetState {
	if s.ctx.Err() != nil || s.active[quick]+s.active[hanging] >= s.MaxConcurrent {
		return nil
	}
	mayHang := max(1, s.MaxConcurrent-(s.MaxConcurrent+3)/4)
	k := quick
	if len(s.queues[hanging]) > 0 && s.active[hanging] < mayHang &&
		(len(s.queues[quick]) == 0 || s.active[hanging] < s.MaxConcurrent-mayHang) {
		k = hanging
	}
	if len(s.queues[k]) == 0 {
		return nil
	}
	st := s.queues[k][0]
	s.queues[k][0] = nil
	s.queues[k] = s.queues[k][1:]
	st.phase = running
	s.active[k]++
	return st
}

// runProbes probes st, and then other targets as long as there are some to start. When there are none, it waits for one
// or returns, so that there are never many more goroutines than probes.
func (s *Schedule) runProbes(st *targetState) {
	for st != nil {
		begin := s.now()
		s.Probe(s.ctx, st.target, begin-st.start)
		s.mu.Lock()
		s.active[st.kind]--
		st.phase, st.kind = idle, quick
		if s.now()-begin >= hangTime {
			st.kind = hanging
		}
		if st.again {
			st.again = false
			s.enqueue(st, s.now())
		}
		st = s.dequeue()
		wait := st == nil && s.idleWorkers < maxIdle
		if wait {
			s.idleWorkers++
		}
		s.mu.Unlock()
		if wait {
			select {
			case st = <-s.handoff:
			case <-s.ctx.Done():
			}
		}
	}
}
