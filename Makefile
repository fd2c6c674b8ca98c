# embrun: what a builder does. `make` alone prints what there is.
CARGO ?= cargo
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC = target/$(HOST)/release/embrun

.DEFAULT_GOAL := help
.PHONY: help demo static test test-host test-guest test-peers test-slow engines lint bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## build embrun and run a real container that shows itself
	@integration/needs build
	@$(MAKE) -s static
	@rootfs-fixtures/demo $(STATIC)

static: ## embrun as one static program, by the host's own compiler
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build -q --release --locked --bin embrun --target $(HOST)

test: test-host test-guest ## all tests: units, then real containers on this host and in a guest with cgroup v2

test-host: ## the tests on this machine's kernel
	@integration/needs build test
	$(CARGO) test -q --locked --lib --bins
	$(CARGO) test -q --locked --doc
	integration/suites host $$(integration/programs)

test-guest: static ## the same kernel tests under pure cgroup v2, in a guest of user-mode Linux
	@integration/needs build test
	integration/guest/suites v2 $(STATIC)

test-peers: ## the kernel tests against Debian's runc and crun, the oracle
	@integration/needs build test
	RUNTIME=runc integration/suites runc $$(integration/programs kernel)
	RUNTIME=crun integration/suites crun $$(integration/programs kernel)

test-slow: static ## a thousand containers, and hundreds of kills in the middle of create
	@integration/needs build test
	RUNTIME=$(STATIC) IT_ARGS="--ignored robust" integration/suites slow $$(integration/programs kernel)

engines: static ## podman and containerd run containers through embrun
	@integration/needs build test engines
	RUNTIME=$(STATIC) IT_ARGS="--ignored engines" integration/suites engines $$(integration/programs kernel)

lint: ## formats, lints and the rules of this house
	@integration/needs build lint
	integration/lint

bench: static ## embrun, runc, crun and the kernel's own share, interleaved: a table in Markdown
	@integration/needs build bench
	integration/bench/run $(STATIC)

clean: ## remove what was built in this tree; caches outside of it stay
	$(CARGO) clean -q

include cross/release.mk
