//go:build unix

package clienttls

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"
)

// Opening a FIFO to read would wait for somebody to write.
func TestPipesAreNotRead(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for key, c := range map[string]configtls.Config{
		"ca_file":         {CAFile: pipe},
		"cert_file":       {CertFile: pipe, KeyPem: "x"},
		"key_file":        {CertPem: "x", KeyFile: pipe},
		"cert_file, TPM":  {CertFile: pipe, KeyPem: "x", TPMConfig: configtls.TPMConfig{Enabled: true}},
		"key_file of TPM": {CertPem: "x", KeyFile: pipe, TPMConfig: configtls.TPMConfig{Enabled: true}},
	} {
		c := New(configtls.ClientConfig{Config: c})
		errs := NewBlocks(time.Second, zap.NewNop()).Get(key, &c).Errs()
		require.Len(t, errs, 1, key)
		assert.ErrorContains(t, errs[0], "cannot be read (it is not a regular file)", key)
	}
}
