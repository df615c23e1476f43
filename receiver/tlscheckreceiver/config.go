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
// A program that embeds the receiver gets one from the factory's CreateDefaultConfig, or makes one: zero values then mean
// the defaults, of the whole configuration as well as of each target.
type Config struct {
	// MaxConcurrentProbes is how many probes run at the same time.
	MaxConcurrentProbes int `mapstructure:"max_concurrent_probes"`

	// Settings are the defaults of all targets.
	Settings `mapstructure:",squash"`
	Targets  []TargetConfig `mapstructure:"targets"`

	// TargetFiles are patterns of files that hold more targets.
	TargetFiles []string    `mapstructure:"target_files"`
	Shard       ShardConfig `mapstructure:"shard"`

	// Storage is the storage extension that remembers over a restart which events were sent; nil where none does.
	Storage *component.ID `mapstructure:"storage"`

	// Config switches metrics, events and resource attributes on and off.
	telemetry.Config `mapstructure:",squash"`

	decoded    bool // whether the configuration was decoded, so that zero values are what somebody wrote
	timeoutSet bool // whether timeout was written at the top
}

// ShardConfig is this collector's share of the targets, where several collectors have the same ones. Its zero value is all
// of them.
type ShardConfig struct {
	Index int `mapstructure:"index"` // of this collector, from 0 on
	Count int `mapstructure:"count"` // of collectors
}

// The types of which a target is made, for programs that embed the receiver.
type (
	// Settings are the keys that can be used at the top and on a target. A zero value on a target means the default at the
	// top. Times are of package time, and Attributes are laid over those at the top one by one.
	Settings = targetconfig.Settings
	// TargetConfig is one target: an Endpoint ("host:port"), a FilePath (a path or pattern of certificate files), or both, and
	// Settings of its own.
	TargetConfig = targetconfig.Entry
	// SpansConfig says which probes leave spans: When is "always", "on_failure" or "on_change".
	SpansConfig = targetconfig.Spans
	// ExplainConfig says when further connections find out what a failing server would accept: When is "on_change" or "never".
	ExplainConfig = targetconfig.Explain
	// DialerConfig limits the time for connecting to one address.
	DialerConfig = targetconfig.Dialer
	// ClientTLS is a tls block; NewClientTLS makes one. It replaces the block at the top as a whole.
	ClientTLS = clienttls.Config
	// ExpiryWarning says when a certificate is near its expiry; WarnBefore and WarnAtShare make one.
	ExpiryWarning = target.ExpiryWarning
)

// NewClientTLS returns a tls block with these settings, such as those of configtls.NewDefaultClientConfig with some changed.
func NewClientTLS(settings configtls.ClientConfig) ClientTLS { return clienttls.New(settings) }

// WarnBefore returns the warning that begins this long before a certificate expires.
func WarnBefore(left time.Duration) ExpiryWarning { return target.WarnBefore(left) }

// WarnAtShare returns the warning that begins when this share, from 0 to 1, of a certificate's validity is left.
func WarnAtShare(left float64) ExpiryWarning { return target.WarnAtShare(left) }

// Unmarshal implements confmap.Unmarshaler. It lays each target over the defaults, key by key.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := targetconfig.UnknownKeys(conf.ToStringMap(), reflect.TypeFor[Config](), ""); err != nil {
		return err
	}
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	c.decoded, c.timeoutSet = true, conf.IsSet("timeout")
	c.Settings = c.Shorten(c.timeoutSet)
	defaults := c.defaults() // one for all targets
	for i := range c.Targets {
		if err := c.Targets[i].LayOver(defaults); err != nil {
			return fmt.Errorf("targets::%d: %w", i, err)
		}
	}
	return nil
}

// Validate implements confmap.Validator. It goes as far as loading every certificate and key, so that what it accepts
// can be started. It changes nothing.
func (c *Config) Validate() error {
	full := c.complete()
	_, err := full.build(targetconfig.NewBuilder(checkFilesEvery, zap.NewNop()))
	return err
}

// complete returns the configuration with the defaults in the place of zero values, where nobody wrote those.
func (c *Config) complete() *Config {
	full := *c
	if c.decoded {
		return &full
	}
	defaults := createDefaultConfig().(*Config)
	full.MaxConcurrentProbes = cmp.Or(c.MaxConcurrentProbes, defaults.MaxConcurrentProbes)
	full.timeoutSet = c.Timeout != 0 && c.Timeout != defaults.Timeout
	full.Settings = c.Over(defaults.Settings).Shorten(full.timeoutSet)
	for _, part := range []struct{ set, unset any }{
		{&full.Metrics, defaults.Metrics}, {&full.Events, defaults.Events}, {&full.ResourceAttributes, defaults.ResourceAttributes},
	} {
		if v := reflect.ValueOf(part.set).Elem(); v.IsZero() {
			v.Set(reflect.ValueOf(part.unset))
		}
	}
	return &full
}

func (c *Config) defaults() *targetconfig.Defaults {
	return &targetconfig.Defaults{Settings: c.Settings, TimeoutSet: c.timeoutSet}
}

// build has the builder build the targets, or returns an error that joins all that is wrong with the configuration, which
// is complete.
func (c *Config) build(b *targetconfig.Builder) ([]*target.Target, error) {
	errs := c.checkTop()
	// What is wrong with the defaults is reported once, at the top, and not again for each target.
	defaults := c.defaults()
	wrong := defaults.Check()
	errs = append(errs, wrong...)
	reported := make(map[string]bool, len(wrong))
	for _, err := range wrong {
		reported[err.Error()] = true
	}

	entries := make([]TargetConfig, len(c.Targets))
	same := make(map[string][]int, len(c.Targets))
	targets := make([]*target.Target, 0, len(c.Targets))
	for i := range c.Targets {
		entries[i] = c.Targets[i].Complete(defaults)
		e, path := &entries[i], fmt.Sprintf("targets::%d::", i)
		built, wrong := b.Build(e)
		for _, err := range wrong {
			text := err.Error()
			if reported[text] {
				continue
			}
			ofTLS := strings.HasPrefix(text, "tls::")
			ofDefaults := ofTLS && !e.HasOwnTLS() ||
				strings.HasPrefix(text, "timeout:") && e.Timeout == c.Timeout && e.CollectionInterval == c.CollectionInterval
			reported[text] = ofTLS || ofDefaults
			if !ofDefaults {
				err = fmt.Errorf("%s%w", path, err)
			}
			errs = append(errs, err)
		}
		key := e.Key()
		for _, j := range same[key] {
			if reflect.DeepEqual(e.Settings, entries[j].Settings) {
				errs = append(errs, fmt.Errorf("%s%s is that of targets::%d, with the same settings; remove one of the two", path, e, j))
				break
			}
		}
		same[key] = append(same[key], i)
		b.Number(built)
		targets = append(targets, built...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return targets, nil
}

// checkTop returns what is wrong with the keys that can be used only at the top.
func (c *Config) checkTop() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.MaxConcurrentProbes < 1 {
		bad("max_concurrent_probes: %d is not a number of probes; use 1 or more, such as 256", c.MaxConcurrentProbes)
	}
	if len(c.Targets)+len(c.TargetFiles) == 0 {
		bad(`targets: there are none; add at least one, such as "- endpoint: example.com:443", or target_files`)
	}
	for i, pattern := range c.TargetFiles {
		if err := (target.Files{Pattern: pattern}).Check(); err != nil || pattern == "" {
			bad("target_files::%d: %q %w", i, pattern, cmp.Or(err, errors.New("is not a path; write one, such as /etc/otelcol-tlscheck/targets.d/*.yaml")))
		}
	}
	if s := c.Shard; s != (ShardConfig{}) && (s.Count < 1 || s.Index < 0 || s.Index >= s.Count) {
		bad("shard: index %d of count %d is not a shard; count is how many collectors there are, index that of this one, from 0 on", s.Index, s.Count)
	}
	return errs
}
