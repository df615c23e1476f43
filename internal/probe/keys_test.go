package probe

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// keyTarget returns a target with a certificate file and its key.
func keyTarget(dir string) *target.Target {
	tt := fileTarget(dir, "site.pem")
	tt.Files.Key = filepath.Join(dir, "site.key")
	return tt
}

// backdate sets the modification time of a file to an hour ago.
func backdate(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		ago := time.Now().Add(-time.Hour)
		require.NoError(t, os.Chtimes(path, ago, ago))
	}
}

func TestKeyOutcomes(t *testing.T) {
	site, other := root.Issue("www"), root.Issue("other")
	old := root.Issue("www", tlsfarm.Validity(-90*day, -3*day-time.Minute))
	sitePEM, siteKey := tlsfarm.PEM(site)
	otherPEM, otherKey := tlsfarm.PEM(other)
	oldPEM, _ := tlsfarm.PEM(old)
	for name, c := range map[string]struct {
		certificates, key []byte // key is nil if there is no file
		reasons           []failure.Type
		cause, fix        string
	}{
		"fits": {certificates: sitePEM, key: siteKey},
		"another key": {
			sitePEM, otherKey,
			[]failure.Type{"file_key_mismatch"},
			`The private key in KEY does not fit the certificate "www" in FILE: both have an ECDSA key on the curve P-256, but not the same one. A server cannot use these two together.`,
			"Set key_path to the key that the certificate was requested with.",
		},
		"key of an intermediate": {
			append(sitePEM[:len(sitePEM):len(sitePEM)], otherPEM...), otherKey,
			[]failure.Type{"file_key_mismatch"},
			`The private key in KEY fits the certificate "other" in FILE, but that is not the first one there. Servers take the first.`,
			"Write the certificate of the key before the others.",
		},
		"expired too": {
			oldPEM, otherKey,
			[]failure.Type{"file_key_mismatch", "cert_expired"},
			`The private key in KEY does not fit the certificate "www" in FILE: both have an ECDSA key on the curve P-256, but not the same one. A server cannot use these two together. Also: cert_expired.`, "Set key_path",
		},
		"missing": {
			sitePEM, nil,
			[]failure.Type{"file_key_unreadable"},
			"The private key in KEY cannot be read: there is no such file.", "Correct key_path, or put the key there.",
		},
		"a certificate": {
			sitePEM, sitePEM,
			[]failure.Type{"file_key_unreadable"},
			`The private key in KEY cannot be read: it has no private key, but a PEM block of type "CERTIFICATE".`, "Set key_path to the file with the private key, in PEM or DER.",
		},
		"empty": {
			sitePEM,
			[]byte{},
			[]failure.Type{"file_key_unreadable"},
			"The private key in KEY cannot be read: it is empty.", "Write the key there again, from a backup.",
		},
		"encrypted": {
			sitePEM, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
			[]failure.Type{"file_key_unreadable"},
			"The private key in KEY cannot be read: it is encrypted.", "The collector has no password for it.",
		},
		"certificate that cannot be read": {
			tlsfarm.Unreadable(site), otherKey, []failure.Type{"file_malformed"}, "FILE has a certificate this collector cannot read", "Reissue",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt := keyTarget(t.TempDir())
			write(t, tt.Files.Pattern, c.certificates)
			backdate(t, tt.Files.Pattern)
			if c.key != nil {
				write(t, tt.Files.Key, c.key)
				backdate(t, tt.Files.Key)
			}
			outcomes, again := (&Prober{}).ReadFiles(t.Context(), tt)
			require.Len(t, outcomes, 1)
			assert.Zero(t, again)
			f := outcomes[0].Common().Failure
			if c.reasons == nil {
				require.Nil(t, f)
				return
			}
			require.NotNil(t, f)
			assert.Equal(t, failure.File, f.Step)
			assert.Equal(t, "file", f.Category)
			assert.Equal(t, c.reasons, f.Reasons)
			paths := strings.NewReplacer("FILE", tt.Files.Pattern, "KEY", tt.Files.Key)
			assert.True(t, strings.HasPrefix(f.Cause, paths.Replace(c.cause)), f.Cause)
			assert.True(t, strings.HasPrefix(f.Fix, c.fix), f.Fix)
		})
	}

	// In one file with the certificate.
	tt := keyTarget(t.TempDir())
	tt.Files.Key = tt.Files.Pattern
	write(t, tt.Files.Pattern, sitePEM, siteKey)
	require.Nil(t, files(&Prober{}, tt)[0].Common().Failure)

	// A target that only compares leaves the key to the one that reports.
	tt = keyTarget(t.TempDir())
	tt.Files.Silent = true
	write(t, tt.Files.Pattern, sitePEM)
	_, again := (&Prober{}).ReadFiles(t.Context(), tt)
	assert.Zero(t, again)
}

// TestKeyRenewal checks that a renewal, which writes certificate and key one after the other, is no failure, and that one
// which is never completed is.
func TestKeyRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := tlsfarm.NewAuthority("Renewing Root")
		tt := keyTarget(dir)
		tt.TLS = &tls.Config{RootCAs: ca.Pool()}
		renew := func(path string, content []byte, age time.Duration) {
			t.Helper()
			write(t, path, content)
			modified := time.Now().Add(-age) // time in the bubble is not that of the file system
			require.NoError(t, os.Chtimes(path, modified, modified))
		}
		var p *Prober
		read := func() (failure.Type, time.Duration) {
			t.Helper()
			outcomes, again := p.ReadFiles(t.Context(), tt)
			require.Len(t, outcomes, 1)
			if f := outcomes[0].Common().Failure; f != nil {
				return f.Type, again
			}
			return "", again
		}
		expect := func(want failure.Type, wantAgain time.Duration) {
			t.Helper()
			got, again := read()
			assert.Equal(t, want, got)
			assert.Equal(t, wantAgain, again)
		}
		first, firstKey := tlsfarm.PEM(ca.Issue("www"))
		second, secondKey := tlsfarm.PEM(ca.Issue("www"))

		// With an old modification time, as `cp -p` writes it, too.
		for _, age := range []time.Duration{0, time.Hour} {
			p = &Prober{}
			renew(tt.Files.Pattern, first, age)
			renew(tt.Files.Key, firstKey, age)
			expect("", 0)
			time.Sleep(time.Hour)
			renew(tt.Files.Pattern, second, age)
			expect("", 10*time.Second)
			time.Sleep(time.Second)
			renew(tt.Files.Key, secondKey, age)
			expect("", 0)

			// The key is removed before it is written.
			time.Sleep(time.Hour)
			require.NoError(t, os.Remove(tt.Files.Key))
			expect("", 10*time.Second)
			time.Sleep(4 * time.Second)
			expect("", 6*time.Second)
			renew(tt.Files.Key, secondKey, age)
			expect("", 0)

			// The key is forgotten.
			renew(tt.Files.Pattern, first, age)
			expect("", 10*time.Second)
			time.Sleep(10 * time.Second)
			expect("file_key_mismatch", 0)
			renew(tt.Files.Pattern, first, 0) // which does not hide the failure
			expect("file_key_mismatch", 0)
			renew(tt.Files.Key, firstKey, age)
			expect("", 0)
		}

		// The first probe has nothing to compare with but the modification times.
		p = &Prober{}
		renew(tt.Files.Pattern, second, 4*time.Second)
		renew(tt.Files.Key, firstKey, time.Hour)
		expect("", 6*time.Second)
		p = &Prober{}
		renew(tt.Files.Key, firstKey, 3*time.Second)
		expect("", 7*time.Second)
		p = &Prober{}
		renew(tt.Files.Pattern, second, -time.Hour) // in the future, which means nothing
		expect("file_key_mismatch", 0)
	})
}
