package telemetry

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/filter"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
)

// Whatever a certificate contains, telemetry is valid UTF-8, without control characters, and of limited length.
func TestMetricsAndSpansOfHostileCertificate(t *testing.T) {
	c := minimalCertificate()
	hostile := strings.Repeat("\xff\x1b[2J", 1000)
	c.Subject, c.Issuer = pkix.Name{CommonName: hostile}, pkix.Name{CommonName: hostile, Organization: []string{hostile}}
	for i := range 150 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d%s", i, hostile))
	}
	o := handshakeOutcome(example, time.Millisecond, c)
	o.ClientCert = c
	o.Handshake.State.NegotiatedProtocol = hostile
	r := newTestRecorder(t, nil, withMetrics, withTraces)
	r.record(o)

	texts := 0
	check := func(where string, a pcommon.Map, bound int) {
		var text func(v pcommon.Value)
		text = func(v pcommon.Value) {
			switch v.Type() {
			case pcommon.ValueTypeSlice:
				for _, e := range v.Slice().All() {
					text(e)
				}
			case pcommon.ValueTypeStr:
				texts++
				assert.True(t, utf8.ValidString(v.Str()), where)
				assert.NotContains(t, v.Str(), "\x1b", where)
				assert.LessOrEqual(t, len(v.Str()), bound, where)
			}
		}
		for _, v := range a.All() {
			text(v)
		}
	}
	for _, m := range r.sentMetrics().All() {
		if m.Type() == pmetric.MetricTypeGauge {
			for _, p := range m.Gauge().DataPoints().All() {
				check(m.Name(), p.Attributes(), 256)
			}
		}
	}
	for _, span := range r.sentSpans().All() {
		check(span.Name(), span.Attributes(), 1024)
		if span.Name() == "tls.handshake" {
			sans, _ := span.Attributes().Get("tls.cert.san")
			assert.Equal(t, 100, sans.Slice().Len())
			n, _ := span.Attributes().Get("tls.cert.san.count")
			assert.Equal(t, int64(150), n.Int())
			serial, _ := span.Attributes().Get("tls.cert.serial")
			assert.Equal(t, "0ABC0123", serial.Str(), "whole bytes, as OpenSSL prints it")
		}
	}
	assert.Greater(t, texts, 120)
}

// The engine recovers from such a panic.
func TestRecorderWorksAfterPanic(t *testing.T) {
	r := newTestRecorder(t, nil, withMetrics, withTraces)
	broken := handshakeOutcome(example, time.Millisecond, nil) // no prober returns this
	assert.Panics(t, func() { r.Observe(t.Context(), broken) })
	b := &target.Target{ID: "b", Endpoint: target.Endpoint{Host: "b.example", Port: 443}}
	r.Observe(t.Context(), handshakeOutcome(b, time.Millisecond, minimalCertificate()))
	r.Flush(t.Context())
	var hosts []string
	for _, m := range r.sentMetrics().All() {
		if m.Name() == "tls.probe.success" {
			for _, p := range m.Gauge().DataPoints().All() {
				host, _ := p.Attributes().Get("server.address")
				hosts = append(hosts, host.Str())
			}
		}
	}
	assert.Equal(t, []string{"b.example"}, hosts, "and nothing of the other one")
}

func TestIdentityOfAddresses(t *testing.T) {
	now, c := time.Now(), issue()
	r := newTestRecorder(t, nil, withMetrics, withTraces)
	r.record(ofPeer(peerB, handshakeAt(now, c)), poolOutcome(now, probe.PoolPeer{Addr: peerA, Leaf: c}, probe.PoolPeer{Addr: peerB, Leaf: issue()}))
	values := make(map[string]int64)
	for _, m := range r.sentMetrics().All() {
		switch m.Name() {
		case "tls.endpoint.addresses", "tls.endpoint.certificates":
			values[m.Name()] = m.Gauge().DataPoints().At(0).IntValue()
			assert.Equal(t, mailAttributes, m.Gauge().DataPoints().At(0).Attributes().AsRaw())
		case "tls.handshake.duration":
			assert.Equal(t, "2001:db8::1", m.Histogram().DataPoints().At(0).Attributes().AsRaw()["network.peer.address"])
		case "tls.probe.success":
			assert.Equal(t, union(mailAttributes, map[string]any{"network.peer.address": "2001:db8::1", "server.port": int64(4650)}), m.Gauge().DataPoints().At(0).Attributes().AsRaw())
		}
	}
	assert.Equal(t, map[string]int64{"tls.endpoint.addresses": 2, "tls.endpoint.certificates": 2}, values)
	spans := r.sentSpans()
	require.Equal(t, 3, spans.Len())
	for i, span := range spans.All() {
		a := span.Attributes().AsRaw()
		assert.Equal(t, "mail.example.com", a["server.address"])
		if i < 2 {
			assert.Equal(t, "2001:db8::1", a["network.peer.address"])
			assert.Equal(t, int64(4650), a["server.port"])
		} else {
			assert.NotContains(t, a, "network.peer.address")
			assert.Equal(t, int64(465), a["server.port"])
		}
	}
}

// The ports of a service are those of its servers.
func TestServiceHasNoPort(t *testing.T) {
	service := *mail
	service.Endpoint = target.Endpoint{Host: "_imaps._tcp.example.com", DNSName: "_imaps._tcp.example.com"}
	r := newTestRecorder(t, nil, withMetrics, withTraces)
	e := r.event("tls.endpoint.failing", withTarget(&service, failureAt(time.Now(), failure.DNSNotFound)))
	assert.NotContains(t, e.attributes, "server.port")
	assert.NotContains(t, r.sentSpans().At(0).Attributes().AsRaw(), "server.port")
	success := r.sentMetrics().At(1)
	assert.Equal(t, "tls.probe.success", success.Name())
	assert.NotContains(t, success.Gauge().DataPoints().At(0).Attributes().AsRaw(), "server.port")
}

func TestResourceOfEvents(t *testing.T) {
	name := "tls-gateway"
	r := newTestRecorder(t, nil, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		cfg.ResourceAttributes.ServiceName.OverrideValue = &name
	})
	r.Observe(t.Context(), failureAt(time.Now(), failure.ConnectionRefused))
	r.Flush(t.Context())
	assert.Equal(t, map[string]any{"service.name": name}, r.logs.AllLogs()[0].ResourceLogs().At(0).Resource().Attributes().AsRaw())
}

func TestResourceFilters(t *testing.T) {
	r := newTestRecorder(t, nil, withMetrics, func(_ *testRecorder, cfg *Config, _ *Consumers) {
		none := []filter.Config{{Strict: "tls_check"}}
		cfg.ResourceAttributes.ServiceName.MetricsExclude, cfg.ResourceAttributes.ServiceName.EventsExclude = none, none
	})
	r.noEvents(allKindsOfEvents(time.Now())...)
	assert.Empty(t, r.metrics.AllMetrics())
}

func TestRefusedEvents(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { _ = tel.Shutdown(context.Background()) })
	set := receivertest.NewNopSettings(metadata.Type)
	core, log := observer.New(zap.InfoLevel)
	set.TelemetrySettings = tel.NewTelemetrySettings()
	set.Logger = zap.New(core)
	var refusals []error
	next, err := consumer.NewLogs(func(context.Context, plog.Logs) error {
		err := refusals[0]
		refusals = refusals[1:]
		return err
	})
	require.NoError(t, err)
	fake := newFakeStorage()
	r, err := New(set, DefaultConfig(), Consumers{Logs: next, Metrics: consumertest.NewNop()}, fake)
	require.NoError(t, err)
	refusals = []error{errors.New("no room"), errors.New("no room"), errors.New("no room"), nil, errors.New("no room")}
	types := []failure.Type{failure.ConnectionRefused, failure.ConnectionTimeout, failure.ConnectionReset, failure.NotTLS, failure.Other}
	for _, typ := range types {
		r.Observe(t.Context(), failureAt(time.Now(), typ))
		r.Flush(t.Context())
		r.Flush(t.Context()) // an empty batch is neither refused nor accepted
		assert.Len(t, fake.data, 1, "it is not sent again, whether refused or not")
	}
	messages := log.FilterMessageSnippet("refuses the telemetry").All()
	require.Len(t, messages, 2, "logged when refusals begin")
	assert.Contains(t, messages[0].Message, "_log_records")
	assert.Equal(t, "no room", messages[0].ContextMap()["error"])
	for name, want := range map[string]int64{"otelcol_receiver_refused_log_records": 4, "otelcol_receiver_accepted_log_records": 1} {
		m, err := tel.GetMetric(name)
		require.NoError(t, err)
		assert.Equal(t, want, sumOf(m))
	}
}

func TestRefusalIsLogged(t *testing.T) {
	refusing := errors.New("no room")
	for name, to := range map[string]Consumers{
		"metrics": {Metrics: consumertest.NewErr(refusing), Traces: consumertest.NewNop(), Logs: consumertest.NewNop()},
		"traces":  {Metrics: consumertest.NewNop(), Traces: consumertest.NewErr(refusing), Logs: consumertest.NewNop()},
		"logs":    {Metrics: consumertest.NewNop(), Traces: consumertest.NewNop(), Logs: consumertest.NewErr(refusing)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRecorder(t, nil, func(_ *testRecorder, _ *Config, into *Consumers) { *into = to })
			r.noEvents(failureAt(time.Now(), failure.ConnectionRefused))
			require.Equal(t, 1, r.log.Len())
			assert.Equal(t, "no room", r.log.All()[0].ContextMap()["error"])
		})
	}
}

func sumOf(m metricdata.Metrics) (total int64) {
	for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
		total += p.Value
	}
	return total
}
