package targetconfig

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// TargetFiles holds the targets of target files. When a file changes, only the targets whose entries have changed are replaced.
// Only one goroutine may use it at a time.
type TargetFiles struct {
	patterns []string
	defaults *Defaults
	builder  *Builder
	log      *zap.Logger
	waits    int // how many calls of read in a row did nothing because a file was being written

	files map[string]*targetFile       // by path
	live  map[entryID][]*target.Target // the targets of all files
}

// NewTargetFiles finds the files that match the patterns and reads them.
func NewTargetFiles(patterns []string, defaults *Defaults, builder *Builder, log *zap.Logger) *TargetFiles {
	f := newTargetFiles(patterns, defaults, builder, log)
	f.read()
	return f
}

func newTargetFiles(patterns []string, defaults *Defaults, builder *Builder, log *zap.Logger) *TargetFiles {
	return &TargetFiles{
		patterns: patterns, defaults: defaults, builder: builder, log: log,
		files: make(map[string]*targetFile), live: make(map[entryID][]*target.Target),
	}
}

// Follow checks the files for changes until ctx ends. It calls changed after the targets have changed. It calls
// errorsChanged once at the beginning and after each check, with the change in the number of errors: files that cannot be
// read, and entries that are invalid.
func (f *TargetFiles) Follow(ctx context.Context, changed func(), errorsChanged func(difference int64)) {
	if len(f.patterns) == 0 {
		return
	}
	n := f.errorCount()
	errorsChanged(n)
	tick := time.NewTicker(f.builder.checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if f.read() {
			changed()
		}
		before := n
		n = f.errorCount()
		errorsChanged(n - before)
	}
}

// entryID is a hash of an entry's keys and values. It does not depend on the order of the keys. It is zero if the entry is
// too large.
type entryID [sha256.Size]byte

// maxEntry is the maximum size of an entry in bytes, with its YAML aliases expanded. A few aliases can expand to terabytes.
const maxEntry = 1 << 20

func idOf(entry map[string]any) (id entryID) {
	h, left := sha256.New(), maxEntry
	var add func(any)
	add = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				add(key)
				add(v[key])
			}
			add(struct{}{})
		case map[any]any: // has a key that is not a string
			withStringKeys := make(map[string]any, len(v))
			for key, value := range v {
				withStringKeys[fmt.Sprint(key)] = value
			}
			add(withStringKeys)
		case []any:
			for i := 0; i < len(v) && left > 0; i++ {
				add(v[i])
			}
			add([0]int{})
		case string:
			if left -= len(v) + 1; left > 0 {
				fmt.Fprintf(h, "%q", v)
			}
		default: // a number, a boolean, nil, a time, or the mark at the end of a list or map
			left -= 8
			fmt.Fprintf(h, "%T %v ", v, v)
		}
	}
	add(entry)
	if left > 0 {
		h.Sum(id[:0])
	}
	return id
}

// targetFile is a file as it was last read.
type targetFile struct {
	version diskfile.Version
	ids     []entryID   // of all entries, including invalid ones
	invalid []fileEntry // the entries for which no target could be built
	logged  string      // the last logged error; empty if the file is valid
}

// fileEntry is an entry of a file.
type fileEntry struct {
	index  int // in the file; each target of a group counts
	fields map[string]any
	err    error // why it is invalid; nil if it has not been built yet
}

// maxWaits is how many checks in a row may be skipped because a file is being written.
const maxWaits = 10

// maxRetries is how many invalid entries of a file are built again at each check. They may have become valid: a missing
// certificate file may exist now, or a target with the same ID may be gone.
const maxRetries = 100

// maxTargetFile is the maximum size of a target file in bytes, enough for about half a million targets.
const maxTargetFile = 64 << 20

// read reads the files that have changed, and reports whether the targets have changed.
func (f *TargetFiles) read() (changed bool) {
	paths, complete := f.find()
	// An entry may move from one file to another. Both files must be read at the same time, or its target would be removed
	// and built again. So if one file is being written, no file is read.
	if f.waits < maxWaits && slices.ContainsFunc(slices.Collect(maps.Keys(paths)), f.beingWritten) {
		f.waits++
		return false
	}
	f.waits = 0
	removed := complete && f.removeMissing(paths)
	parsed := f.readChanged(paths)
	if len(parsed) > 0 || removed {
		changed = f.removeTargets()
		f.builder.Sweep()
	}
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[path]
		entries, isNew := parsed[path]
		var rest []fileEntry
		if !isNew {
			retried := min(len(file.invalid), maxRetries)
			entries, rest = file.invalid[:retried], file.invalid[retried:]
		}
		built := f.buildEntries(file, entries)
		file.invalid = append(file.invalid, rest...)
		changed = changed || built
		if built || isNew {
			f.logError(path, file, file.describeInvalid())
		}
	}
	return changed
}

// removeMissing removes the files that are not among paths, and reports whether there were any.
func (f *TargetFiles) removeMissing(paths map[string]bool) (removed bool) {
	for path, file := range f.files {
		if paths[path] {
			continue
		}
		if len(file.ids) > 0 {
			f.log.Info("A target file was removed, and its targets with it.", zap.String("file", path))
		} else {
			f.logError(path, file, "")
		}
		delete(f.files, path)
		removed = true
	}
	return removed
}

// readChanged returns the entries of the files that have changed and can be read, by path.
func (f *TargetFiles) readChanged(paths map[string]bool) map[string][]fileEntry {
	changed := make(map[string][]fileEntry)
	for path := range paths {
		file, now := f.files[path], diskfile.VersionOf(path)
		if file == nil {
			file = &targetFile{}
			f.files[path] = file
		} else if file.version.Equal(now) {
			continue
		}
		file.version = now
		entries, err := readTargetFile(path)
		if err != nil {
			if errors.As(err, new(syscall.Errno)) {
				file.version = diskfile.Version{} // read it again: a file that becomes readable does not change
			}
			file.invalid = nil
			kept := ""
			if len(file.ids) > 0 {
				kept = "; its targets are kept"
			}
			f.logError(path, file, oneLine(err)+kept)
			continue
		}
		changed[path], file.ids = entries, make([]entryID, len(entries))
		for i, e := range entries {
			file.ids[i] = idOf(e.fields)
		}
	}
	return changed
}

// beingWritten reports whether a file with targets has changed so recently that it may not be complete yet.
func (f *TargetFiles) beingWritten(path string) bool {
	file := f.files[path]
	if file == nil || len(file.ids) == 0 || file.version.Equal(diskfile.VersionOf(path)) {
		return false
	}
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < diskfile.Settled // a time in the future means nothing
}

// find returns the paths of the files. They are not complete if a pattern could not be matched or matches too many files:
// then no file may be removed because its path is missing.
func (f *TargetFiles) find() (paths map[string]bool, complete bool) {
	paths, complete = make(map[string]bool), true
	for _, pattern := range f.patterns {
		matched, err := target.Files{Pattern: pattern}.Match()
		if err != nil {
			complete = false
			if f.files[pattern] == nil {
				f.files[pattern] = &targetFile{}
			}
			f.logError(pattern, f.files[pattern], err.Error()+"; its targets are kept")
			continue
		}
		for _, path := range matched {
			paths[path] = true
		}
	}
	return paths, complete
}

// removeTargets removes the targets whose entries are in no file any more, and reports whether there were any.
func (f *TargetFiles) removeTargets() (removed bool) {
	wanted := make(map[entryID]bool, len(f.live))
	for _, file := range f.files {
		for _, id := range file.ids {
			wanted[id] = true
		}
	}
	for id, targets := range f.live {
		if !wanted[id] {
			f.builder.Release(targets)
			delete(f.live, id)
			removed = true
		}
	}
	return removed
}

// buildEntries builds the targets of entries, which are those of file or some of them, and reports whether it built any. It
// keeps the entries that are invalid. Equal entries, in the same file or in several, have one target.
func (f *TargetFiles) buildEntries(file *targetFile, entries []fileEntry) (built bool) {
	var invalid []fileEntry
	for _, e := range entries {
		id := file.ids[e.index]
		if f.live[id] != nil {
			continue
		}
		var targets []*target.Target
		e.err = fmt.Errorf("is larger than %d KiB", maxEntry>>10)
		if id != (entryID{}) {
			targets, e.err = f.build(e.fields)
		}
		if e.err != nil {
			invalid = append(invalid, e)
			continue
		}
		f.live[id], built = targets, true
	}
	file.invalid = invalid
	return built
}

// oneLine returns the text of an error as one line, cleaned and bounded.
func oneLine(err error) string {
	return text.Clean(strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; "), 512)
}

// describeInvalid returns what is wrong with the file's entries. It is empty if all are valid.
func (file *targetFile) describeInvalid() string {
	const most = 10
	var all []string
	for _, e := range file.invalid[:min(len(file.invalid), most)] {
		all = append(all, fmt.Sprintf("entry %d: %s", e.index, oneLine(e.err)))
	}
	if more := len(file.invalid) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// build builds the targets of one entry.
func (f *TargetFiles) build(fields map[string]any) ([]*target.Target, error) {
	if err := UnknownKeys(fields, reflect.TypeFor[Entry](), ""); err != nil {
		return nil, err
	}
	e := Entry{conf: confmap.NewFromStringMap(fields)}
	if err := e.Decode(f.defaults); err != nil {
		return nil, err
	}
	e = e.Complete(f.defaults)
	targets, errs := f.builder.Build(&e)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return targets, f.builder.Claim(&e, targets)
}

// logError logs what is wrong with a file, unless it was the last thing logged for that file. It logs that the file is
// valid again if problem is empty and was not before.
func (f *TargetFiles) logError(path string, file *targetFile, problem string) {
	switch {
	case problem != "" && problem != file.logged:
		f.log.Warn("A target file is invalid: "+problem, zap.String("file", path))
	case problem == "" && file.logged != "":
		f.log.Info("A target file is valid again.", zap.String("file", path))
	}
	file.logged = problem
}

// errorCount returns the number of files that cannot be read plus the number of invalid entries.
func (f *TargetFiles) errorCount() (n int64) {
	for _, file := range f.files {
		if file.logged != "" {
			n += int64(max(1, len(file.invalid)))
		}
	}
	return n
}

// Targets returns the targets of all files, in no particular order.
func (f *TargetFiles) Targets() (all []*target.Target) {
	for _, targets := range f.live {
		all = append(all, targets...)
	}
	return all
}

// readTargetFile returns the entries of a YAML or JSON file. The file is a list. Each element is a target as in the
// configuration, an endpoint alone, or a group as in Prometheus's file_sd
// (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config), whose targets each become an
// entry.
func readTargetFile(path string) ([]fileEntry, error) {
	data, err := diskfile.Read(path, maxTargetFile)
	switch {
	case errors.Is(err, diskfile.ErrTooLarge):
		return nil, fmt.Errorf("it is larger than %d MiB", maxTargetFile>>20)
	case err != nil:
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if strings.TrimSpace(string(data)) == "" {
		return nil, errors.New("it is empty; for no targets, write []") // it is probably about to be written
	}
	var list []any
	if err := yaml.Unmarshal(data, &list); err != nil { // JSON is YAML too
		return nil, fmt.Errorf("it is not a list of targets: %w", err)
	}
	entries := make([]fileEntry, 0, len(list))
	for _, element := range list {
		fields, ok := element.(map[string]any)
		if !ok { // an endpoint alone, or an error that decoding reports
			fields = map[string]any{"endpoint": element}
		}
		group, ok := parseGroup(fields)
		if !ok {
			group = []map[string]any{fields}
		}
		for _, fields := range group {
			entries = append(entries, fileEntry{index: len(entries), fields: fields})
		}
	}
	return entries, nil
}

// parseGroup returns the entries of a file_sd group. It reports false if fields is not a valid group.
func parseGroup(fields map[string]any) (entries []map[string]any, ok bool) {
	endpoints, ok := fields["targets"].([]any)
	labels, haveLabels := fields["labels"].(map[string]any)
	if !ok || fields["labels"] != nil && !haveLabels || len(fields) > 2 || len(fields) == 2 && fields["labels"] == nil {
		return nil, false
	}
	attributes := make(map[string]any, len(labels))
	for name, value := range labels {
		if !strings.HasPrefix(name, "__") { // Prometheus itself uses these
			attributes[name] = value
		}
	}
	for _, endpoint := range endpoints {
		entries = append(entries, map[string]any{"endpoint": endpoint, "attributes": attributes})
	}
	return entries, true
}
