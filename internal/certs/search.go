package certs

import (
	"bytes"
	"cmp"
	"container/heap"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// search looks for the path from the leaf upwards that explains best why crypto/x509 rejects a chain: the one that is
// nearest to a valid one. It takes partial paths in the order of what is wrong with them, as Dijkstra's algorithm does with
// distances. So the first complete path that it takes is the best, and whatever is wrong with one path does not hide
// another.
type search struct {
	presented map[string][]*x509.Certificate // by raw subject, without duplicates
	roots     *Roots
	now       time.Time

	budget  *budget
	links   map[pair]link                      // results of link
	issuing map[*x509.Certificate]issuingRoots // results of issuers
	queue   queue
	added   int
}

type issuingRoots struct {
	roots []*x509.Certificate
	hint  error
}

// budget is the work that is left for explaining one verdict, in units of about 20 µs. It is limited, because foreign servers
// choose what has to be checked.
type budget int

// maxWork is the budget of a verdict: a tenth of a second.
const maxWork budget = 5000

// ErrTooMuchWork is the error about a chain of which not every path could be checked within the budget.
var ErrTooMuchWork = errors.New("the chain has so many certificates with the same names that not every path could be checked")

// spend takes the cost from the budget, and reports whether there was enough.
func (b *budget) spend(cost int) bool {
	*b -= budget(cost)
	return *b >= 0
}

// checkCost returns the cost of checking a signature with the key of c.
func checkCost(c *x509.Certificate) int {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		n := k.N.BitLen()/1024 + 1
		return max(1, n*n*(bits.Len(uint(k.E))+bits.OnesCount(uint(k.E)))/19) // 19 for the usual exponent, 65537
	case *ecdsa.PublicKey:
		if size := k.Curve.Params().BitSize; size > 256 {
			return size / 8
		}
	}
	return 5
}

type pair struct{ cert, issuer *x509.Certificate }

// link is what is wrong with the signature of a certificate by an issuer.
type link struct {
	fault Fault // empty if nothing is
	err   error
}

// broken reports whether another key made the signature, as far as that can be known.
func (l link) broken() bool { return l.fault == BadSignature }

// node is a path: the topmost certificate, and the path below it.
type node struct {
	cert  *x509.Certificate
	below *node // nil for the leaf
	depth int
	link  link // of below.cert and cert

	rooted   bool     // cert is a trusted root
	end      *Reason  // why the path leads to no trusted root; nil if it does, or if it is incomplete
	judged   bool     // constraints are known
	violated []Reason // name constraints and policies that the path violates

	cost    int
	expires time.Time // when the first of the certificates expires
	order   int
}

func (n *node) complete() bool { return n.rooted || n.end != nil }

// path returns the certificates, leaf first.
func (n *node) path() []*x509.Certificate {
	path := make([]*x509.Certificate, n.depth+1)
	for ; n != nil; n = n.below {
		path[n.depth] = n.cert
	}
	return path
}

// verified reports whether crypto/x509 accepts every signature in the path.
func (n *node) verified() bool {
	for ; n != nil; n = n.below {
		if n.link.fault != "" {
			return false
		}
	}
	return true
}

// contains reports whether the path has c, or another certificate of the same CA. Without this check, CAs that certified
// each other would make endless paths. crypto/x509 compares the same.
func (n *node) contains(c *x509.Certificate) bool {
	for ; n != nil; n = n.below {
		if bytes.Equal(n.cert.RawSubject, c.RawSubject) && bytes.Equal(n.cert.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) &&
			bytes.Equal(alternativeNames(n.cert), alternativeNames(c)) {
			return true
		}
	}
	return false
}

func alternativeNames(c *x509.Certificate) []byte {
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			return e.Value
		}
	}
	return nil
}

// The distance of a path from a valid one is the sum of these. A fault that is listed earlier outweighs any number of those
// after it that a path is likely to have. Name constraints and weak signatures take longer to fix than the others.
const (
	costOfBrokenLink      = 1e6
	costOfUnknownRoot     = 1e5
	costOfUncheckedLink   = 1e3
	costOfConstraint      = 12
	costOfWeakSignature   = 11
	costOfAnythingBesides = 10
)

func costOf(r Reason) int {
	switch r.Fault {
	case BadSignature:
		return costOfBrokenLink
	case WeakKey, Malformed:
		return costOfUncheckedLink
	case NameConstraintViolation:
		return costOfConstraint
	case WeakSignature:
		return costOfWeakSignature
	}
	return costOfAnythingBesides
}

// bestPath returns the path from the first of the presented certificates that is nearest to a valid one, as far as the work
// that is left suffices.
func bestPath(presented []*x509.Certificate, roots *Roots, now time.Time, left *budget) *node {
	s := &search{
		roots: roots, now: now, budget: left,
		presented: make(map[string][]*x509.Certificate), links: make(map[pair]link),
		issuing: make(map[*x509.Certificate]issuingRoots),
	}
	for _, c := range presented {
		if same := s.presented[string(c.RawSubject)]; !containsEqual(same, c) {
			s.presented[string(c.RawSubject)] = append(same, c)
		}
	}
	leaf := presented[0]
	first := &node{cert: leaf, expires: leaf.NotAfter, rooted: s.trusts(leaf)}
	first.cost = s.cost(first)
	heap.Push(&s.queue, first)
	for {
		n := heap.Pop(&s.queue).(*node) // never empty, as each path that is not continued is completed
		switch {
		case !n.complete():
			s.extend(n)
		case !n.judged:
			s.judge(n)
			heap.Push(&s.queue, n)
		default:
			return n
		}
	}
}

// extend adds the paths that continue n, or n with the reason why none does.
func (s *search) extend(n *node) {
	top := n.cert
	if *s.budget <= 0 {
		s.finish(n, Reason{Fault: Malformed, Err: ErrTooMuchWork}, costOfUnknownRoot)
		return
	}
	roots, hint := s.issuers(top)
	if selfIssued(top) && !s.link(top, top).broken() {
		r := s.rootReason(n) // a root that is not trusted
		r.TrustedNamesake = isNamesakeHint(hint) || len(s.roots.unusableIssuers(top)) > 0 ||
			slices.ContainsFunc(roots, func(c *x509.Certificate) bool { return s.link(top, c).broken() })
		s.finish(n, r, costOfUnknownRoot)
		return
	}
	var candidates []*node
	named := slices.Concat(roots, s.presented[string(top.RawIssuer)])
	s.budget.spend(len(named) * (n.depth + 1) / 500) // for comparing each with the path
	for i, c := range named {
		if !n.contains(c) {
			candidates = append(candidates, &node{cert: c, below: n, depth: n.depth + 1, rooted: i < len(roots), expires: earlier(n.expires, c.NotAfter)})
		}
	}
	// Those with the right key identifier are checked first, as the budget may not suffice for all.
	slices.SortStableFunc(candidates, func(a, b *node) int {
		return cmp.Compare(rank(otherKey(top, a.cert)), rank(otherKey(top, b.cert)))
	})
	var namesakes []*node
	continued, signed := false, false // signed: by the key of one of the candidates
	for _, next := range candidates {
		if next.link = s.link(top, next.cert); next.link.broken() {
			namesakes = append(namesakes, next)
			continue
		}
		s.add(next)
		continued, signed = true, signed || next.link.fault == ""
	}
	if r := s.rootReason(n); r.Fault == WeakSignature && namesCandidate(hint) {
		s.finish(n, r, costOfUncheckedLink) // the issuer is a trusted root, but crypto/x509 does not reveal it
		return
	}
	unusable := s.roots.unusableIssuers(top)
	for _, u := range unusable {
		if s.link(top, u.ca).broken() || signed && u.ca.PublicKey == nil {
			continue
		}
		fault := Malformed
		if u.Constraints {
			fault = UnhandledCriticalExtension
		}
		s.finish(n, Reason{Fault: fault, Err: u}, costOfUncheckedLink)
		return
	}
	if continued {
		return
	}
	if *s.budget <= 0 {
		s.finish(n, Reason{Fault: Malformed, Err: ErrTooMuchWork}, costOfUnknownRoot)
		return
	}
	// The signature was made by none of the candidates. Another key identifier shows that a candidate is not the issuer, but
	// a CA of the same name. If none shows that, either the certificate was altered or the CA has a new key.
	if i := slices.IndexFunc(namesakes, func(next *node) bool { return !otherKey(top, next.cert) }); i >= 0 {
		s.add(namesakes[i])
		return
	}
	for _, c := range s.renamedRoots(top) {
		if l := s.link(top, c); l.fault == "" && !n.contains(c) {
			s.add(&node{cert: c, below: n, depth: n.depth + 1, rooted: true, link: link{Malformed, ErrNameEncoding}, expires: earlier(n.expires, c.NotAfter)})
			return
		}
	}
	r := s.rootReason(n)
	if hint != nil && r.Fault == UntrustedCA {
		r.Err = hint
	}
	r.TrustedNamesake = isNamesakeHint(hint) || len(unusable) > 0
	for _, next := range namesakes {
		if next.rooted {
			r.TrustedNamesake = true
		} else {
			r.SentNamesake = true
		}
	}
	if r.TrustedNamesake && r.Fault == IncompleteChain {
		r.Fault = UntrustedCA // the issuer is a root, as its name is that of one
	}
	s.finish(n, r, costOfUnknownRoot)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// rank returns 1 for what comes later.
func rank(later bool) int {
	if later {
		return 1
	}
	return 0
}

// issuers is like s.roots.issuers, within the budget.
func (s *search) issuers(c *x509.Certificate) ([]*x509.Certificate, error) {
	found, known := s.issuing[c]
	if !known {
		if !s.roots.revealed() {
			s.budget.spend(20)
		}
		found.roots, found.hint = s.roots.issuers(c, s.now)
		s.issuing[c] = found
	}
	return found.roots, found.hint
}

// trusts is like s.roots.contains, within the budget.
func (s *search) trusts(c *x509.Certificate) bool {
	if !s.roots.revealed() && !s.budget.spend(20) {
		return false
	}
	return s.roots.contains(c, s.now)
}

// renamedRoots is like s.roots.renamed, within the budget.
func (s *search) renamedRoots(c *x509.Certificate) []*x509.Certificate {
	if s.roots == nil || selfIssued(c) || !s.budget.spend(len(s.roots.known)/10) {
		return nil
	}
	return s.roots.renamed(c)
}

func (s *search) add(n *node) {
	s.added++
	n.order = s.added
	n.cost = s.cost(n)
	s.budget.spend(1)
	heap.Push(&s.queue, n)
}

// finish completes the path n with the reason why it does not lead to a trusted root.
func (s *search) finish(n *node, r Reason, cost int) {
	r.Depth, r.Cert = n.depth, n.cert
	end := *n
	end.end = &r
	end.cost += cost
	heap.Push(&s.queue, &end)
}

// cost returns the cost of the faults that are known before the path is complete.
func (s *search) cost(n *node) (cost int) {
	for _, r := range s.reasons(n) {
		cost += costOf(r)
	}
	return cost
}

// reasons returns what is wrong with the signatures and with each certificate on its own.
func (s *search) reasons(n *node) []Reason {
	path := n.path()
	return slices.Concat(n.signatureReasons(), issuerReasons(path), dateReasons(path, s.now), usageReasons(path))
}

// judge finds the name constraints and policies that a complete path violates.
func (s *search) judge(n *node) {
	n.judged = true
	n.violated = s.constraintReasons(n)
	n.cost += costOfConstraint * len(n.violated)
}

// link returns what is wrong with the signature on c, if issuer is the issuer.
func (s *search) link(c, issuer *x509.Certificate) link {
	p := pair{c, issuer}
	l, known := s.links[p]
	if !known {
		cost := checkCost(issuer)
		if isRSA(c.SignatureAlgorithm) != (rsaBits(issuer) > 0) {
			cost = 1 // the key cannot have made the signature, and crypto/x509 does not try
		}
		if !s.budget.spend(cost) {
			return link{BadSignature, ErrTooMuchWork}
		}
		l = s.linkOf(c, issuer)
		s.links[p] = l
	}
	return l
}

func (s *search) linkOf(c, issuer *x509.Certificate) link {
	err := checkSignature(c, issuer)
	unsupported := errors.Is(err, x509.ErrUnsupportedAlgorithm)
	switch size := rsaBits(issuer); {
	case err == nil && isWeak(c.SignatureAlgorithm):
		return link{WeakSignature, x509.InsecureAlgorithmError(c.SignatureAlgorithm)}
	case err == nil:
		return link{}
	case otherKey(c, issuer):
		return link{BadSignature, err}
	case unsupported && !mayMake(keyKind(issuer.RawSubjectPublicKeyInfo), c.SignatureAlgorithm):
		return link{BadSignature, err}
	case issuer.PublicKeyAlgorithm == x509.DSA, issuer.PublicKey == nil:
		return link{Malformed, &UnusableCA{
			Key: keyKind(issuer.RawSubjectPublicKeyInfo), Root: s.trusts(issuer), Err: x509.ErrUnsupportedAlgorithm,
		}}
	case size > 0 && size < minRSA && isRSA(c.SignatureAlgorithm): // crypto/rsa rejects the key without checking the signature
		return link{WeakKey, err}
	case isWeak(c.SignatureAlgorithm) && (unsupported || errors.Is(err, x509.InsecureAlgorithmError(c.SignatureAlgorithm))): // MD2, MD5
		return link{WeakSignature, x509.InsecureAlgorithmError(c.SignatureAlgorithm)}
	case unsupported:
		return link{Malformed, err}
	}
	return link{BadSignature, err}
}

func isRSA(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		return true
	}
	return false
}

// mayMake reports whether a key of this kind can make signatures with an algorithm, as far as Go knows the algorithm.
func mayMake(kind string, a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.UnknownSignatureAlgorithm:
		return true
	case x509.ECDSAWithSHA1, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return strings.HasPrefix(kind, "EC ")
	case x509.DSAWithSHA1, x509.DSAWithSHA256:
		return kind == "DSA"
	case x509.PureEd25519:
		return kind == "Ed25519"
	}
	return strings.HasPrefix(kind, "RSA")
}

// otherKey reports whether the key identifiers show that c was signed with another key than that of issuer.
func otherKey(c, issuer *x509.Certificate) bool {
	return len(c.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId)
}

// queue is a heap of paths. The first is the one with the lowest cost. Of several, it is the one that expires last, and then
// the shortest.
type queue []*node

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case a.cost != b.cost:
		return a.cost < b.cost
	case !a.expires.Equal(b.expires):
		return a.expires.After(b.expires)
	case a.depth != b.depth:
		return a.depth < b.depth
	}
	return a.order < b.order
}

func (q *queue) Push(n any) { *q = append(*q, n.(*node)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	n := (*q)[last]
	(*q)[last], *q = nil, (*q)[:last]
	return n
}

var anyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}

// relax returns a copy of c in which crypto/x509 checks only names, key and signature and, if constraints is true, the
// name constraints and policies.
func relax(c *x509.Certificate, constraints bool) *x509.Certificate {
	r := *c
	r.NotBefore, r.NotAfter = time.Time{}, time.Unix(1<<40, 0)
	r.UnhandledCriticalExtensions = nil
	r.BasicConstraintsValid, r.IsCA, r.MaxPathLen, r.KeyUsage = true, true, -1, 0
	if !constraints {
		r.DNSNames, r.IPAddresses, r.URIs, r.EmailAddresses = nil, nil, nil, nil // without names, nothing is constrained
		r.RequireExplicitPolicy, r.RequireExplicitPolicyZero, r.PolicyMappings = 0, false, nil
	}
	return &r
}

// bestChain returns the one of several valid chains that expires last, and of those the shortest.
func bestChain(chains [][]*x509.Certificate) []*x509.Certificate {
	firstExpiry := func(chain []*x509.Certificate) time.Time {
		return slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
	}
	return slices.MinFunc(chains, func(a, b []*x509.Certificate) int {
		if order := firstExpiry(b).Compare(firstExpiry(a)); order != 0 {
			return order
		}
		return len(a) - len(b)
	})
}

func newPool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
