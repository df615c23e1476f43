package target

import (
	"fmt"
	"net/netip"
)

// Place is what telemetry is about: a target's endpoint; one address of the endpoint, where each is probed; or one
// certificate file of the target. It is comparable and stays the same when the target's settings change.
type Place struct {
	TargetID string
	Path     string         // of the file; empty where the place is no file
	Peer     netip.AddrPort // the address; not valid where the place is not one address
}

// Place returns the place of t's endpoint.
func (t *Target) Place() Place { return Place{TargetID: t.ID} }

// String identifies the place. It is the same at each start of the collector.
func (p Place) String() string { return fmt.Sprintf("%q %q %s", p.TargetID, p.Path, p.Peer) }
