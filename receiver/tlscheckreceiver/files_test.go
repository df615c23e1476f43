package tlscheckreceiver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// jks returns a Java keystore with a certificate and its key.
func jks(t *testing.T, c tls.Certificate, password string) []byte {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	entry := keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: key}
	for _, der := range c.Certificate {
		entry.CertificateChain = append(entry.CertificateChain, keystore.Certificate{Type: "X509", Content: der})
	}
	store := keystore.New()
	require.NoError(t, store.SetPrivateKeyEntry("site", entry, []byte(password)))
	var b bytes.Buffer
	require.NoError(t, store.Store(&b, []byte(password)))
	return b.Bytes()
}

// p12 returns a PKCS#12 file with a certificate and its key.
func p12(t *testing.T, c tls.Certificate, password string) []byte {
	t.Helper()
	data, err := pkcs12.Modern2023.Encode(c.PrivateKey, c.Leaf, nil, password)
	require.NoError(t, err)
	return data
}

func TestKeystoresAreOpenedWithTheirPassword(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-open-sesame"
	site := tlsfarm.NewAuthority("Farm_Root").Issue("site") // without a space, at which sorted splits
	pem, _ := tlsfarm.PEM(site)
	dir := t.TempDir()
	cases := []struct {
		name          string
		content       []byte
		keys, failure string
	}{
		{"PKCS#12", p12(t, site, secret), "password: " + secret, ""},
		{"PKCS#12 by file_format", p12(t, site, secret), "file_format: pkcs12, password: " + secret, ""},
		{"JKS", jks(t, site, secret), "password: " + secret, ""},
		{"JKS by file_format", jks(t, site, secret), "file_format: jks, password: " + secret, ""},
		{"JKS without a password, as its certificates are not encrypted", jks(t, site, secret), "file_format: jks", ""},
		{"PKCS#12 labelled JKS, as keytool does it", p12(t, site, secret), "file_format: jks, password: " + secret, ""},
		{"PEM", pem, "file_format: pem, password: " + secret, ""},
		{"PKCS#12, wrong password", p12(t, site, "another"), "password: " + secret, "file_wrong_password"},
		{"PKCS#12, no password", p12(t, site, secret), "file_format: pkcs12", "file_wrong_password"},
		{"JKS, wrong password", jks(t, site, "another"), "password: " + secret, "file_wrong_password"},
		{"PEM instead of PKCS#12", pem, "file_format: pkcs12, password: " + secret, "file_malformed"},
		{"PKCS#12 instead of PEM", p12(t, site, secret), "file_format: pem, password: " + secret, "file_malformed"},
		{"PKCS#12 cut short", p12(t, site, secret)[:500], "password: " + secret, "file_malformed"},
	}
	path := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	yaml := "initial_delay: 0s\ntargets:\n"
	for i, c := range cases {
		write(t, path(i), c.content)
		yaml += fmt.Sprintf("  - {file_path: %q, %s}\n", path(i), c.keys)
	}
	p, stop := start(t, yaml)
	eventually(t, func() bool { return len(p.points("tls.probe.success")) >= len(cases) })
	stop()
	for i, c := range cases {
		leaf := fmt.Sprintf("certificate.depth=0 certificate.issuer=Farm_Root certificate.path=%s certificate.subject=site 90.00", path(i))
		failure := fmt.Sprintf("certificate.path=%s error.type=%s tls.probe.phase=file 1", path(i), c.failure)
		if c.failure == "" {
			assert.Contains(t, sorted(p.points("tls.certificate.days_until_expiry")), leaf, c.name)
			assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s 1", path(i))}, p.of(path(i)), c.name)
		} else {
			assert.Contains(t, sorted(p.points("tls.probe.failures")), failure, c.name)
			assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s 0", path(i))}, p.of(path(i)), c.name)
		}
	}
	assert.NotContains(t, p.all(t), secret)
}

// all returns all that the receiver sent and logged, as text.
func (p *pipeline) all(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, md := range p.metrics.AllMetrics() {
		data, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
		require.NoError(t, err)
		b.Write(data)
	}
	for _, td := range p.traces.AllTraces() {
		data, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
		require.NoError(t, err)
		b.Write(data)
	}
	for _, e := range p.log.All() {
		fmt.Fprintln(&b, e.Message, e.ContextMap())
	}
	return b.String()
}

// A leaf that Go cannot read is not replaced by the CA after it.
func TestUnreadableLeafFailsItsFile(t *testing.T) {
	t.Parallel()
	ca := tlsfarm.NewAuthority("Farm_Root")
	dir := t.TempDir()
	leaf, bundle := filepath.Join(dir, "leaf.pem"), filepath.Join(dir, "bundle.pem")
	write(t, leaf, tlsfarm.Unreadable(ca.Issue("site")), ca.PEM())
	write(t, bundle, tlsfarm.Unreadable(tls.Certificate{Certificate: [][]byte{tlsfarm.NewAuthority("Odd_Root").Certificate.Raw}}), ca.PEM())
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, targets: [{file_path: %q}, {file_path: %q}]}", leaf, bundle))
	eventually(t, func() bool { return len(p.points("tls.probe.success")) >= 2 })
	stop()
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s 0", leaf)}, p.of(leaf))
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s 1", bundle)}, p.of(bundle))
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s error.type=file_malformed tls.probe.phase=file 1", leaf)}, sorted(p.points("tls.probe.failures")))
	var days, bad []string
	for _, path := range []string{bundle, leaf} {
		days = append(days, fmt.Sprintf("certificate.depth=1 certificate.issuer=Farm_Root certificate.path=%s certificate.subject=Farm_Root 3650.00", path))
		bad = append(bad, fmt.Sprintf("certificate.path=%s error.type=malformed_certificate 1", path))
	}
	assert.ElementsMatch(t, days, sorted(p.points("tls.certificate.days_until_expiry")))
	assert.ElementsMatch(t, bad, sorted(p.points("tls.validation.errors")))
	assert.Equal(t, 1, p.log.FilterMessageSnippet(`"site" (PEM block at line 1): its serial number is negative`).Len())
}

// A key that does not fit does not hide that the certificate has expired, and nothing of it is sent or logged.
func TestPrivateKeyOfAFile(t *testing.T) {
	t.Parallel()
	ca := tlsfarm.NewAuthority("Farm_Root")
	pem, key := tlsfarm.PEM(ca.Issue("site"))
	old, _ := tlsfarm.PEM(ca.Issue("old", tlsfarm.Validity(-48*time.Hour, -24*time.Hour)))
	dir := t.TempDir()
	yaml := "initial_delay: 0s\ntargets:\n"
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, certificates := range map[string][]byte{"good": pem, "old": old} {
		write(t, path(name), certificates)
		write(t, path(name+".key"), key)
		ago := time.Now().Add(-time.Minute)
		require.NoError(t, os.Chtimes(path(name), ago, ago))
		require.NoError(t, os.Chtimes(path(name+".key"), ago, ago))
		yaml += fmt.Sprintf("  - {file_path: %q, key_path: %q}\n", path(name), path(name+".key"))
	}
	p, stop := start(t, yaml)
	eventually(t, func() bool { return len(p.points("tls.probe.success")) >= 2 })
	stop()
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s 1", path("good"))}, p.of(path("good")))
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s 0", path("old"))}, p.of(path("old")))
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s error.type=file_key_mismatch tls.probe.phase=file 1", path("old"))}, sorted(p.points("tls.probe.failures")))
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s error.type=cert_expired 1", path("old"))}, sorted(p.points("tls.validation.errors")))
	all := p.all(t)
	assert.Contains(t, all, "does not fit the certificate")
	for _, line := range strings.Split(string(key), "\n")[1:] {
		if !strings.HasPrefix(line, "-----") && len(line) > 10 {
			assert.NotContains(t, all, line[:10])
		}
	}
}

func TestSeriesOfADeletedFileEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.pem"), filepath.Join(dir, "b.pem")
	old, _ := tlsfarm.PEM(root.Issue("old", tlsfarm.Validity(-48*time.Hour, -24*time.Hour)))
	good, _ := tlsfarm.PEM(root.Issue("good"))
	write(t, a, old)
	write(t, b, good)
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 50ms, targets: [{file_path: %q}]}", filepath.Join(dir, "*.pem")))
	// readAgain waits until all files were read at least once from now on. One reading may be under way, but not two.
	readAgain := func() {
		now := time.Now()
		eventually(t, func() bool {
			times := p.times("certificate.path", b)
			return len(times) >= 2 && times[len(times)-2].After(now)
		})
	}
	readAgain()
	assert.NotEmpty(t, p.of(a))
	first := fmt.Sprintf("certificate.path=%s error.type=cert_expired tls.probe.phase=verify 1", a)
	assert.Equal(t, first, sorted(p.points("tls.probe.failures"))[0])
	removed := time.Now()
	require.NoError(t, os.Remove(a))
	readAgain()
	n := len(p.of(a))
	readAgain()
	readAgain()
	assert.Len(t, p.of(a), n, "a deleted file has no more points")
	before := len(p.points("tls.probe.failures"))
	write(t, a, old)
	readAgain()
	stop()
	require.Greater(t, len(p.points("tls.probe.failures")), before)
	if time.Since(removed) < 10*time.Second { // after that it would count as gone; only a very slow machine takes so long
		assert.NotEqual(t, first, sorted(p.points("tls.probe.failures"))[before], "its counters continue")
		assert.Equal(t, 1, p.log.FilterMessageSnippet("Certificate file begins to fail").Len())
	}
	assert.NotContains(t, p.of(b), fmt.Sprintf("certificate.path=%s 0", b))
}

// of returns the points of tls.probe.success of a file.
func (p *pipeline) of(path string) (points []string) {
	for _, point := range p.points("tls.probe.success") {
		if strings.HasPrefix(point, "certificate.path="+path+" ") {
			points = append(points, point)
		}
	}
	return points
}

func TestPatternThatMatchesNoFileFails(t *testing.T) {
	t.Parallel()
	pattern := filepath.Join(t.TempDir(), "*.pem")
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, targets: [{file_path: %q}]}", pattern))
	p.batch(t)
	stop()
	assert.Equal(t, []string{fmt.Sprintf("certificate.path=%s error.type=file_not_found tls.probe.phase=file 1", pattern)}, sorted(p.points("tls.probe.failures")))
	assert.Equal(t, 1, p.log.FilterMessageSnippet("Certificate file begins to fail: There is no file").Len())
}

// Two targets with the same file and the same attributes would send the same series.
func TestFileOfTwoTargetsIsLogged(t *testing.T) {
	t.Parallel()
	p, stop := start(t, `
initial_delay: 1h
targets:
  - {endpoint: "a:1", file_path: /etc/ssl/site.pem}
  - {endpoint: "b:1", file_path: /etc/ssl/site.pem}
  - {endpoint: "c:1", file_path: /etc/ssl/site.pem, attributes: {n: "3"}}
`)
	stop()
	warnings := p.log.FilterMessageSnippet("Two targets have the same file_path and the same attributes").All()
	require.Len(t, warnings, 1)
	assert.Equal(t, "/etc/ssl/site.pem", warnings[0].ContextMap()["file_path"])
	assert.Equal(t, 1, p.log.Len())
}

func TestChangedFileIsReadWithoutWaitingForTheInterval(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "site.pem")
	one, _ := tlsfarm.PEM(root.Issue("one"))
	two, _ := tlsfarm.PEM(root.Issue("two"))
	write(t, path, one)
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 24h, targets: [{file_path: %q}]}", path))
	has := func(subject string) bool {
		return strings.Contains(strings.Join(p.points("tls.certificate.days_until_expiry"), " "), "certificate.subject="+subject)
	}
	eventually(t, func() bool { return has("one") })
	if p.log.FilterMessageSnippet("cannot be watched").Len() > 0 {
		t.Skip("this system cannot watch it")
	}
	// The file is written until it is read, as the watch may begin only after the first time.
	require.Eventually(t, func() bool { write(t, path, two); return has("two") }, patience, 300*time.Millisecond)
	stop()
}

// trustVariable is the environment variable with the path of the system's roots. It is set in the process of TestTrust.
const trustVariable = "TLSCHECK_TRUST"

// A process reads the system's roots only once. This test replaces them, so it starts a process of its own.
func TestTrust(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("the system's roots cannot be set by environment variables there")
	}
	system := os.Getenv(trustVariable)
	if system == "" {
		system = filepath.Join(t.TempDir(), "system.pem")
		child := exec.Command(os.Args[0], "-test.run", "^TestTrust$", "-test.v")
		child.Env = append(os.Environ(), trustVariable+"="+system, "SSL_CERT_FILE="+system, "SSL_CERT_DIR="+t.TempDir())
		out, err := child.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestTrust")
		return
	}

	farms := map[string]*tlsfarm.Authority{"system": tlsfarm.NewAuthority("System"), "own": tlsfarm.NewAuthority("Own"), "other": tlsfarm.NewAuthority("Other")}
	require.NoError(t, os.WriteFile(system, farms["system"].PEM(), 0o600))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, farms["own"].PEM())
	both := filepath.Join(t.TempDir(), "both.pem")
	write(t, both, farms["own"].PEM(), []byte("# a comment\n"), farms["other"].PEM())
	for block, want := range map[string][]string{
		`{}`:                                            {"system"},
		`{include_system_ca_certs_pool: true}`:          {"system"},
		fmt.Sprintf(`{ca_file: %q}`, ca):                {"own"},
		fmt.Sprintf(`{ca_file: %q}`, both):              {"other", "own"},
		fmt.Sprintf(`{ca_pem: %q}`, farms["own"].PEM()): {"own"},
		fmt.Sprintf(`{ca_file: %q, include_system_ca_certs_pool: true}`, ca):                {"own", "system"},
		fmt.Sprintf(`{ca_pem: %q, include_system_ca_certs_pool: true}`, farms["own"].PEM()): {"own", "system"},
	} {
		assert.Equal(t, want, trusted(t, block, farms), block)
	}

	// The system's roots are still trusted when the CA file is renewed.
	s := farm(t, &tls.Config{Certificates: []tls.Certificate{farms["system"].Issue("x")}})
	targets, _ := buildWithLog(t, fmt.Sprintf("{tls: {ca_file: %q, include_system_ca_certs_pool: true}, targets: [{endpoint: %q}]}", ca, s.Endpoint()))
	write(t, ca, farms["other"].PEM())
	want := x509.NewCertPool()
	want.AddCert(farms["system"].Certificate)
	want.AddCert(farms["other"].Certificate)
	assert.True(t, targets[0].Settings().RootCAs.Equal(want))
}
