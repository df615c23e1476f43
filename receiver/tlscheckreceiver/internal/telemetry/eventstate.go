package telemetry

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const (
	// maxRecent is for how many probes a leaf is remembered: servers behind one address may take turns with theirs.
	maxRecent = 10
	// This many announcements are remembered of a place, and of the receiver's own certificates. There are more only where
	// one file has more certificates to announce.
	maxAnnounced    = 64
	maxAnnouncedOwn = 1000
)

// eventState is what events must know of a place's probes so far. A storage keeps it over a restart of the collector.
type eventState struct {
	Failing   *failing `json:"failing,omitempty"` // nil while the place does not fail
	Leaf      *leaf    `json:"leaf,omitempty"`    // the latest; nil where none was seen yet
	Recent    []uint64 `json:"recent,omitempty"`  // the leaves of the last few probes that saw one, the latest last
	Announced []uint64 `json:"told,omitempty"`    // digests of what is announced only once

	changed bool // since it was last stored
	asked   int  // how often announced was called since then
}

// failing is what was announced of a failure.
type failing struct {
	Since time.Time `json:"since"`
	Type  string    `json:"type"`
}

// leaf is a certificate as events describe it and compare the next one with it.
type leaf struct {
	SHA256    string    `json:"sha256"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"` // the whole distinguished name
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Names     []string  `json:"names"` // the first attributes.MaxSANs
	// Digests of what the above is cut from, and of the key.
	Authority uint64 `json:"issuer_digest"`
	NameSet   uint64 `json:"names_digest"`
	Key       uint64 `json:"key_digest"`

	issuer, serial string // as in attributes; not stored
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
	clean := func(s string) string { return text.Clean(s, attributes.MaxName) }
	d := &leaf{
		SHA256:  attributes.Hex(attributes.Fingerprint(c)),
		Subject: clean(certs.SubjectName(c)), Issuer: clean(c.Issuer.String()),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		Authority: digest(string(c.RawIssuer)), NameSet: digest(names...), Key: digest(string(c.RawSubjectPublicKeyInfo)),
		issuer: clean(certs.IssuerName(c)), serial: attributes.Serial(c),
	}
	for _, n := range names[:min(len(names), attributes.MaxSANs)] {
		d.Names = append(d.Names, clean(n))
	}
	return d
}

// see remembers the leaf of a probe, and reports whether one of the last few probes saw it too.
func (s *eventState) see(sum [32]byte, window int) (known bool) {
	id := binary.BigEndian.Uint64(sum[:])
	known = slices.Contains(s.Recent, id)
	s.Recent = append(s.Recent, id)
	drop := max(0, len(s.Recent)-window)
	for _, old := range s.Recent[:drop] {
		s.changed = s.changed || !slices.Contains(s.Recent[drop:], old)
	}
	s.Recent = slices.Delete(s.Recent, 0, drop)
	s.changed = s.changed || !known
	return known
}

// announced reports whether this was announced before, and remembers that it is announced now.
func (s *eventState) announced(what ...string) bool {
	s.asked++
	id := digest(what...)
	i := slices.Index(s.Announced, id)
	if i < 0 {
		s.Announced, s.changed = append(s.Announced, id), true
		return false
	}
	s.Announced = append(slices.Delete(s.Announced, i, i+1), id) // what is still asked for is dropped last
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
