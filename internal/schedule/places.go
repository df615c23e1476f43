package schedule

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// tick is the distance of the times at which probes begin, where no interval is short. At a thousand a second twenty
	// begin together, and not each of them has to wake the process up, which takes the CPU a third of what a probe does. It
	// is no longer because they wait for one another on the CPU, and their handshakes seem to take longer than they do.
	tick = 20 * time.Millisecond
	// few is how many targets needn't fill their interval: they begin one at each tick, so that one sees results at once.
	few = 100

	unplaced time.Duration = -1
)

// places is a heap, the next one due first.
type places []*place

func (ps places) Len() int           { return len(ps) }
func (ps places) Less(i, j int) bool { return ps[i].due < ps[j].due }
func (ps places) Swap(i, j int)      { ps[i], ps[j] = ps[j], ps[i] }
func (*places) Push(any)             { panic("places are never added one by one") }
func (*places) Pop() any             { panic("places are never taken out") }

// assign places those that are not yet, from now on: a few in a row, else each group that shares an interval evenly over
// it.
func (ps places) assign(now time.Duration) {
	groups := make(map[time.Duration]places)
	row := time.Duration(0)
	for _, p := range ps {
		t := p.target
		switch {
		case len(ps) > few:
			groups[t.Interval] = append(groups[t.Interval], p)
		case p.due == unplaced:
			p.due = now + t.InitialDelay + row*min(tick, t.Interval/time.Duration(len(ps)))
			row++
		}
	}
	for interval, group := range groups {
		group.spread(interval, now)
	}
}

// spread divides the interval into as many slots as there are places. Those that are placed stay, and the others go to
// the slots that are free.
func (ps places) spread(interval, now time.Duration) {
	width := float64(interval) / float64(len(ps))
	taken := make([]bool, len(ps))
	var added places
	for _, p := range ps {
		if p.due == unplaced {
			added = append(added, p)
		} else {
			taken[min(int(float64(p.due%interval)/width), len(ps)-1)] = true
		}
	}
	var free []float64
	for slot, taken := range taken {
		if !taken {
			free = append(free, float64(slot))
		}
	}
	// Neighbours in the list often share a network. When it fails they must not all hang at once and take every slot of
	// the pool, so they are set apart: multiples of the golden ratio leave no gaps, wherever one begins to count.
	type turn struct {
		part float64
		*place
	}
	turns := make([]turn, len(added))
	for i, p := range added {
		_, part := math.Modf(float64(i) * math.Phi)
		turns[i] = turn{part, p}
	}
	slices.SortFunc(turns, func(a, b turn) int { return cmp.Compare(a.part, b.part) })
	for i, p := range turns {
		first := now + p.target.InitialDelay
		// There are more free slots than are needed where others stand close together. Anywhere in the slot will do, and
		// not at its begin: groups of one, each with an interval of its own, would all begin together.
		slot := free[i*len(free)/len(added)]
		at := time.Duration((slot + rand.Float64()) * width)
		p.due = first + ((at-first)%interval+interval)%interval
	}
}
