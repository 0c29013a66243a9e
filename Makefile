# `make demo` and `make test` set up everything they need in .venv; PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
BIN := .venv/bin
# Some tests wait for a browser or a server: one worker more than there are processors.
WORKERS := $(shell $(PYTHON) -c "import os; print(1 + (os.cpu_count() or 1))")

# The tests start hundreds of processes; without bytecode each would compile eyesight anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test unit check docs format bench published faults fonts browser clean

demo: .venv/ready
	$(BIN)/eyesight train lenet5

test: .venv/tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

unit: .venv/tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m "not whole"

check: .venv/tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/tests
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

format: .venv/tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/ready
	$(BIN)/python benchmarks/run.py

published: .venv/ready
	$(BIN)/python benchmarks/published.py

faults: .venv/ready
	$(BIN)/python benchmarks/faults.py

fonts:
	sh scripts/install_fonts.sh

browser:
	sh scripts/install_browser.sh

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "installing PyTorch and the other libraries into .venv: a few minutes, several gigabytes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[serve]' --constraint constraints.txt
	touch .venv/ready

.venv/tests: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[serve,test]' --constraint constraints.txt
	touch .venv/tests

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
