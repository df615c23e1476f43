// Package schedule says when to probe: it gives each target a fixed place in its interval, so that load is even and a
// target is probed at equal distances, and bounds how many probes run at once. It knows nothing of TLS.
package schedule

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

const (
	// maxSpacing lies between the begins of neighbours where there are so few targets that they needn't fill their
	// interval.
	maxSpacing = 10 * time.Millisecond
	// stall is by how much the schedule itself must be late, because the process was stopped or starved, before it
	// moves all places instead of making up for the lost ones in a burst.
	stall = time.Second
)

// Schedule runs probes. Its fields are set before Run and not changed after.
type Schedule struct {
	Targets       []*target.Target
	MaxConcurrent int

	// Probe makes one probe. late is how long after its place in the interval it begins. It is called from many
	// goroutines, but never twice at once for one target, and is expected to return soon after ctx ends.
	Probe func(ctx context.Context, t *target.Target, late time.Duration)
	// Skip is called in place of Probe when the target's last probe is still running, or waiting to.
	Skip func(t *target.Target)
}

// place is a target and when it is due next.
type place struct {
	target *target.Target
	due    time.Time
	busy   atomic.Bool
}

// Run probes until ctx ends and all probes have returned.
func (s *Schedule) Run(ctx context.Context) {
	places := s.places(time.Now())
	if len(places) == 0 {
		return
	}
	type turn struct {
		*place
		due time.Time
	}
	// A target is in the queue once at most, so that sending to it never blocks.
	queue := make(chan turn, len(places))
	var workers sync.WaitGroup
	for range min(s.MaxConcurrent, len(places)) {
		workers.Go(func() {
			for t := range queue {
				if ctx.Err() == nil {
					s.Probe(ctx, t.target, time.Since(t.due))
				}
				t.busy.Store(false)
			}
		})
	}
	defer workers.Wait()
	defer close(queue)

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := places[0]
		late := time.Since(next.due)
		if late < 0 {
			timer.Reset(-late)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if late > stall {
			for _, p := range places { // all by the same amount: the order of the heap stays
				p.due = p.due.Add(late)
			}
		}
		if next.busy.CompareAndSwap(false, true) {
			queue <- turn{next, next.due}
		} else {
			s.Skip(next.target)
		}
		next.due = next.due.Add(next.target.Interval)
		heap.Fix(&places, 0)
	}
}

// places gives the targets their places, evenly for each group that shares an interval and a delay.
func (s *Schedule) places(start time.Time) places {
	type group struct{ interval, delay time.Duration }
	size := make(map[group]int)
	for _, t := range s.Targets {
		size[group{t.Interval, t.InitialDelay}]++
	}
	filled := make(map[group]int)
	ps := make(places, 0, len(s.Targets))
	for _, t := range s.Targets {
		g := group{t.Interval, t.InitialDelay}
		spacing := min(maxSpacing, t.Interval/time.Duration(size[g]))
		ps = append(ps, &place{target: t, due: start.Add(t.InitialDelay + time.Duration(filled[g])*spacing)})
		filled[g]++
	}
	heap.Init(&ps)
	return ps
}

// places is a heap, the next one due first.
type places []*place

func (p places) Len() int           { return len(p) }
func (p places) Less(i, j int) bool { return p[i].due.Before(p[j].due) }
func (p places) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *places) Push(x any)        { *p = append(*p, x.(*place)) }
func (p *places) Pop() any          { panic("places are never taken out") }
