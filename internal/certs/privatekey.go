package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/diskfile"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// What is wrong with the private key of a file's certificate.
const (
	FileKeyMismatch   Fault = "file_key_mismatch"
	FileKeyUnreadable Fault = "file_key_unreadable"
)

// KeyError is the detail of these faults. It has nothing of the key but its type and its size.
type KeyError struct {
	Path    string // of the file with the key
	Problem KeyProblem
	Detail  string // clean; follows a colon
	Subject string // of the certificate in question; only for KeyDiffers and KeyFitsAnother
}

// KeyProblem is what is wrong with a key, as far as it decides what to do about it.
type KeyProblem string

// The problems.
const (
	KeyNotFound    KeyProblem = "not found"
	KeyForbidden   KeyProblem = "forbidden" // the collector's user may not read it
	KeyNotKey      KeyProblem = "not a key" // the file has something else, or is not a regular file
	KeyEncrypted   KeyProblem = "encrypted"
	KeyMalformed   KeyProblem = "malformed"
	KeyUnknownType KeyProblem = "unknown type" // Go cannot read it, but other programs may
	KeyDiffers     KeyProblem = "differs"
	KeyFitsAnother KeyProblem = "fits another" // it fits another certificate of the file
)

func (e *KeyError) Error() string { return e.Detail }

const (
	maxKeyFile = 1 << 20  // bytes; the file may also have the certificates
	maxKey     = 16 << 10 // bytes of DER. An RSA key of 16384 bits, the most that OpenSSL supports, takes 9 KiB.
)

// CheckKey reports whether the private key in the file at path fits the first of the certificates. The error is nil or a
// *FileError with a *KeyError. The key is not kept.
func CheckKey(path string, certificates []*x509.Certificate) (err error) {
	data, problem := readKey(path)
	if problem == nil {
		problem = CompareKey(data, certificates)
	}
	if problem == nil {
		return nil
	}
	problem.Path = path
	fault := FileKeyUnreadable
	if problem.Problem == KeyDiffers || problem.Problem == KeyFitsAnother {
		fault = FileKeyMismatch
	}
	return &FileError{Fault: fault, Err: problem}
}

// CompareKey is like CheckKey, for the content of a file, which it clears. It returns nil if the key fits, or if it can be
// read and there are no certificates.
func CompareKey(data []byte, certificates []*x509.Certificate) *KeyError {
	key, problem := parseKeyFile(data)
	if problem == nil && len(certificates) > 0 {
		problem = key.compare(certificates)
	}
	return problem
}

// comparedKey is the public part of a private key, or the key of a certificate.
type comparedKey struct {
	key   crypto.PublicKey // nil if Go does not know its type
	isPSS bool             // an RSA key that is only for RSASSA-PSS (RFC 4055, section 1.2)
	name  string           // in words, such as "an RSA key of 2048 bits"
}

func readKey(path string) ([]byte, *KeyError) {
	data, err := diskfile.Read(path, maxKeyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &KeyError{Problem: KeyNotFound, Detail: "there is no such file"}
	case errors.Is(err, fs.ErrPermission):
		return nil, &KeyError{Problem: KeyForbidden, Detail: text.Clean(err.Error(), maxWhy)}
	case errors.Is(err, diskfile.ErrTooLarge):
		return nil, &KeyError{Problem: KeyNotKey, Detail: fmt.Sprintf("it has more than %d MiB", maxKeyFile>>20)}
	case err != nil:
		return nil, &KeyError{Problem: KeyNotKey, Detail: text.Clean(err.Error(), maxWhy)}
	}
	return data, nil
}

// parseKeyFile returns the first private key in data, PEM or DER, as that is the one that servers use. It clears data.
func parseKeyFile(data []byte) (key *comparedKey, problem *KeyError) {
	defer func() {
		clear(data)
		if recover() != nil { // what it says may have parts of the key
			key, problem = nil, &KeyError{Problem: KeyMalformed, Detail: "the decoder panicked"}
		}
	}()
	switch formatOf(data) {
	case FormatPEM:
		return parseKeyPEM(data)
	case FormatPKCS12:
		return nil, &KeyError{Problem: KeyNotKey, Detail: "it is a PKCS#12 keystore"}
	case FormatJKS:
		return nil, &KeyError{Problem: KeyNotKey, Detail: "it is a Java keystore"}
	}
	var element cryptobyte.String
	s := cryptobyte.String(data)
	isDER := s.ReadASN1Element(&element, der.SEQUENCE)
	switch {
	case isDER && kindOf(element) == kindKey:
		return parseKey(element)
	case isDER && kindOf(element) != "":
		return nil, &KeyError{Problem: KeyNotKey, Detail: "it has no private key"}
	case len(bytes.TrimSpace(data)) == 0:
		return nil, &KeyError{Problem: KeyMalformed, Detail: "it is empty"}
	}
	return nil, &KeyError{Problem: KeyNotKey, Detail: "it is neither PEM nor DER"}
}

func parseKeyPEM(data []byte) (*comparedKey, *KeyError) {
	other := ""
	for line, text := range pemBlocks(data) {
		kind := typeOf(text)
		malformed := &KeyError{Problem: KeyMalformed, Detail: fmt.Sprintf("its PEM block at line %d is malformed", line)}
		switch {
		case kind == "":
			return nil, malformed
		case kind == "ENCRYPTED PRIVATE KEY":
			return nil, &KeyError{Problem: KeyEncrypted, Detail: "it is encrypted"}
		case kind == "OPENSSH PRIVATE KEY":
			return nil, &KeyError{Problem: KeyNotKey, Detail: "it is a key of OpenSSH"}
		case !strings.HasSuffix(kind, "PRIVATE KEY"):
			if other == "" || other == "EC PARAMETERS" {
				other = kind
			}
			continue
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, malformed
		}
		defer clear(block.Bytes)
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") { // RFC 1421, section 4.6.1.1
			return nil, &KeyError{Problem: KeyEncrypted, Detail: "it is encrypted"}
		}
		key, problem := parseKey(block.Bytes)
		if problem != nil && problem.Problem == KeyMalformed {
			problem = malformed
		}
		return key, problem
	}
	return nil, &KeyError{Problem: KeyNotKey, Detail: fmt.Sprintf("it has no private key, but a PEM block of type %q", other)}
}

// parseKey parses a key in PKCS#8 (RFC 5958), PKCS#1 (RFC 8017, appendix A.1.2) or SEC 1 (RFC 5915), whatever the type of
// the PEM block is.
func parseKey(element []byte) (*comparedKey, *KeyError) {
	malformed := &KeyError{Problem: KeyMalformed, Detail: "it is malformed"}
	if len(element) > maxKey {
		return nil, &KeyError{Problem: KeyUnknownType, Detail: fmt.Sprintf("it has more than %d KiB", maxKey>>10)}
	}
	var version int
	s := cryptobyte.String(element)
	switch {
	case !s.ReadASN1(&s, der.SEQUENCE):
		return nil, malformed
	case s.PeekASN1Tag(der.SEQUENCE): // EncryptedPrivateKeyInfo
		if s.SkipASN1(der.SEQUENCE) && s.PeekASN1Tag(der.OCTET_STRING) {
			return nil, &KeyError{Problem: KeyEncrypted, Detail: "it is encrypted"}
		}
		return nil, malformed
	case !s.ReadASN1Integer(&version):
		return nil, malformed
	}
	var key any
	var err error
	isPSS, unknown := false, ""
	switch {
	case s.PeekASN1Tag(der.SEQUENCE):
		var algorithm, inner cryptobyte.String
		var id asn1.ObjectIdentifier
		if !s.ReadASN1(&algorithm, der.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&id) || !s.ReadASN1(&inner, der.OCTET_STRING) {
			return nil, malformed
		}
		if isPSS = id.Equal(oidRSAPSS); isPSS {
			key, err = x509.ParsePKCS1PrivateKey(inner)
			break
		}
		key, err = x509.ParsePKCS8PrivateKey(element)
		if id.Equal(oidEC) {
			unknown = curveProblem(algorithm)
		} else if !id.Equal(oidRSAEncryption) && !id.Equal(oidEd25519) && !id.Equal(oidX25519) {
			unknown = "it is " + keyOfKind(id)
		}
	case s.PeekASN1Tag(der.OCTET_STRING):
		var parameters cryptobyte.String
		key, err = x509.ParseECPrivateKey(element)
		if s.SkipASN1(der.OCTET_STRING) && s.ReadASN1(&parameters, context0) {
			unknown = curveProblem(parameters)
		}
	default:
		key, err = x509.ParsePKCS1PrivateKey(element)
		n := 1
		for s.SkipASN1(der.INTEGER) {
			n++
		}
		if n == 6 && len(s) == 0 { // 0, p, q, g, y, x; there is no standard for it
			unknown = "it is a key of the kind DSA"
		}
	}
	signer, ok := key.(interface{ Public() crypto.PublicKey })
	switch {
	case err == nil && ok:
		return newComparedKey(signer.Public(), isPSS), nil
	case unknown != "":
		return nil, &KeyError{Problem: KeyUnknownType, Detail: unknown}
	}
	return nil, malformed // the error of crypto/x509 might quote parts of the key
}

var (
	oidEC            = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidRSAEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEd25519       = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidX25519        = asn1.ObjectIdentifier{1, 3, 101, 110}
)

// keyOfKind names a key that Go does not have.
func keyOfKind(id asn1.ObjectIdentifier) string { return "a key of the kind " + kindName(id) }

// curveProblem returns why Go does not have the curve with these parameters. It is empty if Go has it.
func curveProblem(parameters cryptobyte.String) string {
	var id asn1.ObjectIdentifier
	if parameters.PeekASN1Tag(der.SEQUENCE) {
		return "its curve has parameters instead of a name"
	}
	if !parameters.ReadASN1ObjectIdentifier(&id) {
		return ""
	}
	kind := "EC " + kindName(id)
	if slices.Contains(supportedKeys, kind) {
		return ""
	}
	return "it is on " + unknownCurve(kind)
}

func newComparedKey(key crypto.PublicKey, isPSS bool) *comparedKey {
	name := ""
	switch k := key.(type) {
	case *rsa.PublicKey:
		name = fmt.Sprintf("an RSA key of %d bits", k.N.BitLen())
		if isPSS {
			name = fmt.Sprintf("an RSA-PSS key of %d bits", k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		name = "an ECDSA key on the curve " + k.Curve.Params().Name
	case ed25519.PublicKey:
		name = "an Ed25519 key"
	case *ecdh.PublicKey:
		name = "an X25519 key"
	}
	return &comparedKey{key, isPSS, name}
}

// keyOfCertificate returns the key of a certificate.
func keyOfCertificate(c *x509.Certificate) *comparedKey {
	if c.PublicKey != nil && c.PublicKeyAlgorithm != x509.DSA {
		return newComparedKey(c.PublicKey, false)
	}
	var algorithm cryptobyte.String
	var id asn1.ObjectIdentifier
	info := cryptobyte.String(c.RawSubjectPublicKeyInfo)
	if !info.ReadASN1(&info, der.SEQUENCE) || !info.ReadASN1(&algorithm, der.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&id) {
		return &comparedKey{name: "a malformed key"}
	}
	if id.Equal(oidRSAPSS) { // Go does not read these keys
		if key, err := x509.ParsePKCS1PublicKey(publicKey(c)); err == nil {
			return newComparedKey(key, true)
		}
	}
	return &comparedKey{name: keyOfKind(id)}
}

// equal reports whether both are the same key. As for OpenSSL, a key that is only for RSASSA-PSS is another one.
func (k *comparedKey) equal(o *comparedKey) bool {
	key, ok := k.key.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && o.key != nil && k.isPSS == o.isPSS && key.Equal(o.key)
}

// compare returns nil if the key is that of the first certificate.
func (k *comparedKey) compare(certificates []*x509.Certificate) *KeyError {
	own := keyOfCertificate(certificates[0])
	if k.equal(own) {
		return nil
	}
	for _, c := range certificates[1:] {
		if k.equal(keyOfCertificate(c)) {
			return &KeyError{Problem: KeyFitsAnother, Subject: SubjectName(c), Detail: "it fits another certificate of the file"}
		}
	}
	e := &KeyError{Problem: KeyDiffers, Subject: SubjectName(certificates[0])}
	if e.Detail = fmt.Sprintf("the certificate is for %s, and this is %s", own.name, k.name); own.name == k.name {
		e.Detail = fmt.Sprintf("both have %s, but not the same one", k.name)
	}
	return e
}
