package overlay

import (
	"context"
	"net/netip"
)

// A PortMapper opens a UDP port at the gateway of the local network, so that
// others reach a node that is behind a NAT. Package portmap has one; overlay has
// none of its own, because the libraries for it are not for everybody.
type PortMapper interface {
	// Map keeps a mapping to a UDP port of this machine until ctx ends, then
	// deletes it and returns ctx's cause. It calls changed, from one goroutine
	// and never after it has returned, with each external address that it gets,
	// and with the zero value when it has none any more. It goes on trying
	// while there is no gateway, or none that lets ports be mapped; an error
	// other than ctx's cause means that it never will.
	Map(ctx context.Context, port uint16, changed func(netip.AddrPort)) error
}
