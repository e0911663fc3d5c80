package spare

import (
	"slices"
	"testing"
)

func TestGrowKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	var p Slices[*int]
	var s, want []*int
	for i := range 1000 {
		s = append(p.Grow(s), &i)
		want = append(want, &i)
	}
	if !slices.Equal(s, want) {
		t.Fatal("elements changed while the slice grew")
	}
}

func TestMemoryComesBackEmpty(t *testing.T) {
	t.Parallel()
	var p Slices[*int]
	for range 100 { // a pool may lose what it keeps
		s := p.Grow(nil)
		s = append(s, new(int))
		p.Put(s)
		s = p.Grow(nil)
		if len(s) != 0 || cap(s) < 1 {
			t.Fatalf("Grow returned %d elements with room for %d", len(s), cap(s))
		}
		for i, v := range s[:cap(s)] {
			if v != nil {
				t.Fatalf("element %d of the room was not cleared", i)
			}
		}
	}
}

func TestForeignMemoryIsNotKept(t *testing.T) {
	t.Parallel()
	var p Slices[int]
	p.Put(nil)
	p.Put(make([]int, 3, 17))
	if s := p.Grow(make([]int, 17)); len(s) != 17 || cap(s) != 32 {
		t.Fatalf("got %d elements with room for %d, want 17 and 32", len(s), cap(s))
	}
}
