# Each target sets up what it needs in .venv; Python 3.11 or newer is all it takes.
#   make test    all tests, with branch coverage
#   make lint    ruff, mypy and the layers of the package
#   make demo    an example on localhost; APP=flask, pyramid, bottle, django or wsgi
#   make example NAME=custom_flows    one of the other examples
#   make bench   what the package promises, measured; needs redis-server

PYTHON ?= python3
APP ?= flask
EXAMPLES := composed_middleware custom_flows on_success own_integration

VENV := .venv
# Modules instead of scripts: a script holds the path at which .venv was made.
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := test
.DELETE_ON_ERROR:
.PHONY: bench demo example test lint clean

demo: $(VENV)/.demo
	$(RUN) examples/demo.py --app $(APP)

example: $(VENV)/.demo
	@case " $(EXAMPLES) " in *" $(or $(NAME),-) "*) ;; *) \
		echo "Say which one: make example NAME=..., of $(EXAMPLES)" >&2; exit 2 ;; esac
	$(RUN) examples/$(NAME).py

test: $(VENV)/.test
	$(RUN) -X dev -m pytest -rs --cov --cov-report=term-missing:skip-covered \
		--ignore tests/test_refresh_states.py
# A search through all states, which computes and waits for nothing: untraced, for
# tracing doubles its time, and on all cores.
	$(RUN) -m pytest -n auto tests/test_refresh_states.py

bench: $(VENV)/.bench
	$(RUN) benchmarks/refresh_race.py

lint: $(VENV)/.test
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) -m pytest -q tests/test_layering.py

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of extras, older than the metadata when it must be renewed.
$(VENV)/.bench: EXTRAS := demo,redis
$(VENV)/.demo: EXTRAS := demo
$(VENV)/.test: EXTRAS := test,redis
$(VENV)/.bench $(VENV)/.demo $(VENV)/.test: setup.py pyproject.toml | $(RUN)
	$(RUN) -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

$(RUN):
	$(PYTHON) -m venv $(VENV)
