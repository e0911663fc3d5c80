package top

import (
	"context"
	"io"
	"strings"
	"time"
)

// resizeEvery is how often the size of the terminal is looked at.
const resizeEvery = 250 * time.Millisecond

// The control sequences (ECMA-48, and xterm's for the other screen).
const (
	enter = "\x1b[?1049h\x1b[?25l" // the other screen, no cursor
	leave = "\x1b[?25h\x1b[?1049l"
	home  = "\x1b[H"
	erase = "\x1b[K" // to the end of the line
	below = "\x1b[J" // to the end of the screen
)

// A Screen is the terminal, in raw mode.
type Screen struct {
	In   io.Reader // keys; read until its end, also after Run
	Out  io.Writer
	Size func() (width, height int)
}

// Run shows the model until somebody quits or ctx ends, which is no error. It asks for
// news at each interval, while which keys and the terminal's size are heeded.
func Run(ctx context.Context, s Screen, m *Model, interval time.Duration, ask func(context.Context) ([]Node, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys := make(chan Key)
	go readKeys(ctx, s.In, keys)
	type news struct {
		nodes []Node
		err   error
	}
	told := make(chan news)
	asking := make(chan struct{})
	go func() { // a node that hangs holds up no key
		defer close(asking)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			nodes, err := ask(ctx)
			select {
			case told <- news{nodes, err}:
			case <-ctx.Done():
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-asking }()
	if _, err := io.WriteString(s.Out, enter); err != nil {
		return err
	}
	defer func() { _, _ = io.WriteString(s.Out, leave) }()
	resize := time.NewTicker(resizeEvery)
	defer resize.Stop()
	width, height := s.Size()
	for {
		select {
		case k := <-keys:
			m.Key(k)
		case n := <-told:
			m.Update(n.nodes, n.err)
		case <-resize.C:
			w, h := s.Size()
			if w == width && h == height {
				continue
			}
			width, height = w, h
		case <-ctx.Done():
			return nil
		}
		if m.Done() {
			return nil
		}
		if err := draw(s.Out, m.Lines(width, height)); err != nil {
			return err
		}
	}
}

// draw draws lines with one write, so that nothing flickers.
func draw(w io.Writer, lines []string) error {
	_, err := io.WriteString(w, home+strings.Join(lines, erase+"\r\n")+erase+below)
	return err
}
