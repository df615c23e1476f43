//go:build interop

package interop

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVerdictsBesideOpenSSL runs the test of that name in package certs with the openssl that install.sh unpacks. That test is
// skipped if there is none.
func TestVerdictsBesideOpenSSL(t *testing.T) {
	out, err := exec.Command("./with-openssl.sh",
		"go", "test", "-v", "-count=1", "-run", "^TestVerdictsBesideOpenSSL$", "../certs").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "--- PASS: TestVerdictsBesideOpenSSL ", "it was skipped")
}
