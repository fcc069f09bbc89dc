# Each target sets up what it needs in .venv; Python 3.11 or newer is all it takes.
#   make test    all tests, with branch coverage
#   make lint    ruff, mypy and the layers of the package
#   make demo    an example on localhost; APP=flask, pyramid, bottle, django or wsgi
#   make example NAME=custom_flows    one of the other examples
#   make bench   what the package promises, measured, beside what is used today; all of
#                it takes 25 minutes, BENCH=per_request, import_time, server, scale,
#                store_cost or refresh_race (which needs redis-server) runs one of them

PYTHON ?= python3
APP ?= flask
BENCH ?= per_request import_time server scale store_cost refresh_race
EXAMPLES := composed_middleware custom_flows on_success own_integration

VENV := .venv
# Modules instead of scripts: a script holds the path at which .venv was made.
RUN := $(VENV)/bin/python
# What the benchmarks compare with stays apart from what the package is tested with.
BENCH_VENV := .venv-bench
BENCH_RUN := $(BENCH_VENV)/bin/python

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

# All of them, also when one misses a bar.
bench: $(BENCH_VENV)/.bench
	@failed=; for name in $(BENCH); do \
		$(BENCH_RUN) benchmarks/$$name.py || failed="$$failed $$name"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

lint: $(VENV)/.test
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) -m pytest -q tests/test_layering.py

clean:
	rm -rf $(VENV) $(BENCH_VENV) benchmarks/node/node_modules build dist *.egg-info .coverage
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of extras, older than the metadata when it must be renewed.
$(VENV)/.demo: EXTRAS := demo
$(VENV)/.test: EXTRAS := test,redis
$(VENV)/.demo $(VENV)/.test: setup.py pyproject.toml | $(RUN)
	$(RUN) -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

$(RUN):
	$(PYTHON) -m venv $(VENV)

$(BENCH_VENV)/.bench: setup.py pyproject.toml benchmarks/requirements.txt \
		benchmarks/node/package.json
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_RUN) -m pip install --quiet --editable . -r benchmarks/requirements.txt
# Without Node the JavaScript libraries are left out.
	! command -v npm >/dev/null || (cd benchmarks/node && \
		npm install --no-package-lock --no-audit --no-fund --silent)
	touch $@
