package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
)

// maxOperations is how many requests of users a node works on at a time; each may have a
// value in memory a few times. Others wait.
const maxOperations = 256

// users is KVService on a node.
type users struct {
	*Node
	left func() // is called when the node has left
}

func (u users) Put(ctx context.Context, req *kvv1.PutRequest) (*kvv1.PutResponse, error) {
	return &kvv1.PutResponse{}, u.Node.Put(ctx, req.GetKey(), req.GetValue())
}

func (u users) Get(ctx context.Context, req *kvv1.GetRequest) (*kvv1.GetResponse, error) {
	value, err := u.Node.Get(ctx, req.GetKey())
	return &kvv1.GetResponse{Value: value}, err
}

func (u users) Delete(ctx context.Context, req *kvv1.DeleteRequest) (*kvv1.DeleteResponse, error) {
	return &kvv1.DeleteResponse{}, u.Node.Delete(ctx, req.GetKey())
}

func (u users) FindHost(ctx context.Context, req *kvv1.FindHostRequest) (*kvv1.FindHostResponse, error) {
	id, s := hashOf(req.GetKey()), u.disk.current()
	if s.view.Epoch == 0 {
		return nil, notYet("node %v is in no store yet", u.id)
	}
	path, err := u.lookup(ctx, id)
	if err != nil {
		return nil, err
	}
	resp := new(kvv1.FindHostResponse)
	for _, node := range path {
		resp.Path = append(resp.Path, node.String())
	}
	for _, m := range s.view.replicas(id) {
		resp.Replicas = append(resp.Replicas, m.Node.String())
	}
	resp.Host = resp.GetReplicas()[0]
	return resp, nil
}

func (u users) Members(context.Context, *kvv1.MembersRequest) (*kvv1.MembersResponse, error) {
	s := u.disk.current()
	resp := &kvv1.MembersResponse{Epoch: s.view.Epoch, Pending: uint32(len(s.pending))}
	for _, m := range s.view.Members {
		resp.Members = append(resp.Members, m.Node.String())
	}
	return resp, nil
}

func (u users) Leave(ctx context.Context, _ *kvv1.LeaveRequest) (*kvv1.LeaveResponse, error) {
	err := u.leave(ctx)
	if err == nil {
		u.left()
	}
	return &kvv1.LeaveResponse{}, err
}

// handler is what users reach: KVService, and the same as REST under /v1. It is for a loopback
// address: whoever reaches it may do everything, except web pages of others.
func (u users) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(kvv1connect.NewKVServiceHandler(u, connect.WithReadMaxBytes(2*(maxValue+maxKey))))
	mux.HandleFunc("PUT /v1/keys/{key}", u.restPut)
	mux.HandleFunc("GET /v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		resp, err := u.Get(r.Context(), &kvv1.GetRequest{Key: []byte(r.PathValue("key"))})
		if err != nil {
			restError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(resp.GetValue())
	})
	mux.HandleFunc("DELETE /v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		_, err := u.Delete(r.Context(), &kvv1.DeleteRequest{Key: []byte(r.PathValue("key"))})
		restDone(w, err)
	})
	mux.HandleFunc("GET /v1/keys/{key}/host", func(w http.ResponseWriter, r *http.Request) {
		resp, err := u.FindHost(r.Context(), &kvv1.FindHostRequest{Key: []byte(r.PathValue("key"))})
		restJSON(w, resp, err)
	})
	mux.HandleFunc("GET /v1/members", func(w http.ResponseWriter, r *http.Request) {
		resp, err := u.Members(r.Context(), nil)
		restJSON(w, resp, err)
	})
	mux.HandleFunc("POST /v1/leave", func(w http.ResponseWriter, r *http.Request) {
		_, err := u.Leave(r.Context(), nil)
		restDone(w, err)
	})
	return http.NewCrossOriginProtection().Handler(onlyLocal(oneOf(maxOperations, mux)))
}

func (u users) restPut(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		err = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the value has more than %d bytes", maxValue))
	} else if err != nil {
		err = connect.NewError(connect.CodeInvalidArgument, err)
	}
	if err == nil {
		_, err = u.Put(r.Context(), &kvv1.PutRequest{Key: []byte(r.PathValue("key")), Value: value})
	}
	restDone(w, err)
}

// oneOf has requests wait, before anything of them is read, while there are so many already.
func oneOf(most int, next http.Handler) http.Handler {
	working := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case working <- struct{}{}:
			defer func() { <-working }()
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// onlyLocal refuses requests that a browser sends because somebody's name points to
// this machine.
func onlyLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			http.Error(w, "call this address by its IP address or as localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func restDone(w http.ResponseWriter, err error) {
	if err != nil {
		restError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func restJSON(w http.ResponseWriter, body any, err error) {
	if err != nil {
		restError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// restError says with a status of HTTP what went wrong.
func restError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch connect.CodeOf(err) {
	case connect.CodeNotFound:
		status = http.StatusNotFound
	case connect.CodeInvalidArgument:
		status = http.StatusBadRequest
	case connect.CodeResourceExhausted:
		status = http.StatusRequestEntityTooLarge
	case connect.CodeFailedPrecondition:
		status = http.StatusConflict
	case connect.CodeUnavailable, connect.CodeCanceled:
		status = http.StatusServiceUnavailable
	}
	text := err.Error()
	if e := (*connect.Error)(nil); errors.As(err, &e) {
		text = e.Message()
	}
	http.Error(w, text, status)
}
