package tlscheckreceiver

import (
	"crypto/tls"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/golden"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var (
	localPort = regexp.MustCompile(`:\d+->`)
	moments   = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`)
	testDir   = regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/?Test[^/]*/\d+/`)
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden compares everything that the receiver sends for one probe with testdata/golden. What differs from run to run is
// masked: see mask.
func TestGolden(t *testing.T) {
	day := 24 * time.Hour
	clients := tlsfarm.NewAuthority("Clients")
	intermediate := root.Intermediate("Farm Intermediate")
	mutual := func(version uint16) *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{root.Issue("healthy")}, MaxVersion: version,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(),
		}
	}
	certFile, keyFile := keyPair(t, clients.Issue("prober"))
	serving := func(config *tls.Config) *tlsfarm.Server { return tlsfarm.TLS(config) }

	for name, c := range map[string]struct {
		server *tlsfarm.Server
		extra  string
	}{
		"healthy":                   {serving(&tls.Config{Certificates: []tls.Certificate{intermediate.Issue("healthy")}, NextProtos: []string{"h2"}}), "alpn: [h2, http/1.1]\nmetrics: {tls.certificate.info: {enabled: true}, tls.certificate.not_before: {enabled: true}}\n"},
		"tls12":                     {serving(&tls.Config{Certificates: []tls.Certificate{root.Issue("old")}, MaxVersion: tls.VersionTLS12}), ""},
		"expiring":                  {serving(&tls.Config{Certificates: []tls.Certificate{root.Issue("soon", tlsfarm.Validity(-80*day, 10*day+time.Hour))}}), ""},
		"expired":                   {serving(&tls.Config{Certificates: []tls.Certificate{root.Issue("old", tlsfarm.Validity(-90*day, -10*day-time.Hour))}}), ""},
		"other_name":                {serving(&tls.Config{Certificates: []tls.Certificate{root.Issue("other", tlsfarm.Names("other.example", "localhost"))}}), ""},
		"other_dns_name":            {serving(&tls.Config{Certificates: []tls.Certificate{root.Issue("other", tlsfarm.Names("other.example"))}}), "tls: {server_name_override: api.example}\n"},
		"old_version":               {serving(&tls.Config{Certificates: []tls.Certificate{root.Issue("old")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), ""},
		"skip_verify":               {serving(&tls.Config{Certificates: []tls.Certificate{tlsfarm.SelfSigned("self")}}), "tls: {insecure_skip_verify: true}\n"},
		"client_certificate":        {serving(mutual(0)), fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", certFile, keyFile)},
		"missing_client_cert_tls12": {serving(mutual(tls.VersionTLS12)), ""},
		"missing_client_cert_tls13": {serving(mutual(0)), ""},
		"starttls":                  {tlsfarm.SMTP("220 go ahead\r\n", &tls.Config{Certificates: []tls.Certificate{root.Issue("mail")}}, nil), "starttls: smtp\n"},
		"starttls_rejected":         {tlsfarm.SMTP("454 TLS not available\r\n", nil, nil), "starttls: smtp\n"},
		"plaintext":                 {tlsfarm.Plaintext("220 mail.example ESMTP\r\n"), ""},
		"silent":                    {tlsfarm.Silent(), "timeout: 500ms\n"},
	} {
		t.Cleanup(c.server.Close)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			yaml := "initial_delay: 0s\n" + c.extra
			if strings.Contains(c.extra, "tls: {") {
				yaml = strings.Replace(yaml, "tls: {", fmt.Sprintf("tls: {ca_file: %q, ", caFile(t)), 1)
			} else {
				yaml += fmt.Sprintf("tls: {ca_file: %q}\n", caFile(t))
			}
			p, stop := start(t, yaml+fmt.Sprintf("targets: [{endpoint: %q}]\n", c.server.Endpoint()))
			p.batch(t)
			stop()
			compareMetrics(t, name, p.metrics.AllMetrics()[0], c.server.Port())
			compareTraces(t, name, p.traces.AllTraces()[0], c.server.Port())
		})
	}
}

// TestGoldenFiles is TestGolden for a target with a certificate file.
func TestGoldenFiles(t *testing.T) {
	inOneBatch(t)
	const day = 24 * time.Hour
	intermediate := root.Intermediate("Farm Intermediate")
	chain := func(c tls.Certificate) []byte { pem, _ := tlsfarm.PEM(c); return pem }
	served := intermediate.Issue("served")
	for name, c := range map[string]struct {
		file   []byte // nil where there is none
		server *tlsfarm.Server
		extra  string
	}{
		"file_expiring": {
			file:  chain(intermediate.Issue("soon", tlsfarm.Validity(-80*day, 10*day+time.Hour))),
			extra: "metrics: {tls.certificate.info: {enabled: true}, tls.certificate.not_before: {enabled: true}}\n",
		},
		"file_expired": {file: chain(intermediate.Issue("old", tlsfarm.Validity(-90*day, -10*day-time.Hour)))},
		"file_missing": {},
		"file_served":  {file: chain(served), server: tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{served}})},
		"file_not_served": {
			file:   chain(intermediate.Issue("renewed")),
			server: tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{intermediate.Issue("served")}}),
			extra:  "attributes: {team: edge}\n",
		},
		"file_missing_beside_endpoint": {server: tlsfarm.TLS(healthy())},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "site.pem")
			if c.file != nil {
				write(t, path, c.file)
			}
			what, port, n := fmt.Sprintf("file_path: %q", path), uint16(0), 1
			if c.server != nil {
				t.Cleanup(c.server.Close)
				what, port, n = fmt.Sprintf("endpoint: %q, %s", c.server.Endpoint(), what), c.server.Port(), 2
			}
			p, stop := start(t, fmt.Sprintf("initial_delay: 0s\n%stls: {ca_file: %q}\ntargets: [{%s}]\n", c.extra, caFile(t), what))
			p.ended(t)
			stop()
			require.Len(t, p.points("tls.probe.success"), n)
			require.Len(t, p.metrics.AllMetrics(), 1, "file and endpoint are probed together")
			compareMetrics(t, name, p.metrics.AllMetrics()[0], port)
			if c.server == nil {
				require.Empty(t, p.traces.AllTraces(), "only connections leave spans")
				return
			}
			compareTraces(t, name, p.traces.AllTraces()[0], port)
		})
	}
}

// ended waits until the only probe of a receiver has ended.
func (p *pipeline) ended(t *testing.T) {
	t.Helper()
	eventually(t, func() bool {
		m, err := p.tel.GetMetric("otelcol_tls_check_probes_in_flight")
		return err == nil && m.Data.(metricdata.Sum[int64]).DataPoints[0].Value == 0
	})
}

func compareMetrics(t *testing.T, name string, got pmetric.Metrics, port uint16) {
	t.Helper()
	for _, m := range got.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		switch m.Type() {
		case pmetric.MetricTypeGauge:
			for _, p := range m.Gauge().DataPoints().All() {
				mask(p.Attributes(), port)
				maskTimes(p)
				switch m.Name() {
				case "tls.probe.duration", "tls.certificate.not_after", "tls.certificate.not_before":
					p.SetDoubleValue(0)
				case "tls.certificate.days_until_expiry", "tls.client_certificate.days_until_expiry":
					p.SetDoubleValue(math.Round(p.DoubleValue()))
				case "tls.certificate.lifetime.remaining":
					p.SetDoubleValue(math.Round(100*p.DoubleValue()) / 100)
				}
			}
		case pmetric.MetricTypeSum:
			for _, p := range m.Sum().DataPoints().All() {
				mask(p.Attributes(), port)
				maskTimes(p)
			}
		case pmetric.MetricTypeHistogram:
			for _, p := range m.Histogram().DataPoints().All() {
				mask(p.Attributes(), port)
				maskTimes(p)
				p.BucketCounts().FromRaw(nil)
				p.SetSum(0)
				p.SetMin(0)
				p.SetMax(0)
				for _, e := range p.Exemplars().All() {
					e.SetDoubleValue(0)
					e.SetTraceID(pcommon.TraceID{1})
					e.SetSpanID(pcommon.SpanID{1})
					e.SetTimestamp(0)
				}
			}
		}
	}
	path := filepath.Join("..", "..", "testdata", "golden", name+"_metrics.yaml")
	if *update {
		require.NoError(t, golden.WriteMetricsToFile(path, got))
		return
	}
	want, err := golden.ReadMetrics(path)
	require.NoError(t, err)
	require.NoError(t, pmetrictest.CompareMetrics(want, got,
		pmetrictest.IgnoreTimestamp(), pmetrictest.IgnoreStartTimestamp(), // golden writes its own
		pmetrictest.IgnoreMetricsOrder(), pmetrictest.IgnoreMetricDataPointsOrder(),
	))
}

func compareTraces(t *testing.T, name string, got ptrace.Traces, port uint16) {
	t.Helper()
	spans := got.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	numbered := map[pcommon.SpanID]pcommon.SpanID{{}: {}}
	for i, s := range spans.All() {
		numbered[s.SpanID()] = pcommon.SpanID{byte(i + 1)}
		s.SetTraceID(pcommon.TraceID{1})
		s.SetSpanID(numbered[s.SpanID()])
		s.SetParentSpanID(numbered[s.ParentSpanID()])
		s.SetStartTimestamp(0)
		s.SetEndTimestamp(0)
		s.Status().SetMessage(maskText(s.Status().Message(), port))
		mask(s.Attributes(), port)
		for _, e := range s.Events().All() {
			e.SetTimestamp(0)
		}
	}
	path := filepath.Join("..", "..", "testdata", "golden", name+"_traces.yaml")
	if *update {
		require.NoError(t, golden.WriteTracesToFile(path, got))
		return
	}
	want, err := golden.ReadTraces(path)
	require.NoError(t, err)
	require.NoError(t, ptracetest.CompareTraces(want, got))
}

// mask replaces what differs from run to run with fixed values: ports, dates, serial numbers.
func mask(a pcommon.Map, port uint16) {
	for k, v := range a.All() {
		switch k {
		case "server.port", "network.peer.port":
			v.SetInt(443)
		case "tls.handshake_time_ms":
			v.SetDouble(1)
		case "tls.cert.not_before", "tls.cert.not_after", "tls.server.not_before", "tls.server.not_after",
			"tls.certificate.file_match.since", "tls.cert.serial", "tls.server.hash.sha256", "certificate.serial", "certificate.sha256":
			v.SetStr("masked")
		default:
			if v.Type() == pcommon.ValueTypeStr {
				v.SetStr(maskText(v.Str(), port))
			}
		}
	}
	raw := a.AsRaw()
	keys := make([]string, 0, len(raw))
	for k := range raw {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	sorted := pcommon.NewMap()
	for _, k := range keys {
		v, _ := a.Get(k)
		v.CopyTo(sorted.PutEmpty(k))
	}
	sorted.CopyTo(a)
}

func maskTimes(p interface {
	SetTimestamp(pcommon.Timestamp)
	SetStartTimestamp(pcommon.Timestamp)
},
) {
	p.SetTimestamp(0)
	p.SetStartTimestamp(0)
}

func maskText(s string, port uint16) string {
	if port != 0 {
		s = strings.ReplaceAll(s, fmt.Sprintf(":%d", port), ":443")
	}
	s = localPort.ReplaceAllString(s, ":0->")
	s = moments.ReplaceAllString(s, "DATE")
	s = testDir.ReplaceAllString(s, "/etc/ssl/")
	return s
}
