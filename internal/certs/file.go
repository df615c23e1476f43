package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Why a file gives no certificate.
const (
	FileNotFound      Fault = "file_not_found"
	FileUnreadable    Fault = "file_unreadable"
	FileTooLarge      Fault = "file_too_large"
	FileEmpty         Fault = "file_empty"
	FileKeyOnly       Fault = "file_key_only" // private keys, and no certificate
	FileWrongPassword Fault = "file_wrong_password"
	FileMalformed     Fault = "file_malformed" // nothing in it can be read as a certificate
)

// MaxFile is how many bytes a file may have. A PKCS#12 file may have an eighth of it.
const MaxFile = 16 << 20

const (
	maxCertificates = 10_000 // in a file, those that cannot be read included
	maxBad          = 100    // errors that are kept
)

// Format is how a file holds certificates. The empty one is found out from the content, whatever the file is called.
type Format string

const (
	FormatAuto   Format = "auto" // the same as the empty one
	FormatPEM    Format = "pem"
	FormatDER    Format = "der"    // certificates one after the other, or a PKCS#7 bundle
	FormatPKCS12 Format = "pkcs12" // as in Java, JKS too
	FormatJKS    Format = "jks"    // as in Java, PKCS#12 too, as Java makes it by default under this name; and JCEKS
)

// Formats returns the names of all formats.
func Formats() []string {
	return []string{string(FormatAuto), string(FormatPEM), string(FormatDER), string(FormatPKCS12), string(FormatJKS)}
}

// FileError is why a file gives no certificate. Its text has neither the password nor keys in it, and is clean.
type FileError struct {
	Fault Fault
	Err   error // the detail; may be nil
}

func (e *FileError) Error() string {
	s := map[Fault]string{
		FileNotFound:      "there is no such file",
		FileUnreadable:    "the file cannot be read",
		FileTooLarge:      "the file is too large",
		FileEmpty:         "the file is empty",
		FileKeyOnly:       "the file holds private keys and no certificate",
		FileWrongPassword: "the password is wrong",
		FileMalformed:     "no certificate can be read from the file",
	}[e.Fault]
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return text.Clean(s, 256)
}

func (e *FileError) Unwrap() error { return e.Err }

// Bundle is what a file holds: at least one certificate.
type Bundle struct {
	Format Format // the one found
	// Certificates are in the file's order. Those of a keystore are in the order of its entries, each entry's leaf
	// before its chain: a JKS is sorted by aliases, a PKCS#12 has its entries in the file's order.
	Certificates []*x509.Certificate
	Bad          []error // what could not be read, the first of all that BadCount counts; their text is clean
	BadCount     int
}

// ReadFile reads the certificates in the regular file at path, which may be a symbolic link to it. The error is always a
// *FileError.
func ReadFile(path string, format Format, password string) (*Bundle, error) {
	data, err := diskfile.Read(path, MaxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &FileError{Fault: FileNotFound}
	case errors.Is(err, diskfile.ErrTooLarge):
		return nil, &FileError{FileTooLarge, fmt.Errorf("more than %d MiB", MaxFile>>20)}
	case err != nil:
		return nil, &FileError{FileUnreadable, err}
	}
	return ParseFile(data, format, password)
}

// ParseFile is ReadFile for a file's content.
func ParseFile(data []byte, format Format, password string) (bundle *Bundle, err error) {
	defer func() {
		if p := recover(); p != nil { // the library for PKCS#12 may not be prepared for all bytes
			bundle, err = nil, &FileError{FileMalformed, fmt.Errorf("its decoder panicked: %v", p)}
		}
	}()
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &FileError{Fault: FileEmpty}
	}
	found := formatOf(data)
	isKeystore := func(f Format) bool { return f == FormatPKCS12 || f == FormatJKS }
	switch {
	case found == "" && data[0] == byte(asn1.SEQUENCE):
		return nil, &FileError{FileMalformed, errors.New("it begins like DER, but is cut off, or BER, or about something else")}
	case found == "":
		return nil, &FileError{FileMalformed, errors.New("it is neither PEM, DER, PKCS#12 nor JKS")}
	case format != "" && format != FormatAuto && format != found && !(isKeystore(format) && isKeystore(found)):
		return nil, &FileError{FileMalformed, fmt.Errorf("it is to be %s, but looks like %s", format, found)}
	}
	if found == FormatPKCS12 && len(data) > maxPKCS12 {
		return nil, &FileError{FileTooLarge, fmt.Errorf("more than %d MiB of PKCS#12", maxPKCS12>>20)}
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

// formatOf returns the empty format where the content is of none that is known.
func formatOf(data []byte) Format {
	var first cryptobyte.String
	s := cryptobyte.String(data)
	isDER := s.ReadASN1Element(&first, asn1.SEQUENCE)
	switch kind := kindOf(first); {
	case bytes.HasPrefix(data, []byte(magicJKS)) || bytes.HasPrefix(data, []byte(magicJCEKS)):
		return FormatJKS
	case isDER && kind == kindPKCS12:
		return FormatPKCS12
	case isDER && kind != "": // a text that begins with 0 has the tag too, but no such structure
		return FormatDER
	case bytes.Contains(data, []byte(beginPEM)):
		return FormatPEM
	}
	return ""
}

// The structures of DER that hold certificates or keys.
const (
	kindCertificate = "certificate" // or a CRL or certificate request, which begin like one
	kindPKCS7       = "PKCS#7"
	kindPKCS12      = "PKCS#12"
	kindKey         = "private key"
)

// kindOf tells by its beginning what a DER element is, and returns nothing where it is none of the above.
func kindOf(element cryptobyte.String) string {
	var version int
	switch s := element; {
	case !s.ReadASN1(&s, asn1.SEQUENCE):
	case s.PeekASN1Tag(asn1.INTEGER) && s.ReadASN1Integer(&version):
		switch {
		case version == 3:
			return kindPKCS12
		case version == 0 || version == 1: // PKCS#8, PKCS#1, SEC 1
			return kindKey
		}
	case s.PeekASN1Tag(asn1.OBJECT_IDENTIFIER):
		return kindPKCS7
	case s.SkipASN1(asn1.SEQUENCE):
		if s.PeekASN1Tag(asn1.OCTET_STRING) { // encrypted PKCS#8
			return kindKey
		}
		return kindCertificate
	}
	return ""
}

// reader gathers what is found in a file.
type reader struct {
	Bundle
	added    int    // certificates, bad ones too
	hasKey   bool   // it holds a private key
	isLocked bool   // the password does not open all of it
	other    string // the type of a PEM block that has neither certificates nor a key
}

func (r *reader) result(password string) (*Bundle, error) {
	e := &FileError{}
	switch {
	case len(r.Certificates) > 0:
		return &r.Bundle, nil
	case r.isLocked:
		e.Fault = FileWrongPassword
		if password == "" {
			e.Err = errors.New("none is configured")
		}
	case r.BadCount > 0:
		e.Fault, e.Err = FileMalformed, r.Bad[0]
	case r.hasKey:
		e.Fault = FileKeyOnly
	case r.other != "":
		e.Fault, e.Err = FileMalformed, fmt.Errorf("it holds %q", r.other)
	default:
		e.Fault, e.Err = FileEmpty, errors.New("no entry is in it")
	}
	return nil, e
}

// add parses a certificate. It does so from a copy, lest the certificate keep the whole file in memory, its keys included.
func (r *reader) add(der []byte, place string, args ...any) {
	if r.added++; r.added > maxCertificates {
		r.bad(errTooMany, place, args...)
		return
	}
	c, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		r.bad(err, place, args...)
		return
	}
	r.Certificates = append(r.Certificates, c)
}

func (r *reader) bad(err error, place string, args ...any) {
	r.BadCount++
	if len(r.Bad) < maxBad {
		r.Bad = append(r.Bad, errors.New(text.Clean(fmt.Sprintf(place, args...)+": "+err.Error(), 256)))
	}
}

var (
	errMalformed = errors.New("malformed")
	errTooMany   = fmt.Errorf("not read, as there are more than %d certificates", maxCertificates)
)

const (
	beginPEM   = "-----BEGIN "
	maxTypePEM = 80 // bytes that the type of a block and the dashes behind it may take
)

var typePEM = regexp.MustCompile(`^[A-Z0-9 ]+-----`)

// readPEM cuts the file where blocks begin, as pem.Decode passes over malformed ones in silence. So a block may also
// begin in the line in which another ends, as where files without a last newline were joined.
func (r *reader) readPEM(data []byte) {
	line := 1
	for begin := bytes.Index(data, []byte(beginPEM)); begin >= 0; {
		line += bytes.Count(data[:begin], []byte("\n"))
		data = data[begin:]
		text := data
		begin = bytes.Index(data[len(beginPEM):], []byte(beginPEM))
		if begin >= 0 {
			begin += len(beginPEM)
			text = data[:begin]
		}
		r.readBlock(text, line)
	}
}

func (r *reader) readBlock(text []byte, line int) {
	// Nothing but a type is ever told: what stands in the same line may be a key, as where its newlines were lost.
	kind := typePEM.FindString(string(text[len(beginPEM):min(len(text), len(beginPEM)+maxTypePEM)]))
	kind, closed := strings.CutSuffix(kind, "-----")
	if !closed {
		r.bad(errMalformed, "PEM block in line %d", line)
		return
	}
	switch kind {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PKCS7", "CMS":
	default:
		if strings.HasSuffix(kind, "PRIVATE KEY") {
			r.hasKey = true
		} else {
			r.other = kind
		}
		return
	}
	block, _ := pem.Decode(text)
	if block == nil {
		r.bad(errMalformed, "PEM block in line %d", line)
		return
	}
	switch der := cryptobyte.String(block.Bytes); kind {
	case "PKCS7", "CMS":
		r.readPKCS7(der)
	case "TRUSTED CERTIFICATE": // OpenSSL's, in which trust settings follow
		if !der.ReadASN1Element(&der, asn1.SEQUENCE) {
			r.bad(errMalformed, "PEM block in line %d", line)
			return
		}
		r.add(der, "PEM block in line %d", line)
	default:
		r.add(der, "PEM block in line %d", line)
	}
}

func (r *reader) readDER(data cryptobyte.String) {
	for len(data) > 0 {
		var element cryptobyte.String
		if !data.ReadASN1Element(&element, asn1.SEQUENCE) {
			r.bad(errors.New("not DER, or cut off"), "the last %d bytes", len(data))
			return
		}
		switch kindOf(element) {
		case kindKey:
			r.hasKey = true
		case kindPKCS7:
			r.readPKCS7(element)
		default:
			r.add(element, "%s", r.place())
		}
	}
}

// place names the next certificate of a file that has no names for them.
func (r *reader) place() string {
	return fmt.Sprintf("certificate %d", len(r.Certificates)+r.BadCount+1)
}

// readPKCS7 reads the certificates of SignedData (RFC 2315, section 9.1), in which bundles come without a signature.
func (r *reader) readPKCS7(der cryptobyte.String) {
	var kind string
	var s, certificates cryptobyte.String
	if !readTagged(&der, &kind, &s) || kind != oidSignedData || !s.ReadASN1(&s, asn1.SEQUENCE) ||
		!s.SkipASN1(asn1.INTEGER) || !s.SkipASN1(asn1.SET) || !s.SkipASN1(asn1.SEQUENCE) ||
		!s.ReadOptionalASN1(&certificates, nil, context0) {
		r.bad(errMalformed, "PKCS#7")
		return
	}
	for len(certificates) > 0 {
		var element cryptobyte.String
		var tag asn1.Tag
		if !certificates.ReadAnyASN1Element(&element, &tag) {
			r.bad(errMalformed, "PKCS#7")
			return
		}
		r.add(element, "%s", r.place())
	}
}
