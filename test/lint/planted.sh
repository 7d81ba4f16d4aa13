#!/bin/sh
# Each patch of test/sim/planted applies to the sources as they are, without guessing: `make planted`, which takes an hour,
# would else be the first to say that one has gone stale.
status=0
for patch in test/sim/planted/*.patch; do
	if ! said=$(patch --dry-run -s -f -F0 -p1 <"$patch" 2>&1); then
		echo "$patch: does not apply: make it again from the sources of today ($(echo "$said" | head -1))"
		status=1
	fi
done
exit $status
