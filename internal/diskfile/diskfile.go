// Package diskfile reads files that others write: certificates, keys and lists of targets. It reads a bounded number of
// bytes, never waits for a pipe or opens a device, and reports whether a file has changed since it was last read.
package diskfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// What is wrong with a path that was found, apart from the errors of package io/fs.
var (
	ErrDirectory  = errors.New("it is a directory")
	ErrNotRegular = errors.New("it is not a regular file")
	ErrTooLarge   = errors.New("it is too large")
)

// Read returns the content of the regular file at path, which may be a symbolic link to it. The file may have at most max
// bytes. The error is ErrDirectory, ErrNotRegular, ErrTooLarge, or what the operating system returned, without the path
// and the operation, which the caller knows.
func Read(path string, max int64) ([]byte, error) {
	data, err := read(path, max)
	if withPath := (*fs.PathError)(nil); errors.As(err, &withPath) {
		err = withPath.Err
	}
	return data, err
}

func read(path string, max int64) ([]byte, error) {
	// Opening some devices has effects, so the file is checked before. It may be replaced in between: a FIFO then does not
	// block, and the second check finds it.
	if err := regular(os.Stat(path)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := regular(f.Stat()); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1)) // its size is no bound, as it may be growing
	if err == nil && int64(len(data)) > max {
		return nil, ErrTooLarge
	}
	return data, err
}

func regular(info fs.FileInfo, err error) error {
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

// Version identifies the content of a file at one moment. Its zero value equals no other version.
type Version struct {
	info fs.FileInfo // nil where it cannot show a change
}

// Settled is how long a file must not have been written for its times to show the next change. It is far more than the
// resolution of any file system's clock.
const Settled = time.Second

// VersionOf returns the present version of the file at path. It is the zero Version where there is no such file, and where
// the file was written so recently that another write might leave its times as they are.
func VersionOf(path string) Version {
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()).Abs() < Settled {
		return Version{}
	}
	return Version{info}
}

// Equal reports whether the file certainly had the same content both times.
func (v Version) Equal(o Version) bool {
	return v.info != nil && o.info != nil && os.SameFile(v.info, o.info) &&
		v.info.ModTime().Equal(o.info.ModTime()) && v.info.Size() == o.info.Size()
}
