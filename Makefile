PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint bench clean

# A folder of this project's own, with the very versions of constraints.txt.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Frostline needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# The main job, end to end, on the bundled digits.
demo: $(INSTALLED)
	$(RUN) examples/demo.py

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

test: lint
	$(VENV)/bin/pytest -m 'not slow'

test-all: lint
	$(VENV)/bin/pytest

# The short form of every benchmark; the peers come with `pip install '.[bench]'`.
bench: $(INSTALLED)
	$(RUN) benchmarks/embed.py --images 64 --rounds 5
	$(RUN) benchmarks/extract.py --images 96 --rounds 5
	$(RUN) benchmarks/heads.py --short
	$(RUN) benchmarks/bigheads.py --short
	$(RUN) benchmarks/crash.py --trials 50
	$(RUN) benchmarks/damage.py --every 50

clean:
	rm -rf $(VENV) build dist *.egg-info
