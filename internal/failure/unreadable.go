package failure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
)

// refineUnreadable explains which of the certificates that a server sent cannot be read.
func (f *Failure) refineUnreadable(tries []Try, endpoint string) {
	i := slices.IndexFunc(tries, func(t Try) bool { return t.Choice != nil && t.Choice.Certificates > 0 })
	if i < 0 {
		return
	}
	c := tries[i].Choice
	number := strconv.Itoa(c.Certificates)
	if c.Certificates == clienthello.MaxCertificates {
		number = "at least " + number
	}
	if _, _, tooLong := tooLong(f.Message); tooLong {
		f.Cause += fmt.Sprintf(" It has %s certificates.", number)
		return
	}
	if len(c.Unreadable) == 0 {
		return
	}
	var what, fixes, ways []string
	issuers := make(map[string][]string) // numbers of their certificates, by the way to reissue them
	for _, u := range c.Unreadable {
		which := fmt.Sprintf("certificate %d of %s", u.Index+1, number)
		if u.Index == 0 {
			which += " (the server's own"
		} else {
			which += " (an issuer's"
		}
		if u.Subject != "" {
			which += ", " + quoted(u.Subject)
		}
		what = append(what, fmt.Sprintf("%s): %s", which, u.Why))
		if u.Index == 0 {
			fixes = append(fixes, "Reissue the server's certificate"+withKey(u)+".")
		} else {
			way := withKey(u)
			if issuers[way] == nil {
				ways = append(ways, way)
			}
			issuers[way] = append(issuers[way], strconv.Itoa(u.Index+1))
		}
	}
	for _, way := range ways {
		if n := issuers[way]; len(n) == 1 {
			fixes = append(fixes, fmt.Sprintf("Replace certificate %s in the file that the server sends by one that is reissued%s, or remove it if the chain is complete without it.", n[0], way))
		} else {
			fixes = append(fixes, fmt.Sprintf("Replace certificates %s in the file that the server sends by ones that are reissued%s, or remove them if the chain is complete without them.", strings.Join(n, ", "), way))
		}
	}
	if c.Unnamed > 0 {
		what = append(what, fmt.Sprintf("%d more", c.Unnamed))
		fixes = append(fixes, "Do the same with the others.")
	}
	noun := "a certificate that cannot be read"
	if len(what) > 1 {
		noun = "certificates that cannot be read"
	}
	f.Cause = fmt.Sprintf("%s sent %s: %s.", endpoint, noun, strings.Join(what, "; "))
	f.Fix = strings.Join(fixes, " ")
}

// withKey says how to reissue a certificate whose key is the problem.
func withKey(u certs.Unreadable) string {
	switch {
	case strings.HasPrefix(u.Key, "EC ") && strings.Contains(u.Why, "parameters"):
		return " with a P-256 key that names its curve (parameters in place of the name are not supported)"
	case strings.HasPrefix(u.Key, "EC ") && strings.Contains(u.Why, "curve"):
		return fmt.Sprintf(" with a P-256 key (%s is not supported)", strings.TrimPrefix(u.Key, "EC "))
	case strings.HasPrefix(u.Why, "its RSA key has"):
		return " with a smaller key"
	}
	return ""
}
