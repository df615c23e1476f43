// Package schedule says when to probe: it gives each target a fixed place in its interval, so that load is even and a
// target is probed at distances that are equal but for a tick, bounds how many probes run at once, and tells when watched
// files change. It knows nothing of TLS.
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
	// stall is by how much the schedule itself must be late, because the process was stopped or starved, before it
	// moves all places instead of making up for the lost ones in a burst. What it does make up for adds no more than a
	// tenth to what begins in a second.
	stall = 100 * time.Millisecond
	// hang is how long the last probe of a target took that is expected to hang again. It is longer than a handshake
	// with a distant server for which the first packet was lost, and is sent anew after a second.
	hang = 2 * time.Second
	// spare is how many goroutines wait for the next probe instead of ending: the stack of a new one is too small for a
	// handshake, and is copied again and again until it is not.
	spare = 32
)

// Schedule runs probes. Its exported fields are set first and not changed after; its methods may be called from any
// goroutine.
type Schedule struct {
	// MaxConcurrent is how many probes run at once.
	//
	// Targets that hang take up slots for their whole timeout, and would make all others wait once they held every slot.
	// So the two kinds queue apart: a quarter of the slots is for the quick ones, a quarter for those that hung last
	// time, and the rest for the quick ones first. That a target hangs shows the first time only when it does: that
	// nothing is late then either needs targets × timeout ÷ interval slots for the targets that hang.
	MaxConcurrent int

	// Probe makes one probe. late is how long after its place in the interval it begins, or rather after the next tick. It
	// is called from many goroutines, but never twice at once for one target, and is expected to return soon after ctx ends.
	Probe func(ctx context.Context, t *target.Target, late time.Duration)
	// Skip is called in place of Probe when the target's last probe is still running, or waiting to.
	Skip func(t *target.Target)

	mu      sync.Mutex
	ctx     context.Context // that of Run; nil before
	timer   *time.Timer     // fires when Run has something to do; nil before Run
	workers sync.WaitGroup

	epoch    time.Time                 // all times are since then; zero before the first Set
	byTarget map[*target.Target]*place // also what was removed while its probe was running
	due      places                    // all but those
	tick     time.Duration             // a tenth of the shortest interval, but no more than tick
	waiting  [kinds][]*place           // for a slot, the next one first
	running  [kinds]int
	idle     int         // goroutines that wait for a place
	handed   chan *place // to one of them
}

// place is a target and when it is due next.
type place struct {
	target *target.Target
	due    time.Duration // unplaced at first
	wanted time.Duration // when the probe that is waiting or running should have begun

	state   state
	kind    kind
	again   bool // once more when the probe that is running ends
	removed bool
}

type state uint8

const (
	idle state = iota
	waiting
	running
)

type kind uint8

const (
	quick kind = iota
	hanging
	kinds
)

// Run probes until ctx ends and all probes have returned. It may be called once.
func (s *Schedule) Run(ctx context.Context) {
	s.mu.Lock()
	s.ctx, s.timer, s.handed = ctx, time.NewTimer(0), make(chan *place, spare)
	s.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock() // no probe begins from here on: what begins one looks at ctx first, and holds the lock
			s.timer.Stop()
			s.mu.Unlock()
			s.workers.Wait()
			return
		case <-s.timer.C:
			for s.next() {
			}
		}
	}
}

// next has the next place probed and returns true, or returns false and sets the timer if none is due.
func (s *Schedule) next() bool {
	s.mu.Lock()
	if len(s.due) == 0 {
		s.mu.Unlock()
		return false
	}
	p := s.due[0]
	wanted := (p.due + s.tick - 1) / s.tick * s.tick
	late := s.now() - wanted
	if late < 0 {
		s.timer.Reset(-late)
		s.mu.Unlock()
		return false
	}
	if late > stall {
		for _, p := range s.due { // all by the same amount: the order of the heap stays
			p.due += late
		}
		wanted += late
	}
	busy := p.state != idle
	p.due += p.target.Interval
	heap.Fix(&s.due, 0)
	if !busy {
		s.enqueue(p, wanted)
		s.begin()
	}
	s.mu.Unlock()
	if busy {
		s.Skip(p.target)
	}
	return true
}

// Set replaces the targets. Those that were there before keep their places and are not touched; what was removed is
// probed no more.
func (s *Schedule) Set(targets []*target.Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch.IsZero() {
		s.epoch = time.Now()
	}
	before := s.byTarget
	s.byTarget = make(map[*target.Target]*place, len(targets))
	s.due, s.tick = make(places, 0, len(targets)), tick
	for _, t := range targets {
		s.tick = min(s.tick, t.Interval/10)
		if s.byTarget[t] != nil {
			continue // is in the list twice
		}
		p := before[t]
		if p == nil {
			p = &place{target: t, due: unplaced}
		} else if p.removed { // and is back
			p.removed, p.due = false, unplaced
		}
		s.byTarget[t] = p
		s.due = append(s.due, p)
	}
	for t, p := range before {
		if s.byTarget[t] == nil {
			p.removed, p.again = true, false
			if p.state == running {
				s.byTarget[t] = p
			}
		}
	}
	for k := range s.waiting {
		s.waiting[k] = slices.DeleteFunc(s.waiting[k], func(p *place) bool { return p.removed })
	}
	s.due.assign(s.now())
	heap.Init(&s.due)
	if s.timer != nil {
		s.timer.Reset(0)
	}
}

// Now has t probed at once, out of its place, or once more as soon as its running probe ends. It does nothing if t is
// not among the targets, and nothing before Run: the first probe is still to come.
func (s *Schedule) Now(t *target.Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byTarget[t]
	if p == nil || p.removed || s.ctx == nil {
		return
	}
	switch p.state {
	case idle:
		s.enqueue(p, s.now())
		s.begin()
	case running:
		p.again = true
	}
}

func (s *Schedule) now() time.Duration { return time.Since(s.epoch) }

// enqueue has p wait for a slot. The lock is held.
func (s *Schedule) enqueue(p *place, wanted time.Duration) {
	p.state, p.wanted = waiting, wanted
	s.waiting[p.kind] = append(s.waiting[p.kind], p)
}

// begin fills a slot if one is free. The lock is held.
func (s *Schedule) begin() {
	p := s.take()
	if p == nil {
		return
	}
	if s.idle > 0 {
		select {
		case s.handed <- p:
			s.idle--
			return
		default: // those that wait have not come to take what they were handed
		}
	}
	s.workers.Go(func() { s.work(p) })
}

// take returns the place to be probed next, in a slot that is now its own; nil if none waits or may begin. The lock is
// held.
func (s *Schedule) take() *place {
	if s.ctx.Err() != nil || s.running[quick]+s.running[hanging] >= s.MaxConcurrent {
		return nil
	}
	mayHang := max(1, s.MaxConcurrent-(s.MaxConcurrent+3)/4)
	k := quick
	if len(s.waiting[hanging]) > 0 && s.running[hanging] < mayHang &&
		(len(s.waiting[quick]) == 0 || s.running[hanging] < s.MaxConcurrent-mayHang) {
		k = hanging
	}
	if len(s.waiting[k]) == 0 {
		return nil
	}
	p := s.waiting[k][0]
	s.waiting[k][0] = nil
	s.waiting[k] = s.waiting[k][1:]
	p.state = running
	s.running[k]++
	return p
}

// work probes p, and then in the same slot whatever waits. When nothing does, it waits or returns, so that there are never
// many more goroutines than probes.
func (s *Schedule) work(p *place) {
	for p != nil {
		begun := s.now()
		s.Probe(s.ctx, p.target, begun-p.wanted)
		s.mu.Lock()
		s.running[p.kind]--
		p.state, p.kind = idle, quick
		if s.now()-begun >= hang {
			p.kind = hanging
		}
		if p.again {
			p.again = false
			s.enqueue(p, s.now())
		}
		p = s.take()
		waits := p == nil && s.idle < spare
		if waits {
			s.idle++
		}
		s.mu.Unlock()
		if waits {
			select {
			case p = <-s.handed:
			case <-s.ctx.Done():
			}
		}
	}
}
