package probe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

// presentTo makes the target present a client certificate.
func presentTo(tt *target.Target, c tls.Certificate) {
	tt.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
}

// badClientCert is a client certificate that something is wrong with.
type badClientCert struct {
	cert  tls.Certificate
	typ   failure.Type   // of a refusal
	also  []failure.Type // the other reasons
	warns []failure.Type
	says  []string // in the cause and the fix, and in the problems
	fixed tls.Certificate
}

// badClientCerts returns a certificate with each problem, for a server that trusts clients.
func badClientCerts(clients *tlsfarm.Authority) map[string]badClientCert {
	serverOnly := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	cannotSign := func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }
	expired, notYetValid := tlsfarm.Validity(-2*day, -day-time.Hour), tlsfarm.Validity(2*day+time.Hour, 90*day)
	weakKey := tlsfarm.Key(tlsfarm.RSAKey(1024))
	fromElsewhere := func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"http://pki.example/ca.crt"} }
	issuer := clients.Intermediate("Client Issuer")
	strangers := tlsfarm.NewAuthority("Strangers")
	good := issuer.Issue("prober")
	oldIssuer := clients.Intermediate("Client Issuer", expired)
	limited := clients.Intermediate("Servers Only", serverOnly)
	on := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.DateOnly) }
	complete := issuer.Issue("prober", fromElsewhere)
	lone := complete
	lone.Certificate = complete.Certificate[:1]
	twin := clients.Intermediate("Client Issuer")
	twin.Certificate.SubjectKeyId = nil // so that no key identifier shows whose certificate it is
	mixed := twin.Issue("prober")
	twins := mixed
	mixed.Certificate = [][]byte{mixed.Certificate[0], issuer.Certificate.Raw}
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
	}
	noCA := clients.Intermediate("No CA", func(c *x509.Certificate) { c.IsCA = false })
	short := clients.Intermediate("Short", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	constrained := clients.Intermediate("Constrained", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"in.example"} })
	anyUsage := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }
	return map[string]badClientCert{
		"expired": {
			cert: issuer.Issue("prober", expired), typ: failure.ClientCertExpired,
			says: []string{" expired on " + on(-day-time.Hour), "25 hours ago by the collector's clock", "Renew the certificate in cert_file."}, fixed: good,
		},
		"not yet valid": {
			cert: issuer.Issue("prober", notYetValid), typ: failure.ClientCertNotYetValid,
			says: []string{" is not valid before " + on(2*day+time.Hour), "in 2 days by the collector's clock", "Use a certificate that is already valid"}, fixed: good,
		},
		"for servers only": {
			cert: issuer.Issue("prober", serverOnly), typ: failure.UnsupportedCertificate,
			says: []string{" has extended key usages, but not clientAuth", "with the extended key usage clientAuth"}, fixed: good,
		},
		"without digitalSignature": {
			cert: issuer.Issue("prober", cannotSign), typ: failure.UnsupportedCertificate,
			says: []string{" has key usages, but not digitalSignature", "the key usage digitalSignature"}, fixed: good,
		},
		"of another CA": {
			cert: strangers.Issue("prober"), typ: failure.UnknownCA,
			says: []string{`The list of CAs that the server accepts does not include "Strangers", and cert_file does not have the certificate of "Strangers".`, "Otherwise use a certificate from a CA that the server accepts, or add"}, fixed: good,
		},
		"self-signed": {
			cert: tlsfarm.SelfSigned("prober"), typ: failure.UnknownCA,
			says: []string{`The list of CAs that the server accepts does not include "prober".`, `Use a certificate from a CA that the server accepts, or add "prober"`}, fixed: good,
		},
		"without its intermediate": {
			cert: lone, typ: failure.UnknownCA,
			says: []string{`does not have the certificate of "Client Issuer"`, `If "Client Issuer" is an intermediate below one of those CAs, add its certificate to the end of cert_file, as PEM. It can be downloaded from http://pki.example/ca.crt`}, fixed: complete,
		},
		"weak key": {
			cert: issuer.Issue("prober", weakKey), typ: failure.UnsupportedCertificate, warns: []failure.Type{failure.Type(certs.WeakKey)},
			says:  []string{" has an RSA key of 1024 bits", "an RSA key of at least 2048 bits"},
			fixed: issuer.Issue("prober", tlsfarm.Key(tlsfarm.RSAKey(2048))),
		},
		"expired intermediate": {
			cert: oldIssuer.Issue("prober"), typ: failure.ClientCertExpired,
			says: []string{`The CA certificate "Client Issuer" in cert_file expired on`, "Replace that CA certificate"}, fixed: good,
		},
		"intermediate for servers only": {
			cert: limited.Issue("prober"), typ: failure.UnsupportedCertificate,
			says: []string{`The CA certificate "Servers Only" in cert_file has extended key usages, but not clientAuth`, "Use a certificate from a CA that issues for clients"}, fixed: good,
		},
		"for any usage": {
			cert: issuer.Issue("prober", anyUsage), typ: failure.UnsupportedCertificate,
			says: []string{" has the extended key usage anyExtendedKeyUsage, but not clientAuth. Many servers refuse that", "extended key usage clientAuth"}, fixed: good,
		},
		"intermediate for any usage": {
			cert: clients.Intermediate("Any", anyUsage).Issue("prober"), typ: failure.UnsupportedCertificate,
			says: []string{`The CA certificate "Any" in cert_file has the extended key usage anyExtendedKeyUsage`, "Use a certificate from a CA that issues for clients"}, fixed: good,
		},
		"intermediate with another key": {
			cert: mixed, typ: failure.BadCertificate,
			says: []string{` was not signed with the key of the CA certificate "Client Issuer" in cert_file`, `Replace the certificate of "Client Issuer" in cert_file by the one whose key made the signature.`}, fixed: twins,
		},
		"unknown critical extension": {
			cert: issuer.Issue("prober", critical), typ: failure.BadCertificate,
			says: []string{" has the critical extension 1.2.3.4, which not every server knows.", "without marking that extension as critical"}, fixed: good,
		},
		"intermediate with an unknown critical extension": {
			cert: clients.Intermediate("Critical", critical).Issue("prober"), typ: failure.BadCertificate,
			says: []string{`The CA certificate "Critical" in cert_file has the critical extension 1.2.3.4`, "Or use a certificate from another CA."}, fixed: good,
		},
		"intermediate that is no CA": {
			cert: noCA.Issue("prober"), typ: failure.BadCertificate,
			says: []string{`The certificate "No CA" in cert_file is used as an issuer, but is not allowed to sign certificates.`, "with basicConstraints CA:TRUE"}, fixed: good,
		},
		"too many intermediates": {
			cert: short.Intermediate("Below").Issue("prober"), typ: failure.BadCertificate,
			says: []string{`The CA certificate "Short" in cert_file allows fewer intermediates below it than cert_file has.`, "Or use a certificate that this CA issued directly."}, fixed: short.Issue("prober"),
		},
		"name that is not permitted": {
			cert: constrained.Issue("prober", tlsfarm.Names("out.example")), typ: failure.BadCertificate,
			says:  []string{` has the DNS name "out.example", which the CA certificate "Constrained" in cert_file does not allow: it permits only in.example.`, "without this name"},
			fixed: constrained.Issue("prober", tlsfarm.Names("in.example")),
		},
		"everything": {
			cert: strangers.Issue("prober", expired, serverOnly, weakKey), typ: failure.ClientCertExpired,
			also:  []failure.Type{failure.UnsupportedCertificate, failure.UnknownCA},
			warns: []failure.Type{failure.ClientCertExpired, failure.UnsupportedCertificate, failure.UnknownCA, failure.Type(certs.WeakKey)},
			says:  []string{" expired on ", "but not clientAuth", `does not include "Strangers"`, "1024 bits", "Renew the certificate", "extended key usage clientAuth", "or add", "2048"}, fixed: good,
		},
	}
}

func (c *badClientCert) warnings() []failure.Type {
	if c.warns != nil {
		return c.warns
	}
	return []failure.Type{c.typ}
}

// Servers have one alert for many reasons. Whichever they send, the failure says what is wrong with our certificate.
func TestRefusalSaysWhatIsWrongWithTheClientCertificate(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	for name, c := range badClientCerts(clients) {
		for alert, typ := range map[uint8]failure.Type{40: "", 41: failure.MissingClientCert, 42: "", 43: "", 44: failure.ClientCertRevoked, 45: "", 46: "", 47: "", 48: "", 49: "", 50: "", 51: "", 116: failure.MissingClientCert} {
			t.Run(fmt.Sprintf("%s %d", name, alert), func(t *testing.T) {
				s := tlsfarm.Refusing(root.Issue("x"), clients.Pool(), tls.VersionTLS13, alert)
				t.Cleanup(s.Close)
				tt := newTarget(t, s.Endpoint())
				presentTo(tt, c.cert)
				f := probeOnce(t, tt).Failure
				require.NotNil(t, f)
				reasons := append([]failure.Type{c.typ}, c.also...)
				inTime := c.typ != failure.ClientCertExpired && c.typ != failure.ClientCertNotYetValid
				switch agrees := failure.Type(map[uint8]string{43: "unsupported_certificate", 47: "unsupported_certificate", 48: "unknown_ca"}[alert]); {
				case typ != "":
					assert.Equal(t, typ, f.Type)
					reasons = append(reasons, typ)
				case alert == 45 && inTime:
					assert.Equal(t, failure.ClientCertExpired, f.Type, "only the server says so")
					reasons = append(reasons, f.Type)
				case (alert == 48 || alert == 49) && name == "weak key":
					assert.Equal(t, map[uint8]failure.Type{48: failure.UnknownCA, 49: failure.AccessDenied}[alert], f.Type, "no server says that for a weak key")
					assert.Contains(t, f.Fix, "If the server accepts that: ", "there must be another reason")
					reasons = append(reasons, f.Type)
				case len(c.also) > 0 && agrees != "":
					assert.Equal(t, agrees, f.Type, "the alert chooses among several reasons")
				default:
					assert.Equal(t, c.typ, f.Type)
				}
				assert.ElementsMatch(t, reasons, f.Reasons)
				assert.Equal(t, failure.ClientAuth, f.Step)
				assert.Equal(t, alert == 45 && inTime, strings.Contains(f.Cause, "by the collector's clock until"), f.Cause)
				assert.Equal(t, alert == 45 && inTime, strings.Contains(f.Fix, "Compare the clocks"), f.Fix)
				assert.Regexp(t, fmt.Sprintf(`The server sent alert %d, \w+\.$`, alert), f.Cause)
				for _, say := range c.says {
					if alert == 44 && !strings.Contains(f.Cause, say) {
						assert.Equal(t, "Issue a new certificate and a new key for cert_file and key_file.", f.Fix)
						continue
					}
					assert.Contains(t, f.Cause+"\n"+f.Fix, say)
				}
			})
		}
	}
}

// Servers in Go refuse most of them. Following the fix, the probe succeeds.
func TestFixedClientCertificateIsAccepted(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	for name, c := range badClientCerts(clients) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				config := healthy()
				config.MaxVersion, config.ClientAuth, config.ClientCAs = version, tls.RequireAndVerifyClientCert, clients.Pool()
				tt := serve(t, config)
				presentTo(tt, c.cert)
				o := probeOnce(t, tt)
				if slices.Contains([]string{"weak key", "without digitalSignature", "for any usage", "intermediate for any usage"}, name) { // Go accepts these
					assert.Nil(t, o.Failure)
				} else {
					require.NotNil(t, o.Failure)
					assert.Contains(t, append(c.also, c.typ), o.Failure.Type)
				}
				assert.Equal(t, c.warnings(), failure.ClientCertWarnings(o.Handshake.ClientCertProblems))

				presentTo(tt, c.fixed)
				o = probeOnce(t, tt)
				assert.Nil(t, o.Failure)
				assert.Empty(t, o.Handshake.ClientCertProblems)
			})
		}
	}
}

// What a server accepts today is a warning.
func TestClientCertificateWarnings(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	warnings := func(t *testing.T, auth tls.ClientAuthType, c tls.Certificate) []failure.ClientCertProblem {
		config := healthy()
		config.ClientAuth, config.ClientCAs = auth, clients.Pool()
		tt := serve(t, config)
		if c.Leaf != nil {
			presentTo(tt, c)
		}
		o := probeOnce(t, tt)
		assert.Nil(t, o.Failure)
		assert.Empty(t, o.Handshake.Warnings, "those are about the server's certificate")
		return o.Handshake.ClientCertProblems
	}
	for name, c := range badClientCerts(clients) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problems := warnings(t, tls.RequireAnyClientCert, c.cert)
			assert.Equal(t, c.warnings(), failure.ClientCertWarnings(problems))
			var all []string
			for _, p := range problems {
				all = append(all, p.String())
				assert.True(t, strings.HasPrefix(p.String(), "The "), p.String())
			}
			for _, say := range c.says {
				assert.Contains(t, strings.Join(all, "\n"), say)
			}
			assert.Empty(t, warnings(t, tls.NoClientCert, c.cert), "the server does not ask for it")
		})
	}
	near := warnings(t, tls.RequireAndVerifyClientCert, clients.Issue("prober", tlsfarm.Validity(-80*day, 10*day+time.Hour)))
	require.Len(t, near, 1)
	assert.Equal(t, failure.NearExpiry, near[0].Type)
	assert.Contains(t, near[0].String(), "The client certificate expires on "+time.Now().Add(10*day+time.Hour).UTC().Format(time.DateOnly))
	assert.Contains(t, near[0].String(), "in 10 days. Renew the certificate in cert_file.")

	assert.Empty(t, warnings(t, tls.RequestClientCert, tls.Certificate{}), "many servers ask and do without")
}

// A certificate that we find nothing wrong with is said to be valid, with its names.
func TestRefusalOfAValidClientCertificate(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	good := clients.Issue("prober", tlsfarm.Names("prober.example"), tlsfarm.Validity(-80*day, 10*day)) // no server refuses it for that
	valid := fmt.Sprintf("It is valid by the collector's clock until %s: the server's clock, trust or rules are at fault. Its subject is CN=prober and its names are prober.example.",
		good.Leaf.NotAfter.UTC().Format("2006-01-02 15:04:05 MST"))
	for alert, c := range map[uint8]struct {
		typ failure.Type
		fix string
	}{
		0:   {failure.ConnectionClosed, "Check the server's clock"},
		40:  {failure.HandshakeFailure, "which client CAs it trusts"},
		42:  {failure.BadCertificate, "which clients it allows"},
		43:  {failure.UnsupportedCertificate, "a key type that the server supports"},
		45:  {failure.ClientCertExpired, "Compare the clocks"},
		46:  {failure.CertificateUnknown, "Check the server's clock"},
		47:  {failure.UnsupportedCertificate, "a key type that the server supports"},
		50:  {failure.BadCertificate, "Its log may have the reason"},
		48:  {failure.UnknownCA, "Check that this CA has the issuer's key"},
		49:  {failure.AccessDenied, "Allow the certificate's subject"},
		51:  {failure.BadCertificate, `The server most likely trusts "Clients" with another key than the one that signed the certificate.`},
		116: {failure.MissingClientCert, "with its intermediates in cert_file"},
	} {
		s := tlsfarm.Refusing(root.Issue("x"), clients.Pool(), tls.VersionTLS13, alert)
		t.Cleanup(s.Close)
		tt := newTarget(t, s.Endpoint())
		presentTo(tt, good)
		f := probeOnce(t, tt).Failure
		require.NotNil(t, f, alert)
		assert.Equal(t, c.typ, f.Type)
		assert.Equal(t, []failure.Type{c.typ}, f.Reasons)
		assert.Contains(t, f.Cause, valid)
		assert.Contains(t, f.Fix, c.fix)
		assert.Equal(t, alert == 45, strings.Contains(f.Cause, "The collector's clock is at "+time.Now().UTC().Format(time.DateOnly)), f.Cause)
	}
}

// Some keys cannot make the signature of a handshake, whatever the server accepts.
func TestClientKeyThatCannotSign(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	good := clients.Issue("prober")
	for name, c := range map[string]struct {
		key      crypto.Signer
		versions []uint16 // in which it cannot sign
		says     string
		fix      string
	}{
		"RSA 512":  {shortRSA(t, 512), []uint16{tls.VersionTLS12, tls.VersionTLS13}, "It has an RSA key of 512 bits. The collector cannot sign with RSA keys of less than 1024 bits.", "an RSA key of at least 2048 bits"},
		"RSA 768":  {shortRSA(t, 768), []uint16{tls.VersionTLS12, tls.VersionTLS13}, "It has an RSA key of 768 bits. The collector cannot sign with RSA keys of less than 1024 bits.", "an RSA key of at least 2048 bits"},
		"RSA 1000": {shortRSA(t, 1000), []uint16{tls.VersionTLS12, tls.VersionTLS13}, "It has an RSA key of 1000 bits.", "an RSA key of at least 2048 bits"},
		"P-224":    {p224, []uint16{tls.VersionTLS13}, "It has an ECDSA key on the curve P-224, with which TLS 1.3 has no signatures, and which many servers refuse in TLS 1.2.", "an ECDSA key on P-256"},
	} {
		for _, version := range c.versions {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				config := healthy()
				config.MaxVersion, config.ClientAuth, config.ClientCAs = version, tls.RequireAndVerifyClientCert, clients.Pool()
				tt := serve(t, config)
				presentTo(tt, clients.Issue("prober", tlsfarm.Key(c.key)))
				f := probeOnce(t, tt).Failure
				require.NotNil(t, f)
				assert.Equal(t, failure.UnsupportedCertificate, f.Type)
				assert.Equal(t, []failure.Type{failure.UnsupportedCertificate}, f.Reasons)
				assert.Equal(t, failure.ClientAuth, f.Step)
				assert.Contains(t, f.Cause, `the collector could not sign it with the key of the client certificate of "prober". `+c.says)
				assert.Contains(t, f.Fix, c.fix)

				presentTo(tt, good)
				assert.Nil(t, probeOnce(t, tt).Failure)
			})
		}
	}
	config := healthy()
	config.MaxVersion, config.ClientAuth, config.ClientCAs = tls.VersionTLS12, tls.RequireAndVerifyClientCert, clients.Pool()
	tt := serve(t, config)
	presentTo(tt, clients.Issue("prober", tlsfarm.Key(p224)))
	o := probeOnce(t, tt)
	assert.Nil(t, o.Failure, "Go accepts it in TLS 1.2")
	assert.Equal(t, []failure.Type{failure.UnsupportedCertificate}, failure.ClientCertWarnings(o.Handshake.ClientCertProblems))
}

// shortRSA returns an RSA key that crypto/rsa would not make.
func shortRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	t.Setenv("GODEBUG", "")
	return key
}

// A server without a list of CAs may lack an intermediate that is not sent. One with a list may have any number of names, and
// not all of them can be read.
func TestAcceptedCAsOfRefusal(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	lone := clients.Intermediate("Client Issuer").Issue("prober")
	lone.Certificate = lone.Certificate[:1]
	nameless := tlsfarm.NewAuthority("", func(c *x509.Certificate) { c.RawSubject = []byte{0x30, 0} })
	nameless.Certificate.SubjectKeyId = nil
	refused := func(pool *x509.CertPool, c tls.Certificate) *failure.Failure {
		s := tlsfarm.Refusing(root.Issue("x"), pool, tls.VersionTLS13, 48)
		t.Cleanup(s.Close)
		tt := newTarget(t, s.Endpoint())
		presentTo(tt, c)
		f := probeOnce(t, tt).Failure
		require.NotNil(t, f)
		assert.Equal(t, failure.UnknownCA, f.Type)
		return f
	}
	f := refused(nil, lone)
	assert.Contains(t, f.Cause, `the server's clock, trust or rules are at fault, unless the server lacks the certificate of "Client Issuer", which is not in cert_file.`)
	assert.Contains(t, f.Fix, `If "Client Issuer" is an intermediate, add its certificate to the end of cert_file, as PEM.`)
	assert.NotContains(t, refused(nil, tlsfarm.SelfSigned("prober")).Cause, "unless")

	many := x509.NewCertPool()
	for i := range 301 {
		many.AddCert(tlsfarm.NewAuthority(fmt.Sprint("CA ", i)).Certificate)
	}
	f = refused(many, lone)
	assert.Regexp(t, `The server accepts certificates from CN=CA 0,O=Farm, CN=CA 1,O=Farm, CN=CA 2,O=Farm and 298 more\.`, f.Cause)

	f = refused(nameless.Pool(), lone)
	assert.Contains(t, f.Cause, "The server's list of the CAs that it accepts has no readable name.")
	assert.NotContains(t, f.Cause, "accepts certificates from")

	f = refused(clients.Pool(), nameless.Issue("prober"))
	assert.Contains(t, f.Cause, `The list of CAs that the server accepts does not include a CA without a name, and the certificate names no issuer.`)
	assert.Contains(t, f.Cause, `issued by a CA without a name.`)
	assert.Equal(t, "Use a certificate from a CA that the server accepts.", f.Fix)
}

// The path of a client certificate is judged only once, and forgotten with the certificate.
func TestClientChainIsJudgedOnce(t *testing.T) {
	p := &Prober{}
	load := func() *tls.Certificate {
		c := tlsfarm.NewAuthority("Clients").Issue("prober")
		return &c
	}
	held := load()
	first := p.clientChain(held)
	assert.Same(t, first, p.clientChain(held))
	renewed := load()
	assert.NotSame(t, first, p.clientChain(renewed))
	entries := func() (n int) {
		p.clientChains.Range(func(any, any) bool { n++; return true })
		return n
	}
	assert.Equal(t, 2, entries())
	runtime.KeepAlive(held)
	for range 1000 {
		if entries() == 1 {
			break
		}
		runtime.GC() // which starts the cleanup
		runtime.Gosched()
	}
	assert.Equal(t, 1, entries())
	runtime.KeepAlive(renewed)
}

// A certificate that Go cannot read may be the issuer.
func TestUnreadableCertificateInClientChain(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	c := clients.Intermediate("Client Issuer").Issue("prober")
	block, _ := pem.Decode(tlsfarm.Unreadable(tls.Certificate{Certificate: c.Certificate[1:]}))
	c.Certificate = [][]byte{c.Certificate[0], block.Bytes}
	for _, pool := range []*x509.CertPool{nil, clients.Pool()} {
		s := tlsfarm.Refusing(root.Issue("x"), pool, tls.VersionTLS13, 48)
		t.Cleanup(s.Close)
		tt := newTarget(t, s.Endpoint())
		presentTo(tt, c)
		o := probeOnce(t, tt)
		require.NotNil(t, o.Failure)
		assert.Empty(t, o.Handshake.ClientCertProblems)
		assert.Equal(t, failure.BadCertificate, o.Failure.Type)
		assert.Equal(t, uint8(50), o.Failure.Alert, "a server in Go cannot read it either")
		assert.NotContains(t, o.Failure.Cause, "not in cert_file")
	}
}

// A server may list more CAs than telemetry shows. All of them are compared.
func TestIssuerAmongManyAcceptedCAs(t *testing.T) {
	clients := tlsfarm.NewAuthority("Clients")
	pool := x509.NewCertPool()
	for i := range 300 {
		pool.AddCert(tlsfarm.NewAuthority(fmt.Sprint("CA ", i)).Certificate)
	}
	good := clients.Issue("prober")
	accepting := func(pool *x509.CertPool) []failure.ClientCertProblem {
		config := healthy()
		config.ClientAuth, config.ClientCAs = tls.RequireAnyClientCert, pool
		tt := serve(t, config)
		presentTo(tt, good)
		o := probeOnce(t, tt)
		require.Nil(t, o.Failure)
		assert.LessOrEqual(t, len(o.Handshake.AcceptableCAs), 100)
		return o.Handshake.ClientCertProblems
	}
	assert.NotEmpty(t, accepting(pool))
	pool.AddCert(clients.Certificate)
	assert.Empty(t, accepting(pool))
	assert.Empty(t, accepting(nil), "the server names none")
}
