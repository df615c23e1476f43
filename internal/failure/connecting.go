package failure

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// This file explains failures before there is a connection: on the collector's own host, in DNS, and in connecting.

func tooManyOpenFiles(*Failure, *Evidence) (cause, fix string) {
	return "The collector has reached its limit of open files.",
		"Raise the limit (ulimit -n, LimitNOFILE) or lower max_concurrent_probes. The target may be healthy."
}

func noFreePorts(*Failure, *Evidence) (cause, fix string) {
	return "The collector's host has no free local port for another connection.",
		"Widen net.ipv4.ip_local_port_range or lower max_concurrent_probes. The target may be healthy."
}

func localError(f *Failure, _ *Evidence) (cause, fix string) {
	return fmt.Sprintf("The probe failed on the collector's own host: %s.", f.Message),
		"Fix this on the collector's host: check permissions, the firewall, memory, and the certificate and key files. The target may be healthy."
}

func dnsNotFound(_ *Failure, e *Evidence) (cause, fix string) {
	cause = fmt.Sprintf("DNS has no address for %s.", host(e))
	// A service has no port of its own. The name that was not found is either its own or that of one of its servers.
	var err *net.DNSError
	if e.Port == 0 && errors.As(e.Err, &err) {
		if strings.HasPrefix(err.Name, "_") {
			cause = fmt.Sprintf("DNS has no servers for the service %s.", host(e))
		} else {
			cause = fmt.Sprintf("DNS has no address for %s, which is a server of the service %s.", text.Clean(err.Name, 256), host(e))
		}
	}
	return cause, "Check the spelling of the endpoint, and that the resolver of the collector's host knows this name."
}

func dnsTimeout(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("The resolver did not answer for %s within %s.", host(e), e.Timeout),
		"Check that the collector's host can reach its resolver (/etc/resolv.conf), or raise timeout."
}

func dnsError(f *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("The resolver could not look up %s: %s.", host(e), f.Message),
		"Check the resolver of the collector's host (/etc/resolv.conf) and the name servers of the zone."
}

func connectionRefused(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("Nothing accepts connections on %s.", e.Endpoint),
		"Start the service, or correct the port. A firewall can also refuse connections."
}

func connectionTimeout(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s did not answer the connection attempt within %s.", e.Endpoint, e.Timeout),
		"Check that the host is up. Look for a firewall or a route that drops packets."
}

func connectionReset(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("%s reset the connection before it was established.", e.Endpoint),
		"Look for a firewall or a proxy on the way, or for a load balancer without a backend."
}

func networkUnreachable(_ *Failure, e *Evidence) (cause, fix string) {
	return fmt.Sprintf("The collector's host has no route to %s.", e.Endpoint),
		"Check the routes of the collector's host. The target's host may be down, or a firewall may reject the packets. An IPv6 address needs IPv6 on the collector's host; a link-local one also needs its zone ([fe80::1%eth0]:443)."
}

// host returns the endpoint without its port.
func host(e *Evidence) string {
	if i := strings.LastIndexByte(e.Endpoint, ':'); i > 0 {
		return e.Endpoint[:i]
	}
	return e.Endpoint
}
