# Every target sets itself up: virtual environment, pinned dependencies, package.
PYTHON ?= python3
VENV ?= .venv
DEMO_OUTPUT ?= demo_output
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/installed
	$(BIN)/nnUNetv2_simple_demo -o $(DEMO_OUTPUT) --overwrite

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/installed: constraints.txt setup.py pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python >= 3.10 is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	$(BIN)/python tools/repair_torchvision.py
	touch $@

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT)
