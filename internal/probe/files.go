package probe

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

// onDisk is what is kept of a file from one reading to the next.
type onDisk struct {
	certificates []*x509.Certificate // none where it could not be read
	written      time.Time           // the file, or the link to it
	served       time.Time           // when its leaf was last seen to be served
	differs      time.Time           // since when it is not; zero while it is
	missing      time.Time           // since when it is not there, and had been; zero while it is
}

// patience is how long a file may be missing before it counts as gone: some programs remove it before they write it anew.
const patience = 10 * time.Second

// Files reads the target's certificate files, each of which has an Outcome. There is one too for each file that is no
// longer among them, and one for a pattern that stands for none. It is called before the target's endpoint is probed,
// and by one goroutine at a time for one target.
func (p *Prober) Files(ctx context.Context, t *target.Target) (outcomes []*Outcome) {
	if t.Files.Pattern == "" {
		return nil
	}
	m := p.memory(t)
	before, now := m.files, time.Now()
	m.files = make(map[string]*onDisk, len(before))
	paths, err := t.Files.Match()
	for _, path := range paths {
		if ctx.Err() != nil {
			m.files = before
			return nil
		}
		o := readFile(t, path)
		d := before[path]
		if d == nil {
			d = &onDisk{}
		}
		d.certificates, d.written, d.missing = o.File.Certificates, written(path), time.Time{}
		m.files[path] = d
		outcomes = append(outcomes, o)
	}
	for path, d := range before {
		if m.files[path] != nil || path == t.Files.Pattern {
			continue
		}
		if d.missing.IsZero() {
			d.missing, d.certificates = now, nil
			if p.Again != nil {
				p.Again(t, patience)
			}
		}
		if err == nil && now.Sub(d.missing) >= patience {
			outcomes = append(outcomes, &Outcome{Target: t, Start: now, End: now, File: &File{Path: path}, Gone: true})
		} else {
			m.files[path] = d
		}
	}
	outcomes = append(outcomes, m.pattern(t, before, err, now)...)
	if t.Files.Silent {
		return nil
	}
	return outcomes
}

// pattern tells of the pattern itself: that it stands for no file or cannot be matched, and that it is in good health again,
// with which it has nothing more to say. That it was not before this process was started, others may remember.
func (m *memory) pattern(t *target.Target, before map[string]*onDisk, err error, now time.Time) []*Outcome {
	path := t.Files.Pattern
	whole := &Outcome{Target: t, Start: now, End: now, File: &File{Path: path}}
	switch {
	case err == nil && len(m.files) == 0:
		err = &certs.FileError{Fault: certs.FileNotFound, Err: errors.New("no file is of this pattern")}
	case err != nil:
		err = &certs.FileError{Fault: certs.FileUnreadable, Err: err}
	case m.files[path] == nil && (before == nil || before[path] != nil):
		return []*Outcome{whole, {Target: t, Start: now, End: now, File: &File{Path: path}, Gone: true}}
	default:
		return nil
	}
	whole.failFile(err)
	m.files[path] = &onDisk{}
	return []*Outcome{whole}
}

func readFile(t *target.Target, path string) *Outcome {
	o := &Outcome{Target: t, Start: time.Now(), File: &File{Path: path}}
	defer func() { o.End = time.Now() }()
	bundle, err := certs.ReadFile(path, certs.Format(t.Files.Format), t.Files.Password)
	if err != nil {
		o.failFile(err)
		return o
	}
	f := o.File
	f.Certificates, f.Bad = bundle.Certificates, bundle.BadCount
	if f.Bad > 0 {
		f.FirstBad = bundle.Bad[0].Error()
		f.Warnings = append(f.Warnings, failure.Type(certs.Malformed))
	}
	roots := t.Settings().RootCAs
	if v := certs.VerifyDates(f.Certificates, roots, o.Start); !v.Valid() {
		o.Failure = failure.Explain(failure.Evidence{Step: failure.File, Now: o.Start, Endpoint: path, Verdict: v})
	}
	if slices.ContainsFunc(f.Judged(), func(c *x509.Certificate) bool { return t.ExpiryWarning.Near(c, o.Start) }) {
		f.Warnings = append(f.Warnings, failure.NearExpiry)
	}
	return o
}

func (o *Outcome) failFile(err error) {
	o.Failure = failure.Explain(failure.Evidence{Step: failure.File, Err: err, Now: o.Start, Endpoint: o.File.Path})
}

// written returns when a file came to be what it is: when it was written or, where the path is a link, when that was laid.
// It is zero where there is no telling.
func written(path string) (at time.Time) {
	for _, stat := range []func(string) (fs.FileInfo, error){os.Stat, os.Lstat} {
		if info, err := stat(path); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}

// compare tells for each file that could be read whether it has the leaf that is served.
func (m *memory) compare(t *target.Target, leaf *x509.Certificate, now time.Time) []OnDisk {
	var files []OnDisk
	for path, d := range m.files {
		f := OnDisk{Path: path, Served: slices.ContainsFunc(d.certificates, leaf.Equal)}
		// A bundle of CAs is not there to be served, nor is a certificate of the kind that was not asked for.
		i := slices.IndexFunc(d.certificates, func(c *x509.Certificate) bool { return !c.IsCA && ofType(c, t.CertificateType) })
		switch {
		case f.Served:
		case i < 0:
			continue
		default:
			f.Leaf = d.certificates[i]
		}
		switch {
		case f.Served:
			d.served, d.differs = now, time.Time{}
		case d.differs.IsZero():
			// They differ since the file was written, or, if that is later, what is served was issued; unless they were
			// the same after that: then the server changed.
			d.differs = d.written
			if leaf.NotBefore.After(d.differs) && leaf.NotBefore.Before(now) {
				d.differs = leaf.NotBefore
			}
			if d.differs.Before(d.served) || d.differs.IsZero() {
				d.differs = now
			}
		}
		f.Since = d.differs
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b OnDisk) int { return cmp.Compare(a.Path, b.Path) })
	return files
}

func ofType(c *x509.Certificate, certificateType string) bool {
	switch certificateType {
	case "ecdsa":
		return c.PublicKeyAlgorithm != x509.RSA // Ed25519 is offered with ECDSA
	case "rsa":
		return c.PublicKeyAlgorithm == x509.RSA
	}
	return true
}
