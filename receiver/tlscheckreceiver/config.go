package tlscheckreceiver

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/record"
)

// Config is the receiver's configuration. What stands at the top beside the targets is the default of every target.
type Config struct {
	MaxConcurrentProbes int `mapstructure:"max_concurrent_probes"`

	TargetDefaults `mapstructure:",squash"`
	Targets        []TargetConfig `mapstructure:"targets"`

	record.Config `mapstructure:",squash"`
}

// TargetConfig is one target: an endpoint, and what is to be different for it.
type TargetConfig struct {
	Endpoint string `mapstructure:"endpoint"`

	TargetDefaults `mapstructure:",squash"`

	conf *confmap.Conf // as written, to be laid over the defaults
}

// TargetDefaults are the keys that can stand at the top and on a target.
type TargetDefaults struct {
	CollectionInterval time.Duration        `mapstructure:"collection_interval"`
	InitialDelay       time.Duration        `mapstructure:"initial_delay"`
	Timeout            time.Duration        `mapstructure:"timeout"`
	ExpiryWarning      target.ExpiryWarning `mapstructure:"expiry_warning"`
	Spans              SpansConfig          `mapstructure:"spans"`
	Explain            ExplainConfig        `mapstructure:"explain"`
	StartTLS           string               `mapstructure:"starttls"`
	TLS                ClientTLS            `mapstructure:"tls"`
	ALPN               []string             `mapstructure:"alpn"`
	Attributes         map[string]string    `mapstructure:"attributes"`
}

// SpansConfig says which probes leave spans.
type SpansConfig struct {
	When target.Spans `mapstructure:"when"`
}

// ExplainConfig says when a failing target is asked further what would work.
type ExplainConfig struct {
	When target.Explain `mapstructure:"when"`
}

// Unmarshal implements confmap.Unmarshaler. It lays each target over the defaults, key by key.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := unknownKeys(conf.ToStringMap(), reflect.TypeFor[Config](), ""); err != nil {
		return err
	}
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		written := t.conf
		t.TargetDefaults = c.TargetDefaults
		t.Attributes = nil
		if written != nil {
			if err := written.Unmarshal(t); err != nil {
				return fmt.Errorf("targets::%d: %w", i, err)
			}
		}
		attributes := maps.Clone(c.Attributes)
		if attributes == nil {
			attributes = make(map[string]string, len(t.Attributes))
		}
		maps.Copy(attributes, t.Attributes)
		t.Attributes = attributes
	}
	return nil
}

// Unmarshal implements confmap.Unmarshaler.
func (t *TargetConfig) Unmarshal(conf *confmap.Conf) error {
	t.conf = conf
	return conf.Unmarshal(t)
}

// Validate implements confmap.Validator. It goes as far as loading every certificate and key, so that what it accepts
// can be started.
func (c *Config) Validate() error {
	_, err := c.build()
	return err
}

// build makes the targets, or an error that joins all that is wrong with them.
func (c *Config) build() ([]*target.Target, error) {
	var errs []error
	if c.MaxConcurrentProbes < 1 {
		errs = append(errs, fmt.Errorf("max_concurrent_probes: %d is not a number of probes; use 1 or more, such as 256", c.MaxConcurrentProbes))
	}
	if len(c.Targets) == 0 {
		errs = append(errs, errors.New(`targets: there are none; add at least one, such as "- endpoint: example.com:443"`))
	}

	// What is wrong with the defaults is told once, at the top, and not again for each target.
	defaults := c.TargetDefaults.check()
	errs = append(errs, defaults...)
	told := make(map[string]bool, len(defaults))
	for _, err := range defaults {
		told[err.Error()] = true
	}

	sameEndpoint := make(map[string][]int, len(c.Targets))
	loaded := make(map[string]*loadedTLS)
	targets := make([]*target.Target, 0, len(c.Targets))
	for i := range c.Targets {
		t := &c.Targets[i]
		path := fmt.Sprintf("targets::%d::", i)
		endpoint, err := target.ParseEndpoint(t.Endpoint)
		if err != nil {
			errs = append(errs, fmt.Errorf("%sendpoint: %q %w", path, t.Endpoint, err))
		}
		for _, err := range t.check() {
			if !told[err.Error()] {
				errs = append(errs, fmt.Errorf("%s%w", path, err))
			}
		}

		if t.CollectionInterval >= time.Millisecond && t.Timeout > t.CollectionInterval {
			err := fmt.Errorf("timeout: %s is longer than collection_interval, %s; shorten it or lengthen the interval", t.Timeout, t.CollectionInterval)
			// As with the rest of the defaults: told once, where no target says otherwise.
			if t.Timeout != c.Timeout || t.CollectionInterval != c.CollectionInterval {
				errs = append(errs, fmt.Errorf("%s%w", path, err))
			} else if !told[err.Error()] {
				told[err.Error()] = true
				errs = append(errs, err)
			}
		}

		block := t.tlsBlock()
		l := loaded[block]
		if l == nil {
			l = loadTLS(&t.TLS.client)
			loaded[block] = l
			tlsPath := path
			if block == "" {
				tlsPath = ""
			}
			for _, err := range l.errs {
				errs = append(errs, fmt.Errorf("%stls::%w", tlsPath, err))
			}
		}

		protocol := t.StartTLS
		if protocol == "auto" {
			protocol = starttls.ForPort(endpoint.Port)
		}
		t.StartTLS = protocol // so that auto is the same as what it stands for

		key := endpoint.Key()
		for _, j := range sameEndpoint[key] {
			if err == nil && reflect.DeepEqual(t.TargetDefaults, c.Targets[j].TargetDefaults) {
				errs = append(errs, fmt.Errorf("%sendpoint: %q is that of targets::%d, with the same settings; remove one of the two", path, t.Endpoint, j))
				break
			}
		}
		sameEndpoint[key] = append(sameEndpoint[key], i)

		targets = append(targets, &target.Target{
			Endpoint: endpoint,
			Interval: t.CollectionInterval, InitialDelay: t.InitialDelay, Timeout: t.Timeout,
			ExpiryWarning: t.ExpiryWarning, Spans: t.Spans.When, Explain: t.Explain.When, Attributes: t.Attributes,
			StartTLS: protocol, TLS: l.with(t.ALPN),
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return targets, nil
}

// check returns what is wrong with the settings by themselves.
func (d *TargetDefaults) check() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	// A number without a unit would be nanoseconds.
	if d.CollectionInterval < time.Millisecond {
		bad("collection_interval: %s is not a time between probes; use one of 1ms or more, with its unit, such as 60s", d.CollectionInterval)
	}
	if d.InitialDelay < 0 {
		bad("initial_delay: %s is negative; use 0s or more", d.InitialDelay)
	}
	if d.Timeout < time.Millisecond {
		bad("timeout: %s is not a time limit; use one of 1ms or more, with its unit, such as 10s", d.Timeout)
	}
	switch d.Spans.When {
	case target.SpansAlways, target.SpansOnFailure, target.SpansOnChange:
	default:
		bad("spans::when: %q is not known; use always, on_failure or on_change", d.Spans.When)
	}
	switch d.Explain.When {
	case target.ExplainOnChange, target.ExplainNever:
	default:
		bad("explain::when: %q is not known; use on_change or never", d.Explain.When)
	}
	if d.StartTLS != "" && d.StartTLS != "auto" && !slices.Contains(starttls.Protocols(), d.StartTLS) {
		bad("starttls: %q is not known; use auto or one of %s", d.StartTLS, strings.Join(starttls.Protocols(), ", "))
	}
	for k := range d.Attributes {
		if k == "" || ownAttribute(k) {
			bad("attributes: %q is a name of the receiver's own; use another one", k)
		}
	}
	length := 0
	for _, p := range d.ALPN {
		if len(p) == 0 || len(p) > 255 {
			bad("alpn: %q is %d bytes long; a protocol's name has from 1 to 255, such as h2", p, len(p))
		}
		length += 1 + len(p)
	}
	if length > 65535 {
		bad("alpn: the names take %d bytes; at most 65535 fit into a handshake", length)
	}
	return errs
}

// ownAttribute tells whether the receiver itself may use an attribute's name.
func ownAttribute(name string) bool {
	for _, prefix := range []string{"tls.", "certificate.", "server.", "network.", "dns."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "error.type" || name == "result"
}

// tlsBlock returns what was written for the target's tls, as text that is the same for the same settings; empty where
// there is nothing, so that the default block holds.
func (t *TargetConfig) tlsBlock() string {
	if t.conf == nil || t.conf.Get("tls") == nil {
		return ""
	}
	return fmt.Sprint(t.conf.Get("tls"))
}
