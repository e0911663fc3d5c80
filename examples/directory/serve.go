package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// body reads the value of a request, or answers.
func body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err == nil {
		return value, true
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		http.Error(w, fmt.Sprintf("a value has at most %d bytes here; keep larger ones elsewhere and their addresses here", maxValue), http.StatusRequestEntityTooLarge)
	}
	return nil, false // otherwise nobody is there to be answered
}

// serveKept answers other members: what this one has, and what it is to keep.
func (d *Directory) serveKept(w http.ResponseWriter, r *http.Request) {
	from, ok := d.caller(r)
	if !ok {
		http.Error(w, "that is between members; ask for "+values, http.StatusForbidden)
		return
	}
	key := r.PathValue("key")
	switch r.Method {
	case http.MethodGet:
		d.answerRead(w, key)
	case http.MethodPut, http.MethodDelete: // as the owner
		if value, ok := body(w, r); ok {
			d.write(w, r, key, value)
		}
	case http.MethodPost: // a copy
		value, ok := body(w, r)
		if !ok {
			return
		}
		version, err := strconv.ParseInt(r.Header.Get(headerVersion), 10, 64)
		if err != nil {
			http.Error(w, "a copy needs its version", http.StatusBadRequest)
			return
		}
		if err := d.store.merge(key, &entry{value: value, deleted: r.Header.Get(headerDeleted) != "", version: version}, from, r.Header.Get(headerKeeps) != ""); err != nil {
			d.fail(w, http.StatusInsufficientStorage, err)
			return
		}
		if !slices.Contains(owners(d.view.up(), key), d.view.self) {
			d.misplaced.Store(true)
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "say GET, PUT, POST or DELETE", http.StatusMethodNotAllowed)
	}
}

// fail answers with an error of this member.
func (d *Directory) fail(w http.ResponseWriter, status int, err error) {
	http.Error(w, fmt.Sprintf("%s: %v", d.view.self, err), status)
}

// answerRead answers with what this member has. A 404 with a version is certain: the key
// was deleted. Without one, another member may have it.
func (d *Directory) answerRead(w http.ResponseWriter, key string) {
	e, ok := d.store.read(key)
	if ok {
		w.Header().Set(headerVersion, strconv.FormatInt(e.version, 10))
	}
	if !ok || e.deleted {
		http.Error(w, "there is no such key", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(e.value)
}

// write makes a new version of a key here, and brings it to the other owner.
func (d *Directory) write(w http.ResponseWriter, r *http.Request, key string, value []byte) {
	version, err := d.store.write(key, value, r.Method == http.MethodDelete)
	if err != nil {
		d.fail(w, http.StatusInsufficientStorage, err)
		return
	}
	n, who := 1, owners(d.view.up(), key)
	keeps := slices.Contains(who, d.view.self)
	for _, name := range who {
		if name == d.view.self {
			continue
		}
		if err := d.copyTo(r.Context(), name, key, entry{value: value, deleted: r.Method == http.MethodDelete, version: version}, keeps); err == nil {
			n++
		}
	}
	if n < len(who) || !keeps {
		d.misplaced.Store(true)
	}
	w.Header().Set(headerVersion, strconv.FormatInt(version, 10))
	w.Header().Set(headerCopies, strconv.Itoa(n))
	w.WriteHeader(http.StatusNoContent)
}

// serveValue answers everybody, with the help of the owners.
func (d *Directory) serveValue(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	if len(key) > maxKey {
		http.Error(w, fmt.Sprintf("a key has at most %d bytes", maxKey), http.StatusRequestEntityTooLarge)
		return
	}
	who := owners(d.view.up(), key)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		d.find(w, r, key, who)
	case http.MethodPut, http.MethodDelete:
		value, ok := body(w, r)
		switch {
		case !ok:
		case who[0] == d.view.self:
			d.write(w, r, key, value)
		default:
			a, err := d.askOwner(r, who[0], key, value)
			if err != nil {
				unavailable(w, fmt.Sprintf("%s, which owns the key, does not answer: %v; who does not answer is left out after %v, so try again then", who[0], err, maxMisses*pollEvery))
				return
			}
			a.pass(w)
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, DELETE")
		http.Error(w, "say GET, PUT or DELETE", http.StatusMethodNotAllowed)
	}
}

// find asks one owner after the other. Only if all have said that there is no such key,
// or one that it was deleted, there is none.
func (d *Directory) find(w http.ResponseWriter, r *http.Request, key string, who []string) {
	var silent []string
	for _, name := range who {
		if name == d.view.self {
			if _, ok := d.store.read(key); ok {
				d.answerRead(w, key)
				return
			}
			continue
		}
		a, err := d.askOwner(r, name, key, nil)
		if err != nil {
			silent = append(silent, fmt.Sprintf("%s does not answer: %v", name, err))
		} else if a.status != http.StatusNotFound || a.header.Get(headerVersion) != "" {
			a.pass(w)
			return
		}
	}
	if len(silent) > 0 {
		unavailable(w, "who keeps the key cannot be asked: "+strings.Join(silent, "; "))
		return
	}
	http.Error(w, "there is no such key", http.StatusNotFound)
}

func (d *Directory) askOwner(r *http.Request, name, key string, value []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return d.ask(ctx, method, name, keyPath(kept, key), value, nil)
}

// pass hands an owner's answer on.
func (a answer) pass(w http.ResponseWriter) {
	for _, name := range []string{"Content-Type", headerVersion, headerCopies} {
		if v := a.header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func unavailable(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", strconv.Itoa(int((maxMisses * pollEvery).Seconds())))
	http.Error(w, text, http.StatusServiceUnavailable)
}
