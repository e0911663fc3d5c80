package progress

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNothingIsDrawnWhereNobodyLooks(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bar := New(f, "what", 10, true)
	bar.Set(5)
	bar.Describe("else")
	bar.Clear()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("%v bytes, %v", info.Size(), err)
	}
	if IsTerminal(new(strings.Builder)) {
		t.Error("a string is a terminal")
	}
}

func TestABarIsDrawnAndCleared(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	bar := newBar(&b, "what", 0, false)
	bar.Set(1 << 40)
	bar.Describe("else")
	bar.Clear()
	if got := b.String(); !strings.Contains(got, "what") && !strings.Contains(got, "else") {
		t.Errorf("drawn: %q", got)
	}
}
