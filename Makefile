# The targets for building and testing embrun. `make` alone lists them. Each installs the packages it needs and prints them.
.DEFAULT_GOAL := help
.PHONY: help demo rootfs static test test-host test-guest test-guests test-peers test-labels test-defences test-older test-slow test-arm engines conformance conformance-v2 conformance-runc lint bench gateway gateway-guests gateway-swarm clean fuzz test-faults faults soak

help: ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## build embrun and run a real container that shows itself
	@rootfs-fixtures/demo.sh "$$(integration/static.sh)"

DIR ?= rootfs
rootfs: ## make a small root file system with busybox to try containers with: make rootfs DIR=bundle/rootfs
	@rootfs-fixtures/copy.sh "$(DIR)"

static: ## build embrun as one static program with the host's own compiler
	@integration/static.sh

test: test-host test-guest ## all usual tests: units, then real containers on this host and in a guest with cgroup v2

test-host: ## unit and kernel tests on this machine's kernel
	@integration/needs.sh build test
	cargo test -q --locked --lib --bins
	cargo test -q --locked --doc
	integration/suites.sh host $$(integration/programs.sh)

test-guest: ## the kernel tests with pure cgroup v2, in a guest of user-mode Linux
	@integration/needs.sh build test
	integration/guest/suites.sh v2 "$$(integration/static.sh)"

test-guests: ## the tests that depend on cgroups: with v1, without cgroups, podman with v2, and in guests that systemd runs
	@integration/needs.sh build test engines guests
	for guest in v1 none engines systemd-v2 systemd-hybrid systemd-v1; do integration/guest/suites.sh $$guest "$$(integration/static.sh)" || bad=1; done; [ -z "$$bad" ]

test-peers: ## the kernel tests with Debian's runc and crun, to check the tests themselves
	@integration/needs.sh build test
	RUNTIME=runc integration/suites.sh runc $$(integration/programs.sh kernel)
	RUNTIME=crun integration/suites.sh crun $$(integration/programs.sh kernel)

# The system calls added after Linux 4.19, except those that the tests themselves make. Recording needs Linux 5.6. Without
# openat2 a path walk takes memory for each component, which exceeds the limit of the memory tests. The second run tests how
# the listener of a filter is passed on before Linux 5.6.
YOUNG = clone3,close_range,fsconfig,fsmount,fsopen,fspick,mount_setattr,move_mount,open_tree,openat2,pidfd_open,pidfd_send_signal
test-older: ## the kernel tests under a filter that answers ENOSYS to system calls that old kernels lack
	@integration/needs.sh build test
	cargo build -q --locked --example older
	RUNTIME=$$(integration/static.sh) IT_ARGS="--skip recorder:: --skip temporary_name_of_an_output --skip memory::" target/debug/examples/older $(YOUNG) integration/suites.sh older $$(integration/programs.sh kernel)
	RUNTIME=$$(integration/static.sh) IT_ARGS="notify::" target/debug/examples/older pidfd_getfd integration/suites.sh older $$(integration/programs.sh kernel)

test-labels: ## the tests of AppArmor and SELinux, also with podman and docker, in guests that enforce a policy
	@integration/needs.sh build test engines
	for module in apparmor selinux; do integration/guest/labels.sh $$module "$$(integration/static.sh)" || bad=1; done; [ -z "$$bad" ]

# ALL=1 tries every defence, and ROWS="A07 B" some. Without them a run takes three minutes and tries other defences each day.
test-defences: ## remove defences of docs/security.md from a copy, one by one; the test of each must fail (ALL=1, ROWS="A07 B")
	@integration/needs.sh build test
	integration/defences/run.py $(if $(ROWS),$(ROWS),$(if $(ALL),,--sample 3))

test-slow: ## run a thousand containers
	@integration/needs.sh build test
	RUNTIME=$$(integration/static.sh) IT_ARGS="--ignored --skip engines --skip docker --skip labelled --skip selftest --skip faults" integration/suites.sh slow $$(integration/programs.sh kernel)

test-faults: ## signals and errors at every 40th system call of every command (others each day), here and in a guest with cgroup v2
	@integration/needs.sh build test
	integration/faults.sh 40 400

STEP ?= 1
faults: ## signals and errors at every system call, or every STEP-th one; writes a section of docs/reliability.md
	@integration/needs.sh build test
	WRITE=1 integration/faults.sh $(STEP) $$(( $(STEP) * 10 ))

soak: ## run a gateway's services for MINUTES (20) and check that nothing grows; writes docs/soak.svg and a section of docs/reliability.md
	@integration/needs.sh build test
	integration/soak/run.sh "$$(integration/static.sh)" $(or $(MINUTES),20)

test-arm: ## the kernel tests on emulated aarch64 and armv7 machines; writes a section of docs/kernels.md
	@integration/needs.sh build test
	integration/guest/arm.sh tests

engines: ## let podman, containerd (ctr and CRI) and docker run containers with embrun, also as an ordinary user
	@integration/needs.sh build test engines
	PATH=$$(integration/cri/build.sh):$$(integration/docker.sh):$$PATH RUNTIME=$$(integration/static.sh) IT_ARGS="--ignored engines docker" \
		integration/suites.sh engines $$(integration/programs.sh kernel)
	integration/cri/run.sh engines-cri "$$(integration/static.sh)"
	integration/cri/run.sh engines-cri-runc runc

FORM ?= whole
gateway-swarm: ## three gateway sites with docker Swarm, and one with podman: updates, cut links, a power cut; draws docs/gateway.svg
	@integration/needs.sh build test engines gateway
	integration/gateway/podman.sh "$$(integration/static.sh)"
	PLOT=$(if $(filter whole,$(FORM)),docs/gateway.svg) integration/gateway/swarm.sh $(FORM) "$$(integration/static.sh)"

conformance: ## the test suites of runc, crun and runtime-tools, side by side with runc and crun; writes docs/conformance.md
	@integration/needs.sh build test conformance
	for suite in runc crun tools; do integration/conformance/run.sh $$suite "$$(integration/static.sh)" || bad=1; done; \
		[ -z "$$bad" ] && integration/conformance/report.sh

conformance-v2: ## most of runc's test files, side by side with runc in a guest with cgroup v2; then docs/conformance.md
	@integration/needs.sh build test conformance
	integration/conformance/run.sh runc-v2 "$$(integration/static.sh)" && integration/conformance/report.sh

conformance-runc: conformance # its earlier name

PARTS ?= power netem uml systemd quadlet armv7 aarch64 memory
gateway-guests: ## the gateway in guests: 20 power cuts, a bad link, user-mode Linux, systemd, quadlet, armv7, aarch64; some: make gateway-guests PARTS=power CUTS=3
	@CUTS=$(CUTS) integration/gateway/guests.sh $(PARTS)

lint: ## check formatting, lints and the project's own rules
	@integration/needs.sh build lint
	integration/lint.sh

bench: ## measure the release binary beside crun, runc and the kernel's share; writes docs/performance.md (BENCH=--arm: also on ARM)
	@integration/needs.sh build release bench
	integration/bench/run.sh $(BENCH)

gateway: ## one site of the example gateway: five services with embrun alone, a broker, and the checks of docs/gateway.md
	@integration/needs.sh build test gateway
	cargo test -q --locked --lib --manifest-path rootfs-fixtures/gateway/services/Cargo.toml \
		--target-dir "$${XDG_CACHE_HOME:-$$HOME/.cache}/embrun/gateway"
	integration/gateway/run.sh "$$(integration/static.sh)"

fuzz: ## run all fuzz targets for MINUTES (15) in total; writes the table of docs/fuzzing.md
	@integration/needs.sh build fuzz
	integration/fuzz/run.sh minutes $(or $(MINUTES),15)

clean: ## remove the build results in this tree, but not the caches outside
	cargo clean -q

include cross/release.mk
