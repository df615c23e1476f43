//go:build interop

package interop

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
)

// asGo are options that make s_client offer the same as crypto/tls in the same order, so that servers choose the same.
var asGo = []string{
	"-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
	"-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" +
		"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:" +
		"ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:@SECLEVEL=0",
	"-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256:ed25519:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512:" +
		"ECDSA+SHA384:ECDSA+SHA512",
}

// opensslVersions are OpenSSL's names of TLS versions.
var opensslVersions = map[uint16]string{
	tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3",
}

// assertSameAsOpenSSL asserts that s_client sees the same as a probe on the same port.
func assertSameAsOpenSSL(t *testing.T, test test, o *probe.EndpointOutcome) {
	t.Helper()
	h := o.Handshake
	args := append([]string{
		"s_client", "-connect", o.Target.Endpoint.String(), "-servername", h.ServerName, "-showcerts",
		"-CAfile", cmp.Or(test.ca, "root.pem"), "-verify_return_error",
		"-min_protocol", opensslVersions[h.MinVersion], "-max_protocol", opensslVersions[h.MaxVersion],
	}, asGo...)
	if test.starttls != "" {
		args = append(args, "-starttls", test.starttls, "-xmpphost", h.ServerName)
	}
	if test.alpn != "" {
		args = append(args, "-alpn", test.alpn)
	}
	if test.client != "" {
		args = append(args, "-cert", test.client+".pem", "-key", test.client+".key", "-cert_chain", "issuer.pem")
	}
	out, err := openssl(args...).CombinedOutput()
	require.NoError(t, err, "s_client: %s", out)
	// match returns the first group of a pattern in the output, or "" if no line matches.
	match := func(pattern string) string {
		found := regexp.MustCompile(`(?m)^` + pattern).FindSubmatch(out)
		if found == nil {
			return ""
		}
		return string(found[1])
	}

	version := match(`New, (TLSv1\.3),`)
	if version == "" {
		version = match(` +Protocol +: (\S+)`) // before TLS 1.3 the line "New" has the version of the cipher suite
	}
	assert.Equal(t, version, opensslVersions[h.State.Version])
	suites, err := openssl("ciphers", "-stdname", "ALL:@SECLEVEL=0").Output() // lines such as "IANA-NAME - OPENSSL-NAME ..."
	require.NoError(t, err)
	assert.Regexp(t, "(?m)^"+tls.CipherSuiteName(h.State.CipherSuite)+" +- +"+match(`New, .* Cipher is (\S+)`)+" ", string(suites))
	assert.Equal(t, match(`ALPN protocol: (\S+)`), h.State.NegotiatedProtocol)

	var theirs, ours []string
	for rest := out; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		theirs = append(theirs, fingerprint(block.Bytes))
	}
	for _, c := range h.State.PeerCertificates {
		ours = append(ours, fingerprint(c.Raw))
	}
	assert.Equal(t, theirs, ours)
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// openssl returns a command that runs in the directory of the PKI, with the openssl that the servers' scripts use.
func openssl(args ...string) *exec.Cmd {
	cmd := exec.Command(must(filepath.Abs("with-openssl.sh")), append([]string{"openssl"}, args...)...)
	cmd.Dir = pki
	return cmd
}
