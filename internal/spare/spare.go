// Package spare keeps the memory of slices that grow and shrink all the time,
// so that a queue that empties need neither hold its room nor allocate it anew.
package spare

import (
	"math/bits"
	"sync"
)

// classes is how many sizes are kept, each twice as large as the one before.
const classes = 24

// Slices keeps the memory of slices of T. The zero value is ready. All methods
// are safe for concurrent use.
type Slices[T any] struct {
	pools [classes]sync.Pool // *[]T, by the logarithm of the capacity, which is a power of two
	boxes sync.Pool          // *[]T without memory, lest keeping some allocates
}

// Grow returns s with room for at least one more element. The memory of s is
// kept, so nobody else may have it.
func (p *Slices[T]) Grow(s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	class := bits.Len(uint(max(len(s), 15)))
	var grown []T
	if class >= classes {
		return append(make([]T, 0, 1<<class), s...)
	}
	if b, ok := p.pools[class].Get().(*[]T); ok {
		grown = (*b)[:0]
		*b = nil
		p.boxes.Put(b)
	} else {
		grown = make([]T, 0, 1<<class)
	}
	grown = append(grown, s...)
	p.Put(s)
	return grown
}

// Put keeps the memory of s, which nobody may use any more.
func (p *Slices[T]) Put(s []T) {
	class := bits.Len(uint(cap(s))) - 1
	if class < 4 || class >= classes || cap(s) != 1<<class {
		return
	}
	s = s[:cap(s)]
	clear(s)
	b, _ := p.boxes.Get().(*[]T)
	if b == nil {
		b = new([]T)
	}
	*b = s
	p.pools[class].Put(b)
}
