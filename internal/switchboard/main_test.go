package switchboard

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/racetest"
	"github.com/weftnet/weft/internal/simnet"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

// The nodes of the tests.
const (
	self    identity.NodeID = 0xff
	alice   identity.NodeID = 0xa
	bob     identity.NodeID = 0xb
	carol   identity.NodeID = 0xc
	nowhere identity.NodeID = 0xdead
)

// got is a frame that arrived somewhere.
type got struct {
	src, dst identity.NodeID
	hops     uint8
	packet   string
}

// lab is a switch and what it delivered.
type lab struct {
	t         *testing.T
	s         *Switch
	mu        sync.Mutex // of the callbacks; tests look after synctest.Wait
	delivered []got
	notices   []frame.Notice
	unbound   []identity.NodeID
	ends      []*neighbour
}

// newLab makes a switch whose config a test completes.
func newLab(t *testing.T, cfg Config) *lab {
	l := &lab{t: t}
	cfg.Self = self
	cfg.Deliver = func(f *frame.Frame, _ *Port) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.delivered = append(l.delivered, got{f.Src(), f.Dst(), f.HopLimit(), string(f.Packet())})
		f.Release()
	}
	cfg.Notice = func(n frame.Notice, _ *Port) { l.notices = append(l.notices, n) }
	cfg.OnUnbind = func(id identity.NodeID, _ *Port) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.unbound = append(l.unbound, id)
	}
	l.s = New(cfg)
	return l
}

// close ends the switch and its neighbours.
func (l *lab) close() {
	_ = l.s.Close()
	for _, n := range l.ends {
		_ = n.link.Close()
	}
	synctest.Wait()
}

// neighbour is the other end of one port.
type neighbour struct {
	port    *Port
	link    *link.Link
	wire    *simnet.Wire // towards the switch
	frames  []got
	notices []frame.Notice
	nodes   []identity.NodeID // to whom the notices were addressed
}

// attach attaches a neighbour.
func (l *lab) attach(cfg PortConfig) *neighbour { return l.attachOver(simnet.Impairment{}, cfg) }

// attachOver attaches a neighbour whose way from the switch is impaired.
func (l *lab) attachOver(imp simnet.Impairment, cfg PortConfig) *neighbour {
	ours, theirs := simnet.NewPipe(imp, simnet.Impairment{}, 1)
	n := &neighbour{wire: theirs.(*simnet.Conn).Wire()}
	n.link = link.New(theirs, link.Config{OnFrame: n.onFrame})
	n.link.Start()
	n.port = l.s.Attach(ours, cfg)
	l.ends = append(l.ends, n)
	return n
}

// bind attaches a neighbour that has proven who it is.
func (l *lab) bind(id identity.NodeID) *neighbour {
	n := l.attach(PortConfig{Claimed: id})
	l.s.Bind(n.port, id)
	return n
}

func (n *neighbour) onFrame(_ *link.Link, f *frame.Frame) {
	defer f.Release()
	if f.Type() != frame.TypeNotice {
		n.frames = append(n.frames, got{f.Src(), f.Dst(), f.HopLimit(), string(f.Packet())})
		return
	}
	if notice, err := frame.ParseNotice(f.Packet()); err == nil {
		n.notices = append(n.notices, notice)
		n.nodes = append(n.nodes, f.Dst())
	}
}

// send sends a data frame to the switch and waits until all is done.
func (n *neighbour) send(src, dst identity.NodeID, packet string) {
	_ = n.link.Send(newFrame(src, dst, packet))
	synctest.Wait()
}

func newFrame(src, dst identity.NodeID, packet string) *frame.Frame {
	f := frame.New(len(packet))
	f.SetSrc(src)
	f.SetDst(dst)
	copy(f.Packet(), packet)
	return f
}

// wakes counts Wake calls.
type wakes struct{ n int }

func (w *wakes) Wake() { w.n++ }

// forwardingIf is the Forwarding of a relay, or of none.
func forwardingIf(relay bool) *Forwarding {
	if !relay {
		return nil
	}
	return new(Forwarding)
}
