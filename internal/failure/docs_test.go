package failure

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienthello"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
)

// guide is docs/troubleshooting.md, parsed.
type guide struct {
	chapters []string // first-level headings except the title: the steps
	sections map[Type]section
	anchors  map[string]bool // of all headings
	text     string
}

type section struct {
	chapter string
	text    string
}

// words returns the text of the section on one line.
func (s section) words() string { return strings.Join(strings.Fields(s.text), " ") }

func readGuide(t *testing.T) guide {
	t.Helper()
	b, err := os.ReadFile("../../docs/troubleshooting.md")
	require.NoError(t, err)
	g := guide{sections: make(map[Type]section), anchors: make(map[string]bool), text: string(b)}
	code, title, typ := false, true, Type("")
	for line := range strings.Lines(g.text) {
		mark, heading, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if !code && (mark == "#" || mark == "##") {
			g.anchors[anchor(heading)] = true
		}
		switch {
		case !code && mark == "#":
			if typ = ""; !title {
				g.chapters = append(g.chapters, heading)
			}
			title = false
		case !code && mark == "##" && len(g.chapters) > 0:
			typ = Type(heading)
			_, twice := g.sections[typ]
			assert.False(t, twice, "two sections for %s", typ)
			g.sections[typ] = section{chapter: g.chapters[len(g.chapters)-1]}
		case typ != "":
			s := g.sections[typ]
			s.text += line
			g.sections[typ] = s
		}
	}
	return g
}

// anchor returns the anchor that links to a heading.
func anchor(heading string) string {
	heading = regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

// constants returns the values of all constants of a type in the package in dir.
func constants(t *testing.T, dir, typeName string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	var values []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == typeName {
				for _, v := range spec.Values {
					if lit, ok := v.(*ast.BasicLit); ok {
						value, err := strconv.Unquote(lit.Value)
						require.NoError(t, err)
						values = append(values, value)
					}
				}
			}
			return true
		})
	}
	require.NotEmpty(t, values, "%s has no constants of type %s", dir, typeName)
	return values
}

func allTypes(t *testing.T) []Type {
	t.Helper()
	var all []Type
	for _, name := range slices.Concat(constants(t, ".", "Type"), constants(t, "../certs", "Fault"), constants(t, "../starttls", "Kind")) {
		if !slices.Contains(all, Type(name)) {
			all = append(all, Type(name))
		}
	}
	return all
}

func TestEachTypeHasARow(t *testing.T) {
	assert.ElementsMatch(t, allTypes(t), slices.Collect(maps.Keys(types)))
	steps := append(constants(t, ".", "Step"), "")
	for typ, row := range types {
		assert.Contains(t, steps, string(row.step), "row %s", typ)
	}
	for number, a := range alerts {
		assert.NotNil(t, types[a.typ].explain, "alert %d means a type that has no row, or explains nothing", number)
		assert.NotEmpty(t, a.name)
	}
	for _, w := range words {
		assert.NotNil(t, types[w.typ].explain, "%q means a type that has no row, or explains nothing", w.text)
	}
}

func TestTroubleshootingHasASectionForEachType(t *testing.T) {
	g := readGuide(t)
	for typ, row := range types {
		s := g.sections[typ]
		assert.NotEmpty(t, s.text, "docs/troubleshooting.md has no section for %s", typ)
		switch {
		case row.explain == nil, typ == Type(certs.WeakKey): // which can also be a reason
			assert.Equal(t, "warning", s.chapter, "section %s", typ)
		case typ == Other:
			assert.Equal(t, "any", s.chapter)
		case typ == ConnectionClosed: // which can happen in other steps too
			assert.Equal(t, "handshake", s.chapter)
		default:
			assert.Equal(t, string(row.step), s.chapter, "section %s", typ)
		}
	}
	for typ, s := range g.sections {
		assert.Contains(t, types, typ, "docs/troubleshooting.md explains %s, which does not exist", typ)
		switch Step(s.chapter) {
		case Local, DNS: // there is no connection yet
		case File:
			assert.Contains(t, s.text, "openssl ", "section %s", typ)
		default:
			assert.Contains(t, s.text, "openssl s_client", "section %s", typ)
		}
	}
	assert.ElementsMatch(t, append(constants(t, ".", "Step"), "warning", "any"), g.chapters)
}

func TestTelemetryHasARowForEachType(t *testing.T) {
	b, err := os.ReadFile("../../docs/telemetry.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(b), "\n## error.type\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for typ := range types {
		assert.Contains(t, table, fmt.Sprintf("`%s`", typ))
	}
	for _, step := range constants(t, ".", "Step") {
		assert.Contains(t, table, fmt.Sprintf("\n| `%s` |", step))
	}
}

func TestTroubleshootingLinksLeadSomewhere(t *testing.T) {
	g := readGuide(t)
	for _, link := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(g.text, -1) {
		assert.True(t, g.anchors[link[1]], "no heading for the link to #%s", link[1])
	}
	_, table, _ := strings.Cut(g.text, "| message |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:]
	assert.Greater(t, len(rows), 20)
	for _, row := range rows {
		assert.Contains(t, row, "](#", "a message that leads nowhere")
	}
}

// TestTroubleshootingHasTheNumbers checks that the section of each type has its alerts, and OpenSSL's verify code and
// message.
func TestTroubleshootingHasTheNumbers(t *testing.T) {
	g := readGuide(t)
	for typ, row := range types {
		if row.verifyCode != 0 {
			assert.Contains(t, g.sections[typ].words(), fmt.Sprintf("code %d, %q", row.verifyCode, row.verifyMessage), "section %s", typ)
		}
	}
	for number, a := range alerts {
		if number != 0 { // close_notify is an orderly end
			assert.Contains(t, g.sections[a.typ].words(), fmt.Sprintf("%d, %s", number, a.name), "section %s", a.typ)
		}
	}
}

// TestTroubleshootingQuotesTheProgram explains an example of each type, and checks that the section quotes the
// explanation word for word. The section may leave out the cause.
func TestTroubleshootingQuotesTheProgram(t *testing.T) {
	g := readGuide(t)
	for typ, row := range types {
		var cause, fix string
		switch {
		case row.explain != nil:
			e := exampleOf(typ)
			f := &Failure{Step: row.step, Type: typ, Message: "something new"}
			if e.Err != nil {
				f.Message = e.Err.Error()
			} else {
				assert.Equal(t, typ, Explain(e).Type)
			}
			cause, fix = row.explain(f, &e)
		case typ == FileMismatch:
			fix = MismatchFix
		default:
			continue
		}
		assert.True(t, quotes(g.sections[typ].text, cause, fix), "section %s: the program says %s %s", typ, cause, fix)
	}
}

// TestTroubleshootingQuotesVariants checks what the guide quotes in addition to the example of each type.
func TestTroubleshootingQuotesVariants(t *testing.T) {
	words := strings.Join(strings.Fields(strings.ReplaceAll(readGuide(t).text, "\n> ", "\n")), " ")
	e := exampleOf(UnknownCA)
	for _, said := range clientCertVariants() {
		assert.Contains(t, words, said)
	}
	const ecdhe = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	refined := func(highest, version, suite uint16) string {
		f := &Failure{Type: HandshakeFailure, Reasons: []Type{HandshakeFailure}}
		offered := clienthello.Offer{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, Suites: []uint16{ecdhe}}
		same := Try{Same: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, Err: io.EOF}
		older := *(&Asked{}).everything(version - 1)
		older.Err = io.EOF
		worked := Try{MaxVersion: highest, Choice: &Choice{Version: version, Suite: suite}}
		f.Refine(&Asked{Offered: offered, Possible: offered}, []Try{same, worked, older}, "api.example:4317", "api.example")
		return f.Cause
	}
	behaves, _ := missingClientCert(nil, &e)
	e.CertificateType = "rsa"
	typed, _ := noSuchCertificate(&e)
	late := Explain(Evidence{Step: Handshake, Err: &AlertError{Number: 40, Err: io.EOF}, CertificateType: "rsa", Verdict: &certs.Verdict{}})
	assert.Equal(t, HandshakeFailure, late.Type, "not a lack of certificates")
	asks := &Asked{CertificateType: "rsa", Offered: clienthello.Offer{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}}
	later := asks.everything(tls.VersionTLS13)
	later.Choice = &Choice{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}
	only13 := &Failure{Type: CipherMismatch, Reasons: []Type{CipherMismatch}}
	only13.Refine(asks, []Try{{Same: true, Err: io.EOF}, *later}, "api.example:4317", "api.example")
	retried := &Failure{Type: HandshakeFailure}
	retried.acceptsAnother(&Asked{}, &Choice{Retry: true}, "api.example:4317")
	nothing := &Failure{Type: HandshakeFailure, Reasons: []Type{HandshakeFailure}}
	refused := &AlertError{Number: 40, Err: io.EOF}
	everything := (&Asked{}).everything(tls.VersionTLS13)
	everything.Err = refused
	nothing.Refine(&Asked{}, []Try{{Same: true, Err: refused}, *everything}, "api.example:4317", "api.example")
	versionless := &Failure{Type: ProtocolMismatch, Reasons: []Type{ProtocolMismatch}}
	versionless.Refine(&Asked{}, []Try{{Same: true, Err: refused}, *everything}, "api.example:4317", "api.example")
	unread, _ := malformedHandshake(&Failure{HasAlert: true}, &e)
	for quotation, sentence := range map[string]string{
		"The server behaves as if none had been sent":                                                   behaves,
		"could not read what the collector sent in the handshake":                                       unread,
		"refuses even a client that offers SSL 3.0 to TLS 1.3":                                          versionless.Cause,
		"this failure comes and goes":                                                                   comesAndGoes([]Try{{Same: true}}),
		"speaks only TLS 1.0":                                                                           refined(tls.VersionTLS13, tls.VersionTLS10, ecdhe),
		"refuses clients that also offer TLS 1.3":                                                       refined(tls.VersionTLS12, tls.VersionTLS12, ecdhe),
		"uses its RSA certificate only in TLS 1.3":                                                      only13.Cause,
		"answered a ClientHello of another kind with a HelloRetryRequest":                               retried.Cause,
		"after it had sent its certificate":                                                             late.Cause,
		"a suite without a certificate (anonymous)":                                                     refined(tls.VersionTLS13, tls.VersionTLS12, 0x006c),
		"A ClientHello of another kind is not refused":                                                  refined(tls.VersionTLS13, tls.VersionTLS12, ecdhe),
		"refuses clients that accept only an RSA certificate":                                           typed,
		"most likely has no certificate, or none that its cipher suites and signature algorithms allow": nothing.Cause,
	} {
		assert.Contains(t, words, `"`+quotation)
		assert.Contains(t, sentence, quotation)
	}
}

// TestTroubleshootingQuotesVariantsOfFiles checks what the guide quotes about files in addition to the example of each type.
func TestTroubleshootingQuotesVariantsOfFiles(t *testing.T) {
	g := readGuide(t)
	explained := func(typ Type, fault certs.FileError) string {
		fault.Fault = certs.Fault(typ)
		f := Explain(Evidence{Step: File, Err: &fault, Endpoint: "/etc/ssl/site.pem"})
		assert.Equal(t, typ, f.Type)
		return f.Cause + " " + f.Fix
	}
	quoted := func(typ Type, sentence string) {
		t.Helper()
		assert.Contains(t, strings.Join(strings.Fields(strings.ReplaceAll(g.sections[typ].text, "\n> ", "\n")), " "), sentence)
	}
	malformed := Type(certs.FileMalformed)
	odd := &certs.PartError{Place: "PEM block at line 1", Err: &certs.Unreadable{Subject: "www", Why: "its serial number is negative"}}
	quoted(malformed, explained(malformed, certs.FileError{Err: odd, Others: 1}))
	quoted(malformed, explained(malformed, certs.FileError{Err: &certs.PartError{Place: "PEM block at line 1", Err: errors.New("malformed")}, Others: 1}))
	for _, format := range []certs.Format{certs.FormatPEM, certs.FormatPKCS12, certs.FormatJKS} {
		_, fix, _ := strings.Cut(explained(malformed, certs.FileError{Format: format}), "as a certificate. ")
		assert.True(t, strings.HasPrefix(fix, "Write the "))
		quoted(malformed, `"`+fix+`"`)
	}
	for _, key := range []*certs.KeyError{
		{Problem: certs.KeyNotFound, Detail: "there is no such file"},
		{Problem: certs.KeyForbidden, Detail: "permission denied"},
		{Problem: certs.KeyNotKey, Detail: "it is a PKCS#12 keystore"},
		{Problem: certs.KeyMalformed, Detail: "its PEM block at line 1 is malformed"},
		{Problem: certs.KeyUnknownType, Detail: "it is a key of the kind Ed448"},
	} {
		key.Path = "/etc/ssl/site.key"
		said := explained(Type(certs.FileKeyUnreadable), certs.FileError{Err: key})
		assert.Contains(t, said, key.Path)
		assert.Contains(t, said, key.Detail)
		quoted(Type(certs.FileKeyUnreadable), key.Detail)
		_, fix, _ := strings.Cut(said, key.Detail+". ")
		quoted(Type(certs.FileKeyUnreadable), fix)
	}
	fits := &certs.KeyError{Path: "/etc/ssl/site.key", Problem: certs.KeyFitsAnother, Subject: "www"}
	quoted(Type(certs.FileKeyMismatch), explained(Type(certs.FileKeyMismatch), certs.FileError{Err: fits}))
}

// judgeExample gives the client certificate of the example the problem that has this type.
func judgeExample(e *Evidence, typ Type) {
	c, accepted := e.ClientCert, [][]byte(nil)
	c.RawSubject, c.RawIssuer = []byte("gateway"), []byte("Old Client CA")
	switch typ {
	case UnknownCA:
		accepted = [][]byte{[]byte("Example Client CA")}
	case ClientCertExpired:
		c.NotAfter = e.Now.Add(-57 * time.Hour)
	case ClientCertNotYetValid:
		c.NotBefore = e.Now.Add(12 * time.Hour)
	case UnsupportedCertificate:
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case Type(certs.WeakKey):
		c.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023)}
	case Type(certs.WeakSignature):
		c.SignatureAlgorithm = x509.SHA1WithRSA
	}
	e.ClientCertProblems = ClientCertProblems(c, certs.NewClientChain(c, nil), accepted, e.Now, typ == NearExpiry)
}

// clientCertProblems returns a problem of each kind.
func clientCertProblems() (problems []ClientCertProblem) {
	now := time.Date(2026, time.November, 20, 9, 0, 0, 0, time.UTC)
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Client CA"}, RawSubject: []byte("Client CA"), Issuer: pkix.Name{CommonName: "Client Root"},
		NotBefore: now.Add(12 * time.Hour), NotAfter: now.Add(-57 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023)}, SignatureAlgorithm: x509.SHA1WithRSA,
		IssuingCertificateURL: []string{"http://pki.example/root.crt"},
	}
	c.UnhandledCriticalExtensions = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 1, 3}}
	for _, fault := range []certs.Fault{
		certs.NotYetValid, certs.Expired, certs.WrongKeyUsage, certs.WeakKey, certs.WeakSignature, certs.BadSignature, certs.UnhandledCriticalExtension,
	} {
		for depth := range 2 {
			problems = append(problems, clientCertProblem(certs.Reason{Fault: fault, Depth: depth, Cert: c}, now))
		}
	}
	selfSigned := &x509.Certificate{Issuer: pkix.Name{CommonName: "gateway"}}
	anyUsage := &x509.Certificate{Subject: c.Subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	short := &x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 767)}}
	p224 := &x509.Certificate{PublicKey: &ecdsa.PublicKey{Curve: elliptic.P224()}}
	violation := &certs.ConstraintViolation{Kind: "DNS name", Name: "gateway.example", CA: c, Depth: 1, Constraints: []string{"inside.example"}}
	return append(problems,
		clientCertProblem(certs.Reason{Fault: certs.WrongKeyUsage, Cert: anyUsage}, now),
		clientCertProblem(certs.Reason{Fault: certs.WrongKeyUsage, Depth: 1, Cert: anyUsage}, now),
		clientCertProblem(certs.Reason{Fault: certs.WeakKey, Cert: short}, now),
		clientCertProblem(certs.Reason{Fault: certs.Malformed, Cert: p224}, now),
		clientCertProblem(certs.Reason{Fault: certs.NotCA, Depth: 1, Cert: c}, now),
		clientCertProblem(certs.Reason{Fault: certs.PathLengthExceeded, Depth: 1, Cert: c}, now),
		clientCertProblem(certs.Reason{Fault: certs.NameConstraintViolation, Cert: c, Err: violation}, now),
		clientCertProblem(certs.Reason{Fault: certs.UntrustedCA, Cert: &x509.Certificate{RawSubject: []byte("x")}}, now),
		clientCertProblem(certs.Reason{Fault: certs.WrongKeyUsage, Cert: selfSigned}, now),
		clientCertProblem(certs.Reason{Fault: certs.UntrustedCA, Cert: c}, now),
		clientCertProblem(certs.Reason{Fault: certs.UntrustedCA, Cert: selfSigned}, now))
}

// clientCertVariants returns sentences about the client certificate that are not in the example of a type.
func clientCertVariants() (said []string) {
	add := func(e Evidence, explain func(*Failure, *Evidence) (cause, fix string)) {
		cause, fix := explain(nil, &e)
		said = append(said, cause+" "+fix)
	}
	add(exampleOf(UnknownCA), unknownCA)
	e := exampleOf(BadCertificate)
	add(e, clientCertExpired)
	add(e, unsupportedCertificate)
	add(e, unknownCA)
	e.AcceptableCAs, e.ClientCert.RawIssuer = nil, []byte("Old Client CA")
	add(e, unknownCA)
	e.Err, e.SignatureSchemes = errors.New(words[len(words)-1].text), []tls.SignatureScheme{tls.PSSWithSHA256, tls.ECDSAWithP256AndSHA256}
	e.ClientCert.PublicKeyAlgorithm, e.ClientCert.PublicKey = x509.Ed25519, ed25519.PublicKey{}
	add(e, unsupportedCertificate)
	e.Err = errors.New("tls: failed to sign handshake: crypto/rsa: 768-bit keys are insecure")
	e.ClientCertProblems = []ClientCertProblem{clientCertProblem(certs.Reason{
		Fault: certs.WeakKey, Cert: &x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 767)}},
	}, e.Now)}
	add(e, unsupportedCertificate)
	e = exampleOf(BadCertificate)
	e.Err = &AlertError{Number: decryptError, Err: io.EOF}
	add(e, refusedForReasonInLog)
	said = append(said, acceptedCAs(&Evidence{AcceptableCACount: 1}))
	e = exampleOf(BadCertificate)
	closed, _ := closedOverClientCert(&e)
	known := exampleOf(ClientCertExpired)
	_, closing := closedOverClientCert(&known)
	said = append(said, closing[strings.LastIndex(closing, "If the server still"):])
	refused, _ := handshakeFailure(nil, &e)
	for _, cause := range []string{closed, refused} {
		start, _, _ := strings.Cut(cause, " It is valid")
		said = append(said, start)
	}
	e = exampleOf(ClientCertExpired)
	e.Err = &AlertError{Number: 48, Err: io.EOF}
	_, fix := clientCertExpired(nil, &e)
	said = append(said, fix[strings.LastIndex(fix, "If the server still"):])
	for _, p := range clientCertProblems() {
		said = append(said, "| "+p.sentence("The client certificate")+" | "+p.fix+" |")
	}
	for _, typ := range []Type{NearExpiry, Type(certs.WeakKey), Type(certs.WeakSignature)} {
		e := exampleOf(BadCertificate)
		judgeExample(&e, typ)
		said = append(said, e.ClientCertProblems[0].String())
	}
	return said
}

// quotes reports whether the first quotation in a section is the fix, possibly preceded by all or the end of the cause.
func quotes(section, cause, fix string) bool {
	var words []string
	for line := range strings.Lines(section) {
		if text, ok := strings.CutPrefix(line, "> "); ok {
			words = append(words, strings.Fields(text)...)
		} else if len(words) > 0 {
			break
		}
	}
	quotation := strings.Join(words, " ")
	return strings.HasSuffix(cause+" "+fix, quotation) && strings.HasSuffix(quotation, fix)
}

// exampleOf returns evidence for a failure of a type: an error, or a verdict for the faults of certificates.
func exampleOf(typ Type) Evidence {
	key := &certs.KeyError{Path: "/etc/ssl/site.key", Problem: certs.KeyEncrypted, Detail: "it is encrypted", Subject: "www"}
	switch typ {
	case Type(certs.FileKeyMismatch):
		key.Problem, key.Detail = certs.KeyDiffers, "both have an RSA key of 2048 bits, but not the same one"
		fallthrough
	case Type(certs.FileKeyUnreadable):
		return Evidence{Step: File, Err: &certs.FileError{Fault: certs.Fault(typ), Err: key}, Endpoint: "/etc/ssl/site.pem"}
	}
	if types[typ].step == File {
		return Evidence{Step: File, Err: &certs.FileError{Fault: certs.Fault(typ)}, Endpoint: "/etc/ssl/site.pem"}
	}
	now := time.Date(2026, time.November, 20, 9, 0, 0, 0, time.UTC)
	e := Evidence{
		Err: errors.New("something new"), Now: now, Timeout: 10 * time.Second,
		Endpoint: "api.example:4317", Port: 4317, ServerName: "api.example",
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ALPN: []string{"h2"}, StartTLS: "smtp",
		AcceptableCAs: []string{"CN=Example Client CA"},
		ClientCert: &x509.Certificate{
			Subject: pkix.Name{CommonName: "gateway"}, Issuer: pkix.Name{CommonName: "Old Client CA"}, NotAfter: now.AddDate(0, 1, 0),
		},
	}
	e.ClientCertRequested, e.ClientCertTop = types[typ].step == ClientAuth, e.ClientCert
	refusal := &starttls.Error{Kind: starttls.Kind(typ), Expected: "220 in reply to STARTTLS"}
	switch typ {
	case HandshakeTimeout:
		e.StartTLS = ""
	case LocalError:
		e.Err = errors.New("open client.key: permission denied")
	case DNSError:
		e.Err = errors.New("lookup api.example on 192.0.2.53:53: server misbehaving")
	case NotTLS:
		e.FirstBytes = []byte("220 mail.example ESMTP")
	case StartTLSUnsupported:
		refusal.Said, e.Err = "502 5.5.1 not implemented", refusal
	case StartTLSRejected:
		refusal.Said, e.Err = "454 4.7.0 TLS not available due to local problem", refusal
	case StartTLSTimeout:
		refusal.Expected, e.Err = "a greeting with code 220", refusal
	case StartTLSProtocolError:
		refusal.Said, refusal.Expected, refusal.Err, e.Err = "250 injected", "the TLS handshake", starttls.ErrInjected, refusal
	case MalformedHandshake:
		e.Err = errors.New("tls: server's Finished message was incorrect")
	case MissingClientCert:
		e.ClientCert = nil
	case UnknownCA, ClientCertExpired, ClientCertNotYetValid, UnsupportedCertificate:
		judgeExample(&e, typ)
	case Type(certs.Malformed):
		e.Err = errors.New("tls: failed to parse certificate from server: x509: negative serial number")
	}
	if types[typ].step != Verify || typ == Type(certs.Malformed) {
		return e
	}

	e.Err = nil
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Example Intermediate"}, Issuer: pkix.Name{CommonName: "Example Root"},
		PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 511)},
	}
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: "api.example"}, Issuer: ca.Subject,
		NotBefore: now.Add(12 * time.Hour), NotAfter: now.Add(-57 * time.Hour),
		DNSNames:                    []string{"old.example", "www.example"},
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		IssuingCertificateURL:       []string{"http://pki.example/intermediate.crt"},
		SignatureAlgorithm:          x509.SHA1WithRSA,
		UnhandledCriticalExtensions: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 1, 3}},
	}
	e.Verdict = &certs.Verdict{Chain: []*x509.Certificate{leaf, ca}}
	reason := certs.Reason{Fault: certs.Fault(typ), Cert: leaf}
	switch reason.Fault {
	case certs.SelfSigned, certs.IncompleteChain: // only the leaf was sent
		e.Verdict.Chain = e.Verdict.Chain[:1]
	case certs.NotCA, certs.PathLengthExceeded, certs.WeakKey: // the CA is at fault
		reason.Depth, reason.Cert = 1, ca
	}
	if reason.Fault == certs.NameConstraintViolation {
		reason.Err = &certs.ConstraintViolation{Kind: "DNS name", Name: "old.example", CA: ca, Depth: 1, Constraints: []string{"inside.example"}}
	}
	if reason.Fault == certs.Revoked {
		reason.Err = &certs.Staple{Status: certs.StatusRevoked, RevokedAt: now.Add(-48 * time.Hour), Reason: "keyCompromise"}
	}
	e.Verdict.Reasons = []certs.Reason{reason}
	return e
}
