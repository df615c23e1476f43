package failure

import (
	"slices"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// Type is a value of the attribute error.type. The types of the steps verify and file, and some of the warnings, are
// those of certs.Fault.
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
	GroupMismatch          Type = "group_mismatch"
	SignatureMismatch      Type = "signature_mismatch"
	ALPNMismatch           Type = "alpn_mismatch"
	UnrecognizedName       Type = "unrecognized_name"
	HandshakeFailure       Type = "handshake_failure"
	ServerInternalError    Type = "server_internal_error"
	MalformedHandshake     Type = "malformed_handshake"
	MissingClientCert      Type = "missing_client_cert"
	UnknownCA              Type = "unknown_ca"
	BadCertificate         Type = "bad_certificate"
	ClientCertExpired      Type = "client_cert_expired"
	ClientCertNotYetValid  Type = "client_cert_not_yet_valid"
	ClientCertRevoked      Type = "client_cert_revoked"
	UnsupportedCertificate Type = "unsupported_certificate"
	CertificateUnknown     Type = "certificate_unknown"
	AccessDenied           Type = "access_denied"
	NearExpiry             Type = "near_expiry"   // a warning
	FileMismatch           Type = "file_mismatch" // a warning
	Other                  Type = "other"
)

// types holds what is known about each type of failure before there is any evidence.
var types = map[Type]struct {
	step Step // in which it happens; empty if the evidence decides

	// explain returns the likely cause, with the evidence in it, and the fix. docs/troubleshooting.md quotes both. It is nil
	// for a warning: the probe succeeds, so there is nothing to explain.
	explain func(f *Failure, e *Evidence) (cause, fix string)

	sslReason     string // OpenSSL's reason if neither an alert nor an error of crypto/tls gives one
	verifyCode    int    // OpenSSL's X509_V_ERR number; see the func verifyCode for exceptions
	verifyMessage string // OpenSSL's message for it in 3.0. Other releases word it differently, but have the same number.
}{
	TooManyOpenFiles: {step: Local, explain: tooManyOpenFiles},
	NoFreePorts:      {step: Local, explain: noFreePorts},
	LocalError:       {step: Local, explain: localError},

	DNSNotFound: {step: DNS, explain: dnsNotFound},
	DNSTimeout:  {step: DNS, explain: dnsTimeout},
	DNSError:    {step: DNS, explain: dnsError},

	ConnectionRefused:  {step: Connect, explain: connectionRefused},
	ConnectionTimeout:  {step: Connect, explain: connectionTimeout},
	ConnectionReset:    {step: Connect, explain: connectionReset},
	NetworkUnreachable: {step: Connect, explain: networkUnreachable},

	StartTLSUnsupported:   {step: StartTLS, explain: starttlsUnsupported},
	StartTLSRejected:      {step: StartTLS, explain: starttlsRejected},
	StartTLSTimeout:       {step: StartTLS, explain: starttlsTimeout},
	StartTLSProtocolError: {step: StartTLS, explain: starttlsProtocolError},

	NotTLS:              {step: Handshake, explain: notTLS, sslReason: "WRONG_VERSION_NUMBER"},
	HandshakeTimeout:    {step: Handshake, explain: handshakeTimeout},
	ConnectionClosed:    {explain: connectionClosed},
	ProtocolMismatch:    {step: Handshake, explain: protocolMismatch, sslReason: "TLSV1_ALERT_PROTOCOL_VERSION"},
	CipherMismatch:      {step: Handshake, explain: cipherMismatch},
	GroupMismatch:       {step: Handshake, explain: groupMismatch},
	SignatureMismatch:   {step: Handshake, explain: signatureMismatch},
	ALPNMismatch:        {step: Handshake, explain: alpnMismatch},
	UnrecognizedName:    {step: Handshake, explain: unrecognizedName},
	HandshakeFailure:    {step: Handshake, explain: handshakeFailure},
	ServerInternalError: {step: Handshake, explain: serverInternalError},
	MalformedHandshake:  {step: Handshake, explain: malformedHandshake},

	MissingClientCert:      {step: ClientAuth, explain: missingClientCert},
	UnknownCA:              {step: ClientAuth, explain: unknownCA},
	BadCertificate:         {step: ClientAuth, explain: refusedForReasonInLog},
	ClientCertExpired:      {step: ClientAuth, explain: clientCertExpired},
	ClientCertNotYetValid:  {step: ClientAuth, explain: clientCertNotYetValid},
	ClientCertRevoked:      {step: ClientAuth, explain: clientCertRevoked},
	UnsupportedCertificate: {step: ClientAuth, explain: unsupportedCertificate},
	CertificateUnknown:     {step: ClientAuth, explain: refusedForReasonInLog},
	AccessDenied:           {step: ClientAuth, explain: accessDenied},

	Type(certs.Expired):                    {step: Verify, explain: expired, verifyCode: 10, verifyMessage: "certificate has expired"},
	Type(certs.NotYetValid):                {step: Verify, explain: notYetValid, verifyCode: 9, verifyMessage: "certificate is not yet valid"},
	Type(certs.NameMismatch):               {step: Verify, explain: orderOrName, verifyCode: 62, verifyMessage: "hostname mismatch"},
	Type(certs.SelfSigned):                 {step: Verify, explain: selfSigned, verifyCode: 18, verifyMessage: "self-signed certificate"},
	Type(certs.UntrustedCA):                {step: Verify, explain: untrustedCA, verifyCode: 20, verifyMessage: "unable to get local issuer certificate"},
	Type(certs.IncompleteChain):            {step: Verify, explain: incompleteChain, verifyCode: 21, verifyMessage: "unable to verify the first certificate"},
	Type(certs.BadSignature):               {step: Verify, explain: badSignature, verifyCode: 7, verifyMessage: "certificate signature failure"},
	Type(certs.WeakSignature):              {step: Verify, explain: weakSignature, verifyCode: 68, verifyMessage: "CA signature digest algorithm too weak"},
	Type(certs.WeakKey):                    {step: Verify, explain: weakKey, verifyCode: 66, verifyMessage: "EE certificate key too weak"},
	Type(certs.NotCA):                      {step: Verify, explain: notCA, verifyCode: 79, verifyMessage: "invalid CA certificate"},
	Type(certs.PathLengthExceeded):         {step: Verify, explain: pathLengthExceeded, verifyCode: 25, verifyMessage: "path length constraint exceeded"},
	Type(certs.WrongKeyUsage):              {step: Verify, explain: wrongKeyUsage, verifyCode: 26, verifyMessage: "unsuitable certificate purpose"},
	Type(certs.NameConstraintViolation):    {step: Verify, explain: nameConstraintViolation, verifyCode: 47, verifyMessage: "permitted subtree violation"},
	Type(certs.UnhandledCriticalExtension): {step: Verify, explain: unhandledCriticalExtension, verifyCode: 34, verifyMessage: "unhandled critical extension"},
	Type(certs.Revoked):                    {step: Verify, explain: revoked, verifyCode: 23, verifyMessage: "certificate revoked"},
	Type(certs.Malformed):                  {step: Verify, explain: malformedCertificate},

	Type(certs.FileNotFound):      {step: File, explain: fileNotFound},
	Type(certs.FileUnreadable):    {step: File, explain: fileUnreadable},
	Type(certs.FileTooLarge):      {step: File, explain: fileTooLarge},
	Type(certs.FileEmpty):         {step: File, explain: fileEmpty},
	Type(certs.FileKeyOnly):       {step: File, explain: fileKeyOnly},
	Type(certs.FileWrongPassword): {step: File, explain: fileWrongPassword},
	Type(certs.FileMalformed):     {step: File, explain: fileMalformed},
	Type(certs.FileKeyMismatch):   {step: File, explain: fileKeyMismatch},
	Type(certs.FileKeyUnreadable): {step: File, explain: fileKeyUnreadable},

	NearExpiry:                {},
	FileMismatch:              {}, // MismatchFix is its fix
	Type(certs.InvalidStaple): {}, // Staple returns its sentences, and those of the next
	Type(certs.MissingStaple): {},

	Other: {explain: other},
}

// Types returns the reasons of a verdict as types, without duplicates.
func Types(reasons []certs.Reason) []Type {
	var all []Type
	for _, r := range reasons {
		if !slices.Contains(all, Type(r.Fault)) {
			all = append(all, Type(r.Fault))
		}
	}
	return all
}
