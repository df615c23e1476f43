package clienttls

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestBlocksShareRoots(t *testing.T) {
	clientConfig := func(c configtls.Config) *configtls.ClientConfig { return &configtls.ClientConfig{Config: c} }
	pem := configopaque.String(tlsfarm.NewAuthority("Read Once").PEM())
	a, errs := loadRoots(clientConfig(configtls.Config{CAPem: pem}))
	require.Empty(t, errs)
	b, _ := loadRoots(clientConfig(configtls.Config{CAPem: pem}))
	assert.Same(t, a, b)
	both, errs := loadRoots(clientConfig(configtls.Config{CAPem: pem, IncludeSystemCACertsPool: true}))
	require.Empty(t, errs)
	assert.NotSame(t, a, both)
	none, errs := loadRoots(clientConfig(configtls.Config{IncludeSystemCACertsPool: true}))
	assert.Empty(t, errs)
	assert.Nil(t, none, "the system's CAs")

	// Unused pools are removed.
	size := func() int {
		rootPoolsMu.Lock()
		defer rootPoolsMu.Unlock()
		return len(rootPools)
	}
	before := size()
	runtime.KeepAlive(a)
	runtime.KeepAlive(b)
	runtime.KeepAlive(both)
	require.Eventually(t, func() bool { runtime.GC(); return size() <= before-2 }, 30*time.Second, 10*time.Millisecond)
}
