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
	// maxRecent is for how many probes a leaf is remembered: servers behind one address may serve different ones in turn.
	maxRecent = 10
	// maxAnnounced is how many announcements are remembered for a place, and maxAnnouncedClient for all client certificates.
	// More are remembered only if one outcome has more of them, as that of a file with many certificates.
	maxAnnounced       = 64
	maxAnnouncedClient = 1000
)

// eventState is what events need to know about the earlier probes of a place. A storage keeps it across restarts. The client
// certificates of the receiver share another one, which uses only Announced.
type eventState struct {
	Failing   *failing     `json:"failing,omitempty"` // nil if the last probe succeeded
	Leaf      *description `json:"leaf,omitempty"`    // of the last probe that saw one; nil if none has
	Recent    []uint64     `json:"recent,omitempty"`  // the leaves of the last maxRecent probes that saw one, oldest first
	Announced []uint64     `json:"told,omitempty"`    // digests of announcements that are made only once, least recently used first

	key     string // under which it is stored
	changed bool   // since put
	used    int    // how many announcements were looked up since put
}

// failing is the failure that was announced last.
type failing struct {
	Since time.Time `json:"since"` // when the place began to fail, perhaps with another type
	Type  string    `json:"type"`
}

// description is what events say about a certificate, and what the next certificate is compared with.
type description struct {
	SHA256    string    `json:"sha256"`
	Subject   string    `json:"subject"`
	IssuerDN  string    `json:"issuer"` // the whole distinguished name
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Names     []string  `json:"names"` // the first attributes.MaxSANs in alphabetical order, in lower case
	// Texts are cleaned and shortened above, so the originals are compared by these.
	IssuerDigest uint64 `json:"issuer_digest"`
	NamesDigest  uint64 `json:"names_digest"`
	KeyDigest    uint64 `json:"key_digest"`

	issuer, serial string // the values of the attributes; not stored
}

func describe(c *x509.Certificate) *description {
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
	d := &description{
		SHA256:       attributes.Hex(attributes.Fingerprint(c)),
		Subject:      clean(certs.SubjectName(c)),
		IssuerDN:     clean(certs.IssuerDN(c)),
		NotBefore:    c.NotBefore,
		NotAfter:     c.NotAfter,
		IssuerDigest: digest(string(c.RawIssuer)),
		NamesDigest:  digest(names...),
		KeyDigest:    digest(string(c.RawSubjectPublicKeyInfo)),
		issuer:       clean(certs.IssuerName(c)),
		serial:       attributes.Serial(c),
	}
	for _, n := range names[:min(len(names), attributes.MaxSANs)] {
		d.Names = append(d.Names, clean(n))
	}
	return d
}

// addRecent adds a leaf to the last window ones, and reports whether it was among them before.
func (s *eventState) addRecent(fingerprint [32]byte, window int) (known bool) {
	id := binary.BigEndian.Uint64(fingerprint[:])
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

// announce reports whether something has not been announced yet, and remembers it as announced. The strings identify it.
func (s *eventState) announce(what ...string) bool {
	s.used++
	id := digest(what...)
	i := slices.Index(s.Announced, id)
	if i < 0 {
		s.Announced, s.changed = append(s.Announced, id), true
		return true
	}
	s.Announced = append(slices.Delete(s.Announced, i, i+1), id)
	return false
}

func digest(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p))) // writing to a hash never fails
		_, _ = h.Write([]byte(p))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
