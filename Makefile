# `make demo` and `make test` need only Python >= 3.11, make and a package index.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo studio test test-long lint docs bench notebooks clean

demo: $(VENV)/.installed  ## draw landscapes, train on them, score what it makes
	$(BIN)/python -m spade_jax.main --config=configs/scenes.py
	$(BIN)/python -m spade_jax.main --mode=eval --workdir=runs/scenes --untrained
	@echo "Look at runs/scenes/samples.png (layout | synthesised | real)."
	@echo "Loss curves: $(BIN)/tensorboard --logdir=runs/scenes"

studio: $(VENV)/.studio-installed  ## paint layouts in a web page, and see the pictures
	$(BIN)/python -m spade_jax.studio --browser

# Two processes; each works through a whole file, the slowest ones first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

test: $(VENV)/.dev-installed  ## everything that can be met, in four to twelve minutes
	$(PYTEST)

test-long: $(VENV)/.long-installed  ## larger forms of these, another Python, a full disk
	$(PYTEST) -m long
	$(BIN)/python benchmarks/kill.py --kills=1

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(VENV)/.docs-installed  ## the site, in docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going \
		-d docs/_build/doctrees docs docs/_build/html

bench: $(VENV)/.dev-installed  ## times and memory beside PyTorch's; half an hour
	$(BIN)/python benchmarks/versus_pytorch.py --out=bench.json

$(VENV)/.installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.dev-installed: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

$(VENV)/.long-installed: $(VENV)/.dev-installed
	$(BIN)/python -m pip install --quiet -e '.[dev,tpu]'
	touch $@

$(VENV)/.studio-installed: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[studio]'
	touch $@

$(VENV)/.docs-installed: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

notebooks: $(VENV)/.dev-installed  ## run from top to bottom, with what they show kept
	$(BIN)/python notebooks/run.py

clean:  ## what the above made, but not runs/
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
	rm -rf docs/_build docs/api docs/notebooks docs/rooms
