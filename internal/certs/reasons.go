package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"
)

// trustReasons returns why path does not lead to a trusted root: its invalid signatures and the unknown root. The root
// is left out if the part of the path above the last invalid signature leads to a trusted root.
func trustReasons(path, presented []*x509.Certificate, roots *x509.CertPool, now time.Time) []Reason {
	reasons, rest := signatureReasons(path)
	if rest == len(path) {
		return reasons // the signature on the topmost certificate is invalid, so its issuer does not matter
	}
	if rest > 0 {
		if trusted, _ := trustedPath(append(path[rest:rest+1:rest+1], presented...), roots, now); trusted != nil {
			return reasons
		}
	}
	return append(reasons, rootReason(path, roots, now))
}

// signatureReasons returns the invalid signatures in path. From the depth rest on, all signatures are valid.
func signatureReasons(path []*x509.Certificate) (reasons []Reason, rest int) {
	top := len(path) - 1
	for depth, c := range path {
		if depth == top && selfIssued(c) {
			break // nobody checks the signature of a root
		}
		var issuer *x509.Certificate
		if depth < top {
			issuer = path[depth+1]
		}
		fault, err := signatureFault(c, issuer)
		if fault == "" {
			continue
		}
		r := Reason{Fault: fault, Depth: depth, Cert: c, Err: err}
		if fault == WeakKey {
			r.Depth, r.Cert = depth+1, issuer
		}
		reasons = append(reasons, r)
		rest = depth + 1
	}
	return reasons, rest
}

// rootReason returns the reason for a path whose topmost certificate is neither trusted nor issued by a trusted root.
func rootReason(path []*x509.Certificate, roots *x509.CertPool, now time.Time) Reason {
	top := len(path) - 1
	_, err := relax(path[top], false).Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: anyUsage})
	r := Reason{Fault: UntrustedCA, Depth: top, Cert: path[top], Err: err, Namesake: hasNamesakeRoot(err)}
	if leaf := path[0]; top == 0 && selfIssued(leaf) {
		if fault, _ := signatureFault(leaf, leaf); fault != BadSignature {
			r.Fault = SelfSigned
		}
	} else if top == 0 && len(leaf.IssuingCertificateURL) > 0 {
		r.Fault = IncompleteChain
	}
	return r
}

// hasNamesakeRoot reports whether a trusted root has the issuer's name, but its key did not make the signature. Either
// the certificate was altered or the CA has a new key. These cannot be distinguished, as a pool does not reveal its
// certificates. The hint of x509.UnknownAuthorityError is not exported, so only its text can be searched. That text
// also names a root that may not sign, because it is no CA or its key is too small; then the signature was not checked.
func hasNamesakeRoot(err error) bool {
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &unknown) && strings.Contains(err.Error(), "possibly because of") &&
		!strings.Contains(err.Error(), x509.ConstraintViolationError{}.Error()) && !strings.Contains(err.Error(), "keys are insecure")
}

// signatureFault returns why crypto/x509 rejects the signature on c by issuer. If the issuer was not presented it is nil,
// and only the algorithm is checked.
func signatureFault(c, issuer *x509.Certificate) (Fault, error) {
	switch {
	case isWeak(c.SignatureAlgorithm):
		return WeakSignature, x509.InsecureAlgorithmError(c.SignatureAlgorithm)
	case c.SignatureAlgorithm == x509.UnknownSignatureAlgorithm:
		return Malformed, x509.ErrUnsupportedAlgorithm
	case issuer == nil:
		return "", nil
	}
	err := checkSignature(c, issuer)
	switch bits := rsaBits(issuer); {
	case err == nil:
		return "", nil
	case bits > 0 && bits < 1024: // crypto/rsa rejects the key without checking the signature
		return WeakKey, err
	case errors.Is(err, x509.ErrUnsupportedAlgorithm):
		return Malformed, err
	}
	return BadSignature, err
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
