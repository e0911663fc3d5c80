#!/usr/bin/env bash
# Builds the command twice, from two copies of the source in different places and
# with empty build caches, and compares the two.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for copy in one another/deeper/one; do
	mkdir -p "$dir/$copy"
	git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$dir/$copy" 2>/dev/null || true
	(cd "$dir/$copy" && GOCACHE=$dir/$copy/.cache CGO_ENABLED=0 "$go" build -trimpath -buildvcs=false -ldflags='-s -w' -o "$dir/weft" ./cmd/weft)
	sha256sum "$dir/weft" | cut -d' ' -f1 | tee -a "$dir/sums"
done
[ "$(sort -u "$dir/sums" | wc -l)" = 1 ] || { echo "the two builds differ"; exit 1; }
echo "two builds, one result: $(stat -c %s "$dir/weft") bytes"
