// Package spectest holds a second reader of what goes over the wire, written
// from SPEC.md alone, and the tests that put it against the implementation: the
// vectors of SPEC.md's appendix, and captured sessions with a key log. It shares
// no code with what it checks.
package spectest
