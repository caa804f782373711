# All that a checkout needs: `make demo` to see it run, `make test` to trust it, `make check` before a commit.

# The first interpreter that can convert, which 3.14 cannot: TensorFlow has no release for it. With PYTHON=python3.14 `setup`
# leaves that out. Looked up when used, for `system` may have just installed one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/ready
LOCK := requirements-dev.lock
DEMO_VENV := .venv-demo
DEMO_READY := $(DEMO_VENV)/ready
WHEEL_VENV := build/wheel-venv
# Much of the suite waits for processes and brokers, so three of its parts run at a time whatever the number of cores.
SIDE_BY_SIDE := --numprocesses 3 --dist loadgroup

# Debian keeps Mosquitto where only root's PATH looks.
export PATH := $(PATH):/usr/sbin

.NOTPARALLEL: # `system` installs what `setup` needs
.PHONY: help setup lock system demo test test-service test-arm test-all chaos check bench bench-emulation bench-fleet clean wheel-venv docs

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with the project, editable, and all extras in the versions of the lock; redone when either changes

$(READY): pyproject.toml $(LOCK)
	@test -n "$(PYTHON)" || { echo "no Python >= 3.10, < 3.14 found: install one (on Debian, make system) or give PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment: on Debian, apt install python3-venv"; exit 1; }
	@echo "installing TensorFlow and the tools into .venv: 2.6 GB, about a minute on a fast network"
	@if command -v uv >/dev/null; then \
		install="uv pip install --python $(BIN)/python"; \
	else \
		install="$(BIN)/python -m pip install --disable-pip-version-check"; \
	fi; \
	set -x; $$install --quiet --constraint $(LOCK) --editable '.[all,dev]'
	@touch $@

# For every supported Python and machine at once, hence markers; without hashes and addresses, so that any index will do.
lock: ## requirements-dev.lock anew: the newest versions that pyproject.toml allows; needs uv
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv"; exit 1; }
	{ sed '/^#/!d' $(LOCK) && uv pip compile --quiet --universal --python-version 3.10 --extra all --extra dev --extra docs \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml; } >$(LOCK).new
	mv $(LOCK).new $(LOCK)

system: ## Debian packages that the tests use: Mosquitto, RabbitMQ, iproute2, nftables, systemd-analyze, a C compiler, Python's venv
	@missing=; services=; \
	command -v mosquitto >/dev/null || { missing="mosquitto"; services="mosquitto"; }; \
	command -v rabbitmq-server >/dev/null || { missing="$$missing rabbitmq-server"; services="$$services rabbitmq-server"; \
		command -v epmd >/dev/null || services="$$services epmd.socket epmd"; }; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	command -v nft >/dev/null || missing="$$missing nftables"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	$(or $(PYTHON),false) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3 python3-venv"; \
	test -n "$$missing" || exit 0; \
	test "$$(id -u)" = 0 && sudo= || sudo=sudo; \
	if command -v apt-get >/dev/null && $$sudo apt-get update -qq \
		&& $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
			-o DPkg::Lock::Timeout=300 $$missing; then \
		for service in $$services; do \
			{ $$sudo systemctl stop $$service || $$sudo service $$service stop; \
				$$sudo systemctl disable $$service || $$sudo update-rc.d $$service disable; } \
				>/dev/null 2>&1 || echo "installed, but $$service may start with this machine"; \
		done; \
	else \
		echo "not installed here, please do: $$missing (without Mosquitto, tests against it skip and amqtt serves the demo)"; \
	fi

# What is set up for development does; without it a smaller environment, without tests and tools.
demo: ## cut the digits model, run edge, broker and cloud as processes, print what happened; SERVE=8080 shows it as a page
	@test -e $(READY) || $(MAKE) --no-print-directory $(DEMO_READY)
	@bin=$(BIN); test -e $(READY) || bin=$(DEMO_VENV)/bin; $$bin/tflsplit demo $(if $(SERVE),--serve $(SERVE))

$(DEMO_READY): pyproject.toml $(LOCK)
	@test -n "$(PYTHON)" || { echo "no Python >= 3.10, < 3.14 found: install one (on Debian, make system) or give PYTHON=/path/to/python"; exit 1; }
	@test -x $(DEMO_VENV)/bin/python || $(PYTHON) -m venv $(DEMO_VENV) \
		|| { rm -rf $(DEMO_VENV); echo "$(PYTHON) cannot make a virtual environment: on Debian, apt install python3-venv"; exit 1; }
	@echo "installing TensorFlow and what the demo needs into $(DEMO_VENV), about a minute on a fast network"
	$(DEMO_VENV)/bin/python -m pip install --disable-pip-version-check --constraint $(LOCK) --editable '.[convert,edge,cloud,broker,demo,watch]'
	@touch $@

test: system wheel-venv ## the test suite, with the packages installed as a wheel; what continuous integration runs
	PYTHONSAFEPATH=1 $(WHEEL_VENV)/bin/python $(BIN)/pytest $(SIDE_BY_SIDE)

test-service: setup ## the services on a booted Debian of their own: root, debootstrap, systemd-container; the first time a minute more
	$(BIN)/pytest -m service tests/booted

test-arm: setup ## an edge of 64-bit Arm, emulated, against this machine: root, debootstrap, qemu-user-static, mosquitto; writes docs/measurements/arm.md
	TFLSPLIT_ARM_REPORT=docs/measurements/arm.md $(BIN)/pytest -m arm tests/arm

test-all: system setup ## the suite and the sweeps over every cut of large models; long
	TFLSPLIT_MUTANTS=4000 $(BIN)/pytest -m 'not service and not arm'

chaos: system setup ## processes killed, brokers frozen and flooded, links cut, at full size; an hour, links need root; figures in build/chaos.xml
	$(BIN)/pytest tests/chaos -m '' --durations=0 -o junit_family=xunit1 --junitxml=build/chaos.xml

check: setup ## lint, format, types, import contracts, tests: before every commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/imports.py --check
	$(BIN)/pytest $(SIDE_BY_SIDE)

bench: setup ## the benchmarks, with machine and versions
	$(BIN)/python benchmarks/run.py

bench-emulation: setup ## docs/measurements/emulation.md: real workers on emulated links; needs root, half an hour
	$(BIN)/python benchmarks/emulation.py benchmarks/emulation.jsonl > docs/measurements/emulation.md

bench-fleet: setup ## thousands of real MQTT clients on one secured deployment, the broker killed in a rollout; twelve minutes
	$(BIN)/python benchmarks/run.py fleet

docs: setup ## the documentation as a site in docs/_build; warnings are errors; needs Python 3.11 or newer
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint $(LOCK) --editable '.[docs]'
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build

clean: ## remove environments, wheels and caches
	rm -rf .venv build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A clean environment with the wheel. Dependencies come from .venv through a .pth file, which does not carry over .venv's
# own .pth files and with them the editable install: without the wheel, `import tflsplit` would fail here.
wheel-venv: setup
	rm -rf build
	$(BIN)/python -m venv $(WHEEL_VENV)
	$(BIN)/pyproject-build --wheel --no-isolation --outdir build
	$(WHEEL_VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-index build/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(WHEEL_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
