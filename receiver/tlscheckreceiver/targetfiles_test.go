package tlscheckreceiver

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"go.yaml.in/yaml/v3"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/schedule"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/watch"
)

// reading reads the target files of a configuration as a receiver does.
type reading struct {
	*targetFiles
	log *observer.ObservedLogs
	dir string
}

// readingOf configures target files of these patterns in a directory of the test's.
func readingOf(t testing.TB, settings string, patterns ...string) *reading {
	t.Helper()
	r := &reading{dir: t.TempDir()}
	for i, p := range patterns {
		patterns[i] = filepath.Join(r.dir, p)
		settings += map[bool]string{true: "\ntarget_files:", false: ""}[i == 0] + fmt.Sprintf("\n- %q", patterns[i])
	}
	cfg, err := configure(t, settings)
	require.NoError(t, err)
	core, log := observer.New(zap.InfoLevel)
	b := newBuilder(zap.NewNop())
	_, err = cfg.build(b)
	require.NoError(t, err)
	b.unique = true
	r.log = log
	r.targetFiles = &targetFiles{
		patterns: patterns, defaults: &cfg.TargetDefaults, timeoutSet: cfg.timeoutSet,
		builder: b, log: zap.New(core),
		files: make(map[string]*targetFile), live: make(map[entryID][]*target.Target),
	}
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
	for _, t := range r.targets() {
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
			for _, tt := range r.targets() {
				got = append(got, fmt.Sprint(tt, " ", tt.Interval, " ", tt.Attributes))
				assert.Equal(t, min(10*time.Second, tt.Interval), tt.Timeout, "the default gives way to a short interval")
			}
			slices.Sort(got)
			assert.Equal(t, c.want, got)
			assert.Empty(t, r.said())
			assert.Zero(t, r.wrong())
		})
	}
}

func TestTimeoutThatStandsAtTheTopIsHeldAgainstAFilesInterval(t *testing.T) {
	r := readingOf(t, "timeout: 10s", "t.yaml")
	r.put(t, "t.yaml", "[{endpoint: 'a:1', collection_interval: 5s}]")
	assert.Contains(t, strings.Join(r.said(), "\n"), "t.yaml: A file of targets has mistakes: entry 0: timeout: 10s is longer than collection_interval, 5s")
}

func TestBadEntryCostsThatEntryAlone(t *testing.T) {
	certFile, _ := keyPair(t, root.Issue("a"))
	for entry, want := range map[string]string{
		`{endpoint: a}`:                                                  `entry 1: endpoint: "a" has no port`,
		`{endpoint: "a:1", timeouts: 5s}`:                                "entry 1: timeouts: is not known; use one of alpn",
		`{endpoint: "a:1", tls: {ca_fil: x}}`:                            "entry 1: tls::ca_fil: is not known; use one of ca_file",
		`{endpoint: "a:1", timeout: 0s}`:                                 "entry 1: timeout: 0s is not a time limit",
		`{endpoint: "a:1", timeout: soon}`:                               "entry 1: ",
		`{endpoint: "a:1", targets: 5}`:                                  "entry 1: targets: is not known",
		`{endpoint: "a:1", shard: {count: 2}}`:                           "entry 1: shard: is not known",
		`{endpoint: "a:1", alpn: [""]}`:                                  `entry 1: alpn: "" is 0 bytes long`,
		`{endpoint: "a:1", attributes: {tls.x: y}}`:                      `entry 1: attributes: "tls.x" is a name of the receiver's own`,
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
		`{endpoint: "first:1", timeout: 5s}`:                             `entry 1: endpoint: "first:1" has the same attributes too as a target that there is already`,
		`{endpoint: "FIRST.:1", attributes: {a: b}}`:                     "", // another
	} {
		r := readingOf(t, "", "t.yaml")
		r.put(t, "t.yaml", "[{endpoint: 'first:1'}, "+entry+", {endpoint: 'last:1'}]")
		assert.Subset(t, slices.Collect(maps.Keys(r.named())), []string{"first:1", "last:1"}, entry)
		said := r.said()
		if want == "" {
			assert.Empty(t, said, entry)
			assert.Zero(t, r.wrong(), entry)
			continue
		}
		assert.Len(t, r.targets(), 2, entry)
		require.Len(t, said, 1, entry)
		assert.Contains(t, said[0], "t.yaml: A file of targets has mistakes: "+want)
		assert.Equal(t, int64(1), r.wrong(), entry)
		assert.False(t, r.put(t, "t.yaml", "[{endpoint: 'first:1'}, "+entry+", {endpoint: 'last:1'}]"), entry)
		assert.Empty(t, r.said(), "the same again: %s", entry)
		r.put(t, "t.yaml", "[{endpoint: 'first:1'}, {endpoint: 'last:1'}]")
		assert.Equal(t, []string{"t.yaml: A file of targets is right again."}, r.said(), entry)
		assert.Zero(t, r.wrong(), entry)
	}
}

func TestManyMistakesAreCountedAndTheFirstTold(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", "["+strings.Repeat("bad, ", 25)+"'good:1']")
	assert.Equal(t, "good:1", r.names())
	assert.Equal(t, int64(25), r.wrong())
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
		"no YAML":             {content("- endpoint: [a"), "it is no list of targets: yaml: "},
		"a block":             {content("endpoint: a:1"), "it is no list of targets: yaml: "},
		"text":                {content("a:1"), "it is no list of targets: yaml: "},
		"about to be written": {content(""), "it is empty; for no targets write []"},
		"blank":               {content(" \n\t\n"), "it is empty; for no targets write []"},
		"too large":           {func(path string) error { return os.Truncate(path, maxTargetFile+1) }, "it has more than 64 MiB"},
		"a directory":         {func(path string) error { return errorsOf(os.Remove(path), os.Mkdir(path, 0o700)) }, "it cannot be read: it is a directory"},
		"gone":                {os.Remove, "no such file"},
		"a dangling link":     {func(path string) error { return errorsOf(os.Remove(path), os.Symlink("nowhere", path)) }, "no such file"},
		"laughs":              {content(laughs(12)), "it is no list of targets: yaml: document contains excessive aliasing"},
		"endless":             {content("- &a [*a]"), "it is no list of targets: yaml: anchor 'a' value contains itself"},
		"deep":                {content(strings.Repeat("[", 100_000)), "it is no list of targets: yaml: exceeded max depth"},
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
				assert.Equal(t, int64(1), r.wrong())
			}
			assert.True(t, r.put(t, "good.yaml", "[d:1]"))
			assert.Equal(t, "a:1 b:1 d:1", r.names())
			assert.Same(t, before["a:1"], r.named()["a:1"])
			said := r.said()
			require.Len(t, said, 1)
			assert.Contains(t, said[0], "bad.yaml: A file of targets has mistakes: ")
			assert.Contains(t, said[0], c.told)
			assert.Contains(t, said[0], "; its targets stay what they were")

			require.NoError(t, os.RemoveAll(path))
			assert.True(t, r.put(t, "bad.yaml", "[b:1, e:1]"))
			assert.Equal(t, "b:1 d:1 e:1", r.names())
			assert.Same(t, before["b:1"], r.named()["b:1"])
			assert.Equal(t, []string{"bad.yaml: A file of targets is right again."}, r.said())
			assert.Zero(t, r.wrong())
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
	ids := idsOf(r.targets())
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
	assert.Equal(t, ids, idsOf(r.targets()), "that of the changed one too stays")
	assert.Len(t, ids, 6)

	assert.True(t, r.put(t, "t.yaml", "[a:1]"))
	assert.Equal(t, "a:1", r.names())
	assert.True(t, r.put(t, "t.yaml", "[a:1, {endpoint: 'b:1', timeout: 5s}]"), "one may come back")
	assert.NotSame(t, before["b:1"], r.named()["b:1"])
	assert.Equal(t, before["b:1"].ID, r.named()["b:1"].ID)
	assert.True(t, r.put(t, "t.yaml", "[]"))
	assert.Empty(t, r.targets())
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
	assert.Len(t, r.targets(), 4, "what is in two files is one target")
	assert.Empty(t, r.said())
	before := r.named()

	assert.True(t, r.remove(t, "one.yaml"))
	assert.Equal(t, "b:1 c:1 x:1", r.names())
	assert.Same(t, before["b:1"], r.named()["b:1"], "it is in the other file still")
	assert.Equal(t, []string{"one.yaml: A file of targets is gone, and its targets with it."}, r.said())
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
	assert.Contains(t, said[0], "extra.yaml: A file of targets has mistakes: ")
}

func TestWhatTheConfigurationHasIsRefusedInAFile(t *testing.T) {
	const refused = "has the same attributes too as a target that there is already, so that the two could not be told apart; remove one, or give it other attributes"
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
	assert.Equal(t, int64(3), r.wrong())
	said := strings.Join(r.said(), "\n")
	for i, name := range map[int]string{0: "a:1", 2: "a:1", 3: "b:1"} {
		assert.Contains(t, said, fmt.Sprintf("entry %d: endpoint: %q %s", i, name, refused))
	}
	r.put(t, "t.yaml", "[{endpoint: 'b:1', certificate_types: [ecdsa]}]")
	assert.Len(t, r.targets(), 1, "what was refused with its neighbour is free again")
}

func TestWhatStandsInTheWayOfAnEntryMayGo(t *testing.T) {
	r := readingOf(t, "", "one.yaml", "two.yaml")
	r.put(t, "one.yaml", "[a:1]")
	r.put(t, "two.yaml", "[{endpoint: 'a:1', timeout: 5s}]")
	assert.Equal(t, int64(1), r.wrong())
	assert.Equal(t, 10*time.Second, r.named()["a:1"].Timeout)
	r.put(t, "one.yaml", "[]")
	r.read() // at the latest
	require.Len(t, r.targets(), 1)
	assert.Equal(t, 5*time.Second, r.named()["a:1"].Timeout)
	assert.Zero(t, r.wrong())
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
		attempt = time.Since(began) >= lookEvery
		if attempt {
			continue
		}
		assert.Equal(t, "a:1", first)
		assert.False(t, changed)
		assert.Equal(t, "a:1", second)

		at := time.Now().Add(-lookEvery)
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
	assert.LessOrEqual(t, len(r.builder.blocks), 3, "of the defaults, of now, and of the last time")
	assert.Equal(t, "name-19", r.targets()[0].ServerName())
}

func TestTargetsOfFilesShareTheirTLSWithOthers(t *testing.T) {
	ca := caFile(t)
	cfg, err := configure(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: 'a:1'}], target_files: [t.yaml]}", ca))
	require.NoError(t, err)
	b := newBuilder(zap.NewNop())
	configured, err := cfg.build(b)
	require.NoError(t, err)
	f := &targetFiles{defaults: &cfg.TargetDefaults, builder: b}
	made, err := f.make(map[string]any{"endpoint": "b:1"})
	require.NoError(t, err)
	assert.Same(t, configured[0].Settings(), made[0].Settings())
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
	assert.Equal(t, int64(2), r.wrong())
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
		assert.NotZero(t, r.wrong(), group)
		assert.Contains(t, r.names(), "b:1")
	}
}

func TestEntriesThatLookAlikeAreNotTheSame(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	r.put(t, "t.yaml", `[{endpoint: "a:1", attributes: {a: "1 b:2"}}, {endpoint: "a:1", attributes: {a: "1", b: "2"}}]`)
	assert.Len(t, r.targets(), 2)
	assert.Zero(t, r.wrong())
	assert.True(t, r.put(t, "t.yaml", `[{endpoint: "c:1", alpn: [a b]}]`))
	assert.True(t, r.put(t, "t.yaml", `[{endpoint: "c:1", alpn: [a, b]}]`))
}

// A wrong one must not pass for the right one before it.
func TestTLSBlocksThatLookAlikeAreNotTheSame(t *testing.T) {
	_, err := configure(t, `{targets: [{endpoint: "a:1", tls: {curve_preferences: [P256, P384]}}, {endpoint: "b:1", tls: {curve_preferences: [P256 P384]}}]}`)
	assert.ErrorContains(t, err, `targets::1::tls::curve_preferences: "P256 P384" is not known`)
}

// A tls block that could not be used once is looked at again with the next entry that has it.
func TestEntryIsTakenOnceItsCertificateIsThere(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	ca := filepath.Join(r.dir, "ca.pem")
	entry := fmt.Sprintf("[{endpoint: 'a:1', tls: {ca_file: %q}}]", ca)
	r.put(t, "t.yaml", entry)
	assert.Equal(t, int64(1), r.wrong())
	write(t, ca, root.PEM())
	r.put(t, "t.yaml", entry)
	assert.Equal(t, "a:1", r.names())
	assert.Zero(t, r.wrong())
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
	assert.NotZero(t, r.wrong())
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
		assert.Equal(t, int64(1), r.wrong())
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
		assert.Equal(t, int64(250), r.wrong())
		assert.False(t, r.read())
	}
	assert.Len(t, r.said(), 1)
}

func TestFileWithoutTargetsIsRightAgainToo(t *testing.T) {
	for _, bad := range []string{"nonsense: [", "[bad]"} {
		r := readingOf(t, "", "t.yaml")
		r.put(t, "t.yaml", bad)
		assert.Equal(t, int64(1), r.wrong())
		r.put(t, "t.yaml", "[]")
		assert.Zero(t, r.wrong(), bad)
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
		assert.NotZero(t, r.wrong())
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
	assert.Zero(t, r.wrong())
	said := r.said()
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "right again")
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
		for _, tt := range r.targets() {
			assert.NotNil(t, tt.Settings())
			assert.True(t, tt.Endpoint.Port > 0 || tt.Files.Pattern != "")
		}
		assert.Equal(t, len(r.said()) > 0, r.wrong() > 0)
		assert.False(t, r.read(), "nothing has changed")
	})
}

// replace replaces a file by renaming, so that it is never seen half-written.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".tmp", []byte(text))
	require.NoError(t, os.Rename(path+".tmp", path))
}

// wrongIs waits until the receiver says that so much is wrong with its target files.
func (p *pipeline) wrongIs(t *testing.T, want int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		m, err := p.tel.GetMetric("otelcol_tls_check_target_files_errors")
		if err != nil {
			return false
		}
		points := m.Data.(metricdata.Sum[int64]).DataPoints
		return len(points) == 1 && points[0].Value == want
	}, 30*time.Second, 20*time.Millisecond)
}

// counts are the points of a counter for the target that has this attribute n, in the order in which they came.
func (p *pipeline) counts(metric, n string) (counts []string) {
	for _, point := range p.points(metric) {
		if words := strings.Fields(point); slices.Contains(words, "n="+n) {
			counts = append(counts, words[len(words)-1])
		}
	}
	return counts
}

// probed waits until the target that has this attribute n was probed so often.
func (p *pipeline) probed(t *testing.T, n string, times int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(p.times(n)) >= times }, 30*time.Second, 20*time.Millisecond, n)
}

// times are when the target that has this attribute n was probed.
func (p *pipeline) times(n string) (times []time.Time) {
	for _, md := range p.metrics.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != "tls.probe.success" {
				continue
			}
			for _, point := range m.Gauge().DataPoints().All() {
				if v, _ := point.Attributes().Get("n"); v.AsString() == n {
					times = append(times, point.Timestamp().AsTime())
				}
			}
		}
	}
	return times
}

func TestTargetFilesAreReadAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.yaml")
	replace(t, path, "[a:1, b:1, bad]")
	p, stop := start(t, fmt.Sprintf("{initial_delay: 1h, targets: [{endpoint: 'a:1'}], target_files: [%q]}", path))
	warnings := p.log.FilterMessageSnippet("A file of targets has mistakes").All()
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0].Message, `entry 0: endpoint: "a:1" has the same attributes too`)
	assert.Contains(t, warnings[0].Message, `entry 2: endpoint: "bad" has no port`)
	p.wrongIs(t, 2)
	stop()
}

func TestTargetFilesTakeEffectWhileTargetsAreProbed(t *testing.T) {
	t.Parallel()
	s := farm(t, healthy())
	entry := func(n string) string { return fmt.Sprintf("- {endpoint: %q, attributes: {n: %s}}\n", s.Endpoint(), n) }
	path := filepath.Join(t.TempDir(), "t.yaml")
	replace(t, path, "[]")
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 1s, tls: {ca_file: %q}, target_files: [%q]}", caFile(t), path))
	p.wrongIs(t, 0)

	replace(t, path, entry("one")+entry("two"))
	p.probed(t, "one", 2)
	p.probed(t, "two", 2)

	replace(t, path, "nonsense: [")
	p.wrongIs(t, 1)
	replace(t, path, entry("one")+"- bad\n"+"- worse\n")
	p.wrongIs(t, 2)
	replace(t, path, entry("two")+entry("three"))
	p.wrongIs(t, 0)
	p.probed(t, "three", 2)
	replace(t, path, entry("one")+entry("two")+entry("four"))
	p.probed(t, "four", 2)
	stop()

	// All of the first life of one comes before the first of three, and it begins anew in its second.
	begin := slices.MinFunc(p.times("three"), time.Time.Compare)
	end := slices.MaxFunc(p.times("three"), time.Time.Compare)
	first := 0
	for _, at := range p.times("one") {
		if at.Before(begin) {
			first++
		}
		assert.True(t, at.Before(begin) || at.After(end), "%s is within %s and %s", at, begin, end)
	}
	counts := p.counts("tls.handshake.total", "one")
	require.Greater(t, len(counts), first)
	assert.Equal(t, "1", counts[first])
	assert.Equal(t, 2, p.log.FilterMessageSnippet("A file of targets has mistakes").Len())
	assert.Equal(t, 1, p.log.FilterMessageSnippet("A file of targets is right again").Len())
}

func TestChangedTargetKeepsItsCounters(t *testing.T) {
	t.Parallel()
	s := farm(t, healthy())
	path := filepath.Join(t.TempDir(), "t.yaml")
	entry := func(timeout string) string {
		return fmt.Sprintf("[{endpoint: %q, timeout: %s, attributes: {n: one}}, {endpoint: %q, attributes: {n: %q}}]", s.Endpoint(), timeout, s.Endpoint(), timeout)
	}
	replace(t, path, entry("4s"))
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 4s, tls: {ca_file: %q}, target_files: [%q]}", caFile(t), path))
	p.probed(t, "one", 1)
	replace(t, path, entry("3s"))
	p.probed(t, "3s", 1)
	p.probed(t, "one", 2)
	stop()
	assert.Equal(t, []string{"1", "2"}, p.counts("tls.handshake.total", "one")[:2])
}

// A probe may be under way when its target is taken out.
func TestNothingFollowsTheEndOfATarget(t *testing.T) {
	targets := build(t, `targets: [{endpoint: "a:1"}, {endpoint: "b:1"}]`)
	a, b := targets[0], targets[1]
	w := &work{plan: &schedule.Schedule{}, watch: watch.New(nil, nil), prober: &probe.Prober{}, outcomes: make(chan *probe.Outcome, 10)}
	w.set(targets)
	assert.True(t, w.send(&probe.Outcome{Target: a}))
	assert.Same(t, a, (<-w.outcomes).Target)

	w.set([]*target.Target{b})
	require.Len(t, w.outcomes, 1)
	gone := <-w.outcomes
	assert.True(t, gone.Gone)
	assert.Same(t, a, gone.Target)
	assert.Nil(t, gone.File)
	assert.False(t, gone.Start.IsZero())
	assert.False(t, w.send(&probe.Outcome{Target: a}))
	assert.True(t, w.send(&probe.Outcome{Target: b}))
	assert.Same(t, b, (<-w.outcomes).Target)
	assert.Empty(t, w.outcomes)

	w.set(targets)
	assert.True(t, w.send(&probe.Outcome{Target: a}))
}

func TestWhatWasFoundOfATargetThatIsGoneIsForgotten(t *testing.T) {
	s := farm(t, healthy())
	targets := build(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: %q}]}", caFile(t), s.Endpoint()))
	w := &work{plan: &schedule.Schedule{}, watch: watch.New(nil, nil), prober: &probe.Prober{}, outcomes: make(chan *probe.Outcome, 10)}
	w.set(targets)
	for _, remembered := range []bool{false, true} {
		assert.Equal(t, remembered, w.prober.Probe(t.Context(), targets[0]).Handshake.Remembered)
	}
	w.set(nil)
	assert.False(t, w.prober.Probe(t.Context(), targets[0]).Handshake.Remembered)
}

func TestGoneFileLeavesTheLogAndTheStatus(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t.yaml")
	refused := tlsfarm.Refused()
	replace(t, path, fmt.Sprintf("[%q]", refused))
	cfg, err := configure(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 1s, target_files: [%q]}", path))
	require.NoError(t, err)
	factory := NewFactory()
	r, err := factory.CreateMetrics(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, consumertest.NewNop())
	require.NoError(t, err)
	host := &statusHost{Host: componenttest.NewNopHost()}
	require.NoError(t, r.Start(t.Context(), host))
	failing := fmt.Sprintf("StatusRecoverableError 1 failing: %s (connection_refused)", refused)
	for i, list := range []string{"[]", fmt.Sprintf("[%q]", refused)} {
		require.Eventually(t, func() bool { return len(host.seen()) > i }, 30*time.Second, 20*time.Millisecond)
		replace(t, path, list)
	}
	require.Eventually(t, func() bool { return len(host.seen()) > 2 }, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Equal(t, []string{failing, "StatusOK", failing}, host.seen()[:3])
}

func TestShardsProbeEachTargetOnceBetweenThem(t *testing.T) {
	t.Parallel()
	const configured, inFiles = 15, 15
	s := farm(t, healthy())
	entries := func(from, n int) string {
		var b strings.Builder
		for i := from; i < from+n; i++ {
			fmt.Fprintf(&b, "- {endpoint: %q, attributes: {n: \"%d\"}}\n", s.Endpoint(), i)
		}
		return b.String()
	}
	path := filepath.Join(t.TempDir(), "t.yaml")
	replace(t, path, entries(configured, inFiles))
	probed := map[string]int{}
	var pipelines []*pipeline
	var stops []func()
	for index := range 2 {
		p, stop := start(t, fmt.Sprintf("initial_delay: 0s\nshard: {index: %d, count: 2}\ntls: {ca_file: %q}\ntarget_files: [%q]\ntargets:\n%s",
			index, caFile(t), path, entries(0, configured)))
		pipelines, stops = append(pipelines, p), append(stops, stop)
	}
	success := func() (points []string) {
		for _, p := range pipelines {
			points = append(points, p.points("tls.probe.success")...)
		}
		return points
	}
	require.Eventually(t, func() bool { return len(success()) >= configured+inFiles }, 30*time.Second, 20*time.Millisecond)
	for _, stop := range stops {
		stop()
	}
	for _, point := range success() {
		probed[point]++
	}
	assert.Len(t, probed, configured+inFiles)
	for point, n := range probed {
		assert.Equal(t, 1, n, point)
	}
	for _, p := range pipelines {
		assert.NotEmpty(t, p.points("tls.probe.success"), "by chance once in 500 million times")
	}
}
