package failure

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// TestWords fails if Go rewords one of the errors that can only be recognized by their text. It looks for the text in
// the source of the crypto/tls that this test is built with.
func TestWords(t *testing.T) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(goroot)), "src/crypto/tls/*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var source strings.Builder
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			source.Write(b)
		}
	}
	assert.Contains(t, source.String(), `"tls: handshake message of length %d bytes exceeds maximum of %d bytes"`)
	for _, w := range words {
		assert.Contains(t, source.String(), `"`+w.text, "crypto/tls no longer says this")
		found, ok := findWords(errors.New(w.text + " and what follows"))
		assert.True(t, ok)
		assert.Equal(t, w, found)
	}
	_, ok := findWords(errors.New("tls: something new"))
	assert.False(t, ok)
}

// TestAlertsOfCryptoTLS fails if crypto/tls changes how it reports alerts.
func TestAlertsOfCryptoTLS(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte // to the ClientHello
		want   AlertError
		ok     bool // whether the alert is the server's
	}{
		"the server's": {[]byte{21, 3, 3, 0, 2, 2, 70}, AlertError{Number: 70}, true},
		"our own":      {[]byte{22, 3, 3, 0, 4, 4, 0, 0, 0}, AlertError{Number: 50, Local: true}, false}, // an empty message, which cannot be parsed
	} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			go func() {
				defer server.Close()
				_, _ = server.Read(make([]byte, 4096))
				_, _ = server.Write(c.answer)
				_, _ = io.Copy(io.Discard, server)
			}()
			raw := tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
			require.Error(t, raw)
			err := fmt.Errorf("probe: %w", FromCryptoTLS(raw))
			var alert *AlertError
			require.ErrorAs(t, err, &alert, "%v", raw)
			c.want.Err = raw
			assert.Equal(t, c.want, *alert)
			assert.Equal(t, raw.Error(), alert.Error())
			assert.ErrorIs(t, err, raw)
			number, ok := alertOf(err)
			assert.Equal(t, c.ok, ok)
			assert.Equal(t, c.ok, IsRefusal(err))
			if ok {
				assert.Equal(t, c.want.Number, number)
			}
		})
	}
	for _, err := range []error{nil, io.EOF, &net.OpError{Op: "read", Err: io.EOF}, &net.OpError{Op: "remote error", Err: io.EOF}} {
		assert.Equal(t, err, FromCryptoTLS(err), "no alert")
	}
}

// With insecure_skip_verify the verdict does not end the handshake, but crypto/rsa does.
func TestKeyThatCryptoRSARefuses(t *testing.T) {
	weak := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 511, 1), E: 65537}
	refusal := rsa.VerifyPKCS1v15(weak, crypto.SHA256, make([]byte, 32), make([]byte, 64))
	require.ErrorContains(t, refusal, "512-bit keys are insecure")
	explained := func(key *rsa.PublicKey, err error) *Failure {
		leaf := &x509.Certificate{PublicKeyAlgorithm: x509.RSA, PublicKey: key}
		return Explain(Evidence{
			Step: Handshake, Err: err, Endpoint: "a:1", Verdict: &certs.Verdict{Chain: []*x509.Certificate{leaf}},
		})
	}
	for _, err := range []error{refusal, fmt.Errorf("tls: invalid signature by the server certificate: %w", refusal)} {
		f := explained(weak, err)
		assert.Equal(t, Type(certs.WeakKey), f.Type)
		assert.Equal(t, Verify, f.Step)
		assert.Equal(t, 66, f.VerifyCode)
		assert.Contains(t, f.Cause, "The certificate has an RSA key of 512 bits, with which crypto/tls makes no handshake")
	}
	strong := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 65537}
	assert.NotEqual(t, Type(certs.WeakKey), explained(strong, refusal).Type, "the key is our own")
}

func TestMessagesThatAreTooLong(t *testing.T) {
	for limit, want := range map[int]Type{262144: Type(certs.Malformed), 65536: MalformedHandshake} {
		f := Explain(Evidence{Step: Handshake, Endpoint: "a:1", Err: fmt.Errorf("tls: handshake message of length 16777215 bytes exceeds maximum of %d bytes", limit)})
		assert.Equal(t, want, f.Type)
		assert.Contains(t, f.Cause, "16777215")
		assert.Contains(t, f.Cause, fmt.Sprintf("The collector reads at most %d.", limit))
	}
}
