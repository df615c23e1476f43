package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/fsnotify/fsnotify"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

const (
	// maxWatches bounds how many directories are watched.
	maxWatches = 1000
	// calm is how long nothing must happen before files are looked at, so that one reads what was written and not half
	// of it; patience is how long that is waited for.
	calm     = 150 * time.Millisecond
	patience = time.Second
	// maxAgain bounds how often files are looked at only because there were new directories.
	maxAgain = 10
	// maxLinks is how many symbolic links a path may lead through, as on Linux.
	maxLinks = 40
)

// Watch sees when the files change that targets watch, so that they needn't wait for their place in the interval. It
// watches every directory on the way to a file, through all symbolic links, because each way of replacing a certificate
// shows in another one: certbot puts up another link beside the file's name, Kubernetes one on the way to it, and others
// rename a whole directory. An event tells no more than where to look: whether anything did change is found by comparing
// what is there.
//
// What cannot be watched, such as the files of another machine, is still read at each interval.
type Watch struct {
	// Changed is called with each target whose files have changed.
	Changed func(t *target.Target)
	// Unwatched is called with the first directory that cannot be watched, empty if none can be, and why; not again for
	// others.
	Unwatched func(dir string, err error)

	looking  sync.Mutex        // held while files are looked at; guards the next four
	notify   *fsnotify.Watcher // nil until there is something to watch
	watching map[string]fs.FileInfo
	again    int  // how often in a row new watches were the reason to look
	told     bool // Unwatched was called

	mu      sync.Mutex
	targets []*watched
	touched map[*watched]bool     // are to be looked at when burst's timer fires
	byPath  map[string][]*watched // whom an event at this path may concern
	burst   burst
}

// watched is a target that watches files.
type watched struct {
	target *target.Target
	seen   *sight // nil until first looked at
}

// Run watches until ctx ends. It may be called once.
func (w *Watch) Run(ctx context.Context) {
	w.mu.Lock()
	w.burst.timer = time.NewTimer(0)
	w.mu.Unlock()
	var listening sync.WaitGroup
	for {
		select {
		case <-ctx.Done():
			if w.notify != nil {
				_ = w.notify.Close()
			}
			listening.Wait()
			return
		case <-w.burst.timer.C:
			w.look(&listening)
		}
	}
}

// listen takes events until there will be no more. It is apart from what looks and adds watches: on Windows that does
// not go on until the events have been taken.
func (w *Watch) listen(notify *fsnotify.Watcher) {
	for {
		select {
		case e, ok := <-notify.Events:
			if !ok {
				return
			}
			w.touch(e.Name)
		case _, ok := <-notify.Errors:
			if !ok {
				return
			}
			w.touch("") // events were lost
		}
	}
}

// Set replaces the targets. Those that watch no files are left out.
func (w *Watch) Set(targets []*target.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := make(map[*target.Target]*watched, len(w.targets))
	for _, x := range w.targets {
		before[x.target] = x
	}
	w.targets, w.touched = nil, make(map[*watched]bool)
	for _, t := range targets {
		if t.Files.Pattern == "" {
			continue
		}
		x := before[t]
		if x == nil {
			x = &watched{target: t}
			before[t] = x
		}
		w.targets = append(w.targets, x)
		w.touched[x] = true
	}
	w.burst.now()
}

// touch has those looked at whom an event at the path may concern: all, if it is empty.
func (w *Watch) touch(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	concerned := slices.Concat(w.byPath[path], w.byPath[inside(filepath.Dir(path))])
	if path == "" {
		concerned = w.targets
	}
	for _, x := range concerned {
		w.touched[x] = true
	}
	if len(concerned) > 0 {
		w.burst.event()
	}
}

// inside is the key of what concerns anything in a directory, whatever its name.
func inside(dir string) string { return dir + string(filepath.Separator) }

// look looks at what was touched, tells of what has changed, and watches what is there now.
func (w *Watch) look(listening *sync.WaitGroup) {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.mu.Lock()
	targets, touched := w.targets, w.touched
	w.touched = make(map[*watched]bool)
	w.burst.over()
	w.mu.Unlock()
	if w.notify == nil && len(targets) > 0 {
		notify, err := fsnotify.NewWatcher()
		if err != nil {
			w.tell("", err)
			return
		}
		w.notify = notify
		listening.Go(func() { w.listen(notify) })
	}

	var changed []*target.Target
	for x := range touched {
		before := x.seen
		x.seen = see(x.target.Files)
		if before != nil && !before.same(x.seen) {
			changed = append(changed, x.target)
		}
	}
	byPath := make(map[string][]*watched)
	for _, x := range targets {
		for path := range x.seen.names {
			byPath[path] = append(byPath[path], x)
		}
		for path, d := range x.seen.dirs {
			if d.use == lists {
				byPath[inside(path)] = append(byPath[inside(path)], x)
			}
		}
	}
	w.mu.Lock()
	w.byPath = byPath
	w.mu.Unlock()
	if !w.watch(targets) {
		w.again = 0
	} else if w.again++; w.again < maxAgain {
		// What changed before the new watches were in place was not seen.
		w.mu.Lock()
		for x := range touched {
			w.touched[x] = true
		}
		w.burst.event()
		w.mu.Unlock()
	}
	for _, t := range changed {
		w.Changed(t)
	}
}

// watch watches the directories of the targets, and no others. It returns whether there are new ones among them.
func (w *Watch) watch(targets []*watched) (added bool) {
	if w.notify == nil {
		return false
	}
	dirs := make(map[string]dir)
	for _, x := range targets {
		for path, d := range x.seen.dirs {
			d.use = max(d.use, dirs[path].use)
			dirs[path] = d
		}
	}
	// A watch belongs to a directory and not to its path. The system drops it when the directory goes or is renamed
	// itself, but not when one above it is.
	before := make(map[string]bool)
	for _, path := range w.notify.WatchList() {
		if d, ok := dirs[path]; ok && os.SameFile(d.info, w.watching[path]) {
			before[path] = true
		} else {
			_ = w.notify.Remove(path)
		}
	}
	n := len(before)
	for path, d := range dirs {
		if before[path] {
			continue
		}
		if n == maxWatches {
			w.tell(path, fmt.Errorf("%d directories are watched, and no more are", maxWatches))
			break
		}
		switch err := w.notify.Add(path); {
		case err == nil:
			n++
		case errors.Is(err, fs.ErrNotExist): // it went just now, which its parent tells
		case d.use == passes && errors.Is(err, fs.ErrPermission):
			// Not to be allowed to list a directory that one may pass through is ordinary.
		default:
			w.tell(path, err)
		}
	}
	w.watching = make(map[string]fs.FileInfo)
	for _, path := range w.notify.WatchList() {
		added = added || !before[path]
		w.watching[path] = dirs[path].info
	}
	return added
}

// tell tells why a directory is not watched.
func (w *Watch) tell(dir string, err error) {
	switch {
	case w.told:
		return
	case errors.Is(err, syscall.ENOSPC):
		err = fmt.Errorf("%w: raise the sysctl fs.inotify.max_user_watches", err)
	case errors.Is(err, syscall.EMFILE):
		err = fmt.Errorf("%w: raise the sysctl fs.inotify.max_user_instances or the limit of open files", err)
	}
	w.told = true
	w.Unwatched(dir, err)
}

// burst is a timer that fires when a burst of events is over, or has gone on for too long.
type burst struct {
	timer *time.Timer // nil before Run
	first time.Time   // zero if there was none
}

func (b *burst) event() {
	if b.first.IsZero() {
		b.first = time.Now()
	}
	b.timer.Reset(min(calm, time.Until(b.first.Add(patience))))
}

func (b *burst) now() {
	if b.timer != nil {
		b.timer.Reset(0)
	}
}

func (b *burst) over() { b.first = time.Time{} }

// sight is what was there when a target's files were looked at.
type sight struct {
	files []file
	names map[string]bool // what was come by, without links: a change of any may change what there is
	dirs  map[string]dir  // that hold it, by their real paths
	real  map[string]step // where paths of directories lead to
}

// dir is a directory that is to be watched.
type dir struct {
	use  use
	info fs.FileInfo
}

// step is a directory that a path leads to or through.
type step struct {
	path string // without links
	info fs.FileInfo
}

// use is what a directory is for, in order of weight.
type use int

const (
	passes use = iota + 1 // it is only on the way
	holds                 // it holds a file, a link, or nothing by the name that was looked for
	lists                 // any new name in it may match
)

// file is what a path that matched leads to: to nothing if info is nil.
type file struct {
	path string
	info fs.FileInfo
}

func (s *sight) same(o *sight) bool {
	if len(s.files) != len(o.files) {
		return false
	}
	for i, a := range s.files {
		b := o.files[i]
		if a.path != b.path || (a.info == nil) != (b.info == nil) {
			return false
		}
		if a.info != nil && (!os.SameFile(a.info, b.info) || a.info.Mode() != b.info.Mode() ||
			!a.info.IsDir() && (a.info.Size() != b.info.Size() || !a.info.ModTime().Equal(b.info.ModTime()))) {
			return false
		}
	}
	return true
}

// see looks at files, and at all that decides on which they are.
func see(files target.Files) *sight {
	s := &sight{names: make(map[string]bool), dirs: make(map[string]dir), real: make(map[string]step)}
	s.walk(files.Pattern) // it may be an exact name, whatever characters are in it

	// Glob is made to tell what it looks at. It looks as target.Files does.
	options := []doublestar.GlobOption{doublestar.WithNoHidden()}
	if strings.Contains(files.Pattern, "**") {
		options = append(options, doublestar.WithNoFollow())
	}
	base, pattern := doublestar.SplitPattern(filepath.ToSlash(filepath.Clean(files.Pattern)))
	_, _ = doublestar.Glob(&globbed{os.DirFS(base), base, s}, pattern, options...)

	paths, _ := files.Match() // what is wrong with it, the probe will tell
	for _, path := range paths {
		s.files = append(s.files, file{path, s.walk(path).info})
	}
	s.real = nil
	return s
}

// walk goes along a path and notes what it comes by. It returns where the path leads to: to nothing if info is nil.
func (s *sight) walk(path string) (end step) {
	path, err := filepath.Abs(path)
	if err != nil {
		return step{}
	}
	at, known := s.real[filepath.Dir(path)]
	rest := []string{filepath.Base(path)}
	if !known {
		at, rest = split(path)
	}
	for links := 0; len(rest) > 0; {
		next := lstat(filepath.Join(at.path, rest[0])) // also where that is "..", "." or empty
		rest = rest[1:]
		s.names[next.path] = true
		if next.info != nil && next.info.IsDir() {
			s.use(at, passes)
			at = next
			continue
		}
		s.use(at, holds)
		if next.info == nil || next.info.Mode()&fs.ModeSymlink == 0 {
			return next
		}
		to, err := os.Readlink(next.path)
		if links++; err != nil || links > maxLinks {
			return step{}
		}
		more := strings.Split(filepath.ToSlash(to), "/")
		if filepath.IsAbs(to) {
			at, more = split(to)
		}
		rest = append(more, rest...)
	}
	s.real[path] = at
	return at
}

// use notes that a directory is to be watched.
func (s *sight) use(at step, u use) {
	s.dirs[at.path] = dir{max(u, s.dirs[at.path].use), at.info}
}

// lstat returns what is at a path. If that is a link, it is not followed.
func lstat(path string) step {
	info, err := os.Lstat(path)
	if err != nil {
		return step{path, nil}
	}
	return step{path, info}
}

// split returns the root and the names of an absolute path.
func split(path string) (root step, names []string) {
	volume := filepath.VolumeName(path)
	return lstat(volume + string(filepath.Separator)), strings.Split(filepath.ToSlash(path[len(volume):]), "/")
}

// globbed is a file system of which it is noted what is looked at.
type globbed struct {
	fs.FS
	base string
	*sight
}

func (g *globbed) ReadDir(name string) ([]fs.DirEntry, error) {
	if len(g.dirs) > maxWatches {
		return nil, fs.ErrInvalid // more than can be watched
	}
	if at := g.walk(filepath.Join(g.base, name)); at.info != nil && at.info.IsDir() {
		g.use(at, lists)
	}
	return fs.ReadDir(g.FS, name)
}

func (g *globbed) Stat(name string) (fs.FileInfo, error) {
	g.walk(filepath.Join(g.base, name))
	return fs.Stat(g.FS, name)
}
