package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"unicode"
)

// What goes over a conn are lines of UTF-8. The first is greeting, from the side
// that dialled and, if it is welcome, from the other. What follows begins with
// one of the kinds.
const (
	greeting = "weft-chat 1"

	kindSaid = '>' // the rest is for people
	kindBye  = '!' // the rest is why the sender ends the conn
)

// maxLine is how long a line may be, in bytes: longer ones are not chat, and a
// stranger's line without end must not fill the memory.
const maxLine = 1024

// lineReader reads lines and knows whether the last one has an end.
type lineReader struct {
	*bufio.Scanner
	cut bool // the conn ended in the middle of a line
}

func newLineReader(r io.Reader) *lineReader {
	l := &lineReader{Scanner: bufio.NewScanner(r)}
	l.Buffer(nil, maxLine+len(">\n"))
	l.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if l.cut = atEOF && len(data) > 0; l.cut {
			return 0, nil, io.ErrUnexpectedEOF
		}
		return 0, nil, nil
	})
	return l
}

// next returns a line. The error at the end is io.EOF if the other side closed
// the conn behind a whole line.
func (l *lineReader) next() (string, error) {
	if l.Scan() {
		return l.Text(), nil
	}
	if err := l.Err(); err != nil {
		return "", err
	}
	return "", io.EOF
}

// printable takes out of a line what could give orders to a terminal.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(line, string(unicode.ReplacementChar)))
}
