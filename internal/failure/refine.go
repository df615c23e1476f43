package failure

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Refine updates the cause and the fix of the failure with the results of the tries, and the type if they show a more
// specific one. The step stays the one in which the failure happened. There is at least one try.
func (f *Failure) Refine(asked *Asked, tries []Try, endpoint, serverName string) {
	f.Cause = strings.TrimSuffix(f.Cause, f.alertSentence()) // it is added again at the end
	f.Fix = strings.TrimSuffix(f.Fix, setExplain)
	was := f.Type
	unsteady := comesAndGoes(tries)
	switch {
	case unsteady != "":
		f.Cause += unsteady
		f.Fix = "Look for one bad server behind a load balancer, a restart, or a limit on connections. " + f.Fix
	case f.Type == Type(certs.Malformed):
		f.refineUnreadable(tries, endpoint)
	default:
		f.refineRefusal(asked, tries, endpoint, serverName)
	}
	f.Reasons[slices.Index(f.Reasons, was)] = f.Type
	f.Cause += f.alertSentence()
	f.Cause, f.Fix = text.Clean(f.Cause, maxSentences), text.Clean(f.Fix, maxSentences)
}

// refineRefusal explains a refusal by what worked.
func (f *Failure) refineRefusal(asked *Asked, tries []Try, endpoint, serverName string) {
	var worked []Try
	for _, t := range tries {
		if t.Err == nil && !t.repeated {
			worked = append(worked, t)
		}
	}
	if len(worked) == 0 {
		f.nothingWorked(asked, tries, endpoint, serverName)
		return
	}
	if t := asked.acceptsAny(tries); t != nil {
		f.lacksCertificate(t)
		return
	}
	first := worked[0]
	inRange := slices.IndexFunc(worked, func(t Try) bool { return !missingIn(&asked.Offered, t.Choice).version })
	switch {
	case first.WithoutSNI:
		f.Type = UnrecognizedName
		f.Cause = fmt.Sprintf("%s refuses the name %s.", endpoint, serverName)
		f.Fix = serveName(serverName)
		if len(tries) == maxTries && !tries[maxTries-1].repeated && missingIn(&asked.Offered, first.Choice).none() {
			f.Cause = fmt.Sprintf("%s refused each client that sent the name %s, and not the one that sent none.", endpoint, serverName)
			f.Fix += " If it serves this name, look for one bad server behind a load balancer."
		}
		if first.Choice.Leaf != "" {
			f.Cause += fmt.Sprintf(" A client that sends no name gets the certificate of %s.", quoted(first.Choice.Leaf))
		} else if !first.Choice.Retry {
			f.Cause += " A client that sends no name is not refused."
		}
	case inRange < 0 && !asked.demanded(first.Choice):
		f.lacksCertificate(&first)
	case inRange < 0:
		f.speaksOnly(asked, tries, worked, endpoint)
	default:
		f.choseAnother(asked, tries, worked, inRange, endpoint)
	}
}

// speaksOnly explains a server of which all versions are outside the range of the collector.
func (f *Failure) speaksOnly(asked *Asked, tries, worked []Try, endpoint string) {
	f.Type = ProtocolMismatch
	best := worked[0]
	if i := slices.IndexFunc(worked, asked.able); i >= 0 {
		best = worked[i]
	}
	var all []string
	for _, t := range worked {
		if name := versionName(t.Choice.Version); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	kind := strings.ToUpper(asked.CertificateType)
	if kind != "" && best.Choice.Version == tls.VersionTLS13 {
		f.Cause = fmt.Sprintf("%s uses its %s certificate only in TLS 1.3. The collector can ask for one type of certificate only in TLS 1.2.", endpoint, kind)
		f.Fix = fmt.Sprintf("Enable TLS 1.2 on the server, with ECDHE suites for an %s certificate, or remove %s from certificate_types.", kind, asked.CertificateType)
		return
	}
	// It chose the newest that it has. Only the older ones may be more.
	lowest := slices.MinFunc(worked, func(a, b Try) int { return cmp.Compare(a.Choice.Version, b.Choice.Version) }).Choice.Version
	says := "refuses the offered TLS versions"
	if lowest == clienthello.SSL30 || slices.ContainsFunc(tries, func(t Try) bool {
		return refused(t.Err) && !t.repeated && t.like(*asked.everything(lowest - 1))
	}) {
		says = "speaks only " + strings.Join(all, " and ")
	}
	if kind != "" {
		says += fmt.Sprintf(" with clients that accept only an %s certificate", kind)
	}
	f.Cause = fmt.Sprintf("%s %s. In %s it chose %s.", endpoint, says, versionName(best.Choice.Version), clienthello.SuiteName(best.Choice.Suite))
	refuses13 := slices.ContainsFunc(tries, func(t Try) bool { return t.Err != nil && t.like(*asked.everything(clienthello.TLS13)) })
	if refuses13 && best.MaxVersion < clienthello.TLS13 {
		f.Cause = fmt.Sprintf("%s refuses clients that offer TLS 1.3. Of the older versions, it chose %s with %s.", endpoint,
			versionName(best.Choice.Version), clienthello.SuiteName(best.Choice.Suite))
	}
	f.Fix = asked.asItIs(best)
	switch {
	case best.Choice.Version >= tls.VersionTLS12 && best.Choice.Version < asked.Offered.MinVersion && !asked.able(best):
		f.Fix = fmt.Sprintf("Enable %s on the server. %s", versions(asked.Offered.MinVersion, asked.Offered.MaxVersion), f.Fix)
	case best.Choice.Version >= tls.VersionTLS12:
	case kind != "":
		f.Fix = "Enable TLS 1.2 on the server. " + f.Fix
	default:
		f.Fix = "Enable TLS 1.2 or 1.3 on the server. " + f.Fix
	}
}

// demanded reports whether a server's key may be of the type that was asked for. Some servers ignore the signature schemes.
func (a *Asked) demanded(c *Choice) bool {
	switch {
	case c.Key == "":
	case a.CertificateType == "rsa":
		return c.Key == "RSA"
	case a.CertificateType == "ecdsa":
		return strings.HasPrefix(c.Key, "E") // also Ed25519 and Ed448, which have the same suites
	}
	return true
}

// lacksCertificate explains a server that has no certificate of the type that was asked for. It did not refuse t.
func (f *Failure) lacksCertificate(t *Try) {
	if t.Choice.Retry {
		return
	}
	f.Cause += fmt.Sprintf(" A client that accepts any certificate is not refused: the server chose %s", describe(t.Choice))
	if t.Choice.Key != "" {
		f.Cause += ", and has a key of the kind " + t.Choice.Key
	}
	f.Cause += "."
}

// choseAnother explains a server that supports a version that was offered. The try at index offered everything in such versions.
func (f *Failure) choseAnother(asked *Asked, tries, worked []Try, index int, endpoint string) {
	first, shown := worked[index], worked[index]
	for _, t := range worked[index+1:] {
		// A suite that it chose at first may be only what it prefers. Without a common group, servers choose RSA key exchange.
		// A curve that its key needs is not the cause if it has another key.
		anotherKey := t.groups == onlyOffered && missingIn(&asked.Offered, t.Choice).none()
		if t.MaxVersion == first.MaxVersion && (missingIn(&asked.Offered, first.Choice).suite || anotherKey) && !(asked.able(first) && t.like(*asked.limit())) {
			shown = t
		}
	}
	missing := missingIn(&asked.Offered, shown.Choice)
	needsAlgorithm := slices.ContainsFunc(tries, func(t Try) bool {
		return t.Err != nil && t.suites == allKnown && t.groups == allKnown && t.schemes == onlyOffered
	})
	switch {
	case missing.none() && first.MaxVersion < asked.Offered.MaxVersion:
		f.Type = ProtocolMismatch
		f.Cause = fmt.Sprintf("%s refuses clients that also offer TLS 1.3. With %s and %s the handshake succeeds.", endpoint,
			versionName(first.Choice.Version), clienthello.SuiteName(first.Choice.Suite))
		f.Fix = "Update the server, or the middlebox in front of it. " + asked.asItIs(first)
		return
	case missing.none() && slices.ContainsFunc(worked, func(t Try) bool {
		c := t.Choice
		return t.MaxVersion == first.MaxVersion && (c.Version != first.Choice.Version || c.Suite != first.Choice.Suite || c.Group != first.Choice.Group)
	}):
		f.Cause += " Its answers are like those of different servers."
		f.Fix = "Look for one bad server behind a load balancer."
		return
	case missing.none() && (!needsAlgorithm || shown.Choice.Retry || shown.Choice.Scheme != 0): // it signs as it was asked to
		f.acceptsAnother(asked, shown.Choice, endpoint)
		return
	}

	limited := missing.suite && shown.Choice.Scheme == 0 && slices.ContainsFunc(tries, func(t Try) bool {
		return t.Err != nil && t.like(*asked.limit())
	})
	missing.signature = missing.signature || limited
	all := asked.lacks(shown.Choice, missing)
	refuses, what := "supports none of", join(all, func(l lack) string { return l.every }, " and ")
	last := slices.IndexFunc(tries, func(t Try) bool { return t.Choice == first.Choice })
	switch {
	case !slices.ContainsFunc(tries[last+1:], func(t Try) bool { return t.Err != nil }): // there was no time to try
		refuses = "refuses"
	case len(all) > 1:
		refuses = "supports no combination of"
	}
	if missing.suite && shown.suites == allPossible || missing.group && shown.groups == allPossible ||
		(missing.signature || missing.none()) && shown.schemes == allPossible {
		what += " that the collector has"
	}
	offered := join(all, func(l lack) string { return l.offered }, " and ")
	if slices.ContainsFunc(worked, func(t Try) bool {
		return t.Choice.Version != shown.Choice.Version && !missingIn(&asked.Offered, t.Choice).version
	}) {
		offered += " in " + versionName(shown.Choice.Version)
	}
	f.Type = all[0].typ
	f.Cause = fmt.Sprintf("%s %s the offered %s. When every %s was offered, it chose %s.", endpoint, refuses,
		offered, what, join(all, func(l lack) string { return l.chose }, " and "))
	suite := clienthello.SuiteName(shown.Choice.Suite)
	if kind := withoutCertificate(suite); missing.suite && kind != "" {
		f.Cause = fmt.Sprintf("%s supports none of the offered cipher suites. When every suite was offered, it chose %s, a suite %s.", endpoint, suite, kind)
	}
	if f.Fix = fixes(all); limited {
		f.Fix += " " + asked.unsupported(all[len(all)-1:])
	} else {
		f.addSettings(asked, worked, shown)
	}
	f.Fix = strings.TrimSpace(f.Fix)
}

// acceptsAnother explains a server that does not refuse a ClientHello from which it chose only what the failed handshake had
// also offered.
func (f *Failure) acceptsAnother(asked *Asked, c *Choice, endpoint string) {
	if asked.CertificateType != "" { // it has such a certificate
		f.Type, f.Cause = HandshakeFailure, endpoint+" refused the handshake."
	}
	if c.Retry {
		f.Cause += " The server answered a ClientHello of another kind with a HelloRetryRequest. What it would do next is not known."
		return
	}
	f.Cause += fmt.Sprintf(" A ClientHello of another kind is not refused: the server chose %s.", describe(c))
	if f.Type == HandshakeFailure || f.Type == ConnectionClosed {
		f.Fix = "Look for a rule on the server, or on a middlebox in front of it, that refuses clients by their ClientHello, or for one bad server behind a load balancer."
	}
}

// nothingWorked explains a server that refused all that was tried.
func (f *Failure) nothingWorked(asked *Asked, tries []Try, endpoint, serverName string) {
	if f.Type == ProtocolMismatch && asked.CertificateType == "" {
		f.Cause = endpoint + " refuses the offered TLS versions."
	}
	f.Cause += fmt.Sprintf(" Also tried, without success: %s.", join(tries, Try.String, "; "))
	var alerts []uint8
	for _, t := range tries {
		if number, ok := alertOf(t.Err); ok {
			alerts = append(alerts, number)
		}
	}
	everythingTried := slices.ContainsFunc(tries, (&Asked{}).everything(clienthello.TLS13).like)
	if len(alerts) < len(tries) || !everythingTried {
		return
	}
	if asked.CertificateType != "" && (f.Type == CipherMismatch || f.Type == ProtocolMismatch && slices.Contains(alerts, handshakeFailureAlert)) {
		f.Type = HandshakeFailure // it refuses clients that accept any certificate as well
	}
	switch {
	case f.HasAlert && f.Alert != alerts[0]:
		f.Cause += fmt.Sprintf(" The same handshake was first refused with alert %d and then with alert %d, as by different servers.", f.Alert, alerts[0])
		f.Fix = "Look for bad servers behind a load balancer. " + f.Fix
	case f.Type == HandshakeFailure && slices.Contains(alerts, unknownPSKIdentity):
		f.Type = CipherMismatch
		f.Cause += fmt.Sprintf(" With alert %s it refuses clients because of their pre-shared key or their name and password (SRP).", alertName(unknownPSKIdentity))
		f.Fix = "Configure an RSA certificate on the server, and e" + asked.enableSuite("RSA") + " The collector does not support pre-shared keys and SRP, other clients may."
	case f.Type == HandshakeFailure && !slices.ContainsFunc(alerts, func(n uint8) bool { return n != handshakeFailureAlert && n != protocolVersionAlert }):
		f.Cause += " It refuses even a client that offers every TLS version, cipher suite, group and signature algorithm, so it most likely has no certificate, or none that its cipher suites and signature algorithms allow."
		f.Fix = fmt.Sprintf("Configure a certificate and its key for %s on the server, with cipher suites and signature algorithms for that kind of key. If it has one, check the server's log for rules that refuse this client.", serverName)
	case f.Type == ProtocolMismatch && asked.CertificateType == "":
		f.Cause += " It refuses even a client that offers SSL 3.0 to TLS 1.3, so it is not known which versions it speaks."
		f.Fix = "Check which TLS versions are enabled on the server, and that it has a certificate and cipher suites for them."
	}
}

func join[T any](list []T, text func(T) string, separator string) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = text(v)
	}
	return strings.Join(s, separator)
}
