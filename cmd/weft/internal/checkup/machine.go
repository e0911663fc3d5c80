package checkup

import "net"

// An Interface is one of the machine's over which packets may go.
type Interface struct {
	Name string `json:"name"`
	MTU  int    `json:"mtu"` // bytes
}

// Interfaces returns those that are up and have an address, loopback ones aside. A
// system that does not tell has none.
func Interfaces() (out []Interface) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || i.MTU <= 0 {
			continue
		}
		if addrs, err := i.Addrs(); err == nil && len(addrs) > 0 {
			out = append(out, Interface{i.Name, i.MTU})
		}
	}
	return out
}
