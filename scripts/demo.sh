#!/usr/bin/env bash
# Three processes on this machine - a relay, a server and a client - form a
# network with a fresh secret, and the client gets a file from the server over
# HTTP/2 by the server's name. Ports are the kernel's choice. Nothing is left
# behind.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}

dir=$(mktemp -d)
pids=()
# stop ends the parts, the last first, and tells whether all ended well.
stop() {
	local i failed=0
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2>/dev/null || true
		wait "${pids[i]}" || failed=1
	done
	pids=()
	return $failed
}
trap 'stop || true; rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s\n' "$*"; }
show() { sed 's/^/    /' "$@"; }

# The parts' own output is in the way unless something goes wrong.
fail() {
	echo "demo: $1" >&2
	for log in "$dir"/*.log; do sed "s|^|$(basename "$log" .log): |" "$log" >&2; done
	exit 1
}

# wait_for PID PATTERN FILE waits until the process has written such a line.
wait_for() {
	for _ in $(seq 600); do
		if grep -qs -- "$2" "$3"; then return; fi
		kill -0 "$1" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

echo "Building weft, and making a secret for a new network."
"$go" build -o "$dir/weft" ./cmd/weft
weft=$dir/weft
unset WEFT_NETWORK WEFT_OPEN WEFT_STATE WEFT_NAME WEFT_RELAYS
WEFT_SECRET=$("$weft" secret)
export WEFT_SECRET WEFT_NO_LAN=1 # it is a matter of this machine

"$weft" relay --listen 127.0.0.1:0 --addr-file "$dir/relay.addr" --grace 3s >"$dir/relay.out" 2>"$dir/relay.log" &
pids+=($!)
wait_for "${pids[0]}" . "$dir/relay.out" || fail "the relay did not start"
WEFT_RELAYS=$(cat "$dir/relay.addr")
export WEFT_RELAYS
say "A relay, which carries packets that it cannot read:"
show "$dir/relay.out"

mkdir "$dir/www"
echo "Hello from a node that listens on no address of this machine." >"$dir/www/hello.txt"
"$weft" serve --name demo-server --port 80 "$dir/www" >"$dir/server.out" 2>"$dir/server.log" &
pids+=($!)
wait_for "${pids[1]}" . "$dir/server.out" || fail "the server did not start"
say "A server, which the network knows by its name:"
show "$dir/server.out"

say "A client, and the answer over HTTP/2 with the node that sent it:"
echo '    $ weft get http://demo-server/hello.txt'
"$weft" get http://demo-server/hello.txt >"$dir/answer" 2>"$dir/client.log" || fail "the client got no answer"
show "$dir/client.log" "$dir/answer"
grep -q '^HTTP/2.0 200 OK from [0-9a-f]\{16\} (demo-server)' "$dir/client.log" || fail "the answer is not the server's"

wait_for "${pids[1]}" 'GET /hello.txt' "$dir/server.log" || fail "the server has not seen the request"
say "What the server knows about who asked:"
grep -o 'from=[0-9a-f]*' "$dir/server.log" | tail -1 | sed 's/from=/    node /'

stop || fail "a part did not end well"
say "All three have stopped."
