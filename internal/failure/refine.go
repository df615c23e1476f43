package failure

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Refine updates the cause and the fix of the failure with the results of the tries, and the type if they show a more
// specific one. The step stays the one in which the failure happened. There is at least one try.
func (f *Failure) Refine(asked *Asked, tries []Try, endpoint, serverName string) {
	f.Cause = strings.TrimSuffix(f.Cause, f.alertSentence()) // it is added again at the end
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
	switch {
	case kind != "" && best.Choice.Version == tls.VersionTLS13:
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

// lack is something that the server chose and the failed handshake did not offer.
type lack struct {
	typ         Type
	offered     string // what was offered instead: "cipher suites"
	every       string // what was offered next, after "every"
	chose       string // what the server chose then, in a sentence
	unsupported string // the same after "does not support"
	fix         string // empty if that of another lack is enough
}

func fixes(lacks []lack) string {
	lacks = slices.DeleteFunc(slices.Clone(lacks), func(l lack) bool { return l.fix == "" })
	return join(lacks, func(l lack) string { return l.fix }, " ")
}

// lacks returns what the failed handshake lacked. If nothing is missing in what can be seen of the server's choice, that is
// a signature algorithm.
func (a *Asked) lacks(c *Choice, missing gap) (all []lack) {
	if missing.suite {
		suite := clienthello.SuiteName(c.Suite)
		all = append(all, lack{CipherMismatch, "cipher suites", "suite" + forCertificate(a.CertificateType), suite, suite, suiteFix(c)})
	}
	if missing.group {
		all = append(all, a.lackOfGroup(c))
	}
	if missing.signature || missing.none() {
		l := lack{typ: SignatureMismatch, offered: "signature algorithms", every: "algorithm"}
		l.chose, l.unsupported, l.fix = signature(c)
		if missing.suite && strings.Contains(all[0].fix, "RSA certificate") {
			l.fix = "" // it is for the key too
		}
		all = append(all, l)
	}
	return all
}

// lackOfGroup returns the lack of a group, of the curve of the server's key, or of both.
func (a *Asked) lackOfGroup(c *Choice) lack {
	l := lack{typ: GroupMismatch, offered: "key exchange groups", every: "group"}
	names := make([]string, 0, 2)
	for _, id := range c.groups() {
		names = append(names, clienthello.GroupName(id))
	}
	group, curve := names[0], ""
	l.chose = "the group " + group
	if c.Group == 0 {
		curve = group
		l.chose = "a key on the curve " + curve
	} else if len(names) > 1 && !slices.Contains(a.Offered.Groups, c.groups()[1]) {
		curve = names[1]
		l.chose += " with a key on the curve " + curve
	}
	l.unsupported = group
	if curve != "" && a.CertificateType != "ecdsa" {
		l.fix = "Use a certificate with an RSA key on the server."
	}
	if c.Group != 0 && !slices.Contains(a.Offered.Groups, c.Group) {
		l.fix = strings.TrimSpace(l.fix + " " + a.groupFix(c))
	}
	return l
}

// groupFix says which of the offered groups to enable on a server.
func (a *Asked) groupFix(c *Choice) string {
	var names []string
	for id, name := range map[uint16]string{29: "X25519", 23: "P-256"} {
		if slices.Contains(a.Offered.Groups, id) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(a.Offered.Groups) > 0 {
		names = []string{clienthello.GroupName(a.Offered.Groups[0])}
		if c.Version < tls.VersionTLS13 && strings.Contains(names[0], "MLKEM") { // such groups are only for TLS 1.3
			return fmt.Sprintf("Enable TLS 1.3 with the group %s on the server.", names[0])
		}
	}
	slices.Sort(names)
	slices.Reverse(names) // X25519 is the better one
	return fmt.Sprintf("Enable the group %s on the server.", strings.Join(names, " or "))
}

// choseAnother explains a server that supports a version that was offered. The try at index offered everything in such versions.
func (f *Failure) choseAnother(asked *Asked, tries, worked []Try, index int, endpoint string) {
	first, shown := worked[index], worked[index]
	for _, t := range worked[index+1:] {
		// A suite that it chose at first may be only what it prefers. Without a common group, servers choose RSA key exchange.
		// A curve that its key needs is not the cause if it has another key.
		anotherKey := t.groups == onlyOffered && missingIn(&asked.Offered, t.Choice).none()
		if t.MaxVersion == first.MaxVersion && (missingIn(&asked.Offered, first.Choice).suite || anotherKey) {
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
	case missing.none() && (!needsAlgorithm || shown.Choice.Retry || shown.Choice.Scheme != 0): // it signs as it was asked to
		f.acceptsAnother(asked, shown.Choice, endpoint)
		return
	}

	all := asked.lacks(shown.Choice, missing)
	refuses, what := "supports none of", join(all, func(l lack) string { return l.every }, " and ")
	last := slices.IndexFunc(tries, func(t Try) bool { return t.Choice == first.Choice })
	switch {
	case !slices.ContainsFunc(tries[last+1:], func(t Try) bool { return t.Err != nil }): // there was no time to try
		refuses = "refuses"
	case len(all) > 1:
		refuses = "supports no combination of"
	}
	if shown.suites == allPossible || shown.groups == allPossible || shown.schemes == allPossible {
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
		f.Cause = fmt.Sprintf("%s has no certificate for its clients, only suites %s. When every suite was offered, it chose %s.", endpoint, kind, suite)
	}
	f.Fix = fixes(all)
	f.addSettings(asked, worked, shown)
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
		f.Fix = "Look for a rule on the server, or on a middlebox in front of it, that refuses clients by their ClientHello."
	}
}

// addSettings adds to the fix the settings with which the collector gets through, or that there are none, as it does not
// support what was shown.
func (f *Failure) addSettings(asked *Asked, worked []Try, shown Try) {
	best := shown
	for _, t := range append(worked, shown) {
		if asked.able(t) {
			best = t
		}
	}
	if !asked.able(best) {
		f.Fix += " " + asked.unsupported(asked.impossible(shown.Choice))
		return
	}
	if best.Choice != shown.Choice {
		what := "less"
		if best.MaxVersion > shown.MaxVersion {
			what = versionName(best.Choice.Version)
		}
		f.Cause += fmt.Sprintf(" When %s was offered, it chose %s in %s.", what, clienthello.SuiteName(best.Choice.Suite), versionName(best.Choice.Version))
	}
	f.Fix += " " + asked.asItIs(best)
}

// withoutCertificate says what a suite has in place of a certificate. It is empty for most.
func withoutCertificate(suite string) string {
	switch {
	case strings.Contains(suite, "_anon_"):
		return "without a certificate (anonymous)"
	case strings.Contains(suite, "PSK") && !strings.Contains(suite, "RSA_PSK"):
		return "with a pre-shared key"
	case strings.HasPrefix(suite, "TLS_SRP_SHA_WITH"), strings.HasPrefix(suite, "TLS_ECCPWD"):
		return "with a password"
	case strings.HasPrefix(suite, "TLS_KRB5"):
		return "with Kerberos"
	}
	return ""
}

// enableSuite says to enable a suite for this kind of key. The E at the start is left to the caller.
func enableSuite(key string) string {
	return fmt.Sprintf("nable an ECDHE suite with AES-GCM or ChaCha20 on the server, such as TLS_ECDHE_%s_WITH_AES_128_GCM_SHA256.", key)
}

// suiteFix says what to enable on a server that supports no suite of the collector's.
func suiteFix(a *Choice) string {
	suite := clienthello.SuiteName(a.Suite)
	key := "RSA"
	if strings.Contains(suite, "_ECDSA_") {
		key = "ECDSA"
	}
	enable := enableSuite(key)
	switch {
	case a.Version == tls.VersionTLS13:
		return "Enable TLS_AES_128_GCM_SHA256 on the server."
	case withoutCertificate(suite) != "":
		return "Configure an RSA certificate on the server, and e" + enable
	case strings.Contains(suite, "_DSS_"), strings.Contains(suite, "GOST"), strings.Contains(suite, "_ECDH_"):
		return "Use an RSA certificate for signatures, and e" + enable
	case strings.HasPrefix(suite, "TLS_RSA_WITH_"): // the key exchange without a signature
		return "E" + enable + " If it has one, enable the signature algorithm rsa_pss_rsae_sha256."
	}
	return "E" + enable
}

// signature returns how a server signs, in words and as the name of the algorithm, and what to do if the collector cannot
// check that.
func signature(a *Choice) (what, algorithm, fix string) {
	key, supported := a.Key, a.Key == "" || a.SupportedKey
	algorithm = clienthello.SchemeName(a.Scheme)
	what, fix = "the signature algorithm "+algorithm, "Use a certificate with an ECDSA P-256, RSA or Ed25519 key on the server."
	switch {
	case a.Scheme == 0 && supported:
		return "one that cannot be seen, as it is encrypted", "the algorithm that it chose", fix
	case a.Scheme == 0:
		return "a key of the kind " + key, key, fix
	case key == "RSA-PSS":
		return what + ", as its key is for RSASSA-PSS only", algorithm,
			"On the server, use a certificate with an ordinary RSA key (rsaEncryption), which can make RSA-PSS signatures too, or with an ECDSA P-256 key."
	case !supported:
		return what + " with a key of the kind " + key, algorithm + " with such a key", fix
	case strings.HasPrefix(algorithm, "rsa_"):
		fix = "Enable the signature algorithms rsa_pss_rsae_sha256 and rsa_pkcs1_sha256 on the server."
	case strings.HasPrefix(algorithm, "ecdsa_sha"):
		fix = "Enable the signature algorithm ecdsa_secp256r1_sha256 on the server."
	}
	return what, algorithm, fix
}

// able reports whether other settings would get the collector what the server chose.
func (a *Asked) able(t Try) bool {
	if t.Err != nil || !missingIn(&a.Possible, t.Choice).none() {
		return false
	}
	return t.MaxVersion < a.Offered.MaxVersion || !missingIn(&a.Offered, t.Choice).none()
}

// impossible returns what the collector lacks of a server's choice, whatever its settings.
func (a *Asked) impossible(c *Choice) []lack { return a.lacks(c, missingIn(&a.Possible, c)) }

// unsupported says that no settings help.
func (a *Asked) unsupported(lacks []lack) string {
	collector := "The collector"
	if a.CertificateType != "" {
		collector = "With certificate_types, the collector"
	}
	what := join(lacks, func(l lack) string { return l.unsupported }, " or ")
	return fmt.Sprintf("%s does not support %s, other clients may.", collector, what)
}

// asItIs returns the settings with which the collector's handshake would have the result of t. If there are none, it returns
// what to change on the server.
func (a *Asked) asItIs(t Try) string {
	answer := t.Choice
	switch {
	case answer.Version == clienthello.SSL30:
		return "The collector does not support SSL 3.0, other clients may."
	case !a.able(t):
		lacks := a.impossible(answer)
		fix := fixes(lacks)
		if answer.Version > a.Offered.MaxVersion && a.CertificateType == "" {
			fix += fmt.Sprintf(" Set tls max_version: %q.", strings.TrimPrefix(versionName(answer.Version), "TLS "))
		}
		return fix + " " + a.unsupported(lacks)
	}
	var set []string
	missing := missingIn(&a.Offered, answer)
	if missing.version || t.MaxVersion < a.Offered.MaxVersion {
		v := strings.TrimPrefix(versionName(answer.Version), "TLS ")
		set = append(set, fmt.Sprintf("min_version: %q and max_version: %q", v, v))
	}
	if missing.suite && answer.Version < tls.VersionTLS13 { // in TLS 1.3 the suites are not configurable
		set = append(set, fmt.Sprintf("cipher_suites: [%s]", tls.CipherSuiteName(answer.Suite)))
		if slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == answer.Suite }) {
			set = append(set, "include_insecure_cipher_suites: true")
		}
	}
	remove := ""
	if missing.group {
		var curves []string
		for _, id := range answer.groups() {
			curves = append(curves, strings.TrimPrefix(tls.CurveID(id).String(), "Curve"))
		}
		if slices.ContainsFunc(curves, func(c string) bool { return !slices.Contains(target.Curves, c) }) {
			remove = "remove tls curve_preferences"
		} else {
			set = append(set, fmt.Sprintf("curve_preferences: [%s]", strings.Join(curves, ", ")))
		}
	}
	switch {
	case remove == "":
		return fmt.Sprintf("To probe it as it is, set tls %s.", strings.Join(set, ", "))
	case len(set) == 0:
		return fmt.Sprintf("To probe it as it is, %s.", remove)
	}
	return fmt.Sprintf("To probe it as it is, %s, and set tls %s.", remove, strings.Join(set, ", "))
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
	if asked.CertificateType != "" && f.Type == CipherMismatch {
		f.Type = HandshakeFailure // it refuses clients that accept any certificate as well
	}
	switch {
	case f.HasAlert && f.Alert != alerts[0]:
		f.Cause += fmt.Sprintf(" The same handshake was first refused with alert %d and then with alert %d, as by different servers.", f.Alert, alerts[0])
		f.Fix = "Look for bad servers behind a load balancer. " + f.Fix
	case f.Type == HandshakeFailure && slices.Contains(alerts, unknownPSKIdentity):
		f.Type = CipherMismatch
		f.Cause += fmt.Sprintf(" With alert %s it refuses clients because of their pre-shared key or their name and password (SRP).", alertName(unknownPSKIdentity))
		f.Fix = "Configure an RSA certificate on the server, and e" + enableSuite("RSA") + " The collector does not support pre-shared keys and SRP, other clients may."
	case f.Type == HandshakeFailure && !slices.ContainsFunc(alerts, func(n uint8) bool { return n != handshakeFailureAlert }):
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

// refineUnreadable explains which of the certificates that a server sent cannot be read.
func (f *Failure) refineUnreadable(tries []Try, endpoint string) {
	i := slices.IndexFunc(tries, func(t Try) bool { return t.Choice != nil && t.Choice.Certificates > 0 })
	if i < 0 {
		return
	}
	c := tries[i].Choice
	number := strconv.Itoa(c.Certificates)
	if c.Certificates == clienthello.MaxCertificates {
		number = "at least " + number
	}
	if _, _, tooLong := tooLong(f.Message); tooLong {
		f.Cause += fmt.Sprintf(" It has %s certificates.", number)
		return
	}
	if len(c.Unreadable) == 0 {
		return
	}
	var what, fixes, ways []string
	issuers := make(map[string][]string) // numbers of their certificates, by the way to reissue them
	for _, u := range c.Unreadable {
		which := fmt.Sprintf("certificate %d of %s", u.Index+1, number)
		if u.Index == 0 {
			which += " (the server's own"
		} else {
			which += " (an issuer's"
		}
		if u.Subject != "" {
			which += ", " + quoted(u.Subject)
		}
		what = append(what, fmt.Sprintf("%s): %s", which, u.Why))
		if u.Index == 0 {
			fixes = append(fixes, "Reissue the server's certificate"+withKey(u)+".")
		} else {
			way := withKey(u)
			if issuers[way] == nil {
				ways = append(ways, way)
			}
			issuers[way] = append(issuers[way], strconv.Itoa(u.Index+1))
		}
	}
	for _, way := range ways {
		if n := issuers[way]; len(n) == 1 {
			fixes = append(fixes, fmt.Sprintf("Replace certificate %s in the file that the server sends by one that is reissued%s, or remove it if the chain is complete without it.", n[0], way))
		} else {
			fixes = append(fixes, fmt.Sprintf("Replace certificates %s in the file that the server sends by ones that are reissued%s, or remove them if the chain is complete without them.", strings.Join(n, " and "), way))
		}
	}
	if c.Unnamed > 0 {
		what = append(what, fmt.Sprintf("%d more", c.Unnamed))
	}
	noun := "a certificate that cannot be read"
	if len(what) > 1 {
		noun = "certificates that cannot be read"
	}
	f.Cause = fmt.Sprintf("%s sent %s: %s.", endpoint, noun, strings.Join(what, "; "))
	f.Fix = strings.Join(fixes, " ")
}

// withKey says how to reissue a certificate whose key is the problem.
func withKey(u certs.Unreadable) string {
	switch {
	case strings.HasPrefix(u.Key, "EC ") && strings.Contains(u.Why, "parameters"):
		return " with a P-256 key that names its curve (parameters in place of the name are not supported)"
	case strings.HasPrefix(u.Key, "EC ") && strings.Contains(u.Why, "curve"):
		return fmt.Sprintf(" with a P-256 key (%s is not supported)", strings.TrimPrefix(u.Key, "EC "))
	case strings.HasPrefix(u.Why, "its RSA key has"):
		return " with a smaller key"
	}
	return ""
}
