package main

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
)

// A network's ID tells whether a node is of it, but takes tens of milliseconds to make
// from a secret, on purpose. Two processes that were told the same secret find that out
// at once, by a proof that is of no use to others.

// proofOf proves that a process was told of the same membership.
func proofOf(cfg overlay.Config, nonce string) string {
	how := "open"
	switch {
	case cfg.Secret != "":
		how = "secret"
	case cfg.Invite != "":
		how = "invite"
	}
	h := hmac.New(sha256.New, []byte(cfg.Secret+cfg.Invite))
	for _, s := range []string{"weft same network", how, cmp.Or(cfg.Network, identity.DefaultNetwork), nonce} {
		h.Write([]byte(s + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sameNetwork answers whether a process that asks was told of the same membership.
func sameNetwork(cfg overlay.Config, next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("GET /same", func(w http.ResponseWriter, r *http.Request) {
		if !hmac.Equal([]byte(r.FormValue("proof")), []byte(proofOf(cfg, r.FormValue("nonce")))) {
			http.Error(w, "no", http.StatusNotFound)
		}
	})
	return mux
}

// isSame asks a node whether it was told of the same membership.
func isSame(ctx context.Context, socket string, cfg overlay.Config) bool {
	nonce := rand.Text()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	query := url.Values{"nonce": {nonce}, "proof": {proofOf(cfg, nonce)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/same?"+query.Encode(), nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
