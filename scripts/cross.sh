#!/usr/bin/env bash
# Builds all packages for each system that weft runs on, and vets them, tests
# included.
#
#   scripts/cross.sh                # all of them
#   scripts/cross.sh windows/arm64
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0

[ $# -gt 0 ] || set -- {linux,darwin,windows,freebsd}/{amd64,arm64}
for target in "$@"; do
	echo "== $target"
	export GOOS=${target%/*} GOARCH=${target#*/}
	"$go" build ./...
	"$go" vet ./...
done
