package wslink

import (
	"bytes"
	"net"
	"testing"
)

// A countingConn counts writes.
type countingConn struct {
	net.Conn
	writes int
	got    bytes.Buffer
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return c.got.Write(p)
}

func TestSmallWritesAreMadeOne(t *testing.T) {
	below := new(countingConn)
	c := &coalescer{Conn: below}
	write := func(n int) { _, _ = c.Write(bytes.Repeat([]byte{byte(n)}, n)) }
	write(10)
	write(10)
	if below.writes != 2 {
		t.Errorf("%d writes where nothing is held back", below.writes)
	}
	c.hold()
	for range 17 {
		write(4096)
	}
	if below.writes != 3 {
		t.Errorf("%d writes with a full buffer", below.writes)
	}
	write(2 * coalesceLen)
	if err := c.release(); err != nil || below.writes != 5 {
		t.Errorf("%d writes in the end, %v", below.writes, err)
	}
	if want := 20 + 17*4096 + 2*coalesceLen; below.got.Len() != want {
		t.Errorf("%d bytes of %d", below.got.Len(), want)
	}
}
