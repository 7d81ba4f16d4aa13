#!/bin/sh
# Coverage-guided fuzzing: every test/fuzz/NAME_fuzz.c for SECONDS_EACH seconds (default 60) with clang and the address and
# undefined-behaviour sanitizers, starting from test/fuzz/corpus/NAME. `make fuzz`. FUZZ="codec json" runs some.
# New inputs go to $BUILD/fuzz/NAME; what breaks lies there as crash-*: mend it, then add it to test/fuzz/corpus/NAME.
cd "$(dirname "$0")/../.." || exit 1
build="${BUILD:-build}/fuzz"
status=0
command -v clang >/dev/null || { echo "fuzzing needs clang: make deps-dev"; exit 1; }
flags="-std=gnu11 -g -O1 -I. -include runtime/base/poison.h -D_GNU_SOURCE -DQMT_VERSION=\"fuzz\" -pthread -fno-omit-frame-pointer
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined"
for target in test/fuzz/*_fuzz.c; do
	name=$(basename "$target" _fuzz.c)
	case " ${FUZZ:-$name} " in *" $name "*) ;; *) continue ;; esac
	sources=$(echo runtime/base/*.c proto/*.c proto/*/*.c)
	libs=$(pkg-config --libs libsodium jansson)
	if grep -q '"transports/' "$target"; then
		sources="$sources $(echo runtime/*.c transports/*.c | tr ' ' '\n' | grep -v control_client)"
		libs="$libs $(pkg-config --libs libzmq)"
	fi
	mkdir -p "$build/$name" "test/fuzz/corpus/$name"
	# shellcheck disable=SC2086
	clang $flags -o "$build/${name}_fuzz" "$target" $sources $libs -lmsgpackc -lm || { status=1; continue; }
	if "$build/${name}_fuzz" -max_total_time="${SECONDS_EACH:-60}" -rss_limit_mb=1024 -timeout=5 -print_final_stats=1 -artifact_prefix="$build/$name/" \
		"$build/$name" "test/fuzz/corpus/$name" >"$build/$name.log" 2>&1; then
		printf '%-10s %s executions, no findings\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: //p' "$build/$name.log")"
	else
		status=1
		tail -n 30 "$build/$name.log"
		echo "FAILED $name: the input is in $build/$name/"
	fi
done
exit $status
