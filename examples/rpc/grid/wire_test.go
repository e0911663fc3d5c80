package grid

import (
	"bufio"
	"bytes"
	"math"
	"reflect"
	"testing"
)

func TestFrames(t *testing.T) {
	for _, want := range []frame{
		{},
		{kind: kindCall, id: 1, n: 65535, ms: 60000, token: []byte("t"), payload: []byte("p")},
		{kind: kindAnswer, id: math.MaxUint64, n: math.MaxUint32, ms: math.MaxUint32, token: make([]byte, maxToken), payload: make([]byte, MaxMessage)},
	} {
		var got frame
		b := appendFrame(nil, &want)
		if err := got.readFrame(bufio.NewReaderSize(bytes.NewReader(b), readAhead), MaxMessage); err != nil {
			t.Fatal(err)
		}
		if want.token == nil {
			want.token, want.payload = []byte{}, []byte{}
		}
		if got.own || !reflect.DeepEqual(got, want) {
			t.Errorf("%v became %v", want, got)
		}
		if len(b) > len(want.token)+len(want.payload)+34 {
			t.Errorf("%d bytes of overhead", len(b)-len(want.token)-len(want.payload))
		}
	}
	if b := appendFrame(nil, &frame{kind: kindCall, id: 1001, n: 300, ms: 1000, payload: make([]byte, 128)}); len(b) != 128+19 {
		t.Errorf("%d bytes of overhead in a usual call", len(b)-128)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, &frame{kind: kindCall, id: 1, token: []byte("t"), payload: []byte("p")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr frame
		r := bufio.NewReaderSize(bytes.NewReader(b), 1<<10)
		for fr.readFrame(r, 1<<12) == nil {
			var again frame
			if err := again.readFrame(bufio.NewReaderSize(bytes.NewReader(appendFrame(nil, &fr)), 1<<13), 1<<12); err != nil || again.id != fr.id {
				t.Fatal(again, err)
			}
		}
	})
}
