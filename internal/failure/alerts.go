package failure

import "errors"

// AlertError is a TLS alert that ended a handshake or a connection. A transport returns it, whatever its TLS stack made
// of the alert.
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

// fromAlert returns step and type for an alert of the server's.
func fromAlert(alert uint8, e Evidence) (Step, Type) {
	none := e.ClientCertRequested && e.ClientCert == nil
	switch alert {
	case 116, 41: // certificate_required, and no_certificate, which it was in SSL 3
		return ClientAuth, MissingClientCert
	case 40, 42, 50:
		// Before TLS 1.3 had an alert for it, servers refused the missing certificate each in their own way:
		// OpenSSL with handshake_failure, Go and NSS with bad_certificate, GnuTLS with decode_error.
		if none {
			return ClientAuth, MissingClientCert
		}
	}
	switch alert {
	case 42:
		return ClientAuth, BadCertificate
	case 43:
		return ClientAuth, UnsupportedCertificate
	case 44:
		return ClientAuth, ClientCertRevoked
	case 45:
		return ClientAuth, ClientCertExpired
	case 46:
		return ClientAuth, CertificateUnknown
	case 48:
		return ClientAuth, UnknownCA
	case 49:
		return ClientAuth, AccessDenied
	case 70, 86: // protocol_version, inappropriate_fallback
		return Handshake, ProtocolMismatch
	case 60, 71: // export_restriction, insufficient_security
		return Handshake, CipherMismatch
	case 80:
		return Handshake, ServerInternalError
	case 112:
		return Handshake, UnrecognizedName
	case 120:
		return Handshake, ALPNMismatch
	case 40, 90, 100, 109, 111, 113, 114, 115, 121:
		return Handshake, HandshakeFailure
	}
	// What is left speaks of bytes that could not be understood, or is no alert that any RFC defines.
	return Handshake, MalformedHandshake
}

// alertNames are the names in the TLS alert registry of IANA (RFC 8446, section 6).
var alertNames = map[uint8]string{
	0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow",
	30: "decompression_failure", 40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate",
	43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
	47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
	52: "too_many_cids_requested", 60: "export_restriction", 70: "protocol_version", 71: "insufficient_security",
	80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation",
	109: "missing_extension", 110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
	113: "bad_certificate_status_response", 114: "bad_certificate_hash_value", 115: "unknown_psk_identity",
	116: "certificate_required", 120: "no_application_protocol", 121: "ech_required",
}

// alertReasons are OpenSSL's names for having received an alert (SSL_R_… in sslerr.h), for which people search.
var alertReasons = map[uint8]string{
	10: "SSLV3_ALERT_UNEXPECTED_MESSAGE", 20: "SSLV3_ALERT_BAD_RECORD_MAC", 21: "TLSV1_ALERT_DECRYPTION_FAILED",
	22: "TLSV1_ALERT_RECORD_OVERFLOW", 30: "SSLV3_ALERT_DECOMPRESSION_FAILURE", 40: "SSLV3_ALERT_HANDSHAKE_FAILURE",
	41: "SSLV3_ALERT_NO_CERTIFICATE", 42: "SSLV3_ALERT_BAD_CERTIFICATE", 43: "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
	44: "SSLV3_ALERT_CERTIFICATE_REVOKED", 45: "SSLV3_ALERT_CERTIFICATE_EXPIRED",
	46: "SSLV3_ALERT_CERTIFICATE_UNKNOWN", 47: "SSLV3_ALERT_ILLEGAL_PARAMETER", 48: "TLSV1_ALERT_UNKNOWN_CA",
	49: "TLSV1_ALERT_ACCESS_DENIED", 50: "TLSV1_ALERT_DECODE_ERROR", 51: "TLSV1_ALERT_DECRYPT_ERROR",
	60: "TLSV1_ALERT_EXPORT_RESTRICTION", 70: "TLSV1_ALERT_PROTOCOL_VERSION", 71: "TLSV1_ALERT_INSUFFICIENT_SECURITY",
	80: "TLSV1_ALERT_INTERNAL_ERROR", 86: "TLSV1_ALERT_INAPPROPRIATE_FALLBACK", 90: "TLSV1_ALERT_USER_CANCELLED",
	100: "TLSV1_ALERT_NO_RENEGOTIATION", 109: "TLSV13_ALERT_MISSING_EXTENSION", 110: "TLSV1_UNSUPPORTED_EXTENSION",
	111: "TLSV1_CERTIFICATE_UNOBTAINABLE", 112: "TLSV1_UNRECOGNIZED_NAME",
	113: "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE", 114: "TLSV1_BAD_CERTIFICATE_HASH_VALUE",
	115: "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY", 116: "TLSV13_ALERT_CERTIFICATE_REQUIRED",
	120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
}
