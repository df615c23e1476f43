package tlscheckreceiver

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/telemetry"
)

// Config is the receiver's configuration. README.md describes each key.
//
// A program that embeds the receiver can make its own Config, in which zero values mean the defaults, or take one from the
// factory's CreateDefaultConfig, in which zero values are what they are: a delay of 0, or a metric that is switched off. In
// both, zero values of a target mean the value at the top, and a timeout that nobody set is no longer than the interval.
type Config struct {
	// MaxConcurrentProbes is the maximum number of probes that run at the same time.
	MaxConcurrentProbes int `mapstructure:"max_concurrent_probes"`

	// Settings are the defaults of all targets.
	Settings `mapstructure:",squash"`
	Targets  []TargetConfig `mapstructure:"targets"`

	// TargetFiles are paths or patterns of files with more targets.
	TargetFiles []string    `mapstructure:"target_files"`
	Shard       ShardConfig `mapstructure:"shard"`

	// Storage is the storage extension that keeps the state of events over a restart; nil for none.
	Storage *component.ID `mapstructure:"storage"`

	// Config switches metrics, events and resource attributes on and off.
	telemetry.Config `mapstructure:",squash"`

	hasDefaults bool // whether zero values were set explicitly, as CreateDefaultConfig made the Config
	decoded     bool // whether Unmarshal was called
	timeoutSet  bool // whether timeout is set at the top
}

// ShardConfig selects this collector's share of the targets, for several collectors with the same targets. The zero value
// selects all targets.
type ShardConfig struct {
	Index int `mapstructure:"index"` // of this collector, from 0 to Count-1
	Count int `mapstructure:"count"` // of collectors
}

// The types of a target's configuration, for programs that embed the receiver.
type (
	// Settings are the keys that can be used both at the top and on a target. A zero value on a target means the value at
	// the top. A target's Attributes are added to those at the top and replace those with the same name.
	Settings = targetconfig.Settings
	// TargetConfig is one target: an Endpoint ("host:port"), a FilePath (a path or pattern of certificate files), or both,
	// and its own Settings.
	TargetConfig = targetconfig.Entry
	// SpansConfig says which probes produce spans: When is "always", "on_failure" or "on_change".
	SpansConfig = targetconfig.Spans
	// ExplainConfig says when further connections are made to find out what a failing server would accept: When is
	// "on_change" or "never".
	ExplainConfig = targetconfig.Explain
	// DialerConfig limits the time for connecting to one address.
	DialerConfig = targetconfig.Dialer
	// ClientTLS is a tls block; NewClientTLS makes one. On a target, it replaces the whole block at the top.
	ClientTLS = clienttls.Config
	// ExpiryWarning says when a certificate is near its expiry; WarnBefore and WarnAtShare make one.
	ExpiryWarning = target.ExpiryWarning
)

// NewClientTLS returns a tls block with these settings. configtls.NewDefaultClientConfig returns the default ones.
func NewClientTLS(settings configtls.ClientConfig) ClientTLS { return clienttls.New(settings) }

// WarnBefore returns an ExpiryWarning that begins this long before a certificate expires.
func WarnBefore(left time.Duration) ExpiryWarning { return target.WarnBefore(left) }

// WarnAtShare returns an ExpiryWarning that begins when this share, from 0 to 1, of a certificate's validity period is left.
func WarnAtShare(left float64) ExpiryWarning { return target.WarnAtShare(left) }

// Unmarshal implements confmap.Unmarshaler. It merges the keys of each target into the defaults.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := targetconfig.UnknownKeys(conf.ToStringMap(), reflect.TypeFor[Config](), ""); err != nil {
		return err
	}
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	c.decoded, c.timeoutSet = true, conf.IsSet("timeout")
	c.Settings = c.CapTimeout(c.timeoutSet)
	defaults := c.defaults() // shared by all targets
	for i := range c.Targets {
		if err := c.Targets[i].Decode(defaults); err != nil {
			return fmt.Errorf("targets::%d: %w", i, err)
		}
	}
	return nil
}

// Validate implements confmap.Validator. It also loads every certificate and key, so that a valid configuration can be
// started. It does not change c.
func (c *Config) Validate() error {
	full := c.complete()
	_, err := full.build(targetconfig.NewBuilder(checkFilesEvery, zap.NewNop()))
	return err
}

// complete returns a copy of the configuration, with the defaults where zero values mean them.
func (c *Config) complete() *Config {
	full, defaults := *c, createDefaultConfig().(*Config)
	switch {
	case c.decoded:
		return &full
	case c.hasDefaults:
		full.timeoutSet = c.Timeout != defaults.Timeout
	default:
		full.timeoutSet = c.Timeout != 0
		full.MaxConcurrentProbes = cmp.Or(c.MaxConcurrentProbes, defaults.MaxConcurrentProbes)
		full.Settings = c.WithDefaults(defaults.Settings)
		fillZero(reflect.ValueOf(&full.Config).Elem(), reflect.ValueOf(defaults.Config))
	}
	full.Settings = full.CapTimeout(full.timeoutSet)
	return &full
}

// fillZero replaces zero values in a struct by those in defaults.
func fillZero(value, defaults reflect.Value) {
	if value.IsZero() {
		value.Set(defaults)
		return
	}
	if value.Kind() != reflect.Struct {
		return
	}
	for i := range value.NumField() {
		if value.Type().Field(i).IsExported() {
			fillZero(value.Field(i), defaults.Field(i))
		}
	}
}

func (c *Config) defaults() *targetconfig.Defaults {
	return &targetconfig.Defaults{Settings: c.Settings, TimeoutSet: c.timeoutSet}
}

// build builds the targets. c must be complete. The error joins everything that is wrong with the configuration.
func (c *Config) build(b *targetconfig.Builder) ([]*target.Target, error) {
	errs := c.checkTop()
	// An error in the defaults is reported once, at the top, and not again for each target.
	defaults := c.defaults()
	defaultErrs := defaults.Check()
	errs = append(errs, defaultErrs...)
	reported := make(map[string]bool, len(defaultErrs))
	for _, err := range defaultErrs {
		reported[err.Error()] = true
	}

	entries := make([]TargetConfig, len(c.Targets))
	byKey := make(map[string][]int, len(c.Targets)) // indexes of targets
	targets := make([]*target.Target, 0, len(c.Targets))
	for i := range c.Targets {
		entries[i] = c.Targets[i].Complete(defaults)
		e, path := &entries[i], fmt.Sprintf("targets::%d::", i)
		built, entryErrs := b.Build(e)
		for _, err := range entryErrs {
			text := err.Error()
			if reported[text] {
				continue
			}
			inTLS := strings.HasPrefix(text, "tls::")
			inDefaults := inTLS && !e.HasOwnTLS() ||
				strings.HasPrefix(text, "timeout:") && e.Timeout == c.Timeout && e.CollectionInterval == c.CollectionInterval
			reported[text] = inTLS || inDefaults
			if !inDefaults {
				err = fmt.Errorf("%s%w", path, err)
			}
			errs = append(errs, err)
		}
		key := e.Key()
		for _, j := range byKey[key] {
			if reflect.DeepEqual(e.Settings, entries[j].Settings) {
				errs = append(errs, fmt.Errorf("%s%s is a duplicate of targets::%d, with the same settings; remove one of the two", path, e, j))
				break
			}
		}
		byKey[key] = append(byKey[key], i)
		b.Number(built)
		targets = append(targets, built...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return targets, nil
}

// checkTop returns everything that is wrong with the keys that can be used only at the top.
func (c *Config) checkTop() (errs []error) {
	errorf := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.MaxConcurrentProbes < 1 {
		errorf("max_concurrent_probes: %d is too few; use 1 or more, such as 256", c.MaxConcurrentProbes)
	}
	if len(c.Targets)+len(c.TargetFiles) == 0 {
		errorf(`targets: there are none; add at least one, such as "- endpoint: example.com:443", or set target_files`)
	}
	for i, pattern := range c.TargetFiles {
		if err := (target.Files{Pattern: pattern}).Check(); err != nil || pattern == "" {
			errorf("target_files::%d: %q %w", i, pattern, cmp.Or(err, errors.New("is not a path; use one, such as /etc/otelcol-tlscheck/targets.d/*.yaml")))
		}
	}
	if s := c.Shard; s != (ShardConfig{}) && (s.Count < 1 || s.Index < 0 || s.Index >= s.Count) {
		errorf("shard: index %d of count %d is invalid; count is the number of collectors, and index is the number of this one, from 0 to count-1", s.Index, s.Count)
	}
	return errs
}
