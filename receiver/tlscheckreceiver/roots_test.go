package tlscheckreceiver

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

func TestRootsAreReadOnce(t *testing.T) {
	of := func(c configtls.Config) *configtls.ClientConfig { return &configtls.ClientConfig{Config: c} }
	pem := configopaque.String(tlsfarm.NewAuthority("Read Once").PEM())
	a, errs := rootsOf(of(configtls.Config{CAPem: pem}))
	require.Empty(t, errs)
	b, _ := rootsOf(of(configtls.Config{CAPem: pem}))
	assert.Same(t, a, b)
	both, errs := rootsOf(of(configtls.Config{CAPem: pem, IncludeSystemCACertsPool: true}))
	require.Empty(t, errs)
	assert.NotSame(t, a, both)
	none, errs := rootsOf(of(configtls.Config{IncludeSystemCACertsPool: true}))
	assert.Empty(t, errs)
	assert.Nil(t, none, "the system's")

	// What nobody uses any more is let go of.
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
