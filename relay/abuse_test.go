package relay

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
)

// openControl opens another control stream from a node to its relay.
func openControl(t *testing.T, n *node, relay identity.NodeID) *session.Stream {
	t.Helper()
	stream, err := n.parts.Endpoint.Session(relay).OpenStream(t.Context(), session.KindControl)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestASecondKeyForANodeIDIsTurnedAway(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		r := p.relay.Server.relay()
		impostor := identity.Peer{ID: p.a.id(), Key: identity.PublicKey{1}}
		port := p.relay.parts.Switch.Port(p.b.id()) // whose node found the collision
		p.relay.parts.Hooks.OnBind(impostor, port)
		synctest.Wait()
		conflict, ok := errors.AsType[*gossip.ConflictError](port.Err())
		if !ok || conflict.Known != p.a.parts.Credentials.Key().Public() {
			t.Errorf("the link ended with %v", port.Err())
		}
		if s := p.relay.Stats(); s.Conflicts != 1 || s.Directory.Conflicts != 1 {
			t.Errorf("stats %+v", s)
		}
		if _, _, ok := r.seen(p.a.id()); !ok {
			t.Error("the first node lost its place")
		}
		l.ready(p.b)
		p.close(l)
	})
}

func TestMalformedControlMessagesEndTheStreamOnly(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer p.close(l)
		stream := openControl(t, p.a, p.relay.id())
		if _, err := stream.Write(binary.BigEndian.AppendUint64(nil, 0xffff_0001_0000_0001)); err != nil {
			t.Fatal(err)
		}
		_, err := io.ReadAll(stream)
		if reset, ok := errors.AsType[*session.ResetError](err); !ok || reset.Code != control.CodeMalformed {
			t.Errorf("read: %v", err)
		}
		if s := p.relay.Stats(); s.ControlMalformed != 1 || s.Nodes != 2 {
			t.Errorf("stats %+v", s)
		}
		time.Sleep(time.Second)
		if _, err := p.a.up.Lookup(t.Context(), identity.Target{Name: "b"}); err != nil {
			t.Errorf("lookup on a new stream: %v", err)
		}
	})
}

func TestANewControlStreamEndsTheOneBefore(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer p.close(l)
		first := control.NewClient(openControl(t, p.a, p.relay.id()), nil)
		if addr, err := first.Observe(t.Context()); err != nil || addr == "" {
			t.Errorf("observe: %q, %v", addr, err)
		}
		second := control.NewClient(openControl(t, p.a, p.relay.id()), nil)
		if _, err := second.Observe(t.Context()); err != nil {
			t.Errorf("observe: %v", err)
		}
		<-first.Done()
		_ = first.Close()
		_ = second.Close()
	})
}

func TestSessionsWithoutALinkMayNotAskTheRelay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer p.close(l)
		other := l.relay("other", newKey(t, "", "other"), &Server{})
		defer l.stop(other)
		l.attach(other.node, p.relay.addr) // the other relay is a node of the first
		l.ready(other.node)
		s, err := p.a.parts.Endpoint.Dial(t.Context(), identity.Target{ID: other.id()})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := s.OpenStream(t.Context(), session.KindControl)
		if err != nil {
			t.Fatal(err)
		}
		client := control.NewClient(stream, nil)
		defer client.Close()
		_, asked := client.Lookup(t.Context(), identity.Target{Name: "other"})
		_, observed := client.Observe(t.Context())
		_, registered := client.Register(t.Context(), control.Register{Epoch: 1})
		for what, err := range map[string]error{"lookup": asked, "observe": observed, "register": registered} {
			if failed, ok := errors.AsType[*control.Failed](err); !ok || failed.Code != control.FailureNotAllowed {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestANodeBeyondItsRateIsSlowedDown(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const limit = 256 << 10 // bytes a second
		p := newTrio(t, l, &Server{BytesPerSecond: limit})
		defer p.close(l)
		stream, err := l.open(p.a, p.b.id())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		const size = 4 * limit
		go func() {
			_, _ = stream.Write(make([]byte, size))
			_ = stream.CloseWrite()
		}()
		n, err := io.Copy(io.Discard, stream)
		if err != nil || n != size {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("%d bytes took %v at %d bytes a second", size, took, limit)
		}
		if p.relay.parts.Switch.Counters().DroppedThrottled == 0 {
			t.Error("nothing was dropped")
		}
		if st, _ := p.a.up.Home(); st.Throttled == 0 || st.Dropped == 0 {
			t.Errorf("the node was told %d times that %d frames were dropped", st.Throttled, st.Dropped)
		}
		_ = stream.Close()
	})
}

func TestFailuresSayWhatTheDirectoryFound(t *testing.T) {
	tests := []struct {
		err  error
		want control.FailureCode
	}{
		{&gossip.StaleError{Epoch: 7}, control.FailureStale},
		{&gossip.ConflictError{}, control.FailureConflict},
		{gossip.ErrFull, control.FailureFull},
		{gossip.ErrNotCertified, control.FailureNotAllowed},
		{gossip.ErrTooMuch, control.FailureNotAllowed},
		{errors.New("other"), control.FailureInternal},
	}
	for _, tt := range tests {
		if got := failureOf(tt.err); got.Code != tt.want || got.Reason == "" || (got.Epoch == 7) != (tt.want == control.FailureStale) {
			t.Errorf("%v became %+v", tt.err, got)
		}
	}
}

func TestANodeThatRegistersAllTheTimeWaits(t *testing.T) { synctest.Test(t, testRegisterRate) }
func testRegisterRate(t *testing.T) {
	l := newLab(t)
	defer l.close()
	relay := l.relay("relay", newKey(t, ""), &Server{RequestsPerSecond: 10})
	defer l.stop(relay)
	n := l.node("n", newKey(t, ""))
	defer n.close()
	r := l.register(n, relay.addr, 1)
	began := time.Now()
	const times = 50
	for seq := range uint64(times) {
		if err := r.register(1, seq+2); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < (times-registerBurst)*time.Second || took > times*time.Second {
		t.Errorf("%d registrations took %v", times, took)
	}
	began = time.Now()
	for range times {
		_, _ = r.client.Lookup(t.Context(), identity.Target{ID: 1})
	}
	if took := time.Since(began); took < (times-20)/10*time.Second {
		t.Errorf("%d look-ups took %v", times, took)
	}
}
