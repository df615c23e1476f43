package certs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// command returns a function that runs a program in dir. It skips the test if the program is not installed, and in short
// mode, as programs take long to start.
func command(t *testing.T, program, dir string) func(args ...string) {
	if testing.Short() {
		t.Skip("runs another program")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(program, "is not installed")
	}
	return func(args ...string) {
		t.Helper()
		c := exec.Command(path, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", program, args, out)
	}
}

func filesDir(t *testing.T) string {
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"leaf.pem": leafPEM, "ca.pem": caPEM, "root.pem": fileRoot.PEM(), "key.pem": keyPEM,
		"chain.pem": join(leafPEM, caPEM), "all.pem": join(leafPEM, caPEM, fileRoot.PEM()),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return dir
}

func TestFilesOfOpenSSL(t *testing.T) {
	dir := filesDir(t)
	openssl := command(t, "openssl", dir)
	pass := "pass:" + secret
	withKey := []string{"pkcs12", "-export", "-in", "leaf.pem", "-inkey", "key.pem", "-certfile", "ca.pem"}
	noKeys := []string{"pkcs12", "-export", "-nokeys", "-in", "chain.pem"}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"key and chain":               {append(withKey, "-passout", pass), "leaf CA"},
		"key and chain, legacy":       {append(withKey, "-passout", pass, "-legacy"), "leaf CA"},
		"key and chain, 3DES":         {append(withKey, "-passout", pass, "-descert"), "leaf CA"},
		"key and chain, named":        {append(withKey, "-passout", pass, "-name", "näme", "-caname", "x"), "leaf CA"},
		"key and chain, SHA-512":      {append(withKey, "-passout", pass, "-macalg", "sha512"), "leaf CA"},
		"key and chain, SHA-384":      {append(withKey, "-passout", pass, "-macalg", "sha384"), "leaf CA"},
		"key and chain, no MAC":       {append(withKey, "-passout", pass, "-nomac"), "leaf CA"},
		"key and chain, plain":        {append(withKey, "-passout", pass, "-keypbe", "NONE", "-certpbe", "NONE"), "leaf CA"},
		"certificates":                {append(noKeys, "-passout", pass), "leaf CA"},
		"certificates, legacy":        {append(noKeys, "-passout", pass, "-legacy"), "leaf CA"},
		"certificates, 600,000 times": {append(noKeys, "-passout", pass, "-iter", "600000"), "leaf CA"},
	} {
		t.Run(name, func(t *testing.T) {
			openssl(append(tt.args, "-out", "out.p12")...)
			read := func(password string) (*Bundle, error) {
				b, err := ReadFile(filepath.Join(dir, "out.p12"), "", password)
				assertBounded(t, b, err)
				return b, err
			}
			b, err := read(secret)
			require.NoError(t, err)
			assert.Equal(t, tt.want, found(b))
			assert.Equal(t, FormatPKCS12, b.Format)

			if strings.Contains(name, "no MAC") || strings.Contains(name, "384") {
				return // only the padding shows that the password is wrong, and with some keys it is valid by chance
			}
			_, err = read("wrong")
			requireFault(t, FileWrongPassword, err)
			b, err = read("")
			if strings.Contains(name, "plain") {
				require.NoError(t, err, "the password is not needed")
				assert.Equal(t, tt.want, found(b))
			} else {
				requireFault(t, FileWrongPassword, err)
			}
		})
	}
	for name, tt := range map[string]struct {
		args     []string
		password string
		format   Format
		want     string
	}{
		"empty password":         {append(withKey, "-passout", "pass:"), "", FormatPKCS12, "leaf CA"},
		"empty password, legacy": {append(withKey, "-passout", "pass:", "-legacy"), "", FormatPKCS12, "leaf CA"},
		"key alone":              {[]string{"pkcs12", "-export", "-nocerts", "-inkey", "key.pem", "-passout", pass}, secret, FormatPKCS12, string(FileKeyOnly)},
		"trusted":                {[]string{"x509", "-in", "leaf.pem", "-trustout", "-addtrust", "serverAuth", "-setalias", "me"}, "", FormatPEM, "leaf"},
		"text":                   {[]string{"x509", "-in", "leaf.pem", "-text"}, "", FormatPEM, "leaf"},
		"DER":                    {[]string{"x509", "-in", "leaf.pem", "-outform", "DER"}, "", FormatDER, "leaf"},
		"PKCS7":                  {[]string{"crl2pkcs7", "-nocrl", "-certfile", "all.pem"}, "", FormatPEM, "leaf CA root"},
		"PKCS#7":                 {[]string{"crl2pkcs7", "-nocrl", "-certfile", "all.pem", "-outform", "DER"}, "", FormatDER, "leaf CA root"},
		"key, PKCS#8":            {[]string{"pkcs8", "-topk8", "-in", "key.pem", "-passout", pass, "-outform", "DER"}, "", FormatDER, string(FileKeyOnly)},
		"key, SEC 1":             {[]string{"ec", "-in", "key.pem", "-outform", "DER"}, "", FormatDER, string(FileKeyOnly)},
		"key, encrypted in PEM":  {[]string{"ec", "-in", "key.pem", "-aes128", "-passout", pass}, "", FormatPEM, string(FileKeyOnly)},
	} {
		t.Run(name, func(t *testing.T) {
			openssl(append(tt.args, "-out", "out")...)
			for _, format := range []Format{FormatAuto, tt.format} {
				b, err := ReadFile(filepath.Join(dir, "out"), format, tt.password)
				assertBounded(t, b, err)
				if strings.HasPrefix(tt.want, "file_") {
					requireFault(t, Fault(tt.want), err)
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, tt.want, found(b))
				assert.Equal(t, tt.format, b.Format)
			}
		})
	}
	t.Run("PEM of a keystore", func(t *testing.T) { // with bag attributes
		openssl(append(withKey, "-passout", pass, "-out", "out.p12")...)
		openssl("pkcs12", "-in", "out.p12", "-passin", pass, "-nodes", "-out", "out")
		b, err := ReadFile(filepath.Join(dir, "out"), "", "")
		require.NoError(t, err)
		assert.Equal(t, "leaf CA", found(b))
	})
}

func TestFilesOfKeytool(t *testing.T) {
	dir := filesDir(t)
	keytool := command(t, "keytool", dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "leaf.p12"), keyStore(t, secret), 0o600))
	for name, tt := range map[string]struct {
		format Format
		args   []string
	}{
		"PKCS12": {FormatPKCS12, nil},
		"legacy": {FormatPKCS12, []string{"-J-Dkeystore.pkcs12.legacy"}},
		"JKS":    {FormatJKS, []string{"-storetype", "jks"}},
		"JCEKS":  {FormatJKS, []string{"-storetype", "jceks"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a Java program takes a second to start
			do := func(args ...string) {
				t.Helper()
				// The options of Java make it start faster.
				args = append([]string{"-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"}, args...)
				keytool(append(append(args, "-keystore", name+".jks", "-storepass", secret, "-noprompt"), tt.args...)...)
			}
			read := func(format Format, password string) (*Bundle, error) {
				b, err := ReadFile(filepath.Join(dir, name+".jks"), format, password)
				assertBounded(t, b, err)
				return b, err
			}
			do("-importcert", "-alias", "b", "-file", "root.pem")
			b, err := read("", secret)
			require.NoError(t, err)
			assert.Equal(t, "root", found(b))

			do("-importkeystore", "-srckeystore", "leaf.p12", "-srcstorepass", secret, "-srcalias", "1", "-destalias", "c", "-destkeypass", secret)
			want := "root leaf CA"
			if tt.format == FormatPKCS12 {
				want = "leaf CA root" // the chain of the key now includes the root
			}
			for _, format := range []Format{"", FormatJKS, FormatPKCS12} {
				b, err = read(format, secret)
				require.NoError(t, err)
				assert.Equal(t, want, found(b))
				assert.Equal(t, tt.format, b.Format)
			}
			_, err = read("", "wrong")
			requireFault(t, FileWrongPassword, err)
			b, err = read("", "")
			if tt.format == FormatJKS {
				require.NoError(t, err)
				assert.Equal(t, want, found(b))
			} else {
				requireFault(t, FileWrongPassword, err)
			}

			switch name {
			case "PKCS12":
				do("-delete", "-alias", "b")
				do("-delete", "-alias", "c")
				_, err = read("", secret)
				requireFault(t, FileEmpty, err)
			case "JCEKS":
				do("-genseckey", "-alias", "a", "-keyalg", "AES", "-keysize", "128", "-keypass", secret)
				b, err = read("", secret)
				if err != nil { // it comes first
					requireFault(t, FileMalformed, err)
				} else {
					assert.Equal(t, 1, b.BadCount)
				}
			}
		})
	}
}
