package yamux

import "testing"

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, want := range []message{
		{opOpen, 1, 80}, {opAccept, 2, 0}, {opFin, 0xffffffff, 0}, {opStop, 7, 0}, {opReset, 3, 0xffffffff},
	} {
		got, err := parseMessage(want.append(nil))
		if err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
}

func TestUnknownMessagesAreErrors(t *testing.T) {
	for _, b := range [][]byte{
		nil, {1}, make([]byte, messageLen-1), make([]byte, messageLen+1), make([]byte, messageLen),
		message{opReset + 1, 1, 1}.append(nil), message{255, 1, 1}.append(nil),
	} {
		if m, err := parseMessage(b); err == nil {
			t.Errorf("%x parsed as %+v", b, m)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(message{opOpen, 1, 80}.append(nil))
	f.Add([]byte("too short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err == nil && string(m.append(nil)) != string(b) {
			t.Errorf("%x parsed as %+v", b, m)
		}
	})
}
