#!/bin/sh
"exec" "python3" "-B" "$0" "$@"  # python below; to sh this line is a command, to python a string
"""Each row of docs/acceptance.md names what shows its sentence, and that exists.

A row is `| sentence | test or command | state |`. The second cell holds `-` (state open only) or names in backticks
with commas between them: a file, `file:test`, or `make target`. A test is a function `void NAME(void **…)` that the
file names again in its table of tests (CMUnitTest, or a macro CASE beside it), or a python `def`; in other files the
name must appear as a word.
"""
import os
import re

from source import Findings, read

TABLE = "docs/acceptance.md"
STATES = ("open", "partly", "done")


def make_targets():
    text = read("Makefile").replace("\\\n", " ")
    names = set()
    for line in re.findall(r"^([^\t#:=\n][^:=\n]*):(?!=)", text, re.MULTILINE):
        names.update(line.split())
    return names


def has_test(path, name):
    text = read(path)
    if path.endswith(".c"):
        word = re.escape(name)
        is_test = re.search(r"^static void " + word + r"\(void \*\*", text, re.MULTILINE)
        return bool(is_test and re.search(r"\b(cmocka_unit_test\w*|[A-Z]+)\(\s*" + word + r"\b", text))
    if path.endswith(".py"):
        return re.search(r"^\s*(async\s+)?def\s+" + re.escape(name) + r"\s*\(", text, re.MULTILINE) is not None
    return re.search(r"\b" + re.escape(name) + r"\b", text) is not None


def problem(name, targets):
    """What is wrong with one named test or command; None: nothing."""
    words = name.split()
    if words[0] == "make":
        goals = [word for word in words[1:] if "=" not in word]
        missing = [goal for goal in goals if goal not in targets]
        return f"make has no target {', '.join(missing)}" if missing else None
    path, _, test = words[0].partition(":")
    if not os.path.exists(path):
        return f"{path} does not exist"
    if os.path.isdir(path):
        return f"{path} is a folder: name the file"
    if test and not has_test(path, test):
        return f"no test {test} in {path}"
    return None


def check_row(found, number, cells, targets):
    if len(cells) != 3:
        found.fail(TABLE, number, f"{len(cells)} cells, not 3: | sentence | test or command | state |")
        return
    sentence, shown, state = cells
    if state not in STATES:
        found.fail(TABLE, number, f"no such state \"{state}\" ({', '.join(STATES)})")
    if not sentence:
        found.fail(TABLE, number, "the sentence is empty")
    if shown in ("", "-"):
        if state != "open":
            found.fail(TABLE, number, f"state {state}, but nothing shows it")
        return
    names = [name.strip() for name in re.findall(r"`([^`]+)`", shown)] or [part.strip() for part in shown.split(",")]
    rest = re.sub(r"`[^`]+`", "", shown) if "`" in shown else ""
    if not re.fullmatch(r"[\s,]*", rest):
        found.fail(TABLE, number, f"\"{rest.strip()}\": only names in backticks and commas stand in the second cell")
    for name in names:
        wrong = problem(name, targets) if name else "an empty name"
        if wrong:
            found.fail(TABLE, number, wrong)


def main():
    found = Findings("acceptance")
    targets, seen = make_targets(), {}
    for number, line in enumerate(read(TABLE).split("\n"), 1):
        if not line.startswith("|") or re.fullmatch(r"[|\s:-]+", line):
            continue
        # A | inside backticks or behind a backslash is text.
        cells = [cell.strip() for cell in re.findall(r"(?:`[^`]*`|\\\||[^|`])+", line.strip().strip("|"))]
        if cells[:1] == ["sentence"]:
            continue
        check_row(found, number, cells, targets)
        if cells and cells[0] in seen:
            found.fail(TABLE, number, f"the same sentence as in line {seen[cells[0]]}")
        elif cells:
            seen[cells[0]] = number
    if not seen:
        found.fail(TABLE, 0, "no rows")
    found.end()


main()
