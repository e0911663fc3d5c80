package overlay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wholefile"
)

// revocationsFile is the file in StateDir that holds what is revoked, a line of
// text each.
const revocationsFile = "revocations"

// maxRevocationsFile is how much of it is read: more than the longest has.
const maxRevocationsFile = 256 * identity.MaxRevocations

// A revocationFile keeps revocations over restarts. Only the warden's goroutine
// uses it, and before that New.
type revocationFile struct {
	path  string
	saved uint64 // version of what it holds
}

// recall reads what was revoked before the restart. What is damaged is left out:
// relays tell it again.
func (w *warden) recall() {
	log := w.node.log.WithField("file", w.file.path)
	f, err := os.Open(w.file.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		log.WithError(err).Error("what was revoked cannot be read; make the file readable, or remove it")
		return
	}
	defer f.Close()
	bad := 0
	lines := bufio.NewScanner(io.LimitReader(f, maxRevocationsFile))
	for lines.Scan() {
		b, err := identity.ParseRevocation(lines.Text())
		if err == nil {
			_, _, err = w.revoked.Add(b)
		}
		if err != nil {
			bad++
		}
	}
	if err := lines.Err(); err != nil || bad > 0 {
		log.WithError(err).Warnf("%d lines are no revocations of this network, or of a former secret that is not accepted any more", bad)
	}
	_, w.file.saved, _ = w.revoked.After(0, 0)
}

// remember writes what is revoked, unless the file has it.
func (w *warden) remember() {
	if w.file == nil {
		return
	}
	if news, _, _ := w.revoked.After(w.file.saved, 1); len(news) == 0 {
		return
	}
	_, version, _ := w.revoked.After(0, 0)
	var text []byte
	for _, b := range w.revoked.All() {
		text = append(append(text, identity.FormatRevocation(b)...), '\n')
	}
	w.file.saved = version // also after an error, so that it is not tried all the time
	if err := w.file.replace(text); err != nil {
		w.node.log.WithError(err).Error("what is revoked cannot be written; after a restart a relay has to tell it again")
	}
}

// replace writes the file; it appears whole or not at all.
func (f *revocationFile) replace(text []byte) error {
	if err := wholefile.Replace(f.path, text); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return nil
}
