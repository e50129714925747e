# The habits of the project. `make` alone lists them.
#
# Everything here is one step of cargo or one script of tools/, so that it can also be typed by hand. CARGO_FLAGS reaches
# every build; the lockfile is binding unless it says otherwise.

CARGO ?= cargo
CARGO_FLAGS ?= --locked
BINARY = $(or $(CARGO_TARGET_DIR),target)/debug/collective
FUZZ_SECONDS ?= 180
RULE := deploy/kubernetes/overlays/prod/prometheusrule.yaml
PAGES := commands dialect errors configuration metrics

# cargo-nextest where it is installed, else cargo's own runner. That one does not know .config/nextest.toml, so what must run alone
# for its measurements is left for a second run, one after the other.
NEXTEST = $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
TESTS := --lib --bins --tests
ALONE := kills:: freeze:: losses:: links:: limiters_outages:: drain::an_idle drain::a_second drain::drain_finish

# What is tested is on this machine: a proxy on the way to the registries is not asked for it.
comma := ,
inherited := $(or $(no_proxy),$(NO_PROXY))
export no_proxy := $(if $(inherited),$(inherited)$(comma))127.0.0.1,localhost
export NO_PROXY := $(no_proxy)

.DEFAULT_GOAL := help
.PHONY: help run test test-acl e2e lint fmt doc docs docs-check bench chaos fuzz audit image clean binary

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start the service on http://127.0.0.1:8080 with a Redis of its own
	@test -n "$$COLLECTIVE_REDIS__URL" || tools/ensure redis
	$(CARGO) run $(CARGO_FLAGS) --release -- serve

test: ## run every test; real Redis servers on free ports, nothing mocked
	@tools/ensure redis curl
	$(CARGO) test $(CARGO_FLAGS) --doc
	$(if $(NEXTEST),$(CARGO) nextest run $(CARGO_FLAGS),$(CARGO) test $(CARGO_FLAGS) $(TESTS) -- $(ALONE:%=--skip %))
	$(if $(NEXTEST),,$(CARGO) test $(CARGO_FLAGS) $(TESTS) -- --test-threads=1 $(ALONE))

test-acl: ## run the suite once more, against Redis servers started from deploy/redis
	@tools/ensure redis
	@tools/test-acl $(CARGO_FLAGS)

# 77 is the exit code of a script that left something out, which it said; any other is a failure. The image is built with the
# profile that builds faster; `make image` builds the one that is shipped.
e2e: binary ## use the program from outside: curl, freezes, kills, SDKs, a browser, Prometheus, a receiver of traces, a slow resolver, schemathesis, its images and manifests
	@tools/ensure redis curl
	@tools/ensure promtool || true
	tests/e2e/run.sh $(BINARY) || test $$? -eq 77
	tests/e2e/sdk.sh $(BINARY) || test $$? -eq 77
	tests/e2e/cors.sh $(BINARY) || test $$? -eq 77
	tests/e2e/page.sh $(BINARY) || test $$? -eq 77
	tests/e2e/observability.sh $(BINARY) || test $$? -eq 77
	tests/e2e/otlp.sh $(BINARY) || test $$? -eq 77
	tests/e2e/resolver.sh $(BINARY) || test $$? -eq 77
	tests/e2e/openapi.sh $(BINARY) || test $$? -eq 77
	COLLECTIVE_IMAGE_PROFILE=release tests/e2e/image.sh || test $$? -eq 77
	COLLECTIVE_IMAGE_PROFILE=release tests/e2e/compose.sh || test $$? -eq 77
	COLLECTIVE_IMAGE_PROFILE=release tests/e2e/kubernetes.sh || test $$? -eq 77

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings

fmt: ## format the sources
	$(CARGO) fmt

doc: ## the crate's own documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_FLAGS) --no-deps --document-private-items

docs: binary ## write docs/*.md, docs/openapi.json and deploy/redis/users.acl anew from the tables in the code
	@for page in $(PAGES); do \
		$(BINARY) docs $$page > docs/$$page.md.new && mv docs/$$page.md.new docs/$$page.md || exit 1; \
		echo "docs/$$page.md"; \
	done
	@$(BINARY) openapi > docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json
	@echo "docs/openapi.json"
	@$(BINARY) docs users-acl > deploy/redis/users.acl.new && mv deploy/redis/users.acl.new deploy/redis/users.acl
	@echo "deploy/redis/users.acl"
	@tools/prometheusrule > $(RULE).new && mv $(RULE).new $(RULE) && echo "$(RULE)"

docs-check: binary ## fail when docs/*.md, docs/openapi.json or deploy/redis/users.acl differ from the tables in the code
	@for page in $(PAGES); do \
		$(BINARY) docs $$page | diff -u docs/$$page.md - || { echo "docs/$$page.md is out of date: run make docs"; exit 1; }; \
	done
	@$(BINARY) openapi | diff -u docs/openapi.json - || { echo "docs/openapi.json is out of date: run make docs"; exit 1; }
	@$(BINARY) docs users-acl | diff -u deploy/redis/users.acl - || { echo "deploy/redis/users.acl is out of date: run make docs"; exit 1; }
	@tools/prometheusrule | diff -u $(RULE) - || { echo "$(RULE) is out of date: run make docs"; exit 1; }
	@echo "$(words $(PAGES)) generated pages, docs/openapi.json, deploy/redis/users.acl and $(RULE) are up to date"

bench: ## measure the promises with numbers, side by side with a bare handler
	@test -x bench/run.sh || { echo "not built yet: bench/run.sh"; exit 1; }
	bench/run.sh

# One at a time: several of them judge how long a caller waits, and would measure each other.
chaos: ## the tests that break Redis at random, ten rounds of those that have rounds
	@tools/ensure redis
	COLLECTIVE_TEST_ROUNDS=10 $(CARGO) test $(CARGO_FLAGS) --release --test suite -- --test-threads=1 \
		chaos losses:: compare_and_set:: leases_ limiters_outages::

# The fuzzing engine wants compiler flags that a stable compiler hides; a nightly one is not needed for that.
fuzz: ## feed the parsers for FUZZ_SECONDS each (180); needs cargo-fuzz
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "skipped: cargo-fuzz is not installed (cargo install cargo-fuzz --locked)"; exit 1; }
	@for target in arguments path; do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 || exit 1; \
	done

# cargo-deny is compiled here and not in .ci/run, which uses it where it is: three minutes are too many for every run.
audit: ## licences and sources of the dependencies, workflows, committed secrets
	@tools/licences || test $$? -eq 77
	@tools/ensure cargo-deny || true
	@tools/audit || test $$? -eq 77
	@tools/scan || test $$? -eq 77
	@tools/placeholders || echo "(the places above are the operator's to fill in before this is published)"

image: ## build the container images, with docker or without any daemon
	tools/image

clean: ## remove what cargo built; data in .collective stays
	$(CARGO) clean

# Built together with the tests: the same features, hence the same dependencies, compiled once.
binary:
	@$(CARGO) build $(CARGO_FLAGS) --bins --tests
