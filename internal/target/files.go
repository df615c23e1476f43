package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Files are the certificate files that a target watches.
type Files struct {
	Pattern  string // a path, or one with the wildcards *, **, ?, [class] and {a,b}
	Format   string // empty where the content tells
	Password string // of keystores; may be empty
	// Silent tells that the files are only compared with what the endpoint serves, as another target reports them.
	Silent bool
}

// maxFiles bounds how many files one pattern stands for.
const maxFiles = 10000

// Check tells what is wrong with the pattern, and what would be right.
func (f Files) Check() error {
	switch {
	case strings.ContainsRune(f.Pattern, 0):
		return errors.New("has a zero byte in it, which no path can have")
	case !doublestar.ValidatePathPattern(f.Pattern):
		return errors.New(`is no pattern that can be matched; close each "[" and "{", or put a backslash before it`)
	}
	return nil
}

// Match returns the paths of the files that the pattern stands for now, in order. One without wildcards stands for itself,
// whether the file is there or not, as does one that is the exact name of a file. Hidden files and directories are left
// out where the pattern does not name the dot, as a shell does: of a mounted Kubernetes secret the files are seen once,
// and not again under ..data and under the directory that this leads to.
func (f Files) Match() ([]string, error) {
	if _, err := os.Lstat(f.Pattern); err == nil || !strings.ContainsAny(f.Pattern, `*?[{\`) {
		return []string{f.Pattern}, nil
	}
	options := []doublestar.GlobOption{doublestar.WithFilesOnly(), doublestar.WithNoHidden()}
	if strings.Contains(f.Pattern, "**") {
		options = append(options, doublestar.WithNoFollow()) // a link to a directory above it would be followed 40 times
	}
	paths, err := doublestar.FilepathGlob(f.Pattern, options...)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		base, _ := doublestar.SplitPattern(filepath.ToSlash(f.Pattern))
		if _, err := os.ReadDir(base); errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
	}
	paths = slices.DeleteFunc(paths, isDir) // links to directories, which were not followed
	if len(paths) > maxFiles {
		return nil, fmt.Errorf("it matches %d files; at most %d are read", len(paths), maxFiles)
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
