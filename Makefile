# Every command of the project. CI calls only these.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml) backtest/pyproject.toml cli/pyproject.toml
# Each has a Kafka and a PostgreSQL of its own, and reads the same jars.
TEST_PROCESSES ?= 2
STAMP := .venv/.installed
CORE_TESTS := libs/accounting services/risk services/execution services/audit/tests/test_core.py services/audit/tests/test_chain.py \
	$(wildcard services/market-data/tests/test_*core.py services/market-data/tests/test_quality.py) \
	$(wildcard services/agents/tests/test_*.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test check format bench chaos explore coverage mutation contracts lock

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r t h; do printf '  make %-10s %s\n' "$$t" "$$h"; done

setup: $(STAMP) ## Build .venv with everything, the tapeline command included

$(STAMP): requirements.lock requirements/bootstrap.lock $(PACKAGES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tapeline needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "'$(PYTHON) -m venv' failed. On Debian or Ubuntu install python3-venv."; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync -q --compile-bytecode --require-hashes requirements.lock requirements/bootstrap.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install -q --no-deps --no-build-isolation $(foreach p,$(PACKAGES),-e $(dir $(p)))
	@touch $(STAMP)

demo: setup ## Real prices through the whole chain on real Kafka, in under 3 minutes
	@$(BIN)/tapeline demo

up: setup ## Start the stack and all services in the background
	@$(BIN)/tapeline up

down: setup ## Stop them; the data stays
	@$(BIN)/tapeline down

test: setup ## All tests (starts its own Kafka and PostgreSQL)
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder

check: setup ## Lint, format, types, import rules, schemas fresh, manifests; no tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@MYPYPATH=tests:libs/runtime/tests:tools $(BIN)/mypy --explicit-package-bases --exclude '^tests/venues/' bench tests tools
	@MYPYPATH=tests/venues:tests $(BIN)/mypy --explicit-package-bases tests/venues
	@$(BIN)/lint-imports
	@$(BIN)/python tools/generate_contracts.py --check
	@$(BIN)/python tools/check_manifests.py

format: setup ## Format the code and apply the linter's fixes
	@$(BIN)/ruff check --fix -q .
	@$(BIN)/ruff format -q .

bench: setup ## Benchmarks, each beside its bare limit
	@$(BIN)/python -m bench

chaos: setup ## The long form of the fault tests; prints its seeds
	@TAPELINE_TEST_CHAOS_TRIALS=$${TAPELINE_TEST_CHAOS_TRIALS:-2500} $(BIN)/pytest -m chaos -s --hypothesis-profile exploring

explore: setup ## The property tests with examples drawn anew
	@$(BIN)/pytest -n $(TEST_PROCESSES) --hypothesis-profile exploring -m "not slow and not kafka and not postgres"

coverage: setup ## Branch coverage of the cores; all of it is wanted
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -m "not slow and not kafka and not postgres and not data" $(CORE_TESTS)
	@$(BIN)/coverage report

mutation: setup ## How many small changes of the money path its tests notice
	@$(BIN)/python tools/mutation.py

contracts: setup ## Generate the Python types and the topics page from schemas/
	@$(BIN)/python tools/generate_contracts.py

lock: setup ## Write the hashed requirement files anew
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python tools/lock.py
