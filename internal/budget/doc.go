// Package budget holds tests of what weft may cost those who import it: memory,
// allocations, goroutines, packages and bytes of a program. They run without the race
// detector, which allocates for itself, and none asserts a time.
//
// A budget has some slack over what was measured when it was set, so that noise does
// not break it and a regression does. Who has a good reason to raise one says it in the
// commit; who has won something lowers it. docs/performance.md lists them all.
package budget
