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

// goneAfter is how long a file may be missing before it counts as gone: some programs remove it before they write it anew.
const goneAfter = 10 * time.Second

// ReadFiles reads the target's certificate files and returns an outcome for each. There is one too for each file that is
// gone, and one for a pattern that matches none. It is called before the target's endpoint is probed. again is after how
// long the files should be read again whatever the target's interval, 0 where there is no need.
func (p *Prober) ReadFiles(ctx context.Context, t *target.Target) (outcomes []Outcome, again time.Duration) {
	if t.Files.Pattern == "" {
		return nil, 0
	}
	h := p.history(t)
	before, now := h.files, time.Now()
	h.files = make(map[string]*onDisk, len(before))
	paths, err := t.Files.Match()
	for _, path := range paths {
		if ctx.Err() != nil {
			h.files = before
			return nil, 0
		}
		o := readFile(t, path)
		d := before[path]
		if d == nil {
			d = &onDisk{}
		}
		d.certificates, d.written, d.missing = o.Certificates, written(path), time.Time{}
		h.files[path] = d
		outcomes = append(outcomes, o)
	}
	for path, d := range before {
		if h.files[path] != nil || path == t.Files.Pattern {
			continue
		}
		if d.missing.IsZero() {
			d.missing, d.certificates, again = now, nil, goneAfter
		}
		if err == nil && now.Sub(d.missing) >= goneAfter {
			outcomes = append(outcomes, &Gone{aboutFile(t, path, now)})
		} else {
			h.files[path] = d
		}
	}
	outcomes = append(outcomes, h.pattern(t, before, err, now)...)
	if t.Files.Silent {
		return nil, again
	}
	return outcomes, again
}

// pattern reports on the pattern itself: that it matches no file or cannot be matched, and that it has recovered, after
// which there is nothing more to say of it. That it failed before this process was started, others may remember.
func (h *history) pattern(t *target.Target, before map[string]*onDisk, err error, now time.Time) []Outcome {
	path := t.Files.Pattern
	whole := &FileOutcome{About: aboutFile(t, path, now)}
	switch {
	case err == nil && len(h.files) == 0:
		err = &certs.FileError{Fault: certs.FileNotFound, Err: errors.New("no file matches this pattern")}
	case err != nil:
		err = &certs.FileError{Fault: certs.FileUnreadable, Err: err}
	case h.files[path] == nil && (before == nil || before[path] != nil):
		return []Outcome{whole, &Gone{whole.About}}
	default:
		return nil
	}
	whole.fail(err)
	h.files[path] = &onDisk{}
	return []Outcome{whole}
}

func aboutFile(t *target.Target, path string, now time.Time) About {
	return About{Target: t, Place: target.Place{TargetID: t.ID, Path: path}, Start: now, End: now}
}

func readFile(t *target.Target, path string) *FileOutcome {
	o := &FileOutcome{About: aboutFile(t, path, time.Now())}
	defer func() { o.End = time.Now() }()
	bundle, err := certs.ReadFile(path, certs.Format(t.Files.Format), t.Files.Password)
	if err != nil {
		o.fail(err)
		return o
	}
	o.Certificates, o.Bad = bundle.Certificates, bundle.BadCount
	if o.Bad > 0 {
		o.FirstBad = bundle.Bad[0].Error()
		o.Warnings = append(o.Warnings, failure.Type(certs.Malformed))
	}
	roots := t.Settings().RootCAs
	if v := certs.VerifyDates(o.Certificates, roots, o.Start); !v.Valid() {
		o.Failure = failure.Explain(failure.Evidence{Step: failure.File, Now: o.Start, Endpoint: path, Verdict: v})
	}
	if slices.ContainsFunc(o.Judged(), func(c *x509.Certificate) bool { return t.ExpiryWarning.Near(c, o.Start) }) {
		o.Warnings = append(o.Warnings, failure.NearExpiry)
	}
	return o
}

func (f *FileOutcome) fail(err error) {
	f.Failure = failure.Explain(failure.Evidence{Step: failure.File, Err: err, Now: f.Start, Endpoint: f.Place.Path})
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

// compare reports for each file that could be read whether it has the leaf that is served.
func (h *history) compare(t *target.Target, leaf *x509.Certificate, now time.Time) []OnDisk {
	var files []OnDisk
	for path, d := range h.files {
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
