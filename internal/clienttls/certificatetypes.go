package clienttls

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// KnownCertificateType reports whether t is a value of certificate_types.
func KnownCertificateType(t string) bool { return certificateTypes[t] != "" }

// certificateTypes maps the values of certificate_types to a part of the names of the TLS 1.2 cipher suites for that type.
var certificateTypes = map[string]string{"ecdsa": "_ECDHE_ECDSA_", "rsa": "_ECDHE_RSA_"}

// suitesFor returns the TLS 1.2 cipher suites that require a certificate of this type. It chooses from the given suites, or
// if there are none, from the secure suites of crypto/tls.
func suitesFor(certificateType string, suites []uint16) (ids []uint16) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		offered := slices.Contains(suites, s.ID) || len(suites) == 0 && !s.Insecure
		if offered && strings.Contains(s.Name, certificateTypes[certificateType]) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// CheckCertificateTypes returns an error for each type that cannot be requested with the block's settings. It ignores
// unknown types.
func (b *Block) CheckCertificateTypes(types []string) (errs []error) {
	for _, t := range types {
		switch {
		case certificateTypes[t] == "", b.config == nil:
		case b.config.MinVersion > tls.VersionTLS12:
			errs = append(errs, fmt.Errorf("certificate_types: %q can be requested only in TLS 1.2, but tls min_version is %q; lower it", t, b.client.MinVersion))
		case len(suitesFor(t, b.config.CipherSuites)) == 0:
			errs = append(errs, fmt.Errorf("certificate_types: %q needs a cipher suite for this type, but tls cipher_suites has none; add one, such as %s", t, tls.CipherSuiteName(suitesFor(t, nil)[0])))
		}
	}
	return errs
}
