#!/bin/sh
# docs/protocol.md is what the tables say. To write it anew: make docs (or: build/test/tools/protocol_doc > docs/protocol.md).
"$BUILD/test/tools/protocol_doc" | diff -u docs/protocol.md - >&2 ||
	{ echo "docs/protocol.md is not what the tables of proto/ and transports/ say: make docs"; exit 1; }
