// Certs makes the certificates of the quick start:
//
//	go run ./examples/quickstart DIR
//
// It writes ca.pem and, for each server of demo.yaml, NAME.pem and NAME.key to DIR.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const day = 24 * time.Hour

var servers = []struct {
	name, dnsName string
	left          time.Duration // until the certificate expires
}{
	{"healthy", "localhost", 90 * day},
	{"expiring", "localhost", 10 * day},
	{"expired", "localhost", -3 * day},
	{"othername", "other.example.com", 90 * day},
	{"mutual", "localhost", 90 * day},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: certs DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "certs:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Whole days are counted downwards: without the hour, "10 days left" would be 9 a second later.
	now := time.Now().Add(time.Hour)

	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Quick start CA"},
		NotBefore:             now.Add(-365 * day),
		NotAfter:              now.Add(365 * day),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	caKey, err := newKey()
	if err != nil {
		return err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "ca.pem"), "CERTIFICATE", caDER, 0o644); err != nil {
		return err
	}

	for _, s := range servers {
		key, err := newKey()
		if err != nil {
			return err
		}
		leaf := &x509.Certificate{
			Subject:     pkix.Name{CommonName: s.dnsName},
			DNSNames:    []string{s.dnsName},
			NotBefore:   now.Add(-30 * day),
			NotAfter:    now.Add(s.left),
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
		if err != nil {
			return err
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := writePEM(filepath.Join(dir, s.name+".pem"), "CERTIFICATE", der, 0o644); err != nil {
			return err
		}
		if err := writePEM(filepath.Join(dir, s.name+".key"), "PRIVATE KEY", keyDER, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func writePEM(path, blockType string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), mode)
}
