package overlaytest

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

// number returns the number in a variable of the environment, false if there is
// none.
func number(t *testing.T, name string) (uint64, bool) {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s is %q, want a number", name, s)
	}
	return n, true
}

// seedsOf returns with which seeds a test runs: with those from 0 to n-1, or to a
// fifth of that with -short. WEFT_SEEDS in the environment says another number,
// WEFT_SEED the only one.
func seedsOf(t *testing.T, n uint64) (seeds []uint64) {
	t.Helper()
	if seed, ok := number(t, "WEFT_SEED"); ok {
		return []uint64{seed}
	}
	if testing.Short() {
		n = (n + 4) / 5
	}
	if m, ok := number(t, "WEFT_SEEDS"); ok {
		n = m
	}
	for seed := range n {
		seeds = append(seeds, seed)
	}
	return seeds
}

// eachSeed runs a test with each of its seeds in a bubble, and says how to repeat
// what fails.
func eachSeed(t *testing.T, n uint64, test func(t *testing.T, seed uint64)) {
	t.Helper()
	for _, seed := range seedsOf(t, n) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			defer replayable(t, seed)
			synctest.Test(t, func(t *testing.T) { test(t, seed) })
		})
	}
}

// replayable prints the line that repeats a test which failed.
func replayable(t *testing.T, seed uint64) {
	t.Helper()
	if t.Failed() {
		parts := strings.Split(t.Name(), "/")
		for i, p := range parts {
			parts[i] = "^" + strings.NewReplacer("(", `\(`, ")", `\)`, "+", `\+`).Replace(p) + "$"
		}
		t.Logf("repeat with: WEFT_SEED=%d go test ./overlaytest -run '%s'", seed, strings.Join(parts, "/"))
	}
}
