package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"time"
)

// wrongPause is how long somebody with a wrong code waits for the answer, so that nobody
// tries them all.
const wrongPause = time.Second

// A Receiver receives files. Its fields must not be modified once it is in use.
type Receiver struct {
	Root *os.Root // where files go
	// Code is what a sender has to say. Empty: nothing.
	Code string
	// MaxFiles and MaxBytes bound one transfer.
	MaxFiles int
	MaxBytes int64
	// Force replaces files that are there.
	Force bool
	// Begin is asked before a transfer of so many bytes, and may refuse it; end is
	// called after it. Nil: all are received.
	Begin func(files int, bytes int64) (end func(), err error)
	// Progress is told how many bytes more of a file are there. Nil: nobody.
	Progress func(name string, bytes int64)
	// Done is told what became of each file. Nil: nobody.
	Done func(Outcome)
}

// Receive receives what the sender at the other end of a conn has. The number is that of
// files that are not there afterwards. When ctx ends, the conn is reset.
func (r *Receiver) Receive(ctx context.Context, conn net.Conn) (failed int, err error) {
	w, stop := newWire(ctx, conn)
	defer stop()
	h, err := r.welcome(ctx, w)
	if err == nil {
		failed, err = r.receive(w, h)
	}
	if err != nil && ctx.Err() != nil {
		return failed, context.Cause(ctx)
	}
	return failed, err
}

// welcome reads a hello and judges it.
func (r *Receiver) welcome(ctx context.Context, w *wire) (h hello, err error) {
	if err := w.renew(helloTimeout); err != nil {
		return h, err
	}
	if err := w.hear(&h); err != nil {
		return h, err
	}
	if subtle.ConstantTimeCompare([]byte(Code(h.Code)), []byte(Code(r.Code))) != 1 && r.Code != "" {
		t := time.NewTimer(wrongPause)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return h, r.refuse(w, errors.New("that is not the code that weft receive has shown; say it as --code"))
	}
	switch {
	case h.Files < 0 || h.Bytes < 0:
		return h, r.refuse(w, errors.New("fewer files than none are sent"))
	case h.Files > r.MaxFiles:
		return h, r.refuse(w, fmt.Errorf("%d files are too many: %d are received at once (--max-files)", h.Files, r.MaxFiles))
	case h.Bytes > r.MaxBytes:
		return h, r.refuse(w, fmt.Errorf("%d bytes are too many: %d are received at once (--max-bytes)", h.Bytes, r.MaxBytes))
	}
	return h, nil
}

// Code makes a code what it is, whatever way somebody types it.
func Code(s string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(s))
}

func (r *Receiver) refuse(w *wire, why error) error {
	return errors.Join(why, w.say(state{Error: why.Error()}))
}

func (r *Receiver) receive(w *wire, h hello) (failed int, err error) {
	if r.Begin != nil {
		end, err := r.Begin(h.Files, h.Bytes)
		if err != nil {
			return 0, r.refuse(w, err)
		}
		defer end()
	}
	if err := w.say(state{}); err != nil {
		return 0, err
	}
	left := h.Bytes
	for range h.Files {
		var o offer
		if err := w.hear(&o); err != nil {
			return failed, err
		}
		if o.Skip {
			failed++
			continue
		}
		if o.Size < 0 || o.Size > left {
			return failed, r.refuse(w, errors.New("there are more bytes than the sender has said at first"))
		}
		left -= o.Size
		out, err := r.file(w, o)
		if err != nil {
			return failed, fmt.Errorf("%s: %w", Printable(o.Name), err)
		}
		if out.Err != nil {
			failed++
		}
		if r.Done != nil {
			r.Done(out)
		}
	}
	return failed, nil
}

// file receives one file. The error means that the transfer has broken.
func (r *Receiver) file(w *wire, o offer) (Outcome, error) {
	out := Outcome{Name: o.Name, Size: o.Size}
	p, err := r.open(o)
	if err != nil {
		out.Err = err
		return out, w.say(state{Error: err.Error()})
	}
	defer p.close()
	if err := w.say(state{Have: p.have, Hash: p.sum.Sum(nil), Only: p.temp == ""}); err != nil {
		return out, err
	}
	var s start
	if err := w.hear(&s); err != nil {
		return out, err
	}
	if s.Offset == leaveOut && p.temp == "" {
		out.Err = errDiffers
		return out, nil
	}
	if s.Offset != 0 && s.Offset != p.have {
		return out, fmt.Errorf("the sender goes on at %d, not at %d or 0; is it of another version of weft?", s.Offset, p.have)
	}
	bad := p.begin(s.Offset)
	out.Resumed = s.Offset
	r.progress(o.Name, s.Offset)
	to := &sink{p, bad}
	if err := w.carry(to, w.r, o.Size-s.Offset, func(n int64) { r.progress(o.Name, n) }); err != nil {
		return out, err
	}
	var e end
	if err := w.hear(&e); err != nil {
		return out, err
	}
	out.Err = to.err
	if out.Err == nil {
		out.Err = p.finish(e.Hash)
	}
	if out.Err != nil {
		return out, w.say(state{Error: out.Err.Error()})
	}
	return out, w.say(state{})
}

func (r *Receiver) progress(name string, n int64) {
	if r.Progress != nil {
		r.Progress(name, n)
	}
}

// A sink writes, and goes on without, once something has gone wrong: the sender cannot
// be stopped but by ending all.
type sink struct {
	p   *part
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	if s.err == nil {
		if _, s.err = s.p.file.Write(b); s.err == nil {
			_, _ = s.p.sum.Write(b)
		}
	}
	return len(b), nil
}

// A part is a file that is not all there yet.
type part struct {
	root  *os.Root
	name  string // at last
	temp  string // until then; empty if the file is there already
	force bool
	file  *os.File
	have  int64     // bytes
	sum   hash.Hash // of what is there
}

// open opens what is there of a file: the whole, a part, or nothing.
func (r *Receiver) open(o offer) (*part, error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	p := &part{root: r.Root, name: o.Name, force: r.Force, sum: sha256.New()}
	info, err := r.Root.Lstat(o.Name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, errors.New("something else than a file has that name here")
	case err == nil && info.Size() == o.Size && !r.Force:
		// Perhaps it has come in a former attempt.
		if p.file, err = r.Root.Open(o.Name); err != nil {
			return nil, err
		}
		return p, p.measure(o.Size)
	case err == nil && !r.Force:
		return nil, errDiffers
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	dir, base := path.Split(o.Name)
	if dir != "" {
		if err := r.Root.MkdirAll(strings.TrimSuffix(dir, "/"), 0o777); err != nil {
			return nil, err
		}
	}
	id := sha256.Sum256(fmt.Appendf(nil, "%s %d", base, o.Size))
	p.temp = dir + ".weft-" + hex.EncodeToString(id[:8]) + ".part"
	if info, err := r.Root.Lstat(p.temp); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file; remove it", p.temp)
	}
	if p.file, err = r.Root.OpenFile(p.temp, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	return p, p.measure(o.Size)
}

// measure hashes what is there, and closes the file if that fails.
func (p *part) measure(size int64) (err error) {
	if p.have, err = io.Copy(p.sum, io.LimitReader(p.file, size)); err != nil {
		p.close()
	}
	return err
}

// begin says where the sender goes on. The error is for the end of the file.
func (p *part) begin(offset int64) error {
	if p.temp == "" {
		if offset == p.have {
			return nil // it is the same
		}
		return errDiffers
	}
	if offset == 0 {
		p.sum.Reset()
	}
	if err := p.file.Truncate(offset); err != nil {
		return err
	}
	_, err := p.file.Seek(offset, io.SeekStart)
	return err
}

// finish gives the file its name, if it is what was sent.
func (p *part) finish(want []byte) error {
	if !bytes.Equal(p.sum.Sum(nil), want) {
		if p.temp != "" {
			p.close()
			_ = p.root.Remove(p.temp)
		}
		return errors.New("what has arrived is not what was sent; send it again")
	}
	if p.temp == "" {
		return nil
	}
	if err := errors.Join(p.file.Sync(), p.file.Close()); err != nil {
		return err
	}
	if p.force {
		return p.root.Rename(p.temp, p.name)
	}
	// A link never takes another file's place.
	err := p.root.Link(p.temp, p.name)
	switch {
	case err == nil:
		return p.root.Remove(p.temp)
	case errors.Is(err, fs.ErrExist):
		return errors.New("a file of that name has appeared meanwhile; weft receive --force replaces it")
	}
	if _, err := p.root.Lstat(p.name); err == nil { // where there are no links
		return errors.New("a file of that name has appeared meanwhile; weft receive --force replaces it")
	}
	return p.root.Rename(p.temp, p.name)
}

func (p *part) close() { _ = p.file.Close() }
