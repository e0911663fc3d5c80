package control

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

// A fakeStream is one end of an in-memory pipe that remembers its first reset.
type fakeStream struct {
	net.Conn
	code atomic.Uint64
}

func (s *fakeStream) Reset(code uint64) error {
	s.code.CompareAndSwap(0, code)
	return s.Close()
}

// streamPair returns both ends of a pipe without buffers.
func streamPair() (node, relay *fakeStream) {
	a, b := net.Pipe()
	return &fakeStream{Conn: a}, &fakeStream{Conn: b}
}
