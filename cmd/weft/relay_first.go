package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/internal/wholefile"
	"github.com/weftnet/weft/overlay"
)

// firstInviteTTL is how long the invite lives that the first relay of a network
// prints: long enough for a trial, and for who does not come back at once.
const firstInviteTTL = 90 * 24 * time.Hour

// networkSecret is the file in the relay's state directory for the secret that
// the relay has made.
const networkSecret = "network.secret"

// setUp makes a relay that was told of no network the first of a new one: with a
// secret, and a state directory that holds it and the relay's key. With those of
// an earlier run it goes on. It reports whether the network is new.
func (r *relayCommand) setUp() (isNew bool, err error) {
	if r.secretFile != "" || r.invite != "" || r.open {
		return false, nil
	}
	if env, _ := overlay.ConfigFromEnv(); env.Secret != "" || env.Invite != "" || env.Open {
		return false, nil
	}
	if r.state == "" {
		r.state = os.Getenv(overlay.EnvState)
	}
	if r.state == "" {
		if r.state, err = defaultRelayState(); err != nil {
			return false, err
		}
	}
	r.secretFile = filepath.Join(r.state, networkSecret)
	switch _, err := os.Stat(r.secretFile); {
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("the secret of the relay's network cannot be read: %w", err)
	}
	if err := os.MkdirAll(r.state, 0o700); err != nil {
		return false, fmt.Errorf("the relay's state directory cannot be made: %w; name another with --state", err)
	}
	if err := wholefile.Replace(r.secretFile, []byte(overlay.NewSecret()+"\n")); err != nil {
		return false, fmt.Errorf("the secret of a new network cannot be kept: %w; name another directory with --state", err)
	}
	return true, nil
}

// defaultRelayState is where a relay keeps its state if nobody says.
func defaultRelayState() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "weft-relay"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("where is the relay to keep its key and its network's secret? Say --state DIR (%w)", err)
	}
	if runtime.GOOS == "windows" {
		return filepath.Join(home, "AppData", "Local", "weft-relay"), nil
	}
	return filepath.Join(home, ".local", "state", "weft-relay"), nil
}

// tellHowToJoin says how the next machine joins the network of a relay that was
// told of none: the first time with a line to run there.
func (r *relayCommand) tellHowToJoin(cmd *cobra.Command, cfg overlay.Config, addr net.Addr, isNew bool, log logrus.FieldLogger) error {
	where := r.publicAddr(cmd.Context(), addr)
	more := fmt.Sprintf("weft invite --secret-file %s --relay %s", r.secretFile, where)
	if !isNew {
		log.Infof("the network's secret is in %s; more machines join with what this prints: %s", r.secretFile, more)
		return nil
	}
	token, _, err := overlay.NewInvite(cfg.Network, cfg.Secret, overlay.Invite{
		Expires: time.Now().Add(firstInviteTTL), Relays: []string{where}, Note: "the first of the network",
	})
	if err != nil {
		return err
	}
	log.Infof("this is a new network; its secret is in %s: keep a copy where nobody else can read it", r.secretFile)
	log.Infof("the next machine joins with the line on standard output, for %.0f days, if it reaches %s (--public says another address); for others: %s",
		firstInviteTTL.Hours()/24, where, more)
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "weft up --invite %s\n", token)
	return err
}

// publicAddr is where other machines reach the relay, as far as can be told.
func (r *relayCommand) publicAddr(ctx context.Context, addr net.Addr) string {
	if len(r.server.Addrs) > 0 {
		return r.server.Addrs[0]
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return addr.String()
	}
	if ip, ok := outbound(ctx); ok {
		return netip.AddrPortFrom(ip, ap.Port()).String()
	}
	return reachable(addr)
}

// outbound is the address from which this machine would send to the internet. It
// sends nothing.
func outbound(ctx context.Context) (netip.Addr, bool) {
	c, err := new(net.Dialer).DialContext(ctx, "udp4", "192.0.2.1:9") // TEST-NET-1, RFC 5737
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	ap, err := netip.ParseAddrPort(c.LocalAddr().String())
	return ap.Addr(), err == nil
}
