package portmap_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/weftnet/weft/portmap"
)

// A program that has a UDP socket of its own keeps a port open for it. There is
// no output here, as that needs a gateway.
func ExampleMapper() {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- portmap.New(portmap.Config{}).Map(ctx, port, func(external netip.AddrPort) {
			fmt.Println("reachable at", external)
		})
	}()

	// When the socket is not needed any more:
	cancel()
	<-done
}
