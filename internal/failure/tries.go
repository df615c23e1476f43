package failure

import (
	"crypto/tls"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// extent says how much of something a try offers.
type extent uint8

const (
	onlyOffered extent = iota // what the failed handshake offered
	allPossible               // also what the collector could be set to offer
	allKnown                  // also what crypto/tls does not support
)

// Try is what was tried after a handshake had failed, and its result. All but the first ask the server with a ClientHello
// of our own, and do not finish the handshake.
type Try struct {
	Same                    bool // the same handshake again: the failure may come and go
	MinVersion, MaxVersion  uint16
	suites, groups, schemes extent
	certificateType         string // the only one that suites and schemes allow; empty if they allow any
	WithoutSNI              bool   // sends no server name
	repeated                bool   // was made before: does it have the same result?

	Err    error   // nil if it worked
	Choice *Choice // nil if the server chose nothing
}

// Choice is what a server chose, and what is known about the certificates that it sent. It is small, as it is kept for as
// long as the server fails. Its texts are clean.
type Choice struct {
	Version, Suite, Group, Scheme uint16 // as in clienthello.Answer
	Retry                         bool   // likewise: it may still refuse

	Certificates int    // how many it sent, up to clienthello.MaxCertificates
	Leaf         string // the subject of the first
	Key          string // the kind of its key; empty if it is not known
	SupportedKey bool   // whether crypto/tls can check its signatures
	Unreadable   []certs.Unreadable
	Unnamed      int // how many more are unreadable
}

// NewChoice returns what is to be kept of an answer.
func NewChoice(a *clienthello.Answer) *Choice {
	c := &Choice{
		Version: a.Version, Suite: a.Suite, Group: a.Group, Scheme: a.Scheme, Retry: a.Retry,
		Certificates: len(a.Certificates), Unreadable: certs.FindUnreadable(a.Certificates),
	}
	if len(a.Certificates) > 0 {
		c.Leaf = text.Clean(certs.LooseName(a.Certificates[0]), maxName)
		c.Key, c.SupportedKey = certs.KeyKind(a.Certificates[0])
	}
	const most = 3
	if c.Unnamed = max(len(c.Unreadable)-most, 0); c.Unnamed > 0 {
		c.Unreadable = slices.Clone(c.Unreadable[:most])
	}
	return c
}

// Asked is what the failed handshake offered, and what the collector could be set to offer.
type Asked struct {
	Offered, Possible clienthello.Offer
	CertificateType   string // the only one that both accept, ecdsa or rsa; empty if they accept any
}

// names match the suites and signature schemes with which only a certificate of a type can be used. Before TLS 1.3 the suites
// determine the type, in TLS 1.3 the schemes. Ed25519 and Ed448 are used with the suites for ECDSA (RFC 8422, section 5.10).
var names = map[string]*regexp.Regexp{
	"":      regexp.MustCompile(""),
	"ecdsa": regexp.MustCompile("^(TLS_ECDHE?_ECDSA_(WITH|EXPORT)|TLS_(AES|CHACHA20|SM4)_|ecdsa_|ed)"),
	"rsa":   regexp.MustCompile("^(TLS_(ECDHE_|DHE_)?RSA_(WITH|EXPORT)|TLS_(AES|CHACHA20|SM4)_|rsa_)"),
}

// try returns a try that offers as much of everything as x says.
func (a *Asked) try(lowest, highest uint16, x extent) *Try {
	return &Try{MinVersion: lowest, MaxVersion: highest, suites: x, groups: x, schemes: x, certificateType: a.CertificateType}
}

// everything returns a try that offers all that there is up to a version.
func (a *Asked) everything(version uint16) *Try { return a.try(clienthello.SSL30, version, allKnown) }

// limit returns a try that offers all that the collector could be set to offer, in the versions that were offered.
func (a *Asked) limit() *Try { return a.try(clienthello.TLS10, a.Offered.MaxVersion, allPossible) }

// maxTries is the number of connections with which a failure is explained.
const maxTries = 4

// Offer returns what t offers.
func (t *Try) Offer(a *Asked) clienthello.Offer {
	o := a.Offered
	o.MinVersion, o.MaxVersion = t.MinVersion, t.MaxVersion
	o.Suites = t.suites.of(o.Suites, a.Possible.Suites, t.knownSuites)
	o.Groups = t.groups.of(o.Groups, a.Possible.Groups, clienthello.Groups)
	o.Schemes = t.schemes.of(o.Schemes, a.Possible.Schemes, clienthello.Schemes)
	if t.schemes == allKnown {
		o.Schemes = slices.DeleteFunc(o.Schemes, func(id uint16) bool {
			return !names[t.certificateType].MatchString(clienthello.SchemeName(id))
		})
	}
	if t.WithoutSNI {
		o.ServerName = ""
	}
	return o
}

// knownSuites returns every suite for certificates of the type.
func (t *Try) knownSuites() []uint16 {
	return slices.DeleteFunc(clienthello.Suites(), func(id uint16) bool {
		return !names[t.certificateType].MatchString(clienthello.SuiteName(id))
	})
}

// of returns the lists, one after the other, so that a server that follows the client's order prefers what was offered.
func (x extent) of(offered, possible []uint16, everything func() []uint16) []uint16 {
	list := slices.Clone(offered)
	add := func(more []uint16) {
		for _, v := range more {
			if !slices.Contains(list, v) {
				list = append(list, v)
			}
		}
	}
	if x >= allPossible {
		add(possible)
	}
	if x >= allKnown {
		add(everything())
	}
	return list
}

// String returns a short description of what was tried, and the result.
func (t Try) String() string {
	what := versions(t.MinVersion, t.MaxVersion)
	switch {
	case t.Same:
		what = "the same again"
	case t.suites == allKnown && t.groups == allKnown && t.schemes == allKnown:
		what += " with everything" + forCertificate(t.certificateType)
	case t.suites == allPossible && t.groups == allPossible && t.schemes == allPossible:
		what += " with all that the collector supports" + forCertificate(t.certificateType)
	case t.suites == allKnown || t.groups == allKnown || t.schemes == allKnown:
		var kept []string
		for _, dim := range []struct {
			extent extent
			name   string
		}{{t.suites, "suites"}, {t.groups, "groups"}, {t.schemes, "signature algorithms"}} {
			switch dim.extent {
			case onlyOffered:
				kept = append(kept, "the same "+dim.name)
			case allPossible:
				kept = append(kept, "the collector's "+dim.name)
			}
		}
		what += " with everything" + forCertificate(t.certificateType) + " but " + strings.Join(kept, " and ")
	}
	if t.WithoutSNI {
		what += " without SNI"
	}
	if t.repeated && !t.Same {
		what += ", once more"
	}
	number, alerted := alertOf(t.Err)
	switch {
	case t.Err == nil && t.Same:
		return what + ": works, " + describe(t.Choice)
	case t.Err == nil:
		return what + ": chose " + describe(t.Choice)
	case alerted:
		return fmt.Sprintf("%s: alert %s", what, alertName(number))
	case timedOut(t.Err):
		return what + ": no answer"
	case disconnected(t.Err):
		return what + ": closed"
	}
	return what + ": failed"
}

// forCertificate says which type of certificate suites allow, with a space before it. It is empty if they allow any.
func forCertificate(typ string) string {
	if typ == "" {
		return ""
	}
	return fmt.Sprintf(" for an %s certificate", strings.ToUpper(typ))
}

// describe returns what a server chose.
func describe(a *Choice) string {
	s := versionName(a.Version) + " and " + clienthello.SuiteName(a.Suite)
	if a.Group != 0 {
		s += ", " + clienthello.GroupName(a.Group)
	}
	if a.Scheme != 0 {
		s += ", " + clienthello.SchemeName(a.Scheme)
	}
	return s
}

// gap is what a server chose that a handshake did not offer.
type gap struct{ version, suite, group, signature bool }

func (g gap) none() bool { return g == gap{} }

// groups returns the group that a server chose and, below TLS 1.3, the curve of its key, which a client must offer as well
// (RFC 8422, section 5.1).
func (c *Choice) groups() (all []uint16) {
	if c.Group != 0 {
		all = append(all, c.Group)
	}
	curve := map[string]uint16{"EC P-256": 23, "EC P-384": 24, "EC P-521": 25}[c.Key]
	if curve != 0 && curve != c.Group && c.Version < tls.VersionTLS13 {
		all = append(all, curve)
	}
	return all
}

// missingIn returns what an offer lacks of what the server chose.
func missingIn(o *clienthello.Offer, a *Choice) gap {
	g := gap{
		version: a.Version < o.MinVersion || a.Version > o.MaxVersion,
		suite:   !slices.Contains(o.Suites, a.Suite),
		group:   slices.ContainsFunc(a.groups(), func(id uint16) bool { return !slices.Contains(o.Groups, id) }),
	}
	if a.Scheme != 0 {
		g.signature = !slices.Contains(o.Schemes, a.Scheme)
	}
	if a.Key != "" && !a.SupportedKey {
		g.signature = true
	}
	return g
}

// NextTry returns what to try next to find out more about a failure of this type, or nil if nothing is left that would show
// more. Tries are those that were made.
func NextTry(t Type, asked *Asked, tries []Try) *Try {
	switch t {
	case UnrecognizedName, ServerInternalError, CipherMismatch, GroupMismatch, SignatureMismatch, HandshakeFailure,
		ConnectionClosed, MalformedHandshake, ProtocolMismatch, Type(certs.Malformed):
	default:
		return nil
	}
	o := &asked.Offered
	again := asked.try(o.MinVersion, o.MaxVersion, onlyOffered)
	var next *Try
	switch {
	case len(tries) == 0:
		again.Same = true
		return again
	case len(tries) == maxTries || tries[0].Err == nil:
		return nil
	case t == Type(certs.Malformed): // all that is missing is the certificates
		next = again
	case len(tries) == 1 && (t == UnrecognizedName || t == ServerInternalError) && o.ServerName != "":
		again.WithoutSNI = true
		next = again
	case tries[len(tries)-1].repeated, asked.acceptsAny(tries) != nil:
		return nil
	case slices.ContainsFunc(tries, func(t Try) bool { return t.WithoutSNI && t.Err == nil }):
		next = repeat(asked, tries)
	case lastEverything(asked, tries) >= 0:
		if next = narrow(asked, tries); next == nil || slices.ContainsFunc(tries, next.like) {
			next = repeat(asked, tries)
		}
	default:
		next = widen(asked, tries)
	}
	if next == nil || slices.ContainsFunc(tries, next.like) {
		return nil
	}
	return next
}

// acceptsAny returns the try that worked because it accepts any type of certificate, unlike the failed handshake. It
// returns nil if there is none.
func (a *Asked) acceptsAny(tries []Try) *Try {
	for i, t := range tries {
		if t.Err == nil && !t.WithoutSNI && t.certificateType != a.CertificateType {
			return &tries[i]
		}
	}
	return nil
}

// lastEverything returns the index of the last try that offered everything and worked, or -1 if none did.
func lastEverything(asked *Asked, tries []Try) int {
	for i, t := range slices.Backward(tries) {
		if t.Err == nil && t.like(*asked.everything(t.MaxVersion)) {
			return i
		}
	}
	return -1
}

// repeat returns a try that was made before, or nil if the tries do not depend on it. Behind a load balancer, a server that
// refuses one ClientHello and not another need not be the same server.
func repeat(asked *Asked, tries []Try) *Try {
	i := slices.IndexFunc(tries, func(t Try) bool { return t.Err == nil })
	missing := missingIn(&asked.Offered, tries[i].Choice)
	t := tries[i]
	switch {
	case missing.version:
		return nil
	case missing.none() && tries[len(tries)-1].Err == nil && len(tries) > i+1: // nothing that differs was refused
		t = tries[0]
	}
	t.Err, t.Choice, t.repeated = nil, nil, true
	return &t
}

// comesAndGoes returns a sentence, with a space before it, if two equal handshakes had different results. It is empty if
// there were none.
func comesAndGoes(tries []Try) string {
	last := tries[len(tries)-1]
	switch {
	case tries[0].Err == nil:
		return " The same handshake succeeded when it was tried again immediately, so this failure comes and goes."
	case last.repeated && last.Same && last.Err == nil:
		return " The same handshake failed when it was tried again, and succeeded after that, so this failure comes and goes."
	case last.repeated && !last.Same && refused(last.Err):
		return " Of two equal ClientHellos, it refused one and not the other, so this failure comes and goes."
	}
	return ""
}

// refused reports whether a server ended a handshake, with an alert or without.
func refused(err error) bool {
	_, alerted := alertOf(err)
	return alerted || err != nil && !timedOut(err) && disconnected(err)
}

// widen returns the next try while none has worked.
func widen(asked *Asked, tries []Try) *Try {
	anyType := &Asked{}
	all := []*Try{
		anyType.everything(clienthello.TLS13),
		anyType.everything(clienthello.TLS12), // some servers and middleboxes choke on the ClientHello of TLS 1.3
	}
	if asked.CertificateType != "" {
		all = []*Try{asked.everything(clienthello.TLS13), all[0]}
	}
	for _, t := range all {
		if !slices.ContainsFunc(tries, t.like) {
			return t
		}
	}
	if asked.Offered.ServerName == "" || slices.ContainsFunc(tries, func(t Try) bool { return t.WithoutSNI }) {
		return nil
	}
	nameless := anyType.everything(clienthello.TLS13)
	nameless.WithoutSNI = true
	return nameless
}

// narrow returns the next try after one that offered everything and worked. It offers less, to find out what the cause is,
// and whether there are settings with which the collector gets through.
func narrow(asked *Asked, tries []Try) *Try {
	o := &asked.Offered
	last := lastEverything(asked, tries)
	worked, narrowed := &tries[last], tries[last+1:]
	a := worked.Choice
	missing, able := missingIn(o, a), missingIn(&asked.Possible, a).none()
	switch {
	case a.Version > o.MaxVersion && !slices.ContainsFunc(tries, asked.everything(o.MaxVersion).like): // does it support an older version as well?
		return asked.everything(o.MaxVersion)
	case a.Version > o.MaxVersion && !able && asked.Possible.MaxVersion > o.MaxVersion: // it may only prefer what the collector does not support
		return asked.try(clienthello.TLS10, asked.Possible.MaxVersion, allPossible)
	case a.Version > o.MaxVersion:
		return nil
	case a.Version < o.MinVersion && !able && a.Version > clienthello.SSL30 && len(narrowed) == 0:
		return asked.try(clienthello.TLS10, a.Version, allPossible)
	case a.Version < o.MinVersion:
		if a.Version == clienthello.SSL30 {
			return nil
		}
		return asked.everything(a.Version - 1)
	case missing.none() && worked.MaxVersion < o.MaxVersion:
		return nil // TLS 1.3 is the problem
	case missing.none():
		// All that can be seen was offered. In TLS 1.3 the signature cannot always be seen.
		t := *worked
		t.schemes, t.Choice = onlyOffered, nil
		return &t
	case len(narrowed) == 0:
		t := *worked
		t.Choice = nil
		level := allPossible
		if able {
			level = onlyOffered
		}
		if missing.suite {
			t.suites = level
		}
		if missing.group {
			t.groups = level
		}
		if missing.signature {
			t.schemes = level
		}
		return &t
	case missing.suite && (missing.group || missing.signature) && narrowed[0].Err != nil && (able || a.Version < clienthello.TLS13):
		// Several differ, and one of them may be only what the server prefers.
		t := *worked
		t.suites, t.Choice = onlyOffered, nil
		return &t
	case !able && a.Version == clienthello.TLS13 && o.MinVersion <= clienthello.TLS12 && narrowed[0].Err != nil:
		return asked.try(clienthello.TLS10, clienthello.TLS12, allPossible)
	case able && missing.suite && a.Scheme == 0 && a.Version < clienthello.TLS13 && len(narrowed) == 1 && narrowed[0].Err != nil:
		// Without a signature in the handshake, a server may still demand an algorithm that the collector does not have.
		return asked.limit()
	case !able && narrowed[0].Err == nil && !slices.ContainsFunc(narrowed, asked.able): // likewise
		return asked.try(clienthello.TLS10, min(worked.MaxVersion, asked.Possible.MaxVersion), allPossible)
	}
	return nil
}

// like reports whether t offers the same as u.
func (t *Try) like(u Try) bool {
	return t.Same == u.Same && t.repeated == u.repeated && t.MinVersion == u.MinVersion && t.MaxVersion == u.MaxVersion && t.suites == u.suites &&
		t.groups == u.groups && t.schemes == u.schemes && t.certificateType == u.certificateType && t.WithoutSNI == u.WithoutSNI
}
