package certs

import (
	"crypto/x509"
	"slices"
	"time"
)

// OutOfDate judges the dates alone of the certificates of a file, of which at least one must be there. Whether they are
// trusted, and for which name, is not to be told from a file. A bundle of CA certificates must not have one that is out of
// date. In the file of a server, which begins with a leaf, the path that its clients would go must not: the best one to a
// trusted root, where there is one, so that an expired cross-signed root beside a good chain raises nothing; else as
// much of one as is in the file.
func OutOfDate(certificates []*x509.Certificate, roots *x509.CertPool, now time.Time) *Verdict {
	v := &Verdict{Chain: certificates}
	if leaf := certificates[0]; !leaf.IsCA && len(certificates) <= maxPath {
		v = Verify(certificates, roots, "", now)
		v.Warnings = nil
	}
	v.Reasons = outOfDate(v.Chain, now)
	// Other leaves of the file, as in a keystore with several entries, stand for themselves.
	for _, c := range certificates {
		if !c.IsCA && !slices.Contains(v.Chain, c) {
			v.Reasons = append(v.Reasons, outOfDate([]*x509.Certificate{c}, now)...)
		}
	}
	return v
}

// maxPath bounds among how many certificates of a file a path is looked for.
const maxPath = 100
