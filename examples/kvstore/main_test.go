package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if args := os.Getenv("KVSTORE_ARGS"); args != "" { // a process of a test
		os.Args = append(os.Args[:1], strings.Fields(args)...)
		main()
		return
	}
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

// seeds are those that a random test runs: few, or WEFT_SEEDS of them, or only WEFT_SEED.
func seeds(t *testing.T, few int) (seeds []uint64) {
	t.Helper()
	if one, err := strconv.ParseUint(os.Getenv("WEFT_SEED"), 10, 64); err == nil {
		return []uint64{one}
	}
	if n, err := strconv.Atoi(os.Getenv("WEFT_SEEDS")); err == nil {
		few = n
	}
	for seed := range uint64(few) {
		seeds = append(seeds, seed)
	}
	return seeds
}
