package failure

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWords fails when Go rewords one of the errors for which there is nothing but words to go by: it looks for them in
// the source of the crypto/tls that this test is built with.
func TestWords(t *testing.T) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(goroot)), "src/crypto/tls/*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var source strings.Builder
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			source.Write(b)
		}
	}
	for _, w := range words {
		assert.Contains(t, source.String(), `"`+w.text, "crypto/tls no longer says this")
		step, typ, ok := fromWords(errors.New(w.text + " and what follows"))
		assert.True(t, ok)
		assert.Equal(t, w.step, step)
		assert.Equal(t, w.typ, typ)
	}
	_, _, ok := fromWords(errors.New("tls: something new"))
	assert.False(t, ok)
}
