#!/bin/sh
# Reports, group by group, which options of the table `options` a kernel lacks, and the consequences. It needs a shell, awk and, for
# /proc/config.gz, zcat, so it runs on a gateway with busybox. Modules (=m) count as present.
# usage: check.sh [CONFIG]                 default: the configuration of the running kernel, if it can be found
#        check.sh --fragment [GROUP...]    prints the options as a fragment: `check.sh --fragment > embrun.cfg`
#   The exit status is 1 if an option of the groups `required` or `default` is missing, and 2 if there is no configuration. Options of
#   the other groups are reported only, because not every host needs them.
here=$(dirname "$0")
if [ "$1" = --fragment ]; then
	shift
	exec awk -F '  +' -v groups=" $* " '
		/^#   [a-z ]/ && /^#  ( group)? +[a-z]+  / { at = $2 == "group" ? 3 : 2; means[$at] = $(at + 1) }
		NF == 5 && !/^#/ && (groups == "  " || index(groups, " " $2 " ")) {
			if ($2 != last) printf "%s# %s: %s\n", last ? "\n" : "", $2, means[$2]
			if ($4 "  " $5 != why || $2 != last) printf "# %s: without it, %s\n", $4, $5
			print "CONFIG_" $1 "=y"; last = $2; why = $4 "  " $5
		}' "$here/options"
fi
config=${1:-}
if [ -z "$config" ]; then
	for config in /proc/config.gz "/boot/config-$(uname -r)" "/lib/modules/$(uname -r)/config" ""; do [ ! -r "$config" ] || break; done
fi
[ -r "$config" ] || {
	echo "check: no kernel configuration${1:+ at $1}: name its file, or boot a kernel with CONFIG_IKCONFIG_PROC" >&2
	exit 2
}
case $config in *.gz) read="zcat" ;; *.xz) read="xzcat" ;; *) read="cat" ;; esac
$read "$config" | awk -v name="$config" -F '  +' '
	FILENAME != "-" {
		if (NF != 5 || /^#/) next
		if ($2 != group[n]) groups[++g] = $2
		option[++n] = "CONFIG_" $1; group[n] = $2; all[n] = $3 == "all"; user[n] = $4; why[n] = $5
		next
	}
	# A configuration lists an option that is off, but not one that the kernel is too old to know.
	/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { sub(/^# /, ""); sub(/ .*/, ""); off[$0] = 1; next }
	/^CONFIG_[A-Za-z0-9_]+=[ym]$/ { sub(/=.*/, ""); has[$0] = 1; seen++ }
	END {
		if (!seen) { print "check: " name " is not a kernel configuration: no CONFIG_...=y in it" > "/dev/stderr"; exit 2 }
		for (k = 1; k <= g; k++) {
			text = ""; missing = 0; total = 0
			for (i = 1; i <= n; i++) if (group[i] == groups[k]) {
				total++
				if (all[i] ? option[i] in has : !(option[i] in off)) continue
				missing++
				text = text sprintf("  %s is missing: %s (%s)\n", option[i], why[i], user[i])
			}
			printf "%s: %d of %d options missing\n%s", groups[k], missing, total, text
			if (missing && (groups[k] == "required" || groups[k] == "default")) bad = 1
		}
		exit bad
	}' "$here/options" -
