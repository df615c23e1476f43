// Quickstart starts a collector with the configuration in DIR and prints what it finds for each endpoint, when it is
// first probed and whenever that changes:
//
//	go run ./examples/quickstart COLLECTOR DIR [ENDPOINT...]
//
// Without endpoints the collector probes five servers of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: quickstart COLLECTOR DIR [ENDPOINT...]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it immediately
	err := run(ctx, os.Args[1], os.Args[2], os.Args[3:])
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit): // the collector has said why
		os.Exit(max(exit.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run runs the collector until ctx ends.
func run(ctx context.Context, collector, dir string, endpoints []string) error {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() { _ = http.Serve(listener, results{os.Stdout}) }() // until the listener is closed

	certs, err := os.MkdirTemp("", "quickstart")
	if err != nil {
		return err
	}
	defer os.RemoveAll(certs)

	args := []string{"--config", filepath.Join(dir, "config.yaml")}
	if len(endpoints) == 0 {
		if err := writeCerts(certs); err != nil {
			return err
		}
		args = append(args, "--config", filepath.Join(dir, "demo.yaml"))
	} else {
		var targets []string
		for _, e := range endpoints {
			targets = append(targets, fmt.Sprintf("{endpoint: %q}", e))
		}
		args = append(args, "--config", "yaml:receivers::tls_check::targets: ["+strings.Join(targets, ", ")+"]")
	}
	cmd := exec.CommandContext(ctx, collector, args...)
	cmd.Env = append(os.Environ(), "CERTS="+certs, "RESULTS=http://"+listener.Addr().String())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	fmt.Println("Metrics at http://localhost:9464/metrics. Ctrl-C ends it.")
	if err := cmd.Run(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
