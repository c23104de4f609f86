# Everything needs only Python >= 3.11 and make; the first call makes .venv, later ones reuse it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# pip separates its places by spaces, uv by commas.
COMMA := ,
SPACE := $(subst ,, )
ifndef UV_FIND_LINKS
export UV_FIND_LINKS := $(subst $(SPACE),$(COMMA),$(strip $(PIP_FIND_LINKS)))
endif
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: install test check demo up down services services-stop constraints clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet -c constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[train,tune,airflow,serve,postgres,redis,feast,dev]'
	touch $@

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(INSTALLED) test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py

up: $(INSTALLED)
	$(BIN)/python scripts/stack.py up

down: $(INSTALLED)
	$(BIN)/python scripts/stack.py down

services: $(INSTALLED)
	$(BIN)/python scripts/services.py start

services-stop: $(INSTALLED)
	$(BIN)/python scripts/services.py stop

# One set of pins for every extra; torch is pinned by hand, so that the CPU wheel can stand in for PyPI's.
constraints: $(INSTALLED)
	echo 'torch==2.13.0' > .torch.tmp
	UV_FIND_LINKS= $(BIN)/uv pip compile --quiet --universal --all-extras --no-emit-package torch --no-header --no-annotate -c .torch.tmp pyproject.toml -o constraints.txt
	echo '# Every dependency of every extra, pinned. Made by `make constraints`; do not edit by hand.' > .pins.tmp
	cat constraints.txt .torch.tmp >> .pins.tmp && mv .pins.tmp constraints.txt && rm .torch.tmp

clean:
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis
