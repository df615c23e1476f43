package failure

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	for _, w := range words {
		assert.Contains(t, source.String(), `"`+w.text, "crypto/tls no longer says this")
		typ, ok := typeFromWords(errors.New(w.text + " and what follows"))
		assert.True(t, ok)
		assert.Equal(t, w.typ, typ)
	}
	_, ok := typeFromWords(errors.New("tls: something new"))
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
