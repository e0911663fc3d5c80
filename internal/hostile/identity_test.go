package hostile

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// disguise gives a node that has just started the certificate of other
// credentials; withKey says that it has their key as well. It goes on to speak the
// network's own language, which is public, and so gets as far as to show it.
func (w *world) disguise(h *host, as *identity.Credentials, withKey bool) {
	w.Helper()
	own, err := h.RelayHost().Credentials.Certificate()
	if err != nil {
		w.Fatal(err)
	}
	shown, err := as.Certificate()
	if err != nil {
		w.Fatal(err)
	}
	own.Certificate, own.Leaf = shown.Certificate, shown.Leaf
	if withKey {
		own.PrivateKey = shown.PrivateKey
	}
	_, _ = h.RelayHost().Credentials.Certificate() // whoever takes it from now on sees the change
}

// outsider makes credentials of another network.
func (w *world) outsider(cfg identity.NetworkConfig) *identity.Credentials {
	w.Helper()
	n, err := identity.OpenNetwork(cfg)
	if err != nil {
		w.Fatal(err)
	}
	k, err := identity.GenerateKey()
	if err != nil {
		w.Fatal(err)
	}
	c, err := identity.NewCredentials(k, n, nil)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// Who is no member shows what he has: a certificate of another network, one that he
// has made himself, or one of a member that he has seen, without its key. He gets no
// place among the nodes, sees frames of nobody but the relay, and all his links
// and handshakes together are those of one address.
func TestStrangersShowCertificates(t *testing.T) {
	const links, handshakes, strangers = 4, 4, 12
	for name, theft := range map[string]bool{"of another network": false, "of themselves": false, "of a member": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				_, token := tokens()
				r := w.relayWith("relay", &relay.Server{MaxLinksPerAddress: links},
					overlay.Config{Invite: token, MaxHandshakesPerAddress: handshakes})
				victim := w.node("victim", overlay.Config{}, r)
				b := w.bystanders(r).befriend(w, victim, r)
				known := r.Stats()
				var all []*host
				b.withstand(assault{
					play: func(ctx context.Context) {
						for range strangers {
							h := w.start("stranger", overlay.Config{Relays: []string{r.addr}})
							w.onPath(h, r, &onPath{down: func(f *frame.Frame) []*frame.Frame {
								if src := f.Src(); src != 0 && src != r.ID() {
									w.Errorf("a stranger sees a frame of %v", src)
								}
								return []*frame.Frame{f}
							}})
							all = append(all, h)
							switch {
							case theft:
								w.disguise(h, victim.RelayHost().Credentials, false)
							case name == "of themselves":
								w.disguise(h, w.outsider(identity.NetworkConfig{Open: true}), true)
							default:
								w.disguise(h, w.outsider(identity.NetworkConfig{Secret: "the secret of another network"}), true)
							}
						}
						<-ctx.Done()
					},
					may: []cost{
						{"MaxLinksPerAddress", links, perLink + perSimulatedConn},
						{"MaxHandshakesPerAddress", handshakes, perHandshake},
						{"the strangers' own nodes", strangers, perNode},
					},
				})
				s := r.Stats()
				if s.Nodes != known.Nodes || s.Directory.Attached != known.Directory.Attached || s.Links > known.Links+links {
					w.Errorf("strangers are among the nodes: %+v", s)
				}
				if s.RefusedBusy == 0 || s.Handshakes.Unfinished > handshakes {
					w.Errorf("no limit was reached: %+v", s)
				}
				for _, h := range all {
					st := h.Status()
					// To itself its session with the relay seems made until it hears that it is refused.
					if st.Relays[0].Up || slices.ContainsFunc(st.Peers, func(p overlay.PeerStatus) bool { return p.ID != r.ID() }) {
						w.Errorf("a stranger has a relay: %+v", st)
					}
					h.Close()
				}
				time.Sleep(relay.DefaultHandshakeTimeout + time.Second)
				if s := r.Stats(); s.Handshakes.Unfinished != 0 || s.Links != known.Links {
					w.Errorf("something is left: %+v", s)
				}
			})
		})
	}
}

// A member says in its preface that it is another, and puts the other's ID on
// frames. The link counts for nobody, and the frames go nowhere.
func TestAMemberClaimsTheIDOfAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim, mallory := w.node("victim", overlay.Config{}, r), w.node("mallory", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		before := r.RelayHost().Switch.Counters()
		port := r.RelayHost().Switch.Port(victim.ID())
		const frames = 100
		b.withstand(assault{play: func(ctx context.Context) {
			fc, err := w.claim(ctx, "elsewhere", r, victim.ID())
			if err != nil {
				w.Error(err)
				return
			}
			defer fc.Close()
			for range frames {
				f := addressed(victim.ID(), b[1].from.ID(), []byte("from the victim, as it were"))
				_ = fc.WriteFrames([]*frame.Frame{f})
				_ = w.send(mallory, r, f)
			}
			<-ctx.Done()
		}})
		after := r.RelayHost().Switch.Counters()
		if after.DroppedSource-before.DroppedSource != frames || after.DroppedDenied-before.DroppedDenied != frames {
			w.Errorf("of %d frames each, %d were dropped for their source and %d because the link is nobody's",
				frames, after.DroppedSource-before.DroppedSource, after.DroppedDenied-before.DroppedDenied)
		}
		if r.RelayHost().Switch.Port(victim.ID()) != port || port.Err() != nil {
			w.Error("the victim has lost its link")
		}
	})
}

// Somebody has found a key with the ID of another node. The proof of such a key is
// put in by hand, as nobody can make one in a test.
func TestASecondKeyForAKnownID(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim, mallory := w.node("victim", overlay.Config{}, r), w.node("mallory", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		port, bad := r.RelayHost().Switch.Port(victim.ID()), r.RelayHost().Switch.Port(mallory.ID())
		b.withstand(assault{play: func(context.Context) {
			r.RelayHost().Hooks.OnBind(identity.Peer{ID: victim.ID(), Key: identity.PublicKey{1}}, bad)
		}})
		if conflict, ok := errors.AsType[*gossip.ConflictError](bad.Err()); !ok || conflict.Known != victim.Key() {
			w.Errorf("the link of the second key ended with %v", bad.Err())
		}
		if s := r.Stats(); s.Conflicts != 1 || port.Err() != nil || r.RelayHost().Switch.Port(victim.ID()) != port {
			w.Errorf("the first node is worse off: %v, %+v", port.Err(), s)
		}
		if c, err := b[1].from.Dial(w.Context(), victim.Key().String()+":1"); !errors.Is(err, overlay.ErrRefused) {
			w.Errorf("a dial by key: %v, %v", c, err) // the node is there, but nobody listens
		}
	})
}

// Who has recorded a node's link sends everything that the node sent to the relay
// again, in the node's name and in a hundred others. No session comes of it, and
// what is kept for it is bounded and gone after a while.
func TestRecordedHandshakesAreSentAgain(t *testing.T) {
	const perAddress = 16
	inWorld(t, func(w *world) {
		_, token := tokens()
		r := w.relayWith("relay", &relay.Server{}, overlay.Config{Invite: token, MaxHandshakesPerAddress: perAddress})
		victim := w.start("victim", overlay.Config{Relays: []string{r.addr}})
		var tape []*frame.Frame // from the first packet on
		w.onPath(victim, r, &onPath{up: func(f *frame.Frame) []*frame.Frame {
			if f.Type() == frame.TypeData && len(tape) < 100 {
				tape = append(tape, f.Clone())
			}
			return []*frame.Frame{f}
		}})
		w.ready(victim)
		b := w.bystanders(r).befriend(w, victim, r)
		w.onPath(victim, r, nil)
		defer func() { release(tape) }()
		was, port := r.RelayHost().Endpoint.Session(victim.ID()), r.RelayHost().Switch.Port(victim.ID())
		most := 0
		b.withstand(assault{
			play: func(ctx context.Context) {
				fc, err := w.claim(ctx, "elsewhere", r, 0)
				if err != nil {
					w.Error(err)
					return
				}
				defer fc.Close()
				for id := identity.NodeID(1); ctx.Err() == nil && id < 100; id++ {
					_ = fc.WriteFrames(tape)
					again := tape[0].Clone()
					again.SetSrc(id)
					_ = fc.WriteFrames([]*frame.Frame{again})
					again.Release()
					time.Sleep(50 * time.Millisecond)
					most = max(most, r.Stats().Handshakes.Unfinished)
				}
			},
			may: []cost{
				{"MaxHandshakesPerAddress", perAddress, perHandshake},
				{"a link", 1, perLink + perSimulatedConn},
			},
		})
		if h := r.Stats().Handshakes; most != perAddress || h.RefusedAddress == 0 {
			w.Errorf("%d handshakes were unfinished, of %d that may be: %+v", most, perAddress, h)
		}
		if r.RelayHost().Endpoint.Session(victim.ID()) != was || r.RelayHost().Switch.Port(victim.ID()) != port || r.Stats().Nodes != 4 {
			w.Errorf("the victim has another session or link: %+v", r.Stats())
		}
		time.Sleep(relay.DefaultHandshakeTimeout + time.Second)
		if n := r.Stats().Handshakes.Unfinished; n != 0 {
			w.Errorf("%d handshakes are left", n)
		}
	})
}

// A relay shows a node its own packets, as if they came from whom they are for,
// in the place of all answers: the node has no session with itself, and none at all.
func TestARelayReflectsPackets(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r)
		reflected := 0
		target := b[0].to.ID()
		w.onPath(victim, r, &onPath{up: func(f *frame.Frame) []*frame.Frame {
			if f.Dst() != target {
				return []*frame.Frame{f}
			}
			reflected++
			f.SetSrc(target)
			f.SetDst(victim.ID())
			w.feed(victim, r, f)
			return nil
		}})
		b.withstand(assault{play: func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if c, err := victim.Dial(ctx, target.String()+":7"); err == nil {
				w.Errorf("a conn with %v came of its own packets", c.RemoteAddr())
			}
		}})
		if reflected == 0 || talksTo(victim, victim.ID()) || talksTo(victim, target) {
			w.Errorf("after %d reflected packets, sessions are %v", reflected, victim.RelayHost().Endpoint.Sessions())
		}
	})
}

// A node that is told its own ID and key does not dial itself.
func TestANodeIsLuredToItself(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{}, r)
		for _, at := range []string{victim.ID().String(), victim.Key().String(), "victim"} {
			if c, err := victim.Dial(w.Context(), net.JoinHostPort(at, "7")); !errors.Is(err, overlay.ErrSelf) {
				w.Errorf("%s: %v, %v", at, c, err)
			}
		}
	})
}

// A relay leads the packets for one node to another that works with it, in both
// directions. Whoever dials learns that it is the wrong one, and nothing was said
// to it; a dial by the ID alone fails, too, since the ID is that of the key.
func TestARelayPutsAnotherNodeInBetween(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{}, r)
		mallory := w.node("mallory", overlay.Config{}, r)
		b := w.bystanders(r)
		target := b[0].to
		w.onPath(victim, r, &onPath{
			up: func(f *frame.Frame) []*frame.Frame {
				if f.Dst() == target.ID() {
					f.SetDst(mallory.ID())
				}
				return []*frame.Frame{f}
			},
			down: func(f *frame.Frame) []*frame.Frame {
				if f.Src() == mallory.ID() {
					f.SetSrc(target.ID())
				}
				return []*frame.Frame{f}
			},
		})
		ln, err := mallory.Listen(7)
		if err != nil {
			w.Fatal(err)
		}
		defer ln.Close()
		b.withstand(assault{play: func(ctx context.Context) {
			for _, at := range []string{target.ID().String(), target.Key().String(), target.name} {
				c, err := victim.Dial(ctx, net.JoinHostPort(at, "7"))
				if !errors.Is(err, overlay.ErrWrongPeer) {
					w.Errorf("%s: %v, %v", at, c, err)
				}
			}
		}})
		if n := mallory.Status().Accepted; n != 0 {
			w.Errorf("%d conns came to the wrong node", n)
		}
		if talksTo(mallory, victim.ID()) {
			w.Error("the wrong node has a session with the victim")
		}
	})
}

// talksTo reports whether h has a session with a node.
func talksTo(h *host, id identity.NodeID) bool { return h.RelayHost().Endpoint.Session(id) != nil }
