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

// fileHistory is what is kept about a file between probes.
type fileHistory struct {
	certificates []*x509.Certificate // none if it is missing or could not be read
	badLeaf      bool                // see FileOutcome
	modified     time.Time           // see modTime
	served       time.Time           // when the endpoint was last seen to serve its leaf; zero if never
	differs      time.Time           // since when the endpoint has not served its leaf; zero if it serves it
	missing      time.Time           // since when the file has been missing; zero if it exists
	keyFitted    bool                // whether the private key fitted when it was last read
	keyDiffers   time.Time           // since when it has not fitted; zero if it fits
}

// goneAfter is how long a file must be missing before it counts as gone. Some programs remove a file before they write the
// new one.
const goneAfter = 10 * time.Second

// renewedWithin is how long a private key may not fit its certificate before that counts as a failure. Programs that renew
// both write one after the other.
const renewedWithin = 10 * time.Second

// ReadFiles reads the target's certificate files. It returns an outcome for each file, a Gone for each file that is gone, and
// an outcome for a pattern that matches no file. It returns none if ctx is cancelled. It must be called before the target's
// endpoint is probed, as that compares the served certificate with the files. again is the time after which the files
// should be read again, even if the target's interval is longer; 0 means that the interval is enough.
func (p *Prober) ReadFiles(ctx context.Context, t *target.Target) (outcomes []Outcome, again time.Duration) {
	if t.Files.Pattern == "" {
		return nil, 0
	}
	h := p.history(t)
	before, now := h.files, time.Now()
	h.files = make(map[string]*fileHistory, len(before))
	paths, err := t.Files.Match()
	for _, path := range paths {
		if ctx.Err() != nil {
			h.files = before
			return nil, 0
		}
		file := before[path]
		if file == nil {
			file = &fileHistory{}
		}
		o, unsettled := readFile(t, path, file)
		if again == 0 || unsettled > 0 && unsettled < again {
			again = unsettled
		}
		file.certificates, file.badLeaf, file.modified, file.missing = o.Certificates, o.BadLeaf, modTime(path), time.Time{}
		h.files[path] = file
		outcomes = append(outcomes, o)
	}
	for path, file := range before {
		if h.files[path] != nil || path == t.Files.Pattern {
			continue
		}
		if file.missing.IsZero() {
			file.missing, file.certificates = now, nil
			if again == 0 {
				again = goneAfter
			}
		}
		if err == nil && now.Sub(file.missing) >= goneAfter {
			outcomes = append(outcomes, &Gone{aboutFile(t, path, now)})
		} else {
			h.files[path] = file
		}
	}
	outcomes = append(outcomes, h.patternOutcomes(t, before, err, now)...)
	if t.Files.Silent {
		return nil, again
	}
	return outcomes, again
}

// patternOutcomes returns the outcomes for the pattern itself. err is the error of matching it, or nil. A pattern that
// cannot be matched, or that matches no file, has failed. When it has recovered, there are two outcomes: a success, and a
// Gone, as the pattern itself has no certificates. These two are also returned for a target's first probe: the pattern may
// have failed before the collector was restarted, and observers may have stored that.
func (h *history) patternOutcomes(t *target.Target, before map[string]*fileHistory, err error, now time.Time) []Outcome {
	path := t.Files.Pattern
	o := &FileOutcome{About: aboutFile(t, path, now)}
	switch {
	case err == nil && len(h.files) == 0:
		err = &certs.FileError{Fault: certs.FileNotFound, Err: errors.New("no file matches this pattern")}
	case err != nil:
		err = &certs.FileError{Fault: certs.FileUnreadable, Err: err}
	case h.files[path] == nil && (before == nil || before[path] != nil):
		return []Outcome{o, &Gone{o.About}}
	default:
		return nil
	}
	o.fail(err, nil)
	h.files[path] = &fileHistory{}
	return []Outcome{o}
}

func aboutFile(t *target.Target, path string, now time.Time) About {
	return About{Target: t, Place: target.Place{TargetID: t.ID, Path: path}, Start: now, End: now}
}

// readFile reads one file of the target, and its private key. again is the time after which it should be read again, as
// both may be about to be renewed; 0 if not.
func readFile(t *target.Target, path string, file *fileHistory) (o *FileOutcome, again time.Duration) {
	o = &FileOutcome{About: aboutFile(t, path, time.Now())}
	defer func() { o.End = time.Now() }()
	bundle, err := certs.ReadFile(path, certs.Format(t.Files.Format), t.Files.Password)
	if err != nil {
		o.fail(err, nil)
		return o, 0
	}
	o.Certificates, o.Depths, o.BadLeaf, o.Bad = bundle.Certificates, bundle.Depths, bundle.BadLeaf != nil, bundle.BadCount
	if o.Bad > 0 {
		o.FirstBad = bundle.Bad[0].Error()
		o.Warnings = append(o.Warnings, failure.Type(certs.Malformed))
	}
	if slices.ContainsFunc(o.Judged(), func(c *x509.Certificate) bool { return t.ExpiryWarning.Near(c, o.Start) }) {
		o.Warnings = append(o.Warnings, failure.NearExpiry)
	}
	if o.BadLeaf {
		o.fail(bundle.BadLeaf, nil)
		return o, 0
	}
	if t.Files.Key != "" && !t.Files.Silent {
		again, err = file.checkKey(t.Files.Key, path, o)
	}
	if v := certs.VerifyDates(o.Certificates, t.Settings().Roots, o.Start); err != nil || !v.Valid() {
		o.fail(err, v)
	}
	return o, again
}

// checkKey returns what is wrong with the private key of the file at path. It returns nil if nothing is, or if certificate
// and key are being renewed. In this case, again is the time after which to check again.
func (f *fileHistory) checkKey(key, path string, o *FileOutcome) (again time.Duration, err error) {
	if err = certs.CheckKey(key, o.Certificates); err == nil {
		f.keyFitted, f.keyDiffers = true, time.Time{}
		return 0, nil
	}
	if f.keyDiffers.IsZero() {
		f.keyDiffers = o.Start // one of the two has just been replaced, even if it has an old modification time
		if !f.keyFitted {
			f.keyDiffers = modTime(path)
			if k := modTime(key); k.After(f.keyDiffers) {
				f.keyDiffers = k
			}
			if f.keyDiffers.After(o.Start) { // a time in the future means nothing
				f.keyDiffers = o.Start.Add(-renewedWithin)
			}
		}
	}
	if again = f.keyDiffers.Add(renewedWithin).Sub(o.Start); again > 0 {
		return again, nil
	}
	return 0, err
}

// fail sets the failure of the outcome to err, explained, or to the verdict if err is nil. The verdict may be nil if err is
// not.
func (f *FileOutcome) fail(err error, v *certs.Verdict) {
	f.Failure = failure.Explain(failure.Evidence{Step: failure.File, Err: err, Now: f.Start, Endpoint: f.Place.Path, Verdict: v})
}

// modTime returns when a file was last modified. If the path is a symbolic link, it returns when the link was created, if
// that is later. It returns the zero time if the file does not exist.
func modTime(path string) (modified time.Time) {
	for _, stat := range []func(string) (fs.FileInfo, error){os.Stat, os.Lstat} {
		if info, err := stat(path); err == nil && info.ModTime().After(modified) {
			modified = info.ModTime()
		}
	}
	return modified
}

// compare compares the served leaf with the certificates of each file. It leaves out files that have neither the leaf nor
// another certificate that the endpoint could serve, and those whose own leaf cannot be read: the endpoint may serve that.
func (h *history) compare(t *target.Target, leaf *x509.Certificate, now time.Time) []OnDisk {
	var files []OnDisk
	for path, file := range h.files {
		f := OnDisk{Path: path, Served: slices.ContainsFunc(file.certificates, leaf.Equal)}
		if f.Served {
			file.served, file.differs = now, time.Time{}
			files = append(files, f)
			continue
		}
		if file.badLeaf {
			continue
		}
		// A CA certificate is not meant to be served, and one of another type was not requested.
		i := slices.IndexFunc(file.certificates, func(c *x509.Certificate) bool { return !c.IsCA && hasType(c, t.CertificateType) })
		if i < 0 {
			continue
		}
		if file.differs.IsZero() {
			// The difference began when the file was modified or, if that is later, when the served certificate was issued.
			// But if the endpoint has served the file's leaf since then, the server has changed, and just now.
			file.differs = file.modified
			if leaf.NotBefore.After(file.differs) && leaf.NotBefore.Before(now) {
				file.differs = leaf.NotBefore
			}
			if file.differs.Before(file.served) || file.differs.IsZero() {
				file.differs = now
			}
		}
		f.Leaf, f.Since = file.certificates[i], file.differs
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b OnDisk) int { return cmp.Compare(a.Path, b.Path) })
	return files
}

// hasType reports whether c is of the certificate type, which is empty for any.
func hasType(c *x509.Certificate, certificateType string) bool {
	switch certificateType {
	case "ecdsa":
		return c.PublicKeyAlgorithm != x509.RSA // the ECDSA cipher suites allow Ed25519 too (RFC 8422, section 2.1)
	case "rsa":
		return c.PublicKeyAlgorithm == x509.RSA
	}
	return true
}
