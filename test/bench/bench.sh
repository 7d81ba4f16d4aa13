#!/bin/sh
# make bench: every benchmark of this tree, once with each number of workers. For comparisons with peers, and for figures that
# are kept, see the commands in docs/performance.md: only ratios of one run mean something.
set -eu
build=${BUILD:-build}
for workers in 1 2; do
	echo "== actors, $workers worker(s)"
	for work in pingpong ring fanin fork ask spawn skynet; do "$build/bench/actors" $work $workers; done
	echo "== two nodes, $workers worker(s)"
	out=$(mktemp)
	"$build/bench/remote" rserver $workers >"$out" &
	server=$!
	trap 'kill $server 2>/dev/null; rm -f "$out"' EXIT
	tail -f -n +1 --pid=$server "$out" 2>/dev/null | { read -r line && "$build/bench/remote" rclient $workers "$line"; }
	kill $server
	wait $server 2>/dev/null || :
	rm -f "$out"
	trap - EXIT
done
echo "== store"
dir=$(mktemp -d)
"$build/bench/store" --dir "$dir" --rounds 3 --rows 10000
rm -rf "$dir"
