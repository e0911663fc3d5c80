package link

import "github.com/weftnet/weft/internal/frame"

// canTry implements tryWriter.
func (c *StreamConn) canTry() bool { return c.try.can() }

// tryWrite implements tryWriter.
func (c *StreamConn) tryWrite(f *frame.Frame) (whole bool) {
	b := f.Bytes()
	n := 0
	if len(c.try.rest) == 0 {
		n = c.try.write(b)
	}
	c.try.rest = append(c.try.rest, b[n:]...)
	return len(c.try.rest) == 0
}

// writeRest writes what tryWrite could not.
func (c *StreamConn) writeRest() error {
	if len(c.try.rest) == 0 {
		return nil
	}
	rest := c.try.rest
	c.try.rest = nil // seldom needed
	_, err := c.conn.Write(rest)
	return err
}
