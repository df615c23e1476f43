package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var root = tlsfarm.NewAuthority("Farm Root")

// recorder is an observer that records each outcome as a line of text.
type recorder struct {
	mu      sync.Mutex
	lines   []string
	flushes int
	panicOn string // the line on which it panics
}

func (s *recorder) Observe(_ context.Context, o probe.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := o.Common().Name()
	if _, gone := o.(*probe.Gone); gone {
		line += " gone"
	}
	s.lines = append(s.lines, line)
	if line == s.panicOn {
		panic("broken observer")
	}
}

func (s *recorder) Flush(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushes++
}

func (s *recorder) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

func (s *recorder) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
}

func (s *recorder) flushCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushes
}

func config(observers ...Observer) Config {
	return Config{
		MaxConcurrent: 4, Observers: observers,
		Begin: func(time.Duration) {}, End: func() {}, Skip: func() {},
		FlushAfter: time.Second, Log: zap.NewNop(),
	}
}

// endpoint returns a target for which there is no server.
func endpoint(name string) *target.Target {
	return &target.Target{
		ID: name, Endpoint: target.Endpoint{Host: name, Port: 443, DNSName: name}, TLS: &tls.Config{},
		Interval: time.Hour, InitialDelay: time.Hour, Timeout: time.Second,
	}
}

// fileTarget returns a target that watches files.
func fileTarget(pattern string) *target.Target {
	return &target.Target{
		ID: pattern, Files: target.Files{Pattern: pattern}, TLS: &tls.Config{}, Interval: time.Hour, Timeout: time.Second,
	}
}

// outcome returns an outcome for a target's endpoint or, if path is not empty, for the file at path.
func outcome(t *target.Target, path string) probe.Outcome {
	return &probe.EndpointOutcome{About: probe.About{Target: t, Place: target.Place{TargetID: t.ID, Path: path}}}
}

// startLoop runs the engine's loop without its schedule and watch. The returned function ends the loop and waits for it.
func startLoop(e *Engine) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		e.loop(context.Background(), done)
		close(e.ended)
		close(ended)
	}()
	return func() {
		close(done)
		<-ended
	}
}

func TestLoopPausesWhenItsQueueIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := endpoint("a"), &recorder{}
		e := New(config(s), []*target.Target{a})
		end := startLoop(e)
		send := func() int {
			e.outcomes <- outcome(a, "")
			synctest.Wait()
			return len(s.seen())
		}
		assert.Equal(t, 1, send())
		assert.Equal(t, 1, send())
		time.Sleep(2 * pause)
		assert.Len(t, s.seen(), 2)
		end()
	})
}

func TestFlushAfterATimeOrManyOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := endpoint("a"), &recorder{}
		e := New(config(s), []*target.Target{a})
		end := startLoop(e)
		for range flushSize - 1 {
			e.outcomes <- outcome(a, "")
		}
		time.Sleep(3 * pause) // until the loop waits for more
		assert.Zero(t, s.flushCount())
		e.outcomes <- outcome(a, "")
		synctest.Wait()
		assert.Equal(t, 1, s.flushCount(), "flushSize is reached before FlushAfter")

		time.Sleep(3 * pause)
		e.outcomes <- outcome(a, "")
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 1, s.flushCount())
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 2, s.flushCount(), "FlushAfter has passed since the first outcome")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, 2, s.flushCount(), "no outcome since the last flush")

		e.outcomes <- outcome(a, "")
		end()
		assert.Equal(t, 3, s.flushCount(), "the end flushes what is left")
		assert.Len(t, s.seen(), flushSize+2)
	})
}

// A probe may still be running when its target is removed.
func TestOutcomesOfARemovedTargetAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, s := endpoint("a"), endpoint("b"), &recorder{}
		e := New(config(s), []*target.Target{a, b})
		defer startLoop(e)()
		send := func(o probe.Outcome) {
			e.outcomes <- o
			time.Sleep(2 * pause)
		}
		send(outcome(a, ""))
		send(outcome(a, "/one.pem"))
		send(outcome(a, "/two.pem"))
		send(&probe.Gone{About: probe.About{Target: a, Place: target.Place{TargetID: "a", Path: "/two.pem"}}})
		s.reset()

		e.Set([]*target.Target{b})
		send(outcome(a, ""))
		send(outcome(b, ""))
		assert.Equal(t, []string{"/one.pem gone", "a:443 gone", "b:443"}, s.seen(), "one Gone for each of its places, and no outcome after that")

		s.reset()
		e.Set([]*target.Target{a, b})
		send(outcome(a, ""))
		assert.Equal(t, []string{"a:443"}, s.seen())
		e.Set([]*target.Target{b})
		synctest.Wait()
		assert.Equal(t, []string{"a:443", "a:443 gone"}, s.seen(), "the files of the removed target were forgotten")
	})
}

func TestChangedTargetIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, changed, s := endpoint("a"), endpoint("a"), &recorder{}
		e := New(config(s), []*target.Target{a})
		defer startLoop(e)()
		e.outcomes <- outcome(a, "/one.pem")
		time.Sleep(2 * pause)
		e.Set([]*target.Target{changed})
		synctest.Wait()
		assert.Equal(t, []string{"/one.pem"}, s.seen())
		e.Set(nil)
		synctest.Wait()
		assert.Equal(t, []string{"/one.pem", "/one.pem gone", "a:443 gone"}, s.seen(), "including the places from before the change")
	})
}

// Only single addresses go with resolve: all.
func TestAddressesAreGoneWhenTheyAreNoLongerProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, slower, one, s := endpoint("a"), endpoint("a"), endpoint("a"), &recorder{}
		a.ResolveAll, slower.ResolveAll = true, true
		e := New(config(s), []*target.Target{a})
		defer startLoop(e)()
		peer := target.Place{TargetID: "a", Peer: netip.MustParseAddrPort("192.0.2.1:443")}
		e.outcomes <- &probe.AddressOutcome{About: probe.About{Target: a, Place: peer}}
		e.outcomes <- outcome(a, "/one.pem")
		time.Sleep(2 * pause)
		e.Set([]*target.Target{slower})
		synctest.Wait()
		assert.Len(t, s.seen(), 2, "they go on")
		e.Set([]*target.Target{one})
		synctest.Wait()
		assert.Equal(t, []string{"a:443 (192.0.2.1:443) gone"}, s.seen()[2:])
		e.Set(nil)
		synctest.Wait()
		assert.Equal(t, []string{"/one.pem gone", "a:443 gone"}, s.seen()[3:])
	})
}

func TestPanickingObserverLosesOnlyThatOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := endpoint("a"), endpoint("b")
		bad, good := &recorder{panicOn: "a:443"}, &recorder{}
		cfg := config(bad, good)
		core, log := observer.New(zap.ErrorLevel)
		cfg.Log = zap.New(core)
		e := New(cfg, []*target.Target{a, b})
		end := startLoop(e)
		e.outcomes <- outcome(a, "")
		e.outcomes <- outcome(b, "")
		end()
		assert.Equal(t, []string{"a:443", "b:443"}, bad.seen())
		assert.Equal(t, []string{"a:443", "b:443"}, good.seen())
		require.Equal(t, 1, log.Len())
		assert.Equal(t, "a:443", log.All()[0].ContextMap()["target"])
		assert.Equal(t, "broken observer", log.All()[0].ContextMap()["panic"])
	})
}

func TestSetReturnsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(config(&recorder{}), []*target.Target{endpoint("a")})
		startLoop(e)()
		e.Set([]*target.Target{endpoint("b")})
	})
}

func TestEachTargetIsInOneShard(t *testing.T) {
	var all []*target.Target
	for i := range 100 {
		all = append(all, endpoint(fmt.Sprint(i)))
	}
	shardsOf := map[string]int{}
	for index := range 2 {
		cfg := config()
		cfg.Shard = target.Shard{Index: index, Count: 2}
		for tt := range New(cfg, all).live {
			shardsOf[tt.ID]++
		}
	}
	assert.Len(t, shardsOf, 100)
	for id, n := range shardsOf {
		assert.Equal(t, 1, n, id)
	}
}

// A missing file is looked for again before the target's interval has passed.
func TestMissingFileIsCheckedAgain(t *testing.T) {
	pem, _ := tlsfarm.PEM(root.Issue("a"))
	path := filepath.Join(t.TempDir(), "a.pem")
	require.NoError(t, os.WriteFile(path, pem, 0o600))
	synctest.Test(t, func(t *testing.T) {
		s, tt := &recorder{}, fileTarget(filepath.Join(filepath.Dir(path), "*.pem"))
		e := New(config(s), []*target.Target{tt})
		end := startLoop(e)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { e.schedule.Run(ctx); close(ended) }() // without the watch, whose events would arrive in real time
		time.Sleep(time.Second)
		require.NoError(t, os.Remove(path))
		e.schedule.Now(tt)
		time.Sleep(9 * time.Second)
		assert.NotContains(t, s.seen(), path+" gone")
		time.Sleep(2 * time.Second)
		assert.Contains(t, s.seen(), path+" gone")
		cancel()
		<-ended
		end()
	})
}

// serve starts a TLS server and returns a target that trusts it.
func serve(t *testing.T) *target.Target {
	t.Helper()
	server := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{root.Issue("healthy")}})
	t.Cleanup(server.Close)
	e, err := target.ParseEndpoint(server.Endpoint())
	require.NoError(t, err)
	return &target.Target{
		ID: "a", Endpoint: e, TLS: &tls.Config{RootCAs: root.Pool()}, Interval: 50 * time.Millisecond, Timeout: 10 * time.Second,
	}
}

func TestRemovedTargetIsForgotten(t *testing.T) {
	tt := serve(t)
	e := New(config(), []*target.Target{tt})
	end := startLoop(e)
	fromCache := func() bool { return e.prober.ProbeEndpoint(t.Context(), tt).Handshake.FromCache }
	assert.False(t, fromCache())
	assert.True(t, fromCache())
	e.Set(nil)
	e.Set(nil) // is received when the loop is done with the first
	assert.False(t, fromCache())
	assert.True(t, fromCache())
	e.outcomes <- outcome(tt, "") // from a probe that was running when the target was removed
	end()
	assert.False(t, fromCache())
}

// TestRun runs the whole engine with a real server.
func TestRun(t *testing.T) {
	tt, s := serve(t), &recorder{}
	var begun, ended atomic.Int64
	cfg := config(s)
	cfg.Begin, cfg.End = func(time.Duration) { begun.Add(1) }, func() { ended.Add(1) }
	e := New(cfg, []*target.Target{tt})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { e.Run(ctx, context.Background()); close(done) }()
	require.Eventually(t, func() bool { return len(s.seen()) >= 3 }, 30*time.Second, time.Millisecond)

	e.Set(nil)
	again := *tt
	before := len(s.seen())
	e.Set([]*target.Target{&again})
	require.Eventually(t, func() bool { return len(s.seen()) >= before+2 }, 30*time.Second, time.Millisecond)
	cancel()
	<-done
	assert.Equal(t, begun.Load(), ended.Load())
	assert.Positive(t, s.flushCount())
	gone := slices.DeleteFunc(s.seen(), func(line string) bool { return line != tt.Endpoint.String()+" gone" })
	assert.Len(t, gone, 1)
}
