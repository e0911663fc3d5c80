package sctp

import (
	"slices"
	"testing"

	"github.com/weftnet/weft/stream"
)

// packetOf puts chunks behind a header that says nothing.
func packetOf(chunks ...[]byte) []byte {
	return slices.Concat(append([][]byte{make([]byte, commonHeader)}, chunks...)...)
}

var (
	dataChunk    = []byte{chunkIData, 0x03, 0, 21, 0, 0, 0, 9, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53, 1, 0, 0, 0}
	requestChunk = []byte{chunkReconfig, 0, 0, 24, 0, paramResetRequest, 0, 20, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 99, 0, 4, 0, 6}
	answerChunk  = []byte{chunkReconfig, 0, 0, 16, 0, paramResetResponse, 0, 12, 0, 0, 0, 7, 0, 0, 0, 1}
)

func TestChunksAreRead(t *testing.T) {
	b, err := chunksOf(packetOf(dataChunk, requestChunk, answerChunk))
	if err != nil {
		t.Fatal(err)
	}
	c, b, err := nextChunk(b)
	if err != nil || !c.isData() || c.tsn() != 9 || c.stream() != 4 {
		t.Errorf("data: %x, %v", c, err)
	}
	c, b, err = nextChunk(b)
	if params, perr := resetParams(c); err != nil || perr != nil || len(params) != 1 || params[0].response ||
		params[0].number != 7 || params[0].lastTSN != 99 || !slices.Equal(params[0].streams, []uint16{4, 6}) {
		t.Errorf("request: %+v, %v, %v", params, err, perr)
	}
	c, b, err = nextChunk(b)
	if params, perr := resetParams(c); err != nil || perr != nil || len(params) != 1 || !params[0].response ||
		params[0].number != 7 || !params[0].done || len(b) != 0 {
		t.Errorf("answer: %+v, %v, %v", params, err, perr)
	}
}

func TestMalformedPacketsDoNotReachPion(t *testing.T) {
	m := newMux(sessionsOf(t), startWindow, silent())
	defer m.end(errLost)
	for name, p := range map[string][]byte{
		"empty":          {},
		"header alone":   packetOf(),
		"chunk cut":      packetOf(dataChunk)[:commonHeader+20],
		"chunk too long": packetOf([]byte{chunkIData, 0, 1, 0}),
		"no length":      packetOf([]byte{chunkIData, 0, 0, 0}),
		"parameter cut":  packetOf([]byte{chunkReconfig, 0, 0, 8, 0, 13, 0, 20}),
	} {
		if answer, ok := m.arriving(p); ok || answer != nil {
			t.Errorf("%s: passed", name)
		}
	}
}

func sessionsOf(t testing.TB) stream.Session {
	t.Helper()
	a, _ := sessions(t)
	return a
}

func FuzzPackets(f *testing.F) {
	f.Add(packetOf(dataChunk, requestChunk, answerChunk))
	f.Add(packetOf([]byte{chunkIData, 0, 0, 0}))
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := chunksOf(p)
		for err == nil && len(b) > 0 {
			var c chunk
			before := len(b)
			if c, b, err = nextChunk(b); err != nil {
				return
			}
			if len(b) >= before || len(c) < chunkHeader {
				t.Fatalf("chunk of %d bytes, %d of %d left", len(c), len(b), before)
			}
			if c.isData() {
				_, _ = c.stream(), c.tsn()
			}
			if c.kind() == chunkReconfig {
				_, _ = resetParams(c)
			}
		}
	})
}

// FuzzAssociation hands any packet to a layer at work: it and pion must
// survive.
func FuzzAssociation(f *testing.F) {
	f.Add(packetOf(dataChunk, requestChunk, answerChunk))
	f.Add(packetOf([]byte{3, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0}))
	f.Fuzz(func(t *testing.T, p []byte) {
		a, b := sessions(t)
		m := start(t, a)
		defer a.Kill(errLost)
		defer m.Close()
		if len(p) >= commonHeader {
			copy(p, []byte{19, 136, 19, 136, 0, 0, 0, 0, 0, 0, 0, 0})
		}
		b.SetMaxDatagram(1 << 16)
		for range 2 {
			if err := b.SendDatagram(t.Context(), append([]byte{kindWhole}, p...)); err != nil {
				t.Fatal(err)
			}
		}
		_ = m.(*mux).assoc.BytesReceived()
	})
}
