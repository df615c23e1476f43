// Package clienttls turns the tls blocks of the configuration into what handshakes offer, trust and present, and follows
// the files that they name as these are renewed.
package clienttls

import (
	"fmt"

	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"
)

// Config is a tls block: the collector's settings of a TLS client. It keeps them out of reach of the collector's own
// validation, which would judge the default block before a target's is laid over it, and whose errors name neither the key
// nor the value. Its zero value has Go's defaults and trusts the system's CAs.
type Config struct {
	client configtls.ClientConfig
}

// New returns the settings as a Config.
func New(settings configtls.ClientConfig) Config { return Config{settings} }

// Unmarshal implements confmap.Unmarshaler.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	// Of a pair that excludes each other, such as ca_file and ca_pem, the one that is laid over replaces the other.
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

// Marshal implements confmap.Marshaler: the configuration is printed with its tls block, without its secrets.
func (c Config) Marshal(conf *confmap.Conf) error { return conf.Marshal(c.client) }

type stringKey struct {
	key   string
	value *string
}
