package session

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A spanModel is a set of small numbers, one bool each.
type spanModel [200]bool

func (m *spanModel) fill(lo, hi uint64, v bool) {
	for i := lo; i < hi; i++ {
		m[i] = v
	}
}

// spans is the same set as it should be.
func (m *spanModel) spans() (want spans) {
	for i, in := range m {
		switch {
		case !in:
		case len(want) > 0 && want[len(want)-1].hi == uint64(i):
			want[len(want)-1].hi++
		default:
			want = append(want, span{uint64(i), uint64(i) + 1})
		}
	}
	return want
}

func TestSpansAreTheSetOfWhatWasAddedAndNotRemoved(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var s spans
		var m spanModel
		for range 100 {
			lo := rng.Uint64N(uint64(len(m)))
			hi := min(lo+rng.Uint64N(1+rng.Uint64N(60)), uint64(len(m)))
			add := rng.IntN(5) < 3
			if add {
				s.add(lo, hi)
			} else {
				s.sub(lo, hi)
			}
			m.fill(lo, hi, add)
			if want := m.spans(); !slices.Equal(s, want) {
				t.Fatalf("add %v [%d, %d): %v, want %v", add, lo, hi, s, want)
			}
		}
		for i, in := range m {
			if s.contains(uint64(i)) != in {
				t.Fatalf("contains(%d) is %v in %v", i, !in, s)
			}
		}
	}
}

func TestSpansIgnoreEmptyAndBackwardIntervals(t *testing.T) {
	s := spans{{5, 10}}
	s.add(20, 20)
	s.add(30, 20)
	s.sub(7, 7)
	s.sub(8, 6)
	if !slices.Equal(s, spans{{5, 10}}) {
		t.Errorf("%v, want [5, 10) alone", s)
	}
}

func TestSpansReachTheLargestNumber(t *testing.T) {
	const last = ^uint64(0)
	var s spans
	s.add(0, 1)
	s.add(last-1, last)
	s.add(last-2, last-1)
	s.sub(0, 1)
	if !slices.Equal(s, spans{{last - 2, last}}) || !s.contains(last-1) || s.contains(last-3) {
		t.Errorf("%v, want [%d, %d) alone", s, last-2, last)
	}
}

func TestAddingInOrderDoesNotAllocate(t *testing.T) {
	s := make(spans, 0, 1)
	var n uint64
	if allocs := testing.AllocsPerRun(100, func() { s.add(n, n+1); n++ }); allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}
