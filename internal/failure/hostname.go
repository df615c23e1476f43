package failure

import (
	"fmt"
	"net/netip"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

func nameMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	leaf := e.Verdict.Chain[0]
	names := certs.Names(leaf)
	if len(names) == 0 {
		return fmt.Sprintf("The certificate is not valid for %s. It has no subject alternative names, and its common name does not count.", e.ServerName),
			fmt.Sprintf("Reissue it with %s in its subject alternative names.", e.ServerName)
	}
	cause = fmt.Sprintf("The certificate is not valid for %s, only for %s.", e.ServerName, list(names, 5))
	fix = fmt.Sprintf("Reissue it with %s among its names, or set tls server_name_override to one of its names", e.ServerName)
	closest := closestName(leaf.DNSNames, e.ServerName)
	if closest == "" {
		return cause, fix + "."
	}
	if len(names) > 1 {
		cause += fmt.Sprintf(" The closest of these is %s.", closest)
	}
	return cause, fix + fmt.Sprintf(", such as %s.", closest)
}

// closestName returns the one of the first hundred names that is most like name, cleaned. It is empty if name is an
// address or there are no names.
func closestName(names []string, name string) string {
	if _, err := netip.ParseAddr(name); err == nil || len(names) == 0 {
		return ""
	}
	closest, best := names[0], distance(names[0], name)
	for _, n := range names[1:min(len(names), 100)] {
		if d := distance(n, name); d < best {
			closest, best = n, d
		}
	}
	return text.Clean(closest, maxName)
}

// distance returns the Levenshtein distance between two names. It cuts the first to the maximum length of a DNS name.
func distance(a, b string) int {
	if len(a) > 253 {
		a = a[:253]
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
