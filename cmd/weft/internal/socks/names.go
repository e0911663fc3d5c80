package socks

import (
	"net/netip"
	"strings"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/listener"
)

// IsOverlay reports whether a host is to be looked for in the overlay: it ends in
// .weft, or is a node ID or key, or a name without a dot that is not localhost.
func IsOverlay(host string) bool {
	host = strings.ToLower(host)
	if strings.HasSuffix(host, listener.Suffix) {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	if _, err := identity.ParseNodeID(host); err == nil {
		return true
	}
	if _, err := identity.ParsePublicKey(host); err == nil {
		return true
	}
	return host != "" && host != "localhost" && !strings.Contains(host, ".")
}
