package failure

import (
	"fmt"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

const setClientCert = "Set tls cert_file and key_file to a certificate from a CA that the server accepts."

func missingClientCert(_ *Failure, e *Evidence) (cause, fix string) {
	if e.ClientCert == nil {
		return fmt.Sprintf("%s requires a client certificate, but none was sent. %s", e.Endpoint, acceptedCAs(e)), setClientCert
	}
	return clientCertRefused(e),
		"The server behaves as if none had been sent. Use a certificate from a CA that the server accepts, with its intermediates in cert_file."
}

func unknownCA(_ *Failure, e *Evidence) (cause, fix string) {
	return clientCertRefused(e),
		"Use a certificate from a CA that the server accepts, with its intermediates in cert_file. Or add its CA to the client CAs of the server."
}

func clientCertExpired(_ *Failure, e *Evidence) (cause, fix string) {
	return clientCertRefused(e), "Renew the certificate in cert_file. If it is still valid, correct the server's clock."
}

func clientCertRevoked(_ *Failure, e *Evidence) (cause, fix string) {
	return clientCertRefused(e), "Issue a new certificate and a new key for cert_file and key_file."
}

func accessDenied(_ *Failure, e *Evidence) (cause, fix string) {
	return clientCertRefused(e),
		"Allow the certificate's subject in the server's access rules. GnuTLS servers also report this when they do not trust the certificate: check its issuer and dates."
}

func unsupportedCertificate(_ *Failure, e *Evidence) (cause, fix string) {
	return clientCertRefused(e), "Issue a certificate with the extended key usage clientAuth and a key type that the server supports."
}

// refusedForReasonInLog explains the alerts that do not say what is wrong with the certificate.
func refusedForReasonInLog(_ *Failure, e *Evidence) (cause, fix string) {
	return clientCertRefused(e),
		"Check the server's log for the reason. Check the certificate's issuer and dates, and that it has the extended key usage clientAuth."
}

func closedOverClientCert(e *Evidence) (cause, fix string) {
	got := "none"
	if e.ClientCert != nil {
		got = "that of " + quoted(certs.SubjectName(e.ClientCert))
	}
	return fmt.Sprintf("%s asked for a client certificate, got %s, and closed the connection without giving a reason. %s", e.Endpoint, got, acceptedCAs(e)),
		setClientCert + " Check the server's log."
}

// clientCertRefused returns the cause that all refusals have in common.
func clientCertRefused(e *Evidence) string {
	if e.ClientCert == nil {
		return fmt.Sprintf("%s reports a problem with the client certificate, but none was sent. %s", e.Endpoint, acceptedCAs(e))
	}
	return fmt.Sprintf("%s refused the client certificate of %s, issued by %s, valid until %s. %s", e.Endpoint,
		quoted(certs.SubjectName(e.ClientCert)), quoted(certs.IssuerName(e.ClientCert)), text.Day(e.ClientCert.NotAfter), acceptedCAs(e))
}

func acceptedCAs(e *Evidence) string {
	if len(e.AcceptableCAs) == 0 {
		return "The server does not say which CAs it accepts."
	}
	return "It accepts certificates from " + list(e.AcceptableCAs, 3) + "."
}
