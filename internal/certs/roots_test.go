package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func pemBlock(kind string, der []byte, headers map[string]string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: headers}))
}

func TestParseRoots(t *testing.T) {
	key := ecKey()
	root, other := tlsfarm.NewAuthority("Root", tlsfarm.Key(key)), tlsfarm.NewAuthority("Other")
	good, otherGood := string(root.PEM()), string(other.PEM())
	negative := remake(root.Certificate, key, crypto.SHA256, func(f *fields) { f.Serial = asDER(big.NewInt(-7)) })
	_, brainpool := unsupported("brainpool")
	_, dsa := unsupported("dsa")
	_, keyPEM := tlsfarm.PEM(root.Issue("leaf"))

	for name, tt := range map[string]struct {
		file    string
		dropped []string
	}{
		"good":                {good + otherGood, nil},
		"twice":               {good + good, nil},
		"with a key and text": {"Root:\n" + good + "\n# a key\n" + string(keyPEM), nil},
		"negative serial":     {good + pemBlock("CERTIFICATE", negative, nil), []string{fmt.Sprintf(`PEM block 2 at line %d cannot be read: its serial number is negative (subject "Root", key of the kind EC P-256)`, 1+strings.Count(good, "\n"))}},
		"brainpool":           {pemBlock("CERTIFICATE", brainpool, nil) + good, []string{`PEM block 1 at line 1 cannot be read: its key is on a curve that Go does not have (brainpoolP256r1) (subject "Brainpool Root", key of the kind EC brainpoolP256r1)`}},
		"DSA":                 {pemBlock("CERTIFICATE", dsa, nil), []string{`PEM block 1 at line 1 (subject "DSA Root") cannot be used: its key is of the kind DSA, which the collector does not support`}},
		"OpenSSL's type":      {good + pemBlock("TRUSTED CERTIFICATE", other.Certificate.Raw, nil), []string{"its type is TRUSTED CERTIFICATE, but must be CERTIFICATE"}},
		"headers":             {good + pemBlock("CERTIFICATE", other.Certificate.Raw, map[string]string{"a": "b"}), []string{"it has headers before the certificate"}},
		"line break missing":  {strings.TrimSpace(good) + otherGood + string(tlsfarm.NewAuthority("Third").PEM()), []string{"PEM block 1 at line 1 cannot be read: a line break is missing before or after it"}},
		"truncated":           {good + otherGood[:len(otherGood)/2], []string{"PEM block 2 at line", "malformed"}},
		"truncated first":     {otherGood[:len(otherGood)/2] + "\n" + good, []string{"PEM block 1 at line 1 cannot be read: it is malformed"}},
		"not a certificate":   {good + pemBlock("CERTIFICATE", []byte("hello"), nil), []string{"PEM block 2 at line", "malformed certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := x509.NewCertPool()
			require.True(t, want.AppendCertsFromPEM([]byte(tt.file)))
			roots, err := ParseRoots([]byte(tt.file), nil)
			require.NoError(t, err)
			assert.True(t, roots.Pool().Equal(want), "the same certificates are trusted as without us")
			require.Equal(t, len(tt.dropped) > 0, len(roots.Dropped()) > 0)
			for _, part := range tt.dropped {
				assert.Contains(t, roots.Dropped()[0], part)
			}
		})
	}

	for name, tt := range map[string]struct{ file, want string }{
		"empty":         {"", "it has no PEM block of type CERTIFICATE"},
		"only a key":    {string(keyPEM), "it has no PEM block of type CERTIFICATE"},
		"none readable": {pemBlock("CERTIFICATE", brainpool, nil) + pemBlock("CERTIFICATE", []byte{'\n'}, nil), `PEM block 1 at line 1 cannot be read: its key is on a curve that Go does not have (brainpoolP256r1) (subject "Brainpool Root", key of the kind EC brainpoolP256r1); PEM block 2 at line`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.False(t, x509.NewCertPool().AppendCertsFromPEM([]byte(tt.file)))
			_, err := ParseRoots([]byte(tt.file), nil)
			assert.ErrorContains(t, err, tt.want)
		})
	}

	many, err := ParseRoots([]byte(good+strings.Repeat(pemBlock("CERTIFICATE", []byte("hello"), nil), 1000)), nil)
	require.NoError(t, err)
	assert.Len(t, many.Dropped(), maxDropped+1)
	assert.Equal(t, "and others", many.Dropped()[maxDropped])
}

func FuzzParseRoots(f *testing.F) {
	root := tlsfarm.NewAuthority("Root")
	_, brainpool := unsupported("brainpool")
	f.Add([]byte(pemBlock("CERTIFICATE", brainpool, nil) + string(root.PEM())))
	f.Add([]byte(pemBlock("CERTIFICATE", root.Certificate.Raw[:100], nil)))
	f.Fuzz(func(t *testing.T, file []byte) {
		want := x509.NewCertPool()
		found := want.AppendCertsFromPEM(file)
		roots, err := ParseRoots(file, nil)
		require.Equal(t, found, err == nil)
		if err != nil {
			assertClean(t, strings.ReplaceAll(err.Error(), "; ", ""), 10*1024)
			return
		}
		assert.True(t, roots.Pool().Equal(want))
		for _, line := range roots.Dropped() {
			assertClean(t, line, 512)
		}
	})
}

// Whatever is wrong with a root in ca_file, it is not called unknown. Following the fix makes the chain valid.
func TestRootThatCannotBeUsed(t *testing.T) {
	key := tlsfarm.Key(ecKey())
	good := tlsfarm.NewAuthority("Root", key)
	rawKey := ecKey()
	readable := tlsfarm.NewAuthority("Root", tlsfarm.Key(rawKey))
	negative := remake(readable.Certificate, rawKey, crypto.SHA256, func(f *fields) { f.Serial = asDER(big.NewInt(-7)) })
	constrained := remake(readable.Certificate, rawKey, crypto.SHA256, func(f *fields) {
		f.Extensions = append(f.Extensions, pkix.Extension{Id: []int{2, 5, 29, 30}, Critical: true, Value: []byte("\x30\x0a\xa0\x08\x30\x06\x82\x04a..b")})
	})
	for name, tt := range map[string]struct {
		root  *tlsfarm.Authority
		file  []byte // instead of the root's certificate
		fixed *tlsfarm.Authority
		want  string
	}{
		"CA:FALSE":                    {tlsfarm.NewAuthority("Root", key, notCA), nil, good, "not_a_ca@2"},
		"no basic constraints":        {tlsfarm.NewAuthority("Root", key, edit(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false })), nil, good, "not_a_ca@2"},
		"no keyCertSign":              {tlsfarm.NewAuthority("Root", key, edit(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })), nil, good, "not_a_ca@2"},
		"unknown critical extension":  {tlsfarm.NewAuthority("Root", key, unknownExt), nil, good, "unhandled_critical_extension@2"},
		"directory names constrained": {tlsfarm.NewAuthority("Root", key, directoryNames), nil, good, "unhandled_critical_extension@2"},
		"malformed name constraints":  {readable, constrained, readable, "unhandled_critical_extension@1"},
		"negative serial number":      {readable, negative, readable, "malformed_certificate@1"},
	} {
		t.Run(name, func(t *testing.T) {
			presented := certs(tt.root.Intermediate("Intermediate").Issue("leaf"))
			roots := newRoots(certs(tlsfarm.NewAuthority("Other"), tt.root))
			if tt.file != nil {
				roots = newRoots(certs(tlsfarm.NewAuthority("Other")), tt.file)
			}
			v := Verify(presented, roots, "localhost", time.Now())
			assert.Equal(t, tt.want, summary(v.Reasons))

			// With the root presented too, it is the same.
			if tt.file == nil {
				v = Verify(certs(presented, tt.root), roots, "localhost", time.Now())
				assert.Equal(t, tt.want, summary(v.Reasons))
				assert.True(t, v.Rooted)
			}
			v = Verify(presented, newRoots(certs(tt.fixed)), "localhost", time.Now())
			assert.True(t, v.Valid(), summary(v.Reasons))
		})
	}
}

func TestRootWithAnUnsupportedKey(t *testing.T) {
	now := midnight(2030, 1, 1)
	for key, kind := range map[string]string{"dsa": "DSA", "ed448": "Ed448", "brainpool": "EC brainpoolP256r1"} {
		t.Run(key, func(t *testing.T) {
			leaf, root := unsupported(key)
			for _, presented := range [][]*x509.Certificate{certs(parse(leaf)), certs(parse(leaf), parse(leaf))} {
				v := Verify(presented, newRoots(certs(tlsfarm.NewAuthority("Other")), root), "localhost", now)
				assert.Equal(t, "malformed_certificate@0", summary(v.Reasons))
				assert.False(t, v.Trusted)
				if _, err := x509.ParseCertificate(root); err != nil {
					var unusable *UnusableRoot
					require.ErrorAs(t, v.Primary().Err, &unusable)
					assert.Equal(t, UnusableRoot{Name: "Brainpool Root", Key: kind, Err: unusable.Err, ca: unusable.ca}, *unusable)
					assert.ErrorContains(t, unusable, "a curve that Go does not have")
					continue
				}
				var unusable *UnusableCA
				require.ErrorAs(t, v.Primary().Err, &unusable)
				assert.True(t, unusable.Root)
				assert.Equal(t, kind, unusable.Key)
				assert.ErrorIs(t, unusable, x509.ErrUnsupportedAlgorithm)
				assert.True(t, v.Rooted)
			}
		})
	}
}

// A root of the same name that can be used is preferred to one that cannot.
func TestUnusableNamesakeOfARootDoesNotMatter(t *testing.T) {
	key := ecKey()
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(key))
	negative := remake(root.Certificate, key, crypto.SHA256, func(f *fields) { f.Serial = asDER(big.NewInt(-7)) })
	v := Verify(certs(root.Issue("leaf", expired)), newRoots(certs(root), negative), "localhost", time.Now())
	assert.Equal(t, "cert_expired@0", summary(v.Reasons))
	assert.True(t, v.Trusted)
}

// A root that cannot be read is not taken for the issuer because of its name alone.
func TestUnreadableRootIsNotTheIssuer(t *testing.T) {
	_, der := unsupported("brainpool")
	loose, ok := parseLoosely(der)
	require.True(t, ok)
	sameName := edit(func(c *x509.Certificate) { c.RawSubject = loose.rawSubject() })
	key, rsaKey := ecKey(), tlsfarm.RSAKey(2048)
	namesake, rsaNamesake := tlsfarm.NewAuthority("x", sameName, tlsfarm.Key(key)), tlsfarm.NewAuthority("x", sameName, tlsfarm.Key(rsaKey))
	withoutKeyID := func(ca *tlsfarm.Authority, key crypto.Signer) *x509.Certificate {
		return parse(remake(ca.Issue("leaf").Leaf, key, crypto.SHA256, func(f *fields) { f.drop(2, 5, 29, 35) }))
	}
	negative := remake(namesake.Certificate, key, crypto.SHA256, func(f *fields) { f.Serial = asDER(big.NewInt(-7)); f.drop(2, 5, 29, 14) })
	for name, tt := range map[string]struct {
		presented []*x509.Certificate
		others    []*x509.Certificate // readable roots
		root      []byte
		want      string
	}{
		"another key identifier":                {certs(namesake.Issue("leaf")), nil, der, "untrusted_ca@0"},
		"another kind of key":                   {certs(withoutKeyID(rsaNamesake, rsaKey)), nil, der, "untrusted_ca@0"},
		"another key":                           {certs(withoutKeyID(tlsfarm.NewAuthority("x", sameName), ecKey())), nil, negative, "untrusted_ca@0"},
		"the issuer presented":                  {certs(withoutKeyID(namesake, key), namesake), nil, der, "untrusted_ca@1"},
		"the issuer presented, not self-signed": {certs(withoutKeyID(namesake, key), tlsfarm.NewAuthority("Above").Intermediate("x", sameName, tlsfarm.Key(key))), nil, der, "untrusted_ca@1"},
		"the issuer trusted":                    {certs(withoutKeyID(namesake, key)), certs(namesake), der, ""},
		"it is the issuer":                      {certs(withoutKeyID(namesake, key)), nil, negative, "malformed_certificate@0"},
		"it is the issuer, presented too":       {certs(withoutKeyID(namesake, key), namesake), nil, negative, "malformed_certificate@0"},
		"nobody can know":                       {certs(withoutKeyID(namesake, key)), nil, der, "malformed_certificate@0"},
	} {
		t.Run(name, func(t *testing.T) {
			v := Verify(tt.presented, newRoots(certs(tlsfarm.NewAuthority("Other"), tt.others), tt.root), "localhost", time.Now())
			assert.Equal(t, tt.want, summary(v.Reasons))
			if len(v.Chain) == 1 && tt.want == "untrusted_ca@0" {
				assert.True(t, v.Primary().TrustedNamesake)
			}
		})
	}
}

func TestKeyKind(t *testing.T) {
	root := tlsfarm.NewAuthority("Root")
	assert.Equal(t, "EC P-256", keyKind(root.Certificate.RawSubjectPublicKeyInfo))
	assert.Equal(t, "RSA", keyKind(tlsfarm.NewAuthority("Root", tlsfarm.Key(tlsfarm.RSAKey(2048))).Certificate.RawSubjectPublicKeyInfo))
	assert.Equal(t, "EC 1.2.3", keyKind([]byte("\x30\x0f\x30\x0d\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x02\x2a\x03")))
	assert.Equal(t, "1.2.3", keyKind([]byte("\x30\x06\x30\x04\x06\x02\x2a\x03")))
	assert.Equal(t, "EC with parameters of its own", keyKind([]byte("\x30\x0d\x30\x0b\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x30\x00")))
	for _, info := range [][]byte{nil, {0x30}, []byte("\x30\x00"), bytes.Repeat([]byte{0x30, 0x80}, 9)} {
		assert.Equal(t, "unknown", keyKind(info))
	}
}
