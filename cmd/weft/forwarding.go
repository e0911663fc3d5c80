package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/cmd/weft/internal/tunnel"
)

// envProxyAuth is the environment variable for --auth-file.
const envProxyAuth = "WEFT_PROXY_AUTH"

// Forwards are the part of a command line that says what is forwarded.
type forwards struct {
	local, remote, allow, allowTarget []string
	maxConns, maxFlows                int
	flowIdle, dialTimeout             time.Duration
	proxyProtocol, direct             bool
	authFile                          string
}

// specFlags adds the flags that say what is forwarded where.
func (o *forwards) specFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&o.local, "local", "L", nil, "forward a port here to a node: [udp/][BIND:]`PORT=NODE:PORT`; PORT alone is a SOCKS and HTTP proxy; may be repeated")
	f.StringArrayVarP(&o.remote, "remote", "R", nil, "forward a port of the node to a target that is reached from here: [udp/]`PORT=HOST:PORT`; PORT=* lets the dialler name the target; may be repeated")
	f.StringArrayVar(&o.allow, "allow", nil, "who may use the ports of -R: a node's name, ID or key, or role:ROLE; may be repeated; without it, everybody in the network")
	f.StringArrayVar(&o.allowTarget, "allow-target", nil, "`HOST:PORT` that diallers of -R PORT=* may name, with * in names, prefixes of addresses, and ranges of ports; may be repeated; without it, none")
	f.BoolVar(&o.proxyProtocol, "proxy-protocol", false, "begin conns to the targets of -R with a PROXY header of version 2, which says who is calling")
	f.IntVar(&o.maxFlows, "max-flows", tunnel.DefaultMaxFlows, "how many flows of UDP each forward may have")
	f.DurationVar(&o.flowIdle, "flow-idle", tunnel.DefaultFlowIdle, "the silence after which a flow of UDP ends")
	o.proxyFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("local", completeLocal) // the flag is there
}

// proxyFlags adds the flags that proxies have, too.
func (o *forwards) proxyFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.maxConns, "max-conns", tunnel.DefaultMaxConns, "how many conns each forward may have open; more are reset")
	f.DurationVar(&o.dialTimeout, "dial-timeout", tunnel.DefaultDialTimeout, "how long it may take to reach a target")
	f.BoolVar(&o.direct, "direct", false, "let clients of the proxy reach what is not of the overlay, too, from this machine")
	f.StringVar(&o.authFile, "auth-file", "", "`file` that holds USER:PASSWORD, which clients of the proxy have to say ("+envProxyAuth+" holds it itself)")
}

// specs reads what is forwarded where.
func (o *forwards) specs(cmd *cobra.Command) ([]tunnel.Spec, error) {
	var all []tunnel.Spec
	for _, text := range o.local {
		s, err := tunnel.ParseLocal(text)
		if err != nil {
			return nil, usage(cmd, err)
		}
		all = append(all, s)
	}
	for _, text := range o.remote {
		s, err := tunnel.ParseRemote(text)
		if err != nil {
			return nil, usage(cmd, err)
		}
		if s.Target == tunnel.Any && len(o.allowTarget) == 0 {
			return nil, usage(cmd, fmt.Errorf("which targets may diallers of -R %s name? Say --allow-target HOST:PORT; '*:*' is all of them", text))
		}
		all = append(all, s)
	}
	return all, nil
}

// config is how to forward for a node.
func (o *forwards) config(cmd *cobra.Command, specs []tunnel.Spec, node localapi.Node, log *logrus.Logger) (tunnel.Config, error) {
	cfg := tunnel.Config{
		Node: node, Logger: log, MaxConns: o.maxConns, MaxFlows: o.maxFlows, FlowIdle: o.flowIdle,
		DialTimeout: o.dialTimeout, ProxyProtocol: o.proxyProtocol, Direct: o.direct,
	}
	if o.maxConns < 0 || o.maxFlows < 0 || o.flowIdle < 0 || o.dialTimeout < 0 {
		return cfg, usage(cmd, errors.New("limits and times cannot be negative"))
	}
	var err error
	if cfg.Allow, err = parseRule(o.allow); err != nil {
		return cfg, usage(cmd, err)
	}
	if cfg.Targets, err = tunnel.ParseTargets(o.allowTarget); err != nil {
		return cfg, usage(cmd, err)
	}
	auth := os.Getenv(envProxyAuth)
	if o.authFile != "" {
		if auth, err = readSecret(o.authFile, "user and password"); err != nil {
			return cfg, err
		}
	}
	user, password, ok := strings.Cut(auth, ":")
	if auth != "" && (!ok || user == "" || password == "" || len(user) > 255 || len(password) > 255) {
		return cfg, usage(cmd, errors.New("the proxy's user and password are USER:PASSWORD, each of 1 to 255 characters"))
	}
	cfg.User, cfg.Password = user, password
	for _, s := range specs {
		if !s.Remote && s.Target == "" && auth == "" && !onLoopback(s.Listen) {
			return cfg, usage(cmd, fmt.Errorf("who may use the proxy at %s, which is not on loopback? Say --auth-file FILE or set %s", s.Listen, envProxyAuth))
		}
	}
	return cfg, nil
}

// onLoopback reports whether only this machine can reach an address.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// announceForwards prints where the forwards listen.
func announceForwards(w io.Writer, all []tunnel.Status, asJSON bool) error {
	for _, f := range all {
		if asJSON {
			if err := printLine(w, f); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintln(w, forwardLine(f)); err != nil {
			return err
		}
	}
	return nil
}

// forwardLine is a forward for people.
func forwardLine(f tunnel.Status) string {
	target := f.Target
	switch {
	case f.Kind == "dynamic":
		target = "what clients name, by SOCKS 5 and HTTP"
	case target == tunnel.Any:
		target = "what diallers name"
	}
	prefix := ""
	if f.Net == "udp" {
		prefix = "udp/"
	}
	return prefix + f.Listen + " -> " + target
}

// untilStopped waits until the command is told to stop, or a forward cannot go on.
func untilStopped(ctx context.Context, g *tunnel.Group) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-g.Failed():
		return err
	}
}
