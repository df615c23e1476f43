package targetconfig

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"go.yaml.in/yaml/v3"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var root = tlsfarm.NewAuthority("Farm Root")

// testConfig is the part of the receiver's configuration that is about targets.
type testConfig struct {
	Settings    `mapstructure:",squash"`
	Targets     []Entry  `mapstructure:"targets"`
	TargetFiles []string `mapstructure:"target_files"`
}

// configure reads a configuration in YAML and builds its targets.
func configure(t testing.TB, yaml string) (b *Builder, defaults *Defaults, targets []*target.Target) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	c := testConfig{Settings: DefaultSettings()}
	require.NoError(t, conf.Unmarshal(&c))
	defaults = &Defaults{Settings: c.CapTimeout(conf.IsSet("timeout")), TimeoutSet: conf.IsSet("timeout")}
	b = NewBuilder(time.Second, zap.NewNop())
	for i := range c.Targets {
		require.NoError(t, c.Targets[i].Decode(defaults))
		e := c.Targets[i].Complete(defaults)
		built, errs := b.Build(&e)
		require.Empty(t, errs)
		b.Number(built)
		targets = append(targets, built...)
	}
	return b, defaults, targets
}

var writes atomic.Int64 // calls of write

// write replaces the content of a file in place. The file's modification time is about an hour ago, so that the file does
// not seem to be in the middle of being written, and a different time at each call.
func write(t testing.TB, path string, content ...[]byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, bytes.Join(content, nil), 0o600))
	modified := time.Now().Add(-time.Hour + time.Duration(writes.Add(1))*time.Second)
	require.NoError(t, os.Chtimes(path, modified, modified))
}

// caFile returns the path of a file with root's certificate.
func caFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	write(t, path, root.PEM())
	return path
}

// testFiles is Files with its log and the directory of its files.
type testFiles struct {
	*TargetFiles
	log *observer.ObservedLogs
	dir string
}

// newTestFiles returns the target files that match the patterns in a temporary directory. It does not read them yet.
func newTestFiles(t testing.TB, settings string, patterns ...string) *testFiles {
	t.Helper()
	r := &testFiles{dir: t.TempDir()}
	for i, p := range patterns {
		patterns[i] = filepath.Join(r.dir, p)
	}
	b, defaults, _ := configure(t, settings)
	core, log := observer.New(zap.InfoLevel)
	r.log = log
	r.TargetFiles = newTargetFiles(patterns, defaults, b, zap.New(core))
	return r
}

// put writes a file and calls read.
func (r *testFiles) put(t *testing.T, name, content string) (changed bool) {
	t.Helper()
	write(t, filepath.Join(r.dir, name), []byte(content))
	return r.read()
}

// remove removes a file and calls read.
func (r *testFiles) remove(t *testing.T, name string) (changed bool) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(r.dir, name)))
	return r.read()
}

// byName returns the targets by their endpoint or file pattern.
func (r *testFiles) byName() map[string]*target.Target {
	byName := make(map[string]*target.Target)
	for _, t := range r.Targets() {
		byName[t.String()] = t
	}
	return byName
}

// names returns the endpoints and file patterns of the targets, sorted.
func (r *testFiles) names() string { return strings.Join(slices.Sorted(maps.Keys(r.byName())), " ") }

// logLines returns what was logged since the last call, each message after the name of its file.
func (r *testFiles) logLines() (lines []string) {
	for _, e := range r.log.TakeAll() {
		path, _ := e.ContextMap()["file"].(string)
		lines = append(lines, filepath.Base(path)+": "+e.Message)
	}
	return lines
}

func TestTargetFileFormats(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		want    []string // target, interval, attributes
	}{
		"own keys": {
			"- endpoint: a:1\n  collection_interval: 7s\n  attributes: {team: edge}\n- file_path: /etc/ssl/*.pem\n",
			[]string{"/etc/ssl/*.pem 20s map[env:prod]", "a:1 7s map[env:prod team:edge]"},
		},
		"endpoints alone": {"- a:1\n- \"[::1]:2\"\n", []string{"[::1]:2 20s map[env:prod]", "a:1 20s map[env:prod]"}},
		"file_sd": {
			"- targets: [a:1, 'b:2']\n  labels: {team: edge, __meta_x: y, __address__: z, _one: kept}\n- targets: [c:3]\n- targets: []\n",
			[]string{"a:1 20s map[_one:kept env:prod team:edge]", "b:2 20s map[_one:kept env:prod team:edge]", "c:3 20s map[env:prod]"},
		},
		"JSON": {
			`[{"targets": ["a:1"], "labels": {"team": "edge"}}, {"endpoint": "b:1", "collection_interval": "7s"}]`,
			[]string{"a:1 20s map[env:prod team:edge]", "b:1 7s map[env:prod]"},
		},
		"all kinds": {
			"- a:1\n- endpoint: b:1\n- targets: [c:1]\n", []string{"a:1 20s map[env:prod]", "b:1 20s map[env:prod]", "c:1 20s map[env:prod]"},
		},
		"anchors":   {"- &a {endpoint: 'a:1', collection_interval: 7s}\n- {<<: *a, endpoint: 'b:1'}\n", []string{"a:1 7s map[env:prod]", "b:1 7s map[env:prod]"}},
		"no target": {"[]", nil},
		"comments":  {"# none for now\n", nil},
		"BOM":       {"\xef\xbb\xbf- a:1\n", []string{"a:1 20s map[env:prod]"}},
		"CRLF":      {"- endpoint: a:1\r\n  collection_interval: 7s\r\n", []string{"a:1 7s map[env:prod]"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestFiles(t, "collection_interval: 20s\nattributes: {env: prod}", "t.yaml")
			assert.Equal(t, len(c.want) > 0, r.put(t, "t.yaml", c.content))
			var got []string
			for _, tt := range r.Targets() {
				got = append(got, fmt.Sprint(tt, " ", tt.Interval, " ", tt.Attributes))
				assert.Equal(t, min(10*time.Second, tt.Interval), tt.Timeout, "the default timeout is no longer than the interval")
			}
			slices.Sort(got)
			assert.Equal(t, c.want, got)
			assert.Empty(t, r.logLines())
			assert.Zero(t, r.errorCount())
		})
	}
}

func TestDefaultTimeoutLongerThanTheIntervalOfAnEntry(t *testing.T) {
	r := newTestFiles(t, "timeout: 10s", "t.yaml")
	r.put(t, "t.yaml", "[{endpoint: 'a:1', collection_interval: 5s}]")
	assert.Contains(t, strings.Join(r.logLines(), "\n"), "t.yaml: A target file is invalid: entry 0: timeout: 10s is longer than collection_interval, 5s")
}

func TestInvalidEntryDoesNotAffectOthers(t *testing.T) {
	chain, _ := tlsfarm.PEM(root.Issue("a"))
	certFile := filepath.Join(t.TempDir(), "cert.pem")
	write(t, certFile, chain)
	for entry, want := range map[string]string{
		`{endpoint: a}`:                                                  `entry 1: endpoint: "a" has no port`,
		`{endpoint: "a:1", timeouts: 5s}`:                                "entry 1: timeouts: is not known; use one of alpn",
		`{endpoint: "a:1", tls: {ca_fil: x}}`:                            "entry 1: tls::ca_fil: is not known; use one of ca_file",
		`{endpoint: "a:1", timeout: 0s}`:                                 "entry 1: timeout: 0s is too short",
		`{endpoint: "a:1", timeout: soon}`:                               "entry 1: ",
		`{endpoint: "a:1", targets: 5}`:                                  "entry 1: targets: is not known",
		`{endpoint: "a:1", shard: {count: 2}}`:                           "entry 1: shard: is not known",
		`{endpoint: "a:1", alpn: [""]}`:                                  `entry 1: alpn: "" has 0 bytes`,
		`{endpoint: "a:1", attributes: {tls.x: y}}`:                      `entry 1: attributes: "tls.x" is reserved for the receiver`,
		`{endpoint: "a:1", certificate_types: [x]}`:                      `entry 1: certificate_types: "x" is not known`,
		`{endpoint: "a:1", tls: {ca_file: /no/such}}`:                    `entry 1: tls::ca_file: "/no/such" cannot be read`,
		fmt.Sprintf(`{endpoint: "a:1", tls: {cert_file: %q}}`, certFile): "entry 1: tls::key_file: is missing",
		`{file_path: "/etc/[a"}`:                                         `entry 1: file_path: "/etc/[a" is not a valid pattern`,
		`{file_path: "/etc/*", key_path: /x}`:                            `entry 1: key_path: "/x" cannot be combined with a pattern in file_path`,
		`{targets: [a], labels: {}}`:                                     `entry 1: endpoint: "a" has no port`,
		`{targets: [[x]]}`:                                               "entry 1: ",
		`{}`:                                                             `entry 1: endpoint: "" is empty`,
		`null`:                                                           `entry 1: endpoint: "" is empty`,
		`5`:                                                              "entry 1: ",
		`[x]`:                                                            "entry 1: ",
		`{5: x}`:                                                         "entry 1: ",
		`{endpoint: "first:1"}`:                                          "", // the same entry as the first
		`{endpoint: "first:1", timeout: 5s}`:                             `entry 1: endpoint: "first:1" is already a target`,
		`{endpoint: "FIRST.:1", attributes: {a: b}}`:                     "", // another target
	} {
		r := newTestFiles(t, "", "t.yaml")
		r.put(t, "t.yaml", "[{endpoint: 'first:1'}, "+entry+", {endpoint: 'last:1'}]")
		assert.Subset(t, slices.Collect(maps.Keys(r.byName())), []string{"first:1", "last:1"}, entry)
		lines := r.logLines()
		if want == "" {
			assert.Empty(t, lines, entry)
			assert.Zero(t, r.errorCount(), entry)
			continue
		}
		assert.Len(t, r.Targets(), 2, entry)
		require.Len(t, lines, 1, entry)
		assert.Contains(t, lines[0], "t.yaml: A target file is invalid: "+want)
		assert.Equal(t, int64(1), r.errorCount(), entry)
		assert.False(t, r.put(t, "t.yaml", "[{endpoint: 'first:1'}, "+entry+", {endpoint: 'last:1'}]"), entry)
		assert.Empty(t, r.logLines(), "it is logged only once: %s", entry)
		r.put(t, "t.yaml", "[{endpoint: 'first:1'}, {endpoint: 'last:1'}]")
		assert.Equal(t, []string{"t.yaml: A target file is valid again."}, r.logLines(), entry)
		assert.Zero(t, r.errorCount(), entry)
	}
}

func TestErrorsAreCountedAndTheFirstAreLogged(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "["+strings.Repeat("bad, ", 25)+"'good:1']")
	assert.Equal(t, "good:1", r.names())
	assert.Equal(t, int64(25), r.errorCount())
	lines := r.logLines()
	require.Len(t, lines, 1)
	assert.Equal(t, 10, strings.Count(lines[0], "has no port"))
	assert.Contains(t, lines[0], "and 15 more")
}

func TestFileThatBecomesInvalidKeepsItsTargets(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"no YAML":         {overwrite("- endpoint: [a"), "it is not a list of targets: yaml: "},
		"a block":         {overwrite("endpoint: a:1"), "it is not a list of targets: yaml: "},
		"text":            {overwrite("a:1"), "it is not a list of targets: yaml: "},
		"empty":           {overwrite(""), "it is empty; for no targets, write []"},
		"blank":           {overwrite(" \n\t\n"), "it is empty; for no targets, write []"},
		"too large":       {func(path string) error { return os.Truncate(path, maxTargetFile+1) }, "it is larger than 64 MiB"},
		"a directory":     {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "it cannot be read: it is a directory"},
		"gone":            {os.Remove, "no such file"},
		"a dangling link": {func(path string) error { return errors.Join(os.Remove(path), os.Symlink("nowhere", path)) }, "no such file"},
		"billion laughs":  {overwrite(billionLaughs(12)), "it is not a list of targets: yaml: document contains excessive aliasing"},
		"recursive alias": {overwrite("- &a [*a]"), "it is not a list of targets: yaml: anchor 'a' value contains itself"},
		"deep":            {overwrite(strings.Repeat("[", 100_000)), "it is not a list of targets: yaml: exceeded max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestFiles(t, "", "bad.yaml", "good.yaml")
			write(t, filepath.Join(r.dir, "bad.yaml"), []byte("[a:1, b:1]"))
			r.put(t, "good.yaml", "[c:1]")
			before := r.byName()
			require.Len(t, before, 3)
			path := filepath.Join(r.dir, "bad.yaml")
			require.NoError(t, c.change(path))
			_ = os.Chtimes(path, time.Now(), time.Now().Add(-time.Minute)) // if it exists
			for range 3 {
				assert.False(t, r.read())
				assert.Equal(t, int64(1), r.errorCount())
			}
			assert.True(t, r.put(t, "good.yaml", "[d:1]"))
			assert.Equal(t, "a:1 b:1 d:1", r.names())
			assert.Same(t, before["a:1"], r.byName()["a:1"])
			lines := r.logLines()
			require.Len(t, lines, 1)
			assert.Contains(t, lines[0], "bad.yaml: A target file is invalid: ")
			assert.Contains(t, lines[0], c.want)
			assert.Contains(t, lines[0], "; its targets are kept")

			require.NoError(t, os.RemoveAll(path))
			assert.True(t, r.put(t, "bad.yaml", "[b:1, e:1]"))
			assert.Equal(t, "b:1 d:1 e:1", r.names())
			assert.Same(t, before["b:1"], r.byName()["b:1"])
			assert.Equal(t, []string{"bad.yaml: A target file is valid again."}, r.logLines())
			assert.Zero(t, r.errorCount())
		})
	}
}

// overwrite returns a function that writes text to a file.
func overwrite(text string) func(path string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
}

// billionLaughs returns YAML whose aliases expand to nine to the power of n strings.
func billionLaughs(n int) string {
	var b strings.Builder
	b.WriteString("- &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "- &a%d [%s]\n", i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9))
	}
	return b.String()
}

func TestMissingFileHasNoTargets(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml", "none/*.yaml")
	for range 3 {
		assert.False(t, r.read())
	}
	lines := r.logLines()
	require.Len(t, lines, 1, "a pattern may match no file, but a path must exist")
	assert.Contains(t, lines[0], "no such file")
	assert.True(t, r.put(t, "t.yaml", "[a:1]"))
	assert.Equal(t, "a:1", r.names())
}

func TestChangedEntryReplacesOnlyItsTarget(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	assert.True(t, r.put(t, "t.yaml", "[a:1, {endpoint: 'b:1', timeout: 5s}, {targets: [c:1, d:1], labels: {team: x}}, {endpoint: 'e:1', certificate_types: [ecdsa, rsa]}]"))
	before := r.byName()
	ids := idsOf(r.Targets())
	// The same entries in another notation and order, one of them with another timeout.
	assert.True(t, r.put(t, "t.yaml", `[{"targets": ["d:1", "c:1"], "labels": {"team": "x"}}, {"timeout": "6s", "endpoint": "b:1"}, {certificate_types: [ecdsa, rsa], endpoint: 'e:1'}, {endpoint: 'a:1'}]`))
	after := r.byName()
	require.Len(t, after, len(before))
	for name, tt := range after {
		if name == "b:1" {
			assert.NotSame(t, before[name], tt)
			assert.Equal(t, []time.Duration{5 * time.Second, 6 * time.Second}, []time.Duration{before[name].Timeout, tt.Timeout})
		} else {
			assert.Same(t, before[name], tt, name)
		}
	}
	assert.Equal(t, ids, idsOf(r.Targets()), "the changed target keeps its ID")
	assert.Len(t, ids, 6)

	assert.True(t, r.put(t, "t.yaml", "[a:1]"))
	assert.Equal(t, "a:1", r.names())
	assert.True(t, r.put(t, "t.yaml", "[a:1, {endpoint: 'b:1', timeout: 5s}]"), "an entry may return")
	assert.NotSame(t, before["b:1"], r.byName()["b:1"])
	assert.Equal(t, before["b:1"].ID, r.byName()["b:1"].ID)
	assert.True(t, r.put(t, "t.yaml", "[]"))
	assert.Empty(t, r.Targets())
	assert.Empty(t, r.logLines())
}

func idsOf(targets []*target.Target) (ids []string) {
	for _, t := range targets {
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestFilesOfAPatternAreAddedAndRemoved(t *testing.T) {
	r := newTestFiles(t, "", "*.{yaml,json}", "extra.yaml")
	r.put(t, "extra.yaml", "[x:1]")
	r.put(t, "one.yaml", "[a:1, b:1]")
	r.put(t, "two.json", `["b:1", "c:1"]`)
	r.put(t, "three.txt", "[no:1]")
	assert.Equal(t, "a:1 b:1 c:1 x:1", r.names())
	assert.Len(t, r.Targets(), 4, "an entry in two files is one target")
	assert.Empty(t, r.logLines())
	before := r.byName()

	assert.True(t, r.remove(t, "one.yaml"))
	assert.Equal(t, "b:1 c:1 x:1", r.names())
	assert.Same(t, before["b:1"], r.byName()["b:1"], "it is still in the other file")
	assert.Equal(t, []string{"one.yaml: A target file was removed, and its targets with it."}, r.logLines())
	assert.False(t, r.read())

	// An entry moves from one file to another.
	write(t, filepath.Join(r.dir, "two.json"), []byte("[c:1]"))
	write(t, filepath.Join(r.dir, "new.yaml"), []byte("[b:1]"))
	r.read()
	assert.Same(t, before["b:1"], r.byName()["b:1"])
	// A file is renamed.
	require.NoError(t, os.Rename(filepath.Join(r.dir, "new.yaml"), filepath.Join(r.dir, "renamed.yaml")))
	r.read()
	assert.Same(t, before["b:1"], r.byName()["b:1"])
	assert.Equal(t, "b:1 c:1 x:1", r.names())
	r.logLines()

	assert.False(t, r.remove(t, "extra.yaml"), "a path without wildcards must exist")
	assert.Equal(t, "b:1 c:1 x:1", r.names())
	lines := r.logLines()
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0], "extra.yaml: A target file is invalid: ")
}

func TestEntryWithATargetOfTheConfigurationIsInvalid(t *testing.T) {
	const duplicate = "is already a target, with the same attributes, so the two could not be told apart; remove one, or give it different attributes"
	r := newTestFiles(t, "attributes: {env: prod}\ntargets: [{endpoint: 'a:1'}, {endpoint: 'b:1', certificate_types: [rsa]}]", "t.yaml", "other.yaml")
	r.put(t, "other.yaml", "[]")
	r.put(t, "t.yaml", `
- a:1
- {endpoint: "A.:1", attributes: {env: test}}
- {endpoint: "a:1", attributes: {env: prod}, timeout: 5s}
- {endpoint: "b:1", certificate_types: [ecdsa, rsa]}
- b:1
`)
	assert.ElementsMatch(t, []string{"A.:1", "b:1"}, slices.Collect(maps.Keys(r.byName())))
	assert.Equal(t, int64(3), r.errorCount())
	lines := strings.Join(r.logLines(), "\n")
	for i, name := range map[int]string{0: "a:1", 2: "a:1", 3: "b:1"} {
		assert.Contains(t, lines, fmt.Sprintf("entry %d: endpoint: %q %s", i, name, duplicate))
	}
	r.put(t, "t.yaml", "[{endpoint: 'b:1', certificate_types: [ecdsa]}]")
	assert.Len(t, r.Targets(), 1, "an invalid entry does not keep the IDs of its other targets")
}

func TestEntryBecomesValidWhenItsDuplicateIsRemoved(t *testing.T) {
	r := newTestFiles(t, "", "one.yaml", "two.yaml")
	r.put(t, "one.yaml", "[a:1]")
	r.put(t, "two.yaml", "[{endpoint: 'a:1', timeout: 5s}]")
	assert.Equal(t, int64(1), r.errorCount())
	assert.Equal(t, 10*time.Second, r.byName()["a:1"].Timeout)
	r.put(t, "one.yaml", "[]")
	r.read() // which retries, if put has not built it already
	require.Len(t, r.Targets(), 1)
	assert.Equal(t, 5*time.Second, r.byName()["a:1"].Timeout)
	assert.Zero(t, r.errorCount())
}

// overwriteUnseen overwrites a file with a text of the same length and restores its modification time, so that the file
// seems unchanged.
func overwriteUnseen(t *testing.T, path, text string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Len(t, text, int(info.Size()))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func TestUnchangedFileIsNotReadAgain(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1]")
	overwriteUnseen(t, filepath.Join(r.dir, "t.yaml"), "[b:1]")
	assert.False(t, r.read())
	assert.Equal(t, "a:1", r.names())
}

// A new file is read immediately. After that it is read only once it has not been written to for a while.
func TestFileBeingWrittenIsReadLater(t *testing.T) {
	for retry := true; retry; { // if this machine is too slow, the file is not new any more when it is read
		r := newTestFiles(t, "", "t.yaml")
		path := filepath.Join(r.dir, "t.yaml")
		began := time.Now()
		require.NoError(t, os.WriteFile(path, []byte("[a:1]"), 0o600))
		assert.True(t, r.read())
		first := r.names()
		require.NoError(t, os.WriteFile(path, []byte("[b:1]"), 0o600))
		now := time.Now()
		require.NoError(t, os.Chtimes(path, now, now))
		changed := r.read()
		second := r.names()
		retry = time.Since(began) >= diskfile.Settled
		if retry {
			continue
		}
		assert.Equal(t, "a:1", first)
		assert.False(t, changed)
		assert.Equal(t, "a:1", second)

		modified := time.Now().Add(-diskfile.Settled)
		require.NoError(t, os.Chtimes(path, modified, modified))
		assert.True(t, r.read())
		assert.Equal(t, "b:1", r.names())
		overwriteUnseen(t, path, "[c:1]")
		assert.False(t, r.read(), "a settled file is read only once")
	}
}

// A file without targets has none to lose, so it is read even if it may not be complete yet.
func TestFileBeingWrittenIsReadImmediatelyIfItHasNoTargets(t *testing.T) {
	for _, first := range []string{"", "[]", "- a:1: ["} {
		r := newTestFiles(t, "", "t.yaml")
		path := filepath.Join(r.dir, "t.yaml")
		require.NoError(t, os.WriteFile(path, []byte(first), 0o600))
		r.read()
		require.NoError(t, os.WriteFile(path, []byte("- a:1\n"), 0o600))
		r.read()
		assert.Equal(t, "a:1", r.names(), first)
	}
}

// A file that is written to all the time delays the reading of all files, but not forever.
func TestFileThatIsAlwaysBeingWrittenIsReadEventually(t *testing.T) {
	r := newTestFiles(t, "", "one.yaml", "log.yaml")
	write(t, filepath.Join(r.dir, "one.yaml"), []byte("[a:1]"))
	r.put(t, "log.yaml", "[x:1]")
	write(t, filepath.Join(r.dir, "one.yaml"), []byte("[b:1]"))
	for i := range maxWaits + 1 {
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "log.yaml"), []byte(fmt.Sprintf("[x:%d]", 10+i)), 0o600))
		r.read()
	}
	assert.Contains(t, r.names(), "b:1")
	write(t, filepath.Join(r.dir, "log.yaml"), []byte("[x:9]"))
	r.read()
	assert.Equal(t, "b:1 x:9", r.names())
	assert.Zero(t, r.waits, "the next change is waited for again")
}

func TestTLSBlocksOfRemovedTargetsAreFreed(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	for i := range 20 {
		r.put(t, "t.yaml", fmt.Sprintf("- {endpoint: 'a:1', tls: {server_name_override: name-%d}}", i))
		runtime.GC()
	}
	assert.LessOrEqual(t, r.builder.blocks.Len(), 3, "those of the defaults, of the current target and of the one before")
	assert.Equal(t, "name-19", r.Targets()[0].ServerName())
}

func TestTargetsOfFilesShareTLSBlocksWithOthers(t *testing.T) {
	b, defaults, configured := configure(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: 'a:1'}]}", caFile(t)))
	built, err := newTargetFiles(nil, defaults, b, zap.NewNop()).build(map[string]any{"endpoint": "b:1"})
	require.NoError(t, err)
	assert.Same(t, configured[0].Settings().Config, built[0].Settings().Config)
	assert.Same(t, configured[0].Settings().Roots, built[0].Settings().Roots)
}

// A few aliases can expand to more than fits in memory.
func TestAliasesOfLongStringsTakeLittleMemory(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	text := "- &a " + strings.Repeat("x", 20_000) + "\n- {endpoint: 'a:1', alpn: [" + strings.Repeat("*a, ", 1000) + "]}\n- b:1\n" // 24 kB that expand to 20 MB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.put(t, "t.yaml", text)
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20_000_000))
	assert.Equal(t, int64(2), r.errorCount())
	assert.Equal(t, "b:1", r.names())
}

func TestLogLinesAreBounded(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "["+strings.Repeat("x", 1_000_000)+"]")
	lines := r.logLines()
	require.Len(t, lines, 1)
	assert.Less(t, len(lines[0]), 100_000)
}

func TestInvalidGroupIsReported(t *testing.T) {
	for _, group := range []string{`{targets: [a:1], timeout: 5s}`, `{targets: [a:1], labels: [x]}`, `{targets: [a:1], labels: {1: x}}`, `{targets: [a:1], label: {a: x}}`} {
		r := newTestFiles(t, "", "t.yaml")
		r.put(t, "t.yaml", "["+group+", b:1]")
		assert.NotZero(t, r.errorCount(), group)
		assert.Contains(t, r.names(), "b:1")
	}
}

func TestSimilarEntriesAreDifferentTargets(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", `[{endpoint: "a:1", attributes: {a: "1 b:2"}}, {endpoint: "a:1", attributes: {a: "1", b: "2"}}]`)
	assert.Len(t, r.Targets(), 2)
	assert.Zero(t, r.errorCount())
	assert.True(t, r.put(t, "t.yaml", `[{endpoint: "c:1", alpn: [a b]}]`))
	assert.True(t, r.put(t, "t.yaml", `[{endpoint: "c:1", alpn: [a, b]}]`))
}

// A tls block that could not be loaded is loaded again for the next entry that has it.
func TestRewrittenEntryIsValidOnceItsCAFileExists(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	ca := filepath.Join(r.dir, "ca.pem")
	entry := fmt.Sprintf("[{endpoint: 'a:1', tls: {ca_file: %q}}]", ca)
	r.put(t, "t.yaml", entry)
	assert.Equal(t, int64(1), r.errorCount())
	write(t, ca, root.PEM())
	r.put(t, "t.yaml", entry)
	assert.Equal(t, "a:1", r.names())
	assert.Zero(t, r.errorCount())
}

// The target file may be put in place before the other files that it needs.
func TestEntryIsValidOnceItsCAFileExists(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	ca := filepath.Join(r.dir, "ca.pem")
	r.put(t, "t.yaml", fmt.Sprintf("[{endpoint: 'a:1', tls: {ca_file: %q}}]", ca))
	write(t, ca, root.PEM())
	assert.True(t, r.read())
	assert.Equal(t, "a:1", r.names())
}

func TestPatternWithTooManyMatchesIsLoggedOnce(t *testing.T) {
	r := newTestFiles(t, "", "*")
	r.put(t, "t.yaml", "[a:1]")
	for i := range 10_000 {
		require.NoError(t, os.Symlink("nothing", filepath.Join(r.dir, fmt.Sprint(i))))
	}
	for range 3 {
		assert.False(t, r.read())
	}
	assert.Equal(t, "a:1", r.names())
	assert.Len(t, r.logLines(), 1)
	assert.NotZero(t, r.errorCount())
}

// A file's modification time may be in the future, because of a wrong clock or because it was copied from another file.
func TestFileModifiedInTheFutureIsRead(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1]")
	path := filepath.Join(r.dir, "t.yaml")
	require.NoError(t, os.WriteFile(path, []byte("[b:1]"), 0o600))
	modified := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(path, modified, modified))
	assert.True(t, r.read())
	assert.Equal(t, "b:1", r.names())
	overwriteUnseen(t, path, "[c:1]")
	assert.False(t, r.read())
}

// Opening a named pipe blocks until another process opens it for writing.
func TestNamedPipeIsInvalid(t *testing.T) {
	r := newTestFiles(t, "", "pipe")
	path := filepath.Join(r.dir, "pipe")
	if err := exec.Command("mkfifo", path).Run(); err != nil {
		t.Skip("no mkfifo:", err)
	}
	done := make(chan bool)
	go func() { done <- r.read() }()
	select {
	case changed := <-done:
		assert.False(t, changed)
		assert.Equal(t, int64(1), r.errorCount())
	case <-time.After(10 * time.Second):
		t.Error("read blocks")
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		_ = w.Close()
		<-done
	}
}

// YAML decodes such names as numbers, not as strings.
func TestAttributesNamedByNumbers(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	const many = "{1: a, 2: b, 3: c, 4: d, 5: e, 6: f, 7: g, 8: h}"
	assert.True(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: "+many+"}]"))
	before := r.byName()["a:1"]
	require.NotNil(t, before)
	for range 5 {
		assert.False(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: "+many+"}]"))
	}
	assert.Same(t, before, r.byName()["a:1"])
	assert.True(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: {1: x}}]"))
	assert.True(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: {1: y}}]"))
	assert.Equal(t, "y", r.byName()["a:1"].Attributes["1"])
}

// There are more invalid entries than are retried at each check.
func TestAllInvalidEntriesStayInvalid(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "["+strings.Repeat("bad, ", 250)+"'good:1']")
	for range 3 {
		assert.Equal(t, int64(250), r.errorCount())
		assert.False(t, r.read())
	}
	assert.Len(t, r.logLines(), 1)
}

func TestFileWithoutTargetsBecomesValidAgain(t *testing.T) {
	for _, bad := range []string{"nonsense: [", "[bad]"} {
		r := newTestFiles(t, "", "t.yaml")
		r.put(t, "t.yaml", bad)
		assert.Equal(t, int64(1), r.errorCount())
		r.put(t, "t.yaml", "[]")
		assert.Zero(t, r.errorCount(), bad)
		assert.Len(t, r.logLines(), 2, bad)
	}
}

func TestInvalidFileWithAnInvalidEntryIsLoggedOnce(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "[good:1, bad]")
	r.put(t, "t.yaml", "nonsense: [")
	for range 3 {
		assert.False(t, r.read())
		assert.Equal(t, "good:1", r.names())
		assert.NotZero(t, r.errorCount())
	}
	assert.Len(t, r.logLines(), 2, "one line about the entry and one about the file")
}

// Parsing a file may take seconds. An invalid file can become valid only by a change, unlike one that could not be opened.
func TestInvalidFileIsNotReadAgainUntilItChanges(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1")
	overwriteUnseen(t, filepath.Join(r.dir, "t.yaml"), "[a]]")
	r.read()
	r.read()
	assert.Len(t, r.logLines(), 1)
}

func TestPatternWithTooManyMatchesDoesNotAffectOthers(t *testing.T) {
	r := newTestFiles(t, "", "many/*", "t.yaml")
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "many"), 0o700))
	for i := range 10_001 {
		require.NoError(t, os.Symlink("nothing", filepath.Join(r.dir, "many", fmt.Sprint(i))))
	}
	assert.True(t, r.put(t, "t.yaml", "[a:1]"))
	assert.Len(t, r.logLines(), 1)
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, "many")))
	r.read()
	assert.Zero(t, r.errorCount())
	lines := r.logLines()
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0], "valid again")
}

func TestEntryThatMovesToAFileBeingWrittenKeepsItsTarget(t *testing.T) {
	r := newTestFiles(t, "", "from.yaml", "to.yaml")
	write(t, filepath.Join(r.dir, "from.yaml"), []byte("[a:1, b:1]"))
	r.put(t, "to.yaml", "[c:1]")
	before := r.byName()["b:1"]
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "to.yaml"), []byte("[b:1, c:1]"), 0o600))
	r.put(t, "from.yaml", "[a:1]")
	write(t, filepath.Join(r.dir, "to.yaml"), []byte("[b:1, c:1]"))
	r.read()
	assert.Same(t, before, r.byName()["b:1"])
}

func TestChangedEntryIsBuiltAlthoughAnotherFileWasBeingWritten(t *testing.T) {
	r := newTestFiles(t, "", "one.yaml", "two.yaml")
	write(t, filepath.Join(r.dir, "one.yaml"), []byte("[{endpoint: 'a:1', timeout: 5s}]"))
	r.put(t, "two.yaml", "[b:1]")
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "two.yaml"), []byte("[b:1, c:1]"), 0o600))
	r.put(t, "one.yaml", "[{endpoint: 'a:1', timeout: 6s}]")
	r.put(t, "two.yaml", "[b:1, c:1]")
	assert.Equal(t, "a:1 b:1 c:1", r.names())
	assert.Equal(t, 6*time.Second, r.byName()["a:1"].Timeout)
	assert.Empty(t, r.logLines())
}

func TestEntryIDsDiffer(t *testing.T) {
	var all []any
	require.NoError(t, yaml.Unmarshal([]byte(`
- {a: [b, c]}
- {a: [bc]}
- {a: [b c]}
- {a: bc}
- {ab: c}
- {a: b, c: ""}
- {a: [b], c: d}
- {a: [b, c, d]}
- {a: [[b], c]}
- {a: [[b, c]]}
- {a: {b: c}}
- {a: {b: c}, d: e}
- {a: {b: c, d: e}}
- {a: 1}
- {a: 1.0}
- {a: "1"}
- {a: true}
- {a: "true"}
- {a: null}
- {a: ""}
- {a: []}
- {a: {}}
- {a: "\"b\""}
- {a: b}
- {a: {1: b, 2: c}}
- {a: {1: c, 2: b}}
`), &all))
	seen := map[entryID]any{}
	for _, e := range all {
		id := idOf(e.(map[string]any))
		assert.NotContains(t, seen, id, "%v has the ID of %v", e, seen[id])
		seen[id] = e
		for range 20 { // maps are iterated in random order
			assert.Equal(t, id, idOf(e.(map[string]any)))
		}
	}
	assert.NotContains(t, seen, entryID{})
}

func TestEntrySizeIsLimited(t *testing.T) {
	for size, tooLarge := range map[int]bool{maxEntry / 2: false, maxEntry: true, 20 * maxEntry: true} {
		assert.Equal(t, tooLarge, idOf(map[string]any{"a": strings.Repeat("x", size)}) == entryID{}, size)
		assert.Equal(t, tooLarge, idOf(map[string]any{"a": make([]any, size/8)}) == entryID{}, size)
	}
	r := newTestFiles(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1, {endpoint: 'b:1', attributes: {x: "+strings.Repeat("x", maxEntry)+"}}]")
	assert.Equal(t, "a:1", r.names())
	lines := r.logLines()
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0], "entry 1: is larger than 1024 KiB")
}

func FuzzTargetFile(f *testing.F) {
	for _, s := range []string{
		"- a:1", `[{"targets": ["a:1"], "labels": {"a": "b", "__c": "d"}}]`, "- endpoint: a:1\n  tls: {min_version: '1.3'}", "[null, 5, [], {}, {5: x}]",
		billionLaughs(4), "- &a [*a]", "- {<<: {endpoint: 'a:1'}}", "- {targets: [{}]}", "- {endpoint: 'a:1', tls::x: 1, attributes: {a::b: c}}", "- {file_path: '[', password: 5}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := newTestFiles(t, "", "t.yaml")
		r.put(t, "t.yaml", s)
		for _, tt := range r.Targets() {
			assert.NotNil(t, tt.Settings())
			assert.True(t, tt.Endpoint.Port > 0 || tt.Files.Pattern != "")
		}
		assert.Equal(t, len(r.logLines()) > 0, r.errorCount() > 0)
		assert.False(t, r.read(), "nothing has changed since")
	})
}
