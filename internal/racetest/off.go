//go:build !race

package racetest

// Enabled says whether the race detector watches.
const Enabled = false
