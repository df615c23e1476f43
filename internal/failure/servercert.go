package failure

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// verifyCode returns OpenSSL's number and message for the primary reason of a verdict, or 0 and "" if it has none.
func verifyCode(t Type, primary certs.Reason, serverName string) (int, string) {
	switch primary.Fault {
	case certs.NameMismatch:
		if _, err := netip.ParseAddr(serverName); err == nil {
			return 64, "IP address mismatch"
		}
	case certs.WeakKey:
		if primary.Depth > 0 {
			return 67, "CA certificate key too weak"
		}
	case certs.UntrustedCA:
		if c := primary.Cert; bytes.Equal(c.RawSubject, c.RawIssuer) {
			return 19, "self-signed certificate in certificate chain"
		}
	}
	return types[t].verifyCode, types[t].verifyMessage
}

// atFault returns the beginning of a sentence: the certificate that has the primary reason of the verdict.
func atFault(e *Evidence) string {
	primary := e.Verdict.Primary()
	name := quoted(certs.SubjectName(primary.Cert))
	switch {
	case e.Step == File:
		return fmt.Sprintf("The certificate %s in %s", name, e.Endpoint)
	case primary.Depth > 0:
		return fmt.Sprintf("The CA certificate %s (depth %d)", name, primary.Depth)
	}
	return "The certificate"
}

// missingIssuer returns the name of the issuer at which the chain ends.
func missingIssuer(e *Evidence) string {
	return quoted(certs.IssuerName(e.Verdict.Chain[len(e.Verdict.Chain)-1]))
}

func expired(_ *Failure, e *Evidence) (cause, fix string) {
	primary := e.Verdict.Primary()
	end := primary.Cert.NotAfter
	cause = fmt.Sprintf("%s expired on %s, %s ago.", atFault(e), text.Moment(end), text.Duration(e.Now.Sub(end)))
	switch {
	case e.Step == File:
		return cause, "Renew it, or remove it from the file. If it was already renewed, the new certificate was not written to this file."
	case primary.Depth > 0:
		return cause, "Replace it in the chain that the server sends. If it is the root, replace it in ca_file."
	}
	return cause, "Renew it and reload the server. If it was already renewed, the server still serves the old one."
}

func notYetValid(_ *Failure, e *Evidence) (cause, fix string) {
	begin := e.Verdict.Primary().Cert.NotBefore
	wait := begin.Sub(e.Now)
	cause = fmt.Sprintf("%s is not valid until %s, in %s.", atFault(e), text.Moment(begin), text.Duration(wait))
	if wait < 24*time.Hour {
		return cause, "It starts within a day, so a wrong clock is likely: check the time on the collector's host, then on the CA."
	}
	return cause, "Put the previous certificate back until then, or have this one reissued."
}

func selfSigned(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("The certificate of %s is self-signed and not trusted.", quoted(certs.SubjectName(e.Verdict.Chain[0]))),
		"Use a certificate from a CA, or set tls ca_file to this certificate."
}

func untrustedCA(_ *Failure, e *Evidence) (cause, fix string) {
	issuer := missingIssuer(e)
	switch {
	case e.Verdict.Primary().Namesake:
		return fmt.Sprintf("The chain leads to %s. A CA with this name is trusted, but its key did not make the signature.", issuer),
			fmt.Sprintf("The CA probably has a new key: set tls ca_file to the current certificate of %s. Otherwise the server's certificate was altered: install it again.", issuer)
	case len(e.Verdict.Chain) == 1:
		return fmt.Sprintf("The server sent only its own certificate, and its issuer %s is not a trusted root.", issuer),
			fmt.Sprintf("If %s is a root, set tls ca_file to its certificate. If it is an intermediate, add its certificate to the file that the server sends.", issuer)
	}
	return fmt.Sprintf("The chain leads to %s, which is not a trusted root.", issuer),
		fmt.Sprintf("Set tls ca_file to the root certificate of %s, or use a certificate from a trusted CA. To keep trusting the system's CAs too, add include_system_ca_certs_pool: true.", issuer)
}

func incompleteChain(_ *Failure, e *Evidence) (cause, fix string) {
	issuer := missingIssuer(e)
	cause = fmt.Sprintf("The server did not send the certificate of the issuer %s.", issuer)
	if e.Verdict.Missing != nil {
		cause += " Another server sends one that completes the chain."
	}
	fix = fmt.Sprintf("Add the intermediate certificate %s to the file that the server sends (the \"full chain\").", issuer)
	if urls := e.Verdict.Chain[0].IssuingCertificateURL; len(urls) > 0 {
		fix += fmt.Sprintf(" It can be downloaded from %s, according to the server's certificate.", text.Clean(urls[0], 256))
	}
	return cause, fix
}

func badSignature(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s was not signed with the key of the CA that it names as its issuer, %s.", atFault(e), quoted(certs.IssuerName(e.Verdict.Primary().Cert))),
		"If the CA renewed its key, it has two certificates with the same name: find the one whose key made this signature, and send it or add it to ca_file. Otherwise the certificate was altered: install it again."
}

func weakSignature(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s is signed with %s, which is no longer accepted.", atFault(e), e.Verdict.Primary().Cert.SignatureAlgorithm),
		"Reissue it with SHA-256 or better."
}

func weakKey(_ *Failure, e *Evidence) (cause, fix string) {
	const reissue = "Reissue it with an ECDSA key, or with an RSA key of at least 2048 bits."
	if e.Err != nil { // crypto/rsa refused the key, although verification is off
		return fmt.Sprintf("The certificate has an RSA key of %d bits, with which crypto/tls makes no handshake, whatever insecure_skip_verify says.",
			certs.KeySize(e.Verdict.Chain[0])), reissue
	}
	return fmt.Sprintf("%s has a key of %d bits, which is too short to be accepted.", atFault(e), certs.KeySize(e.Verdict.Primary().Cert)), reissue
}

func notCA(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s is used as an issuer but is not allowed to sign certificates.", atFault(e)),
		"Use a CA certificate with basicConstraints CA:TRUE and the key usage keyCertSign."
}

func pathLengthExceeded(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s allows fewer intermediates below it than the chain has.", atFault(e)),
		"Issue the server's certificate from this CA directly, or reissue the CA certificate with a larger pathlen."
}

func wrongKeyUsage(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s is for %s only, not for a TLS server.", atFault(e), usages(e.Verdict.Primary().Cert)),
		"Reissue the certificate with the extended key usage serverAuth."
}

func nameConstraintViolation(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("A CA in the chain is not allowed to sign for the names of the certificate (%s).", list(certs.Names(e.Verdict.Chain[0]), 5)),
		"Issue the certificate from another CA, or with names that the CA's name constraints permit."
}

func unhandledCriticalExtension(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s has the critical extension %s, which the collector does not know.", atFault(e), e.Verdict.Primary().Cert.UnhandledCriticalExtensions[0]),
		"Reissue it without marking that extension as critical."
}

func revoked(_ *Failure, e *Evidence) (cause, fix string) {
	when := ""
	if s := (*certs.Staple)(nil); errors.As(e.Verdict.Primary().Err, &s) {
		if when = " on " + text.Moment(s.RevokedAt); s.Reason != "" {
			when += " (" + s.Reason + ")"
		}
	}
	return fmt.Sprintf("The CA revoked the certificate%s. The OCSP response that the server staples says so.", when),
		"Install a new certificate with a new key, and ask the CA why this one was revoked."
}

// malformedCertificate explains the fault Malformed. There is no verdict if crypto/tls could not parse the certificate.
func malformedCertificate(f *Failure, e *Evidence) (cause, fix string) {
	if length, limit, ok := tooLong(f.Message); ok {
		return fmt.Sprintf("%s sent its certificates in a message of %d bytes, which is too large. The collector reads at most %d.", e.Endpoint, length, limit),
			"Let the server send only its own certificate and the intermediates that lead to the root. A file with many CA certificates is often sent by mistake."
	}
	if e.Verdict == nil {
		return fmt.Sprintf("%s sent a certificate that cannot be read: %s.", e.Endpoint, f.Message),
			"Reissue the certificate. The collector supports ECDSA, Ed25519, and RSA keys of up to 8192 bits. It does not support Ed448 and DSA."
	}
	err := e.Verdict.Primary().Err
	cause = fmt.Sprintf("%s was refused: %v.", atFault(e), err)
	if errors.Is(err, x509.ErrUnsupportedAlgorithm) {
		cause = fmt.Sprintf("%s has a signature of a kind that the collector cannot check (%v). Other clients may be able to.", atFault(e), err)
	}
	return cause, "Reissue the certificate. The collector supports RSA, ECDSA and Ed25519 signatures. It does not support Ed448 and DSA."
}

// usages lists the extended key usages of a certificate.
func usages(c *x509.Certificate) string {
	names := map[x509.ExtKeyUsage]string{
		x509.ExtKeyUsageClientAuth: "clientAuth", x509.ExtKeyUsageCodeSigning: "codeSigning",
		x509.ExtKeyUsageEmailProtection: "emailProtection", x509.ExtKeyUsageTimeStamping: "timeStamping",
		x509.ExtKeyUsageOCSPSigning: "OCSPSigning",
	}
	var all []string
	for _, u := range c.ExtKeyUsage {
		if names[u] != "" {
			all = append(all, names[u])
		} else {
			all = append(all, fmt.Sprintf("usage %d", u))
		}
	}
	for _, oid := range c.UnknownExtKeyUsage {
		all = append(all, oid.String())
	}
	return list(all, 5)
}
