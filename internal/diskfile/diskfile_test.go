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

func write(t *testing.T, path, content string, modified time.Time) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Chtimes(path, modified, modified))
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, path, "12345", time.Now())
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
	assert.NotContains(t, err.Error(), dir)
	_, err = Read(os.DevNull, 5)
	assert.Equal(t, ErrNotRegular, err)
}

func TestVersion(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "file"), filepath.Join(dir, "next")
	hourAgo := time.Now().Add(-time.Hour).Truncate(time.Second)
	assert.False(t, VersionOf(path).Equal(VersionOf(path)), "the file does not exist")
	write(t, path, "a", hourAgo)
	v := VersionOf(path)
	assert.True(t, v.Equal(VersionOf(path)))

	write(t, path, "a", hourAgo.Add(time.Second))
	assert.False(t, v.Equal(VersionOf(path)), "another time")
	write(t, path, "ab", hourAgo)
	assert.False(t, v.Equal(VersionOf(path)), "another size")
	write(t, next, "a", hourAgo)
	require.NoError(t, os.Rename(next, path))
	assert.False(t, v.Equal(VersionOf(path)), "another file")

	v = VersionOf(path)
	write(t, path, "a", hourAgo)
	assert.True(t, v.Equal(VersionOf(path)))
	require.NoError(t, os.Remove(path))
	assert.False(t, v.Equal(VersionOf(path)), "the file does not exist any more")

	write(t, path, "a", time.Now())
	assert.False(t, VersionOf(path).Equal(VersionOf(path)), "another write might not change the time")
	assert.False(t, Version{}.Equal(Version{}))
}
