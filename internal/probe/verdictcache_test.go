package probe

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestVerdictIsCachedUntilTheChainChanges(t *testing.T) {
	certificates := []tls.Certificate{root.Issue("old"), root.Issue("new"), root.Issue("bad", tlsfarm.Names("other.example"))}
	var serving atomic.Int32
	s := tlsfarm.Serve(func(conn net.Conn) {
		tlsfarm.Handshake(conn, &tls.Config{Certificates: certificates[serving.Load():][:1]})
	})
	t.Cleanup(s.Close)
	tt := newTarget(t, s.Endpoint())
	var p Prober
	for i, step := range []struct {
		serving   int32
		fromCache bool
		failure   failure.Type
	}{
		{0, false, ""},
		{0, true, ""},
		{1, false, ""},
		{1, true, ""},
		{2, false, "hostname_mismatch"},
		{2, false, "hostname_mismatch"}, // an invalid certificate is verified again each time
		{0, false, ""},
	} {
		serving.Store(step.serving)
		o := p.ProbeEndpoint(t.Context(), tt)
		assert.Equal(t, step.fromCache, o.Handshake.FromCache, "step %d", i)
		assert.Equal(t, certificates[step.serving].Leaf.Subject.CommonName, o.Handshake.Leaf().Subject.CommonName)
		if step.failure == "" {
			require.Nil(t, o.Failure)
			assert.Len(t, o.Handshake.Verdict.Chain, 2)
		} else {
			assert.Equal(t, step.failure, o.Failure.Type)
		}
	}
	other := newTarget(t, s.Endpoint())
	assert.False(t, p.ProbeEndpoint(t.Context(), other).Handshake.FromCache, "each target has its own cache")
}
