package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/weftnet/weft/overlay"
)

// The headers of answers.
const (
	headerConn  = "Weft-Conn"  // a connInfo
	headerError = "Weft-Error" // an apiError
	protocol    = "weft-conn"  // of Upgrade
)

// A connInfo says of a conn, or a listener, what its methods must know.
type connInfo struct {
	Local  string   `json:"local"`
	Remote string   `json:"remote,omitempty"`
	Path   string   `json:"path,omitempty"`
	Key    string   `json:"key,omitempty"`
	Names  []string `json:"names,omitempty"`
	Roles  []string `json:"roles,omitempty"`
}

func infoOf(c net.Conn) connInfo {
	info := connInfo{Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String()}
	if peer, ok := overlay.PeerOf(c); ok {
		info.Key, info.Names, info.Roles = peer.Key.String(), peer.Names, peer.Roles
	}
	info.Path, _ = overlay.PathOf(c)
	return info
}

func (i connInfo) local() overlay.Addr  { return addrOf(i.Local) }
func (i connInfo) remote() overlay.Addr { return addrOf(i.Remote) }

func (i connInfo) peer() overlay.Peer {
	key, _ := overlay.ParseKey(i.Key)
	return overlay.Peer{ID: i.remote().Node, Key: key, Names: i.Names, Roles: i.Roles}
}

// addrOf reads an address as overlay.Addr prints it; zero if it is none.
func addrOf(s string) (addr overlay.Addr) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return addr
	}
	id, err := overlay.ParseNodeID(host)
	if err != nil {
		return addr
	}
	if _, err := fmt.Sscan(port, &addr.Port); err != nil {
		return addr
	}
	addr.Node = id
	return addr
}

// A Rule is an overlay.Rule that can be sent.
type wireRule struct {
	IDs   []string `json:"ids,omitempty"`
	Keys  []string `json:"keys,omitempty"`
	Names []string `json:"names,omitempty"`
	Roles []string `json:"roles,omitempty"`
}

// sendable is empty for a nil rule.
func sendable(rule *overlay.Rule) (string, error) {
	switch {
	case rule == nil:
		return "", nil
	case rule.Func != nil:
		return "", errors.New("a rule with a function is only for a node of this process")
	}
	w := wireRule{Names: rule.Names, Roles: rule.Roles}
	for _, id := range rule.IDs {
		w.IDs = append(w.IDs, id.String())
	}
	for _, key := range rule.Keys {
		w.Keys = append(w.Keys, key.String())
	}
	b, err := json.Marshal(w)
	return string(b), err
}

func readRule(text string) (*overlay.Rule, error) {
	if text == "" {
		return nil, nil
	}
	var w wireRule
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return nil, fmt.Errorf("the rule cannot be read: %w", err)
	}
	rule := &overlay.Rule{Names: w.Names, Roles: w.Roles}
	for _, s := range w.IDs {
		id, err := overlay.ParseNodeID(s)
		if err != nil {
			return nil, err
		}
		rule.IDs = append(rule.IDs, id)
	}
	for _, s := range w.Keys {
		key, err := overlay.ParseKey(s)
		if err != nil {
			return nil, err
		}
		rule.Keys = append(rule.Keys, key)
	}
	return rule, nil
}

// An apiError is an error of the other process. Kind is what errors.Is finds in it.
type apiError struct {
	Text string `json:"text"`
	Kind string `json:"kind,omitempty"`
}

// kinds are the errors that keep their meaning through the socket. The first that fits
// counts.
var kinds = []struct {
	name string
	err  error
}{
	{"unknown-node", overlay.ErrUnknownNode},
	{"not-allowed", overlay.ErrNotAllowed},
	{"refused", overlay.ErrRefused},
	{"no-relay", overlay.ErrNoRelay},
	{"layer-mismatch", overlay.ErrLayerMismatch},
	{"ambiguous-name", overlay.ErrAmbiguousName},
	{"wrong-peer", overlay.ErrWrongPeer},
	{"self", overlay.ErrSelf},
	{"peer-lost", overlay.ErrPeerLost},
	{"revoked", overlay.ErrRevoked},
	{"timeout", os.ErrDeadlineExceeded},
	{"timeout", context.DeadlineExceeded},
}

func errorOf(err error) *apiError {
	e := &apiError{Text: err.Error()}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			e.Kind = k.name
			break
		}
	}
	return e
}

// Error implements error.
func (e *apiError) Error() string { return e.Text }

// Is makes errors.Is find what it found in the other process.
func (e *apiError) Is(target error) bool {
	for _, k := range kinds {
		if k.name == e.Kind && k.err == target {
			return true
		}
	}
	return e.Kind == "not-allowed" && target == overlay.ErrRefused
}

// Timeout is part of net.Error.
func (e *apiError) Timeout() bool { return e.Kind == "timeout" }

// Temporary is part of net.Error.
func (e *apiError) Temporary() bool { return false }

// readAnswer returns the error that an answer tells of, or nil for a success.
func readAnswer(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	e := new(apiError)
	if json.Unmarshal([]byte(resp.Header.Get(headerError)), e) == nil && e.Text != "" {
		return e
	}
	return fmt.Errorf("the running node answers %s; is it of another version of weft?", resp.Status)
}

// fail answers with an error.
func fail(w http.ResponseWriter, status int, err error) {
	if text, jerr := json.Marshal(errorOf(err)); jerr == nil {
		w.Header().Set(headerError, string(text))
	}
	http.Error(w, err.Error(), status)
}
