# Skywave: `make run` serves, `make test` proves. Each target installs what is missing first.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

LISTEN ?= 127.0.0.1:8080
ARGS ?=
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help deps test-deps bench-deps web build run lan check test test-pure test-players bench fmt clean

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

deps: ## Install what building and serving need (Debian packages), if anything is missing
	@scripts/install-deps.sh

test-deps: ## Install what the tests need besides: browsers, players, a test runner
	@scripts/install-deps.sh --with-tests
	@command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
	@PATH="$$PATH:$${CARGO_HOME:-$$HOME/.cargo}/bin" command -v geckodriver >/dev/null || cargo install --locked geckodriver

bench-deps: ## Install what the benches compare with
	@scripts/install-deps.sh --with-benches

web: deps ## Build the built-in pages
	@scripts/build-web.sh

build: web ## Build the release binary, target/release/skywave
	cargo build --release --locked --bin skywave

run: build ## Serve on http://127.0.0.1:8080 (LISTEN=ADDR:PORT, ARGS="--set key=value")
	$(TARGET_DIR)/release/skywave serve --listen $(LISTEN) $(ARGS)

# The certificate is kept, so that a phone that has accepted it once need not do so again.
lan: LISTEN = 0.0.0.0:8080
lan: ARGS += --open --tls-self-signed --tls-cert $(TARGET_DIR)/lan/cert.pem --tls-key $(TARGET_DIR)/lan/key.pem
lan: run ## Serve to the whole network, by HTTPS too: everybody who reaches this machine may publish and watch

fmt: ## Format everything
	cargo fmt --all

check: web ## The fast checks: format, lints, pure tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo nextest run --workspace --locked -E "package(skywave-media) + package(relay-proto)"

test: test-deps web ## Everything: format, lints, unit, integration and player tests, docs
	scripts/test.sh

bench: test-deps bench-deps web ## Measure: transcode cost, time to first segment, memory, start-up, HLS requests beside nginx
	scripts/bench.sh

clean: ## Remove what was built
	cargo clean
	rm -rf src/web/dist src/web/node_modules
