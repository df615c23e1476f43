// Package failure turns what a probe met, an error or a verdict, into a Failure: the step at which it happened, one of
// a bounded list of types, every reason, OpenSSL's words for it, the likely cause and the fix.
//
// It decides by error types, errno and alert numbers. Where Go offers nothing but words they stand in words.go.
package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// Step is where in a probe a failure happened; the values of the attribute tls.probe.phase.
type Step string

const (
	Local      Step = "local" // the prober's own limits, never the target's fault
	DNS        Step = "dns"
	Connect    Step = "connect"
	StartTLS   Step = "starttls"
	Handshake  Step = "handshake"
	Verify     Step = "verify"      // the server's certificate, judged by us
	ClientAuth Step = "client_auth" // our certificate, judged by the server
	File       Step = "file"        // a certificate file is read
)

// Type is a value of the attribute error.type. The types of the steps verify and file are those of certs.Fault.
type Type string

const (
	TooManyOpenFiles       Type = "too_many_open_files"
	NoFreePorts            Type = "no_free_ports"
	LocalError             Type = "local_error"
	DNSNotFound            Type = "dns_not_found"
	DNSTimeout             Type = "dns_timeout"
	DNSError               Type = "dns_error"
	ConnectionRefused      Type = "connection_refused"
	ConnectionTimeout      Type = "connection_timeout"
	ConnectionReset        Type = "connection_reset"
	NetworkUnreachable     Type = "network_unreachable"
	StartTLSUnsupported    Type = "starttls_unsupported"
	StartTLSRejected       Type = "starttls_rejected"
	StartTLSTimeout        Type = "starttls_timeout"
	StartTLSProtocolError  Type = "starttls_protocol_error"
	NotTLS                 Type = "not_tls"
	HandshakeTimeout       Type = "handshake_timeout"
	ConnectionClosed       Type = "connection_closed"
	ProtocolMismatch       Type = "protocol_mismatch"
	CipherMismatch         Type = "cipher_mismatch"
	ALPNMismatch           Type = "alpn_mismatch"
	UnrecognizedName       Type = "unrecognized_name"
	HandshakeFailure       Type = "handshake_failure"
	ServerInternalError    Type = "server_internal_error"
	MalformedHandshake     Type = "malformed_handshake"
	MissingClientCert      Type = "missing_client_cert"
	UnknownCA              Type = "unknown_ca"
	BadCertificate         Type = "bad_certificate"
	ClientCertExpired      Type = "client_cert_expired"
	ClientCertRevoked      Type = "client_cert_revoked"
	UnsupportedCertificate Type = "unsupported_certificate"
	CertificateUnknown     Type = "certificate_unknown"
	AccessDenied           Type = "access_denied"
	NearExpiry             Type = "near_expiry"   // a warning
	FileMismatch           Type = "file_mismatch" // a warning
	Other                  Type = "other"
)

// Failure is why a probe failed.
type Failure struct {
	Step    Step
	Type    Type   // the reason to mend first
	Reasons []Type // all of them, without doubles, Type first

	// Category is the value of tls.error.type: that of Evidence.Transport in the step connect, ssl_error,
	// certificate_verification, else the step.
	Category string

	VerifyCode    int    // OpenSSL's X509_V_ERR number, 0 where there is none
	VerifyMessage string // OpenSSL's words for it

	Alert     uint8  // the TLS alert that the server sent
	HasAlert  bool   // whether it sent one
	SSLReason string // OpenSSL's reason, such as TLSV1_ALERT_PROTOCOL_VERSION; may be empty

	Message string // what Go said, in one line, fit for telemetry
	Cause   string // a sentence with the evidence in it
	Fix     string // what to do about it
}

// Error makes a Failure an error: its type and cause.
func (f *Failure) Error() string { return string(f.Type) + ": " + f.Cause }

// Evidence is all that a probe knows when it fails.
type Evidence struct {
	Step     Step  // at which Err came: Local, DNS, Connect, StartTLS, Handshake, ClientAuth or File
	Err      error // never nil, unless Verdict is the failure
	Now      time.Time
	Timeout  time.Duration // of the whole probe
	Endpoint string        // host:port; for a file its path
	Port     uint16

	Transport string // the value of network.transport, such as tcp

	ServerName             string         // the name that the certificate must have
	Verdict                *certs.Verdict // nil where the server sent no certificate
	MinVersion, MaxVersion uint16         // offered
	ALPN                   []string       // offered
	StartTLS               string         // protocol spoken before TLS; may be empty
	CertificateType        string         // the one that was asked for; empty where any will do
	FirstBytes             []byte         // what the server sent first, a bounded piece of it

	ClientCertRequested bool
	ClientCert          *x509.Certificate // ours, where one is configured
	AcceptableCAs       []string          // distinguished names; the server's list may be empty
}

// Explain returns the failure that the evidence shows.
func Explain(e Evidence) *Failure {
	if e.Err == nil {
		return fromVerdict(e)
	}
	f := &Failure{Step: e.Step, Message: text.Clean(e.Err.Error(), 512)}
	f.Alert, f.HasAlert = alertOf(e.Err)
	f.Step, f.Type = classify(e, f)
	f.Reasons = []Type{f.Type}
	f.finish(e)
	return f
}

// Types returns the reasons of a verdict as types, without doubles.
func Types(reasons []certs.Reason) []Type {
	var types []Type
	for _, r := range reasons {
		if !slices.Contains(types, Type(r.Fault)) {
			types = append(types, Type(r.Fault))
		}
	}
	return types
}

func fromVerdict(e Evidence) *Failure {
	primary := e.Verdict.Primary()
	f := &Failure{Step: Verify, Type: Type(primary.Fault), Reasons: Types(e.Verdict.Reasons)}
	f.finish(e)
	f.Message = f.VerifyMessage
	if f.Message == "" {
		f.Message = f.Cause
	}
	return f
}

// finish fills in what follows from step, type and alert.
func (f *Failure) finish(e Evidence) {
	f.Category = category(f.Step, e.Transport)
	if f.Step == Verify {
		f.VerifyCode, f.VerifyMessage = verifyCode(f.Type, e)
	}
	if f.HasAlert {
		f.SSLReason = alertReasons[f.Alert]
	} else if f.Type == NotTLS {
		f.SSLReason = "WRONG_VERSION_NUMBER"
	} else if f.Type == ProtocolMismatch {
		f.SSLReason = "TLSV1_ALERT_PROTOCOL_VERSION"
	}
	f.Cause, f.Fix = sentences(f, e)
	f.nameAlert()
	// What the sentences quote is clean already but for the words of errors, which hold foreign bytes too.
	f.Cause, f.Fix = text.Clean(f.Cause, maxSentence), text.Clean(f.Fix, maxSentence)
}

const maxSentence = 1024 // bytes

// nameAlert adds the alert to the cause, which is evidence whatever else is known.
func (f *Failure) nameAlert() { f.Cause += f.alertSentence() }

func (f *Failure) alertSentence() string {
	if !f.HasAlert {
		return ""
	}
	return fmt.Sprintf(" The server sent alert %s.", alertName(f.Alert))
}

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

// classify returns step and type of an error.
func classify(e Evidence, f *Failure) (Step, Type) {
	if e.Step == Local {
		return Local, LocalError
	}
	t, local := localLimit(e.Err)
	var file *certs.FileError
	if errors.As(e.Err, &file) && t != TooManyOpenFiles { // that the file may not be read is the file's affair
		return File, Type(file.Fault)
	}
	if local {
		return Local, t
	}
	if f.HasAlert {
		return fromAlert(f.Alert, e)
	}
	switch e.Step {
	case DNS:
		return DNS, dnsType(e.Err)
	case Connect:
		return Connect, connectType(e.Err)
	case StartTLS:
		var refusal *starttls.Error
		if errors.As(e.Err, &refusal) {
			return StartTLS, Type(refusal.Kind)
		}
	}
	return handshakeType(e)
}

// localLimit tells of errors that are the prober's own.
func localLimit(err error) (Type, bool) {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return "", false
	}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE:
		return TooManyOpenFiles, true
	case syscall.EADDRNOTAVAIL:
		return NoFreePorts, true
	case syscall.EACCES, syscall.EPERM, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAFNOSUPPORT:
		return LocalError, true
	}
	return "", false
}

func dnsType(err error) Type {
	var dns *net.DNSError
	switch {
	case timedOut(err):
		return DNSTimeout
	case errors.As(err, &dns) && dns.IsNotFound:
		return DNSNotFound
	}
	return DNSError
}

func connectType(err error) Type {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectionRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return ConnectionReset
	case timedOut(err), errors.Is(err, syscall.ETIMEDOUT):
		return ConnectionTimeout
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EINVAL),
		errors.Is(err, syscall.ENETDOWN), errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.ENODEV):
		// EINVAL and ENODEV are what a link-local address without its zone, or with an unknown one, yields.
		return NetworkUnreachable
	}
	return Other
}

func handshakeType(e Evidence) (Step, Type) {
	var header tls.RecordHeaderError
	switch {
	case errors.As(e.Err, &header) && header.Conn != nil, IsPlaintext(e.FirstBytes):
		if e.StartTLS != "" {
			return StartTLS, StartTLSProtocolError // bytes after the go-ahead, which came too late for the preamble to see
		}
		return Handshake, NotTLS
	case timedOut(e.Err):
		return Handshake, HandshakeTimeout
	case disconnected(e.Err):
		if e.ClientCertRequested { // its certificate was fine by us; what came after is its view of ours
			return ClientAuth, ConnectionClosed
		}
		return e.Step, ConnectionClosed
	}
	if step, t, ok := fromWords(e.Err); ok {
		return step, t
	}
	var alert *AlertError // a local one: those of the server are taken care of
	if errors.As(e.Err, &alert) || errors.As(e.Err, &header) || saidByTLS(e.Err) {
		return Handshake, MalformedHandshake
	}
	return e.Step, Other
}

func timedOut(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &netErr) && netErr.Timeout()
}
