# Two commands do everything: `make report` and `make test`. Both make their own environment first.

# The host's Python: the first of these that is 3.11, 3.12 or 3.13 and can make an environment of its own, or PYTHON=...
PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3)
STUDY ?= reports/torch-2.0.1-vs-2.1.0/study.toml
VENV := .venv
BIN := $(VENV)/bin
# As a variable of the shell: a path in it may hold spaces. All other paths here are relative, so that of the project may.
export STUDY

.PHONY: setup report test check docs bench lab lock clean

setup: $(VENV)/.ready

report: $(VENV)/.ready
	$(BIN)/reportlib run "$$STUDY"

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_OPTIONS)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m reportlib.shape --check

# The documents as a site, in docs/_build; a link or a reference that leads nowhere is an error.
docs: $(VENV)/.ready
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

# Each figure beside another way to the same, in one run; the table goes into docs/benchmarks.md. With
# BENCH_OPTIONS=--large also two indexes of 10 GB, which take 20 GB of disk while it runs.
bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(BENCH_OPTIONS)

lab: $(VENV)/.ready
	$(BIN)/reportlib lab "$$STUDY"

# What resolves today for Python 3.11 and every later one, with hashes and without any index address.
lock: $(VENV)/.ready
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" -o requirements.lock pyproject.toml

# Says which Python it takes; where none will do, what to do. Debian and Ubuntu keep ensurepip, which venv needs, apart.
define make_environment
lacking=; for python in $(PYTHONS); do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { lacking="$$lacking $$python"; continue; }; \
	echo "$$python -m venv --clear $(VENV)"; exec "$$python" -m venv --clear $(VENV); \
done; \
if [ -n "$$lacking" ]; then \
	echo "There is no venv for$$lacking. On Debian or Ubuntu: apt-get install python3-venv; then run make again." >&2; \
else \
	echo 'None of these is Python 3.11, 3.12 or 3.13:' $(PYTHONS)'. Install one, or name yours: make PYTHON=...' >&2; \
fi; exit 1
endef

# The marker comes last, so a cut-off installation is done again.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(make_environment)
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv==$$(sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements.lock)"
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) .reportlib .snakemake
