package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
)

const (
	// maxItems is how many positions a List tells, 60 bytes each.
	maxItems = 512
	// maxFetch is how many entries one Fetch asks for, and maxFetchBytes at how many bytes
	// the answer ends, one value more at most.
	maxFetch      = 64
	maxFetchBytes = 2 << 20
)

// Query tells what this replica has for a key.
func (n *Node) Query(_ context.Context, req *kvv1.QueryRequest) (*kvv1.QueryResponse, error) {
	s, at := n.disk.current(), hashOf(req.GetKey())
	if err := s.serves(req.GetStore(), req.GetEpoch(), at); err != nil {
		return nil, err
	}
	e, err := n.disk.entry(at)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("read the disk of node %v: %w", n.id, err))
	}
	if e != nil && req.GetVersionOnly() {
		e = &kvv1.Entry{Version: e.GetVersion(), Deleted: e.GetDeleted()}
	}
	return &kvv1.QueryResponse{Entry: e}, nil
}

// Store keeps an entry, unless a later one is there. That this replica is in the view, and
// the entry, are one transaction: whoever hears from it that it has left the view knows of
// all that it has acknowledged there.
func (n *Node) Store(ctx context.Context, req *kvv1.StoreRequest) (*kvv1.StoreResponse, error) {
	if err := validEntry(req.GetEntry()); err != nil {
		return nil, err
	}
	err := n.disk.update(ctx, func(t *txn) error {
		if err := t.state.serves(req.GetStore(), req.GetEpoch(), hashOf(req.GetEntry().GetKey())); err != nil {
			return err
		}
		return t.merge(req.GetEntry())
	})
	return &kvv1.StoreResponse{}, err
}

func validEntry(e *kvv1.Entry) error {
	if n := len(e.GetKey()); n == 0 || n > maxKey || len(e.GetValue()) > maxValue || e.GetVersion().GetCounter() == 0 {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("an entry with a key of %d bytes, a value of %d and version %v", n, len(e.GetValue()), e.GetVersion()))
	}
	return nil
}

// List tells a replica of a view what this one, of the view before, has in an arc.
func (n *Node) List(_ context.Context, req *kvv1.ListRequest) (*kvv1.ListResponse, error) {
	s := n.disk.current()
	if len(req.GetFrom()) != len(ID{}) || len(req.GetTo()) != len(ID{}) || req.GetStore() != s.view.Store || req.GetEpoch() == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("no arc of this store"))
	}
	arc := Arc{ID(req.GetFrom()), ID(req.GetTo())}
	before, _ := n.disk.viewAt(req.GetEpoch() - 1)
	if err := s.handsOver(req.GetEpoch(), before, arc); err != nil {
		return nil, err
	}
	items, more, err := n.disk.list(arc, maxItems)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	return &kvv1.ListResponse{Items: items, More: more}, nil
}

// Fetch tells entries.
func (n *Node) Fetch(_ context.Context, req *kvv1.FetchRequest) (*kvv1.FetchResponse, error) {
	if len(req.GetHashes()) > maxFetch || req.GetStore() != n.disk.current().view.Store {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("not at most %d entries of this store", maxFetch))
	}
	resp, size := new(kvv1.FetchResponse), 0
	for _, hash := range req.GetHashes() {
		if len(hash) != len(ID{}) {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("not a position: %x", hash))
		}
		e, err := n.disk.entry(ID(hash))
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, err)
		}
		if e == nil {
			return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("nothing is at %x any more", hash))
		}
		resp.Entries = append(resp.Entries, e)
		if size += len(e.GetValue()); size >= maxFetchBytes {
			break
		}
	}
	return resp, nil
}
