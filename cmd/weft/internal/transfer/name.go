package transfer

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"
)

const (
	// maxName is the length of a name with its directories, in bytes, and maxPart that
	// of each of them, which is what file systems take.
	maxName, maxPart = 1024, 255
	// maxDepth is how many directories deep a file may be.
	maxDepth = 16
)

// CheckName returns a sentence about why a file that a peer names so is not received. A
// name may have directories before it, parted by slashes; none may lead anywhere else,
// be hidden, or be something else than a file on any system.
func CheckName(name string) error { return checkName(name, runtime.GOOS == "windows") }

func checkName(name string, windows bool) error {
	if len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("a name has at most %d bytes, of UTF-8", maxName)
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return fmt.Errorf("%q is more than %d directories deep", name, maxDepth)
	}
	for _, p := range parts {
		if err := checkPart(p, windows); err != nil {
			return fmt.Errorf("%q is no name for a file: %w", name, err)
		}
	}
	return nil
}

func checkPart(p string, windows bool) error {
	switch {
	case p == "":
		return errors.New("a part of it is empty")
	case len(p) > maxPart:
		return fmt.Errorf("a part of it has more than %d bytes", maxPart)
	case p[0] == '.':
		return errors.New("it begins with a dot")
	case p[0] == ' ' || p[len(p)-1] == ' ' || p[len(p)-1] == '.':
		return errors.New("it begins or ends with a space, or ends with a dot")
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\\' || isBidi(r) }):
		return errors.New("it has a backslash, or characters that cannot be seen")
	case windows && strings.ContainsAny(p, `<>:"|?*`):
		return errors.New("this system has no names with any of " + `<>:"|?*`)
	case isDevice(p):
		return errors.New("on Windows it is a device")
	}
	return nil
}

// isBidi reports whether r changes the order in which others are seen.
func isBidi(r rune) bool {
	return r == '\u061c' || r == '\u200e' || r == '\u200f' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// isDevice reports whether a name is a device on Windows, in any directory and with any
// extension.
func isDevice(p string) bool {
	base, _, _ := strings.Cut(p, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if n, ok := strings.CutPrefix(base, port); ok && strings.Contains("0123456789¹²³", n) && utf8.RuneCountInString(n) == 1 {
			return true
		}
	}
	return false
}
