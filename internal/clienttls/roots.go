package clienttls

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
)

// rootsID identifies a set of trusted CAs.
type rootsID struct {
	pem    [sha256.Size]byte
	system bool // whether the system's CAs are included
}

// rootPools holds the roots that are in use. tls blocks with the same CAs share them, because a bundle of all public CAs
// takes 1 MB of memory, and 10 ms to parse.
var (
	rootPoolsMu   sync.Mutex
	rootPools     = make(map[rootsID]weak.Pointer[certs.Roots])
	droppedLogged = make(map[weak.Pointer[certs.Roots]]bool) // the roots for which firstToLog was called
)

// firstToLog reports whether it is called for the first time for these roots.
func firstToLog(roots *certs.Roots) bool {
	rootPoolsMu.Lock()
	defer rootPoolsMu.Unlock()
	w := weak.Make(roots)
	if droppedLogged[w] {
		return false
	}
	droppedLogged[w] = true
	runtime.AddCleanup(roots, func(w weak.Pointer[certs.Roots]) {
		rootPoolsMu.Lock()
		defer rootPoolsMu.Unlock()
		delete(droppedLogged, w)
	}, w)
	return true
}

// loadRoots returns the CAs that a tls block trusts, or what is wrong with them. Nil roots are the system's CAs.
func loadRoots(c *configtls.ClientConfig) (roots *certs.Roots, errs []error) {
	errorf := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	pem, name := []byte(c.CAPem), "ca_pem:"
	switch {
	case c.CAFile != "" && c.CAPem != "":
		errorf("ca_file:%s cannot be combined with ca_pem; use one of the two", quotedPath(c.CAFile))
		return nil, errs
	case c.CAFile != "":
		var ok bool
		if pem, ok = readFile("ca_file", c.CAFile, errorf); !ok {
			return nil, errs
		}
		name = fmt.Sprintf("ca_file: %q", c.CAFile)
	case c.CAPem == "":
		return nil, nil
	}

	id := rootsID{sha256.Sum256(pem), c.IncludeSystemCACertsPool}
	rootPoolsMu.Lock()
	defer rootPoolsMu.Unlock()
	if roots := rootPools[id].Value(); roots != nil {
		return roots, nil
	}
	var pool *x509.CertPool
	if c.IncludeSystemCACertsPool {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil {
			errorf("include_system_ca_certs_pool: the system's CAs cannot be read (%w); remove this key", err)
			return nil, errs
		}
	}
	roots, err := certs.ParseRoots(pem, pool)
	switch {
	case errors.Is(err, certs.ErrNoCertificate):
		errorf("%s has no valid certificate; it must have PEM blocks of type CERTIFICATE", name)
		return nil, errs
	case err != nil:
		errorf("%s has no certificate that can be used: %w", name, err)
		return nil, errs
	}
	rootPools[id] = weak.Make(roots)
	runtime.AddCleanup(roots, func(id rootsID) {
		rootPoolsMu.Lock()
		defer rootPoolsMu.Unlock()
		if rootPools[id].Value() == nil {
			delete(rootPools, id)
		}
	}, id)
	return roots, nil
}
