package certs

import (
	"crypto/x509"
	"slices"
	"time"
)

const maxPath = 100 // certificates in a file; VerifyDates does not look for a path among more

// VerifyDates judges only the dates of the certificates in a file. A file does not show whether they are trusted, or for
// which name. It panics if certificates is empty.
//
// In a bundle of CA certificates, every certificate must be within its dates. If the file begins with a leaf, as that of a
// server does, only the path that clients use must be: the best one to a trusted root, or as much of a path as the file
// has. So an expired cross-signed root next to a valid chain is not a reason.
func VerifyDates(certificates []*x509.Certificate, roots *Roots, now time.Time) *Verdict {
	v := &Verdict{Chain: certificates}
	if leaf := certificates[0]; !leaf.IsCA && len(certificates) <= maxPath {
		v = Verify(certificates, roots, "", now)
		v.Warnings = nil
	}
	v.Reasons = dateReasons(v.Chain, now)
	// A file may have further leaves, as a keystore with several entries does.
	for _, c := range certificates {
		if !c.IsCA && !slices.Contains(v.Chain, c) {
			v.Reasons = append(v.Reasons, dateReasons([]*x509.Certificate{c}, now)...)
		}
	}
	return v
}
