package failure

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// ClientCertProblem is something wrong with our own client certificate, or with a CA certificate that we send with it. A
// server may refuse the certificate for it. It is a warning as long as the server does not.
type ClientCertProblem struct {
	Type Type // as a warning

	subject string // of its sentence; empty if the problem is in the client certificate itself
	words   string // the rest of the sentence
	fix     string
}

// String returns what is wrong and what to do about it.
func (p *ClientCertProblem) String() string {
	return p.sentence("The client certificate") + " " + p.fix
}

// sentence returns what is wrong. itself is what the sentence calls the client certificate.
func (p *ClientCertProblem) sentence(itself string) string {
	if p.subject != "" {
		itself = p.subject
	}
	return itself + " " + p.words
}

// ClientCertProblems judges the client certificate leaf, the first of chain, for a server that has requested one. accepted are
// the DER names of the CAs that the server accepts. near is whether the certificate is near its expiry. The problems are in
// the order in which to fix them.
func ClientCertProblems(leaf *x509.Certificate, chain *certs.ClientChain, accepted [][]byte, now time.Time, near bool) []ClientCertProblem {
	var problems []ClientCertProblem
	for _, r := range chain.Reasons(accepted, now) {
		problems = append(problems, clientCertProblem(r, now))
	}
	if near {
		left := text.Between(now, leaf.NotAfter)
		problems = append(problems, ClientCertProblem{
			Type: NearExpiry, fix: renewClientCert,
			words: fmt.Sprintf("expires on %s, in %s.", text.Moment(leaf.NotAfter), left),
		})
	}
	return problems
}

// ClientCertWarnings returns the types of the problems, without duplicates.
func ClientCertWarnings(problems []ClientCertProblem) (warnings []Type) {
	for _, p := range problems {
		if !slices.Contains(warnings, p.Type) {
			warnings = append(warnings, p.Type)
		}
	}
	return warnings
}

const (
	setClientCert    = "Set tls cert_file and key_file to a certificate from a CA that the server accepts."
	renewClientCert  = "Renew the certificate in cert_file."
	otherClientCert  = "Use a certificate from a CA that the server accepts"
	checkServersRule = "Check the server's clock, which client CAs it trusts, and which clients it allows. Its log may have the reason."
)

func clientCertProblem(r certs.Reason, now time.Time) ClientCertProblem {
	c := r.Cert
	p := ClientCertProblem{}
	if r.Depth > 0 {
		p.subject = fmt.Sprintf("The CA certificate %s in cert_file", quoted(certs.SubjectName(c)))
	}
	switch r.Fault {
	case certs.NotYetValid:
		p.Type = ClientCertNotYetValid
		p.words = fmt.Sprintf("is not valid before %s, which is in %s by the collector's clock.", text.Moment(c.NotBefore), text.Between(now, c.NotBefore))
		p.fix = "Use a certificate that is already valid, or wait until this one is. If that time has passed, correct the collector's clock."
	case certs.Expired:
		p.Type, p.fix = ClientCertExpired, renewClientCert
		p.words = fmt.Sprintf("expired on %s, %s ago by the collector's clock.", text.Moment(c.NotAfter), text.Between(c.NotAfter, now))
		if r.Depth > 0 {
			p.fix = "Replace that CA certificate with the one that the CA uses now. If the CA has none, use a certificate from another CA."
		}
	case certs.WrongKeyUsage:
		p.Type, p.fix = UnsupportedCertificate, "Issue a certificate with the extended key usage clientAuth and the key usage digitalSignature."
		p.words = "has extended key usages, but not clientAuth, which a client needs."
		switch {
		case slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
			p.words = "has the extended key usage anyExtendedKeyUsage, but not clientAuth. Many servers refuse that, such as those with OpenSSL."
		case certs.AllowsClientAuth(c):
			p.words = "has key usages, but not digitalSignature, which a client needs."
		}
		if r.Depth > 0 && certs.AllowsClientAuth(c) {
			p.fix = "Use a certificate from a CA that issues for clients."
		} else if r.Depth > 0 {
			p.words, p.fix = "has extended key usages, but not clientAuth, so it cannot issue for clients.", "Use a certificate from a CA that issues for clients."
		}
	case certs.WeakKey:
		p.Type, p.fix = Type(certs.WeakKey), "Issue a certificate with an ECDSA key, or with an RSA key of at least 2048 bits."
		p.words = fmt.Sprintf("has an RSA key of %d bits, which many servers refuse.", certs.KeySize(c))
		switch {
		case r.Depth == 0 && certs.KeySize(c) < 1024:
			p.words = fmt.Sprintf("has an RSA key of %d bits. The collector cannot sign with RSA keys of less than 1024 bits.", certs.KeySize(c))
		case r.Depth > 0:
			p.fix = "Use a certificate from a CA with a longer key."
		}
	case certs.WeakSignature:
		p.Type, p.fix = Type(certs.WeakSignature), "Reissue it with SHA-256."
		p.words = fmt.Sprintf("is signed with %s, which most servers refuse.", c.SignatureAlgorithm)
		if r.Depth > 0 {
			p.fix = "Use a certificate from a CA whose certificate is signed with SHA-256."
		}
	case certs.Malformed: // the only one is an ECDSA key on another curve
		p.Type, p.fix = UnsupportedCertificate, "Issue a certificate with an ECDSA key on P-256, or with an RSA key of at least 2048 bits."
		curve := "with parameters of its own"
		if k, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
			curve = "on the curve " + k.Curve.Params().Name
		}
		p.words = fmt.Sprintf("has an ECDSA key %s, with which TLS 1.3 has no signatures, and which many servers refuse in TLS 1.2.", curve)
	case certs.UntrustedCA:
		issuerNotAccepted(&p, c)
	default:
		chainProblem(&p, r)
	}
	return p
}

// chainProblem words p for the faults that a server finds when it verifies the path.
func chainProblem(p *ClientCertProblem, r certs.Reason) {
	c := r.Cert
	p.Type = BadCertificate
	switch r.Fault {
	case certs.BadSignature:
		p.words = fmt.Sprintf("was not signed with the key of the CA certificate %s in cert_file, which has only the name of its issuer.", issuerOf(c))
		p.fix = fmt.Sprintf("Replace the certificate of %s in cert_file by the one whose key made the signature.", issuerOf(c))
	case certs.NotCA:
		p.subject = fmt.Sprintf("The certificate %s in cert_file", subjectOf(c))
		p.words = "is used as an issuer, but is not allowed to sign certificates."
		p.fix = "Reissue it with the same name and key, with basicConstraints CA:TRUE and the key usage keyCertSign, and replace it in cert_file. Or use a certificate from another CA."
	case certs.PathLengthExceeded:
		p.words = "allows fewer intermediates below it than cert_file has."
		p.fix = "Reissue that CA certificate with the same name and key, but with a larger pathlen, and replace it in cert_file. Or use a certificate that this CA issued directly."
	case certs.UnhandledCriticalExtension:
		p.words = fmt.Sprintf("has the critical extension %s, which not every server knows.", extensionName(c.UnhandledCriticalExtensions[0].String()))
		p.fix = "Issue a certificate without marking that extension as critical."
		if r.Depth > 0 {
			p.fix = "Reissue that CA certificate with the same name and key, but without marking that extension as critical, and replace it in cert_file. Or use a certificate from another CA."
		}
	default: // certs.NameConstraintViolation
		p.words, p.fix = "has a name for which a CA in cert_file may not issue certificates.", "Issue a certificate without this name, or from a CA without this constraint."
		if v := (*certs.ConstraintViolation)(nil); errors.As(r.Err, &v) {
			limits := "permits only "
			if v.Excluded {
				limits = "excludes "
			}
			p.words = fmt.Sprintf("has the %s %s, which the CA certificate %s in cert_file does not allow: it %s%s.", v.Kind, quoted(v.Name), subjectOf(v.CA), limits, constraintList(v.Constraints))
		}
	}
}

// issuerNotAccepted words p. top is the topmost certificate that we send. Whether its issuer is unknown to the server, or
// is an intermediate whose certificate we do not send, cannot be known from the names that the server accepts.
func issuerNotAccepted(p *ClientCertProblem, top *x509.Certificate) {
	issuer := issuerOf(top)
	p.Type, p.subject = UnknownCA, "The list of CAs that the server accepts"
	p.words = fmt.Sprintf("does not include %s, and cert_file does not have the certificate of %s.", issuer, issuer)
	p.fix = addIssuer(top, " below one of those CAs")
	switch {
	case namelessIssuer(top):
		p.words = "does not include a CA without a name, and the certificate names no issuer."
	case isRoot(top):
		p.words = fmt.Sprintf("does not include %s.", issuer)
		p.fix = fmt.Sprintf("%s, or add %s to the client CAs of the server.", otherClientCert, issuer)
	}
}

// addIssuer returns the fix if the server may lack the certificate of top's issuer. below says more about that issuer.
func addIssuer(top *x509.Certificate, below string) string {
	if namelessIssuer(top) {
		return otherClientCert + "."
	}
	issuer := issuerOf(top)
	fix := fmt.Sprintf("If %s is an intermediate%s, add its certificate to the end of cert_file, as PEM.", issuer, below)
	if url := downloadURL(top); url != "" {
		fix += fmt.Sprintf(" It can be downloaded from %s, according to the certificate that it issued.", url)
	}
	// Most servers accept only roots, even if an intermediate is among their client CAs.
	return fix + fmt.Sprintf(" Otherwise use a certificate from a CA that the server accepts, or add %s, and the CAs above it up to their root, to the client CAs of the server.", issuer)
}

// namelessIssuer reports whether nothing in c identifies its issuer.
func namelessIssuer(c *x509.Certificate) bool {
	return certs.IssuerDN(c) == "" && len(c.AuthorityKeyId) == 0
}

func isRoot(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// refusalType returns the type of a refusal of our client certificate by an alert that means alert. What we know about the
// certificate comes before what the alert says, because most servers have one alert for many reasons. The type is:
//   - client_cert_revoked if the server says so, as only the server knows,
//   - client_cert_expired if the server says so and we find nothing wrong with the dates: one of the clocks is wrong,
//   - unknown_ca or access_denied if the server says so and we find only a weak key or signature, for which no server says
//     that,
//   - what the alert says, if the certificate does have that problem,
//   - the first problem of the certificate,
//   - what the alert says.
func refusalType(alert Type, problems []ClientCertProblem) Type {
	known := refusalTypes(problems)
	switch {
	case alert == ClientCertRevoked,
		alert == ClientCertExpired && !wrongDates(problems),
		(alert == UnknownCA || alert == AccessDenied) && onlyWeak(problems),
		slices.Contains(known, alert),
		len(known) == 0:
		return alert
	}
	return known[0]
}

func (p *ClientCertProblem) weak() bool {
	return p.Type == Type(certs.WeakKey) || p.Type == Type(certs.WeakSignature)
}

// onlyWeak reports whether no problem is worse than a weak key or signature, which many servers accept.
func onlyWeak(problems []ClientCertProblem) bool {
	return !slices.ContainsFunc(problems, func(p ClientCertProblem) bool { return !p.weak() && p.Type != NearExpiry })
}

// wrongDates reports whether a certificate has expired or is not valid yet, by our clock.
func wrongDates(problems []ClientCertProblem) bool {
	return slices.ContainsFunc(problems, func(p ClientCertProblem) bool {
		return p.Type == ClientCertExpired || p.Type == ClientCertNotYetValid
	})
}

// refusalTypes returns the types of a refusal for these problems, without duplicates.
func refusalTypes(problems []ClientCertProblem) (refusals []Type) {
	for _, p := range problems {
		t := p.Type
		switch {
		case t == NearExpiry: // no server refuses that
			continue
		case p.weak():
			t = UnsupportedCertificate
		}
		if !slices.Contains(refusals, t) {
			refusals = append(refusals, t)
		}
	}
	return refusals
}

// sentClientCert reports whether we have sent a client certificate.
func (e *Evidence) sentClientCert() bool { return e.ClientCert != nil && e.ClientCertRequested }

// knownRefusal returns the sentences about the problems of the client certificate, and their fixes. They are empty if it
// has none for which a server would refuse it.
func (e *Evidence) knownRefusal() (problems, fixes string) {
	var sentences, advice []string
	for _, p := range e.ClientCertProblems {
		if p.Type == NearExpiry {
			continue
		}
		sentences = append(sentences, p.sentence("It"))
		if !slices.Contains(advice, p.fix) {
			advice = append(advice, p.fix)
		}
	}
	return strings.Join(sentences, " "), strings.Join(advice, " ")
}

// explainClientCert explains the refusal of a client certificate. refused is how the cause begins. If the certificate has
// known problems, they are the cause. Otherwise otherwise is the fix.
func explainClientCert(e *Evidence, refused, otherwise string) (cause, fix string) {
	why, fix := e.knownRefusal()
	switch {
	case why == "":
		why, fix = nothingWrong(e), otherwise
	case onlyWeak(e.ClientCertProblems):
		fix += " If the server accepts that: " + otherwise
	}
	return refused + " " + why + " " + acceptedCAs(e), fix
}

// nothingWrong returns what is left if we know nothing that is wrong with our certificate.
func nothingWrong(e *Evidence) string {
	c := e.ClientCert
	names := ""
	if all := certs.Names(c); len(all) > 0 {
		names = " and its names are " + list(all, 3)
	}
	unless := ""
	if e.maybeIncomplete() {
		unless = fmt.Sprintf(", unless the server lacks the certificate of %s, which is not in cert_file", issuerOf(e.ClientCertTop))
	}
	return fmt.Sprintf("It is valid by the collector's clock until %s: the server's clock, trust or rules are at fault%s. Its subject is %s%s.",
		text.Moment(c.NotAfter), unless, text.Clean(certs.SubjectDN(c), maxName), names)
}

// maybeIncomplete reports whether the server may lack an intermediate that we do not send.
func (e *Evidence) maybeIncomplete() bool {
	return e.ClientCertTop != nil && !e.namesCAs() && !isRoot(e.ClientCertTop)
}

// namesCAs reports whether the server lists CAs that it accepts.
func (e *Evidence) namesCAs() bool { return max(e.AcceptableCACount, len(e.AcceptableCAs)) > 0 }

// refusedClientCert explains an alert that a server sends for a client certificate. otherwise is the fix if we know
// nothing that is wrong with the certificate.
func refusedClientCert(e *Evidence, otherwise string) (cause, fix string) {
	if !e.sentClientCert() {
		return fmt.Sprintf("%s reports a problem with the client certificate, but none was sent. %s", e.Endpoint, acceptedCAs(e)), setClientCert
	}
	cause, fix = explainClientCert(e, fmt.Sprintf("%s refused the client certificate of %s, issued by %s.", e.Endpoint,
		quoted(certs.SubjectName(e.ClientCert)), issuerOf(e.ClientCert)), otherwise)
	known := refusalTypes(e.ClientCertProblems)
	if number, _ := alertOf(e.Err); alerts[number].typ == UnknownCA && len(known) > 0 && !slices.Contains(known, UnknownCA) {
		fix += " If the server still sends this alert, add the CA of the certificate to its client CAs."
	}
	return cause, fix
}

func missingClientCert(_ *Failure, e *Evidence) (cause, fix string) {
	if !e.sentClientCert() {
		return fmt.Sprintf("%s requires a client certificate, but none was sent. %s", e.Endpoint, acceptedCAs(e)), setClientCert
	}
	cause, fix = refusedClientCert(e, otherClientCert+", with its intermediates in cert_file. "+checkServersRule)
	return cause + " The server behaves as if none had been sent.", fix
}

func unknownCA(_ *Failure, e *Evidence) (cause, fix string) {
	fix = otherClientCert + ", with its intermediates in cert_file. Or add its CA to the client CAs of the server."
	switch {
	case !e.sentClientCert():
	case e.maybeIncomplete():
		fix = addIssuer(e.ClientCertTop, "")
	case e.namesCAs() && e.ClientCertTop != nil:
		fix = "The server lists a CA with the name of an issuer of the certificate. Check that this CA has the issuer's key, that the server also has the CAs above it, that the server allows a chain of this length, and, if it checks CRLs, that it has one of each CA."
	}
	return refusedClientCert(e, fix)
}

func clientCertNotYetValid(_ *Failure, e *Evidence) (cause, fix string) {
	return refusedClientCert(e, checkServersRule)
}

func clientCertExpired(_ *Failure, e *Evidence) (cause, fix string) {
	const compare = "Compare the clocks of the server and of the collector, and correct the one that is wrong. If both are right, a CA certificate or a list of revoked certificates (CRL) on the server has expired: renew it."
	cause, fix = refusedClientCert(e, compare)
	if !e.sentClientCert() || wrongDates(e.ClientCertProblems) {
		return cause, fix
	}
	if others, fixes := e.knownRefusal(); others != "" {
		cause += fmt.Sprintf(" It is valid by the collector's clock until %s.", text.Moment(e.ClientCert.NotAfter))
		fix = compare + " " + fixes
	}
	return cause + fmt.Sprintf(" The collector's clock is at %s.", text.Moment(e.Now)), fix
}

func clientCertRevoked(_ *Failure, e *Evidence) (cause, fix string) {
	const reissue = "Issue a new certificate and a new key for cert_file and key_file."
	if !e.sentClientCert() {
		return refusedClientCert(e, reissue)
	}
	why, _ := e.knownRefusal()
	cause = fmt.Sprintf("%s refused the client certificate of %s, issued by %s, because it is revoked.", e.Endpoint,
		quoted(certs.SubjectName(e.ClientCert)), issuerOf(e.ClientCert))
	if why != "" {
		cause += " " + why
	}
	return cause + " " + acceptedCAs(e), reissue
}

func accessDenied(_ *Failure, e *Evidence) (cause, fix string) {
	return refusedClientCert(e,
		"Allow the certificate's subject in the server's access rules. GnuTLS servers also report this when they do not trust the certificate, or when their list of revoked certificates (CRL) has it: check which client CAs the server trusts, its clock and its CRL.")
}

func unsupportedCertificate(_ *Failure, e *Evidence) (cause, fix string) {
	if e.Err != nil {
		if ownKeyRefused(e) {
			return neverSigns(e)
		}
		if t, ok := typeFromWords(e.Err); ok && t == UnsupportedCertificate && e.ClientCert != nil {
			return cannotSign(e)
		}
	}
	return refusedClientCert(e, "Issue a certificate with the extended key usage clientAuth and a key type that the server supports.")
}

// neverSigns explains that crypto/tls cannot sign with the key, whatever the server accepts.
func neverSigns(e *Evidence) (cause, fix string) {
	cause = fmt.Sprintf("The handshake with %s ended because the collector could not sign it with the key of the client certificate of %s.",
		e.Endpoint, quoted(certs.SubjectName(e.ClientCert)))
	why, fix := e.knownRefusal()
	if why == "" {
		return cause + " " + text.Clean(e.Err.Error(), 256) + ".", "Check key_file, or what holds the key."
	}
	return cause + " " + why, fix
}

// cannotSign explains that crypto/tls did not send the certificate, because the server accepts no signature that its key
// can make.
func cannotSign(e *Evidence) (cause, fix string) {
	cause = fmt.Sprintf("The client certificate of %s was not sent: %s accepts no signature that its key (%s, %d bits) can make.",
		quoted(certs.SubjectName(e.ClientCert)), e.Endpoint, e.ClientCert.PublicKeyAlgorithm, certs.KeySize(e.ClientCert))
	var keys []string
	for _, s := range e.SignatureSchemes {
		k := keyFor[s]
		if e.Version < tls.VersionTLS13 && s == tls.PKCS1WithSHA256 {
			k = longRSA
		}
		if k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return cause, "Enable signatures with ECDSA P-256 or RSA on the server. The collector supports none that it accepts."
	}
	return cause, fmt.Sprintf("Use a certificate with a key of a type whose signatures the server accepts: %s.", strings.Join(keys, ", "))
}

const longRSA = "RSA of at least 2048 bits" // a shorter one is weak, and too short for rsa_pss_rsae_sha512 below 1040 bits

// keyFor has the key that makes each signature, for the signatures of TLS 1.3.
var keyFor = map[tls.SignatureScheme]string{
	tls.ECDSAWithP256AndSHA256: "ECDSA P-256",
	tls.ECDSAWithP384AndSHA384: "ECDSA P-384",
	tls.ECDSAWithP521AndSHA512: "ECDSA P-521",
	tls.PSSWithSHA256:          longRSA,
	tls.PSSWithSHA384:          longRSA,
	tls.PSSWithSHA512:          longRSA,
	tls.Ed25519:                "Ed25519",
}

// refusedForReasonInLog explains the alerts that do not say what is wrong with the certificate.
func refusedForReasonInLog(_ *Failure, e *Evidence) (cause, fix string) {
	if number, _ := alertOf(e.Err); number == decryptError && e.ClientCertTop != nil {
		issuer := issuerOf(e.ClientCertTop)
		return refusedClientCert(e, fmt.Sprintf("The server most likely trusts %s with another key than the one that signed the certificate. Replace it in the client CAs of the server by the CA that issued the certificate, or use a certificate from the one that the server trusts.", issuer))
	}
	return refusedClientCert(e, checkServersRule)
}

func closedOverClientCert(e *Evidence) (cause, fix string) {
	if !e.sentClientCert() {
		return fmt.Sprintf("%s asked for a client certificate, got none, and closed the connection without giving a reason. %s", e.Endpoint, acceptedCAs(e)),
			setClientCert + " Check the server's log."
	}
	cause, fix = explainClientCert(e, fmt.Sprintf("%s asked for a client certificate, got that of %s, and closed the connection without giving a reason.",
		e.Endpoint, quoted(certs.SubjectName(e.ClientCert))), "")
	if fix == "" {
		return cause, checkServersRule
	}
	return cause, fix + " If the server still closes the connection, check its log."
}

func acceptedCAs(e *Evidence) string {
	const most = 3
	switch shown := e.AcceptableCAs[:min(len(e.AcceptableCAs), most)]; {
	case !e.namesCAs():
		return "The server does not say which CAs it accepts."
	case len(shown) == 0:
		return "The server's list of the CAs that it accepts has no readable name."
	case e.AcceptableCACount > len(shown): // AcceptableCAs does not have all of them
		return fmt.Sprintf("The server accepts certificates from %s and %d more.", list(shown, most), e.AcceptableCACount-len(shown))
	default:
		return "The server accepts certificates from " + list(shown, most) + "."
	}
}
