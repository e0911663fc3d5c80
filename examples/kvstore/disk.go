package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/overlay"
)

const (
	// maxJobs is how many changes may wait for the disk, of which each is in the memory
	// of the request that wants it anyway.
	maxJobs = 1024
	// maxCommit is how many changes go to the disk with one fsync.
	maxCommit = 256
)

var (
	bucketMeta  = []byte("meta")
	bucketViews = []byte("views") // epoch: View; all of them, see the README
	bucketData  = []byte("data")  // position of the key: version, Entry

	keySelf    = []byte("self")    // node and life
	keyEpoch   = []byte("epoch")   // of the present view
	keyPending = []byte("pending") // Tasks
	keyVote    = []byte("vote")    // AcceptRequest: the view that was accepted, if any
	keyPromise = []byte("promise") // Ballot
)

// A Disk is all that a node has to remember. One goroutine writes; what waits for it is
// written with one fsync. Whatever update has returned nil for survives a crash.
type Disk struct {
	db   *bolt.DB
	jobs chan *job
	stop chan struct{} // closed by close
	done chan struct{}

	states chan state // holds the state as of the last commit
}

// A job is a change that waits to be written.
type job struct {
	do   func(*txn) error
	err  error
	done chan struct{}
}

// A txn is what a change can read and write. It must have found all its errors before it
// writes, because others are written with it.
type txn struct {
	tx    *bolt.Tx
	state state // what becomes of it is for all to see after the commit
}

// openDisk opens the file in a directory for a node, and makes it if there is none.
func openDisk(dir string, node overlay.NodeID, opts bolt.Options) (*Disk, error) {
	opts.Timeout = time.Second
	db, err := bolt.Open(filepath.Join(dir, "kv.db"), 0o600, &opts)
	if err != nil {
		return nil, fmt.Errorf("open the data in %s: %w; another process may be using it", dir, err)
	}
	d := &Disk{
		db: db, jobs: make(chan *job, maxJobs), stop: make(chan struct{}), done: make(chan struct{}), states: make(chan state, 1),
	}
	var s state
	err = db.Update(func(tx *bolt.Tx) (err error) {
		s, err = loadState(tx, node)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the data in %s: %w", dir, err), db.Close())
	}
	d.states <- s
	go d.write()
	return d, nil
}

// loadState reads what a node knew when it stopped.
func loadState(tx *bolt.Tx, node overlay.NodeID) (state, error) {
	for _, name := range [][]byte{bucketMeta, bucketViews, bucketData} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return state{}, err
		}
	}
	meta := tx.Bucket(bucketMeta)
	self := meta.Get(keySelf)
	if self == nil { // a new life
		life := make([]byte, 8)
		_, _ = rand.Read(life) // never fails
		self = append(binary.BigEndian.AppendUint64(nil, uint64(node)), life...)
		if err := meta.Put(keySelf, self); err != nil {
			return state{}, err
		}
	}
	s := state{self: newMember(overlay.NodeID(binary.BigEndian.Uint64(self)), binary.BigEndian.Uint64(self[8:]))}
	if s.self.Node != node {
		return state{}, fmt.Errorf("it belongs to node %v, and this is %v: use that node's key (WEFT_STATE), or another directory", s.self.Node, node)
	}
	if epoch := meta.Get(keyEpoch); epoch != nil {
		var ok bool
		if s.view, ok = (&txn{tx: tx}).view(binary.BigEndian.Uint64(epoch)); !ok {
			return state{}, errors.New("its view is missing or damaged; delete the directory, and the node joins anew")
		}
	}
	pending := new(kvv1.Tasks)
	if err := proto.Unmarshal(meta.Get(keyPending), pending); err != nil {
		return state{}, err
	}
	s.pending = tasksFrom(pending)
	s.promised = new(kvv1.Ballot)
	s.vote = new(kvv1.AcceptRequest)
	return s, errors.Join(proto.Unmarshal(meta.Get(keyPromise), s.promised), proto.Unmarshal(meta.Get(keyVote), s.vote))
}

// close stops writing. Jobs that wait fail.
func (d *Disk) close() error {
	close(d.stop)
	<-d.done
	return d.db.Close()
}

var errClosed = errors.New("the node is stopping")

// current is the state as of the last commit. Its parts are not modified any more.
func (d *Disk) current() state {
	s := <-d.states
	d.states <- s
	return s
}

// update makes a change that is on the disk when it returns nil.
func (d *Disk) update(ctx context.Context, do func(*txn) error) error {
	j := &job{do: do, done: make(chan struct{})}
	select {
	case d.jobs <- j:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.done:
		return errClosed
	}
	select {
	case <-j.done:
		return j.err
	case <-d.done:
		select {
		case <-j.done:
			return j.err
		default:
			return errClosed
		}
	}
}

// write is the goroutine that owns the file.
func (d *Disk) write() {
	defer close(d.done)
	for {
		select {
		case j := <-d.jobs:
			d.commit(d.waiting(j))
		case <-d.stop:
			return
		}
	}
}

// waiting is a job and those that wait behind it.
func (d *Disk) waiting(first *job) []*job {
	batch := []*job{first}
	for len(batch) < maxCommit {
		select {
		case j := <-d.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

func (d *Disk) commit(batch []*job) {
	t := txn{state: d.current()}
	err := d.db.Update(func(tx *bolt.Tx) error {
		t.tx = tx
		for _, j := range batch {
			j.err = j.do(&t)
		}
		return nil
	})
	if err == nil {
		<-d.states
		d.states <- t.state
	}
	for _, j := range batch {
		if err != nil {
			j.err = fmt.Errorf("write to the disk: %w", err)
		}
		close(j.done)
	}
}

// view reads a view.
func (t *txn) view(epoch uint64) (View, bool) {
	p := new(kvv1.View)
	raw := t.tx.Bucket(bucketViews).Get(binary.BigEndian.AppendUint64(nil, epoch))
	if raw == nil || proto.Unmarshal(raw, p) != nil {
		return View{}, false
	}
	v, err := viewFrom(p)
	return v, err == nil
}

// putView remembers a view as the present one.
func (t *txn) putView(v View) error {
	raw, err := proto.Marshal(v.proto())
	if err != nil {
		return err
	}
	epoch := binary.BigEndian.AppendUint64(nil, v.Epoch)
	return errors.Join(t.tx.Bucket(bucketViews).Put(epoch, raw), t.tx.Bucket(bucketMeta).Put(keyEpoch, epoch))
}

func (t *txn) putPending() error { return t.putMeta(keyPending, tasksProto(t.state.pending)) }

// putMeta remembers a message.
func (t *txn) putMeta(key []byte, m proto.Message) error {
	raw, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return t.tx.Bucket(bucketMeta).Put(key, raw)
}

// merge keeps an entry unless a later one is there.
func (t *txn) merge(e *kvv1.Entry) error {
	version, at := versionFrom(e.GetVersion()), hashOf(e.GetKey())
	data := t.tx.Bucket(bucketData)
	if raw := data.Get(at[:]); raw != nil && versionOf(raw).compare(version) >= 0 {
		return nil
	}
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, versionLen+64+len(e.GetKey())+len(e.GetValue())), version.Counter)
	raw = binary.BigEndian.AppendUint64(raw, version.Writer)
	raw = binary.BigEndian.AppendUint64(raw, version.Op)
	raw, err := proto.MarshalOptions{}.MarshalAppend(raw, e)
	if err != nil {
		return err
	}
	return data.Put(at[:], raw)
}

// versionLen is how many bytes of a record are its version, which is in front so that a
// record can be skipped without being read.
const versionLen = 24

func versionOf(raw []byte) Version {
	return Version{binary.BigEndian.Uint64(raw), binary.BigEndian.Uint64(raw[8:]), binary.BigEndian.Uint64(raw[16:])}
}

// entry reads what is at a position, nil if nothing is.
func (d *Disk) entry(at ID) (e *kvv1.Entry, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketData).Get(at[:])
		if raw == nil {
			return nil
		}
		e = new(kvv1.Entry)
		return proto.Unmarshal(raw[versionLen:], e)
	})
	return e, err
}

// list reads positions and versions in an arc, at most limit; more says that there are
// others after the last.
func (d *Disk) list(arc Arc, limit int) (items []*kvv1.ListResponse_Item, more bool, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		more = scan(tx, arc, func(at ID, raw []byte) bool {
			if len(items) == limit {
				return false
			}
			items = append(items, &kvv1.ListResponse_Item{Hash: bytes.Clone(at[:]), Version: versionOf(raw).proto()})
			return true
		})
		return nil
	})
	return items, more, err
}

// scan calls f with each record in an arc, from its beginning on, until f returns false;
// it returns whether it did.
func scan(tx *bolt.Tx, arc Arc, f func(at ID, raw []byte) bool) (stopped bool) {
	c := tx.Bucket(bucketData).Cursor()
	wraps := arc.From.compare(arc.To) >= 0
	for k, raw := c.Seek(arc.From[:]); k != nil && (wraps || bytes.Compare(k, arc.To[:]) <= 0); k, raw = c.Next() {
		if at := ID(k); at != arc.From && !f(at, raw) {
			return true
		}
	}
	if !wraps {
		return false
	}
	for k, raw := c.First(); k != nil && bytes.Compare(k, arc.To[:]) <= 0; k, raw = c.Next() {
		if !f(ID(k), raw) {
			return true
		}
	}
	return false
}

// viewsAfter reads at most limit views after an epoch.
func (d *Disk) viewsAfter(epoch uint64, limit int) (views []*kvv1.View, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketViews).Cursor()
		for k, raw := c.Seek(binary.BigEndian.AppendUint64(nil, epoch+1)); k != nil && len(views) < limit; k, raw = c.Next() {
			v := new(kvv1.View)
			if err := proto.Unmarshal(raw, v); err != nil {
				return err
			}
			views = append(views, v)
		}
		return nil
	})
	return views, err
}

// viewAt reads one view.
func (d *Disk) viewAt(epoch uint64) (v View, ok bool) {
	_ = d.db.View(func(tx *bolt.Tx) error {
		v, ok = (&txn{tx: tx}).view(epoch)
		return nil
	})
	return v, ok
}
