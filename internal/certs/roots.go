package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Roots are the CAs that a client trusts. An x509.CertPool does not reveal its certificates, but to explain why a chain is
// invalid, they must be known. A nil *Roots means the system's roots. Roots never change, so any number of goroutines may
// use them.
type Roots struct {
	pool *x509.CertPool
	// known are the pool's certificates by their raw subject: all of them, unless the pool is or includes one of which
	// nothing is known.
	known    map[string][]*x509.Certificate
	complete bool                       // whether known has all certificates of the pool
	unusable map[string][]*UnusableRoot // certificates that crypto/x509 cannot read, by their raw subject
	dropped  []string
}

// UnusableRoot is the error about a certificate among the roots that crypto/x509 cannot read.
type UnusableRoot struct {
	Name string // its subject, as SubjectName returns it
	Key  string // the kind of its key, such as "EC brainpoolP256r1"
	// KeySupported reports whether the certificate could be used if it were reissued with the same key.
	KeySupported bool
	// Constraints reports whether it is the name constraints that crypto/x509 cannot read.
	Constraints bool
	Err         error // why it cannot be read, in words

	// ca has what can be read of the certificate: its subject, key identifier and key. The key is nil if Go has none of its
	// kind.
	ca *x509.Certificate
}

func (u *UnusableRoot) Error() string { return u.Err.Error() }
func (u *UnusableRoot) Unwrap() error { return u.Err }

// maxDropped is the number of dropped certificates that are described.
const maxDropped = 10

// RootsIn returns the roots in a pool, of which nothing else is known. If the pool is nil, so is the result.
func RootsIn(pool *x509.CertPool) *Roots {
	if pool == nil {
		return nil
	}
	return &Roots{pool: pool}
}

// ParseRoots returns the certificates in PEM text, and those of a pool of which nothing else is known, such as the
// system's. The pool may be nil; otherwise, ParseRoots adds the certificates to it. It trusts the same certificates as
// x509.CertPool.AppendCertsFromPEM. It is an error if there are none, and the error says why.
func ParseRoots(text []byte, pool *x509.CertPool) (*Roots, error) {
	r := &Roots{pool: pool, complete: pool == nil, known: make(map[string][]*x509.Certificate)}
	if pool == nil {
		r.pool = x509.NewCertPool()
	}
	decoded := make(map[string]bool) // what pem.Decode finds, which skips malformed blocks
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		decoded[string(block.Bytes)] = true
	}
	number, added := 0, 0
	for line, block := range pemBlocks(text) {
		number++
		c, err := r.parseBlock(block, decoded)
		switch {
		case err != nil:
			r.drop(fmt.Sprintf("PEM block %d at line %d cannot be read: %v", number, line, err))
		case c != nil:
			added++
			r.pool.AddCert(c)
			if same := r.known[string(c.RawSubject)]; !containsEqual(same, c) {
				r.known[string(c.RawSubject)] = append(same, c)
			}
			if why := unusableKey(c); why != "" {
				r.drop(fmt.Sprintf("PEM block %d at line %d (%s) cannot be used: %s", number, line, namedInLog(SubjectName(c)), why))
			}
		}
	}
	switch {
	case added > 0:
		return r, nil
	case len(r.dropped) > 0:
		return nil, errors.New(strings.Join(r.dropped, "; "))
	}
	return nil, ErrNoCertificate
}

// ErrNoCertificate is the error about a file in which nothing was even meant to be a certificate.
var ErrNoCertificate = errors.New("it has no PEM block of type CERTIFICATE")

// parseBlock returns the certificate in a PEM block. It returns neither a certificate nor an error if the block is of
// another kind, such as a key.
func (r *Roots) parseBlock(data []byte, decoded map[string]bool) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("it is malformed")
	case block.Type == "TRUSTED CERTIFICATE", block.Type == "X509 CERTIFICATE":
		return nil, fmt.Errorf("its type is %s, but must be CERTIFICATE", block.Type)
	case block.Type != "CERTIFICATE":
		return nil, nil
	case len(block.Headers) > 0:
		return nil, errors.New("it has headers before the certificate")
	case !decoded[string(block.Bytes)]:
		return nil, errors.New("a line break is missing before or after it")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err == nil {
		return c, nil
	}
	loose, ok := parseLoosely(block.Bytes)
	if !ok {
		return nil, cleanError(err)
	}
	why := errors.New(text.Clean(loose.why(err), maxWhy))
	u := &UnusableRoot{
		Name: loose.subject(), Key: loose.keyKind(), KeySupported: slices.Contains(supportedKeys, loose.keyKind()),
		Constraints: aboutNameConstraints(err), Err: why, ca: loose.asIssuer(),
	}
	if r.unusable == nil {
		r.unusable = make(map[string][]*UnusableRoot)
	}
	r.unusable[string(u.ca.RawSubject)] = append(r.unusable[string(u.ca.RawSubject)], u)
	return nil, fmt.Errorf("%w (%s, key of the kind %s)", why, namedInLog(u.Name), u.Key)
}

// aboutNameConstraints reports whether an error of x509.ParseCertificate is about name constraints. There is only its text.
func aboutNameConstraints(err error) bool {
	s := strings.ToLower(err.Error())
	return strings.Contains(s, "constraint") && !strings.Contains(s, "basic constraints") && !strings.Contains(s, "policy constraints")
}

func cleanError(err error) error { return errors.New(text.Clean(err.Error(), 256)) }

func namedInLog(name string) string { return "subject " + text.Quote(name, 128) }

// drop notes that a certificate cannot be used.
func (r *Roots) drop(why string) {
	switch {
	case len(r.dropped) < maxDropped:
		r.dropped = append(r.dropped, text.Clean(why, 512))
	case len(r.dropped) == maxDropped:
		r.dropped = append(r.dropped, "and others")
	}
}

// Dropped returns a sentence without a full stop for each certificate that cannot be used: which one it is, and why. The
// sentences are clean, and their number is bounded.
func (r *Roots) Dropped() []string { return r.dropped }

// Pool returns the pool for crypto/x509. It is nil for the system's roots.
func (r *Roots) Pool() *x509.CertPool {
	if r == nil {
		return nil
	}
	return r.pool
}

// revealed reports whether all roots are known.
func (r *Roots) revealed() bool { return r != nil && r.complete }

// lists reports whether c is one of the roots that are known.
func (r *Roots) lists(c *x509.Certificate) bool {
	return r != nil && containsEqual(r.known[string(c.RawSubject)], c)
}

// contains reports whether c itself is trusted.
func (r *Roots) contains(c *x509.Certificate, now time.Time) bool {
	switch {
	case r.lists(c):
		return true
	case r.revealed():
		return false
	}
	_, trusted, _ := r.hidden(c, now)
	return trusted
}

// issuers returns the roots that may have issued c. If there is none, err may show why crypto/x509 found none.
func (r *Roots) issuers(c *x509.Certificate, now time.Time) (roots []*x509.Certificate, err error) {
	if r != nil {
		roots = append(roots, r.known[string(c.RawIssuer)]...)
		if r.complete {
			return roots, nil
		}
	}
	found, _, err := r.hidden(c, now)
	for _, root := range found {
		if !containsEqual(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots, err
}

// ErrNameEncoding is the error about a certificate whose issuer is a trusted root with the same name in other string types.
// By the rules of RFC 5280, section 7.1, the names are equal, but crypto/x509 compares bytes.
var ErrNameEncoding = errors.New("the name of the issuer has other string types than in the issuer's own certificate")

// renamed returns the roots that have the name of c's issuer, but encoded differently.
func (r *Roots) renamed(c *x509.Certificate) (roots []*x509.Certificate) {
	if r == nil {
		return nil
	}
	issuer := foldName(c.RawIssuer)
	for _, same := range r.known {
		if !bytes.Equal(same[0].RawSubject, c.RawIssuer) && foldName(same[0].RawSubject) == issuer {
			roots = append(roots, same...)
		}
	}
	return roots
}

// unusableIssuers returns the roots with the name of c's issuer that crypto/x509 cannot read.
func (r *Roots) unusableIssuers(c *x509.Certificate) []*UnusableRoot {
	if r == nil {
		return nil
	}
	return r.unusable[string(c.RawIssuer)]
}

// hidden returns the roots in the pool that issued c, and reports whether c itself is one. A pool does not reveal its
// certificates, but crypto/x509 returns the root of a chain, even of one that fails because the root's dates are wrong.
func (r *Roots) hidden(c *x509.Certificate, now time.Time) (found []*x509.Certificate, trusted bool, err error) {
	relaxed := relax(c, false)
	chains, err := relaxed.Verify(x509.VerifyOptions{Roots: r.Pool(), CurrentTime: now, KeyUsages: anyUsage})
	for _, chain := range chains {
		if root := chain[len(chain)-1]; root == relaxed || bytes.Equal(root.Raw, c.Raw) {
			trusted = true
		} else {
			found = append(found, root)
		}
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		found = append(found, invalid.Cert)
	}
	return found, trusted, err
}

func containsEqual(certs []*x509.Certificate, c *x509.Certificate) bool {
	for _, other := range certs {
		if other.Equal(c) {
			return true
		}
	}
	return false
}
