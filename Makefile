# The commands people type. `make help` lists them; everything lands in .venv and build/.
#
# PYTHON=python3.12   the interpreter to set up with
# VENV=.venv          where to
# KMERL_BLAS=builtin, KMERL_OPENMP=0, ...: see setup.py

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# As in pyproject.toml (tests/test_build.py compares them): here they go into the environment, so that
# a rebuild compiles only what changed.
BUILD_REQUIRES := "setuptools>=77" "numpy>=2.0"
ifneq ($(filter openblas,$(or $(KMERL_BLAS),$(if $(filter Linux-aarch64,$(shell uname -sm | tr ' ' -)),openblas))),)
BUILD_REQUIRES += "scipy-openblas32>=0.3.28"
endif

SOURCES := setup.py pyproject.toml $(shell find csrc -name '*.[ch]' -o -name '*.map')
MODE    := $(KMERL_BLAS)-$(KMERL_OPENMP)-$(KMERL_REAL)-$(KMERL_WERROR)-$(KMERL_BASELINE)

.DEFAULT_GOAL := help
.PHONY: help demo test test-c test-sanitize test-valgrind test-races test-parity fuzz check-long check-install \
        check-install-all bench bench-all model model-installed lint format \
        sdist wheel ci clean distclean

help:                   ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | awk -F '\t' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(VENV)/built     ## set everything up, pretrain on the sample ECGs and answer on others (about 5 minutes)
	$(BIN)/kmerl demo

test: $(VENV)/built     ## set everything up, then the whole test suite: Python and C
	$(BIN)/python -m pytest -q $(ARGS)
	$(BIN)/python setup.py -q test_c

test-c: $(VENV)/built   ## the C tests alone
	$(BIN)/python setup.py -q test_c

test-sanitize: $(VENV)/built ## the C tests under AddressSanitizer and UndefinedBehaviorSanitizer, float and double
	KMERL_BLAS=builtin $(BIN)/python setup.py -q test_c --sanitize
	KMERL_BLAS=builtin KMERL_REAL=double $(BIN)/python setup.py -q test_c --sanitize

test-valgrind: $(VENV)/built ## the C tests under valgrind
	KMERL_BLAS=builtin $(BIN)/python setup.py -q test_c --valgrind

test-races: $(VENV)/built ## the C tests under ThreadSanitizer
	KMERL_BLAS=builtin $(BIN)/python setup.py -q test_c --races

fuzz:                   ## libFuzzer on everything that parses in C, SECONDS=300 in all (needs clang)
	bash tests/fuzz/run $(or $(SECONDS),300)

check-long: $(VENV)/built ## everything that tries to break kmerl (docs/reliability.md), BUDGET=60 minutes
	bash tests/reliability/run $(or $(BUDGET),60) $(BIN)/python

test-parity: $(VENV)/parity $(VENV)/built ## compare with PyTorch and friends (downloads them into .venv)
	KMERL_PARITY=1 $(BIN)/python -m pytest -q tests/parity $(ARGS)

check-install: $(VENV)/installed ## install from an sdist into fresh environments, with and without BLAS and OpenMP
	bash .ci/check-install $(BIN)/python

check-install-all: $(VENV)/installed ## the same for every BLAS, every Python that is there, and the oldest NumPy
	bash .ci/check-install $(BIN)/python all

bench: $(VENV)/parity $(VENV)/built ## speed against PyTorch and friends: every ratio of docs/performance.md (8 minutes)
	for name in train text import scale; do echo "== bench_$$name"; $(BIN)/python benchmarks/bench_$$name.py || exit 1; done

bench-all: $(VENV)/parity $(VENV)/built ## every benchmark there is
	for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

DATA  ?= $(wildcard ../shared/data)
MODEL ?= build/model
model: $(VENV)/built    ## train kmerl-tiny on simulated ECGs (hours; goes on where it stopped), DATA=FOLDER to measure on
	$(BIN)/python tools/train_model.py $(MODEL) $(if $(DATA),--data $(DATA))
	$(MAKE) model-installed

model-installed: $(VENV)/built ## put the trained model of MODEL=FOLDER into the package, measure it, write its card
	$(BIN)/python tools/install_model.py $(MODEL)/chosen.safetensors
	$(if $(DATA),$(BIN)/python tools/model_card.py $(MODEL) --data $(DATA))

lint: $(VENV)/lint      ## check the Python style
	$(BIN)/ruff check .

format: $(VENV)/lint    ## sort imports and fix what can be fixed
	$(BIN)/ruff check --fix .

sdist: $(VENV)/installed ## dist/kmerl-*.tar.gz
	$(BIN)/python -m build --sdist --no-isolation

wheel: $(VENV)/installed ## dist/kmerl-*.whl for this machine
	$(BIN)/python -m build --wheel --no-isolation

ci:                     ## everything that must pass before a change lands
	bash .ci/run

clean:                  ## remove what was built
	rm -rf build dist kmerl.egg-info kmerl/_openblas kmerl/_kmerl*.so $(VENV)/built*
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean        ## remove the environment too
	rm -rf $(VENV)

# The stamps are files in the environment: removing it starts over.

$(VENV)/created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "kmerl needs Python 3.10 or newer, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q $(BUILD_REQUIRES) build
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[all,test]'
	touch $@

# One stamp a mode of building: another KMERL_BLAS builds again.
$(VENV)/built: $(VENV)/built-$(MODE)
	touch $@

$(VENV)/built-$(MODE): $(VENV)/installed $(SOURCES)
	$(BIN)/python setup.py -q build_ext --inplace
	rm -f $(VENV)/built-*
	touch $@

$(VENV)/parity: $(VENV)/installed tests/parity/requirements.txt
	$(BIN)/python -m pip install -q -r tests/parity/requirements.txt
	touch $@

$(VENV)/lint: $(VENV)/installed
	$(BIN)/python -m pip install -q ruff
	touch $@
