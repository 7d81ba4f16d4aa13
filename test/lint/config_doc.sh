#!/bin/sh
# docs/configuration.md is what the parameter table says: `make docs` writes it.
"$BUILD/test/tools/config_doc" | diff -u docs/configuration.md - >&2 ||
	{ echo "docs/configuration.md is not what the parameter table says: make docs"; exit 1; }
