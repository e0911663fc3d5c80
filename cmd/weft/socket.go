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
	"sync"
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
	if err := privateDir(dir); err != nil {
		return "", fmt.Errorf("%w; or set XDG_RUNTIME_DIR", err)
	}
	return dir, nil
}

// privateDir makes sure that there is a directory that only this user may enter.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir() || !ownedByMe(info) || !private(info):
		return fmt.Errorf("%s is not a directory that only this user may enter; remove it, or choose another", dir)
	}
	return nil
}

// A socket is what other processes of this user ask a node on.
type socket struct {
	file string
	stop func()
}

// openSocket lets weft status ask a node that runs in this process, until stop
// is called. That it does not work is no reason not to run the node.
func openSocket(node *overlay.Node, log logrus.FieldLogger) (stop func()) {
	return openSocketWith(node, log, func(*report) {})
}

// openSocketWith is openSocket for a node about which there is more to tell.
func openSocketWith(node *overlay.Node, log logrus.FieldLogger, more func(*report)) (stop func()) {
	s, err := serveSocket(node, "", func() report {
		r := newReport(node.Status())
		more(&r)
		return r
	}, nil)
	if err != nil {
		log.WithError(err).Info("weft status cannot ask this node")
		return func() {}
	}
	return s.stop
}

// serveSocket answers what weft status asks, and whatever else api does, if it is not
// nil, on a socket. The file is empty for one that weft status finds.
func serveSocket(node *overlay.Node, file string, status func() report, api http.Handler) (socket, error) {
	ln, err := listenSocket(node.ID(), file)
	if err != nil {
		return socket{}, err
	}
	mux := http.NewServeMux()
	if api != nil {
		mux.Handle("/", api)
	}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(socketPatience))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status())
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: socketPatience, MaxHeaderBytes: maxHeader}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(ln)
	}()
	return socket{ln.Addr().String(), func() {
		_ = srv.Close() // and the socket's file is gone
		<-served
	}}, nil
}

// listenSocket listens on a socket that only this user can reach.
func listenSocket(id overlay.NodeID, file string) (net.Listener, error) {
	if file == "" {
		dir, err := socketDir()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(dir, id.String()+socketEnd)
	} else if err := privateDir(filepath.Dir(file)); err != nil {
		return nil, err
	}
	if _, err := askSocket(context.Background(), file); err == nil {
		return nil, fmt.Errorf("%s answers already: the node runs twice", file)
	}
	if info, err := os.Lstat(file); err == nil && info.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(file) // of a process that was killed
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "unix", file)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(file, 0o600); err != nil { // nobody else can enter the directory, in any case
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
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
	found, err := findSockets(ctx)
	var all []report
	for _, f := range found {
		all = append(all, f.report)
	}
	return all, err
}

// A foundNode is a node that runs, and where it is asked.
type foundNode struct {
	report
	socket string
}

// findSockets is askAll with where the nodes are asked.
func findSockets(ctx context.Context) ([]foundNode, error) {
	dir, err := socketDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), socketEnd) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	answers := make([]*foundNode, len(files))
	var wg sync.WaitGroup
	for i, file := range files { // all at once: one that was stopped does not answer
		wg.Go(func() {
			if r, err := askSocket(ctx, file); err == nil {
				answers[i] = &foundNode{r, file}
			}
		})
	}
	wg.Wait()
	var all []foundNode
	for _, a := range answers {
		if a != nil {
			all = append(all, *a)
		}
	}
	return all, nil
}
