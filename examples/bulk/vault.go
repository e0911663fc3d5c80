package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/weftnet/weft/examples/bulk/bulk"
)

const (
	// maxSnapshot is how long one may be, in bytes: a disk is full sooner or later.
	maxSnapshot = 1 << 40
	// maxListed is how many are listed, which fit into a header.
	maxListed = 256
)

// Codes of a vault's own.
const (
	notFound bulk.Code = "not-found"
	tooLarge bulk.Code = "too-large"
)

// A snapshot is what a vault says of one.
type snapshot struct {
	Name  string    `json:"name"`
	Bytes int64     `json:"bytes,omitempty"`
	Time  time.Time `json:"time,omitzero"`
}

func (s snapshot) String() string {
	return fmt.Sprintf("%s  %d bytes  %s", s.Name, s.Bytes, s.Time.Format(time.DateTime))
}

// A vault keeps snapshots as files of one directory.
type vault struct{ dir *os.Root }

// serve keeps snapshots until ctx ends.
func serve(ctx context.Context, ln net.Listener, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer root.Close()
	v := vault{root}
	s := bulk.Server{
		Handlers: map[string]bulk.Handler{"put": bulk.Func(v.put), "get": bulk.Func(v.get), "list": bulk.Func(v.list)},
		Log:      func(err error) { fmt.Fprintln(os.Stderr, "bulk:", err) },
	}
	return s.Serve(ctx, ln)
}

// check allows names that are files of the directory, and none that begin with a dot,
// as those do that are not whole yet.
func (s snapshot) check() error {
	if s.Name == "" || len(s.Name) > 100 || s.Name[0] == '.' || strings.ContainsFunc(s.Name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/\:`, r)
	}) {
		return &bulk.Error{Code: bulk.Invalid, Text: fmt.Sprintf(`%q cannot be a snapshot's name: use up to 100 letters, digits, dashes and dots`, s.Name)}
	}
	return nil
}

// put keeps a snapshot once all of it has come; until then the one before stays.
func (v vault) put(_ context.Context, s snapshot, body io.Reader) (snapshot, io.Reader, error) {
	if err := s.check(); err != nil {
		return s, nil, err
	}
	part := ".part-" + rand.Text()
	file, err := v.dir.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return s, nil, err
	}
	defer func() { _ = v.dir.Remove(part) }() // fails once it has another name
	s.Bytes, err = io.Copy(file, io.LimitReader(body, maxSnapshot+1))
	if s.Bytes > maxSnapshot {
		err = &bulk.Error{Code: tooLarge, Text: fmt.Sprintf("a snapshot has %d bytes at most here", int64(maxSnapshot))}
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil { // a body that is not whole, too
		return s, nil, err
	}
	if err := v.dir.Rename(part, s.Name); err != nil {
		return s, nil, err
	}
	s.Time = time.Now().UTC().Truncate(time.Second)
	return s, nil, nil
}

// get answers with a snapshot. The server closes the file.
func (v vault) get(_ context.Context, s snapshot, _ io.Reader) (snapshot, io.Reader, error) {
	if err := s.check(); err != nil {
		return s, nil, err
	}
	file, err := v.dir.Open(s.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil, &bulk.Error{Code: notFound, Text: fmt.Sprintf("there is no snapshot %q; list says which there are", s.Name)}
	} else if err != nil {
		return s, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return s, nil, errors.Join(err, file.Close())
	}
	return snapshot{s.Name, info.Size(), info.ModTime().UTC()}, file, nil
}

func (v vault) list(context.Context, struct{}, io.Reader) ([]snapshot, io.Reader, error) {
	entries, err := fs.ReadDir(v.dir.FS(), ".")
	if err != nil {
		return nil, nil, err
	}
	all := []snapshot{}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && (snapshot{Name: e.Name()}).check() == nil && len(all) < maxListed {
			all = append(all, snapshot{e.Name(), info.Size(), info.ModTime().UTC().Truncate(time.Second)})
		}
	}
	return all, nil, nil
}
