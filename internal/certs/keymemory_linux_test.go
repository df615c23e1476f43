package certs

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	keysInEnv = "TLSCHECK_TEST_KEYS" // paths, and what to do with them
	comparing = "compare"
)

// TestComparedKeysAreNotInMemory looks for the numbers of private keys in the memory of a process that has compared them.
func TestComparedKeysAreNotInMemory(t *testing.T) {
	if paths := os.Getenv(keysInEnv); paths != "" {
		compareAndWait(t, strings.Split(paths, ","))
		return
	}
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	secrets := map[string][]byte{
		"RSA, d": rsaKey.D.Bytes(), "RSA, p": rsaKey.Primes[0].Bytes(), "RSA, q": rsaKey.Primes[1].Bytes(),
		"RSA, dP": rsaKey.Precomputed.Dp.Bytes(), "RSA, dQ": rsaKey.Precomputed.Dq.Bytes(), "RSA, qInv": rsaKey.Precomputed.Qinv.Bytes(),
		"EC": must(ecKey.Bytes()), "Ed25519": edKey.Seed(),
	}
	var paths []string
	for _, key := range []any{rsaKey, ecKey, edKey} {
		paths = append(paths, keyFile(t, pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))))
	}
	paths = append(paths, keyFile(t, x509.MarshalPKCS1PrivateKey(rsaKey)), keyFile(t, pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))))

	search := func(how string) (found []string) {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		c.Env = append(os.Environ(), keysInEnv+"="+strings.Join(append(paths, how), ","))
		in := must(c.StdinPipe())
		out := must(c.StdoutPipe())
		require.NoError(t, c.Start())
		defer func() { _ = in.Close(); _ = c.Wait() }()
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "compared\n", line)
		memory := writableMemory(t, c.Process.Pid)
		for name, secret := range secrets {
			reversed := slices.Clone(secret)
			slices.Reverse(reversed)
			if bytes.Contains(memory, secret) || bytes.Contains(memory, reversed) {
				found = append(found, name)
			}
		}
		return found
	}
	assert.Empty(t, search(comparing))
	assert.Subset(t, search("parse with crypto/x509"), []string{"RSA, d", "RSA, p", "EC", "Ed25519"}, "crypto/x509 leaves them, so the search finds what there is")
}

// compareAndWait is the other process.
func compareAndWait(t *testing.T, paths []string) {
	paths, how := paths[:len(paths)-1], paths[len(paths)-1]
	var kept []any
	for range 3 {
		for _, path := range paths {
			if how == comparing {
				requireFault(t, FileKeyMismatch, CheckKey(path, []*x509.Certificate{fileLeaf.Leaf}))
				continue
			}
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			if block, _ := pem.Decode(data); block != nil {
				key, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
				kept = append(kept, key)
			}
		}
	}
	fmt.Println("compared")
	_, _ = os.Stdin.Read(make([]byte, 1))
	runtime.KeepAlive(kept)
}

// writableMemory returns what a process has in its memory, except for what it has mapped from files.
func writableMemory(t *testing.T, pid int) (memory []byte) {
	maps, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "maps"))
	require.NoError(t, err)
	f, err := os.Open(filepath.Join("/proc", fmt.Sprint(pid), "mem"))
	if err != nil {
		t.Skip("the memory of another process cannot be read: ", err)
	}
	defer f.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n == 3 && strings.HasPrefix(mode, "rw") {
			part := make([]byte, to-from)
			n, _ := f.ReadAt(part, from)
			memory = append(memory, part[:n]...)
		}
	}
	require.NotEmpty(t, memory)
	return memory
}
