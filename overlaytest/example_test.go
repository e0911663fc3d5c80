package overlaytest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

// A client talks to a server, and goes on talking after their only relay was
// killed and restarted.
func Example() {
	t := new(exampleT) // the *testing.T in a test
	defer t.end()

	lab := overlaytest.New(t, overlaytest.Config{
		Link: overlaytest.Impairment{Latency: time.Millisecond},
	})
	lab.Relay("relay")
	server := lab.Node("server", overlay.Config{})
	client := lab.Node("client", overlay.Config{})

	ln, err := server.Listen(7)
	if err != nil {
		t.Fatalf("%v", err)
	}
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()

	conn, err := client.Dial(t.Context(), "server:7")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer conn.Close()
	for _, text := range []string{"hello", "still there?"} {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatalf("%v", err)
		}
		echo := make([]byte, len(text))
		if _, err := io.ReadFull(conn, echo); err != nil {
			t.Fatalf("%v", err)
		}
		fmt.Println(string(echo))

		lab.Kill("relay")
		lab.Restart("relay")
	}
	// Output:
	// hello
	// still there?
}

// exampleT is a *testing.T for an example, which has none.
type exampleT struct{ cleanups []func() }

func (*exampleT) Helper()                  {}
func (*exampleT) Context() context.Context { return context.Background() }
func (*exampleT) Output() io.Writer        { return io.Discard }
func (t *exampleT) Cleanup(f func())       { t.cleanups = append(t.cleanups, f) }

func (*exampleT) Fatalf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	os.Exit(1)
}

func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}
