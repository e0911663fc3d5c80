#!/usr/bin/env bash
# Builds all packages for each system that weft runs on. Those that are named are
# vetted as well, tests included; without any, two that differ most from the one
# on which all tests run.
#
#   scripts/cross.sh                # all of them
#   scripts/cross.sh windows/arm64
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0

named=$*
[ $# -gt 0 ] || set -- {linux,darwin,windows,freebsd}/{amd64,arm64}
for target in "$@"; do
	echo "== $target"
	export GOOS=${target%/*} GOARCH=${target#*/}
	"$go" build ./...
	case $named:$target in
	?*:* | :windows/amd64 | :darwin/arm64) "$go" vet ./... ;;
	esac
done
