package diskfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, path, content string, age time.Duration) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	at := time.Now().Add(-age)
	require.NoError(t, os.Chtimes(path, at, at))
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, path, "12345", time.Hour)
	require.NoError(t, os.Symlink(path, link))
	for _, p := range []string{path, link} {
		data, err := Read(p, 5)
		require.NoError(t, err)
		assert.Equal(t, "12345", string(data))
		data, err = Read(p, 4)
		assert.Equal(t, ErrTooLarge, err)
		assert.Nil(t, data)
	}

	_, err := Read(dir, 5)
	assert.Equal(t, ErrDirectory, err)
	_, err = Read(filepath.Join(dir, "none"), 5)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.NotContains(t, err.Error(), dir, "the caller knows the path")
	_, err = Read(os.DevNull, 5)
	assert.Equal(t, ErrNotRegular, err)
}

func TestVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	assert.False(t, VersionOf(path).Equal(VersionOf(path)), "a file that is not there")
	write(t, path, "a", time.Hour)
	v := VersionOf(path)
	assert.True(t, v.Equal(VersionOf(path)))

	write(t, path, "b", 30*time.Minute)
	assert.False(t, v.Equal(VersionOf(path)), "another time")
	v = VersionOf(path)
	write(t, path, "bb", time.Hour)
	write(t, path+".new", "bb", time.Hour)
	v = VersionOf(path)
	require.NoError(t, os.Rename(path+".new", path))
	assert.False(t, v.Equal(VersionOf(path)), "another file")

	write(t, path, "c", 0)
	assert.False(t, VersionOf(path).Equal(VersionOf(path)), "written a moment ago, so it may be written again within one tick of the clock")
	assert.False(t, Version{}.Equal(Version{}))
}
