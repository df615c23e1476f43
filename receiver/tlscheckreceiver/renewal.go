package tlscheckreceiver

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

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
)

// tlsBlock is a tls block made into what a handshake takes, once for all targets that have the same. Its files are looked
// at again when a probe asks for it, so that renewed ones are used without a restart: the client certificate, its key, and
// the CA file, which configtls would read once only.
type tlsBlock struct {
	client *configtls.ClientConfig
	errs   []error // why it cannot be used; each begins with the key
	log    *zap.Logger

	mu     sync.Mutex // guards what follows, which any number of probes may ask for
	config *tls.Config
	offers map[offer]*tls.Config // made of config
	asking map[offer]func() *tls.Config
	files  []diskfile.Version
	looked time.Time
	told   string // what was logged of files that cannot be used; empty while they can
}

// offer is what targets that share a block may offer differently.
type offer struct {
	alpn            string // the names, each with a zero byte behind it
	certificateType string
}

// lookEvery is for how long a block's files are taken to be what they were, so that ten thousand targets that have the same
// do not look at them for each of their probes.
const lookEvery = time.Second

func newTLSBlock(c *configtls.ClientConfig, log *zap.Logger) *tlsBlock {
	b := &tlsBlock{client: c, log: log, looked: time.Now()}
	b.files = b.look()
	b.config, b.errs = load(c)
	b.offers, b.asking = make(map[offer]*tls.Config), make(map[offer]func() *tls.Config)
	return b
}

// load lets configtls do it, but for the CAs.
func load(c *configtls.ClientConfig) (*tls.Config, []error) {
	roots, errs := rootsOf(c)
	if errs = append(errs, checkTLS(c)...); len(errs) > 0 {
		return nil, errs
	}
	once := *c
	once.CAFile, once.CAPem, once.IncludeSystemCACertsPool = "", "", false
	once.ReloadInterval = 0 // reading them again is the block's affair, which never lets go of the former ones too early
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

// with returns what a handshake takes that makes the offer, as the block's files are now or, while those cannot be used, as
// they last could. It is nil where the block cannot be used at all.
func (b *tlsBlock) with(o offer) *tls.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.files) > 0 && time.Since(b.looked) >= lookEvery {
		b.renew()
	}
	if o == (offer{}) || b.config == nil {
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

// renewal returns with(o) as a function, the same one for all targets that make the offer.
func (b *tlsBlock) renewal(o offer) func() *tls.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asking[o] == nil {
		b.asking[o] = func() *tls.Config { return b.with(o) }
	}
	return b.asking[o]
}

func (b *tlsBlock) renew() {
	b.looked = time.Now()
	files := b.look()
	// What keeps them from being used may pass without a trace on them: permissions, or too many open files.
	if b.told == "" && slices.EqualFunc(b.files, files, diskfile.Version.Equal) {
		return
	}
	b.files = files
	config, errs := load(b.client)
	err := errors.Join(errs...)
	switch {
	case err != nil && err.Error() != b.told:
		b.told = err.Error()
		b.log.Warn("The files of a tls block changed and cannot be used; probes go on with what they held before.", zap.Error(err))
	case err == nil:
		if b.told != "" {
			b.log.Info("The files of a tls block can be used again.")
		}
		b.told, b.config = "", config
		clear(b.offers)
	}
}

func (b *tlsBlock) look() (files []diskfile.Version) {
	for _, path := range []string{b.client.CAFile, b.client.CertFile, b.client.KeyFile} {
		if path != "" {
			files = append(files, diskfile.VersionOf(path))
		}
	}
	return files
}

// certificateTypes are the values of certificate_types, and how the suites for each are called.
var certificateTypes = map[string]string{"ecdsa": "_ECDHE_ECDSA_", "rsa": "_ECDHE_RSA_"}

// suitesFor returns those suites of TLS 1.2 with which a server must have a certificate of this type: of the given ones,
// where there are any.
func suitesFor(certificateType string, suites []uint16) (ids []uint16) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		offered := slices.Contains(suites, s.ID) || len(suites) == 0 && !s.Insecure
		if offered && strings.Contains(s.Name, certificateTypes[certificateType]) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// checkCertificateTypes tells which types cannot be asked for with the tls block. Those that are not known are told of
// elsewhere.
func checkCertificateTypes(types []string, b *tlsBlock) (errs []error) {
	for _, t := range types {
		switch {
		case certificateTypes[t] == "", b.config == nil:
		case b.config.MinVersion > tls.VersionTLS12:
			errs = append(errs, fmt.Errorf("certificate_types: %q can be asked for in TLS 1.2 alone, and tls min_version is %q; lower that", t, b.client.MinVersion))
		case len(suitesFor(t, b.config.CipherSuites)) == 0:
			errs = append(errs, fmt.Errorf("certificate_types: %q needs a suite of its own, and tls cipher_suites has none; add one, such as %s", t, tls.CipherSuiteName(suitesFor(t, nil)[0])))
		}
	}
	return errs
}
