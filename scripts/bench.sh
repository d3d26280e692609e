#!/usr/bin/env bash
# The numbers that benches/README.md reports. Run it on a quiet machine, and compare figures of one run only.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --workspace --bins
target=${CARGO_TARGET_DIR:-target}
SKYWAVE_BIN="$(realpath "$target")/release/skywave" "$target/release/serve_cost"
"$target/release/transcode_cost" 12 3
benches/hls_beside_nginx.sh
