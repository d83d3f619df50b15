# `make demo` and `make test` do all the set-up themselves: they need Python 3.11 or newer, git and make.
# Another interpreter, in an environment of its own:  make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

# Bytecode is kept, whatever the environment says: hundreds of processes import the same modules.
export PYTHONDONTWRITEBYTECODE :=

STAMP := $(VENV)/.stamp
BIN := $(VENV)/bin
LOCK := requirements/dev.txt
CODE := $(wildcard jwt_middleware tests examples benchmarks tools)
WORDS := README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md docs examples findings jwt_middleware tools tests/rules.toml
# A system-wide uv where there is one, else the one that the set-up puts into the environment.
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)

.DEFAULT_GOAL := help
.PHONY: help demo test check docs docs-serve docs-shots long suite django one-django own-django libraries issuers readers uwsgi matrix setup format map lock dist sbom tag clean bench bench-gate

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | while IFS='	' read -r goal text; do \
		printf '  make %-10s %s\n' "$$goal" "$$text"; done

demo: $(STAMP)  ## see it in a browser: log in, refresh, lose a response, steal a token, log out
	@$(BIN)/python -m jwt_middleware.cli demo $(ARGS)

test: $(STAMP)  ## run the tests, with branch coverage of the package at 100 %
	$(BIN)/pytest -n auto --dist loadgroup --cov $(ARGS)

check: $(STAMP)  ## format, lint, types (two checkers), spelling, import layers, measures, rules, README
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/basedpyright $(CODE)
	$(BIN)/codespell $(WORDS)
	$(BIN)/pytest -q tests/test_layers.py tests/test_house.py tests/test_import_cost.py tests/test_rules.py tests/test_repository.py

docs: $(STAMP)  ## build the site into .site/html; a link that leads nowhere is an error
	@$(BIN)/python -m tools.docsite $(ARGS)
	@echo 'The site is in .site/html.'

docs-serve: $(STAMP)  ## build the site, and show it in a browser
	@$(BIN)/python -m tools.docsite --serve 8008 $(ARGS)

docs-shots: docs  ## pictures of the site, light and dark, wide and narrow, into .site/shots
	@$(BIN)/python -m tools.docsite.shots

long: $(STAMP) uwsgi matrix  ## what takes longer than CI should: long tests, other interpreters, oldest dependencies
	HYPOTHESIS_PROFILE=long $(BIN)/pytest -n auto --dist loadgroup -m 'long or not long' --prepared 7200 -o faulthandler_timeout=0 $(ARGS)
	$(UV) pip install --quiet --require-hashes --no-deps --python $(BIN)/python --target $(VENV)/floor -r requirements/floor.txt
	PYTHONPATH=$(CURDIR)/$(VENV)/floor $(BIN)/pytest -n auto --dist loadgroup $(ARGS)
	@tools/interpreters $(BIN)/python | while read -r version python; do \
		$(MAKE) suite PYTHON="$$python" VENV=".venv-$$version" < /dev/null || exit 1; done
	$(MAKE) django

# The versions at both ends, over the packages of an environment that has all else; the newest Django wants
# Python 3.12. Django's own tests come with its source, which pip fetches.
django: $(STAMP)  ## the tests of Django's door, and of Django's own, on the oldest Django, ours and the newest
	@$(MAKE) own-django LOCK=$(LOCK)
	@$(MAKE) one-django DJANGO=oldest
	@tools/interpreters $(BIN)/python | grep -v '^3\.11 ' | tail -1 | while read -r version python; do \
		$(MAKE) one-django DJANGO=newest PYTHON="$$python" VENV=".venv-$$version" < /dev/null || exit 1; done

one-django: $(STAMP)
	$(UV) pip install --quiet --require-hashes --no-deps --python $(BIN)/python --target $(VENV)/django-$(DJANGO) \
		-r requirements/django-$(DJANGO).txt
	PYTHONPATH=$(CURDIR)/$(VENV)/django-$(DJANGO) $(BIN)/pytest -q -n auto --dist loadgroup \
		tests/django tests/request/test_routes_frameworks.py $(ARGS)
	PYTHONPATH=$(CURDIR)/$(VENV)/django-$(DJANGO) $(MAKE) own-django LOCK=requirements/django-$(DJANGO).txt

own-django: $(STAMP)
	$(UV) pip install --quiet --require-hashes --no-deps --python $(BIN)/python --target $(VENV)/django-source \
		-r requirements/django-source.txt
	PYTHONPATH=$(PYTHONPATH):$(CURDIR)/$(VENV)/django-source $(BIN)/python -m tests.django.own_suite \
		$(LOCK) $(VENV)/django-source

suite: $(STAMP)
	$(BIN)/pytest -n auto --dist loadgroup $(ARGS)

# Peers in an environment of their own, under Debian's Python where there is one: it is built with
# profiles, as most that serve are, and one from source often isn't.
BENCH := .venv-bench
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo $(PYTHON))
NODE := benchmarks/bench/node

bench: $(BENCH)/.stamp $(NODE)/node_modules/.stamp  ## measure everything beside the peers; give it a machine at rest
	@$(BENCH)/bin/python -W ignore -m benchmarks.bench $(ARGS)

bench-gate: $(BENCH)/.stamp  ## the part that has limits and needs no server: fails where one is missed
	@$(BENCH)/bin/python -W ignore -m benchmarks.bench --gate $(ARGS)

$(BENCH)/.stamp: requirements/bench.txt | $(UV)
	@test -x $(BENCH)/bin/python || $(BENCH_PYTHON) -m venv --without-pip $(BENCH)
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(BENCH)/bin/python requirements/bench.txt
	@touch $@

# Without npm the part on Node is left out, and says so.
$(NODE)/node_modules/.stamp: $(NODE)/package-lock.json
	@mkdir -p $(@D)
	@if command -v npm >/dev/null; then cd $(NODE) && npm ci --silent --ignore-scripts; else rmdir $(@D); fi
	@if test -d $(@D); then touch $@; fi

# What other people wrote, each kind in an environment and a folder of its own: clients, issuers, and libraries that
# verify tokens. The long tests ask for them.
libraries issuers readers: %: .venv-%/.stamp tests/%/node_modules/.stamp

.venv-libraries/.stamp .venv-issuers/.stamp .venv-readers/.stamp: .venv-%/.stamp: requirements/%.txt | $(UV)
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv --without-pip .venv-$*
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python .venv-$*/bin/python requirements/$*.txt
	@touch $@

tests/%/node_modules/.stamp: tests/%/package-lock.json
	cd tests/$* && npm ci --silent --ignore-scripts
	@touch $@

# Compiled here, so it wants a compiler, and the headers of the same Python as the tests.
UWSGI := .venv-uwsgi
uwsgi: $(UWSGI)/.stamp

$(UWSGI)/.stamp: requirements/uwsgi.txt | $(UV)
	@test -x $(UWSGI)/bin/python || $(PYTHON) -m venv --without-pip $(UWSGI)
	$(UV) pip sync --quiet --require-hashes --python $(UWSGI)/bin/python requirements/uwsgi.txt
	@touch $@

# The other servers, and adapters between the two interfaces. bjoern is compiled, and wants libev's headers.
MATRIX := .venv-matrix
matrix: $(MATRIX)/.stamp

$(MATRIX)/.stamp: requirements/matrix.txt | $(UV)
	@test -x $(MATRIX)/bin/python || $(PYTHON) -m venv --without-pip $(MATRIX)
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(MATRIX)/bin/python requirements/matrix.txt
	@touch $@

setup: $(STAMP)  ## only make the environment

format: $(STAMP)  ## format the code and mend what the linter can
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

map: $(STAMP)  ## remake what is drawn in pages: the map in CONTRIBUTING.md, the tables in docs/errors.md
	$(BIN)/python -m tools.map --into CONTRIBUTING.md
	$(BIN)/python -m tools.docsite --tables

NEEDS_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo 'This needs Python 3.11 or newer: make PYTHON=/path/to/python3 ...' >&2; exit 1; }
# Debian keeps a part of the standard library in a package of its own. Root, in a container say, gets it.
NEEDS_ENSUREPIP = @$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	echo 'Installing python3-venv, which this Python needs to make an environment.' && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null; } || { \
	echo 'This Python can make no environment: sudo apt-get install python3-venv, or put uv on the PATH.' >&2; \
	exit 1; }

# With uv at hand the environment needs no pip, and so not Debian's python3-venv either. The editable
# install needs no network: its build backend, flit_core, is locked with the rest.
$(STAMP): $(LOCK) pyproject.toml | $(UV)
	$(NEEDS_PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python $(LOCK)
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

$(BIN)/uv: requirements/uv.txt
	$(NEEDS_PYTHON)
	$(NEEDS_ENSUREPIP)
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# `make lock ARGS=--upgrade` takes newer versions. Hashes pin the content, so no index address is kept.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(ARGS) --output-file

lock: $(UV)  ## remake requirements/*.txt from pyproject.toml
	$(COMPILE) requirements/runtime.txt pyproject.toml
	$(COMPILE) requirements/floor.txt pyproject.toml --resolution lowest-direct --no-deps --upgrade
	$(COMPILE) requirements/dev.txt pyproject.toml --group dev
	$(COMPILE) requirements/bench.txt pyproject.toml --group bench
	$(COMPILE) requirements/libraries.txt --group libraries
	$(COMPILE) requirements/issuers.txt --group issuers
	$(COMPILE) requirements/readers.txt --group readers
	$(COMPILE) requirements/uwsgi.txt --group uwsgi
	$(COMPILE) requirements/matrix.txt pyproject.toml --group matrix
	$(COMPILE) requirements/engines.txt --group other-engines --no-deps
	$(COMPILE) requirements/django-oldest.txt --group django-oldest
	$(subst 3.11,3.12,$(COMPILE)) requirements/django-newest.txt --group django-newest
	$(COMPILE) requirements/django-source.txt --group django-source
	$(COMPILE) requirements/uv.txt --group uv

dist: $(STAMP)  ## build and check the sdist and the wheel of the last commit: the same octets every time
	@$(BIN)/python -m tools.release dist

sbom: $(STAMP)  ## write dist/sbom.cdx.json: all that is needed at run time, in CycloneDX
	@$(BIN)/python -m tools.release sbom

tag: $(STAMP)  ## check that TAG=v1.2.3 is signed, and names the version of this commit
	@$(BIN)/python -m tools.release tag $(TAG)

clean:  ## remove the environments and all that the tools leave
	rm -rf .venv .venv-* $(NODE)/node_modules tests/oidc/node_modules tests/axe/node_modules tests/swagger/node_modules tests/libraries/node_modules tests/issuers/node_modules tests/readers/node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.* htmlcov dist .site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
