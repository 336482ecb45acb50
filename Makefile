# warmpod's commands. `make help` lists them.
#
# PROFILE is cargo's: `release` for what people run, `ci` (no link-time optimisation) for tests.

PROFILE ?= release
ARCH := $(shell uname -m)
AGENT_TARGET := $(ARCH)-unknown-linux-gnu
VENV := target/venv
PYTHON := $(VENV)/bin/python
PYTEST := $(PYTHON) -m pytest -q
# Seconds since the start, for the minutes of each step.
STEP = @printf '== %s\n' "$(1)"

.PHONY: help build dist run demo test lint unit wire e2e bench docs generate clean

help:
	@printf '%s\n' 'make build   lay dist/: the gateway, the agent, the runtime interface clients' \
	  'make demo    create and invoke a Python function, cold and warm' \
	  'make run     serve on 127.0.0.1:4566' \
	  'make test    all that CI checks' \
	  'make bench   measure, side by side with others; writes tests/bench/RESULTS.md' \
	  'make docs    write docs/configuration.md anew' \
	  'make generate   write the protocol shapes anew from botocore'

build: dist

dist:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust from https://rustup.rs' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'a C compiler is missing: install one (Debian: apt-get install gcc)' >&2; exit 1; }
	@echo 'building the gateway and the agent (the first time takes some minutes)'
	cargo build --locked --profile $(PROFILE) --package warmpod
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --profile $(PROFILE) --package warmpod-agent --target $(AGENT_TARGET)
	@mkdir -p dist/runtimes/python
	@install -m 755 target/$(PROFILE)/warmpod dist/warmpod
	@install -m 755 target/$(AGENT_TARGET)/$(PROFILE)/warmpod-agent dist/warmpod-agent
	@images/runtimes/fetch-python dist/runtimes/python

run: dist
	dist/warmpod serve --listen 127.0.0.1:4566

demo: dist
	@tests/demo/demo

$(VENV)/.requirements: tests/requirements.txt
	@command -v python3 >/dev/null || { echo 'python3 is missing (Debian: apt-get install python3 python3-venv)' >&2; exit 1; }
	@echo 'installing the tests'\'' Python packages into $(VENV)'
	@python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@cp $< $@

test:
	@tests/run

lint: $(VENV)/.requirements
	cargo fmt --check
	cargo clippy --locked --all-targets --profile $(PROFILE) -- -D warnings
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cargo deny check bans licenses sources

unit:
	cargo test --locked --workspace --profile $(PROFILE) --quiet

wire: $(VENV)/.requirements
	CARGO_PROFILE=$(PROFILE) $(PYTEST) tests/wire tests/structure

e2e: dist $(VENV)/.requirements
	@# What fails beside three others on two cores is run once more by itself, and said to be: times are real here.
	$(PYTEST) -rs -n 4 --dist worksteal --timeout 180 tests/e2e || { \
	  echo 'FLAKY OR BROKEN: what failed runs again, alone'; \
	  $(PYTEST) -rs --last-failed --last-failed-no-failures none --timeout 180 tests/e2e; }

bench: dist $(VENV)/.requirements
	tests/bench/run

docs: dist
	dist/warmpod reference > docs/configuration.md

generate: $(VENV)/.requirements
	$(PYTHON) gateway/protocol/generate/generate.py

clean:
	rm -rf dist target
