package clienttls

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
)

// Block is a tls block as handshakes use it, shared by all targets that have the same. Its files are checked again when a
// probe asks for it, so that renewed ones are used without a restart: the client certificate, its key, and the CA file,
// which configtls would read only once. Any number of goroutines may use it.
type Block struct {
	client     *configtls.ClientConfig
	errs       []error // why it cannot be used; each begins with the key
	checkEvery time.Duration
	log        *zap.Logger

	mu       sync.Mutex // guards what follows
	config   *tls.Config
	offers   map[Offer]*tls.Config // made of config
	renewals map[Offer]func() *tls.Config
	files    []diskfile.Version
	checked  time.Time
	logged   string // what was logged of files that cannot be used; empty while they can
}

// Offer is what targets that share a block may offer differently.
type Offer struct {
	alpn            string // the names, each followed by a zero byte
	certificateType string
}

// NewOffer returns an offer of these ALPN protocols and of this type of certificate, ecdsa or rsa, empty for any.
func NewOffer(alpn []string, certificateType string) Offer {
	o := Offer{certificateType: certificateType}
	for _, p := range alpn {
		o.alpn += p + "\x00"
	}
	return o
}

func newBlock(c *Config, checkEvery time.Duration, log *zap.Logger) *Block {
	b := &Block{
		client: &c.client, checkEvery: checkEvery, log: log, checked: time.Now(),
		offers: make(map[Offer]*tls.Config), renewals: make(map[Offer]func() *tls.Config),
	}
	b.files = b.versions()
	b.config, b.errs = load(b.client)
	return b
}

// Errs returns why the block cannot be used, each error beginning with the key. There are none where it can.
func (b *Block) Errs() []error { return b.errs }

// HasFiles reports whether any of the block's settings come from files, which may be renewed.
func (b *Block) HasFiles() bool {
	return b.client.CAFile+b.client.CertFile+b.client.KeyFile != ""
}

// load has configtls do it, except for the CAs.
func load(c *configtls.ClientConfig) (*tls.Config, []error) {
	roots, errs := rootsOf(c)
	if errs = append(errs, check(c)...); len(errs) > 0 {
		return nil, errs
	}
	once := *c
	once.CAFile, once.CAPem, once.IncludeSystemCACertsPool = "", "", false
	once.ReloadInterval = 0 // the block reads them again itself, and keeps the old ones until the new ones can be used
	config, err := once.LoadTLSConfig(context.Background())
	if err != nil {
		return nil, []error{err}
	}
	config.RootCAs = roots
	if len(c.CurvePreferences) == 0 {
		// configtls would offer the few that it knows by name, in random order, and withhold Go's newer ones.
		config.CurvePreferences = nil
	}
	return config, nil
}

// With returns the configuration of a handshake that makes the offer, with the block's files as they are now or, while those
// cannot be used, as they last could. It is nil where the block cannot be used at all.
func (b *Block) With(o Offer) *tls.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.files) > 0 && time.Since(b.checked) >= b.checkEvery {
		b.renew()
	}
	if o == (Offer{}) || b.config == nil {
		return b.config
	}
	c := b.offers[o]
	if c == nil {
		c = b.config.Clone()
		if o.alpn != "" {
			c.NextProtos = strings.Split(strings.TrimSuffix(o.alpn, "\x00"), "\x00")
		}
		if o.certificateType != "" {
			// Only in TLS 1.2 does the suite say which kind of certificate is accepted, and crypto/tls has no setting for
			// the signature algorithms that say so in TLS 1.3.
			c.MaxVersion, c.CipherSuites = min(cmp.Or(c.MaxVersion, tls.VersionTLS12), tls.VersionTLS12), suitesFor(o.certificateType, c.CipherSuites)
		}
		b.offers[o] = c
	}
	return c
}

// Renewal returns With(o) as a function, the same one for all targets that make the offer.
func (b *Block) Renewal(o Offer) func() *tls.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.renewals[o] == nil {
		b.renewals[o] = func() *tls.Config { return b.With(o) }
	}
	return b.renewals[o]
}

func (b *Block) renew() {
	b.checked = time.Now()
	files := b.versions()
	// The reason why they cannot be used may pass without a change to them: permissions, or too many open files.
	if b.logged == "" && slices.EqualFunc(b.files, files, diskfile.Version.Equal) {
		return
	}
	b.files = files
	config, errs := load(b.client)
	err := errors.Join(errs...)
	switch {
	case err != nil && err.Error() != b.logged:
		b.logged = err.Error()
		b.log.Warn("The files of a tls block changed and cannot be used. Probes continue with the previous ones.", zap.Error(err))
	case err == nil:
		if b.logged != "" {
			b.log.Info("The files of a tls block can be used again.")
		}
		b.logged, b.config = "", config
		clear(b.offers)
	}
}

func (b *Block) versions() (files []diskfile.Version) {
	for _, path := range []string{b.client.CAFile, b.client.CertFile, b.client.KeyFile} {
		if path != "" {
			files = append(files, diskfile.VersionOf(path))
		}
	}
	return files
}
