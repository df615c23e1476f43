package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"
)

// VerdictCache holds the last valid verdict on the chain of one server, and the last good staple that came with it. It
// saves verifying an unchanged chain again. The zero value is an empty cache, ready to use. It is not safe for concurrent
// use. As there is one for each of many targets, it keeps no leaf, only references to intermediates and roots, which
// targets share.
//
// A cached verdict is used as long as the presented chain, the roots and the name are the same, and no certificate of
// the verified chain has become valid or expired. Until then a valid chain stays valid, whatever else is presented or
// trusted. Other verdicts are not cached: they can become valid in ways that are not checked here, such as when the
// validity of a root begins. A cached staple is used as long as the chain is the same, until the staple or its signer's
// certificate expires.
type VerdictCache struct {
	chain       [32]byte // SHA-256 of the presented certificates
	roots       *x509.CertPool
	name        string
	from, until int64               // Unix time, both inclusive, as in a certificate
	issuers     []*x509.Certificate // the verified chain without its leaf
	warnings    []Reason            // with a nil Cert
	valid       bool                // false if there is no verdict
	staple      *cachedStaple       // nil if there is none
}

type cachedStaple struct {
	sum    [32]byte // SHA-256 of the OCSP response
	staple Staple
}

// Verify is like the function Verify, and reports whether the verdict is a cached one. The caller may change the verdict.
func (vc *VerdictCache) Verify(presented []*x509.Certificate, roots *Roots, name string, now time.Time) (v *Verdict, cached bool) {
	sum := sumOf(presented)
	if vc.valid && vc.chain == sum && vc.roots == roots.Pool() && vc.name == name &&
		!now.Before(time.Unix(vc.from, 0)) && !now.After(time.Unix(vc.until, 0)) {
		return vc.verdict(presented[0]), true
	}
	v = Verify(presented, roots, name, now)
	*vc = VerdictCache{}
	if v.Valid() {
		*vc = VerdictCache{chain: sum, roots: roots.Pool(), name: name, valid: true}
		vc.store(v)
	}
	return v, false
}

// verdict returns a copy of the cached verdict.
func (vc *VerdictCache) verdict(leaf *x509.Certificate) *Verdict {
	v := &Verdict{Rooted: true, Trusted: true, Chain: append(append(make([]*x509.Certificate, 0, 1+len(vc.issuers)), leaf), vc.issuers...)}
	for _, w := range vc.warnings {
		w.Cert = v.Chain[w.Depth]
		v.Warnings = append(v.Warnings, w)
	}
	return v
}

func (vc *VerdictCache) store(v *Verdict) {
	vc.issuers = slices.Clone(v.Chain[1:])
	from, until := v.Chain[0].NotBefore, v.Chain[0].NotAfter
	for _, c := range vc.issuers {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	vc.from, vc.until = from.Unix(), until.Unix() // exact: a certificate's times have no fractions of a second
	for _, w := range v.Warnings {
		w.Cert = nil
		vc.warnings = append(vc.warnings, w)
	}
}

// AddStaple is like v.AddStaple. Its arguments v and presented must be those of the last call of Verify.
func (vc *VerdictCache) AddStaple(v *Verdict, response []byte, presented []*x509.Certificate, now time.Time) *Staple {
	var sum [32]byte
	if vc.valid && len(response) > 0 {
		sum = sha256.Sum256(response)
		if c := vc.staple; c != nil && c.sum == sum && !now.Before(c.staple.from) && !now.After(c.staple.until) {
			s := c.staple
			return &s
		}
	}
	s := v.AddStaple(response, presented, now)
	vc.staple = nil
	if vc.valid && s != nil && s.Status == StatusGood {
		vc.staple = &cachedStaple{sum, *s}
	}
	return s
}

// sumOf returns the SHA-256 sum of the concatenated certificates. As DER encodes its length, different lists never have
// the same concatenation.
func sumOf(certificates []*x509.Certificate) (sum [32]byte) {
	h := sha256.New()
	for _, c := range certificates {
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}
