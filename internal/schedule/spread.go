package schedule

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// fewTargets is the maximum number of targets that are not spread over their interval. They start one tick after
	// another, so that the first results are available immediately.
	fewTargets = 100

	unscheduled time.Duration = -1
)

// dueHeap is a heap of targets, whose first element is the next one due. It implements heap.Interface.
type dueHeap []*targetState

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (*dueHeap) Push(any)            { panic("not used") }
func (*dueHeap) Pop() any            { panic("not used") }

// setDue sets when the unscheduled targets are due for the first time. A few targets start in a row. More are spread
// evenly over their interval, separately for each interval.
func (h dueHeap) setDue(now time.Duration) {
	groups := make(map[time.Duration]dueHeap)
	row := time.Duration(0)
	for _, st := range h {
		t := st.target
		switch {
		case len(h) > fewTargets:
			groups[t.Interval] = append(groups[t.Interval], st)
		case st.due == unscheduled:
			st.due = now + t.InitialDelay + row*min(maxTick, t.Interval/time.Duration(len(h)))
			row++
		}
	}
	for interval, group := range groups {
		group.spread(interval, now)
	}
}

// spread divides the interval into one slot for each target. The targets that are already scheduled keep their times, and
// the others get the free slots.
func (h dueHeap) spread(interval, now time.Duration) {
	width := float64(interval) / float64(len(h))
	taken := make([]bool, len(h))
	var added dueHeap
	for _, st := range h {
		if st.due == unscheduled {
			added = append(added, st)
		} else {
			taken[min(int(float64(st.due%interval)/width), len(h)-1)] = true
		}
	}
	var free []float64
	for slot, taken := range taken {
		if !taken {
			free = append(free, float64(slot))
		}
	}
	added = added.scatter()
	for i, st := range added {
		first := now + st.target.InitialDelay
		// There may be more free slots than targets, as scheduled ones can share a slot. The time within the slot is
		// random: otherwise groups of one target each, with different intervals, would all start at the same time.
		slot := free[i*len(free)/len(added)]
		at := time.Duration((slot + rand.Float64()) * width)
		st.due = first + ((at-first)%interval+interval)%interval
	}
}

// scatter returns the targets in an order in which neighbors are far apart. Neighbors in the configuration often share a
// network. If it fails, they should not all hang at the same time and take up all probes that may run.
//
// The order is that of the fractional parts of the multiples of the golden ratio. They are evenly distributed, for any
// number of targets and any part of the list.
func (h dueHeap) scatter() dueHeap {
	type position struct {
		fraction float64
		*targetState
	}
	positions := make([]position, len(h))
	for i, st := range h {
		_, fraction := math.Modf(float64(i) * math.Phi)
		positions[i] = position{fraction, st}
	}
	slices.SortFunc(positions, func(a, b position) int { return cmp.Compare(a.fraction, b.fraction) })
	scattered := make(dueHeap, len(h))
	for i, p := range positions {
		scattered[i] = p.targetState
	}
	return scattered
}
