SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
CODE := worker tasks compose tests benchmarks docs
SERVICES := $(BIN)/python -m compose.services --

# What to test (T=tests/unit/test_names.py), on which engine (ENGINE=26.1: a private one of that version; podman),
# and with which Redis (REDIS=valkey).
T ?= tests
export ENGINE REDIS

# Where this is set, each of a run's hundreds of processes would compile our code anew.
unexport PYTHONDONTWRITEBYTECODE

# A full run is in N processes; what measures time comes after it, by itself. A selection is in one. COVERAGE=1 says
# which lines no test has reached, and makes all workers slower for that.
N ?= 4
ifeq ($(T),tests)
PYTEST := sh -c '$(BIN)/pytest -n $(N) --dist loadfile --no-loadscope-reorder --durations=25 -m "not alone" \
	$(if $(COVERAGE),--cov --cov-report=) tests && $(BIN)/pytest -m alone --durations=5 \
	$(if $(COVERAGE),--cov --cov-append --cov-report=term-missing:skip-covered) tests/flow'
else
PYTEST := $(BIN)/pytest $(T)
endif

# What tests run. Installed first: the private services' network, in which the tests are, has no way to where packages are.
TEST_PROGRAMS := rabbitmq-server prometheus promtool chromium fish zsh systemd-analyze

##@ Start here

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/ready ## Deploy a real image end to end, with all that is missing set up
	@$(SERVICES) $(BIN)/python -m compose.demo

.PHONY: demo-hardened
demo-hardened: .venv/ready ## The same with users and TLS for Redis, TLS for the engine, and a worker that isn't root
	@$(SERVICES) $(BIN)/python -m compose.demo --hardened

.PHONY: setup
setup: .venv/ready ## Make .venv from the locked requirements
	@echo "ready     $$($(BIN)/python --version) in .venv"

.venv/ready: requirements-dev.txt pyproject.toml compose/setup.sh
	@compose/setup.sh

##@ Work on it

.PHONY: test
test: .venv/ready ## Everything that .ci/run runs; T=path selects tests, ENGINE=26.1 the engine
	@$(MAKE) --no-print-directory --jobs=3 --output-sync lint types test-programs
	@status=0; $(if $(findstring containers,$(T))$(filter tests,$(T)),$(BIN)/python -m compose.images &) \
		$(SERVICES) $(PYTEST) || status=$$?; wait; exit $$status

.PHONY: test-programs
test-programs: .venv/ready
	@$(BIN)/python -m compose.packages $(TEST_PROGRAMS)
	@$(BIN)/python -m compose.node

.PHONY: chaos
chaos: .venv/ready ## Deploy while workers, Redis and engine are killed; ARGS="--seed 1 --deployments 40"
	@$(SERVICES) $(BIN)/python -m tests.chaos $(ARGS)

.PHONY: lose-host
lose-host: .venv/ready ## Deploy to two hosts while one of them is killed and comes back; ARGS="--deployments 60 --stages 12"
	@$(SERVICES) $(BIN)/python -m tests.chaos.host_loss $(ARGS)

.PHONY: fuzz
fuzz: .venv/ready ## Send 10,000 cases of right, wrong and hostile arguments; ARGS="--seed 7 --batch 12" replays
	@$(SERVICES) $(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: bench
bench: .venv/ready ## What a deployment costs, against the same engine calls and others; B="overhead commands" selects
	@$(BIN)/python -m benchmarks.tools
	@$(SERVICES) $(BIN)/python -m benchmarks $(B)

.PHONY: unit
unit: .venv/ready ## The tests that need no service
	@$(BIN)/pytest tests/unit

.PHONY: simulate
simulate: .venv/ready ## A minute of simulated deployments under faults, and what finds sabotage; ARGS="--seed 7 --story" replays
	@$(BIN)/python -m tests.simulation $(ARGS)

.PHONY: capture
capture: .venv/ready ## Make the README's picture of `dw` from what it shows in a terminal
	@$(SERVICES) $(BIN)/python -m compose.demo.capture

.PHONY: screens
screens: .venv/ready ## Provoke each error of the contract, and write what `dw` shows to docs/errors.md; three minutes
	@$(SERVICES) $(BIN)/python -m tests.screens $(ARGS)

.PHONY: docs
docs: .venv/ready ## Build the documentation's site into .state/site, and fail at a dead link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: reference
reference: .venv/ready ## Write the pages on tasks, settings and dw anew from the code
	@$(BIN)/python -m docs.reference
	@$(BIN)/python -m docs.commands

.PHONY: screenshots
screenshots: .venv/ready ## Make the documentation's pictures of Flower and Prometheus
	@$(BIN)/python -m compose.packages chromium pngquant prometheus
	@$(SERVICES) $(BIN)/python -m compose.demo.screenshots

.PHONY: image
image: .venv/ready ## The worker's image and compose.yaml, with no network, on a base made here; as root on Debian
	@$(BIN)/python -m compose.images
	@$(SERVICES) $(BIN)/pytest tests/containers

.PHONY: lint
lint: .venv/ready ## Check style and format
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

.PHONY: types
types: .venv/ready ## Check types
	@$(BIN)/mypy worker tasks compose benchmarks docs/reference.py docs/commands.py

.PHONY: format
format: .venv/ready ## Mend style and format
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

.PHONY: lock
lock: ## Lock the requirements anew; UPGRADE=1 moves to the newest releases
	@compose/lock.sh

.PHONY: clean
clean: ## Remove .venv, caches and the services' state
	@compose/clean.sh
