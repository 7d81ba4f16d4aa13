#!/bin/sh
# Each patch of test/sim/planted/ breaks a promise; the simulation must find that within 2,000 seeds.
#
#   BUILD=build sh test/sim/planted.sh [PATCH...]
#
# A patch is applied to a copy of the tree in a scratch folder, what has been built is copied too: only the files of the
# patch are compiled. Fails when one does not apply, does not build, or is not found.
set -u
BUILD=${BUILD:-build}
SEEDS=${SEEDS:-2000}
MAKE=${MAKE:-make}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/qmt-planted.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
failed=0 found=0
[ $# -gt 0 ] || set -- test/sim/planted/*.patch

for patch; do
	name=$(basename "$patch" .patch)
	tree=$scratch/tree
	rm -rf "$tree"
	mkdir -p "$tree/build/test" "$tree/test"
	cp -a Makefile runtime proto transports actors "$tree"
	cp -a test/sim "$tree/test"
	for part in runtime proto transports actors libqmt.a libqmt-actor.a; do
		cp -a "$BUILD/$part" "$tree/build"
	done
	cp -a "$BUILD/test/sim" "$tree/build/test"
	if ! patch -s -d "$tree" -p1 < "$patch"; then
		echo "$name: does not apply: make it again from the sources of today"
		failed=$((failed + 1))
		continue
	fi
	if ! $MAKE -s -C "$tree" B=build Q=@ build/test/sim/sim > "$scratch/log" 2>&1; then
		cat "$scratch/log"
		echo "$name: does not build"
		failed=$((failed + 1))
		continue
	fi
	if "$tree/build/test/sim/sim" 1 "$SEEDS" > "$scratch/log" 2>&1 || ! grep -q '^VIOLATION' "$scratch/log"; then
		tail -3 "$scratch/log"
		echo "$name: NOT FOUND in $SEEDS seeds"
		failed=$((failed + 1))
	else
		echo "$name: found: $(grep -h -m1 -A1 '^VIOLATION' "$scratch/log" | tr -s '\n ' ' ')"
		found=$((found + 1))
	fi
done
echo "$found planted faults found, $failed not"
[ "$failed" -eq 0 ]
