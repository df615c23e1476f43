// Package targetconfig reads the configuration of targets, from the collector's configuration and from target files, and
// builds the targets.
package targetconfig

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Settings are the keys that can be used both at the top of the configuration, as defaults, and on a target. README.md
// describes them.
type Settings struct {
	CollectionInterval time.Duration        `mapstructure:"collection_interval"`
	InitialDelay       time.Duration        `mapstructure:"initial_delay"`
	Timeout            time.Duration        `mapstructure:"timeout"`
	ExpiryWarning      target.ExpiryWarning `mapstructure:"expiry_warning"`
	Spans              Spans                `mapstructure:"spans"`
	Explain            Explain              `mapstructure:"explain"`
	StartTLS           string               `mapstructure:"starttls"`
	TLS                clienttls.Config     `mapstructure:"tls"`
	ALPN               []string             `mapstructure:"alpn"`
	Resolve            string               `mapstructure:"resolve"`
	SRV                bool                 `mapstructure:"srv"`
	Dialer             Dialer               `mapstructure:"dialer"`
	CertificateTypes   []string             `mapstructure:"certificate_types"`
	FileFormat         string               `mapstructure:"file_format"`
	Password           configopaque.String  `mapstructure:"password"`
	Attributes         map[string]string    `mapstructure:"attributes"`
}

// Spans says which probes produce spans.
type Spans struct {
	When target.Spans `mapstructure:"when"`
}

// Explain says when further connections are made to a failing target, to find out which handshake would succeed.
type Explain struct {
	When target.Explain `mapstructure:"when"`
}

// Dialer limits the time for connecting to one address. The key is that of collector-contrib's receiver.
type Dialer struct {
	Timeout time.Duration `mapstructure:"timeout"`
}

// DefaultSettings returns the built-in defaults.
func DefaultSettings() Settings {
	return Settings{
		CollectionInterval: time.Minute,
		InitialDelay:       time.Second,
		Timeout:            10 * time.Second,
		ExpiryWarning:      target.WarnBefore(30 * 24 * time.Hour),
		Resolve:            "one",
		Spans:              Spans{When: target.SpansAlways},
		Explain:            Explain{When: target.ExplainOnChange},
	}
}

// WithDefaults returns s, with each zero value replaced by the value in defaults. Attributes are merged one by one.
func (s Settings) WithDefaults(defaults Settings) Settings {
	own, other := reflect.ValueOf(&s).Elem(), reflect.ValueOf(defaults)
	for i := range own.NumField() {
		if own.Field(i).IsZero() {
			own.Field(i).Set(other.Field(i))
		}
	}
	s.Attributes = mergeAttributes(defaults.Attributes, s.Attributes)
	return s
}

// mergeAttributes returns the default attributes and the target's own ones, which take precedence. The caller must not
// change the result, which may be one of the arguments.
func mergeAttributes(defaults, own map[string]string) map[string]string {
	switch {
	case len(own) == 0:
		return defaults
	case len(defaults) == 0:
		return own
	}
	all := maps.Clone(defaults)
	maps.Copy(all, own)
	return all
}

// Defaults are the settings at the top of the configuration.
type Defaults struct {
	Settings
	TimeoutSet bool // whether timeout was set there, and is not the built-in default
}

// CapTimeout returns the settings with a timeout that is no longer than the interval. If timeoutSet, the timeout was set
// explicitly and stays as it is.
func (s Settings) CapTimeout(timeoutSet bool) Settings {
	if !timeoutSet && s.CollectionInterval >= time.Millisecond {
		s.Timeout = min(s.Timeout, s.CollectionInterval)
	}
	return s
}

// Entry is a target as it is configured: an endpoint, certificate files, or both, with its own settings.
type Entry struct {
	Endpoint string `mapstructure:"endpoint"`
	FilePath string `mapstructure:"file_path"`
	KeyPath  string `mapstructure:"key_path"`

	Settings `mapstructure:",squash"`

	conf     *confmap.Conf // what Unmarshal was given; nil after Decode
	defaults *Defaults     // from Decode or Complete; nil before that
	tlsKey   string        // the same for the same tls block, and different for different ones; empty if the entry has none
}

// Unmarshal implements confmap.Unmarshaler. It only keeps conf: Decode decodes it.
func (e *Entry) Unmarshal(conf *confmap.Conf) error {
	e.conf = conf
	return nil
}

// Decode sets the entry's settings to the defaults and then decodes the entry's own keys into them. It does nothing if
// Unmarshal was not called, because the entry was made in Go.
func (e *Entry) Decode(defaults *Defaults) error {
	if e.conf == nil {
		return nil
	}
	conf := e.conf
	e.Settings, e.defaults, e.conf = defaults.Settings, defaults, nil // nil saves memory: the collector keeps the entry
	if endpoint, ok := conf.Get("endpoint").(string); ok && len(conf.AllKeys()) == 1 {
		e.Endpoint = endpoint // most entries are like this, and decoding is slow
		return nil
	}
	e.Attributes = nil
	type plain Entry // without the method Unmarshal
	if err := conf.Unmarshal((*plain)(e)); err != nil {
		return err
	}
	e.Settings = e.CapTimeout(defaults.TimeoutSet || conf.IsSet("timeout"))
	if tls := conf.Get("tls"); tls != nil {
		e.tlsKey = fmt.Sprintf("%#v", tls) // fmt sorts the keys of maps
	}
	e.Attributes = mergeAttributes(defaults.Attributes, e.Attributes)
	return nil
}

// Complete returns the entry with all its settings. In an entry that was made in Go, zero values are replaced by the
// defaults. starttls: auto is replaced by the protocol of the endpoint's port.
func (e *Entry) Complete(defaults *Defaults) Entry {
	c := *e
	if c.defaults == nil {
		timeoutSet := defaults.TimeoutSet || c.Timeout != 0
		if !reflect.ValueOf(c.TLS).IsZero() {
			c.tlsKey = fmt.Sprintf("in Go at %p", e)
		}
		c.Settings, c.defaults = c.WithDefaults(defaults.Settings).CapTimeout(timeoutSet), defaults
	}
	if c.StartTLS == "auto" {
		endpoint, _ := c.parseEndpoint() // Build reports what is wrong with it
		c.StartTLS = starttls.ForPort(endpoint.Port)
	}
	return c
}

// Marshal implements confmap.Marshaler. It leaves out the settings if they are the defaults, as the collector prints the
// whole configuration at each start.
func (e Entry) Marshal(conf *confmap.Conf) error {
	if e.defaults == nil || !reflect.DeepEqual(e.Settings, e.defaults.Settings) {
		settings := confmap.New()
		if err := errors.Join(settings.Marshal(e.Settings), conf.Merge(settings)); err != nil {
			return err
		}
	}
	own := make(map[string]any, 3)
	if e.Endpoint != "" {
		own["endpoint"] = e.Endpoint
	}
	if e.FilePath != "" {
		own["file_path"] = e.FilePath
	}
	if e.KeyPath != "" {
		own["key_path"] = e.KeyPath
	}
	return conf.Merge(confmap.NewFromStringMap(own))
}

// String returns the endpoint or, if there is none, the file path, with its key.
func (e *Entry) String() string {
	if e.Endpoint == "" {
		return fmt.Sprintf("file_path: %q", e.FilePath)
	}
	return fmt.Sprintf("endpoint: %q", e.Endpoint)
}

// Key returns a string that is equal for entries with the same endpoint and files, even if the endpoints are spelled
// differently.
func (e *Entry) Key() string {
	endpoint := e.Endpoint
	if parsed, err := e.parseEndpoint(); err == nil {
		endpoint = parsed.Key()
	}
	return endpoint + " " + e.FilePath
}

// HasOwnTLS reports whether the entry has its own tls block.
func (e *Entry) HasOwnTLS() bool { return e.tlsKey != "" }

func (e *Entry) parseEndpoint() (target.Endpoint, error) {
	if e.SRV {
		return target.ParseService(e.Endpoint)
	}
	return target.ParseEndpoint(e.Endpoint)
}

// Check returns everything that is wrong with the settings, except for the tls block and for combinations that Build checks.
// Each error begins with the key.
func (s *Settings) Check() (errs []error) {
	errorf := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	s.checkTimes(errorf)
	s.checkNames(errorf)
	s.checkLists(errorf)
	return errs
}

func (s *Settings) checkTimes(errorf func(string, ...any)) {
	// A number without a unit is read as nanoseconds.
	if s.CollectionInterval < time.Millisecond {
		errorf("collection_interval: %s is too short; use 1ms or more, with its unit, such as 60s", s.CollectionInterval)
	}
	if s.InitialDelay < 0 {
		errorf("initial_delay: %s is negative; use 0s or more", s.InitialDelay)
	}
	if s.Timeout < time.Millisecond {
		errorf("timeout: %s is too short; use 1ms or more, with its unit, such as 10s", s.Timeout)
	}
	if s.Dialer.Timeout < 0 {
		errorf("dialer::timeout: %s is negative; use 0s or more", s.Dialer.Timeout)
	}
}

func (s *Settings) checkNames(errorf func(string, ...any)) {
	if s.Resolve != "one" && s.Resolve != "all" {
		errorf(`resolve: %q is not known; use "one", which probes the first address that accepts a connection, or "all"`, s.Resolve)
	}
	if s.FileFormat != "" && !slices.Contains(certs.Formats(), s.FileFormat) {
		errorf("file_format: %q is not known; use one of %s", s.FileFormat, strings.Join(certs.Formats(), ", "))
	}
	switch s.Spans.When {
	case target.SpansAlways, target.SpansOnFailure, target.SpansOnChange:
	default:
		errorf("spans::when: %q is not known; use always, on_failure or on_change", s.Spans.When)
	}
	switch s.Explain.When {
	case target.ExplainOnChange, target.ExplainNever:
	default:
		errorf("explain::when: %q is not known; use on_change or never", s.Explain.When)
	}
	if s.StartTLS != "" && s.StartTLS != "auto" && !slices.Contains(starttls.Protocols(), s.StartTLS) {
		errorf("starttls: %q is not known; use auto or one of %s", s.StartTLS, strings.Join(starttls.Protocols(), ", "))
	}
}

func (s *Settings) checkLists(errorf func(string, ...any)) {
	for i, t := range s.CertificateTypes {
		if !clienttls.KnownCertificateType(t) {
			errorf("certificate_types: %q is not known; use ecdsa, rsa or both", t)
		} else if slices.Contains(s.CertificateTypes[:i], t) {
			errorf("certificate_types: %q is listed twice; remove one", t)
		}
	}
	for k := range s.Attributes {
		switch {
		case k == "":
			errorf("attributes: %q is not a name; use one, such as team", k)
		case reservedAttribute(k):
			errorf("attributes: %q is reserved for the receiver; use another one", k)
		}
	}
	length := 0
	for _, p := range s.ALPN {
		if len(p) == 0 || len(p) > 255 {
			errorf("alpn: %q has %d bytes; a protocol name must have 1 to 255, such as h2", p, len(p))
		}
		length += 1 + len(p)
	}
	if length > 65535 {
		errorf("alpn: the names take %d bytes; a handshake can hold at most 65535", length)
	}
}

// reservedAttribute reports whether the receiver may use an attribute of this name itself.
func reservedAttribute(name string) bool {
	for _, prefix := range []string{"tls.", "certificate.", "server.", "network.", "dns."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "error.type" || name == "result"
}
