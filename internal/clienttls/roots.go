package clienttls

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"go.opentelemetry.io/collector/config/configtls"
)

// rootsID is what the CAs are that a tls block trusts.
type rootsID struct {
	pem    [sha256.Size]byte
	system bool // the system's too
}

// rootPools are the pools in use, so that there is one of each, whatever the number of tls blocks: a bundle of all public
// CAs takes a megabyte, and ten milliseconds to read.
var (
	rootPoolsMu sync.Mutex
	rootPools   = make(map[rootsID]weak.Pointer[x509.CertPool])
)

// rootsOf returns the CAs that a tls block trusts, nil for those of the system alone, or what is wrong with them.
func rootsOf(c *configtls.ClientConfig) (pool *x509.CertPool, errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	pem, name := []byte(c.CAPem), "ca_pem:"
	switch {
	case c.CAFile != "" && c.CAPem != "":
		bad("ca_file: %q cannot be combined with ca_pem; use one of the two", c.CAFile)
		return nil, errs
	case c.CAFile != "":
		var ok bool
		if pem, ok = readFile("ca_file", c.CAFile, bad); !ok {
			return nil, errs
		}
		name = fmt.Sprintf("ca_file: %q", c.CAFile)
	case c.CAPem == "":
		return nil, nil
	}

	id := rootsID{sha256.Sum256(pem), c.IncludeSystemCACertsPool}
	rootPoolsMu.Lock()
	defer rootPoolsMu.Unlock()
	if pool := rootPools[id].Value(); pool != nil {
		return pool, nil
	}
	pool = x509.NewCertPool()
	if c.IncludeSystemCACertsPool {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil {
			bad("include_system_ca_certs_pool: the system's CAs cannot be read (%w); leave it out", err)
			return nil, errs
		}
	}
	if !pool.AppendCertsFromPEM(pem) {
		bad("%s has no certificate that can be read; it must hold PEM blocks of type CERTIFICATE", name)
		return nil, errs
	}
	rootPools[id] = weak.Make(pool)
	runtime.AddCleanup(pool, func(id rootsID) {
		rootPoolsMu.Lock()
		defer rootPoolsMu.Unlock()
		if rootPools[id].Value() == nil {
			delete(rootPools, id)
		}
	}, id)
	return pool, nil
}
