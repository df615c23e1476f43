package tlscheckreceiver

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// unprivileged runs f on a thread that file permissions hold for, also where the tests are root's.
func unprivileged(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // and never let it go, so that it ends with the goroutine
			_ = syscall.Setfsuid(65534)
		}
		f()
	}()
	<-done
}

// permit lets everybody read a file, or nobody, which leaves no trace on its time.
func permit(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.Chmod(path, mode))
}

// readable has the test's directories let everybody through.
func readable(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

// A new key is often for root alone at first, which is mended with chmod.
func TestRenewedKeyIsUsedOnceItMayBeRead(t *testing.T) {
	certFile, keyFile := keyPair(t, root.Issue("old"))
	readable(t, filepath.Dir(certFile))
	permit(t, certFile, 0o644)
	permit(t, keyFile, 0o644)
	targets, log, later := buildWithLog(t, fmt.Sprintf("{tls: {cert_file: %q, key_file: %q}, targets: [{endpoint: \"a:1\"}]}", certFile, keyFile))
	chain, key := tlsfarm.PEM(root.Issue("new"))
	write(t, certFile, chain)
	write(t, keyFile, key)
	permit(t, keyFile, 0)
	for range 2 {
		later()
		unprivileged(func() { assert.Equal(t, "old", shown(t, targets[0])) })
	}
	assert.Equal(t, 1, log.Len())
	permit(t, keyFile, 0o644)
	later()
	unprivileged(func() { assert.Equal(t, "new", shown(t, targets[0])) })
	assert.Equal(t, 2, log.Len())
}

func TestFileOfTargetsIsReadOnceItMayBe(t *testing.T) {
	r := readingOf(t, "", "t.yaml")
	path := filepath.Join(r.dir, "t.yaml")
	readable(t, r.dir)
	write(t, path, []byte("[a:1]"))
	permit(t, path, 0)
	for range 2 {
		unprivileged(func() { assert.False(t, r.read()) })
		assert.Equal(t, int64(1), r.wrong())
	}
	assert.Equal(t, 1, r.log.Len())
	permit(t, path, 0o644)
	unprivileged(func() { assert.True(t, r.read()) })
	assert.Equal(t, "a:1", r.names())
	assert.Zero(t, r.wrong())
}
