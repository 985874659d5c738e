PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
INSTALLED_ALL := $(VENV)/.installed-all

# Hundreds of tests start a Python of their own, which would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-all lint bench clean

# A folder of this project's own, with the very versions of constraints.txt.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Frostline needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

$(INSTALLED_ALL): $(INSTALLED)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test-all]'
	touch $@

setup: $(INSTALLED)

# The main job, end to end, on the bundled digits.
demo: $(INSTALLED)
	$(RUN) examples/demo.py

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow'

test-all: lint $(INSTALLED_ALL)
	$(VENV)/bin/pytest

# The short form of every benchmark, half an hour or so; the figures lie in build/bench/ as JSON, too.
# The peers come with `pip install '.[bench]'`; gpu.py is for those who have one.
bench: $(INSTALLED)
	mkdir -p build/bench
	for name in start_up decode embed extract feed heads bigheads augment finetune scale cluster; do \
		echo; echo "== $$name"; \
		$(RUN) benchmarks/$$name.py --short --json build/bench/$$name.json || exit 1; \
	done
	$(RUN) benchmarks/crash.py --trials 50 --json build/bench/crash.json
	$(RUN) benchmarks/kill_decoders.py --kills 50 --json build/bench/kill_decoders.json
	$(RUN) benchmarks/damage.py --every 50 --json build/bench/damage.json

clean:
	rm -rf $(VENV) build dist *.egg-info
