package failure

import (
	"errors"
	"fmt"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

func starttlsUnsupported(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s speaks %s but does not offer TLS. %s", e.Endpoint, e.StartTLS, expectedAndGot(e)),
		otherProtocol(e) + fmt.Sprintf("Enable TLS for %s on the server. If the port speaks TLS from the first byte, remove starttls.", e.StartTLS)
}

func starttlsRejected(_ *Failure, e *Evidence) (cause, fix string) {
	cause = fmt.Sprintf("%s speaks %s but refused to start TLS. %s", e.Endpoint, e.StartTLS, expectedAndGot(e))
	var refusal *starttls.Error
	if errors.As(e.Err, &refusal) && strings.HasPrefix(refusal.Said, "stream error: host-unknown") { // of XMPP: RFC 6120, section 4.9.3.6
		return cause, serveName(e.ServerName)
	}
	return cause, otherProtocol(e) + "Check the server's log: it may have no usable certificate, or it may not accept this client."
}

func starttlsTimeout(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s did not start TLS within %s. %s", e.Endpoint, e.Timeout, expectedAndGot(e)),
		otherProtocol(e) + fmt.Sprintf("Check that the port speaks %s, and that the server is not overloaded. Some servers delay their greeting on purpose: for those, raise timeout.", e.StartTLS) + removeSTARTTLS(e)
}

func starttlsProtocolError(_ *Failure, e *Evidence) (cause, fix string) {
	cause = fmt.Sprintf("%s does not speak %s correctly. %s", e.Endpoint, e.StartTLS, expectedAndGot(e))
	var refusal *starttls.Error
	if errors.Is(e.Err, starttls.ErrInjected) || !errors.As(e.Err, &refusal) {
		return cause, "Plain text after the go-ahead is an attack or comes from a broken proxy. Clients must not accept it. Find out what is between the collector and the server."
	}
	if known := otherProtocol(e); known != "" {
		return cause, strings.TrimSpace(known)
	}
	return cause, "Correct starttls or the port."
}

func closedBeforeTLS(e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s closed the connection before TLS started. %s", e.Endpoint, expectedAndGot(e)),
		otherProtocol(e) + fmt.Sprintf("Check that the port speaks %s. Check the server's log: it may refuse this client.", e.StartTLS) + removeSTARTTLS(e)
}

// expectedAndGot returns a sentence about what the server should have sent and what it sent instead.
func expectedAndGot(e *Evidence) string {
	quote := func(s string) string { return fmt.Sprintf("%q", text.Clean(strings.TrimSpace(s), 200)) }
	var refusal *starttls.Error
	if !errors.As(e.Err, &refusal) {
		return fmt.Sprintf("Expected TLS, got %s.", quote(string(e.FirstBytes)))
	}
	got := "nothing"
	if isTLS(refusal.First) {
		return fmt.Sprintf("Expected %s, got a TLS record.", refusal.Expected)
	}
	if refusal.Said != "" {
		got = quote(refusal.Said)
		if refusal.Err != nil && refusal.Kind == starttls.ProtocolError {
			got += ": " + refusal.Err.Error()
		}
	}
	return fmt.Sprintf("Expected %s, got %s.", refusal.Expected, got)
}

// isTLS reports whether a server's first bytes are the beginning of a TLS record.
func isTLS(first string) bool { return len(first) > 1 && looksLikeTLS([]byte(first)) }

// removeSTARTTLS returns a part of the fix, with a space before it, if the server said nothing. Servers that speak TLS from
// the first byte wait for the client, and may close the connection when it sends something else.
func removeSTARTTLS(e *Evidence) string {
	var refusal *starttls.Error
	if errors.As(e.Err, &refusal) && refusal.First == "" {
		return " If the port speaks TLS from the first byte, remove starttls."
	}
	return ""
}

// otherProtocol returns the fix, with a space after it, if the server's first bytes or its port show that it speaks a
// different protocol from the one in starttls. Otherwise it is empty.
func otherProtocol(e *Evidence) string {
	refusal := &starttls.Error{First: string(e.FirstBytes)}
	errors.As(e.Err, &refusal)
	if isTLS(refusal.First) {
		return "Remove starttls, as the server speaks TLS from the first byte. "
	}
	name, value := service([]byte(refusal.First), e.Port)
	// Both kinds of XMPP begin the same way, and a greeting with code 220 may not name its protocol. In these cases the
	// port decides.
	if value == "" || name == "XMPP" || value == "smtp" && !strings.Contains(strings.ToUpper(refusal.First), "SMTP") {
		value = starttls.ForPort(e.Port)
	}
	if value == "" || value == e.StartTLS {
		return ""
	}
	return fmt.Sprintf("Set starttls: %s on this target. ", value)
}

// missingSTARTTLS returns a sentence, with a space before it, for servers that do not answer a ClientHello, or that
// close the connection, as PostgreSQL does. It is empty if nothing suggests that starttls is missing.
func missingSTARTTLS(e *Evidence) string {
	if s := starttls.ForPort(e.Port); s != "" && e.StartTLS == "" && len(e.FirstBytes) == 0 {
		return fmt.Sprintf(" Services on port %d start in plain text, so this target probably needs starttls: %s.", e.Port, s)
	}
	return ""
}
