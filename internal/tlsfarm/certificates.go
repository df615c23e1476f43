// Package tlsfarm makes certificates and starts TLS servers, valid and broken ones, for tests, benchmarks and the quick
// start. Everything is in this process. Its functions panic on errors, as these are mistakes of the caller.
package tlsfarm

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
	"encoding/pem"
	"math/big"
	"net"
	"sync"
	"time"
)

// Edit changes a certificate before it is signed. If an edit sets PublicKey to a crypto.Signer, that is the certificate's
// key; otherwise the key is a new one on P-256.
type Edit func(*x509.Certificate)

// Authority is a certificate authority.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	issuer      *Authority // nil for a root
}

// NewAuthority returns a root that has been valid for an hour and expires in 3650 days.
func NewAuthority(commonName string, edits ...Edit) *Authority {
	return newAuthority(nil, commonName, edits)
}

// Intermediate returns a CA with a certificate issued by a.
func (a *Authority) Intermediate(commonName string, edits ...Edit) *Authority {
	return newAuthority(a, commonName, edits)
}

func newAuthority(issuer *Authority, commonName string, edits []Edit) *Authority {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: commonName, Organization: []string{"Farm"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(3650 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, key := sign(template, issuer, edits)
	return &Authority{Certificate: cert, key: key, issuer: issuer}
}

// Cross returns the other CA with a certificate issued by a.
func (a *Authority) Cross(other *Authority) *Authority {
	return newAuthority(a, other.Certificate.Subject.CommonName, []Edit{Key(other.key)})
}

// Issue returns a certificate for localhost, 127.0.0.1 and ::1, followed by all intermediates. It has been valid for an
// hour, expires in 90 days, and is for servers and clients.
func (a *Authority) Issue(commonName string, edits ...Edit) tls.Certificate {
	cert, key := sign(leafTemplate(commonName), a, edits)
	c := tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	for ca := a; ca.issuer != nil; ca = ca.issuer {
		c.Certificate = append(c.Certificate, ca.Certificate.Raw)
	}
	return c
}

// SelfSigned is like Issue, but the certificate is signed with its own key.
func SelfSigned(commonName string, edits ...Edit) tls.Certificate {
	cert, key := sign(leafTemplate(commonName), nil, edits)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// Pool returns a pool of only the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Certificate)
	return p
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte { return pemBlock("CERTIFICATE", a.Certificate.Raw) }

// PEM returns a certificate's whole chain and its key.
func PEM(c tls.Certificate) (chain, key []byte) {
	for _, der := range c.Certificate {
		chain = append(chain, pemBlock("CERTIFICATE", der)...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(err)
	return chain, pemBlock("PRIVATE KEY", der)
}

// Names sets the DNS names and removes the addresses.
func Names(names ...string) Edit {
	return func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = names, nil }
}

// Validity sets the first and last moment, relative to now.
func Validity(begin, end time.Duration) Edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(begin), time.Now().Add(end) }
}

// Key sets the key.
func Key(key crypto.Signer) Edit {
	return func(c *x509.Certificate) { c.PublicKey = key }
}

// RSAKey returns an RSA key of this size. It is generated only once in a process, as that takes long.
func RSAKey(bits int) *rsa.PrivateKey {
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	key := rsaKeys.bySize[bits]
	if key == nil {
		var err error
		key, err = rsa.GenerateKey(rand.Reader, bits)
		must(err)
		rsaKeys.bySize[bits] = key
	}
	return key
}

var rsaKeys = struct {
	sync.Mutex
	bySize map[int]*rsa.PrivateKey
}{bySize: make(map[int]*rsa.PrivateKey)}

func leafTemplate(commonName string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: commonName},
		DNSNames:  []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// sign returns a certificate from a template. If issuer is nil, it is self-signed.
func sign(template *x509.Certificate, issuer *Authority, edits []Edit) (*x509.Certificate, crypto.Signer) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	template.SerialNumber = serial
	for _, edit := range edits {
		edit(template)
	}
	key, ok := template.PublicKey.(crypto.Signer)
	if !ok {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
	}
	template.PublicKey = nil // CreateCertificate requires that the key of a self-signed certificate equals it
	parent, parentKey := template, key
	if issuer != nil {
		parent, parentKey = issuer.Certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	return cert, key
}

// Unreadable returns c's first certificate in PEM, with a negative serial number. OpenSSL reads that, but Go does not.
func Unreadable(c tls.Certificate) []byte {
	der := bytes.Clone(c.Certificate[0])
	serial := bytes.Index(der, []byte{0xa0, 3, 2, 1, 2, 2}) + 7 // after the version
	der[serial] = 0x80 | der[serial]&0x3f                       // never 0xff, which DER does not allow before a negative byte
	return pemBlock("CERTIFICATE", der)
}

func pemBlock(kind string, der []byte) []byte {
	var b bytes.Buffer
	must(pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}))
	return b.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
