//go:build interop

package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// adoptOrphans makes us the parent of processes that outlive theirs, wherever a server has left them.
func adoptOrphans() {
	const setChildSubreaper = 36
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
}

// awaitOrphans reports processes that outlive the tests. They get some time to end by themselves.
func awaitOrphans() error {
	for range 500 {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return nil
		case pid == 0:
			time.Sleep(10 * time.Millisecond)
		}
	}
	left, _ := exec.Command("ps", "-o", "pid,args", "--ppid", strconv.Itoa(os.Getpid())).CombinedOutput()
	return fmt.Errorf("the tests leave processes behind:\n%s", left)
}
