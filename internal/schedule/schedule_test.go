package schedule

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

func targets(n int, interval time.Duration) []*target.Target {
	ts := make([]*target.Target, n)
	for i := range ts {
		ts[i] = &target.Target{Interval: interval, Timeout: interval}
	}
	return ts
}

// log notes when each target was probed, in time since the start.
type log struct {
	mu     sync.Mutex
	start  time.Time
	begun  map[*target.Target][]time.Duration
	all    []time.Duration
	late   []time.Duration
	skips  map[*target.Target]int
	active int
	peak   int
}

func newLog() *log {
	return &log{start: time.Now(), begun: map[*target.Target][]time.Duration{}, skips: map[*target.Target]int{}}
}

func (l *log) schedule(ts []*target.Target, concurrent int, probe func(context.Context, *target.Target)) *Schedule {
	return &Schedule{
		Targets: ts, MaxConcurrent: concurrent,
		Probe: func(ctx context.Context, t *target.Target, late time.Duration) {
			l.mu.Lock()
			l.begun[t] = append(l.begun[t], time.Since(l.start))
			l.all = append(l.all, time.Since(l.start))
			l.late = append(l.late, late)
			l.active++
			l.peak = max(l.peak, l.active)
			l.mu.Unlock()
			probe(ctx, t)
			l.mu.Lock()
			l.active--
			l.mu.Unlock()
		},
		Skip: func(t *target.Target) {
			l.mu.Lock()
			l.skips[t]++
			l.mu.Unlock()
		},
	}
}

// runFor runs s for d of the turned clock.
func runFor(s *Schedule, d time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	time.Sleep(d)
	cancel()
	<-done
}

func quick(context.Context, *target.Target) {}

func TestFewTargetsAreProbedAtOnceAndAtEqualDistances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(5, time.Minute)
		for _, tt := range ts {
			tt.InitialDelay = time.Second
		}
		l := newLog()
		runFor(l.schedule(ts, 10, quick), 3*time.Minute)
		for i, tt := range ts {
			first := time.Second + time.Duration(i)*10*time.Millisecond
			assert.Equal(t, []time.Duration{first, first + time.Minute, first + 2*time.Minute}, l.begun[tt])
		}
	})
}

func TestManyTargetsFillTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		runFor(l.schedule(targets(10_000, time.Minute), 256, quick), 2*time.Minute-time.Millisecond)
		perSecond := make([]int, 120)
		for _, at := range l.all {
			perSecond[int(at/time.Second)]++
		}
		for s, n := range perSecond {
			assert.InDelta(t, 10_000./60, n, 0.2*10_000/60, "second %d", s)
		}
		require.Len(t, l.all, 20_000)
	})
}

func TestEachIntervalIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := targets(1, time.Minute)[0], targets(1, 10*time.Second)[0]
		l := newLog()
		runFor(l.schedule([]*target.Target{slow, fast}, 2, quick), 59*time.Second)
		assert.Len(t, l.begun[slow], 1)
		assert.Len(t, l.begun[fast], 6)
	})
}

func TestHangingTargetIsSkippedAndNeverDoubled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(2, 10*time.Second)
		l := newLog()
		hang := func(ctx context.Context, tt *target.Target) {
			if tt == ts[0] {
				time.Sleep(25 * time.Second)
			}
		}
		runFor(l.schedule(ts, 2, hang), 45*time.Second)
		assert.Equal(t, []time.Duration{0, 30 * time.Second}, l.begun[ts[0]])
		assert.Equal(t, 3, l.skips[ts[0]]) // at 10, 20 and 40 s
		assert.Len(t, l.begun[ts[1]], 5, "the other one goes on")
		assert.Zero(t, l.skips[ts[1]])
	})
}

func TestConcurrencyIsBoundedAndWaitingShowsAsLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		runFor(l.schedule(targets(10, time.Minute), 2, func(context.Context, *target.Target) { time.Sleep(time.Second) }), 30*time.Second)
		assert.Equal(t, 2, l.peak)
		require.Len(t, l.all, 10)
		assert.Equal(t, 4*time.Second-90*time.Millisecond+10*time.Millisecond, l.late[9])
	})
}

func TestStallMovesAllPlacesAndMakesNoBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := l.schedule(targets(1000, 10*time.Second), 8, quick)
		stalled := false
		// The one thing that the dispatcher calls itself is Skip: it stands for a machine that sleeps for 7 s.
		hanging := s.Targets[100]
		s.Skip = func(*target.Target) {
			if !stalled {
				stalled = true
				time.Sleep(7 * time.Second)
			}
		}
		inner := s.Probe
		s.Probe = func(ctx context.Context, tt *target.Target, late time.Duration) {
			inner(ctx, tt, late)
			if tt == hanging {
				time.Sleep(11 * time.Second)
			}
		}
		runFor(s, 40*time.Second)
		require.True(t, stalled)
		perTenth := make(map[time.Duration]int)
		for _, at := range l.all {
			perTenth[at/(100*time.Millisecond)]++
		}
		for tenth, n := range perTenth {
			assert.LessOrEqual(t, n, 11, "at %s", tenth*100*time.Millisecond)
		}
	})
}

func TestEndOfContextStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		begin := time.Now()
		runFor(l.schedule(targets(100, time.Minute), 4, func(ctx context.Context, _ *target.Target) { <-ctx.Done() }), 30*time.Second)
		assert.Equal(t, 30*time.Second, time.Since(begin))
		assert.Len(t, l.all, 4, "what waited for its turn is not begun any more")
	})
}

func TestNoTargets(t *testing.T) {
	(&Schedule{MaxConcurrent: 1}).Run(t.Context())
}
