package telemetry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/attributes"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// A server cannot make the state grow.
func TestEventStateIsBounded(t *testing.T) {
	fake := newFakeStorage()
	r, now := newTestRecorder(t, fake), time.Now()
	for i := range 3 * maxAnnounced {
		c := *issue(tlsfarm.Validity(-2*day, -day))
		c.Raw = fmt.Appendf(nil, "%d", i) // a new certificate at each probe
		r.record(handshakeAt(now, &c))
	}
	m := r.places[mail.Place()].events
	assert.Len(t, m.Announced, maxAnnounced)
	assert.Len(t, m.Recent, maxRecent)
	for _, data := range fake.data {
		assert.Less(t, len(data), 4096)
	}

	// The announcement that is used again and again is not forgotten.
	const path = "/etc/ssl/keystore.p12"
	unchanged := issue(tlsfarm.Validity(-2*day, -day))
	assert.Len(t, r.events(fileAt(now, path, unchanged)), 1)
	for i := range 2 * maxAnnounced {
		c := *unchanged
		c.Raw = fmt.Appendf(nil, "%d", i)
		assert.Len(t, r.events(fileAt(now, path, unchanged, &c)), 1)
	}
	assert.Len(t, r.places[target.Place{TargetID: mail.ID, Path: path}].events.Announced, maxAnnounced)

	c := *issue()
	c.Issuer.CommonName = strings.Repeat("\xff", 500_000)
	for i := range 5000 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d%s", i, strings.Repeat("\xff", 5000)))
	}
	r.record(handshakeAt(now, &c))
	assert.LessOrEqual(t, len(r.places[mail.Place()].events.Leaf.Names), attributes.MaxSANs)
	for _, data := range fake.data {
		assert.Less(t, len(data), 64<<10)
	}
}
