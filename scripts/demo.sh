#!/usr/bin/env bash
# Three processes on this machine - a relay, a server and a client - form a
# network with a fresh secret, and the client gets a file from the server over
# HTTP/2 by the server's name. Ports are the kernel's choice. Nothing is left
# behind.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
pids=()
stop() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The parts' own output is in the way unless something goes wrong.
fail() {
	echo "demo: $1" >&2
	for log in "$dir"/*.log; do sed "s|^|$(basename "$log" .log): |" "$log" >&2; done
	exit 1
}

# wait_for FILE PID waits until the process has written to the file.
wait_for() {
	for _ in $(seq 200); do
		[ -s "$1" ] && return
		kill -0 "$2" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

echo "building weft"
go build -o "$dir/weft" ./cmd/weft

WEFT_SECRET=$("$dir/weft" secret)
export WEFT_SECRET
unset WEFT_STATE WEFT_INVITE WEFT_NAME WEFT_RELAYS

"$dir/weft" relay --listen 127.0.0.1:0 --addr-file "$dir/relay.addr" 2>"$dir/relay.log" &
pids+=($!)
wait_for "$dir/relay.addr" "${pids[-1]}" || fail "the relay did not start"
WEFT_RELAYS=$(cat "$dir/relay.addr")
export WEFT_RELAYS
echo "relay at $WEFT_RELAYS"

mkdir "$dir/www"
echo "Hello from a node that listens on no address." >"$dir/www/hello.txt"
"$dir/weft" serve --name demo-server --port 80 "$dir/www" >"$dir/serve.out" 2>"$dir/serve.log" &
pids+=($!)
# serve prints its URL once the relay knows it.
wait_for "$dir/serve.out" "${pids[-1]}" || fail "the server did not start"
echo "server $(cat "$dir/serve.out")"

echo "client: weft get http://demo-server/hello.txt"
"$dir/weft" get http://demo-server/hello.txt >"$dir/answer" 2>"$dir/get.log" || fail "the client got no answer"
sed 's/^/  /' "$dir/get.log" "$dir/answer"
