# `make train` and `make test` set up what they need by themselves, in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-slow nightly test-backends notebooks docs lint setup benchmark peers weights mutation web test-web \
	benchmark-web clean

train: setup
	$(BIN)/agd-train --out runs/phantom --overwrite

# Tests share out over processes, of which more than four would only wait for memory. Each takes
# neighbours, as tests of one file often share what takes long to make.
PARALLEL := -n logical --maxprocesses 4 --dist worksteal

test: setup lint
	$(BIN)/python -m pytest $(PARALLEL)

test-slow: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "slow and not nightly"

# What takes long and rarely fails, and all property tests, on examples that nobody has tried.
nightly: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "nightly or (hypothesis and not slow)" \
		--hypothesis-profile nightly

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-backends:
	bash tests/backends/run.sh

# Faults put in one at a time: `make mutation MODULES="evaluation/scores.py"`. All take a night.
mutation: setup
	$(BIN)/python tests/mutation.py $(MODULES)

# The page needs node 20, and its tests Chromium; nothing else here does.
web: agd_keras/web/dist/index.html

agd_keras/web/dist/index.html: web/node_modules/.package-lock.json web/build.mjs $(wildcard web/src/* web/licences/*)
	cd web && npx tsc -p . && node build.mjs

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund

test-web: setup web
	rm -rf web/build
	$(BIN)/agd-export --model agd_small --data phantom --format web --out web/build/site
	$(BIN)/python web/test/cases.py agd_small web/build/cases
	PYTHON=$(abspath $(BIN)/python) node --test web/test/*.test.mjs

benchmark-web: setup web
	$(BIN)/python benchmarks/web.py

notebooks: setup
	$(BIN)/python -m pytest $(PARALLEL) --nbmake --nbmake-timeout=900 notebooks

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

benchmark: setup
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/inference.py --model agd_small
	$(BIN)/python benchmarks/training_speed.py

peers:
	sh benchmarks/peers.sh --data data/kaggle_3m --out runs/peers

# The networks that ship, from data/kaggle_3m: hours on two cores, each step goes on where it stopped.
weights: weights-agd_tiny weights-agd_small

weights-%: setup
	$(BIN)/agd-train --data data/kaggle_3m --preset $* --folds 5 --out runs/$*-5fold $(if $(wildcard runs/$*-5fold),--resume)
	$(BIN)/agd-train --data data/kaggle_3m --preset $* --folds 0 --set data.portions=15 --out runs/$*-all $(if $(wildcard runs/$*-all),--resume)
	$(BIN)/python benchmarks/ship_weights.py --run runs/$*-all --tested runs/$*-5fold

setup: .venv/ready

.venv/ready: requirements.txt setup.cfg
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv .venvs build web/build web/node_modules agd_keras/web/dist dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
