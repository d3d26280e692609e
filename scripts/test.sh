#!/usr/bin/env bash
# All tests, cheapest first, so that a mistake shows early. Each step stops the run.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "pages: types, lint, unit tests"
npm --prefix src/web run check
npm --prefix src/web test

step "the bare player page"
pages=player-test/pages
if ! cmp -s "$pages/package-lock.json" "$pages/node_modules/.installed-lock"; then
    npm --prefix "$pages" ci
    cp "$pages/package-lock.json" "$pages/node_modules/.installed-lock"
fi

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items

step "documentation examples"
cargo test --workspace --doc --locked

step "unit, integration and player tests"
# The root package's integration tests have cargo build the binary that the player tests start. One build of the whole
# workspace, because building one package at a time would choose other features and compile the same crates again.
cargo nextest run --workspace --locked
