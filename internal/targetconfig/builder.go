package targetconfig

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Builder builds targets of entries, and gives each an ID that no other has. One goroutine uses it at a time.
type Builder struct {
	checkEvery time.Duration
	blocks     *clienttls.Blocks
	ids        map[string]int // how many targets were given this one
}

// NewBuilder returns a Builder. Files of tls blocks and target files are looked at again every checkEvery. The log is told of
// renewed files of tls blocks that cannot be used.
func NewBuilder(checkEvery time.Duration, log *zap.Logger) *Builder {
	return &Builder{checkEvery: checkEvery, blocks: clienttls.NewBlocks(checkEvery, log), ids: make(map[string]int)}
}

// filesOnly stands among the certificate types for the target that reports the files, where they are compared with what
// is served of each type.
const filesOnly = "files"

// Build returns the targets that a complete entry stands for, one for each of its certificate types, or what is wrong with
// it, each error beginning with the key. They are not to be used until Number or Claim made their IDs unique.
func (b *Builder) Build(e *Entry) ([]*target.Target, []error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	files := target.Files{Pattern: e.FilePath, Format: e.FileFormat, Password: string(e.Password)}
	if err := files.Check(); err != nil {
		bad("file_path: %q %w", e.FilePath, err)
	}
	var endpoint target.Endpoint
	if e.Endpoint != "" || e.FilePath == "" {
		var err error
		if endpoint, err = e.parseEndpoint(); err != nil {
			bad("endpoint: %q %w", e.Endpoint, err)
		}
	}
	errs = append(errs, e.Check()...)
	if e.CollectionInterval >= time.Millisecond && e.Timeout > e.CollectionInterval {
		bad("timeout: %s is longer than collection_interval, %s; shorten it or lengthen the interval", e.Timeout, e.CollectionInterval)
	}
	block := b.blocks.Get(e.tlsWritten, &e.TLS)
	for _, err := range block.Errs() {
		bad("tls::%w", err)
	}
	errs = append(errs, block.CheckCertificateTypes(e.CertificateTypes)...)
	if len(errs) > 0 {
		return nil, errs
	}

	var targets []*target.Target
	for _, certificateType := range e.certificateTypes() {
		targets = append(targets, e.target(certificateType, endpoint, files, block))
	}
	return targets, nil
}

// certificateTypes returns the types to probe, of which an empty one is any.
func (e *Entry) certificateTypes() []string {
	switch {
	case len(e.CertificateTypes) == 0 || e.Endpoint == "":
		return []string{""}
	case e.FilePath != "":
		return slices.Concat([]string{filesOnly}, e.CertificateTypes)
	}
	return e.CertificateTypes
}

func (e *Entry) target(certificateType string, endpoint target.Endpoint, files target.Files, block *clienttls.Block) *target.Target {
	asked := certificateType
	if asked == filesOnly {
		asked = ""
	}
	offer := clienttls.NewOffer(e.ALPN, asked)
	t := &target.Target{
		Endpoint: endpoint, Files: files, ResolveAll: e.SRV || e.Resolve == "all",
		Interval: e.CollectionInterval, InitialDelay: e.InitialDelay, Timeout: e.Timeout, ConnectTimeout: e.Dialer.Timeout,
		ExpiryWarning: e.ExpiryWarning, Spans: e.Spans.When, Explain: e.Explain.When, Attributes: e.Attributes,
		StartTLS: e.StartTLS, CertificateType: asked, TLS: block.With(offer),
	}
	if block.HasFiles() {
		t.Renewed = block.Renewal(offer)
	}
	// fmt sorts the keys of maps.
	t.ID = fmt.Sprintf("%s %q %s %s %q %s", t, files.Pattern, t.TLS.ServerName, t.StartTLS, t.Attributes, certificateType)
	switch certificateType {
	case "":
	case filesOnly:
		t.Endpoint = target.Endpoint{}
	default:
		t.Files.Silent = true
		t.Attributes = map[string]string{"certificate.type": certificateType}
		maps.Copy(t.Attributes, e.Attributes)
	}
	return t
}

// Number makes the targets' IDs unique. Twins are told apart by a number.
func (b *Builder) Number(targets []*target.Target) {
	for _, t := range targets {
		if b.ids[t.ID]++; b.ids[t.ID] > 1 {
			t.ID += fmt.Sprintf(" #%d", b.ids[t.ID])
		}
	}
}

// Claim takes the targets' IDs as they are, or returns an error where another target has one of them: the telemetry of the
// two could not be told apart.
func (b *Builder) Claim(e *Entry, targets []*target.Target) error {
	for _, t := range targets {
		if b.ids[t.ID] > 0 {
			return fmt.Errorf("%s is already a target, with the same attributes, so the two could not be told apart; remove one, or give it other attributes", e)
		}
	}
	b.Number(targets)
	return nil
}

// Release makes the IDs of targets that are no longer probed free again.
func (b *Builder) Release(targets []*target.Target) {
	for _, t := range targets {
		delete(b.ids, t.ID)
	}
}

// Sweep drops the tls blocks that no target uses any more.
func (b *Builder) Sweep() { b.blocks.Sweep() }
