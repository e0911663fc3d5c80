#!/usr/bin/env bash
# Keeps what fuzzing has found interesting on this machine in the repository,
# as testdata/fuzz of each package: at most MAX inputs of at most 4 KiB for each
# fuzz test, spread over all lengths. What is there stays.
#
#   make fuzz T=5m && make corpus
set -euo pipefail
cd "$(dirname "$0")/.."

max=${MAX:-24}
go=${GO:-go}
cache=$("$go" env GOCACHE)/fuzz/$("$go" list -m)

while read -r file; do
	dir=$(dirname "$file")
	for name in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		[ -d "$cache/$dir/$name" ] || continue
		kept=$dir/testdata/fuzz/$name
		mkdir -p "$kept"
		room=$((max - $(find "$kept" -type f | wc -l)))
		[ "$room" -gt 0 ] || continue
		find "$cache/$dir/$name" -type f -size -5k -printf '%s %p\n' | sort -n | cut -d' ' -f2- |
			awk -v room="$room" '{ all[NR] = $0 } END { step = NR > room ? NR / room : 1; for (i = 1; i <= NR; i += step) print all[int(i)] }' |
			head -n "$room" | while read -r input; do cp -n "$input" "$kept/"; done
		rmdir --ignore-fail-on-non-empty "$kept"
	done
done < <(git ls-files --cached --others --exclude-standard '*_test.go' | grep -Ev '^(bench|examples|integration)/' || true)
du -sh --total $(find . -path '*/testdata/fuzz' -type d) | tail -n 1
