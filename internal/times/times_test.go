package times

import (
	"testing"
	"time"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	none, one, two := time.Time{}, time.Unix(1, 0), time.Unix(2, 0)
	for _, tt := range []struct{ a, b, earliest, later time.Time }{
		{none, none, none, none},
		{none, one, one, one},
		{one, none, one, one},
		{one, two, one, two},
		{two, one, one, two},
	} {
		if got := Earliest(tt.a, tt.b); !got.Equal(tt.earliest) {
			t.Errorf("Earliest(%v, %v) = %v, want %v", tt.a, tt.b, got, tt.earliest)
		}
		if got := Later(tt.a, tt.b); !got.Equal(tt.later) {
			t.Errorf("Later(%v, %v) = %v, want %v", tt.a, tt.b, got, tt.later)
		}
	}
}
