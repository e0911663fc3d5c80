package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
	"github.com/weftnet/weft/stream"
)

const (
	// listEvery is how often nodes are told of other relays at most.
	listEvery = time.Second
	// renewSelf is how often the relay's own record is signed anew: well before
	// its certificate expires.
	renewSelf = 4 * time.Hour
)

// A transporter is a Host that brings a transport for the gossip between relays,
// such as a simulated one.
type transporter interface{ GossipTransport() gossip.Transport }

// Why streams of the backbone end.
var (
	errNoBackbone = errors.New("relay: this relay is part of no backbone")
	errNoTrunk    = errors.New("relay: there is no link to the other relay now")
)

// startBackbone joins the gossip between relays. Without it the relay knows
// only the nodes that are attached to itself.
func (r *relay) startBackbone(s *Server) {
	var transport gossip.Transport
	if host, ok := s.Host.(transporter); ok {
		transport = host.GossipTransport()
	} else {
		transport = newLateMesh(r.Credentials.Network(), r.log)
	}
	b, err := gossip.Start(gossip.Config{
		Credentials: r.Credentials,
		Directory:   r.directory,
		Addrs:       s.Addrs,
		Transport:   transport,
		Logger:      r.log,
		OnDatagram:  r.datagram,
		OnChange:    r.changed,
		OnRelays:    r.relaysChanged,
	})
	if err != nil {
		r.log.WithError(err).Error("the relay works alone: it cannot join the others")
		return
	}
	r.backbone = b
}

// Relays returns the other relays of the backbone, in the order of their IDs:
// those that this one has a link to, and those that it knows from others.
func (s *Server) Relays() []gossip.RelayInfo {
	if b := s.relay().backbone; b != nil {
		return b.Relays()
	}
	return nil
}

// changed is told by the backbone where a node is now.
func (r *relay) changed(c gossip.Change) {
	switch {
	case r.Switch.Port(c.Node) != nil: // it has a link to this relay, too
	case c.Relay == 0 && c.HungUp:
		r.Switch.NodeGone(c.Node, frame.GoneHungUp)
	case c.Relay == 0:
		r.Switch.NodeGone(c.Node, 0)
	default:
		r.Switch.NodeMoved(c.Node)
	}
}

// datagram takes a frame that another relay has sent through the backbone.
func (r *relay) datagram(_ identity.NodeID, b []byte) {
	f, err := frame.Decode(b)
	if err != nil {
		r.stats.badDatagrams.Add(1)
		return
	}
	_ = r.Switch.Inject(f)
}

// nextHop is the switch's Forwarding.NextHop. It takes no lock but the
// directory's, and is called with the switch's held.
func (r *relay) nextHop(dst identity.NodeID, _ *switchboard.Port) (out *switchboard.Port, elsewhere bool) {
	at, ok := r.directory.RelayOf(dst)
	if !ok || at == r.self {
		return nil, false
	}
	if out = r.Switch.Port(at); out != nil && out.Trusted() && out.Link().Up() {
		return out, false
	}
	return nil, r.backbone != nil
}

// elsewhere is the switch's Forwarding.Elsewhere: it sends a frame to a relay
// that no link leads to. What the backbone does not take is dropped and counted
// there.
func (r *relay) elsewhere(f *frame.Frame) bool {
	at, ok := r.directory.RelayOf(f.Dst())
	if !ok || at == r.self || r.backbone == nil {
		return false
	}
	r.backbone.Send(at, f.Src(), f.Bytes())
	f.Release()
	return true
}

// converse carries the backbone's gossip over a stream of a session with
// another relay until the stream, the link below or ctx ends. It must not
// outlive the link: packets of the session could then take the way that the
// gossip makes, which would be this very stream.
func (r *relay) converse(ctx context.Context, s *session.Stream) error {
	id := s.Session().Peer().ID
	port := r.Switch.Port(id)
	switch {
	case r.backbone == nil:
		return errNoBackbone
	case port == nil || !port.Trusted():
		return errNoTrunk
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		select {
		case <-port.Done():
			cancel()
		case <-ctx.Done():
		}
	})
	r.conversing.Add(1)
	defer r.lookAround()
	defer r.conversing.Add(-1)
	return r.backbone.Serve(ctx, meshConn{s}, id)
}

// A meshConn is a stream of a session with another relay.
type meshConn struct{ *session.Stream }

var _ net.Conn = meshConn{}

func (c meshConn) LocalAddr() net.Addr  { return nodeAddr(c.Session().LocalID()) }
func (c meshConn) RemoteAddr() net.Addr { return nodeAddr(c.Session().Peer().ID) }

// A nodeAddr names the node at an end of a stream that has no port.
type nodeAddr identity.NodeID

func (nodeAddr) Network() string  { return stream.Network }
func (a nodeAddr) String() string { return identity.NodeID(a).String() }

// publishSelf lists the relay's own node, here and at the other relays.
func (r *relay) publishSelf(seq uint64) error {
	key := r.Credentials.Key().Public()
	self := identity.Peer{ID: key.ID(), Key: key, Names: r.Credentials.Names()}
	m := control.Register{Names: self.Names, Epoch: r.epoch, Seq: seq}
	if err := m.Sign(r.Credentials, r.self); err != nil {
		return err
	}
	return r.publish(self, &m)
}

// publish lists a node that is attached here, at the other relays too if it has
// signed that.
func (r *relay) publish(peer identity.Peer, m *control.Register) error {
	a := gossip.Attachment{
		Relay: r.self, Names: m.Names, Candidates: m.Candidates,
		Epoch: m.Epoch, Seq: m.Seq,
	}
	if r.backbone == nil || len(m.Signature) == 0 {
		return r.directory.Put(peer, a)
	}
	return r.backbone.Publish(peer, a, m.Signature, m.Certificate)
}

// withdraw undoes publish, and Attach. hungUp says that the node ended its link
// itself.
func (r *relay) withdraw(id identity.NodeID, hungUp bool) {
	if r.backbone == nil {
		r.directory.Detach(id, r.self)
		return
	}
	r.backbone.Withdraw(id, hungUp)
}

// stayListed signs the relay's own record anew from time to time.
func (r *relay) stayListed() {
	t := time.NewTicker(renewSelf)
	defer t.Stop()
	for seq := uint64(1); ; seq++ {
		if err := r.publishSelf(seq); err != nil {
			r.log.WithError(err).Warn("the relay itself cannot be looked up")
		}
		select {
		case <-t.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// relaysChanged is told by the backbone that there are other relays than
// before.
func (r *relay) relaysChanged() {
	select {
	case r.newRelays <- struct{}{}:
	default:
	}
	r.lookAround()
}

// tellRelays tells the nodes of the other relays, whenever those change.
func (r *relay) tellRelays() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-r.newRelays:
		case <-r.ctx.Done():
			return
		}
		select {
		case <-pause.C:
		case <-r.ctx.Done():
			return
		}
		m := r.relayList()
		for _, c := range r.allConsoles() {
			c.push(m)
		}
		pause.Reset(listEvery)
	}
}

// dialled returns the addresses at which this relay has found another one.
func (r *relay) dialled(id identity.NodeID) (addrs []string) {
	for _, p := range r.peers {
		if st := p.state(); st.ID == id {
			addrs = append(addrs, st.Addr)
		}
	}
	return addrs
}

// relayList is what nodes are told of other relays: those that are in working
// order, beginning with the next in the order of IDs, so that the nodes of all
// relays do not make for the same one.
func (r *relay) relayList() *control.Relays {
	var before, behind []control.Relay
	if r.backbone != nil {
		for _, info := range r.backbone.Relays() {
			if !info.Reachable || info.Leaving || info.NameClash {
				continue
			}
			entry := control.Relay{ID: info.ID, Addrs: info.Addrs}
			if len(entry.Addrs) == 0 {
				entry.Addrs = r.dialled(info.ID)
			}
			if info.ID < r.self {
				before = append(before, entry)
			} else {
				behind = append(behind, entry)
			}
		}
	}
	return control.NewRelays(append(behind, before...))
}
