# Every target sets itself up: virtual environment, pinned dependencies, package.
PYTHON ?= python3
VENV ?= .venv
DEMO_OUTPUT ?= demo_output
BIN := $(VENV)/bin

.PHONY: demo docs test lint benchmark compat torchvision clean

demo: $(VENV)/installed
	$(BIN)/nnUNetv2_simple_demo -o $(DEMO_OUTPUT) --overwrite

# up to four test files at once, one thread each: most of them wait for processes of nnU-Net; UTF-8 whatever locale
# a library sets
test: $(VENV)/installed
	PYTHONUTF8=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/propagation_speed.py
	$(BIN)/python benchmarks/pseudo_mask_time.py
	$(BIN)/python benchmarks/training_cost.py
	$(BIN)/python benchmarks/device_waits.py

# the pages of README.md and docs/, in site/
docs: $(VENV)/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build

compat: $(VENV)/installed
	$(BIN)/python tools/compat.py

$(VENV)/installed: constraints.txt setup.py pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python >= 3.10 is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	$(MAKE) --no-print-directory torchvision
	touch $@

# Where an index pairs a CPU-only torch with a torchvision built for CUDA, importing it fails ("operator torchvision::nms
# does not exist"), and with it nnU-Net's look-up of trainers. The tests need it to import, not its operators: declare
# two. Users install both from one index instead (README, "Your own data").
DECLARED := import torch; [torch.library.define("torchvision::" + name, "(Tensor dets, Tensor scores, float \
  iou_threshold) -> Tensor") for name in ("nms", "qnms")]
torchvision:
	for file in $(VENV)/lib/python3*/site-packages/torchvision/_meta_registrations.py; do \
	  test ! -e $$file || $(BIN)/python -c "import torchvision" 2>/dev/null || sed -i '1i $(DECLARED)' $$file; done

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT) site compat_envs compat.md
