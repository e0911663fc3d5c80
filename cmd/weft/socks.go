package main

import (
	"github.com/spf13/cobra"
)

// A socksCommand is the command line of weft socks.
type socksCommand struct {
	guest
	forwards
	listen []string
	asJSON bool
}

func newSocks() *cobra.Command {
	c := socksCommand{guest: guest{membership: membership{short: true}}}
	cmd := &cobra.Command{
		Use:   "socks",
		Short: "Run a SOCKS 5 and HTTP proxy to the nodes of the network",
		Long: `Runs a proxy for programs that choose their targets themselves: SOCKS 5, HTTP
CONNECT and plain HTTP, all on one port. It reaches nodes, by a name such as
kv-1.weft or kv-1, an ID or a key, and refuses everything else unless --direct lets
it. Browsers that are given http://127.0.0.1:1080/proxy.pac use it for .weft alone.

Everybody on this machine can use a port on loopback. One elsewhere needs a user and
a password.`,
		Example: `  weft socks
  curl --socks5-hostname 127.0.0.1:1080 http://kv-1.weft/
  curl --proxy http://127.0.0.1:1080 http://kv-1.weft/
  weft socks --listen :1080 --auth-file proxy.auth`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.local = c.listen
			specs, err := c.specs(cmd)
			if err != nil {
				return err
			}
			return runForwards(cmd, &c.guest, &c.forwards, specs, c.asJSON)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.listen, "listen", []string{"1080"}, "`[BIND:]PORT` to listen on; may be repeated")
	f.BoolVar(&c.asJSON, "json", false, "print where the proxy listens as JSON")
	c.proxyFlags(cmd)
	c.guest.flags(cmd)
	return cmd
}
