// Package diskfile reads files that other programs write: certificates, keys and lists of targets. It reads a bounded
// number of bytes and only from regular files, so that it never waits for a pipe. It also detects changes of a file.
package diskfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Why the file at a path is not read.
var (
	ErrDirectory  = errors.New("it is a directory")
	ErrNotRegular = errors.New("it is not a regular file")
	ErrTooLarge   = errors.New("it is too large")
)

// Read returns the content of the regular file at path, or of the regular file to which path links. The error is
// ErrDirectory, ErrNotRegular, ErrTooLarge if the file has more than limit bytes, or the error of the operating system
// without the operation and the path.
func Read(path string, limit int64) ([]byte, error) {
	data, err := read(path, limit)
	if withPath := (*fs.PathError)(nil); errors.As(err, &withPath) {
		err = withPath.Err
	}
	return data, err
}

func read(path string, limit int64) ([]byte, error) {
	// Opening a device can have side effects, so the type is checked before. If the file is then replaced by a pipe, opening
	// it does not block, because of O_NONBLOCK, and the second check rejects it.
	if err := checkRegular(os.Stat(path)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err := checkRegular(info, err); err != nil {
		return nil, err
	}
	// One buffer, so that there is no other copy of a private key. The size is no limit, as the file may be growing.
	data := bytes.NewBuffer(make([]byte, 0, min(info.Size(), limit)+2*bytes.MinRead))
	_, err = data.ReadFrom(io.LimitReader(f, limit+1))
	if err == nil && int64(data.Len()) > limit {
		err = ErrTooLarge
	}
	if err != nil {
		clear(data.Bytes())
		return nil, err
	}
	return data.Bytes(), nil
}

func checkRegular(info fs.FileInfo, err error) error {
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return ErrDirectory
	case !info.Mode().IsRegular():
		return ErrNotRegular
	}
	return nil
}

// Version identifies the content of a file at one time. The zero Version does not equal any Version.
type Version struct {
	info fs.FileInfo // nil in the zero Version
}

// Settled is how old a file's modification time must be for the next write to change it. It is at least the resolution of
// common file systems, except for FAT, whose resolution is two seconds.
const Settled = time.Second

// VersionOf returns the current version of the file at path. It is the zero Version if the file does not exist, or was
// written so recently that another write might not change its modification time.
func VersionOf(path string) Version {
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()).Abs() < Settled {
		return Version{}
	}
	return Version{info}
}

// Equal reports whether the file has not changed between both versions. It compares the file's identity, size and
// modification time, not its content.
func (v Version) Equal(w Version) bool {
	return v.info != nil && w.info != nil && os.SameFile(v.info, w.info) &&
		v.info.ModTime().Equal(w.info.ModTime()) && v.info.Size() == w.info.Size()
}
