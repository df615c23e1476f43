package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"time"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/tlsfarm"
)

const day = 24 * time.Hour

// writeCerts writes ca.pem and, for each server of demo.yaml, NAME.pem and NAME.key to dir.
func writeCerts(dir string) error {
	ca := tlsfarm.NewAuthority("Quick start CA")
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o644); err != nil {
		return err
	}
	// Whole days are rounded down. With an hour more, 10 days are still left when the certificate is probed.
	const slack = time.Hour
	for name, cert := range map[string]tls.Certificate{
		"healthy":   ca.Issue("localhost", tlsfarm.Validity(-day, 90*day+slack)),
		"expiring":  ca.Issue("localhost", tlsfarm.Validity(-80*day, 10*day+slack)),
		"expired":   ca.Issue("localhost", tlsfarm.Validity(-93*day, -3*day-slack)),
		"othername": ca.Issue("other.example.com", tlsfarm.Validity(-day, 90*day+slack), tlsfarm.Names("other.example.com")),
		"mutual":    ca.Issue("localhost", tlsfarm.Validity(-day, 90*day+slack)),
	} {
		chain, key := tlsfarm.PEM(cert)
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), chain, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600); err != nil {
			return err
		}
	}
	return nil
}
