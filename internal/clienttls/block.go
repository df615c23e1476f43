package clienttls

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Block is a loaded tls block. All targets with the same settings share one. Its files are checked again when a probe asks
// for its configuration, so that renewed files are used without a restart: the client certificate, its key, and the CA
// file, which configtls would read only once. Any number of goroutines may use it at the same time.
type Block struct {
	client     *configtls.ClientConfig
	errs       []error // why the block cannot be used; each begins with the key
	checkEvery time.Duration
	log        *zap.Logger

	mu       sync.Mutex            // guards the fields below
	config   *tls.Config           // nil if the block cannot be used
	roots    *certs.Roots          // the CAs in config
	offers   map[Offer]*tls.Config // derived from config
	renewals map[Offer]func() target.Client
	files    []diskfile.Version // when they were last loaded
	checked  time.Time          // when files were last checked
	logged   string             // the logged reason why the current files cannot be used; empty if they can be
}

// Offer is the part of what a client offers that targets with the same block may set differently.
type Offer struct {
	alpn            string // the protocols, each followed by a zero byte
	certificateType string
}

// NewOffer returns an offer of these ALPN protocols and of this certificate type: ecdsa, rsa, or empty for any.
func NewOffer(alpn []string, certificateType string) Offer {
	o := Offer{certificateType: certificateType}
	for _, p := range alpn {
		o.alpn += p + "\x00"
	}
	return o
}

func newBlock(c *Config, checkEvery time.Duration, log *zap.Logger) *Block {
	client := c.client // a copy: a pointer into the entry would keep the whole list of entries in memory
	b := &Block{
		client: &client, checkEvery: checkEvery, log: log, checked: time.Now(),
		offers: make(map[Offer]*tls.Config), renewals: make(map[Offer]func() target.Client),
	}
	b.files = b.versions()
	b.config, b.roots, b.errs = load(b.client)
	b.logDropped()
	return b
}

// logDropped logs which certificates among the CAs cannot be used, if no block has done so.
func (b *Block) logDropped() {
	if b.roots == nil || len(b.roots.Dropped()) == 0 || !firstToLog(b.roots) {
		return
	}
	from := "ca_pem"
	if b.client.CAFile != "" {
		from = text.Quote(b.client.CAFile, 256)
	}
	// The name is in the message, as the collector logs only the first of many equal messages.
	b.log.Warn(fmt.Sprintf("Some CA certificates in %s cannot be used, and chains under them are invalid.", from),
		zap.Strings("dropped", b.roots.Dropped()))
}

// Errs returns the reasons why the block cannot be used. Each error begins with the key. There are none if the block is
// valid.
func (b *Block) Errs() []error { return b.errs }

// HasFiles reports whether the block uses files, which may be renewed.
func (b *Block) HasFiles() bool {
	return b.client.CAFile+b.client.CertFile+b.client.KeyFile != ""
}

// load returns the configuration of the block and the CAs in it, or every reason why it cannot be used. configtls loads
// everything except the CAs.
func load(c *configtls.ClientConfig) (*tls.Config, *certs.Roots, []error) {
	roots, errs := loadRoots(c)
	withoutCAs := *c
	if errs = append(errs, check(&withoutCAs)...); len(errs) > 0 {
		return nil, nil, errs
	}
	withoutCAs.CAFile, withoutCAs.CAPem, withoutCAs.IncludeSystemCACertsPool = "", "", false
	withoutCAs.ReloadInterval = 0 // the block itself reloads the files, and keeps the old ones if the new ones are invalid
	config, err := withoutCAs.LoadTLSConfig(context.Background())
	if err != nil {
		return nil, nil, []error{err}
	}
	config.RootCAs = roots.Pool()
	if len(c.CurvePreferences) == 0 {
		// configtls has set the few groups that it knows by name, in random order. Go's default has newer ones too.
		config.CurvePreferences = nil
	}
	return config, roots, nil
}

// With returns the configuration of a client that makes the offer. It checks the block's files if that was last done
// checkEvery ago or earlier. If renewed files cannot be used, the configuration has the previous ones. It is the zero
// value if the block cannot be used. The caller must not change it.
func (b *Block) With(o Offer) target.Client {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.files) > 0 && time.Since(b.checked) >= b.checkEvery {
		b.reload()
	}
	if o == (Offer{}) || b.config == nil {
		return target.Client{Config: b.config, Roots: b.roots}
	}
	c := b.offers[o]
	if c == nil {
		c = b.config.Clone()
		if o.alpn != "" {
			c.NextProtos = strings.Split(strings.TrimSuffix(o.alpn, "\x00"), "\x00")
		}
		if o.certificateType != "" {
			// In TLS 1.2 the cipher suite determines the type of the certificate. In TLS 1.3 the signature algorithms do,
			// for which crypto/tls has no setting.
			c.MaxVersion, c.CipherSuites = min(cmp.Or(c.MaxVersion, tls.VersionTLS12), tls.VersionTLS12), suitesFor(o.certificateType, c.CipherSuites)
		}
		b.offers[o] = c
	}
	return target.Client{Config: c, Roots: b.roots}
}

// Renewal returns a function that returns With(o). All targets that make the same offer share the function, to save memory.
func (b *Block) Renewal(o Offer) func() target.Client {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.renewals[o] == nil {
		b.renewals[o] = func() target.Client { return b.With(o) }
	}
	return b.renewals[o]
}

// reload loads the files again if they have changed. b.mu must be held.
func (b *Block) reload() {
	b.checked = time.Now()
	files := b.versions()
	// Files that could not be used are loaded again even if they have not changed: the reason may have been their
	// permissions, or too many open files.
	if b.logged == "" && slices.EqualFunc(b.files, files, diskfile.Version.Equal) {
		return
	}
	b.files = files
	config, roots, errs := load(b.client)
	err := errors.Join(errs...)
	switch {
	case err != nil && err.Error() != b.logged:
		b.logged = err.Error()
		b.log.Warn("The changed files of a tls block cannot be used. Probes continue with the previous ones.", zap.Error(err))
	case err == nil:
		if b.logged != "" {
			b.log.Info("The files of a tls block can be used again.")
		}
		b.logged, b.config, b.roots = "", config, roots
		clear(b.offers)
		b.logDropped()
	}
}

// versions returns the versions of the block's files as they are now.
func (b *Block) versions() (files []diskfile.Version) {
	for _, path := range []string{b.client.CAFile, b.client.CertFile, b.client.KeyFile} {
		if path != "" {
			files = append(files, diskfile.VersionOf(path))
		}
	}
	return files
}
