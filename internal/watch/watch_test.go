package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/schedule"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hung is how long a test waits before it fails. Nothing takes nearly as long.
const hung = time.Minute

// tree is a directory of files to change. Paths are relative to it, with slashes.
type tree struct {
	*testing.T
	dir string
}

func newTree(t *testing.T) tree { return tree{t, t.TempDir()} }

func (t tree) path(name string) string { return filepath.Join(t.dir, filepath.FromSlash(name)) }

var written sync.Map // how often each path was written

// write creates or overwrites files, and creates their directories. A file is longer each time.
func (t tree) write(names ...string) {
	t.Helper()
	for _, name := range names {
		require.NoError(t, os.MkdirAll(filepath.Dir(t.path(name)), 0o755))
		n, _ := written.LoadOrStore(t.path(name), new(int))
		*n.(*int)++
		require.NoError(t, os.WriteFile(t.path(name), []byte(strings.Repeat("x", *n.(*int))), 0o600))
	}
}

func (t tree) link(name, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(t.path(name)), 0o755))
	require.NoError(t, os.Symlink(filepath.FromSlash(to), t.path(name)))
}

func (t tree) rename(from, to string) {
	t.Helper()
	require.NoError(t, os.Rename(t.path(from), t.path(to)))
}

func (t tree) remove(name string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(t.path(name)))
}

func (t tree) target(pattern string) *target.Target {
	return &target.Target{Files: target.Files{Pattern: t.path(pattern)}}
}

// runningWatcher is a Watcher that runs, with short debounce times.
type runningWatcher struct {
	testing.TB
	*Watcher
	changed   chan *target.Target
	unwatched chan string
	events    <-chan string // the base names of the barriers that were handled
	tree      tree
	barriers  int
}

// watch starts a Watcher and waits until it watches the targets.
func (t tree) watch(targets ...*target.Target) *runningWatcher {
	w := t.start()
	w.Set(targets)
	w.settle()
	return w
}

// start starts a Watcher without targets.
func (t tree) start() *runningWatcher {
	w := &runningWatcher{TB: t, tree: t, changed: make(chan *target.Target, 10_000), unwatched: make(chan string, 100)}
	w.Watcher = New(func(tt *target.Target) { w.changed <- tt }, func(dir string, err error) { w.unwatched <- dir + ": " + err.Error() })
	w.debounce.quiet, w.debounce.maxWait = 5*time.Millisecond, 50*time.Millisecond
	w.run(t.T)
	return w
}

// run runs the Watcher until the test ends.
func (w *runningWatcher) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	handled := make(chan string, 100)
	w.events = handled
	w.newNotify = func() (*fsnotify.Watcher, error) { return reportBarriers(ctx, handled) }
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

const barrier = ".barrier"

// reportBarriers returns an fsnotify.Watcher. When a file whose name starts with barrier is created, its name is sent
// to handled once its event, and so every earlier event, has been handled.
func reportBarriers(ctx context.Context, handled chan<- string) (*fsnotify.Watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	events := make(chan fsnotify.Event)
	forward := func(e fsnotify.Event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	forwarded := *notify
	forwarded.Events = events
	go func() {
		defer close(events)
		for e := range notify.Events {
			forward(e)
			if name := filepath.Base(e.Name); strings.HasPrefix(name, barrier) && e.Has(fsnotify.Create) {
				forward(fsnotify.Event{}) // concerns no target, and is received only after e was handled
				handled <- name
			}
		}
	}()
	return &forwarded, nil
}

// Set replaces the targets and waits until they have been scanned.
func (w *runningWatcher) Set(targets []*target.Target) {
	w.Helper()
	w.scanMu.Lock() // so that the next scan is one of these targets
	before := w.byPath
	w.Watcher.Set(targets)
	w.scanMu.Unlock()
	require.Eventually(w, func() bool { return !sameScan(w.lastScan(), before) }, hung, time.Millisecond)
	w.idle()
}

// idle waits until nothing is left to scan.
func (w *runningWatcher) idle() {
	w.Helper()
	require.Eventually(w, func() bool {
		w.scanMu.Lock()
		defer w.scanMu.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.dirty) == 0
	}, hung, time.Millisecond)
}

// lastScan returns the map that the last scan made.
func (w *runningWatcher) lastScan() map[string][]*watchedTarget {
	w.scanMu.Lock()
	defer w.scanMu.Unlock()
	return w.byPath
}

func sameScan(a, b map[string][]*watchedTarget) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// directories returns the watched directories.
func (w *runningWatcher) directories() []string {
	w.scanMu.Lock()
	defer w.scanMu.Unlock()
	if w.notify == nil {
		return nil
	}
	return w.notify.WatchList()
}

// settle waits until all changes so far have been handled, and nothing is left to scan.
func (w *runningWatcher) settle() {
	w.Helper()
	w.idle()
	dir, err := filepath.EvalSymlinks(w.tree.dir)
	require.NoError(w, err)
	if !slices.Contains(w.directories(), dir) {
		return
	}
	// The system reports events in order. When it has reported this file, it has reported everything before.
	w.barriers++
	name := barrier + strconv.Itoa(w.barriers)
	require.NoError(w, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	select {
	case got := <-w.events:
		require.Equal(w, name, got)
	case <-time.After(hung):
		require.Fail(w, "no event for "+name)
	}
	w.idle()
}

// expectChange waits until a change of the target is reported, and asserts that none of another target is. A change in
// several steps, such as truncating a file and writing it, may be reported several times.
func (w *runningWatcher) expectChange(tt *target.Target) {
	w.Helper()
	select {
	case got := <-w.changed:
		require.Same(w, tt, got)
	case <-time.After(hung):
		require.Fail(w, "no change was reported", tt.Files.Pattern)
	}
	w.settle()
	for len(w.changed) > 0 {
		require.Same(w, tt, <-w.changed)
	}
}

// expectNoChange asserts that no change is reported.
func (w *runningWatcher) expectNoChange() {
	w.Helper()
	w.settle()
	select {
	case got := <-w.changed:
		assert.Fail(w, "a change was reported", got.Files.Pattern)
	default:
	}
}

// Each of these changes is reported.
func TestChangesAreReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before  func(tree)
		pattern string
		changes []func(tree)
	}{
		"written in place": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("site/cert.pem") },
				func(t tree) { t.write("site/cert.pem") },
			},
		},
		"overwritten with the same size": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/cert.pem",
			changes: []func(tree){func(t tree) { require.NoError(t, os.WriteFile(t.path("site/cert.pem"), []byte("y"), 0o600)) }},
		},
		"overwritten with the same time": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/cert.pem",
			changes: []func(tree){func(t tree) {
				info, err := os.Stat(t.path("site/cert.pem"))
				require.NoError(t, err)
				t.write("site/cert.pem")
				require.NoError(t, os.Chtimes(t.path("site/cert.pem"), time.Time{}, info.ModTime()))
			}},
		},
		"replaced": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("new.pem"); t.rename("new.pem", "site/cert.pem") },
				func(t tree) { t.write("new.pem"); t.rename("new.pem", "site/cert.pem") },
				func(t tree) { t.write("site/cert.pem") },
			},
		},
		"replaced with the same size and time": {
			before: func(t tree) {
				t.write("site/cert.pem", "new.pem")
				for _, name := range []string{"site/cert.pem", "new.pem"} {
					require.NoError(t, os.Chtimes(t.path(name), time.Time{}, time.Unix(1, 0)))
				}
			},
			pattern: "site/cert.pem",
			changes: []func(tree){func(t tree) { t.rename("new.pem", "site/cert.pem") }},
		},
		"removed and created": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/cert.pem",
			changes: []func(tree){
				func(t tree) { t.remove("site/cert.pem") },
				func(t tree) { t.write("site/cert.pem") },
				func(t tree) { t.write("site/cert.pem") },
			},
		},
		"created with its directories": {
			before:  func(tree) {},
			pattern: "some/where/deep/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("some/where/deep/cert.pem") },
				func(t tree) { t.write("some/where/deep/cert.pem") },
			},
		},
		"directory removed and created": {
			before:  func(t tree) { t.write("some/site/cert.pem") },
			pattern: "some/site/cert.pem",
			changes: []func(tree){
				func(t tree) { t.remove("some") },
				func(t tree) { t.write("some/site/cert.pem") },
				func(t tree) { t.write("some/site/cert.pem") },
			},
		},
		"directory replaced": {
			before:  func(t tree) { t.write("site/cert.pem", "new/cert.pem") },
			pattern: "site/cert.pem",
			changes: []func(tree){
				func(t tree) { t.rename("site", "old"); t.rename("new", "site") },
				func(t tree) { t.write("site/cert.pem") },
			},
		},
		"parent directory replaced": {
			before:  func(t tree) { t.write("app/etc/tls/site/cert.pem", "new/etc/tls/site/cert.pem") },
			pattern: "app/etc/tls/site/cert.pem",
			changes: []func(tree){
				func(t tree) { t.rename("app", "old"); t.rename("new", "app") },
				func(t tree) { t.write("app/etc/tls/site/cert.pem") },
				func(t tree) { t.rename("app", "new"); t.rename("old", "app") },
			},
		},
		"made readable": {
			before: func(t tree) {
				t.write("site/cert.pem")
				require.NoError(t, os.Chmod(t.path("site/cert.pem"), 0o400))
			},
			pattern: "site/cert.pem",
			changes: []func(tree){func(t tree) { require.NoError(t, os.Chmod(t.path("site/cert.pem"), 0o600)) }},
		},
		"certbot": {
			before: func(t tree) {
				t.write("archive/site/cert1.pem", "archive/site/cert2.pem")
				t.link("live/site/cert.pem", "../../archive/site/cert1.pem")
			},
			pattern: "live/site/cert.pem",
			changes: []func(tree){
				func(t tree) {
					t.link("live/site/new", "../../archive/site/cert2.pem")
					t.rename("live/site/new", "live/site/cert.pem")
				},
				func(t tree) { t.write("archive/site/cert2.pem") },
				func(t tree) {
					t.write("archive/site/cert3.pem")
					t.remove("live/site/cert.pem")
					t.link("live/site/cert.pem", "../../archive/site/cert3.pem")
				},
			},
		},
		"Kubernetes": {before: mount, pattern: "mounted/tls.crt", changes: []func(tree){remount("2"), remount("3")}},
		"Kubernetes, all files": {
			before: mount, pattern: "mounted/*", changes: []func(tree){remount("2"), remount("3")},
		},
		"link to a directory": {
			before: func(t tree) {
				t.write("releases/1/etc/cert.pem", "releases/2/etc/cert.pem")
				t.link("current", t.path("releases/1"))
			},
			pattern: "current/etc/*.pem",
			changes: []func(tree){
				func(t tree) { t.link("new", t.path("releases/2")); t.rename("new", "current") },
				func(t tree) { t.write("releases/2/etc/cert.pem") },
				func(t tree) { t.write("releases/2/etc/more.pem") },
			},
		},
		"link to a link": {
			before: func(t tree) {
				t.write("a/cert.pem", "b/cert.pem")
				t.link("two/link", "../a")
				t.link("one/cert.pem", "../two/./link/cert.pem")
			},
			pattern: "one/cert.pem",
			changes: []func(tree){
				func(t tree) { t.link("new", "../b"); t.rename("new", "two/link") },
				func(t tree) { t.write("b/cert.pem") },
			},
		},
		"dangling link whose target is created": {
			before:  func(t tree) { t.link("cert.pem", "some/where/cert.pem") },
			pattern: "cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("some/where/cert.pem") },
				func(t tree) { t.write("some/where/cert.pem") },
			},
		},
		"loop of links": {
			before:  func(t tree) { t.link("cert.pem", "loop"); t.link("loop", "cert.pem") },
			pattern: "cert.pem",
			changes: []func(tree){func(t tree) { t.write("new"); t.rename("new", "loop") }},
		},
		"file where a directory should be": {
			before:  func(t tree) { t.write("site") },
			pattern: "site/cert.pem",
			changes: []func(tree){func(t tree) { t.remove("site"); t.write("site/cert.pem") }},
		},
		"another file matches": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/*.pem",
			changes: []func(tree){
				func(t tree) { t.write("site/more.pem") },
				func(t tree) { t.write("site/more.pem") },
				func(t tree) { t.remove("site/cert.pem") },
				func(t tree) { t.remove("site") },
				func(t tree) { t.write("site/cert.pem") },
			},
		},
		"renamed": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/*.pem",
			changes: []func(tree){func(t tree) { t.rename("site/cert.pem", "site/other.pem") }},
		},
		"dangling link renamed": {
			before:  func(t tree) { t.link("cert.pem", "nowhere") },
			pattern: "*.pem",
			changes: []func(tree){func(t tree) { t.rename("cert.pem", "other.pem") }},
		},
		"file in a matching link to a directory": {
			before:  func(t tree) { t.write("else/where/other"); t.link("site", "else/where") },
			pattern: "*/cert.pem",
			changes: []func(tree){func(t tree) { t.write("else/where/cert.pem") }},
		},
		"another directory matches": {
			before:  func(t tree) { t.write("a/cert.pem"); t.write("b/other") },
			pattern: "*/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("c/cert.pem") },
				func(t tree) { t.write("b/cert.pem") },
				func(t tree) { t.write("b/cert.pem") },
				func(t tree) { t.link("d", "c") },
			},
		},
		"subdirectories": {
			before:  func(t tree) { t.write("a/cert.pem"); t.write("b/c/other") },
			pattern: "**/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("b/c/cert.pem") },
				func(t tree) { t.write("b/c/d/e/cert.pem") },
				func(t tree) { t.write("b/c/d/e/cert.pem") },
			},
		},
		"alternatives": {
			before:  func(t tree) { t.write("c/cert.pem") },
			pattern: "{a/b,c}/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("a/b/cert.pem") },
				func(t tree) { t.write("a/b/cert.pem") },
				func(t tree) { t.write("c/cert.pem") },
			},
		},
		"path that is also a pattern": {
			before:  func(t tree) { t.write("[site]/other") },
			pattern: "[site]/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("[site]/cert.pem") },
				func(t tree) { t.write("[site]/cert.pem") },
				func(t tree) { t.remove("[site]"); t.write("i/cert.pem") },
				func(t tree) { t.write("i/cert.pem") },
				func(t tree) { t.write("[site]/cert.pem") },
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t)
			c.before(tree)
			tt := tree.target(c.pattern)
			w := tree.watch(tt)
			for _, change := range c.changes {
				change(tree)
				w.expectChange(tt)
			}
			assert.Empty(t, w.unwatched)
		})
	}
}

// mount mounts a secret as Kubernetes does.
func mount(t tree) {
	t.write("mounted/..1/tls.crt", "mounted/..1/ca.crt")
	t.link("mounted/..data", "..1")
	t.link("mounted/tls.crt", "..data/tls.crt")
	t.link("mounted/ca.crt", "..data/ca.crt")
}

// remount replaces the secret as Kubernetes does.
func remount(version string) func(tree) {
	return func(t tree) {
		before, err := os.Readlink(t.path("mounted/..data"))
		require.NoError(t, err)
		t.write("mounted/.."+version+"/tls.crt", "mounted/.."+version+"/ca.crt")
		t.link("mounted/..data_tmp", ".."+version)
		t.rename("mounted/..data_tmp", "mounted/..data")
		t.remove("mounted/" + before)
	}
}

func TestOnlyChangesAreReported(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("site/cert.pem", "site/key", "site/deep/other")
	w := tree.watch(tree.target("site/cert.pem"), tree.target("site/*.pem"), tree.target("site"))
	before := w.lastScan()
	for range 10 {
		_, err := os.ReadFile(tree.path("site/cert.pem"))
		require.NoError(t, err)
		_, err = os.ReadDir(tree.path("site"))
		require.NoError(t, err)
	}
	tree.write("other", "site/deep/other")
	w.settle()
	assert.True(t, sameScan(before, w.lastScan()), "reading files, and writing others, caused a scan")

	tree.write("site/key", "site/more")
	require.NoError(t, os.Chmod(tree.path("site/cert.pem"), 0o600))
	require.NoError(t, os.Chtimes(tree.path("site/cert.pem"), time.Now(), time.Time{}))
	w.expectNoChange()
	if runtime.GOOS == "linux" {
		assert.False(t, sameScan(before, w.lastScan()), "nothing was scanned")
	}
}

func TestChangedKeyIsReported(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("site/cert.pem", "keys/1/site.key", "keys/2/site.key")
	tree.link("keys/live", "1")
	tt := tree.target("site/cert.pem")
	tt.Files.Key = tree.path("keys/live/site.key")
	w := tree.watch(tt)
	tree.write("keys/1/site.key")
	w.expectChange(tt)
	tree.link("keys/new", "2")
	tree.rename("keys/new", "keys/live")
	w.expectChange(tt)
	tree.remove("keys/2/site.key")
	w.expectChange(tt)
	tree.write("keys/2/site.key")
	w.expectChange(tt)
	require.NoError(t, os.Chmod(tree.path("keys/2/site.key"), 0o400))
	w.expectChange(tt)
	tree.write("site/cert.pem")
	w.expectChange(tt)
	tree.write("site/other", "keys/1/site.key")
	w.expectNoChange()
}

func TestRelativePath(t *testing.T) {
	tree := newTree(t)
	tree.write("a[1]/site/cert.pem")
	t.Chdir(tree.path("a[1]"))
	exact := &target.Target{Files: target.Files{Pattern: filepath.Join("site", "cert.pem")}}
	matching := &target.Target{Files: target.Files{Pattern: "*/*.pem"}}
	w := tree.watch(exact)
	tree.write("a[1]/site/cert.pem")
	w.expectChange(exact)
	w.Set([]*target.Target{matching})
	w.settle()
	tree.write("a[1]/site/more.pem")
	w.expectChange(matching)
}

func TestTargetsShareWatches(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	var targets []*target.Target
	for i := range 100 {
		name := fmt.Sprintf("site/%d.pem", i)
		tree.write(name)
		targets = append(targets, tree.target(name))
	}
	w := tree.watch(targets...)
	real, err := filepath.EvalSymlinks(tree.path("site"))
	require.NoError(t, err)
	assert.Contains(t, w.directories(), real)
	assert.Len(t, w.directories(), strings.Count(real, string(filepath.Separator))+1)
	tree.write("site/77.pem")
	w.expectChange(targets[77])
}

func TestOtherDirectoriesAreNotWatched(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("outside/other", "top/site/cert.pem", "top/.hidden/deep/cert.pem")
	tree.link("top/link", "../outside")
	w := tree.watch(tree.target("top/**/cert.pem"), tree.target("top/site/cert.pem/*.pem"))
	for _, dir := range w.directories() {
		assert.NotContains(t, []string{"outside", ".hidden", "deep"}, filepath.Base(dir))
		assert.DirExists(t, dir)
	}
}

func TestSetChangesWhatIsWatched(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("a/cert.pem", "b/cert.pem", "c/cert.pem")
	a, b, c := tree.target("a/cert.pem"), tree.target("b/cert.pem"), tree.target("c/cert.pem")
	endpoint := &target.Target{Endpoint: target.Endpoint{Port: 443}}
	w := tree.watch(endpoint)
	assert.Nil(t, w.notify, "uses the system's notifications without need")
	w.Set([]*target.Target{a, b, endpoint, b})
	w.settle()
	n := len(w.directories())
	tree.write("c/cert.pem")
	tree.write("b/cert.pem")
	w.expectChange(b)

	w.Set([]*target.Target{c, b})
	w.settle()
	assert.Len(t, w.directories(), n, "the directory of the removed target is still watched")
	tree.write("a/cert.pem")
	tree.write("c/cert.pem")
	w.expectChange(c)

	tree.write("b/cert.pem") // found by the scan after Set, if not before
	w.Set([]*target.Target{b})
	w.expectChange(b)
	w.Set(nil)
	w.settle()
	tree.write("b/cert.pem")
	w.expectNoChange()
	assert.Empty(t, w.directories())
}

func TestWatchesAreLimited(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("on other systems a watch needs open files")
	}
	t.Parallel()
	for _, pattern := range []string{"*/cert.pem", "**/cert.pem"} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			const limit = 100
			tree := newTree(t)
			for i := range limit - 50 {
				tree.write(fmt.Sprintf("%02d/cert.pem", i))
			}
			w := tree.start()
			w.maxDirs = limit
			w.Set([]*target.Target{tree.target(pattern)})
			w.settle()
			assert.Empty(t, w.unwatched)
			for i := range 50 {
				tree.write(fmt.Sprintf("more%d/cert.pem", i))
			}
			tree.write("few/cert.pem")
			assert.Contains(t, <-w.unwatched, ": 100 directories are already watched")
			w.settle()
			assert.Len(t, w.directories(), limit)
			tree.write("few/cert.pem")
			few := tree.target("few/cert.pem")
			w.Set([]*target.Target{few})
			w.settle()
			for len(w.changed) > 0 { // of the other target
				<-w.changed
			}
			assert.Less(t, len(w.directories()), 20)
			tree.write("few/cert.pem")
			w.expectChange(few)
			assert.Empty(t, w.unwatched, "reported a second time")
		})
	}
}

func TestSnapshotIsLimited(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	const limit = 100
	for i := range limit + 50 {
		require.NoError(t, os.Mkdir(tree.path(fmt.Sprint(i)), 0o755))
	}
	s := takeSnapshot(tree.target("**/cert.pem").Files, limit)
	assert.InDelta(t, limit, len(s.dirs), 1)
}

func TestRemovedDirectoryIsNotReported(t *testing.T) {
	notify, err := fsnotify.NewWatcher()
	require.NoError(t, err)
	defer notify.Close()
	w := New(nil, nil) // panics if it reports anything
	w.notify = notify
	removed := &snapshot{dirs: map[string]dir{filepath.Join(t.TempDir(), "removed"): {use: lookedUp}}}
	assert.False(t, w.watchDirs([]*watchedTarget{{last: removed}}))
}

func TestUnwatchedIsReportedOnceWithTheFix(t *testing.T) {
	var reports []string
	for _, err := range []error{syscall.ENOSPC, syscall.EMFILE, errors.New("broken")} {
		w := New(nil, func(dir string, err error) { reports = append(reports, dir+": "+err.Error()) })
		w.warn("/etc", err)
		w.warn("/usr", err)
	}
	require.Len(t, reports, 3)
	assert.Contains(t, reports[0], "max_user_watches")
	assert.Contains(t, reports[1], "max_user_instances")
	assert.Equal(t, "/etc: broken", reports[2])
}

func TestUnreadableDirectories(t *testing.T) {
	if os.Geteuid() <= 0 {
		t.Skip("root may read every directory")
	}
	tree := newTree(t)
	tree.write("pass/site/cert.pem", "closed/cert.pem", "closed/site/cert.pem")
	require.NoError(t, os.Chmod(tree.path("pass"), 0o311))
	require.NoError(t, os.Chmod(tree.path("closed"), 0o311))
	t.Cleanup(func() { _ = os.Chmod(tree.path("pass"), 0o755); _ = os.Chmod(tree.path("closed"), 0o755) })
	tt := tree.target("pass/site/cert.pem")
	w := tree.watch(tt)
	tree.write("pass/site/cert.pem")
	w.expectChange(tt)
	assert.Empty(t, w.unwatched, "reported a directory that may be traversed")
	w.Set([]*target.Target{tree.target("closed/cert.pem"), tree.target("closed/site/cert.pem")})
	assert.Contains(t, <-w.unwatched, "closed: permission denied")
}

// Changes before a directory is watched cause no events.
func TestNewDirectoriesCauseAnotherScan(t *testing.T) {
	tree := newTree(t)
	tree.write("cert.pem")
	tt := tree.target("cert.pem")
	notify, err := fsnotify.NewWatcher() // its events are not received
	require.NoError(t, err)
	defer notify.Close()
	var changed []*target.Target
	w := New(func(tt *target.Target) { changed = append(changed, tt) }, nil) // and does not run
	w.notify = notify
	w.Set([]*target.Target{tt})
	w.scan()
	assert.Len(t, w.dirty, 1)
	tree.write("cert.pem")
	w.scan()
	assert.Equal(t, []*target.Target{tt}, changed, "written before the directory was watched")
	assert.Empty(t, w.dirty)

	tree.write("cert.pem")
	w.Set([]*target.Target{tt})
	w.scan()
	assert.Equal(t, []*target.Target{tt, tt}, changed, "written before Set")

	for i := range maxRescans {
		assert.Equal(t, i, w.rescans)
		w.eventsLost()
		require.NoError(t, notify.Remove(notify.WatchList()[0]))
		w.scan()
		assert.Len(t, w.dirty, min(1, maxRescans-1-i), "scans without end")
	}
}

func TestLostEventsCauseAScanOfAllTargets(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("a/cert.pem", "b/cert.pem")
	a, b := tree.target("a/cert.pem"), tree.target("b/cert.pem")
	w := tree.watch(a, b)
	require.NoError(t, w.notify.Remove(filepath.Dir(a.Files.Pattern)))
	tree.write("a/cert.pem")
	w.expectNoChange() // there was no event
	w.notify.Errors <- fsnotify.ErrEventOverflow
	w.expectChange(a)
	tree.write("a/cert.pem")
	w.expectChange(a) // it is watched again
}

func TestDebounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(nil, nil).debounce
		<-d.timer.C // for the first scan
		start := time.Now()
		d.event()
		<-d.timer.C
		assert.Equal(t, quietTime, time.Since(start), "after one event")
		d.reset()

		start = time.Now()
		for range 3 {
			time.Sleep(quietTime - time.Millisecond)
			d.event()
		}
		<-d.timer.C
		assert.Equal(t, 3*(quietTime-time.Millisecond)+quietTime, time.Since(start), "after the last event")
		d.reset()

		start = time.Now()
		d.event()
		for time.Since(start) < maxQuietWait-time.Millisecond {
			time.Sleep(time.Millisecond)
			d.event()
			assert.Empty(t, d.timer.C)
		}
		<-d.timer.C
		assert.Equal(t, maxQuietWait, time.Since(start), "during a burst that does not end")
		d.event()
		d.event()
		<-d.timer.C
		assert.Equal(t, maxQuietWait, time.Since(start))
	})
}

// The whole way from the file to the probe, with the real debounce times.
func TestChangedFilesAreProbed(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("cert.pem")
	tt := tree.target("*.pem")
	tt.Interval = time.Hour
	probed := make(chan struct{}, 100)
	plan := &schedule.Schedule{
		MaxConcurrent: 1,
		Probe:         func(context.Context, *target.Target, time.Duration) { probed <- struct{}{} },
	}
	plan.Set([]*target.Target{tt})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { plan.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	<-probed
	w := &runningWatcher{TB: t, tree: tree, Watcher: New(plan.Now, nil)}
	w.run(t)
	w.Set([]*target.Target{tt})
	w.settle()
	tree.write("cert.pem")
	select {
	case <-probed:
	case <-time.After(hung):
		assert.Fail(t, "not probed")
	}
}
