#!/bin/sh
# docs/security.md holds the tables of proto/authority.def between its two marks. To write them anew: make docs.
page=docs/security.md
made=$(mktemp) && trap 'rm -f "$made"' EXIT || exit 1
awk -v table="$("${BUILD:-build}/test/tools/authority_doc")" '
	/^<!-- end of the tables -->$/ {inside = 0}
	!inside {print}
	/^<!-- tables of proto\/authority.def, by make docs -->$/ {print ""; print table; print ""; inside = 1; seen = 1}
	END {exit !seen}' "$page" > "$made" || { echo "$page: the mark of the tables is gone"; exit 1; }
if [ "$1" = write ]; then
	cat "$made" > "$page"
else
	diff -u "$page" "$made" >&2 || { echo "$page is not what proto/authority.def says: make docs"; exit 1; }
fi
