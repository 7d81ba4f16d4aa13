#!/bin/sh
"exec" "python3" "-B" "$0" "$@"  # python below; to sh this line is a command, to python a string
"""Nothing in the tree may point at the machine or the helpers it was written with: it would mean nothing anywhere else.

The words are put together here, so that this file does not find itself.
"""
import re

from source import Findings, files

WORDS = (
    (r"(?<![\w}).~$*%])/wo" r"rk/", "a path of one machine"),
    (r"(?<![\w}).~$*%])/ro" r"ot/", "a path of one machine"),
    (r"\.lib" r"rary/", "a path of one machine"),
    (r"\bfarm" r"-(studio|bench)\b", "a name that means nothing here"),
    (r"\bdupli" r"cates\b", "a name that means nothing here (of equal things say \"twice\")"),
    (r"\b(registry[.](npmjs[.]org|yarnpkg[.]com)|pypi[.]org|files[.]pythonhosted[.]org|((static|index)[.])?crates[.]io|"
     r"(proxy|sum)[.]golang[.]org|repo[.]maven[.]apache[.]org|rubygems[.]org|registry-1[.]docker[.]io|"
     r"(deb|security|snapshot)[.]debian[.]org)\b", "the host of a package registry"),
)


def main():
    found = Findings("names")
    patterns = [(re.compile(pattern.encode()), why) for pattern, why in WORDS]
    for path in files():
        if path == "test/lint/names.sh":
            continue
        with open(path, "rb") as file:
            lines = [path.encode()] + file.read().split(b"\n")
        for number, line in enumerate(lines):  # line 0 is the file's own name
            for pattern, why in patterns:
                match = pattern.search(line)
                if match:
                    found.fail(path, number, f"\"{match.group(0).decode(errors='replace')}\": {why}")
    found.end()


main()
