package schedule

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
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

// log records when each target was probed, as time since the start.
type log struct {
	mu      sync.Mutex
	start   time.Time
	started map[*target.Target][]time.Duration
	late    map[*target.Target][]time.Duration
	skips   map[*target.Target]int
	active  map[*target.Target]int
	peak    int
}

func newLog() *log {
	return &log{
		start: time.Now(), started: map[*target.Target][]time.Duration{}, late: map[*target.Target][]time.Duration{},
		skips: map[*target.Target]int{}, active: map[*target.Target]int{},
	}
}

func (l *log) schedule(ts []*target.Target, concurrent int, probe func(context.Context, *target.Target)) *Schedule {
	s := &Schedule{
		MaxConcurrent: concurrent,
		Probe: func(ctx context.Context, t *target.Target, late time.Duration) {
			l.mu.Lock()
			l.started[t] = append(l.started[t], time.Since(l.start))
			l.late[t] = append(l.late[t], late)
			l.active[t]++
			if l.active[t] > 1 {
				panic("two probes of one target at the same time")
			}
			l.peak = max(l.peak, len(l.active))
			l.mu.Unlock()
			probe(ctx, t)
			l.mu.Lock()
			delete(l.active, t)
			l.mu.Unlock()
		},
		Skip: func(t *target.Target) {
			l.mu.Lock()
			l.skips[t]++
			l.mu.Unlock()
		},
	}
	s.Set(ts)
	return s
}

// all returns the times of all probes in an interval, sorted.
func (l *log) all(from, to time.Duration) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []time.Duration
	for _, started := range l.started {
		for _, at := range started {
			if at >= from && at < to {
				all = append(all, at)
			}
		}
	}
	slices.Sort(all)
	return all
}

// perSecond returns the minimum and the maximum number of probes that started within any second of an interval.
func (l *log) perSecond(from, to time.Duration) (fewest, most int) {
	all := l.all(from, to)
	fewest, end := len(all), 0
	for i, at := range all {
		for end < len(all) && all[end] < at+time.Second {
			end++
		}
		most = max(most, end-i)
		if at+time.Second <= to {
			fewest = min(fewest, end-i) // in seconds that start with a probe; other seconds have at most one fewer
		}
	}
	return fewest, most
}

// assertEven asserts that the number of probes in any second is within 20% of the mean.
func (l *log) assertEven(t *testing.T, mean float64, from, to time.Duration) {
	t.Helper()
	fewest, most := l.perSecond(from, to)
	assert.GreaterOrEqual(t, float64(fewest), 0.8*mean)
	assert.LessOrEqual(t, float64(most), 1.2*mean)
	assert.InDelta(t, mean*(to-from).Seconds(), len(l.all(from, to)), 0.01*mean*(to-from).Seconds()+1)
}

// lateness returns the 99th percentile of how late the probes of targets were.
func (l *log) lateness(ts []*target.Target, from time.Duration) time.Duration {
	var all []time.Duration
	for _, tt := range ts {
		for i, at := range l.started[tt] {
			if at >= from {
				all = append(all, l.late[tt][i])
			}
		}
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

// run runs s until stop is called.
func run(s *Schedule) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// runFor runs s for d, on the fake clock.
func runFor(s *Schedule, d time.Duration) {
	stop := run(s)
	time.Sleep(d)
	stop()
}

func instant(context.Context, *target.Target) {}

func lasting(d time.Duration) func(context.Context, *target.Target) {
	return func(ctx context.Context, _ *target.Target) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}

// hangs returns a probe that takes d for the hanging targets, and little time for others.
func hangs(hanging []*target.Target, d time.Duration) func(context.Context, *target.Target) {
	set := make(map[*target.Target]bool, len(hanging))
	for _, t := range hanging {
		set[t] = true
	}
	return func(ctx context.Context, t *target.Target) {
		if set[t] {
			lasting(d)(ctx, t)
		} else {
			lasting(200*time.Millisecond)(ctx, t)
		}
	}
}

func TestFewTargetsStartInARow(t *testing.T) {
	for _, n := range []int{5, 100} {
		synctest.Test(t, func(t *testing.T) {
			ts := targets(n, time.Minute)
			for _, tt := range ts {
				tt.InitialDelay = time.Second
			}
			l := newLog()
			runFor(l.schedule(ts, n, instant), 3*time.Minute)
			for i, tt := range ts {
				first := time.Second + time.Duration(i)*maxTick
				assert.Equal(t, []time.Duration{first, first + time.Minute, first + 2*time.Minute}, l.started[tt])
			}
		})
	}
}

func TestFewTargetsWithAShortIntervalAreEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		runFor(l.schedule(targets(50, 100*time.Millisecond), 50, instant), 10*time.Second)
		assert.Len(t, l.all(time.Millisecond, 101*time.Millisecond), 50)
		l.assertEven(t, 500, 0, 10*time.Second)
	})
}

func TestManyTargetsAreEven(t *testing.T) {
	for _, n := range []int{1000, 5000, 10_000} {
		synctest.Test(t, func(t *testing.T) {
			ts := targets(n, time.Minute)
			for _, tt := range ts {
				tt.InitialDelay = 10 * time.Second
			}
			l := newLog()
			runFor(l.schedule(ts, 256, instant), 3*time.Minute)
			assert.Empty(t, l.all(0, 10*time.Second))
			l.assertEven(t, float64(n)/60, 10*time.Second, 3*time.Minute)
			for _, tt := range ts {
				assert.LessOrEqual(t, l.started[tt][0], 70*time.Second)
				assert.Equal(t, time.Minute, l.started[tt][1]-l.started[tt][0])
				assert.Zero(t, l.started[tt][0]%maxTick)
			}
		})
	}
}

func TestShortIntervalAmongLongOnes(t *testing.T) {
	for _, interval := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			short := targets(1, interval)
			l := newLog()
			runFor(l.schedule(slices.Concat(targets(150, 2*time.Second), short), 256, instant), time.Minute)
			assert.InDelta(t, time.Minute/interval, len(l.started[short[0]]), 2)
			assert.Empty(t, l.skips)
			assert.Less(t, slices.Max(l.late[short[0]]), interval/10)
		})
	}
}

func TestTickIsLongAgainAfterAShortIntervalIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := targets(150, 2*time.Second)
		l := newLog()
		s := l.schedule(slices.Concat(long, targets(1, time.Millisecond)), 256, instant)
		stop := run(s)
		time.Sleep(10 * time.Second)
		s.Set(long)
		time.Sleep(10 * time.Second)
		stop()
		for _, at := range l.all(12*time.Second, time.Hour) {
			assert.Zero(t, at%maxTick)
		}
		assert.Len(t, l.all(12*time.Second, 20*time.Second-1), 600)
	})
}

// A waiting goroutine may not be ready to receive yet. The lock must not be held until it is.
func TestHandoffDoesNotBlock(t *testing.T) {
	probed := make(chan *target.Target, 1)
	s := &Schedule{
		MaxConcurrent: 1, ctx: t.Context(), epoch: time.Now(), idleWorkers: 1, handoff: make(chan *targetState),
		Probe: func(_ context.Context, t *target.Target, _ time.Duration) { probed <- t },
	}
	one := targets(1, time.Minute)
	s.enqueue(&targetState{target: one[0]}, 0)
	s.startNext()
	assert.Same(t, one[0], <-probed)
}

func TestMixedIntervalsAreEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		ts := slices.Concat(targets(3000, time.Minute), targets(2000, 30*time.Second), targets(1000, 7*time.Second))
		runFor(l.schedule(ts, 256, instant), 3*time.Minute)
		l.assertEven(t, 3000./60+2000./30+1000./7, 0, 3*time.Minute)
	})
}

func TestTargetsWithDifferentIntervalsDoNotStartTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts []*target.Target
		for i := range 1000 {
			ts = append(ts, targets(1, time.Minute+time.Duration(i)*time.Millisecond)...)
		}
		l := newLog()
		runFor(l.schedule(ts, 256, instant), 3*time.Minute)
		_, most := l.perSecond(0, 3*time.Minute)
		assert.Less(t, most, 60, "the mean is 17") // ten standard deviations away
	})
}

func TestIntervalsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := targets(1, time.Minute)[0], targets(1, 10*time.Second)[0]
		l := newLog()
		runFor(l.schedule([]*target.Target{slow, fast}, 2, instant), 59*time.Second)
		assert.Len(t, l.started[slow], 1)
		assert.Len(t, l.started[fast], 6)
	})
}

func TestHangingTargetIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(2, 10*time.Second)
		l := newLog()
		runFor(l.schedule(ts, 2, hangs(ts[:1], 25*time.Second)), 45*time.Second)
		assert.Equal(t, []time.Duration{0, 30 * time.Second}, l.started[ts[0]])
		assert.Equal(t, 3, l.skips[ts[0]]) // at 10, 20 and 40 s
		assert.Len(t, l.started[ts[1]], 5, "the other target is affected")
		assert.Zero(t, l.skips[ts[1]])
	})
}

func TestConcurrencyIsLimitedAndWaitingCountsAsLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(10, time.Minute)
		l := newLog()
		runFor(l.schedule(ts, 2, lasting(time.Second)), 30*time.Second)
		assert.Equal(t, 2, l.peak)
		require.Len(t, l.all(0, time.Minute), 10)
		assert.Equal(t, []time.Duration{4*time.Second - 8*maxTick}, l.late[ts[9]])
	})
}

func TestGoroutinesAreStartedAsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		stop := run(l.schedule(targets(1000, time.Minute), 256, lasting(time.Second)))
		before := runtime.NumGoroutine()
		time.Sleep(30 * time.Second)
		assert.InDelta(t, 1000/60, runtime.NumGoroutine()-before, 5, "as many as there are probes")
		stop()
		assert.InDelta(t, before, runtime.NumGoroutine(), 2)

		s := l.schedule(targets(1000, 2*time.Second), 256, lasting(time.Second))
		stop = run(s)
		time.Sleep(30 * time.Second)
		assert.InDelta(t, 256, runtime.NumGoroutine()-before, 2)
		s.Set(targets(1, time.Minute))
		time.Sleep(30 * time.Second)
		assert.InDelta(t, maxIdle, runtime.NumGoroutine()-before, 2, "too many idle goroutines")
		stop()
	})
}

// The targets that hang are neighbors in the list, like those of a network that has failed.
func TestHealthyTargetsAreNotLateWhenOthersHang(t *testing.T) {
	for name, c := range map[string]struct {
		hang    int
		timeout time.Duration
		known   time.Duration // when all hanging targets are known to hang
		onTime  bool          // the hanging targets are not late either
	}{
		"one in ten":             {1000, 10 * time.Second, 0, true},
		"one in five":            {2000, 10 * time.Second, 2 * time.Minute, false},
		"one in ten, for longer": {1000, 30 * time.Second, 3 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ts := targets(10_000, time.Minute)
				from := 4321
				hanging := ts[from : from+c.hang]
				l := newLog()
				runFor(l.schedule(ts, 256, hangs(hanging, c.timeout)), 5*time.Minute)
				assert.LessOrEqual(t, l.peak, 256)
				assert.Less(t, l.lateness(slices.Concat(ts[:from], ts[from+c.hang:]), c.known), 100*time.Millisecond)
				if c.onTime {
					assert.Less(t, l.lateness(hanging, 0), 100*time.Millisecond)
				}
				for _, tt := range hanging {
					assert.GreaterOrEqual(t, len(l.started[tt]), 2, "is not probed any more")
				}
			})
		})
	}
}

// Of four slots one is for quick targets, one for hanging targets, and two are for both.
func TestSlotsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(34, 10*time.Second)
		hanging, healthy := ts[:4], ts[4:]
		for _, tt := range healthy {
			tt.InitialDelay = 15 * time.Second
		}
		l := newLog()
		stop := run(l.schedule(ts, 4, func(ctx context.Context, tt *target.Target) {
			if slices.Contains(hanging, tt) {
				lasting(9*time.Second)(ctx, tt)
			} else {
				lasting(1900*time.Millisecond)(ctx, tt)
			}
		}))
		defer stop()
		at := func(d time.Duration) (hang, all int) {
			time.Sleep(time.Until(l.start.Add(d + 5*time.Millisecond))) // when no probe starts or ends
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, tt := range hanging {
				hang += l.active[tt]
			}
			return hang, len(l.active)
		}
		hang, all := at(5 * time.Second)
		assert.Equal(t, []int{4, 4}, []int{hang, all}, "it is not known yet that they hang")
		hang, all = at(14 * time.Second)
		assert.Equal(t, []int{3, 3}, []int{hang, all}, "a slot must stay free for the quick ones")
		// From now on, 30 quick ones need all slots and more.
		hang, all = at(16 * time.Second)
		assert.Equal(t, []int{3, 4}, []int{hang, all})
		for d := 30 * time.Second; d < time.Minute; d += time.Second {
			hang, all = at(d)
			assert.Equal(t, []int{1, 4}, []int{hang, all}, "the quick ones must go first, but leave a slot")
		}
	})
}

func TestTargetThatNoLongerHangsIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(4, 10*time.Second)
		l := newLog()
		runFor(l.schedule(ts, 4, func(ctx context.Context, tt *target.Target) {
			if tt != ts[3] || time.Since(l.start) < 10*time.Second {
				lasting(9*time.Second)(ctx, tt)
			}
		}), 35*time.Second)
		// As a hanging target it waits for one of three slots. As a quick one it gets the fourth.
		assert.Equal(t, []time.Duration{
			3 * maxTick, 19 * time.Second, 20*time.Second + 3*maxTick, 30*time.Second + 3*maxTick,
		}, l.started[ts[3]])
	})
}

func TestOneSlotIsForAllTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(3, 20*time.Second)
		l := newLog()
		runFor(l.schedule(ts, 1, hangs(ts[:2], 5*time.Second)), 79*time.Second)
		for _, tt := range ts {
			assert.Len(t, l.started[tt], 4)
		}
	})
}

func TestLagMovesAllTargetsAndCausesNoBurst(t *testing.T) {
	for lag, moved := range map[time.Duration]time.Duration{
		90 * time.Millisecond:  0,
		130 * time.Millisecond: 120 * time.Millisecond,
		7 * time.Second:        7 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			ts := targets(1000, 10*time.Second)
			l := newLog()
			s := l.schedule(ts, 8, func(ctx context.Context, tt *target.Target) {
				if tt == ts[500] {
					lasting(11*time.Second)(ctx, tt)
				}
			})
			lagged := false
			// Skip blocks Run, as if the machine were suspended.
			s.Skip = func(*target.Target) {
				if !lagged {
					lagged = true
					time.Sleep(lag)
				}
			}
			runFor(s, 50*time.Second)
			require.True(t, lagged)
			_, most := l.perSecond(0, 50*time.Second)
			assert.LessOrEqual(t, most, 112)
			for i, tt := range ts {
				if started := l.started[tt]; i != 500 {
					n := len(started) - 1
					assert.InDelta(t, moved, started[n]-started[0]-time.Duration(n)*10*time.Second, float64(21*time.Millisecond))
					assert.LessOrEqual(t, slices.Max(l.late[tt]), maxLag, "late although it was moved")
				}
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(100, time.Minute)
		l := newLog()
		begin := time.Now()
		s := l.schedule(ts, 4, func(ctx context.Context, _ *target.Target) { <-ctx.Done() })
		runFor(s, 30*time.Second)
		assert.Equal(t, 30*time.Second, time.Since(begin))
		assert.Len(t, l.all(0, time.Hour), 4, "targets that waited for a slot were probed")
		s.Now(ts[0])
		s.Set(targets(3, time.Second))
		synctest.Wait()
		assert.Len(t, l.all(0, time.Hour), 4)
	})
}

func TestSetWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		s := l.schedule(nil, 1, instant)
		stop := run(s)
		time.Sleep(time.Hour)
		ts := targets(2, time.Minute)
		ts[1].InitialDelay = 3 * time.Second
		s.Set(ts)
		time.Sleep(150 * time.Second)
		s.Set(nil)
		time.Sleep(time.Hour)
		s.Set(ts[:1])
		time.Sleep(time.Second)
		stop()
		assert.Equal(t, []time.Duration{
			time.Hour, time.Hour + time.Minute, time.Hour + 2*time.Minute, 2*time.Hour + 150*time.Second,
		}, l.started[ts[0]])
		assert.Equal(t, time.Hour+3*time.Second+maxTick, l.started[ts[1]][0])
	})
}

func TestSetDoesNotMoveOtherTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(1000, time.Minute)
		added := targets(500, time.Minute)
		for _, tt := range added {
			tt.InitialDelay = 5 * time.Second
		}
		l := newLog()
		s := l.schedule(ts, 256, instant)
		stop := run(s)
		time.Sleep(90 * time.Second)
		s.Set(slices.Concat(added, ts[500:], added[:3])) // some are in the list twice
		time.Sleep(90*time.Second + maxTick/2)
		s.Set(ts[500:501])
		time.Sleep(2 * time.Minute)
		stop()
		for _, tt := range ts[:500] {
			assert.LessOrEqual(t, l.started[tt][len(l.started[tt])-1], 90*time.Second)
		}
		for _, tt := range ts[500:] {
			first := l.started[tt][0]
			assert.Equal(t, []time.Duration{first, first + time.Minute, first + 2*time.Minute}, l.started[tt][:3])
		}
		assert.Len(t, l.started[ts[500]], 5)
		assert.Len(t, l.all(3*time.Minute+maxTick/2, time.Hour), 2)
		for _, tt := range added {
			assert.GreaterOrEqual(t, l.started[tt][0], 95*time.Second)
			assert.LessOrEqual(t, l.started[tt][0], 155*time.Second)
			if len(l.started[tt]) > 1 {
				assert.Equal(t, time.Minute, l.started[tt][1]-l.started[tt][0])
			}
		}
		l.assertEven(t, 1000./60, 0, 90*time.Second)
		_, most := l.perSecond(90*time.Second, 3*time.Minute)
		assert.LessOrEqual(t, most, 1+1000/60*12/10)
		assert.Empty(t, l.skips)
	})
}

func TestLoadStaysEvenAfterSet(t *testing.T) {
	all := targets(20_000, time.Minute)
	for name, lists := range map[string][][]*target.Target{ // in the order in which they are set
		"all replaced":   {all[:10_000], all[10_000:]},
		"some added":     {all[:10_000], all[:11_000], all[:11_001], all[:15_000]},
		"many after few": {all[:30], all[:10_000]},
		"a tenth replaced many times": func() (lists [][]*target.Target) {
			for i := range 11 {
				lists = append(lists, all[i*1000:10_000+i*1000])
			}
			return lists
		}(),
		"added in small steps": func() (lists [][]*target.Target) {
			for n := 500; n <= 10_000; n += 500 {
				lists = append(lists, all[:n])
			}
			return lists
		}(),
		"half removed, then half added": {all[:10_000], all[5000:10_000], all[5000:15_000]},
		"at random": func() (lists [][]*target.Target) {
			for n := range 10 {
				list := slices.DeleteFunc(slices.Clone(all), func(*target.Target) bool { return rand.IntN(10) > 6-n%5 })
				lists = append(lists, list)
			}
			return lists
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog()
				s := l.schedule(lists[0], 256, instant)
				stop := run(s)
				for _, list := range lists[1:] {
					time.Sleep(13 * time.Second)
					s.Set(list)
				}
				set := time.Since(l.start)
				time.Sleep(3 * time.Minute)
				stop()
				most := 0
				for _, list := range lists {
					most = max(most, len(list))
				}
				_, peak := l.perSecond(0, set+3*time.Minute)
				assert.LessOrEqual(t, float64(peak), 1.2*float64(most)/60, "a burst")
				l.assertEven(t, float64(len(lists[len(lists)-1]))/60, set+time.Minute, set+3*time.Minute)
			})
		})
	}
}

func TestNewTargetsGetTheFreeSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(10_000, time.Minute)
		l := newLog()
		s := l.schedule(ts, 256, instant)
		stop := run(s)
		time.Sleep(90 * time.Second)
		var kept []*target.Target // those that are probed in the second half of the minute
		synctest.Wait()
		for _, tt := range ts {
			if l.started[tt][0] > 30*time.Second {
				kept = append(kept, tt)
			}
		}
		s.Set(slices.Concat(kept, targets(len(ts)-len(kept), time.Minute)))
		time.Sleep(3 * time.Minute)
		stop()
		l.assertEven(t, 10_000./60, 0, 4*time.Minute)
	})
}

func TestRemovedTargetIsNotProbedAfterWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(4, time.Minute)
		l := newLog()
		s := l.schedule(ts, 1, lasting(10*time.Second))
		stop := run(s)
		time.Sleep(time.Second)
		s.Set(ts[2:])
		time.Sleep(49 * time.Second)
		stop()
		assert.Equal(t, []time.Duration{0}, l.started[ts[0]], "it was removed while it was probed")
		assert.Empty(t, l.started[ts[1]])
		assert.Equal(t, []time.Duration{10 * time.Second}, l.started[ts[2]])
		assert.Equal(t, []time.Duration{20 * time.Second}, l.started[ts[3]])
	})
}

func TestTargetRemovedAndAddedDuringItsProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(1, time.Minute)
		l := newLog() // panics if there are two probes at the same time
		s := l.schedule(ts, 9, lasting(10*time.Second))
		stop := run(s)
		time.Sleep(time.Second)
		s.Set(nil)
		s.Now(ts[0])
		time.Sleep(time.Second)
		s.Set(ts)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, 1, l.skips[ts[0]])
		time.Sleep(10 * time.Second)
		s.Set(nil)
		time.Sleep(time.Second)
		s.Set(ts)
		time.Sleep(time.Minute + time.Second)
		stop()
		assert.Equal(t, []time.Duration{0, 14 * time.Second, 74 * time.Second}, l.started[ts[0]])
		s.Set(nil)
		assert.Empty(t, s.byTarget, "its memory is not freed")
	})
}

func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(2, time.Minute)
		l := newLog()
		s := l.schedule(ts, 9, lasting(time.Second))
		s.Now(ts[0]) // has no effect before Run
		stop := run(s)
		time.Sleep(20 * time.Second)
		s.Now(ts[0])
		s.Now(targets(1, time.Minute)[0]) // is not in the list
		time.Sleep(500 * time.Millisecond)
		s.Now(ts[0]) // several times during a probe
		s.Now(ts[0])
		s.Now(ts[0])
		time.Sleep(time.Minute)
		s.Now(ts[0])
		synctest.Wait()
		s.Now(ts[0])
		s.Set(ts[1:])
		time.Sleep(time.Minute)
		stop()
		assert.Equal(t, []time.Duration{0, 20 * time.Second, 21 * time.Second, time.Minute, 80500 * time.Millisecond}, l.started[ts[0]])
		assert.Equal(t, []time.Duration{0, 0, 0, 0, 0}, l.late[ts[0]])
		assert.Equal(t, []time.Duration{maxTick, time.Minute + maxTick, 2*time.Minute + maxTick}, l.started[ts[1]])
		assert.Empty(t, l.skips)
	})
}

func TestNowWhileWaitingHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := targets(2, time.Minute)
		l := newLog()
		s := l.schedule(ts, 1, lasting(10*time.Second))
		stop := run(s)
		time.Sleep(5 * time.Second)
		s.Now(ts[1]) // has been waiting for a slot
		time.Sleep(40 * time.Second)
		s.Now(ts[0])
		s.Now(ts[1])
		s.Now(ts[1])
		time.Sleep(14 * time.Second)
		stop()
		assert.Equal(t, []time.Duration{10 * time.Second, 55 * time.Second}, l.started[ts[1]])
		assert.Equal(t, []time.Duration{10*time.Second - maxTick, 10 * time.Second}, l.late[ts[1]])
	})
}

// This is mainly for the race detector.
func TestMethodsFromManyGoroutines(t *testing.T) {
	ts := targets(300, 10*time.Millisecond)
	l := newLog()
	s := l.schedule(ts[:150], 16, instant)
	stop := run(s)
	var callers sync.WaitGroup
	for i := range 4 {
		callers.Go(func() {
			for j := range 100 {
				from := (i*37 + j*11) % 200
				s.Set(ts[from : from+(i+j)%100])
				for _, tt := range ts[from : from+50] {
					s.Now(tt)
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	callers.Wait()
	stop()
	assert.Empty(t, l.active)
	assert.NotEmpty(t, l.started)
}

// BenchmarkSet measures the memory of a target, and the time to replace all targets.
func BenchmarkSet(b *testing.B) {
	const n = 100_000
	ts := targets(n, time.Minute)
	var before, after runtime.MemStats
	s := &Schedule{MaxConcurrent: 256}
	runtime.GC()
	runtime.ReadMemStats(&before)
	s.Set(ts)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
		s.Set(nil)
		s.Set(ts)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/target")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/target")
}
