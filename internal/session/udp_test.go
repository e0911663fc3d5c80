package session

import "github.com/weftnet/weft/internal/udp"

// A flow is a path, although neither package knows the other.
var _ Path = (*udp.Flow)(nil)
