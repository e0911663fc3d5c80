package main

import (
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
)

// maxLoggedPath is how much of a request's path is logged.
const maxLoggedPath = 256

// accessLog logs the requests that h answers, with the nodes that made them.
func accessLog(h http.Handler, log logrus.FieldLogger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		answer := &countedAnswer{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			fields := logrus.Fields{
				"proto": r.Proto, "status": answer.status, "bytes": answer.bytes,
				"took": time.Since(begun).Round(time.Microsecond),
			}
			if peer, ok := overlay.PeerFrom(r.Context()); ok {
				fields["from"] = peer.ID.String()
			}
			if path, ok := overlay.PathFrom(r.Context()); ok {
				fields["by"] = path
			}
			path := r.URL.Path
			log.WithFields(fields).Infof("%s %s", r.Method, path[:min(len(path), maxLoggedPath)])
		}()
		h.ServeHTTP(answer, r)
	})
}

// A countedAnswer remembers what was answered.
type countedAnswer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (a *countedAnswer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *countedAnswer) Write(b []byte) (int, error) {
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
