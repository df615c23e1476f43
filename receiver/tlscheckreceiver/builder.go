package tlscheckreceiver

import (
	"fmt"
	"maps"
	"time"
	"weak"

	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// builder makes targets of what was configured. One goroutine uses it at a time.
type builder struct {
	log    *zap.Logger                       // told of files of tls blocks that are renewed later and cannot be used
	blocks map[string]weak.Pointer[tlsBlock] // of those that targets have; see sweep
	ids    map[string]int                    // how many targets had this one
	// unique refuses a target whose telemetry could not be told from that of another.
	unique bool
}

func newBuilder(log *zap.Logger) *builder {
	return &builder{log: log, blocks: make(map[string]weak.Pointer[tlsBlock]), ids: make(map[string]int)}
}

// sweep lets go of the tls blocks that no target has any more.
func (b *builder) sweep() {
	maps.DeleteFunc(b.blocks, func(_ string, block weak.Pointer[tlsBlock]) bool { return block.Value() == nil })
}

// filesAlone stands among the certificate types for the target that reports the files, of no type, where they are
// compared with what is served of each.
const filesAlone = "files"

// make makes the targets that an entry stands for, one for each of its certificate types, or tells what is wrong with it,
// each beginning with the key.
func (b *builder) make(t *TargetConfig) (targets []*target.Target, errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	files := target.Files{Pattern: t.FilePath, Format: t.FileFormat, Password: string(t.Password)}
	if err := files.Check(); err != nil {
		bad("file_path: %q %w", t.FilePath, err)
	}
	var endpoint target.Endpoint
	if t.Endpoint != "" || t.FilePath == "" {
		var err error
		if endpoint, err = t.parseEndpoint(); err != nil {
			bad("endpoint: %q %w", t.Endpoint, err)
		}
	}
	errs = append(errs, t.check()...)
	if t.CollectionInterval >= time.Millisecond && t.Timeout > t.CollectionInterval {
		bad("timeout: %s is longer than collection_interval, %s; shorten it or lengthen the interval", t.Timeout, t.CollectionInterval)
	}
	block := b.blocks[t.tlsWritten].Value()
	if block == nil || len(block.errs) > 0 { // the files that it lacked may be there now
		block = newTLSBlock(&t.TLS.client, b.log)
		b.blocks[t.tlsWritten] = weak.Make(block)
	}
	for _, err := range block.errs {
		bad("tls::%w", err)
	}
	errs = append(errs, checkCertificateTypes(t.CertificateTypes, block)...)
	if t.StartTLS == "auto" {
		t.StartTLS = starttls.ForPort(endpoint.Port) // so that auto is the same as what it stands for
	}
	if len(errs) > 0 {
		return nil, errs
	}

	types := t.CertificateTypes
	if len(types) == 0 || t.Endpoint == "" {
		types = []string{""}
	}
	if types[0] != "" && t.FilePath != "" {
		types = append([]string{filesAlone}, types...)
	}
	for _, certificateType := range types {
		var o offer
		if certificateType != filesAlone {
			o.certificateType = certificateType
		}
		for _, p := range t.ALPN {
			o.alpn += p + "\x00"
		}
		made := &target.Target{
			Endpoint: endpoint, Files: files, ResolveAll: t.SRV || t.Resolve == "all",
			Interval: t.CollectionInterval, InitialDelay: t.InitialDelay, Timeout: t.Timeout, ConnectTimeout: t.Dialer.Timeout,
			ExpiryWarning: t.ExpiryWarning, Spans: t.Spans.When, Explain: t.Explain.When, Attributes: t.Attributes,
			StartTLS: t.StartTLS, CertificateType: o.certificateType, TLS: block.with(o),
		}
		// fmt sorts the keys of maps.
		made.ID = fmt.Sprintf("%s %q %s %s %q", made, files.Pattern, made.TLS.ServerName, made.StartTLS, made.Attributes)
		switch certificateType {
		case "":
		case filesAlone:
			made.Endpoint = target.Endpoint{}
		default:
			made.Files.Silent = true
			made.Attributes = map[string]string{"certificate.type": certificateType}
			maps.Copy(made.Attributes, t.Attributes)
		}
		if len(block.files) > 0 {
			made.Renewed = block.renewal(o)
		}
		made.ID += " " + certificateType
		if b.unique && b.ids[made.ID] > 0 {
			bad("%s has the same attributes too as a target that there is already, so that the two could not be told apart; remove one, or give it other attributes", t)
			continue
		}
		if b.ids[made.ID]++; b.ids[made.ID] > 1 {
			made.ID += fmt.Sprintf(" #%d", b.ids[made.ID])
		}
		targets = append(targets, made)
	}
	return targets, errs
}

// unmake lets go of a target that is not wanted any more.
func (b *builder) unmake(t *target.Target) { delete(b.ids, t.ID) }
