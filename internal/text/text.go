// Package text makes text for people and for telemetry: it cleans what others wrote, and puts durations and moments into
// words.
package text

import (
	"fmt"
	"strings"
	"time"
)

// Clean returns s as valid UTF-8 without control characters, in at most max bytes. Each control character and each byte
// that is not UTF-8 becomes U+FFFD. A string that is too long ends in an ellipsis.
func Clean(s string, max int) string {
	if len(s) > 4*max {
		s = s[:4*max] // nothing shrinks below, so this is enough, and a rune cut in half is removed later
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '\ufffd'
		}
		return r
	}, s) // also replaces each byte that is not UTF-8
	if len(s) <= max {
		return s
	}
	const ellipsis = "…"
	if max < len(ellipsis) {
		return ""
	}
	cut := max - len(ellipsis)
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return s[:cut] + ellipsis
}

// Quote returns s in quotation marks, cleaned, with at most max bytes between them.
func Quote(s string, max int) string { return `"` + Clean(s, max) + `"` }

// Day returns the date of t in UTC, such as 2026-11-17.
func Day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Moment returns t in UTC for people to read, such as 2026-11-17 07:57:24 UTC.
func Moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// Duration returns d in the largest unit of which there are at least two, rounded down, such as "3 days" or "47 hours".
func Duration(d time.Duration) string {
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"days", 24 * time.Hour}, {"hours", time.Hour}, {"minutes", time.Minute}} {
		if d >= 2*u.unit {
			return fmt.Sprintf("%d %s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}
