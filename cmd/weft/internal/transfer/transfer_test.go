package transfer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// content is the same each time, and nothing else's.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(b)
	return b
}

// A breaking conn is cut off once it has carried so many bytes.
type breaking struct {
	net.Conn
	left int
}

var errCut = errors.New("the way has broken")

func (b *breaking) Write(p []byte) (int, error) {
	if b.left >= 0 && len(p) > b.left {
		n, _ := b.Conn.Write(p[:b.left])
		_ = b.Conn.Close()
		return n, errCut
	}
	b.left -= len(p)
	return b.Conn.Write(p)
}

// A trial is one transfer and what came of it.
type trial struct {
	sender             Sender
	receiver           Receiver
	sent, received     []Outcome
	sendErr, recvErr   error
	failed             int
	carried, received0 int64
}

func newTrial(t *testing.T, dir string, files ...File) *trial {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	tr := &trial{sender: Sender{Files: files}, receiver: Receiver{Root: root, MaxFiles: 100, MaxBytes: 1 << 30}}
	tr.sender.Done = func(o Outcome) { tr.sent = append(tr.sent, o) }
	tr.receiver.Done = func(o Outcome) { tr.received = append(tr.received, o) }
	tr.sender.Progress = func(_ string, n int64) { tr.carried += n }
	tr.receiver.Progress = func(_ string, n int64) { tr.received0 += n }
	return tr
}

// run transfers over a conn that breaks after so many bytes, or never if that is
// negative.
func (tr *trial) run(t *testing.T, breakAfter int) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.failed, tr.recvErr = tr.receiver.Receive(t.Context(), b)
		_ = b.Close()
	}()
	tr.sendErr = tr.sender.Send(t.Context(), &breaking{a, breakAfter})
	_ = a.Close()
	<-done
}

// writeFile makes a file to send.
func writeFile(t *testing.T, name string, b []byte) File {
	t.Helper()
	p := filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return File{p, name, int64(len(b))}
}

func wantFile(t *testing.T, dir, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes that are not the %d sent, %v", name, len(got), len(want), err)
	}
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func TestFilesArrive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	big, empty := content(1, 3*blockSize+17), []byte{}
	tr := newTrial(t, dir, writeFile(t, "big", big), writeFile(t, "photos/2026/empty", empty))
	tr.run(t, -1)
	if tr.sendErr != nil || tr.recvErr != nil || tr.failed != 0 || len(tr.sent) != 2 || len(tr.received) != 2 {
		t.Fatalf("%+v", tr)
	}
	wantFile(t, dir, "big", big)
	wantFile(t, dir, "photos/2026/empty", empty)
	if tr.carried != int64(len(big)) || tr.received0 != tr.carried {
		t.Errorf("told of %d and %d bytes of %d", tr.carried, tr.received0, len(big))
	}
	if got := entries(t, dir); len(got) != 2 {
		t.Errorf("there are %q", got)
	}
}

// Wherever a transfer breaks, the next one goes on there, and what arrives is what was
// sent.
func TestABrokenTransferGoesOn(t *testing.T) {
	t.Parallel()
	a, b := content(1, 2*blockSize+100), content(2, blockSize+5)
	for _, breakAfter := range []int{0, 20, 120, 1000, blockSize, blockSize + 500, 2*blockSize + 250, 2*blockSize + 400, 3*blockSize + 150, 3*blockSize + 300} {
		dir := t.TempDir()
		files := []File{writeFile(t, "a", a), writeFile(t, "b", b)}
		first := newTrial(t, dir, files...)
		first.run(t, breakAfter)
		if first.sendErr == nil || first.recvErr == nil {
			t.Fatalf("a conn that breaks after %d bytes has carried all", breakAfter)
		}
		second := newTrial(t, dir, files...)
		second.run(t, -1)
		if second.sendErr != nil || second.recvErr != nil || second.failed != 0 {
			t.Fatalf("after %d bytes: %v, %v", breakAfter, second.sendErr, second.recvErr)
		}
		wantFile(t, dir, "a", a)
		wantFile(t, dir, "b", b)
		var resumed int64
		for _, o := range second.received {
			resumed += o.Resumed
		}
		if want := int64(breakAfter - 700 - blockSize); resumed < want || resumed > int64(breakAfter) {
			t.Errorf("after %d bytes it goes on at %d", breakAfter, resumed)
		}
		if got := entries(t, dir); len(got) != 2 {
			t.Errorf("after %d bytes there are %q", breakAfter, got)
		}
	}
}

// What is there of another file is not gone on with.
func TestAnotherFilesPartIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := newTrial(t, dir, writeFile(t, "a", content(1, 2*blockSize)))
	first.run(t, blockSize+500)
	other := content(2, 2*blockSize)
	second := newTrial(t, dir, writeFile(t, "a", other))
	second.run(t, -1)
	if second.sendErr != nil || second.recvErr != nil || second.received[0].Resumed != 0 {
		t.Fatalf("%+v", second)
	}
	wantFile(t, dir, "a", other)
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	for name, old := range map[string][]byte{"as long": content(9, 100), "longer": content(9, 200)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a"), old, 0o600); err != nil {
			t.Fatal(err)
		}
		file, next := writeFile(t, "a", content(1, 100)), writeFile(t, "b", content(2, 50))
		tr := newTrial(t, dir, file, next)
		tr.run(t, -1)
		if tr.sendErr != nil || tr.recvErr != nil || tr.failed != 1 || tr.sent[0].Err == nil || !strings.Contains(tr.sent[0].Err.Error(), "--force") {
			t.Errorf("%s: %+v", name, tr)
		}
		wantFile(t, dir, "a", old)
		wantFile(t, dir, "b", content(2, 50)) // goes on
		tr = newTrial(t, dir, file)
		tr.receiver.Force = true
		tr.run(t, -1)
		if tr.sendErr != nil || tr.failed != 0 {
			t.Errorf("%s, by force: %+v", name, tr)
		}
		wantFile(t, dir, "a", content(1, 100))
	}
}

func TestWhatIsThereAlreadyIsNotSentAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := writeFile(t, "a", content(1, 1000))
	newTrial(t, dir, file).run(t, -1)
	tr := newTrial(t, dir, file)
	tr.run(t, -1)
	if tr.sendErr != nil || tr.failed != 0 || tr.received[0].Resumed != 1000 || tr.sent[0].Resumed != 1000 {
		t.Errorf("%+v", tr)
	}
	wantFile(t, dir, "a", content(1, 1000))
}

func TestLimits(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "a", content(1, 1000))
	gone := File{filepath.Join(t.TempDir(), "none"), "gone", 10}
	short := file
	short.Size = 2000
	tests := []struct {
		name   string
		change func(tr *trial)
		want   string // of the sender's error
		failed int
	}{
		{"too many files", func(tr *trial) { tr.receiver.MaxFiles = 0 }, "--max-files", 0},
		{"too many bytes", func(tr *trial) { tr.receiver.MaxBytes = 999 }, "--max-bytes", 0},
		{"no code", func(tr *trial) { tr.receiver.Code = "ABCD-EFGH" }, "not the code", 0},
		{"a wrong code", func(tr *trial) { tr.receiver.Code, tr.sender.Code = "ABCD-EFGH", "ABCDEFGI" }, "not the code", 0},
		{"the code", func(tr *trial) { tr.receiver.Code, tr.sender.Code = "ABCD-EFGH", "abcd efgh" }, "", 0},
		{"busy", func(tr *trial) {
			tr.receiver.Begin = func(int, int64) (func(), error) { return nil, errors.New("busy") }
		}, "the receiver says: busy", 0},
		{"a file that is not there", func(tr *trial) { tr.sender.Files = []File{gone, file} }, "", 1},
		{"a file that became shorter", func(tr *trial) { tr.sender.Files = []File{short} }, "shorter", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTrial(t, t.TempDir(), file)
				tt.change(tr)
				tr.run(t, -1)
				if (tr.sendErr == nil) != (tt.want == "") || tr.sendErr != nil && !strings.Contains(tr.sendErr.Error(), tt.want) || tr.failed != tt.failed {
					t.Errorf("%v, %v, %d failed", tr.sendErr, tr.recvErr, tr.failed)
				}
			})
		})
	}
}

// A sender with code of its own gets nothing outside of the directory, and no more bytes
// than it has said.
func TestHostileSenders(t *testing.T) {
	t.Parallel()
	hostile := func(t *testing.T, dir string, lines ...string) (answers []state, err error) {
		t.Helper()
		tr := newTrial(t, dir)
		a, b := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer a.Close()
			r := bufio.NewReader(a)
			for _, line := range lines {
				if _, err := io.WriteString(a, line); err != nil {
					return
				}
				if !strings.HasSuffix(line, "\n") || strings.HasPrefix(line, `{"offset`) {
					continue
				}
				var st state
				line, err := readLine(r)
				if err != nil || json.Unmarshal(line, &st) != nil {
					return
				}
				answers = append(answers, st)
			}
		}()
		_, err = tr.receiver.Receive(t.Context(), b)
		_ = b.Close()
		<-done
		return answers, err
	}
	const h = `{"files":1,"bytes":10}` + "\n"
	for name, lines := range map[string][]string{
		"above":           {h, `{"name":"../x","size":1}` + "\n"},
		"from the root":   {h, `{"name":"/etc/x","size":1}` + "\n"},
		"hidden":          {h, `{"name":".bashrc","size":1}` + "\n"},
		"a device":        {h, `{"name":"sub/nul.txt","size":1}` + "\n"},
		"a symlink":       {h, `{"name":"link","size":1}` + "\n"},
		"through one":     {h, `{"name":"out/x","size":1}` + "\n"},
		"more":            {h, `{"name":"x","size":11}` + "\n"},
		"less than none":  {h, `{"name":"x","size":-1}` + "\n"},
		"many":            {`{"files":101,"bytes":10}` + "\n"},
		"fewer than none": {`{"files":-1,"bytes":10}` + "\n"},
	} {
		dir, outside := t.TempDir(), t.TempDir()
		for link, to := range map[string]string{"link": filepath.Join(outside, "x"), "out": outside} {
			if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
				t.Skip(err)
			}
		}
		answers, _ := hostile(t, dir, lines...)
		if len(answers) != len(lines) || answers[len(answers)-1].Error == "" {
			t.Errorf("%s: %+v", name, answers)
		}
		if left := entries(t, outside); len(left) > 0 {
			t.Errorf("%s: %q are outside", name, left)
		}
		if got := entries(t, dir); len(got) != 2 {
			t.Errorf("%s: %q are there", name, got)
		}
	}
	// What arrives is another file than was promised.
	dir := t.TempDir()
	answers, err := hostile(t, dir, h, `{"name":"x","size":3}`+"\n", `{"offset":0}`+"\n", "abc", `{"hash":"AAAA"}`+"\n")
	if err != nil || len(answers) != 3 || !strings.Contains(answers[2].Error, "not what was sent") || len(entries(t, dir)) != 0 {
		t.Errorf("%+v, %v, %q", answers, err, entries(t, dir))
	}
	for name, lines := range map[string][]string{
		"an offset of its own": {h, `{"name":"x","size":3}` + "\n", `{"offset":2}` + "\n"},
		"leaving out":          {h, `{"name":"x","size":3}` + "\n", `{"offset":-1}` + "\n"},
		"nonsense":             {"\x00\xff\n"},
		"a long line":          {strings.Repeat("x", maxLine+1) + "\n"},
		"nothing":              {},
	} {
		if _, err := hostile(t, t.TempDir(), lines...); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestAnAppearedFileIsNotReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tr := newTrial(t, dir, writeFile(t, "a", content(1, 1000)))
	tr.receiver.Progress = func(string, int64) {
		_ = os.WriteFile(filepath.Join(dir, "a"), []byte("mine"), 0o600)
	}
	tr.run(t, -1)
	if tr.failed != 1 || tr.sendErr != nil || !strings.Contains(tr.sent[0].Err.Error(), "appeared meanwhile") {
		t.Errorf("%+v", tr)
	}
	wantFile(t, dir, "a", []byte("mine"))
}

func TestSilenceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, t.TempDir())
		a, b := net.Pipe()
		defer a.Close()
		begun := time.Now()
		if _, err := tr.receiver.Receive(t.Context(), b); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != helloTimeout {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("told to stop")
		cancel(why)
		c, d := net.Pipe()
		defer c.Close()
		if err := tr.sender.Send(ctx, d); !errors.Is(err, why) {
			t.Errorf("stopped: %v", err)
		}
	})
}

func TestCollect(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "photos")
	for _, name := range []string{"a", "sub/b", ".hidden/c", "sub/.d"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	files, skipped, err := Collect([]string{filepath.Join(dir, "a"), dir})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "a photos/a photos/sub/b" {
		t.Errorf("sends %s", got)
	}
	if got := strings.Join(skipped, " "); got != "photos/.hidden photos/link photos/sub/.d" {
		t.Errorf("skips %s", got)
	}
	for _, p := range []string{filepath.Join(dir, "none"), filepath.Join(dir, ".hidden"), os.DevNull} {
		if _, _, err := Collect([]string{p}); err == nil {
			t.Errorf("%s is sent", p)
		}
	}
}
