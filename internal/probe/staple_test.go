package probe

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/certs"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/failure"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

func TestStaple(t *testing.T) {
	const day = 24 * time.Hour
	ca := root.Intermediate("Stapling CA")
	cert, demanding := ca.Issue("x"), ca.Issue("x", tlsfarm.MustStaple)
	for name, c := range map[string]struct {
		cert     tls.Certificate
		staple   []byte
		status   certs.StapleStatus
		problem  certs.StapleProblem
		reasons  []failure.Type
		warnings []failure.Type
		message  string // part of the explanation
	}{
		"none":            {cert: cert},
		"good":            {cert: cert, staple: ca.Staple(cert), status: "good"},
		"by a responder":  {cert: cert, staple: ca.StapleBy(ca.Issue("OCSP", tlsfarm.Responder), cert), status: "good"},
		"unknown":         {cert: cert, staple: ca.Staple(cert, func(r *ocsp.Response) { r.Status = ocsp.Unknown }), status: "unknown"},
		"revoked":         {cert: cert, staple: ca.Staple(cert, tlsfarm.RevokedFor(0)), status: "revoked", reasons: []failure.Type{"cert_revoked"}},
		"stale":           {cert: cert, staple: ca.Staple(cert, tlsfarm.StapleDates(-2*day, -day)), problem: "stale", warnings: []failure.Type{"invalid_staple"}, message: `it expired on ` + time.Now().Add(-day).UTC().Format(time.DateOnly)},
		"forged":          {cert: cert, staple: ca.StapleBy(tlsfarm.SelfSigned("OCSP", tlsfarm.Responder), cert), problem: "forged", warnings: []failure.Type{"invalid_staple"}, message: "it is signed neither by the certificate's issuer"},
		"garbage":         {cert: cert, staple: []byte("garbage"), problem: "malformed", warnings: []failure.Type{"invalid_staple"}, message: "asn1"},
		"large":           {cert: cert, staple: make([]byte, 60_000), problem: "too_large", warnings: []failure.Type{"invalid_staple"}, message: "60000 bytes"},
		"demanded, none":  {cert: demanding, problem: "missing", warnings: []failure.Type{"missing_staple"}, message: "must-staple"},
		"demanded, good":  {cert: demanding, staple: ca.Staple(demanding), status: "good"},
		"demanded, other": {cert: demanding, staple: ca.Staple(cert), problem: "wrong_certificate", warnings: []failure.Type{"invalid_staple"}, message: "After a renewal"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				c.cert.OCSPStaple = c.staple
				tt := serve(t, &tls.Config{Certificates: []tls.Certificate{c.cert}, MinVersion: version, MaxVersion: version})
				o := probeOnce(t, tt)
				h := o.Handshake
				assert.Equal(t, c.reasons == nil, h.Established)
				assert.Equal(t, c.warnings, h.Warnings)
				if c.reasons == nil {
					assert.Nil(t, o.Failure)
				} else {
					require.NotNil(t, o.Failure)
					assert.Equal(t, c.reasons, o.Failure.Reasons)
				}
				if c.status == "" && c.problem == "" {
					assert.Nil(t, h.Staple)
					return
				}
				require.NotNil(t, h.Staple)
				assert.Equal(t, c.status, h.Staple.Status)
				assert.Equal(t, c.problem, h.Staple.Problem)
				assert.Equal(t, c.message == "", failure.Staple(h.Staple) == "")
				assert.Contains(t, failure.Staple(h.Staple), c.message)
			})
		}
	}
}

func TestRevokedCertificate(t *testing.T) {
	const day = 24 * time.Hour
	ca := root.Intermediate("Revoking CA")
	revoked := func(reason int, edits ...tlsfarm.Edit) *tls.Config {
		cert := ca.Issue("x", edits...)
		cert.OCSPStaple = ca.Staple(cert, tlsfarm.RevokedFor(reason))
		return &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	tt := serve(t, revoked(ocsp.KeyCompromise))
	f := probeOnce(t, tt).Failure
	require.NotNil(t, f)
	assert.Equal(t, failure.Verify, f.Step)
	assert.Equal(t, failure.Type("cert_revoked"), f.Type)
	assert.Equal(t, "certificate_verification", f.Category)
	assert.Equal(t, 23, f.VerifyCode)
	assert.Equal(t, "certificate revoked", f.VerifyMessage)
	assert.Contains(t, f.Cause, "revoked the certificate on "+time.Now().Add(-time.Hour).UTC().Format(time.DateOnly))
	assert.Contains(t, f.Cause, "(keyCompromise)")
	assert.Contains(t, f.Fix, "a new certificate with a new key")

	tt.TLS.InsecureSkipVerify = true
	o := probeOnce(t, tt)
	assert.Nil(t, o.Failure, "verification is skipped")
	assert.True(t, o.Handshake.Established)
	require.NotNil(t, o.Handshake.Finding, "the verdict is reported nevertheless")
	assert.Equal(t, failure.Type("cert_revoked"), o.Handshake.Finding.Type)

	assert.NotContains(t, probeOnce(t, serve(t, revoked(0))).Failure.Cause, "(")

	f = probeOnce(t, serve(t, revoked(0, tlsfarm.Validity(-2*day, -day), tlsfarm.Names("other.example"), func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}))).Failure
	assert.Equal(t, []failure.Type{"cert_expired", "hostname_mismatch", "cert_revoked", "wrong_key_usage"}, f.Reasons)
	assert.Equal(t, 10, f.VerifyCode)
}

// The issuer's certificate is needed to verify the staple. If the server does not send it, another server may have.
func TestStapleWithoutTheIssuer(t *testing.T) {
	ca := root.Intermediate("Forgotten CA")
	whole, alone := ca.Issue("whole"), ca.Issue("alone")
	alone.OCSPStaple = ca.Staple(alone, tlsfarm.RevokedFor(0))
	alone.Certificate = alone.Certificate[:1]
	incomplete := serve(t, &tls.Config{Certificates: []tls.Certificate{alone}})
	var p Prober
	o := p.ProbeEndpoint(t.Context(), incomplete)
	assert.Equal(t, certs.StapleUnverifiable, o.Handshake.Staple.Problem)
	assert.Equal(t, []failure.Type{"untrusted_ca"}, o.Failure.Reasons)
	assert.Empty(t, o.Handshake.Warnings)
	assert.Contains(t, failure.Staple(o.Handshake.Staple), "the whole chain")

	require.Nil(t, p.ProbeEndpoint(t.Context(), serve(t, &tls.Config{Certificates: []tls.Certificate{whole}})).Failure)
	o = p.ProbeEndpoint(t.Context(), incomplete)
	assert.Equal(t, []failure.Type{"incomplete_chain", "cert_revoked"}, o.Failure.Reasons)
}
