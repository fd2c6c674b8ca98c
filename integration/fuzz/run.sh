#!/bin/bash
# Builds the fuzz targets, and runs them. cargo's stable compiler suffices: the counters are a pass of LLVM, and libFuzzer is
# built with g++. Without root the targets that need it are left out, and counted.
# usage: run.sh minutes N [TARGET...]   run the targets for N minutes together, and write the table of docs/fuzzing.md
#        run.sh ci [SECONDS]            each target over the committed corpus, and for 20 s; the seed is always the same, so that a
#                                       failure belongs to the change that is tested
#        run.sh cmin [TARGET...]        reduce what runs have found to the committed corpora
#        run.sh replay TARGET FILE...   run single inputs, such as one that a run has reported
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/fuzz
export CARGO_TARGET_DIR=$cache/target
mkdir -p "$cache/found" "$cache/logs"
host=$(rustc -vV | sed -n 's/^host: //p')
bin=$CARGO_TARGET_DIR/$host/release
processors=$(nproc) inputs=$cache/corpus seed=0
mapfile -t all < <(basename -s .rs fuzz_targets/*.rs)

build() {
	# As cargo-fuzz does, without a sanitizer: almost all of the library's `unsafe` calls the kernel.
	RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
		-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
		-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing" \
		cargo build -q --locked --release --target "$host" --bins
	EMBRUN=$(env -u CARGO_TARGET_DIR ../static.sh)
	export EMBRUN
	./dictionaries.py "$cache/dictionaries"
	for target in "${all[@]}"; do
		mkdir -p "$inputs/$target"
		[ ! -e "corpus/$target.txt" ] || ./corpus.py unpack "corpus/$target.txt" "$inputs/$target"
	done
	# Real documents, which the corpora leave out because of their length.
	local file
	cp ../configs/*.json "$inputs/config"
	for file in ../../seccomp-profiles/*.json; do
		(printf seed && cat "$file") > "$inputs/seccomp/$(basename "$file")"
	done
}

# Starts a target. Containers need namespaces, in which nothing can be left behind.
call() { # TARGET ARGUMENT...
	local target=$1 status=0
	local -x FUZZ_SCRATCH=embrun-fuzz-$target-$$-$BASHPID
	shift
	if [ "$target" = lifecycle ]; then
		unshare --pid --mount --ipc --fork --kill-child --mount-proc "$bin/$target" "$@" || status=$?
		find /sys/fs/cgroup -depth -type d -path "*/$FUZZ_SCRATCH*" -exec rmdir '{}' + 2> /dev/null || true
	else
		"$bin/$target" "$@" || status=$?
	fi
	rm -rf "/dev/shm/$FUZZ_SCRATCH"
	return $status
}

# One run. Strings that embrun keeps are never freed, so a run is short.
slice() { # TARGET SECONDS
	local target=$1 log=$cache/logs/$1 dictionary=$cache/dictionaries/$1.dict status=0
	local options=(-seed="$seed" -max_total_time="$2" -timeout=60 -rss_limit_mb=4000 -detect_leaks=0 -print_final_stats=1 -reload=0)
	# A drawn tree or specification takes hundreds of bytes from the beginning.
	case $target in devices | resolve | spec) options+=(-len_control=0 -max_len=512) ;; esac
	[ ! -e "$dictionary" ] || options+=(-dict="$dictionary")
	call "$target" "${options[@]}" -artifact_prefix="$cache/found/$target-" "$inputs/$target" > "$log" 2>&1 || status=$?
	local executed covered
	executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	covered=$(grep -aoE ' cov: [0-9]+' "$log" | tail -n 1 | tr -dc 0-9)
	printf '%s\t%s\t%s\t%s\n' "$target" "${executed:-0}" "${covered:-0}" "$2" >> "$cache/runs.tsv"
	[ $status = 0 ] && return
	echo "fuzz: $target failed with status $status; the input is in $cache/found:" >&2
	grep -aE -A 3 'panicked at|ERROR: libFuzzer|^SUMMARY|Test unit written' "$log" | cut -c 1-2000 >&2
	return 1
}

usable() { # TARGET...
	for target in "$@"; do
		if [ "$target" = lifecycle ] && { [ "$(id -u)" != 0 ] || ! unshare --pid --mount --fork true 2> /dev/null; }; then
			echo "fuzz: SKIPPED $target: it needs root and namespaces" >&2
		else
			echo "$target"
		fi
	done
}

everything() { # SECONDS TARGET...
	local seconds=$1
	shift
	export -f slice call
	export cache bin inputs seed
	printf '%s\n' "$@" | xargs -P "$processors" -I '{}' bash -c 'slice {} '"$seconds"
}

table() {
	echo "| target | executions | inputs in the corpus | bytes | edges |"
	echo "|---|---|---|---|---|"
	for target in "$@"; do
		awk -F '\t' -v target="$target" -v inputs="$(find "$inputs/$target" -type f | wc -l)" \
			-v bytes="$(find "$inputs/$target" -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }')" \
			'$1 == target { n += $2; if ($3 > most) most = $3 }
			END { printf "| `%s` | %d | %d | %d | %d |\n", target, n, inputs, bytes, most }' "$cache/runs.tsv"
	done
}

verb=${1:-}
shift || true
case $verb in
minutes)
	minutes=$1
	shift
	build
	mapfile -t targets < <(usable "${@:-${all[@]}}")
	left=$((minutes * 60 * processors / ${#targets[@]})) status=0
	while [ $left -gt 0 ]; do
		now=$((left < 60 ? left : 60)) left=$((left - 60))
		everything $now "${targets[@]}" || status=1
	done
	table "${targets[@]}" | tee "$cache/table.md"
	[ $# -gt 0 ] || {
		page=../../docs/fuzzing.md
		{
			sed '/^<!-- table -->$/q' $page
			../guest/section.sh --stamp
			printf '\n'
			cat "$cache/table.md"
			sed -n '/^<!-- end of table -->$/,$p' $page
		} > "$cache/page.md"
		cat "$cache/page.md" > $page
	}
	exit $status
	;;
ci)
	# What other runs have found stays out.
	inputs=$cache/committed seed=1
	rm -rf "$inputs"
	build
	mapfile -t targets < <(usable "${all[@]}")
	rm -f "$cache/runs.tsv"
	status=0
	everything "${1:-20}" "${targets[@]}" || status=1
	table "${targets[@]}"
	exit $status
	;;
cmin)
	build
	for target in $(usable "${@:-${all[@]}}"); do
		rm -rf "$cache/small/$target"
		mkdir -p "$cache/small/$target"
		call "$target" -merge=1 -detect_leaks=0 -rss_limit_mb=8000 "$cache/small/$target" "$cache/corpus/$target" > "$cache/logs/$target" 2>&1
		find "$cache/small/$target" -type f -size +3k -delete
		./corpus.py pack "$cache/small/$target" "corpus/$target.txt"
		rm -rf "$cache/corpus/$target"
	done
	du -shc corpus/*.txt
	;;
replay)
	build
	call "$@"
	;;
*)
	sed -n '2,9s/^# //p' "$0" >&2
	exit 2
	;;
esac
