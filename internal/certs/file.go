package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Why no certificate can be read from a file.
const (
	FileNotFound      Fault = "file_not_found"
	FileUnreadable    Fault = "file_unreadable"
	FileTooLarge      Fault = "file_too_large"
	FileEmpty         Fault = "file_empty"
	FileKeyOnly       Fault = "file_key_only" // private keys, but no certificate
	FileWrongPassword Fault = "file_wrong_password"
	FileMalformed     Fault = "file_malformed" // nothing that can be parsed as a certificate
)

// MaxFile is the maximum size of a file in bytes. That of a PKCS#12 file is an eighth of it.
const MaxFile = 16 << 20

const (
	maxCertificates = 10_000 // in a file, including those that cannot be parsed
	maxBad          = 100    // errors in Bundle.Bad
	maxPlace        = 256    // bytes of PartError.Place
)

// Format is how a file holds certificates.
type Format string

const (
	FormatAuto   Format = "auto" // detected from the content, whatever the name of the file; the same as the empty Format
	FormatPEM    Format = "pem"
	FormatDER    Format = "der"    // concatenated certificates, or a PKCS#7 bundle
	FormatPKCS12 Format = "pkcs12" // also accepts JKS, as Java does
	FormatJKS    Format = "jks"    // also accepts JCEKS, and PKCS#12, which is what Java writes to a .jks file by default
)

// Formats returns the names of all formats.
func Formats() []string {
	return []string{string(FormatAuto), string(FormatPEM), string(FormatDER), string(FormatPKCS12), string(FormatJKS)}
}

// FileError is why no certificate can be read from a file. Its text contains neither the password nor parts of keys, and
// is clean.
type FileError struct {
	Fault Fault
	Err   error // the detail; may be nil
	// Format is that of a file whose certificates are malformed. It is empty for all other faults, and if the file is not
	// in the expected format, or in none.
	Format Format
	// Others is the number of certificates that can be read, though the file's own cannot. It is 0 except for FileMalformed.
	Others int
}

var fileFaults = map[Fault]string{
	FileNotFound:      "the file does not exist",
	FileUnreadable:    "the file cannot be read",
	FileTooLarge:      "the file is too large",
	FileEmpty:         "the file is empty",
	FileKeyOnly:       "the file contains private keys but no certificate",
	FileWrongPassword: "the password is wrong",
	FileMalformed:     "no certificate can be read from the file",
}

func (e *FileError) Error() string {
	s := fileFaults[e.Fault]
	if e.Others > 0 {
		s = "the certificate that a server would present cannot be read"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return text.Clean(s, 256)
}

func (e *FileError) Unwrap() error { return e.Err }

// Bundle is the content of a file: at least one certificate.
type Bundle struct {
	Format Format // the detected one
	// Certificates are in the order of the file. In a keystore with a key, each leaf comes before its chain. The entries
	// of a JKS keystore are sorted by their aliases.
	Certificates []*x509.Certificate
	Depths       []int   // of Certificates: how many certificates precede each, including those that cannot be read
	Bad          []error // the first errors about parts of the file that cannot be read, each a *PartError
	BadCount     int     // number of all parts that cannot be read

	// BadLeaf is why the certificate that a server would present cannot be read. It is nil if that can be read, or if the
	// file is a bundle of CA certificates.
	BadLeaf *FileError
}

// PartError is why a part of a file cannot be read.
type PartError struct {
	Place string // such as "PEM block at line 1"
	Err   error  // an *Unreadable if other programs may be able to read it
}

// Error returns clean text.
func (e *PartError) Error() string { return text.Clean(e.Place+": "+e.Err.Error(), 256) }

func (e *PartError) Unwrap() error { return e.Err }

// ReadFile reads the certificates in the regular file at path, or in the regular file to which it links. The error is
// always a *FileError.
func ReadFile(path string, format Format, password string) (*Bundle, error) {
	data, err := diskfile.Read(path, MaxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &FileError{Fault: FileNotFound}
	case errors.Is(err, diskfile.ErrTooLarge):
		return nil, &FileError{Fault: FileTooLarge, Err: fmt.Errorf("more than %d MiB", MaxFile>>20)}
	case err != nil:
		return nil, &FileError{Fault: FileUnreadable, Err: err}
	}
	return ParseFile(data, format, password)
}

// ParseFile is like ReadFile, for the content of a file.
func ParseFile(data []byte, format Format, password string) (bundle *Bundle, err error) {
	defer func() {
		if p := recover(); p != nil { // the PKCS#12 library may not be safe for every input
			bundle, err = nil, &FileError{Fault: FileMalformed, Err: fmt.Errorf("the decoder panicked: %v", p)}
		}
	}()
	found, err := detectFormat(data, format)
	if err != nil {
		return nil, err
	}
	r := reader{Bundle: Bundle{Format: found}}
	switch found {
	case FormatPEM:
		r.readPEM(data)
	case FormatDER:
		r.readDER(data)
	case FormatPKCS12:
		r.readPKCS12(data, password)
	case FormatJKS:
		r.readJKS(data, password)
	}
	return r.result(password)
}

// detectFormat returns the format of data. It is an error if the format is unknown or not the expected one, or if data is
// too large for it.
func detectFormat(data []byte, expected Format) (Format, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return "", &FileError{Fault: FileEmpty}
	}
	found := formatOf(data)
	if found == "" && ParseUnreadable(data) != nil { // in BER
		found = FormatDER
	}
	isKeystore := func(f Format) bool { return f == FormatPKCS12 || f == FormatJKS }
	switch {
	case found == "" && data[0] == byte(asn1.SEQUENCE):
		return "", &FileError{Fault: FileMalformed, Err: errors.New("it starts like DER, but is truncated, BER-encoded, or not a certificate")}
	case found == "":
		return "", &FileError{Fault: FileMalformed, Err: errors.New("it is not PEM, DER, PKCS#12 or JKS")}
	case expected != "" && expected != FormatAuto && expected != found && !(isKeystore(expected) && isKeystore(found)):
		return "", &FileError{Fault: FileMalformed, Err: fmt.Errorf("expected %s, but its format is %s", expected, found)}
	case found == FormatPKCS12 && len(data) > maxPKCS12:
		return "", &FileError{Fault: FileTooLarge, Err: fmt.Errorf("more than %d MiB of PKCS#12", maxPKCS12>>20)}
	}
	return found, nil
}

// formatOf returns the format of data, or the empty Format if it is unknown.
func formatOf(data []byte) Format {
	var first cryptobyte.String
	s := cryptobyte.String(data)
	isDER := s.ReadASN1Element(&first, asn1.SEQUENCE)
	switch kind := kindOf(first); {
	case bytes.HasPrefix(data, []byte(magicJKS)) || bytes.HasPrefix(data, []byte(magicJCEKS)):
		return FormatJKS
	case isDER && kind == kindPKCS12:
		return FormatPKCS12
	case isDER && kind != "": // text that starts with the digit 0 has the tag of a SEQUENCE, but no known kind
		return FormatDER
	case bytes.Contains(data, []byte(beginPEM)):
		return FormatPEM
	}
	return ""
}

// reader collects what it finds in a file.
type reader struct {
	Bundle
	added    int    // certificates, including bad ones
	hasKey   bool   // the file contains a private key
	isLocked bool   // the password does not open all of it
	other    string // type of a PEM block that is neither a certificate nor a key

	noCertificates int // parts that cannot be read, but are not certificates

	ownsKey     bool  // the next certificate is that of a private key in a Java keystore
	badKeyOwner error // about the first such certificate that cannot be read
	badOther    error // about the first part that cannot be read and is not known to be the certificate of a CA
}

// result returns the bundle, or a *FileError if no certificate was found.
func (r *reader) result(password string) (*Bundle, error) {
	e := &FileError{}
	switch {
	case len(r.Certificates) > 0:
		if err := r.badLeaf(); err != nil {
			r.BadLeaf = &FileError{Fault: FileMalformed, Err: err, Others: len(r.Certificates)}
		}
		return &r.Bundle, nil
	case r.isLocked:
		e.Fault = FileWrongPassword
		if password == "" {
			e.Err = errors.New("no password is configured")
		}
	case r.BadCount > 0:
		e.Fault, e.Err = FileMalformed, r.Bad[0]
		if r.BadCount > r.noCertificates {
			e.Format = r.Format
		}
	case r.hasKey:
		e.Fault = FileKeyOnly
	case r.other != "":
		e.Fault, e.Err = FileMalformed, fmt.Errorf("it contains a PEM block of type %q", r.other)
	default:
		e.Fault, e.Err = FileEmpty, errors.New("it has no entries")
	}
	return nil, e
}

// badLeaf returns why the certificate that a server would present cannot be read. It is nil if that can be read, or if all
// certificates are those of CAs, and the file is a bundle of them.
func (r *reader) badLeaf() error {
	onlyCAs := !slices.ContainsFunc(r.Certificates, func(c *x509.Certificate) bool { return !c.IsCA })
	switch {
	case r.badKeyOwner != nil:
		return r.badKeyOwner
	case r.badOther != nil && onlyCAs && r.Format == FormatPKCS12 && r.hasKey: // whose order means nothing
		for i := range r.Depths {
			r.Depths[i] = i + 1
		}
		return r.badOther
	case r.Depths[0] == 0 || onlyCAs && r.badOther == nil:
		return nil
	}
	return r.Bad[0]
}

// add parses a certificate. It parses a copy, so that the certificate does not keep the whole file, with its keys, in
// memory. The place in the file is a format for args.
func (r *reader) add(der []byte, place string, args ...any) {
	if r.added++; r.added > maxCertificates {
		r.addBad(errTooMany, place, args...)
		return
	}
	c, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		if u := ParseUnreadable(der); u != nil {
			err = u
		}
		r.addBad(err, place, args...)
		return
	}
	r.Certificates = append(r.Certificates, c)
	r.Depths = append(r.Depths, len(r.Certificates)-1+r.BadCount-r.noCertificates)
}

// addBad counts a part of the file that cannot be read.
func (r *reader) addBad(err error, place string, args ...any) {
	r.BadCount++
	u, ok := err.(*Unreadable)
	isOther, ownsKey := r.badOther == nil && !(ok && u.IsCA), r.badKeyOwner == nil && r.ownsKey
	if len(r.Bad) >= maxBad && !isOther && !ownsKey {
		return // naming the place takes long, as an alias may
	}
	bad := &PartError{Place: text.Clean(fmt.Sprintf(place, args...), maxPlace), Err: err}
	if len(r.Bad) < maxBad {
		r.Bad = append(r.Bad, bad)
	}
	if isOther {
		r.badOther = bad
	}
	if ownsKey {
		r.badKeyOwner = bad
	}
}

// next names the place of the next certificate in a file where certificates have no names.
func (r *reader) next() string {
	return fmt.Sprintf("certificate %d", len(r.Certificates)+r.BadCount+1)
}

var (
	errMalformed = errors.New("malformed")
	errTooMany   = fmt.Errorf("not read, as there are more than %d certificates", maxCertificates)
)
