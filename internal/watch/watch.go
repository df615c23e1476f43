// Package watch reports which targets' certificate files have changed.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

const (
	maxDirs = 1000 // to watch
	// quietTime is how long there must be no events before the files are scanned, so that a file is not read while it is
	// being written. maxQuietWait limits this wait.
	quietTime    = 150 * time.Millisecond
	maxQuietWait = time.Second
	// maxRescans limits how many scans in a row are made only because there were new directories.
	maxRescans = 10
)

// Watcher reports when the files of targets change, so that they can be probed before their interval ends.
//
// Each way to replace a certificate changes a different directory: certbot replaces the link to the file, Kubernetes
// replaces a link in the middle of the path, and others rename a whole directory. The Watcher therefore watches every
// directory on the way to a file, through all symbolic links. An event only says which targets to scan. Comparing the
// files with those of the last scan then shows whether they have changed.
//
// Some files cannot be watched, such as those that another machine writes on a network file system. They are still read
// at each interval.
type Watcher struct {
	changed   func(t *target.Target)
	unwatched func(dir string, err error)
	newNotify func() (*fsnotify.Watcher, error)
	maxDirs   int
	listeners sync.WaitGroup

	scanMu      sync.Mutex             // held during a scan; guards the next four
	notify      *fsnotify.Watcher      // nil until there is something to watch
	watchedDirs map[string]fs.FileInfo // as they were when the watches were added
	rescans     int                    // in a row
	warned      bool                   // unwatched was called

	mu       sync.Mutex // guards the following
	targets  []*watchedTarget
	dirty    map[*watchedTarget]bool     // to be scanned when debounce fires
	byPath   map[string][]*watchedTarget // the targets that an event at this path may concern
	debounce debounce
}

// watchedTarget is a target with files.
type watchedTarget struct {
	target *target.Target
	last   *snapshot // of the last scan; nil before the first
}

// New returns a Watcher without targets.
//
// The goroutine of Run calls changed with each target whose files have changed. It calls unwatched with the first
// directory that cannot be watched and the reason, but not with further ones. dir is empty if no directory can be
// watched at all.
func New(changed func(t *target.Target), unwatched func(dir string, err error)) *Watcher {
	return &Watcher{
		changed: changed, unwatched: unwatched, newNotify: fsnotify.NewWatcher, maxDirs: maxDirs,
		debounce: debounce{quiet: quietTime, maxWait: maxQuietWait, timer: time.NewTimer(0)},
	}
}

// Run watches until ctx ends. It must be called only once.
func (w *Watcher) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			if w.notify != nil {
				_ = w.notify.Close()
			}
			w.listeners.Wait()
			return
		case <-w.debounce.timer.C:
			w.scan()
		}
	}
}

// Set replaces the targets. It ignores those without files. It may be called from any goroutine, even before Run.
func (w *Watcher) Set(targets []*target.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := make(map[*target.Target]*watchedTarget, len(w.targets))
	for _, x := range w.targets {
		known[x.target] = x
	}
	w.targets, w.dirty = nil, make(map[*watchedTarget]bool)
	for _, t := range targets {
		if t.Files.Pattern == "" {
			continue
		}
		x := known[t]
		if x == nil {
			x = &watchedTarget{target: t}
			known[t] = x
		}
		w.targets = append(w.targets, x)
		w.dirty[x] = true
	}
	w.debounce.fireNow()
}

// listen handles events until notify is closed. It has a goroutine of its own: on Windows, adding a watch blocks until
// events have been received.
func (w *Watcher) listen(notify *fsnotify.Watcher) {
	for {
		select {
		case e, ok := <-notify.Events:
			if !ok {
				return
			}
			w.event(e.Name)
		case _, ok := <-notify.Errors:
			if !ok {
				return
			}
			w.eventsLost()
		}
	}
}

// event marks the targets that an event at the path may concern.
func (w *Watcher) event(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mark(slices.Concat(w.byPath[path], w.byPath[anyIn(filepath.Dir(path))]))
}

func (w *Watcher) eventsLost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mark(w.targets)
}

// mark marks targets to be scanned. The caller holds mu.
func (w *Watcher) mark(targets []*watchedTarget) {
	for _, x := range targets {
		w.dirty[x] = true
	}
	if len(targets) > 0 {
		w.debounce.event()
	}
}

// anyIn returns the key in byPath for all paths in a directory.
func anyIn(dir string) string { return dir + string(filepath.Separator) }

// scan looks at the files of the marked targets, reports those that have changed, and updates the watches.
func (w *Watcher) scan() {
	w.scanMu.Lock()
	defer w.scanMu.Unlock()
	w.mu.Lock()
	targets, dirty := w.targets, w.dirty
	w.dirty = make(map[*watchedTarget]bool)
	w.debounce.reset()
	w.mu.Unlock()
	if len(targets) > 0 && !w.open() {
		return
	}

	var changed []*target.Target
	for x := range dirty {
		before := x.last
		x.last = takeSnapshot(x.target.Files, w.maxDirs)
		if before != nil && !before.equal(x.last) {
			changed = append(changed, x.target)
		}
	}
	byPath := index(targets)
	w.mu.Lock()
	w.byPath = byPath
	w.mu.Unlock()
	if !w.watchDirs(targets) {
		w.rescans = 0
	} else if w.rescans++; w.rescans < maxRescans {
		// Changes before the new watches were added caused no events.
		w.mu.Lock()
		for x := range dirty {
			w.dirty[x] = true
		}
		w.debounce.event()
		w.mu.Unlock()
	}
	for _, t := range changed {
		w.changed(t)
	}
}

// open opens the connection to the system's notifications if it is not open yet. It reports whether the connection is
// open now.
func (w *Watcher) open() bool {
	if w.notify != nil {
		return true
	}
	notify, err := w.newNotify()
	if err != nil {
		w.warn("", err)
		return false
	}
	w.notify = notify
	w.listeners.Go(func() { w.listen(notify) })
	return true
}

// index returns which targets an event at each path may concern.
func index(targets []*watchedTarget) map[string][]*watchedTarget {
	byPath := make(map[string][]*watchedTarget)
	for _, x := range targets {
		for path := range x.last.visited {
			byPath[path] = append(byPath[path], x)
		}
		for path, d := range x.last.dirs {
			if d.use == listed {
				byPath[anyIn(path)] = append(byPath[anyIn(path)], x)
			}
		}
	}
	return byPath
}

// watchDirs watches the directories of the targets and no others. It reports whether some of them are new.
func (w *Watcher) watchDirs(targets []*watchedTarget) (added bool) {
	if w.notify == nil {
		return false
	}
	dirs := make(map[string]dir)
	for _, x := range targets {
		for path, d := range x.last.dirs {
			d.use = max(d.use, dirs[path].use)
			dirs[path] = d
		}
	}
	kept := w.removeWatches(dirs)
	w.addWatches(dirs, kept)
	w.watchedDirs = make(map[string]fs.FileInfo)
	for _, path := range w.notify.WatchList() {
		added = added || !kept[path]
		w.watchedDirs[path] = dirs[path].info
	}
	return added
}

// removeWatches removes the watches that are no longer needed, and returns the paths of the others.
//
// A watch belongs to a directory, not to its path. The system removes it when the directory is removed or renamed, but
// not when a parent directory is.
func (w *Watcher) removeWatches(dirs map[string]dir) (kept map[string]bool) {
	kept = make(map[string]bool)
	for _, path := range w.notify.WatchList() {
		if d, ok := dirs[path]; ok && os.SameFile(d.info, w.watchedDirs[path]) {
			kept[path] = true
		} else {
			_ = w.notify.Remove(path)
		}
	}
	return kept
}

// addWatches watches the directories that are not watched yet.
func (w *Watcher) addWatches(dirs map[string]dir, kept map[string]bool) {
	n := len(kept)
	for path, d := range dirs {
		if kept[path] {
			continue
		}
		if n == w.maxDirs {
			w.warn(path, fmt.Errorf("%d directories are already watched, which is the limit", w.maxDirs))
			return
		}
		switch err := w.notify.Add(path); {
		case err == nil:
			n++
		case errors.Is(err, fs.ErrNotExist): // it has just been removed: there is an event for its parent
		case d.use == traversed && errors.Is(err, fs.ErrPermission):
			// Directories that may be traversed but not read are common.
		default:
			w.warn(path, err)
		}
	}
}

// warn reports why a directory is not watched, unless another one was reported before.
func (w *Watcher) warn(dir string, err error) {
	switch {
	case w.warned:
		return
	case errors.Is(err, syscall.ENOSPC):
		err = fmt.Errorf("%w: raise the sysctl fs.inotify.max_user_watches", err)
	case errors.Is(err, syscall.EMFILE):
		err = fmt.Errorf("%w: raise the sysctl fs.inotify.max_user_instances or the limit of open files", err)
	}
	w.warned = true
	w.unwatched(dir, err)
}
