# Release builds, included by the Makefile. The results are in target/dist/TARGET.
RELEASE_TARGETS := armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl arm-unknown-linux-musleabi \
	riscv64gc-unknown-linux-musl x86_64-unknown-linux-musl
TARGET ?= x86_64-unknown-linux-musl

.PHONY: release release-all release-check size sizes deb lint-recipes kernels check-glibc check-rustup
release: ## one small static binary: make release TARGET=armv7-unknown-linux-musleabihf
	@integration/needs.sh release
	cross/release.sh $(TARGET)
release-all: ## all of them, within cross/budget, and the table of sizes
	@integration/needs.sh release
	cross/release.sh $(RELEASE_TARGETS)
release-check: ## build TARGET in two folders and compare the bits
	@integration/needs.sh release
	cross/reproduce.sh $(TARGET)
check-glibc: ## does it compile for 32-bit ARM with glibc, as image builders have it
	@integration/needs.sh release
	cross/glibc-check.sh
check-rustup: ## a static binary by `rustup target add` and plain cargo, where rustup can fetch a target
	@integration/needs.sh release
	cross/rustup-check.sh
size: ## what TARGET's bytes are, by crate and module
	@integration/needs.sh release
	cross/build.sh $(TARGET) && cross/size.py $(TARGET)
deb: release ## TARGET as a Debian package; for this machine's architecture also tried in a fresh Debian
	@integration/needs.sh deb
	cross/deb.sh $(TARGET)
lint-recipes: ## what image builders get, each file by a tool that reads it
	@integration/needs.sh build recipes
	cross/lint.py
sizes: ## the sizes in README.md, measured again, beside Debian's crun and runc
	cross/sizes.sh --write
kernels: release-all ## run the release binaries on every kernel that can be had; writes its section of docs/kernels.md
	integration/guest/qemu-install.sh
	integration/guest/matrix.sh
