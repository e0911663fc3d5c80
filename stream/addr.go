package stream

import (
	"errors"
	"io"
	"net"
	"strconv"

	"github.com/weftnet/weft/internal/identity"
)

// Network is the name of the network in addresses and errors: what
// [Addr.Network] returns.
const Network = "overlay"

// An Addr names one end of a conn: a node and a port. It is comparable and
// stays the same while the paths below change.
type Addr struct {
	Node identity.NodeID
	Port uint16
}

var _ net.Addr = Addr{}

// Network returns "overlay".
func (a Addr) Network() string { return Network }

// String returns "<id>:<port>", which net.SplitHostPort parses and Dial takes.
func (a Addr) String() string { return a.Node.String() + ":" + strconv.Itoa(int(a.Port)) }

// dialerPorts is the first port that stands for a dialler.
const dialerPorts = 0x8000

// DialerPort is the port of the side that opened a conn, made of the ID of the
// stream below it, so that both ends name it alike. It is 32768 or more and
// nobody can dial it; it tells the conns of one peer apart, up to 32768 of
// them.
func DialerPort(streamID uint64) uint16 { return dialerPorts | uint16(streamID&(dialerPorts-1)) }

// OpError is how a layer dresses the errors of a conn's methods: nil and
// io.EOF stay as they are, what already is a *net.OpError too, and the rest
// becomes a *net.OpError, through which errors.Is finds net.ErrClosed and
// os.ErrDeadlineExceeded, and which tells timeouts.
func OpError(op string, local, remote net.Addr, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return err
	}
	return &net.OpError{Op: op, Net: Network, Source: local, Addr: remote, Err: err}
}
