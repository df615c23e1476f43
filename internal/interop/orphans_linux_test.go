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

// adoptOrphans makes this process the parent of descendants whose parent has exited.
func adoptOrphans() {
	const setChildSubreaper = 36
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
}

// waitForOrphans waits up to five seconds for child processes to exit, and returns an error if some are left.
func waitForOrphans() error {
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
	return fmt.Errorf("the tests left these processes running:\n%s", left)
}
