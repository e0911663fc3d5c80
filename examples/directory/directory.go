package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/overlay"
)

const (
	port   = 7020
	values = "/values/" // for everybody: any member finds the owners
	kept   = "/kept/"   // for members: what this one has
	// mendEvery is how often a member looks whether all it keeps is where it belongs.
	mendEvery = time.Minute
	// askTimeout is how long one member waits for another.
	askTimeout = 5 * time.Second

	// leaveTimeout is how long a member that leaves goes on handing over; each value has
	// another owner.
	leaveTimeout = 30 * time.Second
	// atOnce is how many copies a member sends at one time.
	atOnce = 16

	headerVersion = "Directory-Version"
	headerDeleted = "Directory-Deleted"
	headerKeeps   = "Directory-Keeps"  // who sends a copy has it afterwards, too
	headerCopies  = "Directory-Copies" // how many members have what was written
)

func keyPath(kind, key string) string { return kind + url.PathEscape(key) }

// A client asks members.
type client struct{ http *http.Client }

func newClient(node *overlay.Node) *client {
	transport := node.HTTPTransport()
	transport.Protocols = new(http.Protocols) // a conn costs little here: one for each request at a time, and no request waits for another
	transport.Protocols.SetHTTP1(true)
	transport.MaxIdleConnsPerHost = atOnce
	return &client{&http.Client{Transport: transport}}
}

// An answer is what a member said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c *client) ask(ctx context.Context, method, member, path string, body []byte, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(member, strconv.Itoa(port))+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	maps.Copy(req.Header, header)
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(io.LimitReader(resp.Body, maxValue))
	return answer{resp.StatusCode, resp.Header, all}, err
}

// A Directory is one member.
type Directory struct {
	node  *overlay.Node
	view  *view
	store *store
	*client
	misplaced atomic.Bool // something may not be where it belongs
}

// New makes a member of a node with a name such as dir-1: those whose names have the same
// beginning, up to the last dash, are the others.
func New(node *overlay.Node) (*Directory, error) {
	if strings.LastIndexByte(node.Name(), '-') < 1 {
		return nil, fmt.Errorf("the node's name is %q: name it as the others with another end, such as WEFT_NAME=dir-1", node.Name())
	}
	s := newStore()
	return &Directory{node: node, view: newView(node.Name(), rand.Text(), s.lost), store: s, client: newClient(node)}, nil
}

// Run is a member until ctx ends, then hands over what it keeps and leaves. Others are
// some of the members; they tell of the rest.
func (d *Directory) Run(ctx context.Context, others []string) error {
	ln, err := d.node.Listen(port)
	if err != nil {
		return err
	}
	defer d.http.CloseIdleConnections()
	d.view.hear(others...)
	for range 2 { // those, and those that they tell of
		d.view.poll(ctx, d.client)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /members", d.serveMembers)
	mux.HandleFunc(kept+"{key}", d.serveKept)
	mux.HandleFunc(values+"{key}", d.serveValue)
	srv := &http.Server{Handler: mux, ConnContext: overlay.ConnContext, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	d.mend(ctx)
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	closing, cancel := context.WithTimeout(leaving, askTimeout)
	defer cancel()
	_ = srv.Shutdown(closing) // others see that nobody listens any more
	rest, _ := d.others(d.view.up())
	d.spread(leaving, rest)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// mend keeps the list of members, and brings what is kept to where it belongs: when
// members come or go, when that failed before, and every mendEvery in any case.
func (d *Directory) mend(ctx context.Context) {
	var done time.Time
	for ctx.Err() == nil {
		d.view.poll(ctx, d.client)
		if d.misplaced.Swap(false) || time.Since(done) > mendEvery {
			done = time.Now()
			if !d.spread(ctx, d.view.up()) {
				d.misplaced.Store(true)
			}
		}
		select {
		case <-d.view.news:
			d.misplaced.Store(true)
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// spread sends what is kept to those of members that should have it and are not known
// to, and forgets what belongs to others once they have it. It reports whether all is
// where it belongs.
func (d *Directory) spread(ctx context.Context, members []string) bool {
	var work sync.WaitGroup
	var failed atomic.Bool
	slots := make(chan struct{}, atOnce)
	for _, key := range d.store.keys() {
		if e, ok := d.store.read(key); ok && ctx.Err() == nil && !d.placed(key, e, members) {
			slots <- struct{}{}
			work.Go(func() {
				if !d.place(ctx, key, e, members) {
					failed.Store(true)
				}
				<-slots
			})
		}
	}
	work.Wait()
	return !failed.Load() && ctx.Err() == nil
}

// placed reports whether there is nothing to do about a key.
func (d *Directory) placed(key string, e entry, members []string) bool {
	if e.deleted && time.Since(time.Unix(0, e.version)) > buryAfter {
		d.store.drop(key, e.version)
		return true
	}
	all := owners(members, key)
	others, keeps := d.others(all)
	return len(all) == 0 || keeps && len(d.store.missing(key, others)) == 0
}

// others are those of members that are not this one, and whether this one is there, too.
func (d *Directory) others(members []string) (others []string, self bool) {
	others = slices.DeleteFunc(slices.Clone(members), func(name string) bool { return name == d.view.self })
	return others, len(others) < len(members)
}

// place brings what is kept of a key to where it belongs.
func (d *Directory) place(ctx context.Context, key string, e entry, members []string) bool {
	to, keeps := d.others(owners(members, key)) // those that think that this one has it learn otherwise, if it forgets it
	if keeps {
		to = d.store.missing(key, to)
	}
	have := true
	for _, name := range to {
		have = d.copyTo(ctx, name, key, e, keeps) == nil && have
	}
	if have && !keeps {
		d.store.drop(key, e.version)
	}
	return have
}

// copyTo sends a member what is kept of a key, and whether it still is afterwards.
func (d *Directory) copyTo(ctx context.Context, name, key string, e entry, keeps bool) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	header := http.Header{headerVersion: {strconv.FormatInt(e.version, 10)}}
	if e.deleted {
		header.Set(headerDeleted, "1")
	}
	if keeps {
		header.Set(headerKeeps, "1")
	}
	a, err := d.ask(ctx, http.MethodPost, name, keyPath(kept, key), e.value, header)
	if err == nil && a.status != http.StatusNoContent {
		err = fmt.Errorf("%s says: %s", name, bytes.TrimSpace(a.body))
	}
	if err == nil {
		d.store.has(key, name, e.version)
	}
	return err
}

func (d *Directory) serveMembers(w http.ResponseWriter, r *http.Request) {
	if name, ok := d.caller(r); ok {
		d.view.hear(name)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(d.view.roll())
}

// caller is the name of the member that asks.
func (d *Directory) caller(r *http.Request) (string, bool) {
	peer, _ := overlay.PeerFrom(r.Context())
	return d.view.isMember(peer.Names)
}
