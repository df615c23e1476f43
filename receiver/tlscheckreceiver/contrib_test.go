package tlscheckreceiver

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// timeLeft returns the points of tlscheck.time_left as text: the attributes of the resource, those of the point, and days.
func timeLeft(sink *consumertest.MetricsSink) (points []string) {
	text := func(m pcommon.Map) string {
		var words []string
		for k, v := range m.All() {
			words = append(words, k+"="+v.AsString())
		}
		slices.Sort(words)
		return strings.Join(words, " ")
	}
	for _, md := range sink.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() != "tlscheck.time_left" {
					continue
				}
				for _, p := range m.Gauge().DataPoints().All() {
					points = append(points, fmt.Sprintf("%s | %s | %d", text(rm.Resource().Attributes()), text(p.Attributes()), p.IntValue()/86400))
				}
			}
		}
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// These are configurations for collector-contrib's receiver, most of them with its metric switched on, as it is off here.
func TestConfigurationsForContribWork(t *testing.T) {
	const secret = "changeit"
	day := 24 * time.Hour
	valid := tlsfarm.Validity(-day, 10*day+time.Hour)
	intermediate := root.Intermediate("Farm Intermediate", tlsfarm.Validity(-day, 100*day+time.Hour))
	site := intermediate.Issue("site", valid)
	// Contrib's receiver does not verify certificates. It reports the time left of an untrusted one too.
	untrusted := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{tlsfarm.SelfSigned("self", valid)}})
	s := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{site}})
	t.Cleanup(untrusted.Close)
	t.Cleanup(s.Close)
	dir := t.TempDir()
	pem, key := tlsfarm.PEM(site)
	write(t, filepath.Join(dir, "cert.pem"), pem)
	write(t, filepath.Join(dir, "combined.pem"), key, pem)
	write(t, filepath.Join(dir, "keystore.jks"), jks(t, site, secret))
	write(t, filepath.Join(dir, "keystore.p12"), p12(t, site, secret))
	here := strings.NewReplacer("$DIR", dir, "$SITE", s.Endpoint(), "$SELF", untrusted.Endpoint(), "$REFUSED", tlsfarm.Refused())

	const on = "\nmetrics: {tlscheck.time_left: {enabled: true}}"
	point := func(target, cn, issuer string, left int) string {
		return here.Replace(fmt.Sprintf("service.name=tls_check tlscheck.target=%s | tlscheck.x509.cn=%s tlscheck.x509.issuer=%s | %d", target, cn, issuer, left))
	}
	const ca = "CN=Farm Intermediate,O=Farm"
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"README": {
			"targets:\n  - endpoint: $SITE\n    dialer:\n      timeout: 15s\n  - endpoint: $SELF\n    dialer:\n      timeout: 15s\n  - endpoint: $REFUSED\n" + on,
			[]string{point("$SITE", "site", ca, 10), point("$SELF", "self", "CN=self", 10)},
		},
		"files": {
			"targets:\n  - file_path: $DIR/cert.pem\n  - file_path: $DIR/combined.pem\n  - file_path: $DIR/missing.pem\n" + on,
			[]string{
				point("$DIR/cert.pem", "site", ca, 10), point("$DIR/cert.pem", "Farm Intermediate", "CN=Farm Root,O=Farm", 100),
				point("$DIR/combined.pem", "site", ca, 10), point("$DIR/combined.pem", "Farm Intermediate", "CN=Farm Root,O=Farm", 100),
			},
		},
		"keystores": {
			"targets:\n  - file_path: $DIR/keystore.jks\n    file_format: jks\n    password: changeit\n" +
				"  - file_path: $DIR/keystore.p12\n    file_format: pkcs12\n    password: changeit\n" +
				"  - file_path: $DIR/cert.pem\n    file_format: pem\n" + on,
			[]string{
				point("$DIR/keystore.jks", "site", ca, 10), point("$DIR/keystore.jks", "Farm Intermediate", "CN=Farm Root,O=Farm", 100),
				point("$DIR/keystore.p12", "site", ca, 10),
				point("$DIR/cert.pem", "site", ca, 10), point("$DIR/cert.pem", "Farm Intermediate", "CN=Farm Root,O=Farm", 100),
			},
		},
		"file_format left out or auto": {
			"targets:\n  - file_path: $DIR/keystore.jks\n    file_format: auto\n    password: changeit\n  - file_path: $DIR/keystore.p12\n    password: changeit\n" + on,
			[]string{
				point("$DIR/keystore.jks", "site", ca, 10), point("$DIR/keystore.jks", "Farm Intermediate", "CN=Farm Root,O=Farm", 100),
				point("$DIR/keystore.p12", "site", ca, 10),
			},
		},
		"interval of 5 s and no timeout": {"collection_interval: 5s\ninitial_delay: 1s\ntargets: [{endpoint: \"$SITE\"}]" + on, []string{point("$SITE", "site", ca, 10)}},
		"timeout":                        {"collection_interval: 1h\ntimeout: 10s\ntargets: [{endpoint: \"$SITE\"}]" + on, []string{point("$SITE", "site", ca, 10)}},
		"attributes of the metric": {
			"targets: [{endpoint: \"$SITE\"}]\nmetrics:\n  tlscheck.time_left:\n    enabled: true\n    attributes: [tlscheck.x509.cn, tlscheck.x509.san]\n",
			[]string{here.Replace(`service.name=tls_check tlscheck.target=$SITE | tlscheck.x509.cn=site tlscheck.x509.san=["localhost","127.0.0.1","::1"] | 10`)},
		},
		"aggregation": {
			"targets: [{file_path: $DIR/cert.pem}]\nmetrics:\n  tlscheck.time_left: {enabled: true, attributes: [], aggregation_strategy: max}\n",
			[]string{here.Replace("service.name=tls_check tlscheck.target=$DIR/cert.pem |  | 100")},
		},
		"no target on the resource": {
			"targets: [{endpoint: \"$SITE\"}]\nresource_attributes: {tlscheck.target: {enabled: false}}" + on,
			[]string{"service.name=tls_check | tlscheck.x509.cn=site tlscheck.x509.issuer=" + ca + " | 10"},
		},
		"target on the resource": {
			"targets: [{endpoint: \"$SITE\"}]\nresource_attributes:\n  tlscheck.target:\n    enabled: true\n" + on,
			[]string{point("$SITE", "site", ca, 10)},
		},
		"filter by target": {
			"targets: [{endpoint: \"$SITE\"}, {endpoint: \"$SELF\"}]\nresource_attributes: {tlscheck.target: {metrics_exclude: [{strict: \"$SELF\"}]}}" + on,
			[]string{point("$SITE", "site", ca, 10)},
		},
		"the metric switched off": {"targets: [{endpoint: \"$SITE\"}]\nmetrics: {tlscheck.time_left: {enabled: false}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := configure(t, here.Replace(c.yaml))
			require.NoError(t, err)
			for i := range cfg.Targets {
				cfg.Targets[i].InitialDelay = 0 // so that the test does not wait
			}
			factory := NewFactory()
			set := receivertest.NewNopSettings(component.MustNewType("tlscheck"))
			var sink consumertest.MetricsSink
			r, err := factory.CreateMetrics(t.Context(), set, cfg, &sink)
			require.NoError(t, err)
			require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
			probed := func() (n int) {
				for _, md := range sink.AllMetrics() {
					for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
						if m.Name() == "tls.probe.success" {
							n += m.Gauge().DataPoints().Len()
						}
					}
				}
				return n
			}
			eventually(t, func() bool { return probed() >= len(cfg.Targets) })
			require.NoError(t, r.Shutdown(context.Background()))
			assert.Equal(t, slices.Sorted(slices.Values(c.want)), timeLeft(&sink))
		})
	}
}

func TestConfigurationsThatContribTreatsDifferently(t *testing.T) {
	for yaml, want := range map[string]string{ // empty where it is accepted
		// Contrib accepts only one of the two. Here they are compared.
		`targets: [{endpoint: "a:1", file_path: /etc/ssl/a.pem}]`: "",
		// Contrib accepts only absolute paths of files that exist.
		`targets: [{file_path: a.pem}, {file_path: /no/such/file.pem}]`: "",
		// Contrib rejects these for an endpoint. Here they may be defaults.
		`targets: [{endpoint: "a:1", file_format: pem, password: x}]`: "",
		// Contrib accepts these.
		`{collection_interval: 5s, timeout: 10s, targets: [{endpoint: "a:1"}]}`: "timeout: 10s is longer than collection_interval, 5s; shorten it or lengthen the interval",
		`{timeout: 0s, targets: [{endpoint: "a:1"}]}`:                           "timeout: 0s is too short",
		`targets: [{endpoint: "a:1"}, {endpoint: "a:1"}]`:                       `targets::1::endpoint: "a:1" is a duplicate of targets::0, with the same settings; remove one of the two`,
		// Both reject these.
		`targets: [{endpoint: "https://a:443"}]`:        "has a scheme",
		`targets: [{endpoint: a}]`:                      "has no port",
		`targets: []`:                                   "there are none",
		`targets: [{}]`:                                 `endpoint: "" is empty`,
		`targets: [{file_path: /x, file_format: der2}]`: `file_format: "der2" is not known; use one of auto, pem, der, pkcs12, jks`,
		`{targets: [{endpoint: "a:1"}], metrics: {tlscheck.time_left: {attributes: [x]}}}`: "tlscheck.time_left doesn't have an attribute x",
	} {
		_, err := configure(t, yaml)
		if want == "" {
			assert.NoError(t, err, yaml)
		} else {
			assert.ErrorContains(t, err, want, yaml)
		}
	}
	cfg, err := configure(t, `targets: [{endpoint: "a:1"}]`)
	require.NoError(t, err)
	assert.False(t, cfg.Metrics.TlscheckTimeLeft.Enabled, "contrib's only metric is off by default")
}
