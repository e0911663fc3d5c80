package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxMembers is how many members there may be: each asks each other one every few
	// seconds, which is 20 requests a second for each at this number.
	maxMembers = 64
	// pollEvery is how often.
	pollEvery = 3 * time.Second
	// pollTimeout is how long an answer may take.
	pollTimeout = 2 * time.Second
	// maxMisses is after how many missing answers a member is left out.
	maxMisses = 2
	// forgetAfter is how long a member that is left out is asked again.
	forgetAfter = 10 * time.Minute
)

// A member is what a node knows of another one.
type member struct {
	up       bool
	misses   int
	instance string    // of its process
	seen     time.Time // when it answered last, or was heard of
}

// A view is the list of members that a node keeps. Members are the nodes whose names
// begin with the same prefix, which their certificates prove.
type view struct {
	self, prefix, instance string

	mu      sync.Mutex
	members map[string]*member // without self
	lost    func(name string)  // is told who is left out, or is there anew; does not block
	news    chan struct{}      // has room for one: somebody was heard of, came or went
}

func newView(self, instance string, lost func(string)) *view {
	return &view{
		self: self, prefix: self[:strings.LastIndexByte(self, '-')+1], instance: instance,
		members: make(map[string]*member), lost: lost, news: make(chan struct{}, 1),
	}
}

// rank orders members by their weight for a key, the highest first (Thaler and
// Ravishankar, A Name-Based Mapping Scheme for Rendezvous, 1998). All who know the same
// members come to the same order, and when one goes, only its keys get another owner.
func rank(members []string, key string) []string {
	type weighed struct {
		name   string
		weight uint64
	}
	all := make([]weighed, len(members))
	for i, name := range members {
		sum := sha256.Sum256([]byte(name + "\x00" + key))
		all[i] = weighed{name, binary.BigEndian.Uint64(sum[:])}
	}
	slices.SortFunc(all, func(a, b weighed) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), strings.Compare(a.name, b.name))
	})
	names := make([]string, len(all))
	for i, w := range all {
		names[i] = w.name
	}
	return names
}

// owners are those of members that keep a key.
func owners(members []string, key string) []string {
	ranked := rank(members, key)
	return ranked[:min(copies, len(ranked))]
}

// up returns the members that answer, in order.
func (v *view) up() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := []string{v.self}
	for name, m := range v.members {
		if m.up {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// isMember returns the member's name among those of a peer.
func (v *view) isMember(names []string) (string, bool) {
	i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, v.prefix) && n != v.self })
	if i < 0 {
		return "", false
	}
	return names[i], true
}

// hear adds members that somebody told of. Whether they are any is seen when they are
// asked: they do not answer to a name that is not theirs.
func (v *view) hear(names ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range names {
		if name, ok := v.isMember([]string{name}); ok && v.members[name] == nil && len(v.members) < maxMembers-1 {
			v.members[name] = &member{seen: time.Now()}
			v.changed()
		}
	}
}

func (v *view) changed() {
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// A roll is what members tell each other: themselves, and who is up.
type roll struct {
	Instance string   `json:"instance"`
	Members  []string `json:"members"`
}

func (v *view) roll() roll { return roll{v.instance, v.up()} }

// poll asks all members once.
func (v *view) poll(ctx context.Context, c *client) {
	v.mu.Lock()
	names := slices.Collect(maps.Keys(v.members))
	v.mu.Unlock()
	var polls sync.WaitGroup
	for _, name := range names {
		polls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, pollTimeout)
			defer cancel()
			var r roll
			a, err := c.ask(ctx, http.MethodGet, name, "/members", nil, nil)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("status %d", a.status)
			}
			if err == nil {
				err = json.Unmarshal(a.body, &r)
			}
			v.polled(name, r, err == nil)
			v.hear(r.Members...)
		})
	}
	polls.Wait()
}

// polled notes what became of one.
func (v *view) polled(name string, r roll, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.members[name]
	switch {
	case ok:
		if m.up && m.instance == r.Instance {
			m.misses, m.seen = 0, time.Now()
			return
		}
		v.lost(name) // it has none of what the process before it had
		*m = member{up: true, instance: r.Instance, seen: time.Now()}
		v.changed()
	case m.up:
		if m.misses++; m.misses >= maxMisses {
			m.up = false
			v.lost(name)
			v.changed()
		}
	case time.Since(m.seen) > forgetAfter:
		delete(v.members, name)
	}
}
