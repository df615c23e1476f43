package certs

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestVerifyDates(t *testing.T) {
	key := tlsfarm.Key(ecKey())
	root, oldRoot := tlsfarm.NewAuthority("Root", key), tlsfarm.NewAuthority("Old root", expired)
	cross := oldRoot.Intermediate("Root", key, expired)
	inter := root.Intermediate("Intermediate")
	leaf, self := inter.Issue("leaf"), tlsfarm.SelfSigned("self", tlsfarm.Names("other.example"))
	oldCA := root.Intermediate("Expired", expired)
	other := root.Issue("other", expired)

	for name, tt := range map[string]struct {
		file []*x509.Certificate
		want string
	}{
		"leaf and chain":                 {certs(leaf), ""},
		"untrusted leaf of another name": {certs(self), ""},
		"leaf expired":                   {certs(other), "cert_expired@0"},
		"leaf not yet valid":             {certs(root.Issue("leaf", notYetValid)), "cert_not_yet_valid@0"},
		"intermediate expired":           {certs(oldCA.Issue("leaf")), "cert_expired@1"},
		"expired cross-signed root":      {certs(leaf, cross, oldRoot), ""},
		"expired CA that no path uses":   {certs(leaf, oldCA), ""},
		"second leaf expired":            {certs(leaf, other), "cert_expired@0"},
		"CA bundle":                      {certs(root, inter), ""},
		"CA bundle with an expired one":  {certs(root, oldCA, inter), "cert_expired@1"},
		"leaf with a weak key":           {certs(root.Issue("leaf", tlsfarm.Key(tlsfarm.RSAKey(1024)))), ""},
		"too many for a path":            {append(certs(leaf, oldCA), slices.Repeat(certs(inter), maxPath)...), "cert_expired@2"},
	} {
		t.Run(name, func(t *testing.T) {
			v := VerifyDates(tt.file, newRoots(certs(root)), time.Now())
			assert.Equal(t, tt.want, summary(v.Reasons))
			assert.Empty(t, v.Warnings)
		})
	}
}
