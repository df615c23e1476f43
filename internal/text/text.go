// Package text formats text for people and telemetry: it cleans untrusted strings, and formats times and durations.
package text

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Clean returns s as valid UTF-8 without control characters, in at most limit bytes. It replaces each control character,
// and each byte that is not UTF-8, by U+FFFD. A string that is too long ends in an ellipsis.
func Clean(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit] // enough, as cleaning makes nothing shorter; a rune that is cut here is cut again below
	}
	s = strings.Map(func(r rune) rune { // to Map, an invalid byte is U+FFFD
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '\ufffd'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	const ellipsis = "…"
	if limit < len(ellipsis) {
		return ""
	}
	cut := limit - len(ellipsis)
	for cut > 0 && s[cut]&0xc0 == 0x80 { // not at the start of a rune
		cut--
	}
	return s[:cut] + ellipsis
}

// Quote returns s in quotation marks, cleaned, with at most limit bytes between them. It does not escape anything.
func Quote(s string, limit int) string { return `"` + Clean(s, limit) + `"` }

// Day returns the date of t in UTC, such as 2026-11-17.
func Day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Moment returns t in UTC to the second, such as 2026-11-17 07:57:24 UTC.
func Moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// Seconds returns the time from one moment to another in seconds. It is right for centuries too: Time.Sub cannot return more
// than 292 years, and certificates may be valid until the year 9999 (RFC 5280, section 4.1.2.5).
func Seconds(from, to time.Time) float64 {
	d := to.Sub(from)
	if d == math.MaxInt64 || d == math.MinInt64 {
		return float64(to.Unix() - from.Unix())
	}
	return d.Seconds()
}

// Between returns the time from one moment to a later one, as Duration does.
func Between(from, to time.Time) string {
	const day = 24 * 60 * 60
	if s := Seconds(from, to); s >= 2*day {
		return fmt.Sprintf("%d days", int64(s)/day)
	}
	return Duration(to.Sub(from))
}

// Duration returns d rounded down in days, hours, minutes or seconds: the largest unit of which d has at least two, such as
// "3 days" or "47 hours".
func Duration(d time.Duration) string {
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"days", 24 * time.Hour}, {"hours", time.Hour}, {"minutes", time.Minute}} {
		if d >= 2*u.unit {
			return fmt.Sprintf("%d %s", d/u.unit, u.name)
		}
	}
	if d/time.Second == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}
