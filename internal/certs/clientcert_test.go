package certs

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// rawName returns the DER name of a common name in one string type.
func rawName(t *testing.T, tag int, cn string) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.RDNSequence{{{
		Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: tag, Bytes: []byte(cn)},
	}}})
	require.NoError(t, err)
	return der
}

func TestAcceptedNames(t *testing.T) {
	name := rawName(t, asn1.TagPrintableString, "Client CA")
	issuer := tlsfarm.NewAuthority("", func(c *x509.Certificate) { c.RawSubject = name })
	chain := certs(issuer.Issue("x"))
	require.Equal(t, name, chain[0].RawIssuer)
	for what, c := range map[string]struct {
		accepted [][]byte
		want     bool
	}{
		"none":                {nil, true},
		"the same":            {[][]byte{rawName(t, asn1.TagUTF8String, "Other"), name}, true},
		"another string type": {[][]byte{rawName(t, asn1.TagUTF8String, "Client CA")}, true},
		"case and space":      {[][]byte{rawName(t, asn1.TagUTF8String, "client   ca ")}, true},
		"another":             {[][]byte{rawName(t, asn1.TagPrintableString, "Client CA 2")}, false},
		"longer":              {[][]byte{bytes.Replace(name, []byte("Client"), []byte("Cl\x00ent"), 1)}, false},
		"truncated":           {[][]byte{name[:len(name)-1]}, false},
		"with a rest":         {[][]byte{append(bytes.Clone(name), 0)}, false},
		"no name":             {[][]byte{{}, {0x30}, {0x30, 0x80}, {0x30, 3, 0x31, 1, 0x30}, {0x30, 4, 0x31, 2, 0x30, 0}}, false},
		"an empty name":       {[][]byte{{0x30, 0}}, false},
	} {
		reasons := clientReasons(chain, c.accepted)
		if c.want {
			assert.Empty(t, reasons, what)
			continue
		}
		require.Len(t, reasons, 1, what)
		assert.Equal(t, Reason{Fault: UntrustedCA, Cert: chain[0]}, reasons[0], what)
	}
}

func clientReasons(chain []*x509.Certificate, accepted [][]byte) []Reason {
	var others [][]byte
	for _, c := range chain[1:] {
		others = append(others, c.Raw)
	}
	return NewClientChain(chain[0], others).Reasons(accepted, time.Now())
}

// Only the path above the client's certificate matters, in whatever order the others are sent.
func TestClientPath(t *testing.T) {
	root := tlsfarm.NewAuthority("Root", expired) // servers use their own copy
	upper := root.Intermediate("Upper")
	lower := upper.Intermediate("Lower")
	other := root.Intermediate("Other", expired)
	renamed := upper.Intermediate("Lower", expired) // the same name, another key
	leaf := lower.Issue("x").Leaf
	chain := certs(leaf, other, renamed, root, upper, lower)
	accepted := [][]byte{root.Certificate.RawSubject}
	assert.Empty(t, clientReasons(chain, accepted))

	alone := clientReasons(certs(leaf), accepted)
	assert.Equal(t, []Reason{{Fault: UntrustedCA, Cert: leaf}}, alone)
	half := clientReasons(certs(leaf, lower), accepted)
	assert.Equal(t, []Reason{{Fault: UntrustedCA, Depth: 1, Cert: lower.Certificate}}, half)
	assert.Empty(t, clientReasons(certs(leaf, lower), [][]byte{upper.Certificate.RawSubject}), "the server has upper itself")

	// Two CAs that issued for each other have no end.
	a, b := tlsfarm.NewAuthority("A"), tlsfarm.NewAuthority("B")
	circle := certs(a.Issue("x").Leaf, b.Cross(a), a.Cross(b))
	assert.Len(t, clientReasons(circle, accepted), 1)
}

// Of several CA certificates with the right name, the one whose key made the signature is in the path.
func TestClientPathPrefersTheRightKey(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	issuer, twin := root.Intermediate("Issuer"), root.Intermediate("Issuer")
	issuer.Certificate.SubjectKeyId = nil // so that no key identifier shows whose certificate it is
	leaf := issuer.Issue("x").Leaf
	assert.Empty(t, clientReasons(certs(leaf, issuer), nil))
	assert.Empty(t, clientReasons(certs(leaf, twin, issuer), nil))
	assert.Equal(t, []Reason{{Fault: BadSignature, Cert: leaf}}, clientReasons(certs(leaf, twin), nil))
	// A server uses its own copy of a root.
	other := tlsfarm.NewAuthority("Root")
	assert.Empty(t, clientReasons(certs(leaf, issuer, other), nil))

	assert.Equal(t, leaf, NewClientChain(leaf, nil).Top())
	assert.Nil(t, NewClientChain(leaf, [][]byte{{1}}).Top(), "it may be above")

	// What crypto/x509 cannot check is not said to be wrong, nor what would take too long.
	left := budget(0)
	assert.False(t, wronglySigned(leaf, twin.Certificate, &left))
	left = maxWork
	assert.True(t, wronglySigned(leaf, twin.Certificate, &left))
	unsupported := *twin.Certificate
	unsupported.PublicKey = nil
	assert.False(t, wronglySigned(leaf, &unsupported, &left))
}

func TestWeakClientSignature(t *testing.T) {
	ca := tlsfarm.NewAuthority("CA", tlsfarm.Key(tlsfarm.RSAKey(2048)))
	sha1 := certs(ca.Issue("x", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }))
	assert.Equal(t, []Reason{{Fault: WeakSignature, Cert: sha1[0]}}, clientReasons(sha1, nil))
	assert.Empty(t, clientReasons(certs(ca.Issue("x")), nil))
}
