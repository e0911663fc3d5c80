package overlaytest

import "github.com/weftnet/weft/internal/simnet"

// A faultSet is what is wrong with a host at present.
type faultSet struct{ cut, down, asleep bool }

// Cut loses everything that a host sends and is sent, what is on the way
// included, without telling anyone: somebody pulled its cable.
func (l *Lab) Cut(host string) {
	l.t.Helper()
	l.host(host).change(func(f *faultSet) { f.cut = true })
}

// Heal undoes [Lab.Cut].
func (l *Lab) Heal(host string) {
	l.t.Helper()
	l.host(host).change(func(f *faultSet) { f.cut = false })
}

// InterfaceDown takes a host's network away in a way that it notices: its links
// break on its own side, it has no addresses any more, and nothing can be sent.
// The others hear no more of it.
func (l *Lab) InterfaceDown(host string) {
	l.t.Helper()
	h := l.host(host)
	h.change(func(f *faultSet) { f.down = true })
	h.silence()
}

// InterfaceUp undoes [Lab.InterfaceDown]; the host has the addresses that it
// had.
func (l *Lab) InterfaceUp(host string) {
	l.t.Helper()
	l.host(host).change(func(f *faultSet) { f.down = false })
}

// Sleep suspends a host, as closing a laptop does: nothing that it is sent
// arrives, and its reads and writes of UDP wait. Timers of its node go on, since
// nothing can stop those; a real one sleeps with the host.
func (l *Lab) Sleep(host string) {
	l.t.Helper()
	l.host(host).change(func(f *faultSet) { f.asleep = true })
}

// Resume undoes [Lab.Sleep].
func (l *Lab) Resume(host string) {
	l.t.Helper()
	l.host(host).change(func(f *faultSet) { f.asleep = false })
}

// Roam gives a host another address: its links break at once on its own side,
// while the other side hears no more of them, and it can make new ones. That is
// what happens to a laptop that changes its wireless network. A host that was
// placed stays behind its NAT; see [Lab.Place] for moving it. A relay keeps its
// address.
func (l *Lab) Roam(host string) {
	l.t.Helper()
	h := l.host(host)
	if h.udp != nil && h.relay == nil {
		h.udp.Renumber()
	}
	h.silence()
}

// change changes what is wrong with a host.
func (h *host) change(edit func(*faultSet)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	edit(&h.faults)
	f := h.faults
	if f.cut || f.down || f.asleep {
		h.lab.net.Cut(h.name)
	} else {
		h.lab.net.Heal(h.name)
	}
	if h.udp == nil {
		return
	}
	way := instant
	if f.cut {
		way = simnet.Impairment{Down: true}
	}
	h.udp.Impair(way, way)
	h.udp.SetUp(!f.down)
	if f.asleep {
		h.udp.Sleep()
	} else {
		h.udp.Resume()
	}
}

// isDown reports whether the host's interface is down.
func (h *host) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.faults.down
}
