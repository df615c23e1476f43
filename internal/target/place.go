package target

import (
	"fmt"
	"net/netip"
)

// Place is what telemetry is about: a target's endpoint; one address of the endpoint, if each address is probed; or one
// certificate file of the target. It is comparable and stays the same when the target's settings change.
type Place struct {
	TargetID string
	Path     string         // of the file; empty if the place is not a file
	Peer     netip.AddrPort // the address; invalid if the place is not an address
}

// Place returns the place of t's endpoint.
func (t *Target) Place() Place { return Place{TargetID: t.ID} }

// String returns text that identifies the place. It does not change when the collector restarts.
func (p Place) String() string { return fmt.Sprintf("%q %q %s", p.TargetID, p.Path, p.Peer) }
