package overlaytest_test

import (
	"fmt"
	"io"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

// Two hosts behind the routers of two homes find a direct path to each other, and
// use it even after their only relay has died.
func ExampleLab_NAT() {
	t := new(exampleT) // the *testing.T in a test
	defer t.end()

	lab := overlaytest.New(t, overlaytest.Config{})
	lab.Relay("relay")
	for _, host := range []string{"alice", "bob"} {
		home := "home of " + host
		lab.NAT(home, overlaytest.NAT{Kind: overlaytest.PortRestricted, Timeout: time.Minute})
		lab.Place(host, home)
	}
	direct := make(chan overlay.Event, 10)
	tell := overlay.Config{OnEvent: func(e overlay.Event) {
		if e.Kind == overlay.EventPathUp {
			direct <- e
		}
	}}
	alice := lab.Node("alice", tell)
	bob := lab.Node("bob", tell)

	ln, err := bob.Listen(7)
	if err != nil {
		t.Fatalf("%v", err)
	}
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	conn, err := alice.Dial(t.Context(), "bob:7")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer conn.Close()

	<-direct // from Alice to Bob
	<-direct // from Bob to Alice
	lab.Kill("relay")

	if _, err := io.WriteString(conn, "hello, neighbour"); err != nil {
		t.Fatalf("%v", err)
	}
	echo := make([]byte, len("hello, neighbour"))
	if _, err := io.ReadFull(conn, echo); err != nil {
		t.Fatalf("%v", err)
	}
	fmt.Println(string(echo))
	// Output:
	// hello, neighbour
}

// A laptop is carried from home to the office, where the router reboots.
func ExampleLab_Place() {
	t := new(exampleT)
	defer t.end()

	lab := overlaytest.New(t, overlaytest.Config{})
	lab.Relay("relay")
	lab.NAT("home", overlaytest.NAT{})
	lab.NAT("office", overlaytest.NAT{Kind: overlaytest.Symmetric})
	lab.Place("laptop", "home")
	laptop := lab.Node("laptop", overlay.Config{})

	lab.Place("laptop", "office")
	lab.RebootNAT("office")
	lab.WaitReady("laptop")
	fmt.Println(laptop.Name(), "is back")
	// Output:
	// laptop is back
}
