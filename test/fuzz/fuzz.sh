#!/bin/sh
# Coverage-guided fuzzing (`make fuzz`): every test/fuzz/NAME_fuzz.c for SECONDS_EACH seconds (default 60), with clang
# and the address and undefined-behaviour sanitizers, from test/fuzz/corpus/NAME. FUZZ="codec json" runs some.
# New inputs go to $BUILD/fuzz/NAME; what breaks lies there as crash-*: mend it, then add it to test/fuzz/corpus/NAME.
cd "$(dirname "$0")/../.." || exit 1
build="${BUILD:-build}/fuzz"
san="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
status=0
command -v clang >/dev/null || { echo "fuzzing needs clang: make deps-dev"; exit 1; }

targets=""
for target in test/fuzz/*_fuzz.c; do
	name=$(basename "$target" _fuzz.c)
	case " ${FUZZ:-$name} " in *" $name "*) targets="$targets $name" ;; esac
done

# The libraries as they are, by the same Makefile, in a folder of their own.
objects=""
for name in $targets; do objects="$objects $build/test/fuzz/${name}_fuzz.o"; done
libs="$build/libqmt-cmd.a $build/libqmt.a $build/libqmt-actor.a"
# shellcheck disable=SC2086
make --no-print-directory -j"$(nproc)" B="$build" CC=clang CXX=clang++ OPT="-O1 -g" \
	SANFLAGS="$san -fsanitize=fuzzer-no-link" $libs $objects >"$build.log" 2>&1 || { tail -n 20 "$build.log"; exit 1; }

for name in $targets; do
	program="$build/${name}_fuzz" found="$build/$name" log="$build/$name.log" corpus="test/fuzz/corpus/$name"
	mkdir -p "$found" "$corpus"
	# shellcheck disable=SC2046,SC2086
	clang++ $san -fsanitize=fuzzer -pthread -o "$program" "$build/test/fuzz/${name}_fuzz.o" $libs \
		$(pkg-config --libs libzmq libsodium jansson sqlite3 libcurl libqrencode) -lmsgpackc -linih -lm || { status=1; continue; }
	if "$program" -max_total_time="${SECONDS_EACH:-60}" -rss_limit_mb=1024 -timeout=5 -print_final_stats=1 \
		-artifact_prefix="$found/" "$found" "$corpus" >"$log" 2>&1; then
		executions=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
		printf '%-10s %s executions, no findings\n' "$name" "$executions"
	else
		status=1
		tail -n 30 "$log"
		echo "FAILED $name: the input is in $found/"
	fi
done

# Not guided by coverage: mutants of whole tokens, most of which get as far as the signature check.
case " ${FUZZ:-invite} " in *" invite "*)
	property="$build/test/unit/proto/invite_property_test"
	# shellcheck disable=SC2086
	make --no-print-directory -j"$(nproc)" B="$build" CC=clang CXX=clang++ OPT="-O1 -g" SANFLAGS="$san -fsanitize=fuzzer-no-link" \
		LDFLAGS="$san -pthread" "$property" >>"$build.log" 2>&1 || { tail -n 20 "$build.log"; exit 1; }
	if QMT_MUTANTS="${MUTANTS:-1000000}" "$property" >"$build/invite_property.log" 2>&1; then
		sed -n 's/^\([0-9]* mutants\)/invite     \1/p' "$build/invite_property.log"
	else
		status=1
		tail -n 30 "$build/invite_property.log"
	fi
	;;
esac
exit $status
