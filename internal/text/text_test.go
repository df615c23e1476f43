package text

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestClean(t *testing.T) {
	tests := []struct {
		in   string
		max  int
		want string
	}{
		{"", 8, ""},
		{"example.com", 11, "example.com"},
		{"example.com", 10, "example…"},
		{"münchen", 8, "münchen"},
		{"münchen", 7, "mün…"},
		{"aaaaaüb", 8, "aaaaaüb"},
		{"aaaaüaaaaa", 8, "aaaa…"}, // the ü would be cut in half
		{"例え例え", 8, "例…"},
		{"a\x00b\tc\nd\x7fe", 32, "a�b�c�d�e"},
		{"a\u0085b", 32, "a�b"},
		{"a\xffb\xc3", 32, "a�b�"},
		{"\xed\xa0\x80", 32, "���"}, // half of a surrogate pair
		{"\ufffd", 3, "\ufffd"},
		{"\xff\xff", 5, "…"}, // grows before it is cut
		{strings.Repeat("\xff", 1000), 9, "��…"},
		{strings.Repeat("🙂", 1000), 8, "🙂…"},
		{"abc", 3, "abc"},
		{"abcd", 3, "…"},
		{"abcd", 2, ""},
		{"abcd", 0, ""},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, Clean(tt.in, tt.max), "%q", tt.in)
	}
}

func TestQuote(t *testing.T) {
	assert.Equal(t, `"example.com"`, Quote("example.com", 11))
	assert.Equal(t, `"example…"`, Quote("example.com", 10))
	assert.Equal(t, `"a�b"`, Quote("a\nb", 10))
	assert.Equal(t, `""`, Quote("", 10))
}

func TestTimes(t *testing.T) {
	at := time.Date(2026, 11, 17, 23, 57, 24, 999, time.FixedZone("UTC-2", -2*60*60))
	assert.Equal(t, "2026-11-18", Day(at))
	assert.Equal(t, "2026-11-18 01:57:24 UTC", Moment(at))
}

// No time is too long. time.Time.Sub has a limit of 292 years.
func TestTimeBetweenCenturies(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	assert.Equal(t, "2912118 days", Between(now, last))
	assert.Equal(t, "4007 days", Between(now, now.AddDate(0, 0, 4007)))
	assert.Equal(t, "47 hours", Between(now, now.Add(48*time.Hour-1)))
	assert.Equal(t, "1 second", Between(now, now.Add(1999*time.Millisecond)))
	assert.Equal(t, 251607038399.0, Seconds(now, last))
	assert.Equal(t, -Seconds(now, last), Seconds(last, now))
	assert.Equal(t, 1.5, Seconds(now, now.Add(1500*time.Millisecond)))
}

func assertClean(t *testing.T, s string, limit int) {
	t.Helper()
	assert.True(t, utf8.ValidString(s), "%q", s)
	assert.False(t, strings.ContainsFunc(s, unicode.IsControl), "%q", s)
	assert.LessOrEqual(t, len(s), limit)
}

func FuzzClean(f *testing.F) {
	f.Add("example.com", uint8(64))
	f.Add("a\x00b\u0085\xff\xed\xa0\x80 例え🙂", uint8(13))
	f.Add(strings.Repeat("ü", 99), uint8(2))
	f.Fuzz(func(t *testing.T, s string, most uint8) {
		limit := int(most)
		got := Clean(s, limit)
		assertClean(t, got, limit)
		assert.Equal(t, got, Clean(got, limit), "it was clean already")
		if utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) && len(s) <= limit {
			assert.Equal(t, s, got)
		}
		if len(s) > limit && limit >= 7 {
			assert.Greater(t, len(got), limit-4, "%q is shorter than necessary", got)
			assert.True(t, strings.HasSuffix(got, "…"))
		}
	})
}

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                   "0 seconds",
		time.Second - 1:     "0 seconds",
		time.Second:         "1 second",
		2*time.Second - 1:   "1 second",
		2 * time.Second:     "2 seconds",
		2*time.Minute - 1:   "119 seconds",
		2 * time.Minute:     "2 minutes",
		2*time.Hour - 1:     "119 minutes",
		2 * time.Hour:       "2 hours",
		2*day - 1:           "47 hours",
		2 * day:             "2 days",
		400*day + time.Hour: "400 days",
	} {
		assert.Equal(t, want, Duration(d))
	}
}
