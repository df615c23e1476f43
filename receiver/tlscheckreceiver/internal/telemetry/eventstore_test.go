package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// fakeStorage is a storage.Client that keeps everything in a map.
type fakeStorage struct {
	data        map[string][]byte
	gets, calls int
	fail        error
	hang        bool
}

func newFakeStorage() *fakeStorage { return &fakeStorage{data: make(map[string][]byte)} }

func (f *fakeStorage) called(ctx context.Context) error {
	f.calls++
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.fail
}

func (f *fakeStorage) Get(ctx context.Context, key string) ([]byte, error) {
	f.gets++
	return f.data[key], f.called(ctx)
}

func (f *fakeStorage) Set(context.Context, string, []byte) error { panic("not a batch") }
func (f *fakeStorage) Delete(context.Context, string) error      { panic("not a batch") }
func (f *fakeStorage) Close(context.Context) error               { panic("the receiver closes it") }

func (f *fakeStorage) Batch(ctx context.Context, ops ...*storage.Operation) error {
	if err := f.called(ctx); err != nil {
		return err
	}
	for _, op := range ops {
		switch op.Type {
		case storage.Set:
			f.data[op.Key] = op.Value
		case storage.Delete:
			delete(f.data, op.Key)
		default:
			panic("unexpected")
		}
	}
	return nil
}

func TestRestartAnnouncesNothingTwice(t *testing.T) {
	now := time.Now()
	all := allKindsOfEvents(now)
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	first := r.eventNames(all...)
	for _, name := range []string{
		"tls.endpoint.failing", "tls.certificate.changed", "tls.certificate.expiring_soon", "tls.certificate.expired",
		"tls.certificate.file_mismatch", "tls.client_certificate.expiring_soon", "tls.client_certificate.expired",
		"tls.endpoint.certificates_differ",
	} {
		assert.Contains(t, first, name)
	}
	again := all[2:]
	assert.Equal(t, []string{"tls.endpoint.recovered", "tls.endpoint.failing"}, r.eventNames(again...))
	assert.Len(t, fake.data, 4, "an endpoint, two files, and the client certificates")

	// An event follows only if the error is another one.
	r = newTestRecorder(t, fake)
	r.noEvents(all[4], all[4], all[5], all[6])
	assert.Equal(t, 8, fake.gets, "each key is read once by each recorder")
	e := r.event("tls.endpoint.failing", failureAt(now.Add(time.Hour), failure.ConnectionTimeout))
	assert.Contains(t, e.body, "connect")

	// Recovered while the collector was down.
	r = newTestRecorder(t, fake)
	e = r.event("tls.endpoint.recovered", all[2])
	assert.Equal(t, now.UTC().Format(time.RFC3339), e.attributes["tls.probe.failing_since"], "before the restart")
	assert.Equal(t, "connection_timeout", e.attributes["error.type"])
	r.noEvents(all[2], all[2], all[0], all[2])

	// Replaced while the collector was down.
	r = newTestRecorder(t, fake)
	for range maxRecent { // the other leaf is forgotten
		r.noEvents(all[2])
	}
	r = newTestRecorder(t, fake)
	renewed := issue(tlsfarm.Names("localhost", "new.example"))
	e = r.event("tls.certificate.changed", handshakeAt(now, renewed))
	assert.Equal(t, []any{"names", "key"}, e.attributes["certificate.change"])
	assert.Contains(t, e.body, "Names added: new.example.")
	assert.Equal(t, fmt.Sprintf("%X", attributes.Fingerprint(probe.Leaf(all[2]))), e.attributes["certificate.previous.sha256"])
	assert.Equal(t, probe.Leaf(all[2]).NotAfter.UTC().Format(time.RFC3339), e.attributes["certificate.previous.not_after"])
	newTestRecorder(t, fake).noEvents(handshakeAt(now, renewed))

	e = newTestRecorder(t, fake).event("tls.certificate.changed", fileAt(now, "/etc/ssl/mail.pem", renewed))
	assert.Equal(t, "/etc/ssl/mail.pem", e.attributes["certificate.path"])
}

func TestRestartWithAlternatingCertificates(t *testing.T) {
	now := time.Now()
	a, b := handshakeAt(now, issue()), handshakeAt(now, issue())
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	r.record(a, b)
	calls := fake.calls
	for range 3 {
		r.noEvents(a, b, a, a, a, a, a)
	}
	assert.Equal(t, calls, fake.calls, "the order of leaves is not written")
	var stored struct{ Recent []uint64 }
	require.NoError(t, json.Unmarshal(fake.data[storageKey(mail.Place())], &stored))
	assert.Len(t, stored.Recent, 2)
	for _, last := range []probe.Outcome{a, b} {
		r.noEvents(last)
		r = newTestRecorder(t, fake)
		r.noEvents(a, a, a, a, b)
		r = newTestRecorder(t, fake)
		r.noEvents(b, b, b, b, a)
	}
	for range 12 {
		r.noEvents(a)
	}
	assert.Equal(t, []string{"tls.certificate.changed"}, newTestRecorder(t, fake).eventNames(b), "b was not served for ten probes")
}

func TestUnchangedStateIsNotWritten(t *testing.T) {
	fake := newFakeStorage()
	r, now := newTestRecorder(t, fake), time.Now()
	all := allKindsOfEvents(now)
	r.record(all...)
	r.record(all[4:]...)
	calls := fake.calls
	for range 20 {
		r.noEvents(all[4:]...)
	}
	assert.Equal(t, calls, fake.calls)
	r = newTestRecorder(t, fake)
	r.noEvents(all[4:]...)
	assert.Equal(t, calls+4, fake.calls, "it only reads")
}

func TestInvalidStoredState(t *testing.T) {
	c := issue()
	for name, data := range map[string]string{
		"garbage":      "\x00garbage",
		"another type": `{"leaf": 5}`,
		"too large":    `{"told": [` + strings.Repeat("1,", maxStored) + `1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			fake := newFakeStorage()
			fake.data[storageKey(mail.Place())] = []byte(data)
			fake.data[storageKey(target.Place{TargetID: mail.ID, Path: "/a"})] = []byte(data)
			fake.data[clientCertsKey] = []byte(data)
			r := newTestRecorder(t, fake)
			o := failureAt(time.Now(), failure.ConnectionRefused)
			o.ClientCert = issue(tlsfarm.Validity(-2*day, -day))
			assert.Equal(t, []string{"tls.endpoint.failing", "tls.client_certificate.expired"}, r.eventNames(o, fileAt(o.End, "/a", c)))
			require.Equal(t, 1, r.log.Len(), "logged once")
			assert.Contains(t, r.log.All()[0].Message, "storage")
			newTestRecorder(t, fake).noEvents(o) // a valid state replaced it
		})
	}
	for name, data := range map[string]string{
		"empty object": `{}`, "null": `null`, "nothing": ``,
		"too many leaves": `{"recent": [1,2,3,4,5,6,7,8,9,10,11,12,13]}`,
	} {
		t.Run(name, func(t *testing.T) {
			fake := newFakeStorage()
			fake.data[storageKey(mail.Place())] = []byte(data)
			r := newTestRecorder(t, fake)
			assert.LessOrEqual(t, len(r.store.load(t.Context(), storageKey(mail.Place())).Recent), maxRecent)
			r.noEvents(handshakeAt(time.Now(), c))
			assert.Zero(t, r.log.Len())
		})
	}
	// A leaf that is not among the recent ones.
	seen, err := json.Marshal(&eventState{Leaf: describe(c)})
	require.NoError(t, err)
	fake := newFakeStorage()
	fake.data[storageKey(mail.Place())] = seen
	newTestRecorder(t, fake).noEvents(handshakeAt(time.Now(), c))

	// Valid JSON that the recorder would not have written.
	fake = newFakeStorage()
	stored, err := json.Marshal(hostileState(strings.Repeat("\x1b", 9000)))
	require.NoError(t, err)
	fake.data[storageKey(mail.Place())] = stored
	for _, e := range newTestRecorder(t, fake).events(handshakeAt(time.Now(), c)) {
		assertClean(t, e)
	}
}

func hostileState(text string) *eventState {
	return &eventState{Failing: &failing{Type: text}, Leaf: &description{SHA256: text, Subject: text, IssuerDN: text, Names: []string{text, text}}}
}

func TestFailingStorage(t *testing.T) {
	fake := newFakeStorage()
	fake.fail = errors.New("disk full")
	r, now := newTestRecorder(t, fake), time.Now()
	bad := failureAt(now, failure.ConnectionRefused)
	assert.Equal(t, []string{"tls.endpoint.failing"}, r.eventNames(bad))
	r.noEvents(bad)
	assert.Equal(t, []string{"tls.certificate.expired"}, r.eventNames(fileAt(now, "/a", issue(tlsfarm.Validity(-2*day, -day)))))
	require.Equal(t, 1, r.log.Len(), "logged once")
	assert.Equal(t, "disk full", r.log.All()[0].ContextMap()["error"])
	assert.Empty(t, fake.data)

	fake.fail = nil
	r.noEvents(bad)
	assert.Empty(t, r.store.pending)
	assert.Len(t, fake.data, 2, "what failed to be written before")
	newTestRecorder(t, fake).noEvents(bad)
}

func TestStateThatCannotBeWritten(t *testing.T) {
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	c := *issue()
	r.noEvents(handshakeAt(time.Now(), &c))
	c.NotAfter = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // JSON has no such year
	c.Raw = []byte("another")
	assert.Equal(t, []string{"tls.certificate.changed"}, r.eventNames(handshakeAt(time.Now(), &c)))
	assert.Equal(t, 1, r.log.Len())
	assert.Len(t, fake.data, 1, "the old state is kept")
}

// A storage that hangs delays the telemetry once, not for each probe.
func TestHangingStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeStorage()
		fake.hang = true
		r, begin := newTestRecorder(t, fake), time.Now()
		bad := failureAt(begin, failure.ConnectionRefused)
		assert.Equal(t, []string{"tls.endpoint.failing"}, r.eventNames(bad))
		r.noEvents(bad, fileAt(begin, "/a", issue()))
		assert.Equal(t, storageTimeout, time.Since(begin))
		assert.Equal(t, 1, fake.calls)
		assert.Equal(t, 1, r.log.Len())

		fake.hang = false
		r = newTestRecorder(t, fake)
		r.record(bad)
		fake.hang, fake.calls = true, 0
		begin = time.Now()
		assert.Len(t, r.events(failureAt(begin, failure.ConnectionTimeout)), 1)
		assert.Len(t, r.events(failureAt(begin, failure.ConnectionRefused)), 1)
		assert.Empty(t, r.store.pending)
		assert.Equal(t, storageTimeout, time.Since(begin))
		assert.Equal(t, 1, fake.calls)
	})
}

func TestGonePlaceIsDeleted(t *testing.T) {
	now := time.Now()
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	second := *mail
	second.ID = "second"
	bad, other := failureAt(now, failure.ConnectionRefused), failureAt(now, failure.ConnectionRefused)
	withTarget(&second, other)
	a, b := fileAt(now, "/a", issue()), fileAt(now, "/b", issue())
	r.record(bad, other, a, b)
	assert.Len(t, fake.data, 4)

	r.noEvents(gone(mail, "/a"))
	assert.Len(t, fake.data, 3)
	assert.Len(t, r.places, 3)
	r.noEvents(bad, b, fileAt(now, "/a", issue())) // a new file has no previous certificate
	assert.Len(t, fake.data, 4)

	r.noEvents(gone(mail, "/a"), gone(mail, "/b"), gone(mail, ""))
	assert.Len(t, fake.data, 1)
	assert.Len(t, r.places, 1)
	r.noEvents(other)
	assert.Equal(t, []string{"tls.endpoint.failing"}, r.eventNames(bad), "a new place")

	// It is deleted even if it was not probed since the restart.
	r = newTestRecorder(t, fake)
	r.noEvents(gone(mail, ""), gone(&second, ""))
	assert.Empty(t, fake.data)
	assert.Empty(t, r.places)
	// Gone and back between two flushes.
	r.record(bad)
	assert.Equal(t, []string{"tls.endpoint.failing"}, r.eventNames(gone(mail, ""), bad))
	assert.Len(t, fake.data, 1)
	r.noEvents(gone(mail, "/a"), bad)
	assert.Len(t, fake.data, 1)
}

// A target whose settings change keeps its ID and its state.
func TestTargetWithNewSettings(t *testing.T) {
	now := time.Now()
	changed := *mail
	changed.Timeout++
	old, other := failureAt(now, failure.ConnectionRefused), failureAt(now, failure.ConnectionRefused)
	withTarget(&changed, other)
	fake := newFakeStorage()
	r := newTestRecorder(t, fake)
	r.record(old)
	r.noEvents(other)
	newTestRecorder(t, fake).noEvents(other)
	r.noEvents(gone(&changed, ""))
	assert.Empty(t, fake.data)
}

func TestStorageKey(t *testing.T) {
	key := func(id, path, peer string) string {
		at := target.Place{TargetID: id, Path: path}
		if peer != "" {
			at.Peer = netip.MustParseAddrPort(peer)
		}
		return storageKey(at)
	}
	const peer = "192.0.2.1:443"
	assert.Equal(t, key("a", "b", peer), key("a", "b", peer))
	all := []string{
		key("a", "b", ""), key("b", "a", ""), key("ab", "", ""), key("", "ab", ""), key("a", "\x00b", ""), key("a", `" "`, ""), key(`a" "`, "", ""),
		key("a", "", peer), key("a", peer, ""), key("a "+peer, "", ""),
	}
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(all))), len(all))
	assert.Regexp(t, "^place_[0-9a-f]{32}$", key(strings.Repeat("\xff", 5000), "\x00", ""), "valid in any storage")
}

func TestNoStorage(t *testing.T) {
	r := newTestRecorder(t, nil)
	r.record(allKindsOfEvents(time.Now())...)
	assert.Empty(t, r.store.pending)
}
