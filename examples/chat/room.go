package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/weftnet/weft/overlay"
)

const (
	port = 5222

	// maxMembers bounds what strangers can make a node keep. In a larger room
	// everybody sending to everybody is the wrong design.
	maxMembers = 64
	// backlog is how many lines wait for a member who reads slowly, more than
	// anybody types in the time that a bad path takes to recover.
	backlog = 128
	// patience is how long a greeting may take, and a farewell.
	patience = 10 * time.Second
	// again is how long after a failure a friend is called the next time.
	again = 5 * time.Second
)

// A room is one node's view of who is there. The goroutine in run owns it; all
// others have it do things by do.
type room struct {
	ctx   context.Context // ends with run
	leave context.CancelFunc
	node  *overlay.Node
	ln    net.Listener
	todo  chan func()
	wg    sync.WaitGroup

	// ---- owned by run ----
	out     *bufio.Writer // keeps its first error
	members map[overlay.NodeID]*member
	calling map[overlay.NodeID]bool // greeted, and have not answered
}

// A member is another node that is in the room.
type member struct {
	peer  overlay.Peer
	conn  net.Conn
	queue chan string // lines for it; run closes it when the member is out
	bye   string      // why, if it is our doing; set before that
}

// name is what the member's certificate says, so that nobody takes another's
// without the network's secret.
func (m *member) name() string {
	if len(m.peer.Names) > 0 {
		return m.peer.Names[0]
	}
	return m.peer.ID.String()
}

// is reports whether the member is the one whom a user means by who.
func (m *member) is(who string) bool {
	return strings.EqualFold(who, m.name()) || who == m.peer.ID.String() || who == m.peer.Key.String()
}

// enter begins to wait for others, and to call friends.
func enter(ctx context.Context, node *overlay.Node, friends []string, out io.Writer) (*room, error) {
	for _, who := range friends {
		if strings.EqualFold(who, node.Name()) || who == node.ID().String() || who == "" || strings.ContainsAny(who, ":/ ") {
			return nil, fmt.Errorf("%q is nobody to chat with: name other nodes, by name, ID or key and without a port", who)
		}
	}
	ln, err := node.Listen(port)
	if err != nil {
		return nil, err
	}
	r := &room{
		node: node, ln: ln, todo: make(chan func()), out: bufio.NewWriter(out),
		members: make(map[overlay.NodeID]*member), calling: make(map[overlay.NodeID]bool),
	}
	r.ctx, r.leave = context.WithCancel(ctx)
	r.wg.Go(r.accept)
	for _, who := range friends {
		r.wg.Go(func() { r.keepCalling(who) })
	}
	return r, nil
}

// run does what others ask for by do, and says what is typed, until there is no
// more of that, ctx ends or the output breaks. Then it leaves the room: what was
// said is on its way when it returns.
func (r *room) run(lines <-chan string) error {
	defer r.wg.Wait()
	defer r.ln.Close()
	defer func() {
		for _, m := range r.members {
			close(m.queue)
		}
	}()
	defer r.leave()
	r.tell("* you are %s (%s)", r.node.Name(), r.node.ID())
	for r.out.Flush() == nil {
		select {
		case f := <-r.todo:
			f()
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			r.say(line)
		case <-r.ctx.Done():
			return nil
		}
	}
	return r.out.Flush()
}

// do has run call f and waits for that. It reports false if the room is left.
func (r *room) do(f func()) bool {
	done := make(chan struct{})
	select {
	case r.todo <- func() { defer close(done); f() }:
		<-done
		return true
	case <-r.ctx.Done():
		return false
	}
}

// tell shows something to the user.
func (r *room) tell(format string, args ...any) {
	fmt.Fprintln(r.out, printable(fmt.Sprintf(format, args...)))
}

// say sends a line to all, or does what it orders.
func (r *room) say(line string) {
	switch {
	case line == "/who":
		r.tell("* %d others are here", len(r.members))
		for id, m := range r.members {
			path, _ := overlay.PathOf(m.conn)
			r.tell("*   %s (%s), by %s", m.name(), id, path)
		}
	case len(line) > maxLine:
		r.tell("* not said: a line has %d bytes at most, and this one has %d", maxLine, len(line))
	case len(r.members) == 0:
		r.tell("* nobody heard that: you are alone")
	default:
		for _, m := range r.members {
			r.send(m, string(kindSaid)+line)
		}
	}
}

// send queues a line for a member. Who does not keep up is put out, so that
// nobody is slowed down by another.
func (r *room) send(m *member, line string) {
	select {
	case m.queue <- line:
	default:
		r.putOut(m, fmt.Sprintf("%d lines wait to be read", backlog))
	}
}

// join makes a node a member, with a first line for it if there is one.
func (r *room) join(m *member, first string) {
	if first != "" {
		r.send(m, first)
	}
	r.members[m.peer.ID] = m
	r.tell("* %s (%s) is here", m.name(), m.peer.ID)
	r.wg.Go(func() { r.write(m) })
}

// putOut ends a member's conn for a reason, of which it is told.
func (r *room) putOut(m *member, why string) {
	m.bye = why
	r.remove(m, "was put out: "+why)
}

// remove takes a member out. Doing it twice is nothing.
func (r *room) remove(m *member, how string) {
	if r.members[m.peer.ID] != m {
		return
	}
	delete(r.members, m.peer.ID)
	_ = m.conn.SetWriteDeadline(time.Now().Add(patience)) // for what is queued; an error shows in write
	close(m.queue)
	r.tell("* %s %s", m.name(), how)
}

// write sends a member what is queued, and closes the conn behind the last line.
func (r *room) write(m *member) {
	defer m.conn.Close() // delivers what was written, and wakes read
	stop := context.AfterFunc(r.ctx, func() { _ = m.conn.SetWriteDeadline(time.Now().Add(patience)) })
	defer stop()
	for line := range m.queue {
		if _, err := io.WriteString(m.conn, line+"\n"); err != nil {
			r.do(func() { r.remove(m, "is gone: "+err.Error()) })
			return
		}
	}
	if m.bye != "" {
		_, _ = io.WriteString(m.conn, string(kindBye)+m.bye+"\n") // if it reads again in time
	}
}

// read handles what a member sends, until it is out. It leaves it to write to
// close the conn, which may have more to deliver.
func (r *room) read(m *member, in *lineReader) {
	for {
		line, err := in.next()
		if !r.do(func() { r.heard(m, line, in.cut, err) }) || err != nil {
			return
		}
	}
}

// heard handles a line of a member, or the error in its place.
func (r *room) heard(m *member, line string, cut bool, err error) {
	switch {
	case r.members[m.peer.ID] != m: // is out already
	case err == io.EOF:
		r.remove(m, "left")
	case errors.Is(err, bufio.ErrTooLong):
		r.putOut(m, fmt.Sprintf("a line had more than %d bytes", maxLine))
	case cut:
		r.remove(m, "is gone in the middle of a line: "+err.Error())
	case err != nil:
		r.remove(m, "is gone: "+err.Error())
	case line == "":
		r.putOut(m, "a line was not of this protocol")
	case line[0] == kindSaid:
		r.tell("<%s> %s", m.name(), line[1:])
	case line[0] == kindBye:
		r.remove(m, "put you out: "+line[1:])
	default: // of a later version
	}
}
