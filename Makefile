# Two commands: `make demo` and `make test`. Each makes its own .venv from nothing but Python >= 3.11.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SIDE_BY_SIDE ?= 2

.PHONY: help demo test check docs clean

help:
	@echo "make demo   the whole main job on the embedded pictures: shards, search, tables, TensorBoard"
	@echo "make test   all tests that need no accelerator"
	@echo "make check  format, lint, types and the import rule"
	@echo "make docs   the documentation as a site: build/docs/index.html"
	@echo "make clean  remove .venv, builds and caches; results in demo/ and runs/ stay"

# Installed again only when the requirements change. DeepSpeed comes as source, whose set-up wants bash on the PATH.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("hlgp_dist needs Python >= 3.11, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 6 GB, a few minutes)"
	@PATH="$$PATH:/usr/bin:/bin" $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@$(BIN)/python -c 'open("$(READY)", "w").close()'

demo: $(READY)
	@$(BIN)/hlgp demo

test: $(READY)
	@$(BIN)/python -m pytest -n $(SIDE_BY_SIDE)

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(READY)
	@$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs

clean:
	@$(PYTHON) -c 'import shutil; [shutil.rmtree(name, ignore_errors=True) for name in ("$(VENV)", "build", "dist", "hlgp_dist.egg-info", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache")]'
