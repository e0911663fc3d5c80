package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/bulk/bulk"
	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startVault keeps snapshots until the test ends.
func startVault(t *testing.T, ln net.Listener) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- serve(ctx, ln, dir) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestSnapshots(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := startVault(t, ln)
	via := bulk.Dialer(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	})
	ctx := testnet.Context(t)
	sent := make([]byte, 3<<20)
	_, _ = rand.Read(sent)
	var out bytes.Buffer
	if err := put(ctx, via, "notes", bytes.NewReader(sent), &out); err != nil || !strings.HasPrefix(out.String(), "notes  3145728 bytes  20") {
		t.Errorf("%q, %v", &out, err)
	}
	torn := errors.New("torn")
	if err := put(ctx, via, "notes", iotest.TimeoutReader(iotest.DataErrReader(bytes.NewReader(sent))), &out); !errors.Is(err, iotest.ErrTimeout) {
		t.Error(err)
	}
	if err := put(ctx, via, "more", iotest.ErrReader(torn), &out); !errors.Is(err, torn) {
		t.Error(err)
	}
	var got bytes.Buffer
	if err := get(ctx, via, "notes", &got); err != nil || !bytes.Equal(sent, got.Bytes()) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	out.Reset()
	if err := list(ctx, via, &out); err != nil || strings.Count(out.String(), "\n") != 1 || !strings.HasPrefix(out.String(), "notes  3145728 bytes") {
		t.Errorf("%q, %v", &out, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err) // nothing is left of what was torn
	}
	for name, want := range map[string]string{"nothing": `there is no snapshot "nothing"`, "../notes": "cannot be a snapshot's name", ".part": "cannot be", "": "cannot be", "a\nb": "cannot be"} {
		if err := get(ctx, via, name, &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := put(ctx, via, "../notes", bytes.NewReader(sent), &out); err == nil || !strings.Contains(err.Error(), "cannot be a snapshot's name") {
		t.Error(err)
	}
}

func TestFromTheEnvironment(t *testing.T) {
	cfg := testnet.Start(t)
	ln, err := testnet.Named(t, cfg, "vault").Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	startVault(t, ln)
	testnet.Setenv(t, cfg)
	var got strings.Builder
	ctx := testnet.Context(t)
	for _, args := range []string{"put vault hello", "get vault hello", "list vault"} {
		if err := run(ctx, strings.Fields(args), strings.NewReader("hello, vault\n"), &got); err != nil {
			t.Error(args, err)
		}
	}
	if !strings.Contains(got.String(), "\nhello, vault\nhello  13 bytes") {
		t.Errorf("%q", &got)
	}
	if err := run(ctx, []string{"list", "cellar"}, nil, &got); !errors.Is(err, overlay.ErrUnknownNode) {
		t.Error(err)
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(ctx, []string{"list", "vault"}, nil, nil); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
	for _, args := range []string{"", "put vault", "get", "serve", "bench now"} {
		if err := run(ctx, strings.Fields(args), nil, nil); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// The table has a line for each way. With WEFT_DOCS=1 it is the one of README.md.
func TestFigures(t *testing.T) {
	s := size{rounds: 1, bytes: 4<<20 + 1, calls: 20}
	ctx := testnet.Context(t)
	if os.Getenv("WEFT_DOCS") != "" {
		s, ctx = fullSize, t.Context()
	}
	var out strings.Builder
	if err := bench(ctx, s, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"TCP  ", "TLS  ", "weft, direct path  ", "weft, over a relay  ", "rounds of"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	t.Logf("\n%s", &out)
}
