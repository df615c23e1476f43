package failure

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
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
	case certs.IncompleteChain:
		if primary.Depth > 0 {
			return types[Type(certs.UntrustedCA)].verifyCode, types[Type(certs.UntrustedCA)].verifyMessage
		}
	case certs.NameConstraintViolation:
		v, u := (*certs.ConstraintViolation)(nil), (*certs.Unexplained)(nil)
		if errors.As(primary.Err, &v) && v.Excluded || errors.As(primary.Err, &u) && strings.Contains(u.Error(), "is excluded by constraint") {
			return 48, "excluded subtree violation"
		}
	}
	return types[t].verifyCode, types[t].verifyMessage
}

// atFault returns the beginning of a sentence: the certificate that has the primary reason of the verdict.
func atFault(e *Evidence) string {
	primary := e.Verdict.Primary()
	switch {
	case e.Step == File:
		return fmt.Sprintf("The certificate %s in %s", quoted(certs.SubjectName(primary.Cert)), e.Endpoint)
	case primary.Depth > 0:
		return fmt.Sprintf("The CA certificate %s (depth %d)", subjectOf(primary.Cert), primary.Depth)
	}
	return "The certificate"
}

// subjectOf returns the name of a certificate for a sentence.
func subjectOf(c *x509.Certificate) string {
	switch name := certs.SubjectName(c); {
	case certs.SubjectDN(c) != "" || len(certs.Names(c)) > 0:
		return quoted(name)
	case len(c.SubjectKeyId) > 0:
		return "with " + name
	}
	return "without a name"
}

// issuerOf returns the name of a certificate's issuer for a sentence.
func issuerOf(c *x509.Certificate) string {
	switch name := certs.IssuerName(c); {
	case certs.IssuerDN(c) != "":
		return quoted(name)
	case len(c.AuthorityKeyId) > 0:
		return "the CA with " + name
	}
	return "a CA without a name"
}

// apposed returns a noun and the name of a certificate's issuer behind it, such as: the issuer "Example CA".
func apposed(noun string, c *x509.Certificate) string {
	if certs.IssuerDN(c) != "" {
		return noun + " " + issuerOf(c)
	}
	return noun + ", " + issuerOf(c) + ","
}

// top returns the certificate at which the chain ends.
func top(e *Evidence) *x509.Certificate { return e.Verdict.Chain[len(e.Verdict.Chain)-1] }

// ofRoot reports whether the certificate that has the primary reason is a trusted root, and whether that root is listed in
// ca_file rather than one of the system's.
func ofRoot(e *Evidence) (root, listed bool) {
	v := e.Verdict
	root = v.Rooted && v.Primary().Depth == len(v.Chain)-1
	return root, root && v.RootListed
}

// reissueRoot returns a sentence, with a space before it, if the primary reason is that of a root in ca_file. Its certificate
// can be replaced without replacing those below it.
func reissueRoot(e *Evidence) string {
	if _, listed := ofRoot(e); listed {
		return " It is in ca_file: reissue it with the same name and the same key, and replace it there."
	}
	return ""
}

// unexplained explains a fault of which only the error of crypto/x509 is known.
func unexplained(e *Evidence) (cause, fix string) {
	primary := e.Verdict.Primary()
	cause = fmt.Sprintf("%s was refused: %v. Its chain is too large to find out more.", atFault(e), primary.Err)
	if primary.Fault == certs.NameConstraintViolation {
		return cause, "Reissue the certificate with fewer names, all of which the name constraints of its CAs permit, or from another CA."
	}
	return cause, removeUnneeded
}

const removeUnneeded = "Remove from the file that the server sends, and from ca_file, all certificates that its chain does not need."

func expired(_ *Failure, e *Evidence) (cause, fix string) {
	primary := e.Verdict.Primary()
	end := primary.Cert.NotAfter
	cause = fmt.Sprintf("%s expired on %s, %s ago.", atFault(e), text.Moment(end), text.Between(end, e.Now))
	switch {
	case e.Step == File:
		return cause, "Renew it, or remove it from the file. If it was already renewed, the new certificate was not written to this file."
	case primary.Depth > 0:
		return cause, replaceCA(e) + "."
	}
	return cause, "Renew it and reload the server. If it was already renewed, the server still serves the old one."
}

// replaceCA returns the beginning of a sentence: where the CA certificate that has the primary reason is replaced by which.
func replaceCA(e *Evidence) string {
	switch root, listed := ofRoot(e); {
	case listed:
		return "Replace it in ca_file with the CA's current certificate. If that one has another key, also reissue the certificates below it"
	case root:
		return "It is one of the system's trusted CAs: update them, for example with the package ca-certificates, or use a certificate from another CA"
	}
	return "Replace it in the chain that the server sends with the CA's current certificate. If that one has another key, also reissue the certificates below it"
}

func notYetValid(_ *Failure, e *Evidence) (cause, fix string) {
	begin := e.Verdict.Primary().Cert.NotBefore
	cause = fmt.Sprintf("%s is not valid until %s, in %s.", atFault(e), text.Moment(begin), text.Between(e.Now, begin))
	if begin.Before(e.Now.Add(24 * time.Hour)) {
		return cause, "It starts within a day, so a wrong clock is likely: check the time on the collector's host, then on the CA."
	}
	switch root, listed := ofRoot(e); {
	case listed:
		return cause, "Put the CA's previous certificate back into ca_file until then, or have this one reissued."
	case root:
		return cause, "It is one of the system's trusted CAs: use a certificate from another CA until then."
	}
	return cause, "Put the previous certificate back until then, or have this one reissued."
}

func selfSigned(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("The certificate of %s is self-signed and not trusted.", quoted(certs.SubjectName(e.Verdict.Chain[0]))),
		"Use a certificate from a CA, or set tls ca_file to this certificate."
}

func untrustedCA(_ *Failure, e *Evidence) (cause, fix string) {
	top, issuer, primary := top(e), issuerOf(top(e)), e.Verdict.Primary()
	switch {
	case primary.TrustedNamesake && bytes.Equal(top.RawSubject, top.RawIssuer):
		return fmt.Sprintf("The chain leads to %s, which the server sends. A CA with this name is trusted, but it has another key.", issuer),
			fmt.Sprintf("The CA probably has a new key: set tls ca_file to the current certificate of %s%s. Otherwise another CA with this name issued the server's certificate.", issuer, whoseKeyID(top.SubjectKeyId))
	case primary.TrustedNamesake:
		return fmt.Sprintf("The chain leads to %s. A CA with this name is trusted, but its key did not make the signature.", issuer),
			fmt.Sprintf("The CA probably has a new key: set tls ca_file to the current certificate of %s%s. Otherwise the server's certificate was altered: install it again.", issuer, whoseKeyID(top.AuthorityKeyId))
	case primary.SentNamesake:
		return sentNamesake(e), fmt.Sprintf("Replace that certificate in the file that the server sends by the one of %s%s. If that one is a root, set tls ca_file to it instead.", issuer, whoseKeyID(top.AuthorityKeyId))
	case bytes.Equal(top.RawSubject, top.RawIssuer):
		return fmt.Sprintf("The chain leads to %s, which is not a trusted root.", issuer),
			fmt.Sprintf("Set tls ca_file to the root certificate of %s, or use a certificate from a trusted CA. %s", issuer, systemToo)
	case len(e.Verdict.Chain) == 1:
		return issuerOfLeaf(e), rootOrIntermediate(issuer)
	}
	return fmt.Sprintf("The chain leads to %s, which is not a trusted root.", issuer), rootOrIntermediate(issuer) + " " + systemToo
}

const systemToo = "To keep trusting the system's CAs too, add include_system_ca_certs_pool: true."

// rootOrIntermediate returns the fix if nobody can know whether the issuer is a root.
func rootOrIntermediate(issuer string) string {
	return fmt.Sprintf("If %s is a root, set tls ca_file to its certificate. If it is an intermediate, add its certificate to the file that the server sends.", issuer)
}

// whoseKeyID returns an attribute of a certificate with this key identifier, with a comma before it. It is empty if the
// identifier is.
func whoseKeyID(id []byte) string {
	if len(id) == 0 {
		return ""
	}
	return ", whose subject key identifier is " + certs.KeyID(id)
}

// issuerOfLeaf returns the cause if the server did not send the certificate of the CA that issued its own.
func issuerOfLeaf(e *Evidence) string {
	issuer := apposed("its issuer", e.Verdict.Chain[0])
	sent, own := len(e.Verdict.Presented), 0
	for _, c := range e.Verdict.Presented {
		if c.Equal(e.Verdict.Chain[0]) {
			own++
		}
	}
	switch {
	case sent < 2:
		return fmt.Sprintf("The server sent only its own certificate, and %s is not a trusted root.", issuer)
	case own == sent:
		return fmt.Sprintf("The server sent only its own certificate, %d times, and %s is not a trusted root.", sent, issuer)
	}
	return fmt.Sprintf("None of the %d certificates that the server sent is that of %s, which is not a trusted root.", sent, issuerOf(e.Verdict.Chain[0]))
}

// sentNamesake returns the cause if the server sent another CA of the issuer's name.
func sentNamesake(e *Evidence) string {
	c := "The server's certificate"
	if depth := len(e.Verdict.Chain) - 1; depth > 0 {
		c = fmt.Sprintf("The CA certificate %s (depth %d)", subjectOf(top(e)), depth)
	}
	return fmt.Sprintf("%s was issued by %s. The server sent a certificate with this name, but it has another key.", c, issuerOf(top(e)))
}

func incompleteChain(_ *Failure, e *Evidence) (cause, fix string) {
	top, issuer := top(e), issuerOf(top(e))
	primary := e.Verdict.Primary()
	cause = fmt.Sprintf("The server did not send the certificate of %s.", strings.TrimSuffix(apposed("the issuer", top), ","))
	according := "the server's certificate"
	if primary.Depth > 0 {
		cause = fmt.Sprintf("The server did not send the certificate of %s, the issuer of %s (depth %d).", issuer, subjectOf(top), primary.Depth)
		according = "the certificate " + subjectOf(top)
	}
	if primary.SentNamesake {
		cause += " It sent a certificate with this name, but that one has another key."
	}
	if e.Verdict.Missing != nil {
		cause += " Another server sends one that completes the chain."
	}
	fix = fmt.Sprintf("Add %s to the file that the server sends (the \"full chain\").", apposed("the intermediate certificate", top))
	if url := downloadURL(top); url != "" {
		fix += fmt.Sprintf(" It can be downloaded from %s, according to %s.", url, according)
	}
	if e.Verdict.Missing == nil {
		fix += " If it turns out to be a root (its subject is its issuer), set tls ca_file to it instead."
	}
	return cause, fix
}

// downloadURL returns the first URL from which the issuer's certificate can be downloaded without LDAP, or the first of all.
// It is empty if there is none.
func downloadURL(c *x509.Certificate) string {
	urls := c.IssuingCertificateURL
	if len(urls) == 0 {
		return ""
	}
	at := max(0, slices.IndexFunc(urls, func(u string) bool { return strings.HasPrefix(strings.ToLower(u), "http") }))
	return text.Clean(urls[at], 256)
}

func badSignature(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s was not signed with the key of the CA that it names as its issuer, %s.", atFault(e), issuerOf(e.Verdict.Primary().Cert)),
		"If the CA renewed its key, it has two certificates with the same name: find the one whose key made this signature, and send it or add it to ca_file. Otherwise the certificate was altered: install it again."
}

func weakSignature(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s is signed with %s, which is no longer accepted.", atFault(e), e.Verdict.Primary().Cert.SignatureAlgorithm),
		"Reissue it with SHA-256 or better."
}

func weakKey(_ *Failure, e *Evidence) (cause, fix string) {
	fix = "Reissue it with an ECDSA key, or with an RSA key of at least 2048 bits."
	if e.Err != nil { // crypto/rsa refused the key, although verification is off
		return fmt.Sprintf("The certificate has an RSA key of %d bits, with which crypto/tls makes no handshake, whatever insecure_skip_verify says.",
			certs.KeySize(e.Verdict.Chain[0])), fix
	}
	primary := e.Verdict.Primary()
	cause = fmt.Sprintf("%s has a key of %d bits, which is too short to be accepted.", atFault(e), certs.KeySize(primary.Cert))
	if primary.Depth > 0 {
		fix += " Then reissue the certificates below it."
		if _, listed := ofRoot(e); listed {
			fix += " It is in ca_file: replace it there."
		}
	}
	return cause, fix
}

func notCA(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s is used as an issuer but is not allowed to sign certificates.", atFault(e)),
		"Use a CA certificate with basicConstraints CA:TRUE and the key usage keyCertSign." + reissueRoot(e)
}

func pathLengthExceeded(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s allows fewer intermediates below it than the chain has.", atFault(e)),
		"Issue the server's certificate from this CA directly, or reissue the CA certificate with a larger pathlen." + reissueRoot(e)
}

func wrongKeyUsage(_ *Failure, e *Evidence) (cause, fix string) {
	cause = fmt.Sprintf("%s is for %s only, not for a TLS server.", atFault(e), usages(e.Verdict.Primary().Cert))
	switch root, listed := ofRoot(e); {
	case e.Verdict.Primary().Depth == 0:
		return cause, "Reissue the certificate with the extended key usage serverAuth."
	case listed:
		return cause, "Reissue that CA certificate with the extended key usage serverAuth, or with none." + reissueRoot(e)
	case root:
		return cause, "It is one of the system's trusted CAs: use a certificate from another CA."
	}
	return cause, "Reissue that CA certificate with the same name and the same key, and with the extended key usage serverAuth or with none, and replace it in the file that the server sends."
}

func nameConstraintViolation(_ *Failure, e *Evidence) (cause, fix string) {
	v := (*certs.ConstraintViolation)(nil)
	if !errors.As(e.Verdict.Primary().Err, &v) {
		return fmt.Sprintf("A CA in the chain is not allowed to sign for the names of the certificate (%s): %v.", list(certs.Names(e.Verdict.Chain[0]), 5), e.Verdict.Primary().Err),
			"Issue the certificate from another CA, or with names that the CA's name constraints permit."
	}
	limits := "permits only " + constraintList(v.Constraints)
	if v.More > 0 {
		limits += fmt.Sprintf(" and %d more", v.More)
	}
	if v.Excluded {
		limits = "excludes " + constraintList(v.Constraints)
	}
	cause = fmt.Sprintf("%s has the %s %s, which the CA certificate %s (depth %d) does not allow: it %s.", atFault(e), v.Kind, quoted(v.Name), subjectOf(v.CA), v.Depth, limits)
	names, they, otherwise := "this name", "it", "from a CA without this constraint"
	if len(v.Others) > 0 {
		names, they, otherwise = "these names", "them", "from a CA that may issue for them"
		cause += fmt.Sprintf(" The CAs above it do not allow these names either: %s.", list(v.Others, 10))
	}
	if primary := e.Verdict.Primary(); primary.Depth == 0 && v.Needs(e.ServerName, primary.Cert) {
		return cause, fmt.Sprintf("Use a certificate from a CA that may issue for %s, or reissue the CA certificate with name constraints that allow %s. Without %s, the certificate would not be valid for %s.", names, they, names, e.ServerName)
	}
	return cause, fmt.Sprintf("Reissue the certificate without %s, or %s.", names, otherwise)
}

func constraintList(constraints []string) string {
	if slices.Contains(constraints, "") {
		return "every name"
	}
	return list(constraints, 5)
}

func unhandledCriticalExtension(_ *Failure, e *Evidence) (cause, fix string) {
	if u := (*certs.UnusableRoot)(nil); errors.As(e.Verdict.Primary().Err, &u) {
		return fmt.Sprintf("%s was issued by %s. The CA's certificate is in ca_file, but this collector cannot read its extension %s: %v.", atFault(e), issuerOf(e.Verdict.Primary().Cert), extensionName("2.5.29.30"), u.Err),
			"Reissue the CA's certificate with the same name and the same key, but with valid name constraints, and replace it in ca_file."
	}
	const constraints, precertificate = "2.5.29.30", "1.3.6.1.4.1.11129.2.4.3"
	var ids, names []string
	for _, oid := range e.Verdict.Primary().Cert.UnhandledCriticalExtensions {
		ids, names = append(ids, oid.String()), append(names, extensionName(oid.String()))
	}
	switch {
	case slices.Contains(ids, precertificate):
		return fmt.Sprintf("%s is a precertificate, which no client accepts: it has the critical extension %s.", atFault(e), extensionName(precertificate)),
			"Install the certificate that the CA issued after the precertificate."
	case len(ids) > 1:
		return fmt.Sprintf("%s has critical extensions that the collector does not know or cannot check: %s.", atFault(e), list(names, 5)),
			"Reissue it without marking those extensions as critical." + reissueRoot(e)
	case ids[0] == constraints:
		return fmt.Sprintf("%s has the critical extension %s with constraints of a kind that the collector cannot check, such as those of directory names.", atFault(e), names[0]),
			"Reissue it with constraints of DNS names, addresses, e-mail addresses and URIs only, or without marking that extension as critical." + reissueRoot(e)
	}
	return fmt.Sprintf("%s has the critical extension %s, which the collector does not know.", atFault(e), names[0]),
		"Reissue it without marking that extension as critical." + reissueRoot(e)
}

// extensionName returns an object identifier, after its name if it has one.
func extensionName(id string) string {
	if name := certs.ExtensionName(id); name != "" {
		return fmt.Sprintf("%s (%s)", name, id)
	}
	return text.Clean(id, 64)
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
	primary := e.Verdict.Primary()
	unusable, unsupported := (*certs.UnusableRoot)(nil), (*certs.UnusableCA)(nil)
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(primary.Err, &unusable):
		cause = fmt.Sprintf("%s was issued by %s. The CA's certificate is in ca_file, but this collector cannot read it: %v. Its key is of the kind %s.", atFault(e), issuerOf(primary.Cert), unusable.Err, unusable.Key)
		if unusable.KeySupported {
			return cause, "Reissue the CA's certificate with the same name and the same key, but without what cannot be read, and replace it in ca_file."
		}
		return cause, otherCA
	case errors.As(primary.Err, &unsupported):
		cause = fmt.Sprintf("%s was issued by %s, whose key is of the kind %s. This collector cannot check its signatures (%v). Other clients may be able to.", atFault(e), issuerOf(primary.Cert), unsupported.Key, unsupported.Err)
		if unsupported.Root {
			cause = fmt.Sprintf("%s was issued by %s. The CA's certificate is in ca_file, but this collector cannot check its signatures, as its key is of the kind %s (%v).", atFault(e), issuerOf(primary.Cert), unsupported.Key, unsupported.Err)
		}
		return cause, otherCA
	case errors.Is(primary.Err, certs.ErrTooMuchWork):
		return fmt.Sprintf("%s could not be verified: %v.", atFault(e), primary.Err), removeUnneeded
	case errors.As(primary.Err, &invalid) && invalid.Reason == x509.NoValidChains:
		return fmt.Sprintf("%s was refused, as a CA in its chain requires certificate policies that the chain does not have (%v).", atFault(e), primary.Err),
			"Reissue the certificate with a policy that all CAs of its chain have, or the CA without the extension policyConstraints."
	case errors.As(primary.Err, new(*certs.Unexplained)):
		return unexplained(e)
	case errors.Is(primary.Err, certs.ErrNameEncoding):
		return fmt.Sprintf("%s was issued by %s. The CA's certificate is in ca_file, but its name has other string types there than in the certificate that it issued. The collector compares names byte by byte, other clients may not.", atFault(e), issuerOf(primary.Cert)),
			"Reissue the CA's certificate with the same key, and with its name encoded as in the certificates that it issues, and replace it in ca_file."
	case errors.Is(primary.Err, x509.ErrUnsupportedAlgorithm):
		cause = fmt.Sprintf("%s has a signature of a kind that the collector cannot check (%v). Other clients may be able to.", atFault(e), primary.Err)
	default:
		cause = fmt.Sprintf("%s was refused: %v.", atFault(e), primary.Err)
	}
	return cause, "Reissue the certificate. The collector supports RSA, ECDSA and Ed25519 signatures. It does not support Ed448 and DSA."
}

const otherCA = "Move to a CA whose key is RSA, ECDSA on P-256, P-384 or P-521, or Ed25519: reissue the certificates from it, and set tls ca_file to it. The collector does not support Ed448, DSA and other curves."

// orderOrName explains a name mismatch.
func orderOrName(f *Failure, e *Evidence) (cause, fix string) {
	order := (*certs.WrongOrder)(nil)
	cause, fix = nameMismatch(f, e)
	if !errors.As(e.Verdict.Primary().Err, &order) {
		return cause, fix
	}
	// Which of them has the key of the server is not known: it proves that only after the certificates.
	return fmt.Sprintf("Certificate 1 of those that the server sends is a CA certificate, %s, and it is not valid for %s. It must be the server's own, which is perhaps certificate %d, %s.",
			subjectOf(e.Verdict.Chain[0]), e.ServerName, order.Index+1, subjectOf(order.Leaf)),
		fmt.Sprintf("If the server's private key is that of certificate %d, put the server's own certificate first in the file that the server sends, and then the intermediates, each before its issuer. If it is that of certificate 1: %s", order.Index+1, fix)
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
