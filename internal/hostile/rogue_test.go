package hostile

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
)

// A rogue is a member with code of its own for sessions, which keeps to none of
// their rules. It has one link, to a relay.
type rogue struct {
	w     *world
	creds *identity.Credentials
	link  *link.Link
	relay *talk
	wake  chan struct{}
	out   func(*frame.Frame) // takes what it sends; nil: the link
	sees  func(*frame.Frame) // is shown what comes; may be nil

	mu    sync.Mutex
	in    []*frame.Frame
	talks map[uint64]*talk // by the rogue's session ID
}

// A talk is the rogue's side of a session. Its fields are guarded by the rogue's mu.
type talk struct {
	r                   *rogue
	peer                identity.NodeID
	local, remote, orig uint64
	hs                  *handshake.Conn
	app                 *handshake.AppKeys
	read, write         [wire.SpaceApp]*handshake.Keys
	said, heard         [wire.SpaceApp]uint64 // bytes of CRYPTO
	next, largest       [wire.NumSpaces]uint64
	run                 [wire.NumSpaces]uint64 // all from here to largest have come

	// stuck keeps it from answering what the peer says in the handshake, and short
	// from sending its own last flight.
	stuck, short bool
	// hear is called with each frame of the peer's after the handshake. It may add to
	// reply, which goes out with the acknowledgement.
	hear func(fr *wire.Frame)
	// leave says which frames are in packets that are never acknowledged.
	leave func(fr *wire.Frame) bool
	left  uint64 // 1 + the newest packet that is not
	reply []byte

	up, over chan struct{} // closed when the session is there, and when the peer has ended it
	why      wire.Frame    // how the peer has ended it
}

// rogue makes one that a relay takes for the member that it is.
func (w *world) rogue(name string, relay *host) *rogue {
	w.Helper()
	return w.rogueWith(name, relay, overlay.Config{})
}

// rogueWith is rogue for a member by what is in cfg.
func (w *world) rogueWith(name string, relay *host, cfg overlay.Config) *rogue {
	w.Helper()
	r := w.attackerWith(name, relay, cfg, func(h link.Hello) link.Hello { return h })
	r.relay = r.dial(relay.ID(), wire.Params{})
	time.Sleep(4 * latency) // the relay forwards for it once it has the last flight
	return r
}

// attacker makes a rogue that has a link and has not yet proven anything.
func (w *world) attacker(name string, relay *host) *rogue {
	w.Helper()
	return w.attackerWith(name, relay, overlay.Config{}, func(h link.Hello) link.Hello { return h })
}

// attackerWith is attacker for a member by what is in cfg, with a preface that claims
// what it likes.
func (w *world) attackerWith(name string, relay *host, cfg overlay.Config, claims func(link.Hello) link.Hello) *rogue {
	w.Helper()
	cfg.Relays = []string{}
	h := w.start(name, cfg)
	w.net.SetPair(name, relay.name, simnet.Impairment{Delay: latency}) // as fast as it likes
	r := &rogue{w: w, creds: h.RelayHost().Credentials, wake: make(chan struct{}, 1), talks: make(map[uint64]*talk)}
	fc, err := w.net.Dialer(name, claims(w.hello(relay, h.ID())))(w.Context(), relay.addr)
	if err != nil {
		w.Fatal(err)
	}
	r.link = link.New(fc, link.Config{OnFrame: func(_ *link.Link, f *frame.Frame) { r.take(f) }})
	r.link.Start()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.run()
	}()
	w.atEnd(func() {
		_ = r.link.Close()
		<-ended
	})
	return r
}

// redirect has what the rogue sends go to out from now on, nil: over the link.
func (r *rogue) redirect(out func(*frame.Frame)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = out
}

// spy has f shown each frame that comes from now on.
func (r *rogue) spy(f func(*frame.Frame)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sees = f
}

func (r *rogue) take(f *frame.Frame) {
	r.mu.Lock()
	r.in = append(r.in, f)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run handles what comes, until the link ends.
func (r *rogue) run() {
	for {
		select {
		case <-r.wake:
		case <-r.link.Done():
			r.mu.Lock()
			defer r.mu.Unlock()
			release(r.in)
			for _, t := range r.talks {
				t.hs.Close()
			}
			return
		}
		r.mu.Lock()
		for _, f := range r.in {
			if r.sees != nil {
				r.sees(f)
			}
			if h, err := wire.Peek(f.Packet()); err == nil && r.talks[h.Dst] != nil {
				r.talks[h.Dst].receive(f.Packet())
			}
			f.Release()
		}
		r.in = nil
		r.mu.Unlock()
	}
}

// begin says the first words of a session. Of p only what it says about windows
// and streams, and its instance if there is one, counts. A stuck talk goes no further.
func (r *rogue) begin(peer identity.NodeID, p wire.Params, stuck bool) *talk {
	r.w.Helper()
	t := &talk{
		r: r, peer: peer, local: rand.Uint64(), orig: rand.Uint64(), stuck: stuck,
		up: make(chan struct{}), over: make(chan struct{}),
	}
	t.remote = t.orig
	p.Src, p.Layer = t.local, "native"
	if p.Instance == 0 {
		p.Instance = rand.Uint64()
	}
	p.MaxDatagram, p.MaxAckDelay = frame.MaxPacket, 25*time.Millisecond
	var err error
	t.hs, err = handshake.Client(r.w.Context(), handshake.Config{Credentials: r.creds, Params: p.Append(nil)})
	if err != nil {
		r.w.Fatal(err)
	}
	t.read[wire.SpaceInitial], t.write[wire.SpaceInitial] = handshake.InitialKeys(r.creds.Network().ID(), t.orig, false)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.talks[t.local] = t
	t.flight()
	return t
}

// dial makes a session.
func (r *rogue) dial(peer identity.NodeID, p wire.Params) *talk {
	r.w.Helper()
	t := r.begin(peer, p, false)
	t.await(t.up)
	return t
}

// await waits for something to happen to the session.
func (t *talk) await(happened <-chan struct{}) {
	t.r.w.Helper()
	ctx, cancel := context.WithTimeout(t.r.w.Context(), patience)
	defer cancel()
	select {
	case <-happened:
	case <-t.over:
		if happened != t.over {
			t.r.w.Errorf("the rogue's session has ended: %#x %s", t.why.Value, t.why.Data)
		}
	case <-ctx.Done():
		t.r.w.Error("the rogue waits in vain")
	}
}

// ended waits until the peer has ended the session, and returns its code.
func (t *talk) ended() uint64 {
	t.r.w.Helper()
	t.await(t.over)
	return t.why.Value
}

// alive reports whether the peer has not ended the session.
func (t *talk) alive() bool {
	select {
	case <-t.over:
		return false
	default:
		return true
	}
}

// listen has f called with each frame of the peer's from now on.
func (t *talk) listen(f func(fr *wire.Frame)) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.hear = f
}

// spare keeps the talk from acknowledging packets with frames for which leave is
// true, and what was sent before them.
func (t *talk) spare(leave func(fr *wire.Frame) bool) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.leave = leave
}

// say sends payloads as packets of the session, whatever is in them.
func (t *talk) say(payloads ...[]byte) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	for _, p := range payloads {
		t.seal(wire.SpaceApp, p)
	}
}

// sayIn is say in another space.
func (t *talk) sayIn(space wire.Space, payload []byte) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.seal(space, payload)
}

// seal sends a payload. mu is held.
func (t *talk) seal(space wire.Space, payload []byte) {
	pn := t.next[space]
	t.next[space]++
	h := wire.Header{Space: space, Dst: t.remote, Src: t.local, Number: uint32(pn)}
	if space != wire.SpaceApp {
		header := wire.AppendLong(nil, h, len(payload)+handshake.Overhead)
		t.send(t.write[space].Seal(header, header, payload, pn))
		return
	}
	h.Phase = t.app.Phase()
	header := wire.AppendShort(nil, h)
	t.send(t.app.Seal(header, header, payload, pn))
}

// send sends a packet as it is.
func (t *talk) send(packet []byte) {
	f := addressed(t.r.creds.Key().ID(), t.peer, packet)
	if t.r.out == nil {
		_ = t.r.link.Send(f)
		return
	}
	t.r.out(f)
	f.Release()
}

// flight sends what crypto/tls has to say. mu is held.
func (t *talk) flight() {
	const most = 1000
	for space := range wire.SpaceApp {
		if t.short && space == wire.SpaceHandshake {
			break
		}
		t.write[wire.SpaceHandshake] = t.hs.WriteKeys(wire.SpaceHandshake)
		for b := t.hs.Take(space); len(b) > 0; {
			n := min(len(b), most)
			t.seal(space, wire.AppendCrypto(nil, t.said[space], b[:n]))
			t.said[space] += uint64(n)
			b = b[n:]
		}
	}
	t.read[wire.SpaceHandshake], t.write[wire.SpaceHandshake] = t.hs.ReadKeys(wire.SpaceHandshake), t.hs.WriteKeys(wire.SpaceHandshake)
	if t.app == nil && t.hs.Done() {
		t.app = t.hs.AppKeys()
		close(t.up)
	}
}

// receive handles a frame's packets. mu is held.
func (t *talk) receive(b []byte) {
	for len(b) > 0 {
		h, header, payload, rest, err := wire.ParseHeader(b)
		if err != nil {
			return
		}
		b = rest
		if h.Reset {
			t.end(wire.Frame{Value: wire.MaxVarint})
			return
		}
		pn := wire.FullNumber(t.largest[h.Space], h.Number)
		var plain []byte
		switch {
		case h.Space == wire.SpaceApp && t.app != nil:
			plain, err = t.app.Open(nil, header, payload, pn, h.Phase)
		case h.Space != wire.SpaceApp && t.read[h.Space] != nil:
			plain, err = t.read[h.Space].Open(nil, header, payload, pn)
		default:
			continue
		}
		if err != nil {
			continue
		}
		if h.Space != wire.SpaceApp {
			t.remote = h.Src
		}
		if pn > t.largest[h.Space]+1 {
			t.run[h.Space] = pn
		}
		t.largest[h.Space] = max(t.largest[h.Space], pn)
		t.handle(h.Space, plain)
	}
}

// handle handles the frames of a packet.
func (t *talk) handle(space wire.Space, b []byte) {
	var fr wire.Frame
	eliciting := false
	for len(b) > 0 {
		var err error
		if b, err = fr.Next(b); err != nil {
			t.r.w.Errorf("the peer of a rogue sends malformed frames: %v", err)
			return
		}
		switch fr.Type {
		case wire.TypeConnectionClose:
			t.end(fr)
		case wire.TypeAck, wire.TypePadding:
		default:
			eliciting = true
		}
		if space != wire.SpaceApp && fr.Type == wire.TypeCrypto && fr.Off == t.heard[space] && !t.stuck {
			t.heard[space] += uint64(len(fr.Data))
			if err := t.hs.Receive(space, fr.Data); err != nil {
				t.r.w.Logf("the rogue's handshake: %v", err)
			}
		}
		if space == wire.SpaceApp && t.hear != nil {
			t.hear(&fr)
		}
		if space == wire.SpaceApp && t.leave != nil && t.leave(&fr) {
			t.left = t.largest[space] + 1
		}
	}
	if eliciting && !t.stuck {
		t.acknowledge(space)
	}
	if space != wire.SpaceApp && !t.stuck {
		t.flight()
	}
}

// acknowledge sends what is owed for a packet.
func (t *talk) acknowledge(space wire.Space) {
	b := t.reply
	acked := wire.AckRange{Low: t.run[space], High: t.largest[space]}
	if space == wire.SpaceApp {
		acked.Low = max(acked.Low, t.left)
	}
	if acked.Low <= acked.High {
		b = wire.AppendAck(b, []wire.AckRange{acked}, 0)
	}
	if len(b) > 0 {
		t.seal(space, b)
	}
	t.reply = nil
}

func (t *talk) end(why wire.Frame) {
	if t.alive() {
		t.why = why
		t.why.Data = append([]byte(nil), why.Data...)
		close(t.over)
	}
}
