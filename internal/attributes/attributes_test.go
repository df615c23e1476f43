package attributes

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSerial(t *testing.T) {
	for n, want := range map[int64]string{0: "00", 1: "01", 255: "FF", 4096: "1000", -5: "-05"} {
		assert.Equal(t, want, Serial(&x509.Certificate{SerialNumber: big.NewInt(n)}))
	}
}

func TestWholeDaysAreRoundedDown(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]int64{
		0: 0, time.Hour: 0, 24*time.Hour - 1: 0, 24 * time.Hour: 1, -time.Second: -1, -24 * time.Hour: -1, -25 * time.Hour: -2,
	} {
		assert.Equal(t, want, WholeDays(now, now.Add(d)), d)
	}
}
