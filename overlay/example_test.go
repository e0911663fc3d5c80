package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// One node listens, another dials it by name, and both know who is at the other
// end.
func Example() {
	secret := overlay.NewSecret() // one for all nodes of a network
	dial, stop := overlay.InMemory(secret)
	defer stop()
	server, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, Name: "kv-1", DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, Name: "ann", DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ln, err := server.Listen(80)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		peer, _ := overlay.PeerOf(conn)
		fmt.Fprintf(conn, "hello, %s", peer.Names[0])
	}()
	if err := server.WaitReady(context.Background()); err != nil { // it can be looked up now
		log.Fatal(err)
	}

	conn, err := client.Dial(context.Background(), "kv-1:80")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer)
	// Output: hello, ann
}

// Servers and clients of net/http work unmodified, and handlers know the
// caller.
func ExampleNode_HTTPTransport() {
	secret := overlay.NewSecret()
	dial, stop := overlay.InMemory(secret)
	defer stop()
	server, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, Name: "files", DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, Name: "ann", DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer, _ := overlay.PeerFrom(r.Context())
			fmt.Fprintf(w, "%s over %s", peer.Names[0], r.Proto)
		}),
		ConnContext: overlay.ConnContext, // for PeerFrom
		Protocols:   new(http.Protocols),
	}
	srv.Protocols.SetUnencryptedHTTP2(true) // the conns themselves are encrypted
	ln, err := server.Listen(80)
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	if err := server.WaitReady(context.Background()); err != nil {
		log.Fatal(err)
	}

	transport := client.HTTPTransport()
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://files/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", body)
	// Output: ann over HTTP/2.0
}

// A listener may say which peers it wants, and the errors of a dial say what
// went wrong.
func ExampleListenConfig() {
	secret := overlay.NewSecret()
	dial, stop := overlay.InMemory(secret)
	defer stop()
	server, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, Name: "eve", DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ln, err := overlay.ListenConfig{Allow: &overlay.Rule{Names: []string{"ann"}}}.Listen(server, 22)
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	if err := server.WaitReady(context.Background()); err != nil {
		log.Fatal(err)
	}

	_, err = client.Dial(context.Background(), server.ID().String()+":22")
	fmt.Println("not allowed:", errors.Is(err, overlay.ErrNotAllowed))
	_, err = client.Dial(context.Background(), server.ID().String()+":23")
	fmt.Println("refused:", errors.Is(err, overlay.ErrRefused))
	_, err = client.Dial(context.Background(), "nobody:22")
	fmt.Println("unknown:", errors.Is(err, overlay.ErrUnknownNode))
	// Output:
	// not allowed: true
	// refused: true
	// unknown: true
}

// Packets are for protocols that do without order and retransmission.
func ExampleNode_ListenPacket() {
	secret := overlay.NewSecret()
	dial, stop := overlay.InMemory(secret)
	defer stop()
	server, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, Name: "clock", DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := overlay.New(overlay.Config{Secret: secret, Relays: []string{"relay:9999"}, DialLink: dial})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	pc, err := server.ListenPacket(123)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append(b[:n], " o'clock"...), from)
		}
	}()
	if err := server.WaitReady(context.Background()); err != nil {
		log.Fatal(err)
	}

	conn, err := client.DialPacket(context.Background(), "clock:123")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("five")); err != nil {
		log.Fatal(err)
	}
	b := make([]byte, 1500)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := conn.Read(b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b[:n])
	// Output: five o'clock
}

// A node's page on a loopback address, for who runs the program alone.
func ExampleDebugHandler() {
	node, err := overlay.New(overlay.Config{Open: true, NoDirect: true})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	mux := http.NewServeMux()
	mux.Handle("/debug/weft/", http.StripPrefix("/debug/weft", overlay.DebugHandler(node)))

	server := httptest.NewServer(mux) // or http.ListenAndServe("127.0.0.1:6060", mux)
	defer server.Close()
	resp, err := http.Get(server.URL + "/debug/weft/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("Content-Type"))
	// Output: 200 OK text/html; charset=utf-8
}
