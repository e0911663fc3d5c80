package gossip_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/gossip/gossiptest"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/record"
)

// network is the network of the tests; Argon2id takes a moment.
var network = func() *identity.Network {
	n, err := identity.OpenNetwork(identity.NetworkConfig{Secret: "a secret for tests only"})
	if err != nil {
		panic(err)
	}
	return n
}()

func credentials(t testing.TB, names ...string) *identity.Credentials {
	t.Helper()
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.NewCredentials(k, network, names)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A testRelay is a backbone with what it learns.
type testRelay struct {
	*gossip.Backbone
	t         testing.TB
	id        identity.NodeID
	directory *gossip.Directory
	changes   chan gossip.Change
	datagrams chan string
	relays    chan struct{} // Relays has changed
	revoked   *identity.Revocations
}

// newRelay starts a backbone on a transport; it is closed with the test.
func newRelay(t testing.TB, transport gossip.Transport) *testRelay {
	t.Helper()
	cred := credentials(t)
	if err := cred.TakeRole(identity.RoleRelay); err != nil {
		t.Fatal(err)
	}
	r := &testRelay{
		t: t, id: cred.Key().ID(), directory: gossip.NewDirectory(gossip.DirectoryConfig{}),
		changes: make(chan gossip.Change, 1024), datagrams: make(chan string, 1024),
		relays: make(chan struct{}, 1), revoked: cred.Revocations(),
	}
	var err error
	r.Backbone, err = gossip.Start(gossip.Config{
		Credentials: cred, Directory: r.directory, Transport: transport,
		Addrs: []string{"192.0.2.1:9"},
		OnDatagram: func(from identity.NodeID, b []byte) {
			select {
			case r.datagrams <- fmt.Sprint(from, ": ", string(b)):
			default:
			}
		},
		OnChange: func(c gossip.Change) { r.changes <- c },
		OnRelays: func() {
			select {
			case r.relays <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// A testNode signs where it is.
type testNode struct {
	cred  *identity.Credentials
	peer  identity.Peer
	epoch uint64
	seq   uint64
}

func newNode(t testing.TB, names ...string) *testNode {
	c := credentials(t, names...)
	key := c.Key().Public()
	return &testNode{cred: c, peer: identity.Peer{ID: key.ID(), Key: key, Names: names}, epoch: 1}
}

// attach attaches the node to a relay with its next sequence number.
func (n *testNode) attach(r *testRelay) error {
	n.seq++
	a := gossip.Attachment{Relay: r.id, Names: n.peer.Names, Epoch: n.epoch, Seq: n.seq}
	sig := record.Record{
		Network: network.ID(), Key: n.peer.Key, Relay: a.Relay, Names: a.Names, Epoch: a.Epoch, Seq: a.Seq,
	}.Sign(n.cred.Key())
	leaf, err := n.cred.Certificate()
	if err != nil {
		return err
	}
	if err := r.directory.Attach(n.peer, r.id); err != nil {
		return err
	}
	return r.Publish(n.peer, a, sig, leaf.Certificate[0])
}

func (n *testNode) mustAttach(r *testRelay) {
	r.t.Helper()
	if err := n.attach(r); err != nil {
		r.t.Fatal(err)
	}
}

// wantAt checks where the relays believe a node to be; 0 is nowhere.
func (n *testNode) wantAt(want identity.NodeID, relays ...*testRelay) {
	for _, r := range relays {
		r.t.Helper()
		if got, _ := r.directory.RelayOf(n.peer.ID); got != want {
			r.t.Errorf("at %v the node is at %v, want %v", r.id, got, want)
		}
	}
}

func TestRelaysLearnWhoIsAttachedWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &gossiptest.Hub{}
		a, b, c := newRelay(t, hub.Transport()), newRelay(t, hub.Transport()), newRelay(t, hub.Transport())
		early := newNode(t, "early")
		early.mustAttach(a)
		hub.Connect(a.id, b.id)
		hub.Connect(b.id, c.id) // a and c are not neighbours
		time.Sleep(time.Second)
		early.wantAt(a.id, a, b, c)

		late := newNode(t)
		late.mustAttach(c)
		synctest.Wait()
		late.wantAt(c.id, a, b, c)
		if got := <-a.changes; got != (gossip.Change{Node: late.peer.ID, Relay: c.id}) {
			t.Errorf("change %+v", got)
		}
		if r, err := c.directory.Lookup(identity.Target{Name: "early"}); err != nil || r.Relay != a.id {
			t.Errorf("by name: %+v, %v", r, err)
		}

		time.Sleep(time.Second)
		late.mustAttach(a)             // it moves
		c.Withdraw(late.peer.ID, true) // what has moved is not gone
		time.Sleep(time.Second)
		late.wantAt(a.id, a, b, c)

		for len(c.changes) > 0 {
			<-c.changes
		}
		for _, hungUp := range []bool{true, false} {
			a.Withdraw(late.peer.ID, hungUp)
			time.Sleep(time.Second)
			late.wantAt(0, a, b, c)
			if got, want := <-c.changes, (gossip.Change{Node: late.peer.ID, Was: a.id, HungUp: hungUp}); got != want {
				t.Errorf("change %+v, want %+v", got, want)
			}
			late.mustAttach(a)
			time.Sleep(time.Second)
			if got, want := <-c.changes, (gossip.Change{Node: late.peer.ID, Relay: a.id}); got != want {
				t.Errorf("change %+v, want %+v", got, want)
			}
		}
		a.Withdraw(late.peer.ID, false)
		time.Sleep(time.Second)
		late.wantAt(0, a, b, c)
		if err := late.attach(a); err != nil {
			t.Errorf("coming back: %v", err)
		}
		time.Sleep(time.Second)
		late.wantAt(a.id, b, c)
	})
}

func TestRelaysKnowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &gossiptest.Hub{}
		a, b, c := newRelay(t, hub.Transport()), newRelay(t, hub.Transport()), newRelay(t, hub.Transport())
		hub.Connect(a.id, b.id)
		hub.Connect(b.id, c.id)
		time.Sleep(time.Second)
		for _, r := range []*testRelay{a, b, c} {
			list := r.Relays()
			if len(list) != 2 {
				t.Fatalf("%v knows %d relays", r.id, len(list))
			}
			for _, other := range list {
				if !other.Reachable || other.ID == r.id || !slices.Equal(other.Addrs, []string{"192.0.2.1:9"}) {
					t.Errorf("%v knows %+v", r.id, other)
				}
			}
		}
		c.Close()
		time.Sleep(time.Second)
		for _, other := range a.Relays() {
			if other.Reachable != (other.ID == b.id) {
				t.Errorf("after c has closed: %+v", other)
			}
		}
	})
}

func TestNodesOfALostRelayStayListedForTheGraceTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &gossiptest.Hub{}
		a, b := newRelay(t, hub.Transport()), newRelay(t, hub.Transport())
		disconnect := hub.Connect(a.id, b.id)
		n := newNode(t)
		n.mustAttach(a)
		time.Sleep(time.Second)
		disconnect()
		time.Sleep(gossip.DefaultGrace - 2*time.Second)
		n.wantAt(a.id, b)
		time.Sleep(4 * time.Second)
		n.wantAt(0, b)
		hub.Connect(a.id, b.id)
		time.Sleep(2 * time.Second)
		n.wantAt(a.id, b)
		before := b.Stats().Merged
		a.Close() // it says so: nobody waits
		time.Sleep(time.Second)
		n.wantAt(0, b)
		if got := b.Stats().Merged; got != before {
			t.Errorf("%d records were sent again", got-before)
		}
	})
}

func TestDatagramsReachRelaysThatAreNoNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &gossiptest.Hub{}
		a, b, c := newRelay(t, hub.Transport()), newRelay(t, hub.Transport()), newRelay(t, hub.Transport())
		if a.Send(c.id, a.id, []byte("too early")) {
			t.Error("sent to a relay that is not known")
		}
		hub.Connect(a.id, b.id)
		hub.Connect(b.id, c.id)
		time.Sleep(time.Second)
		for i := range 3 {
			if !a.Send(c.id, a.id, fmt.Append(nil, i)) {
				t.Fatal("not sent")
			}
		}
		for i := range 3 {
			if got, want := <-c.datagrams, fmt.Sprint(a.id, ": ", i); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if a.Send(c.id, a.id, make([]byte, gossip.MaxDatagram+1)) {
			t.Error("sent a datagram that is too large")
		}
	})
}

func TestPublishRefusesWhatOthersWouldNotBelieve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &gossiptest.Hub{}
		a, b := newRelay(t, hub.Transport()), newRelay(t, hub.Transport())
		n := newNode(t, "kv-1")
		n.mustAttach(a)
		sign := func(at gossip.Attachment) []byte {
			return record.Record{
				Network: network.ID(), Key: n.peer.Key, Relay: at.Relay, Names: at.Names, Epoch: at.Epoch, Seq: at.Seq,
			}.Sign(n.cred.Key())
		}
		good := gossip.Attachment{Relay: a.id, Epoch: 9, Seq: 9}
		named := gossip.Attachment{Relay: a.id, Epoch: 9, Seq: 9, Names: []string{"kv-1"}}
		elsewhere := gossip.Attachment{Relay: b.id, Epoch: 9, Seq: 9}
		other, err := credentials(t, "kv-1").Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Publish(n.peer, good, sign(named), nil); !errors.Is(err, gossip.ErrSignature) {
			t.Errorf("another signature: %v", err)
		}
		if err := a.Publish(n.peer, good, nil, nil); !errors.Is(err, gossip.ErrSignature) {
			t.Errorf("no signature: %v", err)
		}
		if err := a.Publish(n.peer, named, sign(named), nil); !errors.Is(err, gossip.ErrNotCertified) {
			t.Errorf("no certificate: %v", err)
		}
		if err := a.Publish(n.peer, named, sign(named), other.Certificate[0]); !errors.Is(err, gossip.ErrNotCertified) {
			t.Errorf("somebody else's certificate: %v", err)
		}
		if err := a.Publish(n.peer, elsewhere, sign(elsewhere), nil); err == nil {
			t.Error("published a node of another relay")
		}
		a.Withdraw(n.peer.ID, false)
		n.seq--
		if err := n.attach(a); err == nil {
			t.Error("a version that was withdrawn came back")
		} else if stale, ok := errors.AsType[*gossip.StaleError](err); !ok || stale.Epoch != 1 {
			t.Errorf("got %v", err)
		}
		a.Close()
		if err := a.Publish(n.peer, good, sign(good), nil); !errors.Is(err, gossip.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestManyChangesAreBroadcastTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &gossiptest.Hub{}
		a, b := newRelay(t, hub.Transport()), newRelay(t, hub.Transport())
		hub.Connect(a.id, b.id)
		time.Sleep(5 * time.Second)
		before := a.Stats().Broadcasts
		const n = 200
		for range n {
			newNode(t).mustAttach(a)
		}
		time.Sleep(time.Second)
		if got := b.directory.Stats().Attached; got != n {
			t.Errorf("%d of %d nodes are known", got, n)
		}
		if got := a.Stats().Broadcasts - before; got > 10 {
			t.Errorf("%d broadcasts for %d changes at one instant", got, n)
		}
	})
}
