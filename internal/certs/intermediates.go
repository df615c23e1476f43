package certs

import (
	"bytes"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

const (
	maxSubjects  = 1000 // of cached intermediates
	maxNamesakes = 4    // cached intermediates with the same subject
	maxMissing   = 8    // certificates that are added to one chain
)

// Intermediates is a cache of the intermediates in trusted chains. With it, a chain from which the server left out an
// intermediate can be distinguished from one with an unknown root. The zero value is an empty cache, ready to use. It
// is safe for concurrent use. Its size is bounded: once it is full, further intermediates are not added.
type Intermediates struct {
	mu        sync.RWMutex
	bySubject map[string][]*x509.Certificate
}

// Add caches the intermediates of a chain, which goes from the leaf to a trusted root.
func (i *Intermediates) Add(chain []*x509.Certificate) {
	if len(chain) < 3 {
		return
	}
	for _, c := range chain[1 : len(chain)-1] {
		if !slices.ContainsFunc(i.withSubject(c.RawSubject), c.Equal) { // so that most calls need no write lock
			i.add(c)
		}
	}
}

func (i *Intermediates) add(c *x509.Certificate) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.bySubject == nil {
		i.bySubject = make(map[string][]*x509.Certificate)
	}
	namesakes := i.bySubject[string(c.RawSubject)]
	if namesakes == nil && len(i.bySubject) >= maxSubjects || len(namesakes) >= maxNamesakes || slices.ContainsFunc(namesakes, c.Equal) {
		return
	}
	i.bySubject[string(c.RawSubject)] = append(namesakes, c)
}

func (i *Intermediates) withSubject(subject []byte) []*x509.Certificate {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.bySubject[string(subject)]
}

// FindMissing looks for the certificates that the server left out of an untrusted chain. If cached intermediates connect
// the chain to a trusted root, the reason becomes IncompleteChain, and v.Missing the first certificate that was left out.
func (i *Intermediates) FindMissing(v *Verdict, roots *Roots, now time.Time) {
	top := v.Chain[len(v.Chain)-1]
	reason := slices.IndexFunc(v.Reasons, func(r Reason) bool { return r.Fault == UntrustedCA || r.Fault == IncompleteChain })
	if reason < 0 || selfIssued(top) {
		return
	}
	candidates := slices.Clone(v.Chain)
	for next := len(v.Chain) - 1; next < len(candidates) && len(candidates) < len(v.Chain)+maxMissing; next++ {
		for _, c := range i.withSubject(candidates[next].RawIssuer) {
			if !slices.ContainsFunc(candidates, c.Equal) {
				candidates = append(candidates, c)
			}
		}
	}
	best := bestPath(candidates, roots, now, &v.left)
	if !best.rooted || !best.verified() {
		return
	}
	path := best.path()
	at := slices.IndexFunc(path, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, top.Raw) })
	if at < 0 || at+1 >= len(path) {
		return
	}
	v.Missing = path[at+1]
	v.Reasons[reason].Fault = IncompleteChain
}
