package portmap_test

import (
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/portmap"
)

var _ overlay.PortMapper = (*portmap.Mapper)(nil)
