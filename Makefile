# Ringback. `make run` starts it, `make test` checks it; both need Python 3.11+ and a package registry.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := run

VENV := .venv
BIN := $(VENV)/bin
LOCKS := deploy/lock
SOURCES := service tests
# Twice as many as there are cores: much of what is tested from outside waits. Each keeps to files of its own as long as it
# can, for what their tests share, and who has none left takes over half of what another has: none is last for long.
PYTEST_ARGS ?= -n 4 --dist worksteal
TORTURE_ARGS ?=
SEED ?= 7
WATCHERS ?= 2000
DELIVERIES ?= 200
BACKLOG ?= 20000
BREAKER ?= off
BENCH ?=

.PHONY: run test torture stranger watch-test hostile-test backlog-test bench lint ruff mypy imports pytest format lock clean

# The shell becomes the service (exec), so SIGTERM and Ctrl-C reach it and nothing else.
run: $(VENV)/runtime.stamp
	@if [ -z "$${RINGBACK_ALLOW_HTTP+set}" ]; then \
		export RINGBACK_ALLOW_HTTP=true; \
		echo "make run: RINGBACK_ALLOW_HTTP is not set; allowing http:// callback URLs (development only)"; \
	fi; \
	if [ -z "$${RINGBACK_ALLOW_TARGETS+set}" ]; then \
		export RINGBACK_ALLOW_TARGETS=127.0.0.0/8,::1/128; \
		echo "make run: RINGBACK_ALLOW_TARGETS is not set; allowing $$RINGBACK_ALLOW_TARGETS (development only)"; \
	fi; \
	exec $(BIN)/ringback serve

# A target each, so that `make --keep-going test` reports every complaint at once.
test: lint pytest

lint: ruff mypy imports

ruff: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

mypy: $(VENV)/dev.stamp
	$(BIN)/mypy

imports: $(VENV)/dev.stamp
	$(BIN)/lint-imports

# Each process would compile all the tests anew, every time.
pytest: $(VENV)/dev.stamp $(VENV)/node.stamp $(VENV)/rust.stamp
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_ARGS)

# Does the service harm under load, then counts what is lost: 50,000 events and 200 kill -9, or as TORTURE_ARGS says
# (`ringback torture --help`); `make test` does so for a minute.
torture: $(VENV)/dev.stamp
	$(BIN)/ringback torture $(TORTURE_ARGS)

# Goes a stranger's way, from a clone to their first webhook, and says how long it took: it needs a registry.
stranger: $(VENV)/created.stamp
	$(BIN)/python -m tests.system.stranger

# Lets many clients follow one operation by Server-Sent Events, and measures what that takes.
watch-test: $(VENV)/dev.stamp
	$(BIN)/python -m service.lab.bench.watchers --watchers $(WATCHERS)

# Measures the service on this machine, every row of the table in both modes; `make bench BENCH=--quick` takes three
# minutes, `BENCH="--scaling service/docs/scaling.svg"` measures how it scales and draws that.
bench: $(VENV)/dev.stamp
	$(BIN)/ringback bench $(BENCH)

# Has receivers of every hostile kind attack beside healthy ones, and measures whom that delays and what it takes.
hostile-test: $(VENV)/dev.stamp
	$(BIN)/python -m tests.system.hostile_rounds --deliveries $(DELIVERIES) --breaker $(BREAKER) --seed $(SEED)

# Has one receiver hang with a backlog beside healthy ones, and measures whether they are delayed.
backlog-test: $(VENV)/dev.stamp
	$(BIN)/python -m tests.system.backlog_rounds --backlog $(BACKLOG) --breaker $(BREAKER) --seed $(SEED)

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# Versions in the locks are kept where they still fit; `make lock UPGRADE=--upgrade` takes the newest.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command "make lock" $(UPGRADE)
lock: $(VENV)/created.stamp
	$(BIN)/python -m pip install --quiet --require-hashes -r $(LOCKS)/uv.txt
	$(COMPILE) --group installer -o $(LOCKS)/uv.txt
	$(COMPILE) --group build -o $(LOCKS)/runtime.txt pyproject.toml
	$(COMPILE) --group build --extra otel -c $(LOCKS)/runtime.txt -o $(LOCKS)/otel.txt pyproject.toml
	$(COMPILE) --group dev --extra otel -c $(LOCKS)/otel.txt -o $(LOCKS)/dev.txt pyproject.toml

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that starts (a pyenv shim may not), is new enough and can make a virtual environment.
$(VENV)/created.stamp:
	@rm -rf $(VENV); old=; bare=; \
	for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		"$$python" -c '' >/dev/null 2>&1 || continue; \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { old=$$python; continue; }; \
		"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || { bare=$$python; continue; }; \
		echo "Creating $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) && touch $@ && exit 0; \
		rm -rf $(VENV); exit 1; \
	done; \
	if [ -n "$$bare" ]; then \
		echo "$$bare cannot make a virtual environment. Install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; \
	else \
		echo "Ringback needs Python 3.11 or newer$${old:+; $$old is older}. Install it, or name it: make run PYTHON=/path/to/python3" >&2; \
	fi; exit 1

# Everything comes from the lock, checked by hash, the build backend included; so the project itself installs without
# build isolation. uv reads no pip configuration, therefore it is told pip's index; where uv cannot be had, pip does it.
define install
	@echo "Installing $(1)"
	@pip="$(BIN)/python -m pip --disable-pip-version-check"; uv="$(BIN)/uv"; \
	index=$$($$pip config get global.index-url 2>/dev/null || true); index=$${PIP_INDEX_URL:-$$index}; \
	if [ -n "$$index" ] && [ -z "$${UV_DEFAULT_INDEX:-}$${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	if $$pip install --quiet --require-hashes -r $(LOCKS)/uv.txt \
		&& $$uv pip install --system-certs --quiet --python $(BIN)/python --require-hashes -r $(1) \
		&& $$uv pip install --system-certs --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	then exit 0; fi; \
	echo "uv could not install; using pip"; \
	$$pip install --quiet --require-hashes -r $(1) \
		&& $$pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
endef

$(VENV)/runtime.stamp: $(VENV)/created.stamp $(LOCKS)/runtime.txt $(LOCKS)/uv.txt pyproject.toml
	$(call install,$(LOCKS)/runtime.txt)

# Libraries for Node that check our signatures, where npm is there; the tests that need them skip where they are not.
$(VENV)/node.stamp: $(VENV)/created.stamp $(LOCKS)/node/package.json $(LOCKS)/node/package-lock.json
	@rm -rf $(VENV)/node; mkdir -p $(VENV)/node; cp $(LOCKS)/node/*.json $(VENV)/node; \
	if ! command -v npm >/dev/null 2>&1; then \
		echo "NOTE: npm is not there; the checks under Node will be skipped"; \
	elif echo "Installing $(LOCKS)/node" && cd $(VENV)/node && npm ci --fetch-retries=1 --fetch-timeout=20000 --ignore-scripts --no-audit --no-fund --loglevel=error; then \
		touch ../node.stamp; \
	else \
		rm -rf node_modules; echo "NOTE: npm could not install $(LOCKS)/node; the checks under Node will be skipped"; \
	fi

# Crates for the Rust program of the guides, into cargo's own cache, where cargo is there; its test needs them offline.
$(VENV)/rust.stamp: $(VENV)/created.stamp $(LOCKS)/rust/Cargo.toml $(LOCKS)/rust/Cargo.lock
	@rm -rf $(VENV)/rust; mkdir -p $(VENV)/rust/src; cp $(LOCKS)/rust/Cargo.* $(VENV)/rust; : > $(VENV)/rust/src/main.rs; \
	if ! command -v cargo >/dev/null 2>&1; then \
		echo "NOTE: cargo is not there; the Rust program of the guides will not be run"; \
	elif echo "Fetching $(LOCKS)/rust" && cd $(VENV)/rust && CARGO_NET_RETRY=1 CARGO_HTTP_TIMEOUT=20 cargo fetch --quiet --locked; then \
		touch ../rust.stamp; \
	else \
		echo "NOTE: cargo could not fetch $(LOCKS)/rust; the Rust program of the guides will not be run"; \
	fi

# The development lock contains the runtime lock.
$(VENV)/dev.stamp: $(VENV)/created.stamp $(LOCKS)/dev.txt $(LOCKS)/uv.txt pyproject.toml
	$(call install,$(LOCKS)/dev.txt)
	@touch $(VENV)/runtime.stamp
