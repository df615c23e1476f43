package failure

import (
	"bytes"
	"net/netip"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// verifyCodes are OpenSSL's numbers and words (X509_V_ERR_… in x509_vfy.h, words as of 3.0) for what is wrong with a
// certificate. The number is the key: the words changed between its releases.
var verifyCodes = map[Type]struct {
	code    int
	message string
}{
	Type(certs.Expired):                    {10, "certificate has expired"},
	Type(certs.NotYetValid):                {9, "certificate is not yet valid"},
	Type(certs.NameMismatch):               {62, "hostname mismatch"},
	Type(certs.SelfSigned):                 {18, "self-signed certificate"},
	Type(certs.UntrustedCA):                {20, "unable to get local issuer certificate"},
	Type(certs.IncompleteChain):            {21, "unable to verify the first certificate"},
	Type(certs.BadSignature):               {7, "certificate signature failure"},
	Type(certs.WeakSignature):              {68, "CA signature digest algorithm too weak"},
	Type(certs.NotCA):                      {79, "invalid CA certificate"},
	Type(certs.PathLengthExceeded):         {25, "path length constraint exceeded"},
	Type(certs.WrongKeyUsage):              {26, "unsuitable certificate purpose"},
	Type(certs.NameConstraintViolation):    {47, "permitted subtree violation"},
	Type(certs.UnhandledCriticalExtension): {34, "unhandled critical extension"},
	Type(certs.Revoked):                    {23, "certificate revoked"},
}

// verifyCode returns OpenSSL's number and words for a type of the step verify, 0 and "" where it has none.
func verifyCode(t Type, e Evidence) (int, string) {
	switch t {
	case Type(certs.NameMismatch):
		if _, err := netip.ParseAddr(e.ServerName); err == nil {
			return 64, "IP address mismatch"
		}
	case Type(certs.WeakKey):
		if e.Verdict.Primary().Depth > 0 {
			return 67, "CA certificate key too weak"
		}
		return 66, "EE certificate key too weak"
	case Type(certs.UntrustedCA):
		if c := e.Verdict.Primary().Cert; bytes.Equal(c.RawSubject, c.RawIssuer) {
			return 19, "self-signed certificate in certificate chain"
		}
	}
	v := verifyCodes[t]
	return v.code, v.message
}
