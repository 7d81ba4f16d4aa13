#!/bin/sh
"exec" "python3" "-B" "$0" "$@"  # python below; to sh this line is a command, to python a string
"""Tabs, columns, tests that sleep, state that belongs to nobody. Long files are listed as a question, not as a failure.

Objects are looked for below BUILD (default build); the compiler's view is the one that counts for state.
"""
import os
import re
import subprocess

from source import C_ENDS, Findings, blank, files, read

COLUMNS, TAB, LONG_FILE = 120, 4, 600
COLUMNS_OTHERS = 160  # scripts and the Makefile: long strings and commands
TEXT_ENDS = C_ENDS + (".py", ".sh", "Makefile")

# State that is there on purpose: source file or folder, symbol (regular expression), why. docs/invariants.md has more.
STATE = ()
MAINS = ("cmd/qmtd.o", "cmd/qmt.o")


def check_lines(found, path, text):
    code = blank(text).split("\n") if path.endswith(C_ENDS) else None
    for number, line in enumerate(text.split("\n"), 1):
        width = len(line.expandtabs(TAB))
        most = COLUMNS if path.endswith(C_ENDS) else COLUMNS_OTHERS
        if width > most:
            found.fail(path, number, f"{width} columns ({most} at most, a tab counts as {TAB})")
        if line != line.rstrip():
            found.fail(path, number, "white space at the end")
        # Spaces behind tabs align a continued line: fine.
        if code and re.match(r" *\t* +\t| +\S", code[number - 1]):
            found.fail(path, number, "spaces in the indentation: use tabs")


SLEEPS = {
    ".c": re.compile(r"(?<![\w.>])(sleep|usleep|nanosleep|clock_nanosleep|thrd_sleep)\s*\(|"
                     r"\b(poll|epoll_wait|select)\s*\(\s*(NULL|0)\s*,"),
    ".py": re.compile(r"\b(time|asyncio)\.sleep\s*\(|^\s*from\s+time\s+import\s.*\bsleep\b"),
    ".sh": re.compile(r"(^|[;&|({]|\b(do|then|else)\b)\s*sleep\s+\S"),
}


POLLS = re.compile(r"(/\*|#) polls: \S")


def check_sleeps(found, path, text):
    end = os.path.splitext(path)[1]
    pattern = SLEEPS.get(".c" if end == ".h" else end)
    if pattern is None or not path.startswith("test/") or path.startswith(("test/lint/", "test/bench/")):
        return
    raw = text.split("\n")
    lines = blank(text).split("\n") if end in (".c", ".h") else raw
    for number, line in enumerate(lines, 1):
        if pattern.search(line) and not POLLS.search(raw[number - 1]):
            found.fail(path, number, "a test waits for an event with a deadline, it never sleeps "
                                     "(nothing tells the event: /* polls: why */ on this line, and a deadline)")


def symbols(path):
    """(section, name) of each object in writable memory that one .o file defines."""
    table = subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=True).stdout
    for line in table.split("\n"):
        # value, seven flags (d: the section itself), section, tab, size, name
        match = re.match(r"[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+ +(?:\.\w+ )?(\S+)$", line)
        if not match or "d" in match.group(1) or not re.match(r"\.(data|bss|tdata|tbss)\b|\*COM\*", match.group(2)):
            continue
        # .data.rel.ro is constant once the program is linked: tables of pointers
        if not match.group(2).startswith(".data.rel.ro"):
            yield match.group(2), match.group(3)


def source_of(build, path):
    stem = os.path.relpath(path, build)[:-2]
    return next((stem + end for end in (".c", ".cpp") if os.path.exists(stem + end)), None)


def is_known(source, symbol):
    plain = re.sub(r"\.\d+$", "", symbol)  # a static local variable has a number behind its name
    return symbol.startswith(("__gcov", "DW.ref.")) or any(
        source.startswith(place) and re.fullmatch(known, plain) for place, known, _ in STATE)


def check_state(found, build):
    seen = False
    for top in ("runtime", "proto", "transports", "actors", "cmd"):
        for folder, _, names in os.walk(os.path.join(build, top)):
            for name in sorted(name for name in names if name.endswith(".o")):
                path = os.path.join(folder, name)
                source = source_of(build, path)
                if source is None:
                    continue  # left over from a file that was moved
                seen = True
                if os.path.relpath(path, build) in MAINS:
                    continue
                for section, symbol in symbols(path):
                    if not is_known(source, symbol):
                        found.fail(source, 0, f"{symbol} ({section}) is state of nobody: "
                                              "make it const, or a member of its owner")
    if not seen:
        found.fail(build, 0, "no objects here: build first, or set BUILD")


def main():
    found, long_files = Findings("style"), []
    for path in files(*TEXT_ENDS):
        text = read(path)
        check_lines(found, path, text)
        check_sleeps(found, path, text)
        if text.count("\n") > LONG_FILE:
            long_files.append(f"{path}: {text.count(chr(10))} lines: what is its second thing?")
    check_state(found, os.environ.get("BUILD", "build"))
    for line in long_files:
        print("warning:", line)
    found.end()


main()
