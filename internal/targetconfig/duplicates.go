package targetconfig

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// WarnOfDuplicates logs a warning for each target whose metrics cannot be told apart from those of another target.
func WarnOfDuplicates(targets []*target.Target, log *zap.Logger) {
	seen := make(map[string]bool, len(targets))
	warn := func(what, name string, t *target.Target) {
		identity := fmt.Sprint(name, t.Attributes) // fmt sorts the keys of maps
		if seen[identity] {
			log.Warn("Two targets have the same "+what+" and the same attributes, so their metrics cannot be told apart. "+
				"Give them different attributes.", zap.String(what, name))
		}
		seen[identity] = true
	}
	for _, t := range targets {
		if t.HasEndpoint() {
			warn("endpoint", t.Endpoint.String(), t)
		}
		if t.Files.Pattern != "" && !t.Files.Silent {
			warn("file_path", t.Files.Pattern, t)
		}
	}
}
