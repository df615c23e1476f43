package failure

import (
	"errors"
	"fmt"
)

// AlertError is a TLS alert that ended a handshake or a connection. Every transport returns this type, whatever its TLS
// stack returns.
type AlertError struct {
	Number uint8
	Local  bool  // whether this side sent it because it could not accept what the peer sent
	Err    error // what the TLS stack returned; never nil
}

func (e *AlertError) Error() string { return e.Err.Error() }

func (e *AlertError) Unwrap() error { return e.Err }

// alertOf returns the alert that the peer sent.
func alertOf(err error) (number uint8, ok bool) {
	var alert *AlertError
	if !errors.As(err, &alert) || alert.Local {
		return 0, false
	}
	return alert.Number, true
}

// alertType returns the type of the failure that an alert from the server reports.
func alertType(number uint8, e *Evidence) Type {
	a, ok := alerts[number]
	if !ok {
		return MalformedHandshake
	}
	if a.orNoClientCert && e.ClientCertRequested && e.ClientCert == nil {
		return MissingClientCert
	}
	if e.sentClientCert() && a.ofClientCert != "" {
		return refusalType(a.ofClientCert, e.ClientCertProblems)
	}
	if e.sentClientCert() && (types[a.typ].step == ClientAuth && a.typ != MissingClientCert || a.typ == HandshakeFailure) {
		return refusalType(a.typ, e.ClientCertProblems)
	}
	if a.typ == HandshakeFailure && e.CertificateType != "" && e.Verdict == nil {
		return CipherMismatch // only the suites for that kind of certificate were offered
	}
	return a.typ
}

func alertName(number uint8) string {
	if a, ok := alerts[number]; ok {
		return fmt.Sprintf("%d, %s", number, a.name)
	}
	return fmt.Sprintf("%d, which no RFC defines", number)
}

const (
	handshakeFailureAlert = 40
	protocolVersionAlert  = 70
	decryptError          = 51
	unknownPSKIdentity    = 115
)

var alerts = map[uint8]struct {
	name      string // in IANA's TLS alert registry (RFC 8446, section 6)
	sslReason string // the reason that OpenSSL reports for it (SSL_R_… in sslerr.h), which people search for; may be empty
	typ       Type

	// orNoClientCert marks the alerts that servers also send to a client without a certificate. Before TLS 1.3 defined
	// an alert for that, each TLS library used a different one: OpenSSL handshake_failure, Go and NSS bad_certificate,
	// GnuTLS decode_error.
	orNoClientCert bool

	// ofClientCert is what the alert means after a client certificate was sent, if that is something else. OpenSSL sends
	// illegal_parameter for a key on a curve that it does not accept, and decrypt_error for a signature in the chain that
	// is wrong. Go sends decode_error for a certificate that it cannot parse.
	ofClientCert Type
}{
	0:            {name: "close_notify", typ: MalformedHandshake},
	10:           {name: "unexpected_message", sslReason: "SSLV3_ALERT_UNEXPECTED_MESSAGE", typ: MalformedHandshake},
	20:           {name: "bad_record_mac", sslReason: "SSLV3_ALERT_BAD_RECORD_MAC", typ: MalformedHandshake},
	21:           {name: "decryption_failed", sslReason: "TLSV1_ALERT_DECRYPTION_FAILED", typ: MalformedHandshake},
	22:           {name: "record_overflow", sslReason: "TLSV1_ALERT_RECORD_OVERFLOW", typ: MalformedHandshake},
	30:           {name: "decompression_failure", sslReason: "SSLV3_ALERT_DECOMPRESSION_FAILURE", typ: MalformedHandshake},
	40:           {name: "handshake_failure", sslReason: "SSLV3_ALERT_HANDSHAKE_FAILURE", typ: HandshakeFailure, orNoClientCert: true},
	41:           {name: "no_certificate", sslReason: "SSLV3_ALERT_NO_CERTIFICATE", typ: MissingClientCert}, // certificate_required in SSL 3
	42:           {name: "bad_certificate", sslReason: "SSLV3_ALERT_BAD_CERTIFICATE", typ: BadCertificate, orNoClientCert: true},
	43:           {name: "unsupported_certificate", sslReason: "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", typ: UnsupportedCertificate},
	44:           {name: "certificate_revoked", sslReason: "SSLV3_ALERT_CERTIFICATE_REVOKED", typ: ClientCertRevoked},
	45:           {name: "certificate_expired", sslReason: "SSLV3_ALERT_CERTIFICATE_EXPIRED", typ: ClientCertExpired},
	46:           {name: "certificate_unknown", sslReason: "SSLV3_ALERT_CERTIFICATE_UNKNOWN", typ: CertificateUnknown},
	47:           {name: "illegal_parameter", sslReason: "SSLV3_ALERT_ILLEGAL_PARAMETER", typ: MalformedHandshake, ofClientCert: UnsupportedCertificate},
	48:           {name: "unknown_ca", sslReason: "TLSV1_ALERT_UNKNOWN_CA", typ: UnknownCA},
	49:           {name: "access_denied", sslReason: "TLSV1_ALERT_ACCESS_DENIED", typ: AccessDenied},
	50:           {name: "decode_error", sslReason: "TLSV1_ALERT_DECODE_ERROR", typ: MalformedHandshake, orNoClientCert: true, ofClientCert: BadCertificate},
	decryptError: {name: "decrypt_error", sslReason: "TLSV1_ALERT_DECRYPT_ERROR", typ: MalformedHandshake, ofClientCert: BadCertificate},
	52:           {name: "too_many_cids_requested", typ: MalformedHandshake},
	60:           {name: "export_restriction", sslReason: "TLSV1_ALERT_EXPORT_RESTRICTION", typ: CipherMismatch},
	70:           {name: "protocol_version", sslReason: "TLSV1_ALERT_PROTOCOL_VERSION", typ: ProtocolMismatch},
	71:           {name: "insufficient_security", sslReason: "TLSV1_ALERT_INSUFFICIENT_SECURITY", typ: CipherMismatch},
	80:           {name: "internal_error", sslReason: "TLSV1_ALERT_INTERNAL_ERROR", typ: ServerInternalError},
	86:           {name: "inappropriate_fallback", sslReason: "TLSV1_ALERT_INAPPROPRIATE_FALLBACK", typ: ProtocolMismatch},
	90:           {name: "user_canceled", sslReason: "TLSV1_ALERT_USER_CANCELLED", typ: HandshakeFailure},
	100:          {name: "no_renegotiation", sslReason: "TLSV1_ALERT_NO_RENEGOTIATION", typ: HandshakeFailure},
	109:          {name: "missing_extension", sslReason: "TLSV13_ALERT_MISSING_EXTENSION", typ: HandshakeFailure},
	110:          {name: "unsupported_extension", sslReason: "TLSV1_UNSUPPORTED_EXTENSION", typ: MalformedHandshake},
	111:          {name: "certificate_unobtainable", sslReason: "TLSV1_CERTIFICATE_UNOBTAINABLE", typ: HandshakeFailure},
	112:          {name: "unrecognized_name", sslReason: "TLSV1_UNRECOGNIZED_NAME", typ: UnrecognizedName},
	113:          {name: "bad_certificate_status_response", sslReason: "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE", typ: HandshakeFailure},
	114:          {name: "bad_certificate_hash_value", sslReason: "TLSV1_BAD_CERTIFICATE_HASH_VALUE", typ: HandshakeFailure},
	115:          {name: "unknown_psk_identity", sslReason: "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY", typ: HandshakeFailure},
	116:          {name: "certificate_required", sslReason: "TLSV13_ALERT_CERTIFICATE_REQUIRED", typ: MissingClientCert},
	120:          {name: "no_application_protocol", sslReason: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL", typ: ALPNMismatch},
	121:          {name: "ech_required", typ: HandshakeFailure},
}
