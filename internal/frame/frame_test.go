package frame_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHeaderBytesAreAsDocumented(t *testing.T) {
	f := frame.New(3)
	defer f.Release()
	f.SetType(frame.TypePing)
	f.SetHopLimit(7)
	f.SetDst(0x0102030405060708)
	f.SetSrc(0x1112131415161718)
	copy(f.Packet(), "abc")
	want := []byte{
		0x12, 7, 0, 3,
		1, 2, 3, 4, 5, 6, 7, 8,
		0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
		'a', 'b', 'c',
	}
	if !bytes.Equal(f.Bytes(), want) {
		t.Errorf("frame is % x, want % x", f.Bytes(), want)
	}
	if !bytes.Equal(f.Header(), want[:frame.HeaderLen]) {
		t.Errorf("header is % x, want % x", f.Header(), want[:frame.HeaderLen])
	}
}

func TestNewFrameHasDefaults(t *testing.T) {
	f := frame.New(0)
	defer f.Release()
	if f.Type() != frame.TypeData || f.HopLimit() != frame.DefaultHopLimit || len(f.Packet()) != 0 {
		t.Errorf("type %d, hop limit %d, packet of %d bytes; want a data frame with hop limit %d and no packet",
			f.Type(), f.HopLimit(), len(f.Packet()), frame.DefaultHopLimit)
	}
}

func TestEverySizeHasRoomAndItsLengthInTheHeader(t *testing.T) {
	for _, n := range []int{0, 1, 491, 492, 493, 2027, 2028, 2029, 16363, 16364, 16365, frame.MaxPacket - 1, frame.MaxPacket} {
		f := frame.New(n)
		if got := len(f.Packet()); got != n {
			t.Errorf("New(%d) has a packet of %d bytes", n, got)
		}
		if got, err := frame.ParseHeader(f.Bytes()); err != nil || got != n {
			t.Errorf("header of New(%d) says %d, %v", n, got, err)
		}
		if f.Cap() < frame.HeaderLen+n {
			t.Errorf("New(%d) has a capacity of %d", n, f.Cap())
		}
		f.Release()
	}
}

func TestTruncateShortensPacketAndHeader(t *testing.T) {
	f := frame.New(1000)
	defer f.Release()
	f.Truncate(10)
	if n, err := frame.ParseHeader(f.Bytes()); err != nil || n != 10 || len(f.Packet()) != 10 {
		t.Errorf("header says %d, %v, packet has %d bytes; want 10", n, err, len(f.Packet()))
	}
}

func TestCloneSharesNothing(t *testing.T) {
	f := frame.New(5)
	copy(f.Packet(), "hello")
	f.SetDst(1)
	f.SetSrc(2)
	c := f.Clone()
	defer c.Release()
	if !bytes.Equal(c.Bytes(), f.Bytes()) {
		t.Errorf("clone is % x, want % x", c.Bytes(), f.Bytes())
	}
	f.Packet()[0] = 'j'
	f.Release()
	if string(c.Packet()) != "hello" {
		t.Errorf("clone changed to %q with the original", c.Packet())
	}
}

func TestFrameIsRecycledByItsLastOwner(t *testing.T) {
	f := frame.New(5)
	copy(f.Packet(), "hello")
	f.Retain()
	f.Release()
	if string(f.Packet()) != "hello" {
		t.Errorf("packet is %q although one owner is left", f.Packet())
	}
	f.Release()
	defer func() {
		if recover() == nil {
			t.Error("one Release too many went unnoticed")
		}
	}()
	f.Release()
}

func TestParseHeaderRefusesWhatItDoesNotKnow(t *testing.T) {
	valid := frame.New(0).Bytes()
	otherVersion := bytes.Clone(valid)
	otherVersion[0] = 2 << 4
	for _, tt := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, frame.ErrShort},
		{"one byte less than a header", valid[:frame.HeaderLen-1], frame.ErrShort},
		{"another version", otherVersion, frame.ErrVersion},
		{"a header", valid, nil},
	} {
		if _, err := frame.ParseHeader(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: error is %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestDecodeWantsExactlyOneFrame(t *testing.T) {
	f := frame.New(4)
	defer f.Release()
	copy(f.Packet(), "data")
	got, err := frame.Decode(f.Bytes())
	if err != nil || !bytes.Equal(got.Bytes(), f.Bytes()) {
		t.Fatalf("decoded %v, %v", got, err)
	}
	got.Release()
	for _, b := range [][]byte{f.Bytes()[:frame.HeaderLen+3], append(bytes.Clone(f.Bytes()), 0)} {
		if _, err := frame.Decode(b); !errors.Is(err, frame.ErrShort) {
			t.Errorf("%d bytes: error is %v, want %v", len(b), err, frame.ErrShort)
		}
	}
}

func TestNoticeSurvivesTheWire(t *testing.T) {
	want := frame.Notice{Code: frame.NoticeTooBig, Node: 0xfedcba9876543210, Arg: 1200}
	f := frame.NewNotice(want)
	defer f.Release()
	if f.Type() != frame.TypeNotice || f.Dst() != 0 || f.Src() != 0 {
		t.Errorf("type %d, dst %v, src %v; want a notice from and to the neighbour", f.Type(), f.Dst(), f.Src())
	}
	got, err := frame.ParseNotice(append(bytes.Clone(f.Packet()), "later fields"...))
	if err != nil || got != want {
		t.Errorf("parsed %+v, %v; want %+v", got, err, want)
	}
	for n := range len(f.Packet()) {
		if _, err := frame.ParseNotice(f.Packet()[:n]); !errors.Is(err, frame.ErrNotice) {
			t.Errorf("%d bytes: error is %v, want %v", n, err, frame.ErrNotice)
		}
	}
}

func TestEveryNoticeCodeHasWords(t *testing.T) {
	seen := make(map[string]bool)
	for c := frame.NoticeUnknown; c <= frame.NoticeDenied+1; c++ {
		s := c.String()
		if s == "" || seen[s] {
			t.Errorf("code %d says %q", c, s)
		}
		seen[s] = true
	}
}

func TestNewAndReleaseDoNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() { frame.New(60 << 10).Release() }); n >= 1 {
		t.Errorf("%v allocations a frame, want none", n)
	}
}

func FuzzDecode(f *testing.F) {
	g := frame.New(3)
	f.Add(g.Bytes())
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x10}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := frame.ParseHeader(b)
		if err == nil && (n < 0 || n > frame.MaxPacket) {
			t.Fatalf("header says %d bytes", n)
		}
		got, err := frame.Decode(b)
		if err != nil {
			return
		}
		defer got.Release()
		if !bytes.Equal(got.Bytes(), b) {
			t.Fatalf("% x became % x", b, got.Bytes())
		}
		if n, err := frame.ParseNotice(got.Packet()); err == nil {
			again := frame.NewNotice(n)
			defer again.Release()
			if !bytes.HasPrefix(got.Packet(), again.Packet()) {
				t.Fatalf("notice % x became % x", got.Packet(), again.Packet())
			}
		}
	})
}
