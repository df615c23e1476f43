package failure

import (
	"errors"
	"fmt"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// MismatchFix says what to do if a server does not serve the certificate in its file.
const MismatchFix = "Reload the server so that it serves the certificate in the file. If it reads another file, correct file_path."

func fileNotFound(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("There is no file %s%s.", e.Endpoint, fileDetail(e)),
		"Correct file_path, or put the certificate there. Inside a container, use the path that the container sees."
}

func fileUnreadable(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s cannot be read%s.", e.Endpoint, fileDetail(e)),
		"It must be a regular file. The collector's user must be allowed to read it and to enter its directory."
}

func fileTooLarge(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s is too large for a certificate file%s.", e.Endpoint, fileDetail(e)), "Correct file_path."
}

func fileEmpty(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s is empty%s.", e.Endpoint, fileDetail(e)),
		"Write the certificate to it again. Whatever writes it may have run out of disk space."
}

func fileKeyOnly(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s has a private key but no certificate.", e.Endpoint),
		"Set file_path to the file with the certificate. The collector's user should not be able to read the key."
}

func fileWrongPassword(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("The password does not open %s%s.", e.Endpoint, fileDetail(e)),
		"Correct password. If the keystore has none, use an empty password."
}

func fileMalformed(_ *Failure, e *Evidence) (cause, fix string) {
	var file *certs.FileError
	var part *certs.PartError
	var odd *certs.Unreadable
	others := errors.As(e.Err, &file) && file.Others > 0
	switch {
	case errors.As(e.Err, &odd):
		subject, place, rest := "", "", ""
		if odd.Subject != "" {
			subject = ", " + text.Quote(odd.Subject, 64)
		}
		if errors.As(e.Err, &part) {
			place = " (" + part.Place + ")"
		}
		if others {
			rest = " It is the one that a server would present. Others in the file can be read."
		}
		return fmt.Sprintf("%s has a certificate this collector cannot read%s%s: %s.%s", e.Endpoint, subject, place, odd.Why, rest),
			"Reissue the certificate without this: clients written in Go cannot read it either. If all of its clients can, nothing is wrong for them; then remove it from file_path, as it cannot be watched."
	case others:
		return fmt.Sprintf("The certificate that a server would present from %s cannot be read%s. Others in the file can be.", e.Endpoint, fileDetail(e)),
			"Write the file again, with the server's own certificate first."
	}
	cause = fmt.Sprintf("%s has nothing that can be read as a certificate%s.", e.Endpoint, fileDetail(e))
	if file != nil {
		switch file.Format {
		case certs.FormatPEM:
			return cause, "Write the file again. It is PEM, but what is in it was cut off or altered."
		case certs.FormatPKCS12, certs.FormatJKS:
			return cause, "Write the keystore again. If that does not help, write its certificates to a file in PEM, and set file_path to that."
		}
	}
	return cause,
		"It must be PEM, DER, PKCS#12 or a Java keystore. Correct file_path, or file_format if it is set."
}

func fileKeyMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	key := keyDetail(e)
	subject := text.Quote(key.Subject, 64)
	if key.Problem == certs.KeyFitsAnother {
		return fmt.Sprintf("The private key in %s fits the certificate %s in %s, but that is not the first one there. Servers take the first.", key.Path, subject, e.Endpoint),
			"Write the certificate of the key before the others."
	}
	return fmt.Sprintf("The private key in %s does not fit the certificate %s in %s: %s. A server cannot use these two together.", key.Path, subject, e.Endpoint, key.Detail),
		"Set key_path to the key that the certificate was requested with. If that is what the server uses too, put that key or the key's own certificate there. If the key is lost, reissue the certificate for the key that is there."
}

// withoutKey says what to do if the key is not to be read.
const withoutKey = " Or remove key_path: the certificate is watched without it."

func fileKeyUnreadable(_ *Failure, e *Evidence) (cause, fix string) {
	key := keyDetail(e)
	cause = fmt.Sprintf("The private key in %s cannot be read: %s.", key.Path, key.Detail)
	switch key.Problem {
	case certs.KeyNotFound:
		return cause, "Correct key_path, or put the key there. Inside a container, use the path that the container sees."
	case certs.KeyForbidden:
		return cause, "Allow the collector's user to read the key and to enter its directory." + withoutKey
	case certs.KeyEncrypted:
		return cause, "The collector has no password for it. Set key_path to a decrypted copy that only the collector's user can read: openssl pkey -in KEY -out COPY." + withoutKey
	case certs.KeyMalformed:
		return cause, "Write the key there again, from a backup. If there is none, make a new key and reissue the certificate for it."
	case certs.KeyUnknownType:
		return fmt.Sprintf("%s has a key this collector cannot read: %s.", key.Path, key.Detail),
			"If the server can read it, remove key_path: the certificate is watched without it. Otherwise, reissue the certificate for an RSA, ECDSA or Ed25519 key."
	}
	return cause, "Set key_path to the file with the private key, in PEM or DER."
}

// keyDetail returns what is wrong with the private key.
func keyDetail(e *Evidence) *certs.KeyError {
	key := &certs.KeyError{}
	errors.As(e.Err, &key)
	return key
}

// fileDetail returns the detail of the error, with a colon before it. It is empty if the error has none.
func fileDetail(e *Evidence) string {
	var file *certs.FileError
	if !errors.As(e.Err, &file) || file.Err == nil {
		return ""
	}
	return ": " + file.Err.Error()
}
