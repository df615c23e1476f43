package failure

import (
	"fmt"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// Staple returns why a staple cannot be trusted and what to do about it. The result is empty if the staple can be
// trusted.
func Staple(s *certs.Staple) string {
	cause := fmt.Sprintf("The OCSP response that the server staples cannot be trusted: %v.", s)
	fix := "Make the server fetch a new one from its CA's OCSP responder."
	switch s.Problem {
	case "":
		return ""
	case certs.StapleMissing:
		cause = "The certificate requires a stapled OCSP response (must-staple), but the server sent none. Clients that enforce this, such as GnuTLS, refuse the certificate."
		fix = "Enable OCSP stapling on the server, and check that it can reach its CA's OCSP responder. Or reissue the certificate without the TLS feature extension."
	case certs.StapleStale:
		fix = "Check that the server can reach its CA's OCSP responder. It should have fetched a new response in time."
	case certs.StapleNotYetValid:
		fix = "Check the time on the collector's host, then on the CA's OCSP responder."
	case certs.StapleWrongCertificate:
		fix = "Make the server fetch the one for its current certificate. After a renewal the old one may still be in its cache or in a file."
	case certs.StapleNotAuthorized:
		fix = "The CA must sign its OCSP responses itself, or with a valid certificate that it issued for this, with the extended key usage OCSPSigning."
	case certs.StapleUnverifiable:
		fix = "Make the server send the whole chain, or add the issuer's certificate to ca_file."
	}
	return cause + " " + fix
}
