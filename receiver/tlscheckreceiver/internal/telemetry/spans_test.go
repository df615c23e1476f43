package telemetry

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestFileMatchOnSpans(t *testing.T) {
	const path = "/etc/ssl/mail.pem"
	since := time.Now().Add(-time.Hour)
	attributes := func(files ...probe.OnDisk) map[string]any {
		r := newTestRecorder(t, nil, withTraces)
		o := handshakeAt(time.Now(), issue())
		o.Handshake.OnDisk = files
		r.record(o)
		a := r.sentSpans().At(1).Attributes().AsRaw()
		maps.DeleteFunc(a, func(k string, _ any) bool { return !strings.HasPrefix(k, "tls.certificate.file_match") })
		return a
	}
	assert.Empty(t, attributes())
	assert.Equal(t, map[string]any{"tls.certificate.file_match": true}, attributes(probe.OnDisk{Path: path, Served: true}))
	got := attributes(probe.OnDisk{Path: path, Since: since, Leaf: issue()})
	assert.Contains(t, got["tls.certificate.file_match.message"], "mail.example.com:465 does not serve the certificate in "+path)
	delete(got, "tls.certificate.file_match.message")
	assert.Equal(t, map[string]any{
		"tls.certificate.file_match": false, "tls.certificate.file_match.since": since.UTC().Format(time.RFC3339),
	}, got)
}

func TestExpiryEventsOfSpans(t *testing.T) {
	client := ca.Issue("collector", tlsfarm.Validity(-day, 20*day)).Leaf
	r := newTestRecorder(t, nil, withTraces)
	for end, want := range map[time.Time]map[string]any{
		client.NotAfter.Add(-30 * day):               {},
		client.NotAfter.Add(-10*day - time.Hour):     {"tls.client_cert.expiring_soon": int64(10)},
		client.NotAfter.Add(time.Hour):               {"tls.client_cert.expired": int64(-1)},
		client.NotAfter.Add(time.Hour + time.Second): {"tls.client_cert.expired": int64(-1)}, // at each probe
	} {
		r.traces.Reset()
		o := handshakeAt(end, issue(tlsfarm.Validity(-day, 365*day)))
		o.ClientCert = client
		o.Handshake.Warnings = []failure.Type{failure.FileMismatch}
		r.record(o)
		got := make(map[string]any)
		span := r.sentSpans().At(1)
		for _, e := range span.Events().All() {
			got[e.Name()] = e.Attributes().AsRaw()["days_remaining"]
			assert.Equal(t, span.EndTimestamp(), e.Timestamp())
		}
		assert.Equal(t, want, got)
	}
	r.traces.Reset()
	o := handshakeAt(client.NotAfter.Add(-3*day-time.Hour), client)
	o.Handshake.Warnings = []failure.Type{failure.NearExpiry}
	r.record(o)
	span := r.sentSpans().At(1)
	require.Equal(t, 1, span.Events().Len())
	assert.Equal(t, "tls.cert.expiring_soon", span.Events().At(0).Name())
	assert.Equal(t, map[string]any{"days_remaining": int64(3)}, span.Events().At(0).Attributes().AsRaw())
}
