package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
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

// generous is how long is waited for what should happen soon.
const generous = 10 * time.Second

// tree is a folder to change files in. Paths are relative to it, with slashes.
type tree struct {
	*testing.T
	dir string
}

func newTree(t *testing.T) tree { return tree{t, t.TempDir()} }

func (t tree) path(name string) string { return filepath.Join(t.dir, filepath.FromSlash(name)) }

var written sync.Map // how often what was written, so that no content comes twice

// write creates or overwrites files in place, with the directories that they need.
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

// watching is a Watch that runs.
type watching struct {
	testing.TB
	*Watch
	changed   chan *target.Target
	unwatched chan string
}

func watch(t *testing.T, targets ...*target.Target) *watching {
	w := begin(t, targets...)
	w.settle()
	return w
}

// begin does not wait until all is watched.
func begin(t *testing.T, targets ...*target.Target) *watching {
	w := &watching{TB: t, changed: make(chan *target.Target, 100), unwatched: make(chan string, 100)}
	w.Watch = &Watch{
		Changed:   func(tt *target.Target) { w.changed <- tt },
		Unwatched: func(dir string, err error) { w.unwatched <- dir + ": " + err.Error() },
	}
	w.Set(targets)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// looked is another value after each look.
func (w *watching) looked() uintptr {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.touched) > 0 {
		return 0
	}
	return reflect.ValueOf(w.byPath).Pointer()
}

// directories returns which are watched.
func (w *watching) directories() []string {
	w.looking.Lock()
	defer w.looking.Unlock()
	if w.notify == nil {
		return nil
	}
	return w.notify.WatchList()
}

// settle waits until all is watched and nothing more is to be looked at.
func (w *watching) settle() {
	for before := uintptr(1); ; {
		now := w.looked()
		if now == before && now != 0 {
			return
		}
		before = now
		time.Sleep(3 * calm)
	}
}

// expect waits until the target was seen to change.
func (w *watching) expect(tt *target.Target) {
	w.Helper()
	select {
	case got := <-w.changed:
		require.Equal(w, tt.Files.Pattern, got.Files.Pattern)
	case <-time.After(generous):
		require.Fail(w, "nothing was seen to change", tt.Files.Pattern)
	}
}

// quiet asserts that nothing more was seen to change.
func (w *watching) quiet() {
	w.Helper()
	w.settle()
	select {
	case got := <-w.changed:
		assert.Fail(w, "seen to change", got.Files.Pattern)
	default:
	}
}

// drain forgets what was seen to change.
func (w *watching) drain() {
	w.settle()
	for len(w.changed) > 0 {
		<-w.changed
	}
}

// Each of these ways to change files is seen, and so is the next one after it.
func TestChangesAreSeen(t *testing.T) {
	var cases sync.WaitGroup // they wait most of the time: more than one for each CPU
	defer cases.Wait()
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
		"written in place, of the same size": {
			before:  func(t tree) { t.write("site/cert.pem") },
			pattern: "site/cert.pem",
			changes: []func(tree){func(t tree) { require.NoError(t, os.WriteFile(t.path("site/cert.pem"), []byte("y"), 0o600)) }},
		},
		"of another size, though as old": {
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
		"replaced by one as large and as old": {
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
		"directory above it replaced": {
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
		"link that leads nowhere yet": {
			before:  func(t tree) { t.link("cert.pem", "some/where/cert.pem") },
			pattern: "cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("some/where/cert.pem") },
				func(t tree) { t.write("some/where/cert.pem") },
			},
		},
		"links in a circle": {
			before:  func(t tree) { t.link("cert.pem", "round"); t.link("round", "cert.pem") },
			pattern: "cert.pem",
			changes: []func(tree){func(t tree) { t.write("new"); t.rename("new", "round") }},
		},
		"file where a directory should be": {
			before:  func(t tree) { t.write("site") },
			pattern: "site/cert.pem",
			changes: []func(tree){func(t tree) { t.remove("site"); t.write("site/cert.pem") }},
		},
		"one more that matches": {
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
		"link that leads nowhere renamed": {
			before:  func(t tree) { t.link("cert.pem", "nowhere") },
			pattern: "*.pem",
			changes: []func(tree){func(t tree) { t.rename("cert.pem", "other.pem") }},
		},
		"in a link to a directory that matches": {
			before:  func(t tree) { t.write("else/where/other"); t.link("site", "else/where") },
			pattern: "*/cert.pem",
			changes: []func(tree){func(t tree) { t.write("else/where/cert.pem") }},
		},
		"one more directory that matches": {
			before:  func(t tree) { t.write("a/cert.pem"); t.write("b/other") },
			pattern: "*/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("c/cert.pem") },
				func(t tree) { t.write("b/cert.pem") },
				func(t tree) { t.write("b/cert.pem") },
				func(t tree) { t.link("d", "c") },
			},
		},
		"somewhere below": {
			before:  func(t tree) { t.write("a/cert.pem"); t.write("b/c/other") },
			pattern: "**/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("b/c/cert.pem") },
				func(t tree) { t.write("b/c/d/e/cert.pem") },
				func(t tree) { t.write("b/c/d/e/cert.pem") },
			},
		},
		"one of several": {
			before:  func(t tree) { t.write("c/cert.pem") },
			pattern: "{a/b,c}/cert.pem",
			changes: []func(tree){
				func(t tree) { t.write("a/b/cert.pem") },
				func(t tree) { t.write("a/b/cert.pem") },
				func(t tree) { t.write("c/cert.pem") },
			},
		},
		"name that looks like a pattern": {
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
		cases.Go(func() {
			t.Run(name, func(t *testing.T) {
				tree := newTree(t)
				c.before(tree)
				tt := tree.target(c.pattern)
				w := watch(t, tt)
				for _, change := range c.changes {
					change(tree)
					w.expect(tt)
					w.drain() // a slow machine may have seen it in two parts
				}
				assert.Empty(t, w.unwatched)
			})
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

// remount replaces it, also as Kubernetes does.
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

func TestWhatIsNoChangeIsNotTold(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("site/cert.pem", "site/key", "site/deep/other")
	w := watch(t, tree.target("site/cert.pem"), tree.target("site/*.pem"), tree.target("site"))
	before := w.looked()
	for range 10 {
		_, err := os.ReadFile(tree.path("site/cert.pem"))
		require.NoError(t, err)
		_, err = os.ReadDir(tree.path("site"))
		require.NoError(t, err)
	}
	tree.write("other", "site/deep/other")
	w.settle()
	assert.Equal(t, before, w.looked(), "reading, and what is of no concern, is no reason to look")

	tree.write("site/key", "site/more")
	require.NoError(t, os.Chmod(tree.path("site/cert.pem"), 0o600))
	require.NoError(t, os.Chtimes(tree.path("site/cert.pem"), time.Now(), time.Time{}))
	w.quiet()
	if runtime.GOOS == "linux" {
		assert.NotEqual(t, before, w.looked(), "to look is no change, and no reason to look again")
	}
}

func TestRelativePath(t *testing.T) {
	tree := newTree(t)
	tree.write("a[1]/site/cert.pem")
	t.Chdir(tree.path("a[1]"))
	exact := &target.Target{Files: target.Files{Pattern: filepath.Join("site", "cert.pem")}}
	matching := &target.Target{Files: target.Files{Pattern: "*/*.pem"}}
	w := watch(t, exact)
	tree.write("a[1]/site/cert.pem")
	w.expect(exact)
	w.Set([]*target.Target{matching})
	w.settle()
	tree.write("a[1]/site/more.pem")
	w.expect(matching)
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
	w := watch(t, targets...)
	real, err := filepath.EvalSymlinks(tree.path("site"))
	require.NoError(t, err)
	assert.Contains(t, w.directories(), real)
	assert.Len(t, w.directories(), strings.Count(real, string(filepath.Separator))+1)
	tree.write("site/77.pem")
	w.expect(targets[77])
	w.quiet()
}

func TestWhatDoesNotMatchIsNotWatched(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("outside/other", "top/site/cert.pem", "top/.hidden/deep/cert.pem")
	tree.link("top/link", "../outside")
	w := watch(t, tree.target("top/**/cert.pem"), tree.target("top/site/cert.pem/*.pem"))
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
	w := watch(t, endpoint)
	assert.Nil(t, w.notify, "nothing is used up while there are no files to watch")
	w.Set([]*target.Target{a, b, endpoint, b})
	w.settle()
	n := len(w.directories())
	tree.write("c/cert.pem")
	tree.write("b/cert.pem")
	w.expect(b)
	w.quiet()

	w.Set([]*target.Target{c, b})
	w.settle()
	assert.Len(t, w.directories(), n, "of the other no directory is watched any more")
	tree.write("a/cert.pem")
	tree.write("c/cert.pem")
	w.expect(c)
	w.quiet()

	tree.write("b/cert.pem") // seen by the look that Set causes, if not before
	w.Set([]*target.Target{b})
	w.expect(b)
	w.Set(nil)
	w.settle()
	tree.write("b/cert.pem")
	w.quiet()
	assert.Empty(t, w.directories())
}

func TestWatchesAreBounded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere each watch takes up open files")
	}
	t.Parallel()
	for _, pattern := range []string{"*/cert.pem", "**/cert.pem"} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t)
			for i := range maxWatches - 50 {
				tree.write(fmt.Sprintf("%04d/cert.pem", i))
			}
			w := watch(t, tree.target(pattern))
			assert.Empty(t, w.unwatched)
			for i := range 50 {
				tree.write(fmt.Sprintf("more%d/cert.pem", i))
			}
			tree.write("few/cert.pem")
			assert.Contains(t, <-w.unwatched, ": 1000 directories are watched, and no more are")
			w.settle()
			assert.Len(t, w.directories(), maxWatches)
			tree.write("few/cert.pem")
			few := tree.target("few/cert.pem")
			w.Set([]*target.Target{few})
			w.drain()
			assert.Less(t, len(w.directories()), 20)
			tree.write("few/cert.pem")
			w.expect(few)
			assert.Empty(t, w.unwatched, "told once")
		})
	}
}

func TestWhatIsLookedAtIsBounded(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	for i := range maxWatches + 50 {
		require.NoError(t, os.Mkdir(tree.path(fmt.Sprint(i)), 0o755))
	}
	s := see(tree.target("**/cert.pem").Files)
	assert.InDelta(t, maxWatches, len(s.dirs), 1)
}

func TestDirectoryThatWentJustNowIsNotTold(t *testing.T) {
	notify, err := fsnotify.NewWatcher()
	require.NoError(t, err)
	defer notify.Close()
	w := Watch{notify: notify} // would panic if it told
	gone := &sight{dirs: map[string]dir{filepath.Join(t.TempDir(), "gone"): {use: holds}}}
	assert.False(t, w.watch([]*watched{{seen: gone}}))
}

func TestUnwatchedIsToldOnceWithWhatHelps(t *testing.T) {
	var told []string
	for _, err := range []error{syscall.ENOSPC, syscall.EMFILE, errors.New("broken")} {
		w := Watch{Unwatched: func(dir string, err error) { told = append(told, dir+": "+err.Error()) }}
		w.tell("/etc", err)
		w.tell("/usr", err)
	}
	require.Len(t, told, 3)
	assert.Contains(t, told[0], "max_user_watches")
	assert.Contains(t, told[1], "max_user_instances")
	assert.Equal(t, "/etc: broken", told[2])
}

// As root everything is permitted: this test is skipped then.
func TestUnreadableDirectories(t *testing.T) {
	if os.Geteuid() <= 0 {
		t.Skip("needs a user who is not permitted everything")
	}
	tree := newTree(t)
	tree.write("pass/site/cert.pem", "closed/cert.pem", "closed/site/cert.pem")
	require.NoError(t, os.Chmod(tree.path("pass"), 0o311))
	require.NoError(t, os.Chmod(tree.path("closed"), 0o311))
	t.Cleanup(func() { _ = os.Chmod(tree.path("pass"), 0o755); _ = os.Chmod(tree.path("closed"), 0o755) })
	tt := tree.target("pass/site/cert.pem")
	w := watch(t, tt)
	tree.write("pass/site/cert.pem")
	w.expect(tt)
	assert.Empty(t, w.unwatched, "one may pass through")
	w.Set([]*target.Target{tree.target("closed/cert.pem"), tree.target("closed/site/cert.pem")})
	assert.Contains(t, <-w.unwatched, "closed: permission denied")
}

func TestNewDirectoriesAreAReasonToLookAgain(t *testing.T) {
	tree := newTree(t)
	tree.write("cert.pem")
	tt := tree.target("cert.pem")
	notify, err := fsnotify.NewWatcher() // nobody listens to it
	require.NoError(t, err)
	defer notify.Close()
	var changed []*target.Target
	w := &Watch{Changed: func(tt *target.Target) { changed = append(changed, tt) }, notify: notify}
	w.Set([]*target.Target{tt})
	w.burst.timer = time.NewTimer(time.Hour) // instead of Run
	w.look(nil)
	assert.Len(t, w.touched, 1)
	tree.write("cert.pem")
	w.look(nil)
	assert.Equal(t, []*target.Target{tt}, changed, "before it was watched")
	assert.Empty(t, w.touched)

	tree.write("cert.pem")
	w.Set([]*target.Target{tt})
	w.look(nil)
	assert.Equal(t, []*target.Target{tt, tt}, changed, "just before Set")

	for i := range maxAgain {
		assert.Equal(t, i, w.again)
		w.touch("")
		require.NoError(t, notify.Remove(notify.WatchList()[0]))
		w.look(nil)
		assert.Len(t, w.touched, min(1, maxAgain-1-i), "not for ever")
	}
}

func TestLostEventsHaveAllLookedAt(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	tree.write("a/cert.pem", "b/cert.pem")
	a, b := tree.target("a/cert.pem"), tree.target("b/cert.pem")
	w := watch(t, a, b)
	require.NoError(t, w.notify.Remove(filepath.Dir(a.Files.Pattern)))
	tree.write("a/cert.pem")
	w.quiet() // its event is lost
	w.notify.Errors <- fsnotify.ErrEventOverflow
	w.expect(a)
	w.quiet()
	tree.write("a/cert.pem")
	w.expect(a) // and it is watched again
}

func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := burst{}
		b.now() // before Run: does nothing
		b.timer = time.NewTimer(0)
		<-b.timer.C
		start := time.Now()
		b.event()
		<-b.timer.C
		assert.Equal(t, calm, time.Since(start), "after one event")
		b.over()

		start = time.Now()
		for range 3 {
			time.Sleep(calm - time.Millisecond)
			b.event()
		}
		<-b.timer.C
		assert.Equal(t, 3*(calm-time.Millisecond)+calm, time.Since(start), "after the last event")
		b.over()

		start = time.Now()
		b.event()
		for time.Since(start) < patience-time.Millisecond {
			time.Sleep(time.Millisecond)
			b.event()
			assert.Empty(t, b.timer.C)
		}
		<-b.timer.C
		assert.Equal(t, patience, time.Since(start), "in the middle of a burst without end")
		b.event()
		b.event()
		<-b.timer.C
		assert.Equal(t, patience, time.Since(start))
	})
}

func TestWatchedFilesAreProbedAtOnce(t *testing.T) {
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
	w := &Watch{Changed: plan.Now}
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	w.Set([]*target.Target{tt})
	(&watching{TB: t, Watch: w}).settle()
	tree.write("cert.pem")
	select {
	case <-probed:
	case <-time.After(generous):
		assert.Fail(t, "not probed")
	}
}
