#!/bin/sh
# The man pages are what the programs' tables say: `make docs` writes them.
status=0
for page in qmt qmtd qmt-lab; do
	case $page in qmt | qmt-lab) set -- help man ;; qmtd) set -- --man ;; esac
	"$BUILD/$page" "$@" | diff -u "docs/man/$page.1" - >&2 || { echo "docs/man/$page.1 is not what $page says: make docs"; status=1; }
done
exit $status
