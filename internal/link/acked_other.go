//go:build !linux

package link

import "time"

// sinceAck is not known here; see acked_linux.go.
func (c *StreamConn) sinceAck() (time.Duration, bool) { return 0, false }
