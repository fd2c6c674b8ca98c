#!/bin/sh
# Reports which options of embrun.cfg a kernel lacks, and the consequences. It needs a shell, awk and, for /proc/config.gz, zcat, so
# it runs on a gateway with busybox.
# usage: cross/kernel/check.sh [CONFIG]      default: the configuration of the running kernel, if it can be found
#   The exit status is 1 if a needed option is missing, and 2 if there is no configuration.
here=$(dirname "$0")
config=${1:-}
if [ -z "$config" ]; then
	for config in /proc/config.gz "/boot/config-$(uname -r)" "/lib/modules/$(uname -r)/config" ""; do [ ! -r "$config" ] || break; done
fi
[ -r "$config" ] || {
	echo "check: no kernel configuration${1:+ at $1}: name its file, or boot a kernel with CONFIG_IKCONFIG_PROC" >&2
	exit 2
}
case $config in *.gz) read="zcat" ;; *.xz) read="xzcat" ;; *) read="cat" ;; esac
$read "$config" | awk -v name="$config" '
	FILENAME != "-" && /^# (needed|wanted|newer|engines): / {
		kind = substr($2, 1, length($2) - 1); text = $0; sub(/^# [a-z]+: /, "", text)
		means = (open && kind == last) ? means " " text : text
		last = kind; open = 1
		next
	}
	FILENAME != "-" {
		open = 0
		if (/^CONFIG_/) { o = $0; sub(/=.*/, "", o); option[++n] = o; how[n] = kind; why[n] = means }
		next
	}
	# A configuration lists an option that is off, but not one that the kernel is too old to know.
	/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { off[$2] = 1 }
	/^CONFIG_[A-Za-z0-9_]+=[ym]$/ { o = $0; sub(/=.*/, "", o); has[o] = 1; seen++ }
	END {
		if (!seen) { print "check: " name " is not a kernel configuration: no CONFIG_...=y in it" > "/dev/stderr"; exit 2 }
		for (i = 1; i <= n; i++) if (how[i] == "newer" ? option[i] in off : !(option[i] in has)) {
			if (how[i] == "newer") how[i] = "wanted"
			printf "%s is missing (%s): %s\n", option[i], how[i], why[i]
			missing++; if (how[i] == "needed") needed++
		}
		printf "%s: %d of %d options missing, %d of them needed\n", name, missing, n, needed
		exit needed > 0
	}' "$here/embrun.cfg" -
