//go:build scale && linux

// Package scale measures the built distribution with ten thousand targets on loopback, and prints each figure with its limit.
// `make bench-scale` builds the binary and measures everything. To measure a part:
//
//	go test -tags scale -count=1 ./internal/scale -run TestScale/cost
//
// TARGETS and INTERVAL make a smaller run: TARGETS=2000 INTERVAL=12s. There must be more than 100 targets, because fewer are not
// spread over the whole interval. SCALE_HOUR=1 watches the memory for an hour instead of five minutes. A figure beyond its limit
// fails the run only with SCALE_STRICT=1, because machines are noisy.
//
// The servers and the bare dialer are separate processes that run this test binary; see workers_test.go.
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
	// memoryInterval is the interval of all targets when memory is measured. Half of the targets have half of it.
	memoryInterval = 10 * time.Second
	// The cost is always measured with this many targets and this interval, which take more than half of a core. A collector that
	// has less to do wakes up more often for each probe.
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

// figure prints a figure with its limit, which may be empty. ok is whether the figure is within the limit.
func figure(t *testing.T, name, value, limit string, ok bool) {
	if limit == "" {
		fmt.Printf("%-64s %s\n", name, value)
		return
	}
	result := "ok"
	if !ok {
		result = "MISSED"
		if os.Getenv("SCALE_STRICT") == "1" {
			t.Errorf("%s is %s, must be %s", name, value, limit)
		}
	}
	fmt.Printf("%-64s %-38s must be %-10s %s\n", name, value, limit, result)
}

// take returns what the farm saw since the last call. It reports failed handshakes, because they cost less than successful ones.
// On a busy machine some time out.
func (b *bench) take(t *testing.T) Seen {
	seen := call[Seen](b.farm, "Farm.Take", struct{}{})
	if seen.Failed > 0 {
		figure(t, "failed handshakes", strconv.Itoa(seen.Failed), "none", false)
	}
	return seen
}

// run starts a collector on healthy targets with black holes spread among them.
func (b *bench) run(t *testing.T, healthy, blackHoles int, interval, delay time.Duration) *collector {
	t.Helper()
	b.settle()
	return startCollector(t, b.Started, servers(healthy, blackHoles), interval, delay, false)
}

// settle waits until the connections of the last collector are closed.
func (b *bench) settle() {
	for call[Seen](b.farm, "Farm.Take", struct{}{}).Open > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// servers returns the numbers of healthy servers, with those of black holes spread among them.
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

// start measures how long the collector takes to start.
func (b *bench) start(t *testing.T) {
	const rounds = 5
	kinds := []struct {
		name   string
		n      int
		inline bool
		limit  string
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
		figure(t, "from exec to everything being ready, "+k.name, spread(ready[i]), k.limit, median(ready[i]) < time.Second)
	}
}

// stop measures how long a collector takes to stop when all its probes hang.
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
	figure(t, fmt.Sprintf("from SIGTERM to exit, %d probes in flight", inFlight), spread(took), "< 1s", slices.Max(took) < time.Second)
}

// cost compares the CPU time of the whole collector, with metrics and traces, to that of a bare dialer that verifies. Because
// machines are noisy they take turns: the collector is stopped while the dialer works. The collector's first interval, when every
// certificate is new, does not count, nor does the first second after it continues.
func (b *bench) cost(t *testing.T) {
	const rounds = 15
	dialer := startWorker(t)
	c := b.run(t, costTargets, 0, costInterval, 0)
	time.Sleep(costInterval + time.Second)
	var probe, dial, ratio, share []float64
	var probed, dialed []time.Duration // handshakes as the servers see them
	for range rounds {
		c.signal(syscall.SIGSTOP)
		call[Seen](b.farm, "Farm.Take", struct{}{})
		took := call[time.Duration](dialer, "Dialer.Run", Dials{b.Started, costTargets})
		dialed = append(dialed, b.take(t).Took...)
		c.signal(syscall.SIGCONT)
		dial = append(dial, microseconds(took)/costTargets)

		time.Sleep(time.Second)
		call[Seen](b.farm, "Farm.Take", struct{}{}) // discards the handshakes that failed because of the stop
		begin, before := time.Now(), c.cpu()
		time.Sleep(costInterval)
		used, took := c.cpu()-before, time.Since(begin)
		seen := b.take(t)
		probed = append(probed, seen.Took...)
		probe = append(probe, microseconds(used)/float64(len(seen.Accepted)))
		share = append(share, 100*used.Seconds()/took.Seconds())
		ratio = append(ratio, probe[len(probe)-1]/dial[len(dial)-1])
	}
	c.stop()
	of := fmt.Sprintf(", %d endpoints every %s", costTargets, costInterval)
	figure(t, "CPU of a bare verified dial, in µs", spread(dial), "", true)
	figure(t, "CPU of a probe with metrics and traces, in µs"+of, spread(probe), "", true)
	figure(t, "share of a core that the collector used, in %", spread(share), "", true)
	figure(t, "handshakes as the servers see them, of the dialer and of the collector", short(median(dialed))+" and "+short(median(probed)), "", true)
	figure(t, "CPU of a probe / CPU of a dial", spread(ratio), "<= 0.85", median(ratio) <= 0.85)
}

// even counts the probes that begin in each second: after the start, after targets are replaced, and after the collector was
// stopped for a while.
func (b *bench) even(t *testing.T) {
	const stall = 10 * time.Second
	c := b.run(t, b.targets, 0, b.interval, time.Second)
	none := func() {}
	for i, stage := range []struct {
		name          string
		before, begin func()
	}{
		{"in the first interval", none, none},
		{"in the second interval", none, none},
		{"after a tenth of the targets was replaced", none, func() { c.writeTargets(servers(b.targets+b.targets/10, 0)[b.targets/10:]) }},
		{
			fmt.Sprintf("after it was stopped for %s", stall),
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
		figure(t, "probes begun in any second, deviation from the mean, "+stage.name,
			fmt.Sprintf("%.1f%%: %d to %d, mean %.1f", worst, fewest, most, mean), "<= 20%", worst <= 20)
		figure(t, "  CPU of a probe, and a handshake as the servers see it",
			fmt.Sprintf("%.0f µs and %s", microseconds(used)/float64(len(seen.Accepted)), short(median(seen.Took))), "", true)
	}
	b.peak(t, c)
	c.stop()
}

// perSecond returns the fewest and the most probes that began in any one second between two times.
func perSecond(all []Accepted, from, until time.Time) (fewest, most int) {
	before := func(t time.Time) int {
		n, _ := slices.BinarySearchFunc(all, t, func(a Accepted, t time.Time) int { return a.At.Compare(t) })
		return n
	}
	slices.SortFunc(all, func(a, b Accepted) int { return a.At.Compare(b.At) })
	fewest = len(all)
	count := func(begin time.Time) {
		if end := begin.Add(time.Second); !begin.Before(from) && !end.After(until) {
			n := before(end) - before(begin)
			fewest, most = min(fewest, n), max(most, n)
		}
	}
	count(from)
	for _, a := range all { // the second with the most begins at a probe, the one with the fewest just after one
		count(a.At)
		count(a.At.Add(1))
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
		"none at the beginning": {[]float64{1.5, 2, 2.5}, 0, 2},
		"none at the end":       {[]float64{0, 0.5, 1, 1.5}, 0, 2},
		"none in the middle":    {[]float64{0, 0.5, 2, 2.5}, 0, 2},
		"a burst, out of order": {[]float64{2.9, 0, 0.5, 1, 1.5, 2, 2.6, 2.8, 2.7}, 1, 5},
		"none":                  {nil, 0, 0},
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

// hanging measures how late healthy targets are probed if a tenth of all targets hang.
func (b *bench) hanging(t *testing.T) {
	const intervals = 3
	blackHoles := b.targets / 10
	c := b.run(t, b.targets-blackHoles, blackHoles, b.interval, time.Second)
	time.Sleep(2*time.Second + intervals*b.interval)
	last := make(map[int]time.Time, b.targets)
	var deviations []time.Duration
	for _, a := range b.take(t).Accepted {
		if before, ok := last[a.Server]; ok && a.Server >= 0 {
			deviations = append(deviations, (a.At.Sub(before) - b.interval).Abs())
		}
		last[a.Server] = a.At
	}
	slices.Sort(deviations)
	p99 := deviations[len(deviations)*99/100]
	figure(t, fmt.Sprintf("time between two probes, deviation from interval, %d hang", blackHoles),
		fmt.Sprintf("p50 %s, p99 %s, max %s", short(deviations[len(deviations)/2]), short(p99), short(deviations[len(deviations)-1])), "< 100ms", p99 < 100*time.Millisecond)
	late := c.lateProbes(t)
	figure(t, "probes more than 0.1 s late, by the collector's own metrics", fmt.Sprintf("%.2f%%", 100*late), "< 1%", late < 0.01)
	b.peak(t, c)
	c.stop()
}

// peak reports the peak memory. It lists the pages of the binary separately, as the system decides how many to keep in memory.
func (b *bench) peak(t *testing.T, c *collector) {
	peak, file := c.memory("VmHWM"), c.memory("RssFile")
	figure(t, fmt.Sprintf("peak memory, %d targets every %s, in MiB", b.targets, b.interval),
		fmt.Sprintf("%.0f, of which %.0f is the binary", peak/1024, file/1024), "< 120", peak < 120*1024)
}

// memory compares the memory for half and for all of the targets at the same number of probes per second, and checks that it does
// not grow over time.
func (b *bench) memory(t *testing.T) {
	half := median(b.watch(t, b.targets/2, memoryInterval/2, 30*time.Second))
	all := median(b.watch(t, b.targets, memoryInterval, 30*time.Second))
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
		fmt.Sprintf("%.1f and %.1f", first, last), "< +2%", last <= 1.02*first)
}

// watch returns a collector's memory in KiB at each second after the first two intervals.
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

// short formats a figure with its significant digits only.
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
