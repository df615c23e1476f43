//go:build unix

package watch

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

func TestTooManyOpenFiles(t *testing.T) {
	tree := newTree(t)
	tree.write("cert.pem")
	tt := tree.target("cert.pem")
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 3
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	restored := false
	restore := func() {
		if !restored {
			restored = true
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
		}
	}
	defer restore()

	w := tree.start()
	w.Watcher.Set([]*target.Target{tt}) // cannot be scanned
	assert.Contains(t, <-w.unwatched, "too many open files: raise")
	restore()

	w.Set([]*target.Target{tt})
	w.settle()
	tree.write("cert.pem")
	w.expectChange(tt)
}
