// Package target holds what to probe: one Target for each endpoint and each pattern of certificate files, complete with
// every default, so that whoever is handed one needs to look nowhere else.
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
)

// Spans says which probes of a target leave spans.
type Spans string

const (
	SpansAlways    Spans = "always"
	SpansOnFailure Spans = "on_failure"
	SpansOnChange  Spans = "on_change" // the first probe, and each that ends otherwise than the one before it
)

// Explain says when further connections are made to find out what would work.
type Explain string

const (
	ExplainOnChange Explain = "on_change" // when a target begins to fail, or fails differently
	ExplainNever    Explain = "never"
)

// Target is one thing to probe. It is not changed once built, so any number of goroutines may read it.
type Target struct {
	// ID is the same from one start of the collector to the next, and no other target's.
	ID string

	Endpoint Endpoint // zero where only files are watched
	Files    Files    // its Pattern is empty where only an endpoint is probed

	// ResolveAll tells that each address behind the endpoint's name is probed, and not the first that answers.
	ResolveAll bool

	Interval     time.Duration // between the begins of two probes
	InitialDelay time.Duration // before the first one
	Timeout      time.Duration // for one whole probe
	// ConnectTimeout is for connecting to one address; 0 where that may take what is left of Timeout.
	ConnectTimeout time.Duration

	ExpiryWarning ExpiryWarning
	Spans         Spans
	Explain       Explain
	StartTLS      string            // protocol that is spoken before TLS; empty where TLS is spoken from the first byte
	Attributes    map[string]string // added to all telemetry of the target; may be nil

	// CertificateType is the one kind of certificate, ecdsa or rsa, that the handshake leaves the server to choose from.
	// It is empty where it may send any.
	CertificateType string

	// TLS is what the handshake offers and trusts, as it was at the start. It may be shared between targets: clone it
	// before changing it.
	TLS *tls.Config
	// Renewed returns TLS as it is now, where its certificates come from files; else it is nil.
	Renewed func() *tls.Config
}

// HasEndpoint tells whether there is an endpoint, and not files alone.
func (t *Target) HasEndpoint() bool { return t.Endpoint.Host != "" }

// Settings returns TLS as it is now.
func (t *Target) Settings() *tls.Config {
	if t.Renewed == nil {
		return t.TLS
	}
	return t.Renewed()
}

// String returns the endpoint, or the files where there is none, as one writes them in the configuration.
func (t *Target) String() string {
	if !t.HasEndpoint() {
		return t.Files.Pattern
	}
	return t.Endpoint.String()
}

// ServerName is the name that the server's certificate must have: an address, or a name in the form that goes over the
// wire. It is the endpoint's host unless the configuration overrides it.
func (t *Target) ServerName() string {
	addr, name := t.Endpoint.Addr, t.Endpoint.Domain()
	if override := t.TLS.ServerName; override != "" {
		var err error
		if addr, err = netip.ParseAddr(strings.Trim(override, "[]")); err != nil {
			// What is no name either can match no certificate, and is told as it was written.
			if name, err = dnsName(override); err != nil {
				name = override
			}
		}
	}
	if addr.IsValid() {
		return addr.WithZone("").String()
	}
	return strings.TrimSuffix(name, ".")
}

// Endpoint is a host and a port, or a service, such as _imaps._tcp.example.com, of which DNS tells hosts and ports (RFC
// 2782).
type Endpoint struct {
	Host string // as the user wrote it, without brackets
	Port uint16 // 0 of a service

	// One of the two is set: Addr where Host is an IP address, else DNSName, which is Host in ASCII (RFC 5891).
	Addr    netip.Addr
	DNSName string
}

// String returns the endpoint as one writes it in the configuration.
func (e Endpoint) String() string {
	if e.Port == 0 {
		return e.Host
	}
	if e.Addr.Is6() {
		return "[" + e.Host + "]:" + strconv.Itoa(int(e.Port))
	}
	return e.Host + ":" + strconv.Itoa(int(e.Port))
}

// Key is the same for endpoints that are the same, however they are written.
func (e Endpoint) Key() string {
	host := strings.ToLower(strings.TrimSuffix(e.DNSName, "."))
	if e.Addr.IsValid() {
		host = e.Addr.Unmap().String()
	}
	return host + " " + strconv.Itoa(int(e.Port))
}

// ParseService reads the name of a service.
func ParseService(s string) (Endpoint, error) {
	const want = `write _service._protocol.name, such as "_imaps._tcp.example.com"`
	labels := strings.SplitN(s, ".", 3)
	if len(labels) < 3 || !strings.HasPrefix(labels[0], "_") || !strings.HasPrefix(labels[1], "_") {
		return Endpoint{}, fmt.Errorf("is no service; %s", want)
	}
	name, err := dnsName(labels[2]) // alone, as an internationalised name has no underscores
	if err == nil {
		name, err = dnsName(labels[0] + "." + labels[1] + "." + name)
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("is not a name that DNS can hold: %w; %s", err, want)
	}
	return Endpoint{Host: s, DNSName: name}, nil
}

// Domain returns the name that a service is one of, and is the endpoint's name where it is no service. It, and not what
// DNS says, is what a server's certificate must have (RFC 6125, section 6.2.1).
func (e Endpoint) Domain() string {
	if e.Port == 0 {
		if labels := strings.SplitN(e.DNSName, ".", 3); len(labels) == 3 {
			return labels[2]
		}
	}
	return e.DNSName
}

// ParseEndpoint reads "host:port", where host is a name (internationalised ones too), an IPv4 address, or an IPv6
// address in brackets, with a zone if need be. Its errors say what would be right.
func ParseEndpoint(s string) (Endpoint, error) {
	const want = `write host:port, such as "example.com:443" or "[::1]:443"`
	switch {
	case s == "":
		return Endpoint{}, fmt.Errorf("is empty; %s", want)
	case strings.Contains(s, "://"):
		return Endpoint{}, fmt.Errorf("has a scheme; %s", want)
	case !utf8.ValidString(s):
		return Endpoint{}, fmt.Errorf("is not valid UTF-8; %s", want)
	case strings.ContainsFunc(s, unseen):
		return Endpoint{}, fmt.Errorf("has a space or control character in it; %s", want)
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
		return Endpoint{}, fmt.Errorf("has host %q, which is not a name that DNS can hold: %w", host, err)
	}
	return e, nil
}

// unseen tells of what gets into a line by copying and can be part of no name: spaces of all kinds, also those of no
// width, and control characters.
func unseen(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\u200b' || r == '\u2060' || r == '\ufeff'
}

// dnsName returns host as it goes over the wire. Names in ASCII need not be such as a registry would have: hosts with
// underscores exist and resolve.
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
		return "", fmt.Errorf("it is %d characters long; at most 253 fit", len(labels))
	}
	for label := range strings.SplitSeq(labels, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("the part %q is %d characters long; from 1 to 63 fit", label, len(label))
		}
		for _, r := range label {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", r) {
				return "", fmt.Errorf("it has %q in it; letters, digits, hyphens, underscores and dots are allowed", r)
			}
		}
	}
	if strings.Trim(labels, "0123456789.") == "" {
		return "", errors.New("it has nothing but digits and is no IPv4 address")
	}
	return name, nil
}
