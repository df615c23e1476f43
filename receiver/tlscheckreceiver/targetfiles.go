package tlscheckreceiver

import (
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

// targetFiles are the files that hold further targets. What is in them takes effect when it changes, and leaves alone
// what does not. One goroutine uses it at a time.
type targetFiles struct {
	patterns   []string
	defaults   *TargetDefaults
	timeoutSet bool // in the defaults
	builder    *builder
	log        *zap.Logger
	waited     int // how often in a row, for a file that is being written

	files map[string]*targetFile       // by path
	live  map[entryID][]*target.Target // of all files
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
	refused []entry
	told    string // what was logged of it; empty where nothing is wrong
}

// entry is an entry as it is written, with its place in the file and, once it was refused, the reason.
type entry struct {
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

// read reads the files that changed, and tells whether the targets did.
func (f *targetFiles) read() (changed bool) {
	paths, unsure := f.find()
	// What moves from one file to another is to be seen in both. So while one is being written, all wait, if not for ever.
	if f.waited < maxWaits && slices.ContainsFunc(slices.Collect(maps.Keys(paths)), f.beingWritten) {
		f.waited++
		return false
	}
	f.waited = 0
	gone := false
	for path, file := range f.files {
		if paths[path] || unsure {
			continue
		}
		if len(file.entries) > 0 {
			f.log.Info("A file of targets is gone, and its targets with it.", zap.String("file", path))
		} else {
			f.tell(path, file, "")
		}
		delete(f.files, path)
		gone = true
	}
	parsed := make(map[string][]entry)
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
				file.version = diskfile.Version{} // that it may be read now leaves no trace in the file
			}
			file.refused = nil
			f.tell(path, file, oneLine(err)+"; its targets stay what they were")
			continue
		}
		parsed[path], file.entries = entries, make([]entryID, len(entries))
		for i, e := range entries {
			file.entries[i] = idOf(e.written)
		}
	}
	if len(parsed) > 0 || gone {
		changed = f.drop()
		f.builder.sweep()
	}
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[path]
		entries, isNew := parsed[path]
		var rest []entry
		if !isNew {
			retried := min(len(file.refused), maxRetries)
			entries, rest = file.refused[:retried], file.refused[retried:]
		}
		made := f.take(file, entries)
		file.refused = append(file.refused, rest...)
		changed = changed || made
		if made || isNew {
			f.tell(path, file, file.mistakes())
		}
	}
	return changed
}

// beingWritten tells whether a file with targets changed so lately that more of it may be to come.
func (f *targetFiles) beingWritten(path string) bool {
	file := f.files[path]
	if file == nil || len(file.entries) == 0 || file.version.Equal(diskfile.VersionOf(path)) {
		return false
	}
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < lookEvery // a time that lies ahead says nothing
}

// find returns the paths of the files. It is unsure where a pattern stands for more than can be: then none counts as gone.
func (f *targetFiles) find() (paths map[string]bool, unsure bool) {
	paths = make(map[string]bool)
	for _, pattern := range f.patterns {
		matched, err := target.Files{Pattern: pattern}.Match()
		if err != nil {
			unsure = true
			if f.files[pattern] == nil {
				f.files[pattern] = &targetFile{}
			}
			f.tell(pattern, f.files[pattern], err.Error()+"; its targets stay what they were")
			continue
		}
		for _, path := range matched {
			paths[path] = true
		}
	}
	return paths, unsure
}

// drop lets go of the entries that are in no file any more, and tells whether there were any.
func (f *targetFiles) drop() (dropped bool) {
	wanted := make(map[entryID]bool, len(f.live))
	for _, file := range f.files {
		for _, id := range file.entries {
			wanted[id] = true
		}
	}
	for id, targets := range f.live {
		if !wanted[id] {
			for _, t := range targets {
				f.builder.unmake(t)
			}
			delete(f.live, id)
			dropped = true
		}
	}
	return dropped
}

// take makes the new entries of a file, or those that were refused before, and tells whether that made any. One that is
// there twice is one.
func (f *targetFiles) take(file *targetFile, entries []entry) (made bool) {
	var refused []entry
	for _, e := range entries {
		id := file.entries[e.index]
		if f.live[id] != nil {
			continue
		}
		var targets []*target.Target
		e.err = fmt.Errorf("has more than %d KiB", maxEntry>>10)
		if id != (entryID{}) {
			targets, e.err = f.make(e.written)
		}
		if e.err != nil {
			refused = append(refused, e)
			continue
		}
		f.live[id], made = targets, true
	}
	file.refused = refused
	return made
}

// oneLine says what is wrong in a line of the log.
func oneLine(err error) string {
	return text.Clean(strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; "), 512)
}

// mistakes says what is wrong with the entries, empty where nothing is.
func (file *targetFile) mistakes() string {
	const most = 10
	var told []string
	for _, e := range file.refused[:min(len(file.refused), most)] {
		told = append(told, fmt.Sprintf("entry %d: %s", e.index, oneLine(e.err)))
	}
	if more := len(file.refused) - most; more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(told, "; ")
}

func (f *targetFiles) make(written map[string]any) ([]*target.Target, error) {
	if err := unknownKeys(written, reflect.TypeFor[TargetConfig](), ""); err != nil {
		return nil, err
	}
	t := TargetConfig{conf: confmap.NewFromStringMap(written)}
	if err := t.layOver(f.defaults, f.timeoutSet); err != nil {
		return nil, err
	}
	targets, errs := f.builder.make(&t)
	if len(errs) > 0 {
		for _, made := range targets {
			f.builder.unmake(made)
		}
	}
	return targets, errors.Join(errs...)
}

// tell logs what is wrong with a file, once.
func (f *targetFiles) tell(path string, file *targetFile, wrong string) {
	switch {
	case wrong != "" && wrong != file.told:
		f.log.Warn("A file of targets has mistakes: "+wrong, zap.String("file", path))
	case wrong == "" && file.told != "":
		f.log.Info("A file of targets is right again.", zap.String("file", path))
	}
	file.told = wrong
}

// wrong counts the files that cannot be read and the entries that were refused.
func (f *targetFiles) wrong() (n int64) {
	for _, file := range f.files {
		if file.told != "" {
			n += int64(max(1, len(file.refused)))
		}
	}
	return n
}

// targets returns all targets, in an order of no meaning.
func (f *targetFiles) targets() (all []*target.Target) {
	for _, targets := range f.live {
		all = append(all, targets...)
	}
	return all
}

// readTargetFile returns the entries of a file, YAML or JSON: a list of targets as in the configuration, and of groups
// as in Prometheus's file_sd (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config),
// of which each target becomes an entry.
func readTargetFile(path string) ([]entry, error) {
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
		return nil, fmt.Errorf("it is no list of targets: %w", err)
	}
	entries := make([]entry, 0, len(list))
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
			entries = append(entries, entry{index: len(entries), written: written})
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
