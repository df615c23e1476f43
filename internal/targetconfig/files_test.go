package targetconfig

import (
	"bytes"
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

// configured is the part of a receiver's configuration that is about targets.
type configured struct {
	Settings    `mapstructure:",squash"`
	Targets     []Entry  `mapstructure:"targets"`
	TargetFiles []string `mapstructure:"target_files"`
}

// configure reads YAML and builds what it configures.
func configure(t testing.TB, yaml string) (b *Builder, defaults *Defaults, targets []*target.Target) {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	c := configured{Settings: DefaultSettings()}
	require.NoError(t, conf.Unmarshal(&c))
	defaults = &Defaults{Settings: c.Shorten(conf.IsSet("timeout")), TimeoutSet: conf.IsSet("timeout")}
	b = NewBuilder(time.Second, zap.NewNop())
	for i := range c.Targets {
		require.NoError(t, c.Targets[i].LayOver(defaults))
		e := c.Targets[i].Complete(defaults)
		built, errs := b.Build(&e)
		require.Empty(t, errs)
		b.Number(built)
		targets = append(targets, built...)
	}
	return b, defaults, targets
}

var written atomic.Int64

// write replaces what is in a file, in place, and makes it look as if that had been done a while ago: another time at each
// call.
func write(t testing.TB, path string, content ...[]byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, bytes.Join(content, nil), 0o600))
	at := time.Now().Add(-time.Hour + time.Duration(written.Add(1))*time.Second)
	require.NoError(t, os.Chtimes(path, at, at))
}

// caFile holds the farm's root.
func caFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	write(t, path, root.PEM())
	return path
}

// reading reads target files as a receiver does.
type reading struct {
	*Files
	log *observer.ObservedLogs
	dir string
}

// readingOf configures target files of these patterns in a directory of the test's.
func readingOf(t testing.TB, settings string, patterns ...string) *reading {
	t.Helper()
	r := &reading{dir: t.TempDir()}
	for i, p := range patterns {
		patterns[i] = filepath.Join(r.dir, p)
	}
	b, defaults, _ := configure(t, settings)
	core, log := observer.New(zap.InfoLevel)
	r.log = log
	r.Files = newFiles(patterns, defaults, b, zap.New(core))
	return r
}

// put writes a file and reads what changed.
func (r *reading) put(t *testing.T, name, content string) (changed bool) {
	t.Helper()
	write(t, filepath.Join(r.dir, name), []byte(content))
	return r.read()
}

func (r *reading) remove(t *testing.T, name string) (changed bool) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(r.dir, name)))
	return r.read()
}

// named are the targets by what they probe.
func (r *reading) named() map[string]*target.Target {
	named := make(map[string]*target.Target)
	for _, t := range r.Targets() {
		named[t.String()] = t
	}
	return named
}

func (r *reading) names() string { return strings.Join(slices.Sorted(maps.Keys(r.named())), " ") }

// said is what was logged since the last call, with the file's name.
func (r *reading) said() (lines []string) {
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
		"all at once": {
			"- a:1\n- endpoint: b:1\n- targets: [c:1]\n", []string{"a:1 20s map[env:prod]", "b:1 20s map[env:prod]", "c:1 20s map[env:prod]"},
		},
		"anchors":   {"- &a {endpoint: 'a:1', collection_interval: 7s}\n- {<<: *a, endpoint: 'b:1'}\n", []string{"a:1 7s map[env:prod]", "b:1 7s map[env:prod]"}},
		"no target": {"[]", nil},
		"comments":  {"# none for now\n", nil},
		"BOM":       {"\xef\xbb\xbf- a:1\n", []string{"a:1 20s map[env:prod]"}},
		"CRLF":      {"- endpoint: a:1\r\n  collection_interval: 7s\r\n", []string{"a:1 7s map[env:prod]"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := readingOf(t, "collection_interval: 20s\nattributes: {env: prod}", "t.yaml")
			assert.Equal(t, len(c.want) > 0, r.put(t, "t.yaml", c.content))
			var got []string
			for _, tt := range r.Targets() {
				got = append(got, fmt.Sprint(tt, " ", tt.Interval, " ", tt.Attributes))
				assert.Equal(t, min(10*time.Second, tt.Interval), tt.Timeout, "the default gives way to a short interval")
			}
			slices.Sort(got)
			assert.Equal(t, c.want, got)
			assert.Empty(t, r.said())
			assert.Zero(t, r.mistakes())
		})
	}
}

func TestTimeoutThatStandsAtTheTopIsHeldAgainstAFilesInterval(t *testing.T) {
	r := readingOf(t, "timeout: 10s", "t.yaml")
	r.put(t, "t.yaml", "[{endpoint: 'a:1', collection_interval: 5s}]")
	assert.Contains(t, strings.Join(r.said(), "\n"), "t.yaml: A target file is invalid: entry 0: timeout: 10s is longer than collection_interval, 5s")
}

func TestBadEntryCostsThatEntryAlone(t *testing.T) {
	chain, _ := tlsfarm.PEM(root.Issue("a"))
	certFile := filepath.Join(t.TempDir(), "cert.pem")
	write(t, certFile, chain)
	for entry, want := range map[string]string{
		`{endpoint: a}`:                                                  `entry 1: endpoint: "a" has no port`,
		`{endpoint: "a:1", timeouts: 5s}`:                                "entry 1: timeouts: is not known; use one of alpn",
		`{endpoint: "a:1", tls: {ca_fil: x}}`:                            "entry 1: tls::ca_fil: is not known; use one of ca_file",
		`{endpoint: "a:1", timeout: 0s}`:                                 "entry 1: timeout: 0s is not a time limit",
		`{endpoint: "a:1", timeout: soon}`:                               "entry 1: ",
		`{endpoint: "a:1", targets: 5}`:                                  "entry 1: targets: is not known",
		`{endpoint: "a:1", shard: {count: 2}}`:                           "entry 1: shard: is not known",
		`{endpoint: "a:1", alpn: [""]}`:                                  `entry 1: alpn: "" is 0 bytes long`,
		`{endpoint: "a:1", attributes: {tls.x: y}}`:                      `entry 1: attributes: "tls.x" is a name that the receiver uses itself`,
		`{endpoint: "a:1", certificate_types: [x]}`:                      `entry 1: certificate_types: "x" is not known`,
		`{endpoint: "a:1", tls: {ca_file: /no/such}}`:                    `entry 1: tls::ca_file: "/no/such" cannot be read`,
		fmt.Sprintf(`{endpoint: "a:1", tls: {cert_file: %q}}`, certFile): "entry 1: tls::key_file: is missing",
		`{file_path: "/etc/[a"}`:                                         `entry 1: file_path: "/etc/[a" is not a valid pattern`,
		`{targets: [a], labels: {}}`:                                     `entry 1: endpoint: "a" has no port`,
		`{targets: [[x]]}`:                                               "entry 1: ",
		`{}`:                                                             `entry 1: endpoint: "" is empty`,
		`null`:                                                           `entry 1: endpoint: "" is empty`,
		`5`:                                                              "entry 1: ",
		`[x]`:                                                            "entry 1: ",
		`{5: x}`:                                                         "entry 1: ",
		`{endpoint: "first:1"}`:                                          "", // the same as the first
		`{endpoint: "first:1", timeout: 5s}`:                             `entry 1: endpoint: "first:1" is already a target`,
		`{endpoint: "FIRST.:1", attributes: {a: b}}`:                     "", // another
	} {
		r := readingOf(t, "", "t.yaml")
		r.put(t, "t.yaml", "[{endpoint: 'first:1'}, "+entry+", {endpoint: 'last:1'}]")
		assert.Subset(t, slices.Collect(maps.Keys(r.named())), []string{"first:1", "last:1"}, entry)
		said := r.said()
		if want == "" {
			assert.Empty(t, said, entry)
			assert.Zero(t, r.mistakes(), entry)
			continue
		}
		assert.Len(t, r.Targets(), 2, entry)
		require.Len(t, said, 1, entry)
		assert.Contains(t, said[0], "t.yaml: A target file is invalid: "+want)
		assert.Equal(t, int64(1), r.mistakes(), entry)
		assert.False(t, r.put(t, "t.yaml", "[{endpoint: 'first:1'}, "+entry+", {endpoint: 'last:1'}]"), entry)
		assert.Empty(t, r.said(), "the same again: %s", entry)
		r.put(t, "t.yaml", "[{endpoint: 'first:1'}, {endpoint: 'last:1'}]")
		assert.Equal(t, []string{"t.yaml: A target file is valid again."}, r.said(), entry)
		assert.Zero(t, r.mistakes(), entry)
	}
}

func TestManyMistakesAreCountedAndTheFirstTold(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "["+strings.Repeat("bad, ", 25)+"'good:1']")
	assert.Equal(t, "good:1", r.names())
	assert.Equal(t, int64(25), r.mistakes())
	said := r.said()
	require.Len(t, said, 1)
	assert.Equal(t, 10, strings.Count(said[0], "has no port"))
	assert.Contains(t, said[0], "and 15 more")
}

func TestFileThatCannotBeReadKeepsItsTargets(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string) error
		told  string
	}{
		"no YAML":             {content("- endpoint: [a"), "it is not a list of targets: yaml: "},
		"a block":             {content("endpoint: a:1"), "it is not a list of targets: yaml: "},
		"text":                {content("a:1"), "it is not a list of targets: yaml: "},
		"about to be written": {content(""), "it is empty; for no targets write []"},
		"blank":               {content(" \n\t\n"), "it is empty; for no targets write []"},
		"too large":           {func(path string) error { return os.Truncate(path, maxTargetFile+1) }, "it has more than 64 MiB"},
		"a directory":         {func(path string) error { return errorsOf(os.Remove(path), os.Mkdir(path, 0o700)) }, "it cannot be read: it is a directory"},
		"gone":                {os.Remove, "no such file"},
		"a dangling link":     {func(path string) error { return errorsOf(os.Remove(path), os.Symlink("nowhere", path)) }, "no such file"},
		"laughs":              {content(laughs(12)), "it is not a list of targets: yaml: document contains excessive aliasing"},
		"endless":             {content("- &a [*a]"), "it is not a list of targets: yaml: anchor 'a' value contains itself"},
		"deep":                {content(strings.Repeat("[", 100_000)), "it is not a list of targets: yaml: exceeded max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			r := readingOf(t, "", "bad.yaml", "good.yaml")
			write(t, filepath.Join(r.dir, "bad.yaml"), []byte("[a:1, b:1]"))
			r.put(t, "good.yaml", "[c:1]")
			before := r.named()
			require.Len(t, before, 3)
			path := filepath.Join(r.dir, "bad.yaml")
			require.NoError(t, c.spoil(path))
			_ = os.Chtimes(path, time.Now(), time.Now().Add(-time.Minute)) // where it is there
			for range 3 {
				assert.False(t, r.read())
				assert.Equal(t, int64(1), r.mistakes())
			}
			assert.True(t, r.put(t, "good.yaml", "[d:1]"))
			assert.Equal(t, "a:1 b:1 d:1", r.names())
			assert.Same(t, before["a:1"], r.named()["a:1"])
			said := r.said()
			require.Len(t, said, 1)
			assert.Contains(t, said[0], "bad.yaml: A target file is invalid: ")
			assert.Contains(t, said[0], c.told)
			assert.Contains(t, said[0], "; its targets stay as they were")

			require.NoError(t, os.RemoveAll(path))
			assert.True(t, r.put(t, "bad.yaml", "[b:1, e:1]"))
			assert.Equal(t, "b:1 d:1 e:1", r.names())
			assert.Same(t, before["b:1"], r.named()["b:1"])
			assert.Equal(t, []string{"bad.yaml: A target file is valid again."}, r.said())
			assert.Zero(t, r.mistakes())
		})
	}
}

func content(text string) func(path string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// laughs is YAML that stands for nine to the power of n strings.
func laughs(n int) string {
	var b strings.Builder
	b.WriteString("- &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "- &a%d [%s]\n", i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9))
	}
	return b.String()
}

func TestFileThatWasNeverThereHasNoTargets(t *testing.T) {
	r := readingOf(t, "", "t.yaml", "none/*.yaml")
	for range 3 {
		assert.False(t, r.read())
	}
	said := r.said()
	require.Len(t, said, 1, "a pattern may stand for no file")
	assert.Contains(t, said[0], "no such file")
	assert.True(t, r.put(t, "t.yaml", "[a:1]"))
	assert.Equal(t, "a:1", r.names())
}

func TestChangedEntryReplacesItsTargetAlone(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	assert.True(t, r.put(t, "t.yaml", "[a:1, {endpoint: 'b:1', timeout: 5s}, {targets: [c:1, d:1], labels: {team: x}}, {endpoint: 'e:1', certificate_types: [ecdsa, rsa]}]"))
	before := r.named()
	ids := idsOf(r.Targets())
	// Written otherwise, in another order, and with another timeout for one.
	assert.True(t, r.put(t, "t.yaml", `[{"targets": ["d:1", "c:1"], "labels": {"team": "x"}}, {"timeout": "6s", "endpoint": "b:1"}, {certificate_types: [ecdsa, rsa], endpoint: 'e:1'}, {endpoint: 'a:1'}]`))
	after := r.named()
	require.Len(t, after, len(before))
	for name, tt := range after {
		if name == "b:1" {
			assert.NotSame(t, before[name], tt)
			assert.Equal(t, []time.Duration{5 * time.Second, 6 * time.Second}, []time.Duration{before[name].Timeout, tt.Timeout})
		} else {
			assert.Same(t, before[name], tt, name)
		}
	}
	assert.Equal(t, ids, idsOf(r.Targets()), "that of the changed one too stays")
	assert.Len(t, ids, 6)

	assert.True(t, r.put(t, "t.yaml", "[a:1]"))
	assert.Equal(t, "a:1", r.names())
	assert.True(t, r.put(t, "t.yaml", "[a:1, {endpoint: 'b:1', timeout: 5s}]"), "one may come back")
	assert.NotSame(t, before["b:1"], r.named()["b:1"])
	assert.Equal(t, before["b:1"].ID, r.named()["b:1"].ID)
	assert.True(t, r.put(t, "t.yaml", "[]"))
	assert.Empty(t, r.Targets())
	assert.Empty(t, r.said())
}

func idsOf(targets []*target.Target) (ids []string) {
	for _, t := range targets {
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestFilesOfAPatternComeAndGo(t *testing.T) {
	r := readingOf(t, "", "*.{yaml,json}", "extra.yaml")
	r.put(t, "extra.yaml", "[x:1]")
	r.put(t, "one.yaml", "[a:1, b:1]")
	r.put(t, "two.json", `["b:1", "c:1"]`)
	r.put(t, "three.txt", "[no:1]")
	assert.Equal(t, "a:1 b:1 c:1 x:1", r.names())
	assert.Len(t, r.Targets(), 4, "what is in two files is one target")
	assert.Empty(t, r.said())
	before := r.named()

	assert.True(t, r.remove(t, "one.yaml"))
	assert.Equal(t, "b:1 c:1 x:1", r.names())
	assert.Same(t, before["b:1"], r.named()["b:1"], "it is in the other file still")
	assert.Equal(t, []string{"one.yaml: A target file is gone, and its targets with it."}, r.said())
	assert.False(t, r.read())

	// From one file to another in one go.
	write(t, filepath.Join(r.dir, "two.json"), []byte("[c:1]"))
	write(t, filepath.Join(r.dir, "new.yaml"), []byte("[b:1]"))
	r.read()
	assert.Same(t, before["b:1"], r.named()["b:1"])
	// Also where the first file goes altogether.
	require.NoError(t, os.Rename(filepath.Join(r.dir, "new.yaml"), filepath.Join(r.dir, "renamed.yaml")))
	r.read()
	assert.Same(t, before["b:1"], r.named()["b:1"])
	assert.Equal(t, "b:1 c:1 x:1", r.names())
	r.said()

	assert.False(t, r.remove(t, "extra.yaml"), "a path that was configured must be there")
	assert.Equal(t, "b:1 c:1 x:1", r.names())
	said := r.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "extra.yaml: A target file is invalid: ")
}

func TestWhatTheConfigurationHasIsRefusedInAFile(t *testing.T) {
	const refused = "is already a target, with the same attributes, so the two could not be told apart; remove one, or give it other attributes"
	r := readingOf(t, "attributes: {env: prod}\ntargets: [{endpoint: 'a:1'}, {endpoint: 'b:1', certificate_types: [rsa]}]", "t.yaml", "other.yaml")
	r.put(t, "other.yaml", "[]")
	r.put(t, "t.yaml", `
- a:1
- {endpoint: "A.:1", attributes: {env: test}}
- {endpoint: "a:1", attributes: {env: prod}, timeout: 5s}
- {endpoint: "b:1", certificate_types: [ecdsa, rsa]}
- b:1
`)
	assert.ElementsMatch(t, []string{"A.:1", "b:1"}, slices.Collect(maps.Keys(r.named())))
	assert.Equal(t, int64(3), r.mistakes())
	said := strings.Join(r.said(), "\n")
	for i, name := range map[int]string{0: "a:1", 2: "a:1", 3: "b:1"} {
		assert.Contains(t, said, fmt.Sprintf("entry %d: endpoint: %q %s", i, name, refused))
	}
	r.put(t, "t.yaml", "[{endpoint: 'b:1', certificate_types: [ecdsa]}]")
	assert.Len(t, r.Targets(), 1, "what was refused with its neighbour is free again")
}

func TestWhatStandsInTheWayOfAnEntryMayGo(t *testing.T) {
	r := readingOf(t, "", "one.yaml", "two.yaml")
	r.put(t, "one.yaml", "[a:1]")
	r.put(t, "two.yaml", "[{endpoint: 'a:1', timeout: 5s}]")
	assert.Equal(t, int64(1), r.mistakes())
	assert.Equal(t, 10*time.Second, r.named()["a:1"].Timeout)
	r.put(t, "one.yaml", "[]")
	r.read() // at the latest
	require.Len(t, r.Targets(), 1)
	assert.Equal(t, 5*time.Second, r.named()["a:1"].Timeout)
	assert.Zero(t, r.mistakes())
}

// same overwrites a file with a text of the same length so that nothing shows that it was.
func same(t *testing.T, path, text string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Len(t, text, int(info.Size()))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func TestFileThatDidNotChangeIsNotReadAgain(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1]")
	same(t, filepath.Join(r.dir, "t.yaml"), "[b:1]")
	assert.False(t, r.read())
	assert.Equal(t, "a:1", r.names())
}

// A file is read as soon as it is there, and after that only when nobody has written to it for a while.
func TestFileThatIsBeingWrittenIsReadWhenThatIsOver(t *testing.T) {
	for attempt := true; attempt; { // again where this machine is too slow for the file to be a new one all the time
		r := readingOf(t, "", "t.yaml")
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
		attempt = time.Since(began) >= diskfile.Settled
		if attempt {
			continue
		}
		assert.Equal(t, "a:1", first)
		assert.False(t, changed)
		assert.Equal(t, "a:1", second)

		at := time.Now().Add(-diskfile.Settled)
		require.NoError(t, os.Chtimes(path, at, at))
		assert.True(t, r.read())
		assert.Equal(t, "b:1", r.names())
		same(t, path, "[c:1]")
		assert.False(t, r.read(), "that was all that was to be read")
	}
}

// A file without targets has nothing to keep while more of it is to come.
func TestFileThatIsBeingWrittenIsReadAtOnceWhereItHasNoTargets(t *testing.T) {
	for _, first := range []string{"", "[]", "- a:1: ["} {
		r := readingOf(t, "", "t.yaml")
		path := filepath.Join(r.dir, "t.yaml")
		require.NoError(t, os.WriteFile(path, []byte(first), 0o600))
		r.read()
		require.NoError(t, os.WriteFile(path, []byte("- a:1\n"), 0o600))
		r.read()
		assert.Equal(t, "a:1", r.names(), first)
	}
}

// One that is written to all the time holds up neither others nor itself for ever.
func TestFileThatIsAlwaysBeingWrittenIsReadToo(t *testing.T) {
	r := readingOf(t, "", "one.yaml", "log.yaml")
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
	assert.Zero(t, r.waited, "the next time is waited for again")
}

func TestTLSBlocksOfTargetsThatAreGoneAreLetGoOf(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	for i := range 20 {
		r.put(t, "t.yaml", fmt.Sprintf("- {endpoint: 'a:1', tls: {server_name_override: name-%d}}", i))
		runtime.GC()
	}
	assert.LessOrEqual(t, r.builder.blocks.Len(), 3, "of the defaults, of now, and of the last time")
	assert.Equal(t, "name-19", r.Targets()[0].ServerName())
}

func TestTargetsOfFilesShareTheirTLSWithOthers(t *testing.T) {
	b, defaults, configured := configure(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: 'a:1'}]}", caFile(t)))
	built, err := newFiles(nil, defaults, b, zap.NewNop()).build(map[string]any{"endpoint": "b:1"})
	require.NoError(t, err)
	assert.Same(t, configured[0].Settings(), built[0].Settings())
}

// A few aliases can stand for more than there is memory.
func TestAliasesOfLongTextsTakeLittleMemory(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	text := "- &a " + strings.Repeat("x", 20_000) + "\n- {endpoint: 'a:1', alpn: [" + strings.Repeat("*a, ", 1000) + "]}\n- b:1\n" // 24 kB for 20 MB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.put(t, "t.yaml", text)
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20_000_000))
	assert.Equal(t, int64(2), r.mistakes())
	assert.Equal(t, "b:1", r.names())
}

func TestLineOfTheLogIsBounded(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "["+strings.Repeat("x", 1_000_000)+"]")
	said := r.said()
	require.Len(t, said, 1)
	assert.Less(t, len(said[0]), 100_000)
}

func TestGroupWithMistakesIsToldOf(t *testing.T) {
	for _, group := range []string{`{targets: [a:1], timeout: 5s}`, `{targets: [a:1], labels: [x]}`, `{targets: [a:1], labels: {1: x}}`, `{targets: [a:1], label: {a: x}}`} {
		r := readingOf(t, "", "t.yaml")
		r.put(t, "t.yaml", "["+group+", b:1]")
		assert.NotZero(t, r.mistakes(), group)
		assert.Contains(t, r.names(), "b:1")
	}
}

func TestEntriesThatLookAlikeAreNotTheSame(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", `[{endpoint: "a:1", attributes: {a: "1 b:2"}}, {endpoint: "a:1", attributes: {a: "1", b: "2"}}]`)
	assert.Len(t, r.Targets(), 2)
	assert.Zero(t, r.mistakes())
	assert.True(t, r.put(t, "t.yaml", `[{endpoint: "c:1", alpn: [a b]}]`))
	assert.True(t, r.put(t, "t.yaml", `[{endpoint: "c:1", alpn: [a, b]}]`))
}

// A wrong one must not pass for the right one before it.
// A tls block that could not be used once is looked at again with the next entry that has it.
func TestEntryIsTakenOnceItsCertificateIsThere(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	ca := filepath.Join(r.dir, "ca.pem")
	entry := fmt.Sprintf("[{endpoint: 'a:1', tls: {ca_file: %q}}]", ca)
	r.put(t, "t.yaml", entry)
	assert.Equal(t, int64(1), r.mistakes())
	write(t, ca, root.PEM())
	r.put(t, "t.yaml", entry)
	assert.Equal(t, "a:1", r.names())
	assert.Zero(t, r.mistakes())
}

// Several files are put in place one after the other.
func TestEntryIsTakenByItselfOnceItsCertificateIsThere(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	ca := filepath.Join(r.dir, "ca.pem")
	r.put(t, "t.yaml", fmt.Sprintf("[{endpoint: 'a:1', tls: {ca_file: %q}}]", ca))
	write(t, ca, root.PEM())
	assert.True(t, r.read())
	assert.Equal(t, "a:1", r.names())
}

func TestPatternOfTooManyFilesIsToldOnce(t *testing.T) {
	r := readingOf(t, "", "*")
	r.put(t, "t.yaml", "[a:1]")
	for i := range 10_000 {
		require.NoError(t, os.Symlink("nothing", filepath.Join(r.dir, fmt.Sprint(i))))
	}
	for range 3 {
		assert.False(t, r.read())
	}
	assert.Equal(t, "a:1", r.names())
	assert.Len(t, r.said(), 1)
	assert.NotZero(t, r.mistakes())
}

// A clock that is ahead or a copied time may leave a file with a time that lies in the future.
func TestFileOfTheFutureIsRead(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1]")
	path := filepath.Join(r.dir, "t.yaml")
	require.NoError(t, os.WriteFile(path, []byte("[b:1]"), 0o600))
	at := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(path, at, at))
	assert.True(t, r.read())
	assert.Equal(t, "b:1", r.names())
	same(t, path, "[c:1]")
	assert.False(t, r.read())
}

// Opening one waits for somebody to write to it.
func TestPipeIsNoFileOfTargets(t *testing.T) {
	r := readingOf(t, "", "pipe")
	path := filepath.Join(r.dir, "pipe")
	if err := exec.Command("mkfifo", path).Run(); err != nil {
		t.Skip("no mkfifo:", err)
	}
	done := make(chan bool)
	go func() { done <- r.read() }()
	select {
	case changed := <-done:
		assert.False(t, changed)
		assert.Equal(t, int64(1), r.mistakes())
	case <-time.After(10 * time.Second):
		t.Error("it hangs")
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		_ = w.Close()
		<-done
	}
}

// YAML reads them as numbers, and not as text.
func TestAttributesWhoseNamesAreNumbersCount(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	const many = "{1: a, 2: b, 3: c, 4: d, 5: e, 6: f, 7: g, 8: h}"
	assert.True(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: "+many+"}]"))
	before := r.named()["a:1"]
	require.NotNil(t, before)
	for range 5 {
		assert.False(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: "+many+"}]"))
	}
	assert.Same(t, before, r.named()["a:1"])
	assert.True(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: {1: x}}]"))
	assert.True(t, r.put(t, "t.yaml", "[{endpoint: 'a:1', attributes: {1: y}}]"))
	assert.Equal(t, "y", r.named()["a:1"].Attributes["1"])
}

// Also where they are too many to be looked at again each time.
func TestAllRefusedEntriesStayRefused(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "["+strings.Repeat("bad, ", 250)+"'good:1']")
	for range 3 {
		assert.Equal(t, int64(250), r.mistakes())
		assert.False(t, r.read())
	}
	assert.Len(t, r.said(), 1)
}

func TestFileWithoutTargetsIsRightAgainToo(t *testing.T) {
	for _, bad := range []string{"nonsense: [", "[bad]"} {
		r := readingOf(t, "", "t.yaml")
		r.put(t, "t.yaml", bad)
		assert.Equal(t, int64(1), r.mistakes())
		r.put(t, "t.yaml", "[]")
		assert.Zero(t, r.mistakes(), bad)
		assert.Len(t, r.said(), 2, bad)
	}
}

func TestBadFileWithABadEntryIsToldOfOnce(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "[good:1, bad]")
	r.put(t, "t.yaml", "nonsense: [")
	for range 3 {
		assert.False(t, r.read())
		assert.Equal(t, "good:1", r.names())
		assert.NotZero(t, r.mistakes())
	}
	assert.Len(t, r.said(), 2, "the entry and the file")
}

// To parse a file may take seconds. Only what kept it from being read may go without a trace.
func TestBadFileIsNotReadAgainBeforeItChanges(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1")
	same(t, filepath.Join(r.dir, "t.yaml"), "[a]]")
	r.read()
	r.read()
	assert.Len(t, r.said(), 1)
}

func TestPatternOfTooManyFilesIsNoHarmToOthers(t *testing.T) {
	r := readingOf(t, "", "many/*", "t.yaml")
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "many"), 0o700))
	for i := range 10_001 {
		require.NoError(t, os.Symlink("nothing", filepath.Join(r.dir, "many", fmt.Sprint(i))))
	}
	assert.True(t, r.put(t, "t.yaml", "[a:1]"))
	assert.Len(t, r.said(), 1)
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, "many")))
	r.read()
	assert.Zero(t, r.mistakes())
	said := r.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "valid again")
}

func TestEntryThatMovesToAFileThatIsBeingWrittenStays(t *testing.T) {
	r := readingOf(t, "", "from.yaml", "to.yaml")
	write(t, filepath.Join(r.dir, "from.yaml"), []byte("[a:1, b:1]"))
	r.put(t, "to.yaml", "[c:1]")
	before := r.named()["b:1"]
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "to.yaml"), []byte("[b:1, c:1]"), 0o600))
	r.put(t, "from.yaml", "[a:1]")
	write(t, filepath.Join(r.dir, "to.yaml"), []byte("[b:1, c:1]"))
	r.read()
	assert.Same(t, before, r.named()["b:1"])
}

func TestChangedEntryIsTakenWhileAnotherFileIsBeingWritten(t *testing.T) {
	r := readingOf(t, "", "one.yaml", "two.yaml")
	write(t, filepath.Join(r.dir, "one.yaml"), []byte("[{endpoint: 'a:1', timeout: 5s}]"))
	r.put(t, "two.yaml", "[b:1]")
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "two.yaml"), []byte("[b:1, c:1]"), 0o600))
	r.put(t, "one.yaml", "[{endpoint: 'a:1', timeout: 6s}]")
	r.put(t, "two.yaml", "[b:1, c:1]")
	assert.Equal(t, "a:1 b:1 c:1", r.names())
	assert.Equal(t, 6*time.Second, r.named()["a:1"].Timeout)
	assert.Empty(t, r.said())
}

func TestEntriesAreToldApart(t *testing.T) {
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
		assert.NotContains(t, seen, id, "%v is like %v", e, seen[id])
		seen[id] = e
		for range 20 { // maps have no order
			assert.Equal(t, id, idOf(e.(map[string]any)))
		}
	}
	assert.NotContains(t, seen, entryID{})
}

func TestEntryIsOfALimitedSize(t *testing.T) {
	for size, refused := range map[int]bool{maxEntry / 2: false, maxEntry: true, 20 * maxEntry: true} {
		assert.Equal(t, refused, idOf(map[string]any{"a": strings.Repeat("x", size)}) == entryID{}, size)
		assert.Equal(t, refused, idOf(map[string]any{"a": make([]any, size/8)}) == entryID{}, size)
	}
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "[a:1, {endpoint: 'b:1', attributes: {x: "+strings.Repeat("x", maxEntry)+"}}]")
	assert.Equal(t, "a:1", r.names())
	said := r.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "entry 1: has more than 1024 KiB")
}

func FuzzTargetFile(f *testing.F) {
	for _, s := range []string{
		"- a:1", `[{"targets": ["a:1"], "labels": {"a": "b", "__c": "d"}}]`, "- endpoint: a:1\n  tls: {min_version: '1.3'}", "[null, 5, [], {}, {5: x}]",
		laughs(4), "- &a [*a]", "- {<<: {endpoint: 'a:1'}}", "- {targets: [{}]}", "- {endpoint: 'a:1', tls::x: 1, attributes: {a::b: c}}", "- {file_path: '[', password: 5}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := readingOf(t, "", "t.yaml")
		r.put(t, "t.yaml", s)
		for _, tt := range r.Targets() {
			assert.NotNil(t, tt.Settings())
			assert.True(t, tt.Endpoint.Port > 0 || tt.Files.Pattern != "")
		}
		assert.Equal(t, len(r.said()) > 0, r.mistakes() > 0)
		assert.False(t, r.read(), "nothing has changed")
	})
}
