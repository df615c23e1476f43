package clienttls

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// versions are the values of min_version and max_version, in order.
var versions = []string{"1.0", "1.1", "1.2", "1.3"}

// curves are the values of curve_preferences.
var curves = []string{"P256", "P384", "P521", "X25519", "X25519MLKEM768"}

// check returns what is wrong with a tls block. configtls would refuse it too, but its errors do not say which key is
// wrong, its value, and what would be right.
func check(c *configtls.ClientConfig) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if c.Insecure {
		bad("insecure: true would mean a probe without TLS; remove it, or use insecure_skip_verify: true to probe whatever the certificate is worth")
	}
	checkVersions(c, bad)
	for _, s := range c.CipherSuites {
		checkSuite(s, c.IncludeInsecureCipherSuites, bad)
	}
	for _, s := range c.CurvePreferences {
		if !slices.Contains(curves, s) {
			bad("curve_preferences: %q is not known; use %s", s, strings.Join(curves, ", "))
		}
	}
	if !validName(c.ServerName) {
		bad("server_name_override: %q is no host name or address; write one, such as example.com", c.ServerName)
	}
	checkKeyPair(c, bad)
	if c.ReloadInterval < 0 {
		bad("reload_interval: %s is negative; use 0s or more", c.ReloadInterval)
	}
	return errs
}

// validName reports whether a name can stand in a certificate: empty, where there is none, an address, or a DNS name.
func validName(name string) bool {
	if name == "" {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	_, err := target.ParseEndpoint(name + ":1")
	return err == nil
}

func checkVersions(c *configtls.ClientConfig, bad func(string, ...any)) {
	lowest, highest := slices.Index(versions, c.MinVersion), slices.Index(versions, c.MaxVersion)
	if c.MinVersion == "" {
		lowest = slices.Index(versions, "1.2")
	} else if lowest < 0 {
		bad("min_version: %q is not known; use one of %s", c.MinVersion, strings.Join(versions, ", "))
		return
	}
	if c.MaxVersion == "" {
		return
	}
	if highest < 0 {
		bad("max_version: %q is not known; use one of %s", c.MaxVersion, strings.Join(versions, ", "))
		return
	}
	if lowest > highest {
		bad("min_version: %q is above max_version, %q; lower it or raise max_version", versions[lowest], c.MaxVersion)
	}
}

func checkSuite(name string, insecureToo bool, bad func(string, ...any)) {
	named := func(s *tls.CipherSuite) bool { return s.Name == name }
	switch {
	case slices.ContainsFunc(tls.CipherSuites(), named):
	case slices.ContainsFunc(tls.InsecureCipherSuites(), named):
		if !insecureToo {
			bad("cipher_suites: %q is an insecure one; set include_insecure_cipher_suites: true to offer it all the same", name)
		}
	default:
		bad("cipher_suites: %q is not known; use names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", name)
	}
}

func checkKeyPair(c *configtls.ClientConfig, bad func(string, ...any)) {
	if c.CertFile != "" && c.CertPem != "" {
		bad("cert_file: %q cannot be combined with cert_pem; use one of the two", c.CertFile)
		return
	}
	if c.KeyFile != "" && c.KeyPem != "" {
		bad("key_file: %q cannot be combined with key_pem; use one of the two", c.KeyFile)
		return
	}
	if c.TPMConfig.Enabled {
		return // the key is not in the file; configtls asks the TPM
	}
	hasCert, hasKey := c.CertFile != "" || c.CertPem != "", c.KeyFile != "" || c.KeyPem != ""
	switch {
	case !hasCert && !hasKey:
		return
	case !hasKey:
		bad("key_file: is missing beside the certificate; set key_file or key_pem")
		return
	case !hasCert:
		bad("cert_file: is missing beside the key; set cert_file or cert_pem")
		return
	}
	cert, certOK := []byte(c.CertPem), true
	if c.CertFile != "" {
		cert, certOK = readFile("cert_file", c.CertFile, bad)
	}
	key, keyOK := []byte(c.KeyPem), true
	if c.KeyFile != "" {
		key, keyOK = readFile("key_file", c.KeyFile, bad)
	}
	if !certOK || !keyOK {
		return
	}
	certKey, keyKey := "cert_pem: the certificate", "key_pem: the key"
	if c.CertFile != "" {
		certKey = fmt.Sprintf("cert_file: %q", c.CertFile)
	}
	if c.KeyFile != "" {
		keyKey = fmt.Sprintf("key_file: %q", c.KeyFile)
	}
	if block, _ := pem.Decode(cert); block == nil {
		bad("%s has nothing that can be read; it must hold PEM blocks of type CERTIFICATE", certKey)
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		if strings.Contains(err.Error(), "does not match") {
			bad("%s is not the key of the certificate in cert_file or cert_pem; use the two that were made together", keyKey)
			return
		}
		bad("%s with its certificate cannot be used (%w); both must be PEM and the key without a password", keyKey, err)
	}
}

// maxFile bounds the bytes of a certificate, key or CA file. A bundle of all public CAs has 200 KiB.
const maxFile = 16 << 20

func readFile(key, path string, bad func(string, ...any)) ([]byte, bool) {
	data, err := diskfile.Read(path, maxFile)
	if err != nil {
		bad("%s: %q cannot be read (%w); it must be a file that the collector's user may read", key, path, err)
		return nil, false
	}
	return data, true
}
