// Package target describes what to probe: one Target for each endpoint and each pattern of certificate files. Every
// default is already filled in.
package target

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// Spans selects the probes of a target that produce spans.
type Spans string

const (
	SpansAlways    Spans = "always"
	SpansOnFailure Spans = "on_failure"
	SpansOnChange  Spans = "on_change" // the first probe, and each whose result differs from the one before it
)

// Explain selects when a failed probe is followed by further connections, to find out what would work.
type Explain string

const (
	ExplainOnChange Explain = "on_change" // when a target begins to fail, or fails differently
	ExplainNever    Explain = "never"
)

// Target is one thing to probe. It never changes once built, so any number of goroutines may read it.
type Target struct {
	// ID is unique among the targets, and stays the same when the collector restarts.
	ID string

	Endpoint Endpoint // zero if only files are watched
	Files    Files    // Pattern is empty if only an endpoint is probed

	// ResolveAll reports whether every address of the endpoint's name is probed, rather than the first that answers.
	ResolveAll bool

	Interval     time.Duration // from the start of one probe to the start of the next
	InitialDelay time.Duration // before the first probe
	Timeout      time.Duration // of a whole probe
	// ConnectTimeout limits connecting to one address. If it is 0, only Timeout does.
	ConnectTimeout time.Duration

	ExpiryWarning ExpiryWarning
	Spans         Spans
	Explain       Explain
	StartTLS      string            // protocol spoken before TLS; empty if TLS starts with the first byte
	Attributes    map[string]string // added to all telemetry of the target; may be nil

	// CertificateType is the only type of certificate, ecdsa or rsa, that the client accepts in the handshake. If it is
	// empty, the server may send any.
	CertificateType string

	// TLS is the client's configuration at startup. Targets may share it: clone it before changing it.
	TLS *tls.Config
	// Roots are the CAs in TLS.RootCAs, if more is known about them than the pool; else nil.
	Roots *certs.Roots
	// Renewed returns the current version of TLS and Roots, whose certificates come from files that may have changed since.
	// It is nil if none of them do.
	Renewed func() Client
}

// Client is a client's TLS configuration and the CAs that it trusts.
type Client struct {
	*tls.Config // targets may share it: clone it before changing it
	// Roots are the CAs in RootCAs. Nil means the system's.
	Roots *certs.Roots
}

// HasEndpoint reports whether the target has an endpoint. If not, it only watches files.
func (t *Target) HasEndpoint() bool { return t.Endpoint.Host != "" }

// Settings returns the current TLS configuration.
func (t *Target) Settings() Client {
	c := Client{t.TLS, t.Roots}
	if t.Renewed != nil {
		c = t.Renewed()
	}
	if c.Roots == nil && c.Config != nil {
		c.Roots = certs.RootsIn(c.RootCAs)
	}
	return c
}

// String returns the endpoint, or the pattern of the files if there is none, as written in the configuration.
func (t *Target) String() string {
	if !t.HasEndpoint() {
		return t.Files.Pattern
	}
	return t.Endpoint.String()
}

// ServerName returns what the server's certificate must be valid for: an IP address, or a name in ASCII without the
// final dot. It is the endpoint's host unless the configuration overrides it.
func (t *Target) ServerName() string {
	override := t.TLS.ServerName
	if override == "" {
		return serverName(t.Endpoint.Addr, t.Endpoint.Domain())
	}
	name, err := ParseServerName(override)
	if err != nil {
		return override // An invalid name matches no certificate. It is reported as the user wrote it.
	}
	return name
}

// ParseServerName returns what the server's certificate must be valid for if server_name_override is s, an IP address or
// a DNS name. It returns an error if s is neither, or empty.
func ParseServerName(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return serverName(addr, ""), nil
	}
	e, err := ParseEndpoint(s + ":1")
	if err != nil {
		return "", err
	}
	return serverName(e.Addr, e.DNSName), nil
}

func serverName(addr netip.Addr, name string) string {
	if addr.IsValid() {
		return addr.WithZone("").String()
	}
	return strings.TrimSuffix(name, ".")
}

// Endpoint is a host and a port, or a service such as _imaps._tcp.example.com, whose hosts and ports are in DNS (RFC
// 2782).
type Endpoint struct {
	Host string // as the user wrote it, without brackets
	Port uint16 // 0 for a service

	// Exactly one of these is set: Addr if Host is an IP address, else DNSName, which is Host in ASCII (RFC 5891).
	Addr    netip.Addr
	DNSName string
}

// String returns the endpoint as written in the configuration.
func (e Endpoint) String() string {
	if e.Port == 0 {
		return e.Host
	}
	if e.Addr.Is6() {
		return "[" + e.Host + "]:" + strconv.Itoa(int(e.Port))
	}
	return e.Host + ":" + strconv.Itoa(int(e.Port))
}

// Key identifies the endpoint: two spellings of the same endpoint have the same key.
func (e Endpoint) Key() string {
	host := strings.ToLower(strings.TrimSuffix(e.DNSName, "."))
	if e.Addr.IsValid() {
		host = e.Addr.Unmap().String()
	}
	return host + " " + strconv.Itoa(int(e.Port))
}

// ParseService parses the name of a service, such as _imaps._tcp.example.com. Its errors say what to write instead. They
// have no subject, and follow the quoted name: "is not the name of a service".
func ParseService(s string) (Endpoint, error) {
	const want = `write _service._protocol.name, such as "_imaps._tcp.example.com"`
	labels := strings.SplitN(s, ".", 3)
	if len(labels) < 3 || !strings.HasPrefix(labels[0], "_") || !strings.HasPrefix(labels[1], "_") {
		return Endpoint{}, fmt.Errorf("is not the name of a service; %s", want)
	}
	name, err := dnsName(labels[2]) // without the first two labels, as IDNA does not allow underscores
	if err == nil {
		name, err = dnsName(labels[0] + "." + labels[1] + "." + name)
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("is not a valid DNS name: %w; %s", err, want)
	}
	return Endpoint{Host: s, DNSName: name}, nil
}

// Domain returns the domain of a service, or DNSName for any other endpoint. A server's certificate must be for this
// name, not for the hosts that DNS returns (RFC 6125, section 6.2.1).
func (e Endpoint) Domain() string {
	if e.Port == 0 {
		if labels := strings.SplitN(e.DNSName, ".", 3); len(labels) == 3 {
			return labels[2]
		}
	}
	return e.DNSName
}

// ParseEndpoint parses "host:port". The host is a name, in Unicode or ASCII, an IPv4 address, or an IPv6
// address in brackets, which may have a zone. The errors say what to write instead. They have no subject, and follow the
// quoted endpoint: "has no port".
func ParseEndpoint(s string) (Endpoint, error) {
	const want = `write host:port, such as "example.com:443" or "[::1]:443"`
	switch {
	case s == "":
		return Endpoint{}, fmt.Errorf("is empty; %s", want)
	case strings.Contains(s, "://"):
		return Endpoint{}, fmt.Errorf("has a scheme; %s", want)
	case !utf8.ValidString(s):
		return Endpoint{}, fmt.Errorf("is not valid UTF-8; %s", want)
	case strings.ContainsFunc(s, invisible):
		return Endpoint{}, fmt.Errorf("contains a space or control character; %s", want)
	case strings.Contains(s, "/"):
		return Endpoint{}, fmt.Errorf("has a path; %s", want)
	}

	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if !bracketed && strings.Contains(host, ":") {
		return Endpoint{}, fmt.Errorf("is an IPv6 address without brackets or has too many colons; %s", want)
	}
	if port == "" {
		return Endpoint{}, fmt.Errorf("has no port; %s", want)
	}
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil || n < 1 || n > 65535 {
		return Endpoint{}, fmt.Errorf("has port %q, which is not a number from 1 to 65535", port)
	}

	e := Endpoint{Host: host, Port: uint16(n)}
	if bracketed {
		e.Host = host[1 : len(host)-1]
		if e.Addr, err = netip.ParseAddr(e.Host); err != nil || !e.Addr.Is6() {
			return Endpoint{}, fmt.Errorf("has %q in brackets, which is not an IPv6 address; %s", e.Host, want)
		}
		return e, nil
	}
	if host == "" {
		return Endpoint{}, fmt.Errorf("has no host; %s", want)
	}
	if e.Addr, err = netip.ParseAddr(host); err == nil {
		return e, nil
	}
	if e.DNSName, err = dnsName(host); err != nil {
		return Endpoint{}, fmt.Errorf("has host %q, which is not a valid DNS name: %w", host, err)
	}
	return e, nil
}

// invisible reports whether r is a space, of any width including zero, or a control character. These often come with
// copied text and are never part of a name.
func invisible(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\u200b' || r == '\u2060' || r == '\ufeff'
}

// dnsName returns host in ASCII, as DNS has it. It allows more than a registry does: hosts with underscores exist and
// resolve.
func dnsName(host string) (string, error) {
	name := host
	if strings.ContainsFunc(host, func(r rune) bool { return r > 0x7f }) {
		var err error
		if name, err = idna.Lookup.ToASCII(host); err != nil {
			return "", err
		}
	}
	labels := strings.TrimSuffix(name, ".")
	if len(labels) > 253 {
		return "", fmt.Errorf("it is %d characters long; a name has at most 253", len(labels))
	}
	for label := range strings.SplitSeq(labels, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("the label %q is %d characters long; a label has 1 to 63", label, len(label))
		}
		for _, r := range label {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", r) {
				return "", fmt.Errorf("it contains %q; only letters, digits, hyphens, underscores and dots are allowed", r)
			}
		}
	}
	if strings.Trim(labels, "0123456789.") == "" {
		return "", errors.New("it has only digits and dots, but is not an IPv4 address")
	}
	return name, nil
}
