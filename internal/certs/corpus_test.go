package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// Scene is an entry of the corpus: a chain as a server presents it, and the expected verdict. It is exported for
// corpus_openssl_test.go, which compares the verdict with that of OpenSSL.
type Scene struct {
	Name  string
	Chain [][]byte // DER, leaf first
	Roots []*x509.Certificate
	// Unreadable are roots in DER that crypto/x509 cannot read.
	Unreadable [][]byte
	Host       string    // empty means localhost
	At         time.Time // zero means now

	Want       string // the reasons, as in summary
	Warnings   string // the warnings, as in summary
	Length     int    // of Verdict.Chain
	Untrusted  bool   // Verdict.Chain does not end in a trusted root
	ParseError string // the error of x509.ParseCertificate, if there is one and so no verdict

	// OpenSSL is the result of `openssl verify` if it differs from ours: its codes with their depths, or "ok", or
	// "unreadable". There are several if its releases differ.
	OpenSSL []string
	Because string   // why the result differs
	With    []string // options that remove the difference
}

// Corpus has chains of every kind that servers present, especially unusual ones.
var Corpus = sync.OnceValue(func() []Scene {
	return slices.Concat(
		paths(), authority(), keysAndSignatures(), dates(), hostNames(), usagesAndExtensions(), constrainedNames(), encodings(), commonNameScenes(),
	)
})

// under sets the roots and the length of the chain in scenes that have none.
func under(root *tlsfarm.Authority, length int, scenes []Scene) []Scene {
	for i := range scenes {
		s := &scenes[i]
		if s.Roots == nil {
			s.Roots = certs(root)
		}
		if s.Length == 0 && s.ParseError == "" {
			s.Length = length
		}
	}
	return scenes
}

// wire returns a chain in DER. It accepts the arguments of certs, and DER.
func wire(cs ...any) (chain [][]byte) {
	for _, c := range cs {
		switch c := c.(type) {
		case []byte:
			chain = append(chain, c)
		case [][]byte:
			chain = append(chain, c...)
		default:
			for _, c := range certs(c) {
				chain = append(chain, c.Raw)
			}
		}
	}
	return chain
}

// fields are the signed fields of a certificate (RFC 5280, section 4.1).
type fields struct {
	Version                                                 int `asn1:"explicit,tag:0"`
	Serial, Algorithm, Issuer, Validity, Subject, PublicKey asn1.RawValue
	IssuerID, SubjectID                                     asn1.BitString   `asn1:"optional,tag:1"`
	Extensions                                              []pkix.Extension `asn1:"optional,omitempty,explicit,tag:3"`
}

// remake returns a certificate with changes that x509.CreateCertificate cannot make, signed by the issuer's key.
func remake(c *x509.Certificate, issuer crypto.Signer, how crypto.SignerOpts, change func(*fields)) []byte {
	var f fields
	must(asn1.Unmarshal(c.RawTBSCertificate, &f))
	change(&f)
	return signed(must(asn1.Marshal(f)), f.Algorithm, issuer, how)
}

func signed(tbs []byte, algorithm asn1.RawValue, issuer crypto.Signer, how crypto.SignerOpts) []byte {
	h := how.HashFunc().New()
	h.Write(tbs)
	signature := must(issuer.Sign(rand.Reader, h.Sum(nil), how))
	return must(asn1.Marshal(rawCertificate{
		asn1.RawValue{FullBytes: tbs}, algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	}))
}

func asDER(value any) asn1.RawValue { return asn1.RawValue{FullBytes: must(asn1.Marshal(value))} }

// drop removes an extension.
func (f *fields) drop(id ...int) {
	f.Extensions = slices.DeleteFunc(f.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
}

// name sets the subject alternative names.
func (f *fields) name(names ...asn1.RawValue) {
	f.drop(2, 5, 29, 17)
	f.Extensions = append(f.Extensions, pkix.Extension{Id: []int{2, 5, 29, 17}, Value: must(asn1.Marshal(names))})
}

func extension(critical bool, value string, id ...int) tlsfarm.Edit {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: []byte(value)})
	}
}

func during(begin, end time.Time) tlsfarm.Edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = begin, end }
}

func midnight(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

func addresses(ips ...string) tlsfarm.Edit {
	return func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = nil, nil
		for _, ip := range ips {
			c.IPAddresses = append(c.IPAddresses, net.ParseIP(ip))
		}
	}
}

// Reasons for which OpenSSL differs in more than one scene.
const (
	whyNotSent     = "openssl verify stops at 20; callers that continue, as s_client does, also get 21"
	whySelfSigned  = "by default, only a self-signed certificate is a root for OpenSSL"
	whyTwice       = "OpenSSL also reports the same fault as an unsuitable purpose"
	whyNamesFirst  = "openssl verify checks the name first and stops there"
	whyCommonNames = "crypto/x509 has ignored common names since Go 1.15; OpenSSL uses them if there is no DNS name"
	whyLooseDates  = "crypto/x509 accepts times that DER does not allow; to OpenSSL they are format errors, since 3.5 some already when it parses"
	whyDirectory   = "crypto/x509 does not support constraints on directory names, and rejects them if they are critical"
	whyStrict      = "OpenSSL is less strict about DER"
)

// paths are about which certificates are present, and in which order.
func paths() []Scene {
	rootKey, twinKey, strayKey := ecKey(), ecKey(), ecKey()
	root, other, namesake := tlsfarm.NewAuthority("Root", tlsfarm.Key(rootKey)), tlsfarm.NewAuthority("Other"), tlsfarm.NewAuthority("Root")
	upper := root.Intermediate("Upper")
	lower := upper.Intermediate("Lower")
	leaf := lower.Issue("leaf")
	anyKeyUsage := edit(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature }) // so that OpenSSL accepts it as a server's
	server, serverRoot := upper.Intermediate("Lower", anyKeyUsage), tlsfarm.NewAuthority("Root", anyKeyUsage)
	withURL, ofRoot := upper.Intermediate("Lower", caIssuers), root.Intermediate("Issuing", caIssuers)
	self := tlsfarm.SelfSigned("self")

	deep := root
	for i := range 10 {
		deep = deep.Intermediate(fmt.Sprint("Depth ", 10-i))
	}
	var superfluous [][]byte
	for i := range 90 {
		superfluous = append(superfluous, other.Intermediate(fmt.Sprint("Superfluous ", i)).Certificate.Raw)
	}

	// In September 2021 DST Root CA X3 expired, which had cross-signed ISRG Root X1. In May 2020 AddTrust expired, together
	// with the certificate that it had issued to USERTrust.
	key := tlsfarm.Key(ecKey())
	dst, isrg := tlsfarm.NewAuthority("DST Root CA X3", expired), tlsfarm.NewAuthority("ISRG Root X1", key)
	cross, expiredCross := dst.Intermediate("ISRG Root X1", key), dst.Intermediate("ISRG Root X1", key, expired)
	byOther, sha1Cross := other.Intermediate("ISRG Root X1", key), other.Intermediate("ISRG Root X1", key, signedWith(x509.ECDSAWithSHA1))
	r3 := isrg.Intermediate("R3")
	crossed := wire(r3.Issue("leaf"))
	expiredISRG, soonISRG := tlsfarm.NewAuthority("ISRG Root X1", key, expired), tlsfarm.NewAuthority("ISRG Root X1", key, tlsfarm.Validity(-day, day))
	futureISRG := tlsfarm.NewAuthority("ISRG Root X1", key, tlsfarm.Validity(day, 9*year))

	// Two CAs with the same subject, with and without the key identifiers that distinguish them.
	bare := func(c *x509.Certificate, issuer crypto.Signer) *x509.Certificate {
		return parse(remake(c, issuer, crypto.SHA256, func(f *fields) { f.drop(2, 5, 29, 14); f.drop(2, 5, 29, 35) }))
	}
	twin, stray := root.Intermediate("Twin", tlsfarm.Key(twinKey)), root.Intermediate("Twin")
	byTwin := twin.Issue("leaf").Leaf
	bareTwin, bareStray, bareLeaf := bare(twin.Certificate, rootKey), bare(stray.Certificate, rootKey), bare(byTwin, twinKey)
	bareNamesake := bare(tlsfarm.NewAuthority("Root", tlsfarm.Key(strayKey)).Certificate, strayKey)
	keyID := func(id []byte) tlsfarm.Edit { return func(c *x509.Certificate) { c.AuthorityKeyId = id } }
	wrongKeyID := extension(false, "\x30\x06\x80\x04none", 2, 5, 29, 35)

	// A CA that certified its new key with its old one.
	renew := func(old *tlsfarm.Authority, edits ...tlsfarm.Edit) *tlsfarm.Authority {
		return old.Intermediate("Renewed", append(edits, keyID(old.Certificate.SubjectKeyId))...)
	}
	inFarm := edit(func(c *x509.Certificate) { c.Subject.Organization = []string{"Farm"} })
	sameIssuer := root.Intermediate("Same")
	sameName := sameIssuer.Issue("Same", inFarm)
	// The issuer's name in other string types than in the root.
	otherTypes := remake(root.Issue("leaf").Leaf, rootKey, crypto.SHA256, func(f *fields) {
		f.Issuer = asDER(pkix.RDNSequence{
			{{Type: []int{2, 5, 4, 10}, Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("Farm")}}},
			{{Type: []int{2, 5, 4, 3}, Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("Root")}}},
		})
	})

	return under(root, 4, []Scene{
		{Name: "issued by the root", Chain: wire(root.Issue("leaf")), Length: 2},
		{Name: "issued by the second of two intermediates", Chain: wire(leaf)},
		{Name: "issued by the last of ten intermediates", Chain: wire(deep.Issue("leaf")), Length: 12},
		{Name: "root presented too", Chain: wire(leaf, root)},
		{Name: "wrong order", Chain: wire(leaf.Leaf, root, upper, lower)},
		{Name: "everything twice", Chain: wire(leaf, leaf)},
		{Name: "90 superfluous certificates before the others", Chain: wire(leaf.Leaf, superfluous, lower, upper)},
		{Name: "90 superfluous certificates and an unknown root", Chain: wire(leaf.Leaf, superfluous, lower, upper), Roots: certs(isrg), Want: "untrusted_ca@2", Length: 3, Untrusted: true},

		{Name: "intermediate not sent", Chain: wire(lower.Issue("leaf", caIssuers).Leaf), Want: "incomplete_chain@0", Length: 1, Untrusted: true, OpenSSL: []string{"20@0"}, Because: whyNotSent},
		{Name: "intermediate not sent, and no CA Issuers in the leaf", Chain: wire(leaf.Leaf), Want: "untrusted_ca@0", Length: 1, Untrusted: true},
		{Name: "lower intermediate not sent", Chain: wire(leaf.Leaf, upper), Want: "untrusted_ca@0", Length: 1, Untrusted: true},
		{Name: "upper intermediate not sent, and no CA Issuers in the lower", Chain: wire(leaf.Leaf, lower), Want: "untrusted_ca@1", Length: 2, Untrusted: true},
		{Name: "upper intermediate not sent", Chain: wire(withURL.Issue("leaf").Leaf, withURL), Want: "incomplete_chain@1", Length: 2, Untrusted: true},
		{Name: "upper intermediate not sent, its name that of a root", Chain: wire(ofRoot.Issue("leaf")), Roots: certs(other), Want: "untrusted_ca@1", Length: 2, Untrusted: true},
		{Name: "intermediate not sent, but the leaf twice", Chain: wire(leaf.Leaf, leaf.Leaf), Want: "untrusted_ca@0", Length: 1, Untrusted: true},
		{Name: "intermediate not sent, but an unrelated CA", Chain: wire(leaf.Leaf, other.Intermediate("Unrelated")), Want: "untrusted_ca@0", Length: 1, Untrusted: true},
		{Name: "CA first, then the leaf", Chain: wire(server, leaf.Leaf, upper), Want: "hostname_mismatch@0", Length: 3},
		{Name: "from the root downwards", Chain: wire(serverRoot, serverRoot.Issue("leaf").Leaf), Roots: certs(serverRoot), Want: "hostname_mismatch@0", Length: 1},
		{Name: "from an unknown root downwards", Chain: wire(serverRoot, serverRoot.Issue("leaf").Leaf), Roots: certs(other), Want: "hostname_mismatch@0 self_signed@0", Length: 1, Untrusted: true},
		{Name: "unknown root presented", Chain: wire(leaf, root), Roots: certs(other), Want: "untrusted_ca@3", Untrusted: true},
		{Name: "unknown root not presented", Chain: wire(leaf), Roots: certs(other), Want: "untrusted_ca@2", Length: 3, Untrusted: true},
		{Name: "unknown root presented, its name that of a root", Chain: wire(namesake.Issue("leaf"), namesake), Want: "untrusted_ca@1", Length: 2, Untrusted: true},
		{Name: "no roots", Chain: wire(leaf), Roots: []*x509.Certificate{}, Want: "untrusted_ca@2", Length: 3, Untrusted: true},
		{Name: "two CAs that signed each other", Chain: wire(mutual()), Want: "untrusted_ca@2", Length: 3, Untrusted: true},

		{Name: "self-signed", Chain: wire(self), Want: "self_signed@0", Length: 1, Untrusted: true},
		{Name: "self-signed, before other certificates", Chain: wire(self, leaf), Want: "self_signed@0", Length: 1, Untrusted: true},
		{Name: "self-signed and trusted", Chain: wire(self), Roots: certs(self), Length: 1},
		{Name: "self-issued, signed by another key", Chain: wire(withBadSignature(self.Leaf)), Want: "untrusted_ca@0", Length: 1, Untrusted: true, OpenSSL: []string{"18@0"}, Because: "OpenSSL compares the names, we check the signature"},
		{Name: "leaf issued by a CA, itself trusted", Chain: wire(leaf.Leaf), Roots: certs(leaf.Leaf), Length: 1, OpenSSL: []string{"20@0"}, Because: whySelfSigned, With: []string{"-partial_chain"}},
		{Name: "intermediate as trust anchor", Chain: wire(leaf.Leaf, lower), Roots: certs(upper), Length: 3, OpenSSL: []string{"2@2"}, Because: whySelfSigned, With: []string{"-partial_chain"}},
		{Name: "intermediate as trust anchor, presented too", Chain: wire(leaf), Roots: certs(upper), Length: 3, OpenSSL: []string{"2@2"}, Because: whySelfSigned, With: []string{"-partial_chain"}},
		{Name: "intermediate as trust anchor, and its root", Chain: wire(leaf), Roots: certs(upper, root), Length: 3},

		{Name: "cross-signed by the only known root", Chain: wire(crossed, byOther), Roots: certs(other)},
		{Name: "cross-signed, both roots known", Chain: wire(crossed, byOther), Roots: certs(other, isrg), Length: 3},
		{Name: "cross-signed by an expired root, the new root known", Chain: wire(crossed, cross, dst), Roots: certs(dst, isrg), Length: 3},
		{Name: "cross-signed by an expired root, no other known", Chain: wire(crossed, cross), Roots: certs(dst), Want: "cert_expired@3"},
		{Name: "cross-signature expired, the new root known", Chain: wire(crossed, expiredCross, dst), Roots: certs(isrg), Length: 3},
		{Name: "cross-signature expired, no other root known", Chain: wire(crossed, expiredCross), Roots: certs(dst), Want: "cert_expired@2 cert_expired@3"},
		{Name: "cross-signed with SHA-1, the new root known", Chain: wire(crossed, sha1Cross), Roots: certs(other, isrg), Length: 3},
		{Name: "cross-signed with SHA-1 by the only known root, and by an unknown one", Chain: wire(crossed, sha1Cross, cross), Roots: certs(other), Want: "weak_signature@2", Untrusted: true},
		{Name: "cross-signed by the root that expires last", Chain: wire(crossed, byOther), Roots: certs(other, soonISRG)},
		{Name: "cross-signed, the new root not yet valid", Chain: wire(crossed, byOther), Roots: certs(other, futureISRG), OpenSSL: []string{"9@2"}, Because: "OpenSSL prefers a known root, whatever its dates, to a presented certificate"},
		{Name: "expired root and its renewal known", Chain: wire(crossed), Roots: certs(expiredISRG, isrg), Length: 3},
		{Name: "expired root presented, its renewal known", Chain: wire(crossed, expiredISRG), Roots: certs(isrg), Length: 3},
		{Name: "renewed root presented, the expired one known", Chain: wire(crossed, isrg), Roots: certs(expiredISRG), Want: "cert_expired@2", Length: 3},

		{Name: "two CAs with one subject, the right one first", Chain: wire(byTwin, twin, stray), Length: 3},
		{Name: "two CAs with one subject, the right one last", Chain: wire(byTwin, stray, twin), Length: 3},
		{Name: "two CAs with one subject under an unknown root", Chain: wire(byTwin, stray, twin), Roots: certs(other), Want: "untrusted_ca@1", Length: 2, Untrusted: true},
		{Name: "two CAs with one subject, only the wrong one", Chain: wire(byTwin, stray), Want: "untrusted_ca@0", Length: 1, Untrusted: true},
		{Name: "two CAs with one subject without key identifiers, the right one last", Chain: wire(bareLeaf, bareStray, bareTwin), Length: 3, OpenSSL: []string{"7@0"}, Because: "OpenSSL uses the first with that name, and tries no other if its key does not match"},
		{Name: "two CAs with one subject without key identifiers, only the wrong one", Chain: wire(bareLeaf, bareStray), Want: "bad_signature@0", Length: 3, Untrusted: true},
		{Name: "two roots with one subject", Chain: wire(leaf), Roots: certs(namesake, root)},
		{Name: "only another root with the same subject", Chain: wire(leaf), Roots: certs(namesake), Want: "untrusted_ca@2", Length: 3, Untrusted: true},
		{Name: "only another root with the same subject, without key identifiers", Chain: wire(leaf), Roots: certs(bareNamesake), Want: "bad_signature@2", Length: 4, Untrusted: true},
		{Name: "another key's identifier", Chain: wire(root.Issue("leaf", wrongKeyID)), Length: 2, OpenSSL: []string{"20@0"}, Because: "crypto/x509 checks the key itself"},
		{Name: "issuer's name in another string type", Chain: wire(otherTypes), Want: "malformed_certificate@0", Length: 2, Untrusted: true, OpenSSL: []string{"ok"}, Because: "crypto/x509 compares names byte by byte, OpenSSL by the rules of RFC 5280, section 7.1"},

		{Name: "new key of a CA", Chain: wire(renew(root.Intermediate("Renewed")).Issue("leaf"))},
		{Name: "new key of a CA with path length 0", Chain: wire(renew(root.Intermediate("Renewed", pathLen(0))).Issue("leaf")), Want: "path_length_exceeded@2", OpenSSL: []string{"ok"}, Because: "self-issued certificates do not count for the path length in RFC 5280, section 4.2.1.9, but do in crypto/x509"},
		{Name: "leaf with its issuer's name", Chain: wire(sameName), Length: 3, OpenSSL: []string{"18@0"}, Because: "to OpenSSL, a certificate with its issuer's name and without a key identifier is self-signed"},
		{Name: "leaf with its issuer's name, altered", Chain: wire(withBadSignature(sameName.Leaf), sameIssuer), Want: "bad_signature@0", Length: 3, Untrusted: true, OpenSSL: []string{"18@0"}, Because: "to OpenSSL, a certificate with its issuer's name and without a key identifier is self-signed"},
		{Name: "new key of a CA under an unknown root", Chain: wire(renew(other.Intermediate("Renewed")).Issue("leaf"), other), Want: "untrusted_ca@3", Length: 4, Untrusted: true},
		{Name: "new key of a CA signed with SHA-1", Chain: wire(renew(root.Intermediate("Renewed"), signedWith(x509.ECDSAWithSHA1)).Issue("leaf")), Want: "weak_signature@1", Length: 4, Untrusted: true},
	})
}

// authority is about whether a certificate may sign, and whether it did.
func authority() []Scene {
	rootKey, interKey, oldKey := ecKey(), ecKey(), ecKey()
	root, old := tlsfarm.NewAuthority("Root", tlsfarm.Key(rootKey)), tlsfarm.NewAuthority("Old", tlsfarm.Key(oldKey))
	inter := root.Intermediate("Intermediate", tlsfarm.Key(interKey))
	leaf, byRoot := inter.Issue("leaf").Leaf, root.Issue("leaf").Leaf
	below := func(edits ...tlsfarm.Edit) [][]byte {
		return wire(root.Intermediate("Intermediate", edits...).Issue("leaf"))
	}
	notSigning := edit(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	rootNoCA, rootNotSigning := tlsfarm.NewAuthority("Root", notCA), tlsfarm.NewAuthority("Root", notSigning)
	rootNoBasic := tlsfarm.NewAuthority("Root", edit(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false }))

	return under(root, 3, []Scene{
		{Name: "leaf altered", Chain: wire(withBadSignature(leaf), inter), Want: "bad_signature@0", Length: 3, Untrusted: true},
		{Name: "leaf issued by the root, altered", Chain: wire(withBadSignature(byRoot)), Want: "bad_signature@0", Length: 2, Untrusted: true},
		{Name: "leaf issued by the root, altered, root presented", Chain: wire(withBadSignature(byRoot), root), Want: "bad_signature@0", Length: 2, Untrusted: true},
		{Name: "intermediate altered, root presented", Chain: wire(leaf, withBadSignature(inter.Certificate), root), Want: "bad_signature@1", Untrusted: true},
		{Name: "root's own signature altered", Chain: wire(leaf, inter), Roots: certs(withBadSignature(root.Certificate))},

		{Name: "path length observed", Chain: wire(root.Intermediate("Upper", pathLen(1)).Intermediate("Lower", pathLen(0)).Issue("leaf")), Length: 4},
		{Name: "path length exceeded", Chain: wire(root.Intermediate("Upper", pathLen(0)).Intermediate("Lower").Issue("leaf")), Want: "path_length_exceeded@2", Length: 4},
		{Name: "not a CA", Chain: below(notCA), Want: "not_a_ca@1", OpenSSL: []string{"79@1 26@1"}, Because: whyTwice},
		{Name: "CA that may not sign", Chain: below(notSigning), Want: "not_a_ca@1", OpenSSL: []string{"79@1 26@1 32@1"}, Because: whyTwice + ", and the key usage on its own"},
		{Name: "no basic constraints", Chain: below(edit(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false })), Want: "not_a_ca@1"},
		{Name: "root that is not a CA", Chain: wire(rootNoCA.Issue("leaf")), Roots: certs(rootNoCA), Want: "not_a_ca@1", Length: 2, OpenSSL: []string{"79@1 26@1"}, Because: whyTwice},
		{Name: "root that is not a CA, presented", Chain: wire(rootNoCA.Issue("leaf"), rootNoCA), Roots: certs(rootNoCA), Want: "not_a_ca@1", Length: 2, OpenSSL: []string{"79@1 26@1"}, Because: whyTwice},
		{Name: "root without basic constraints", Chain: wire(rootNoBasic.Issue("leaf")), Roots: certs(rootNoBasic), Want: "not_a_ca@1", Length: 2, OpenSSL: []string{"ok"}, Because: "OpenSSL accepts a root without them if its key usage lets it sign"},
		{Name: "root that may not sign", Chain: wire(rootNotSigning.Issue("leaf")), Roots: certs(rootNotSigning), Want: "not_a_ca@1", Length: 2, OpenSSL: []string{"79@1 26@1 32@1"}, Because: whyTwice + ", and the key usage on its own"},
		{Name: "root of version 1", Chain: wire(old.Issue("leaf")), Roots: certs(version1(old.Certificate, oldKey)), Length: 2},
		{Name: "intermediate of version 1", Chain: wire(leaf, version1(inter.Certificate, rootKey)), Want: "not_a_ca@1", OpenSSL: []string{"79@1 26@1"}, Because: whyTwice},
		{Name: "leaf that is a CA", Chain: wire(root.Issue("leaf", edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }))), Length: 2},
	})
}

func onCurve(c elliptic.Curve) crypto.Signer { return must(ecdsa.GenerateKey(c, rand.Reader)) }

// withTinyKeys lets crypto/rsa generate keys under 1024 bits, and sign with them.
func withTinyKeys(do func()) {
	before := os.Getenv("GODEBUG")
	_ = os.Setenv("GODEBUG", before+",rsa1024min=0")
	defer os.Setenv("GODEBUG", before)
	do()
}

// unsupported returns a leaf and its root in DER, whose key is of a kind that crypto/x509 does not support. They are valid
// from 2020 to 2100.
func unsupported(key string) (leaf, root []byte) {
	first, rest := pem.Decode(must(os.ReadFile("testdata/" + key + ".pem")))
	second, _ := pem.Decode(rest)
	return first.Bytes, second.Bytes
}

func keysAndSignatures() []Scene {
	rootKey := tlsfarm.RSAKey(2048)
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(rootKey))
	inter := root.Intermediate("Intermediate")
	md5 := func(c *x509.Certificate) *x509.Certificate {
		return resign(c, rootKey, crypto.MD5, sha256WithRSA, md5WithRSA)
	}
	sha1, small := signedWith(x509.SHA1WithRSA), tlsfarm.Key(tlsfarm.RSAKey(1024))
	smallRoot, sha1Root := tlsfarm.NewAuthority("Root", small), tlsfarm.NewAuthority("Root", tlsfarm.Key(rootKey), sha1)
	var tinyLeaf, tinyCA [][]byte
	var tinyRoot *tlsfarm.Authority
	var byTinyRoot tls.Certificate
	withTinyKeys(func() {
		tiny := tlsfarm.Key(tlsfarm.RSAKey(768))
		tinyLeaf, tinyCA = wire(root.Issue("leaf", tiny)), wire(root.Intermediate("Tiny", tiny).Issue("leaf"))
		tinyRoot = tlsfarm.NewAuthority("Root", tiny)
		byTinyRoot = tinyRoot.Issue("leaf")
	})

	leaf, pss := root.Issue("leaf").Leaf, root.Issue("leaf", signedWith(x509.SHA256WithRSAPSS)).Leaf
	salted := func(salt int) []byte {
		return remake(pss, rootKey, &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}, func(f *fields) { f.Algorithm = pssAlgorithm(salt) })
	}
	publicKey := func(key []byte, algorithm ...asn1.ObjectIdentifier) [][]byte {
		return wire(remake(leaf, rootKey, crypto.SHA256, func(f *fields) {
			f.PublicKey = asDER(struct {
				Algorithm []asn1.ObjectIdentifier
				Key       asn1.BitString
			}{algorithm, asn1.BitString{Bytes: key, BitLength: 8 * len(key)}})
		}))
	}
	pssKey := x509.MarshalPKCS1PublicKey(tlsfarm.RSAKey(2048).Public().(*rsa.PublicKey))
	// The first public key of RFC 8032, section 7.4.
	ed448 := must(hex.DecodeString("5fd7449b59b461fd2ce787ec616ad46a1da1342485a70e1f8a0ea75d80e96778edf124769b46c7061bd6783df1e50f6cd1fa1abeafe8256180"))
	// The base point of SEC 2, section 2.4.1.
	secp256k1 := must(hex.DecodeString("0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"))
	sha384 := asDER(pkix.AlgorithmIdentifier{Algorithm: []int{1, 2, 840, 113549, 1, 1, 12}, Parameters: asn1.NullRawValue})

	dsaLeaf, dsaRoot := unsupported("dsa")
	brainpoolLeaf, brainpoolRoot := unsupported("brainpool")
	scenes := []Scene{
		{Name: "RSA 1024 in the leaf", Chain: wire(root.Issue("leaf", small)), Warnings: "weak_key@0", Length: 2},
		{Name: "RSA 1024 in the intermediate", Chain: wire(root.Intermediate("Small", small).Issue("leaf")), Warnings: "weak_key@1", Length: 3},
		{Name: "RSA 1024 in the root", Chain: wire(smallRoot.Issue("leaf")), Roots: certs(smallRoot), Warnings: "weak_key@1", Length: 2},
		{Name: "RSA 768 in the leaf", Chain: tinyLeaf, Want: "weak_key@0", Length: 2},
		{Name: "RSA 768 in the intermediate", Chain: tinyCA, Want: "weak_key@1", Length: 3, Untrusted: true},
		{Name: "RSA 768 in the root", Chain: wire(byTinyRoot), Roots: certs(tinyRoot), Want: "weak_key@1", Length: 2, Untrusted: true},
		{Name: "DSA key in the root", Chain: wire(dsaLeaf), At: midnight(2030, 1, 1), Roots: certs(parse(dsaRoot)), Want: "malformed_certificate@0", Length: 2, Untrusted: true, OpenSSL: []string{"ok"}, Because: "crypto/x509 does not check DSA signatures"},
		{Name: "brainpool key in the root", Chain: wire(brainpoolLeaf), At: midnight(2030, 1, 1), Unreadable: wire(brainpoolRoot), Want: "malformed_certificate@0", Length: 1, Untrusted: true, OpenSSL: []string{"ok"}, Because: "crypto/x509 does not know the curve"},
		{Name: "RSA-PSS key", Chain: publicKey(pssKey, []int{1, 2, 840, 113549, 1, 1, 10}), Length: 2},
		{Name: "Ed448 key", Chain: publicKey(ed448, []int{1, 3, 101, 113}), Length: 2},
		{Name: "secp256k1 key", Chain: publicKey(secp256k1, []int{1, 2, 840, 10045, 2, 1}, []int{1, 3, 132, 0, 10}), ParseError: "x509: unsupported elliptic curve", OpenSSL: []string{"ok"}, Because: "crypto/x509 does not know the curve"},

		{Name: "ECDSA with SHA-512", Chain: wire(inter.Issue("leaf", signedWith(x509.ECDSAWithSHA512))), Length: 3},
		{Name: "RSA-PSS with SHA-256", Chain: wire(pss), Length: 2},
		{Name: "RSA-PSS with SHA-384", Chain: wire(root.Issue("leaf", signedWith(x509.SHA384WithRSAPSS))), Length: 2},
		{Name: "RSA-PSS with SHA-512 in the intermediate", Chain: wire(root.Intermediate("Intermediate", signedWith(x509.SHA512WithRSAPSS)).Issue("leaf")), Length: 3},
		{Name: "RSA-PSS with a salt of 32 bytes", Chain: wire(salted(32)), Length: 2},
		{Name: "RSA-PSS with a salt of 20 bytes", Chain: wire(salted(20)), Want: "malformed_certificate@0", Length: 2, Untrusted: true, OpenSSL: []string{"ok"}, Because: "crypto/x509 accepts RSA-PSS only if the salt is as long as the hash"},
		{Name: "SHA-1 in the leaf", Chain: wire(root.Issue("leaf", sha1)), Want: "weak_signature@0", Length: 2, Untrusted: true},
		{Name: "SHA-1 in the leaf of an intermediate", Chain: wire(inter.Issue("leaf", signedWith(x509.ECDSAWithSHA1))), Want: "weak_signature@0", Length: 3, Untrusted: true},
		{Name: "SHA-1 in the intermediate", Chain: wire(root.Intermediate("Intermediate", sha1).Issue("leaf")), Want: "weak_signature@1", Length: 3, Untrusted: true},
		{Name: "SHA-1 in the leaf under an unknown root", Chain: wire(inter.Issue("leaf", signedWith(x509.ECDSAWithSHA1))), Roots: certs(smallRoot), Want: "untrusted_ca@1 weak_signature@0", Length: 2, Untrusted: true},
		{Name: "SHA-1 in the root's own signature", Chain: wire(sha1Root.Issue("leaf")), Roots: certs(sha1Root), Length: 2},
		{Name: "SHA-1 in an unknown root's own signature", Chain: wire(sha1Root.Issue("leaf"), sha1Root), Roots: []*x509.Certificate{}, Want: "untrusted_ca@1", Length: 2, Untrusted: true},
		{Name: "MD5 in the leaf", Chain: wire(md5(leaf)), Want: "weak_signature@0", Length: 2, Untrusted: true},
		{Name: "MD5 in the intermediate", Chain: wire(inter.Issue("leaf").Leaf, md5(inter.Certificate)), Want: "weak_signature@1", Length: 3, Untrusted: true},
		{Name: "two algorithms for one signature", Chain: wire(signed(leaf.RawTBSCertificate, sha384, rootKey, crypto.SHA384)), ParseError: "x509: inner and outer signature algorithm identifiers don't match", OpenSSL: []string{"7@0"}, Because: "OpenSSL parses the certificate, but rejects the signature"},
	}
	for name, key := range map[string]crypto.Signer{
		"RSA 2048": tlsfarm.RSAKey(2048), "RSA 3072": largeKey(3072), "RSA 4096": largeKey(4096), "RSA 8192": largeKey(8192),
		"P-224": onCurve(elliptic.P224()), "P-256": ecKey(), "P-384": onCurve(elliptic.P384()), "P-521": onCurve(elliptic.P521()),
		"Ed25519": edKey(),
	} {
		ca := tlsfarm.NewAuthority("Root", tlsfarm.Key(key))
		scenes = append(scenes, Scene{Name: name, Chain: wire(ca.Issue("leaf", tlsfarm.Key(key))), Roots: certs(ca), Length: 2})
	}
	return under(root, 0, scenes)
}

// pssAlgorithm returns RSA-PSS with SHA-256 and a salt of this many bytes (RFC 4055, section 3.1).
func pssAlgorithm(salt int) asn1.RawValue {
	sha256 := pkix.AlgorithmIdentifier{Algorithm: []int{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}
	return asDER(pkix.AlgorithmIdentifier{Algorithm: []int{1, 2, 840, 113549, 1, 1, 10}, Parameters: asDER(struct {
		Hash pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		Mask pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		Salt int                      `asn1:"explicit,tag:2"`
	}{sha256, pkix.AlgorithmIdentifier{Algorithm: []int{1, 2, 840, 113549, 1, 1, 8}, Parameters: asDER(sha256)}, salt})})
}

// dates are about times, and unusual encodings of times.
func dates() []Scene {
	key := ecKey()
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(key), during(midnight(1950, 1, 1), midnight(2100, 1, 1)))
	leaf := root.Issue("leaf", during(midnight(2026, 1, 1), midnight(2027, 1, 1))).Leaf
	noon := midnight(2026, 6, 15).Add(12 * time.Hour)
	below := func(e tlsfarm.Edit) [][]byte { return wire(root.Intermediate("Intermediate", e).Issue("leaf")) }
	past, future := tlsfarm.NewAuthority("Root", expired), tlsfarm.NewAuthority("Root", notYetValid)

	// Times are as in the certificate, after U for UTCTime or G for GeneralizedTime.
	written := func(begin, end string) [][]byte {
		field := func(s string) asn1.RawValue {
			return asn1.RawValue{Tag: map[byte]int{'U': asn1.TagUTCTime, 'G': asn1.TagGeneralizedTime}[s[0]], Bytes: []byte(s[1:])}
		}
		return wire(remake(leaf, key, crypto.SHA256, func(f *fields) { f.Validity = asDER([]asn1.RawValue{field(begin), field(end)}) }))
	}
	const begin, end = "U260101000000Z", "U270101000000Z"
	const noTime = "crypto/x509 does not parse the certificate; OpenSSL rejects only the time, though since 3.5 it does not parse all of them"

	return under(root, 2, []Scene{
		{Name: "leaf expired", Chain: wire(root.Issue("leaf", expired)), Want: "cert_expired@0"},
		{Name: "leaf not yet valid", Chain: wire(root.Issue("leaf", notYetValid)), Want: "cert_not_yet_valid@0"},
		{Name: "intermediate expired", Chain: below(expired), Want: "cert_expired@1", Length: 3},
		{Name: "intermediate not yet valid", Chain: below(notYetValid), Want: "cert_not_yet_valid@1", Length: 3},
		{Name: "root expired", Chain: wire(past.Issue("leaf")), Roots: certs(past), Want: "cert_expired@1"},
		{Name: "root not yet valid", Chain: wire(future.Issue("leaf")), Roots: certs(future), Want: "cert_not_yet_valid@1"},
		{Name: "all expired", Chain: wire(past.Intermediate("Intermediate", expired).Issue("leaf", expired)), Roots: certs(past), Want: "cert_expired@0 cert_expired@1 cert_expired@2", Length: 3},
		{Name: "self-signed and expired", Chain: wire(tlsfarm.SelfSigned("self", expired)), Want: "self_signed@0 cert_expired@0", Length: 1, Untrusted: true},
		{Name: "leaf expired, intermediate not yet valid", Chain: wire(root.Intermediate("Intermediate", notYetValid).Issue("leaf", expired)), Want: "cert_expired@0 cert_not_yet_valid@1", Length: 3, OpenSSL: []string{"9@1"}, Because: "OpenSSL checks from the root downwards, and openssl verify stops at a certificate that is not yet valid"},
		{Name: "one second too early", Chain: wire(leaf), At: leaf.NotBefore.Add(-time.Second), Want: "cert_not_yet_valid@0"},
		{Name: "the first second", Chain: wire(leaf), At: leaf.NotBefore},
		{Name: "the last second", Chain: wire(leaf), At: leaf.NotAfter, OpenSSL: []string{"10@0"}, Because: "the last second is valid in RFC 5280 and crypto/x509, but not in OpenSSL"},
		{Name: "one second too late", Chain: wire(leaf), At: leaf.NotAfter.Add(time.Second), Want: "cert_expired@0"},

		{Name: "notAfter before notBefore", Chain: written(end, begin), At: noon, Want: "cert_expired@0", OpenSSL: []string{"9@0"}, Because: "both dates are wrong, and OpenSSL checks notBefore first"},
		{Name: "GeneralizedTime before 2050", Chain: written("G20260101000000Z", "G20270101000000Z"), At: noon},
		{Name: "GeneralizedTime in 1900", Chain: written("G19000101000000Z", end), At: noon},
		{Name: "UTCTime in 1950", Chain: written("U500101000000Z", end), At: noon},
		{Name: "UTCTime in 2049", Chain: written(begin, "U491231235959Z"), At: midnight(2049, 12, 31)},
		{Name: "UTCTime in 1950 instead of 2050", Chain: written(begin, "U500101000000Z"), At: noon, Want: "cert_expired@0"},
		{Name: "no expiry", Chain: written(begin, "G99991231235959Z"), At: midnight(2060, 1, 1)},
		{Name: "UTCTime without seconds", Chain: written("U2601010000Z", end), At: noon, OpenSSL: []string{"13@0", "unreadable"}, Because: whyLooseDates},
		{Name: "UTCTime without seconds at the end", Chain: written(begin, "U2701010000Z"), At: noon, OpenSSL: []string{"14@0", "unreadable"}, Because: whyLooseDates},
		{Name: "UTCTime with a time zone", Chain: written("U260101000000+0100", end), At: noon, OpenSSL: []string{"13@0"}, Because: whyLooseDates},
		{Name: "GeneralizedTime with a time zone", Chain: written("G20260101000000-0500", end), At: noon, OpenSSL: []string{"13@0"}, Because: whyLooseDates},
		{Name: "GeneralizedTime with fractions of a second", Chain: written("G20260101000000.5Z", end), At: noon, ParseError: "x509: malformed GeneralizedTime", OpenSSL: []string{"13@0"}, Because: noTime},
		{Name: "UTCTime without a time zone", Chain: written("U260101000000", end), At: noon, ParseError: "x509: malformed UTCTime", OpenSSL: []string{"13@0", "unreadable"}, Because: noTime},
		{Name: "30 February", Chain: written("U260230000000Z", end), At: noon, ParseError: "x509: malformed UTCTime", OpenSSL: []string{"13@0"}, Because: noTime},
		{Name: "24:00", Chain: written(begin, "U261231240000Z"), At: noon, ParseError: "x509: malformed UTCTime", OpenSSL: []string{"14@0"}, Because: noTime},
		{Name: "not a time", Chain: written(begin, "Unever"), At: noon, ParseError: "x509: malformed UTCTime", OpenSSL: []string{"14@0", "unreadable"}, Because: noTime},
	})
}

func hostNames() []Scene {
	root := tlsfarm.NewAuthority("Root")
	issue := func(commonName string, edits ...tlsfarm.Edit) [][]byte { return wire(root.Issue(commonName, edits...)) }
	named := func(names ...string) [][]byte { return issue("leaf", tlsfarm.Names(names...)) }
	thousand := make([]string, 1000)
	for i := range thousand {
		thousand[i] = fmt.Sprintf("n%03d.example", i)
	}
	mail := edit(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.example"} })

	return under(root, 2, []Scene{
		{Name: "another name", Chain: named("a.example"), Want: "hostname_mismatch@0"},
		{Name: "another name, and expired", Chain: issue("leaf", expired), Host: "other.example", Want: "cert_expired@0 hostname_mismatch@0", OpenSSL: []string{"62@0"}, Because: whyNamesFirst},
		{Name: "upper case", Chain: named("WWW.example.COM"), Host: "www.EXAMPLE.com"},
		{Name: "1,000 names, the right one last", Chain: named(append(slices.Clone(thousand[1:]), "localhost")...)},
		{Name: "1,000 names, none of them right", Chain: named(thousand...), Want: "hostname_mismatch@0"},
		{Name: "wildcard", Chain: named("*.a.example"), Host: "www.a.example"},
		{Name: "wildcard for two labels", Chain: named("*.a.example"), Host: "w.w.a.example", Want: "hostname_mismatch@0"},
		{Name: "wildcard for its domain", Chain: named("*.a.example"), Host: "a.example", Want: "hostname_mismatch@0"},
		{Name: "wildcard of a top-level domain", Chain: named("*.example"), Host: "a.example", OpenSSL: []string{"62@0"}, Because: "OpenSSL requires two dots after the star"},
		{Name: "wildcard in the middle", Chain: named("www.*.example"), Host: "www.a.example", Want: "hostname_mismatch@0"},
		{Name: "wildcard for part of a label", Chain: named("w*.a.example"), Host: "www.a.example", Want: "hostname_mismatch@0", OpenSSL: []string{"ok"}, Because: "in RFC 9525 and crypto/x509 a star stands for a whole label"},
		{Name: "star alone", Chain: named("*"), Want: "hostname_mismatch@0"},
		{Name: "underscore", Chain: named("a_b.example"), Host: "a_b.example"},
		{Name: "underscore under a wildcard", Chain: named("*.a.example"), Host: "a_b.a.example", OpenSSL: []string{"62@0"}, Because: "in OpenSSL a star does not match underscores"},
		{Name: "IDNA", Chain: named("xn--mnchen-3ya.example"), Host: "xn--mnchen-3ya.example"},
		{Name: "IDNA under a wildcard", Chain: named("*.a.example"), Host: "xn--mnchen-3ya.a.example"},
		{Name: "IDNA, host name in Unicode", Chain: named("xn--mnchen-3ya.example"), Host: "münchen.example", Want: "hostname_mismatch@0"},
		{Name: "final dot in the host name", Chain: named("a.example"), Host: "a.example.", OpenSSL: []string{"62@0"}, Because: "crypto/x509 removes the dot, OpenSSL leaves that to its callers"},
		{Name: "final dot in the certificate", Chain: named("a.example."), Host: "a.example", Want: "hostname_mismatch@0"},
		{Name: "NUL in the name", Chain: named("localhost\x00.example"), Want: "hostname_mismatch@0"},
		{Name: "address", Chain: issue("leaf", addresses("192.0.2.1")), Host: "192.0.2.1"},
		{Name: "IPv6 address", Chain: issue("leaf", addresses("2001:db8::1")), Host: "2001:DB8:0::1"},
		{Name: "IPv4 address in IPv6 notation", Chain: issue("leaf", addresses("192.0.2.1")), Host: "::ffff:192.0.2.1", OpenSSL: []string{"64@0"}, Because: "to Go both are the same address; OpenSSL compares bytes"},
		{Name: "another address", Chain: issue("leaf", addresses("192.0.2.1")), Host: "192.0.2.2", Want: "hostname_mismatch@0"},
		{Name: "address as a DNS name", Chain: named("192.0.2.1"), Host: "192.0.2.1", Want: "hostname_mismatch@0"},
		{Name: "address as the common name", Chain: issue("192.0.2.1", tlsfarm.Names()), Host: "192.0.2.1", Want: "hostname_mismatch@0"},
		{Name: "only a common name", Chain: issue("localhost", tlsfarm.Names()), Want: "hostname_mismatch@0", OpenSSL: []string{"ok"}, Because: whyCommonNames},
		{Name: "common name and an address", Chain: issue("localhost", addresses("127.0.0.1")), Want: "hostname_mismatch@0", OpenSSL: []string{"ok"}, Because: whyCommonNames},
		{Name: "common name and an e-mail address", Chain: issue("localhost", tlsfarm.Names(), mail), Want: "hostname_mismatch@0", OpenSSL: []string{"ok"}, Because: whyCommonNames},
		{Name: "common name and another DNS name", Chain: issue("localhost", tlsfarm.Names("a.example")), Want: "hostname_mismatch@0"},
	})
}

func usagesAndExtensions() []Scene {
	key := ecKey()
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(key))
	issue := func(edits ...tlsfarm.Edit) [][]byte { return wire(root.Issue("leaf", edits...)) }
	below := func(edits ...tlsfarm.Edit) [][]byte {
		return wire(root.Intermediate("Intermediate", edits...).Issue("leaf"))
	}
	inFarm := edit(func(c *x509.Certificate) { c.Subject.Organization = []string{"Farm"} })
	ofDirectory := tlsfarm.NewAuthority("Root", directoryNames)
	forClients, withUnknown := tlsfarm.NewAuthority("Root", clientOnly), tlsfarm.NewAuthority("Root", unknownExt)
	keyUsage := func(u x509.KeyUsage) tlsfarm.Edit { return func(c *x509.Certificate) { c.KeyUsage = u } }
	unknownUsage := edit(func(c *x509.Certificate) {
		c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
	})
	policy := extension(true, "\x30\x06\x30\x04\x06\x02\x2a\x03", 2, 5, 29, 32)
	twoKeyUsages := remake(root.Issue("leaf").Leaf, key, crypto.SHA256, func(f *fields) { f.Extensions = append(f.Extensions, f.Extensions[0]) })
	const notAny = "in OpenSSL any usage does not include that of a server"

	return under(root, 2, []Scene{
		{Name: "for clients", Chain: issue(clientOnly), Want: "wrong_key_usage@0"},
		{Name: "for any usage", Chain: issue(usages(x509.ExtKeyUsageAny)), OpenSSL: []string{"26@0"}, Because: notAny},
		{Name: "for unrestricted usage", Chain: issue(usages())},
		{Name: "for an unknown usage", Chain: issue(unknownUsage), Want: "wrong_key_usage@0"},
		{Name: "for Server Gated Cryptography", Chain: issue(usages(x509.ExtKeyUsageNetscapeServerGatedCrypto)), Want: "wrong_key_usage@0", OpenSSL: []string{"ok"}, Because: "OpenSSL still accepts this usage from the 1990s for servers"},
		{Name: "with only the key usage of a CA", Chain: issue(keyUsage(x509.KeyUsageCertSign)), OpenSSL: []string{"26@0"}, Because: "crypto/x509 ignores the key usage of the leaf"},
		{Name: "for unrestricted key usage", Chain: issue(keyUsage(0))},
		{Name: "intermediate for clients", Chain: below(clientOnly), Want: "wrong_key_usage@1", Length: 3},
		{Name: "intermediate for servers", Chain: below(usages(x509.ExtKeyUsageServerAuth)), Length: 3},
		{Name: "intermediate for any usage", Chain: below(usages(x509.ExtKeyUsageAny)), Length: 3, OpenSSL: []string{"26@1"}, Because: notAny},
		{Name: "root for clients", Chain: wire(forClients.Issue("leaf")), Roots: certs(forClients), Want: "wrong_key_usage@1"},

		{Name: "unknown critical extension", Chain: issue(unknownExt), Want: "unhandled_critical_extension@0"},
		{Name: "unknown critical extension of the intermediate", Chain: below(unknownExt), Want: "unhandled_critical_extension@1", Length: 3},
		{Name: "unknown critical extension of the root", Chain: wire(withUnknown.Issue("leaf")), Roots: certs(withUnknown), Want: "unhandled_critical_extension@1"},
		{Name: "constraints on directory names of the root", Chain: wire(ofDirectory.Issue("leaf", inFarm)), Roots: certs(ofDirectory), Want: "unhandled_critical_extension@1", OpenSSL: []string{"ok"}, Because: whyDirectory},
		{Name: "unknown critical extension of the root, presented", Chain: wire(withUnknown.Issue("leaf"), withUnknown), Roots: certs(withUnknown), Want: "unhandled_critical_extension@1"},
		{Name: "unknown extension", Chain: issue(extension(false, "\x05\x00", 1, 2, 3, 4))},
		{Name: "precertificate", Chain: issue(extension(true, "\x05\x00", 1, 3, 6, 1, 4, 1, 11129, 2, 4, 3)), Want: "unhandled_critical_extension@0"},
		{Name: "must staple", Chain: issue(extension(false, "\x30\x03\x02\x01\x05", 1, 3, 6, 1, 5, 5, 7, 1, 24))},
		{Name: "critical policy", Chain: issue(policy)},
		{Name: "policy required", Chain: wire(root.Intermediate("Intermediate", explicitPolicy, policy).Issue("leaf", policy)), Length: 3},
		{Name: "policy required and missing", Chain: below(explicitPolicy), Want: "malformed_certificate@0", Length: 3, OpenSSL: []string{"ok"}, Because: "OpenSSL checks policies only on request"},
		{Name: "duplicate extension", Chain: wire(twoKeyUsages), ParseError: "x509: certificate contains duplicate extension", OpenSSL: []string{"20@0"}, Because: "OpenSSL finds no issuer for a certificate with invalid extensions"},
		{Name: "many faults", Chain: wire(
			root.Intermediate("Upper", pathLen(0), clientOnly, unknownExt, expired).Intermediate("Lower", notCA).Issue("leaf", expired, tlsfarm.Names("a.example")),
		), Want: "not_a_ca@1 path_length_exceeded@2 cert_expired@0 cert_expired@2 hostname_mismatch@0 wrong_key_usage@2 unhandled_critical_extension@2", Length: 4, OpenSSL: []string{"79@1 26@1 34@2 26@2 25@2 62@0"}, Because: whyTwice + ", and " + whyNamesFirst},
	})
}

// directoryNames permits the directory name O=Farm (RFC 5280, section 4.2.1.10).
var directoryNames = extension(true, "\x30\x17\xa0\x15\x30\x13\xa4\x11\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x0a\x0c\x04Farm", 2, 5, 29, 30)

func constrainedNames() []Scene {
	root, limited := tlsfarm.NewAuthority("Root"), tlsfarm.NewAuthority("Root", permits("b.example"))
	below := func(ca tlsfarm.Edit, commonName string, edits ...tlsfarm.Edit) [][]byte {
		return wire(root.Intermediate("Intermediate", ca).Issue(commonName, edits...))
	}
	excludes := func(domain string) tlsfarm.Edit {
		return func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{domain} }
	}
	_, network, err := net.ParseCIDR("192.0.2.0/24")
	if err != nil {
		panic(err)
	}
	permitsIP := edit(func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{network} })
	excludesIP := edit(func(c *x509.Certificate) { c.ExcludedIPRanges = []*net.IPNet{network} })
	permitsURI := edit(func(c *x509.Certificate) { c.PermittedURIDomains = []string{"b.example"} })
	permitsMail := edit(func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"b.example"} })
	both := edit(func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.ExcludedDNSDomains = []string{"example"}, []string{"a.example"}
	})
	withURI := edit(func(c *x509.Certificate) { c.URIs = []*url.URL{uri("https://a.example/")} })
	withMail := edit(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@a.example"} })
	withOrganization := edit(func(c *x509.Certificate) { c.Subject.Organization = []string{"Farm"} })
	a := tlsfarm.Names("a.example")
	const commonNameToo = whyCommonNames + ", also for name constraints"

	scenes := under(root, 3, []Scene{
		{Name: "permitted", Chain: below(permits("example"), "leaf", a)},
		{Name: "permitted with a dot", Chain: below(permits(".example"), "leaf", a)},
		{Name: "permitted with a dot, the domain itself", Chain: below(permits(".a.example"), "leaf", a), Want: "name_constraint_violation@0"},
		{Name: "permitted in upper case", Chain: below(permits("A.EXAMPLE"), "leaf", a)},
		{Name: "permitted for a wildcard", Chain: below(permits("example"), "leaf", tlsfarm.Names("a.example", "*.a.example"))},
		{Name: "not permitted", Chain: below(permits("b.example"), "leaf", a), Want: "name_constraint_violation@0"},
		{Name: "not permitted, but the same suffix", Chain: below(permits("xample"), "leaf", a), Want: "name_constraint_violation@0"},
		{Name: "not permitted for one of two", Chain: below(permits("a.example"), "leaf", tlsfarm.Names("a.example", "b.example")), Want: "name_constraint_violation@0"},
		{Name: "not permitted by the root", Chain: wire(limited.Issue("leaf", a)), Roots: certs(limited), Want: "name_constraint_violation@0", Length: 2},
		{Name: "not permitted, another name, expired", Chain: below(permits("b.example"), "leaf", tlsfarm.Names("c.example"), expired), Want: "cert_expired@0 hostname_mismatch@0 name_constraint_violation@0", OpenSSL: []string{"62@0"}, Because: whyNamesFirst},
		{Name: "not permitted for an intermediate", Chain: wire(root.Intermediate("Upper", permits("a.example")).Intermediate("Lower", tlsfarm.Names("b.example")).Issue("leaf", a)), Want: "name_constraint_violation@1", Length: 4},
		{Name: "excluded for an intermediate", Chain: wire(root.Intermediate("Upper", excludes("b.example")).Intermediate("Lower", tlsfarm.Names("b.example")).Issue("leaf", a)), Want: "name_constraint_violation@1", Length: 4},
		{Name: "URI excluded", Chain: below(edit(func(c *x509.Certificate) { c.ExcludedURIDomains = []string{"a.example"} }), "leaf", a, withURI), Want: "name_constraint_violation@0"},
		{Name: "e-mail address excluded", Chain: below(edit(func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"a@a.example"} }), "leaf", a, withMail), Want: "name_constraint_violation@0"},
		{Name: "not permitted under an unknown root", Chain: below(permits("b.example"), "leaf", a), Roots: certs(tlsfarm.NewAuthority("Other")), Want: "untrusted_ca@1 name_constraint_violation@0", Length: 2, Untrusted: true},
		{Name: "not excluded", Chain: below(excludes("b.example"), "leaf", a)},
		{Name: "excluded", Chain: below(excludes("a.example"), "leaf", a), Want: "name_constraint_violation@0"},
		{Name: "permitted and excluded", Chain: below(both, "leaf", a), Want: "name_constraint_violation@0"},
		{Name: "excluded name matched by a wildcard", Chain: below(excludes("b.a.example"), "leaf", tlsfarm.Names("a.example", "*.a.example")), Want: "name_constraint_violation@0", OpenSSL: []string{"ok"}, Because: "in OpenSSL the star is a label like any other"},
		{Name: "address permitted", Chain: below(permitsIP, "leaf", addresses("192.0.2.1")), Host: "192.0.2.1"},
		{Name: "address not permitted", Chain: below(permitsIP, "leaf", addresses("198.51.100.1")), Host: "198.51.100.1", Want: "name_constraint_violation@0"},
		{Name: "address not excluded", Chain: below(excludesIP, "leaf", addresses("198.51.100.1")), Host: "198.51.100.1"},
		{Name: "address excluded", Chain: below(excludesIP, "leaf", addresses("192.0.2.1")), Host: "192.0.2.1", Want: "name_constraint_violation@0"},
		{Name: "address, DNS names constrained", Chain: below(permits("b.example"), "leaf", addresses("192.0.2.1")), Host: "192.0.2.1"},
		{Name: "URI not permitted", Chain: below(permitsURI, "leaf", a, withURI), Want: "name_constraint_violation@0"},
		{Name: "e-mail address not permitted", Chain: below(permitsMail, "leaf", a, withMail), Want: "name_constraint_violation@0"},
		{Name: "only a common name, permitted", Chain: below(permits("example"), "a.example", tlsfarm.Names()), Want: "hostname_mismatch@0", OpenSSL: []string{"ok"}, Because: commonNameToo},
		{Name: "only a common name, not permitted", Chain: below(permits("b.example"), "a.example", tlsfarm.Names()), Want: "hostname_mismatch@0", OpenSSL: []string{"47@0"}, Because: commonNameToo},
		{Name: "directory name permitted", Chain: below(directoryNames, "leaf", a, withOrganization), Want: "unhandled_critical_extension@1", OpenSSL: []string{"ok"}, Because: whyDirectory},
	})
	for i := range scenes {
		s := &scenes[i]
		s.Name = "name constraints: " + s.Name
		if s.Host == "" {
			s.Host = "a.example"
		}
	}
	return scenes
}

func encodings() []Scene {
	key := ecKey()
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(key))
	leaf, inter := root.Issue("leaf").Leaf, root.Intermediate("Intermediate")
	changed := func(change func(*fields)) [][]byte { return wire(remake(leaf, key, crypto.SHA256, change)) }
	serial := func(content string) func(*fields) {
		return func(f *fields) { f.Serial = asn1.RawValue{Tag: asn1.TagInteger, Bytes: []byte(content)} }
	}
	san := func(tag int, value string) [][]byte {
		return changed(func(f *fields) {
			f.name(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("localhost")}, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)})
		})
	}
	var raw rawCertificate
	must(asn1.Unmarshal(leaf.Raw, &raw))
	truth := signed(bytes.Replace(leaf.RawTBSCertificate, []byte("\x01\x01\xff"), []byte("\x01\x01\x01"), 1), raw.Algorithm, key, crypto.SHA256)
	// The outermost SEQUENCE with an indefinite length, as BER allows.
	indefinite := slices.Concat([]byte("\x30\x80"), leaf.Raw[4:], []byte("\x00\x00"))
	const negative = "RFC 5280 forbids it, and crypto/x509 has rejected it since Go 1.23; OpenSSL accepts it"

	return under(root, 2, []Scene{
		{Name: "serial number 0", Chain: changed(serial("\x00"))},
		{Name: "serial number of 40 bytes", Chain: changed(serial("\x01" + strings.Repeat("\xab", 39)))},
		{Name: "negative serial number", Chain: changed(serial("\x80")), ParseError: "x509: negative serial number", OpenSSL: []string{"ok"}, Because: negative},
		{Name: "negative serial number of the intermediate", Chain: wire(inter.Issue("leaf").Leaf, remake(inter.Certificate, key, crypto.SHA256, func(f *fields) { f.Serial = asDER(big.NewInt(-7)) })), ParseError: "x509: negative serial number", OpenSSL: []string{"ok"}, Because: negative},
		{Name: "serial number with a superfluous zero", Chain: changed(serial("\x00\x01")), ParseError: "x509: malformed serial number"},
		{Name: "no serial number", Chain: changed(serial("")), ParseError: "x509: malformed serial number"},
		{Name: "negative serial number of the root", Chain: wire(leaf), Roots: certs(tlsfarm.NewAuthority("Other")), Unreadable: wire(remake(root.Certificate, key, crypto.SHA256, func(f *fields) { f.Serial = asDER(big.NewInt(-7)) })), Want: "malformed_certificate@0", Length: 1, Untrusted: true, OpenSSL: []string{"ok"}, Because: negative},
		{Name: "version 2 with extensions", Chain: changed(func(f *fields) { f.Version = 1 }), Want: "hostname_mismatch@0", OpenSSL: []string{"ok"}, Because: "crypto/x509 ignores extensions before version 3, OpenSSL does not"},
		{Name: "version 4", Chain: changed(func(f *fields) { f.Version = 3 }), ParseError: "x509: invalid version", OpenSSL: []string{"ok"}, Because: whyStrict},
		{Name: "version 3 without extensions", Chain: changed(func(f *fields) { f.Extensions = nil }), Want: "hostname_mismatch@0"},
		{Name: "unique identifiers", Chain: changed(func(f *fields) { f.IssuerID = asn1.BitString{Bytes: []byte{1}, BitLength: 8} })},
		{Name: "DNS name in UTF-8", Chain: san(2, "münchen.example"), ParseError: "x509: SAN dNSName is malformed", OpenSSL: []string{"ok"}, Because: whyStrict},
		{Name: "address of five bytes", Chain: san(7, "12345"), ParseError: "x509: cannot parse IP address of length 5", OpenSSL: []string{"ok"}, Because: whyStrict},
		{Name: "BOOLEAN that is not FF", Chain: wire(truth), ParseError: "x509: malformed", OpenSSL: []string{"ok"}, Because: whyStrict},
		{Name: "indefinite length", Chain: wire(indefinite), ParseError: "x509: malformed certificate", OpenSSL: []string{"ok"}, Because: whyStrict},
		{Name: "trailing bytes", Chain: wire(append(slices.Clone(leaf.Raw), 0)), ParseError: "x509: trailing data", OpenSSL: []string{"ok"}, Because: whyStrict},
		{Name: "truncated", Chain: wire(leaf.Raw[:len(leaf.Raw)-1]), ParseError: "x509: malformed certificate"},
		{Name: "not a certificate", Chain: wire([]byte("hello")), ParseError: "x509: malformed certificate"},
	})
}

// commonNameTests have common names of every string type.
var commonNameTests = []struct {
	name       string
	tag        int
	value      string
	shown      string // the result of SubjectName and text.Clean with 64 bytes
	parseError string // of crypto/x509
	openssl    []string
}{
	{name: "UTF-8", tag: asn1.TagUTF8String, value: "münchen 例え", shown: "münchen 例え"},
	{name: "invalid UTF-8", tag: asn1.TagUTF8String, value: "m\xfcnchen", parseError: "invalid UTF-8 string"},
	{name: "half of a surrogate pair", tag: asn1.TagUTF8String, value: "\xed\xa0\x80", parseError: "invalid UTF-8 string"},
	{name: "NUL", tag: asn1.TagUTF8String, value: "localhost\x00.example", shown: "localhost�.example"},
	{name: "control characters", tag: asn1.TagUTF8String, value: "a\r\nb\x1b[2J\x7f\u0085\u009b", shown: "a��b�[2J���"},
	{name: "long", tag: asn1.TagUTF8String, value: strings.Repeat("ü", 5000), shown: strings.Repeat("ü", 30) + "…"},
	{name: "empty", tag: asn1.TagUTF8String, shown: "localhost"},
	{name: "T61String", tag: asn1.TagT61String, value: "m\xfcnchen", shown: "münchen"},
	{name: "T61String of control characters", tag: asn1.TagT61String, value: "a\x1b[2J\x85\x9b", shown: "a�[2J��"},
	{name: "BMPString", tag: asn1.TagBMPString, value: "\x00m\x00\xfc\x4f\x8b", shown: "mü例"},
	{name: "BMPString of control characters", tag: asn1.TagBMPString, value: "\x00a\x00\x1b\x00\x00\x00\x85\x00b", shown: "a���b"},
	{name: "BMPString of half of a surrogate pair", tag: asn1.TagBMPString, value: "\xd8\x3d", parseError: "invalid BMPString"},
	{name: "BMPString of half of a character", tag: asn1.TagBMPString, value: "\x00", parseError: "invalid BMPString"},
	{name: "UniversalString", tag: 28, value: "\x00\x00\x00a", parseError: "unsupported string type", openssl: []string{"ok"}},
	{name: "PrintableString with a star", tag: asn1.TagPrintableString, value: "*.example", shown: "*.example"},
	{name: "PrintableString with an underscore", tag: asn1.TagPrintableString, value: "a_b", parseError: "invalid PrintableString", openssl: []string{"ok"}},
	{name: "IA5String", tag: asn1.TagIA5String, value: "a@b", shown: "a@b"},
	{name: "IA5String with 8 bits", tag: asn1.TagIA5String, value: "a\xfc", parseError: "invalid IA5String", openssl: []string{"ok"}},
	{name: "NumericString", tag: asn1.TagNumericString, value: "1 2", shown: "1 2"},
	{name: "number", tag: asn1.TagInteger, value: "\x05", parseError: "unsupported string type"},
}

// commonNameScenes returns chains with these names in the leaf and its issuer.
func commonNameScenes() (scenes []Scene) {
	key, interKey := ecKey(), ecKey()
	root := tlsfarm.NewAuthority("Root", tlsfarm.Key(key))
	inter := root.Intermediate("Intermediate", tlsfarm.Key(interKey))
	leaf := inter.Issue("leaf").Leaf
	nameless := tlsfarm.NewAuthority("", edit(func(c *x509.Certificate) { c.Subject = pkix.Name{} }))
	for _, tt := range commonNameTests {
		cn := pkix.RelativeDistinguishedNameSET{{Type: []int{2, 5, 4, 3}, Value: asn1.RawValue{Tag: tt.tag, Bytes: []byte(tt.value)}}}
		org := pkix.RelativeDistinguishedNameSET{{Type: []int{2, 5, 4, 10}, Value: "Leaf"}} // so that it is not self-issued
		s := Scene{Name: "common names: " + tt.name, OpenSSL: tt.openssl, Chain: wire(
			remake(leaf, interKey, crypto.SHA256, func(f *fields) {
				f.Subject, f.Issuer = asDER(pkix.RDNSequence{org, cn}), asDER(pkix.RDNSequence{cn})
			}),
			remake(inter.Certificate, key, crypto.SHA256, func(f *fields) { f.Subject = asDER(pkix.RDNSequence{cn}) }),
		)}
		if tt.parseError != "" {
			s.ParseError = "x509: invalid RDNSequence: invalid attribute value: " + tt.parseError
		}
		if tt.openssl != nil {
			s.Because = "OpenSSL does not check the characters of a name"
		}
		scenes = append(scenes, s)
	}
	return under(root, 3, append(scenes,
		Scene{Name: "empty subject", Chain: wire(inter.Issue("", edit(func(c *x509.Certificate) { c.Subject = pkix.Name{} })))},
		Scene{Name: "empty subject of the root", Chain: wire(nameless.Issue("leaf")), Roots: certs(nameless), Length: 2},
		Scene{Name: "empty subject of an unknown root", Chain: wire(nameless.Issue("leaf")), Want: "untrusted_ca@0", Length: 1, Untrusted: true},
	))
}

// Parse parses the chain, and returns the first error.
func (s Scene) Parse() (chain []*x509.Certificate, err error) {
	for _, der := range s.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// Verdict returns our verdict. Host and At must be set.
func (s Scene) Verdict(t *testing.T) *Verdict {
	t.Helper()
	chain, err := s.Parse()
	require.NoError(t, err)
	return Verify(chain, newRoots(s.Roots, s.Unreadable...), s.Host, s.At)
}

// Complete returns the scene with Host and At set.
func (s Scene) Complete() Scene {
	if s.Host == "" {
		s.Host = "localhost"
	}
	if s.At.IsZero() {
		s.At = time.Now()
	}
	return s
}

func TestCorpus(t *testing.T) {
	for _, s := range Corpus() {
		t.Run(s.Name, func(t *testing.T) {
			s = s.Complete()
			if s.ParseError != "" {
				_, err := s.Parse()
				assert.ErrorContains(t, err, s.ParseError)
				return
			}
			v := s.Verdict(t)
			assertSound(t, v, s.Roots)
			assert.Equal(t, s.Want, summary(v.Reasons))
			assert.Equal(t, s.Warnings, summary(v.Warnings))
			assert.Equal(t, !s.Untrusted, v.Trusted)
			assert.Len(t, v.Chain, s.Length)

			if v.Valid() {
				// With one fault, other code judges the rest of the chain, and must agree.
				s.Host = "elsewhere.invalid"
				elsewhere := s.Verdict(t)
				assert.Equal(t, "hostname_mismatch@0", summary(elsewhere.Reasons))
				assert.Equal(t, s.Warnings, summary(elsewhere.Warnings))
				assert.Equal(t, v.Chain, elsewhere.Chain)
			}
		})
	}
}

func TestNamesInTheCorpusAreCleaned(t *testing.T) {
	cleaned := map[string][]string{}
	for _, s := range Corpus() {
		chain, _ := s.Parse()
		for _, c := range chain {
			for _, name := range append([]string{SubjectName(c), IssuerName(c)}, Names(c)...) {
				clean := text.Clean(name, 64)
				assertClean(t, clean, 64)
				cleaned[s.Name] = append(cleaned[s.Name], clean)
			}
		}
	}
	for _, tt := range commonNameTests {
		if tt.parseError == "" {
			require.NotEmpty(t, cleaned["common names: "+tt.name])
			assert.Equal(t, tt.shown, cleaned["common names: "+tt.name][0], tt.name)
		}
	}
}
