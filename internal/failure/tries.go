package failure

import (
	"fmt"
	"slices"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Extent says how much of something a try offers.
type Extent uint8

const (
	Offered    Extent = iota // what the failed handshake offered
	Possible                 // also what the collector could be set to offer
	Everything               // also what crypto/tls does not support
)

// Try is what was tried after a handshake had failed, and its result. All but the first ask the server with a ClientHello
// of our own, and do not finish the handshake.
type Try struct {
	Same                    bool // the same handshake again: the failure may come and go
	MinVersion, MaxVersion  uint16
	Suites, Groups, Schemes Extent
	WithoutSNI              bool // sends no server name

	Err    error   // nil if it worked
	Choice *Choice // nil if the server chose nothing
}

// Choice is what a server chose, and what is known about the certificates that it sent. It is small, as it is kept for as
// long as the server fails. Its texts are clean.
type Choice struct {
	Version, Suite, Group, Scheme uint16 // as in clienthello.Answer

	Certificates int    // how many it sent
	Leaf         string // the subject of the first
	Key          string // the kind of its key; empty if it is not known
	SupportedKey bool   // whether crypto/tls can check its signatures
	Unreadable   []certs.Unreadable
	Unnamed      int // how many more are unreadable
}

// NewChoice returns what is to be kept of an answer.
func NewChoice(a *clienthello.Answer) *Choice {
	c := &Choice{
		Version: a.Version, Suite: a.Suite, Group: a.Group, Scheme: a.Scheme,
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
}

// maxTries is the number of connections with which a failure is explained.
const maxTries = 4

// Offer returns what t offers.
func (t *Try) Offer(a *Asked) clienthello.Offer {
	o := a.Offered
	o.MinVersion, o.MaxVersion = t.MinVersion, t.MaxVersion
	o.Suites = t.Suites.of(o.Suites, a.Possible.Suites, clienthello.Suites)
	o.Groups = t.Groups.of(o.Groups, a.Possible.Groups, clienthello.Groups)
	o.Schemes = t.Schemes.of(o.Schemes, a.Possible.Schemes, clienthello.Schemes)
	if t.WithoutSNI {
		o.ServerName = ""
	}
	return o
}

// of returns the lists, one after the other, so that a server that follows the client's order prefers what was offered.
func (x Extent) of(offered, possible []uint16, everything func() []uint16) []uint16 {
	list := slices.Clone(offered)
	add := func(more []uint16) {
		for _, v := range more {
			if !slices.Contains(list, v) {
				list = append(list, v)
			}
		}
	}
	if x >= Possible {
		add(possible)
	}
	if x >= Everything {
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
	case t.Suites == Everything && t.Groups == Everything && t.Schemes == Everything:
		what += " with everything"
	case t.Suites == Possible && t.Groups == Possible && t.Schemes == Possible:
		what += " with all that the collector supports"
	case t.Suites == Everything || t.Groups == Everything || t.Schemes == Everything:
		var kept []string
		for _, dim := range []struct {
			extent Extent
			name   string
		}{{t.Suites, "suites"}, {t.Groups, "groups"}, {t.Schemes, "signature algorithms"}} {
			switch dim.extent {
			case Offered:
				kept = append(kept, "the same "+dim.name)
			case Possible:
				kept = append(kept, "the collector's "+dim.name)
			}
		}
		what += " with everything but " + strings.Join(kept, " and ")
	}
	if t.WithoutSNI {
		what += " without SNI"
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

// missingIn returns what an offer lacks of what the server chose.
func missingIn(o *clienthello.Offer, a *Choice) gap {
	g := gap{
		version: a.Version < o.MinVersion || a.Version > o.MaxVersion,
		suite:   !slices.Contains(o.Suites, a.Suite),
		group:   a.Group != 0 && !slices.Contains(o.Groups, a.Group),
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
	again := &Try{MinVersion: o.MinVersion, MaxVersion: o.MaxVersion}
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
	case slices.ContainsFunc(tries, func(t Try) bool { return t.WithoutSNI && t.Err == nil }):
		return nil
	case lastEverything(tries) >= 0:
		next = narrow(asked, tries)
	default:
		next = widen(o, tries)
	}
	if next == nil || slices.ContainsFunc(tries, next.like) {
		return nil
	}
	return next
}

// everything returns a try that offers all that there is up to a version.
func everything(version uint16) *Try {
	return &Try{MinVersion: clienthello.SSL30, MaxVersion: version, Suites: Everything, Groups: Everything, Schemes: Everything}
}

// lastEverything returns the index of the last try that offered everything and worked, or -1 if none did.
func lastEverything(tries []Try) int {
	for i, t := range slices.Backward(tries) {
		if t.Err == nil && t.like(*everything(t.MaxVersion)) {
			return i
		}
	}
	return -1
}

// widen returns the next try while none has worked.
func widen(o *clienthello.Offer, tries []Try) *Try {
	for _, t := range []*Try{
		everything(clienthello.TLS13),
		everything(clienthello.TLS12), // some servers and middleboxes choke on the ClientHello of TLS 1.3
	} {
		if !slices.ContainsFunc(tries, t.like) {
			return t
		}
	}
	if o.ServerName == "" || slices.ContainsFunc(tries, func(t Try) bool { return t.WithoutSNI }) {
		return nil
	}
	nameless := everything(clienthello.TLS13)
	nameless.WithoutSNI = true
	return nameless
}

// narrow returns the next try after one that offered everything and worked. It offers less, to find out what the cause is,
// and whether there are settings with which the collector gets through.
func narrow(asked *Asked, tries []Try) *Try {
	o := &asked.Offered
	last := lastEverything(tries)
	worked, narrowed := &tries[last], tries[last+1:]
	a := worked.Choice
	missing, able := missingIn(o, a), missingIn(&asked.Possible, a).none()
	possible := &Try{MinVersion: clienthello.TLS10, Suites: Possible, Groups: Possible, Schemes: Possible}
	switch {
	case a.Version > o.MaxVersion: // does it support an older version as well?
		return everything(o.MaxVersion)
	case a.Version < o.MinVersion && !able && a.Version > clienthello.SSL30:
		possible.MaxVersion = a.Version
		return possible
	case a.Version < o.MinVersion:
		if a.Version == clienthello.SSL30 {
			return nil
		}
		return everything(a.Version - 1)
	case missing.none() && worked.MaxVersion < o.MaxVersion:
		return nil // TLS 1.3 is the problem
	case missing.none():
		// All that can be seen was offered. In TLS 1.3 the signature cannot always be seen.
		t := *worked
		t.Schemes, t.Choice = Offered, nil
		return &t
	case len(narrowed) == 0:
		t := *worked
		t.Choice = nil
		level := Possible
		if able {
			level = Offered
		}
		if missing.suite {
			t.Suites = level
		}
		if missing.group {
			t.Groups = level
		}
		if missing.signature {
			t.Schemes = level
		}
		return &t
	case missing.suite && (missing.group || missing.signature) && narrowed[0].Err != nil && (able || a.Version < clienthello.TLS13):
		// Several differ, and one of them may be only what the server prefers.
		t := *worked
		t.Suites, t.Choice = Offered, nil
		return &t
	case !able && a.Version == clienthello.TLS13 && o.MinVersion <= clienthello.TLS12 && narrowed[0].Err != nil:
		possible.MaxVersion = clienthello.TLS12
		return possible
	}
	return nil
}

// like reports whether t offers the same as u.
func (t *Try) like(u Try) bool {
	return t.Same == u.Same && t.MinVersion == u.MinVersion && t.MaxVersion == u.MaxVersion && t.Suites == u.Suites &&
		t.Groups == u.Groups && t.Schemes == u.Schemes && t.WithoutSNI == u.WithoutSNI
}
