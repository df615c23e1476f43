//go:build acceptance

// Package acceptance runs the built distribution as a user does: each script in testdata/acceptance is a session at a
// terminal, with the configuration that goes in and the telemetry that comes out. `make acceptance` builds the binary
// and runs them all; to run one:
//
//	go test -tags acceptance ./internal/acceptance -run TestScripts/pipelines
//
// The scripts in testdata/acceptance/gateway need components that only otelcol-tlscheck-gateway has, and run that;
// `make acceptance-gateway` builds it first.
//
// The scripts are in the language of testscript (https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript). What
// they have beside its own commands:
//
//	point FILE METRIC [CONDITION...]   waits until the file exporter's FILE has such a data point
//	span FILE NAME [CONDITION...]      waits until FILE has such a span
//	event FILE NAME [CONDITION...]     waits until FILE has such an event
//	tree FILE ENDPOINT [CHILD...]      the traces of ENDPOINT are whole, with these spans below tls.connect
//	shards NUMBER FILE...              waits until so many endpoints are probed, each in one of the files alone
//	counters FILE NUMBER               waits until each series of counts in FILE began so many times, always at 1 and never early
//	exemplars METRICS TRACES           the exemplars in one file lead to the handshake spans in the other
//	shows URL|FILE REGEXP              waits until the page or file has a line that matches
//	refuses CONFIG YAML TEXT           with YAML on top of CONFIG the collector neither validates nor starts, and says TEXT
//	move-ports FILE...                 gives the files other ports of localhost, the first of them $PORT
//	ctrl-c                             sends SIGINT to what runs in the background, which has to end at once
//	hangup                             sends SIGHUP to it
//
// With ! before it, point, span, event and shows ask whether there is none now, and do not wait. A CONDITION is name=value,
// name~regexp, name<number, name>number, or !name where the attribute must be absent. Names are those of attributes, and
// telemetry_test.go has a few more, such as value and endpoint.
//
// $HEALTHY, $EXPIRED and so on are the endpoints of servers in this process; see farm. $PORT is a free port, $ROOT the
// repository.
package acceptance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const (
	patience = 10 * time.Second // for what has to happen some time
	atOnce   = 3 * time.Second  // for what has to happen now, on a machine that is busy with other tests
)

func TestScripts(t *testing.T) { runScripts(t, "testdata/acceptance", "_build/otelcol-tlscheck") }

func TestGatewayScripts(t *testing.T) {
	runScripts(t, "testdata/acceptance/gateway", "_build/gateway/otelcol-tlscheck-gateway")
}

// runScripts runs the scripts in a folder, which find the binary in their PATH. Both are given as below the repository.
func runScripts(t *testing.T, dir, binary string) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(root, binary)
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("the binary to test is missing, run make build or make gateway: %v", err)
	}
	servers := farm(t)
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join(root, dir),
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(binary)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("ROOT", root)
			env.Setenv("PORT", freePort())
			for name, value := range servers {
				env.Setenv(name, value)
			}
			for _, v := range os.Environ() { // for the go command
				if strings.HasPrefix(v, "GO") || strings.HasPrefix(v, "HOME=") {
					env.Vars = append(env.Vars, v)
				}
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "ipv6" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return servers["IPV6"] != "", nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"point": point, "span": span, "event": event, "tree": tree, "counters": counters, "exemplars": exemplars, "shards": shards, "shows": shows,
			"refuses": refuses, "move-ports": movePorts, "ctrl-c": ctrlC, "hangup": hangup,
		},
	})
}

var lastPort atomic.Uint32

// freePort returns a port below those that the system gives to outgoing connections, so that it stays free.
func freePort() string {
	for {
		port := strconv.Itoa(int(10000 + (uint32(os.Getpid())+lastPort.Add(1))%20000))
		if l, err := net.Listen("tcp", "localhost:"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// eventually calls f until it returns nil, and fails with what it returned last.
func eventually(ts *testscript.TestScript, f func() error) {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %s still: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func shows(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] shows URL|FILE REGEXP")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	look := func() error {
		text, err := read(ts, args[0])
		if err == nil && !pattern.MatchString(text) {
			err = fmt.Errorf("%s has no line that matches %s:\n%s", args[0], args[1], text)
		}
		return err
	}
	if !neg {
		eventually(ts, look)
	} else if look() == nil {
		ts.Fatalf("%s has a line that matches %s", args[0], args[1])
	}
}

func read(ts *testscript.TestScript, source string) (string, error) {
	if !strings.HasPrefix(source, "http://") {
		text, err := os.ReadFile(ts.MkAbs(source))
		return string(text), err
	}
	resp, err := (&http.Client{Timeout: patience}).Get(source)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func refuses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: refuses CONFIG YAML TEXT")
	}
	for _, subcommand := range [][]string{{"validate"}, nil} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(ts.Getenv("ROOT"), "_build", "otelcol-tlscheck"),
			append(subcommand, "--config", args[0], "--config", "yaml:"+args[1])...)
		cmd.Dir = ts.Getenv("WORK")
		for _, name := range []string{"CA", "CLIENT_CERT", "CLIENT_KEY", "STRANGE_CLIENT_KEY"} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			ts.Fatalf("%v: want exit status 1, got %v\n%s", cmd.Args, err, out)
		}
		if !strings.Contains(string(out), args[2]) {
			ts.Fatalf("%v: want %q, got\n%s", cmd.Args, args[2], out)
		}
	}
}

func movePorts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: move-ports FILE...")
	}
	moved := make(map[string]string)
	for _, name := range args {
		text := regexp.MustCompile(`localhost:\d+`).ReplaceAllStringFunc(ts.ReadFile(name), func(was string) string {
			if moved[was] == "" {
				moved[was] = "localhost:" + freePort()
				if len(moved) == 1 {
					moved[was] = "localhost:" + ts.Getenv("PORT")
				}
			}
			return moved[was]
		})
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

func ctrlC(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: ctrl-c")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGINT))
	}
	start := time.Now()
	for _, cmd := range ts.BackgroundCmds() {
		for cmd.Process.Signal(syscall.Signal(0)) == nil { // the script's goroutine for it takes note of its end
			if time.Since(start) > atOnce {
				_ = cmd.Process.Kill()
				ts.Fatalf("%v is still there %s after SIGINT", cmd.Args, atOnce)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	ts.Logf("ended within %s", time.Since(start).Round(time.Millisecond))
}

func hangup(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: hangup")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGHUP))
	}
}
