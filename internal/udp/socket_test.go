package udp

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/weftnet/weft/internal/frame"
)

var peer = netip.MustParseAddrPort("192.0.2.7:4000")

func TestMessagesHoldRunsOfEqualSizeAndOneShorter(t *testing.T) {
	const h = frame.HeaderLen
	for _, tt := range []struct {
		name     string
		segments int
		packets  []int
		want     [][]int
	}{
		{"one", 64, []int{100}, [][]int{{100}}},
		{"equal", 64, []int{100, 100, 100}, [][]int{{100, 100, 100}}},
		{"the last is shorter", 64, []int{100, 100, 50, 50}, [][]int{{100, 100, 50}, {50}}},
		{"a longer one begins anew", 64, []int{100, 101, 101}, [][]int{{100}, {101, 101}}},
		{"shorter and shorter", 64, []int{100, 50, 40}, [][]int{{100, 50}, {40}}},
		{"no more than the limit", 2, []int{9, 9, 9, 9, 9}, [][]int{{9, 9}, {9, 9}, {9}}},
		{"no segments", 1, []int{9, 9}, [][]int{{9}, {9}}},
		{"no more bytes than a datagram", 64, []int{30000, 30000, 30000}, [][]int{{30000, 30000}, {30000}}},
		{"large ones are alone", 64, []int{MaxPacket, MaxPacket}, [][]int{{MaxPacket}, {MaxPacket}}},
	} {
		fl := &Flow{addr: peer}
		b := newBatch()
		for _, n := range tt.packets {
			fl.queue.push(item{f: frame.New(n)})
		}
		var have [][]int
		for i := 0; !fl.queue.empty(); i++ {
			b.take(fl, tt.segments)
			var sizes []int
			for _, buf := range b.ms[i].Bufs {
				sizes = append(sizes, len(buf)-h)
			}
			have = append(have, sizes)
		}
		if !reflect.DeepEqual(have, tt.want) {
			t.Errorf("%s: messages of %v, want %v", tt.name, have, tt.want)
		}
	}
}

func TestFullQueueDropsCountsAndWakes(t *testing.T) {
	conn := newFakeConn(1)
	conn.gate = make(chan struct{})
	s := open(t, Config{Conn: conn, FlowFrames: 4, QueueFrames: 6})
	fl, w := s.Flow(peer), make(wakes, 10)
	if !fl.Ready(w) {
		t.Error("an empty flow is not ready")
	}
	for i := range 4 {
		send(t, fl, numbered(uint64(i), 100))
	}
	if err := fl.Send(numbered(4, 100)); !errors.Is(err, ErrQueueFull) {
		t.Errorf("error is %v, want %v", err, ErrQueueFull)
	}
	if fl.Ready(w) {
		t.Error("a full flow is ready")
	}
	// Another flow has room of its own, until the socket has none.
	other := s.Flow(netip.MustParseAddrPort("192.0.2.8:4000"))
	ow := make(wakes, 10)
	if other.Ready(ow) {
		t.Error("a flow of a socket that is more than half full is ready")
	}
	send(t, other, numbered(0, 100))
	send(t, other, numbered(1, 100))
	if err := other.Send(numbered(2, 100)); !errors.Is(err, ErrQueueFull) {
		t.Errorf("error is %v, want %v", err, ErrQueueFull)
	}
	c := s.Counters()
	if c.DroppedQueue != 2 || c.QueuedFrames != 6 || c.QueuedBytes != 6*512 {
		t.Errorf("counters are %+v, want 2 drops and 6 frames of 512 bytes queued", c)
	}
	close(conn.gate)
	<-w
	<-ow
	if len(w) != 0 || len(ow) != 0 {
		t.Errorf("woken %d and %d times more than once", len(w), len(ow))
	}
	drain(t, s)
	if c := s.Counters(); c.FramesOut != 6 || c.QueuedFrames != 0 {
		t.Errorf("counters are %+v, want 6 frames out and none queued", c)
	}
}

func TestCloseWakesWhoWaits(t *testing.T) {
	conn := newFakeConn(1)
	conn.gate = make(chan struct{})
	s := open(t, Config{Conn: conn, FlowFrames: 4})
	fl, w := s.Flow(peer), make(wakes, 10)
	for i := range 4 {
		send(t, fl, numbered(uint64(i), 100))
	}
	if fl.Ready(w) {
		t.Error("a full flow is ready")
	}
	s.Close()
	<-w
	if fl.Ready(w) {
		t.Error("a flow of a closed socket is ready")
	}
	if c := s.Counters(); c.DroppedClosed != 4 || c.QueuedFrames != 0 {
		t.Errorf("counters are %+v, want 4 frames dropped", c)
	}
}

func TestSegmentsThatAreRefusedGoOneByOneAndAreNotTriedAgain(t *testing.T) {
	conn := newFakeConn(8)
	conn.gate = make(chan struct{})
	conn.refuse = func(m Outgoing) error {
		if len(m.Bufs) > 1 {
			return ErrSegments
		}
		return nil
	}
	s := open(t, Config{Conn: conn})
	fl := s.Flow(peer)
	for i := range 40 {
		send(t, fl, numbered(uint64(i), 100))
	}
	close(conn.gate)
	drain(t, s)
	all := conn.all()
	for i, m := range all {
		if len(m.sizes) != 1 || m.first[0] != byte(i+99) {
			t.Fatalf("write %d is %+v", i, m)
		}
	}
	// What was taken from the queue before stays as it was put together.
	if c := s.Counters(); len(all) != 40 || c.FramesOut != 40 || c.SegmentsRefused == 0 || c.SegmentsRefused > 5 || c.Segmented != 0 {
		t.Errorf("%d writes, counters are %+v", len(all), c)
	}
}

func TestSegmentsThatAreTooBigDoNotEndSegments(t *testing.T) {
	conn := newFakeConn(8)
	conn.gate = make(chan struct{})
	conn.refuse = func(m Outgoing) error {
		switch {
		case len(m.Bufs[0]) <= 1000:
			return nil
		case len(m.Bufs) > 1:
			return ErrSegments // as EINVAL of older kernels
		}
		return ErrTooBig
	}
	var refused []int
	s := open(t, Config{Conn: conn, OnTooBig: func(_ *Flow, n int) { refused = append(refused, n) }})
	fl := s.Flow(peer)
	fl.SetMaxPacket(1400)
	send(t, fl, numbered(0, 8)) // holds the writer up
	<-conn.entered
	for range 8 {
		send(t, fl, numbered(1, 1300))
	}
	for range 8 {
		send(t, fl, numbered(1, 900))
	}
	close(conn.gate)
	drain(t, s)
	c := s.Counters()
	if c.DroppedTooBig != 8 || c.FramesOut != 9 || c.Segmented != 1 || len(refused) != 8 {
		t.Errorf("counters are %+v, refused %v", c, refused)
	}
	if n := fl.MaxPacket(); n != BasePacket {
		t.Errorf("packets have up to %d bytes, want %d", n, BasePacket)
	}
}

func TestErrorsOfOneDestinationDoNotStopOthers(t *testing.T) {
	down := errors.New("network is unreachable")
	conn := newFakeConn(8)
	conn.refuse = func(m Outgoing) error {
		if m.To == peer {
			return down
		}
		return nil
	}
	s := open(t, Config{Conn: conn})
	bad, good := s.Flow(peer), s.Flow(netip.MustParseAddrPort("192.0.2.8:1"))
	for i := range 10 {
		send(t, bad, numbered(uint64(i), 100))
		send(t, good, numbered(uint64(i), 100))
	}
	drain(t, s)
	if c := s.Counters(); c.DroppedFailed != 10 || c.FramesOut != 10 || !errors.Is(bad.Err(), down) || good.Err() != nil {
		t.Errorf("counters are %+v, errors %v and %v", c, bad.Err(), good.Err())
	}
}

func TestFlowsTakeTurns(t *testing.T) {
	conn := newFakeConn(8)
	conn.gate = make(chan struct{})
	s := open(t, Config{Conn: conn})
	flood, modest := s.Flow(peer), s.Flow(netip.MustParseAddrPort("192.0.2.8:1"))
	send(t, flood, numbered(0, 8))
	<-conn.entered
	for i := range 500 {
		send(t, flood, numbered(uint64(i), 1200))
	}
	send(t, modest, numbered(0, 1200))
	close(conn.gate)
	drain(t, s)
	if all := conn.all(); all[2].to != modest.Addr() {
		t.Errorf("the flow with one frame is not second, but waits for %v", all[2].to)
	}
}

func TestUnvalidatedAddressGetsThreeTimesWhatItSent(t *testing.T) {
	s := open(t, Config{Conn: newFakeConn(1)})
	l := s.lanes[0]
	r := &reader{lane: l}
	f := numbered(0, 100)
	r.datagram(f.Bytes(), peer)
	fl := r.flow
	for range amplification {
		send(t, fl, f.Clone())
	}
	if err := fl.Send(f.Clone()); !errors.Is(err, ErrUnvalidated) {
		t.Errorf("error is %v, want %v", err, ErrUnvalidated)
	}
	fl.Validated()
	send(t, fl, f)
	if n := s.Counters().DroppedUnvalidated; n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
}

func TestKeptFlowsStayWhileInventedAddressesCome(t *testing.T) {
	s := open(t, Config{Conn: newFakeConn(1), MaxHeard: 4, MaxKept: 2})
	r := &reader{lane: s.lanes[0]}
	f := numbered(0, 8)
	addr := func(i int) netip.AddrPort { return netip.AddrPortFrom(peer.Addr(), uint16(i)) }
	r.datagram(f.Bytes(), addr(1))
	heard := r.flow
	if !heard.Keep() {
		t.Fatal("a flow that was heard of cannot be kept")
	}
	asked := s.Flow(addr(2))
	if first, second := s.Flow(addr(3)), s.Flow(addr(3)); first == second {
		t.Error("more flows are kept than MaxKept")
	}
	for i := range 100 {
		r.datagram(f.Bytes(), addr(100+i))
	}
	r.datagram(f.Bytes(), addr(1))
	if r.flow != heard {
		t.Error("a kept flow was replaced")
	}
	r.datagram(f.Bytes(), addr(2))
	if r.flow != asked {
		t.Error("a flow that was asked for was replaced")
	}
	if c := s.Counters(); c.Flows > 4+2 || c.FlowsNotKept != 2 || c.FlowsEvicted == 0 {
		t.Errorf("counters are %+v", c)
	}
	heard.Forget()
	heard.Forget() // once too often does no harm
	for i := range 100 {
		r.datagram(f.Bytes(), addr(100+i))
	}
	r.datagram(f.Bytes(), addr(1))
	if r.flow == heard {
		t.Error("a forgotten flow stays for ever")
	}
	if heard.Keep() {
		t.Error("a flow whose place another has taken can be kept")
	}
	f.Release()
}

func TestDrainInABubbleEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeConn(1)
		conn.gate = make(chan struct{})
		s := open(t, Config{Conn: conn})
		send(t, s.Flow(peer), numbered(0, 8))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Drain(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, want %v", err, context.Canceled)
		}
	})
}

func TestSourceIsTheNodeOfTheSocket(t *testing.T) {
	s := open(t, Config{Conn: newFakeConn(1), Self: 9})
	f := numbered(0, 8)
	f.Retain()
	send(t, s.Flow(peer), f)
	if f.Src() != 9 {
		t.Errorf("source is %v, want 9", f.Src())
	}
	f.Release()
	fl := s.Flow(peer)
	fl.Bind(5)
	if fl.ID() != 5 || fl.String() != "udp 192.0.2.7:4000" || fl.MaxPacket() != BasePacket {
		t.Errorf("flow is %v of %v with %d bytes", fl, fl.ID(), fl.MaxPacket())
	}
}

func TestDatagramsThatCannotBeAreRefused(t *testing.T) {
	s := open(t, Config{Conn: newFakeConn(1)})
	if err := s.Flow(peer).Send(frame.New(MaxPacket + 1)); !errors.Is(err, ErrTooBig) {
		t.Errorf("error is %v, want %v", err, ErrTooBig)
	}
	if err := s.WriteTo(make([]byte, MaxDatagram+1), peer); !errors.Is(err, ErrTooBig) {
		t.Errorf("error is %v, want %v", err, ErrTooBig)
	}
	if err := s.WriteTo(nil, peer); !errors.Is(err, ErrEmpty) {
		t.Errorf("error is %v, want %v", err, ErrEmpty)
	}
}
