package tlscheckreceiver

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/record"
)

// Config is the receiver's configuration. What stands at the top beside the targets is the default of every target.
type Config struct {
	MaxConcurrentProbes int `mapstructure:"max_concurrent_probes"`

	TargetDefaults `mapstructure:",squash"`
	Targets        []TargetConfig `mapstructure:"targets"`

	// TargetFiles are patterns of files that hold more targets.
	TargetFiles []string    `mapstructure:"target_files"`
	Shard       ShardConfig `mapstructure:"shard"`

	// Storage is the storage extension that keeps over a restart which events were sent; nil where none does.
	Storage *component.ID `mapstructure:"storage"`

	record.Config `mapstructure:",squash"`

	timeoutSet bool // whether timeout stands at the top
}

// ShardConfig is this collector's share of the targets, where several have the same ones. Its zero value is all of them.
type ShardConfig struct {
	Index int `mapstructure:"index"`
	Count int `mapstructure:"count"`
}

// TargetConfig is one target: an endpoint, certificate files, or both, and what is to be different for it.
type TargetConfig struct {
	Endpoint string `mapstructure:"endpoint"`
	FilePath string `mapstructure:"file_path"`

	TargetDefaults `mapstructure:",squash"`

	conf       *confmap.Conf   // as written, until it is laid over the defaults
	defaults   *TargetDefaults // over which it was laid; nil before
	tlsWritten string          // what was written of tls, the same text for the same settings; empty where nothing was
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
	Resolve            string               `mapstructure:"resolve"`
	SRV                bool                 `mapstructure:"srv"`
	Dialer             DialerConfig         `mapstructure:"dialer"`
	CertificateTypes   []string             `mapstructure:"certificate_types"`
	FileFormat         string               `mapstructure:"file_format"`
	Password           configopaque.String  `mapstructure:"password"`
	Attributes         map[string]string    `mapstructure:"attributes"`
}

// DialerConfig bounds the time for connecting to one address. Collector-contrib's receiver has it.
type DialerConfig struct {
	Timeout time.Duration `mapstructure:"timeout"`
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
	c.timeoutSet = conf.IsSet("timeout")
	c.shorten(c.timeoutSet)
	for i := range c.Targets {
		if t := &c.Targets[i]; t.conf != nil {
			if err := t.layOver(&c.TargetDefaults, c.timeoutSet); err != nil {
				return fmt.Errorf("targets::%d: %w", i, err)
			}
		}
	}
	return nil
}

// Unmarshal implements confmap.Unmarshaler. Decoding waits for the defaults.
func (t *TargetConfig) Unmarshal(conf *confmap.Conf) error {
	t.conf = conf
	return nil
}

// layOver lays what was written of the target over the defaults.
func (t *TargetConfig) layOver(defaults *TargetDefaults, timeoutSet bool) error {
	written := t.conf
	t.TargetDefaults, t.defaults, t.conf = *defaults, defaults, nil // the collector holds on to the configuration
	if endpoint, ok := written.Get("endpoint").(string); ok && len(written.AllKeys()) == 1 {
		t.Endpoint = endpoint // as with most of ten thousand
		return nil
	}
	t.Attributes = nil
	type plain TargetConfig // without Unmarshal
	if err := written.Unmarshal((*plain)(t)); err != nil {
		return err
	}
	t.shorten(timeoutSet || written.IsSet("timeout"))
	if tls := written.Get("tls"); tls != nil {
		t.tlsWritten = fmt.Sprintf("%#v", tls) // fmt sorts the keys of maps
	}
	if own := t.Attributes; len(own) > 0 {
		t.Attributes = make(map[string]string, len(defaults.Attributes)+len(own))
		maps.Copy(t.Attributes, defaults.Attributes)
		maps.Copy(t.Attributes, own)
	} else {
		t.Attributes = defaults.Attributes
	}
	return nil
}

// Marshal implements confmap.Marshaler. A target that has nothing of its own is printed so, as the collector prints the
// whole configuration at each start.
func (t TargetConfig) Marshal(conf *confmap.Conf) error {
	if t.defaults == nil || !reflect.DeepEqual(t.TargetDefaults, *t.defaults) {
		settings := confmap.New()
		if err := errors.Join(settings.Marshal(t.TargetDefaults), conf.Merge(settings)); err != nil {
			return err
		}
	}
	own := make(map[string]any, 2)
	if t.Endpoint != "" {
		own["endpoint"] = t.Endpoint
	}
	if t.FilePath != "" {
		own["file_path"] = t.FilePath
	}
	return conf.Merge(confmap.NewFromStringMap(own))
}

// shorten has a timeout that nobody set give way to a short interval.
func (d *TargetDefaults) shorten(timeoutSet bool) {
	if !timeoutSet && d.CollectionInterval >= time.Millisecond {
		d.Timeout = min(d.Timeout, d.CollectionInterval)
	}
}

// Validate implements confmap.Validator. It goes as far as loading every certificate and key, so that what it accepts
// can be started.
func (c *Config) Validate() error {
	_, err := c.build(newBuilder(zap.NewNop()))
	return err
}

// build has the builder make the targets, or returns an error that joins all that is wrong with them.
func (c *Config) build(b *builder) ([]*target.Target, error) {
	var errs []error
	if c.MaxConcurrentProbes < 1 {
		errs = append(errs, fmt.Errorf("max_concurrent_probes: %d is not a number of probes; use 1 or more, such as 256", c.MaxConcurrentProbes))
	}
	if len(c.Targets)+len(c.TargetFiles) == 0 {
		errs = append(errs, errors.New(`targets: there are none; add at least one, such as "- endpoint: example.com:443", or target_files`))
	}
	for i, pattern := range c.TargetFiles {
		if err := (target.Files{Pattern: pattern}).Check(); err != nil || pattern == "" {
			errs = append(errs, fmt.Errorf("target_files::%d: %q %w", i, pattern, cmp.Or(err, errors.New("is no path; write one, such as /etc/otelcol-tlscheck/targets.d/*.yaml"))))
		}
	}
	if s := c.Shard; s != (ShardConfig{}) && (s.Count < 1 || s.Index < 0 || s.Index >= s.Count) {
		errs = append(errs, fmt.Errorf("shard: index %d of count %d is no shard; count is how many collectors there are, index that of this one, from 0 on", s.Index, s.Count))
	}

	// What is wrong with the defaults is told once, at the top, and not again for each target.
	defaults := c.TargetDefaults.check()
	errs = append(errs, defaults...)
	told := make(map[string]bool, len(defaults))
	for _, err := range defaults {
		told[err.Error()] = true
	}

	same := make(map[string][]int, len(c.Targets))
	targets := make([]*target.Target, 0, len(c.Targets))
	for i := range c.Targets {
		t := &c.Targets[i]
		path := fmt.Sprintf("targets::%d::", i)
		made, wrong := b.make(t)
		for _, err := range wrong {
			text := err.Error()
			if told[text] {
				continue
			}
			ofTLS := strings.HasPrefix(text, "tls::")
			ofDefaults := ofTLS && t.tlsWritten == "" ||
				strings.HasPrefix(text, "timeout:") && t.Timeout == c.Timeout && t.CollectionInterval == c.CollectionInterval
			told[text] = ofTLS || ofDefaults
			if !ofDefaults {
				err = fmt.Errorf("%s%w", path, err)
			}
			errs = append(errs, err)
		}
		for _, j := range same[t.key()] {
			if reflect.DeepEqual(t.TargetDefaults, c.Targets[j].TargetDefaults) {
				errs = append(errs, fmt.Errorf("%s%s is that of targets::%d, with the same settings; remove one of the two", path, t, j))
				break
			}
		}
		same[t.key()] = append(same[t.key()], i)
		targets = append(targets, made...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return targets, nil
}

// String returns what is probed, with its key.
func (t *TargetConfig) String() string {
	if t.Endpoint == "" {
		return fmt.Sprintf("file_path: %q", t.FilePath)
	}
	return fmt.Sprintf("endpoint: %q", t.Endpoint)
}

func (t *TargetConfig) parseEndpoint() (target.Endpoint, error) {
	if t.SRV {
		return target.ParseService(t.Endpoint)
	}
	return target.ParseEndpoint(t.Endpoint)
}

// key is the same for targets that probe the same, however it is written.
func (t *TargetConfig) key() string {
	endpoint := t.Endpoint
	if e, err := t.parseEndpoint(); err == nil {
		endpoint = e.Key()
	}
	return endpoint + " " + t.FilePath
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
	for i, t := range d.CertificateTypes {
		if certificateTypes[t] == "" {
			bad("certificate_types: %q is not known; use ecdsa, rsa or both", t)
		} else if slices.Contains(d.CertificateTypes[:i], t) {
			bad("certificate_types: %q is there twice; remove one", t)
		}
	}
	if d.Resolve != "one" && d.Resolve != "all" {
		bad("resolve: %q is not known; use one, which is the first address that answers, or all", d.Resolve)
	}
	if d.Dialer.Timeout < 0 {
		bad("dialer::timeout: %s is negative; use 0s or more", d.Dialer.Timeout)
	}
	if d.FileFormat != "" && !slices.Contains(certs.Formats(), d.FileFormat) {
		bad("file_format: %q is not known; use one of %s", d.FileFormat, strings.Join(certs.Formats(), ", "))
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
