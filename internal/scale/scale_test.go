//go:build scale && linux

// Package scale measures the built distribution with ten thousand targets, on loopback alone, and prints each figure
// beside what it must be. `make bench-scale` builds the binary and takes all figures; to take some:
//
//	go test -tags scale -count=1 ./internal/scale -run TestScale/cost
//
// TARGETS and INTERVAL make a smaller run of it: TARGETS=2000 INTERVAL=12s. They must be more than 100 targets, as
// fewer do not take their whole interval. SCALE_HOUR=1 watches the memory for an hour instead of
// five minutes. A figure that is missed fails the run only with SCALE_STRICT=1, as machines are noisy.
//
// The servers and the bare dialer are processes of their own, this binary once more; see workers_test.go.
package scale

import (
	"cmp"
	"fmt"
	"net/rpc"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	timeout  = 10 * time.Second
	inFlight = 256 // the default of max_concurrent_probes
	// Where memory is measured all targets are probed in this time, and half of them in half of it.
	busy = 10 * time.Second
	// Where cost is measured there are this many targets, however many there are otherwise, in this time: they take more
	// than half of a core. A collector that is more at rest spends more on each probe, on waking up.
	costTargets, costInterval = 5000, 5 * time.Second
)

func TestScale(t *testing.T) {
	targets, err := strconv.Atoi(cmp.Or(os.Getenv("TARGETS"), "10000"))
	must(err)
	interval, err := time.ParseDuration(cmp.Or(os.Getenv("INTERVAL"), "60s"))
	must(err)
	fmt.Printf("%d targets every %s, %s, %d CPUs\n", targets, interval, runtime.Version(), runtime.NumCPU())
	b := &bench{farm: startWorker(t), targets: targets, interval: interval}
	b.Started = call[Started](b.farm, "Farm.Start", max(targets+targets/10, costTargets))
	t.Run("start", b.start)
	t.Run("stop", b.stop)
	t.Run("cost", b.cost)
	t.Run("even", b.even)
	t.Run("hanging", b.hanging)
	t.Run("memory", b.memory)
}

type bench struct {
	Started
	farm     *rpc.Client
	targets  int
	interval time.Duration
}

// figure prints a line. What it must be is empty where nothing is demanded.
func figure(t *testing.T, name, value, demand string, holds bool) {
	if demand == "" {
		fmt.Printf("%-64s %s\n", name, value)
		return
	}
	word := "holds"
	if !holds {
		word = "MISSED"
		if os.Getenv("SCALE_STRICT") == "1" {
			t.Errorf("%s is %s and must be %s", name, value, demand)
		}
	}
	fmt.Printf("%-64s %-38s must be %-10s %s\n", name, value, demand, word)
}

// take returns what was seen since the last call. Handshakes that failed are told: they cost less than those that were
// meant. On a machine that is busy with other things some run into their timeout.
func (b *bench) take(t *testing.T) Seen {
	seen := call[Seen](b.farm, "Farm.Take", struct{}{})
	if seen.Failed > 0 {
		figure(t, "handshakes that failed", strconv.Itoa(seen.Failed), "none", false)
	}
	return seen
}

// run starts a collector on healthy targets and black holes, which are spread among them.
func (b *bench) run(t *testing.T, healthy, blackHoles int, interval, delay time.Duration) *collector {
	t.Helper()
	b.settle()
	return startCollector(t, b.Started, servers(healthy, blackHoles), interval, delay, false)
}

// settle waits for what the last collector left unfinished when it was stopped, which is of no interest.
func (b *bench) settle() {
	for call[Seen](b.farm, "Farm.Take", struct{}{}).Open > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

func servers(healthy, blackHoles int) []int {
	all := make([]int, 0, healthy+blackHoles)
	for i := range healthy {
		all = append(all, i)
		for len(all)-i-1 < (i+1)*blackHoles/healthy {
			all = append(all, -1-(len(all)-i-1))
		}
	}
	return all
}

// start measures how long a configuration takes to run, from the start of the process.
func (b *bench) start(t *testing.T) {
	const rounds = 5
	kinds := []struct {
		name   string
		n      int
		inline bool
		demand string
	}{{"1 target", 1, true, ""}, {"targets in target_files", b.targets, false, "< 1s"}, {"targets inline", b.targets, true, "< 1s"}}
	ready, first := make([][]time.Duration, len(kinds)), make([][]time.Duration, len(kinds))
	for range rounds {
		for i, k := range kinds {
			b.settle()
			c := startCollector(t, b.Started, servers(k.n, 0), b.interval, 0, k.inline)
			ready[i] = append(ready[i], c.ready.Sub(c.started))
			for len(first[i]) < len(ready[i]) {
				if seen := b.take(t); len(seen.Accepted) > 0 {
					first[i] = append(first[i], seen.Accepted[0].At.Sub(c.started))
				}
			}
			c.stop()
		}
	}
	for i, k := range kinds {
		figure(t, "from exec to the first probe, "+k.name, spread(first[i]), "", true)
		figure(t, "from exec to everything is ready, "+k.name, spread(ready[i]), k.demand, median(ready[i]) < time.Second)
	}
}

// stop measures how long a collector takes to end whose probes all hang.
func (b *bench) stop(t *testing.T) {
	const rounds = 3
	var took []time.Duration
	for range rounds {
		c := b.run(t, 1, inFlight, timeout, 0)
		for b.take(t).Open < inFlight {
			time.Sleep(10 * time.Millisecond)
		}
		took = append(took, c.stop())
	}
	figure(t, fmt.Sprintf("from SIGTERM to the end, %d probes in flight", inFlight), spread(took), "< 1s", slices.Max(took) < time.Second)
}

// cost compares the CPU time of the whole collector, metrics and traces on, with that of a bare verified dialer. They take
// turns, one being stopped while the other works: machines are noisy. The collector's first interval, in which every
// certificate is new, does not count, nor the second after it was stopped.
func (b *bench) cost(t *testing.T) {
	const rounds = 15
	dialer := startWorker(t)
	c := b.run(t, costTargets, 0, costInterval, 0)
	time.Sleep(costInterval + time.Second)
	var probe, dial, ratio, share []float64
	var waited, dialed []time.Duration // by the servers
	for range rounds {
		c.signal(syscall.SIGSTOP)
		call[Seen](b.farm, "Farm.Take", struct{}{})
		took := call[time.Duration](dialer, "Dialer.Run", Dials{b.Started, costTargets})
		dialed = append(dialed, b.take(t).Took...)
		c.signal(syscall.SIGCONT)
		dial = append(dial, microseconds(took)/costTargets)

		time.Sleep(time.Second)
		call[Seen](b.farm, "Farm.Take", struct{}{}) // with what was under way, and failed
		begin, before := time.Now(), c.cpu()
		time.Sleep(costInterval)
		used, took := c.cpu()-before, time.Since(begin)
		seen := b.take(t)
		waited = append(waited, seen.Took...)
		probe = append(probe, microseconds(used)/float64(len(seen.Accepted)))
		share = append(share, 100*used.Seconds()/took.Seconds())
		ratio = append(ratio, probe[len(probe)-1]/dial[len(dial)-1])
	}
	c.stop()
	of := fmt.Sprintf(", %d endpoints every %s", costTargets, costInterval)
	figure(t, "CPU of a bare verified dial, in µs", spread(dial), "", true)
	figure(t, "CPU of a probe, metrics and traces on, in µs"+of, spread(probe), "", true)
	figure(t, "share of a core that the collector took, in %", spread(share), "", true)
	figure(t, "handshakes as the servers see them, of the dialer and of the collector", short(median(dialed))+" and "+short(median(waited)), "", true)
	figure(t, "CPU of a probe over that of a dial", spread(ratio), "<= 0.85", median(ratio) <= 0.85)
}

// even counts the probes that begin in each second: from the start on, when other targets come in, and when the collector
// could not run for a while.
func (b *bench) even(t *testing.T) {
	const stall = 10 * time.Second
	c := b.run(t, b.targets, 0, b.interval, time.Second)
	nothing := func() {}
	for i, stage := range []struct {
		name          string
		before, begin func()
	}{
		{"in the first interval", nothing, nothing},
		{"in the second interval", nothing, nothing},
		{"when a tenth of the targets was replaced", nothing, func() { c.list(servers(b.targets+b.targets/10, 0)[b.targets/10:]) }},
		{
			fmt.Sprintf("when it had been stopped for %s", stall),
			func() { c.signal(syscall.SIGSTOP); time.Sleep(stall); call[Seen](b.farm, "Farm.Take", struct{}{}) },
			func() { c.signal(syscall.SIGCONT) },
		},
	} {
		stage.before()
		begin, before := time.Now(), c.cpu()
		stage.begin()
		time.Sleep(b.interval)
		used, seen := c.cpu()-before, b.take(t)
		if i == 0 {
			begin = slices.MinFunc(seen.Accepted, func(a, b Accepted) int { return a.At.Compare(b.At) }).At
		}
		mean := float64(b.targets) / b.interval.Seconds()
		fewest, most := perSecond(seen.Accepted, begin, time.Now())
		worst := max(mean-float64(fewest), float64(most)-mean) / mean * 100
		figure(t, "probes begun in any second, off the mean, "+stage.name,
			fmt.Sprintf("%.1f%%: %d to %d, mean %.1f", worst, fewest, most, mean), "<= 20%", worst <= 20)
		figure(t, "there: CPU of a probe, and a handshake as the servers see it",
			fmt.Sprintf("%.0f µs and %s", microseconds(used)/float64(len(seen.Accepted)), short(median(seen.Took))), "", true)
	}
	b.peak(t, c)
	c.stop()
}

// perSecond returns the fewest and the most probes that were begun in any second between two times.
func perSecond(all []Accepted, from, until time.Time) (fewest, most int) {
	before := func(t time.Time) int {
		n, _ := slices.BinarySearchFunc(all, t, func(a Accepted, t time.Time) int { return a.At.Compare(t) })
		return n
	}
	slices.SortFunc(all, func(a, b Accepted) int { return a.At.Compare(b.At) })
	fewest = len(all)
	look := func(begin time.Time) {
		if end := begin.Add(time.Second); !begin.Before(from) && !end.After(until) {
			n := before(end) - before(begin)
			fewest, most = min(fewest, n), max(most, n)
		}
	}
	look(from)
	for _, a := range all { // what else has the most begins with a probe, and what has the fewest just after one
		look(a.At)
		look(a.At.Add(1))
	}
	return fewest, most
}

func TestScalePerSecond(t *testing.T) {
	from := time.Now()
	for name, c := range map[string]struct {
		at           []float64
		fewest, most int
	}{
		"even":                  {[]float64{0, 0.5, 1, 1.5, 2, 2.5}, 2, 2},
		"nothing at the begin":  {[]float64{1.5, 2, 2.5}, 0, 2},
		"nothing at the end":    {[]float64{0, 0.5, 1, 1.5}, 0, 2},
		"nothing in the middle": {[]float64{0, 0.5, 2, 2.5}, 0, 2},
		"a burst, out of order": {[]float64{2.9, 0, 0.5, 1, 1.5, 2, 2.6, 2.8, 2.7}, 1, 5},
		"nothing":               {nil, 0, 0},
	} {
		var all []Accepted
		for _, at := range c.at {
			all = append(all, Accepted{At: from.Add(time.Duration(at * float64(time.Second)))})
		}
		fewest, most := perSecond(all, from, from.Add(3*time.Second))
		if fewest != c.fewest || most != c.most {
			t.Errorf("%s: %d to %d", name, fewest, most)
		}
	}
}

// hanging measures how late the healthy targets are probed where a tenth of all hang.
func (b *bench) hanging(t *testing.T) {
	const intervals = 3
	blackHoles := b.targets / 10
	c := b.run(t, b.targets-blackHoles, blackHoles, b.interval, time.Second)
	time.Sleep(2*time.Second + intervals*b.interval)
	last := make(map[int]time.Time, b.targets)
	var off []time.Duration
	for _, a := range b.take(t).Accepted {
		if before, ok := last[a.Server]; ok && a.Server >= 0 {
			off = append(off, (a.At.Sub(before) - b.interval).Abs())
		}
		last[a.Server] = a.At
	}
	slices.Sort(off)
	p99 := off[len(off)*99/100]
	figure(t, fmt.Sprintf("two probes of one target are not an interval apart by, %d hang", blackHoles),
		fmt.Sprintf("p50 %s, p99 %s, max %s", short(off[len(off)/2]), short(p99), short(off[len(off)-1])), "< 100ms", p99 < 100*time.Millisecond)
	late := c.lateProbes(t)
	figure(t, "probes more than 0.1 s late, as the collector counts them", fmt.Sprintf("%.2f%%", 100*late), "< 1%", late < 0.01)
	b.peak(t, c)
	c.stop()
}

// peak tells of the binary's own pages apart: the system keeps more or fewer of them in memory as it likes.
func (b *bench) peak(t *testing.T, c *collector) {
	peak, file := c.memory("VmHWM"), c.memory("RssFile")
	figure(t, fmt.Sprintf("peak memory, %d targets every %s, in MiB", b.targets, b.interval),
		fmt.Sprintf("%.0f, of which %.0f is the binary", peak/1024, file/1024), "< 120", peak < 120*1024)
}

// memory compares half the targets with all of them at the same probes per second, and sees whether it stays the same.
func (b *bench) memory(t *testing.T) {
	half := median(b.watch(t, b.targets/2, busy/2, 30*time.Second))
	all := median(b.watch(t, b.targets, busy, 30*time.Second))
	grown := (all - half) / float64(b.targets-b.targets/2)
	figure(t, fmt.Sprintf("memory with %d and %d targets, in MiB", b.targets/2, b.targets), fmt.Sprintf("%.0f and %.0f", half/1024, all/1024), "", true)
	figure(t, "memory for each further target, in KiB", fmt.Sprintf("%.1f", grown), "< 4", grown < 4)

	length := 5 * time.Minute
	if os.Getenv("SCALE_HOUR") == "1" {
		length = time.Hour
	}
	sizes := b.watch(t, b.targets, b.interval, length)
	tenth := len(sizes) / 10
	first, last := median(sizes[:tenth])/1024, median(sizes[len(sizes)-tenth:])/1024
	figure(t, fmt.Sprintf("memory in the first and the last tenth of %s, in MiB", length),
		fmt.Sprintf("%.1f and %.1f", first, last), "no 2% more", last <= 1.02*first)
}

// watch returns a collector's memory in KiB, second by second, but for the first two intervals.
func (b *bench) watch(t *testing.T, n int, interval, length time.Duration) (sizes []float64) {
	c := b.run(t, n, 0, interval, 0)
	time.Sleep(2 * interval)
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(time.Second) {
		b.take(t)
		sizes = append(sizes, c.memory("VmRSS"))
	}
	c.stop()
	return sizes
}

func median[T cmp.Ordered](v []T) T { return slices.Sorted(slices.Values(v))[len(v)/2] }

func spread[T time.Duration | float64](v []T) string {
	return fmt.Sprintf("median %s (%s to %s)", short(median(v)), short(slices.Min(v)), short(slices.Max(v)))
}

// short is a figure with as many digits as mean anything.
func short[T time.Duration | float64](v T) string {
	switch v := any(v).(type) {
	case time.Duration:
		return v.Round(100 * time.Microsecond).String()
	case float64:
		if v >= 10 {
			return fmt.Sprintf("%.0f", v)
		}
		return fmt.Sprintf("%.2f", v)
	}
	panic("unreachable")
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
