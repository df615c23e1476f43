package targetconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// Builder builds targets from entries and gives each a unique ID. Only one goroutine may use it at a time.
type Builder struct {
	checkEvery time.Duration
	blocks     *clienttls.Blocks
	ids        map[string]int // how many targets have asked for this ID
}

// NewBuilder returns a Builder. The files of tls blocks, and target files, are checked for changes every checkEvery.
// Renewed files of tls blocks that cannot be used are logged.
func NewBuilder(checkEvery time.Duration, log *zap.Logger) *Builder {
	return &Builder{checkEvery: checkEvery, blocks: clienttls.NewBlocks(checkEvery, log), ids: make(map[string]int)}
}

// filesOnly is used like a certificate type for the target that only reports the files of an entry. Such an entry has one
// more target for each certificate type, which compares the served certificate with the files.
const filesOnly = "files"

// Build returns the targets of a complete entry, one for each of its certificate types, or everything that is wrong with
// it. Each error begins with the key. Number or Claim must make the targets' IDs unique before they are used.
func (b *Builder) Build(e *Entry) ([]*target.Target, []error) {
	var errs []error
	errorf := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	files := target.Files{Pattern: e.FilePath, Format: e.FileFormat, Password: string(e.Password), Key: e.KeyPath}
	if err := files.Check(); err != nil {
		errorf("file_path: %q %w", e.FilePath, err)
	}
	switch err := files.CheckKey(); {
	case strings.Contains(e.KeyPath, "-----BEGIN"):
		errorf("key_path: has a key instead of a path; write the key to a file, and its path here") // never quoted
	case err != nil:
		errorf("key_path: %q %w", e.KeyPath, err)
	}
	var endpoint target.Endpoint
	if e.Endpoint != "" || e.FilePath == "" {
		var err error
		if endpoint, err = e.parseEndpoint(); err != nil {
			errorf("endpoint: %q %w", e.Endpoint, err)
		}
	}
	errs = append(errs, e.Check()...)
	if e.CollectionInterval >= time.Millisecond && e.Timeout > e.CollectionInterval {
		errorf("timeout: %s is longer than collection_interval, %s; shorten it or lengthen the interval", e.Timeout, e.CollectionInterval)
	}
	block := b.blocks.Get(e.tlsKey, &e.TLS)
	for _, err := range block.Errs() {
		errorf("tls::%w", err)
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

// certificateTypes returns the certificate types to make targets for. An empty string means any type.
func (e *Entry) certificateTypes() []string {
	switch {
	case len(e.CertificateTypes) == 0 || e.Endpoint == "":
		return []string{""}
	case e.FilePath != "":
		return slices.Concat([]string{filesOnly}, e.CertificateTypes)
	}
	return e.CertificateTypes
}

// target returns the entry's target for one certificate type, or for filesOnly.
func (e *Entry) target(certificateType string, endpoint target.Endpoint, files target.Files, block *clienttls.Block) *target.Target {
	requested := certificateType
	if requested == filesOnly {
		requested = ""
	}
	offer := clienttls.NewOffer(e.ALPN, requested)
	client := block.With(offer)
	t := &target.Target{
		Endpoint: endpoint, Files: files, ResolveAll: e.SRV || e.Resolve == "all",
		Interval: e.CollectionInterval, InitialDelay: e.InitialDelay, Timeout: e.Timeout, ConnectTimeout: e.Dialer.Timeout,
		ExpiryWarning: e.ExpiryWarning, Spans: e.Spans.When, Explain: e.Explain.When, Attributes: e.Attributes,
		StartTLS: e.StartTLS, CertificateType: requested, TLS: client.Config, Roots: client.Roots,
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

// Number makes the targets' IDs unique: it appends a number to an ID that another target has.
func (b *Builder) Number(targets []*target.Target) {
	for _, t := range targets {
		if b.ids[t.ID]++; b.ids[t.ID] > 1 {
			t.ID += fmt.Sprintf(" #%d", b.ids[t.ID])
		}
	}
}

// Claim reserves the targets' IDs without changing them. It returns an error if another target has one of them, as the
// telemetry of the two targets could not be told apart.
func (b *Builder) Claim(e *Entry, targets []*target.Target) error {
	for _, t := range targets {
		if b.ids[t.ID] > 0 {
			return fmt.Errorf("%s is already a target, with the same attributes, so the two could not be told apart; remove one, or give it different attributes", e)
		}
	}
	b.Number(targets)
	return nil
}

// Release frees the IDs of targets that are no longer probed.
func (b *Builder) Release(targets []*target.Target) {
	for _, t := range targets {
		delete(b.ids, t.ID)
	}
}

// Sweep removes the tls blocks that no target uses any more.
func (b *Builder) Sweep() { b.blocks.Sweep() }
