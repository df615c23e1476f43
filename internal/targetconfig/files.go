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

// Files are the files that hold further targets. What changes in them takes effect and leaves alone what does not. One
// goroutine uses it at a time.
type Files struct {
	patterns []string
	defaults *Defaults
	builder  *Builder
	log      *zap.Logger
	waited   int // how often in a row, for a file that is being written

	files map[string]*targetFile       // by path
	live  map[entryID][]*target.Target // of all files
}

// NewFiles returns the files of these patterns, and reads them.
func NewFiles(patterns []string, defaults *Defaults, builder *Builder, log *zap.Logger) *Files {
	f := newFiles(patterns, defaults, builder, log)
	f.read()
	return f
}

func newFiles(patterns []string, defaults *Defaults, builder *Builder, log *zap.Logger) *Files {
	return &Files{
		patterns: patterns, defaults: defaults, builder: builder, log: log,
		files: make(map[string]*targetFile), live: make(map[entryID][]*target.Target),
	}
}

// Follow reads the files again and again until ctx ends. It calls changed when the targets are others than before, and
// counted, also at first, with by how much the number of mistakes changed: files that cannot be read, and entries that were
// refused.
func (f *Files) Follow(ctx context.Context, changed func(), counted func(difference int64)) {
	if len(f.patterns) == 0 {
		return
	}
	mistakes := f.mistakes()
	counted(mistakes)
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
		before := mistakes
		mistakes = f.mistakes()
		counted(mistakes - before)
	}
}

// entryID is a hash of an entry as it is written: the same for the same settings. It is zero for one that is too large.
type entryID [sha256.Size]byte

// maxEntry is how many bytes an entry may have, with all that its aliases stand for: a few of those can stand for terabytes.
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
		case map[any]any: // which has a key that is no text
			texts := make(map[string]any, len(v))
			for key, value := range v {
				texts[fmt.Sprint(key)] = value
			}
			add(texts)
		case []any:
			for i := 0; i < len(v) && left > 0; i++ {
				add(v[i])
			}
			add([0]int{})
		case string:
			if left -= len(v) + 1; left > 0 {
				fmt.Fprintf(h, "%q", v)
			}
		default: // numbers and the like, and marks of where lists and maps end
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
	entries []entryID // those that were refused too
	refused []fileEntry
	logged  string // what was logged of it; empty where nothing is wrong
}

// fileEntry is an entry as it is written, with its place in the file and, once it was refused, the reason.
type fileEntry struct {
	index   int
	written map[string]any
	err     error
}

// maxWaits bounds how often in a row nothing is read because a file is being written.
const maxWaits = 10

// maxRetries bounds how many refused entries of a file are looked at again each time, as what stood in their way may have
// gone: a certificate that was not there yet, or another target that was the same.
const maxRetries = 100

// maxTargetFile is how many bytes a file of targets may have: about half a million targets.
const maxTargetFile = 64 << 20

// read reads the files that changed, and reports whether the targets did.
func (f *Files) read() (changed bool) {
	paths, unsure := f.find()
	// What moves from one file to another is to be seen in both. So while one is being written, all wait, if not for ever.
	if f.waited < maxWaits && slices.ContainsFunc(slices.Collect(maps.Keys(paths)), f.beingWritten) {
		f.waited++
		return false
	}
	f.waited = 0
	gone, parsed := f.forgetGone(paths, unsure), f.readChanged(paths)
	if len(parsed) > 0 || gone {
		changed = f.drop()
		f.builder.Sweep()
	}
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[path]
		entries, isNew := parsed[path]
		var rest []fileEntry
		if !isNew {
			retried := min(len(file.refused), maxRetries)
			entries, rest = file.refused[:retried], file.refused[retried:]
		}
		built := f.take(file, entries)
		file.refused = append(file.refused, rest...)
		changed = changed || built
		if built || isNew {
			f.logMistakes(path, file, file.describeMistakes())
		}
	}
	return changed
}

// forgetGone forgets the files that are no longer there, and reports whether there were any.
func (f *Files) forgetGone(paths map[string]bool, unsure bool) (any bool) {
	for path, file := range f.files {
		if paths[path] || unsure {
			continue
		}
		if len(file.entries) > 0 {
			f.log.Info("A target file is gone, and its targets with it.", zap.String("file", path))
		} else {
			f.logMistakes(path, file, "")
		}
		delete(f.files, path)
		any = true
	}
	return any
}

// readChanged returns the entries of the files that changed and can be read.
func (f *Files) readChanged(paths map[string]bool) map[string][]fileEntry {
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
				file.version = diskfile.Version{} // the file does not change when it becomes readable
			}
			file.refused = nil
			f.logMistakes(path, file, oneLine(err)+"; its targets stay as they were")
			continue
		}
		changed[path], file.entries = entries, make([]entryID, len(entries))
		for i, e := range entries {
			file.entries[i] = idOf(e.written)
		}
	}
	return changed
}

// beingWritten reports whether a file with targets changed so lately that more of it may be to come.
func (f *Files) beingWritten(path string) bool {
	file := f.files[path]
	if file == nil || len(file.entries) == 0 || file.version.Equal(diskfile.VersionOf(path)) {
		return false
	}
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < diskfile.Settled // a time that lies ahead says nothing
}

// find returns the paths of the files. It is unsure where a pattern stands for more than can be: then none counts as gone.
func (f *Files) find() (paths map[string]bool, unsure bool) {
	paths = make(map[string]bool)
	for _, pattern := range f.patterns {
		matched, err := target.Files{Pattern: pattern}.Match()
		if err != nil {
			unsure = true
			if f.files[pattern] == nil {
				f.files[pattern] = &targetFile{}
			}
			f.logMistakes(pattern, f.files[pattern], err.Error()+"; its targets stay as they were")
			continue
		}
		for _, path := range matched {
			paths[path] = true
		}
	}
	return paths, unsure
}

// drop removes the entries that are in no file any more, and reports whether there were any.
func (f *Files) drop() (dropped bool) {
	wanted := make(map[entryID]bool, len(f.live))
	for _, file := range f.files {
		for _, id := range file.entries {
			wanted[id] = true
		}
	}
	for id, targets := range f.live {
		if !wanted[id] {
			f.builder.Release(targets)
			delete(f.live, id)
			dropped = true
		}
	}
	return dropped
}

// take builds targets of the new entries of a file, or of those that were refused before, and reports whether it built any.
// An entry that is there twice is one.
func (f *Files) take(file *targetFile, entries []fileEntry) (built bool) {
	var refused []fileEntry
	for _, e := range entries {
		id := file.entries[e.index]
		if f.live[id] != nil {
			continue
		}
		var targets []*target.Target
		e.err = fmt.Errorf("has more than %d KiB", maxEntry>>10)
		if id != (entryID{}) {
			targets, e.err = f.build(e.written)
		}
		if e.err != nil {
			refused = append(refused, e)
			continue
		}
		f.live[id], built = targets, true
	}
	file.refused = refused
	return built
}

// oneLine says what is wrong in a line of the log.
func oneLine(err error) string {
	return text.Clean(strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; "), 512)
}

// describeMistakes says what is wrong with the entries. It is empty where nothing is.
func (file *targetFile) describeMistakes() string {
	const most = 10
	var all []string
	for _, e := range file.refused[:min(len(file.refused), most)] {
		all = append(all, fmt.Sprintf("entry %d: %s", e.index, oneLine(e.err)))
	}
	if more := len(file.refused) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

func (f *Files) build(written map[string]any) ([]*target.Target, error) {
	if err := UnknownKeys(written, reflect.TypeFor[Entry](), ""); err != nil {
		return nil, err
	}
	e := Entry{conf: confmap.NewFromStringMap(written)}
	if err := e.LayOver(f.defaults); err != nil {
		return nil, err
	}
	e = e.Complete(f.defaults)
	targets, errs := f.builder.Build(&e)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return targets, f.builder.Claim(&e, targets)
}

// logMistakes logs what is wrong with a file, once.
func (f *Files) logMistakes(path string, file *targetFile, wrong string) {
	switch {
	case wrong != "" && wrong != file.logged:
		f.log.Warn("A target file is invalid: "+wrong, zap.String("file", path))
	case wrong == "" && file.logged != "":
		f.log.Info("A target file is valid again.", zap.String("file", path))
	}
	file.logged = wrong
}

// mistakes counts the files that cannot be read and the entries that were refused.
func (f *Files) mistakes() (n int64) {
	for _, file := range f.files {
		if file.logged != "" {
			n += int64(max(1, len(file.refused)))
		}
	}
	return n
}

// Targets returns all targets, in no particular order.
func (f *Files) Targets() (all []*target.Target) {
	for _, targets := range f.live {
		all = append(all, targets...)
	}
	return all
}

// readTargetFile returns the entries of a file, YAML or JSON: a list of targets as in the configuration, and of groups
// as in Prometheus's file_sd (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config),
// of which each target becomes an entry.
func readTargetFile(path string) ([]fileEntry, error) {
	data, err := diskfile.Read(path, maxTargetFile)
	switch {
	case errors.Is(err, diskfile.ErrTooLarge):
		return nil, fmt.Errorf("it has more than %d MiB", maxTargetFile>>20)
	case err != nil:
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if strings.TrimSpace(string(data)) == "" {
		return nil, errors.New("it is empty; for no targets write []") // more likely it is about to be written
	}
	var list []any
	if err := yaml.Unmarshal(data, &list); err != nil { // JSON is YAML too
		return nil, fmt.Errorf("it is not a list of targets: %w", err)
	}
	entries := make([]fileEntry, 0, len(list))
	for _, element := range list {
		written, ok := element.(map[string]any)
		if !ok { // an endpoint alone, or what will be refused
			written = map[string]any{"endpoint": element}
		}
		group, ok := groupOf(written)
		if !ok {
			group = []map[string]any{written}
		}
		for _, written := range group {
			entries = append(entries, fileEntry{index: len(entries), written: written})
		}
	}
	return entries, nil
}

// groupOf returns the entries of a group, and false where it is none, or one with mistakes.
func groupOf(written map[string]any) (entries []map[string]any, ok bool) {
	endpoints, ok := written["targets"].([]any)
	labels, haveLabels := written["labels"].(map[string]any)
	if !ok || written["labels"] != nil && !haveLabels || len(written) > 2 || len(written) == 2 && written["labels"] == nil {
		return nil, false
	}
	attributes := make(map[string]any, len(labels))
	for name, value := range labels {
		if !strings.HasPrefix(name, "__") { // those are for Prometheus itself
			attributes[name] = value
		}
	}
	for _, endpoint := range endpoints {
		entries = append(entries, map[string]any{"endpoint": endpoint, "attributes": attributes})
	}
	return entries, true
}
