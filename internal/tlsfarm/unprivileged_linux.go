package tlsfarm

import (
	"os"
	"runtime"
	"syscall"
)

// Unprivileged runs f on a thread to which file permissions apply, even where the tests run as root.
func Unprivileged(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // and never unlock it, so that the thread ends with the goroutine
			_ = syscall.Setfsuid(65534)
		}
		f()
	}()
	<-done
}
