package certs

import (
	"bytes"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

const (
	maxKnown          = 1000 // subjects
	maxKnownNamesakes = 4    // certificates of one subject
	maxCompletion     = 8    // certificates that a server can have forgotten
)

// Known keeps the intermediates of chains that were good, so that one which another server forgot to send can be told
// from an unknown root. Its zero value is ready and any number of goroutines may use one. It is bounded: what does not
// fit is not kept.
type Known struct {
	mu        sync.RWMutex
	bySubject map[string][]*x509.Certificate
}

// Add keeps the intermediates of a chain that leads to a trusted root.
func (k *Known) Add(chain []*x509.Certificate) {
	for i, c := range chain {
		if i == 0 || i == len(chain)-1 || k.has(c) {
			continue
		}
		k.mu.Lock()
		if k.bySubject == nil {
			k.bySubject = make(map[string][]*x509.Certificate)
		}
		same, room := k.bySubject[string(c.RawSubject)], len(k.bySubject) < maxKnown
		if (same != nil || room) && len(same) < maxKnownNamesakes && !slices.ContainsFunc(same, c.Equal) {
			k.bySubject[string(c.RawSubject)] = append(same, c)
		}
		k.mu.Unlock()
	}
}

func (k *Known) has(c *x509.Certificate) bool {
	return slices.ContainsFunc(k.issuers(c.RawSubject), c.Equal)
}

func (k *Known) issuers(subject []byte) []*x509.Certificate {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.bySubject[string(subject)]
}

// Complete looks for the certificates that an untrusted chain lacks. Where the known ones lead it to a trusted root the
// reason is that the server did not send them: it becomes IncompleteChain, and Missing the first of them.
func (k *Known) Complete(v *Verdict, roots *x509.CertPool, now time.Time) {
	top := v.Chain[len(v.Chain)-1]
	i := slices.IndexFunc(v.Reasons, func(r Reason) bool { return r.Fault == UntrustedCA || r.Fault == IncompleteChain })
	if i < 0 || selfIssued(top) {
		return
	}
	longer := slices.Clone(v.Chain)
	for next := len(v.Chain) - 1; next < len(longer) && len(longer) < len(v.Chain)+maxCompletion; next++ {
		for _, c := range k.issuers(longer[next].RawIssuer) {
			if !slices.ContainsFunc(longer, c.Equal) {
				longer = append(longer, c)
			}
		}
	}
	path, _ := trustedPath(longer, roots, now)
	at := slices.IndexFunc(path, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, top.Raw) })
	if at < 0 || at+1 >= len(path) {
		return
	}
	v.Missing = path[at+1]
	v.Reasons[i].Fault = IncompleteChain
}
