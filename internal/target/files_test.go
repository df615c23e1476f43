package target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFilesMatch(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{
		"site/cert.pem", "site/key.pem", "site/deep/er/cert.pem", "site/.hidden.pem", "[site]/cert.pem", "site/a*b.pem",
		"mounted/..2026_01/tls.crt", "mounted/..2026_01/ca.crt", "archive/cert2.pem",
	} {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	// As Kubernetes mounts a secret, as certbot keeps a certificate, a loop, and a link to a directory.
	for link, to := range map[string]string{
		"mounted/..data": "..2026_01", "mounted/tls.crt": "..data/tls.crt", "mounted/ca.crt": "..data/ca.crt",
		"live/cert.pem": "../archive/cert2.pem", "site/deep/loop": "../..", "current": "site",
	} {
		link = filepath.Join(root, link)
		require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o700))
		require.NoError(t, os.Symlink(to, link))
	}
	for _, c := range []struct{ pattern, want string }{
		{"site/cert.pem", "site/cert.pem"},
		{"site/missing.pem", "site/missing.pem"},
		{"nowhere/missing.pem", "nowhere/missing.pem"},
		{"site", "site"},
		{"site/*.pem", "site/a*b.pem site/cert.pem site/key.pem"},
		{"site/a*b.pem", "site/a*b.pem"},
		{`site/a\*b.pem`, "site/a*b.pem"},
		{"site/?ert.pem", "site/cert.pem"},
		{"site/[a-c]ert.pem", "site/cert.pem"},
		{"site/{cert,key}.pem", "site/cert.pem site/key.pem"},
		{"site/.*.pem", "site/.hidden.pem"},
		{"[site]/cert.pem", "[site]/cert.pem"},
		{"site/**/*.pem", "site/a*b.pem site/cert.pem site/deep/er/cert.pem site/key.pem"},
		{"**/cert*.pem", "[site]/cert.pem archive/cert2.pem live/cert.pem site/cert.pem site/deep/er/cert.pem"},
		{"mounted/*", "mounted/ca.crt mounted/tls.crt"},
		{"mounted/**", "mounted/ca.crt mounted/tls.crt"},
		{"live/*", "live/cert.pem"},
		{"current/*.pem", "current/a*b.pem current/cert.pem current/key.pem"},
		{"cur*/cert.pem", "current/cert.pem"},
		{"*", ""}, // only directories
		{"site/*.crt", ""},
	} {
		t.Run(c.pattern, func(t *testing.T) {
			f := Files{Pattern: filepath.Join(root, c.pattern)}
			require.NoError(t, f.Check())
			paths, err := f.Match()
			require.NoError(t, err)
			for i, p := range paths {
				paths[i], err = filepath.Rel(root, p)
				require.NoError(t, err)
			}
			assert.Equal(t, c.want, strings.Join(paths, " "))
		})
	}
}

func TestFilesMatchIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxFiles + 1 {
		require.NoError(t, os.Symlink("nothing", filepath.Join(dir, strings.Repeat("x", 1+i/100)+string(rune('一'+i%100)))))
	}
	_, err := Files{Pattern: filepath.Join(dir, "*")}.Match()
	assert.EqualError(t, err, "it matches 10001 files, more than the limit of 10000; use a narrower pattern")
	paths, err := Files{Pattern: filepath.Join(dir, "xx?")}.Match()
	require.NoError(t, err)
	assert.Len(t, paths, 100)
}

func TestFilesCheck(t *testing.T) {
	for _, pattern := range []string{"/etc/ssl/[a-", "/etc/ssl/{a,b", `/etc/ssl/\`, "/etc/\x00ssl"} {
		assert.Error(t, Files{Pattern: pattern}.Check(), "%q", pattern)
	}
	assert.NoError(t, Files{Pattern: "/etc/ssl/**/{fullchain,cert}.pem"}.Check())
}
