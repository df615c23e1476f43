package clienttls

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// caFile returns the path of a file with a CA's certificate, and a function that replaces the certificate. The file's
// modification time is an hour ago, and a second later with each replacement.
func caFile(t *testing.T, ca *tlsfarm.Authority) (path string, replace func(*tlsfarm.Authority)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ca.pem")
	modified := time.Now().Add(-time.Hour)
	replace = func(ca *tlsfarm.Authority) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, bytes.Clone(ca.PEM()), 0o600))
		modified = modified.Add(time.Second)
		require.NoError(t, os.Chtimes(path, modified, modified))
	}
	replace(ca)
	return path, replace
}

func TestFilesAreCheckedOncePerBlock(t *testing.T) {
	one, other := tlsfarm.NewAuthority("One"), tlsfarm.NewAuthority("Other")
	path, replace := caFile(t, one)
	c := New(configtls.ClientConfig{Config: configtls.Config{CAFile: path}})
	block := NewBlocks(time.Second, zap.NewNop()).Get("", &c)
	require.Empty(t, block.Errs())
	plain, h2, ecdsa := Offer{}, NewOffer([]string{"h2"}, ""), NewOffer(nil, "ecdsa")

	first := block.With(plain)
	firstOfH2, firstOfECDSA := block.With(h2), block.With(ecdsa)
	block.checked = time.Time{}
	assert.Same(t, first.Config, block.With(plain).Config, "the files have not changed")

	replace(other)
	block.checked = time.Now().Add(time.Hour)
	assert.Same(t, first.Config, block.With(plain).Config, "the files were checked just now")

	block.checked = time.Time{}
	second := block.With(plain)
	assert.NotSame(t, first.Config, second.Config)
	assert.NotSame(t, first.Roots, second.Roots)
	assert.Same(t, second.RootCAs, second.Roots.Pool())
	assert.WithinRange(t, block.checked, time.Now().Add(-time.Hour), time.Now())
	assert.Same(t, second.Config, block.Renewal(plain)().Config)
	assert.Same(t, block.With(h2).Config, block.Renewal(h2)().Config)
	assert.NotSame(t, firstOfH2.Config, block.With(h2).Config)
	for _, o := range []Offer{plain, h2, ecdsa} {
		assert.True(t, block.With(o).RootCAs.Equal(other.Pool()))
	}
	assert.True(t, first.RootCAs.Equal(one.Pool()), "a configuration that is in use does not change")
	assert.Equal(t, []string{"h2"}, block.With(h2).NextProtos)
	assert.Equal(t, firstOfECDSA.CipherSuites, block.With(ecdsa).CipherSuites)
}

func TestSweepRemovesUnusedBlocks(t *testing.T) {
	blocks := NewBlocks(time.Second, zap.NewNop())
	a, b := New(configtls.ClientConfig{ServerName: "a.example"}), New(configtls.ClientConfig{ServerName: "b.example"})
	used := blocks.Get("a", &a)
	assert.Same(t, used, blocks.Get("a", &a))
	blocks.Get("b", &b)
	require.Eventually(t, func() bool {
		runtime.GC()
		blocks.Sweep()
		return blocks.Len() == 1
	}, 30*time.Second, time.Millisecond)
	assert.Same(t, used, blocks.Get("a", &a))
}

// A block lives as long as its targets. It must not keep the configuration of all others in memory.
func TestBlockDoesNotKeepItsConfig(t *testing.T) {
	path, _ := caFile(t, tlsfarm.NewAuthority("One"))
	configs := make([]Config, 100)
	configs[0] = New(configtls.ClientConfig{Config: configtls.Config{CAFile: path}})
	block := NewBlocks(time.Second, zap.NewNop()).Get("", &configs[0])
	gone := weak.Make(&configs[0])
	require.Eventually(t, func() bool { runtime.GC(); return gone.Value() == nil }, 30*time.Second, time.Millisecond)
	assert.Empty(t, block.Errs())
}
