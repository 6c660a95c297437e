# Tern's front door. `make help` lists the words; CONTRIBUTING.md says more. The build itself is meson.build's.
#
# Variables: BUILD=folder of the release build, CC=compiler, TERN_DEPS=place of the dependencies, FUZZ_SECONDS=20 for each target,
# TERN_SHARED=folder with recorded answers and pages for the tests that use them.

BUILD ?= build
TERN_DEPS ?= $(CURDIR)/.deps
FUZZ_SECONDS ?= 20
JOBS ?= $(shell nproc)
FILES ?= $(shell git ls-files -co --exclude-standard '*.c' '*.h')
override TERN_DEPS := $(abspath $(TERN_DEPS))
export TERN_DEPS FUZZ_SECONDS JOBS

PYTHON := /usr/bin/python3
MESON := meson
SETUP := $(MESON) setup -Ddeps=$(TERN_DEPS)
NINJA := ninja -j$(JOBS)

# Without the runtimes: their libraries are not instrumented, and the example engine reaches the same code of Tern.
SANITIZE := --buildtype=debugoptimized -Dtests=true -Dtensorflow=disabled -Dopenvino=disabled

.DEFAULT_GOAL := build
.PHONY: build demo html-eval test asan ubsan tsan unit exact-long fuzz-short check format bench bench-peers cover image image-test install clean distclean help deps-build deps-test

build: deps-build $(BUILD)/build.ninja ## build/tern, its engines and handlers (the default)
	@$(NINJA) -C $(BUILD)

demo: build ## start Tern with the HTML model and ask it about a page (PAGE=file.html PORT=8501 ONCE=1)
	@TERN_BUILD=$(BUILD) $(PYTHON) tools/demo.py

html-eval: build ## the page model against other extractors, 5 folds by site (DATA=folder; SHIPPED=1: the model as it is, PEERS=n pages)
	@deps/setup.sh bench
	@mkdir -p build-html-eval
	@$(TERN_DEPS)/venv/bin/python models/html/train/evaluate.py --data $(or $(DATA),$(error DATA=folder: see models/html/MODEL_CARD.md)) \
	    --cache build-html-eval --out build-html-eval $(if $(SHIPPED),--shipped) $(if $(PEERS),--sample $(PEERS))

test: ## everything that CI runs: unit tests, corpora, sanitizers, server tests, checks
	@tools/test.sh all

asan: ## unit, corpus and server tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/test.sh asan

ubsan: ## the same under UndefinedBehaviorSanitizer alone
	@tools/test.sh ubsan

tsan: ## the same under ThreadSanitizer
	@tools/test.sh tsan

unit: ## unit tests and corpus replays in the release build only: the quick round
	@tools/test.sh unit

exact-long: build ## numbers against libc, a hundred million of each kind: ten minutes or more
	@$(MESON) configure -Dtests=true $(BUILD)
	@$(NINJA) -C $(BUILD) tests/unit/test_number tests/unit/test_json_numbers
	TERN_LONG=1 nice -n 15 $(BUILD)/tests/unit/test_number
	TERN_LONG=1 nice -n 15 $(BUILD)/tests/unit/test_json_numbers

fuzz-short: deps-test build-fuzz/build.ninja ## every fuzz target for FUZZ_SECONDS (20) from its corpus
	@$(NINJA) -C build-fuzz
	@tools/fuzz.sh build-fuzz

check: deps-test ## layers, names, banned functions, lengths, complexity, format
	@$(PYTHON) tools/check.py

format: deps-test ## bring the C sources into form: wide comments wrapped, then clang-format (FILES=... for some)
	@$(PYTHON) tools/wrap.py $(FILES)
	@# One pass does not always settle clang-format 14.
	@n=0; until clang-format --dry-run -Werror $(FILES) 2>/dev/null || [ $$n = 9 ]; do \
	    clang-format -i $(FILES); n=$$((n + 1)); done

bench: build ## all measurements, into bench/report (QUICK=1: only the numbers to hold)
	@deps/setup.sh bench
	@$(MESON) setup --reconfigure -Dbench=true $(BUILD) >/dev/null
	@$(NINJA) -C $(BUILD)
	@BUILD=$(BUILD) bench/run.sh

bench-peers: build ## Tern beside MLServer, Ray Serve, BentoML, LitServe and Triton, from PyPI (4 GB, TERN_PEERS says where)
	@deps/setup.sh bench
	@$(PYTHON) bench/peers/install.py || echo "bench-peers: the others go on"
	@$(TERN_DEPS)/venv/bin/python bench/peers/peers.py --build $(BUILD)

cover: deps-test build-cover/build.ninja ## line coverage of the unit tests, as build-cover/coverage.html
	@$(NINJA) -C build-cover
	@$(MESON) test -C build-cover --no-rebuild --print-errorlogs -q
	@gcovr --root . --object-directory build-cover --filter src/ --filter engines/ --filter models/html/ \
	    --html-details build-cover/coverage.html --print-summary build-cover

image: build ## the SageMaker image as an OCI archive, build/image/tern-sagemaker.tar
	@deps/setup.sh image
	@deploy/sagemaker/build.py --build $(BUILD)

image-test: image deps-test ## start it as the platform does, by podman or in a chroot
	@TERN_BUILD=$(abspath $(BUILD)) $(TERN_DEPS)/venv/bin/python -m pytest tests/deploy -m image -q

install: build ## meson install (DESTDIR, or --prefix by MESON_INSTALL_PREFIX at setup)
	@$(MESON) install -C $(BUILD) --no-rebuild

clean: ## remove the build folders
	rm -rf build build-asan build-ubsan build-tsan build-fuzz build-cover

distclean: clean ## remove the downloaded dependencies as well
	rm -rf .deps

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps-build:
	@deps/setup.sh build

deps-test:
	@deps/setup.sh test

$(BUILD)/build.ninja: | deps-build
	@$(SETUP) --buildtype=debugoptimized $(BUILD)

build-asan/build.ninja: | deps-test
	@$(SETUP) $(SANITIZE) -Db_sanitize=address,undefined $(@D)

build-ubsan/build.ninja: | deps-test
	@$(SETUP) $(SANITIZE) -Db_sanitize=undefined $(@D)

build-tsan/build.ninja: | deps-test
	@$(SETUP) $(SANITIZE) -Db_sanitize=thread $(@D)

build-fuzz/build.ninja: | deps-test
	@CC=clang $(SETUP) --buildtype=debugoptimized -Dfuzz=true -Dtensorflow=disabled -Dopenvino=disabled -Db_sanitize=address,undefined $(@D)

build-cover/build.ninja: | deps-test
	@$(SETUP) --buildtype=debug -Dtests=true -Db_coverage=true -Dtensorflow=disabled -Dopenvino=disabled $(@D)
