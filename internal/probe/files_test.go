package probe

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const day = 24 * time.Hour

// fileTarget returns a target that watches the files in dir that match pattern.
func fileTarget(dir, pattern string) *target.Target {
	return &target.Target{
		Files: target.Files{Pattern: filepath.Join(dir, pattern)}, ExpiryWarning: target.WarnBefore(30 * day),
		TLS: &tls.Config{RootCAs: root.Pool()},
	}
}

// write writes the concatenated contents to a file.
func write(t *testing.T, path string, content ...[]byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, slices.Concat(content...), 0o600))
}

// files returns the outcomes of reading a target's files.
func files(p *Prober, tt *target.Target) []Outcome {
	outcomes, _ := p.ReadFiles(context.Background(), tt)
	return outcomes
}

// chain returns the certificates of c in PEM.
func chain(c tls.Certificate) []byte { pem, _ := tlsfarm.PEM(c); return pem }

func TestFileOutcomes(t *testing.T) {
	old := tlsfarm.Validity(-90*day, -3*day-time.Minute)
	intermediate := root.Intermediate("Farm Intermediate")
	// The same CA, cross-signed by an expired root. It does no harm if there is another chain, to a trusted root.
	expiredRoot := tlsfarm.NewAuthority("Old Root", old)
	cross := expiredRoot.Cross(root)
	elsewhere := tlsfarm.NewAuthority("Unknown Root")
	for name, c := range map[string]struct {
		content  [][]byte
		failure  failure.Type
		step     failure.Step
		cause    string
		fix      string
		warnings []failure.Type
		count    int
	}{
		"leaf and intermediate": {content: [][]byte{chain(intermediate.Issue("www"))}, count: 2},
		"unknown root":          {content: [][]byte{chain(elsewhere.Issue("www"))}, count: 1},
		"key and certificate": {content: func() [][]byte {
			pem, key := tlsfarm.PEM(root.Issue("www"))
			return [][]byte{key, pem}
		}(), count: 1},
		"expired leaf": {
			content: [][]byte{chain(intermediate.Issue("www", old))}, count: 2, failure: "cert_expired", step: failure.Verify,
			cause: `The certificate "www" in FILE expired on`,
		},
		"expired leaf of an unknown root": {
			content: [][]byte{chain(elsewhere.Issue("www", old))}, count: 1, failure: "cert_expired", step: failure.Verify,
			cause: `The certificate "www" in FILE expired on`,
		},
		"leaf not yet valid": {
			content: [][]byte{chain(root.Issue("www", tlsfarm.Validity(time.Hour, 90*day)))}, count: 1, failure: "cert_not_yet_valid", step: failure.Verify,
			cause: `The certificate "www" in FILE is not valid until`,
		},
		"expired intermediate": {
			content: [][]byte{chain(root.Intermediate("Old Intermediate", old).Issue("www"))}, count: 2, failure: "cert_expired", step: failure.Verify,
			cause: `The certificate "Old Intermediate" in FILE expired on`,
		},
		"expired cross-signed root and a valid chain": {
			content: [][]byte{chain(intermediate.Issue("www")), cross.PEM(), expiredRoot.PEM()}, count: 4,
		},
		"leaf near its expiry": {
			content: [][]byte{chain(root.Issue("www", tlsfarm.Validity(-time.Hour, 20*day)))}, count: 1, warnings: []failure.Type{failure.NearExpiry},
		},
		"intermediate near its expiry": {
			content: [][]byte{chain(root.Intermediate("Short", tlsfarm.Validity(-time.Hour, 20*day)).Issue("www"))}, count: 2,
		},
		"second leaf expired": {
			content: [][]byte{chain(root.Issue("www")), chain(root.Issue("mail", old))}, count: 2, failure: "cert_expired", step: failure.Verify,
			cause: `The certificate "mail" in FILE expired on`,
		},
		"bundle of CAs": {content: [][]byte{root.PEM(), elsewhere.PEM()}, count: 2},
		"bundle of CAs with an expired one": {
			content: [][]byte{root.PEM(), expiredRoot.PEM()}, count: 2, failure: "cert_expired", step: failure.Verify,
			cause: `The certificate "Old Root" in FILE expired on`,
		},
		"bundle of CAs with one near its expiry": {
			content: [][]byte{root.PEM(), tlsfarm.NewAuthority("Short Root", tlsfarm.Validity(-day, 20*day)).PEM()}, count: 2,
			warnings: []failure.Type{failure.NearExpiry},
		},
		"bad block after the leaf": {
			content: [][]byte{chain(root.Issue("www")), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}, count: 1,
			warnings: []failure.Type{"malformed_certificate"},
		},
		"bad block before the leaf": {
			content: [][]byte{[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), chain(root.Issue("www"))}, count: 1,
			warnings: []failure.Type{"malformed_certificate"}, failure: "file_malformed", step: failure.File,
			cause: "The certificate that a server would present from FILE cannot be read: PEM block at line 1: ",
		},
		"leaf that Go cannot read": {
			content: [][]byte{tlsfarm.Unreadable(intermediate.Issue("www")), intermediate.PEM()}, count: 1,
			warnings: []failure.Type{"malformed_certificate"}, failure: "file_malformed", step: failure.File,
			cause: `FILE has a certificate this collector cannot read, "www" (PEM block at line 1): its serial number is negative. It is the one that a server would present. Others in the file can be read.`,
		},
		"leaf that Go cannot read, alone": {
			content: [][]byte{tlsfarm.Unreadable(intermediate.Issue("www"))}, failure: "file_malformed", step: failure.File,
			cause: `FILE has a certificate this collector cannot read, "www" (PEM block at line 1): its serial number is negative.`,
		},
		"leaf that Go cannot read, and CA near its expiry": { // only leaves matter
			content: [][]byte{tlsfarm.Unreadable(intermediate.Issue("www")), tlsfarm.NewAuthority("Short Root", tlsfarm.Validity(-day, 20*day)).PEM()}, count: 1,
			warnings: []failure.Type{"malformed_certificate"}, failure: "file_malformed", step: failure.File,
		},
		"bundle of CAs, the first of which Go cannot read": {
			content: [][]byte{tlsfarm.Unreadable(tls.Certificate{Certificate: [][]byte{elsewhere.Certificate.Raw}}), root.PEM()}, count: 1,
			warnings: []failure.Type{"malformed_certificate"},
		},
		"empty": {content: [][]byte{nil}, failure: "file_empty", step: failure.File, cause: "FILE is empty"},
		"key alone": {content: func() [][]byte {
			_, key := tlsfarm.PEM(root.Issue("www"))
			return [][]byte{key}
		}(), failure: "file_key_only", step: failure.File, cause: "FILE has a private key but no certificate."},
		"bad block alone": {
			content: [][]byte{[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}, failure: "file_malformed", step: failure.File,
			cause: "FILE has nothing that can be read as a certificate: PEM block at line 1: ",
			fix:   "Write the file again. It is PEM, but what is in it was cut off or altered.",
		},
		"block cut off, alone": {
			content: [][]byte{root.PEM()[:200]}, failure: "file_malformed", step: failure.File,
			cause: "FILE has nothing that can be read as a certificate: PEM block at line 1: malformed.",
			fix:   "Write the file again. It is PEM, but what is in it was cut off or altered.",
		},
		"keystore with a bad certificate": {
			content: [][]byte{[]byte("\xfe\xed\xfe\xed\x00\x00\x00\x01\x00\x00\x00\x01\x00")}, failure: "file_malformed", step: failure.File,
			cause: "FILE has nothing that can be read as a certificate: an entry: truncated, malformed or of an unknown type",
			fix:   "Write the keystore again. If that does not help, write its certificates to a file in PEM, and set file_path to that.",
		},
		"not quite PEM": {
			content: [][]byte{[]byte("-----BEGIN of the chain\n")}, failure: "file_malformed", step: failure.File,
			fix: "It must be PEM, DER, PKCS#12 or a Java keystore. Correct file_path, or file_format if it is set.",
		},
		"no certificate": {
			content: [][]byte{[]byte("hello")}, failure: "file_malformed", step: failure.File,
			fix:   "It must be PEM, DER, PKCS#12 or a Java keystore. Correct file_path, or file_format if it is set.",
			cause: "FILE has nothing that can be read as a certificate",
		},
		"too large": {
			content: [][]byte{make([]byte, certs.MaxFile+1)}, failure: "file_too_large", step: failure.File,
			cause: "FILE is too large for a certificate file: more than 16 MiB.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt := fileTarget(t.TempDir(), "site.pem")
			write(t, tt.Files.Pattern, c.content...)
			outcomes := files(&Prober{}, tt)
			require.Len(t, outcomes, 1)
			o := outcomes[0].(*FileOutcome)
			assert.Equal(t, tt.Files.Pattern, o.Name())
			assert.Same(t, tt, o.Target)
			assert.False(t, o.Start.IsZero() || o.End.Before(o.Start))
			assert.Len(t, o.Certificates, c.count)
			if c.step == failure.File {
				assert.Nil(t, Leaf(o), "another certificate is not the leaf")
			}
			assert.Equal(t, c.warnings, o.Warnings)
			if c.failure == "" {
				require.Nil(t, o.Failure)
				return
			}
			require.NotNil(t, o.Failure)
			assert.Equal(t, c.failure, o.Failure.Type)
			assert.Equal(t, c.step, o.Failure.Step)
			assert.Contains(t, o.Failure.Cause, strings.ReplaceAll(c.cause, "FILE", tt.Files.Pattern))
			assert.NotEmpty(t, o.Failure.Fix)
			assert.Contains(t, o.Failure.Fix, c.fix)
		})
	}
}

func TestFilesAreAddedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	var again []time.Duration
	tt, p := fileTarget(dir, "*.pem"), &Prober{}
	names := func() (names []string) {
		outcomes, after := p.ReadFiles(t.Context(), tt)
		if after > 0 {
			again = append(again, after)
		}
		for _, o := range outcomes {
			name := filepath.Base(o.Common().Name())
			if _, gone := o.(*Gone); gone {
				name = "gone: " + name
			} else if f := o.Common().Failure; f != nil {
				name = string(f.Type) + ": " + name
			}
			names = append(names, name)
		}
		return names
	}
	assert.Equal(t, []string{"file_not_found: *.pem"}, names())
	write(t, filepath.Join(dir, "a.pem"), chain(root.Issue("a")))
	write(t, filepath.Join(dir, "b.pem"), chain(root.Issue("b")))
	assert.Equal(t, []string{"a.pem", "b.pem", "*.pem", "gone: *.pem"}, names(), "the pattern has recovered, and there is nothing more to report about it")
	assert.Equal(t, []string{"a.pem", "b.pem"}, names())
	require.NoError(t, os.Remove(filepath.Join(dir, "a.pem")))
	assert.Equal(t, []string{"b.pem"}, names(), "a.pem may be about to be replaced")
	assert.Equal(t, []string{"b.pem"}, names())
	assert.Equal(t, []time.Duration{goneAfter}, again, "the files are read again when goneAfter has passed")
	write(t, filepath.Join(dir, "a.pem"), chain(root.Issue("a")))
	assert.Equal(t, []string{"a.pem", "b.pem"}, names())
	passGoneAfter := func() { // as if goneAfter had passed since files went missing
		for _, d := range p.history(tt).files {
			if !d.missing.IsZero() {
				d.missing = d.missing.Add(-goneAfter)
			}
		}
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "a.pem")))
	assert.Equal(t, []string{"b.pem"}, names())
	passGoneAfter()
	assert.Equal(t, []string{"b.pem", "gone: a.pem"}, names())
	assert.Equal(t, []string{"b.pem"}, names())
	require.NoError(t, os.Remove(filepath.Join(dir, "b.pem")))
	assert.Empty(t, names())
	passGoneAfter()
	assert.Equal(t, []string{"gone: b.pem", "file_not_found: *.pem"}, names())
	assert.Equal(t, []string{"file_not_found: *.pem"}, names())

	tt.Files.Silent = true
	assert.Empty(t, names())
	tt.Files.Silent = false

	// The pattern may have failed before the collector was restarted, and observers may have stored that.
	write(t, filepath.Join(dir, "a.pem"), chain(root.Issue("a")))
	p = &Prober{}
	assert.Equal(t, []string{"a.pem", "*.pem", "gone: *.pem"}, names())
	assert.Equal(t, []string{"a.pem"}, names())

	// A path without wildcards must exist.
	tt, p = fileTarget(dir, "c.pem"), &Prober{}
	write(t, tt.Files.Pattern, chain(root.Issue("c")))
	assert.Equal(t, []string{"c.pem"}, names())
	require.NoError(t, os.Remove(tt.Files.Pattern))
	assert.Equal(t, []string{"file_not_found: c.pem"}, names())

	assert.Nil(t, files(p, newTarget(t, "localhost:1")), "a target without files")
}

func TestFilesAreComparedWithTheEndpoint(t *testing.T) {
	disk, other := root.Issue("disk"), root.Issue("other")
	served := &disk
	s := tlsfarm.TLS(&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return served, nil }})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	tt.Files.Pattern = filepath.Join(t.TempDir(), "site.pem")
	p := &Prober{}
	probe := func() *Handshake {
		require.Len(t, files(p, tt), 1)
		o := p.ProbeEndpoint(t.Context(), tt)
		require.Nil(t, o.Failure, "a mismatch is only a warning")
		return o.Handshake
	}
	path := tt.Files.Pattern

	write(t, path, chain(disk))
	h := probe()
	assert.Equal(t, []OnDisk{{Path: path, Served: true}}, h.OnDisk)
	assert.Empty(t, h.Warnings)

	// The file is renewed, but the server is not reloaded. The difference began when the file was modified.
	write(t, path, chain(other))
	renewed := time.Now().Add(time.Hour).Truncate(time.Second)
	require.NoError(t, os.Chtimes(path, renewed, renewed))
	h = probe()
	require.Len(t, h.OnDisk, 1)
	assert.False(t, h.OnDisk[0].Served)
	assert.True(t, renewed.Equal(h.OnDisk[0].Since))
	assert.Equal(t, []failure.Type{failure.FileMismatch}, h.Warnings)
	assert.Equal(t, h.OnDisk, probe().OnDisk, "Since must not change with the next probe")

	served = &other // the server is reloaded
	h = probe()
	assert.Equal(t, []OnDisk{{Path: path, Served: true}}, h.OnDisk)
	assert.Empty(t, h.Warnings)

	// The server changes, but the file does not. The difference began when it was first seen.
	require.NoError(t, os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
	served = &disk
	before := time.Now()
	h = probe()
	assert.False(t, h.OnDisk[0].Since.Before(before) || h.OnDisk[0].Since.After(time.Now()))

	// The first probe knows only when the file was modified and when the served certificate was issued.
	p = &Prober{}
	assert.True(t, disk.Leaf.NotBefore.Equal(probe().OnDisk[0].Since))
	recent := time.Now().Add(-time.Minute).Truncate(time.Second)
	require.NoError(t, os.Chtimes(path, recent, recent))
	p = &Prober{}
	assert.True(t, recent.Equal(probe().OnDisk[0].Since))

	// A file that cannot be read is not compared.
	write(t, path, nil)
	h = probe()
	assert.Empty(t, h.OnDisk)
	assert.Empty(t, h.Warnings)

	// Nor is one whose leaf cannot be read: the endpoint may serve that one.
	write(t, path, tlsfarm.Unreadable(root.Issue("odd")), chain(other))
	h = probe()
	assert.Empty(t, h.OnDisk)
	assert.Empty(t, h.Warnings)

	// One of several files is enough: there may be one file for the ECDSA and one for the RSA certificate.
	dir := t.TempDir()
	tt.Files.Pattern = filepath.Join(dir, "*.pem")
	write(t, filepath.Join(dir, "ecdsa.pem"), chain(disk))
	write(t, filepath.Join(dir, "rsa.pem"), chain(other))
	require.Len(t, files(p, tt), 2)
	write(t, filepath.Join(dir, "ca.pem"), root.PEM())
	require.Len(t, files(p, tt), 3)
	h = p.ProbeEndpoint(t.Context(), tt).Handshake
	require.Len(t, h.OnDisk, 2)
	assert.True(t, h.OnDisk[0].Served)
	assert.False(t, h.OnDisk[1].Served)
	assert.Empty(t, h.Warnings)

	// If a certificate type is requested, certificates of other types cannot be served.
	tt.CertificateType = "rsa"
	served = &other
	require.NoError(t, os.Remove(filepath.Join(dir, "rsa.pem")))
	p = &Prober{}
	require.NotEmpty(t, files(p, tt))
	assert.Empty(t, p.ProbeEndpoint(t.Context(), tt).Handshake.OnDisk)
}

func TestUnreadableDirectory(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can read everything")
	}
	dir := filepath.Join(t.TempDir(), "locked")
	require.NoError(t, os.Mkdir(dir, 0o700))
	tt, p := fileTarget(dir, "*.pem"), &Prober{}
	write(t, filepath.Join(dir, "a.pem"), chain(root.Issue("a")))
	require.Nil(t, files(p, tt)[0].Common().Failure)
	require.NoError(t, os.Chmod(dir, 0))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	outcomes := files(p, tt)
	require.Len(t, outcomes, 1, "the file does not count as gone")
	assert.Equal(t, failure.Type(certs.FileUnreadable), outcomes[0].Common().Failure.Type)
}

func TestModTimeOfALinkIsItsCreation(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, file)
	old := time.Unix(1e9, 0)
	require.NoError(t, os.Chtimes(file, old, old))
	require.NoError(t, os.Symlink(file, link))
	assert.True(t, old.Equal(modTime(file)))
	assert.True(t, modTime(link).After(old))
	assert.True(t, modTime(filepath.Join(dir, "missing")).IsZero())
}
