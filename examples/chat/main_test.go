package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

// A user is one in front of a terminal.
type user struct {
	t     *testing.T
	node  *overlay.Node
	types *io.PipeWriter
	ended chan error

	mu   sync.Mutex
	seen bytes.Buffer
}

func (u *user) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen.Write(p)
}

func (u *user) saw() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen.String()
}

// start begins to chat on a node.
func start(t *testing.T, node *overlay.Node, friends ...string) *user {
	in, types := io.Pipe()
	t.Cleanup(func() { _ = types.Close() })
	u := &user{t: t, node: node, types: types, ended: make(chan error, 1)}
	go func() { u.ended <- chat(context.WithoutCancel(t.Context()), node, friends, in, u) }()
	return u
}

func (u *user) say(format string, args ...any) {
	u.t.Helper()
	if _, err := fmt.Fprintf(u.types, format+"\n", args...); err != nil {
		u.t.Error(err)
	}
}

// sees waits until a text has been shown.
func (u *user) sees(text string) { u.t.Helper(); u.seesTimes(1, text) }

func (u *user) seesTwice(text string) { u.t.Helper(); u.seesTimes(2, text) }

func (u *user) seesTimes(n int, text string) {
	u.t.Helper()
	for range 3000 { // a silent peer is given up after a minute
		if strings.Count(u.saw(), text) >= n {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	u.t.Fatalf("no %q after five minutes, but:\n%s", text, u.saw())
}

// leaves closes the input, as control-D does.
func (u *user) leaves() {
	u.t.Helper()
	_ = u.types.Close()
	if err := <-u.ended; err != nil {
		u.t.Error(err)
	}
}

// inLab runs a test in a lab of a network whose names are certified.
func inLab(t *testing.T, test func(t *testing.T, lab *overlaytest.Lab)) {
	synctest.Test(t, func(t *testing.T) {
		lab := overlaytest.New(t, overlaytest.Config{
			Secret: "a secret for the tests of the chat", Link: overlaytest.Impairment{Latency: 10 * time.Millisecond},
		})
		lab.Relay("relay")
		test(t, lab)
	})
}

func TestEverybodyHearsEverybodyOnce(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab) {
		names := []string{"alice", "bob", "eve"}
		users := make([]*user, len(names))
		for i, name := range names {
			users[i] = &user{node: lab.Node(name, overlay.Config{})}
		}
		for i, u := range users { // all call all at the same moment
			users[i] = start(t, u.node, append(append([]string(nil), names[:i]...), names[i+1:]...)...)
		}
		for i, u := range users {
			for j, name := range names {
				if j != i {
					u.sees(name + " (" + users[j].node.ID().String() + ") is here")
				}
			}
		}
		for i, u := range users {
			for n := range 50 {
				u.say("line %d.", n)
			}
			u.leaves() // and what it said is delivered all the same
			for _, other := range users[i+1:] {
				other.sees("* " + names[i] + " left")
				for n := range 50 {
					if line := fmt.Sprintf("<%s> line %d.\n", names[i], n); strings.Count(other.saw(), line) != 1 {
						t.Errorf("%q was shown %d times", line, strings.Count(other.saw(), line))
					}
				}
				if n := strings.Count(other.saw(), ") is here\n"); n != 2 {
					t.Errorf("%d others came", n)
				}
			}
		}
	})
}

func TestWhoLeavesAndWhoVanishes(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab) {
		alice := start(t, lab.Node("alice", overlay.Config{}), "nobody")
		alice.sees("* nobody is not here: no such node is up")
		alice.say("hello?")
		alice.sees("you are alone")
		bob := start(t, lab.Node("bob", overlay.Config{}), "alice")
		alice.sees("bob (" + bob.node.ID().String() + ") is here")
		alice.say("/who")
		alice.sees("bob (" + bob.node.ID().String() + "), by relay")
		bob.leaves()
		alice.sees("* bob left")

		bob = start(t, bob.node, alice.node.ID().String())
		bob.sees("alice (")
		lab.Cut("bob") // somebody pulled the cable
		bob.say("did you hear that?")
		alice.sees("* bob is gone: ")
		bob.sees("* alice is gone: ")
		if strings.Contains(alice.saw(), "hear that") {
			t.Error("alice heard it")
		}
		lab.Heal("bob")
		bob.seesTwice("* alice (") // a friend is called again
		bob.say("and that?")
		alice.sees("<bob> and that?")
		lab.Kill("bob")
		alice.seesTwice("* bob is gone: ")
		alice.leaves()
	})
}

// greeted is a conn to a user's room by which a test says what it likes.
func greeted(t *testing.T, from *overlay.Node, to *user) (net.Conn, *lineReader) {
	t.Helper()
	conn, err := from.Dial(t.Context(), net.JoinHostPort(to.node.ID().String(), "5222"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, greeting+"\n"); err != nil {
		t.Fatal(err)
	}
	in := newLineReader(conn)
	if line, err := in.next(); line != greeting || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return conn, in
}

func TestBadInput(t *testing.T) {
	for _, tt := range []struct{ name, sent, shown, answer string }{
		{"cut", "> hello\n> hal", "is gone in the middle of a line", ""},
		{"long", ">" + strings.Repeat("x", maxLine+1) + "\n", "was put out: a line had more than 1024 bytes", "!a line had more than 1024 bytes"},
		{"endless", strings.Repeat("x", 1<<20), "was put out: a line had more than 1024 bytes", "!a line had more than 1024 bytes"},
		{"longest", ">" + strings.Repeat("x", maxLine) + "\n", "> " + strings.Repeat("x", maxLine) + "\n", ""},
		{"empty", "\n", "was put out: a line was not of this protocol", "!a line was not of this protocol"},
		{"escapes", ">\x1b[2J\xff\a red\n", "> \ufffd[2J\ufffd\ufffd red\n", ""},
		{"bye", "!no more\n", "put you out: no more", ""},
		{"later", "?what is this\n>hello\n", "> hello\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, lab *overlaytest.Lab) {
				alice := start(t, lab.Node("alice", overlay.Config{}))
				conn, in := greeted(t, lab.Node("mallory", overlay.Config{}), alice)
				_, _ = io.WriteString(conn, tt.sent)
				if tt.answer == "" {
					_ = conn.Close()
				}
				alice.sees(tt.shown)
				if line, err := in.next(); tt.answer != "" && (line != tt.answer || err != nil) {
					t.Errorf("the answer is %q, %v", line, err)
				}
				_ = conn.Close()
				alice.leaves()
			})
		})
	}
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab) {
		alice := start(t, lab.Node("alice", overlay.Config{}))
		conn, err := lab.Node("browser", overlay.Config{}).Dial(t.Context(), "alice:5222")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\n")
		if all, err := io.ReadAll(conn); string(all) != "!this is weft-chat 1, and not what you speak\n" || err != nil {
			t.Errorf("%q, %v", all, err)
		}
		_ = conn.Close()
		alice.leaves()
	})
}

// Who does not read is put out, has everything that was said before, and is
// told why.
func TestSlowReaderIsPutOut(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab) {
		alice := start(t, lab.Node("alice", overlay.Config{}))
		_, in := greeted(t, lab.Node("slow", overlay.Config{}), alice)
		said := 0
		for ; !strings.Contains(alice.saw(), "* slow was put out"); said++ {
			if said == 1<<16 {
				t.Fatal("64 MiB were said to somebody who does not read")
			}
			alice.say("%0*d", maxLine, said)
			synctest.Wait()
		}
		for n := range said - 1 { // the last one found the queue full
			if line, err := in.next(); line != fmt.Sprintf(">%0*d", maxLine, n) || err != nil {
				t.Fatalf("line %d of %d is %.20q, %v", n, said, line, err)
			}
		}
		if line, err := in.next(); line != "!128 lines wait to be read" || err != nil {
			t.Errorf("%q, %v", line, err)
		}
		if line, err := in.next(); err != io.EOF {
			t.Errorf("%q, %v", line, err)
		}
		alice.leaves()
	})
}

func TestWhatIsTyped(t *testing.T) {
	inLab(t, func(t *testing.T, lab *overlaytest.Lab) {
		node := lab.Node("alice", overlay.Config{})
		for _, who := range []string{"alice", "ALICE", node.ID().String(), "", "bob:5222", "http://bob"} {
			if err := chat(t.Context(), node, []string{who}, nil, nil); err == nil || !strings.Contains(err.Error(), "nobody to chat with") {
				t.Errorf("%q: %v", who, err)
			}
		}
		alice := start(t, node)
		alice.say("%s", strings.Repeat("x", maxLine+1))
		alice.sees("* not said: a line has 1024 bytes at most, and this one has 1025")
		if err := chat(t.Context(), node, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "5222") {
			t.Errorf("a second chat on the node: %v", err)
		}
		alice.leaves()
	})
}

func TestChatFromTheEnvironment(t *testing.T) {
	cfg := testnet.Start(t)
	testnet.Setenv(t, cfg)
	t.Setenv(overlay.EnvName, "alice")
	var seen strings.Builder
	if err := run(testnet.Context(t), nil, strings.NewReader("hello\n"), &seen); err != nil || !strings.Contains(seen.String(), "you are alone") {
		t.Errorf("%q, %v", &seen, err)
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(t.Context(), nil, nil, nil); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
}
