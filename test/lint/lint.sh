#!/bin/sh
# Runs every check of this folder; says which failed. BUILD is the build folder (default build).
cd "$(dirname "$0")/../.." || exit 1
export BUILD="${BUILD:-build}"
status=0
for check in test/lint/*.sh; do
	case $check in */lint.sh) continue ;; esac
	if out=$(sh "$check" 2>&1); then
		[ -n "$out" ] && printf '%s\n' "$out"
	else
		status=1
		printf 'FAILED %s\n%s\n' "$check" "$out"
	fi
done
[ $status = 0 ] && echo "lint: clean"
exit $status
