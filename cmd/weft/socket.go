package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
)

// socketEnd is how the names of the sockets of running nodes end.
const socketEnd = ".sock"

// socketPatience is how long either side of a socket waits for the other.
const socketPatience = 5 * time.Second

// socketDir returns the directory with the sockets of this user's nodes, which
// nobody else may enter.
func socketDir() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("weft-%d", os.Getuid()))
	if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" {
		dir = filepath.Join(run, "weft")
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return "", err
	case !info.IsDir() || !ownedByMe(info) || !private(info):
		return "", fmt.Errorf("%s is not a directory that only this user may enter; remove it, or set XDG_RUNTIME_DIR", dir)
	}
	return dir, nil
}

// openSocket lets weft status ask a node that runs in this process, until stop
// is called. That it does not work is no reason not to run the node.
func openSocket(node *overlay.Node, log logrus.FieldLogger) (stop func()) {
	ln, err := listenSocket(node.ID())
	if err != nil {
		log.WithError(err).Info("weft status cannot ask this node")
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(newReport(node.Status()))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: socketPatience, WriteTimeout: socketPatience, MaxHeaderBytes: maxHeader}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(ln)
	}()
	return func() {
		_ = srv.Close() // and the socket's file is gone
		<-served
	}
}

func listenSocket(id overlay.NodeID) (net.Listener, error) {
	dir, err := socketDir()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, id.String()+socketEnd)
	if _, err := askSocket(context.Background(), file); err == nil {
		return nil, fmt.Errorf("%s answers already: the node runs twice", file)
	}
	_ = os.Remove(file) // of a process that was killed
	return new(net.ListenConfig).Listen(context.Background(), "unix", file)
}

// askSocket asks a node for its report.
func askSocket(ctx context.Context, file string) (r report, err error) {
	ctx, cancel := context.WithTimeout(ctx, socketPatience)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", file)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/status", nil)
	if err != nil {
		return r, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return r, fmt.Errorf("%s answers %s; is it of another version of weft?", file, resp.Status)
	}
	return r, json.NewDecoder(resp.Body).Decode(&r)
}

// askAll asks all nodes of this user on this machine, in the order of their IDs.
// Sockets of processes that were killed are passed over.
func askAll(ctx context.Context) ([]report, error) {
	dir, err := socketDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []report
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), socketEnd) {
			continue
		}
		if r, err := askSocket(ctx, filepath.Join(dir, e.Name())); err == nil {
			all = append(all, r)
		}
	}
	return all, nil
}
