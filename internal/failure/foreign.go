package failure

import (
	"fmt"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// This file quotes text from the network in sentences: cleaned, and of bounded length.

const maxName = 128 // bytes

func quoted(s string) string { return text.Quote(s, maxName) }

// list joins the first n strings and says how many more there are.
func list(s []string, n int) string {
	more := ""
	if len(s) > n {
		more = fmt.Sprintf(" and %d more", len(s)-n)
		s = s[:n]
	}
	clean := make([]string, len(s))
	for i := range s {
		clean[i] = text.Clean(s[i], maxName)
	}
	return strings.Join(clean, ", ") + more
}
