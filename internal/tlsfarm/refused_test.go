package tlsfarm

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRefusedEndpointIsRefusedAndReserved(t *testing.T) {
	conn, err := net.Dial("tcp", Refused())
	if !assert.ErrorIs(t, err, syscall.ECONNREFUSED) && err == nil {
		_ = conn.Close()
	}
	l, err := net.Listen("tcp", Refused())
	if !assert.ErrorIs(t, err, syscall.EADDRINUSE) && err == nil {
		_ = l.Close()
	}
}
