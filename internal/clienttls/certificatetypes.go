package clienttls

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// KnownCertificateType reports whether t is a value of certificate_types.
func KnownCertificateType(t string) bool { return certificateTypes[t] != "" }

// certificateTypes are the values of certificate_types, and what the names of the suites for each contain.
var certificateTypes = map[string]string{"ecdsa": "_ECDHE_ECDSA_", "rsa": "_ECDHE_RSA_"}

// suitesFor returns those suites of TLS 1.2 with which a server must have a certificate of this type: of the given ones,
// where there are any.
func suitesFor(certificateType string, suites []uint16) (ids []uint16) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		offered := slices.Contains(suites, s.ID) || len(suites) == 0 && !s.Insecure
		if offered && strings.Contains(s.Name, certificateTypes[certificateType]) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// CheckCertificateTypes returns which types cannot be asked for with the block. Unknown ones are not its concern.
func (b *Block) CheckCertificateTypes(types []string) (errs []error) {
	for _, t := range types {
		switch {
		case certificateTypes[t] == "", b.config == nil:
		case b.config.MinVersion > tls.VersionTLS12:
			errs = append(errs, fmt.Errorf("certificate_types: %q can be asked for only in TLS 1.2, and tls min_version is %q; lower that", t, b.client.MinVersion))
		case len(suitesFor(t, b.config.CipherSuites)) == 0:
			errs = append(errs, fmt.Errorf("certificate_types: %q needs a suite of its own, and tls cipher_suites has none; add one, such as %s", t, tls.CipherSuiteName(suitesFor(t, nil)[0])))
		}
	}
	return errs
}
