# One door to every check. `make demo` and `make test` need nothing but Python 3.10 or newer and a Rust toolchain:
# they make a virtual environment here, fill it from the package index, and build the engine into it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

# Everything that is built stays in this folder, and one interpreter is built against, so that nothing is built twice.
export CARGO_TARGET_DIR := $(CURDIR)/target
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX PYTHONHOME PYTHONPATH

SOURCES := Cargo.toml pyproject.toml $(wildcard Cargo.lock) \
	$(shell find rust -name target -prune -o -name fuzz -prune -o \( -name '*.rs' -o -name '*.toml' \) -print)
MODULE := $(wildcard python/vhpack/_vhpack*.so)

.PHONY: help demo test soak lint bench fuzz format build FORCE
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.with-demo $(VENV)/.built ## Pack a small tree of images, and say what to try next
	@rm -rf $(DEMO)
	@$(BIN)/python tests/demo_tree.py $(DEMO)/resized
	$(BIN)/vhpack compress '$(DEMO)/resized/*.png' -o $(DEMO)/resized.zip
	$(BIN)/python -m zipfile -l $(DEMO)/resized.zip | sed -n 1,6p
	@printf '%s\n' '' 'Try next:' \
		"  $(BIN)/vhpack compress '$(DEMO)/resized/*.png' -o $(DEMO)/resized.zip --force --json" \
		"  $(BIN)/vhpack compress $(DEMO)/resized -o $(DEMO)/all.zip" \
		"  $(BIN)/vhpack --help"

test: $(VENV)/.with-test $(VENV)/.built ## Run every test: cargo test and pytest
	cargo test --workspace
	$(BIN)/python -m pytest -n auto --dist loadfile

# `make soak TESTS=tests/upload/test_kill.py` for some of them.
TESTS ?= tests

soak: $(VENV)/.with-test $(VENV)/.with-luisy $(VENV)/.with-clearml $(VENV)/.built ## Run the tests, or TESTS, with more of everything: hours, and much disk
	VHPACK_SOAK=1 $(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/.with-lint $(VENV)/.built ## Check formats, lints and types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest vhpack._vhpack

bench: $(VENV)/.with-bench $(VENV)/.built ## Measure against floors and peers; writes benches/RESULTS.md
	$(BIN)/python benches/run.py

# Each target goes on from what earlier runs found worth keeping; needs nightly and `cargo install cargo-fuzz`. libdeflate
# compiles one table several times for different processors, which the sanitizer takes for a mistake.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS := zip tar seek_table manifest

fuzz: ## Feed broken archives to the readers, FUZZ_SECONDS each
	cd rust/fuzz && unset CARGO_TARGET_DIR && export ASAN_OPTIONS=detect_odr_violation=0 && for target in $(FUZZ_TARGETS); do \
		mkdir -p corpus/$$target && cargo +nightly fuzz run --fuzz-dir . $$target corpus/$$target seeds/$$target -- \
		-max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=2048 || exit 1; done

format: $(VENV)/.with-lint ## Put every source into its format
	cargo fmt --all
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

build: $(VENV)/.built ## Build the engine into .venv

# pip comes first: the one that older Pythons bring knows no dependency groups.
$(VENV)/.made:
	@command -v cargo >/dev/null || { echo 'vhpack needs a Rust toolchain, and there is no cargo on PATH: see https://rustup.rs' >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo 'vhpack needs Python 3.10 or newer, and there is no $(PYTHON) on PATH; say make PYTHON=/path/to/python' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "vhpack needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.with-%: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install -q --group $*
	@touch $@

# Python sources are used where they lie; only what Cargo compiles, or a module that has gone, asks for a build.
$(VENV)/.built: $(VENV)/.with-build $(SOURCES) $(if $(MODULE),,FORCE)
	$(BIN)/maturin develop --release
	@touch $@
