# Two commands matter: `make demo` runs the main job, `make test` runs every test. Each sets up what is missing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export CARGO_TERM_COLOR ?= auto

# KEEP=1 leaves the demo running; UDP=blocked swallows the datagrams of one node.
KEEP ?=
UDP ?=
# How many agents `make storm` simulates.
AGENTS ?= 10000
# Which fleets `make simulate` plays, for how many days; DEVICES=n makes every fleet that large.
SEEDS ?= 0..10000
DAYS ?= 30
DEVICES ?=

.PHONY: help setup demo test matrix lint cross bench page-pictures properties simulate soak storm torture deny fmt clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: ## Fetch and check what tests and demo need: ONNX Runtime, models, an MQTT broker, a Python with clients
	@tests/setup/setup.sh base models zoo matrix python-tests promtool
	@tests/setup/broker.sh

demo: ## Run the main job end to end, on real input (KEEP=1 leaves it running, UDP=blocked blocks QUIC for one node)
	@tests/setup/setup.sh base models
	@tests/setup/broker.sh
	cargo build --release --bins -p cloudcore -p edge-agent -p fleetctl -p millwright-demo
	@"$${CARGO_TARGET_DIR:-target}/release/millwright-demo" $(if $(KEEP),--keep) $(if $(filter blocked,$(UDP)),--udp-blocked)

test: setup lint ## Run every test: unit, property, golden, and real processes
	cargo build --workspace --all-targets
	cargo test --workspace --quiet

matrix: ## Run every operator model of libonnx-testdata through a worker (`make test` runs a quarter of them)
	@tests/setup/setup.sh base matrix
	MILLWRIGHT_MATRIX=all cargo test --package edge-agent --test data_plane operators

torture: setup ## Break the agent's stores in full: 10,000 kills, 100,000 damages, power cuts, failing disks, 10,000,000 inputs to each decoder (more than an hour)
	cargo build --release --bins -p millwright-torture -p edge-agent -p cloudcore -p fleetctl
	@set -e; torture="$${CARGO_TARGET_DIR:-target}/release/millwright-torture"; \
	"$$torture" kills --kills 10000; \
	"$$torture" agent-kills --kills 10000 --fleets 10 --life-ms-max 1800; \
	"$$torture" corruption --cases 100000; \
	"$$torture" power --halts 2000; \
	"$$torture" faults --rounds 20; \
	"$$torture" fuzz --executions 10000000

properties: ## Try the properties of cores, formats and vision with 100 times as many cases as `make test` does
	PROPTEST_CASES=25600 cargo test --release --lib -p edge-core -p edge-vision -p fleet-core -p millwright-document \
		-p millwright-identity -p millwright-package -p millwright-proto -p millwright-summary

simulate: ## Simulate 10,000 seeded fleets through 30 days each (SEEDS=0..100 DAYS=30 DEVICES=n)
	cargo build --release -p millwright-simulation
	@"$${CARGO_TARGET_DIR:-target}/release/millwright-simulation" run --seeds $(SEEDS) --days $(DAYS) $(if $(DEVICES),--devices $(DEVICES))

lint: ## Formatting, clippy and rustdoc without warnings
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

cross: ## Build the agent for ARM64 and run one inference with it under emulation
	cross/smoke.sh

bench: ## Run the benchmarks against their peers; results go to benches/results
	@tests/setup/setup.sh base models zoo
	cargo build --release --workspace --bins
	@"$${CARGO_TARGET_DIR:-target}/release/millwright-benches"

page-pictures: ## Look at the camera page with Chromium (apt-get install chromium) and take its pictures anew
	@tests/setup/setup.sh base models python-tests
	cargo build --release -p millwright-benches
	@tests/setup/page-pictures.sh

soak: ## A month offline within 16 MiB and a year within 8 MiB, drained and counted
	cargo build --release -p millwright-soak
	@"$${CARGO_TARGET_DIR:-target}/release/millwright-soak" --days 30 --quota-mib 16
	@"$${CARGO_TARGET_DIR:-target}/release/millwright-soak" --days 365 --quota-mib 8

storm: ## Kill cloudcore under ten thousand real sessions (AGENTS=n), and see who is back when; keeps the fleet in target/storm
	cargo build --release --bins -p cloudcore -p fleetctl -p millwright-simulator
	@"$${CARGO_TARGET_DIR:-target}/release/millwright-simulator" storm --agents $(AGENTS) --directory "$${CARGO_TARGET_DIR:-target}/storm"

deny: ## Licences, bans and sources of the dependencies (needs cargo-deny)
	cargo deny check bans licenses sources

fmt: ## Format everything
	cargo fmt --all

clean: ## Remove what was built and fetched
	rm -rf target tests/broker/target
