#!/usr/bin/env bash
# Plain HLS requests by wrk: Skywave beside nginx, which serves the same bytes from disk. Server CPU for each request, and Gbit/s for each core.
#
#   benches/hls_beside_nginx.sh [SECONDS a row, 6] [ROUNDS, 3]
#
# Takes the release binary (or SKYWAVE_BIN). Publishes a test pattern in H.264 until some segments are there, stops the publisher (the stream
# stays for its grace time, and costs nothing), and asks both servers by turns for the same segment, part, initialisation section and playlist.
# Everything is on loopback and ends by itself. Needs wrk and nginx (Debian: wrk, nginx-light).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-6}
rounds=${2:-3}
connections=${CONNECTIONS:-64}
binary=${SKYWAVE_BIN:-${CARGO_TARGET_DIR:-target}/release/skywave}
# The server reads variables of this beginning as configuration, and knows no such key.
unset SKYWAVE_BIN
for tool in wrk nginx curl; do
    command -v "$tool" >/dev/null || { echo "hls_beside_nginx: $tool is not installed (scripts/install-deps.sh --with-benches)" >&2; exit 1; }
done
[ -x "$binary" ] || { echo "hls_beside_nginx: no $binary: cargo build --release --bin skywave" >&2; exit 1; }

work=$(mktemp -d)
pids=()
finish() {
    # Only what was started here, each by its own id.
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

# Skywave, with a stream that outlives its publisher for as long as this takes.
"$binary" serve --listen 127.0.0.1:0 --media-port 0 --set ingest.grace_ms=600000 --set log.level=warn >"$work/skywave.out" 2>&1 &
skywave=$!
pids+=("$skywave")
base=
for _ in $(seq 100); do
    base=$(sed -n 's/^skywave: listening on //p' "$work/skywave.out")
    [ -n "$base" ] && break
    sleep 0.1
done
[ -n "$base" ] || { cat "$work/skywave.out" >&2; exit 1; }
"$binary" publish test "$base/whip/beside" --video h264 --video-bitrate 1500000 --duration 14s >"$work/whip.out" 2>&1 &
publisher=$!
pids+=("$publisher")
wait "$publisher" || { cat "$work/whip.out" >&2; exit 1; }

# The second variant line of the multivariant playlist is the video's; its segments lie beside its playlist.
variant=$(curl -sf "$base/hls/beside/index.m3u8" | grep -A1 '^#EXT-X-STREAM-INF' | grep -v '^#' | head -n 1)
folder="$base/hls/beside/$(dirname "$variant")"
playlist="$base/hls/beside/$variant"
curl -sf "$playlist" >"$work/playlist"
segment=$(grep -v '^#' "$work/playlist" | sed -n 3p)
part=$(sed -n 's/^#EXT-X-PART:.*URI="\([^"]*\)".*/\1/p' "$work/playlist" | sed -n 2p)
init=$(sed -n 's/^#EXT-X-MAP:.*URI="\([^"]*\)".*/\1/p' "$work/playlist" | head -n 1)

# nginx, one worker, as fast as it can be made for few files that do not change.
mkdir "$work/root" "$work/nginx"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/nginx.conf" <<CONF
daemon off;
worker_processes ${NGINX_WORKERS:-1};
pid $work/nginx/pid;
error_log $work/nginx/error.log;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    open_file_cache max=100;
    types { video/mp4 m4s mp4; application/vnd.apple.mpegurl m3u8; }
    client_body_temp_path $work/nginx; proxy_temp_path $work/nginx; fastcgi_temp_path $work/nginx;
    uwsgi_temp_path $work/nginx; scgi_temp_path $work/nginx;
    server { listen 127.0.0.1:$port; root $work/root; }
}
CONF
cat >"$work/count.lua" <<'LUA'
done = function(summary)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.bytes, failed))
end
LUA

names=(segment)
urls=("$folder/$segment")
[ -n "$part" ] && names+=(part) && urls+=("$folder/$part")
names+=(init playlist)
urls+=("$folder/$init" "$playlist")
for n in "${!names[@]}"; do
    extension=$([ "${names[$n]}" = playlist ] && echo m3u8 || echo m4s)
    curl -sf "${urls[$n]}" >"$work/root/${names[$n]}.$extension"
    files[n]="${names[$n]}.$extension"
done
chmod -R a+rX "$work"
nginx -c "$work/nginx.conf" -p "$work/nginx" 2>"$work/nginx.err" &
nginx=$!
pids+=("$nginx")
for _ in $(seq 50); do
    curl -sf -o "$work/probe" "http://127.0.0.1:$port/${files[0]}" && break
    sleep 0.1
done
cmp -s "$work/probe" "$work/root/${files[0]}" || { cat "$work/nginx.err" >&2; exit 1; }

# Clock ticks (100 a second) of a process and, for nginx, of its workers.
ticks() {
    local sum=0 pid
    for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
        sum=$((sum + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}')))
    done
    echo "$sum"
}

# One row: name of the server, its process, what is asked for, the URL.
row() {
    local before after result
    before=$(ticks "$2")
    result=$(wrk -t1 -c"$connections" -d"${seconds}s" -s "$work/count.lua" "$4" | sed -n 's/^RESULT //p')
    after=$(ticks "$2")
    echo "$3 $1 $result $((after - before))" >>"$work/rows"
}

for _ in $(seq "$rounds"); do
    for n in "${!names[@]}"; do
        row skywave "$skywave" "${names[$n]}" "${urls[$n]}"
        row nginx "$nginx" "${names[$n]}" "http://127.0.0.1:$port/${files[$n]}"
    done
done

python3 - "$work/rows" "$work/root" "$seconds" "$rounds" "$connections" <<'PY'
import collections, os, statistics, sys
rows, root, seconds, rounds, connections = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
found = collections.defaultdict(list)
for line in open(rows):
    what, server, requests, size, failed, ticks = line.split()
    requests, size, failed, cpu = int(requests), int(size), int(failed), max(int(ticks), 1) / 100
    found[what, server].append((cpu * 1e6 / max(requests, 1), size * 8 / 1e9 / cpu, requests / seconds, failed))
sizes = {name.split(".")[0]: os.path.getsize(os.path.join(root, name)) for name in os.listdir(root)}
print(f"wrk -t1 -c{connections}, {seconds} s a row, medians of {rounds} rounds, both servers by turns\n")
print("| what | bytes | skywave, us of CPU a request | nginx | skywave / nginx | skywave, Gbit/s a core | nginx | requests/s, skywave / nginx |")
print("| --- | --: | --: | --: | --: | --: | --: | --: |")
for what in dict.fromkeys(what for what, _ in found):
    column = lambda server, at: statistics.median(one[at] for one in found[what, server])
    own, other = column("skywave", 0), column("nginx", 0)
    print(f"| {what} | {sizes[what]} | {own:.1f} | {other:.1f} | {own / other:.2f} | {column('skywave', 1):.1f} | {column('nginx', 1):.1f} "
          f"| {column('skywave', 2):.0f} / {column('nginx', 2):.0f} |")
    failed = sum(one[3] for server in ("skywave", "nginx") for one in found[what, server])
    if failed:
        print(f"\n{failed} requests for {what} failed\n")
PY
