package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// ConstraintViolation is a name in a certificate for which a CA above it may not issue certificates (RFC 5280, section
// 4.2.1.10).
type ConstraintViolation struct {
	Kind string // "DNS name", "IP address", "URI" or "e-mail address"
	Name string // as in the certificate

	CA       *x509.Certificate // which has the constraint
	Depth    int               // of CA in the chain
	Excluded bool              // whether the name is excluded, rather than not permitted
	// Constraints are the constraint that excludes the name, or the first five that permit names of this kind. They may be
	// empty texts: such a constraint covers every name.
	Constraints []string
	More        int // the number of further constraints that permit names of this kind

	// Others are further names of the certificate for which CAs above it may not issue certificates.
	Others []string

	allowed x509.Certificate // only the DNS names and addresses that all CAs allow
}

// Needs reports whether the certificate would no longer be valid for a name without the names that are not allowed.
func (c *ConstraintViolation) Needs(name string, leaf *x509.Certificate) bool {
	return name != "" && leaf.VerifyHostname(name) == nil && c.allowed.VerifyHostname(name) != nil
}

func (c *ConstraintViolation) Error() string {
	if c.Excluded {
		return fmt.Sprintf("%s %q is excluded by constraint %q", c.Kind, c.Name, c.Constraints[0])
	}
	return fmt.Sprintf("%s %q is not permitted by any constraint", c.Kind, c.Name)
}

// constraintReasons returns the name constraints and policies that a path violates. crypto/x509 decides whether there are
// any, if it can: only for right signatures does it look at constraints. It does not say which, so that is found here.
func (s *search) constraintReasons(n *node) []Reason {
	path := n.path()
	if !slices.ContainsFunc(path, func(c *x509.Certificate) bool { return hasNameConstraints(c) || hasPolicyConstraints(c) }) {
		return nil
	}
	reasons := s.nameReasons(path)
	cost := 0
	relaxed := make([]*x509.Certificate, len(path))
	for i, c := range path {
		relaxed[i] = relax(c, true)
		cost += checkCost(c)
	}
	if !n.verified() || !s.budget.spend(cost) {
		return reasons
	}
	_, err := relaxed[0].Verify(x509.VerifyOptions{
		Roots: newPool(relaxed[n.depth:]), Intermediates: newPool(relaxed[1:]), CurrentTime: s.now, KeyUsages: anyUsage,
	})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &invalid):
	case invalid.Reason == x509.NoValidChains: // a certificate policy, for which there is no fault
		reasons = append(reasons, Reason{Fault: Malformed, Cert: path[0], Err: err})
	case invalid.Reason == x509.CANotAuthorizedForThisName && len(reasons) == 0:
		reasons = append(reasons, Reason{Fault: NameConstraintViolation, Cert: path[0], Err: err})
	}
	return reasons
}

func hasNameConstraints(c *x509.Certificate) bool { return constraintsOf(c) > 0 }

// constraintsOf returns the number of c's name constraints.
func constraintsOf(c *x509.Certificate) int {
	return len(c.PermittedDNSDomains) + len(c.ExcludedDNSDomains) + len(c.PermittedIPRanges) + len(c.ExcludedIPRanges) +
		len(c.PermittedEmailAddresses) + len(c.ExcludedEmailAddresses) + len(c.PermittedURIDomains) + len(c.ExcludedURIDomains)
}

// hasPolicyConstraints reports whether c makes crypto/x509 reject chains because of their policies.
func hasPolicyConstraints(c *x509.Certificate) bool {
	return c.RequireExplicitPolicy > 0 || c.RequireExplicitPolicyZero || len(c.PolicyMappings) > 0
}

// nameReasons returns the certificates with names for which a CA above them may not issue certificates. There is one reason
// for each certificate.
func (s *search) nameReasons(path []*x509.Certificate) (reasons []Reason) {
	for depth, c := range path {
		if v := s.violation(c, path, depth+1); v != nil {
			reasons = append(reasons, Reason{Fault: NameConstraintViolation, Depth: depth, Cert: c, Err: v})
		}
	}
	return reasons
}

// violation returns the names of c for which the CAs in the path, from this depth on, may not issue certificates. It returns
// nil if there are none.
func (s *search) violation(c *x509.Certificate, path []*x509.Certificate, from int) (first *ConstraintViolation) {
	names := len(c.DNSNames) + len(c.IPAddresses) + len(c.URIs) + len(c.EmailAddresses)
	var depths []int // of the CAs with constraints
	for depth := from; depth < len(path); depth++ {
		if hasNameConstraints(path[depth]) && s.budget.spend(1+names*constraintsOf(path[depth])/200) {
			depths = append(depths, depth)
		}
	}
	if len(depths) == 0 {
		return nil
	}
	var allowed x509.Certificate
	// violates reports whether a name violates the constraints of one of the CAs, which check finds out.
	violates := func(check func(ca *x509.Certificate) *ConstraintViolation) bool {
		for _, depth := range depths {
			v := check(path[depth])
			switch {
			case v == nil:
				continue
			case first == nil:
				first = v
				first.Depth = depth
			default:
				first.Others = append(first.Others, v.Name)
			}
			return true
		}
		return false
	}
	for _, name := range c.DNSNames {
		if !violates(func(ca *x509.Certificate) *ConstraintViolation {
			return check(ca, "DNS name", name, name, ca.PermittedDNSDomains, ca.ExcludedDNSDomains, coversDNS)
		}) {
			allowed.DNSNames = append(allowed.DNSNames, name)
		}
	}
	for _, ip := range c.IPAddresses {
		if !violates(func(ca *x509.Certificate) *ConstraintViolation {
			return check(ca, "IP address", ip.String(), ip, ca.PermittedIPRanges, ca.ExcludedIPRanges, coversIP)
		}) {
			allowed.IPAddresses = append(allowed.IPAddresses, ip)
		}
	}
	for _, u := range c.URIs {
		violates(func(ca *x509.Certificate) *ConstraintViolation {
			return check(ca, "URI", u.String(), u.Hostname(), ca.PermittedURIDomains, ca.ExcludedURIDomains, coversDNS)
		})
	}
	for _, mail := range c.EmailAddresses {
		violates(func(ca *x509.Certificate) *ConstraintViolation {
			return check(ca, "e-mail address", mail, mail, ca.PermittedEmailAddresses, ca.ExcludedEmailAddresses, coversMail)
		})
	}
	if first != nil {
		first.allowed = allowed
	}
	return first
}

// check returns the violation of the constraints of ca by a name, or nil.
func check[N, C any](ca *x509.Certificate, kind, text string, name N, permitted, excluded []C, covers func(constraint C, name N, excluded bool) bool) *ConstraintViolation {
	v := &ConstraintViolation{Kind: kind, Name: text, CA: ca}
	if len(permitted) > 0 && !slices.ContainsFunc(permitted, func(c C) bool { return covers(c, name, false) }) {
		for _, c := range permitted[:min(len(permitted), 5)] {
			v.Constraints = append(v.Constraints, fmt.Sprint(c))
		}
		v.More = len(permitted) - len(v.Constraints)
		return v
	}
	if i := slices.IndexFunc(excluded, func(c C) bool { return covers(c, name, true) }); i >= 0 {
		v.Excluded, v.Constraints = true, []string{fmt.Sprint(excluded[i])}
		return v
	}
	return nil
}

// coversDNS reports whether a constraint covers a DNS name: the constraint itself and all names below it or, if it begins
// with a dot, only those below. A wildcard is excluded if one of the names that it stands for is.
func coversDNS(constraint, name string, excluded bool) bool {
	constraint, name = strings.ToLower(constraint), strings.ToLower(name)
	if constraint == "" || name == constraint {
		return true
	}
	if strings.HasSuffix(name, "."+strings.TrimPrefix(constraint, ".")) {
		return true
	}
	_, parent, _ := strings.Cut(constraint, ".")
	return excluded && parent != "" && name == "*."+parent
}

func coversIP(constraint *net.IPNet, ip net.IP, _ bool) bool { return constraint.Contains(ip) }

// coversMail reports whether a constraint, a whole address or a domain, covers an e-mail address.
func coversMail(constraint, mail string, excluded bool) bool {
	at := strings.LastIndexByte(mail, '@') + 1
	if i := strings.LastIndexByte(constraint, '@') + 1; i > 0 {
		return constraint[:i] == mail[:at] && strings.EqualFold(constraint[i:], mail[at:])
	}
	return coversDNS(constraint, mail[at:], excluded)
}
