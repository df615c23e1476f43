package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"
)

// Remembered is the last valid verdict on one server's chain, and the last good staple that came with it, so that what was
// judged before costs next to nothing as long as nothing can have changed. Its zero value remembers nothing. One
// goroutine uses it at a time. There is one for each of many targets, so it keeps no certificate of a server's own, and
// of others only references, to those that targets have in common.
//
// A verdict holds for the same presented chain, roots and name, and between two moments: those next to the judgement,
// before and after it, at which a certificate of the verified chain begins or ends to be valid. A chain that was good is
// good until then, whatever else is presented or trusted beside it. Other verdicts are not remembered, since what would
// make them good, such as a root that begins to be valid, is not all known. A staple holds as long as the chain is the
// same, until it or the certificate that signed it is out of date.
type Remembered struct {
	chain       [32]byte // SHA-256 of what was presented
	roots       *x509.CertPool
	name        string
	from, until int64               // seconds since 1970, both included, as the ends of a certificate's validity are
	above       []*x509.Certificate // the verified chain without the leaf
	warnings    []Reason            // without Cert
	valid       bool                // whether there is a verdict
	staple      *rememberedStaple   // nil where there is none
}

type rememberedStaple struct {
	sum    [32]byte // SHA-256
	staple Staple
}

// Verify is the function Verify, from memory where that holds. The caller may change the verdict that it gets.
func (r *Remembered) Verify(presented []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) (v *Verdict, remembered bool) {
	sum := sumOf(presented)
	if r.valid && r.chain == sum && r.roots == roots && r.name == name &&
		!now.Before(time.Unix(r.from, 0)) && !now.After(time.Unix(r.until, 0)) {
		v = &Verdict{Trusted: true, Chain: append(append(make([]*x509.Certificate, 0, 1+len(r.above)), presented[0]), r.above...)}
		for _, w := range r.warnings {
			w.Cert = v.Chain[w.Depth]
			v.Warnings = append(v.Warnings, w)
		}
		return v, true
	}
	v = Verify(presented, roots, name, now)
	*r = Remembered{}
	if !v.Valid() {
		return v, false
	}
	*r = Remembered{chain: sum, roots: roots, name: name, valid: true, above: slices.Clone(v.Chain[1:])}
	from, until := v.Chain[0].NotBefore, v.Chain[0].NotAfter
	for _, c := range r.above {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	r.from, r.until = from.Unix(), until.Unix() // which have no fractions
	for _, w := range v.Warnings {
		w.Cert = nil
		r.warnings = append(r.warnings, w)
	}
	return v, false
}

// AddStaple is v.AddStaple, from memory where that holds. v is what Verify returned last, for the same presented chain.
func (r *Remembered) AddStaple(v *Verdict, staple []byte, presented []*x509.Certificate, now time.Time) *Staple {
	var sum [32]byte
	if r.valid && len(staple) > 0 {
		sum = sha256.Sum256(staple)
		if m := r.staple; m != nil && m.sum == sum && !now.Before(m.staple.from) && !now.After(m.staple.until) {
			s := m.staple
			return &s
		}
	}
	s := v.AddStaple(staple, presented, now)
	r.staple = nil
	if r.valid && s != nil && s.Status == StatusGood {
		r.staple = &rememberedStaple{sum, *s}
	}
	return s
}

// sumOf returns a sum over certificates, each of which says itself how long it is.
func sumOf(certificates []*x509.Certificate) (sum [32]byte) {
	h := sha256.New()
	for _, c := range certificates {
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}
