package failure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/starttls"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/text"
)

// sentences returns the likely cause and the fix. docs/troubleshooting.md has the same words, a section for each type.
func sentences(f *Failure, e Evidence) (cause, fix string) {
	if f.Step == Verify && e.Verdict != nil {
		return verdictSentences(f, e)
	}
	if f.Step == ClientAuth {
		return clientAuthSentences(f, e)
	}
	if f.Step == File {
		return fileSentences(f, e)
	}
	name := e.ServerName
	refused := f.Type == ProtocolMismatch || f.Type == CipherMismatch || f.Type == HandshakeFailure
	if kind := strings.ToUpper(e.CertificateType); kind != "" && refused {
		return fmt.Sprintf("%s refuses clients that accept no certificate but an %s one.", e.Endpoint, kind),
			fmt.Sprintf("Configure an %s certificate for %s on the server, or remove %s from certificate_types. The collector can ask for one kind in TLS 1.2 alone: enable that too.", kind, name, e.CertificateType)
	}
	switch f.Type {
	case TooManyOpenFiles:
		return "The collector has reached its own limit of open files.",
			"Raise the limit (ulimit -n, LimitNOFILE) or lower max_concurrent_probes. The target may be in good health."
	case NoFreePorts:
		return "The collector's host has no free local port for another connection.",
			"Widen net.ipv4.ip_local_port_range or lower max_concurrent_probes. The target may be in good health."
	case LocalError:
		return "The collector itself could not make the connection: " + f.Message + ".",
			"Mend it on the collector's host: permissions, firewall, memory, the certificate and key files. The target may be in good health."
	case DNSNotFound:
		return notFound(e),
			"Check the spelling of the endpoint and that the name exists for the resolver of the collector's host."
	case DNSTimeout:
		return fmt.Sprintf("The resolver gave no answer for %s within %s.", host(e), e.Timeout),
			"Check that the collector's host reaches its resolver (/etc/resolv.conf), or raise timeout."
	case DNSError:
		return fmt.Sprintf("The resolver could not answer for %s: %s.", host(e), f.Message),
			"Check the resolver of the collector's host (/etc/resolv.conf) and the zone's name servers."
	case ConnectionRefused:
		return fmt.Sprintf("Nothing accepts connections on %s.", e.Endpoint),
			"Start the service, or correct the port. A firewall may also refuse on its behalf."
	case ConnectionTimeout:
		return fmt.Sprintf("%s gave no answer to the connection attempt within %s.", e.Endpoint, e.Timeout),
			"Look for a firewall or route that drops packets, and check that the host is up."
	case ConnectionReset:
		return fmt.Sprintf("%s reset the connection before it was established.", e.Endpoint),
			"Look for a firewall, proxy or load balancer without a backend on the way."
	case NetworkUnreachable:
		return fmt.Sprintf("The collector's host has no route to %s.", e.Endpoint),
			"Check the routes of the collector's host, and look for a firewall that rejects or a host that is down; an IPv6 address needs IPv6, a link-local one its zone ([fe80::1%eth0]:443)."
	case StartTLSUnsupported:
		return fmt.Sprintf("%s speaks %s and does not offer TLS; %s.", e.Endpoint, e.StartTLS, said(e)),
			otherProtocol(e) + fmt.Sprintf("Enable TLS for %s on the server, or remove starttls where the port speaks TLS from the first byte.", e.StartTLS)
	case StartTLSRejected:
		return fmt.Sprintf("%s speaks %s and refused to begin TLS; %s.", e.Endpoint, e.StartTLS, said(e)),
			otherProtocol(e) + "Look in the server's log: TLS may be configured without a usable certificate, or the server may not accept this client."
	case StartTLSTimeout:
		return fmt.Sprintf("%s did not begin TLS within %s; %s.", e.Endpoint, e.Timeout, said(e)),
			otherProtocol(e) + fmt.Sprintf("Check that the port speaks %s, and that the server is not overloaded; some delay their greeting on purpose: raise timeout then.", e.StartTLS)
	case StartTLSProtocolError:
		return fmt.Sprintf("%s does not speak %s as it should; %s.", e.Endpoint, e.StartTLS, said(e)),
			protocolErrorFix(e)
	case NotTLS:
		return notTLS(e)
	case HandshakeTimeout:
		if e.StartTLS != "" {
			return fmt.Sprintf("%s agreed to begin TLS and then did not complete the handshake within %s.", e.Endpoint, e.Timeout),
				"Look in the server's log, and check that it is not overloaded or stuck."
		}
		return fmt.Sprintf("%s accepted the connection and then did not complete the handshake within %s.%s", e.Endpoint, e.Timeout, starttlsHint(e)),
			"Check that the port speaks TLS from the first byte, and that the server is not overloaded or stuck."
	case ConnectionClosed:
		if f.Step == StartTLS {
			return fmt.Sprintf("%s closed the connection before TLS could begin; %s.", e.Endpoint, said(e)),
				otherProtocol(e) + fmt.Sprintf("Check that the port speaks %s, and look in the server's log: it may refuse this client.", e.StartTLS)
		}
		return fmt.Sprintf("%s closed the connection in the middle of the handshake, without saying why.%s", e.Endpoint, starttlsHint(e)),
			"Look in the server's log. Usual reasons: a load balancer without a backend, a name it does not serve, a port that does not speak TLS or that waits for the PROXY protocol."
	case ProtocolMismatch:
		return fmt.Sprintf("%s and the collector have no TLS version in common; offered was %s.", e.Endpoint, versions(e.MinVersion, e.MaxVersion)),
			"Enable TLS 1.2 or 1.3 on the server, or widen tls min_version and max_version."
	case CipherMismatch:
		return fmt.Sprintf("%s and the collector have no cipher suite or group in common.", e.Endpoint),
			"Enable an ECDHE suite with AES-GCM or ChaCha20 on the server, or widen tls cipher_suites and curve_preferences. The collector has no DHE key exchange."
	case ALPNMismatch:
		if len(e.ALPN) == 0 {
			return fmt.Sprintf("%s refuses clients that offer no ALPN protocol.", e.Endpoint),
				"Set alpn to what it speaks, such as [h2] or [http/1.1]."
		}
		return fmt.Sprintf("%s speaks none of the offered ALPN protocols (%q).", e.Endpoint, e.ALPN),
			"Enable one of them on the server, or correct alpn."
	case UnrecognizedName:
		if _, err := netip.ParseAddr(name); err == nil {
			return fmt.Sprintf("%s serves no certificate to clients that send no name, as they do for an address.", e.Endpoint),
				"Set tls server_name_override to a name it serves."
		}
		return fmt.Sprintf("%s serves no certificate for the name %s.", e.Endpoint, name),
			fmt.Sprintf("Configure the server for %s, or set tls server_name_override to a name it serves.", name)
	case ServerInternalError:
		return fmt.Sprintf("%s failed on its own side.", e.Endpoint),
			fmt.Sprintf("Look in the server's log. Some servers answer so when they have no certificate for the name %s.", name)
	case HandshakeFailure:
		return fmt.Sprintf("%s refused the handshake.", e.Endpoint),
			"Look in the server's log. Usual reasons: no common cipher suite or group, a name it does not serve, a client certificate it wants."
	case MalformedHandshake:
		if f.HasAlert {
			return fmt.Sprintf("%s could not read the collector's side of the handshake.", e.Endpoint),
				"Look for a middlebox that alters the traffic, and for a very old or broken TLS stack on the server."
		}
		return fmt.Sprintf("%s sent what is no valid handshake: %s.", e.Endpoint, f.Message),
			"Look for a middlebox that alters the traffic, and for a very old or broken TLS stack on the server."
	}
	if f.Step == Verify {
		return fmt.Sprintf("%s sent a certificate that cannot be read: %s.", e.Endpoint, f.Message),
			"Reissue the certificate. The collector reads RSA keys up to 8192 bits, ECDSA and Ed25519 ones; it has no Ed448 and no DSA."
	}
	return fmt.Sprintf("The probe of %s failed: %s.", e.Endpoint, f.Message),
		"This failure has no type yet. Please report it with this message."
}

func clientAuthSentences(f *Failure, e Evidence) (cause, fix string) {
	accepted := "The server does not say which CAs it accepts."
	if len(e.AcceptableCAs) > 0 {
		accepted = "It accepts certificates from " + list(e.AcceptableCAs, 3) + "."
	}
	if f.Type == MissingClientCert && e.ClientCert == nil {
		return fmt.Sprintf("%s demands a client certificate and none was sent. %s", e.Endpoint, accepted),
			"Set tls cert_file and key_file to a certificate from a CA that the server accepts."
	}
	if e.ClientCert == nil {
		cause = fmt.Sprintf("%s speaks of a client certificate, though none was sent. %s", e.Endpoint, accepted)
	} else {
		ours := fmt.Sprintf("the client certificate of %q, issued by %q, valid until %s",
			text.Clean(certs.SubjectName(e.ClientCert), 128), text.Clean(certs.IssuerName(e.ClientCert), 128), text.Day(e.ClientCert.NotAfter))
		cause = fmt.Sprintf("%s refused %s. %s", e.Endpoint, ours, accepted)
	}
	switch f.Type {
	case MissingClientCert:
		return cause, "It acts as if none had been sent. Use a certificate from a CA that the server accepts, with its intermediates in cert_file."
	case UnknownCA:
		return cause, "Use a certificate from a CA that the server accepts, with its intermediates in cert_file, or add its CA to the server's client CAs."
	case ClientCertExpired:
		return cause, "Renew the certificate in cert_file; if it is valid still, correct the server's clock."
	case ClientCertRevoked:
		return cause, "Issue a new certificate and key for cert_file and key_file."
	case AccessDenied:
		return cause, "Its subject may not enter, or the server does not trust it (GnuTLS gives no other reason). Allow it in the server's access rules; check its issuer and dates."
	case UnsupportedCertificate:
		return cause, "Issue a certificate with the extended key usage clientAuth and a key type that the server supports."
	case ConnectionClosed:
		got := "got none"
		if e.ClientCert != nil {
			got = fmt.Sprintf("got that of %q", text.Clean(certs.SubjectName(e.ClientCert), 128))
		}
		return fmt.Sprintf("%s asked for a client certificate, %s, and cut the connection without a word. %s", e.Endpoint, got, accepted),
			"Set tls cert_file and key_file to a certificate from a CA that the server accepts, and look in the server's log."
	}
	return cause, "Look in the server's log for its reason. Check the certificate's issuer, dates, and extended key usage clientAuth."
}

func verdictSentences(f *Failure, e Evidence) (cause, fix string) {
	primary := e.Verdict.Primary()
	c := primary.Cert
	which := "The certificate"
	if e.Step == File {
		which = fmt.Sprintf("The certificate %s in %s", quoted(certs.SubjectName(c)), e.Endpoint)
	} else if primary.Depth > 0 {
		which = fmt.Sprintf("The CA certificate %s (depth %d)", quoted(certs.SubjectName(c)), primary.Depth)
	}
	leaf := e.Verdict.Chain[0]
	issuer := quoted(certs.IssuerName(e.Verdict.Chain[len(e.Verdict.Chain)-1]))

	switch primary.Fault {
	case certs.Expired:
		cause = fmt.Sprintf("%s expired on %s, %s ago.", which, text.Moment(c.NotAfter), text.Duration(e.Now.Sub(c.NotAfter)))
		if e.Step == File {
			fix = "Renew it, or take it out of the file. If it was renewed already, the new one was not put here."
			break
		}
		fix = "Renew it and reload the server. If it was renewed already, the server still serves the old one."
		if primary.Depth > 0 {
			fix = "Replace it in the chain that the server sends, or in ca_file if it is the root there."
		}
	case certs.NotYetValid:
		cause = fmt.Sprintf("%s is valid from %s only, in %s.", which, text.Moment(c.NotBefore), text.Duration(c.NotBefore.Sub(e.Now)))
		fix = "Put the former certificate back until then, or have it reissued."
		if c.NotBefore.Sub(e.Now) < 24*time.Hour {
			fix = "So close to its beginning, a wrong clock is likely: check the time on the collector's host, then that of the CA."
		}
	case certs.NameMismatch:
		return nameSentences(leaf.DNSNames, certs.Names(leaf), e)
	case certs.SelfSigned:
		cause = fmt.Sprintf("The certificate of %s is signed by its own key and is not among the trusted ones.", quoted(certs.SubjectName(leaf)))
		fix = "Use a certificate from a CA, or set tls ca_file to this certificate."
	case certs.UntrustedCA:
		cause = fmt.Sprintf("The chain leads to %s, which is not among the trusted roots.", issuer)
		fix = fmt.Sprintf("Set tls ca_file to the root certificate of %s (add include_system_ca_certs_pool to keep the system's), or use a certificate from a trusted CA.", issuer)
		if len(e.Verdict.Chain) == 1 {
			cause = fmt.Sprintf("The server sent its certificate alone; its issuer %s is not among the trusted roots.", issuer)
			fix = fmt.Sprintf("If %s is a root, set tls ca_file to its certificate; if it is an intermediate, add it to the file that the server sends.", issuer)
		}
		if primary.Namesake {
			cause = fmt.Sprintf("The chain leads to %s. A CA of that name is trusted, but its key did not make the signature.", issuer)
			fix = fmt.Sprintf("The CA probably has a new key: set tls ca_file to the present certificate of %s. Else the server's certificate was altered: install it anew.", issuer)
		}
	case certs.IncompleteChain:
		cause = fmt.Sprintf("The server did not send the certificate of the issuer %s.", issuer)
		if e.Verdict.Missing != nil {
			cause += " With the one that another server sends the chain is complete."
		}
		fix = fmt.Sprintf("Add the intermediate certificate %s to the file that the server sends (the \"full chain\").", issuer)
		if len(leaf.IssuingCertificateURL) > 0 {
			fix += " The certificate names " + text.Clean(leaf.IssuingCertificateURL[0], 256) + " as the place to get it."
		}
	case certs.BadSignature:
		cause = fmt.Sprintf("%s was not signed by the key of the CA that it names, %s.", which, quoted(certs.IssuerName(c)))
		fix = "A CA that renewed its key has two certificates of one name: send, or add to ca_file, the issuer's certificate whose key made this signature. Else the certificate was altered: install it anew."
	case certs.WeakSignature:
		cause = fmt.Sprintf("%s is signed with %s, which is no longer accepted.", which, c.SignatureAlgorithm)
		fix = "Reissue it with SHA-256 or better."
	case certs.WeakKey:
		cause = fmt.Sprintf("%s has a key of %d bits, which is too short to be accepted.", which, certs.KeySize(c))
		fix = "Reissue it with an ECDSA key, or an RSA key of 2048 bits or more."
	case certs.NotCA:
		cause = fmt.Sprintf("%s stands in the chain as an issuer and is not allowed to sign certificates.", which)
		fix = "Use a CA certificate with basicConstraints CA:TRUE and the key usage keyCertSign."
	case certs.PathLengthExceeded:
		cause = fmt.Sprintf("%s allows fewer intermediates below it than there are.", which)
		fix = "Issue from the CA directly, or reissue the CA certificate with a larger pathlen."
	case certs.Revoked:
		when := ""
		if s := (*certs.Staple)(nil); errors.As(primary.Err, &s) {
			if when = " on " + text.Moment(s.RevokedAt); s.Reason != "" {
				when += " (" + s.Reason + ")"
			}
		}
		cause = fmt.Sprintf("The CA revoked the certificate%s; it says so in the OCSP response that the server staples.", when)
		fix = "Install a new certificate with a new key, and ask the CA why this one was revoked."
	case certs.WrongKeyUsage:
		cause = fmt.Sprintf("%s is for %s only, not for a TLS server.", which, usages(c))
		fix = "Reissue the certificate with the extended key usage serverAuth."
	case certs.NameConstraintViolation:
		cause = fmt.Sprintf("A CA of the chain is not allowed to sign for the names of the certificate (%s).", list(certs.Names(leaf), 5))
		fix = "Issue the certificate from another CA, or with names that the CA's name constraints permit."
	case certs.UnhandledCriticalExtension:
		cause = fmt.Sprintf("%s has the critical extension %s, which the collector does not know.", which, c.UnhandledCriticalExtensions[0])
		fix = "Reissue it with that extension not marked critical."
	default:
		cause = fmt.Sprintf("%s was refused: %v.", which, primary.Err)
		if errors.Is(primary.Err, x509.ErrUnsupportedAlgorithm) {
			cause = fmt.Sprintf("%s has a signature of a kind that the collector cannot check (%v), though other clients may.", which, primary.Err)
		}
		fix = "Reissue the certificate. The collector has RSA, ECDSA and Ed25519 signatures; it has no Ed448 and no DSA."
	}
	if len(f.Reasons) > 1 {
		others := make([]string, len(f.Reasons)-1)
		for i, t := range f.Reasons[1:] {
			others[i] = string(t)
		}
		cause += " Also: " + strings.Join(others, ", ") + "."
	}
	return cause, fix
}

// Staple says in words why a staple is not to be believed, and what to do about it. It says nothing of one that is.
func Staple(s *certs.Staple) string {
	cause := fmt.Sprintf("The OCSP response that the server staples does not count: %v.", s)
	fix := "Have the server fetch a new one from its CA's OCSP responder."
	switch s.Problem {
	case "":
		return ""
	case certs.StapleMissing:
		cause = "The certificate demands a stapled OCSP response (must-staple) and the server sent none. Clients that honour it, such as GnuTLS, refuse the certificate."
		fix = "Enable OCSP stapling on the server and check that it reaches its CA's OCSP responder, or reissue the certificate without the TLS feature extension."
	case certs.StapleStale:
		fix = "Check that the server reaches its CA's OCSP responder: it should have fetched a new one in time."
	case certs.StapleNotYetValid:
		fix = "Check the time on the collector's host, then that of the CA's OCSP responder."
	case certs.StapleWrongCertificate:
		fix = "Have the server fetch the one for its present certificate: after a renewal the old one may still be in its cache or in a file."
	case certs.StapleNotAuthorized:
		fix = "The CA must sign its OCSP responses itself, or with a valid certificate of its own that has the extended key usage OCSPSigning."
	case certs.StapleUnverifiable:
		fix = "Have the server send the whole chain, or add the issuer's certificate to ca_file."
	}
	return cause + " " + fix
}

// fileSentences says why no certificate could be had from a file.
func fileSentences(f *Failure, e Evidence) (cause, fix string) {
	var detail string
	if file := (*certs.FileError)(nil); errors.As(e.Err, &file) && file.Err != nil {
		detail = ": " + file.Err.Error()
	}
	switch certs.Fault(f.Type) {
	case certs.FileNotFound:
		return fmt.Sprintf("There is no file %s%s.", e.Endpoint, detail),
			"Correct file_path, or have the certificate put there. A path in a container is not that of its host."
	case certs.FileUnreadable:
		return fmt.Sprintf("%s cannot be read%s.", e.Endpoint, detail),
			"It must be a file that the collector's user may read, and so must its directory be."
	case certs.FileTooLarge:
		return fmt.Sprintf("%s is too large for a certificate file%s.", e.Endpoint, detail),
			"Correct file_path."
	case certs.FileEmpty:
		return fmt.Sprintf("%s is empty%s.", e.Endpoint, detail),
			"Have the certificate written anew; whatever writes it may have run out of disk space."
	case certs.FileKeyOnly:
		return fmt.Sprintf("%s has a private key and no certificate.", e.Endpoint),
			"Set file_path to the file of the certificate, and keep the collector's user from reading the key."
	case certs.FileWrongPassword:
		return fmt.Sprintf("The password does not open %s%s.", e.Endpoint, detail),
			"Correct password. A keystore without one takes an empty password."
	}
	return fmt.Sprintf("%s has nothing that can be read as a certificate%s.", e.Endpoint, detail),
		"It must be PEM, DER, PKCS#12 or a Java keystore; correct file_path, or file_format where it is set."
}

// MismatchFix is what to do where a server serves another certificate than is in the file that it should serve from.
const MismatchFix = "Reload the server, so that it serves what is in the file. If it reads another file, correct file_path."

func nameSentences(dnsNames, names []string, e Evidence) (cause, fix string) {
	if len(names) == 0 {
		return fmt.Sprintf("The certificate has no names at all (its common name does not count), so it is not for %s.", e.ServerName),
			fmt.Sprintf("Reissue it with %s in its subject alternative names.", e.ServerName)
	}
	closest := ""
	if _, err := netip.ParseAddr(e.ServerName); err != nil && len(dnsNames) > 0 {
		closest = dnsNames[0]
		best := distance(closest, e.ServerName)
		for _, n := range dnsNames[1:min(len(dnsNames), 100)] {
			if d := distance(n, e.ServerName); d < best {
				closest, best = n, d
			}
		}
	}
	cause = fmt.Sprintf("The certificate is for %s, not %s.", list(names, 5), e.ServerName)
	if closest != "" && len(names) > 1 {
		cause += fmt.Sprintf(" The closest of its names is %s.", text.Clean(closest, 128))
	}
	fix = fmt.Sprintf("Reissue it with %s among its names, or set tls server_name_override to one of its names.", e.ServerName)
	if closest != "" {
		fix = fmt.Sprintf("Reissue it with %s among its names, or set tls server_name_override (to %s, for one).", e.ServerName, text.Clean(closest, 128))
	}
	return cause, fix
}

func notTLS(e Evidence) (cause, fix string) {
	name, starttls := service(e.FirstBytes, e.Port)
	line, _, _ := strings.Cut(string(e.FirstBytes), "\n")
	said := text.Clean(strings.TrimSpace(line), 64)
	if name == "" {
		return fmt.Sprintf("%s does not speak TLS from the first byte; it said %q.", e.Endpoint, said),
			otherProtocol(e) + "Correct the port, or enable TLS on it."
	}
	cause = fmt.Sprintf("%s speaks %s without TLS; it said %q.", e.Endpoint, name, said)
	if starttls != "" {
		return cause, fmt.Sprintf("Set starttls: %s on this target, or use the port on which the service speaks TLS from the first byte.", starttls)
	}
	return cause, "Correct the port, or enable TLS on it."
}

// otherProtocol is the fix where what the server said, or its port, shows that it speaks another protocol than the one
// in starttls.
func otherProtocol(e Evidence) string {
	refusal := &starttls.Error{First: string(e.FirstBytes)}
	errors.As(e.Err, &refusal)
	name, value := service([]byte(refusal.First), e.Port)
	usual := starttls.ForPort(e.Port)
	// XMPP's streams begin alike, and so do greetings with 220 that don't name the protocol.
	if value == "" || name == "XMPP" || value == "smtp" && !strings.Contains(strings.ToUpper(refusal.First), "SMTP") {
		value = usual
	}
	if value == "" || value == e.StartTLS {
		return ""
	}
	return fmt.Sprintf("Set starttls: %s on this target. ", value)
}

func protocolErrorFix(e Evidence) string {
	var refusal *starttls.Error
	if errors.Is(e.Err, starttls.ErrInjected) || !errors.As(e.Err, &refusal) {
		return "Plain text after the go-ahead is an attack or a broken proxy: clients must not accept it. Look at what stands between."
	}
	return otherProtocol(e) + "Correct starttls or the port."
}

// said quotes what a server said in its preamble.
func said(e Evidence) string {
	quote := func(s string) string { return text.Clean(strings.TrimSpace(s), 200) }
	var refusal *starttls.Error
	switch {
	case !errors.As(e.Err, &refusal):
		return fmt.Sprintf("it said %q where TLS was expected", quote(string(e.FirstBytes)))
	case refusal.Said == "":
		return "it said nothing where " + refusal.Expected + " was expected"
	case refusal.Err != nil && refusal.Kind == starttls.ProtocolError:
		return fmt.Sprintf("it said %q where %s was expected: %v", quote(refusal.Said), refusal.Expected, refusal.Err)
	}
	return fmt.Sprintf("it said %q where %s was expected", quote(refusal.Said), refusal.Expected)
}

// starttlsHint is for servers that answer a ClientHello with silence or a closed connection, as PostgreSQL does.
func starttlsHint(e Evidence) string {
	if s := starttls.ForPort(e.Port); s != "" && e.StartTLS == "" && len(e.FirstBytes) == 0 {
		return fmt.Sprintf(" On port %d services start in plain text: starttls: %s is likely missing.", e.Port, s)
	}
	return ""
}

// notFound tells a service that has no servers from a server of it that has no address.
func notFound(e Evidence) string {
	var err *net.DNSError
	if e.Port == 0 && errors.As(e.Err, &err) {
		if strings.HasPrefix(err.Name, "_") {
			return fmt.Sprintf("DNS has no servers for the service %s.", host(e))
		}
		return fmt.Sprintf("DNS has no address for %s, the server that it names for the service %s.", text.Clean(err.Name, 256), host(e))
	}
	return fmt.Sprintf("DNS has no address for %s.", host(e))
}

func host(e Evidence) string {
	if i := strings.LastIndexByte(e.Endpoint, ':'); i > 0 {
		return e.Endpoint[:i]
	}
	return e.Endpoint
}

func alertName(a uint8) string {
	if n := alertNames[a]; n != "" {
		return fmt.Sprintf("%d, %s", a, n)
	}
	return fmt.Sprintf("%d, which no RFC defines", a)
}

func versionName(v uint16) string {
	if v == 0 {
		return "TLS 1.2"
	}
	return tls.VersionName(v)
}

// versions names a range of versions.
func versions(lowest, highest uint16) string {
	if lowest == highest {
		return versionName(lowest)
	}
	return versionName(lowest) + " to " + strings.TrimPrefix(versionName(highest), "TLS ")
}

func quoted(s string) string { return text.Quote(s, 128) }

// usages names the extended key usages of a certificate.
func usages(c *x509.Certificate) string {
	names := map[x509.ExtKeyUsage]string{
		x509.ExtKeyUsageClientAuth: "clientAuth", x509.ExtKeyUsageCodeSigning: "codeSigning",
		x509.ExtKeyUsageEmailProtection: "emailProtection", x509.ExtKeyUsageTimeStamping: "timeStamping",
		x509.ExtKeyUsageOCSPSigning: "OCSPSigning",
	}
	var all []string
	for _, u := range c.ExtKeyUsage {
		if names[u] != "" {
			all = append(all, names[u])
		} else {
			all = append(all, fmt.Sprintf("usage %d", u))
		}
	}
	for _, oid := range c.UnknownExtKeyUsage {
		all = append(all, oid.String())
	}
	return list(all, 5)
}

// list joins at most n foreign strings.
func list(s []string, n int) string {
	more := ""
	if len(s) > n {
		more = fmt.Sprintf(" and %d more", len(s)-n)
		s = s[:n]
	}
	clean := make([]string, len(s))
	for i := range s {
		clean[i] = text.Clean(s[i], 128)
	}
	return strings.Join(clean, ", ") + more
}

// distance is the number of single-character edits between two names (Levenshtein).
func distance(a, b string) int {
	if len(a) > 253 {
		a = a[:253]
	}
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
