package targetconfig

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestFileIsReadOnceItsPermissionsAllowIt(t *testing.T) {
	r := newTestFiles(t, "", "t.yaml")
	path := filepath.Join(r.dir, "t.yaml")
	for dir := r.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	write(t, path, []byte("[a:1]"))
	require.NoError(t, os.Chmod(path, 0))
	for range 2 {
		tlsfarm.Unprivileged(func() { assert.False(t, r.read()) })
		assert.Equal(t, int64(1), r.errorCount())
	}
	assert.Equal(t, 1, r.log.Len())
	require.NoError(t, os.Chmod(path, 0o644)) // the modification time stays the same
	tlsfarm.Unprivileged(func() { assert.True(t, r.read()) })
	assert.Equal(t, "a:1", r.names())
	assert.Zero(t, r.errorCount())
}
