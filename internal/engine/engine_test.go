package engine

import (
	"context"
	"crypto/tls"
	"fmt"
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

// seen is an observer that notes what it is shown, as text.
type seen struct {
	mu      sync.Mutex
	lines   []string
	flushes int
	panics  string // of which outcome it panics
}

func (s *seen) Observe(_ context.Context, o probe.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := o.Common().Name()
	if _, gone := o.(*probe.Gone); gone {
		line += " gone"
	}
	s.lines = append(s.lines, line)
	if line == s.panics {
		panic("cannot be shown")
	}
}

func (s *seen) Flush(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushes++
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

func (s *seen) flushed() int {
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

// endpoint is a target without a server.
func endpoint(name string) *target.Target {
	return &target.Target{
		ID: name, Endpoint: target.Endpoint{Host: name, Port: 443, DNSName: name}, TLS: &tls.Config{},
		Interval: time.Hour, InitialDelay: time.Hour, Timeout: time.Second,
	}
}

// watching is a target that watches files.
func watching(pattern string) *target.Target {
	return &target.Target{
		ID: pattern, Files: target.Files{Pattern: pattern}, TLS: &tls.Config{}, Interval: time.Hour, Timeout: time.Second,
	}
}

// at is an outcome of a target's endpoint or, with a path, of its file.
func at(t *target.Target, path string) probe.Outcome {
	return &probe.EndpointOutcome{About: probe.About{Target: t, Place: target.Place{TargetID: t.ID, Path: path}}}
}

// looping runs the loop alone. Closing it ends the loop, and returns when it has ended.
func looping(e *Engine) (end func()) {
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

func TestOutcomesWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := endpoint("a"), &seen{}
		e := New(config(s), []*target.Target{a})
		end := looping(e)
		send := func() int {
			e.outcomes <- at(a, "")
			synctest.Wait()
			return len(s.all())
		}
		assert.Equal(t, 1, send())
		assert.Equal(t, 1, send())
		time.Sleep(2 * gather)
		assert.Len(t, s.all(), 2)
		end()
	})
}

func TestFlushComesAtItsTimeOrAfterManyOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := endpoint("a"), &seen{}
		e := New(config(s), []*target.Target{a})
		end := looping(e)
		for range flushSize - 1 {
			e.outcomes <- at(a, "")
		}
		time.Sleep(3 * gather) // until the loop waits for more
		assert.Zero(t, s.flushed())
		e.outcomes <- at(a, "")
		synctest.Wait()
		assert.Equal(t, 1, s.flushed(), "as many as there may be, before their time")

		time.Sleep(3 * gather)
		e.outcomes <- at(a, "")
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 1, s.flushed())
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 2, s.flushed(), "a second after the first outcome")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, 2, s.flushed(), "there is nothing to flush")

		e.outcomes <- at(a, "")
		end()
		assert.Equal(t, 3, s.flushed(), "what is left at the end")
		assert.Len(t, s.all(), flushSize+2)
	})
}

// A probe may be running when its target is removed.
func TestNothingFollowsTheEndOfATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, s := endpoint("a"), endpoint("b"), &seen{}
		e := New(config(s), []*target.Target{a, b})
		defer looping(e)()
		send := func(o probe.Outcome) {
			e.outcomes <- o
			time.Sleep(2 * gather)
		}
		send(at(a, ""))
		send(at(a, "/one.pem"))
		send(at(a, "/two.pem"))
		send(&probe.Gone{About: probe.About{Target: a, Place: target.Place{TargetID: "a", Path: "/two.pem"}}})
		s.lines = nil

		e.Set([]*target.Target{b})
		send(at(a, ""))
		send(at(b, ""))
		assert.Equal(t, []string{"/one.pem gone", "a:443 gone", "b:443"}, s.all(), "each place of it, and nothing more")

		s.lines = nil
		e.Set([]*target.Target{a, b})
		send(at(a, ""))
		assert.Equal(t, []string{"a:443"}, s.all())
		e.Set([]*target.Target{b})
		synctest.Wait()
		assert.Equal(t, []string{"a:443", "a:443 gone"}, s.all(), "its files were of its first life")
	})
}

func TestTargetThatOnlyChangedIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, changed, s := endpoint("a"), endpoint("a"), &seen{}
		e := New(config(s), []*target.Target{a})
		defer looping(e)()
		e.outcomes <- at(a, "/one.pem")
		time.Sleep(2 * gather)
		e.Set([]*target.Target{changed})
		synctest.Wait()
		assert.Equal(t, []string{"/one.pem"}, s.all())
		e.Set(nil)
		synctest.Wait()
		assert.Equal(t, []string{"/one.pem", "/one.pem gone", "a:443 gone"}, s.all(), "with the places of its former settings")
	})
}

func TestObserverThatPanicsLosesOnlyThatOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := endpoint("a"), endpoint("b")
		bad, good := &seen{panics: "a:443"}, &seen{}
		cfg := config(bad, good)
		core, log := observer.New(zap.ErrorLevel)
		cfg.Log = zap.New(core)
		e := New(cfg, []*target.Target{a, b})
		end := looping(e)
		e.outcomes <- at(a, "")
		e.outcomes <- at(b, "")
		end()
		assert.Equal(t, []string{"a:443", "b:443"}, bad.all())
		assert.Equal(t, []string{"a:443", "b:443"}, good.all())
		require.Equal(t, 1, log.Len())
		assert.Equal(t, "a:443", log.All()[0].ContextMap()["target"])
		assert.Equal(t, "cannot be shown", log.All()[0].ContextMap()["panic"])
	})
}

func TestSetAfterTheEndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(config(&seen{}), []*target.Target{endpoint("a")})
		looping(e)()
		e.Set([]*target.Target{endpoint("b")})
	})
}

func TestOtherShardsAreNotProbed(t *testing.T) {
	var all []*target.Target
	for i := range 100 {
		all = append(all, endpoint(fmt.Sprint(i)))
	}
	shares := map[string]int{}
	for index := range 2 {
		cfg := config()
		cfg.Shard = target.Shard{Index: index, Count: 2}
		for tt := range New(cfg, all).live {
			shares[tt.ID]++
		}
	}
	assert.Len(t, shares, 100)
	for id, n := range shares {
		assert.Equal(t, 1, n, id)
	}
}

// A file that is missing is looked for again before its target's interval is over.
func TestMissingFileIsLookedForAgain(t *testing.T) {
	pem, _ := tlsfarm.PEM(root.Issue("a"))
	path := filepath.Join(t.TempDir(), "a.pem")
	require.NoError(t, os.WriteFile(path, pem, 0o600))
	synctest.Test(t, func(t *testing.T) {
		s, tt := &seen{}, watching(filepath.Join(filepath.Dir(path), "*.pem"))
		e := New(config(s), []*target.Target{tt})
		end := looping(e)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { e.schedule.Run(ctx); close(ended) }() // without the watch, whose events come in real time
		time.Sleep(time.Second)
		require.NoError(t, os.Remove(path))
		e.schedule.Now(tt)
		time.Sleep(9 * time.Second)
		assert.NotContains(t, s.all(), path+" gone")
		time.Sleep(2 * time.Second)
		assert.Contains(t, s.all(), path+" gone")
		cancel()
		<-ended
		end()
	})
}

// The whole engine, with a real server.
func TestRun(t *testing.T) {
	server := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{root.Issue("healthy")}})
	t.Cleanup(server.Close)
	e, err := target.ParseEndpoint(server.Endpoint())
	require.NoError(t, err)
	tt := &target.Target{
		ID: "a", Endpoint: e, TLS: &tls.Config{RootCAs: root.Pool()}, Interval: 50 * time.Millisecond, Timeout: 10 * time.Second,
	}
	s := &seen{}
	var verdicts []bool // whether each came from the cache
	noting := noteVerdicts(func(fromCache bool) { verdicts = append(verdicts, fromCache) })
	var begun, ended atomic.Int64
	cfg := config(s, noting)
	cfg.Begin, cfg.End = func(time.Duration) { begun.Add(1) }, func() { ended.Add(1) }
	probes := New(cfg, []*target.Target{tt})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { probes.Run(ctx, context.Background()); close(done) }()
	require.Eventually(t, func() bool { return len(s.all()) >= 3 }, 30*time.Second, time.Millisecond)

	// What was found of a target that is gone is forgotten.
	probes.Set(nil)
	again := *tt
	before := len(s.all())
	probes.Set([]*target.Target{&again})
	require.Eventually(t, func() bool { return len(s.all()) >= before+2 }, 30*time.Second, time.Millisecond)
	cancel()
	<-done
	assert.Equal(t, begun.Load(), ended.Load())
	assert.Positive(t, s.flushed())
	lines := s.all()
	end := slices.Index(lines, server.Endpoint()+" gone")
	require.Positive(t, end)
	for i, fromCache := range verdicts {
		assert.Equal(t, i != 0 && i != end, fromCache, i)
	}
}

// noteVerdicts is an observer of verdicts.
type noteVerdicts func(fromCache bool)

func (note noteVerdicts) Observe(_ context.Context, o probe.Outcome) {
	if a := probe.AttemptOf(o); a != nil {
		note(a.Handshake.FromCache)
	}
}

func (noteVerdicts) Flush(context.Context) {}
