package target

import (
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ExpiryWarning says how much must be left of a certificate's validity for it not to be near its expiry: a time, or,
// which suits short-lived certificates, a share of the whole validity. Its zero value never warns.
type ExpiryWarning struct {
	left  time.Duration
	share float64 // from 0 to 1; used where left is 0
}

// WarnBefore returns the warning that begins this long before the expiry.
func WarnBefore(left time.Duration) ExpiryWarning { return ExpiryWarning{left: left} }

// WarnAtShare returns the warning that begins when this share, from 0 to 1, of the validity is left.
func WarnAtShare(left float64) ExpiryWarning { return ExpiryWarning{share: left} }

// UnmarshalText reads a duration such as 720h, or a share such as 33%.
func (w *ExpiryWarning) UnmarshalText(text []byte) error {
	s := string(text)
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n <= 100) {
			return fmt.Errorf("%q is not a share; use one from 0%% to 100%%, such as 33%%", s)
		}
		*w = ExpiryWarning{share: n / 100}
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is neither a time of 0s or more, such as 720h, nor a share, such as 33%%", s)
	}
	*w = ExpiryWarning{left: d}
	return nil
}

// MarshalText is the reverse of UnmarshalText.
func (w ExpiryWarning) MarshalText() ([]byte, error) {
	if w.share > 0 {
		return []byte(strconv.FormatFloat(100*w.share, 'g', 12, 64) + "%"), nil
	}
	return []byte(w.left.String()), nil
}

// Near tells whether a certificate that is still valid at now has less left than it should.
func (w ExpiryWarning) Near(c *x509.Certificate, now time.Time) bool {
	left := c.NotAfter.Sub(now)
	limit := w.left
	if w.share > 0 {
		limit = time.Duration(w.share * float64(c.NotAfter.Sub(c.NotBefore)))
	}
	return left >= 0 && left < limit
}
