//go:build unix

package integration

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// notified waits until a node knows that its first relay goes away.
func (l *lab) notified(node *overlay.Node) {
	l.t.Helper()
	if err := eventually(l.ctx, func() bool { return node.Status().Relays[0].GoingAway }); err != nil {
		l.t.Fatalf("the node was not told that the relay goes away: %v", err)
	}
}

func TestARelayThatIsToldToStopTellsItsNodes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	server := l.server()
	node := l.joined()
	c := l.dial(node, server.addr(portEcho))
	relay.signal(syscall.SIGTERM)
	l.notified(node)
	l.speak(c) // until the nodes' time is up, for they have nowhere to go
	_ = c.Close()
	if left := relay.expect(l.ctx, "left"); left != "false" {
		t.Error("the nodes have left without another relay")
	}
	relay.exit(l.ctx)
}

func TestNodesLeaveARelayThatIsToldToStopForAnother(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.startRelay("127.0.0.1:0", testTimeout)
	l.relays = append(l.relays, first.addr)
	l.relay()
	server := l.server()
	node := l.joined()
	transfer := l.begin(l.dial(node, server.addr(portSource)), interruptedSize)
	l.awaitBegun(transfer)
	first.signal(syscall.SIGTERM)
	if left := first.expect(l.ctx, "left"); left != "true" {
		t.Error("the nodes have not left")
	}
	first.exit(l.ctx)
	l.finish(transfer)
}

func TestANodeUsesAnotherRelayWhenOneIsKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.relay()
	l.relay()
	server := l.server()
	node := l.joined()
	transfer := l.begin(l.dial(node, server.addr(portSource)), interruptedSize)
	l.awaitBegun(transfer)
	first.kill()
	l.notDone(transfer)
	l.finish(transfer)

	ctx, cancel := context.WithTimeout(l.ctx, 10*time.Second)
	defer cancel()
	c, err := l.node(overlay.Config{}).Dial(ctx, server.addr(portEcho))
	if err != nil {
		t.Fatalf("a new node does not get through: %v", err)
	}
	defer c.Close()
	l.speak(c)
}

func TestANodeWithoutConnsNeedsNoRelayToClose(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	node := l.joined()
	relay.kill()
	if err := eventually(l.ctx, func() bool { return !node.Status().Relays[0].Up }); err != nil {
		t.Fatalf("the node has not noticed that the relay is gone: %v", err)
	}
	began := time.Now()
	if err := node.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= overlay.CloseTimeout {
		t.Errorf("Close took %v, as if something had to be delivered", took)
	}
}
