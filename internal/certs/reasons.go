package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
)

// UnusableCA is why a signature cannot be checked: crypto/x509 does not support the CA's key.
type UnusableCA struct {
	Key  string // the kind of its key, such as DSA
	Root bool   // whether the CA is a trusted root
	Err  error  // of crypto/x509
}

func (u *UnusableCA) Error() string { return u.Err.Error() }
func (u *UnusableCA) Unwrap() error { return u.Err }

// signatureReasons returns the signatures in the path that crypto/x509 rejects, from the leaf upwards.
func (n *node) signatureReasons() (reasons []Reason) {
	for ; n.below != nil; n = n.below {
		if n.link.fault == "" {
			continue
		}
		r := Reason{Fault: n.link.fault, Depth: n.below.depth, Cert: n.below.cert, Err: n.link.err}
		if r.Fault == WeakKey { // the issuer's
			r.Depth, r.Cert = n.depth, n.cert
		}
		reasons = append(reasons, r)
	}
	slices.Reverse(reasons)
	return reasons
}

// rootReason returns the reason for a path whose topmost certificate is neither trusted nor issued by one of the other
// certificates, nor by a root.
func (s *search) rootReason(n *node) Reason {
	top := n.cert
	r := Reason{Fault: UntrustedCA, Err: x509.UnknownAuthorityError{Cert: top}}
	switch {
	case selfIssued(top):
		if n.depth == 0 && !s.link(top, top).broken() {
			r.Fault = SelfSigned
		}
	case isWeak(top.SignatureAlgorithm): // whoever the issuer is
		r.Fault, r.Err = WeakSignature, x509.InsecureAlgorithmError(top.SignatureAlgorithm)
	case top.SignatureAlgorithm == x509.UnknownSignatureAlgorithm:
		r.Fault, r.Err = Malformed, x509.ErrUnsupportedAlgorithm
	case issuerIsMissing(n):
		r.Fault = IncompleteChain
	}
	return r
}

// issuerIsMissing reports whether the server probably left out the issuer of a path's topmost certificate. A certificate
// usually says where that of its issuer can be downloaded if the issuer is an intermediate. Some companies also do so for
// their roots, and then only the name can show that it is a root. Nobody can know for sure.
func issuerIsMissing(n *node) bool {
	if len(n.cert.IssuingCertificateURL) == 0 {
		return false
	}
	return n.depth == 0 || !namesRoot(n.cert)
}

var rootWord = regexp.MustCompile(`(?i)\broot\b`)

// namesRoot reports whether the name of c's issuer says that it is a root. It is called for each path, so it does not read
// names that are longer than those of real CAs.
func namesRoot(c *x509.Certificate) bool {
	const most = 1024 // bytes
	return len(c.RawIssuer) <= most && rootWord.MatchString(IssuerDN(c))
}

// isNamesakeHint reports whether an error of crypto/x509 shows that a trusted root has the issuer's name, but its key did
// not make the signature. Either the certificate was altered or the CA has a new key. These cannot be distinguished, as the
// pool does not reveal its certificates. The hint of x509.UnknownAuthorityError is not exported, so only its text can be
// searched. That text also names a root that may not sign, because it is no CA or its key is too small; then the signature
// was not checked.
func isNamesakeHint(err error) bool {
	return namesCandidate(err) &&
		!strings.Contains(err.Error(), x509.ConstraintViolationError{}.Error()) && !strings.Contains(err.Error(), "keys are insecure")
}

// namesCandidate reports whether an error of crypto/x509 names a trusted root that has the issuer's name.
func namesCandidate(err error) bool {
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &unknown) && strings.Contains(err.Error(), "possibly because of")
}

// issuerReasons returns the certificates above the leaf that may not issue the certificates below them.
func issuerReasons(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		if depth == 0 {
			continue
		}
		// Basic constraints came with version 3, and a root may be older.
		isCA := c.BasicConstraintsValid && c.IsCA || !c.BasicConstraintsValid && c.Version < 3 && depth == len(path)-1
		if !isCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			reasons = append(reasons, Reason{Fault: NotCA, Depth: depth, Cert: c})
		}
		if c.BasicConstraintsValid && c.MaxPathLen >= 0 && depth-1 > c.MaxPathLen {
			reasons = append(reasons, Reason{Fault: PathLengthExceeded, Depth: depth, Cert: c})
		}
	}
	return reasons
}

// dateReasons returns the certificates that are expired or not yet valid.
func dateReasons(path []*x509.Certificate, now time.Time) (reasons []Reason) {
	for depth, c := range path {
		switch {
		case now.After(c.NotAfter):
			reasons = append(reasons, Reason{Fault: Expired, Depth: depth, Cert: c})
		case now.Before(c.NotBefore):
			reasons = append(reasons, Reason{Fault: NotYetValid, Depth: depth, Cert: c})
		}
	}
	return reasons
}

// usageReasons returns the certificates that may not be used for a TLS server, and those with a critical extension that
// crypto/x509 does not know. An extended key usage also limits the certificates below: every certificate that has any,
// even the root, must have that of a server.
func usageReasons(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		limited := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
		if limited && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
			reasons = append(reasons, Reason{Fault: WrongKeyUsage, Depth: depth, Cert: c})
		}
	}
	return append(reasons, criticalReasons(path)...)
}

// criticalReasons returns the certificates with a critical extension that crypto/x509 does not know.
func criticalReasons(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		if len(c.UnhandledCriticalExtensions) > 0 {
			reasons = append(reasons, Reason{Fault: UnhandledCriticalExtension, Depth: depth, Cert: c})
		}
	}
	return reasons
}

// selfIssued reports whether subject and issuer have the same name.
func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// checkSignature checks that issuer's key signed c, even if issuer may not sign certificates. Unlike
// x509.Certificate.CheckSignatureFrom it accepts SHA-1, so that the true issuer is found among its namesakes.
func checkSignature(c, issuer *x509.Certificate) error {
	return issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
}

// isWeak reports whether crypto/x509 rejects signatures with this algorithm. It cannot check DSA at all.
func isWeak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		return true
	}
	return false
}
