package certs

import (
	"crypto/x509"
	"slices"
	"time"
)

// Remembered is the last valid verdict on one server's chain, so that a chain which was judged before costs nothing as
// long as nothing can have changed. Its zero value remembers nothing. One goroutine uses it at a time.
//
// It holds for the same presented chain, roots and name, and between two moments: those next to the judgement, before and
// after it, at which a certificate of the verified chain begins or ends to be valid. A chain that was good is good until
// then, whatever else is presented or trusted beside it. Other verdicts are not remembered, since what would make them
// good, such as a root that begins to be valid, is not all known.
type Remembered struct {
	presented   []*x509.Certificate
	roots       *x509.CertPool
	name        string
	from, until time.Time // both included, as the ends of a certificate's validity are
	verdict     *Verdict
}

// Verify is the function Verify, from memory where that holds. The caller may change the verdict that it gets.
func (r *Remembered) Verify(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) (v *Verdict, remembered bool) {
	if r.verdict != nil && r.roots == roots && r.name == name && !now.Before(r.from) && !now.After(r.until) &&
		slices.EqualFunc(r.presented, presented, (*x509.Certificate).Equal) {
		return r.verdict.clone(), true
	}
	v = Verify(presented, roots, name, now)
	*r = Remembered{}
	if v.Valid() {
		*r = Remembered{presented: presented, roots: roots, name: name, verdict: v.clone()}
		r.from, r.until = v.Chain[0].NotBefore, v.Chain[0].NotAfter
		for _, c := range v.Chain {
			if c.NotBefore.After(r.from) {
				r.from = c.NotBefore
			}
			if c.NotAfter.Before(r.until) {
				r.until = c.NotAfter
			}
		}
	}
	return v, false
}

func (v *Verdict) clone() *Verdict {
	c := *v
	c.Chain, c.Reasons, c.Warnings = slices.Clone(v.Chain), slices.Clone(v.Reasons), slices.Clone(v.Warnings)
	return &c
}
