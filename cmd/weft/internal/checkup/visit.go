package checkup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/diag"
	"github.com/weftnet/weft/overlay"
)

// A Visit is what came of each step on the way to a node. Its JSON is only ever added to.
type Visit struct {
	Target  string      `json:"target"`
	From    string      `json:"from"` // which node has tried
	Member  Member      `json:"member"`
	Network *Network    `json:"network"`
	Ping    *Ping       `json:"ping,omitempty"` // nil: there was no answer
	PingErr error       `json:"-"`
	Ports   []Port      `json:"ports,omitempty"`
	Paths   []diag.Path `json:"paths,omitempty"`
	// NotDirect is why packets go over a relay; empty if they do not.
	NotDirect string     `json:"not_direct,omitempty"`
	Lost      float64    `json:"lost"`           // part of the packets to the node, 0 to 1
	View      *diag.View `json:"view,omitempty"` // the other end's; nil: it has none to give
	ViewErr   error      `json:"-"`
	Version   string     `json:"version"` // of this command
	Now       time.Time  `json:"now"`     // when View came
}

// A Member is how the node belongs to its network.
type Member struct {
	Network string    `json:"network"`
	Name    string    `json:"name,omitempty"`
	Key     string    `json:"key"`
	Invite  string    `json:"invite,omitempty"`  // its ID; empty: by the secret, or the network is open
	Expires time.Time `json:"expires,omitzero"`  // of the invite
	Expired bool      `json:"expired,omitempty"` // so others say
}

// A Ping is an answer to a sign of life.
type Ping struct {
	Node  string   `json:"node"`
	Names []string `json:"names,omitempty"`
	Path  string   `json:"path"`
	Layer string   `json:"layer"`
	RTT   float64  `json:"rtt_ms"`
}

// A Port is what came of dialling one.
type Port struct {
	Port uint16 `json:"port"`
	Err  error  `json:"-"`
}

const (
	// inviteSoon is when an invite's end is near.
	inviteSoon = 24 * time.Hour
	// manyLost is the part of lost packets beyond which bulk suffers.
	manyLost = 0.02
)

// Judge explains each step, in the order in which a dial makes them, and ends with a
// verdict.
func (v *Visit) Judge() (s Steps) {
	v.judgeMember(&s)
	if v.Ping == nil || v.Network.home() == nil {
		// Why there is no answer may be found on the way to the relays.
		v.Network.judgeRelays(&s)
		v.Network.judgeClock(&s)
		v.Network.judgeProxies(&s)
	} else {
		h := v.Network.home()
		s.Add("relays", OK, "", "home is %s, round trip %s", h.Addr, milliseconds(h.RTT))
	}
	v.judgeSession(&s)
	if v.Ping != nil {
		v.judgePorts(&s)
		v.judgePath(&s)
		v.judgeView(&s)
	}
	v.conclude(&s)
	return s
}

// home is the relay at which others find the node, or nil.
func (n *Network) home() *Relay {
	for i := range n.Relays {
		if n.Relays[i].Home {
			return &n.Relays[i]
		}
	}
	return nil
}

func (v *Visit) judgeMember(s *Steps) {
	m := v.Member
	who := v.From
	if m.Name != "" {
		who = m.Name + " (" + v.From + ")"
	}
	text := fmt.Sprintf("this is node %s of network %s, with a key of its own", who, m.Network)
	switch left := m.Expires.Sub(v.Now); {
	case m.Invite == "":
		s.Add("membership", OK, "", "%s", text)
	case m.Expired || left <= 0:
		s.Add("membership", Failure, "get a new invite (weft invite, by who knows the secret)", "the invite %s has expired, at %s", m.Invite, m.Expires.Format(time.RFC3339))
	case left < inviteSoon:
		s.Add("membership", Warning, "get a new invite before that (weft invite)", "%s; its invite ends in %v", text, left.Round(time.Minute))
	default:
		s.Add("membership", OK, "", "%s; its invite ends at %s", text, m.Expires.Format(time.RFC3339))
	}
}

// causes say at which step a dial has failed, and what to do. The first that fits
// counts.
var causes = []struct {
	err          error
	step, advice string
}{
	{overlay.ErrRevoked, "membership", "the membership of one of the two was taken back; who knows the secret can give a new invite"},
	{overlay.ErrNoRelay, "relays", "repair the way to a relay, as said above"},
	{overlay.ErrUnknownNode, "look-up", "check the name, that the node runs (weft status, there), that it has a home relay, and that its relay is in one backbone with this node's"},
	{overlay.ErrAmbiguousName, "look-up", "dial the node by its ID, or give each its own --name"},
	{overlay.ErrSelf, "look-up", "name another node than the one that asks"},
	{overlay.ErrWrongPeer, "handshake", "the node that answered is not the one meant: check its --name and its key (weft id, there)"},
	{overlay.ErrLayerMismatch, "handshake", "start both nodes with the same --layer"},
	{overlay.ErrNotAllowed, "handshake", "ask whoever runs the node to allow this one"},
	{overlay.ErrPeerLost, "session", "the node was there and has stopped to answer: see whether it still runs"},
}

func (v *Visit) judgeSession(s *Steps) {
	if p := v.Ping; p != nil {
		who := p.Node
		if len(p.Names) > 0 {
			who = strings.Join(p.Names, ", ") + " (" + p.Node + ")"
		}
		s.Add("look-up", OK, "", "%s is %s", v.Target, who)
		s.Add("session", OK, "", "both have proven who they are; layer %s, round trip %s by %s", p.Layer, milliseconds(p.RTT), p.Path)
		return
	}
	if v.PingErr == nil {
		return
	}
	if tried, ok := errors.AsType[*overlay.DialError](v.PingErr); ok {
		for _, a := range tried.Attempts {
			s.Add("attempt", Note, "", "%v", a)
		}
	}
	for _, c := range causes {
		if errors.Is(v.PingErr, c.err) {
			s.Add(c.step, Failure, c.advice, "%v", v.PingErr)
			return
		}
	}
	s.Add("handshake", Failure, "see whether the node runs and its log; both must be of one network, with clocks that differ by minutes at most", "%v", v.PingErr)
}

func (v *Visit) judgePorts(s *Steps) {
	for _, p := range v.Ports {
		name := fmt.Sprintf("port %d", p.Port)
		switch {
		case p.Err == nil:
			s.Add(name, OK, "", "somebody listens")
		case errors.Is(p.Err, overlay.ErrNotAllowed):
			s.Add(name, Failure, "ask whoever runs the node; there, it is --allow or a rule of the program", "%v", p.Err)
		case errors.Is(p.Err, overlay.ErrRefused):
			s.Add(name, Failure, "start what should listen there, or check the port's number", "%v", p.Err)
		case errors.Is(p.Err, overlay.ErrLayerMismatch):
			s.Add(name, Failure, "start both nodes with the same --layer", "%v", p.Err)
		default:
			s.Add(name, Failure, "try again; if it stays so, look into the node's log", "%v", p.Err)
		}
	}
}

func (v *Visit) judgePath(s *Steps) {
	if v.NotDirect == "" && v.Ping != nil {
		for _, p := range v.Paths {
			if p.Active {
				s.Add("path", OK, "", "%s, round trip %s", p.Path, milliseconds(p.RTT))
			}
		}
	} else {
		s.Add("path", Note, v.pathAdvice(), "packets go over a relay: %s", v.NotDirect)
		for _, p := range v.Paths {
			if p.Direct {
				s.Add("path tried", Note, "", "%s: %s %s", p.Path, p.State, p.Reason)
			}
		}
	}
	if v.Lost > manyLost {
		s.Add("loss", Warning, "see which link loses packets (weft bench measures it); a relay over TCP may be faster than a direct path that loses so many", "%.1f %% of the packets to the node are lost", 100*v.Lost)
	}
}

// pathAdvice says how a direct path could come about.
func (v *Visit) pathAdvice() string {
	switch {
	case v.Network.UDPAddr == "":
		return "this node has no UDP socket: leave out --relay-only"
	case len(v.Network.Seen) == 0:
		return "no relay sees this node's UDP: let it through the firewall (weft netcheck)"
	case v.View != nil && !v.View.UDP:
		return "the other node has no UDP socket: leave out --relay-only there"
	case v.View != nil && len(v.View.Seen) == 0:
		return "no relay sees the other node's UDP: let it through the firewall there (weft netcheck)"
	}
	return "if it stays so: IPv6, UPnP at one of the gateways, or --link-addr on one of the nodes helps (docs/nat.md)"
}

// judgeView adds what the other end sees.
func (v *Visit) judgeView(s *Steps) {
	w := v.View
	if w == nil {
		why := "it was not asked"
		if v.ViewErr != nil {
			why = v.ViewErr.Error()
		}
		s.Add("other end", Note, "", "it does not tell what it sees, as it does not run weft up, or does with --no-doctor (%s)", why)
		return
	}
	if w.Version != v.Version {
		s.Add("version", Note, "", "there %s, here %s", w.Version, v.Version)
	}
	if w.Path != "" {
		s.Add("path back", OK, "", "%s", w.Path)
	}
	if w.NotDirect != "" && w.NotDirect != v.NotDirect {
		s.Add("path back", Note, "", "not direct: %s", w.NotDirect)
	}
	for _, p := range w.Paths {
		if v.NotDirect != "" && p.Direct {
			s.Add("tried there", Note, "", "%s: %s %s", p.Path, p.State, p.Reason)
		}
	}
	home := "none"
	for _, r := range w.Relays {
		if r.Home {
			home = r.Addr
		}
	}
	s.Add("other end", OK, "", "home relay %s; NAT mapping %s, filtering %s", home, known(w.Mapping), known(w.Filtering))
	if offset := w.Now.Sub(v.Now).Round(time.Second); offset.Abs() > MaxClockOffset {
		s.Add("clocks", Warning, "set the wrong one, best by NTP: certificates depend on it", "those of the two nodes differ by %v", offset.Abs())
	}
}

func (v *Visit) conclude(s *Steps) {
	switch worst := s.Worst(); {
	case worst == Failure:
		x := s.First(Failure)
		s.Add("verdict", Failure, x.Advice, "it fails at the step %s", x.Name)
	case v.Ping == nil:
		s.Add("verdict", Failure, "try again", "there was no answer")
	case v.NotDirect != "":
		s.Add("verdict", OK, "", "%s is reached, over a relay; weft bench %s says how fast that is", v.Target, v.Target)
	default:
		s.Add("verdict", OK, "", "%s is reached directly; weft bench %s says how fast that is", v.Target, v.Target)
	}
}
