################################################################################
#
# embrun-crates
#
################################################################################

# Written by cross/crates.py from Cargo.lock.

EMBRUN_CRATES_VERSION = 0.1.0
HOST_EMBRUN_CRATES_SOURCE =
HOST_EMBRUN_CRATES_EXTRA_DOWNLOADS = $(addprefix https://static.crates.io/crates/, \
	aho-corasick/aho-corasick-1.1.5.crate \
	autocfg/autocfg-1.5.1.crate \
	bitflags/bitflags-2.13.2.crate \
	caps/caps-0.5.6.crate \
	cfg-if/cfg-if-1.0.5.crate \
	cfg_aliases/cfg_aliases-0.2.2.crate \
	const_format/const_format-0.2.37.crate \
	const_format_proc_macros/const_format_proc_macros-0.2.37.crate \
	darling/darling-0.20.11.crate \
	darling_core/darling_core-0.20.11.crate \
	darling_macro/darling_macro-0.20.11.crate \
	derive_builder/derive_builder-0.20.2.crate \
	derive_builder_core/derive_builder_core-0.20.2.crate \
	derive_builder_macro/derive_builder_macro-0.20.2.crate \
	fnv/fnv-1.0.7.crate \
	getset/getset-0.1.7.crate \
	heck/heck-0.5.0.crate \
	ident_case/ident_case-1.0.1.crate \
	itoa/itoa-1.0.19.crate \
	konst/konst-0.2.20.crate \
	konst_macro_rules/konst_macro_rules-0.2.19.crate \
	libc/libc-0.2.191.crate \
	memchr/memchr-2.8.3.crate \
	memoffset/memoffset-0.9.1.crate \
	nix/nix-0.31.3.crate \
	oci-spec/oci-spec-0.10.0.crate \
	proc-macro2/proc-macro2-1.0.107.crate \
	quote/quote-1.0.47.crate \
	regex/regex-1.13.2.crate \
	regex-automata/regex-automata-0.4.19.crate \
	regex-syntax/regex-syntax-0.8.12.crate \
	seccompiler/seccompiler-0.5.0.crate \
	serde/serde-1.0.229.crate \
	serde_core/serde_core-1.0.229.crate \
	serde_derive/serde_derive-1.0.229.crate \
	serde_json/serde_json-1.0.154.crate \
	strsim/strsim-0.11.1.crate \
	strum/strum-0.27.2.crate \
	strum_macros/strum_macros-0.27.2.crate \
	syn/syn-2.0.119.crate \
	syn/syn-3.0.10.crate \
	thiserror/thiserror-2.0.21.crate \
	thiserror-impl/thiserror-impl-2.0.21.crate \
	unicode-ident/unicode-ident-1.0.27.crate \
	unicode-xid/unicode-xid-0.2.6.crate \
	zmij/zmij-1.0.23.crate)

# As `cargo vendor` lays them out. Cargo compares each checksum with Cargo.lock.
define HOST_EMBRUN_CRATES_EXTRACT_CMDS
	for crate in $(notdir $(HOST_EMBRUN_CRATES_EXTRA_DOWNLOADS)); do \
		$(TAR) -C $(@D) -xzf $(HOST_EMBRUN_CRATES_DL_DIR)/$$crate && \
		sum=`sha256sum < $(HOST_EMBRUN_CRATES_DL_DIR)/$$crate` && \
		printf '{"files":{},"package":"%s"}\n' $${sum%% *} \
			> $(@D)/$${crate%.crate}/.cargo-checksum.json || exit 1; \
	done
endef

$(eval $(host-generic-package))
