// Package failure explains why a probe failed. It turns an error or a verdict into a Failure: the step in which it
// happened, its type from a bounded list, every reason, OpenSSL's message for it, the likely cause and the fix.
//
// It decides by error types, errno and alert numbers. Some errors of crypto/tls can only be recognized by their text:
// these are in cryptotls.go. To add a type, add its constant and its row in types.go, and its section in
// docs/troubleshooting.md.
package failure

import (
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

// Step is the part of a probe in which a failure happened. Its values are those of the attribute tls.probe.phase.
type Step string

const (
	Local      Step = "local" // on the collector's own host, never the target's fault
	DNS        Step = "dns"
	Connect    Step = "connect"
	StartTLS   Step = "starttls"
	Handshake  Step = "handshake"
	Verify     Step = "verify"      // we verify the server's certificate
	ClientAuth Step = "client_auth" // the server verifies our certificate
	File       Step = "file"        // reading a certificate file
)

// Failure is why a probe failed.
type Failure struct {
	Step    Step
	Type    Type   // the reason to fix first
	Reasons []Type // all of them, without duplicates, Type first

	// Category is the value of tls.error.type: Evidence.Transport in the step connect, certificate_verification in
	// verify, ssl_error in handshake and client_auth, and the step itself in all others.
	Category string

	VerifyCode    int    // OpenSSL's X509_V_ERR number, 0 if it has none
	VerifyMessage string // OpenSSL's message for it

	Alert     uint8  // the TLS alert that the server sent
	HasAlert  bool   // whether it sent one
	SSLReason string // OpenSSL's reason, such as TLSV1_ALERT_PROTOCOL_VERSION; may be empty

	Message string // Err in one line, cleaned and bounded; without Err, VerifyMessage or Cause
	Cause   string // one or more sentences that include the evidence
	Fix     string // what to do about it
}

// Error returns the type and the cause.
func (f *Failure) Error() string { return string(f.Type) + ": " + f.Cause }

// Evidence is everything that a probe knows when it fails.
type Evidence struct {
	Step     Step  // at which Err occurred: Local, DNS, Connect, StartTLS, Handshake, ClientAuth or File
	Err      error // nil only if Verdict is the failure; it wraps an alert as an *AlertError
	Now      time.Time
	Timeout  time.Duration // of the whole probe, or of connecting if that has its own limit
	Endpoint string        // host:port; for a file its path
	Port     uint16

	Transport string // the value of network.transport, such as tcp

	ServerName             string         // the name that the certificate must have
	Verdict                *certs.Verdict // nil if the server sent no certificate
	MinVersion, MaxVersion uint16         // offered
	ALPN                   []string       // offered
	StartTLS               string         // protocol spoken before TLS; may be empty
	CertificateType        string         // the only one that the client accepts; empty if it accepts any
	FirstBytes             []byte         // the first bytes that the server sent; bounded

	ClientCertRequested bool
	ClientCert          *x509.Certificate     // ours; nil if none is configured
	ClientCertTop       *x509.Certificate     // the topmost certificate of ours that was sent; nil if unknown
	ClientCertProblems  []ClientCertProblem   // of ours; none unless it was requested
	AcceptableCAs       []string              // distinguished names that could be read, not all if there are many
	AcceptableCACount   int                   // in the server's list, which may be empty
	SignatureSchemes    []tls.SignatureScheme // that the server accepts from clients
	Version             uint16                // negotiated; 0 until the server's certificate has arrived
}

// Explain returns the failure that the evidence shows.
func Explain(e Evidence) *Failure {
	f := &Failure{}
	if e.Err == nil {
		f.Step, f.Type, f.Reasons = Verify, Type(e.Verdict.Primary().Fault), Types(e.Verdict.Reasons)
		f.VerifyCode, f.VerifyMessage = verifyCode(f.Type, e.Verdict.Primary(), e.ServerName)
	} else {
		f.Type = classify(&e)
		f.Step, f.Reasons = stepOf(f.Type, &e), []Type{f.Type}
		switch {
		case f.Step == ClientAuth:
			f.Reasons = append(f.Reasons, slices.DeleteFunc(refusalTypes(e.ClientCertProblems), func(t Type) bool { return t == f.Type })...)
		case f.Step == File && e.Verdict != nil:
			f.Reasons = append(f.Reasons, Types(e.Verdict.Reasons)...)
		}
		f.Message = text.Clean(e.Err.Error(), 512)
		f.Alert, f.HasAlert = alertOf(e.Err)
		f.VerifyCode, f.VerifyMessage = types[f.Type].verifyCode, types[f.Type].verifyMessage
	}
	f.Category = category(f.Step, e.Transport)
	f.SSLReason = types[f.Type].sslReason
	if m, _ := findWords(e.Err); m.sslReason != "" {
		f.SSLReason = m.sslReason
	}
	if f.HasAlert {
		f.SSLReason = alerts[f.Alert].sslReason
	}

	if u := (*certs.Unexplained)(nil); e.Err == nil && f.Type != Type(certs.Malformed) && errors.As(e.Verdict.Primary().Err, &u) {
		f.Cause, f.Fix = unexplained(&e)
	} else {
		f.Cause, f.Fix = types[f.Type].explain(f, &e)
	}
	// Everything that the sentences quote is already clean, except for the text of errors, which may contain foreign
	// bytes. What comes last is short and never cut.
	last := f.otherReasons() + f.alertSentence()
	f.Cause, f.Fix = text.Clean(f.Cause, maxSentences-len(last))+last, text.Clean(f.Fix, maxSentences)
	if f.Message == "" {
		f.Message = f.VerifyMessage
	}
	if f.Message == "" {
		f.Message = f.Cause
	}
	return f
}

const maxSentences = 1024 // bytes

func category(s Step, transport string) string {
	switch s {
	case Connect:
		return transport
	case Verify:
		return "certificate_verification"
	case Handshake, ClientAuth:
		return "ssl_error"
	}
	return string(s)
}

// otherReasons returns a sentence about the reasons after the first, with a space before it. It is empty if there are
// none.
func (f *Failure) otherReasons() string {
	if len(f.Reasons) < 2 {
		return ""
	}
	others := make([]string, len(f.Reasons)-1)
	for i, t := range f.Reasons[1:] {
		others[i] = string(t)
	}
	return " Also: " + strings.Join(others, ", ") + "."
}

// alertSentence returns a sentence that names the alert, with a space before it. It is empty if there was none. The
// alert is useful evidence for every type of failure.
func (f *Failure) alertSentence() string {
	if !f.HasAlert {
		return ""
	}
	return fmt.Sprintf(" The server sent alert %s.", alertName(f.Alert))
}

func other(f *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("The probe of %s failed: %s.", e.Endpoint, f.Message),
		"This failure has no type yet. Please report it with this message."
}
