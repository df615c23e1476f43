// Package targetconfig turns what users write about targets, in the configuration and in target files, into targets.
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

// Settings are the keys that can be used at the top, as defaults, and on a target. README.md describes each.
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

// Spans says which probes leave spans.
type Spans struct {
	When target.Spans `mapstructure:"when"`
}

// Explain says when further connections are made to a failing target to find out what would work.
type Explain struct {
	When target.Explain `mapstructure:"when"`
}

// Dialer limits the time for connecting to one address. Collector-contrib's receiver has this key.
type Dialer struct {
	Timeout time.Duration `mapstructure:"timeout"`
}

// DefaultSettings returns the defaults of the keys that nobody set.
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

// Over returns s with those of below in the place of zero values.
func (s Settings) Over(below Settings) Settings {
	set, unset := reflect.ValueOf(&s).Elem(), reflect.ValueOf(below)
	for i := range set.NumField() {
		if set.Field(i).IsZero() {
			set.Field(i).Set(unset.Field(i))
		}
	}
	s.Attributes = merged(below.Attributes, s.Attributes)
	return s
}

// merged returns both, own before those of others of the same name. It may be one of the two.
func merged(others, own map[string]string) map[string]string {
	if len(own) == 0 || len(others) == 0 {
		if len(own) == 0 {
			return others
		}
		return own
	}
	all := maps.Clone(others)
	maps.Copy(all, own)
	return all
}

// Defaults are the settings at the top.
type Defaults struct {
	Settings
	TimeoutSet bool // whether somebody set timeout, or it is the built-in default
}

// Shorten returns the settings with a timeout that gives way to a short interval, unless somebody set it.
func (s Settings) Shorten(timeoutSet bool) Settings {
	if !timeoutSet && s.CollectionInterval >= time.Millisecond {
		s.Timeout = min(s.Timeout, s.CollectionInterval)
	}
	return s
}

// Entry is a target as it is written: an endpoint, certificate files, or both, and settings of its own.
type Entry struct {
	Endpoint string `mapstructure:"endpoint"`
	FilePath string `mapstructure:"file_path"`

	Settings `mapstructure:",squash"`

	conf       *confmap.Conf // as decoded, until it is laid over the defaults
	defaults   *Defaults     // over which it was laid; nil of an entry that was made in Go
	tlsWritten string        // what was written of tls, the same text for the same settings; empty where nothing was
}

// Unmarshal implements confmap.Unmarshaler. The entry is complete after LayOver.
func (e *Entry) Unmarshal(conf *confmap.Conf) error {
	e.conf = conf
	return nil
}

// LayOver lays what was decoded over the defaults, key by key. It does nothing to an entry that was made in Go.
func (e *Entry) LayOver(defaults *Defaults) error {
	if e.conf == nil {
		return nil
	}
	written := e.conf
	e.Settings, e.defaults, e.conf = defaults.Settings, defaults, nil // the collector keeps the configuration in memory
	if endpoint, ok := written.Get("endpoint").(string); ok && len(written.AllKeys()) == 1 {
		e.Endpoint = endpoint // as with most of ten thousand
		return nil
	}
	e.Attributes = nil
	type plain Entry // without Unmarshal
	if err := written.Unmarshal((*plain)(e)); err != nil {
		return err
	}
	e.Settings = e.Shorten(defaults.TimeoutSet || written.IsSet("timeout"))
	if tls := written.Get("tls"); tls != nil {
		e.tlsWritten = fmt.Sprintf("%#v", tls) // fmt sorts the keys of maps
	}
	e.Attributes = merged(defaults.Attributes, e.Attributes)
	return nil
}

// Complete returns the entry with all its settings, and with the protocol that starttls: auto stands for. In an entry that
// was made in Go zero values mean the defaults.
func (e *Entry) Complete(defaults *Defaults) Entry {
	c := *e
	if c.defaults == nil {
		timeoutSet := defaults.TimeoutSet || c.Timeout != 0
		if !reflect.ValueOf(c.TLS).IsZero() {
			c.tlsWritten = fmt.Sprintf("in Go at %p", e)
		}
		c.Settings, c.defaults = c.Over(defaults.Settings).Shorten(timeoutSet), defaults
	}
	if c.StartTLS == "auto" {
		endpoint, _ := c.parseEndpoint() // Build reports what is wrong with it
		c.StartTLS = starttls.ForPort(endpoint.Port)
	}
	return c
}

// Marshal implements confmap.Marshaler. An entry without settings of its own is printed without any, as the collector prints
// the whole configuration at each start.
func (e Entry) Marshal(conf *confmap.Conf) error {
	if e.defaults == nil || !reflect.DeepEqual(e.Settings, e.defaults.Settings) {
		settings := confmap.New()
		if err := errors.Join(settings.Marshal(e.Settings), conf.Merge(settings)); err != nil {
			return err
		}
	}
	own := make(map[string]any, 2)
	if e.Endpoint != "" {
		own["endpoint"] = e.Endpoint
	}
	if e.FilePath != "" {
		own["file_path"] = e.FilePath
	}
	return conf.Merge(confmap.NewFromStringMap(own))
}

// String returns what is probed, with its key.
func (e *Entry) String() string {
	if e.Endpoint == "" {
		return fmt.Sprintf("file_path: %q", e.FilePath)
	}
	return fmt.Sprintf("endpoint: %q", e.Endpoint)
}

// Key is the same for entries that probe the same, however it is written.
func (e *Entry) Key() string {
	endpoint := e.Endpoint
	if parsed, err := e.parseEndpoint(); err == nil {
		endpoint = parsed.Key()
	}
	return endpoint + " " + e.FilePath
}

// HasOwnTLS reports whether the entry has a tls block of its own.
func (e *Entry) HasOwnTLS() bool { return e.tlsWritten != "" }

func (e *Entry) parseEndpoint() (target.Endpoint, error) {
	if e.SRV {
		return target.ParseService(e.Endpoint)
	}
	return target.ParseEndpoint(e.Endpoint)
}

// Check returns what is wrong with the settings by themselves, each error beginning with the key.
func (s *Settings) Check() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	s.checkTimes(bad)
	s.checkNames(bad)
	s.checkLists(bad)
	return errs
}

func (s *Settings) checkTimes(bad func(string, ...any)) {
	// A number without a unit would be nanoseconds.
	if s.CollectionInterval < time.Millisecond {
		bad("collection_interval: %s is not a time between probes; use one of 1ms or more, with its unit, such as 60s", s.CollectionInterval)
	}
	if s.InitialDelay < 0 {
		bad("initial_delay: %s is negative; use 0s or more", s.InitialDelay)
	}
	if s.Timeout < time.Millisecond {
		bad("timeout: %s is not a time limit; use one of 1ms or more, with its unit, such as 10s", s.Timeout)
	}
	if s.Dialer.Timeout < 0 {
		bad("dialer::timeout: %s is negative; use 0s or more", s.Dialer.Timeout)
	}
}

func (s *Settings) checkNames(bad func(string, ...any)) {
	if s.Resolve != "one" && s.Resolve != "all" {
		bad("resolve: %q is not known; use one, which is the first address that answers, or all", s.Resolve)
	}
	if s.FileFormat != "" && !slices.Contains(certs.Formats(), s.FileFormat) {
		bad("file_format: %q is not known; use one of %s", s.FileFormat, strings.Join(certs.Formats(), ", "))
	}
	switch s.Spans.When {
	case target.SpansAlways, target.SpansOnFailure, target.SpansOnChange:
	default:
		bad("spans::when: %q is not known; use always, on_failure or on_change", s.Spans.When)
	}
	switch s.Explain.When {
	case target.ExplainOnChange, target.ExplainNever:
	default:
		bad("explain::when: %q is not known; use on_change or never", s.Explain.When)
	}
	if s.StartTLS != "" && s.StartTLS != "auto" && !slices.Contains(starttls.Protocols(), s.StartTLS) {
		bad("starttls: %q is not known; use auto or one of %s", s.StartTLS, strings.Join(starttls.Protocols(), ", "))
	}
}

func (s *Settings) checkLists(bad func(string, ...any)) {
	for i, t := range s.CertificateTypes {
		if !clienttls.KnownCertificateType(t) {
			bad("certificate_types: %q is not known; use ecdsa, rsa or both", t)
		} else if slices.Contains(s.CertificateTypes[:i], t) {
			bad("certificate_types: %q is there twice; remove one", t)
		}
	}
	for k := range s.Attributes {
		if k == "" || ownAttribute(k) {
			bad("attributes: %q is a name that the receiver uses itself; use another one", k)
		}
	}
	length := 0
	for _, p := range s.ALPN {
		if len(p) == 0 || len(p) > 255 {
			bad("alpn: %q is %d bytes long; a protocol's name has from 1 to 255, such as h2", p, len(p))
		}
		length += 1 + len(p)
	}
	if length > 65535 {
		bad("alpn: the names take %d bytes; at most 65535 fit into a handshake", length)
	}
}

// ownAttribute reports whether the receiver itself may use an attribute's name.
func ownAttribute(name string) bool {
	for _, prefix := range []string{"tls.", "certificate.", "server.", "network.", "dns."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "error.type" || name == "result"
}
