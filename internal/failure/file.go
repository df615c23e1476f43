package failure

import (
	"errors"
	"fmt"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
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
	return fmt.Sprintf("%s has nothing that can be read as a certificate%s.", e.Endpoint, fileDetail(e)),
		"It must be PEM, DER, PKCS#12 or a Java keystore. Correct file_path, or file_format if it is set."
}

// fileDetail returns the detail of the error, with a colon before it. It is empty if the error has none.
func fileDetail(e *Evidence) string {
	var file *certs.FileError
	if !errors.As(e.Err, &file) || file.Err == nil {
		return ""
	}
	return ": " + file.Err.Error()
}
