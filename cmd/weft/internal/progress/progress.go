// Package progress shows on a terminal how far something is, and nothing elsewhere.
package progress

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// redrawEvery is the least pause between two pictures of a bar.
const redrawEvery = 100 * time.Millisecond

// barWidth is the length of the bar alone, in characters.
const barWidth = 30

// IsTerminal reports whether somebody looks at what is written to w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// A Bar is one line that is drawn again and again. A nil *Bar draws nothing. Multiple
// goroutines may call its methods.
type Bar struct{ bar *progressbar.ProgressBar }

// New returns a bar for total steps on w, or nil if w is no terminal.
func New(w io.Writer, what string, total int64, bytes bool) *Bar {
	if !IsTerminal(w) {
		return nil
	}
	return newBar(w, what, total, bytes)
}

func newBar(w io.Writer, what string, total int64, bytes bool) *Bar {
	return &Bar{progressbar.NewOptions64(max(total, 1),
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionSetWidth(barWidth),
		progressbar.OptionThrottle(redrawEvery),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(bytes),
	)}
}

// Set says how far it is.
func (b *Bar) Set(done int64) {
	if b != nil {
		_ = b.bar.Set64(min(done, b.bar.GetMax64()))
	}
}

// Describe changes the text beside the bar.
func (b *Bar) Describe(what string) {
	if b != nil {
		b.bar.Describe(what)
	}
}

// Clear takes the bar off the terminal.
func (b *Bar) Clear() {
	if b != nil {
		_ = b.bar.Clear()
	}
}
