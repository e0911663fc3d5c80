package grid

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

// inFlight begins calls, streams and transfers, and returns what they end with.
func inFlight(t *testing.T, p *Peer) func() []error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	end := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	for range 10 {
		wg.Go(func() {
			_, err := p.Call(t.Context(), &Request{Handler: waits})
			end(err)
		})
	}
	st, err := p.Open(t.Context(), &Request{Handler: deaf})
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		for {
			if err := st.Send(nil); err != nil {
				end(err)
				return
			}
		}
	})
	wg.Go(func() {
		_, err := st.Recv()
		end(err)
	})
	synctest.Wait()
	return func() []error { wg.Wait(); return errs }
}

func TestPeerThatIsKilledAndRestarted(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p := a.to(t, b)
		ended := inFlight(t, p)
		began := time.Now()
		lab.Kill("b")
		for _, err := range ended() {
			if !errors.Is(err, ErrDisconnected) {
				t.Error(err)
			}
		}
		if d := time.Since(began); d > 30*time.Second {
			t.Errorf("it took %v", d)
		}
		_ = b.Close()
		if _, err := p.Call(t.Context(), &Request{Handler: echo}); !errors.Is(err, ErrDisconnected) {
			t.Errorf("without a session: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.WaitForConnect(ctx); !errors.Is(err, ErrDisconnected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		b = join(t, lab.Restart("b"), nil)
		ok(t, a.to(t, b))
		if told := a.told(); len(told) != 4 || told[0] != nil || !errors.Is(told[1], ErrDisconnected) || told[2] != ErrRestarted || told[3] != nil {
			t.Errorf("told of %v", told)
		}
	})
}

// The restarted peer is the one that dials, before this side has noticed anything.
func TestRestartThatNobodyHasNoticed(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p := a.to(t, b)
		ended := inFlight(t, p)
		lab.Cut("b")
		lab.Kill("b")
		_ = b.Close()
		lab.Heal("b")
		b = join(t, lab.Restart("b"), nil)
		lab.WaitReady("b")
		began := time.Now()
		back := b.to(t, a)
		for _, err := range ended() {
			if !errors.Is(err, ErrDisconnected) {
				t.Error(err)
			}
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("it took %v", d)
		}
		ok(t, back)
		ok(t, p)
	})
}

func TestCutFailsCallsAndHealConnects(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p, back := a.to(t, b), b.to(t, a)
		for range 3 {
			ended, there := inFlight(t, p), inFlight(t, back)
			began := time.Now()
			lab.Cut("b")
			for _, err := range append(ended(), there()...) {
				if !errors.Is(err, ErrDisconnected) {
					t.Error(err)
				}
			}
			if d := time.Since(began); d < 10*time.Second || d > 30*time.Second {
				t.Errorf("it took %v", d)
			}
			lab.Heal("b")
			ok(t, a.to(t, b))
			ok(t, b.to(t, a))
		}
		lab.Cut("b") // shorter than anybody's patience
		time.Sleep(2 * time.Second)
		lab.Heal("b")
		ok(t, p)
		time.Sleep(time.Minute)
		for _, m := range []*member{a, b} {
			for _, err := range m.told() {
				if errors.Is(err, ErrRestarted) {
					t.Error("nobody has restarted")
				}
			}
			if n := len(m.told()); n != 7 {
				t.Errorf("%d changes: %v", n, m.told())
			}
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		p, back := a.to(t, b), b.to(t, a)
		ended, there := inFlight(t, p), inFlight(t, back)
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		for _, err := range append(ended(), there()...) {
			if !errors.Is(err, ErrDisconnected) {
				t.Error(err)
			}
		}
		if _, err := a.Peer(b.node.ID()); err == nil {
			t.Error("a closed grid has peers")
		}
		if err := p.WaitForConnect(t.Context()); !errors.Is(err, ErrDisconnected) {
			t.Error(err)
		}
	})
}

// What a stranger sends ends its own session at worst.
func TestMalformed(t *testing.T) {
	msg := func(f frame) []byte { return appendFrame(nil, &f) }
	for _, tt := range []struct {
		name    string
		sent    []byte
		session bool // after a proper hello
	}{
		{"http", []byte("GET / HTTP/1.1\r\n\r\n"), false},
		{"silence", nil, false},
		{"huge hello", []byte{0xff, 0xff, 0xff, 0xff}, false},
		{"half a hello", []byte{0, 0, 0, 9, 0x96}, false},
		{"not a hello", msg(frame{kind: kindCall}), false},
		{"short hello", msg(frame{kind: kindHello, payload: []byte{version}}), false},
		{"version", msg(frame{kind: kindHello, payload: append([]byte{9}, make([]byte, 24)...)}), false},
		{"somebody else", msg(frame{kind: kindHello, payload: append([]byte{version}, make([]byte, 24)...)}), false},
		{"huge frame", []byte{0, 2, 0, 0}, true},
		{"not msgpack", []byte{0, 0, 0, 3, 0xc1, 0xc1, 0xc1}, true},
		{"short tuple", []byte{0, 0, 0, 2, 0x91, 0}, true},
		{"kind", msg(frame{kind: 99}), true},
		{"parity", msg(frame{kind: kindCall, id: 2}), true},
		{"twice", append(msg(frame{kind: kindCall, n: uint32(waits), id: 3}), msg(frame{kind: kindCall, n: uint32(waits), id: 3})...), true},
		{"token", msg(frame{kind: kindCall, id: 3, token: make([]byte, maxToken+1)}), true},
		{"credit", append(msg(frame{kind: kindOpen, n: uint32(deaf), id: 3}), msg(frame{kind: kindCredit, n: 1, id: 3})...), true},
		{"flood", append(msg(frame{kind: kindOpen, n: uint32(deaf), id: 3}), bytes.Repeat(msg(frame{kind: kindMessage, id: 3}), window+1)...), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
				p := a.to(t, b)
				m := lab.Node("m", overlay.Config{})
				conn, err := m.Dial(t.Context(), net.JoinHostPort(b.node.ID().String(), "7000"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				in := bufio.NewReader(conn)
				if tt.session {
					g := &Grid{cfg: Config{ID: m.ID()}, instance: "m"}
					if h, err := g.greet(conn, in, 1, 0); err != nil || h.from.ID != b.node.ID() {
						t.Fatal(h, err)
					}
				}
				_, _ = conn.Write(tt.sent)
				_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
				if _, err := io.Copy(io.Discard, in); err != nil && strings.Contains(err.Error(), "deadline") {
					t.Errorf("it was not hung up: %v", err)
				}
				ok(t, p)
			})
		})
	}
}

func TestUnknownCallsAreRefusedAndStrangersForgotten(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab, a, b *member) {
		for n, host := range []string{"x", "y"} {
			x := join(t, lab.Node(host, overlay.Config{}), nil)
			ok(t, x.to(t, b))
			_ = x.Close()
			time.Sleep(time.Second)
			b.Grid.mu.Lock()
			if len(b.peers) != 0 {
				t.Errorf("%d peers are remembered after %d", len(b.peers), n+1)
			}
			b.Grid.mu.Unlock()
		}
	})
}

func TestTooManyPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := overlaytest.New(t, overlaytest.Config{})
		lab.Relay("relay")
		b := join(t, lab.Node("b", overlay.Config{}), func(c *Config) { c.MaxPeers = 1 })
		a, x := join(t, lab.Node("a", overlay.Config{}), nil), join(t, lab.Node("x", overlay.Config{}), nil)
		ok(t, a.to(t, b))
		p, err := x.Peer(b.node.ID())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.WaitForConnect(ctx); err == nil || !strings.Contains(err.Error(), "there are 1 peers already") {
			t.Error(err)
		}
	})
}
