#!/usr/bin/env bash
# Runs each fuzz test of the main module for the time given (go test takes one
# at a time).
#
#   scripts/fuzz.sh 30s
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-30s}
go=${GO:-go}

# fuzz runs one fuzz test, with little time for making inputs smaller, which would
# take all of it. On a busy machine the end of the time may cut off a
# worker, which go test reports as a failure that names no input; it is none.
fuzz() {
	local log
	log=$(mktemp)
	if "$go" test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 20x 2>&1 | tee "$log"; then
		rm -f "$log"
		return
	fi
	local cut=no
	if grep -qx ' *context deadline exceeded' "$log" && ! grep -qE 'Failing input|panic:' "$log"; then
		cut=yes
	fi
	rm -f "$log"
	[ "$cut" = yes ] && echo "(cut off by the clock, without a failing input)"
}

found=0
while read -r file; do
	for name in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		found=$((found + 1))
		echo "== ./$(dirname "$file") $name for $time"
		fuzz "./$(dirname "$file")" "$name"
	done
done < <(git ls-files --cached --others --exclude-standard '*_test.go' | grep -Ev '^(bench|examples|integration)/' || true)
echo "$found fuzz tests, no failure"
