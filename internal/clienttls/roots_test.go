package clienttls

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

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

// Go does not support the key of the second certificate in this file. Its first one, a leaf, can be trusted too.
const unsupportedRoot = "../certs/testdata/brainpool.pem"

// What cannot be used of a CA file is logged when the file is loaded, and not again for each target or probe.
func TestDroppedCACertificatesAreLogged(t *testing.T) {
	pem, err := os.ReadFile(unsupportedRoot)
	require.NoError(t, err)
	path, _ := caFile(t, tlsfarm.NewAuthority("Good"))
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	write := func(content string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) }
	write(string(good) + string(pem))

	core, log := observer.New(zapcore.InfoLevel)
	blocks := NewBlocks(time.Second, zap.New(core))
	c := New(configtls.ClientConfig{Config: configtls.Config{CAFile: path}})
	for range 3 { // targets
		block := blocks.Get("key", &c)
		require.Empty(t, block.Errs())
		for _, o := range []Offer{{}, NewOffer([]string{"h2"}, "")} {
			assert.NotNil(t, block.With(o).RootCAs)
		}
		block.checked = time.Time{}
		block.With(Offer{})
		runtime.KeepAlive(block)
	}
	lines := log.TakeAll()
	require.Len(t, lines, 1)
	assert.Equal(t, zapcore.WarnLevel, lines[0].Level)
	third := 1 + strings.Count(string(good)+string(pem[:strings.LastIndex(string(pem), "-----BEGIN")]), "\n")
	assert.Equal(t, fmt.Sprintf("Some CA certificates in %q cannot be used, and chains under them are invalid.", path), lines[0].Message)
	assert.Equal(t, map[string]any{"dropped": []any{
		fmt.Sprintf(`PEM block 3 at line %d cannot be read: its key is on a curve that Go does not have (brainpoolP256r1) (subject "Brainpool Root", key of the kind EC brainpoolP256r1)`, third),
	}}, lines[0].ContextMap())

	block := blocks.Get("key", &c)
	write(string(pem)) // which is renewed with the same fault
	block.checked = time.Time{}
	block.With(Offer{})
	assert.Equal(t, 1, log.FilterMessageSnippet("cannot be used").Len())
	log.TakeAll()
	write(string(good)) // as the log advises
	block.checked = time.Time{}
	block.With(Offer{})
	assert.Zero(t, log.Len())
}

// Each set of CAs is logged once, however many blocks have it, and none is lost in the sampling of the collector's log.
func TestEachSetOfCAsIsLoggedOnce(t *testing.T) {
	pem, err := os.ReadFile(unsupportedRoot)
	require.NoError(t, err)
	core, log := observer.New(zapcore.InfoLevel)
	blocks := NewBlocks(time.Second, zap.New(zapcore.NewSamplerWithOptions(core, time.Hour, 10, 0)))
	var used []*Block
	for i := range 30 { // files
		path, _ := caFile(t, tlsfarm.NewAuthority(fmt.Sprint("Good ", i)))
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, append(good, pem...), 0o600))
		for j := range 3 { // blocks
			c := New(configtls.ClientConfig{Config: configtls.Config{CAFile: path}, ServerName: fmt.Sprintf("h%d.example", j)})
			used = append(used, blocks.Get(fmt.Sprint(i, j), &c))
			require.Empty(t, used[len(used)-1].Errs())
		}
		assert.Equal(t, i+1, log.Len())
		assert.Contains(t, log.All()[i].Message, path)
	}
	runtime.KeepAlive(used)
}

func TestCAFileOfWhichNothingCanBeUsed(t *testing.T) {
	pem, err := os.ReadFile(unsupportedRoot)
	require.NoError(t, err)
	text := string(pem[strings.LastIndex(string(pem), "-----BEGIN"):])
	for content, want := range map[string]string{
		text:            `ca_pem: has no certificate that can be used: PEM block 1 at line 1 cannot be read: its key is on a curve that Go does not have (brainpoolP256r1) (subject "Brainpool Root", key of the kind EC brainpoolP256r1)`,
		text[:100]:      "ca_pem: has no certificate that can be used: PEM block 1 at line 1 cannot be read: it is malformed",
		"no PEM at all": "ca_pem: has no valid certificate; it must have PEM blocks of type CERTIFICATE",
	} {
		_, errs := loadRoots(&configtls.ClientConfig{Config: configtls.Config{CAPem: configopaque.String(content)}})
		require.Len(t, errs, 1)
		assert.EqualError(t, errs[0], want)
	}
}
