//go:build unix

package tlscheckreceiver

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const (
	benchEndpoints = 1000
	benchRounds    = 5
	farmVariable   = "TLSCHECK_BENCH_FARM" // the path of the farm's root, for the process with the servers
)

// Users have these; tests shorten them.
var usersFlushAfter, usersCheckFilesEvery = flushAfter, checkFilesEvery

// TestBenchFarm is not a test. It runs the servers for BenchmarkProbe, in a process of their own, as their CPU time must not
// be counted.
func TestBenchFarm(t *testing.T) {
	ca := os.Getenv(farmVariable)
	if ca == "" {
		t.Skip("a part of BenchmarkProbe")
	}
	intermediate := root.Intermediate("Farm Intermediate")
	require.NoError(t, os.WriteFile(ca, root.PEM(), 0o600))
	for range benchEndpoints {
		s := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{intermediate.Issue("bench")}})
		t.Cleanup(s.Close)
		fmt.Println("endpoint", s.Endpoint())
	}
	for name, config := range kinds(intermediate) {
		s := tlsfarm.TLS(config)
		t.Cleanup(s.Close)
		fmt.Printf("kind %s %s\n", s.Endpoint(), name)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark ends
}

// kinds returns servers with which a handshake costs the client more or less.
func kinds(ca *tlsfarm.Authority) map[string]*tls.Config {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	ecdsa, rsa := ca.Issue("ecdsa"), ca.Issue("rsa", tlsfarm.Key(key))
	return map[string]*tls.Config{
		"TLS 1.3, X25519MLKEM768, ECDSA P-256": {Certificates: []tls.Certificate{ecdsa}},
		"TLS 1.3, X25519MLKEM768, RSA 2048":    {Certificates: []tls.Certificate{rsa}},
		"TLS 1.3, X25519, ECDSA P-256":         {Certificates: []tls.Certificate{ecdsa}, CurvePreferences: []tls.CurveID{tls.X25519}},
		"TLS 1.2, X25519, ECDSA P-256":         {Certificates: []tls.Certificate{ecdsa}, CurvePreferences: []tls.CurveID{tls.X25519}, MaxVersion: tls.VersionTLS12},
		"TLS 1.2, X25519, RSA 2048":            {Certificates: []tls.Certificate{rsa}, CurvePreferences: []tls.CurveID{tls.X25519}, MaxVersion: tls.VersionTLS12},
	}
}

// startFarm starts the servers in a process of their own.
func startFarm(b *testing.B) (endpoints []string, byKind map[string]string, ca string) {
	b.Helper()
	ca = b.TempDir() + "/ca.pem"
	farm := exec.Command(os.Args[0], "-test.run", "^TestBenchFarm$")
	farm.Env = append(os.Environ(), farmVariable+"="+ca)
	stdin, err := farm.StdinPipe()
	require.NoError(b, err)
	stdout, err := farm.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, farm.Start())
	b.Cleanup(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		_ = farm.Wait()
	})
	byKind = make(map[string]string)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && lines.Text() != "ready" {
		if kind, ok := strings.CutPrefix(lines.Text(), "kind "); ok {
			e, name, _ := strings.Cut(kind, " ")
			byKind[name] = e
		}
		if e, ok := strings.CutPrefix(lines.Text(), "endpoint "); ok {
			endpoints = append(endpoints, e)
		}
	}
	require.Len(b, endpoints, benchEndpoints)
	return endpoints, byKind, ca
}

// BenchmarkProbe prints the CPU time that one probe takes, with metrics and traces on, that of a bare verified tls.Dialer loop
// over the same endpoints, and the ratio. The two take turns, as machines are noisy.
func BenchmarkProbe(b *testing.B) {
	flushAfter, checkFilesEvery = usersFlushAfter, usersCheckFilesEvery
	endpoints, byKind, ca := startFarm(b)
	var receiver, dialer []float64
	for range benchRounds {
		dialer = append(dialer, benchDialer(b, endpoints, ca))
		receiver = append(receiver, benchReceiver(b, endpoints, ca))
	}
	ratios := make([]float64, benchRounds)
	for i := range ratios {
		ratios[i] = receiver[i] / dialer[i]
	}
	b.ReportMetric(0, "ns/op") // an operation is the whole benchmark, so its time means nothing
	fmt.Printf("\n%d endpoints, %d rounds, %s, %d CPUs\n", benchEndpoints, benchRounds, runtime.Version(), runtime.NumCPU())
	fmt.Printf("%-34s median %4.0f µs CPU per probe  (%.0f to %.0f)\n", "receiver, metrics and traces on", median(receiver), slices.Min(receiver), slices.Max(receiver))
	fmt.Printf("%-34s median %4.0f µs CPU per probe  (%.0f to %.0f)\n", "bare verified tls.Dialer loop", median(dialer), slices.Min(dialer), slices.Max(dialer))
	fmt.Printf("%-34s median %4.2f                   (%.2f to %.2f)\n", "ratio", median(ratios), slices.Min(ratios), slices.Max(ratios))
	fmt.Printf("\n%-38s %s\n", "µs CPU by kind", "bare verified dial   probe alone, certificate seen before   ratio")
	for _, name := range slices.Sorted(maps.Keys(byKind)) {
		var dials, probes, ratios []float64
		for range 2*benchRounds + 1 {
			dials = append(dials, benchDialer(b, slices.Repeat([]string{byKind[name]}, 100), ca))
			probes = append(probes, benchProber(b, byKind[name], ca))
			ratios = append(ratios, probes[len(probes)-1]/dials[len(dials)-1])
		}
		fmt.Printf("%-38s %18.0f   %38.0f   %5.2f (%.2f to %.2f)\n", name, median(dials), median(probes), median(ratios), slices.Min(ratios), slices.Max(ratios))
	}
}

// benchProber returns the microseconds of CPU time for one probe without telemetry.
func benchProber(b *testing.B, endpoint, ca string) float64 {
	b.Helper()
	cfg, err := configure(b, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: %q}]}", ca, endpoint))
	require.NoError(b, err)
	targets, err := cfg.build(targetconfig.NewBuilder(checkFilesEvery, zap.NewNop()))
	require.NoError(b, err)
	p := &probe.Prober{}
	require.Nil(b, p.ProbeEndpoint(b.Context(), targets[0]).Failure)
	const turns = 200
	before := cpu()
	for range turns {
		p.ProbeEndpoint(b.Context(), targets[0])
	}
	return float64((cpu() - before).Microseconds()) / turns
}

// benchDialer returns the microseconds of CPU time for one connection.
func benchDialer(b *testing.B, endpoints []string, ca string) float64 {
	b.Helper()
	pem, err := os.ReadFile(ca)
	require.NoError(b, err)
	roots := x509.NewCertPool()
	require.True(b, roots.AppendCertsFromPEM(pem))
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots}}
	const turns = 2
	before := cpu()
	for range turns {
		for _, e := range endpoints {
			conn, err := d.DialContext(b.Context(), "tcp", e)
			if err != nil {
				b.Fatal(err)
			}
			_ = conn.Close()
		}
	}
	return float64((cpu() - before).Microseconds()) / float64(turns*len(endpoints))
}

// benchReceiver returns the microseconds of CPU time for one probe of a certificate that was seen before.
func benchReceiver(b *testing.B, endpoints []string, ca string) float64 {
	b.Helper()
	var yaml strings.Builder
	const interval = 2 * time.Second
	fmt.Fprintf(&yaml, "{collection_interval: %[1]s, timeout: %[1]s, initial_delay: 0s, tls: {ca_file: %[2]q}, targets: [", interval, ca)
	for _, e := range endpoints {
		fmt.Fprintf(&yaml, "{endpoint: %q},", e)
	}
	yaml.WriteString("]}")
	conf, err := configure(b, yaml.String())
	require.NoError(b, err)

	type sample struct {
		probes int
		cpu    time.Duration
	}
	samples := []sample{{}} // one at the end of each batch, when all probes that took CPU time were counted
	traces, err := consumer.NewTraces(func(_ context.Context, td ptrace.Traces) error {
		probes := samples[len(samples)-1].probes
		for _, s := range td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			if s.Name() == "tls.connect" {
				if s.Status().Code() == ptrace.StatusCodeError {
					b.Error(s.Status().Message())
				}
				probes++
			}
		}
		samples = append(samples, sample{probes, cpu()})
		return nil
	})
	require.NoError(b, err)
	factory := NewFactory()
	set := receivertest.NewNopSettings(factory.Type())
	m, err := factory.CreateMetrics(b.Context(), set, conf, consumertest.NewNop())
	require.NoError(b, err)
	_, err = factory.CreateTraces(b.Context(), set, conf, traces)
	require.NoError(b, err)

	require.NoError(b, m.Start(b.Context(), componenttest.NewNopHost()))
	time.Sleep(3 * interval)
	require.NoError(b, m.Shutdown(context.Background()))
	first := slices.IndexFunc(samples, func(s sample) bool { return s.probes >= len(endpoints) })
	require.Positive(b, first)
	begin, end := samples[first], samples[len(samples)-1]
	return float64((end.cpu - begin.cpu).Microseconds()) / float64(end.probes-begin.probes)
}

// cpu returns the CPU time that this process has used so far, user and system together.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
