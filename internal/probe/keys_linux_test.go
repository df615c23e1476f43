package probe

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// TestFixesOfKeys follows the fixes.
func TestFixesOfKeys(t *testing.T) {
	site, other := root.Issue("www"), root.Issue("other")
	sitePEM, siteKey := tlsfarm.PEM(site)
	otherPEM, otherKey := tlsfarm.PEM(other)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	tt := keyTarget(dir)
	p := &Prober{}
	failing := func() failure.Type {
		var f *failure.Failure
		tlsfarm.Unprivileged(func() { f = files(p, tt)[0].Common().Failure })
		if f == nil {
			return ""
		}
		return f.Type
	}
	put := func(path string, mode os.FileMode, content ...[]byte) {
		t.Helper()
		write(t, path, content...)
		require.NoError(t, os.Chmod(path, mode))
		backdate(t, path)
	}
	// The key that the certificate was requested with.
	put(tt.Files.Pattern, 0o644, sitePEM)
	put(tt.Files.Key, 0o644, otherKey)
	require.Equal(t, failure.Type("file_key_mismatch"), failing())
	put(tt.Files.Key, 0o644, siteKey)
	require.Empty(t, failing())

	// The certificate of the key before the others.
	p = &Prober{}
	put(tt.Files.Pattern, 0o644, otherPEM, sitePEM)
	require.Equal(t, failure.Type("file_key_mismatch"), failing())
	put(tt.Files.Pattern, 0o644, sitePEM, otherPEM)
	require.Empty(t, failing())

	// Permission, or none of it.
	p = &Prober{}
	put(tt.Files.Key, 0, siteKey)
	require.Equal(t, failure.Type("file_key_unreadable"), failing())
	put(tt.Files.Key, 0o644, siteKey)
	require.Empty(t, failing())
	p = &Prober{}
	put(tt.Files.Key, 0, siteKey)
	require.Equal(t, failure.Type("file_key_unreadable"), failing())
	tt.Files.Key = ""
	require.Empty(t, failing())
}
