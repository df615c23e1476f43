package failure

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
)

// classify returns the type of the error in the evidence.
func classify(e *Evidence) Type {
	if e.Step == Local {
		return LocalError
	}
	limit, local := localLimit(e.Err)
	var file *certs.FileError
	// Permission denied is about the file, not about the collector; too many open files is not about the file.
	if errors.As(e.Err, &file) && limit != TooManyOpenFiles {
		return Type(file.Fault)
	}
	if local {
		return limit
	}
	if number, ok := alertOf(e.Err); ok {
		return alertType(number, e)
	}
	switch e.Step {
	case DNS:
		return dnsType(e.Err)
	case Connect:
		return connectType(e.Err)
	case StartTLS:
		var refusal *starttls.Error
		if errors.As(e.Err, &refusal) {
			return Type(refusal.Kind)
		}
	}
	return handshakeType(e)
}

// stepOf returns the step of a failure of type t.
func stepOf(t Type, e *Evidence) Step {
	if step := types[t].step; step != "" {
		return step
	}
	if t == ConnectionClosed && e.ClientCertRequested {
		return ClientAuth // the server's certificate was already accepted, so this is the server's answer to ours
	}
	return e.Step
}

// localLimit returns the type of an error that is about the collector's own host, in any step.
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
		// EINVAL and ENODEV are the errors for a link-local address without a zone, or with an unknown one.
		return NetworkUnreachable
	}
	return Other
}

// handshakeType returns the type of an error that is not an alert from the server.
func handshakeType(e *Evidence) Type {
	switch {
	case metPlaintext(e.Err), IsPlaintext(e.FirstBytes):
		if e.StartTLS != "" {
			return StartTLSProtocolError // bytes after the go-ahead, which arrived too late for the preamble to see
		}
		return NotTLS
	case timedOut(e.Err):
		return HandshakeTimeout
	case disconnected(e.Err):
		return ConnectionClosed
	}
	if insecureKey(e) {
		return Type(certs.WeakKey)
	}
	if ownKeyRefused(e) {
		return UnsupportedCertificate
	}
	if _, limit, ok := tooLong(e.Err.Error()); ok && limit == certificateLimit {
		return Type(certs.Malformed)
	}
	if t, ok := typeFromWords(e.Err); ok {
		return t
	}
	var local *AlertError
	if errors.As(e.Err, &local) || refusedByCryptoTLS(e.Err) {
		return MalformedHandshake
	}
	return Other
}

func timedOut(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &netErr) && netErr.Timeout()
}

// disconnected reports whether the connection ended too early.
func disconnected(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, net.ErrClosed)
}

// IsRefusal reports whether an error after the handshake is the server's refusal of our certificate, rather than an
// orderly end of the connection.
func IsRefusal(err error) bool {
	_, alert := alertOf(err)
	return alert || disconnected(err) && !errors.Is(err, io.EOF)
}
