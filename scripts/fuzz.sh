#!/usr/bin/env bash
# Runs each fuzz test of the main module for the time given (go test takes one
# at a time).
#
#   scripts/fuzz.sh 30s
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-30s}
go=${GO:-go}

found=0
while read -r file; do
	for name in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		found=$((found + 1))
		echo "== ./$(dirname "$file") $name for $time"
		"$go" test "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime "$time"
	done
done < <(git ls-files --cached --others --exclude-standard '*_test.go' | grep -Ev '^(bench|examples|integration)/' || true)
echo "$found fuzz tests, no failure"
