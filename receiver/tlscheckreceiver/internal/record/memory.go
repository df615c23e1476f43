package record

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const (
	// maxRecent is for how many probes a leaf is known: servers behind one address may take turns with theirs.
	maxRecent = 10
	// So many announcements are remembered of a place, and of the receiver's own certificates; more only where there are
	// more at once, in a file.
	maxTold        = 64
	maxToldClients = 1000

	maxMemory = 1 << 20 // bytes of what is read from the storage
	// storageTimeout is how long a storage may hold up the telemetry, once.
	storageTimeout = 5 * time.Second
)

// memory is what events must know of a place's probes so far. It outlives the collector where there is a storage.
type memory struct {
	Failing *failing `json:"failing,omitempty"` // nil while in good health
	Leaf    *leaf    `json:"leaf,omitempty"`    // the latest; nil where none was seen yet
	Recent  []uint64 `json:"recent,omitempty"`  // the leaves of the last few probes that saw one, the latest last
	Told    []uint64 `json:"told,omitempty"`    // what was announced and is to be announced once

	changed bool // since it was kept
	asked   int  // how often told was asked since then
}

// failing is what was announced of a failure.
type failing struct {
	Since time.Time `json:"since"`
	Type  string    `json:"type"`
}

// leaf is a certificate as events tell of it, and as the one after it is compared with it.
type leaf struct {
	SHA256    string    `json:"sha256"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"` // the whole distinguished name
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Names     []string  `json:"names"` // at most maxSANs
	// Digests of what these are cut from, and of the key.
	Authority uint64 `json:"issuer_digest"`
	NameSet   uint64 `json:"names_digest"`
	Key       uint64 `json:"key_digest"`

	issuer, serial string // as in attributes; not kept
}

func describe(c *x509.Certificate) *leaf {
	names := certs.Names(c)
	if len(names) == 0 {
		names = []string{certs.SubjectName(c)}
	}
	for i, n := range names {
		names[i] = strings.ToLower(n)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	d := &leaf{
		SHA256:  hexadecimal(fingerprint(c)),
		Subject: text.Clean(certs.SubjectName(c), maxName), Issuer: text.Clean(c.Issuer.String(), maxName),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		Authority: digest(string(c.RawIssuer)), NameSet: digest(names...), Key: digest(string(c.RawSubjectPublicKeyInfo)),
		issuer: text.Clean(certs.IssuerName(c), maxName), serial: serial(c),
	}
	for _, n := range names[:min(len(names), maxSANs)] {
		d.Names = append(d.Names, text.Clean(n, maxName))
	}
	return d
}

// see keeps the leaf of a probe and tells whether one of the last few probes saw it too.
func (m *memory) see(sum [32]byte, window int) (known bool) {
	id := binary.BigEndian.Uint64(sum[:])
	known = slices.Contains(m.Recent, id)
	m.Recent = append(m.Recent, id)
	drop := max(0, len(m.Recent)-window)
	for _, old := range m.Recent[:drop] {
		m.changed = m.changed || !slices.Contains(m.Recent[drop:], old)
	}
	m.Recent = slices.Delete(m.Recent, 0, drop)
	m.changed = m.changed || !known
	return known
}

// told tells whether this was announced already, and takes it as announced from now on.
func (m *memory) told(what ...string) bool {
	m.asked++
	id := digest(what...)
	i := slices.Index(m.Told, id)
	if i < 0 {
		m.Told, m.changed = append(m.Told, id), true
		return false
	}
	m.Told = append(slices.Delete(m.Told, i, i+1), id) // what is asked for lies behind what may go
	return true
}

func digest(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p))) // a hash takes everything
		_, _ = h.Write([]byte(p))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

func hexadecimal(sum [32]byte) string { return fmt.Sprintf("%X", sum) }

// placeKey is where the memory of a place is stored. It is a hash, as paths are no keys for every storage.
func placeKey(t *target.Target, at place) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s", t.ID, at.path, at.peer))
	return fmt.Sprintf("place_%x", sum[:16])
}

// store keeps memories in the storage extension; where none is configured it does nothing. Whatever happens to it, events
// go on: at worst some of them are sent again after a restart.
type store struct {
	client  storage.Client // nil where none is configured, or it has not answered in time
	log     *zap.Logger
	told    bool              // whether its failure was
	pending map[string][]byte // what is to be written; nil for what is to be deleted
}

// load returns what is kept under a key, an empty memory where nothing is.
func (s *store) load(ctx context.Context, key string) *memory {
	data, waiting := s.pending[key]
	if !waiting && s.client != nil {
		s.call(ctx, func(ctx context.Context) (err error) {
			data, err = s.client.Get(ctx, key)
			return err
		})
	}
	m := &memory{}
	if len(data) == 0 {
		return m
	}
	err := errors.New("it is too large")
	if len(data) <= maxMemory {
		err = json.Unmarshal(data, m)
	}
	if err != nil {
		s.failed(fmt.Errorf("what is stored under %s cannot be read: %w", key, err))
		return &memory{}
	}
	m.Recent = m.Recent[max(0, len(m.Recent)-maxRecent):]
	return m
}

// keep sees to it that a memory is written at the next save, if it has changed.
func (s *store) keep(key string, m *memory, room int) {
	if m.asked > 0 {
		m.Told = slices.Delete(m.Told, 0, max(0, len(m.Told)-max(room, m.asked)))
	}
	changed := m.changed
	m.changed, m.asked = false, 0
	if !changed || s.client == nil {
		return
	}
	// How often a leaf was seen of late is not worth a write at each probe, nor is it to wear off while the collector is down.
	short := *m
	short.Recent = nil
	for i, id := range m.Recent {
		if !slices.Contains(m.Recent[i+1:], id) {
			short.Recent = append(short.Recent, id)
		}
	}
	data, err := json.Marshal(&short)
	if err != nil {
		s.failed(err)
		return
	}
	s.pending[key] = data
}

// forget sees to it that what is kept under a key is deleted at the next save.
func (s *store) forget(key string) {
	if s.client != nil {
		s.pending[key] = nil
	}
}

// save writes what waits to be written. What could not be is tried again at the next save.
func (s *store) save(ctx context.Context) {
	if s.client == nil || len(s.pending) == 0 {
		return
	}
	ops := make([]*storage.Operation, 0, len(s.pending))
	for key, data := range s.pending {
		if data == nil {
			ops = append(ops, storage.DeleteOperation(key))
		} else {
			ops = append(ops, storage.SetOperation(key, data))
		}
	}
	if s.call(ctx, func(ctx context.Context) error { return s.client.Batch(ctx, ops...) }) {
		clear(s.pending)
	}
}

// call lets the storage do something. One that does not answer in time is not asked again.
func (s *store) call(ctx context.Context, do func(context.Context) error) (ok bool) {
	limited, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	err := do(limited)
	if err == nil {
		return true
	}
	s.failed(err)
	if limited.Err() != nil {
		s.client = nil
		clear(s.pending)
	}
	return false
}

func (s *store) failed(err error) {
	if !s.told {
		s.log.Error("The storage of events fails. They are sent all the same, but some may be sent again after a restart. "+
			"Look after the extension that is named in storage.", zap.Error(err))
	}
	s.told = true
}
