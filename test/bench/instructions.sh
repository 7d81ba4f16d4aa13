#!/bin/sh
# Instructions a message, counted by callgrind: what a change of the hot path costs, whatever else the machine does.
# Two runs of different length, so that start and end drop out. Prints `<work>_instructions N`; 1 when over its limit.
#   BUILD=build sh test/bench/instructions.sh
set -eu
bin=${BUILD:-build}/bench/actors
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
status=0

count() { # work divisor
	QMT_BENCH_DIV=$2 valgrind --tool=callgrind --callgrind-out-file="$out/callgrind" "$bin" "$1" 1 2>&1 |
		awk '/Collected/ { print $4 }'
}

# work, messages at divisor 1, most instructions a message (gcc 12 -O2 measured 283, 283, 745, 183, 223; about 10 % above)
while read -r work messages most; do
	a=$(count "$work" 40) b=$(count "$work" 20)
	n=$(((b - a) / (messages / 40)))
	echo "${work}_instructions $n"
	if [ "$n" -gt "$most" ]; then
		echo "$work: $n instructions a message, at most $most" >&2
		status=1
	fi
done <<EOF
pingpong 2000000 310
ring 5000000 310
ask 1000000 820
fanin 4000000 205
fork 6400000 250
EOF
exit $status
