//go:build !linux

package netmon

import "errors"

func subscribe(func()) (func(), error) { return nil, errors.ErrUnsupported }

func ifAddrs() []ifAddr { return portableAddrs() }

// routes adds the gateways to the local addresses that packets have.
func routes() []Route {
	out := sources()
	addrs := portableAddrs()
	for i := range out {
		for _, a := range addrs {
			if a.addr == out[i].Source {
				out[i].Interface = a.iface
			}
		}
		out[i].Gateway = gateway(out[i])
	}
	return out
}
