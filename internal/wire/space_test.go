package wire

import "testing"

func TestSpacesHaveNames(t *testing.T) {
	for s, want := range map[Space]string{SpaceInitial: "initial", SpaceHandshake: "handshake", SpaceApp: "app", NumSpaces: "unknown"} {
		if got := s.String(); got != want {
			t.Errorf("space %d is called %q, want %q", s, got, want)
		}
	}
}
