# Release builds, included by the Makefile. The results are in target/dist/TARGET.
RELEASE_TARGETS := armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl arm-unknown-linux-musleabi \
	riscv64gc-unknown-linux-musl x86_64-unknown-linux-musl
TARGET ?= x86_64-unknown-linux-musl

.PHONY: release release-all release-check size sizes deb install lint-recipes kernels check-glibc check-rustup
release: ## build one small static binary: make release TARGET=armv7-unknown-linux-musleabihf
	@integration/needs.sh release
	cross/release.sh $(TARGET)
release-all: ## build all targets, check them against cross/budget, and print their sizes
	@integration/needs.sh release
	cross/release.sh $(RELEASE_TARGETS)
release-check: ## build TARGET in two folders and compare the bits
	@integration/needs.sh release
	cross/reproduce.sh $(TARGET)
check-glibc: ## check that embrun compiles for 32-bit ARM with glibc, as in image builders
	@integration/needs.sh release
	cross/glibc-check.sh
check-rustup: ## build a static binary by `rustup target add` and plain cargo, if rustup can fetch the target
	@integration/needs.sh release
	cross/rustup-check.sh
size: ## print the size of each crate and module in TARGET's binary
	@integration/needs.sh release
	cross/build.sh $(TARGET) && cross/size.py $(TARGET)
install: ## install EMBRUN (default: make static) with manual pages and completions: make install PREFIX=/usr DESTDIR=
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" cross/install.sh "$${EMBRUN:-$$(integration/static.sh)}"
deb: release ## pack TARGET as a Debian package; one for this machine's architecture is also tried in a fresh Debian
	@integration/needs.sh deb
	cross/deb.sh $(TARGET)
lint-recipes: ## check the files for image builders and engines with the tools that read them
	@integration/needs.sh build recipes
	cross/lint.py
sizes: ## measure the sizes in README.md again, beside Debian's crun and runc
	cross/sizes.sh --write
kernels: release-all ## run the release binaries on every available kernel; writes a section of docs/kernels.md
	integration/guest/qemu-install.sh
	integration/guest/matrix.sh
