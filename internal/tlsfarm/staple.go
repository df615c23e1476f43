package tlsfarm

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"

	"golang.org/x/crypto/ocsp"
)

// StapleEdit changes an OCSP response before it is signed.
type StapleEdit func(*ocsp.Response)

// Staple returns the authority's OCSP response about a certificate. Its status is good, and it is valid from an hour ago until
// in 7 days.
func (a *Authority) Staple(c tls.Certificate, edits ...StapleEdit) []byte {
	return a.StapleBy(tls.Certificate{Leaf: a.Certificate, PrivateKey: a.key}, c, edits...)
}

// StapleBy is like Staple, but the response is signed by signer, whose certificate it includes.
func (a *Authority) StapleBy(signer, c tls.Certificate, edits ...StapleEdit) []byte {
	template := ocsp.Response{
		Status: ocsp.Good, SerialNumber: c.Leaf.SerialNumber,
		ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(7 * 24 * time.Hour),
	}
	if signer.Leaf != a.Certificate {
		template.Certificate = signer.Leaf
	}
	for _, edit := range edits {
		edit(&template)
	}
	der, err := ocsp.CreateResponse(a.Certificate, signer.Leaf, template, signer.PrivateKey.(crypto.Signer))
	must(err)
	return der
}

// RevokedFor makes the status revoked, an hour ago, for one of the reasons of RFC 5280.
func RevokedFor(reason int) StapleEdit {
	return func(r *ocsp.Response) {
		r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, time.Now().Add(-time.Hour), reason
	}
}

// StapleDates sets thisUpdate and nextUpdate, relative to now. If end is 0, there is no nextUpdate.
func StapleDates(begin, end time.Duration) StapleEdit {
	return func(r *ocsp.Response) {
		r.ThisUpdate, r.NextUpdate = time.Now().Add(begin), time.Time{}
		if end != 0 {
			r.NextUpdate = time.Now().Add(end)
		}
	}
}

// Responder makes a certificate that of an OCSP responder, to which its issuer delegates signing.
func Responder(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }

// MustStaple makes a certificate require a staple (RFC 7633).
func MustStaple(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
		Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}, // status_request
	})
}
