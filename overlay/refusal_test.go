package overlay

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// rulesFor are rules of every kind that allow a node with the name "friend" and
// the role "ops", and nobody else.
func rulesFor(friend NodeID, key PublicKey) map[string]*Rule {
	return map[string]*Rule{
		"ID":   {IDs: []NodeID{friend}},
		"key":  {Keys: []PublicKey{key}},
		"name": {Names: []string{"friend"}},
		"role": {Roles: []string{"ops"}},
		"function": {Func: func(p Peer) bool {
			return p.Has("ops") && slices.Contains(p.Names, "friend") && p.Key == key && p.ID == friend
		}},
	}
}

// refusals returns how many entries of a node's log say that somebody was refused.
type refusals struct {
	*logtest.Hook
	what string
}

func refusalsOf(n *Node, what string) *refusals {
	r := &refusals{new(logtest.Hook), what}
	n.log.(*logrus.Entry).Logger.AddHook(r)
	return r
}

func (r *refusals) count() (n int) {
	for _, e := range r.AllEntries() {
		if strings.HasPrefix(e.Message, r.what) {
			n++
		}
	}
	return n
}

// Whoever is refused is told so, and who refuses counts and logs it.
func TestRefusedDialsAreToldAndLogged(t *testing.T) {
	key := newKey(t)
	for name, rule := range rulesFor(key.ID(), key.Public()) {
		for where, of := range map[string]struct{ node, listener *Rule }{
			"Config.Allow": {rule, nil}, "ListenConfig.Allow": {nil, rule},
		} {
			t.Run(where+"/"+name, func(t *testing.T) {
				inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
					server := l.ready("server", Config{Allow: of.node})
					log := refusalsOf(server, "conn refused")
					ln, err := ListenConfig{Allow: of.listener}.Listen(server, 80)
					if err != nil {
						t.Fatal(err)
					}
					defer ln.Close()
					addr := server.ID().String() + ":80"
					if err := dialErr(t, l.ready("friend", Config{Key: key, Name: "friend", Roles: []string{"ops"}}), addr); err != nil {
						t.Error(err)
					}
					if server.Status().NotAllowed != 0 || log.count() != 0 {
						t.Errorf("%d refusals and %d entries for a friend", server.Status().NotAllowed, log.count())
					}
					other := l.ready("other", Config{Name: "other", Roles: []string{"dev"}})
					err = dialErr(t, other, addr)
					checkDialError(t, err, ErrNotAllowed)
					if !errors.Is(err, ErrRefused) {
						t.Errorf("%v is no refusal", err)
					}
					synctest.Wait()
					if got := server.Status().NotAllowed; got != 1 || log.count() != 1 {
						t.Errorf("%d refusals and %d entries for one", got, log.count())
					}
					const more = 100
					for range more {
						_ = dialErr(t, other, addr)
					}
					synctest.Wait()
					if got := server.Status().NotAllowed; got != 1+more || log.count() < refusalBurst || log.count() > refusalBurst+more/10 {
						t.Errorf("%d refusals and %d entries for %d", got, log.count(), 1+more)
					}
				})
			})
		}
	}
}

// A node that a relay does not serve is told so.
func TestARelaySaysThatItDoesNotServeANode(t *testing.T) {
	key := newKey(t)
	for name, rule := range rulesFor(key.ID(), key.Public()) {
		t.Run(name, func(t *testing.T) {
			inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
				log := refusalsOf(l.host, "link refused")
				l.server.Allow = rule
				l.ready("friend", Config{Key: key, Name: "friend", Roles: []string{"ops"}})
				if st := l.server.Stats(); st.NotAllowed != 0 || log.count() != 0 {
					t.Errorf("%d refusals and %d entries for a friend", st.NotAllowed, log.count())
				}
				other := l.node("other", Config{Name: "other", Roles: []string{"dev"}})
				time.Sleep(8 * delay) // one attempt
				synctest.Wait()
				if st := l.server.Stats(); st.NotAllowed != 1 || log.count() != 1 {
					t.Errorf("%d refusals and %d entries for one", st.NotAllowed, log.count())
				}
				ready := other.WaitReady(withTimeout(t, 10*time.Second))
				for what, err := range map[string]error{
					"WaitReady": ready, "dial by ID": dialErr(t, other, key.ID().String()+":80"), "dial by name": dialErr(t, other, "friend:80"),
				} {
					if !errors.Is(err, ErrNotAllowed) || !errors.Is(err, ErrRefused) || !errors.Is(err, ErrNoRelay) || !strings.Contains(err.Error(), "does not serve this node") {
						t.Errorf("%s: %v", what, err)
					}
				}
				if st := other.Status().Relays[0]; st.Up || st.Err == nil || !strings.Contains(st.Err.Error(), "does not serve this node") {
					t.Errorf("status %+v", st)
				}
				if st := l.server.Stats(); st.Nodes != 1 || st.NotAllowed < 2 || log.count() > refusalBurst+int(st.NotAllowed) || st.NotAllowed > 100 {
					t.Errorf("%d refusals and %d entries; %d nodes are here", st.NotAllowed, log.count(), st.Nodes)
				}
			})
		})
	}
}

// Handlers know key, ID, names and roles of the node that calls.
func TestHandlersKnowAllThatACallerHasProven(t *testing.T) {
	inClosedLab(t, labSecret, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{Name: "files"})
		client := l.ready("client", Config{Name: "reader", Roles: []string{"backup", "ops"}})
		srv := l.serveHTTP(server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := PeerFrom(r.Context())
			p.Roles = slices.Sorted(slices.Values(p.Roles))
			fmt.Fprintln(w, p.ID, p.Key, p.Names, p.Roles, ok)
		}))
		tr := client.HTTPTransport()
		resp, err := (&http.Client{Transport: tr}).Get("http://files/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if want := fmt.Sprintln(client.ID(), client.Key(), "[reader] [backup ops] true"); err != nil || string(body) != want {
			t.Errorf("body %q, %v; want %q", body, err, want)
		}
		tr.CloseIdleConnections()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
