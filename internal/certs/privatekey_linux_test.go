package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	leaf := []*x509.Certificate{fileLeaf.Leaf}
	path := filepath.Join(dir, "site.key")
	assertKeyProblem(t, CheckKey(path, leaf), FileKeyUnreadable, KeyNotFound, "there is no such file")
	assertKeyProblem(t, CheckKey(dir, leaf), FileKeyUnreadable, KeyNotKey, "it is a directory")
	require.NoError(t, os.WriteFile(path, keyPEM, 0o600))
	require.NoError(t, CheckKey(path, leaf))
	require.NoError(t, os.Symlink(path, path+".link"))
	require.NoError(t, CheckKey(path+".link", leaf))
	require.NoError(t, os.Chmod(path, 0))
	tlsfarm.Unprivileged(func() {
		assertKeyProblem(t, CheckKey(path, leaf), FileKeyUnreadable, KeyForbidden, "permission denied")
	})
	require.NoError(t, os.Chmod(path, 0o644)) // as the fix says
	tlsfarm.Unprivileged(func() { assert.NoError(t, CheckKey(path, leaf)) })
}
