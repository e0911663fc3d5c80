package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
)

// An Outcome is what became of one file.
type Outcome struct {
	Name    string
	Size    int64 // bytes
	Resumed int64 // bytes that were there before
	Err     error // nil: it has arrived, and its hash is right
}

// A Sender sends files.
type Sender struct {
	Files []File
	Code  string // that the receiver shows; empty: it needs none
	// Progress is told how many bytes more of a file are there. Nil: nobody.
	Progress func(name string, bytes int64)
	// Done is told what became of each file. Nil: nobody.
	Done func(Outcome)
}

// Send sends the files on a conn to a receiver. Files that were refused are told to Done;
// the error means that the transfer has broken, or that the receiver wants nothing. When
// ctx ends, the conn is reset.
func (s *Sender) Send(ctx context.Context, conn net.Conn) error {
	w, stop := newWire(ctx, conn)
	defer stop()
	err := s.send(w)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (s *Sender) send(w *wire) error {
	h := hello{Code: s.Code, Files: len(s.Files)}
	for _, f := range s.Files {
		h.Bytes += f.Size
	}
	if err := w.say(h); err != nil {
		return err
	}
	var welcome state
	if err := w.hear(&welcome); err != nil {
		return err
	}
	if welcome.Error != "" {
		return &RefusedError{welcome.Error}
	}
	for _, f := range s.Files {
		o, err := s.file(w, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if s.Done != nil {
			s.Done(o)
		}
	}
	return nil
}

// file sends one file. The error means that the transfer has broken.
func (s *Sender) file(w *wire, f File) (Outcome, error) {
	o := Outcome{Name: f.Name, Size: f.Size}
	file, err := os.Open(f.Path)
	if err != nil {
		o.Err = err
		s.progress(f.Name, f.Size)
		return o, w.say(offer{Skip: true})
	}
	defer file.Close()
	if err := w.say(offer{Name: f.Name, Size: f.Size}); err != nil {
		return o, err
	}
	var st state
	if err := w.hear(&st); err != nil {
		return o, err
	}
	if st.Error != "" {
		o.Err = &RefusedError{st.Error}
		s.progress(f.Name, f.Size)
		return o, nil
	}
	sum, at, err := common(file, f.Size, st)
	if err != nil {
		return o, err
	}
	if st.Only && at != f.Size {
		o.Err = errDiffers
		s.progress(f.Name, f.Size)
		return o, w.say(start{leaveOut})
	}
	o.Resumed = at
	s.progress(f.Name, at)
	if err := w.say(start{at}); err != nil {
		return o, err
	}
	if err := w.carry(io.MultiWriter(w.conn, sum), file, f.Size-at, func(n int64) { s.progress(f.Name, n) }); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it became shorter while it was sent; send it again")
		}
		return o, err
	}
	if err := w.say(end{sum.Sum(nil)}); err != nil {
		return o, err
	}
	var arrived state
	if err := w.hear(&arrived); err != nil {
		return o, err
	}
	if arrived.Error != "" {
		o.Err = &RefusedError{arrived.Error}
	}
	return o, nil
}

func (s *Sender) progress(name string, n int64) {
	if s.Progress != nil {
		s.Progress(name, n)
	}
}

// common returns how many bytes of the file the receiver has, and their hash, with the
// file behind them.
func common(file io.ReadSeeker, size int64, st state) (hash.Hash, int64, error) {
	sum := sha256.New()
	if st.Have > 0 && st.Have <= size && len(st.Hash) == hashSize {
		if _, err := io.CopyN(sum, file, st.Have); err != nil {
			return nil, 0, fmt.Errorf("it became shorter while it was sent; send it again: %w", err)
		}
		if bytes.Equal(sum.Sum(nil), st.Hash) {
			return sum, st.Have, nil
		}
		sum.Reset()
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, 0, err
		}
	}
	return sum, 0, nil
}
