# Two commands do everything: `make report` and `make test`. Both make their own environment first.

PYTHON ?= python3.11
STUDY ?= reports/torch-2.0.1-vs-2.1.0/study.toml
VENV := .venv
BIN := $(VENV)/bin
# As a variable of the shell: a path in it may hold spaces. All other paths here are relative, so that of the project may.
export STUDY

.PHONY: setup report test check lab lock clean

setup: $(VENV)/.ready

report: $(VENV)/.ready
	$(BIN)/reportlib run "$$STUDY"

test: $(VENV)/.ready
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(VENV)/.ready
	$(BIN)/reportlib env create torch201
	$(BIN)/reportlib env create torch210
	$(BIN)/reportlib prepare "$$STUDY"
	home="$${REPORTLIB_HOME:-$$PWD/.reportlib}"; export REPORTLIB_HOME="$$home" JUPYTER_PATH="$$home/jupyter"; \
		$(BIN)/jupyter lab notebooks

# What resolves today, with hashes and without any index address.
lock: $(VENV)/.ready
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" -o requirements.lock pyproject.toml

# The marker comes last, so a cut-off installation is done again.
$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv==$$(sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements.lock)"
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) .reportlib .snakemake
