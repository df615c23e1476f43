package clienttls

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/config/configopaque"
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

// checkKeyPair checks the client certificate and its key. It replaces the files in c by their contents, so that what is used
// is what was checked, and nothing else reads the files.
func checkKeyPair(c *configtls.ClientConfig, errorf func(string, ...any)) {
	if c.CertFile != "" && c.CertPem != "" {
		errorf("cert_file: %q cannot be combined with cert_pem; use one of the two", c.CertFile)
		return
	}
	if c.KeyFile != "" && c.KeyPem != "" {
		errorf("key_file: %q cannot be combined with key_pem; use one of the two", c.KeyFile)
		return
	}
	hasCert, hasKey := c.CertFile != "" || c.CertPem != "", c.KeyFile != "" || c.KeyPem != ""
	switch {
	case !hasCert && !hasKey:
		return
	case !hasKey:
		errorf("key_file: is missing, but there is a certificate; set key_file or key_pem")
		return
	case !hasCert:
		errorf("cert_file: is missing, but there is a key; set cert_file or cert_pem")
		return
	}
	certName, certOK := loadPEM("cert_file", &c.CertFile, &c.CertPem, "cert_pem: the certificate", errorf)
	keyName, keyOK := loadPEM("key_file", &c.KeyFile, &c.KeyPem, "key_pem: the key", errorf)
	if !certOK || !keyOK || c.TPMConfig.Enabled { // then the key is in the TPM, and only configtls can use it
		return
	}
	cert, key := []byte(c.CertPem), []byte(c.KeyPem)
	if block, _ := pem.Decode(cert); block == nil {
		errorf("%s has no PEM block; it must have PEM blocks of type CERTIFICATE", certName)
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		if strings.Contains(err.Error(), "does not match") {
			errorf("%s does not belong to the certificate in cert_file or cert_pem; use the key for which the certificate was issued", keyName)
			return
		}
		errorf("%s cannot be used with its certificate (%w); both must be in PEM, and the key must not be encrypted", keyName, err)
	}
}

// loadPEM moves the content of a file, if there is one, to where the PEM text is. It returns how errors name the two.
func loadPEM(key string, file *string, text *configopaque.String, textName string, errorf func(string, ...any)) (name string, ok bool) {
	if *file == "" {
		return textName, true
	}
	data, ok := readFile(key, *file, errorf)
	name = fmt.Sprintf("%s: %q", key, *file)
	*text, *file = configopaque.String(data), ""
	return name, ok
}

// maxFile is the maximum size of a certificate, key or CA file in bytes. A bundle of all public CAs has about 200 KiB.
const maxFile = 16 << 20

// readFile reads the file that is the value of key.
func readFile(key, path string, errorf func(string, ...any)) ([]byte, bool) {
	data, err := diskfile.Read(path, maxFile)
	if err != nil {
		errorf("%s: %q cannot be read (%w); it must be a file that the collector's user can read", key, path, err)
		return nil, false
	}
	return data, true
}
