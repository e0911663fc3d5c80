package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/weftnet/weft/overlay"
)

// How two nodes come to have one conn although both may dial: the side that
// dialled greets, the other welcomes it or says why not. A node that has greeted
// and is greeted by the same peer welcomes it only if its own ID is the higher
// one. Nothing is said before the welcome, so nothing is lost with the conn that
// is given up.

// errThere means that there is a conn with that node already, or soon.
var errThere = errors.New("is here already")

// accept answers those who dial.
func (r *room) accept() {
	for {
		conn, err := r.ln.Accept()
		if err != nil {
			return // run closed it
		}
		r.wg.Go(func() {
			peer, _ := overlay.PeerOf(conn)
			m := &member{peer: peer, conn: conn, queue: make(chan string, backlog)}
			if in, ok := r.answer(m); ok {
				r.read(m, in)
			} else {
				_ = conn.Close()
			}
		})
	}
}

// answer answers a greeting.
func (r *room) answer(m *member) (*lineReader, bool) {
	in := newLineReader(m.conn)
	stop := r.limit(m.conn)
	defer stop()
	said, err := in.next()
	if err != nil {
		return nil, false // it thought better of it
	}
	no := ""
	if !r.do(func() {
		switch {
		case said != greeting:
			no = fmt.Sprintf("this is %s, and not what you speak", greeting)
		case r.members[m.peer.ID] != nil || r.calling[m.peer.ID] && r.node.ID() < m.peer.ID:
			no = errThere.Error()
		case len(r.members) >= maxMembers:
			no = fmt.Sprintf("the room is full, with %d others", maxMembers)
		default:
			stop()
			r.join(m, greeting)
		}
	}) {
		no = "leaving"
	}
	if no != "" {
		_, _ = fmt.Fprintf(m.conn, "%c%s\n", kindBye, no)
	}
	return in, no == ""
}

// limit ends what a conn does at the end of ctx, or of patience, until stop.
func (r *room) limit(conn net.Conn) (stop func()) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	cancel := context.AfterFunc(r.ctx, func() { _ = conn.SetDeadline(time.Now()) })
	return func() {
		if cancel() {
			_ = conn.SetDeadline(time.Time{})
		}
	}
}

// keepCalling calls a friend whenever it is not there, and tells of each new
// reason why that is.
func (r *room) keepCalling(who string) {
	told := ""
	for {
		there := false
		if !r.do(func() {
			for _, m := range r.members {
				there = there || m.is(who)
			}
		}) {
			return
		}
		var err error
		if !there {
			err = r.call(who)
		}
		if err == nil || errors.Is(err, errThere) {
			told = ""
		} else if now := reason(err); now != told {
			told = now
			r.do(func() { r.tell("* %s is not here: %s", who, now) })
		}
		select {
		case <-time.After(again):
		case <-r.ctx.Done():
			return
		}
	}
}

func reason(err error) string {
	switch {
	case errors.Is(err, overlay.ErrUnknownNode):
		return "no such node is up"
	case errors.Is(err, overlay.ErrRefused):
		return "that node is up, but not in a chat"
	}
	return err.Error()
}

// call dials a node, and talks to it until one of both leaves.
func (r *room) call(who string) error {
	conn, err := r.node.Dial(r.ctx, net.JoinHostPort(who, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	peer, _ := overlay.PeerOf(conn)
	m := &member{peer: peer, conn: conn, queue: make(chan string, backlog)}
	in, err := r.greet(m)
	if err != nil {
		_ = conn.Close()
		return err
	}
	r.read(m, in)
	return nil
}

// greet greets a node that was dialled.
func (r *room) greet(m *member) (*lineReader, error) {
	in := newLineReader(m.conn)
	id := m.peer.ID
	err := context.Canceled
	r.do(func() {
		if err = nil; r.members[id] != nil || r.calling[id] {
			err = errThere
			return
		}
		r.calling[id] = true
	})
	if err != nil {
		return nil, err
	}
	stop := r.limit(m.conn)
	defer stop()
	said := ""
	if _, err = io.WriteString(m.conn, greeting+"\n"); err == nil {
		said, err = in.next()
	}
	if err == nil && said != greeting {
		err = fmt.Errorf("it says %q", printable(said))
		if said == string(kindBye)+errThere.Error() {
			err = errThere
		}
	}
	if !r.do(func() {
		delete(r.calling, id)
		if err == nil {
			stop()
			r.join(m, "")
		}
	}) {
		err = r.ctx.Err()
	}
	return in, err
}
