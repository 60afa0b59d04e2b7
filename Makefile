# Everything runs from .venv; delete it to start over.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs bench clean

.venv/.demo: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,train]'
	touch $@

.venv/.ready: .venv/.demo
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,train]' --group dev --group docs
	touch $@

demo: .venv/.demo
	rm -rf build/demo
	$(BIN)/rate demo --out build/demo

test: .venv/.ready
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

bench: .venv/.ready
	$(BIN)/python -m benchmarks.engine_share

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build dist
