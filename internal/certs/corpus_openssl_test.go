package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// TestVerdictsBesideOpenSSL compares our verdicts with those of `openssl verify`. Our first reason must be among OpenSSL's
// errors, at the same depth, and we must have a reason for each of OpenSSL's errors. Each scene where that is not so says
// why. The test is skipped if openssl is not installed, but make test-interop installs it and lets nothing be skipped.
func TestVerdictsBesideOpenSSL(t *testing.T) {
	if testing.Short() {
		t.Skip("runs another program")
	}
	version, err := exec.Command("openssl", "version").Output()
	if err != nil || !regexp.MustCompile(`^OpenSSL [3-9]\.`).Match(version) {
		t.Skip("openssl, version 3 or later, is not installed")
	}
	t.Logf("%s", version)
	differences := 0
	for _, s := range certs.Corpus() {
		if s.OpenSSL != nil {
			differences++
		}
	}
	assert.LessOrEqual(t, differences, 71, "we agreed about more before")
	for _, s := range certs.Corpus() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			s = s.Complete()
			ours, warnings := ourCodes(t, s)
			theirs := verify(t, s)
			if s.OpenSSL == nil {
				assert.True(t, agree(ours, theirs), "we say %s, OpenSSL says %s", ours, theirs)
			} else {
				assert.NotEmpty(t, s.Because)
				assert.Contains(t, s.OpenSSL, theirs, "we say %s; this does not explain it: %s", ours, s.Because)
				assert.False(t, agree(ours, s.OpenSSL[0]), "this is no longer a difference: %s", s.Because)
			}
			if s.With != nil {
				assert.True(t, agree(ours, verify(t, s, s.With...)), "%s does not remove the difference", s.With)
			}
			if ours == "ok" && warnings != "" {
				assert.Equal(t, warnings, verify(t, s, "-auth_level", "2"), "the warnings")
			}
		})
	}
}

// agree reports whether OpenSSL agrees with us, in its codes. It stops at some errors, so it may have fewer.
func agree(ours, theirs string) bool {
	codes := strings.Fields(ours)
	return slices.Contains(strings.Fields(theirs), codes[0]) &&
		!slices.ContainsFunc(strings.Fields(theirs), func(c string) bool { return !slices.Contains(codes, c) })
}

// ourCodes returns our verdict and its warnings as OpenSSL's codes with their depths, such as 10@0.
func ourCodes(t *testing.T, s certs.Scene) (reasons, warnings string) {
	t.Helper()
	if s.ParseError != "" {
		return "unreadable", ""
	}
	v := s.Verdict(t)
	if reasons = codes(t, s, v, v.Reasons); v.Valid() {
		reasons = "ok"
	}
	return reasons, codes(t, s, v, v.Warnings)
}

func codes(t *testing.T, s certs.Scene, v *certs.Verdict, reasons []certs.Reason) string {
	t.Helper()
	var all []string
	for _, r := range reasons {
		f := failure.Explain(failure.Evidence{
			Verdict: &certs.Verdict{Chain: v.Chain, Presented: v.Presented, Rooted: v.Rooted, Trusted: v.Trusted, Reasons: []certs.Reason{r}}, ServerName: s.Host, Now: s.At,
		})
		all = append(all, fmt.Sprintf("%d@%d", f.VerifyCode, r.Depth))
		assert.Equal(t, string(r.Fault), string(f.Type))
		said := f.Message + f.Cause + f.Fix
		assert.True(t, utf8.ValidString(said) && !strings.ContainsFunc(said, unicode.IsControl), "%q", said)
	}
	return strings.Join(all, " ")
}

var errorLine = regexp.MustCompile(`(?m)^error (\d+) at (\d+) depth lookup`)

// verify returns the result of `openssl verify`: its codes with their depths, or ok, or unreadable.
func verify(t *testing.T, s certs.Scene, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, ders ...[]byte) string {
		var b bytes.Buffer
		for _, der := range ders {
			require.NoError(t, pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600))
		return filepath.Join(dir, name)
	}
	// Level 1 rejects what crypto/x509 rejects: SHA-1, MD5 and RSA keys under 1024 bits. Level 2, the default since OpenSSL
	// 3.2, also rejects RSA keys under 2048 bits, for which we only have a warning.
	args := []string{
		"verify", "-no-CApath", "-no-CAstore", "-purpose", "sslserver", "-auth_level", "1",
		"-attime", strconv.FormatInt(s.At.Unix(), 10),
	}
	if len(s.Roots)+len(s.Unreadable) == 0 {
		args = append(args, "-no-CAfile")
	} else {
		ders := slices.Clone(s.Unreadable)
		for _, c := range s.Roots {
			ders = append(ders, c.Raw)
		}
		args = append(args, "-CAfile", file("roots.pem", ders...))
	}
	if len(s.Chain) > 1 {
		args = append(args, "-untrusted", file("chain.pem", s.Chain[1:]...))
	}
	if _, err := netip.ParseAddr(s.Host); err == nil {
		args = append(args, "-verify_ip", s.Host)
	} else {
		args = append(args, "-verify_hostname", s.Host)
	}
	args = append(args, options...)
	out, err := exec.Command("openssl", append(args, file("leaf.pem", s.Chain[0]))...).CombinedOutput()

	var all []string
	for _, line := range errorLine.FindAllSubmatch(out, -1) {
		all = append(all, fmt.Sprintf("%s@%s", line[1], line[2]))
	}
	switch {
	case len(all) > 0:
		assert.Error(t, err)
		return strings.Join(all, " ")
	case err == nil:
		return "ok"
	}
	assert.Regexp(t, `(?i)unable to load|could not (read|find|open)|error loading`, string(out))
	return "unreadable"
}

// If crypto/x509 cannot parse a certificate, or does not know the type of its key, the handshake fails before the verdict.
func TestUnparsableCertificatesAreMalformed(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for _, s := range certs.Corpus() {
		step, typ := failure.Verify, failure.Type(certs.Malformed)
		if chain, err := s.Parse(); err == nil && chain[0].PublicKey != nil {
			continue
		} else if err == nil {
			step, typ = failure.Handshake, failure.SignatureMismatch
		}
		t.Run(s.Name, func(t *testing.T) {
			server := tlsfarm.TLS(&tls.Config{Certificates: []tls.Certificate{{Certificate: s.Chain, PrivateKey: key}}})
			defer server.Close()
			_, err := tls.Dial("tcp", server.Endpoint(), &tls.Config{InsecureSkipVerify: true}) // as the prober does
			require.Error(t, err)
			f := failure.Explain(failure.Evidence{Step: failure.Handshake, Err: err})
			assert.Equal(t, step, f.Step)
			assert.Equal(t, typ, f.Type, "%v", err)
			assert.Zero(t, f.VerifyCode)
		})
	}
}
