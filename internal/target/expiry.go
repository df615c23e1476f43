package target

import (
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// ExpiryWarning is the remaining validity below which a certificate is near its expiry. It is a duration, or a share of
// the whole validity, which suits short-lived certificates. The zero value never warns.
type ExpiryWarning struct {
	left  time.Duration
	share float64 // from 0 to 1; used instead of left if it is not 0
}

// WarnBefore returns an ExpiryWarning of a duration.
func WarnBefore(left time.Duration) ExpiryWarning { return ExpiryWarning{left: left} }

// WarnAtShare returns an ExpiryWarning of a share of the validity, from 0 to 1.
func WarnAtShare(left float64) ExpiryWarning { return ExpiryWarning{share: left} }

// UnmarshalText parses a duration such as 720h, or a percentage such as 33%.
func (w *ExpiryWarning) UnmarshalText(data []byte) error {
	s := string(data)
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n <= 100) {
			return fmt.Errorf("%q is not a percentage; use one from 0%% to 100%%, such as 33%%", s)
		}
		*w = ExpiryWarning{share: n / 100}
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is neither a duration of 0s or more, such as 720h, nor a percentage, such as 33%%", s)
	}
	*w = ExpiryWarning{left: d}
	return nil
}

// MarshalText returns the text that UnmarshalText parses. Its error is always nil.
func (w ExpiryWarning) MarshalText() ([]byte, error) {
	if w.share > 0 {
		return []byte(strconv.FormatFloat(100*w.share, 'g', 12, 64) + "%"), nil
	}
	return []byte(w.left.String()), nil
}

// Near reports whether c has not expired at now but has too little validity left.
func (w ExpiryWarning) Near(c *x509.Certificate, now time.Time) bool {
	left := text.Seconds(now, c.NotAfter)
	limit := w.left.Seconds()
	if w.share > 0 {
		limit = w.share * text.Seconds(c.NotBefore, c.NotAfter)
	}
	return left >= 0 && left < limit
}
