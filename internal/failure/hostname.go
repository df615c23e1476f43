package failure

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// This file explains that a certificate does not have the name that it must have. What it advises for
// server_name_override is valid there, and the certificate is valid for it.

func nameMismatch(_ *Failure, e *Evidence) (cause, fix string) {
	leaf := e.Verdict.Chain[0]
	names := certs.Names(leaf)
	cause = fmt.Sprintf("The certificate is not valid for %s", e.ServerName)
	entry := e.ServerName
	if isAddress(e.ServerName) {
		entry = "an IP entry for " + e.ServerName
	}
	if len(names) == 0 {
		if hasOtherNames(leaf) {
			cause += ". None of its subject alternative names is a DNS name or an address."
		} else {
			cause += ". It has no subject alternative names, and its common name does not count."
		}
		return cause, fmt.Sprintf("Reissue it with %s in its subject alternative names.", entry)
	}
	fix = fmt.Sprintf("Reissue it with %s among its names", entry)

	closest, override := closestName(leaf, e.ServerName)
	almost := almostValid(leaf.DNSNames, e.ServerName)
	if override == "" {
		if almost == "" {
			almost = useless(leaf)
		}
		return fmt.Sprintf("%s. It has only %s.%s", cause, list(names, 5), almost), fix + "."
	}
	// It is not valid for an address that is a DNS name.
	names = slices.Concat(slices.DeleteFunc(names[:len(leaf.DNSNames)], isAddress), names[len(leaf.DNSNames):])
	cause += fmt.Sprintf(", only for %s.", list(names, 5))
	if len(names) > 1 && !isAddress(e.ServerName) && !isAddress(closest) {
		cause += fmt.Sprintf(" The closest of these is %s.", text.Clean(closest, maxName))
	}
	if closest != override {
		return cause + almost, fmt.Sprintf("%s, or set tls server_name_override to a name that %s covers, such as %s.", fix, closest, override)
	}
	return cause + almost, fmt.Sprintf("%s, or set tls server_name_override to %s.", fix, override)
}

// hasOtherNames reports whether a certificate without names that Go reads has subject alternative names of other kinds.
func hasOtherNames(leaf *x509.Certificate) bool {
	isSAN := func(e pkix.Extension) bool { return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) }
	return slices.ContainsFunc(leaf.Extensions, isSAN)
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// closestName returns the name of the certificate that is most like wanted, and the server_name_override with which the
// certificate is valid: the name itself or, for a wildcard, a name that it covers. It leaves out names that cannot be
// used so. If wanted is an address, it returns the first name, and prefers one without a wildcard. If the certificate
// has no DNS name that can be used, it returns its first address. Both results are empty if there is none.
func closestName(leaf *x509.Certificate, wanted string) (name, override string) {
	wanted = strings.ToLower(wanted)
	address := isAddress(wanted)
	label, _, _ := strings.Cut(wanted, ".")
	if address {
		label = "www"
	}
	// The names of a certificate take up to 256 KiB. Without limits, a hostile one would cost 0.2 seconds of CPU.
	steps, unusable, best := 1<<22, 0, math.MaxInt
	for _, n := range leaf.DNSNames {
		o := n
		domain, wildcard := strings.CutPrefix(n, "*.")
		switch {
		case wildcard && domain == wanted:
			o = "www." + domain
		case wildcard:
			o = label + "." + domain
		}
		if wildcard && len(o) > maxHost {
			o = "a." + domain // the shortest name that it covers
		}
		d := 0
		switch {
		case len(o) > maxHost || unusable == maxUnusable:
			continue
		case !address:
			d = differences(strings.ToLower(o), wanted, best, &steps)
		case wildcard:
			d = 1
		}
		if d >= best {
			continue
		}
		if validFor(&x509.Certificate{DNSNames: []string{n}}, o) {
			name, override, best = n, o, d
		} else {
			unusable++
		}
	}
	if override == "" && len(leaf.IPAddresses) > 0 {
		if ip := leaf.IPAddresses[0]; validFor(&x509.Certificate{IPAddresses: []net.IP{ip}}, ip.String()) {
			return ip.String(), ip.String()
		}
	}
	return name, override
}

// maxHost is the maximum length of a host's name.
const maxHost = 253

// maxUnusable is how many names that cannot be used closestName leaves out before it stops.
const maxUnusable = 1000

// validFor reports whether a target with this server_name_override is valid and accepts the certificate's name.
func validFor(c *x509.Certificate, override string) bool {
	name, err := target.ParseServerName(override)
	return err == nil && c.VerifyHostname(name) == nil
}

// almostValid returns a sentence, with a space before it, about the first name that a person would take for wanted. It
// is empty if there is none.
func almostValid(names []string, wanted string) string {
	addr, err := netip.ParseAddr(wanted)
	wanted = strings.ToLower(wanted)
	dotted := wanted + "."
	for _, n := range names {
		if err == nil {
			if a, err := netip.ParseAddr(n); err == nil && a == addr {
				return " It has this address as a DNS name, which clients do not accept for an address."
			}
			continue
		}
		n = strings.ToLower(n)
		before, after, partial := strings.Cut(n, "*")
		domain, wildcard := strings.CutPrefix(n, "*.")
		switch {
		case n == dotted:
			return fmt.Sprintf(" The final dot of %s makes it another name.", text.Clean(n, maxName))
		case wildcard && (wanted == domain || strings.HasSuffix(wanted, "."+domain)):
			return fmt.Sprintf(" The wildcard in %s stands for exactly one label.", text.Clean(n, maxName))
		case n == "*":
			return " The wildcard * is not followed by a domain, so it stands for no name with a dot."
		case partial && len(n) <= len(wanted)+1 && strings.HasPrefix(wanted, before) && strings.HasSuffix(wanted, after):
			return fmt.Sprintf(" The wildcard in %s does not count, as it is not the whole first label.", text.Clean(n, maxName))
		}
	}
	return ""
}

// useless returns a sentence, with a space before it, about why no client can accept the certificate, whatever the name
// of the server.
func useless(leaf *x509.Certificate) string {
	switch {
	case len(leaf.DNSNames) > 0 && isAddress(leaf.DNSNames[0]):
		return fmt.Sprintf(" %s is an address, but it is a DNS name in the certificate, which clients do not accept for an address.", text.Clean(leaf.DNSNames[0], maxName))
	case len(leaf.DNSNames) > 0:
		return fmt.Sprintf(" %s is not the name of a host.", quoted(leaf.DNSNames[0]))
	case len(leaf.URIs) > 0 && leaf.URIs[0].Scheme == "spiffe":
		return " That is the identity of a workload (SPIFFE), not the name of a host: clients that check the name refuse the certificate."
	}
	return " That is not the name of a host: clients that check the name refuse the certificate."
}

// differences returns in how many characters two names differ, their distance. If that is most or more, or if steps are
// used up, it may return more. It is exact for names that differ in one place.
func differences(a, b string, most int, steps *int) int {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	longer, cost := max(len(a), len(b)), len(a)*len(b)
	if longer-min(len(a), len(b)) >= most || cost > *steps {
		return longer // which is at least the distance
	}
	*steps -= cost
	return distance(a, b)
}

// distance returns the Levenshtein distance between two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
