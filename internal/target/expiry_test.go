package target

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExpiryWarning(t *testing.T) {
	now := time.Now()
	valid := func(whole, left time.Duration) *x509.Certificate {
		return &x509.Certificate{NotBefore: now.Add(left - whole), NotAfter: now.Add(left)}
	}
	const day = 24 * time.Hour
	for text, c := range map[string]struct{ near, far *x509.Certificate }{
		"720h":  {valid(90*day, 30*day-time.Second), valid(90*day, 30*day)},
		"1h30m": {valid(day, 89*time.Minute), valid(day, 90*time.Minute)},
		"33%":   {valid(100*day, 32*day), valid(100*day, 34*day)},
		"12.5%": {valid(80*time.Hour, 9*time.Hour), valid(80*time.Hour, 11*time.Hour)},
		"100%":  {valid(day, time.Hour), valid(day, -time.Second)},
		"0s":    {nil, valid(day, 0)},
		"0%":    {nil, valid(day, 0)},
	} {
		var w ExpiryWarning
		require.NoError(t, w.UnmarshalText([]byte(text)), text)
		back, err := w.MarshalText()
		require.NoError(t, err)
		var same ExpiryWarning
		require.NoError(t, same.UnmarshalText(back), "%s", back)
		assert.Equal(t, w, same)
		if c.near != nil {
			assert.True(t, w.Near(c.near, now), text)
		}
		assert.False(t, w.Near(c.far, now), text)
		assert.False(t, w.Near(valid(day, -time.Second), now), "an expired certificate is not near its expiry")
	}
	// Shares are those of the real validity, which time.Time.Sub cannot return if it is longer than 292 years.
	long := &x509.Certificate{NotBefore: now, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	assert.True(t, WarnAtShare(0.1).Near(long, now.AddDate(7500, 0, 0)))
	assert.False(t, WarnAtShare(0.1).Near(long, now.AddDate(7000, 0, 0)))
	for _, text := range []string{"", "soon", "-1h", "30", "101%", "-1%", "x%", "NaN%", "%"} {
		var w ExpiryWarning
		assert.ErrorContains(t, w.UnmarshalText([]byte(text)), "33%", text)
	}
}
