# Every verb of the project. `make help` lists them; CI runs only these.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.9
CODE := tts_service memory_daemon clients tests benchmarks tools

# What speaks, such as MODEL=english WEIGHTS=synthetic:tiny; without them, what suits the machine.
MODEL ?=
WEIGHTS ?=
ENGINE := $(if $(MODEL),--model "$(MODEL)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Install everything into .venv (once; a second run reuses it)

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another with PYTHON=..." >&2; exit 1; }
	@echo "[1/3] $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "[2/3] locked requirements (about 6 GB on disk, torch with CUDA included)"
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	@echo "[3/3] greenroom itself"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: setup ## Speak a text, shrink, speak again: the whole system in one run (MODEL=, WEIGHTS=)
	@$(BIN)/python -m clients.demo $(ENGINE)

.PHONY: run
run: setup ## Start the service and the daemon, and say what to type next (MODEL=, WEIGHTS=)
	@$(BIN)/python -m tools.run_both $(ENGINE)

.PHONY: test
test: setup ## Run every test
	@$(BIN)/python -m pytest

.PHONY: checkers
checkers: ## Fetch promtool, which two tests of deploy/ use where it is (Debian's package; no root needed)
	@mkdir -p .build/checkers
	@cd .build/checkers && rm -f prometheus_*.deb && (apt-get -qq download prometheus || (apt-get -qq update && apt-get -qq download prometheus))
	@cd .build/checkers && dpkg -x prometheus_*.deb . && ./usr/bin/promtool --version | head -1

.PHONY: bench
bench: setup ## Measure first audio, chunk cost, cancel, memory over time (CPU)
	@$(BIN)/python -m benchmarks.bench

.PHONY: bench-gpu
bench-gpu: setup ## Measure everything that a GPU is to show beside upstream, in one table (NVIDIA GPU, 15 minutes)
	@$(BIN)/python -m benchmarks.gpu

.PHONY: bench-gpu-fidelity
bench-gpu-fidelity: setup ## Measure fidelity, what offloading saves, endurance, and streaming against whole (NVIDIA GPU)
	@$(BIN)/python -m benchmarks.gpu_savings
	@$(BIN)/python -m benchmarks.gpu_savings --models english --parts endurance --utterances 200 --out benchmarks/results/gpu_endurance.json
	@$(BIN)/python -m benchmarks.streaming_fidelity --weights synthetic --seeds 1 --out benchmarks/results/streaming_fidelity.json

.PHONY: bench-neighbour
bench-neighbour: setup ## Measure the daemon between a service that speaks and a neighbour that wants all memory (NVIDIA GPU)
	@$(BIN)/python -m benchmarks.neighbour --out benchmarks/results/neighbour.json

.PHONY: bench-policy
bench-policy: setup ## Compare the daemon's policy with what others do, on the eight stories (simulation)
	@$(BIN)/python -m benchmarks.policy --write

.PHONY: bench-reaction
bench-reaction: setup ## Measure how soon the daemon gives memory back, and what it costs while nothing happens (CPU, 3 minutes)
	@$(BIN)/python -m benchmarks.reaction --out benchmarks/results/reaction.json

# What load is put on, as `make load MODEL=english WEIGHTS=synthetic:full`, and anything else as LOAD="--seed 7".
SECONDS ?= 120
SQUEEZE ?= host
SEED ?=
LOAD ?=

.PHONY: load
load: setup ## Find how many sessions stay in real time (MODEL=, WEIGHTS=, LOAD=; 3 minutes on a CPU)
	@$(BIN)/python -m benchmarks.load --find-capacity $(ENGINE) $(LOAD)

.PHONY: soak
soak: setup ## Everything at once for SECONDS=120, then look for what was lost or left (MODEL=, WEIGHTS=, SQUEEZE=, LOAD=)
	@$(BIN)/python -m benchmarks.load --soak --squeeze $(SQUEEZE) --seconds $(SECONDS) --sessions 4 $(ENGINE) $(LOAD)

.PHONY: fuzz
fuzz: setup ## Hostile bytes and messages on both servers for SECONDS=120 (SEED= repeats a run)
	@$(BIN)/python -m tools.fuzz --seconds $(SECONDS) $(if $(SEED),--seed "$(SEED)")

.PHONY: scenarios
scenarios: setup ## Rewrite the expectations of the scenario files; review the diff
	@REWRITE_SCENARIOS=1 $(BIN)/python -m pytest -q tests -k scenario

.PHONY: verify
verify: format-check lint types imports protos-fresh buf ## All static checks

.PHONY: format
format: setup ## Format the code and sort imports
	@$(BIN)/ruff check --quiet --select I --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

.PHONY: format-check
format-check: setup ## Check the format
	@$(BIN)/ruff format --check $(CODE)

.PHONY: lint
lint: setup ## Lint
	@$(BIN)/ruff check $(CODE)

.PHONY: types
types: setup ## Check types, strictly
	@$(BIN)/mypy

.PHONY: imports
imports: setup ## Check who may import whom
	@$(BIN)/lint-imports

.PHONY: protos
protos: setup ## Generate the stubs from the protos
	@VENV=$(VENV) tools/generate_stubs.sh

.PHONY: protos-fresh
protos-fresh: setup ## Check that the committed stubs match the protos
	@VENV=$(VENV) tools/generate_stubs.sh --check

.PHONY: buf
buf: protos-fresh ## Lint the protos and check them against the committed wire baseline
	@$(BIN)/buf lint
	@$(BIN)/buf breaking protos --against protos/baseline.binpb

.PHONY: baseline
baseline: protos-fresh ## Accept today's protos as the wire baseline
	@$(BIN)/buf build protos --exclude-source-info -o protos/baseline.binpb

.PHONY: lock
lock: setup ## Resolve requirements.lock anew (hashed, without index addresses)
	@$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --override overrides.txt --universal \
	  --generate-hashes --no-emit-index-url --no-header -o requirements.lock
	@echo "requirements.lock written; run 'make setup'."

.PHONY: clean
clean: ## Remove what can be made again, .venv included
	@rm -rf $(VENV) .build build demo-out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
