package natnet_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/internal/udp"
)

const queue = 64

// end is a node's socket on a simulated host.
type end struct {
	*udp.Socket
	host   *natnet.Host
	frames chan arrived
	other  chan string
}

type arrived struct {
	fl     *udp.Flow
	packet string
}

func newEnd(t *testing.T, h *natnet.Host) *end {
	t.Helper()
	conn, err := h.ListenPacket(4000)
	if err != nil {
		t.Fatal(err)
	}
	e := &end{host: h, frames: make(chan arrived, queue), other: make(chan string, queue)}
	e.Socket, err = udp.Open(t.Context(), udp.Config{
		Conn: udp.OneByOne(conn),
		OnFrame: func(fl *udp.Flow, f *frame.Frame) {
			e.frames <- arrived{fl, string(f.Packet())}
			f.Release()
		},
		OnOther: func(_ netip.AddrPort, b []byte) { e.other <- string(b) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func packet(s string) *frame.Frame {
	f := frame.New(len(s))
	copy(f.Packet(), s)
	return f
}

// within is what comes in a second of fake time.
func within[T any](c <-chan T) (v T, ok bool) {
	select {
	case v = <-c:
		return v, true
	case <-time.After(time.Second):
		return v, false
	}
}

// Two sockets behind port-restricted NATs open a way to each other and send
// frames over it in both families.
func TestFramesBetweenNATs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		nats := [2]*natnet.NAT{n.NAT("nat", natnet.PortRestricted()), n.NAT("nat", natnet.PortRestricted())}
		a := newEnd(t, n.Host("a", natnet.HostConfig{NAT: nats[0]}))
		b := newEnd(t, n.Host("b", natnet.HostConfig{NAT: nats[1]}))
		for _, way := range [][2]netip.Addr{
			{nats[0].Addr(), nats[1].Addr()}, // they preserve ports
			{a.host.Addrs()[1], b.host.Addrs()[1]},
		} {
			addrA, addrB := netip.AddrPortFrom(way[0], 4000), netip.AddrPortFrom(way[1], 4000)
			toB := a.Flow(addrB)
			if err := toB.Send(packet("early")); err != nil {
				t.Fatal(err)
			}
			if got, ok := within(b.frames); ok {
				t.Errorf("b gets %q before it has sent", got.packet)
			}
			if err := b.Flow(addrA).Send(packet("from b")); err != nil {
				t.Fatal(err)
			}
			if got, _ := within(a.frames); got.packet != "from b" || got.fl != toB {
				t.Errorf("a gets %q on %v, want it on %v", got.packet, got.fl, toB)
			}
			_ = toB.Send(packet("from a"))
			if got, _ := within(b.frames); got.packet != "from a" || got.fl.Addr() != addrA {
				t.Errorf("b gets %q on %v", got.packet, got.fl)
			}
			if err := a.WriteTo([]byte{0, 1}, addrB); err != nil {
				t.Error(err)
			}
			if got, ok := within(b.other); got != "\x00\x01" {
				t.Errorf("b gets %q, %v, which is no frame", got, ok)
			}
		}
	})
}

func TestWhatIsTooBigIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		a := newEnd(t, n.Host("a", natnet.HostConfig{NoIPv6: true, Up: simnet.Impairment{MaxPacket: 1400}}))
		b := newEnd(t, n.Host("b", natnet.HostConfig{}))
		fl := a.Flow(netip.AddrPortFrom(b.host.Addrs()[0], 4000))
		_ = fl.Send(packet(string(make([]byte, 1400-frame.HeaderLen))))
		if _, ok := within(b.frames); !ok {
			t.Error("what is small enough is lost")
		}
		_ = fl.Send(packet(string(make([]byte, 1401-frame.HeaderLen))))
		if _, ok := within(b.frames); ok || !errors.Is(fl.Err(), udp.ErrTooBig) || a.Counters().DroppedTooBig != 1 {
			t.Errorf("the flow says %v, counters are %+v", fl.Err(), a.Counters())
		}
		six := a.Flow(netip.AddrPortFrom(b.host.Addrs()[1], 4000))
		_ = six.Send(packet("six"))
		if _, ok := within(b.frames); ok || six.Err() == nil {
			t.Errorf("a host without IPv6 sends over it; the flow says %v", six.Err())
		}
	})
}
