package watch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// maxLinks is how many symbolic links a path may go through, as on Linux.
const maxLinks = 40

// snapshot is the state of a target's files, with that of its private key, and of everything that determines which files these are.
type snapshot struct {
	files    []file
	visited  map[string]bool  // paths, without links, that may affect files when they change
	dirs     map[string]dir   // the directories of these paths, by path without links
	resolved map[string]entry // what the paths of directories lead to; only used while the snapshot is taken
}

// file is a path that matches the target's pattern, or the path of its private key.
type file struct {
	path string
	info fs.FileInfo // of what the path leads to; nil if nothing
}

// dir is a directory to watch.
type dir struct {
	use  use
	info fs.FileInfo
}

// use is what a directory was used for. A higher value includes the lower ones.
type use int

const (
	traversed use = iota + 1 // on the way to another directory
	lookedUp                 // a file, a link or nothing was found by name
	listed                   // all names were read: any new one may match
)

// entry is what exists at a path.
type entry struct {
	path string      // without links
	info fs.FileInfo // nil if nothing exists
}

// equal reports whether s and o have the same files in the same state.
func (s *snapshot) equal(o *snapshot) bool {
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

// takeSnapshot returns the current state of the files. It stops matching the pattern when it has visited more than limit
// directories.
func takeSnapshot(files target.Files, limit int) *snapshot {
	s := &snapshot{visited: make(map[string]bool), dirs: make(map[string]dir), resolved: make(map[string]entry)}
	s.walk(files.Pattern) // it may be the name of a file, even if it looks like a pattern

	// Find out which directories Glob visits. The options are those of target.Files.
	options := []doublestar.GlobOption{doublestar.WithNoHidden()}
	if strings.Contains(files.Pattern, "**") {
		options = append(options, doublestar.WithNoFollow())
	}
	base, pattern := doublestar.SplitPattern(filepath.ToSlash(filepath.Clean(files.Pattern)))
	_, _ = doublestar.Glob(&recordingFS{os.DirFS(base), base, limit, s}, pattern, options...)

	paths, _ := files.Match() // the probe reports the error
	for _, path := range paths {
		s.files = append(s.files, file{path, s.walk(path).info})
	}
	if files.Key != "" {
		s.files = append(s.files, file{files.Key, s.walk(files.Key).info})
	}
	s.resolved = nil
	return s
}

// walk follows a path and its links, and records everything on the way. It returns what the path leads to.
func (s *snapshot) walk(path string) (end entry) {
	path, err := filepath.Abs(path)
	if err != nil {
		return entry{}
	}
	at, known := s.resolved[filepath.Dir(path)]
	names := []string{filepath.Base(path)}
	if !known {
		at, names = split(path)
	}
	for links := 0; len(names) > 0; {
		next := lstat(filepath.Join(at.path, names[0])) // a name may be "..", "." or empty
		names = names[1:]
		s.visited[next.path] = true
		if next.info != nil && next.info.IsDir() {
			s.record(at, traversed)
			at = next
			continue
		}
		s.record(at, lookedUp)
		if next.info == nil || next.info.Mode()&fs.ModeSymlink == 0 {
			return next
		}
		linked, err := os.Readlink(next.path)
		if links++; err != nil || links > maxLinks {
			return entry{}
		}
		more := strings.Split(filepath.ToSlash(linked), "/")
		if filepath.IsAbs(linked) {
			at, more = split(linked)
		}
		names = append(more, names...)
	}
	s.resolved[path] = at
	return at
}

// record records the use of a directory.
func (s *snapshot) record(d entry, u use) {
	s.dirs[d.path] = dir{max(u, s.dirs[d.path].use), d.info}
}

// lstat returns what exists at a path. It does not follow a link.
func lstat(path string) entry {
	info, err := os.Lstat(path)
	if err != nil {
		return entry{path, nil}
	}
	return entry{path, info}
}

// split splits an absolute path into the root directory and the names after it.
func split(path string) (root entry, names []string) {
	volume := filepath.VolumeName(path)
	return lstat(volume + string(filepath.Separator)), strings.Split(filepath.ToSlash(path[len(volume):]), "/")
}

// recordingFS is the directory base as a file system. It records what is visited.
type recordingFS struct {
	fs.FS
	base  string
	limit int // of dirs
	*snapshot
}

func (r *recordingFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if len(r.dirs) > r.limit {
		return nil, fs.ErrInvalid // as no more can be watched
	}
	if d := r.walk(filepath.Join(r.base, name)); d.info != nil && d.info.IsDir() {
		r.record(d, listed)
	}
	return fs.ReadDir(r.FS, name)
}

func (r *recordingFS) Stat(name string) (fs.FileInfo, error) {
	r.walk(filepath.Join(r.base, name))
	return fs.Stat(r.FS, name)
}
