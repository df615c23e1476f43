//go:build scale && linux

package scale

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const binary = "../../_build/otelcol-tlscheck"

// collector is a running collector.
type collector struct {
	cmd            *exec.Cmd
	started, ready time.Time
	metricsURL     string // of its own metrics
	targetFile     string
	port           uint16 // of all targets
	stopped        bool
}

// startCollector starts a collector and returns when it logs that everything is ready. Its targets are in a target file, as is
// usual for so many, or inline.
func startCollector(t *testing.T, farm Started, servers []int, interval, delay time.Duration, inline bool) *collector {
	t.Helper()
	dir := t.TempDir()
	ca, config := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "config.yaml")
	must(os.WriteFile(ca, farm.CA, 0o600))
	// Its own metrics are enabled, as by default, but on a free port.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	metrics := netip.MustParseAddrPort(l.Addr().String())
	must(l.Close())

	var yaml bytes.Buffer
	fmt.Fprintf(&yaml, `exporters: {nop: {}}
service:
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: %s, port: %d}}}}]}}
  pipelines:
    metrics: {receivers: [tls_check], exporters: [nop]}
    traces: {receivers: [tls_check], exporters: [nop]}
receivers:
  tls_check:
    collection_interval: %s
    timeout: %s
    initial_delay: %s
    tls: {ca_file: %q}
`, metrics.Addr(), metrics.Port(), interval, min(timeout, interval), delay, ca)
	c := &collector{
		cmd: exec.Command(binary, "--config", config), metricsURL: "http://" + metrics.String() + "/metrics",
		targetFile: filepath.Join(dir, "targets.yaml"), port: farm.Port,
	}
	if inline {
		fmt.Fprintf(&yaml, "    targets:\n%s", targetsYAML(servers, c.port, "      "))
	} else {
		fmt.Fprintf(&yaml, "    target_files: [%q]\n", c.targetFile)
		c.writeTargets(servers)
	}
	must(os.WriteFile(config, yaml.Bytes(), 0o600))

	stderr, err := c.cmd.StderrPipe()
	must(err)
	c.started = time.Now()
	must(c.cmd.Start())
	t.Cleanup(func() { c.stop() })
	var output strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if strings.Contains(lines.Text(), "Everything is ready.") {
			c.ready = time.Now()
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return c
		}
		fmt.Fprintln(&output, lines.Text())
	}
	t.Fatalf("the collector did not start:\n%s", &output)
	return nil
}

// writeTargets replaces the target file.
func (c *collector) writeTargets(servers []int) {
	must(os.WriteFile(c.targetFile+".new", targetsYAML(servers, c.port, ""), 0o600))
	must(os.Rename(c.targetFile+".new", c.targetFile))
}

func targetsYAML(servers []int, port uint16, indent string) []byte {
	var list bytes.Buffer
	for _, s := range servers {
		fmt.Fprintf(&list, "%s- endpoint: %s\n", indent, netip.AddrPortFrom(address(s), port))
	}
	return list.Bytes()
}

func (c *collector) signal(s syscall.Signal) { must(c.cmd.Process.Signal(s)) }

// stop stops the collector and returns how long that took.
func (c *collector) stop() time.Duration {
	if c.stopped {
		return 0
	}
	c.stopped = true
	begin := time.Now()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	_ = c.cmd.Wait()
	return time.Since(begin)
}

func (c *collector) proc(file string) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.cmd.Process.Pid, file))
	must(err)
	return string(data)
}

// cpu returns the CPU time that the process has used so far, user and system.
func (c *collector) cpu() time.Duration {
	_, after, _ := strings.Cut(c.proc("stat"), ") ") // the process name before it may have spaces
	fields := strings.Fields(after)
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		must(err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on every architecture that Go supports
}

// memory returns one of the sizes in /proc/<pid>/status, in KiB.
func (c *collector) memory(name string) float64 {
	return number(c.proc("status"), `(?m)^`+name+`:\s+(\d+) kB`)
}

// lateProbes returns the share of probes that began more than 0.1 s late.
func (c *collector) lateProbes(t *testing.T) float64 {
	t.Helper()
	resp, err := http.Get(c.metricsURL)
	must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(err)
	const name = `(?m)^otelcol_tls_check_probe_lateness(?:_seconds)?`
	return 1 - number(string(text), name+`_bucket{.*le="0.1".*} (\S+)`)/number(string(text), name+`_count.* (\S+)`)
}

func number(text, pattern string) float64 {
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		panic(fmt.Sprintf("nothing matches %s in\n%s", pattern, text))
	}
	n, err := strconv.ParseFloat(found[1], 64)
	must(err)
	return n
}
