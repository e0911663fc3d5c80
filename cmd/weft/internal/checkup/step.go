// Package checkup judges what a node finds around it: each step says in words what was
// seen and, if that is a problem, what to do about it. The judging does no I/O; asking a
// relay's port (AskRelay) and the machine (Interfaces) is apart from it.
package checkup

import (
	"fmt"
	"io"
	"strings"
)

// A Verdict says how bad a step is.
type Verdict string

// The verdicts, from the best on.
const (
	OK      Verdict = "ok"
	Note    Verdict = "note"    // good to know
	Warning Verdict = "warning" // something works less well than it could
	Failure Verdict = "failure" // something does not work
)

// rank orders verdicts.
var rank = map[Verdict]int{OK: 0, Note: 1, Warning: 2, Failure: 3}

// A Step is one thing that was looked at.
type Step struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	Advice  string  `json:"advice,omitempty"` // what to do
}

// Steps are those of one checkup. The zero value has none.
type Steps []Step

// Add adds a step.
func (s *Steps) Add(name string, v Verdict, advice, format string, args ...any) {
	*s = append(*s, Step{name, v, fmt.Sprintf(format, args...), advice})
}

// Worst is the worst verdict.
func (s Steps) Worst() Verdict {
	worst := OK
	for _, x := range s {
		if rank[x.Verdict] > rank[worst] {
			worst = x.Verdict
		}
	}
	return worst
}

// First returns the first step that is as bad as v, or nil.
func (s Steps) First(v Verdict) *Step {
	for i := range s {
		if s[i].Verdict == v {
			return &s[i]
		}
	}
	return nil
}

// Write writes the steps for people, the advice below what it is about.
func (s Steps) Write(w io.Writer) {
	for _, x := range s {
		x.Write(w)
	}
}

// Write writes one step for people.
func (s Step) Write(w io.Writer) {
	fmt.Fprintf(w, "%-8s %s: %s\n", s.Verdict, s.Name, printable(s.Text))
	if s.Advice != "" {
		fmt.Fprintf(w, "         -> %s\n", printable(s.Advice))
	}
}

// printable keeps what others have said from doing anything to the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
