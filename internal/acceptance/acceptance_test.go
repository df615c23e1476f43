//go:build acceptance

// Package acceptance runs the built distribution as a user does. Each script in testdata/acceptance is a terminal session, with
// configurations as input and telemetry as output. `make acceptance` builds the binary and runs all scripts. To run one:
//
//	go test -tags acceptance ./internal/acceptance -run TestScripts/pipelines
//
// The scripts in testdata/acceptance/gateway need components that only otelcol-tlscheck-gateway has, and run that;
// `make acceptance-gateway` builds it first.
//
// The scripts are in the language of testscript (https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript), with these
// additional commands:
//
//	point FILE METRIC [CONDITION...]   waits until FILE, written by the file exporter, has a data point that matches
//	span FILE NAME [CONDITION...]      waits until FILE has a span that matches
//	event FILE NAME [CONDITION...]     waits until FILE has an event that matches
//	tree FILE ENDPOINT [CHILD...]      waits until the traces of ENDPOINT are complete, with these children of tls.connect
//	shards NUMBER FILE...              waits until NUMBER endpoints are probed, each in only one of the files
//	counters FILE NUMBER               waits until each cumulative series in FILE has started NUMBER times, each time with 1
//	exemplars METRICS TRACES           waits until exemplars in one file refer to the handshake spans in the other
//	shows URL|FILE REGEXP              waits until the page or file has a line that matches
//	refuses CONFIG YAML TEXT           with CONFIG and YAML the collector neither validates nor starts, and its error has TEXT
//	move-ports FILE...                 replaces the ports of localhost in the files, the first one by $PORT
//	ctrl-c                             sends SIGINT to the background commands, which must end soon
//	hangup                             sends SIGHUP to the background commands
//
// With ! before them, point, span, event and shows fail if there is a match, and do not wait. A CONDITION is name=value,
// name~regexp, name<number, name>number, or !name if the attribute must be absent. A name is that of an attribute or one of
// those that item in telemetry_test.go adds, such as value and endpoint.
//
// $HEALTHY, $EXPIRED and so on are the endpoints of servers in this process; see farm. $PORT is a free port, $ROOT is the
// directory of the repository.
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
	waitTimeout = 10 * time.Second
	stopTimeout = 3 * time.Second // generous, as the machine may be busy with other tests
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
		t.Fatalf("the binary is missing; run make build or make gateway: %v", err)
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

// freePort returns a port below those that the system uses for outgoing connections, so that it stays free.
func freePort() string {
	for {
		port := strconv.Itoa(int(10000 + (uint32(os.Getpid())+lastPort.Add(1))%20000))
		if l, err := net.Listen("tcp", "localhost:"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// eventually calls f until it returns nil. If that takes too long, it fails with the last error.
func eventually(ts *testscript.TestScript, f func() error) {
	deadline := time.Now().Add(waitTimeout)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %s: %v", waitTimeout, err)
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
	check := func() error {
		text, err := read(ts, args[0])
		if err == nil && !pattern.MatchString(text) {
			err = fmt.Errorf("%s has no line that matches %s:\n%s", args[0], args[1], text)
		}
		return err
	}
	if !neg {
		eventually(ts, check)
	} else if check() == nil {
		ts.Fatalf("%s has a line that matches %s", args[0], args[1])
	}
}

func read(ts *testscript.TestScript, source string) (string, error) {
	if !strings.HasPrefix(source, "http://") {
		text, err := os.ReadFile(ts.MkAbs(source))
		return string(text), err
	}
	resp, err := (&http.Client{Timeout: waitTimeout}).Get(source)
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
		ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
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
		text := regexp.MustCompile(`localhost:\d+`).ReplaceAllStringFunc(ts.ReadFile(name), func(old string) string {
			if moved[old] == "" {
				moved[old] = "localhost:" + freePort()
				if len(moved) == 1 {
					moved[old] = "localhost:" + ts.Getenv("PORT")
				}
			}
			return moved[old]
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
		for cmd.Process.Signal(syscall.Signal(0)) == nil { // fails once testscript has waited for the process
			if time.Since(start) > stopTimeout {
				_ = cmd.Process.Kill()
				ts.Fatalf("%v is still running %s after SIGINT", cmd.Args, stopTimeout)
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
