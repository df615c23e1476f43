package telemetry

import (
	"context"
	"crypto/x509"
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

// What is remembered stays small, whatever a server comes up with.
func TestMemoryIsBounded(t *testing.T) {
	memory := newFakeStorage()
	d, now := newDesk(t, memory), time.Now()
	for i := range 3 * maxAnnounced {
		c := *issue(tlsfarm.Validity(-2*day, -day))
		c.Raw = fmt.Appendf(nil, "%d", i) // a new one at each probe
		d.after(at(now, &c))
	}
	m := d.state[mail.Place()].events
	assert.Len(t, m.Announced, maxAnnounced)
	assert.Len(t, m.Recent, maxRecent)
	for _, data := range memory.data {
		assert.Less(t, len(data), 4096)
	}

	// What is asked for again and again does not make room for what is not.
	const path = "/etc/ssl/keystore.p12"
	stays := issue(tlsfarm.Validity(-2*day, -day))
	assert.Len(t, d.after(file(now, path, stays)), 1)
	for i := range 2 * maxAnnounced {
		c := *stays
		c.Raw = fmt.Appendf(nil, "%d", i)
		assert.Len(t, d.after(file(now, path, stays, &c)), 1)
	}
	assert.Len(t, d.state[target.Place{TargetID: mail.ID, Path: path}].events.Announced, maxAnnounced)

	c := *issue()
	c.Issuer.CommonName = strings.Repeat("\xff", 500_000)
	for i := range 5000 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d%s", i, strings.Repeat("\xff", 5000)))
	}
	d.after(at(now, &c))
	assert.LessOrEqual(t, len(d.state[mail.Place()].events.Leaf.Names), attributes.MaxSANs)
	for _, data := range memory.data {
		assert.Less(t, len(data), 64<<10)
	}
}

// fakeStorage is a map, as storage.Client asks for one.
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

func (f *fakeStorage) Set(context.Context, string, []byte) error { panic("all at once, please") }
func (f *fakeStorage) Delete(context.Context, string) error      { panic("all at once, please") }
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

// everything are outcomes of all that there are events of.
func everything(now time.Time) []probe.Outcome {
	old, soon := issue(tlsfarm.Validity(-2*day, -day)), issue(tlsfarm.Validity(-day, day))
	own := ca.Issue("collector", tlsfarm.Validity(-day, day)).Leaf
	late := ca.Issue("collector", tlsfarm.Validity(-2*day, -day)).Leaf
	var all []probe.Outcome
	for _, c := range []*x509.Certificate{old, old, soon, soon} {
		o := at(now, c)
		o.ClientCert = own
		o.Handshake.OnDisk = []probe.OnDisk{{Path: "/etc/ssl/mail.pem", Since: now}}
		all = append(all, o)
	}
	bad := failed(now, failure.ConnectionRefused)
	bad.ClientCert = late
	bad.Pool = &probe.Pool{Peers: []probe.PoolPeer{{Leaf: old}, {Leaf: soon}}}
	missing := file(now, "/etc/ssl/x.pem")
	missing.Failure = bad.Failure
	return append(all, bad, missing, file(now, "/etc/ssl/mail.pem", old))
}

func TestRestartAnnouncesNothingTwice(t *testing.T) {
	now := time.Now()
	all := everything(now)
	memory := newFakeStorage()
	d := newDesk(t, memory)
	first := d.names(all...)
	for _, name := range []string{
		"tls.endpoint.failing", "tls.certificate.changed", "tls.certificate.expiring_soon", "tls.certificate.expired",
		"tls.certificate.file_mismatch", "tls.client_certificate.expiring_soon", "tls.client_certificate.expired",
		"tls.endpoint.certificates_differ",
	} {
		assert.Contains(t, first, name)
	}
	again := all[2:]
	healthy := d.names(again...) // recovered and failing again, and nothing else
	assert.Equal(t, []string{"tls.endpoint.recovered", "tls.endpoint.failing"}, healthy)
	assert.Len(t, memory.data, 4, "endpoint, two files, client certificates")

	// Failing still: nothing. With another error: that.
	d = newDesk(t, memory)
	d.nothing(all[4], all[4], all[5], all[6])
	assert.Equal(t, 4, memory.gets-4, "each place is read once")
	e := d.one("tls.endpoint.failing", failed(now.Add(time.Hour), failure.ConnectionTimeout))
	assert.Contains(t, e.body, "connect")

	// Recovered while the collector was down.
	d = newDesk(t, memory)
	e = d.one("tls.endpoint.recovered", all[2])
	assert.Equal(t, now.UTC().Format(time.RFC3339), e.attributes["tls.probe.failing_since"], "it began before the restart")
	assert.Equal(t, "connection_timeout", e.attributes["error.type"])
	d.nothing(all[2], all[2], all[0], all[2])

	// Replaced while the collector was down.
	d = newDesk(t, memory)
	for range maxRecent { // of the pool one is left
		d.nothing(all[2])
	}
	d = newDesk(t, memory)
	renewed := issue(tlsfarm.Names("localhost", "new.example"))
	e = d.one("tls.certificate.changed", at(now, renewed))
	assert.Equal(t, []any{"names", "key"}, e.attributes["certificate.change"])
	assert.Contains(t, e.body, "it has the new names new.example")
	assert.Equal(t, fmt.Sprintf("%X", attributes.Fingerprint(probe.Leaf(all[2]))), e.attributes["certificate.previous.sha256"])
	assert.Equal(t, probe.Leaf(all[2]).NotAfter.UTC().Format(time.RFC3339), e.attributes["certificate.previous.not_after"])
	newDesk(t, memory).nothing(at(now, renewed))

	e = newDesk(t, memory).one("tls.certificate.changed", file(now, "/etc/ssl/mail.pem", renewed))
	assert.Equal(t, "/etc/ssl/mail.pem", e.attributes["certificate.path"])
}

func TestRestartWithAPool(t *testing.T) {
	now := time.Now()
	a, b := at(now, issue()), at(now, issue())
	memory := newFakeStorage()
	d := newDesk(t, memory)
	d.after(a, b)
	calls := memory.calls
	for range 3 {
		d.nothing(a, b, a, a, a, a, a)
	}
	assert.Equal(t, calls, memory.calls, "what changes at each probe is not worth a write")
	var stored struct{ Recent []uint64 }
	require.NoError(t, json.Unmarshal(memory.data[storageKey(mail.Place())], &stored))
	assert.Len(t, stored.Recent, 2)
	for _, last := range []probe.Outcome{a, b} {
		d.nothing(last)
		d = newDesk(t, memory)
		d.nothing(a, a, a, a, b)
		d = newDesk(t, memory)
		d.nothing(b, b, b, b, a)
	}
	for range 12 {
		d.nothing(a)
	}
	assert.Equal(t, []string{"tls.certificate.changed"}, newDesk(t, memory).names(b), "b had been gone")
}

func TestNothingIsWrittenWhereNothingChanged(t *testing.T) {
	memory := newFakeStorage()
	d, now := newDesk(t, memory), time.Now()
	all := everything(now)
	d.after(all...)
	d.after(all[4:]...)
	calls := memory.calls
	for range 20 {
		d.nothing(all[4:]...)
	}
	assert.Equal(t, calls, memory.calls)
	d = newDesk(t, memory)
	d.nothing(all[4:]...)
	assert.Equal(t, calls+4, memory.calls, "reads alone")
}

func TestCorruptStorage(t *testing.T) {
	c := issue()
	for name, data := range map[string]string{
		"garbage":      "\x00garbage",
		"another type": `{"leaf": 5}`,
		"too large":    `{"told": [` + strings.Repeat("1,", maxStored) + `1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			memory := newFakeStorage()
			memory.data[storageKey(mail.Place())] = []byte(data)
			memory.data[storageKey(target.Place{TargetID: mail.ID, Path: "/a"})] = []byte(data)
			memory.data[ownCertsKey] = []byte(data)
			d := newDesk(t, memory)
			o := failed(time.Now(), failure.ConnectionRefused)
			o.ClientCert = issue(tlsfarm.Validity(-2*day, -day))
			assert.Equal(t, []string{"tls.endpoint.failing", "tls.client_certificate.expired"}, d.names(o, file(o.End, "/a", c)))
			require.Equal(t, 1, d.log.Len(), "told once")
			assert.Contains(t, d.log.All()[0].Message, "storage")
			newDesk(t, memory).nothing(o) // it was replaced by what can be read
		})
	}
	for name, data := range map[string]string{
		"empty object": `{}`, "null": `null`, "nothing": ``,
		"too many leaves": `{"recent": [1,2,3,4,5,6,7,8,9,10,11,12,13]}`,
	} {
		t.Run(name, func(t *testing.T) {
			memory := newFakeStorage()
			memory.data[storageKey(mail.Place())] = []byte(data)
			d := newDesk(t, memory)
			assert.LessOrEqual(t, len(d.eventStore.load(t.Context(), storageKey(mail.Place())).Recent), maxRecent)
			d.nothing(at(time.Now(), c))
			assert.Zero(t, d.log.Len())
		})
	}
	// A leaf that is remembered without having been seen of late.
	seen, err := json.Marshal(&eventState{Leaf: describe(c)})
	require.NoError(t, err)
	memory := newFakeStorage()
	memory.data[storageKey(mail.Place())] = seen
	newDesk(t, memory).nothing(at(time.Now(), c))

	// Valid, and yet no work of ours.
	memory = newFakeStorage()
	hostile := strings.Repeat("\x1b", 9000)
	stored, err := json.Marshal(stateOf(hostile))
	require.NoError(t, err)
	memory.data[storageKey(mail.Place())] = stored
	for _, e := range newDesk(t, memory).after(at(time.Now(), c)) {
		assertFit(t, e)
	}
}

func stateOf(text string) *eventState {
	return &eventState{Failing: &failing{Type: text}, Leaf: &leaf{SHA256: text, Subject: text, Issuer: text, Names: []string{text, text}}}
}

func TestFailingStorage(t *testing.T) {
	memory := newFakeStorage()
	memory.fail = errors.New("disk full")
	d, now := newDesk(t, memory), time.Now()
	bad := failed(now, failure.ConnectionRefused)
	assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(bad))
	d.nothing(bad)
	assert.Equal(t, []string{"tls.certificate.expired"}, d.names(file(now, "/a", issue(tlsfarm.Validity(-2*day, -day)))))
	require.Equal(t, 1, d.log.Len(), "told once")
	assert.Equal(t, "disk full", d.log.All()[0].ContextMap()["error"])
	assert.Empty(t, memory.data)

	memory.fail = nil // there is room again
	d.nothing(bad)
	assert.Empty(t, d.eventStore.pending)
	assert.Len(t, memory.data, 2, "what could not be written is")
	newDesk(t, memory).nothing(bad)
}

func TestStateThatCannotBeWritten(t *testing.T) {
	memory := newFakeStorage()
	d := newDesk(t, memory)
	c := *issue()
	d.nothing(at(time.Now(), &c))
	c.NotAfter = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // of which JSON has none
	c.Raw = []byte("another")
	assert.Equal(t, []string{"tls.certificate.changed"}, d.names(at(time.Now(), &c)))
	assert.Equal(t, 1, d.log.Len())
	assert.Len(t, memory.data, 1, "the former one is better than none")
}

// A storage that hangs holds up the telemetry once, and not at each probe.
func TestHangingStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := newFakeStorage()
		memory.hang = true
		d, begin := newDesk(t, memory), time.Now()
		bad := failed(begin, failure.ConnectionRefused)
		assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(bad))
		d.nothing(bad, file(begin, "/a", issue()))
		assert.Equal(t, storageTimeout, time.Since(begin))
		assert.Equal(t, 1, memory.calls)
		assert.Equal(t, 1, d.log.Len())

		memory.hang = false
		d = newDesk(t, memory)
		d.after(bad)
		memory.hang, memory.calls = true, 0
		begin = time.Now()
		assert.Len(t, d.after(failed(begin, failure.ConnectionTimeout)), 1)
		assert.Len(t, d.after(failed(begin, failure.ConnectionRefused)), 1)
		assert.Empty(t, d.eventStore.pending)
		assert.Equal(t, storageTimeout, time.Since(begin))
		assert.Equal(t, 1, memory.calls)
	})
}

func TestGone(t *testing.T) {
	now := time.Now()
	memory := newFakeStorage()
	d := newDesk(t, memory)
	second := *mail
	second.ID = "second"
	bad, other := failed(now, failure.ConnectionRefused), failed(now, failure.ConnectionRefused)
	of(&second, other)
	a, b := file(now, "/a", issue()), file(now, "/b", issue())
	d.after(bad, other, a, b)
	assert.Len(t, memory.data, 4)

	d.nothing(gone(mail, "/a"))
	assert.Len(t, memory.data, 3)
	assert.Len(t, d.state, 3)
	d.nothing(bad, b, file(now, "/a", issue())) // its first certificate is the first again
	assert.Len(t, memory.data, 4)

	d.nothing(gone(mail, "/a"), gone(mail, "/b"), gone(mail, ""))
	assert.Len(t, memory.data, 1)
	assert.Len(t, d.state, 1)
	d.nothing(other)
	assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(bad), "it is back, and new")

	// It is forgotten too where it was not probed since the restart, or only the storage knows of it.
	d = newDesk(t, memory)
	d.nothing(gone(mail, ""), gone(&second, ""))
	assert.Empty(t, memory.data)
	assert.Empty(t, d.state)
	// Gone and back before anything is written.
	d.after(bad)
	assert.Equal(t, []string{"tls.endpoint.failing"}, d.names(gone(mail, ""), bad))
	assert.Len(t, memory.data, 1)
	d.nothing(gone(mail, "/a"), bad)
	assert.Len(t, memory.data, 1)
}

// A target whose settings change keeps its ID, and with it what is remembered of it.
func TestChangedTarget(t *testing.T) {
	now := time.Now()
	changed := *mail
	changed.Timeout++
	old, other := failed(now, failure.ConnectionRefused), failed(now, failure.ConnectionRefused)
	of(&changed, other)
	memory := newFakeStorage()
	d := newDesk(t, memory)
	d.after(old)
	d.nothing(other)
	newDesk(t, memory).nothing(other)
	d.nothing(gone(&changed, ""))
	assert.Empty(t, memory.data)
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
	assert.Regexp(t, "^place_[0-9a-f]{32}$", key(strings.Repeat("\xff", 5000), "\x00", ""), "as any storage can have it")
}

func TestNoStorage(t *testing.T) {
	d := newDesk(t, nil)
	d.after(everything(time.Now())...)
	assert.Empty(t, d.eventStore.pending)
}
