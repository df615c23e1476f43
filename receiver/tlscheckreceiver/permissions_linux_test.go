package tlscheckreceiver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// permit changes who may read a file. That does not change its modification time.
func permit(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.Chmod(path, mode))
}

// readable lets everybody enter the directories of a test.
func readable(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

// A new key can often be read only by root until somebody runs chmod.
func TestRenewedKeyIsUsedOnceItCanBeRead(t *testing.T) {
	certFile, keyFile := keyPair(t, root.Issue("old"))
	readable(t, filepath.Dir(certFile))
	permit(t, certFile, 0o644)
	permit(t, keyFile, 0o644)
	targets, log := buildWithLog(t, fmt.Sprintf("{tls: {cert_file: %q, key_file: %q}, targets: [{endpoint: \"a:1\"}]}", certFile, keyFile))
	chain, key := tlsfarm.PEM(root.Issue("new"))
	write(t, certFile, chain)
	write(t, keyFile, key)
	permit(t, keyFile, 0)
	for range 2 {
		tlsfarm.Unprivileged(func() { assert.Equal(t, "old", shown(t, targets[0])) })
	}
	assert.Equal(t, 1, log.Len())
	permit(t, keyFile, 0o644)
	tlsfarm.Unprivileged(func() { assert.Equal(t, "new", shown(t, targets[0])) })
	assert.Equal(t, 2, log.Len())
}
