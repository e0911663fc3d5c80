package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// startWays starts what bench compares: TCP, TLS with what weft has for keys and
// ciphers, and nodes on loopback. Stop must be called also after an error.
func startWays(ctx context.Context) (ways []way, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range slices.Backward(stops) {
			s()
		}
	}
	for _, secured := range []bool{false, true} {
		w, err := overTCP(ctx, secured)
		if err != nil {
			return nil, stop, err
		}
		ways = append(ways, w)
	}
	secret := overlay.NewSecret()
	node := func(cfg overlay.Config) (*overlay.Node, error) {
		cfg.Secret, cfg.NoLAN, cfg.UDPAddr = secret, true, "127.0.0.1:0"
		n, err := overlay.New(cfg)
		if err == nil {
			stops = append(stops, func() { _ = n.Close() })
			err = n.WaitReady(ctx)
		}
		return n, err
	}
	host, err := node(overlay.Config{NoDirect: true})
	if err != nil {
		return nil, stop, err
	}
	tcp, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, stop, err
	}
	r := &relay.Server{Host: host}
	served := make(chan error, 1)
	go func() { served <- r.Serve(tcp) }()
	stops = append(stops, func() { _, _ = r.Close(), <-served })
	relays := []string{tcp.Addr().String()}
	for _, direct := range []bool{true, false} { // a server each, for sessions with one take one way
		cfg := overlay.Config{Relays: relays, NoDirect: !direct}
		server, err := node(cfg)
		if err != nil {
			return nil, stop, err
		}
		client, err := node(cfg)
		if err != nil {
			return nil, stop, err
		}
		w, err := overWeft(ctx, server, client, direct)
		if err != nil {
			return nil, stop, err
		}
		ways = append(ways, w)
	}
	return ways, stop, nil
}

func overWeft(ctx context.Context, server, client *overlay.Node, direct bool) (way, error) {
	ln, err := server.Listen(port)
	if err != nil {
		return way{}, err
	}
	w := way{"weft, over a relay", ln, func(ctx context.Context) (net.Conn, error) {
		return client.Dial(ctx, fmt.Sprintf("%s:%d", server.ID(), port))
	}}
	if !direct {
		return w, nil
	}
	w.name = "weft, direct path"
	conn, err := w.dial(ctx)
	if err != nil {
		return w, err
	}
	defer conn.Close()
	for began := time.Now(); ; {
		if path, _ := overlay.PathOf(conn); strings.HasPrefix(path, "udp ") {
			break
		}
		if time.Since(began) > time.Minute {
			return w, errors.New("no direct path has come up for a minute; is UDP on loopback blocked?")
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return w, err
		}
	}
	return w, pause(ctx, 2*time.Second) // the search for the largest packet
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func overTCP(ctx context.Context, secured bool) (way, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return way{}, err
	}
	w := way{"TCP", ln, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}}
	if !secured {
		return w, nil
	}
	cert, err := selfSigned()
	if err != nil {
		return w, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	server := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	client := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "bench", MinVersion: tls.VersionTLS13}}
	return way{"TLS", tls.NewListener(ln, server), func(ctx context.Context) (net.Conn, error) {
		return client.DialContext(ctx, "tcp", ln.Addr().String())
	}}, nil
}

func selfSigned() (tls.Certificate, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"bench"}, NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
