//go:build !unix

package link

import "net"

// A trial can nothing here.
type trial struct{ rest []byte }

func (*trial) init(net.Conn)      {}
func (*trial) can() bool          { return false }
func (*trial) write(b []byte) int { return 0 }
