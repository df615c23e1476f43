package tlscheckreceiver

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

var written atomic.Int64

// write writes a file in place. It sets a modification time that is about an hour ago and differs from call to call, as
// what was written just now is treated as unfinished.
func write(t *testing.T, path string, content ...[]byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, bytes.Join(content, nil), 0o600))
	at := time.Now().Add(-time.Hour + time.Duration(written.Add(1))*time.Second)
	require.NoError(t, os.Chtimes(path, at, at))
}

// link creates a symbolic link. If there is one already, it is replaced by renaming, as certbot and Kubernetes do.
func link(t *testing.T, to, path string) {
	t.Helper()
	require.NoError(t, os.Symlink(to, path+".new"))
	require.NoError(t, os.Rename(path+".new", path))
}

// buildWithLog builds targets whose tls blocks check their files whenever the settings are read.
func buildWithLog(t *testing.T, yaml string) (targets []*target.Target, log *observer.ObservedLogs) {
	t.Helper()
	cfg, err := configure(t, yaml)
	require.NoError(t, err)
	core, log := observer.New(zap.InfoLevel)
	targets, err = cfg.build(targetconfig.NewBuilder(0, zap.New(core)))
	require.NoError(t, err)
	return targets, log
}

// shown returns the common name of the client certificate that a target would present.
func shown(t *testing.T, tt *target.Target) string {
	t.Helper()
	c, err := tt.Settings().GetClientCertificate(nil)
	require.NoError(t, err)
	return c.Leaf.Subject.CommonName
}

// mutual starts a server that reports the common names of the client certificates it sees.
func mutual(t *testing.T, clients *tlsfarm.Authority) (s *tlsfarm.Server, seen <-chan string) {
	t.Helper()
	names := make(chan string, 1000)
	return farm(t, &tls.Config{
		Certificates: []tls.Certificate{root.Issue("healthy")},
		MaxVersion:   tls.VersionTLS12, // in TLS 1.3 each probe would wait for the server to refuse the certificate
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(),
		VerifyConnection: func(state tls.ConnectionState) error {
			names <- state.PeerCertificates[0].Subject.CommonName
			return nil
		},
	}), names
}

func TestRenewedClientCertificateIsPresented(t *testing.T) {
	t.Parallel()
	clients := tlsfarm.NewAuthority("Clients")
	s, seen := mutual(t, clients)
	for name, put := range map[string]func(t *testing.T, file string, round string, content []byte){
		"written in place": func(t *testing.T, file, _ string, content []byte) { write(t, file, content) },
		"written in place, with another size and the same time": func(t *testing.T, file, round string, content []byte) {
			write(t, file, content, []byte(strings.Repeat("\n", len(round)))) // its length differs from round to round
			require.NoError(t, os.Chtimes(file, time.Unix(1e9, 0), time.Unix(1e9, 0)))
		},
		"renamed": func(t *testing.T, file, _ string, content []byte) {
			write(t, file+".tmp", content)
			require.NoError(t, os.Rename(file+".tmp", file))
		},
		"renamed, with the same time": func(t *testing.T, file, _ string, content []byte) {
			write(t, file+".tmp", content)
			require.NoError(t, os.Chtimes(file+".tmp", time.Unix(1e9, 0), time.Unix(1e9, 0)))
			require.NoError(t, os.Rename(file+".tmp", file))
		},
		"link replaced, as by certbot": func(t *testing.T, file, round string, content []byte) {
			archived := filepath.Join("archive", round+filepath.Base(file))
			write(t, filepath.Join(filepath.Dir(file), archived), content)
			link(t, archived, file)
		},
		"directory replaced, as by Kubernetes": func(t *testing.T, file, round string, content []byte) {
			dir, base := filepath.Split(file)
			write(t, filepath.Join(dir, ".."+round, base), content)
			link(t, ".."+round, filepath.Join(dir, "..data"))
			link(t, filepath.Join("..data", base), file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
			issue := func(name string) {
				chain, key := tlsfarm.PEM(clients.Issue(name))
				for file, pem := range map[string][]byte{certFile: chain, keyFile: key} { // all of one size
					put(t, file, name, append(pem, bytes.Repeat([]byte("\n"), 2000-len(pem))...))
				}
			}
			issue("first")
			ca := caFile(t)
			write(t, ca, root.PEM())
			targets, log := buildWithLog(t, fmt.Sprintf("{tls: {ca_file: %q, cert_file: %q, key_file: %q}, targets: [{endpoint: %q}]}",
				ca, certFile, keyFile, s.Endpoint()))
			prober := &probe.Prober{}
			for _, name := range []string{"first", "second", "the third"} {
				if name != "first" {
					issue(name)
				}
				o := prober.ProbeEndpoint(t.Context(), targets[0])
				require.Nil(t, o.Failure)
				assert.Equal(t, name, <-seen)
				assert.Equal(t, name, o.ClientCert.Subject.CommonName)
			}
			assert.Zero(t, log.Len())
		})
	}
}

func TestRenewedFilesAreUsedWithoutARestart(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	clients := tlsfarm.NewAuthority("Clients")
	s, seen := mutual(t, clients)
	certFile, keyFile := keyPair(t, clients.Issue("first", tlsfarm.Validity(-day, 5*day+time.Hour)))
	ca := caFile(t)
	inBubble(t, func(t *testing.T) {
		p, stop := start(t, fmt.Sprintf(`
collection_interval: 10s
initial_delay: 0s
tls: {ca_file: %q, cert_file: %q, key_file: %q}
targets: [{endpoint: %q}]
`, ca, certFile, keyFile, s.Endpoint()))
		p.await(t, "tls.client_certificate.days_until_expiry", "certificate.subject=first certificate.issuer=Clients 5.04")
		chain, key := tlsfarm.PEM(clients.Issue("second", tlsfarm.Validity(-day, 50*day+time.Hour)))
		write(t, certFile, chain)
		write(t, keyFile, key)
		p.await(t, "tls.client_certificate.days_until_expiry", "certificate.subject=second certificate.issuer=Clients 50.04")
		write(t, ca, tlsfarm.NewAuthority("Other").PEM())
		p.await(t, "tls.probe.failures", "tls.probe.phase=verify error.type=untrusted_ca 1")
		stop()
	})
	names := map[string]bool{}
	for len(seen) > 0 {
		names[<-seen] = true
	}
	assert.Equal(t, map[string]bool{"first": true, "second": true}, names)
}

// await waits until a metric has a point, which is written as by points.
func (p *pipeline) await(t *testing.T, metric, point string) {
	t.Helper()
	if !assert.Eventually(t, func() bool { return slices.Contains(p.points(metric), point) }, patience, 5*time.Millisecond) {
		t.Fatalf("%s has no %q but %q", metric, point, p.points(metric))
	}
}

// A remembered verdict counts only for the roots with which the certificate was verified.
func TestCertificateIsVerifiedAgainWithARenewedCA(t *testing.T) {
	t.Parallel()
	s, other, ca := farm(t, healthy()), tlsfarm.NewAuthority("Other"), caFile(t)
	targets, _ := buildWithLog(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: %q}]}", ca, s.Endpoint()))
	prober := &probe.Prober{}
	for i, c := range []struct {
		ca         []byte // written before the probe; nil where it stays the same
		failure    failure.Type
		remembered bool
	}{
		{ca: root.PEM()},
		{remembered: true},
		{ca: other.PEM(), failure: "untrusted_ca"},
		{failure: "untrusted_ca"},
		{ca: root.PEM()},
		{remembered: true},
		{ca: append(other.PEM(), root.PEM()...)},
	} {
		if c.ca != nil {
			write(t, ca, c.ca)
		}
		o := prober.ProbeEndpoint(t.Context(), targets[0])
		assert.Equal(t, c.remembered, o.Handshake.FromCache, i)
		if c.failure == "" {
			assert.Nil(t, o.Failure, i)
		} else if assert.NotNil(t, o.Failure, i) {
			assert.Equal(t, c.failure, o.Failure.Type, i)
		}
	}
}

func TestInvalidFilesLeaveThePreviousOnesInUse(t *testing.T) {
	t.Parallel()
	const cannot, can = "The changed files of a tls block cannot be used", "The files of a tls block can be used again."
	clients, other := tlsfarm.NewAuthority("Clients"), tlsfarm.NewAuthority("Other")
	newChain, newKey := tlsfarm.PEM(clients.Issue("new"))
	for name, c := range map[string]struct {
		file    string
		content []byte // nil where it is deleted
		logged  string
	}{
		"certificate renewed, key not yet": {"cert.pem", newChain, "does not belong to the certificate"},
		"key renewed, certificate not yet": {"key.pem", newKey, "does not belong to the certificate"},
		"certificate half-written":         {"cert.pem", newChain[:len(newChain)/2], "cert.pem"},
		"certificate empty":                {"cert.pem", []byte{}, "cert.pem"},
		"key half-written":                 {"key.pem", newKey[:len(newKey)/2], "key.pem"},
		"key deleted":                      {"key.pem", nil, "no such file"},
		"CA empty":                         {"ca.pem", []byte{}, "ca.pem"},
		"CA deleted":                       {"ca.pem", nil, "no such file"},
	} {
		for _, reloadInterval := range []string{"0s", "1ns"} { // that of configtls makes no difference
			t.Run(name+", reload_interval "+reloadInterval, func(t *testing.T) {
				dir := t.TempDir()
				ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
				oldChain, oldKey := tlsfarm.PEM(clients.Issue("old"))
				write(t, ca, root.PEM())
				write(t, cert, oldChain)
				write(t, key, oldKey)
				targets, log := buildWithLog(t, fmt.Sprintf(
					"{tls: {ca_file: %q, cert_file: %q, key_file: %q, reload_interval: %s}, targets: [{endpoint: \"a:1\"}]}", ca, cert, key, reloadInterval))

				changed := filepath.Join(dir, c.file)
				if c.content == nil {
					require.NoError(t, os.Remove(changed))
				} else {
					write(t, changed, c.content)
				}
				for range 3 {
					assert.Equal(t, "old", shown(t, targets[0]))
					assert.True(t, targets[0].Settings().RootCAs.Equal(root.Pool()))
				}
				warnings := log.FilterMessageSnippet(cannot).All()
				require.Len(t, warnings, 1, "not one for each probe")
				assert.Contains(t, fmt.Sprint(warnings[0].ContextMap()), c.logged)
				assert.Equal(t, 1, log.Len())

				write(t, ca, other.PEM())
				write(t, cert, newChain)
				write(t, key, newKey)
				for range 3 {
					assert.Equal(t, "new", shown(t, targets[0]))
					assert.True(t, targets[0].Settings().RootCAs.Equal(other.Pool()))
				}
				assert.Equal(t, 1, log.FilterMessageSnippet(can).Len())
				assert.Equal(t, 2, log.Len())
			})
		}
	}
}

func TestNewReasonWhyFilesAreInvalidIsLogged(t *testing.T) {
	ca := caFile(t)
	targets, log := buildWithLog(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: \"a:1\"}]}", ca))
	for _, content := range []string{"", "garbage"} { // invalid for the same reason
		write(t, ca, []byte(content))
		targets[0].Settings()
	}
	assert.Equal(t, 1, log.Len())
	require.NoError(t, os.Remove(ca))
	targets[0].Settings()
	assert.Equal(t, 2, log.Len())
}

// A file may be written twice within one tick of the file system's clock, with the same size both times.
func TestFileThatWasJustWrittenIsReadAgain(t *testing.T) {
	one, two := root.PEM(), tlsfarm.NewAuthority("Other").PEM()
	size := max(len(one), len(two))
	one, two = append(one, bytes.Repeat([]byte("\n"), size-len(one))...), append(two, bytes.Repeat([]byte("\n"), size-len(two))...)
	ca := caFile(t)
	for {
		now := time.Now()
		require.NoError(t, os.WriteFile(ca, one, 0o600))
		require.NoError(t, os.Chtimes(ca, now, now))
		targets, _ := buildWithLog(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: \"a:1\"}]}", ca))
		if time.Since(now) >= diskfile.Settled {
			continue // the machine is so slow that the file is no longer new
		}
		require.NoError(t, os.WriteFile(ca, two, 0o600))
		require.NoError(t, os.Chtimes(ca, now, now))
		assert.False(t, targets[0].Settings().RootCAs.Equal(targets[0].TLS.RootCAs))
		return
	}
}

func TestTargetWithoutFilesHasNothingToRenew(t *testing.T) {
	chain, key := tlsfarm.PEM(root.Issue("a"))
	for _, tt := range build(t, fmt.Sprintf(`
targets:
  - {endpoint: "a:1"}
  - {endpoint: "b:1", alpn: [h2], certificate_types: [ecdsa]}
  - {endpoint: "c:1", tls: {ca_pem: %q, cert_pem: %q, key_pem: %q}}
  - {file_path: /etc/ssl/*.pem}
`, root.PEM(), chain, key)) {
		assert.Nil(t, tt.Renewed, tt)
		assert.Same(t, tt.TLS, tt.Settings().Config)
		assert.Same(t, tt.TLS.RootCAs, tt.Settings().Roots.Pool())
	}
}

func TestSettingsCanBeReadWhileFilesAreRenewed(t *testing.T) {
	t.Parallel()
	ca := caFile(t)
	targets, log := buildWithLog(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: \"a:1\"}, {endpoint: \"b:1\", alpn: [h2]}]}", ca))
	var reading sync.WaitGroup
	for _, tt := range targets {
		for range 4 {
			reading.Go(func() {
				for range 50 {
					assert.NotNil(t, tt.Settings().RootCAs)
				}
			})
		}
	}
	for range 10 {
		write(t, ca+".new", tlsfarm.NewAuthority("Other").PEM())
		require.NoError(t, os.Rename(ca+".new", ca))
	}
	reading.Wait()
	assert.Zero(t, log.Len())
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func issueRSA(name string) tls.Certificate { return root.Issue(name, tlsfarm.Key(rsaKey())) }

func TestEachCertificateTypeIsProbedOnce(t *testing.T) {
	t.Parallel()
	var handshakes atomic.Int64
	s := farm(t, &tls.Config{
		Certificates:     []tls.Certificate{root.Issue("elliptic"), issueRSA("round")},
		VerifyConnection: func(tls.ConnectionState) error { handshakes.Add(1); return nil },
	})
	p, stop := start(t, fmt.Sprintf(`
initial_delay: 0s
tls: {ca_file: %q}
certificate_types: [ecdsa, rsa]
metrics: {tls.certificate.info: {enabled: true, attributes: [certificate.subject, certificate.key.algorithm]}}
targets: [{endpoint: %q, attributes: {team: edge}}]
`, caFile(t), s.Endpoint()))
	eventually(t, func() bool { return len(p.points("tls.probe.success")) == 2 })
	stop()
	assert.Equal(t, int64(2), handshakes.Load())
	assert.ElementsMatch(t, []string{"certificate.type=ecdsa team=edge 1", "certificate.type=rsa team=edge 1"}, sorted(p.points("tls.probe.success")))
	assert.Subset(t, sorted(p.points("tls.certificate.info")), []string{
		"certificate.key.algorithm=ECDSA certificate.subject=elliptic certificate.type=ecdsa team=edge 1",
		"certificate.key.algorithm=RSA certificate.subject=round certificate.type=rsa team=edge 1",
	})
	seen := map[string]int{}
	for _, span := range p.spans() {
		kind, ok := span.Attributes().Get("certificate.type")
		require.True(t, ok, span.Name())
		algorithm, _ := span.Attributes().Get("tls.cert.key.algorithm")
		seen[span.Name()+" "+kind.Str()+" "+algorithm.Str()]++
	}
	assert.Equal(t, map[string]int{
		"tls.connect ecdsa ": 1, "tcp.connect ecdsa ": 1, "tls.handshake ecdsa ECDSA": 1,
		"tls.connect rsa ": 1, "tcp.connect rsa ": 1, "tls.handshake rsa RSA": 1,
	}, seen)
}

// sorted sorts the attributes of each point.
func sorted(points []string) []string {
	for i, p := range points {
		words := strings.Fields(p)
		slices.Sort(words[:len(words)-1])
		points[i] = strings.Join(words, " ")
	}
	return points
}

func TestCertificateTypeThatTheServerLacks(t *testing.T) {
	t.Parallel()
	elliptic, round := root.Issue("elliptic"), issueRSA("round")
	onlyTLS13 := &tls.Config{Certificates: []tls.Certificate{elliptic, round}, MinVersion: tls.VersionTLS13}
	for _, c := range []struct {
		name   string
		config *tls.Config
		fails  map[string]bool
	}{
		{"both", &tls.Config{Certificates: []tls.Certificate{elliptic, round}}, map[string]bool{}},
		{"ECDSA only", &tls.Config{Certificates: []tls.Certificate{elliptic}}, map[string]bool{"rsa": true}},
		{"RSA only", &tls.Config{Certificates: []tls.Certificate{round}}, map[string]bool{"ecdsa": true}},
		{"TLS 1.3 only", onlyTLS13, map[string]bool{"ecdsa": true, "rsa": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := farm(t, c.config)
			for _, tt := range build(t, fmt.Sprintf("{tls: {ca_file: %q}, targets: [{endpoint: %q, certificate_types: [rsa, ecdsa]}]}", caFile(t), s.Endpoint())) {
				o := (&probe.Prober{}).ProbeEndpoint(t.Context(), tt)
				if !c.fails[tt.CertificateType] {
					require.Nil(t, o.Failure)
					continue
				}
				require.NotNil(t, o.Failure)
				kind := strings.ToUpper(tt.CertificateType)
				assert.Contains(t, o.Failure.Fix, "nable TLS 1.2")
				if c.config == onlyTLS13 {
					assert.Contains(t, o.Failure.Cause, s.Endpoint()+" uses its "+kind+" certificate only in TLS 1.3.")
					continue
				}
				assert.Contains(t, o.Failure.Cause, s.Endpoint()+" refuses clients that accept only an "+kind+" certificate")
				assert.Contains(t, o.Failure.Fix, "Configure an "+kind+" certificate")
			}
		})
	}
}

// Of the configured suites, those for the certificate type are offered and no others.
func TestCertificateTypesOfferNoMoreThanConfigured(t *testing.T) {
	suite := map[uint16]string{}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		suite[s.ID] = s.Name
	}
	for yaml, want := range map[string]struct {
		max        uint16
		ecdsa, rsa []string
		more       bool // may be offered too
	}{
		`{}`:                   {tls.VersionTLS12, []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}, []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, true},
		`{max_version: "1.3"}`: {tls.VersionTLS12, []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}, []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, true},
		`{min_version: "1.0", max_version: "1.1"}`: {tls.VersionTLS11, []string{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"}, []string{"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"}, true},
		`{cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_RSA_WITH_RC4_128_SHA], include_insecure_cipher_suites: true}`: {
			tls.VersionTLS12, []string{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"}, []string{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, false,
		},
		`{cipher_suites: [TLS_ECDHE_RSA_WITH_RC4_128_SHA, TLS_ECDHE_ECDSA_WITH_RC4_128_SHA], include_insecure_cipher_suites: true}`: {
			tls.VersionTLS12, []string{"TLS_ECDHE_ECDSA_WITH_RC4_128_SHA"}, []string{"TLS_ECDHE_RSA_WITH_RC4_128_SHA"}, false,
		},
	} {
		t.Run(yaml, func(t *testing.T) {
			targets := build(t, fmt.Sprintf(`{tls: %s, targets: [{endpoint: "a:1", certificate_types: [ecdsa, rsa]}]}`, yaml))
			require.Len(t, targets, 2)
			for i, suites := range [][]string{want.ecdsa, want.rsa} {
				tt := targets[i]
				kind := []string{"ecdsa", "rsa"}[i]
				assert.Equal(t, kind, tt.CertificateType)
				assert.Equal(t, kind, tt.Attributes["certificate.type"])
				assert.Equal(t, want.max, tt.TLS.MaxVersion)
				var got []string
				for _, id := range tt.TLS.CipherSuites {
					got = append(got, suite[id])
					assert.Contains(t, suite[id], "_ECDHE_"+strings.ToUpper(kind)+"_")
					assert.False(t, want.more && isInsecure(id), suite[id])
				}
				if want.more {
					assert.Subset(t, got, suites)
				} else {
					assert.Equal(t, suites, got)
				}
			}
		})
	}
}

func isInsecure(id uint16) bool {
	return slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == id })
}

func TestEachCertificateTypeIsATarget(t *testing.T) {
	targets := build(t, `
certificate_types: [rsa, ecdsa]
attributes: {team: edge}
targets:
  - {endpoint: "a:1"}
  - {endpoint: "b:1", certificate_types: []}
  - {endpoint: "c:1", certificate_types: [rsa], file_path: /etc/ssl/c.pem}
  - {file_path: /etc/ssl/d.pem}
`)
	var got []string
	ids := map[string]bool{}
	for _, tt := range targets {
		got = append(got, fmt.Sprint(tt, " ", tt.Files.Pattern, " ", slices.Sorted(maps.Values(tt.Attributes))))
		ids[tt.ID] = true
	}
	assert.Equal(t, []string{
		"a:1  [edge rsa]", "a:1  [ecdsa edge]", "b:1  [edge]", "/etc/ssl/c.pem /etc/ssl/c.pem [edge]", "c:1 /etc/ssl/c.pem [edge rsa]", "/etc/ssl/d.pem /etc/ssl/d.pem [edge]",
	}, got)
	assert.Len(t, ids, len(targets))
}

func TestFileIsReportedOnceForAllCertificateTypes(t *testing.T) {
	t.Parallel()
	elliptic, round := root.Issue("elliptic"), issueRSA("round")
	s := farm(t, &tls.Config{Certificates: []tls.Certificate{elliptic, round}})
	path := filepath.Join(t.TempDir(), "site.pem")
	pem, _ := tlsfarm.PEM(round)
	write(t, path, pem)
	p, stop := start(t, fmt.Sprintf("{initial_delay: 0s, tls: {ca_file: %q}, targets: [{endpoint: %q, file_path: %q, certificate_types: [ecdsa, rsa]}]}",
		caFile(t), s.Endpoint(), path))
	eventually(t, func() bool { return len(p.points("tls.probe.success")) == 3 })
	stop()
	assert.ElementsMatch(t, []string{"certificate.path=" + path + " 1", "certificate.type=ecdsa 1", "certificate.type=rsa 1"}, sorted(p.points("tls.probe.success")))
	assert.Equal(t, []string{"certificate.path=" + path + " certificate.type=rsa 1"}, sorted(p.points("tls.certificate.file_match")), "the file has no ECDSA certificate")
}

// trusted returns the names of the farms that a tls block trusts.
func trusted(t *testing.T, block string, farms map[string]*tlsfarm.Authority) (names []string) {
	t.Helper()
	for name, ca := range farms {
		s := farm(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("x")}})
		o := (&probe.Prober{}).ProbeEndpoint(t.Context(), build(t, fmt.Sprintf("{tls: %s, targets: [{endpoint: %q}]}", block, s.Endpoint()))[0])
		if o.Failure == nil {
			names = append(names, name)
		} else {
			assert.Equal(t, failure.Type("untrusted_ca"), o.Failure.Type)
		}
	}
	slices.Sort(names)
	return names
}
