package top

import (
	"context"
	"io"
)

// A Key is a key that was pressed: a lower-case letter, or one of these.
type Key byte

// The keys that are no letters.
const (
	KeyQuit Key = 1 + iota
	KeyUp
	KeyDown
	KeyLeft
	KeyRight
)

// keysOf reads the keys in what a terminal has sent. The rest is the beginning of a key
// whose end is still to come.
func keysOf(b []byte) (keys []Key, rest []byte) {
	for len(b) > 0 {
		switch c := b[0]; {
		case c == 3 || c == 4 || c == 'q' || c == 'Q': // ^C, ^D
			keys = append(keys, KeyQuit)
		case c == 0x1b && len(b) == 1:
			return keys, b
		case c == 0x1b && (b[1] == '[' || b[1] == 'O'):
			n := sequence(b)
			if n == 0 {
				if len(b) < maxSequence {
					return keys, b
				}
				n = len(b) // that is none
			} else if k, ok := arrows[b[n-1]]; ok {
				keys = append(keys, k)
			}
			b = b[n:]
			continue
		case c >= 'a' && c <= 'z':
			keys = append(keys, Key(c))
		}
		b = b[1:]
	}
	return keys, nil
}

var arrows = map[byte]Key{'A': KeyUp, 'B': KeyDown, 'C': KeyRight, 'D': KeyLeft}

// maxSequence bounds what is kept of a sequence without an end, in bytes.
const maxSequence = 32

// sequence is the length of the control sequence at the beginning of b, 0 if its end is
// missing.
func sequence(b []byte) int {
	for i := 2; i < len(b); i++ {
		if b[i] >= 0x40 && b[i] <= 0x7e {
			return i + 1
		}
	}
	return 0
}

// readKeys reads keys until the end of r. A read from a terminal cannot be interrupted, so
// that this may stay behind until the process ends.
func readKeys(ctx context.Context, r io.Reader, out chan<- Key) {
	var rest []byte
	buf := make([]byte, 64)
	for {
		n, err := r.Read(buf)
		var keys []Key
		keys, rest = keysOf(append(rest, buf[:n]...))
		for _, k := range keys {
			select {
			case out <- k:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}
