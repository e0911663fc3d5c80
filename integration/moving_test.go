package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// peered starts a relay that has links to others. No node is told of it.
func (l *lab) peered(others ...relayProcess) relayProcess {
	l.t.Helper()
	args := []string{"127.0.0.1:0", time.Second.String()}
	for _, r := range others {
		args = append(args, r.addr)
	}
	p := l.play("relay", args)
	return relayProcess{p, p.expect(l.ctx, "listening")}
}

// A node that is told of one relay learns of the others and goes from one to
// the next, while these are killed and what it transfers arrives as it was sent.
func TestANodeGoesFromRelayToRelayWhileTheyAreKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var relays []relayProcess
	for range 4 {
		relays = append(relays, l.peered(relays...))
	}
	l.relays = []string{relays[0].addr, relays[1].addr}
	server := l.server()
	dir := t.TempDir()
	node := l.node(overlay.Config{Relays: []string{relays[2].addr}, StateDir: dir})
	home := func() (addr string) {
		for _, r := range node.Status().Relays {
			if r.Home {
				addr = r.Addr
			}
		}
		return addr
	}
	for range 2 {
		if err := eventually(l.ctx, func() bool { return home() != "" && spares(node) == 1 }); err != nil {
			t.Fatalf("the relays are %+v: %v", node.Status().Relays, err)
		}
		was := home()
		transfer := l.begin(l.dial(node, server.addr(portSource)), interruptedSize)
		l.awaitBegun(transfer)
		relays[slices.IndexFunc(relays, func(r relayProcess) bool { return r.addr == was })].kill()
		l.notDone(transfer)
		l.finish(transfer)
		if now := home(); now == was || now == "" {
			t.Errorf("home is %q, and was %q", now, was)
		}
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	again := l.node(overlay.Config{Relays: []string{relays[2].addr}, StateDir: dir}) // which is dead
	l.speak(l.dial(again, server.addr(portEcho)))
}

// spares counts the relays that a node could move to at once.
func spares(node *overlay.Node) (n int) {
	for _, r := range node.Status().Relays {
		if r.Up && !r.Home {
			n++
		}
	}
	return n
}
