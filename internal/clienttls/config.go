// Package clienttls turns the tls blocks of the configuration into client configurations for crypto/tls, and reloads their
// files when these change.
package clienttls

import (
	"fmt"

	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"
)

// Config is a tls block: the collector's settings for a TLS client. They are unexported so that the collector does not
// validate them itself: it would validate the default block before a target's block is merged into it, and its errors name
// neither the key nor the value. The zero value has Go's defaults and trusts the system's CAs.
type Config struct {
	client configtls.ClientConfig
}

// New returns a Config with these settings.
func New(settings configtls.ClientConfig) Config { return Config{settings} }

// Unmarshal implements confmap.Unmarshaler. It merges the block into c.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	// The keys of each pair exclude each other. One that is set replaces both in c.
	for _, pair := range [][2]*stringKey{
		{{"ca_file", &c.client.CAFile}, {"ca_pem", (*string)(&c.client.CAPem)}},
		{{"cert_file", &c.client.CertFile}, {"cert_pem", (*string)(&c.client.CertPem)}},
		{{"key_file", &c.client.KeyFile}, {"key_pem", (*string)(&c.client.KeyPem)}},
	} {
		for i, set := range pair {
			if conf.IsSet(set.key) {
				*pair[1-i].value = ""
			}
		}
	}
	for _, key := range []string{"min_version", "max_version"} {
		if v, isNumber := conf.Get(key).(float64); isNumber {
			return fmt.Errorf("%s: %.1f is a number in YAML; put it in quotes: \"%.1f\"", key, v, v)
		}
	}
	return conf.Unmarshal(&c.client)
}

// Marshal implements confmap.Marshaler, with which the collector prints the configuration. Secrets are redacted.
func (c Config) Marshal(conf *confmap.Conf) error { return conf.Marshal(c.client) }

type stringKey struct {
	key   string
	value *string
}
