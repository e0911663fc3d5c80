package session

import "slices"

// A span is a half-open interval of offsets or numbers.
type span struct{ lo, hi uint64 }

// spans is a set of numbers as ascending intervals that neither overlap nor
// touch.
type spans []span

// search returns the index of the first span that ends behind v.
func (s spans) search(v uint64) int {
	i, _ := slices.BinarySearchFunc(s, v, func(sp span, v uint64) int {
		if sp.hi <= v {
			return -1
		}
		return 1
	})
	return i
}

func (s spans) contains(v uint64) bool {
	i := s.search(v)
	return i < len(s) && s[i].lo <= v
}

// add inserts [lo, hi).
func (s *spans) add(lo, hi uint64) {
	if lo >= hi {
		return
	}
	if n := len(*s); n > 0 && lo == (*s)[n-1].hi { // what nearly always happens
		(*s)[n-1].hi = hi
		return
	}
	i := s.search(lo)
	if i > 0 && (*s)[i-1].hi == lo {
		i--
	}
	j := i
	for j < len(*s) && (*s)[j].lo <= hi {
		lo, hi = min(lo, (*s)[j].lo), max(hi, (*s)[j].hi)
		j++
	}
	*s = slices.Replace(*s, i, j, span{lo, hi})
}

// sub removes [lo, hi).
func (s *spans) sub(lo, hi uint64) {
	if lo >= hi || len(*s) == 0 {
		return
	}
	i := s.search(lo)
	var keep [2]span
	n, j := 0, i
	for j < len(*s) && (*s)[j].lo < hi {
		sp := (*s)[j]
		if sp.lo < lo {
			keep[n] = span{sp.lo, lo}
			n++
		}
		if sp.hi > hi {
			keep[n] = span{hi, sp.hi}
			n++
		}
		j++
	}
	*s = slices.Replace(*s, i, j, keep[:n]...)
}
