//go:build interop

package interop

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const day = 24 * time.Hour

var (
	// pki is the directory with the certificates. NAME.pem is a certificate and its intermediates, NAME.key is its key:
	//
	//	root intermediate               the issuers of the servers' certificates
	//	rsa ecdsa p521 ed25519          for localhost, 127.0.0.1 and ::1, with these keys
	//	ed448 rsa-pss                   the same with keys that Go does not support; rsa-pss is for RSA-PSS only
	//	pss-signed sha1 ed448-signed    the same with RSA keys and these signatures
	//	dsa brainpool-leaf              the same with keys of these kinds
	//	secp256k1 p224                  and on these curves
	//	rsa-512 rsa-768 rsa-1000        the same with RSA keys that are too short
	//	negative-serial                 the same with a serial number that Go does not accept
	//	b.test                          for another name
	//	clients issuer                  the root that servers trust for client certificates, and their issuer
	//	client client-ed25519 client-rsa  client certificates
	//	stranger expired revoked        client certificates that servers refuse
	//	foreign                         another one, without its intermediate; foreign-cas are its CAs
	//	server-only early weak old-ca   more of them: not yet valid, RSA with 1024 bits, from a CA that has expired
	//	client-rsa-768 client-p224      client certificates with keys that are too short, or on a curve that TLS 1.3 does not have
	//	client-critical any-usage       with an unknown critical extension, for anyExtendedKeyUsage only
	//	under-any-usage under-no-ca     below intermediates for anyExtendedKeyUsage only, and with CA:FALSE
	//	too-deep not-too-deep           below an intermediate with pathlen 0, with and without another one between
	//	outside inside                  with a name that their intermediate does not permit, and with one that it does
	//	mixed twins                     with the certificate of another intermediate of the same name, and with the right one
	//	by-namesake namesake            a client certificate, and its issuer, which has the name of clients
	//	lone completed                  a client certificate without its intermediate and, with it appended, as completed
	//	near                            a client certificate that expires in 12 hours
	//	by-lower by-twin limited        for localhost, below lower and upper, below twin, below constrained
	//	by-no-ca by-brainpool           for localhost, below roots that crypto/x509 does not accept: no-ca brainpool,
	//	by-negative by-small            negative small; no-ca-fixed and negative-fixed are these roots reissued
	//
	// long-chain.pem is a chain of more than 256 KiB. crl.pem is a CRL of issuer that lists revoked, and old-crl.pem is one that has expired. good.ocsp and revoked.ocsp are OCSP staples for rsa.
	pki string

	roots       *x509.CertPool                 // trusted by the tests
	clientCerts = map[string]tls.Certificate{} // by name
)

// writePKI makes the certificates in dir, with openssl if tlsfarm does not support them.
func writePKI(dir string) (err error) {
	defer func() {
		if v := recover(); v != nil { // from tlsfarm or must
			err = fmt.Errorf("%v", v)
		}
	}()
	pki = must(filepath.Abs(dir))
	check(os.MkdirAll(pki, 0o755))
	check(os.Chmod(pki, 0o755)) // some servers run as another user

	root, clients := tlsfarm.NewAuthority("Interop Root"), tlsfarm.NewAuthority("Clients")
	intermediateKey, issuerKey := newKey("rsa"), newKey("ecdsa")
	intermediate := root.Intermediate("Interop Intermediate", tlsfarm.Key(intermediateKey))
	issuer := clients.Intermediate("Client Issuer", tlsfarm.Key(issuerKey))
	roots = root.Pool()
	write("root.pem", root.PEM())
	write("intermediate.pem", intermediate.PEM())
	writePEM("issuer.key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(issuerKey)))
	writePEM("intermediate.key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(intermediateKey)))
	write("clients.pem", clients.PEM())
	write("issuer.pem", issuer.PEM())

	server := func(name, key string, edits ...tlsfarm.Edit) tls.Certificate {
		return issue(intermediate, name, key, edits...)
	}
	leaf := server("rsa", "rsa").Leaf
	server("ecdsa", "ecdsa")
	server("p521", "p521")
	server("ed25519", "ed25519")
	server("b.test", "rsa", tlsfarm.Names("b.test"), func(c *x509.Certificate) {
		c.IssuingCertificateURL = []string{"http://b.test/ca.crt"}
	})
	server("sha1", "rsa", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })
	server("pss-signed", "rsa", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS })
	byOpenSSL("ed448", "ed448", "intermediate", serverExtensions)
	byOpenSSL("rsa-pss", "rsa-pss", "intermediate", serverExtensions)
	byOpenSSL("ed448-ca", "ed448", "intermediate", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")
	byOpenSSL("ed448-signed", "rsa:2048", "ed448-ca", serverExtensions)
	writeUnusual()

	client := func(name, key string, edits ...tlsfarm.Edit) {
		clientCerts[name] = issue(issuer, name, key, edits...)
	}
	client("client", "ecdsa")
	client("client-ed25519", "ed25519")
	client("client-rsa", "rsa")
	client("expired", "ecdsa", tlsfarm.Validity(-10*day, -day))
	client("revoked", "ecdsa")
	client("server-only", "ecdsa", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	client("early", "ecdsa", tlsfarm.Validity(2*day, 90*day))
	client("weak", "rsa1024")
	client("near", "ecdsa", tlsfarm.Validity(-day, day/2))
	oldCA := clients.Intermediate("Old Issuer", tlsfarm.Validity(-10*day, -day))
	clientCerts["old-ca"] = issue(oldCA, "old-ca", "ecdsa")
	client("lone", "ecdsa")
	leafPEM, keyPEM := tlsfarm.PEM(tls.Certificate{Certificate: clientCerts["lone"].Certificate[:1], PrivateKey: clientCerts["lone"].PrivateKey})
	for name, chain := range map[string][]byte{"lone": leafPEM, "completed": slices.Concat(leafPEM, issuer.PEM())} {
		write(name+".pem", chain)
		write(name+".key", keyPEM)
		clientCerts[name] = must(tls.X509KeyPair(chain, keyPEM))
	}
	for name, key := range map[string]string{"client-rsa-768": "rsa:768", "client-p224": "ec:p224.params"} {
		byOpenSSL(name, key, "issuer", clientExtensions)
	}
	client("client-critical", "ecdsa", func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
	})
	client("any-usage", "ecdsa", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })
	issue(clients.Intermediate("Any", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), "under-any-usage", "ecdsa")
	issue(clients.Intermediate("Not A CA", func(c *x509.Certificate) { c.IsCA = false }), "under-no-ca", "ecdsa")
	short := clients.Intermediate("Short", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	issue(short.Intermediate("Below"), "too-deep", "ecdsa")
	issue(short, "not-too-deep", "ecdsa")
	limited := clients.Intermediate("Limited", func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"in.example"}, true
	})
	issue(limited, "outside", "ecdsa", tlsfarm.Names("out.example"))
	issue(limited, "inside", "ecdsa", tlsfarm.Names("in.example"))
	twin := clients.Intermediate("Client Issuer")
	twin.Certificate.SubjectKeyId = nil // so that no key identifier shows whose certificate it is
	twins := issue(twin, "twins", "ecdsa")
	leafPEM, keyPEM = tlsfarm.PEM(tls.Certificate{Certificate: twins.Certificate[:1], PrivateKey: twins.PrivateKey})
	write("mixed.pem", slices.Concat(leafPEM, issuer.PEM()))
	write("mixed.key", keyPEM)
	// A CA with the name of clients, and a certificate that it issued without its key identifier.
	namesake := tlsfarm.NewAuthority("Clients")
	write("namesake.pem", namesake.PEM())
	namesake.Certificate.SubjectKeyId = nil
	issue(namesake, "by-namesake", "ecdsa")
	clientCerts["stranger"] = issue(tlsfarm.NewAuthority("Strangers"), "stranger", "ecdsa")
	foreignRoot := tlsfarm.NewAuthority("Foreign Root")
	foreignIssuer := foreignRoot.Intermediate("Foreign Issuer")
	foreign := issue(foreignIssuer, "foreign", "ecdsa")
	writePEM("foreign.pem", "CERTIFICATE", foreign.Certificate[0]) // without its intermediate
	write("foreign-cas.pem", slices.Concat(foreignIssuer.PEM(), foreignRoot.PEM()))

	writeChains(root)

	now := time.Now()
	writePEM("old-crl.pem", "X509 CRL", must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-2 * day), NextUpdate: now.Add(-day),
	}, issuer.Certificate, issuerKey)))
	writePEM("crl.pem", "X509 CRL", must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(day),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: clientCerts["revoked"].Leaf.SerialNumber, RevocationTime: now}},
	}, issuer.Certificate, issuerKey)))
	for name, status := range map[string]int{"good": ocsp.Good, "revoked": ocsp.Revoked} {
		write(name+".ocsp", must(ocsp.CreateResponse(intermediate.Certificate, intermediate.Certificate, ocsp.Response{
			Status: status, SerialNumber: leaf.SerialNumber, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(day), RevokedAt: now,
		}, intermediateKey)))
	}
	return nil
}

// writeChains makes servers' certificates for TestChains. The file of a chain has what the server sends besides its own
// certificate.
func writeChains(root *tlsfarm.Authority) {
	url := func(u string) tlsfarm.Edit {
		return func(c *x509.Certificate) { c.IssuingCertificateURL = []string{u} }
	}
	upper := root.Intermediate("Upper")
	lower := upper.Intermediate("Lower", url("http://pki.test/upper.crt"))
	issue(lower, "by-lower", "ecdsa", url("http://pki.test/lower.crt"))
	write("lower-chain.pem", lower.PEM())
	write("lower-upper-chain.pem", append(lower.PEM(), upper.PEM()...))

	twin := root.Intermediate("Twin")
	issue(twin, "by-twin", "ecdsa")
	write("twin-chain.pem", twin.PEM())
	write("stray-chain.pem", root.Intermediate("Twin").PEM())

	constrained := root.Intermediate("Constrained", func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"excluded.test"} })
	issue(constrained, "limited", "ecdsa", tlsfarm.Names("localhost", "www.excluded.test"))
	issue(constrained, "limited-fixed", "ecdsa", tlsfarm.Names("localhost"))
	write("constrained-chain.pem", constrained.PEM())

	key := tlsfarm.Key(newKey("ecdsa"))
	noCA := tlsfarm.NewAuthority("No CA", key, func(c *x509.Certificate) { c.IsCA = false })
	issue(noCA, "by-no-ca", "ecdsa")
	write("no-ca.pem", noCA.PEM())
	write("no-ca-fixed.pem", tlsfarm.NewAuthority("No CA", key).PEM())

	rootByOpenSSL("brainpool", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1", "-pkeyopt", "ec_param_enc:named_curve")
	rootByOpenSSL("negative", "-newkey", "rsa:2048", "-set_serial", "-7")
	rootByOpenSSL("negative-fixed", "-key", "negative.key", "-set_serial", "7", "-subj", "/CN=negative")
	rootByOpenSSL("small", "-newkey", "rsa:768")
	for _, name := range []string{"brainpool", "negative", "small"} {
		byOpenSSL("by-"+name, "rsa:2048", name, serverExtensions)
		write(name+".pem", append(must(os.ReadFile(filepath.Join(pki, name+".pem"))), tlsfarm.NewAuthority("Another").PEM()...))
	}
}

// rootByOpenSSL makes a root with openssl and writes it with its key.
func rootByOpenSSL(name string, options ...string) {
	args := append([]string{
		"req", "-x509", "-nodes", "-keyout", name + ".key", "-subj", "/CN=" + name, "-days", "90", "-out", name + ".pem",
		"-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
	}, options...)
	if out, err := openssl(args...).CombinedOutput(); err != nil {
		panic(fmt.Sprintf("openssl %v: %v: %s", args, err, out))
	}
}

// issue issues a certificate and writes it with its key.
func issue(from *tlsfarm.Authority, name, key string, edits ...tlsfarm.Edit) tls.Certificate {
	edits = append(edits, tlsfarm.Key(newKey(key)), func(c *x509.Certificate) {
		if key == "rsa" {
			c.KeyUsage |= x509.KeyUsageKeyEncipherment // for RSA key exchange
		}
	})
	cert := from.Issue(name, edits...)
	chain, keyPEM := tlsfarm.PEM(cert)
	write(name+".pem", chain)
	write(name+".key", keyPEM)
	return cert
}

func newKey(kind string) crypto.Signer {
	switch kind {
	case "rsa1024":
		return must(rsa.GenerateKey(rand.Reader, 1024))
	case "rsa":
		return must(rsa.GenerateKey(rand.Reader, 2048))
	case "p521":
		return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return must(key, err)
	}
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

const serverExtensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"

const clientExtensions = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"

// writeUnusual makes the servers' certificates that crypto/tls does not accept.
func writeUnusual() {
	runOpenSSL("dsaparam", "-out", "dsa.params", "1024")
	byOpenSSL("dsa", "dsa:dsa.params", "intermediate", serverExtensions)
	for name, curve := range map[string]string{"brainpool-leaf": "brainpoolP256r1", "secp256k1": "secp256k1", "p224": "secp224r1"} {
		runOpenSSL("ecparam", "-name", curve, "-out", name+".params")
		byOpenSSL(name, "ec:"+name+".params", "intermediate", serverExtensions)
	}
	for _, bits := range []string{"512", "768", "1000"} {
		byOpenSSL("rsa-"+bits, "rsa:"+bits, "intermediate", serverExtensions)
	}
	byOpenSSL("negative-serial", "rsa:2048", "intermediate", serverExtensions, "-set_serial", "-5")
	write("long-chain.pem", bytes.Repeat(must(os.ReadFile(filepath.Join(pki, "intermediate.pem"))), 500))
}

// byOpenSSL makes a certificate with openssl and writes it with its key.
func byOpenSSL(name, key, issuer, extensions string, options ...string) {
	runOpenSSL("req", "-new", "-newkey", key, "-nodes", "-keyout", name+".key", "-subj", "/CN="+name, "-out", name+".csr")
	write(name+".ext", []byte(extensions))
	runOpenSSL(append([]string{
		"x509", "-req", "-in", name + ".csr", "-CA", issuer + ".pem", "-CAkey", issuer + ".key", "-CAcreateserial",
		"-days", "90", "-extfile", name + ".ext", "-out", name + ".pem",
	}, options...)...)
	chain := must(os.ReadFile(filepath.Join(pki, name+".pem")))
	write(name+".pem", append(chain, must(os.ReadFile(filepath.Join(pki, issuer+".pem")))...))
}

// runOpenSSL runs openssl in the directory of the PKI.
func runOpenSSL(args ...string) {
	if out, err := openssl(args...).CombinedOutput(); err != nil {
		panic(fmt.Sprintf("openssl %v: %v: %s", args, err, out))
	}
}

// write writes a file that every server may read.
func write(name string, data []byte) { check(os.WriteFile(filepath.Join(pki, name), data, 0o644)) }

func writePEM(name, kind string, der []byte) {
	write(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}
