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
	Format   string // empty to detect it from the content
	Password string // of keystores; may be empty
	Key      string // path of the private key that must fit the certificate; empty if it is not checked
	// Silent reports whether the files are only compared with the certificate that the endpoint serves. Another target
	// reports the files themselves.
	Silent bool
}

// maxFiles is how many files one pattern may match.
const maxFiles = 10000

// Check returns an error if the pattern is invalid. The error says how to fix it. It has no subject, and follows the
// quoted pattern: "is not a valid pattern".
func (f Files) Check() error {
	switch {
	case strings.ContainsRune(f.Pattern, 0):
		return errors.New("contains a zero byte, which no path can; remove it")
	case !doublestar.ValidatePathPattern(f.Pattern):
		return errors.New(`is not a valid pattern; close each "[" and "{", or put a backslash before it`)
	}
	return nil
}

// CheckKey returns an error if the key cannot be combined with the rest. The error says how to fix it. It has no subject,
// and follows the quoted key: "contains a zero byte".
func (f Files) CheckKey() error {
	switch {
	case f.Key == "":
	case f.Pattern == "":
		return errors.New("is the key of no certificate; set file_path to the file with its certificate, or remove key_path")
	case strings.ContainsRune(f.Key, 0):
		return errors.New("contains a zero byte, which no path can; remove it")
	case isPattern(f.Pattern):
		return errors.New("cannot be combined with a pattern in file_path, as one key does not fit several certificates; write a target for each certificate")
	case f.Format == "pkcs12" || f.Format == "jks":
		return fmt.Errorf("cannot be combined with file_format: %s, as a keystore has its own keys; remove one of the two", f.Format)
	}
	return nil
}

func isPattern(path string) bool { return strings.ContainsAny(path, `*?[{\`) }

// Match returns the sorted paths of the files that currently match the pattern. A pattern without wildcards matches
// itself, whether or not the file exists. So does a pattern that happens to be the exact name of a file.
//
// As in a shell, a wildcard does not match the dot at the beginning of a hidden file or directory. Kubernetes shows
// each file of a mounted secret three times, two of them in hidden directories. This way, it is matched only once.
//
// Match fails if more than 10,000 files match, or if the directory to search may not be read.
func (f Files) Match() ([]string, error) {
	if _, err := os.Lstat(f.Pattern); err == nil || !isPattern(f.Pattern) {
		return []string{f.Pattern}, nil
	}
	options := []doublestar.GlobOption{doublestar.WithFilesOnly(), doublestar.WithNoHidden()}
	if strings.Contains(f.Pattern, "**") {
		options = append(options, doublestar.WithNoFollow()) // a link to a parent directory would be followed 40 times
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
	paths = slices.DeleteFunc(paths, isDir) // links to directories that were not followed
	if len(paths) > maxFiles {
		return nil, fmt.Errorf("it matches %d files, more than the limit of %d; use a narrower pattern", len(paths), maxFiles)
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
