package clienttls

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// versions are the values of min_version and max_version, in order.
var versions = []string{"1.0", "1.1", "1.2", "1.3"}

// check returns what is wrong with a tls block, except for its CAs. It replaces the files of the client certificate and its
// key by their contents. configtls would find the same, but its errors do not
// name the key, its value, and a valid value.
func check(c *configtls.ClientConfig) (errs []error) {
	errorf := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if c.Insecure {
		errorf("insecure: true would turn TLS off; remove it, or use insecure_skip_verify: true to accept any certificate")
	}
	checkVersions(c, errorf)
	for _, s := range c.CipherSuites {
		checkSuite(s, c.IncludeInsecureCipherSuites, errorf)
	}
	for _, s := range c.CurvePreferences {
		if !slices.Contains(target.Curves, s) {
			errorf("curve_preferences: %q is not known; use %s", s, strings.Join(target.Curves, ", "))
		}
	}
	if _, err := target.ParseServerName(c.ServerName); err != nil && c.ServerName != "" {
		errorf("server_name_override: %q is not a host name or an address; use one, such as example.com", c.ServerName)
	}
	checkKeyPair(c, errorf)
	if c.ReloadInterval < 0 {
		errorf("reload_interval: %s is negative; use 0s or more", c.ReloadInterval)
	}
	return errs
}

func checkVersions(c *configtls.ClientConfig, errorf func(string, ...any)) {
	lowest, highest := slices.Index(versions, c.MinVersion), slices.Index(versions, c.MaxVersion)
	if c.MinVersion == "" {
		lowest = slices.Index(versions, "1.2")
	} else if lowest < 0 {
		errorf("min_version: %q is not known; use one of %s", c.MinVersion, strings.Join(versions, ", "))
		return
	}
	if c.MaxVersion == "" {
		return
	}
	if highest < 0 {
		errorf("max_version: %q is not known; use one of %s", c.MaxVersion, strings.Join(versions, ", "))
		return
	}
	if lowest > highest {
		errorf("min_version: %q is above max_version, %q; lower it or raise max_version", versions[lowest], c.MaxVersion)
	}
}

func checkSuite(name string, allowInsecure bool, errorf func(string, ...any)) {
	hasName := func(s *tls.CipherSuite) bool { return s.Name == name }
	switch {
	case slices.ContainsFunc(tls.CipherSuites(), hasName):
	case slices.ContainsFunc(tls.InsecureCipherSuites(), hasName):
		if !allowInsecure {
			errorf("cipher_suites: %q is insecure; set include_insecure_cipher_suites: true to offer it anyway", name)
		}
	default:
		errorf("cipher_suites: %q is not known; use names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", name)
	}
}

// maxFile is the maximum size of a certificate, key or CA file in bytes. A bundle of all public CAs has about 200 KiB.
const maxFile = 16 << 20

// quotedPath returns path in quotation marks, after a space. It is empty if path is PEM text, as that may be a key.
func quotedPath(path string) string {
	if strings.Contains(path, "-----BEGIN") {
		return ""
	}
	return fmt.Sprintf(" %q", path)
}

// readFile reads the file that is the value of key.
func readFile(key, path string, errorf func(string, ...any)) ([]byte, bool) {
	if quotedPath(path) == "" {
		errorf("%s: has PEM text instead of a path; write the text to a file, and its path here, or use %s_pem", key, strings.TrimSuffix(key, "_file"))
		return nil, false
	}
	data, err := diskfile.Read(path, maxFile)
	if err != nil {
		errorf("%s: %q cannot be read (%w); it must be a file that the collector's user can read", key, path, err)
		return nil, false
	}
	return data, true
}
